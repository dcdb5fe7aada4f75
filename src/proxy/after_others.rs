//! A connection that many tasks write to: once it is woken, whoever is ready goes first, so that what they all have to
//! say is encrypted and written together. Without this, the runtime runs what was woken last next, and each stream's
//! answer would be a record and a system call by itself.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Polls `connection` at once, and each time that it has been woken, after all other tasks of this thread that are ready.
pub async fn after_others<F: Future>(connection: F) -> F::Output {
    let mut connection = pin!(connection);
    loop {
        if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx))).await {
            return output;
        }
        woken().await;
        tokio::task::yield_now().await;
    }
}

/// Ready when it is polled again, by whomever that was asked for.
async fn woken() {
    let mut asked = false;
    poll_fn(|_| if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    /// The first wakes the connection, and then the second; the connection was first, and is polled after both.
    #[tokio::test]
    async fn whoever_is_ready_goes_first() {
        let (said, bell, second) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (heard, wake) = (Arc::clone(&said), Arc::clone(&bell));
        let connection = tokio::spawn(after_others(async move {
            wake.notified().await;
            heard.load(Ordering::SeqCst)
        }));
        let (saying, called) = (Arc::clone(&said), Arc::clone(&second));
        tokio::spawn(async move {
            called.notified().await;
            saying.fetch_add(1, Ordering::SeqCst);
        });
        // Both wait.
        tokio::task::yield_now().await;
        tokio::spawn(async move {
            bell.notify_one();
            second.notify_one();
            said.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(connection.await.ok(), Some(2), "what both had to say");
    }

    #[tokio::test]
    async fn what_is_ready_is_not_kept_waiting() {
        assert_eq!(poll_fn(|cx| pin!(after_others(async { 1 })).poll(cx)).await, 1);
    }
}
