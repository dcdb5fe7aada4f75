//! The status as it is printed: a view for programs (`docs/status.schema.json`), of which the page is made, too. Of two views
//! that are equal but for the time at which they were made, the second says nothing new.

use serde::Serialize;

use crate::policy::brownout::Window;
use crate::policy::calendar::show_moment;
use crate::policy::snapshot::Snapshot;
use crate::policy::status::measures::{self, Measure};
use crate::policy::status::{Basis, CellStanding, Change, Standing, State};

use super::names::{Called, CalledNames};

/// The version of its form: a program that reads it stops at one that it does not know.
const VERSION: u8 = 1;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct StatusView {
    pub version: u8,
    pub title: String,
    /// Of all cells together: as bad as the worst of them, but `down` where all are.
    pub state: &'static str,
    /// One sentence.
    pub summary: String,
    /// RFC 3339.
    pub as_of: String,
    pub cells: Vec<CellView>,
    pub planned: Vec<PlannedView>,
    /// The newest first.
    pub changes: Vec<ChangeView>,
    /// Only where operators look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operators: Option<OperatorsView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CellView {
    pub id: String,
    pub name: String,
    #[serde(flatten)]
    pub standing: StandingView,
    /// It answers far more slowly than usual.
    pub slow: bool,
    pub measures: Vec<MeasureView>,
    pub surfaces: Vec<SurfaceView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct SurfaceView {
    pub id: String,
    pub name: String,
    #[serde(flatten)]
    pub standing: StandingView,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct StandingView {
    pub state: &'static str,
    pub since: String,
    /// How far it is let in while it comes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramp_percent: Option<u8>,
    /// There are too few requests to tell by them.
    pub little_traffic: bool,
    /// What says it.
    pub basis: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct MeasureView {
    pub kind: &'static str,
    pub text: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PlannedView {
    pub kind: &'static str,
    pub from: String,
    pub until: String,
    pub in_force: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ChangeView {
    pub cell: NameView,
    /// Absent where it is the cell as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surface: Option<NameView>,
    pub from: &'static str,
    pub to: &'static str,
    pub at: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct NameView {
    pub id: String,
    pub name: String,
}

/// What is nobody else's business.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct OperatorsView {
    pub generation: u64,
    /// Protections that only watch.
    pub observing: Vec<ObservingView>,
    /// What is said of the network, with zones.
    pub verdicts: Vec<String>,
    /// What is pulled, in the words of its command.
    pub levers: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ObservingView {
    pub cell: String,
    pub policies: Vec<&'static str>,
}

/// What a view is made of.
pub(super) struct Told<'a> {
    pub title: &'a str,
    pub names: &'a CalledNames,
    pub cells: &'a [CellStanding],
    /// Of each of them.
    pub measures: &'a [Vec<Measure>],
    pub planned: &'a [Window],
    /// The newest first.
    pub changes: &'a mut dyn Iterator<Item = &'a Change>,
    pub operators: Option<OperatorsView>,
    pub now: i64,
}

impl StatusView {
    pub(super) fn new(told: Told<'_>) -> Self {
        let Told { title, names, cells, measures, planned, changes, operators, now } = told;
        let of =
            |(standing, measures): (&CellStanding, &Vec<Measure>)| CellView::new(standing, measures, names);
        let window = |window: &Window| PlannedView {
            kind: "retired_addresses",
            from: show_moment(window.start),
            until: show_moment(window.end),
            in_force: window.start <= now,
        };
        let state = whole(cells);
        Self {
            version: VERSION,
            title: title.to_owned(),
            state: state.as_str(),
            summary: summary(state, cells),
            as_of: show_moment(now),
            cells: cells.iter().zip(measures).filter_map(of).collect(),
            planned: planned.iter().map(window).collect(),
            changes: changes.filter_map(|change| ChangeView::new(change, names)).collect(),
            operators,
        }
    }

    /// Whether it says the same, whenever it was made.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        Self { as_of: String::new(), ..self.clone() } == Self { as_of: String::new(), ..other.clone() }
    }
}

/// What is said of all.
fn whole(cells: &[CellStanding]) -> State {
    let states = || cells.iter().map(|cell| cell.whole.state);
    match (states().min(), states().max()) {
        (Some(State::Down), _) => State::Down,
        (_, Some(State::Down)) => State::Degraded,
        (_, worst) => worst.unwrap_or(State::Operating),
    }
}

fn summary(state: State, cells: &[CellStanding]) -> String {
    let affected = cells.iter().filter(|cell| cell.whole.state != State::Operating).count();
    let all = cells.len();
    let part = match (affected, all) {
        (_, 1) => "The service".to_owned(),
        (1, all) => format!("One of {all} parts of the service"),
        (some, all) if some == all => format!("All {all} parts of the service"),
        (some, all) => format!("{some} of {all} parts of the service"),
    };
    let verb = |one: &str, many: &str| (if affected == 1 || all == 1 { one } else { many }).to_owned();
    match state {
        State::Operating => "Everything is operating".to_owned(),
        State::Recovering(_) => format!("{part} {}", verb("is recovering", "are recovering")),
        State::Held => format!("{part} {} requests wait for a moment", verb("lets", "let")),
        State::Degraded => format!("{part} {} trouble", verb("has", "have")),
        State::Down => format!("{part} {}", verb("is down", "are down")),
    }
}

impl CellView {
    fn new(cell: &CellStanding, measures: &[Measure], names: &CalledNames) -> Option<Self> {
        let Called { id, name } = names.cell(&cell.cell)?.clone();
        let surface = |(surface, standing): &(_, Standing)| {
            let Called { id, name } = names.surface(surface)?.clone();
            Some(SurfaceView { id, name, standing: StandingView::new(standing, cell.basis(standing)) })
        };
        let measure = |measure: &Measure| MeasureView { kind: measure.as_str(), text: measure.sentence() };
        Some(Self {
            id,
            name,
            standing: StandingView::new(&cell.whole, cell.basis(&cell.whole)),
            slow: cell.is_slow,
            measures: measures.iter().map(measure).collect(),
            surfaces: cell.tiles.iter().filter_map(surface).collect(),
        })
    }
}

impl StandingView {
    fn new(standing: &Standing, basis: Basis) -> Self {
        let ramp_percent = match standing.state {
            State::Recovering(percent) => percent,
            _ => None,
        };
        Self {
            state: standing.state.as_str(),
            since: show_moment(standing.since),
            ramp_percent,
            little_traffic: standing.is_quiet,
            basis: basis.as_str(),
        }
    }
}

impl ChangeView {
    /// `None` where a reload has taken what it is about.
    pub(super) fn new(change: &Change, names: &CalledNames) -> Option<Self> {
        let view = |called: &Called| NameView { id: called.id.clone(), name: called.name.clone() };
        let surface = match &change.surface {
            Some(surface) => Some(view(names.surface(surface)?)),
            None => None,
        };
        Some(Self {
            cell: view(names.cell(&change.cell)?),
            surface,
            from: change.from.as_str(),
            to: change.to.as_str(),
            at: show_moment(change.at),
        })
    }
}

impl OperatorsView {
    pub(super) fn new(snapshot: &Snapshot, verdicts: Vec<String>, levers: Vec<String>) -> Self {
        let observing = snapshot.cells.iter().map(|cell| ObservingView {
            cell: cell.name.to_string(),
            policies: measures::observing(cell).map(|policy| policy.as_str()).collect(),
        });
        Self {
            generation: snapshot.generation.0,
            observing: observing.filter(|cell| !cell.policies.is_empty()).collect(),
            verdicts,
            levers,
        }
    }
}
