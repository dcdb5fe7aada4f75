//! What came of a rehearsal, judged: what each class got, what the neighbours noticed, how much the others were
//! asked, and whether it holds.

use std::time::Duration;

use super::books::{Books, CellBooks, Counts, Second};
use super::scenario::{BREAKS_AT, FULL_AFTER, MENDED_AT, Scenario};
use crate::policy::ids::Label;
use crate::policy::moment::Moment;
use crate::policy::protection::failover::FailoverRules;
use crate::policy::protection::health::State;
use crate::policy::protection::judge::Change;
use crate::policy::protection::priority::Priority;
use crate::policy::snapshot::{Cell, Snapshot};

/// What came of one scenario. Rates and numbers are of all replicas, where fewer were simulated.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was rehearsed.
    pub scenario: Scenario,
    /// The lost cell, or the lost zone.
    pub what: Box<str>,
    /// Whether it holds, for all cells that were judged.
    pub holds: bool,
    /// Cells that are asked for something.
    pub cells: Vec<CellReport>,
    /// What the judge of the first replica did.
    pub timeline: Vec<Line>,
}

/// One thing that was decided.
#[derive(Clone, Debug)]
pub struct Line {
    /// Since the fault began, in seconds.
    pub at: f64,
    /// In the judge's own words.
    pub what: String,
    /// Not just one more probe of an endpoint that stays out.
    pub is_news: bool,
}

/// One cell.
#[derive(Clone, Debug)]
pub struct CellReport {
    /// Its name.
    pub cell: Label,
    /// It has lost something.
    pub is_hit: bool,
    /// Requests a second that were planned for it.
    pub demand: f64,
    /// What its other groups are declared to bear, less the reserve of failover.
    pub left_rps: f64,
    /// From the fault on to the end, by class.
    pub all: Second,
    /// While the fault lasts, once load has been moved as far as it will.
    pub settled: Second,
    /// All that was not served before the fault, of all.
    pub before: (u64, u64),
    /// Its groups.
    pub groups: Vec<GroupReport>,
    /// Seconds from the end of the fault until it got all that was asked; 0 where it was never limited.
    pub full_after: Option<f64>,
    /// How often a group of it began to thrash since the fault.
    pub collapses: usize,
    /// See [`CellBooks::over_envelope`].
    pub over_envelope: u64,
    /// By second from the beginning: asked, served, refused here, failed.
    pub curve: Vec<[f64; 4]>,
    /// Whether it holds, and in words.
    pub verdict: (bool, String),
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
}

/// So long after a fault load has been moved: 3 s until a group counts as lost, and half of its load in steps of a
/// tenth each 5 s.
const SETTLED_AFTER: Duration = Duration::from_secs(35);

/// Of a thousand new requests, so many may be lost where it holds: what comes by chance in bursts.
const TOLERATED: f64 = 0.005;

/// What a second may have beyond a capacity: 2 %, as with all rates, and a request.
const OVER: f64 = 1.02;

impl Report {
    /// Judges what was written down. `only` is the position of the one cell that is judged.
    pub fn new(
        scenario: &Scenario,
        snapshot: &Snapshot,
        demand: &[f64],
        scale: f64,
        books: &Books,
        only: Option<usize>,
    ) -> Self {
        let asked = (0..snapshot.cells.len()).filter(|cell| demand[*cell] > 0.0);
        let view = |cell: usize| View { scenario, snapshot, scale, at: cell, books: &books.cells[cell] };
        let cells: Vec<(usize, CellReport)> =
            asked.map(|cell| (cell, view(cell).report(demand[cell]))).collect();
        let judged = |cell: usize| only.is_none_or(|only| only == cell) || !scenario.is_of_zones();
        let holds = cells.iter().filter(|(at, _)| judged(*at)).all(|(_, cell)| cell.verdict.0);
        let begins = Moment::START + BREAKS_AT;
        let since = |at: Moment| {
            let nanos = at.nanos() as f64 - begins.nanos() as f64;
            nanos / 1e9
        };
        let said = books.changes.iter().filter(|(at, replica, _)| *replica == 0 && *at >= begins);
        Self {
            scenario: scenario.clone(),
            what: scenario.what(snapshot),
            holds,
            cells: cells.into_iter().map(|(_, cell)| cell).collect(),
            timeline: said
                .map(|(at, _, change)| Line {
                    at: since(*at),
                    what: change.to_string(),
                    is_news: is_news(change),
                })
                .collect(),
        }
    }
}

/// One cell in the books.
struct View<'a> {
    scenario: &'a Scenario,
    snapshot: &'a Snapshot,
    scale: f64,
    at: usize,
    books: &'a CellBooks,
}

