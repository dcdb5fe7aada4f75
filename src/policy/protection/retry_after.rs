//! When who was refused may come again: as many seconds as it takes to serve all who were refused, each at another of
//! them. A constant would bring all of them back at once.

/// What the answer is made from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Refusals {
    /// Refused a second, lately.
    pub refused_rps: f64,
    /// Requests a second that there is room for beside those that were served: what whoever comes again can use.
    pub spare_rps: f64,
    /// Seconds before which nobody should come again: what is left of a ramp's step, 1 where nothing is known.
    pub base_secs: u32,
}

/// Refusals of so many seconds come again together: as many as clients wait that know no better (SDKs start at 1 to
/// 5 s and double).
const WINDOW_SECS: f64 = 5.0;

/// With a spread of less than two seconds all come in the same one.
pub const LEAST_SPREAD_SECS: u32 = 2;

/// Who is told more than a minute is a person who leaves, or a program that does not listen.
pub const MOST_SPREAD_SECS: u32 = 60;

/// Over how many seconds those come again who are refused now: 2 to 60.
pub fn spread_secs(refusals: Refusals) -> u32 {
    let waiting = refusals.refused_rps * WINDOW_SECS;
    let spread = (waiting / refusals.spare_rps).ceil();
    // Without room it is infinite, without room and refusals no number.
    match spread.is_nan() {
        true => LEAST_SPREAD_SECS,
        false => spread.clamp(f64::from(LEAST_SPREAD_SECS), f64::from(MOST_SPREAD_SECS)) as u32,
    }
}

/// The value of the header, in whole seconds (RFC 9110 section 10.2.3); `random` is even over 0..2^32.
pub fn retry_after_secs(base_secs: u32, spread_secs: u32, random: u32) -> u32 {
    // The upper bits of the product spread the number evenly (Lemire, 2019).
    let jitter = (u64::from(random) * u64::from(spread_secs)) >> 32;
    base_secs.saturating_add(u32::try_from(jitter).unwrap_or(spread_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_what_it_takes_to_serve_them() {
        for (refused_rps, spare_rps, expect) in [
            (100.0, 50.0, 10),
            (100.0, 45.0, 12),
            (1.0, 1_000.0, 2),
            (0.0, 0.0, 2),
            (1_000.0, 1.0, 60),
            (1.0, 0.0, 60),
        ] {
            let found = spread_secs(Refusals { refused_rps, spare_rps, base_secs: 1 });
            assert_eq!(found, expect, "{refused_rps} refused, {spare_rps} spare");
        }
    }

    #[test]
    fn they_come_evenly_over_it() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut seconds = [0_u32; 10];
        for _ in 0..10_000 {
            seconds[retry_after_secs(1, 10, random.u32(..)) as usize - 1] += 1;
        }
        let chi_square: f64 = seconds.iter().map(|n| (f64::from(*n) - 1_000.0).powi(2) / 1_000.0).sum();
        // 16.9 is what one in twenty even draws exceeds with 9 degrees of freedom.
        assert!(chi_square < 16.9, "{chi_square}: {seconds:?}");
        assert_eq!(retry_after_secs(u32::MAX, 60, u32::MAX), u32::MAX);
    }
}
