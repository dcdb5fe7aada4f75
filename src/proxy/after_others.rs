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

/// For a stream: lets its connection write what waits, before the stream is reset and all that waits is thrown away.
pub async fn before_me() {
    // The connection is woken by the stream, and then waits once itself: whoever waits once too may have its turn before.
    for _ in 0..2 {
        tokio::task::yield_now().await;
    }
}

/// Ready when it is polled again, by whomever that was asked for.
async fn woken() {
    let mut asked = false;
    poll_fn(|_| if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    /// On one thread of the runtime that the process has: it runs what was woken last next.
    fn on_one_worker<T: Send + 'static>(test: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async { tokio::spawn(test).await.unwrap() })
    }

    /// One task wakes another and then the connection, which would run next; it is polled after both.
    async fn heard_of_two() -> usize {
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
            second.notify_one();
            bell.notify_one();
            said.fetch_add(1, Ordering::SeqCst);
        });
        connection.await.unwrap()
    }

    #[test]
    fn whoever_is_ready_goes_first() {
        assert_eq!(on_one_worker(heard_of_two()), 2, "what both had to say");
    }

    #[test]
    fn what_is_said_before_a_reset_is_written() {
        let written = on_one_worker(async {
            let (said, bell) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
            let (heard, wake) = (Arc::clone(&said), Arc::clone(&bell));
            let connection = tokio::spawn(after_others(async move {
                wake.notified().await;
                heard.swap(0, Ordering::SeqCst)
            }));
            // It waits.
            tokio::task::yield_now().await;
            said.store(5, Ordering::SeqCst);
            bell.notify_one();
            before_me().await;
            // The reset.
            said.store(0, Ordering::SeqCst);
            connection.await.unwrap()
        });
        assert_eq!(written, 5);
    }

    #[test]
    fn what_is_ready_is_not_kept_waiting() {
        let mut connection = pin!(after_others(async { 1 }));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert_eq!(connection.as_mut().poll(&mut context), Poll::Ready(1));
    }
}
