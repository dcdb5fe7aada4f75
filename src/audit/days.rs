//! On which days of a month somebody came, in which hours, and how often: what a verdict is made of, in 248 bytes.

use crate::policy::legacy_use::activity::Day;

/// Days that any month has.
pub(super) const DAYS: usize = 31;

/// Bits of a day's hours.
const HOURS: u32 = 24;
const HOUR_BITS: i64 = (1 << HOURS) - 1;

/// Bytes of a day: a bit for each hour, and the requests.
const DAY_BYTES: usize = 8;

/// Each day of a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Days([(u32, u32); DAYS]);

impl Default for Days {
    fn default() -> Self {
        Self([(0, 0); DAYS])
    }
}

impl Days {
    /// How many bytes a file has of them.
    pub const BYTES: usize = DAYS * DAY_BYTES;

    /// Adds requests of one day of the month to days as a file has them, as [`add`](Self::add) does.
    pub fn add_to_bytes(
        bytes: &mut [u8; Self::BYTES],
        day_of_month: i64,
        hours: impl Iterator<Item = (u8, u64)>,
    ) {
        let day = usize::try_from(day_of_month).ok();
        let Some(place) = day.and_then(|day| bytes.chunks_exact_mut(DAY_BYTES).nth(day)) else { return };
        let mut day = of_day(place);
        add_hours(&mut day, hours);
        put_day(place, day);
    }

    /// Adds requests of one day of the month, the first of which is 0, by hour. More of them on a day than 32 bits hold are
    /// held as so many: nothing of a verdict depends on it.
    pub fn add(&mut self, day_of_month: i64, hours: &[(u8, u64)]) {
        let place = usize::try_from(day_of_month).ok().and_then(|day| self.0.get_mut(day));
        if let Some(day) = place {
            add_hours(day, hours.iter().copied());
        }
    }

    /// The days on which somebody came, where the month begins with `first_day` (days since the Unix epoch).
    pub fn seen(&self, first_day: i64) -> impl Iterator<Item = Day> {
        let days = (first_day..).zip(&self.0).filter(|(_, (hours, _))| *hours != 0);
        days.map(|(day, (hours, requests))| Day { day, hours: *hours, requests: u64::from(*requests) })
    }

    /// As the database of a fleet has it: requests above the 24 bits of the hours.
    pub fn to_numbers(&self) -> [i64; DAYS] {
        self.0.map(|(hours, requests)| i64::from(requests) << HOURS | i64::from(hours))
    }

    /// Of what a database has; what is missing is a day on which nobody came.
    pub fn of_numbers(numbers: &[i64]) -> Self {
        let mut days = Self::default();
        for (day, number) in days.0.iter_mut().zip(numbers) {
            let hours = u32::try_from(number & HOUR_BITS).expect("24 bits");
            *day = (hours, u32::try_from(number >> HOURS).unwrap_or(u32::MAX));
        }
        days
    }

    /// Of what a file has; what is missing is a day on which nobody came.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut days = Self::default();
        for (day, place) in days.0.iter_mut().zip(bytes.chunks_exact(DAY_BYTES)) {
            *day = of_day(place);
        }
        days
    }
}

fn add_hours((bits, requests): &mut (u32, u32), hours: impl Iterator<Item = (u8, u64)>) {
    for (hour, many) in hours.filter(|(hour, _)| *hour < 24) {
        *bits |= 1 << hour;
        *requests = requests.saturating_add(u32::try_from(many).unwrap_or(u32::MAX));
    }
}

fn of_day(place: &[u8]) -> (u32, u32) {
    let number = |half: &[u8]| u32::from_be_bytes(half.try_into().expect("half of eight bytes"));
    (number(&place[..4]) & 0x00ff_ffff, number(&place[4..]))
}

fn put_day(place: &mut [u8], (hours, requests): (u32, u32)) {
    place[..4].copy_from_slice(&hours.to_be_bytes());
    place[4..].copy_from_slice(&requests.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_add_up_and_are_the_same_after_packing() {
        let (mut days, mut bytes) = (Days::default(), [0; Days::BYTES]);
        for (day, hours) in [
            (0, &[(0, 3), (23, 1)][..]),
            (30, &[(5, 1)]),
            (30, &[(5, 2), (6, u64::MAX)]),
            // No such day, no such hour.
            (31, &[(5, 1)]),
            (-1, &[(5, 1)]),
            (4, &[(24, 1)]),
        ] {
            days.add(day, hours);
            Days::add_to_bytes(&mut bytes, day, hours.iter().copied());
        }
        let expect = [
            Day { day: 100, hours: 1 << 23 | 1, requests: 4 },
            Day { day: 130, hours: 0b110_0000, requests: u64::from(u32::MAX) },
        ];
        assert_eq!(days.seen(100).collect::<Vec<_>>(), expect);
        assert_eq!(Days::of_bytes(&bytes), days);
        assert_eq!(Days::of_bytes(&[]), Days::default());
        assert_eq!(Days::of_numbers(&days.to_numbers()), days);
        assert_eq!(Days::of_numbers(&[]), Days::default());
    }
}
