//! Durations counted in the buckets of [`duration_buckets`], and how a page tells them. The library of the other metrics keeps
//! each duration until somebody folds it into a bucket, which costs ten times as much and grows with the rate of requests; here
//! a duration is two additions, and its place a shift.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::Key;
use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{write_help_line, write_metric_line, write_type_line};

use super::families::{DOUBLINGS, Family, SHORTEST, duration_buckets};

/// Buckets with a bound, and the one without.
const BUCKETS: usize = DOUBLINGS as usize + 2;

/// What requests write.
#[derive(Debug)]
pub(super) struct Durations {
    counts: [AtomicU64; BUCKETS],
    /// Their sum: at 15,000 seconds in each second it begins anew after some 40 years.
    micros: AtomicU64,
}

/// Durations with the labels of their series.
pub(super) type Labelled = (Key, Arc<Durations>);

impl Durations {
    /// None yet.
    pub const fn new() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BUCKETS], micros: AtomicU64::new(0) }
    }

    /// Counts one.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        // To the nearest.
        self.micros.fetch_add(nanos.saturating_add(500) / 1_000, Ordering::Relaxed);
    }
}

/// The first bucket whose bound is not below.
fn bucket(nanos: u64) -> usize {
    let over = nanos.saturating_sub(1) / SHORTEST.as_nanos() as u64;
    // A bound is the one before it doubled.
    ((u64::BITS - over.leading_zeros()) as usize).min(BUCKETS - 1)
}

/// Appends a family to a page, with all its series.
pub(super) fn append(page: &mut String, family: &Family, series: &[Labelled]) {
    write_help_line(page, family.name, None, None, family.help);
    write_type_line(page, family.name, None, None, "histogram");
    let bounds: Vec<String> =
        duration_buckets().iter().map(ToString::to_string).chain(["+Inf".to_owned()]).collect();
    for (key, durations) in series {
        let labels = &LabelSet::from_key_and_global(key, &Default::default());
        let mut line = |suffix, le: Option<&String>, value: &dyn std::fmt::Display| {
            write_metric_line(page, family.name, Some(suffix), labels, le.map(|le| ("le", le)), value, None);
        };
        let mut count = 0;
        for (bound, more) in bounds.iter().zip(&durations.counts) {
            count += more.load(Ordering::Relaxed);
            line("bucket", Some(bound), &count);
        }
        line("sum", None, &(durations.micros.load(Ordering::Relaxed) as f64 / 1e6));
        line("count", None, &count);
    }
    page.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::families::REQUEST_DURATION;
    use crate::telemetry::registry::Registry;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_is_not_below_it() {
        let bounds = duration_buckets();
        let check = |nanos: u64| {
            let seconds = Duration::from_nanos(nanos).as_secs_f64();
            let expect = bounds.iter().position(|bound| seconds <= *bound).unwrap_or(bounds.len());
            assert_eq!(bucket(nanos), expect, "{nanos} ns");
        };
        assert_eq!(bounds.len() + 1, BUCKETS);
        for bound in &bounds {
            let nanos = Duration::from_secs_f64(*bound).as_nanos() as u64;
            (nanos - 2..=nanos + 2).for_each(check);
        }
        let mut random = fastrand::Rng::with_seed(6);
        (0..10_000).for_each(|round| check(random.u64(..) >> (round % 64)));
        [0, 1, u64::MAX].into_iter().for_each(check);
    }

    #[test]
    fn the_page_has_each_bucket_with_those_below_it() {
        let registry = Registry::new();
        let counted = registry.durations(&REQUEST_DURATION, &[("cell", "us1")]);
        for (millis, times) in [(1, 3), (80, 1), (200_000, 2)] {
            (0..times).for_each(|_| counted.record(Duration::from_millis(millis)));
        }
        registry.durations(&REQUEST_DURATION, &[("cell", "us1")]).record(Duration::from_micros(400));
        registry.durations(&REQUEST_DURATION, &[("cell", "mt")]);
        let page = registry.render();
        let (name, label) = (REQUEST_DURATION.name, r#"cell="us1""#);
        for (le, count) in
            [("0.0005", 1), ("0.001", 4), ("0.064", 4), ("0.128", 5), ("131.072", 5), ("+Inf", 7)]
        {
            let line = format!("{name}_bucket{{{label},le=\"{le}\"}} {count}");
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
        for line in [format!("{name}_sum{{{label}}} 400.0834"), format!("{name}_count{{{label}}} 7")] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
        let of = |start: &str| page.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!((of(&format!("# TYPE {name} histogram")), of(&format!("# HELP {name} "))), (1, 1));
        assert_eq!(of(&format!("{name}_count{{cell=\"mt\"}} 0")), 1);
        assert_eq!(of(&format!("{name}_bucket")), 2 * BUCKETS);
    }
}
