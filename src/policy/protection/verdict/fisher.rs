//! Fisher's exact test (1922), one-sided: how likely it is that so many of the sick ones stand on one side by chance.

/// The chance that of `sick.0 + sick.1` sick among `all.0 + all.1` at least `sick.0` fall into the first group, which
/// has `all.0` members. Exact for few, which is where χ² is not.
pub fn chance(sick: (u32, u32), all: (u32, u32)) -> f64 {
    let (inside, outside) = all;
    let marked = sick.0 + sick.1;
    let most = marked.min(inside);
    let mut term =
        (ln_choose(inside, sick.0) + ln_choose(outside, sick.1) - ln_choose(inside + outside, marked)).exp();
    let mut sum = 0.0;
    for count in sick.0..=most {
        sum += term;
        // The next term of the hypergeometric distribution by the one before.
        let left = f64::from(inside - count) * f64::from(marked - count);
        let right = f64::from(count + 1) * (f64::from(outside + count + 1) - f64::from(marked));
        if right <= 0.0 {
            break;
        }
        term *= left / right;
    }
    sum.min(1.0)
}

fn ln_choose(of: u32, take: u32) -> f64 {
    let take = take.min(of - take.min(of));
    (0..take).map(|step| (f64::from(of - step) / f64::from(step + 1)).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_is_in_the_books() {
        let table = [
            // The lady and her tea: three of four right, and all four.
            ((3, 1), (4, 4), 17.0 / 70.0),
            ((4, 0), (4, 4), 1.0 / 70.0),
            ((0, 4), (4, 4), 1.0),
            ((0, 0), (4, 4), 1.0),
            // 1 / (24 over 8).
            ((8, 0), (8, 16), 1.0 / 735_471.0),
            ((3, 0), (3, 6), 1.0 / 84.0),
        ];
        for (sick, all, expect) in table {
            let found = chance(sick, all);
            assert!((found / expect - 1.0).abs() < 1e-9, "{sick:?} of {all:?}: {found} for {expect}");
        }
    }

    #[test]
    fn many_endpoints_are_no_trouble() {
        assert!(chance((333, 0), (333, 667)) < 1e-200);
        assert!((0.3..0.7).contains(&chance((100, 200), (333, 667))));
    }
}
