//! A time limit that is moved far more often than it is reached: each step of an exchange begins it anew. The timer
//! below is armed once and left alone while the limit moves away from it; when it fires early it is armed for the rest.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// When something must have happened; nothing is armed before it is waited for.
#[derive(Debug, Default)]
pub struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// From now on it is then.
    pub fn set(&mut self, at: Instant) {
        self.at = Some(at);
    }

    /// Ready when it is reached; never where none was set.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    async fn reached(deadline: &mut Deadline) {
        poll_fn(|cx| deadline.poll(cx)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_reached_when_it_was_last_set_to_whichever_way_it_was_moved() {
        let (mut deadline, begun) = (Deadline::default(), Instant::now());
        let seconds = |seconds| begun + Duration::from_secs(seconds);
        for (first, then) in [(5, 10), (100, 20), (30, 30)] {
            deadline.set(seconds(first));
            assert!(poll_fn(|cx| Poll::Ready(deadline.poll(cx))).await.is_pending());
            deadline.set(seconds(then));
            reached(&mut deadline).await;
            assert_eq!(Instant::now(), seconds(then));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_can_be_used_again_after_it_was_reached_or_forgotten() {
        let mut deadline = Deadline::default();
        deadline.set(Instant::now() + Duration::from_secs(1));
        assert!(poll_fn(|cx| Poll::Ready(deadline.poll(cx))).await.is_pending());
        tokio::time::advance(Duration::from_secs(5)).await;
        let again = Instant::now() + Duration::from_secs(1);
        deadline.set(again);
        reached(&mut deadline).await;
        assert_eq!(Instant::now(), again);
    }
}
