//! What is being done, and what is known of the network, in words that everybody may read: they name no zone, no account, no
//! endpoint and no person.

use super::super::brownout::{BrownoutMode, Window};
use super::super::ids::{CellIndex, Label};
use super::super::protection::failover;
use super::super::protection::judge::{CellReport, Report};
use super::super::protection::levers::known::is_bare;
use super::super::protection::levers::{Held, Lever, Levers, Place};
use super::super::protection::policies::Policy;
use super::super::protection::ramp::Phase;
use super::super::protection::verdict::{Doubt, Sick, Verdict};
use super::super::snapshot::{Cell, Snapshot};

/// One thing that is done or known of a cell. In the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// An operator has taken it out of service.
    OutOfService,
    /// Its requests wait.
    Waiting,
    /// The network is suspected, and not the cell.
    Network,
    /// Something that several cells share is suspected.
    Shared,
    /// A part of it is out, and the rest takes its load as far as it can.
    PartOut,
    /// It comes back step by step.
    StepByStep,
    /// An operator refuses a part of its requests.
    PartRefused,
    /// An operator has limited what it gets.
    Limited,
    /// Accounts are being moved from it or to it.
    Moving,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::OutOfService,
        Self::Waiting,
        Self::Network,
        Self::Shared,
        Self::PartOut,
        Self::StepByStep,
        Self::PartRefused,
        Self::Limited,
        Self::Moving,
    ];

    /// Its stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfService => "out_of_service",
            Self::Waiting => "waiting",
            Self::Network => "network",
            Self::Shared => "shared_cause",
            Self::PartOut => "part_out",
            Self::StepByStep => "step_by_step",
            Self::PartRefused => "part_refused",
            Self::Limited => "limited",
            Self::Moving => "moving",
        }
    }

    /// One sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::OutOfService => "We have taken it out of service for now.",
            Self::Waiting => "We let requests wait for a moment and answer them then.",
            Self::Network => {
                "The network on the way there is disturbed; we are not moving load around because of it."
            }
            Self::Shared => {
                "Several parts of the service are disturbed at once; we look for what they share."
            }
            Self::PartOut => "A part of its servers is out; the others take over what they can.",
            Self::StepByStep => "It comes back step by step: a growing share of the requests is let in.",
            Self::PartRefused => "We refuse a part of the requests, so that the rest is answered.",
            Self::Limited => "We limit how much it is asked at once.",
            Self::Moving => "Accounts are being moved; what changes something may wait for some seconds.",
        }
    }
}

/// What is done about a cell, each once.
pub fn of_cell(snapshot: &Snapshot, at: CellIndex, report: &Report, levers: &Levers) -> Vec<Measure> {
    let Some(cell) = snapshot.cells.get(usize::from(at.0)) else { return Vec::new() };
    let judged = report.cells.iter().find(|judged| judged.cell == cell.name);
    let mut measures: Vec<Measure> =
        levers.iter().filter_map(|pulled| by_lever(&pulled.lever, cell)).collect();
    measures.extend(report.verdicts.iter().filter_map(|held| by_verdict(&held.verdict, cell)));
    measures.extend(judged.into_iter().flat_map(by_judge));
    let moves = snapshot.moves.table.open();
    let is_moving = moves.map(|(_, one)| one).any(|one| [one.from, one.to].contains(&Some(at)));
    measures.extend(is_moving.then_some(Measure::Moving));
    if is_out_of_service(cell, levers) {
        // There are no others that could take over.
        measures.retain(|measure| *measure != Measure::PartOut);
        measures.push(Measure::OutOfService);
    }
    measures.sort_unstable();
    measures.dedup();
    measures
}

/// Whether levers leave nothing of a cell that could be asked: it is drained as a whole, or each part of it is.
pub fn is_out_of_service(cell: &Cell, levers: &Levers) -> bool {
    levers.drained_cell(cell.name.as_str()).is_some() || (!levers.is_empty() && is_bare(levers, cell))
}

