//! What each cell and surface answers now, for the document of `/live`: rates, how requests ended, how long the first byte took.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::telemetry::pulse::{Answer, TilePulse, Window};

/// The last minute of a cell.
#[derive(Debug, Default, Serialize)]
pub(super) struct TrafficView {
    /// Requests of each second, the newest last.
    requests: Vec<u32>,
    /// Those that the cell has failed, or could not be asked for.
    failed: Vec<u32>,
    last_10s: WindowView,
    last_60s: WindowView,
    /// The same by surface, without single seconds.
    surfaces: Vec<SurfaceView>,
}

#[derive(Debug, Serialize)]
struct SurfaceView {
    surface: String,
    last_10s: WindowView,
    last_60s: WindowView,
}

/// Some seconds.
#[derive(Debug, Default, Serialize)]
struct WindowView {
    /// How long it was: less than its name says in the first seconds of a process.
    seconds: f64,
    /// Requests a second that have ended.
    rps: f64,
    requests: u64,
    /// By how they have ended, each with its count; those that there were none of are left out.
    ended: BTreeMap<&'static str, u64>,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(Default)]
struct Sum {
    requests: Vec<u32>,
    failed: Vec<u32>,
    short: Window,
    long: Window,
    surfaces: Vec<SurfaceView>,
}

/// By the name of the cell; `none` is of requests that were refused before one was known.
pub(super) fn by_cell(tiles: Vec<TilePulse>) -> BTreeMap<Box<str>, TrafficView> {
    let mut sums: BTreeMap<Box<str>, Sum> = BTreeMap::new();
    for tile in tiles {
        let TilePulse { name, now: _, short, long, requests, failed, went_wrong: _ } = tile;
        let sum = sums.entry(name.cell).or_default();
        add_each(&mut sum.requests, requests);
        add_each(&mut sum.failed, failed);
        let (last_10s, last_60s) = (WindowView::new(&short), WindowView::new(&long));
        sum.surfaces.push(SurfaceView { surface: name.surface.into(), last_10s, last_60s });
        add(&mut sum.short, short);
        add(&mut sum.long, long);
    }
    let view = |Sum { requests, failed, short, long, surfaces }| TrafficView {
        requests,
        failed,
        last_10s: WindowView::new(&short),
        last_60s: WindowView::new(&long),
        surfaces,
    };
    sums.into_iter().map(|(cell, sum)| (cell, view(sum))).collect()
}

/// Seconds of tiles of one look are as many.
fn add_each(sums: &mut Vec<u32>, counts: Vec<u32>) {
    sums.resize(sums.len().max(counts.len()), 0);
    sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(count));
}

fn add(sum: &mut Window, window: Window) {
    sum.lasted = window.lasted;
    sum.latencies.add(&window.latencies);
    sum.answers.iter_mut().zip(window.answers).for_each(|(sum, count)| *sum += count);
}

impl WindowView {
    fn new(window: &Window) -> Self {
        let ms = |part| Some(round(window.quantile(part)?.as_secs_f64() * 1e3));
        let ended = Answer::ALL.map(|answer| (answer.as_str(), window.count(answer)));
        Self {
            seconds: round(window.lasted.as_secs_f64()),
            rps: round(window.per_second(window.requests())),
            requests: window.requests(),
            ended: ended.into_iter().filter(|(_, count)| *count > 0).collect(),
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
        }
    }
}

/// One digit behind the point: latencies are known to an eighth.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::pulse::TileName;

    fn tile(cell: &str, surface: &str, served: u64, failed: u64, ms: u64) -> TilePulse {
        let mut window = Window { lasted: Duration::from_secs(10), ..Window::default() };
        window.answers[Answer::Served as usize] = served;
        window.answers[Answer::Failed as usize] = failed;
        (0..served).for_each(|_| window.latencies.record(Duration::from_millis(ms)));
        TilePulse {
            name: TileName { cell: cell.into(), surface: surface.into() },
            now: Window::default(),
            short: window.clone(),
            long: window,
            requests: vec![0, 3],
            failed: vec![0, 1],
            went_wrong: Vec::new(),
        }
    }

    #[test]
    fn a_cell_is_the_sum_of_its_surfaces() {
        let tiles = vec![
            tile("us1", "app", 90, 10, 20),
            tile("us1", "metadata", 10, 0, 800),
            tile("mt", "app", 5, 0, 5),
        ];
        let cells = serde_json::to_value(by_cell(tiles)).unwrap();
        let us1 = &cells["us1"];
        assert_eq!((&us1["requests"], &us1["failed"]), (&[0, 6].into(), &[0, 2].into()));
        let now = &us1["last_10s"];
        assert_eq!((&now["rps"], &now["requests"]), (&11.0.into(), &110.into()));
        assert_eq!(now["ended"], serde_json::json!({"served": 100, "failed": 10}));
        let ms = |part: &str| now[part].as_f64().unwrap();
        assert!(ms("p50_ms") < 25.0 && ms("p95_ms") > 700.0 && ms("p99_ms") > 700.0, "{now}");
        assert_eq!(us1["surfaces"][1]["surface"], "metadata");
        assert_eq!(us1["surfaces"][1]["last_60s"]["requests"], 10);
        assert_eq!(cells["mt"]["last_10s"]["rps"], 0.5);
    }
}
