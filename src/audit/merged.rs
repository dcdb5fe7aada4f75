//! Rows of many windows as one: each window has its own in order, so that no more than one row of each is looked at, however
//! many rows there are.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// Rows of several sources that are each in the order of their keys; those of one key are joined.
pub(super) struct Merged<I, K, V> {
    /// The first row of each source that has one.
    first: BinaryHeap<Reverse<First<I, K, V>>>,
    join: fn(&mut V, V),
}

struct First<I, K, V> {
    key: K,
    value: V,
    rest: I,
}

impl<K: Ord, V, I: Iterator<Item = (K, V)>> Merged<I, K, V> {
    /// Of these sources.
    pub fn new(sources: impl Iterator<Item = I>, join: fn(&mut V, V)) -> Self {
        let first = sources.filter_map(|mut rest| {
            let (key, value) = rest.next()?;
            Some(Reverse(First { key, value, rest }))
        });
        Self { first: first.collect(), join }
    }

    /// The row that comes first, where its key is this one, or `None` takes any.
    fn take(&mut self, key: Option<&K>) -> Option<(K, V)> {
        let mut top = self.first.peek_mut()?;
        if key.is_some_and(|key| top.0.key != *key) {
            return None;
        }
        match top.0.rest.next() {
            Some((key, value)) => {
                let First { key: of, value: row, .. } = &mut top.0;
                Some((std::mem::replace(of, key), std::mem::replace(row, value)))
            }
            None => {
                let Reverse(First { key, value, .. }) = PeekMut::pop(top);
                Some((key, value))
            }
        }
    }
}

impl<K: Ord, V, I: Iterator<Item = (K, V)>> Iterator for Merged<I, K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        let (key, mut sum) = self.take(None)?;
        while let Some((_, more)) = self.take(Some(&key)) {
            (self.join)(&mut sum, more);
        }
        Some((key, sum))
    }
}

impl<I, K: Ord, V> PartialEq for First<I, K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<I, K: Ord, V> Eq for First<I, K, V> {}

impl<I, K: Ord, V> PartialOrd for First<I, K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<I, K: Ord, V> Ord for First<I, K, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn rows_of_one_key_are_joined_and_all_come_in_order() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let mut expect = BTreeMap::<u8, u64>::new();
            let sources: Vec<Vec<(u8, u64)>> = (0..rng.usize(0..6))
                .map(|_| {
                    let mut rows: Vec<(u8, u64)> =
                        (0..rng.usize(0..20)).map(|_| (rng.u8(0..30), rng.u64(0..9))).collect();
                    rows.sort_unstable();
                    rows.iter().for_each(|(key, value)| *expect.entry(*key).or_default() += value);
                    rows
                })
                .collect();
            let merged = Merged::new(sources.into_iter().map(Vec::into_iter), |sum, more| *sum += more);
            assert_eq!(merged.collect::<Vec<_>>(), expect.into_iter().collect::<Vec<_>>());
        }
    }
}
