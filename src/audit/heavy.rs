//! Who is seen most often, in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi, 2005). Whoever finds no place takes that of
//! the one with the fewest counts, and takes those over as what may be too many. Whoever makes up more than one of
//! `places` of all counts has a place, and none was seen less often than is said, taken what may be too many away.

use super::map::Map;

/// How often somebody was seen, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub count: u64,
    /// How many of them may be somebody else's.
    pub too_many: u64,
}

/// Counts by name.
#[derive(Debug)]
pub(super) struct HeavyHitters {
    places: usize,
    /// The position of each name in both lists.
    positions: Map<Box<str>, usize>,
    names: Vec<Box<str>>,
    seen: Vec<Seen>,
}

impl HeavyHitters {
    /// With so many places; each new name beyond them looks at all of them.
    pub fn new(places: usize) -> Self {
        Self { places, positions: Map::default(), names: Vec::new(), seen: Vec::new() }
    }

    /// Counts.
    pub fn add(&mut self, name: &str, more: Seen) {
        let at = match self.positions.get(name) {
            Some(at) => *at,
            None => self.place(name),
        };
        let seen = &mut self.seen[at];
        (seen.count, seen.too_many) = (seen.count + more.count, seen.too_many + more.too_many);
    }

    /// Everybody who has a place.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Seen)> {
        self.names.iter().map(|name| &**name).zip(self.seen.iter().copied())
    }

    fn place(&mut self, name: &str) -> usize {
        let at = if self.names.len() < self.places {
            self.names.push(name.into());
            self.seen.push(Seen::default());
            self.names.len() - 1
        } else {
            let fewest = self.seen.iter().enumerate().min_by_key(|(_, seen)| seen.count);
            let at = fewest.expect("there are places").0;
            let gone = std::mem::replace(&mut self.names[at], name.into());
            self.positions.remove(&gone);
            self.seen[at].too_many = self.seen[at].count;
            at
        };
        self.positions.insert(name.into(), at);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Seen = Seen { count: 1, too_many: 0 };

    #[test]
    fn who_fits_is_counted_exactly() {
        let mut all = HeavyHitters::new(4);
        ["a", "b", "a", "c", "a", "d"].into_iter().for_each(|name| all.add(name, ONE));
        let mut seen: Vec<_> = all.iter().map(|(name, seen)| (name, seen.count, seen.too_many)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [("a", 3, 0), ("b", 1, 0), ("c", 1, 0), ("d", 1, 0)]);
    }

    #[test]
    fn a_million_names_leave_the_heavy_ones_within_their_bounds_and_no_more_places() {
        const PLACES: usize = 64;
        let mut all = HeavyHitters::new(PLACES);
        for number in 0..1_000_000u64 {
            all.add(&format!("n{number}"), ONE);
            // One of twenty, and one of fifty.
            if number % 20 == 0 {
                all.add("twentieth", ONE);
            }
            if number % 50 == 0 {
                all.add("fiftieth", ONE);
            }
        }
        assert_eq!((all.names.len(), all.positions.len(), all.seen.len()), (PLACES, PLACES, PLACES));
        let all_counts = 1_000_000 + 50_000 + 20_000;
        for (name, truth) in [("twentieth", 50_000), ("fiftieth", 20_000)] {
            let found = all.iter().find(|(found, _)| *found == name).map(|(_, seen)| seen);
            let seen = found.unwrap_or_default();
            assert!(seen.count - seen.too_many <= truth && truth <= seen.count, "{name}: {seen:?}");
            assert!(seen.too_many <= all_counts / PLACES as u64, "{name}: {seen:?}");
        }
    }
}