impl View<'_> {
    fn report(&self, demand: f64) -> CellReport {
        let cell: &Cell = &self.snapshot.cells[self.at];
        let (breaks, mended) = (whole(BREAKS_AT), whole(MENDED_AT));
        let settled = breaks + whole(SETTLED_AFTER);
        let before = self.books.all_between(0, breaks);
        let first = cell.groups.iter().map(|group| group.priority).min();
        let group = |(at, group): (usize, &crate::policy::snapshot::Group)| GroupReport {
            zone: group.zone.clone(),
            is_lost: self.scenario.loses(self.snapshot, self.at, at),
            stands_by: Some(group.priority) != first,
            capacity_rps: group.capacity_rps.map_or(0.0, f64::from),
            most_rps: self.books.groups[at].most as f64 * self.scale,
        };
        let groups: Vec<GroupReport> = cell.groups.iter().enumerate().map(group).collect();
        let left: f64 = groups.iter().filter(|group| !group.is_lost).map(|group| group.capacity_rps).sum();
        let begins = Moment::START + BREAKS_AT;
        let full = self.books.full_since.map(|since| since.since(Moment::START + MENDED_AT).as_secs_f64());
        let point = |second: &Second| {
            let mut all = Counts::default();
            second.iter().for_each(|counts| all.add(counts));
            [all.asked, all.served, all.shed_all(), all.failed].map(|count| count as f64 * self.scale)
        };
        let mut report = CellReport {
            cell: cell.name.clone(),
            is_hit: groups.iter().any(|group| group.is_lost),
            demand,
            left_rps: left * (1.0 - FailoverRules::default().reserve),
            all: self.books.between(breaks, usize::MAX),
            settled: self.books.between(settled, mended),
            before: (before.lost(), before.asked),
            groups,
            full_after: full,
            collapses: self.books.collapses.iter().filter(|at| **at >= begins).count(),
            over_envelope: self.books.over_envelope,
            curve: self.books.seconds.iter().map(point).collect(),
            verdict: (true, String::new()),
        };
        report.verdict = self.judge(&report);
        report
    }

    fn judge(&self, report: &CellReport) -> (bool, String) {
        if let Some(over) = report.groups.iter().find(|group| self.is_over(group)) {
            let said = format!(
                "group {} got {:.0} requests in a second, and is declared to bear {:.0}",
                over.zone, over.most_rps, over.capacity_rps
            );
            return (false, said);
        }
        match (self.scenario, report.is_hit) {
            (Scenario::ZoneLoss { zone }, true) => self.judge_zone(report, zone),
            (_, false) => {
                let extra = report.extra_lost();
                let asked: u64 = report.all.iter().map(|counts| counts.asked).sum();
                let holds = extra as f64 <= TOLERATED * asked as f64;
                (
                    holds,
                    format!("neighbour {}: {extra} more requests than usual were not served", report.cell),
                )
            }
            (_, true) => self.judge_return(report),
        }
    }

    /// In its busiest second a group had more than it is declared to bear. What is its own comes by chance, and is not
    /// limited by a rate: three standard deviations of that are nobody's fault.
    fn is_over(&self, group: &GroupReport) -> bool {
        let by_chance = if group.stands_by { 0.0 } else { 3.0 * (group.capacity_rps * self.scale).sqrt() };
        !group.is_lost && group.most_rps > group.capacity_rps * OVER + self.scale + by_chance
    }

    fn judge_zone(&self, report: &CellReport, zone: &str) -> (bool, String) {
        let (left, demand) = (report.left_rps, report.demand);
        let lost = lost_share(&report.settled, None);
        let leaves = format!("zone {zone} lost leaves {left:.0} rps for {demand:.0} asked");
        if report.collapses > 0 {
            return (false, format!("{leaves}; a group of it began to thrash"));
        }
        if lost <= TOLERATED {
            let served = 100.0 * (1.0 - lost);
            return (
                true,
                format!("{leaves}; {served:.2} % of new requests were served once load had moved"),
            );
        }
        let mut classes: Vec<String> = Vec::new();
        for priority in Priority::ALL.into_iter().rev() {
            let share = lost_share(&report.settled, Some(priority as usize));
            if share > TOLERATED {
                classes.push(format!("{} ({:.0} %)", priority.as_str(), share * 100.0));
            }
        }
        (
            false,
            format!(
                "{leaves}; {:.0} % of new requests are lost, first {}",
                lost * 100.0,
                classes.join(", then ")
            ),
        )
    }

    fn judge_return(&self, report: &CellReport) -> (bool, String) {
        let cell = &report.cell;
        if report.over_envelope > 0 {
            return (false, format!("cell {cell} got more than its rate {} times", report.over_envelope));
        }
        let mended = Moment::START + MENDED_AT;
        if self.books.collapses.iter().any(|at| *at >= mended) {
            return (false, format!("cell {cell} began to thrash after it was back"));
        }
        match report.full_after {
            Some(after) if after <= FULL_AFTER.as_secs_f64() => {
                (true, format!("cell {cell} got all that was asked {after:.0} s after it was back"))
            }
            Some(after) => {
                (false, format!("cell {cell} got all that was asked only {after:.0} s after it was back"))
            }
            None => (false, format!("cell {cell} did not get all that was asked until the end")),
        }
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
    fn is_of_zones(&self) -> bool {
        matches!(self, Self::ZoneLoss { .. })
    }

    /// The lost cell, or the lost zone.
    pub fn what(&self, snapshot: &Snapshot) -> Box<str> {
        match self {
            Self::CellLoss { cell } | Self::Recovery { cell } => snapshot.cells[*cell].name.as_str().into(),
            Self::ZoneLoss { zone } => zone.clone(),
        }
    }
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
fn lost_share(second: &Second, class: Option<usize>) -> f64 {
    let mut sum = Counts::default();
    let counted = second.iter().enumerate().filter(|(at, _)| class.is_none_or(|class| class == *at));
    counted.for_each(|(_, counts)| sum.add(counts));
    1.0 - sum.new_served as f64 / sum.new.max(1) as f64
}

fn whole(time: Duration) -> usize {
    usize::try_from(time.as_secs()).unwrap_or(usize::MAX)
}

/// Paragraphs in lines as wide as those of a report.
pub fn paragraphs(texts: &[&str]) -> String {
    let mut all = String::new();
    for text in texts {
        super::text::wrapped(&mut all, "", text).expect("a string takes whatever is written to it");
    }
    all
}
