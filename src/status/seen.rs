//! From what was counted and judged to what `policy::status` is shown: plain numbers of this second. Decides nothing.

use std::collections::HashMap;
use std::time::Duration;

use crate::policy::guard::Mode;
use crate::policy::ids::{CellIndex, Label};
use crate::policy::protection::judge::{CellReport, Report};
use crate::policy::protection::levers::{Held, Lever, Levers};
use crate::policy::protection::policies::Policy;
use crate::policy::protection::ramp::Phase;
use crate::policy::snapshot::{Cell, Snapshot};
use crate::policy::status::measures::{self, Measure};
use crate::policy::status::{CellSeen, Counts, TileSeen};
use crate::telemetry::pulse::{Answer, TilePulse, Window};

/// A cell is slow when its 95th percentile is so many times what it usually is, and so much longer: from 20 ms to 60 ms is
/// nothing that anybody feels.
const SLOW_TIMES: u32 = 3;
const SLOW_BY: Duration = Duration::from_millis(500);

/// How many seconds are looked at, as the longer window has them.
const LATELY: usize = 10;

/// What is seen of all cells, and what is done about each.
pub(super) fn seen(
    snapshot: &Snapshot,
    report: &Report,
    levers: &Levers,
    pulse: &[TilePulse],
) -> (Vec<CellSeen>, Vec<Vec<Measure>>) {
    let tiles: HashMap<(&str, &str), &TilePulse> =
        pulse.iter().map(|tile| ((&*tile.name.cell, &*tile.name.surface), tile)).collect();
    let cells = (0..).map(CellIndex).zip(&snapshot.cells);
    let of = |(at, cell): (CellIndex, &Cell)| {
        let measures = measures::of_cell(snapshot, at, report, levers);
        let judged = report.cells.iter().find(|judged| judged.cell == cell.name);
        let tile = |surface: &Label| {
            let pulse = tiles.get(&(cell.name.as_str(), surface.as_str()));
            tile_seen(surface, pulse.copied())
        };
        let seen = CellSeen {
            cell: cell.name.clone(),
            phase: judged.map_or(Phase::Full, |judged| judged.phase),
            ramp_percent: judged.and_then(ramp_percent),
            is_held: levers.iter().any(|pulled| holds(&pulled.lever, &cell.name)),
            is_drained: measures::is_out_of_service(cell, levers),
            is_checked: is_checked(cell, levers),
            is_slow: judged.is_some_and(is_slow),
            tiles: snapshot.surfaces.iter().map(|surface| tile(&surface.name)).collect(),
        };
        (seen, measures)
    };
    cells.map(of).unzip()
}

fn tile_seen(surface: &Label, pulse: Option<&TilePulse>) -> TileSeen {
    let counts = |window: &Window| {
        let of = |kinds: &[Answer]| kinds.iter().map(|kind| window.count(*kind)).sum::<u64>();
        Counts {
            served: of(&[Answer::Served]),
            failed: of(&[Answer::Failed]),
            refused: of(&[Answer::Down, Answer::NoRoom]),
            // What a lever refuses its clients feel; what a brownout refuses was announced.
            by_lever: window.by_lever,
            asking: window.asking,
            failing: window.failing,
        }
    };
    let bad = |pulse: &TilePulse| {
        let last = pulse.went_wrong.iter().rev().take(LATELY);
        last.fold(0, |bad, count| bad + u32::from(*count > 0))
    };
    TileSeen {
        surface: surface.clone(),
        recent: pulse.map(|pulse| counts(&pulse.now)).unwrap_or_default(),
        lately: pulse.map(|pulse| counts(&pulse.short)).unwrap_or_default(),
        bad_seconds: pulse.map_or(0, bad),
    }
}

/// A hold of writes alone lets reads through: its tiles say how they do.
fn holds(lever: &Lever, cell: &Label) -> bool {
    matches!(lever, Lever::Hold { whose: Held::Cell(held), writes_only: false } if held == cell)
}

/// Checks that only observe take nothing out: they say nothing of it.
fn is_checked(cell: &Cell, levers: &Levers) -> bool {
    let configured = || cell.protection.modes.of(Policy::Health);
    let mode = levers.mode(Policy::Health, cell.name.as_str()).map_or_else(configured, |of| of.value);
    cell.protection.is_checked() && mode == Mode::Enforce
}

/// From 1 to 99: whoever is at all of it does not ramp any more.
fn ramp_percent(judged: &CellReport) -> Option<u8> {
    let capacity = judged.ramp.capacity.filter(|capacity| *capacity > 0.0)?;
    let share = judged.ramp.rate / capacity * 100.0;
    // Between 1 and 99 it fits.
    share.is_finite().then(|| share.round().clamp(1.0, 99.0) as u8)
}

fn is_slow(judged: &CellReport) -> bool {
    let times = judged.p95.zip(judged.usual_p95);
    times.is_some_and(|(now, usual)| now > usual * SLOW_TIMES && now > usual + SLOW_BY)
}
