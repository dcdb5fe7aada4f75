//! How the service stands, by cell and surface, as its customers see it: operating, recovering, degraded, down or held, since
//! when, and what is being done. The evidence is what requests were answered; where there are few, what the cell's health says.
//!
//! A state machine that is shown the last seconds once a second and has no other clock. It decides what is said, never what is
//! done: no request is treated in another way for it.

mod level;
pub mod measures;
pub mod resume;
mod tile;

use std::collections::BTreeMap;

use super::ids::Label;
use super::protection::ramp::Phase;
pub use level::Counts;
use tile::{Heard, Stand};

/// What is said of a tile, a cell or all of them. In the order of how bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Requests are answered.
    Operating,
    /// They are again, or are let in step by step: to this per cent of what it bears, where that is known.
    Recovering(Option<u8>),
    /// Somebody has them wait, and they will be answered.
    Held,
    /// Some fail, or take far longer than usual.
    Degraded,
    /// Most fail.
    Down,
}

/// What is seen of one cell in a second.
#[derive(Clone, Debug)]
pub struct CellSeen {
    /// Its name.
    pub cell: Label,
    /// What health and ramp say.
    pub phase: Phase,
    /// How far its ramp is, while it has one.
    pub ramp_percent: Option<u8>,
    /// An operator has all its requests wait.
    pub is_held: bool,
    /// Operators have taken it out of service: levers leave nothing of it to be asked
    /// ([`is_out_of_service`](measures::is_out_of_service)).
    pub is_drained: bool,
    /// Active checks ask for its health, and what they find counts.
    pub is_checked: bool,
    /// It answers far more slowly than it usually does.
    pub is_slow: bool,
    /// Its surfaces, in the order of the configuration.
    pub tiles: Vec<TileSeen>,
}

/// What is seen of one surface of it.
#[derive(Clone, Debug)]
pub struct TileSeen {
    /// Its name.
    pub surface: Label,
    /// Of the last three seconds.
    pub recent: Counts,
    /// Of the last ten.
    pub lately: Counts,
    /// In how many of those ten something went wrong.
    pub bad_seconds: u32,
}

/// Something has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of this cell.
    pub cell: Label,
    /// Of this surface; `None` is the cell as a whole.
    pub surface: Option<Label>,
    /// What was said before.
    pub from: State,
    /// What is said now.
    pub to: State,
    /// In seconds since the Unix epoch.
    pub at: i64,
}

/// How one tile or cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is said.
    pub state: State,
    /// Since when, in seconds since the Unix epoch; at first since somebody looks.
    pub since: i64,
    /// There are too few requests to say it by them.
    pub is_quiet: bool,
}

/// What a standing is said by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// What requests were answered.
    Requests,
    /// There are few; health checks say it.
    Health,
    /// Operators say it: a hold, or a drain.
    Operators,
    /// There are few, and nothing else asks: only that nothing is known against it.
    Nothing,
}

/// How one cell stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellStanding {
    /// Its name.
    pub cell: Label,
    /// As a whole.
    pub whole: Standing,
    /// It is slow, which its tiles do not tell.
    pub is_slow: bool,
    /// What says it where there are few requests, or operators do.
    pub without_requests: Basis,
    /// Each surface, in the order of the configuration.
    pub tiles: Vec<(Label, Standing)>,
}

/// All of them, from look to look.
#[derive(Debug, Default)]
pub struct Board {
    cells: BTreeMap<Label, CellBoard>,
}

#[derive(Debug)]
struct CellBoard {
    whole: Standing,
    slow: Slow,
    tiles: BTreeMap<Label, Stand>,
}

/// Whether a cell is called slow, and for how many looks it has been otherwise.
#[derive(Debug, Default)]
struct Slow {
    is_said: bool,
    against: u32,
}

/// Looks after which a cell is called slow: one slow request moves a percentile for some seconds.
const SLOW_AFTER: u32 = 5;

/// Looks after which it is not any more.
const QUICK_AFTER: u32 = 20;

