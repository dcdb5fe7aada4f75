//! What requests count of one endpoint for the detector: atomics that lock nobody out, taken once a second and made
//! [`Signals`] of.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::super::histogram::{Histogram, take};
use super::signals::{Failures, Kernel, Place, Segments, Signals};

/// Sockets of an endpoint that the kernel is asked about in one second: each costs four system calls.
const SAMPLES: u32 = 4;

/// One endpoint, as requests see it. Kept over reloads while its address is the same.
#[derive(Debug, Default)]
pub struct Counters {
    started: AtomicU32,
    ended: AtomicU32,
    waiting: AtomicU32,
    connects: AtomicU32,
    connect_times: Histogram,
    tls_times: Histogram,
    rtts: Histogram,
    sampled: AtomicU32,
    segments_sent: AtomicU32,
    segments_again: AtomicU32,
    first_bytes: Histogram,
    failures: [AtomicU32; Failure::ALL.len()],
}

/// How a request or a connection failed; see [`Failures`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// See [`Failures::unreachable`].
    Unreachable,
    /// See [`Failures::refused`].
    Refused,
    /// See [`Failures::reset`].
    Reset,
    /// See [`Failures::timeout`].
    Timeout,
    /// See [`Failures::gateway`].
    Gateway,
    /// See [`Failures::app`].
    App,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Unreachable, Self::Refused, Self::Reset, Self::Timeout, Self::Gateway, Self::App];

    /// Label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Gateway => "gateway",
            Self::App => "app",
        }
    }
}

/// What the kernel says of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The smoothed round trip.
    pub rtt: Duration,
    /// Segments sent since the connection began.
    pub sent: u32,
    /// Those among them that were sent again.
    pub again: u32,
}

/// A request on its way to its first byte. Dropped without an end (the client went away) it says nothing.
#[derive(Debug)]
#[must_use]
pub struct Waiting<'a>(&'a Counters);

impl Counters {
    /// A request is sent.
    pub fn begin(&self) -> Waiting<'_> {
        add(&self.started, 1);
        add(&self.waiting, 1);
        Waiting(self)
    }

    /// A connection was made, in so much time, and TLS on top of it in so much.
    pub fn connected(&self, tcp: Duration, tls: Option<Duration>) {
        add(&self.connects, 1);
        self.connect_times.record(tcp);
        if let Some(tls) = tls {
            self.tls_times.record(tls);
        }
    }

    /// A connection was not made.
    pub fn not_connected(&self, failure: Failure) {
        add(&self.connects, 1);
        self.failed(failure);
    }

    /// Whether the kernel is to be asked about one more socket in this second.
    pub fn wants_sample(&self) -> bool {
        // Most requests only read.
        self.sampled.load(Ordering::Relaxed) < SAMPLES
            && self.sampled.fetch_add(1, Ordering::Relaxed) < SAMPLES
    }

    /// The kernel's word before a request and after it.
    pub fn sample(&self, before: Socket, after: Socket) {
        self.rtts.record(after.rtt);
        add(&self.segments_sent, after.sent.wrapping_sub(before.sent));
        add(&self.segments_again, after.again.wrapping_sub(before.again));
    }

    /// What came since the last time, of the endpoint in this place.
    pub fn take(&self, place: Place) -> Signals {
        self.sampled.store(0, Ordering::Relaxed);
        let median = |histogram: &Histogram| {
            let latencies = histogram.take();
            // Saturates beyond any number of requests in a second.
            let count = u32::try_from(latencies.count()).unwrap_or(u32::MAX);
            (latencies.median(0.0).map(|(median, _)| median), count)
        };
        let (rtt, samples) = median(&self.rtts);
        let (first_byte, answers) = median(&self.first_bytes);
        let [unreachable, refused, reset, timeout, gateway, app] = self.failures.each_ref().map(take);
        Signals {
            place,
            started: take(&self.started),
            ended: take(&self.ended),
            waiting: self.waiting.load(Ordering::Relaxed),
            connects: take(&self.connects),
            connect_time: median(&self.connect_times).0,
            tls_time: median(&self.tls_times).0,
            kernel: rtt.map(|rtt| Kernel { rtt, samples }),
            segments: Segments { sent: take(&self.segments_sent), retransmitted: take(&self.segments_again) },
            first_byte,
            answers,
            failures: Failures { unreachable, refused, reset, timeout, gateway, app },
        }
    }

    fn failed(&self, failure: Failure) {
        add(&self.failures[failure as usize], 1);
    }
}

impl Waiting<'_> {
    /// The first byte of an answer has come after so long; `failure` is what its status says. `None` for the time of a
    /// request that may wait on purpose.
    pub fn answered(self, first_byte: Option<Duration>, failure: Option<Failure>) {
        add(&self.0.ended, 1);
        if let Some(first_byte) = first_byte {
            self.0.first_bytes.record(first_byte);
        }
        if let Some(failure) = failure {
            self.0.failed(failure);
        }
    }

    /// There will be no answer.
    pub fn failed(self, failure: Failure) {
        add(&self.0.ended, 1);
        self.0.failed(failure);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn add(counter: &AtomicU32, count: u32) {
    counter.fetch_add(count, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::super::super::super::ids::Label;
    use super::*;

    fn place() -> Place {
        Place { cell: Label::parse("a").expect("a label"), zone: None, endpoint: "127.0.0.1:1".into() }
    }

    #[test]
    fn a_second_is_taken_once_and_who_waits_still_waits() {
        let counters = Counters::default();
        let ms = Duration::from_millis;
        counters.connected(ms(2), Some(ms(4)));
        counters.not_connected(Failure::Unreachable);
        let waiting = counters.begin();
        counters.begin().answered(Some(ms(50)), None);
        counters.begin().answered(Some(ms(50)), Some(Failure::App));
        counters.begin().failed(Failure::Timeout);
        drop(counters.begin());
        for _ in 0..SAMPLES {
            assert!(counters.wants_sample());
        }
        assert!(!counters.wants_sample(), "enough for this second");
        let socket = |sent, again| Socket { rtt: ms(3), sent, again };
        counters.sample(socket(u32::MAX, 5), socket(9, 7));
        let signals = counters.take(place());
        assert_eq!((signals.started, signals.ended, signals.waiting, signals.connects), (5, 3, 1, 2));
        assert_eq!((signals.answers, signals.kernel.map(|kernel| kernel.samples)), (2, Some(1)));
        assert_eq!((signals.segments.sent, signals.segments.retransmitted), (10, 2));
        assert_eq!(signals.failures, Failures { unreachable: 1, timeout: 1, app: 1, ..Failures::default() });
        let near = |time: Option<Duration>, ms: f64| {
            let found = time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
            assert!((found / ms - 1.0).abs() < 0.15, "{found} for {ms}");
        };
        near(signals.connect_time, 2.0);
        near(signals.tls_time, 4.0);
        near(signals.first_byte, 50.0);
        assert!(counters.wants_sample(), "a new second");
        let next = counters.take(place());
        assert_eq!((next.started, next.waiting, next.first_byte), (0, 1, None));
        drop(waiting);
        assert_eq!(counters.take(place()).waiting, 0);
    }

    #[test]
    fn failures_stand_in_the_order_of_their_numbers() {
        for (at, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, at, "{}", failure.as_str());
        }
    }
}
