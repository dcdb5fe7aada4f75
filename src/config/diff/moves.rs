//! What a change does to accounts that are on their way: which states are new, and what of it no sequence of
//! published states explains. Data for guards and plans (`docs/decisions/0014-moves.md`).

use std::collections::BTreeMap;
use std::fmt;

use super::View;
use crate::policy::accounts::Account;
use crate::policy::ids::{AccountId, CellIndex};
use crate::policy::moves::{Move, MoveState};

/// Accounts by the cell that they come from and the one that they go to.
pub type ByCells = BTreeMap<(Box<str>, Box<str>), usize>;

/// What changes about moves. All of it is empty where nothing is moved with `cellgate move`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoveChanges {
    /// Moves that are in another state than before, or were not there: old cell, new cell, state now.
    pub by_state: BTreeMap<(Box<str>, Box<str>, MoveState), usize>,
    /// Moves that were on their way and are taken back.
    pub taken_back: ByCells,
    /// Moves that are on their way and were not before: the moment to judge how many go.
    pub announced: ByCells,
    /// Accounts that change their cell by a move that was on its way before, so that it was judged then.
    pub settled: ByCells,
    /// Accounts that change their cell by a move of which what was before knows nothing.
    pub caught_up: ByCells,
    /// Accounts that change their cell, and no move says so.
    pub unheld: Noted,
    /// Accounts that change their cell by a move whose hold the other side has not had.
    pub unseen: Noted,
    /// Accounts that have been moved less often than before, or whose move is forgotten.
    pub backwards: Noted,
    /// Accounts whose move leaves out a state, or goes elsewhere in the middle.
    pub skipped: Noted,
}

/// How many accounts, and the first of them in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// All of them.
    pub count: usize,
    /// A few of them.
    pub first: Vec<String>,
}

/// Most accounts that are named: who has more has made one mistake many times.
const NAMED: usize = 5;

/// What is wrong with what became of one move.
enum Broken {
    Backwards(String),
    Skipped(String),
}

/// A move with names in place of positions, which mean nothing across configurations.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Named<'a> {
    from: &'a str,
    to: &'a str,
    state: MoveState,
    epoch: u32,
}

impl MoveChanges {
    pub(super) fn between(before: &View<'_>, after: &View<'_>) -> Self {
        let mut changes = Self::default();
        for (account, of) in after.moves.iter() {
            let old = before.moves.find(*account).map(|of| before.named(of));
            let new = after.named(of);
            let cell_changes = cell_changes(before, after, *account);
            // What is long over changes no more, also where its old cell has lost its name meanwhile.
            let is_over =
                old.is_some_and(|old| !is_open(Some(old)) && !is_open(Some(new)) && old.epoch == new.epoch);
            if old != Some(new) && (!is_over || cell_changes) {
                changes.changed(*account, old, new, cell_changes);
            }
        }
        let gone = before.moves.iter().filter(|(account, _)| after.moves.find(*account).is_none());
        for (account, of) in gone {
            let old = before.named(of);
            if is_open(Some(old)) {
                count(&mut changes.taken_back, old);
            }
            if old.flips() > 0 && after.accounts.by_id(*account).is_some() {
                let what = format!("{account} (moved {} times; its row is gone)", old.flips());
                changes.backwards.note(|| what);
            }
        }
        changes
    }

    /// An account that changes its cell.
    pub(super) fn cell_changed(&mut self, before: &View<'_>, after: &View<'_>, account: Account<'_>) {
        let moved = |view: &View<'_>| view.moves.find(account.id).copied();
        let (old, new) = (moved(before), moved(after));
        let flipped =
            new.filter(|new| new.state == MoveState::Flipped && new.epoch > before.moves.epoch(account.id));
        let Some(new) = flipped.map(|of| after.named(&of)) else {
            return self.unheld.note(|| account.id.to_string());
        };
        let old = old.map(|of| before.named(&of)).filter(|old| is_open(Some(*old)) && old.same_way(&new));
        count(if old.is_some() { &mut self.settled } else { &mut self.caught_up }, new);
        if old.is_none_or(|old| old.state != MoveState::Holding) {
            let was = old.map_or("not on its way", |old| old.state.as_str());
            self.unseen.note(|| format!("{} (was {was})", account.id));
        }
    }

    /// A process that starts has nothing under way, and may have been away while others went through the states
    /// between: what it has missed is no objection. If it went on with what it had, it would write to the old cell.
    pub fn forgive_what_was_missed(&mut self) {
        self.unseen = Noted::default();
        self.skipped = Noted::default();
        // They were judged when they were announced, by those that were awake.
        self.announced = ByCells::new();
        for (cells, accounts) in std::mem::take(&mut self.caught_up) {
            *self.settled.entry(cells).or_default() += accounts;
        }
    }

