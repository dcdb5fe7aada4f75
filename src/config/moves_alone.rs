//! The moves of a push without the rest of it: what serves, with every account in the cell that the push has it in, and as
//! far on its way. Moves come in force at once and for everybody, whatever becomes of the rest.
//!
//! Not a rollback, which goes the other way; and nothing comes or goes here, accounts neither.

use std::collections::HashMap;

use super::files::{accounts_file, moves_file};
use super::moving::FORGOTTEN;
use super::routing::Config;
use super::tables::rewrite::{MoveRow, with_cells, with_moves};
use super::{Sources, Unreadable};
use crate::policy::accounts::{Account, AccountTable};
use crate::policy::ids::{AccountId, CellIndex};
use crate::policy::moves::{Move, MoveTable};
use crate::policy::snapshot::{Cell, Snapshot};

/// Who lives where, and who is on the way.
#[derive(Clone, Copy, Debug)]
pub struct Whereabouts<'a> {
    cells: &'a [Cell],
    accounts: &'a AccountTable,
    moves: &'a MoveTable,
}

/// What serves, with the moves of a push.
#[derive(Debug)]
pub struct MovesAlone {
    /// The files.
    pub sources: Sources,
    cells: HashMap<AccountId, Box<str>>,
    moves: Vec<(AccountId, Option<MoveRow>)>,
}

/// Why the moves of a push cannot come without the rest of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotPart {
    /// Accounts go to a cell that comes with the push.
    #[error("{accounts} accounts move to the cell {cell}, which comes with the same push")]
    CellMissing {
        /// The cell.
        cell: Box<str>,
        /// How many.
        accounts: usize,
    },
    /// What serves has no table of moves.
    #[error("the table of moves comes with the same push")]
    NoTable,
    /// The tables cannot be changed row by row.
    #[error("{file} cannot be changed row by row: {reason}")]
    Table {
        /// The file.
        file: String,
        /// What stands in the way.
        reason: String,
    },
    /// The accounts that move are not there without the push.
    #[error("the accounts that move come with the same push")]
    Nothing,
    /// The result is not what it is for.
    #[error("account {0} would not be where the push has it")]
    Lost(AccountId),
}

/// The files `base`, of what is `serving`, with the moves of the files `offered`, which are read as `wanted`.
///
/// # Errors
/// [`CannotPart`].
pub fn moves_alone<'a>(
    base: Sources,
    serving: impl Into<Whereabouts<'a>>,
    offered: &Sources,
    wanted: impl Into<Whereabouts<'a>>,
) -> Result<MovesAlone, CannotPart> {
    let (serving, wanted) = (serving.into(), wanted.into());
    let (cells, moves) = (other_cells(serving, wanted)?, other_moves(serving, wanted));
    if cells.is_empty() && moves.is_empty() {
        return Err(CannotPart::Nothing);
    }
    let mut alone = MovesAlone { sources: base, cells, moves };
    alone.put_cells()?;
    let all_known = wanted.moves.open().all(|(account, _)| serving.accounts.by_id(*account).is_some());
    alone.put_moves(all_known.then_some(offered))?;
    Ok(alone)
}

impl MovesAlone {
    /// Holds what was read from the files against what they are for: a mistake in rewriting must not send one write to
    /// the wrong cell.
    ///
    /// # Errors
    /// [`CannotPart::Lost`].
    pub fn check(&self, read: &Config) -> Result<(), CannotPart> {
        let read = Whereabouts::from(read);
        let cell = |id| read.accounts.by_id(id).map(|account| read.cell(account));
        let lost = self.cells.iter().find(|(id, wanted)| cell(**id) != Some(wanted));
        let far = |id| read.moves.find(id).map(|of| (of.state, of.epoch));
        let behind =
            self.moves.iter().find(|(id, row)| far(*id) != row.as_ref().map(|row| (row.state, row.epoch)));
        match lost.map(|(id, _)| *id).or(behind.map(|(id, _)| *id)) {
            None => Ok(()),
            Some(account) => Err(CannotPart::Lost(account)),
        }
    }

    fn put_cells(&mut self) -> Result<(), CannotPart> {
        if self.cells.is_empty() {
            return Ok(());
        }
        let file = accounts_file(routing(&self.sources)).unwrap_or_default();
        let text = table(&self.sources, &file)?;
        let edited = with_cells(text, |id| self.cells.get(&id).map(|cell| &**cell));
        self.put(file, edited)
    }

