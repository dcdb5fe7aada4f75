//! What the move of an account means for a request, and for a write that is under way: plain answers from a snapshot.
//! Waiting, counting and cutting are the data plane's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::facts::{RequestFacts, Upgrade};
use super::ids::{AccountId, CellIndex};
use super::moves::{HoldRules, Move, MoveState, is_write};
use super::snapshot::Snapshot;
use super::writes::Call;

/// Requests that wait at one cell, each a [`Waiter`].
#[derive(Debug, Default)]
pub struct Waiting(Mutex<Slots>);

/// The right to wait; its slot is free again when it is dropped, also where the client has gone.
#[derive(Debug)]
#[must_use = "dropping it gives the slot to somebody else"]
pub struct Waiter {
    waiting: Arc<Waiting>,
    account: Option<AccountId>,
}

#[derive(Debug, Default)]
struct Slots {
    taken: u32,
    /// No entry is 0, so this is never larger than `taken`.
    accounts: HashMap<Option<AccountId>, u32>,
}

/// Whether a request counts as a write as long as it lives: an unsafe method, a gRPC call, a WebSocket.
pub fn writes(facts: &RequestFacts<'_>) -> bool {
    is_write(facts.method) || facts.upgrade != Upgrade::None || facts.is_grpc()
}

/// Whether the account's move makes this request wait. Of an account that has a row.
pub fn holds(snapshot: &Snapshot, account: AccountId, is_write: bool) -> bool {
    let moves = &snapshot.moves;
    moves.table.find(account).is_some_and(|of| of.holds(is_write, &moves.rules))
}

/// Whether a write that `pinned` sends to `cell` may still go there now that `newest` serves: the account lives there,
/// nothing holds it, and it has not been away meanwhile, so that the epoch that is signed is the newest.
pub fn still_goes(pinned: &Snapshot, newest: &Snapshot, account: AccountId, cell: CellIndex) -> bool {
    let lives_there = newest
        .accounts
        .by_id(account)
        .is_some_and(|row| newest.cell(row.cell).name == pinned.cell(cell).name);
    lives_there
        && !holds(newest, account, true)
        && newest.moves.table.epoch(account) == pinned.moves.table.epoch(account)
}

/// What the writes of an account that are under way in `cell` are told. `held_for` is how long this process has known
/// that its writes are held.
pub fn call(snapshot: &Snapshot, account: AccountId, cell: CellIndex, held_for: Duration) -> Call {
    let Some(of) = snapshot.moves.table.find(account) else { return Call::Stay };
    let lives_here = snapshot.accounts.by_id(account).is_some_and(|row| row.cell == cell);
    match of.state {
        MoveState::Prepare | MoveState::Flipped if lives_here => Call::Stay,
        MoveState::Holding if lives_here && held_for < snapshot.moves.rules.drain => Call::Leave,
        // Somewhere else the account is written already, or will be at any moment.
        MoveState::Prepare | MoveState::Holding | MoveState::Flipped => Call::Cut,
    }
}

/// How much longer a request may wait that has waited for so long; nothing when that is all.
pub fn patience(rules: &HoldRules, waited: Duration) -> Option<Duration> {
    rules.budget.checked_sub(waited).filter(|left| !left.is_zero())
}

/// The moves that a replica reports: those that are on their way, and finished ones whose old cell has writes under
/// way, so that nobody takes the one for the other. At most `most`, the former first.
///
/// Whoever reads counts does so from a snapshot that was pinned *before*: then "this generation, no writes" stays
/// true. See `proxy::hold`.
pub fn reported(snapshot: &Snapshot, most: usize) -> Vec<ReportedMove> {
    let open = snapshot.moves.table.open().copied();
    let late = snapshot.cells.iter().zip(0..).flat_map(|(cell, index)| {
        let accounts = cell.load.writes.accounts().into_iter();
        accounts.filter_map(move |account| {
            let of = snapshot.moves.table.find(account)?;
            (of.state == MoveState::Flipped && of.from == Some(CellIndex(index))).then_some((account, *of))
        })
    });
    open.chain(late).take(most).map(|(account, of)| ReportedMove::new(snapshot, account, of)).collect()
}

/// The same of one account, also after its end; `None` where it was never moved.
pub fn reported_of(snapshot: &Snapshot, account: AccountId) -> Option<ReportedMove> {
    snapshot.moves.table.find(account).map(|of| ReportedMove::new(snapshot, account, *of))
}

/// A move, with what this process knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportedMove {
    /// Whose.
    pub account: AccountId,
    /// From where to where, and how far.
    pub of: Move,
    /// Writes of the account under way at the old cell.
    pub writes_at_old_cell: u32,
    /// Requests of the account that wait.
    pub waiting: u32,
}

impl ReportedMove {
    fn new(snapshot: &Snapshot, account: AccountId, of: Move) -> Self {
        let load = of.from.map(|from| &snapshot.cell(from).load);
        Self {
            account,
            of,
            writes_at_old_cell: load.map_or(0, |load| load.writes.in_flight(account)),
            waiting: load.map_or(0, |load| load.waiting.of(account)),
        }
    }
}

impl Waiting {
    /// A slot, unless the account or the cell has as many as it may. Those of whom nobody knows whose they are, are one.
    pub fn try_begin(self: &Arc<Self>, account: Option<AccountId>, rules: &HoldRules) -> Option<Waiter> {
        let mut slots = self.slots();
        let of_account = slots.accounts.get(&account).copied().unwrap_or(0);
        if slots.taken >= rules.waiting_per_cell || of_account >= rules.waiting_per_account {
            return None;
        }
        slots.taken += 1;
        slots.accounts.insert(account, of_account + 1);
        drop(slots);
        Some(Waiter { waiting: Arc::clone(self), account })
    }

    /// How many requests of this account wait.
    pub fn of(&self, account: AccountId) -> u32 {
        self.slots().accounts.get(&Some(account)).copied().unwrap_or(0)
    }

    /// How many requests wait.
    pub fn taken(&self) -> u32 {
        self.slots().taken
    }

    /// A poisoned lock means that another holder panicked between two whole changes.
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut slots = self.waiting.slots();
        slots.taken -= 1;
        if let Some(count) = slots.accounts.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                slots.accounts.remove(&self.account);
            }
        }
        if slots.taken == 0 {
            // The room of a crowd is given back.
            slots.accounts = HashMap::new();
        }
    }
}
