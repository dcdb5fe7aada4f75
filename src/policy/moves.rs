//! Accounts on their way from one cell to another: which state of its move is published, and what that means for a
//! request. A move is three published states, and each replica obeys the one that it has
//! (`docs/decisions/0014-moves.md`).
//!
//! Not here: waiting, counting and cutting, which the data plane does; nor when the next state may be written, which
//! `config::advance` decides.

use std::time::Duration;

use http::Method;

use super::columns::{Slots, SlotsBuilder, hash_number};
use super::ids::{AccountId, CellIndex};

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MoveState {
    /// Announced: everything still goes to the old cell, and connections to the new one are opened.
    Prepare,
    /// Nothing new is written: writes wait, those under way at the old cell end.
    Holding,
    /// Everything goes to the new cell.
    Flipped,
}

/// The newest move of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Where its writes went before. Of a finished move it may be a cell that is no more.
    pub from: Option<CellIndex>,
    /// Where they go once it is flipped. Of a finished move likewise.
    pub to: Option<CellIndex>,
    /// How far it is.
    pub state: MoveState,
    /// Counts the moves of this account, from 1. A cell that has seen a newer one refuses an older one's requests.
    pub epoch: u32,
}

/// What happens to reads while writes are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeldReads {
    /// They go on to the old cell, which is still complete.
    OldCell,
    /// They wait like writes, where a read must see the newest write of the same client.
    Wait,
}

/// What a held request may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldRules {
    /// How long a request waits before it is refused; below the patience of every client.
    pub budget: Duration,
    /// What reads do.
    pub reads: HeldReads,
    /// After this time in [`MoveState::Holding`], writes that are still under way at the old cell are cut.
    pub drain: Duration,
    /// Requests of one account that wait at once.
    pub waiting_per_account: u32,
    /// Requests of all accounts of one cell that wait at once.
    pub waiting_per_cell: u32,
}

/// Every account that was ever moved this way.
#[derive(Clone, Debug, Default)]
pub struct MoveTable {
    rows: Vec<(AccountId, Move)>,
    by_account: Slots,
    /// Positions of the rows that are not flipped: few, whatever has been moved before.
    open: Vec<u32>,
}

/// Accounts on their way, and what that may cost.
#[derive(Clone, Debug, Default)]
pub struct Moves {
    /// The moves.
    pub table: MoveTable,
    /// What holding may cost.
    pub rules: HoldRules,
}

impl HoldRules {
    /// The longest budget that a configuration can set: the least patient clients give up after 5 s (httpx by
    /// default, fal-ai's action; `domain.md` 1.6), and the answer must still reach them.
    pub const LONGEST_BUDGET: Duration = Duration::from_secs(4);
}

impl Default for HoldRules {
    fn default() -> Self {
        Self {
            // With a second for the cell itself, an httpx client of 5 s sees nothing of a move.
            budget: Duration::from_secs(3),
            reads: HeldReads::OldCell,
            // As long as 99 of 100 API calls take, many times over.
            drain: Duration::from_secs(10),
            // Three seconds of an account with 20 writes a second; a held request costs its head and a task.
            waiting_per_account: 64,
            waiting_per_cell: 2_048,
        }
    }
}

impl MoveState {
    /// The word in files, logs and views.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Holding => "holding",
            Self::Flipped => "flipped",
        }
    }
}

impl Move {
    /// Whether a request of this kind waits.
    pub fn holds(&self, is_write: bool, rules: &HoldRules) -> bool {
        self.state == MoveState::Holding && (is_write || rules.reads == HeldReads::Wait)
    }
}

impl MoveTable {
    /// Of rows whose accounts differ; of equal ones the first counts.
    pub fn new(rows: Vec<(AccountId, Move)>) -> Self {
        let mut slots = SlotsBuilder::new(rows.len());
        for (row, (account, _)) in rows.iter().enumerate() {
            slots.enter(hash_number(account.value()), row, |other| rows[other].0 == *account);
        }
        let open = (0..).zip(&rows).filter(|(_, (_, of))| of.state != MoveState::Flipped);
        Self { open: open.map(|(row, _)| row).collect(), by_account: slots.finish(), rows }
    }

    /// The newest move of an account, also where it ended long ago.
    #[inline]
    pub fn find(&self, account: AccountId) -> Option<&Move> {
        if self.rows.is_empty() {
            return None;
        }
        let row = self.by_account.find(hash_number(account.value()), |row| self.rows[row].0 == account)?;
        Some(&self.rows[row].1)
    }