    /// Takes the whole table of `offered`, where all that are on their way there are known; the same bytes then give the
    /// same hash as files that say no more than the moves.
    fn put_moves(&mut self, offered: Option<&Sources>) -> Result<(), CannotPart> {
        if self.moves.is_empty() {
            return Ok(());
        }
        let file = moves_file(routing(&self.sources)).ok_or(CannotPart::NoTable)?;
        let whole = offered.and_then(|offered| {
            let text = offered.files.get(moves_file(routing(offered))?.as_str())?;
            text.as_ref().ok().cloned()
        });
        let edited = match whole {
            Some(text) => Ok(text),
            None => with_moves(table(&self.sources, &file)?, &self.moves),
        };
        self.put(file, edited)
    }

    fn put<E: std::fmt::Display>(
        &mut self,
        file: String,
        edited: Result<Vec<u8>, E>,
    ) -> Result<(), CannotPart> {
        match edited {
            Ok(text) => {
                self.sources.files.insert(file.into(), Ok(text));
                Ok(())
            }
            Err(error) => Err(CannotPart::Table { file, reason: error.to_string() }),
        }
    }
}

fn routing(sources: &Sources) -> &[u8] {
    sources.routing.as_deref().unwrap_or_default()
}

fn table<'s>(sources: &'s Sources, file: &str) -> Result<&'s [u8], CannotPart> {
    let cannot = |reason: &str| CannotPart::Table { file: file.to_owned(), reason: reason.to_owned() };
    if !file.ends_with(".csv") {
        return Err(cannot("it is no CSV"));
    }
    let text: &Result<Vec<u8>, Unreadable> =
        sources.files.get(file).ok_or_else(|| cannot("it was not kept"))?;
    text.as_deref().map_err(|unreadable| cannot(&unreadable.what))
}

/// The accounts of both sides that live elsewhere.
fn other_cells(
    serving: Whereabouts<'_>,
    wanted: Whereabouts<'_>,
) -> Result<HashMap<AccountId, Box<str>>, CannotPart> {
    let both = wanted.accounts.iter().filter_map(|account| {
        let old = serving.accounts.by_id(account.id)?;
        Some((account.id, serving.cell(old), wanted.cell(account)))
    });
    let moved: Vec<(AccountId, &str)> =
        both.filter(|(_, old, new)| old != new).map(|(id, _, new)| (id, new)).collect();
    let missing = |name: &str| serving.cells.iter().all(|cell| cell.name.as_str() != name);
    match moved.iter().find(|(_, to)| missing(to)) {
        Some((_, cell)) => {
            let accounts = moved.iter().filter(|(_, to)| to == cell).count();
            Err(CannotPart::CellMissing { cell: (*cell).into(), accounts })
        }
        None => Ok(moved.into_iter().map(|(id, to)| (id, to.into())).collect()),
    }
}

/// The moves of accounts of both sides that are further on, new, or gone.
fn other_moves(serving: Whereabouts<'_>, wanted: Whereabouts<'_>) -> Vec<(AccountId, Option<MoveRow>)> {
    let in_both = |id: AccountId| serving.accounts.by_id(id).is_some() && wanted.accounts.by_id(id).is_some();
    let others = wanted.moves.iter().filter_map(|(id, of)| {
        let row = wanted.row(of);
        let same = serving.moves.find(*id).is_some_and(|old| serving.row(old) == row);
        (in_both(*id) && !same).then_some((*id, Some(row)))
    });
    let gone = serving.moves.iter().map(|(id, _)| *id);
    let gone = gone.filter(|id| in_both(*id) && wanted.moves.find(*id).is_none());
    others.chain(gone.map(|id| (id, None))).collect()
}

impl<'a> Whereabouts<'a> {
    fn cell(&self, account: Account<'_>) -> &'a str {
        self.name(account.cell)
    }

    fn name(&self, cell: CellIndex) -> &'a str {
        self.cells[usize::from(cell.0)].name.as_str()
    }

    fn row(&self, of: &Move) -> MoveRow {
        let name = |cell: Option<CellIndex>| cell.map_or(FORGOTTEN, |cell| self.name(cell)).into();
        MoveRow { from: name(of.from), to: name(of.to), state: of.state, epoch: of.epoch }
    }
}

impl<'a> From<&'a Snapshot> for Whereabouts<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        Self { cells: &snapshot.cells, accounts: &snapshot.accounts, moves: &snapshot.moves.table }
    }
}

impl<'a> From<&'a Config> for Whereabouts<'a> {
    fn from(config: &'a Config) -> Self {
        Self { cells: &config.cells, accounts: &config.accounts, moves: &config.moves.table }
    }
}
