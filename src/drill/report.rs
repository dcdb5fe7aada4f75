//! What came of a rehearsal: what each class got, what the neighbours noticed, how much the others were asked. What
//! that means is in [`finding`](super::finding).

use std::time::Duration;

use super::books::{Books, CellBooks, Counts, Second};
use super::finding::{Finding, find};
use super::scenario::{BREAKS_AT, SETTLED_AFTER, Scenario};
use crate::policy::guard::Mode;
use crate::policy::ids::Label;
use crate::policy::moment::Moment;
use crate::policy::protection::failover::FailoverRules;
use crate::policy::protection::health::State;
use crate::policy::protection::judge::Change;
use crate::policy::protection::policies::Policy;
use crate::policy::snapshot::{Cell, Group, Snapshot};

/// What came of one scenario. Rates and numbers are of all replicas, where fewer were simulated.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was rehearsed.
    pub scenario: Scenario,
    /// The lost cell, or the lost zone.
    pub what: Box<str>,
    /// Cells that are asked for something.
    pub cells: Vec<CellReport>,
}

/// One thing that was decided.
#[derive(Clone, Debug)]
pub struct Line {
    /// Since the fault began, in seconds.
    pub at: f64,
    /// In the words of the log.
    pub what: String,
    /// Not just one more probe of an endpoint that stays out.
    pub is_news: bool,
}

/// One cell.
#[derive(Clone, Debug)]
pub struct CellReport {
    /// Its name.
    pub cell: Label,
    /// Cells that differ in nothing but names and addresses, and were not simulated besides.
    pub like: Vec<Label>,
    /// It has lost something.
    pub is_hit: bool,
    /// Requests a second that were planned for it.
    pub demand: f64,
    /// What its other groups are declared to bear, less the reserve of failover.
    pub left_rps: f64,
    /// What is declared of one group at one replica, at least.
    pub least_part: f64,
    /// What failover does for it.
    pub failover: Mode,
    /// From the fault on to the end, by class.
    pub all: Second,
    /// Since the fault, until load has been moved as far as it will.
    pub moving: Second,
    /// While the fault lasts, after that.
    pub settled: Second,
    /// All that was not served before the fault, of all.
    pub before: (u64, u64),
    /// Its groups.
    pub groups: Vec<GroupReport>,
    /// Seconds from the end of the fault until all that was asked was served; nothing where that was not seen.
    pub well_after: Option<f64>,
    /// When groups of it began to thrash, in seconds since the fault.
    pub collapses: Vec<f64>,
    /// See [`CellBooks::over_envelope`].
    pub over_envelope: u64,
    /// By second from the beginning: asked, served, refused here, failed.
    pub curve: Vec<[f64; 4]>,
    /// What was decided of it, and of who is sick, at the first replica.
    pub timeline: Vec<Line>,
    /// What it means.
    pub finding: Finding,
}

/// One group.
#[derive(Clone, Debug)]
pub struct GroupReport {
    /// Its zone.
    pub zone: Label,
    /// It is lost.
    pub is_lost: bool,
    /// It serves only what others have lost.
    pub stands_by: bool,
    /// Declared, in requests a second.
    pub capacity_rps: f64,
    /// Requests in its busiest second since the fault.
    pub most_rps: f64,
    /// Of these, those of other groups.
    pub moved_rps: f64,
    /// When that second ended, in seconds since the fault.
    pub at: f64,
}

/// Served is whatever is served of so many seconds together: a second of a small cell has too few.
const WINDOW: usize = 5;

/// All is served where no more than this part is not. A percent or two are lost at small replicas while groups are on
/// their way back, to requests that come all at once; whom the ramp still refuses are many more.
const UNSERVED: f64 = 0.05;

impl Report {
    /// Of what was written down.
    pub fn new(scenario: &Scenario, snapshot: &Snapshot, demand: &[f64], scale: f64, books: &Books) -> Self {
        let asked = (0..snapshot.cells.len()).filter(|cell| demand[*cell] > 0.0);
        let view = |at: usize| View { scenario, snapshot, scale, at, all: books, books: &books.cells[at] };
        Self {
            scenario: scenario.clone(),
            what: scenario.what(snapshot),
            cells: asked.map(|cell| view(cell).report(demand[cell])).collect(),
        }
    }

    /// Whether it holds, for all of its cells.
    pub fn holds(&self) -> bool {
        self.cells.iter().all(|cell| cell.finding.holds)
    }

    /// The cell that an operator should see first: of those that have lost something, the one that lost most.
    pub fn worst(&self) -> Option<&CellReport> {
        let hit = self.cells.iter().filter(|cell| cell.is_hit);
        let key = |cell: &CellReport| (!cell.finding.holds, lost_share(&cell.settled, None));
        hit.reduce(|worst, cell| if key(cell) > key(worst) { cell } else { worst })
    }
}

/// One cell in the books.
struct View<'a> {
    scenario: &'a Scenario,
    snapshot: &'a Snapshot,
    scale: f64,
    at: usize,
    all: &'a Books,
    books: &'a CellBooks,
}

