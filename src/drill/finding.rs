//! Whether a loss is borne, why not, and what would help.

use super::books::{Counts, Second};
use super::report::{CellReport, GroupReport, lost_share};
use super::scenario::{Scenario, WELL_AFTER};
use crate::policy::guard::Mode;
use crate::policy::protection::failover::FailoverRules;
use crate::policy::protection::priority::Priority;
use crate::policy::protection::shed::Shed;

/// What a rehearsal says of a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Whether it bears the loss.
    pub holds: bool,
    /// The figures that say so.
    pub why: String,
    /// What would help, where it does not.
    pub advice: Option<String>,
}

/// Of a thousand new requests, so many may be lost where it holds: what comes by chance in bursts.
const TOLERATED: f64 = 0.005;

/// What a second may have beyond a capacity: 2 %, as with all rates, and a request.
const OVER: f64 = 1.02;

/// What comes by chance is within three standard deviations 999 times in 1000.
const DEVIATIONS: f64 = 3.0;

/// One of so many refusals for a reason makes it one to be named.
const MANY: u64 = 4;

/// Judges what came of a cell.
pub(super) fn find(scenario: &Scenario, report: &CellReport) -> Finding {
    match (scenario, report.is_hit) {
        (_, false) => neighbour(report),
        (Scenario::ZoneLoss { zone }, true) => zone_loss(report, zone),
        (Scenario::CellLoss { .. } | Scenario::Recovery { .. }, true) => cell_return(scenario, report),
    }
}

fn holds(why: String) -> Finding {
    Finding { holds: true, why, advice: None }
}

fn fails(why: String, advice: impl Into<String>) -> Finding {
    Finding { holds: false, why, advice: Some(advice.into()) }
}

fn neighbour(report: &CellReport) -> Finding {
    let extra = report.extra_lost();
    let asked = total(&report.all).asked;
    if extra as f64 <= TOLERATED * asked as f64 {
        return holds(format!("{extra} of {asked} requests lost more than usual"));
    }
    let why = format!("a neighbour, lost {extra} of {asked} requests more than usual");
    fails(why, "lower share_percent or max_in_flight of the lost cell: it took what this one needs")
}

fn zone_loss(report: &CellReport, zone: &str) -> Finding {
    if report.groups.iter().all(|group| group.is_lost) {
        let why = format!("all of its groups are in zone {zone}: without it nothing is served");
        return fails(why, "give it a group in another zone, with capacity_rps");
    }
    let (left, demand, lost) = (report.left_rps, report.demand, lost_share(&report.settled, None));
    let room = format!("{left:.0} rps are left for {demand:.0} asked");
    if let Some(over) = report.groups.iter().find(|group| is_over(group)) {
        let GroupReport { zone, most_rps, moved_rps, capacity_rps, at, .. } = over;
        let why = format!(
            "{room}, and group {zone} got {most_rps:.0} requests in a second, {at:.0} s after the fault, {moved_rps:.0} \
             of them moved to it; it is declared to bear {capacity_rps:.0}"
        );
        return fails(why, over_advice(report));
    }
    if let Some(at) = report.collapses.first() {
        let why = format!(
            "{room}, and a group of it had so much to do that it thrashed, {at:.0} s after the fault"
        );
        return fails(why, over_advice(report));
    }
    if lost <= TOLERATED {
        return holds(format!(
            "{room}; {:.1} % of new requests are served once load has moved",
            100.0 - lost * 100.0
        ));
    }
    let why = format!("{room}; {} % of new requests are lost ({})", percent(lost), by_class(&report.settled));
    fails(why, room_advice(report))
}

/// In its busiest second a group had more than it is declared to bear. What is its own comes by chance, and is not
/// limited by a rate: three standard deviations of that are nobody's fault.
fn is_over(group: &GroupReport) -> bool {
    let own = group.most_rps - group.moved_rps;
    let by_chance = DEVIATIONS * own.max(0.0).sqrt();
    !group.is_lost && group.most_rps > group.capacity_rps * OVER + 1.0 + by_chance
}

