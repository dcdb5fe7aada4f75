//! A lane: the bounded queue between the request path and a background thread that may be slow. An
//! event that finds it full is dropped and counted; nobody ever waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use metrics::Counter;

use super::ending::{Ending, Running, ending};
use super::event::RequestEvent;

/// Events that a lane holds before it drops: at 50,000 requests a second, 160 ms of a background
/// thread that does nothing. An event is below 4 KiB, so a full lane is below 30 MiB.
pub const LANE_EVENTS: usize = 8 * 1024;

/// The request path's end.
#[derive(Debug)]
pub(crate) struct Lane {
    sender: SyncSender<Message>,
    closing: Arc<AtomicBool>,
    ending: Ending,
    dropped: Counter,
}

/// The background thread's end. Its owner has ended when this is dropped.
#[derive(Debug)]
pub(crate) struct LaneEnd {
    receiver: Receiver<Message>,
    closing: Arc<AtomicBool>,
    _running: Running,
}

/// What the background thread sees next.
#[derive(Debug)]
pub(crate) enum Next {
    /// An event.
    Event(Box<RequestEvent>),
    /// Nothing now: time passed, or somebody wants to be noticed.
    Nothing,
    /// Nothing ever again: the lane is closed and empty.
    End,
}

#[derive(Debug)]
enum Message {
    Event(Carried),
    Wake,
}

/// An event on its way. Where it does not arrive it is counted, whatever has become of it: a lane that is full, and one
/// whose end goes just when a thread that has seen it open puts the event in.
#[derive(Debug)]
struct Carried {
    event: Option<Box<RequestEvent>>,
    dropped: Counter,
}

/// A lane of `events` places; what does not fit is counted in `dropped`.
pub(crate) fn lane(events: usize, dropped: Counter) -> (Lane, LaneEnd) {
    let (sender, receiver) = sync_channel(events);
    let (running, ending) = ending();
    let closing = Arc::new(AtomicBool::new(false));
    let lane = Lane { sender, closing: Arc::clone(&closing), ending, dropped };
    (lane, LaneEnd { receiver, closing, _running: running })
}

impl Lane {
    /// Puts a copy of an event in, or drops and counts it; whether it is in. Few requests are copied, and so the others need
    /// not be shared.
    pub fn offer(&self, event: &RequestEvent) -> bool {
        if self.closing.load(Ordering::Relaxed) {
            self.dropped.increment(1);
            return false;
        }
        self.put(event)
    }

    fn put(&self, event: &RequestEvent) -> bool {
        let carried = Carried { event: Some(Box::new(event.clone())), dropped: self.dropped.clone() };
        self.sender.try_send(Message::Event(carried)).is_ok()
    }

    /// Makes the thread look at what else it was told. A full lane needs no waking.
    pub fn wake(&self) {
        let _ = self.sender.try_send(Message::Wake);
    }

    /// Takes nothing more, lets the thread finish what is there, and waits for it; false when it has
    /// not ended `within` that time.
    pub fn close(&self, within: Duration) -> bool {
        self.closing.store(true, Ordering::Relaxed);
        self.wake();
        self.ending.comes(within)
    }
}

impl LaneEnd {
    /// Whether nothing more is to come, but for what is there.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Waits for the next thing at most `patience`.
    pub fn next(&self, patience: Duration) -> Next {
        match self.receiver.recv_timeout(patience) {
            Ok(Message::Event(carried)) => carried.arrive(),
            Err(RecvTimeoutError::Disconnected) => Next::End,
            Ok(Message::Wake) | Err(RecvTimeoutError::Timeout) => self.at_once(),
        }
    }

    /// The next thing that is there already.
    pub fn at_once(&self) -> Next {
        loop {
            return match self.receiver.try_recv() {
                Ok(Message::Event(carried)) => carried.arrive(),
                // Behind a wake-up call may be events, or the end that it was sent for.
                Ok(Message::Wake) => continue,
                Err(TryRecvError::Disconnected) => Next::End,
                Err(TryRecvError::Empty) if self.closing.load(Ordering::Relaxed) => Next::End,
                Err(TryRecvError::Empty) => Next::Nothing,
            };
        }
    }
}

impl Carried {
    fn arrive(mut self) -> Next {
        self.event.take().map_or(Next::Nothing, Next::Event)
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if self.event.is_some() {
            self.dropped.increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::fixture::{legacy_event, series, snapshot};
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn a_full_lane_drops_and_counts_and_does_not_wait() {
        let metrics = Metrics::new();
        let (lane, end) = lane(4, metrics.spans().queue_full);
        let event = legacy_event(&snapshot(1));
        let kept = (0..10).filter(|_| lane.offer(&event)).count();
        assert_eq!((kept, series(&metrics, r#"cellgate_spans_dropped_total{reason="queue"}"#)), (4, 6));
        assert!(!lane.close(Duration::ZERO), "the thread is still there");
        drop(end);
        assert!(lane.close(Duration::from_secs(10)));
    }

    #[test]
    fn what_is_put_in_behind_the_end_is_counted() {
        let metrics = Metrics::new();
        let (lane, end) = lane(4, metrics.spans().queue_full);
        let event = legacy_event(&snapshot(1));
        assert!(lane.offer(&event) && !lane.close(Duration::ZERO));
        assert!(matches!(end.at_once(), Next::Event(_)) && matches!(end.at_once(), Next::End));
        // As a thread that saw it open before it was closed.
        assert!(lane.put(&event));
        drop(end);
        assert!(!lane.put(&event) && !lane.offer(&event));
        assert_eq!(series(&metrics, r#"cellgate_spans_dropped_total{reason="queue"}"#), 3);
    }
}