impl View<'_> {
    fn report(&self, demand: f64) -> CellReport {
        let cell: &Cell = &self.snapshot.cells[self.at];
        let (breaks, mended) = (whole(BREAKS_AT), whole(self.scenario.mended_at()));
        let settled = (breaks + whole(SETTLED_AFTER)).min(mended);
        let before = self.books.all_between(0, breaks);
        let groups: Vec<GroupReport> =
            cell.groups.iter().enumerate().map(|group| self.group(group)).collect();
        let left = groups.iter().filter(|group| !group.is_lost).map(|group| group.capacity_rps);
        let replicas = f64::from(self.snapshot.protection.replicas.get());
        let parts = groups.iter().map(|group| group.capacity_rps / replicas);
        let point = |second: &Second| {
            let mut all = Counts::default();
            second.iter().for_each(|counts| all.add(counts));
            [all.asked, all.served, all.shed_all(), all.failed].map(|count| count as f64 * self.scale)
        };
        let scaled = |second: Second| second.map(|counts| counts.times(self.scale));
        let collapses = self.books.collapses.iter().map(|at| since_fault(*at));
        let mut report = CellReport {
            cell: cell.name.clone(),
            like: Vec::new(),
            is_hit: groups.iter().any(|group| group.is_lost),
            demand,
            left_rps: left.fold(0.0, |sum, rps| sum + rps) * (1.0 - FailoverRules::default().reserve),
            least_part: parts.fold(f64::INFINITY, f64::min),
            failover: cell.protection.modes.of(Policy::Failover),
            all: scaled(self.books.between(breaks, usize::MAX)),
            moving: scaled(self.books.between(breaks, settled)),
            settled: scaled(self.books.between(settled, mended)),
            before: (before.lost(), before.asked),
            well_after: well_after(&self.books.seconds, mended),
            groups,
            collapses: collapses.filter(|at| *at >= 0.0).collect(),
            over_envelope: self.books.over_envelope,
            curve: self.books.seconds.iter().map(point).collect(),
            timeline: self.timeline(),
            finding: Finding::default(),
        };
        report.finding = find(self.scenario, &report);
        report
    }

    fn group(&self, (at, group): (usize, &Group)) -> GroupReport {
        let groups = &self.snapshot.cells[self.at].groups;
        let peak = &self.books.groups[at];
        GroupReport {
            zone: group.zone.clone(),
            is_lost: self.scenario.loses(self.snapshot, self.at, at),
            stands_by: Some(group.priority) != groups.iter().map(|group| group.priority).min(),
            capacity_rps: group.capacity_rps.map_or(0.0, f64::from),
            most_rps: peak.most as f64 * self.scale,
            moved_rps: peak.moved as f64 * self.scale,
            at: since_fault(peak.at),
        }
    }

    fn timeline(&self) -> Vec<Line> {
        let begins = Moment::START + BREAKS_AT;
        let name = &self.snapshot.cells[self.at].name;
        let is_of_it = |change: &Change| match change {
            Change::Endpoint(cell, ..) | Change::Group(cell, ..) | Change::Ramp(cell, _) => cell == name,
            Change::Verdict(_) => true,
        };
        let said = self.all.changes.iter().filter(|(at, replica, _)| *replica == 0 && *at >= begins);
        said.filter(|(.., change)| is_of_it(change))
            .map(|(at, _, change)| Line {
                at: since_fault(*at),
                what: change.to_string(),
                is_news: is_news(change),
            })
            .collect()
    }
}

impl CellReport {
    /// Requests that were not served from the fault on, less as many as before it in the same time.
    pub fn extra_lost(&self) -> u64 {
        let mut all = Counts::default();
        self.all.iter().for_each(|counts| all.add(counts));
        let (lost, asked) = self.before;
        let usual = (lost as f64 / asked.max(1) as f64 * all.asked as f64).ceil() as u64;
        all.lost().saturating_sub(usual)
    }
}

impl Scenario {
    /// The lost cell, or the lost zone.
    pub fn what(&self, snapshot: &Snapshot) -> Box<str> {
        match self {
            Self::CellLoss { cell } | Self::Recovery { cell } => snapshot.cells[*cell].name.as_str().into(),
            Self::ZoneLoss { zone } => zone.clone(),
        }
    }
}

/// Until the end of the last seconds in which not all was served.
fn well_after(seconds: &[Second], mended: usize) -> Option<f64> {
    let since = seconds.get(mended..)?;
    let mut last_bad = 0;
    for (at, window) in since.chunks_exact(WINDOW).enumerate() {
        let mut all = Counts::default();
        window.iter().flatten().for_each(|counts| all.add(counts));
        if all.lost() as f64 > UNSERVED * all.asked as f64 {
            last_bad = (at + 1) * WINDOW;
        }
    }
    (last_bad + 2 * WINDOW <= since.len()).then_some(last_bad as f64)
}

fn since_fault(at: Moment) -> f64 {
    (at.nanos() as f64 - (Moment::START + BREAKS_AT).nanos() as f64) / 1e9
}

fn is_news(change: &Change) -> bool {
    match change {
        Change::Endpoint(.., step) => {
            step.to != State::Probing && (step.from != State::Probing || step.to == State::Up)
        }
        Change::Group(..) | Change::Ramp(..) | Change::Verdict(_) => true,
    }
}

/// The part of new requests that was not served, of one class or of all.
pub(super) fn lost_share(second: &Second, class: Option<usize>) -> f64 {
    let mut sum = Counts::default();
    let counted = second.iter().enumerate().filter(|(at, _)| class.is_none_or(|class| class == *at));
    counted.for_each(|(_, counts)| sum.add(counts));
    1.0 - sum.new_served as f64 / sum.new.max(1) as f64
}

fn whole(time: Duration) -> usize {
    usize::try_from(time.as_secs()).unwrap_or(usize::MAX)
}
