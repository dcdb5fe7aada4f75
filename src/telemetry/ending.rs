//! The end of a background thread, as a value on either side: one for the thread, one for whoever waits for it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Held by the thread for as long as it runs.
#[derive(Debug)]
#[must_use]
pub(crate) struct Running(#[expect(dead_code, reason = "held for its end")] SyncSender<()>);

/// Waits for the thread.
#[derive(Debug)]
pub(crate) struct Ending(Mutex<Receiver<()>>);

/// Both sides.
pub(crate) fn ending() -> (Running, Ending) {
    let (running, end) = sync_channel(1);
    (Running(running), Ending(Mutex::new(end)))
}

impl Ending {
    /// Waits until the thread has ended; false when that took longer than `within`.
    pub fn comes(&self, within: Duration) -> bool {
        let end = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is ever sent: the end is the disconnection.
        matches!(end.recv_timeout(within), Err(RecvTimeoutError::Disconnected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_goes_on_is_not_waited_for_longer_than_asked() {
        let (running, ending) = ending();
        assert!(!ending.comes(Duration::ZERO));
        drop(running);
        assert!(ending.comes(Duration::from_secs(10)) && ending.comes(Duration::ZERO));
    }
}