fn by_lever(lever: &Lever, cell: &Cell) -> Option<Measure> {
    let has_zone = |zone: &Label| cell.groups.iter().any(|group| group.zone == *zone);
    let is_it = |named: &Label| *named == cell.name;
    match lever {
        Lever::Cap { cell, .. } => is_it(cell).then_some(Measure::Limited),
        // One of an account is no news for the others, and its refusals turn nothing where others ask.
        Lever::Shed(shed) if shed.account.is_some() => None,
        Lever::Shed(shed) => shed.cell.as_ref().is_none_or(is_it).then_some(Measure::PartRefused),
        Lever::Drain(Place::Cell(cell)) => is_it(cell).then_some(Measure::OutOfService),
        Lever::Drain(Place::Group { cell, .. }) => is_it(cell).then_some(Measure::PartOut),
        Lever::Drain(Place::Zone(zone)) | Lever::Evacuate { zone } => {
            has_zone(zone).then_some(Measure::PartOut)
        }
        Lever::Drain(Place::Endpoint(address)) => {
            cell.endpoints().any(|endpoint| endpoint.address == *address).then_some(Measure::PartOut)
        }
        Lever::Ramp { cell, .. } => is_it(cell).then_some(Measure::StepByStep),
        Lever::Hold { whose: Held::Cell(cell), .. } => is_it(cell).then_some(Measure::Waiting),
        Lever::Hold { whose: Held::Account(_), .. }
        | Lever::Policy { .. }
        | Lever::Operators { .. }
        | Lever::Brownout { .. } => None,
    }
}

fn by_verdict(verdict: &Verdict, cell: &Cell) -> Option<Measure> {
    let has_zone = |zone: &Label| cell.groups.iter().any(|group| group.zone == *zone);
    match verdict {
        Verdict::Path | Verdict::Ambiguous(Doubt::Widespread) => Some(Measure::Network),
        Verdict::Zone(zone) | Verdict::Ambiguous(Doubt::Zone(zone)) => {
            has_zone(zone).then_some(Measure::Network)
        }
        Verdict::Cell(sick, Sick::Network) => (*sick == cell.name).then_some(Measure::Network),
        Verdict::Ambiguous(Doubt::Shared) => Some(Measure::Shared),
        // The states say so.
        Verdict::Cell(_, Sick::Application) | Verdict::Proxy | Verdict::Endpoint(_) => None,
    }
}

fn by_judge(judged: &CellReport) -> impl Iterator<Item = Measure> {
    let comes_back = matches!(judged.phase, Phase::Probing | Phase::Ramping);
    let standings = judged.groups.iter().filter_map(|group| group.failover.map(|seen| seen.standing));
    let is_part = judged.phase == Phase::Full && standings.clone().count() > 1;
    let is_lost = is_part && standings.into_iter().any(|standing| standing != failover::Standing::Serving);
    [comes_back.then_some(Measure::StepByStep), is_lost.then_some(Measure::PartOut)].into_iter().flatten()
}

/// How far ahead what is planned is told: a week, in which everybody who looks now and then sees it.
const AHEAD_S: i64 = 7 * 86_400;

/// Most windows that are told; the next ones matter.
const MOST_PLANNED: usize = 5;

/// Times in which requests to retired addresses are answered with errors on purpose, in force or to come, the next first. `now`
/// is in seconds since the Unix epoch.
pub fn planned(snapshot: &Snapshot, levers: &Levers, now: i64) -> Vec<Window> {
    let felt = snapshot.brownouts.all.iter().filter(|one| one.mode != BrownoutMode::Observe);
    let felt = felt.filter(|brownout| levers.cancels(&brownout.id).is_none());
    let windows = felt.flat_map(|brownout| brownout.windows.iter().copied());
    let mut windows: Vec<Window> =
        windows.filter(|window| window.end > now && window.start < now.saturating_add(AHEAD_S)).collect();
    windows.sort_unstable_by_key(|window| (window.start, window.end));
    windows.dedup();
    windows.truncate(MOST_PLANNED);
    windows
}