    /// How often an account was moved: the epoch of its requests. A move that is on its way counts once it is flipped.
    pub fn epoch(&self, account: AccountId) -> u32 {
        self.find(account).map_or(0, |of| match of.state {
            MoveState::Flipped => of.epoch,
            MoveState::Prepare | MoveState::Holding => of.epoch - 1,
        })
    }

    /// The moves that are on their way, in the order of the file.
    pub fn open(&self) -> impl Iterator<Item = &(AccountId, Move)> {
        self.open.iter().map(|row| &self.rows[*row as usize])
    }

    /// Accounts whose writes are held, each with the epoch of the move that holds them.
    pub fn held(&self) -> impl Iterator<Item = (AccountId, u32)> {
        self.open().filter(|(_, of)| of.state == MoveState::Holding).map(|(account, of)| (*account, of.epoch))
    }

    /// Whether this table knows of a hold that somebody may have been told of: it has that move, as far at least, or a
    /// newer one. With a table that does not, writes would go to the old cell after they were said to be held.
    pub fn knows_of_hold(&self, account: AccountId, epoch: u32) -> bool {
        self.find(account).is_some_and(|of| (of.epoch, of.state) >= (epoch, MoveState::Holding))
    }

    /// All moves, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &(AccountId, Move)> {
        self.rows.iter()
    }
}

/// Whether a request may change something. Only methods that are safe (RFC 9110 section 9.2.1) do not: a GraphQL
/// query and every gRPC call are a POST, and nobody can tell from outside what they do.
pub fn is_write(method: &Method) -> bool {
    !method.is_safe()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn account(id: u64) -> AccountId {
        AccountId::from_value(id).unwrap()
    }

    fn to_2(state: MoveState, epoch: u32) -> Move {
        Move { from: Some(CellIndex(1)), to: Some(CellIndex(2)), state, epoch }
    }

    #[test]
    fn the_epoch_counts_flips() {
        let rows = [(1, MoveState::Prepare, 1), (2, MoveState::Holding, 3), (3, MoveState::Flipped, 3)];
        let rows = rows.map(|(id, state, epoch)| (account(id), to_2(state, epoch)));
        let table = MoveTable::new(rows.to_vec());
        assert_eq!([1, 2, 3, 4].map(|id| table.epoch(account(id))), [0, 2, 3, 0]);
        assert_eq!(table.open().map(|(id, _)| id.value()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(MoveTable::default().find(account(1)), None);
    }

    #[test]
    fn a_hold_is_known_where_it_or_what_came_after_it_is() {
        use MoveState::{Flipped, Holding, Prepare};
        for (row, knows) in [
            (Some((Holding, 2)), true),
            (Some((Flipped, 2)), true),
            (Some((Prepare, 3)), true),
            (Some((Prepare, 2)), false),
            (Some((Flipped, 1)), false),
            (None, false),
        ] {
            let rows = row.map(|(state, epoch)| (account(123), to_2(state, epoch)));
            let table = MoveTable::new(rows.into_iter().collect());
            assert_eq!(table.knows_of_hold(account(123), 2), knows, "{row:?}");
            let held: Vec<_> = table.held().collect();
            let holds = matches!(row, Some((Holding, _)));
            assert_eq!(held, if holds { vec![(account(123), 2)] } else { vec![] }, "{row:?}");
        }
    }

    #[test]
    fn writes_wait_while_they_are_held_and_reads_by_choice() {
        let rules = HoldRules::default();
        let wait = HoldRules { reads: HeldReads::Wait, ..rules };
        for state in [MoveState::Prepare, MoveState::Holding, MoveState::Flipped] {
            let of = to_2(state, 1);
            let held = state == MoveState::Holding;
            assert_eq!((of.holds(true, &rules), of.holds(false, &rules)), (held, false), "{state:?}");
            assert_eq!(of.holds(false, &wait), held, "{state:?}");
        }
        for (method, writes) in [
            (Method::GET, false),
            (Method::HEAD, false),
            (Method::OPTIONS, false),
            (Method::POST, true),
            (Method::PATCH, true),
        ] {
            assert_eq!(is_write(&method), writes, "{method}");
        }
        assert!(is_write(&Method::from_bytes(b"PURGE").unwrap()), "nobody knows what it does");
    }
}
