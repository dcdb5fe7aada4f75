//! The document of `/live`: views of what other pages show one by one, as of one moment. It names no account, for everybody on the
//! machine can call the loopback door.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use super::super::AdminState;
use super::super::candidate::CandidateView;
use super::super::cells::CellView;
use super::super::levers::LeverView;
use super::super::standing::VerdictView;
use super::super::views::{ReadyView, age};
use super::parts::{BrownoutView, MovesView, ReloadView};
use super::traffic::{self, TrafficView};
use crate::policy::protection::judge::Report;
use crate::policy::protection::observing::Alarm;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::labels::NONE;
use crate::telemetry::wall_time::{Millis, Seconds, unix_seconds};

/// Grows when a field changes its meaning or goes; fields that come do not change it.
pub(super) const VERSION: u32 = 1;

/// Everything that is live at one moment.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    version: u32,
    /// Which of this process's documents: listeners of one process with the same number have the same document.
    number: u64,
    at: String,
    /// Which process says it.
    process: String,
    program: &'static str,
    /// Where its console is.
    console: Option<String>,
    hash: String,
    loaded_at: String,
    /// For how long it has served.
    serves_for_s: u64,
    accounts: usize,
    #[serde(flatten)]
    ready: ReadyView,
    cells: Vec<LiveCell>,
    /// Requests that were refused before a cell was known.
    no_cell: Option<TrafficView>,
    /// Who is sick, the strongest first.
    verdicts: Vec<VerdictView>,
    /// Why somebody should look at verdicts that nobody heeds.
    verdict_observe_alarm: Option<&'static str>,
    levers: Vec<LeverView>,
    brownouts: Vec<BrownoutView>,
    moves: Vec<MovesView>,
    candidate: Option<CandidateView>,
    reloads: Vec<ReloadView>,
}

/// One cell, with what it answers now.
#[derive(Debug, Serialize)]
struct LiveCell {
    #[serde(flatten)]
    cell: CellView,
    /// Nothing where there was no request for a minute.
    traffic: Option<TrafficView>,
}

impl Document {
    /// Of one pinned generation.
    pub fn new(admin: &AdminState, number: u64, now: SystemTime) -> Self {
        // Before what serves is pinned, as for /moves.
        let staged = admin.reload.staged.borrow().clone();
        let (live, levers, last) =
            ((admin.live)(), admin.levers.pulled(), admin.reload.last.borrow().clone());
        let mut traffic = traffic::by_cell(admin.metrics.pulse.tiles());
        let (standing, unix) = (admin.metrics.standing.last(), unix_seconds(now));
        Self {
            version: VERSION,
            number,
            at: Millis(now).to_string(),
            process: admin.lineage.process().to_owned(),
            program: env!("CARGO_PKG_VERSION"),
            console: admin.console.url(),
            hash: live.hash.to_string(),
            loaded_at: Seconds(last.loaded_at).to_string(),
            serves_for_s: age(now, last.loaded_at),
            accounts: live.accounts.len(),
            ready: ReadyView::new(&admin.readiness, &live, &levers, now).without_accounts(),
            no_cell: traffic.remove(NONE),
            cells: LiveCell::all(&live, &standing, traffic),
            verdicts: standing.verdicts.iter().map(VerdictView::new).collect(),
            verdict_observe_alarm: standing.alarm.map(Alarm::as_str),
            levers: levers.iter().map(|pulled| LeverView::without_accounts(&levers, pulled, unix)).collect(),
            brownouts: BrownoutView::all(&live, &levers, unix),
            moves: MovesView::all(&live),
            candidate: staged.as_deref().map(CandidateView::new),
            reloads: admin.reload.recent.newest_first().iter().map(ReloadView::new).collect(),
        }
    }
}

impl LiveCell {
    fn all(live: &Snapshot, report: &Report, mut traffic: BTreeMap<Box<str>, TrafficView>) -> Vec<Self> {
        let cells = CellView::all(live, report).into_iter();
        cells.map(|cell| Self { traffic: traffic.remove(cell.name()), cell }).collect()
    }
}