/// Protections of a cell that only watch: for operators, who forget them.
pub fn observing(cell: &Cell) -> impl Iterator<Item = Policy> {
    cell.protection.modes.observed()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::protection::judge::VerdictReport;
    use super::*;
    use crate::test_snapshot::{SnapshotBuilder, brownouts, label};

    /// Cells `us1` and `us2`, both in the zone that the fixture gives them.
    fn snapshot() -> Snapshot {
        SnapshotBuilder::new().cell("us1", "us1.dbt.com").cell("us2", "us2.dbt.com").build()
    }

    fn of(lever: Option<&str>, verdict: Option<Verdict>) -> [Vec<Measure>; 2] {
        let (snapshot, mut levers) = (snapshot(), Levers::default());
        if let Some(words) = lever {
            levers.pull(Lever::parse(words).unwrap(), ("kim", "a reason"), None, 0).unwrap();
        }
        let report =
            Report { verdicts: verdict.into_iter().map(VerdictReport::fresh).collect(), ..Report::default() };
        [0, 1].map(|at| of_cell(&snapshot, CellIndex(at), &report, &levers))
    }

    #[test]
    fn what_operators_do_is_told_where_it_is_felt() {
        let zone = snapshot().cells[0].groups[0].zone.to_string();
        let (drain_zone, evacuate) = (format!("drain zone {zone}"), format!("evacuate zone {zone}"));
        let drain_group = format!("drain group us1 {zone}");
        let drain_endpoint = format!("drain endpoint {}", snapshot().cells[0].groups[0].endpoints[0].address);
        let both = |measure| [vec![measure], vec![measure]];
        let first = |measure| [vec![measure], vec![]];
        for (words, expect) in [
            ("cap cell us1 rps 200", first(Measure::Limited)),
            ("shed 50 cell us1", first(Measure::PartRefused)),
            ("shed 50 class api", both(Measure::PartRefused)),
            // One customer's business; that of a program is everybody's who uses it.
            ("shed 50 account 7", [vec![], vec![]]),
            ("shed 50 cell us1 client curl", first(Measure::PartRefused)),
            ("drain cell us1", first(Measure::OutOfService)),
            // Each has one zone, and an endpoint of its own in it.
            (&drain_zone, both(Measure::OutOfService)),
            (&evacuate, both(Measure::OutOfService)),
            (&drain_group, first(Measure::OutOfService)),
            (&drain_endpoint, first(Measure::OutOfService)),
            ("drain zone elsewhere", [vec![], vec![]]),
            ("hold cell us1", first(Measure::Waiting)),
            ("hold account 7", [vec![], vec![]]),
        ] {
            assert_eq!(of(Some(words), None), expect, "{words}");
        }
    }

    #[test]
    fn what_is_known_of_the_network_is_told_where_it_reaches() {
        let zone = || snapshot().cells[0].groups[0].zone.clone();
        let network = [vec![Measure::Network], vec![Measure::Network]];
        for (verdict, expect) in [
            (Verdict::Path, network.clone()),
            (Verdict::Zone(zone()), network.clone()),
            (Verdict::Zone(label("elsewhere")), [vec![], vec![]]),
            (Verdict::Cell(label("us2"), Sick::Network), [vec![], vec![Measure::Network]]),
            (Verdict::Cell(label("us2"), Sick::Application), [vec![], vec![]]),
            (Verdict::Ambiguous(Doubt::Shared), [vec![Measure::Shared], vec![Measure::Shared]]),
            (Verdict::Proxy, [vec![], vec![]]),
        ] {
            assert_eq!(of(None, Some(verdict.clone())), expect, "{verdict}");
        }
    }

    #[test]
    fn what_is_planned_is_told_a_week_ahead_until_it_is_over_or_cancelled() {
        let mut snapshot = snapshot();
        snapshot.brownouts = brownouts(&[
            ("soft", BrownoutMode::Soft, (1_000, 2_000)),
            ("hard", BrownoutMode::Hard, (500_000, 510_000)),
            ("watched", BrownoutMode::Observe, (1_000, 2_000)),
            ("far", BrownoutMode::Hard, (9_000_000, 9_000_100)),
        ]);
        let mut levers = Levers::default();
        let starts = |levers: &Levers, now| -> Vec<i64> {
            planned(&snapshot, levers, now).iter().map(|window| window.start).collect()
        };
        assert_eq!(starts(&levers, 0), [1_000, 500_000]);
        assert_eq!(starts(&levers, 1_999), [1_000, 500_000]);
        assert_eq!(starts(&levers, 2_000), [500_000]);
        levers.pull(Lever::parse("brownout cancel hard").unwrap(), ("kim", "a reason"), None, 0).unwrap();
        assert_eq!(starts(&levers, 0), [1_000]);
    }
}