impl State {
    /// Its stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operating => "operating",
            Self::Recovering(_) => "recovering",
            Self::Held => "held",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }

    /// Whether both are the same word.
    pub fn is_same(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

impl Basis {
    /// Its stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Health => "health",
            Self::Operators => "operators",
            Self::Nothing => "nothing",
        }
    }

    const fn without_requests(cell: &CellSeen) -> Self {
        if cell.is_drained || cell.is_held {
            Self::Operators
        } else if cell.is_checked {
            Self::Health
        } else {
            Self::Nothing
        }
    }
}

impl CellStanding {
    /// What one of its standings is said by.
    pub const fn basis(&self, standing: &Standing) -> Basis {
        // What operators say holds whatever is answered.
        if standing.is_quiet || matches!(self.without_requests, Basis::Operators) {
            self.without_requests
        } else {
            Basis::Requests
        }
    }
}

impl Board {
    /// Looks, once a second; `now` is in seconds since the Unix epoch. A cell or surface that is not seen any more is
    /// forgotten.
    pub fn look(&mut self, seen: &[CellSeen], now: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        self.cells.retain(|name, _| seen.iter().any(|cell| cell.cell == *name));
        for cell in seen {
            let board = self.cells.entry(cell.cell.clone()).or_insert_with(|| CellBoard::new(now));
            board.look(cell, now, &mut changes);
        }
        changes
    }

    /// How all of `seen` stand, in its order.
    pub fn standing(&self, seen: &[CellSeen]) -> Vec<CellStanding> {
        let of = |cell: &CellSeen| {
            let board = self.cells.get(&cell.cell)?;
            let tile =
                |tile: &TileSeen| Some((tile.surface.clone(), board.tiles.get(&tile.surface)?.standing()));
            Some(CellStanding {
                cell: cell.cell.clone(),
                whole: board.whole,
                is_slow: board.slow.is_said,
                without_requests: Basis::without_requests(cell),
                tiles: cell.tiles.iter().filter_map(tile).collect(),
            })
        };
        seen.iter().filter_map(of).collect()
    }
}

impl CellBoard {
    fn new(now: i64) -> Self {
        let whole = Standing { state: State::Operating, since: now, is_quiet: true };
        Self { whole, slow: Slow::default(), tiles: BTreeMap::new() }
    }

    fn look(&mut self, cell: &CellSeen, now: i64, changes: &mut Vec<Change>) {
        self.tiles.retain(|name, _| cell.tiles.iter().any(|tile| tile.surface == *name));
        let change = |surface: Option<&Label>, from, to| Change {
            cell: cell.cell.clone(),
            surface: surface.cloned(),
            from,
            to,
            at: now,
        };
        for tile in &cell.tiles {
            let stand = self.tiles.entry(tile.surface.clone()).or_insert_with(|| Stand::new(now));
            if let Some(from) = stand.look(&Heard::of(cell, tile), now) {
                changes.push(change(Some(&tile.surface), from, stand.standing().state));
            }
        }
        self.slow.look(cell.is_slow);
        let (from, to) = (self.whole.state, self.summed(cell));
        self.whole.state = to;
        self.whole.is_quiet = self.tiles.values().all(|stand| stand.standing().is_quiet);
        if !from.is_same(to) {
            self.whole.since = now;
            changes.push(change(None, from, to));
        }
    }

    /// What is said of the cell: all of it is as bad as the best of it, and a part that fails is a cell with a part that fails.
    fn summed(&self, cell: &CellSeen) -> State {
        let states = || self.tiles.values().map(|stand| stand.standing().state);
        let least_ramp = states().filter(|state| matches!(state, State::Recovering(_))).min();
        match (states().min(), states().max()) {
            _ if cell.is_drained => State::Down,
            (Some(State::Down), _) => State::Down,
            (_, Some(State::Down | State::Degraded)) => State::Degraded,
            _ if cell.is_held => State::Held,
            _ if self.slow.is_said => State::Degraded,
            _ => least_ramp.unwrap_or(State::Operating),
        }
    }
}

impl Slow {
    fn look(&mut self, is_slow: bool) {
        self.against = if is_slow == self.is_said { 0 } else { self.against + 1 };
        let patience = if self.is_said { QUICK_AFTER } else { SLOW_AFTER };
        if self.against >= patience {
            (self.is_said, self.against) = (is_slow, 0);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
