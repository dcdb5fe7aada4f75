//! The table of moves. A row says the newest move of an account and stays when it is done: its epoch must not be
//! forgotten.

use super::super::names::Names;
use super::super::problem::{Report, did_you_mean, quoted};
use super::Row;
use super::accounts::{KnownAccounts, known_account};
use super::csv::read_csv;
use crate::policy::code::Code;
use crate::policy::ids::{AccountId, CellIndex};
use crate::policy::moves::{Move, MoveState, MoveTable};

/// Columns of the table.
pub const MOVE_COLUMNS: [&str; 5] = ["account", "from", "to", "state", "epoch"];

/// The states as they are written.
pub const MOVE_STATES: [MoveState; 3] = [MoveState::Prepare, MoveState::Holding, MoveState::Flipped];

/// Reads the table of moves from CSV, and holds it against the account table: a table that says one thing and a
/// move that says another are halves of two generations.
pub(in crate::config) fn moves_csv(
    file: &str,
    text: &[u8],
    cells: &Names,
    accounts: &KnownAccounts,
    report: &Report,
) -> MoveTable {
    let mut rows: Vec<(AccountId, Move)> = Vec::new();
    let mut lines = std::collections::HashMap::new();
    read_csv(
        file,
        text,
        report,
        &MOVE_COLUMNS,
        &[0, 1, 2, 3, 4],
        |row, [account, from, to, state, epoch]| {
            let state = state_of(row, state);
            let epoch = epoch_of(row, epoch);
            let Some((state, epoch)) = state.zip(epoch) else { return };
            let is_open = state != MoveState::Flipped;
            let account = match is_open {
                true => known_account(row, account, accounts),
                // Gone since, perhaps.
                false => AccountId::parse(account.as_bytes())
                    .ok()
                    .or_else(|| known_account(row, account, accounts)),
            };
            let (from_at, to_at) =
                (cell(row, "from", from, cells, is_open), cell(row, "to", to, cells, is_open));
            let Some(account) = account else { return };
            if let Some(first) = lines.insert(account, row.number()) {
                let what = format!("account {account} is already in line {}", row.other(first).line());
                row.refuse(Code::RowTwice, "account", what, "the newest move of each account", None);
                return;
            }
            if from == to {
                row.refuse(
                    Code::MoveToItself,
                    "to",
                    format!("account {account} moves from {} to itself", quoted(to)),
                    "another cell",
                    None,
                );
                return;
            }
            let of = Move { from: from_at, to: to_at, state, epoch };
            agrees(row, account, &of, (from, to), accounts);
            rows.push((account, of));
        },
    );
    MoveTable::new(rows)
}

fn state_of(row: Row<'_>, text: &str) -> Option<MoveState> {
    let found = MOVE_STATES.into_iter().find(|state| state.as_str() == text);
    if found.is_none() {
        let hint = did_you_mean(text, MOVE_STATES.iter().map(|state| state.as_str()));
        row.refuse(
            Code::NotAWord,
            "state",
            format!("found {}", quoted(text)),
            "prepare, holding or flipped",
            hint,
        );
    }
    found
}

fn epoch_of(row: Row<'_>, text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let epoch = text.parse().ok().filter(|_| plain);
    if epoch.is_none() {
        let expected = "how often the account was moved, this time included: 1 or more";
        row.refuse(Code::Epoch, "epoch", format!("found {}", quoted(text)), expected, None);
    }
    epoch
}

/// The cell of this name. Moves that are over may name one that is no more.
fn cell(row: Row<'_>, column: &str, name: &str, cells: &Names, is_open: bool) -> Option<CellIndex> {
    let found = cells.find(name).and_then(|at| u16::try_from(at).ok()).map(CellIndex);
    if found.is_none() && is_open {
        let (what, expected, hint) = cells.unknown(name);
        row.refuse(Code::NoSuchName, column, what, &expected, hint);
    }
    found
}

/// While a move is on its way, the account table says the old cell; from the flip on it does not.
fn agrees(row: Row<'_>, account: AccountId, of: &Move, (from, to): (&str, &str), accounts: &KnownAccounts) {
    let Some(there) = accounts.cell(account) else { return };
    let is_at = |cell: Option<CellIndex>| cell.is_some_and(|cell| cell == there);
    let hint = || Some("cellgate move writes both tables; deploy them together".to_owned());
    match of.state {
        MoveState::Prepare | MoveState::Holding if of.from.is_some() && !is_at(of.from) => {
            let what = format!("account {account} is not in {} by the account table", quoted(from));
            row.refuse(
                Code::MoveAndTable,
                "from",
                what,
                "the cell of its row, until the move is flipped",
                hint(),
            );
        }
        MoveState::Flipped if is_at(of.from) => {
            let what = format!(
                "account {account} is flipped to {}, and the account table has it in {}",
                quoted(to),
                quoted(from)
            );
            row.refuse(
                Code::MoveAndTable,
                "state",
                what,
                "the account table and the move to say the same",
                hint(),
            );
        }
        MoveState::Prepare | MoveState::Holding | MoveState::Flipped => {}
    }
}
