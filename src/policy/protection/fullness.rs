//! Which request is refused when not all can wait: by its class, and inside a class by chance.
//!
//! Only requests that find no free permit are weighed. The rule of Netflix (and of the decision note) weighs the
//! permits too, and then refuses a sixth of the lowest class at 70 % load, where a permit is free for each of them.

use super::priority::Priority;

/// Ranks of a class: fine enough that one more or less is a fraction of a per cent of all requests (DAGOR and Cinnamon
/// have 128 as well).
const RANKS_OF_CLASS: u32 = 128;

/// Ranks of all classes.
const RANKS: u32 = RANKS_OF_CLASS * Priority::ALL.len() as u32;

/// Fullness is in parts of so many; its cube fits in 32 bits.
pub const WHOLE: u32 = 1_024;

/// How full what waits is of the room it has, in 1,024ths.
pub fn fullness(queued: u32, room: u32) -> u32 {
    let parts = u64::from(queued) * u64::from(WHOLE) / u64::from(room.max(1));
    u32::try_from(parts).unwrap_or(WHOLE).min(WHOLE)
}

/// Whether a request may wait at this fullness: `rank <= 512 * (1 - x^3)`, the curve of Netflix's prioritised load
/// shedding. At half, half of the lowest class is refused; at 0.72 all of it and half of the class above; at 1 nobody
/// may wait. `random` is even over 0..2^32, and another number for each request: with one for each account the same
/// accounts would lose for an hour.
pub fn may_wait(priority: Priority, random: u32, fullness: u32) -> bool {
    let of_class = random % RANKS_OF_CLASS;
    let rank = priority as u32 * RANKS_OF_CLASS + of_class;
    let x = u64::from(fullness.min(WHOLE));
    let refused = x * x * x * u64::from(RANKS) / u64::from(WHOLE).pow(3);
    u64::from(rank) + refused < u64::from(RANKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_refused_in_order_and_inside_one_by_chance() {
        let table = [
            // queued of 100, per cent of each class that may wait
            (0, [100, 100, 100, 100]),
            (50, [100, 100, 100, 50]),
            (63, [100, 100, 100, 0]),
            (72, [100, 100, 50, 0]),
            (80, [100, 96, 0, 0]),
            (91, [99, 0, 0, 0]),
            (96, [46, 0, 0, 0]),
            (100, [0, 0, 0, 0]),
            (1_000, [0, 0, 0, 0]),
        ];
        for (queued, expect) in table {
            for (priority, expect) in Priority::ALL.into_iter().zip(expect) {
                let waits =
                    (0..RANKS_OF_CLASS).filter(|random| may_wait(priority, *random, fullness(queued, 100)));
                let percent = waits.count() as u32 * 100 / RANKS_OF_CLASS;
                assert!(percent.abs_diff(expect) <= 2, "{priority:?} at {queued}: {percent}, not {expect}");
            }
        }
        assert_eq!(fullness(1, 0), WHOLE, "without room everything is full");
    }
}
