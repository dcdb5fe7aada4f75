//! How much of an answer is taken from a cell at a time: what is convenient while few clients are behind with
//! reading, and less, the more there are. A piece that a client does not take stays in memory for as long as the
//! client is waited for (`limits.idle_timeout`), twice: in the engine's buffer, and encrypted before the socket.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::policy::apart::Apart;

/// While hardly anybody is behind: what a socket's buffer holds when a cell sends as fast as it can. An answer of a megabyte
/// costs a third less than in pieces of [`MANY`] (docs/performance.md).
pub(super) const WHOLE: usize = 256 * 1024;

/// So few are hardly anybody: with the next one, 2.25 MiB.
const FEW: usize = 8;

/// Otherwise, at most: four TLS records, and few system calls for large answers.
pub(super) const MANY: usize = 64 * 1024;

/// Of the request bodies of clients, for which nobody counts how many cells are behind.
pub(super) const UPLOADED: usize = 64 * 1024;

/// A page: less would save no memory.
const LEAST: usize = 4 * 1024;

/// What the pieces of clients that are behind should add up to. 64 of them get [`MANY`], which is more than a busy edge has;
/// from 1,024 on it is a page each, and a connection stays below 32 KiB.
const MEMORY: usize = 4 * 1024 * 1024;

/// Clients that have not taken yet what they were sent, counted for the whole process; apart from what every request
/// reads of it.
#[derive(Debug, Default)]
pub struct Pieces {
    behind: Apart<AtomicUsize>,
}

/// One client that is behind, until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Behind<'a>(&'a Pieces);

impl Pieces {
    /// A client has fallen behind.
    pub fn behind(&self) -> Behind<'_> {
        self.behind.fetch_add(1, Ordering::Relaxed);
        Behind(self)
    }

    /// Bytes of the next piece for anybody.
    pub fn size(&self) -> usize {
        match self.behind.load(Ordering::Relaxed) {
            0..=FEW => WHOLE,
            behind => (MEMORY / behind).clamp(LEAST, MANY),
        }
    }
}

impl Drop for Behind<'_> {
    fn drop(&mut self) {
        self.0.behind.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_shrink_with_those_who_are_behind_and_grow_again() {
        let pieces = Pieces::default();
        let mut behind: Vec<Behind<'_>> = (0..FEW).map(|_| pieces.behind()).collect();
        assert_eq!(pieces.size(), WHOLE);
        behind.push(pieces.behind());
        assert_eq!(pieces.size(), MANY);
        behind.extend((behind.len()..128).map(|_| pieces.behind()));
        assert_eq!(pieces.size(), MANY / 2);
        behind.extend((0..20_000).map(|_| pieces.behind()));
        assert_eq!(pieces.size(), LEAST);
        drop(behind);
        assert_eq!(pieces.size(), WHOLE);
    }
}
