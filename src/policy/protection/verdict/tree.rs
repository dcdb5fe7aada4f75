//! From what each endpoint is like to who is sick, in one second. The strongest explanation first; what it explains
//! needs no other. After BlameIt (Jin et al., SIGCOMM 2019), which blames what is shared where four fifths of its
//! paths are bad.
//!
//! One thing differs from there: an endpoint that only leans counts beside others that are certain. Quiet endpoints are
//! certain half a minute after busy ones, and of those that lean alone 5 % do by chance, of a whole zone nobody does.

use super::endpoint::Row;
use super::fisher::chance;
use super::groups::{FEW, FEW_LEANING, LEAST_OF_ZONE, Span, Tally, by, evidence, total};
use super::said::{Doubt, Evidence, Sick, Verdict};
use super::series::State;

/// Share from which on a zone or a cell is sick (τ of BlameIt).
const MOST: f64 = 0.8;

/// Share of all from which on it is the way that all share. Two zones of three are more, and one of them is well then.
const WIDESPREAD: f64 = 0.6;

/// Of those that count as sick at least so many must be certain, by so much of all that were heard of.
const CERTAIN: f64 = 0.25;

/// A cell is a few endpoints that share an application, whose moods they share: more than half of them must be certain.
const CERTAIN_OF_CELL: f64 = 0.6;

/// Share from which on it looks as if more were to come, so that less is said of a part.
const GATHERING: f64 = 0.3;

/// Cells that a path must show in, and zones, and cells that a zone must.
const CELLS_OF_PATH: u32 = 3;
const ZONES_OF_PATH: u32 = 2;
const CELLS_OF_ZONE: u32 = 2;

/// A concentration by chance less often than this is one.
const CHANCE: f64 = 0.01;

/// The same where most of what is counted only leans.
const CHANCE_LEANING: f64 = 1e-4;

/// Evaluations that a verdict must be found in, one after the other.
const HOLD: u32 = 3;

/// The same where waiting a little longer may tell more.
const HOLD_DOUBT: u32 = 6;
const HOLD_LONG: u32 = 10;

/// What is found in one second.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Who is sick.
    pub verdict: Verdict,
    /// By what.
    pub evidence: Evidence,
    /// How many evaluations in a row it must be found in before it is said.
    pub hold: u32,
}

/// What is known of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Whether it has slept several times in the last seconds.
    pub sleeps: bool,
    /// Whether its clock is to be trusted: not while it is known that it sleeps.
    pub trusted: bool,
    /// How late it has woken at most in the last seconds, in milliseconds.
    pub late_ms: u64,
}

/// Judges a second. `cells` and `zones` are above all numbers in the rows.
pub fn judge(rows: &[Row<'_>], cells: usize, zones: usize, process: Process) -> Vec<Finding> {
    let oversleeps = oversleeps(rows, cells, zones);
    let trusted = process.trusted && !process.sleeps && oversleeps.is_none();
    let mut second = Second {
        rows,
        cells,
        zones,
        network: rows.iter().map(|row| row.network(trusted)).collect(),
        application: rows.iter().map(|row| row.application(trusted)).collect(),
        explained: vec![false; rows.len()],
        findings: Vec::new(),
    };
    if process.sleeps {
        second.say(
            Verdict::Proxy,
            Evidence { late_ms: process.late_ms, chance: 1.0, ..Evidence::default() },
            1,
        );
    } else if let Some(evidence) = oversleeps {
        second.say(Verdict::Proxy, evidence, HOLD);
    }
    second.path_and_zones();
    second.sick_cells();
    second.doubtful_zones();
    second.endpoints();
    second.findings
}

/// What those that a verdict is about are like in this second, in which it was not found.
pub fn present(rows: &[Row<'_>], cells: usize, process: Process, verdict: &Verdict) -> Evidence {
    let trusted = process.trusted && !process.sleeps;
    let states: Vec<State> =
        rows.iter().map(|row| row.network(trusted).max(row.application(trusted))).collect();
    evidence(rows, &states, cells, |row| verdict.is_about(row.place), 1.0)
}

struct Second<'a> {
    rows: &'a [Row<'a>],
    cells: usize,
    zones: usize,
    network: Vec<State>,
    application: Vec<State>,
    explained: Vec<bool>,
    findings: Vec<Finding>,
}

