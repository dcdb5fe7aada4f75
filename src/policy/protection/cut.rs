//! Who goes first where not all can: the class, and inside a class a number that the request has. Where that is
//! made of the account, the same accounts stay served; where it is drawn, all lose the same part.

use super::priority::Priority;

/// Classes in front, all of them, and of one class a share. As one word, for requests to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut(u64);

/// Ranks of one class.
const RANKS: f64 = (1u64 << 32) as f64;

impl Cut {
    /// Everybody.
    pub const ALL: Self = Self((Priority::ALL.len() as u64) << 32);

    /// Nobody.
    pub const NONE: Self = Self(0);

    /// The first of these, by class, that need no more than `room`. A class that nobody asks for is in, where
    /// those before it are.
    pub fn of(rates: &[f64; 4], room: f64) -> Self {
        let mut left = room;
        for (class, rate) in (0u64..).zip(rates) {
            if *rate > left {
                // Below 2^32, for the rate is more than what is left.
                return Self((class << 32) + (left.max(0.0) / rate * RANKS) as u64);
            }
            left -= rate;
        }
        Self::ALL
    }

    /// Whether a request of this class with this number is in.
    pub fn holds(self, priority: Priority, rank: u32) -> bool {
        ((priority as u64) << 32 | u64::from(rank)) < self.0
    }

    /// Which part of these rates is in, as a rate.
    pub fn part(self, rates: &[f64; 4]) -> f64 {
        let parts = (0u64..).zip(rates).map(|(class, rate)| {
            let ranks = self.0.saturating_sub(class << 32) as f64;
            rate * (ranks / RANKS).min(1.0)
        });
        parts.sum()
    }

    /// As a word.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// From a word.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_go_in_order_and_the_last_in_part() {
        const HALF: u32 = 1 << 31;
        let rates = [10.0, 20.0, 0.0, 40.0];
        // Room, and which ranks are in, by class: none, half, all.
        let cases = [
            (0.0, [0, 0, 0, 0]),
            (5.0, [1, 0, 0, 0]),
            (20.0, [2, 1, 0, 0]),
            (50.0, [2, 2, 2, 1]),
            (70.0, [2, 2, 2, 2]),
            (f64::INFINITY, [2, 2, 2, 2]),
            (-1.0, [0, 0, 0, 0]),
        ];
        for (room, expected) in cases {
            let cut = Cut::of(&rates, room);
            let found = Priority::ALL.map(|class| {
                [HALF - 1, u32::MAX].map(|rank| usize::from(cut.holds(class, rank))).iter().sum::<usize>()
            });
            assert_eq!(found, expected, "room {room}");
            assert!((cut.part(&rates) - room.clamp(0.0, 70.0)).abs() < 1e-6, "room {room}");
        }
        assert_eq!(Cut::of(&[0.0; 4], 0.0), Cut::ALL, "nobody asks");
        assert!(Cut::ALL.holds(Priority::Bulk, u32::MAX) && !Cut::NONE.holds(Priority::Critical, 0));
    }
}