    /// How many accounts go elsewhere by what this change says first: of a move it is the announcement, not the flip.
    pub fn newly_leaving(&self, moved: &ByCells, leaves: impl Fn(&str) -> bool) -> usize {
        let sum = |by: &ByCells| -> usize {
            by.iter().filter(|((from, _), _)| leaves(from)).map(|(_, count)| count).sum()
        };
        (sum(moved) + sum(&self.announced)).saturating_sub(sum(&self.settled))
    }

    fn changed(&mut self, account: AccountId, old: Option<Named<'_>>, new: Named<'_>, cell_changes: bool) {
        let is_taken_back = is_open(old) && old.is_some_and(|old| new.epoch < old.epoch);
        match old {
            Some(old) if is_taken_back => count(&mut self.taken_back, old),
            _ => {
                *self.by_state.entry((new.from.into(), new.to.into(), new.state)).or_default() += 1;
            }
        }
        if is_open(Some(new)) && !old.is_some_and(|old| is_open(Some(old)) && old.same_way(&new)) {
            count(&mut self.announced, new);
        }
        match broken(account, old, new, cell_changes) {
            Some(Broken::Backwards(what)) => self.backwards.note(|| what),
            Some(Broken::Skipped(what)) => self.skipped.note(|| what),
            None => {}
        }
    }
}

/// Whether each replica could have gone from one to the other with all its neighbours.
fn broken(account: AccountId, old: Option<Named<'_>>, new: Named<'_>, cell_changes: bool) -> Option<Broken> {
    let flips = old.map_or(0, |old| old.flips());
    let state = |of: Named<'_>| format!("{} {}", of.state.as_str(), of.epoch);
    let from = old.map_or_else(|| "none".to_owned(), state);
    let step = format!("{account} ({from} -> {})", state(new));
    if new.flips() < flips {
        return Some(Broken::Backwards(step));
    }
    let is_step = match old {
        Some(old) if old.epoch == new.epoch => match (old.state, new.state) {
            (MoveState::Flipped, _) => true,
            _ if !old.same_way(&new) => {
                let other = format!("{account} (to {}, and was on its way to {})", new.to, old.to);
                return Some(Broken::Skipped(other));
            }
            (MoveState::Prepare, MoveState::Flipped) => false,
            _ => true,
        },
        // Taken back: as often moved as before.
        Some(old) if new.epoch < old.epoch => true,
        _ => match new.state {
            MoveState::Prepare => new.flips() == flips,
            MoveState::Holding => false,
            // Of an account that stays where it is, it is history.
            MoveState::Flipped => !cell_changes,
        },
    };
    (!is_step).then_some(Broken::Skipped(step))
}

fn is_open(of: Option<Named<'_>>) -> bool {
    of.is_some_and(|of| of.state != MoveState::Flipped)
}

fn cell_changes(before: &View<'_>, after: &View<'_>, account: AccountId) -> bool {
    let cells = before.accounts.by_id(account).zip(after.accounts.by_id(account));
    cells.is_some_and(|(old, new)| before.cell(old) != after.cell(new))
}

fn count(by: &mut ByCells, of: Named<'_>) {
    *by.entry((of.from.into(), of.to.into())).or_default() += 1;
}

impl Named<'_> {
    fn flips(&self) -> u32 {
        match self.state {
            MoveState::Flipped => self.epoch,
            MoveState::Prepare | MoveState::Holding => self.epoch.saturating_sub(1),
        }
    }

    fn same_way(&self, other: &Self) -> bool {
        (self.from, self.to, self.epoch) == (other.from, other.to, other.epoch)
    }
}

impl<'a> View<'a> {
    fn named(&self, of: &Move) -> Named<'a> {
        let name = |cell: Option<CellIndex>| cell.map_or("-", |cell| self.cells[usize::from(cell.0)].name);
        Named { from: name(of.from), to: name(of.to), state: of.state, epoch: of.epoch }
    }

    /// Whether an account goes elsewhere by what this change says first, as against one that says `before`.
    pub(super) fn announces(&self, before: &Self, account: AccountId) -> bool {
        let open =
            |view: &Self| view.moves.find(account).map(|of| view.named(of)).filter(|of| is_open(Some(*of)));
        open(self).is_some_and(|new| open(before).is_none_or(|old| !old.same_way(&new)))
    }

    /// Whether an account that changes its cell does so by a move that was on its way in `before`, or that `before` may
    /// have slept through.
    pub(super) fn settles(&self, before: &Self, account: AccountId, slept: bool) -> bool {
        let new = self.moves.find(account).map(|of| self.named(of));
        let Some(new) = new.filter(|new| new.state == MoveState::Flipped) else { return false };
        let old = before.moves.find(account).map(|of| before.named(of));
        let was_on_its_way = old.is_some_and(|old| is_open(Some(old)) && old.same_way(&new));
        was_on_its_way || slept && new.epoch > before.moves.epoch(account)
    }
}

impl Noted {
    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if self.first.len() < NAMED {
            self.first.push(what());
        }
        self.count += 1;
    }
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(", "))?;
        match self.count.saturating_sub(self.first.len()) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
