//! Brownouts and sunsets as metrics: which brownouts are in force now, how many requests have met each, and when legacy hosts
//! end. Labels are names of the configuration, of which there are few, and modes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use metrics::Counter;

use super::families;
use super::registry::Registry;
use crate::policy::brownout::{Brownout, BrownoutIndex, Planned};
use crate::policy::hosts::Role;
use crate::policy::protection::levers::board::LeverBoard;
use crate::policy::snapshot::Snapshot;

/// What is looked at when somebody scrapes.
#[derive(Debug, Default)]
pub struct BrownoutMeters {
    levers: OnceLock<Arc<LeverBoard>>,
    /// Ids and modes that have a series, so that those of a former configuration can be told from those in force.
    known: Mutex<HashSet<(String, &'static str)>>,
    /// The same of sunsets, by host, surface and what comes then.
    sunsets: Mutex<HashSet<[String; 3]>>,
}

impl BrownoutMeters {
    /// Where operators end brownouts before their time. Without it all are as they are configured.
    pub fn heed(&self, levers: Arc<LeverBoard>) {
        // Whoever is first has the board that requests read.
        let _ = self.levers.set(levers);
    }

    /// Sets the gauges of what is in force at `now`, in seconds since the Unix epoch.
    pub(super) fn look_at(&self, registry: &Registry, live: &Snapshot, now: i64) {
        let levers = self.levers.get().and_then(|board| board.read());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let set = |id: &str, mode: &'static str, value: bool| {
            let labels = [("brownout", id), ("mode", mode)];
            registry.gauge(&families::BROWNOUT_IN_FORCE, &labels).set(f64::from(u8::from(value)));
        };
        for (gone, mode) in &*known {
            set(gone, mode, false);
        }
        for brownout in &live.brownouts.all {
            let (id, mode) = (brownout.id.as_str(), brownout.mode.as_str());
            let is_cancelled = levers.as_ref().is_some_and(|levers| levers.cancels(&brownout.id).is_some());
            set(id, mode, brownout.windows.at(now).is_some() && !is_cancelled);
            known.insert((id.to_owned(), mode));
        }
        self.look_at_sunsets(registry, live);
    }

    fn look_at_sunsets(&self, registry: &Registry, live: &Snapshot) {
        let mut known = self.sunsets.lock().unwrap_or_else(PoisonError::into_inner);
        let set = |[host, surface, after]: &[String; 3], value: f64| {
            let labels = [("host", &**host), ("surface", &**surface), ("after_sunset", &**after)];
            registry.gauge(&families::SUNSET, &labels).set(value);
        };
        known.iter().for_each(|gone| set(gone, f64::NAN));
        for rule in live.hosts.iter().filter(|rule| rule.role == Role::Legacy) {
            let Some(schedule) = rule.schedule.map(|index| live.schedule(index)) else { continue };
            let surface = live.surface(rule.surface).name.to_string();
            let labels = [rule.pattern.to_string(), surface, schedule.after_sunset.as_str().to_owned()];
            set(&labels, schedule.sunset_at as f64);
            known.insert(labels);
        }
    }
}

/// The counters of a generation, by position of the brownout. There from the start, so that a rate can be seen in its first
/// increment.
pub(super) fn counters(registry: &Registry, snapshot: &Snapshot) -> Vec<Counter> {
    let counter = |brownout: &Brownout| {
        let labels = [("brownout", brownout.id.as_str()), ("mode", brownout.mode.as_str())];
        let counter = registry.counter(&families::BROWNOUT_REQUESTS, &labels);
        counter.increment(0);
        counter
    };
    snapshot.brownouts.all.iter().map(counter).collect()
}