impl Second<'_> {
    fn say(&mut self, verdict: Verdict, evidence: Evidence, hold: u32) {
        self.findings.push(Finding { verdict, evidence, hold });
    }

    fn any(&self, index: usize) -> State {
        self.network[index].max(self.application[index])
    }

    /// Everything about packets: all at once, or zone by zone.
    fn path_and_zones(&mut self) {
        let zones = by(self.rows, &self.network, self.zones, |row| row.zone);
        let all = total(&self.network);
        let everywhere = Span::of(self.rows, &self.network, self.cells, self.zones, |_| true);
        let some_zone_is_well = zones.iter().any(Tally::is_well);
        if all.share() >= WIDESPREAD && all.share_certain() >= CERTAIN && !some_zone_is_well {
            let path = everywhere.cells >= CELLS_OF_PATH && everywhere.zones >= ZONES_OF_PATH;
            let verdict = if path { Verdict::Path } else { Verdict::Ambiguous(Doubt::Widespread) };
            let hold = if path { HOLD } else { HOLD_DOUBT };
            if path || everywhere.cells >= CELLS_OF_ZONE {
                let evidence = self.evidence(&self.network, |_| true, 1.0);
                self.say(verdict, evidence, hold);
                self.explain(|second, index| second.any(index) >= State::Leaning);
                return;
            }
        }
        let sick: Vec<bool> = zones.iter().map(|zone| zone.heard() > 0 && zone.share() >= MOST).collect();
        let rest =
            self.rows.iter().zip(&self.network).filter(|(row, _)| !row.zone.is_some_and(|zone| sick[zone]));
        let rest = rest.fold(Tally::default(), |mut tally, (_, state)| {
            tally.add(*state);
            tally
        });
        for zone in (0..self.zones).filter(|zone| sick[*zone]) {
            self.zone(zone, zones[zone], rest);
        }
    }

    fn zone(&mut self, zone: usize, inside: Tally, rest: Tally) {
        let is_in = |row: &Row<'_>| row.zone == Some(zone);
        let span = Span::of(self.rows, &self.network, self.cells, self.zones, is_in);
        let enough = inside.heard() >= LEAST_OF_ZONE && span.cells >= CELLS_OF_ZONE;
        if !enough || !rest.is_well() || inside.share_certain() < CERTAIN {
            return;
        }
        let chance = chance((inside.sick(), rest.sick()), (inside.heard(), rest.heard()));
        if chance >= CHANCE {
            return;
        }
        let evidence = self.evidence(&self.network, is_in, chance);
        if let Some(label) = self.zone_label(zone) {
            self.say(Verdict::Zone(label), evidence, HOLD);
        }
        self.explain(|second, index| second.rows[index].zone == Some(zone));
    }

    /// What is wrong with all of a cell, in whatever zones it is, leaving out what a zone explains.
    fn sick_cells(&mut self) {
        let states = self.unexplained();
        let network: Vec<State> = (0..self.rows.len())
            .map(|i| if self.explained[i] { State::Unknown } else { self.network[i] })
            .collect();
        let cells = by(self.rows, &states, self.cells, |row| Some(row.cell));
        let ways = by(self.rows, &network, self.cells, |row| Some(row.cell));
        let (all, way) = (total(&states), total(&network));
        let gathering = way.share() >= GATHERING;
        let span = Span::of(self.rows, &states, self.cells, self.zones, |_| true);
        let most = all.share() >= WIDESPREAD && all.share_certain() >= CERTAIN;
        if most && way.is_well() && span.cells >= CELLS_OF_PATH {
            let evidence = self.evidence(&states, |_| true, 1.0);
            self.say(Verdict::Ambiguous(Doubt::Shared), evidence, HOLD_DOUBT);
            self.explain(|second, index| second.any(index) >= State::Leaning);
            return;
        }
        let zones_well = by(self.rows, &network, self.zones, |row| row.zone);
        let mut slow = Vec::new();
        for (cell, tally) in cells.iter().enumerate() {
            if !is_sick_cell(*tally, all) {
                continue;
            }
            if ways[cell].share() < MOST || ways[cell].certain == 0 {
                slow.push(cell);
            } else if !gathering && self.others_are_well(cell, ways[cell], &zones_well) {
                self.say_cell(cell, Sick::Network, &states);
            }
        }
        slow.into_iter().for_each(|cell| self.say_cell(cell, Sick::Application, &states));
    }

    /// Whether a cell that lives in one zone is not simply what is to be seen of that zone.
    fn others_are_well(&self, cell: usize, inside: Tally, zones: &[Tally]) -> bool {
        let mut its_zones: Vec<usize> =
            self.rows.iter().filter(|row| row.cell == cell).filter_map(|row| row.zone).collect();
        its_zones.sort_unstable();
        its_zones.dedup();
        match its_zones[..] {
            [only] => {
                let sick = zones[only].sick() - inside.sick();
                let heard = zones[only].heard() - inside.heard();
                f64::from(sick) <= FEW_LEANING * f64::from(heard)
            }
            _ => true,
        }
    }

    fn say_cell(&mut self, cell: usize, sick: Sick, states: &[State]) {
        let is_in = |row: &Row<'_>| row.cell == cell;
        let Some(label) = self.rows.iter().find(|row| is_in(row)).map(|row| row.place.cell.clone()) else {
            return;
        };
        let mut evidence = self.evidence(states, is_in, 1.0);
        let all = (evidence.heard, evidence.others.1);
        evidence.chance = chance((evidence.sick.0 + evidence.sick.1, evidence.others.0), all);
        self.say(Verdict::Cell(label, sick), evidence, HOLD);
        self.explain(|second, index| second.rows[index].cell == cell);
    }

    /// Zones in which too much is wrong for endpoints, and of which it cannot be said that it is the zone.
    fn doubtful_zones(&mut self) {
        let states = self.unexplained();
        let zones = by(self.rows, &states, self.zones, |row| row.zone);
        let all = total(&states);
        for (zone, inside) in zones.iter().enumerate() {
            let is_in = |row: &Row<'_>| row.zone == Some(zone);
            let rest = Tally {
                certain: all.certain - inside.certain,
                leaning: all.leaning - inside.leaning,
                fine: all.fine - inside.fine,
            };
            let few = inside.heard() == 2 && inside.sick() == 2 && inside.certain > 0;
            let part = inside.certain >= LEAST_OF_ZONE && inside.share() >= GATHERING;
            let span = Span::of(self.rows, &states, self.cells, self.zones, is_in);
            if !(few || part && span.cells >= CELLS_OF_ZONE) || rest.share_certain() > FEW {
                continue;
            }
            let chance = chance((inside.sick(), rest.certain), (inside.heard(), rest.heard()));
            let label = self.zone_label(zone);
            if let Some(label) = label.filter(|_| chance < CHANCE) {
                let evidence = self.evidence(&states, is_in, chance);
                self.say(Verdict::Ambiguous(Doubt::Zone(label)), evidence, HOLD_DOUBT);
                self.explain(|second, index| second.rows[index].zone == Some(zone));
            }
        }
    }

    /// What is left.
    fn endpoints(&mut self) {
        let states = self.unexplained();
        let cells = by(self.rows, &states, self.cells, |row| Some(row.cell));
        let zones = by(self.rows, &states, self.zones, |row| row.zone);
        let gathers = |tally: &Tally| tally.heard() > LEAST_OF_ZONE && tally.share() >= GATHERING;
        for index in (0..self.rows.len()).filter(|index| states[*index] == State::Bad) {
            let row = &self.rows[index];
            let more = gathers(&cells[row.cell]) || row.zone.is_some_and(|zone| gathers(&zones[zone]));
            // Of one endpoint alone that only takes its time nobody else bears witness.
            let hold = if more || !row.is_down() { HOLD_LONG } else { HOLD };
            let evidence = Evidence {
                sick: (1, 0),
                heard: 1,
                cells: 1,
                others: (0, 0),
                chance: 1.0,
                times: row.times,
                shares: row.shares,
                late_ms: 0,
            };
            self.say(Verdict::Endpoint(row.place.clone()), evidence, hold);
        }
    }

    fn unexplained(&self) -> Vec<State> {
        (0..self.rows.len()).map(|i| if self.explained[i] { State::Unknown } else { self.any(i) }).collect()
    }

    fn explain(&mut self, which: impl Fn(&Self, usize) -> bool) {
        let more: Vec<usize> = (0..self.rows.len()).filter(|index| which(self, *index)).collect();
        more.into_iter().for_each(|index| self.explained[index] = true);
    }

    fn zone_label(&self, zone: usize) -> Option<super::super::super::ids::Label> {
        self.rows.iter().find(|row| row.zone == Some(zone)).and_then(|row| row.place.zone.clone())
    }

    fn evidence(&self, states: &[State], is_in: impl Fn(&Row<'_>) -> bool, chance: f64) -> Evidence {
        evidence(self.rows, states, self.cells, is_in, chance)
    }
}