fn over_advice(report: &CellReport) -> String {
    if let Some(said) = not_moved(report) {
        return said;
    }
    if let Some(said) = compartment(&report.all) {
        return said;
    }
    "what is a group's own is not limited by capacity_rps: who was refused came again, all at once. max_in_flight of the \
     group bounds it (docs/standing.md)"
        .to_owned()
}

fn room_advice(report: &CellReport) -> String {
    if let Some(said) = not_moved(report) {
        return said;
    }
    let (left, demand) = (report.left_rps, report.demand);
    if left < demand {
        let more = (demand - left) / (1.0 - FailoverRules::default().reserve);
        return format!(
            "declare {more:.0} rps more in its other zones, once they bear it, or ask for {left:.0} rps at most"
        );
    }
    if let Some(said) = compartment(&report.settled) {
        return said;
    }
    format!(
        "it fits on average, and not in each moment: a replica's part of a group is {:.0} rps, and what comes unevenly is \
         more than that now and then. Fewer replicas, or more capacity_rps",
        report.least_part
    )
}

fn not_moved(report: &CellReport) -> Option<String> {
    let mode = match report.failover {
        Mode::Enforce => return None,
        Mode::Observe => "observe",
        Mode::Off => "off",
    };
    Some(format!(
        "modes.failover is {mode}: nothing says where load of a lost group goes, and how much; set it to enforce"
    ))
}

/// What is to be done where permits were what was missing.
fn compartment(second: &Second) -> Option<String> {
    let all = total(second);
    let share =
        |of: &[Shed]| of.iter().map(|why| all.shed[*why as usize]).sum::<u64>() * MANY > all.shed_all();
    let advice = if share(&[Shed::CellFull, Shed::ProcessFull]) {
        "requests that waited for the silent zone took the permits of the others: give groups a max_in_flight, or set \
         timeouts.connect lower"
    } else if share(&[Shed::LowPriority, Shed::QueueFull, Shed::WaitedTooLong]) {
        "the cell had too few permits for what came: its limit shrinks while requests fail, from max_in_flight on. Give it \
         more of max_in_flight, or set timeouts.connect lower, so that fewer wait for the silent zone"
    } else {
        return None;
    };
    Some(advice.to_owned())
}

fn cell_return(scenario: &Scenario, report: &CellReport) -> Finding {
    let lasted = (scenario.mended_at().saturating_sub(super::scenario::BREAKS_AT)).as_secs_f64();
    if report.over_envelope > 0 {
        let why = format!("it got more than its rate in {} seconds", report.over_envelope);
        return fails(why, "this is a fault of cellgate: please report it, with the seed");
    }
    if let Some(at) = report.collapses.iter().find(|at| **at >= lasted) {
        let why = format!(
            "it fell again {:.0} s after it was back: a group had so much to do that it thrashed",
            at - lasted
        );
        return fails(
            why,
            "lower max_in_flight of the cell to what it bears (docs/recovery.md), or capacity_rps",
        );
    }
    let most = WELL_AFTER.as_secs_f64();
    match report.well_after {
        Some(after) if after <= most => {
            holds(format!("all that is asked is served {after:.0} s after it is back"))
        }
        Some(after) => fails(format!("all that is asked is served only {after:.0} s after it is back"), LATE),
        None => fails(format!("not all that is asked is served {most:.0} s after it is back"), LATE),
    }
}

const LATE: &str = "more is asked than it is declared to bear, or it was halved on its way (see what was decided); active \
                    checks (cells[].check) find sooner that it is back";

/// The classes that lose something, the one that loses most first.
fn by_class(second: &Second) -> String {
    let share = |priority: Priority| lost_share(second, Some(priority as usize));
    let mut all: Vec<(Priority, f64)> =
        Priority::ALL.into_iter().rev().map(|priority| (priority, share(priority))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let said = all.into_iter().filter(|(_, share)| *share >= TOLERATED);
    said.map(|(priority, share)| format!("{} {} %", priority.as_str(), percent(share)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// In percent, with a digit more where it is little.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 9.95 { format!("{percent:.1}") } else { format!("{percent:.0}") }
}

/// All classes together.
pub(super) fn total(second: &Second) -> Counts {
    let mut all = Counts::default();
    second.iter().for_each(|counts| all.add(counts));
    all
}
