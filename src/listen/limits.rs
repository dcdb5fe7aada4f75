//! How many connections there may be: counts that are taken as permits and given back by their drop.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::drain::Token;
use super::observe::{Observer, Refusal};
use super::spec::{ConnectionLimits, ListenerSpec, within};

/// Counts connections over all listeners of the process.
#[derive(Debug)]
pub struct ConnectionCounts {
    limits: ConnectionLimits,
    total: AtomicUsize,
    handshakes: AtomicUsize,
    /// One lock for all sources: it is held for one hash operation twice in a connection's life, which
    /// is nothing beside the system calls of an accept.
    sources: Mutex<HashMap<Source, usize>>,
}

/// One of [`ConnectionLimits::total`].
#[derive(Debug)]
#[must_use = "a permit that is dropped at once counts nothing"]
pub struct TotalPermit(Arc<ConnectionCounts>);

/// One of [`ConnectionLimits::per_source`].
#[derive(Debug)]
#[must_use = "a permit that is dropped at once counts nothing"]
pub struct SourcePermit {
    counts: Arc<ConnectionCounts>,
    /// `None` for an exempt source, which is not counted.
    source: Option<Source>,
}

/// One of [`ConnectionLimits::handshakes`].
#[derive(Debug)]
#[must_use = "a permit that is dropped at once counts nothing"]
pub struct HandshakePermit(Arc<ConnectionCounts>);

/// Everything that ends with a connection: its permits, its hold on the drain, and the note to the
/// observer.
#[must_use = "a connection without its guard is not counted"]
pub struct ConnectionGuard {
    listener: Arc<ListenerSpec>,
    observer: Arc<dyn Observer>,
    _total: TotalPermit,
    source: Option<SourcePermit>,
    _token: Token,
}

/// Who connects: an IPv4 address, or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    V4(u32),
    V6(u64),
}

impl ConnectionCounts {
    /// Nothing is connected yet.
    pub fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            total: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            sources: Mutex::default(),
        })
    }

    /// Connections now.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Acquire)
    }

    /// Sources with a connection now.
    pub fn sources(&self) -> usize {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Handshakes now.
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Acquire)
    }

    /// Takes one place of the total.
    pub fn admit(self: &Arc<Self>) -> Result<TotalPermit, Refusal> {
        if take_below(&self.total, self.limits.total) {
            return Ok(TotalPermit(Arc::clone(self)));
        }
        Err(Refusal::TotalLimit)
    }

    /// Takes one place of the handshakes.
    pub fn admit_handshake(self: &Arc<Self>) -> Result<HandshakePermit, Refusal> {
        if take_below(&self.handshakes, self.limits.handshakes) {
            return Ok(HandshakePermit(Arc::clone(self)));
        }
        Err(Refusal::HandshakeLimit)
    }

    /// Takes one place of a source.
    pub fn admit_source(self: &Arc<Self>, address: IpAddr) -> Result<SourcePermit, Refusal> {
        let counts = Arc::clone(self);
        if within(&self.limits.exempt, address) {
            return Ok(SourcePermit { counts, source: None });
        }
        let source = Source::of(address);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sources.get(&source).copied().unwrap_or(0);
        if count >= self.limits.per_source {
            return Err(Refusal::SourceLimit);
        }
        sources.insert(source, count + 1);
        Ok(SourcePermit { counts, source: Some(source) })
    }
}

impl ConnectionGuard {
    /// Counts a connection as opened.
    pub fn new(
        listener: Arc<ListenerSpec>,
        observer: Arc<dyn Observer>,
        total: TotalPermit,
        token: Token,
    ) -> Self {
        observer.connection_opened(&listener);
        Self { listener, observer, _total: total, source: None, _token: token }
    }

    /// Adds the source's permit, once the source is known.
    pub fn hold(&mut self, source: SourcePermit) {
        self.source = Some(source);
    }
}

impl fmt::Debug for ConnectionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionGuard").field("listener", &self.listener.name).finish_non_exhaustive()
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.observer.connection_closed(&self.listener);
    }
}

impl Drop for TotalPermit {
    fn drop(&mut self) {
        self.0.total.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for SourcePermit {
    fn drop(&mut self) {
        let Some(source) = self.source else { return };
        let mut sources = self.counts.sources.lock().unwrap_or_else(PoisonError::into_inner);
        match sources.get_mut(&source) {
            Some(count) if *count > 1 => *count -= 1,
            // A source without connections leaves no entry, so the map is bounded by the total.
            Some(_) | None => {
                sources.remove(&source);
            }
        }
    }
}

/// Counts one more, unless the limit is reached.
fn take_below(count: &AtomicUsize, limit: usize) -> bool {
    let below = |count: usize| (count < limit).then_some(count + 1);
    count.fetch_update(Ordering::AcqRel, Ordering::Acquire, below).is_ok()
}

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn counts(total: usize, per_source: usize) -> Arc<ConnectionCounts> {
        let exempt = vec!["10.0.0.0/8".parse().unwrap()];
        ConnectionCounts::new(ConnectionLimits { total, per_source, exempt, handshakes: 2 })
    }

    #[test]
    fn the_total_is_given_back_by_drop() {
        let counts = counts(2, 10);
        let first = counts.admit().unwrap();
        let _second = counts.admit().unwrap();
        assert_eq!(counts.admit().unwrap_err(), Refusal::TotalLimit);
        drop(first);
        let _third = counts.admit().unwrap();
        assert_eq!(counts.total(), 2);
    }

    #[test]
    fn handshakes_are_counted_beside_connections() {
        let counts = counts(100, 100);
        let (first, _second) = (counts.admit_handshake().unwrap(), counts.admit_handshake().unwrap());
        assert_eq!(counts.admit_handshake().unwrap_err(), Refusal::HandshakeLimit);
        drop(first);
        let _third = counts.admit_handshake().unwrap();
        assert_eq!((counts.handshakes(), counts.total()), (2, 0));
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_64() {
        let same = [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            // The words of an IPv6 address must never be read as an IPv4 one.
            ("0.0.0.0", "::1", false),
        ];
        for (one, other, same) in same {
            let counts = counts(10, 1);
            let held = counts.admit_source(one.parse().unwrap()).unwrap();
            let refused = counts.admit_source(other.parse().unwrap()).is_err();
            assert_eq!(refused, same, "{one} and {other}");
            drop(held);
            assert!(counts.admit_source(other.parse().unwrap()).is_ok(), "{other} after {one}");
            assert_eq!(counts.sources(), 0);
        }
    }

    #[test]
    fn exempt_sources_count_for_the_total_only() {
        let counts = counts(10, 1);
        let address: IpAddr = "10.1.2.3".parse().unwrap();
        let held: Vec<_> = (0..5).map(|_| counts.admit_source(address).unwrap()).collect();
        assert_eq!((held.len(), counts.sources()), (5, 0));
    }

    #[test]
    fn counts_stay_exact_under_contention() {
        let counts = counts(64, 8);
        std::thread::scope(|scope| {
            for thread in 0..8u8 {
                let counts = &counts;
                scope.spawn(move || {
                    for round in 0..2_000u32 {
                        let address = IpAddr::from([192, 0, 2, (u32::from(thread) + round) as u8 % 4]);
                        let (total, source) = (counts.admit(), counts.admit_source(address));
                        assert!(counts.total() <= 64);
                        drop((total, source));
                    }
                });
            }
        });
        assert_eq!((counts.total(), counts.sources()), (0, 0));
    }
}