/// The position of the brownout that a request has met.
pub(super) const fn position(planned: Option<Planned>) -> Option<usize> {
    match planned {
        Some(Planned::Brownout { index: BrownoutIndex(index), .. }) => Some(index as usize),
        Some(Planned::Sunset { .. }) | None => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use crate::policy::brownout::{BrownoutIndex, BrownoutMode, Planned};
    use crate::policy::protection::levers::board::LeverBoard;
    use crate::policy::protection::levers::{Lever, Levers};
    use crate::policy::refusal::Refusal;
    use crate::telemetry::fixture::{legacy_event, snapshot};
    use crate::telemetry::metrics::Metrics;
    use crate::test_snapshot::{brownouts, example};

    use super::*;

    #[test]
    fn when_each_legacy_host_ends_is_on_the_page_while_it_is_there() {
        let metrics = Metrics::new();
        let mut live = example().build();
        let page = |live: &Snapshot| metrics.render(live, UNIX_EPOCH);
        let of = |page: &str| {
            let rows = page.lines().filter(|line| line.starts_with("cellgate_sunset_timestamp_seconds{"));
            rows.filter(|line| line.contains(r#"host="cloud.getdbt.com""#))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let series = |after: &str, value: &str| {
            format!(
                r#"cellgate_sunset_timestamp_seconds{{host="cloud.getdbt.com",surface="app",after_sunset="{after}"}} {value}"#
            )
        };
        assert_eq!(of(&page(&live)), [series("keep", "1793491200")]);
        assert!(
            !page(&live).contains(r#"cellgate_sunset_timestamp_seconds{host="{prefix}.us1"#),
            "cell hosts do not end"
        );
        live.schedules[0].after_sunset = crate::policy::brownout::AfterSunset::Refuse;
        live.schedules[0].sunset_at += 1;
        let mut rows = of(&page(&live));
        rows.sort();
        assert_eq!(rows, [series("keep", "NaN"), series("refuse", "1793491201")]);
    }

    #[test]
    fn what_is_in_force_and_whom_it_meets_is_on_the_page() {
        let metrics = Metrics::new();
        let mut live = Arc::into_inner(snapshot(1)).unwrap();
        live.brownouts =
            brownouts(&[("bo-1", BrownoutMode::Observe, (10, 20)), ("bo-2", BrownoutMode::Hard, (15, 30))]);
        let live = Arc::new(live);
        metrics.prepare(&live);
        let page = |live: &Snapshot, now: u64| metrics.render(live, UNIX_EPOCH + Duration::from_secs(now));
        let check = |live: &Snapshot, now, row: &str| {
            let page = page(live, now);
            assert!(page.lines().any(|line| line == row), "{row} at {now} in\n{page}");
        };
        check(&live, 9, r#"cellgate_brownout_in_force{brownout="bo-1",mode="observe"} 0"#);
        check(&live, 10, r#"cellgate_brownout_in_force{brownout="bo-1",mode="observe"} 1"#);
        check(&live, 16, r#"cellgate_brownout_in_force{brownout="bo-2",mode="hard"} 1"#);
        check(&live, 16, r#"cellgate_brownout_requests_total{brownout="bo-1",mode="observe"} 0"#);
        let mut event = legacy_event(&live);
        let met = |index, mode| Some(Planned::Brownout { index: BrownoutIndex(index), mode, until: 20 });
        event.planned = met(0, BrownoutMode::Observe);
        metrics.request(&event);
        event.planned = met(1, BrownoutMode::Hard);
        event.refusal = Some(Refusal::BrownoutHard);
        metrics.request(&event);
        metrics.request(&event);
        // An index of another snapshot makes no series.
        event.planned = met(77, BrownoutMode::Hard);
        metrics.request(&event);
        check(&live, 16, r#"cellgate_brownout_requests_total{brownout="bo-1",mode="observe"} 1"#);
        check(&live, 16, r#"cellgate_brownout_requests_total{brownout="bo-2",mode="hard"} 2"#);

        let (board, mut levers) = (Arc::new(LeverBoard::default()), Levers::default());
        let lever = Lever::parse("brownout cancel bo-2").unwrap();
        let _ = levers.pull(lever, ("ann", "a customer calls"), None, 0).unwrap();
        metrics.brownouts.heed(Arc::clone(&board));
        board.put_up(levers);
        check(&live, 16, r#"cellgate_brownout_in_force{brownout="bo-2",mode="hard"} 0"#);
        check(&live, 16, r#"cellgate_brownout_in_force{brownout="bo-1",mode="observe"} 1"#);
        check(&snapshot(2), 16, r#"cellgate_brownout_in_force{brownout="bo-1",mode="observe"} 0"#);
    }
}