/// Whether these endpoints of a cell, among all, are a sick cell. Where few of them are certain they must lean alone.
fn is_sick_cell(cell: Tally, all: Tally) -> bool {
    let rest = (all.sick() - cell.sick(), all.heard() - cell.heard());
    let alone = || chance((cell.sick(), rest.0), (cell.heard(), rest.1)) < CHANCE_LEANING;
    let certain = cell.share_certain();
    cell.heard() >= 2 && cell.share() >= MOST && (certain >= CERTAIN_OF_CELL || certain >= CERTAIN && alone())
}

/// Whether connections take long everywhere on our clock while packets come and go as always: then it is our clock,
/// which runs on while threads that should have looked have slept. Answers that take long everywhere would not do,
/// they may share a database.
fn oversleeps(rows: &[Row<'_>], cells: usize, zones: usize) -> Option<Evidence> {
    let connect: Vec<State> = rows.iter().map(|row| row.connect).collect();
    let packets: Vec<State> = rows.iter().map(|row| row.round_trip.max(row.lost)).collect();
    let (late, way) = (total(&connect), total(&packets));
    let span = Span::of(rows, &connect, cells, zones, |_| true);
    let widespread = late.share() >= WIDESPREAD && late.share_certain() >= CERTAIN;
    let found = widespread && way.is_well() && span.cells >= CELLS_OF_PATH && late.heard() >= LEAST_OF_ZONE;
    found.then(|| evidence(rows, &connect, cells, |_| true, 1.0))
}

#[cfg(test)]
mod tests {
    use super::super::super::super::ids::Label;
    use super::super::signals::Place;
    use super::*;

    const CELLS: usize = 12;
    const ZONES: usize = 3;

    /// An endpoint of a picture: its cell, its zone, and which of the two.
    type At = (usize, usize, usize);

    fn label(prefix: &str, number: usize) -> Label {
        Label::parse(&format!("{prefix}-{number}")).expect("a label")
    }

    fn place((cell, zone, number): At) -> Place {
        let endpoint = format!("{cell}-{zone}-{number}").into();
        Place { cell: label("cell", cell), zone: Some(label("zone", zone)), endpoint }
    }

    /// What is found where endpoints that are there are like this.
    fn found(is_there: impl Fn(At) -> bool, like: impl Fn(At, &mut Row<'_>)) -> Vec<Verdict> {
        let all = (0..CELLS).flat_map(|cell| (0..ZONES).map(move |zone| (cell, zone)));
        let all = all.flat_map(|(cell, zone)| (0..2).map(move |number| (cell, zone, number)));
        let all: Vec<(At, Place)> = all.filter(|at| is_there(*at)).map(|at| (at, place(at))).collect();
        let rows = all.iter().map(|(at, place)| {
            let fine = State::Fine;
            let (cell, zone) = (at.0, Some(at.1));
            let (times, shares) = ([1.0; 2], [0.0; 3]);
            let mut row = Row {
                place,
                cell,
                zone,
                round_trip: fine,
                lost: fine,
                connect: fine,
                answer: fine,
                failed: fine,
                times,
                shares,
            };
            like(*at, &mut row);
            row
        });
        let rows: Vec<Row<'_>> = rows.collect();
        let process = Process { trusted: true, ..Process::default() };
        judge(&rows, CELLS, ZONES, process).into_iter().map(|finding| finding.verdict).collect()
    }

    fn everywhere(_: At) -> bool {
        true
    }

    /// Endpoints for which `is` holds have a sick network.
    fn network(is: impl Fn(At) -> bool) -> Vec<Verdict> {
        found(everywhere, |at, row| row.round_trip = if is(at) { State::Bad } else { State::Fine })
    }

    /// Endpoints for which `is` holds are slow.
    fn slow(is: impl Fn(At) -> bool) -> Vec<Verdict> {
        found(everywhere, |at, row| row.answer = if is(at) { State::Bad } else { State::Fine })
    }

    fn zone(number: usize) -> Verdict {
        Verdict::Zone(label("zone", number))
    }

    fn doubt(number: usize) -> Verdict {
        Verdict::Ambiguous(Doubt::Zone(label("zone", number)))
    }

    fn cell(number: usize, sick: Sick) -> Verdict {
        Verdict::Cell(label("cell", number), sick)
    }

    #[test]
    fn pictures_of_a_sick_network() {
        assert_eq!(network(|_| false), []);
        assert_eq!(network(|_| true), [Verdict::Path]);
        assert_eq!(network(|(_, in_zone, _)| in_zone == 1), [zone(1)]);
        assert_eq!(network(|(_, in_zone, _)| in_zone != 1), [zone(0), zone(2)], "one of three is well");
        assert_eq!(network(|(in_cell, _, _)| in_cell == 4), [cell(4, Sick::Network)]);
        assert_eq!(network(|at| at == (4, 1, 0)), [Verdict::Endpoint(place((4, 1, 0)))]);
        assert_eq!(network(|(_, in_zone, number)| in_zone == 1 && number == 0), [doubt(1)], "half of it");
        let cell_and_zone = network(|(in_cell, in_zone, _)| in_zone == 1 || in_cell == 4);
        assert_eq!(cell_and_zone, [zone(1), cell(4, Sick::Network)]);
    }

    #[test]
    fn pictures_of_sick_applications() {
        let sick = Sick::Application;
        assert_eq!(slow(|(in_cell, _, _)| in_cell == 4), [cell(4, sick)]);
        assert_eq!(slow(|(in_cell, _, _)| in_cell < 2), [cell(0, sick), cell(1, sick)]);
        assert_eq!(slow(|_| true), [Verdict::Ambiguous(Doubt::Shared)], "they share something");
        assert_eq!(slow(|(_, in_zone, _)| in_zone == 1), [doubt(1)], "no packet says that it is the zone");
    }

    #[test]
    fn a_clock_that_runs_on_while_threads_sleep_blames_nobody_else() {
        let late = |_, row: &mut Row<'_>| (row.connect, row.answer) = (State::Bad, State::Bad);
        assert_eq!(found(everywhere, late), [Verdict::Proxy]);
        // With packets that are late too it is the way.
        let way = |_, row: &mut Row<'_>| (row.connect, row.round_trip) = (State::Bad, State::Bad);
        assert_eq!(found(everywhere, way), [Verdict::Path]);
    }

    #[test]
    fn who_has_too_few_endpoints_cannot_tell() {
        let sick_in = |sick: usize| {
            move |at: At, row: &mut Row<'_>| row.lost = if at.1 == sick { State::Bad } else { State::Fine }
        };
        let few = |(in_cell, in_zone, number): At| number == 0 && (in_zone < 2 || in_cell < 2);
        assert_eq!(found(few, sick_in(2)), [doubt(2)], "two endpoints are no zone");
        let three = |(in_cell, in_zone, number): At| number == 0 && (in_zone < 2 || in_cell < 3);
        assert_eq!(found(three, sick_in(2)), [zone(2)], "three over three cells are");
        let one_zone = |(_, in_zone, _): At| in_zone == 1;
        assert_eq!(found(one_zone, sick_in(1)), [Verdict::Ambiguous(Doubt::Widespread)], "zone or way out");
    }

    #[test]
    fn those_that_lean_count_beside_those_that_are_certain_and_not_alone() {
        let some = |certain: usize| {
            found(everywhere, move |(in_cell, in_zone, _), row| {
                let state = if in_cell < certain { State::Bad } else { State::Leaning };
                row.round_trip = if in_zone == 1 { state } else { State::Fine };
            })
        };
        assert_eq!(some(3), [zone(1)]);
        assert_eq!(some(0), []);
        // Others that lean are not well: this is certain in one zone first, and is everywhere.
        let begins = found(everywhere, |(_, in_zone, number), row| {
            row.round_trip = match (in_zone, number) {
                (1, _) => State::Bad,
                (_, 0) => State::Leaning,
                _ => State::Fine,
            };
        });
        assert_eq!(begins, [Verdict::Ambiguous(Doubt::Widespread)]);
    }
}
