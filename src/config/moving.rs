//! What `cellgate move` writes: the files of a folder with some moves announced, carried on or taken back. What is not
//! meant to change stays as it is, byte for byte. When the next state may be written is `advance`'s business.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::advance::{Standing, standing};
use super::files::{accounts_file, moves_file};
use super::problem::{Problem, Report, did_you_mean, one_of, quoted};
use super::routing::Config;
use super::tables::MOVE_COLUMNS;
use super::tables::rewrite::{MoveRow, with_cells, with_moves};
use super::{ROUTING_FILE, Sources, parse_for_deciding};
use crate::policy::code::Code;
use crate::policy::ids::AccountId;
use crate::policy::moves::MoveState;

/// Stands for the cell that an account came from, where that is not known any more. No cell can be called so.
pub const FORGOTTEN: &str = "-";

/// Most cells that are named where somebody has named none of them.
const CELLS_NAMED: usize = 16;

/// An account of a list, and where it stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The account.
    pub account: AccountId,
    /// Its line, from 1.
    pub line: u32,
}

/// A folder with some of its files changed.
#[derive(Debug)]
pub struct Changed {
    /// All of its files.
    pub sources: Sources,
    /// Those that are others than before, in the order in which they are to be written.
    pub files: Vec<Box<str>>,
    /// What it says now.
    pub config: Config,
}

/// A table of moves without a move.
pub fn empty_table() -> Vec<u8> {
    format!("{}\n", MOVE_COLUMNS.join(",")).into_bytes()
}

/// Reads a list of accounts: an id or a prefix a line, comments begin with `#`.
///
/// # Errors
/// Every line that names no account of this configuration, or names one again.
pub fn listed(file: &str, text: &[u8], config: &Config) -> Result<Vec<Listed>, Vec<Problem>> {
    let report = Report::default();
    let (mut lists, mut seen) = (Vec::new(), HashMap::new());
    for (line, text) in (1..).zip(String::from_utf8_lossy(text).lines()) {
        let text = text.strip_prefix('\u{feff}').filter(|_| line == 1).unwrap_or(text);
        let word = text.split('#').next().unwrap_or_default().trim();
        if word.is_empty() {
            continue;
        }
        let refuse = |code: Code, what: String, expected: &str| {
            report.push(Problem::in_file(code, file, what, expected).at_line(line));
        };
        let is_id = word.bytes().all(|byte| byte.is_ascii_digit());
        let found = match AccountId::parse(word.as_bytes()) {
            Ok(id) => config.accounts.by_id(id),
            Err(_) if is_id => None,
            Err(_) => config.accounts.by_prefix(word),
        };
        let Some(account) = found.map(|account| account.id) else {
            refuse(
                Code::ListedUnknown,
                format!("{} names no account", quoted(word)),
                "an id or a prefix of the account table",
            );
            continue;
        };
        match seen.entry(account) {
            Entry::Occupied(first) => {
                let what = format!("{}: account {account} is already in line {}", quoted(word), first.get());
                refuse(Code::ListedTwice, what, "each account once, by its id or by one of its prefixes");
            }
            Entry::Vacant(new) => {
                new.insert(line);
                lists.push(Listed { account, line });
            }
        }
    }
    if lists.is_empty() && report.is_empty() {
        report.push(Problem::in_file(
            Code::EmptyList,
            file,
            "it names no account",
            "an id or a prefix of an account a line",
        ));
    }
    if report.is_empty() { Ok(lists) } else { Err(report.into_problems()) }
}

/// The files with these accounts announced: on their way to a cell, and nothing else about them changed.
///
/// # Errors
/// Everything that stands against it, by line of the list.
pub fn announce(
    sources: &Sources,
    config: &Config,
    (file, accounts): (&str, &[Listed]),
    to: &str,
    now: i64,
) -> Result<Changed, Vec<Problem>> {
    let report = Report::default();
    let names = config.cells.iter().map(|cell| cell.name.as_str());
    if !names.clone().any(|name| name == to) {
        let hint = did_you_mean(to, names.clone());
        let what = format!("there is no cell {}", quoted(to));
        let mut cells: Vec<&str> = names.take(CELLS_NAMED + 1).collect();
        if cells.len() > CELLS_NAMED {
            cells[CELLS_NAMED] = "another one of cellgate.yaml";
        }
        report.push(Problem::in_file(Code::NoSuchName, "--to", what, one_of(cells)).with_hint(hint));
    }
    let mut rows = Vec::new();
    for Listed { account, line } in accounts {
        let refuse = |code: Code, what: String, expected: &str| {
            report.push(Problem::in_file(code, file, what, expected).at_line(*line));
        };
        let Some(row) = config.accounts.by_id(*account) else {
            refuse(
                Code::AccountWithoutRow,
                format!("account {account} has no row"),
                "an account of the account table",
            );
            continue;
        };
        let from = config.cells[usize::from(row.cell.0)].name.as_str();
        let newest = standing(config, *account);
        if let Some(Standing { to, state, .. }) = newest.as_ref().filter(|of| of.state != MoveState::Flipped)
        {
            let what = format!("account {account} is on its way to {to} already ({})", state.as_str());
            refuse(Code::MovingAlready, what, "an account that is not; cellgate move abort takes it back");
        } else if from == to {
            refuse(
                Code::MoveToItself,
                format!("account {account} is in {to} already"),
                "an account of another cell",
            );
        } else if let Some(epoch) = newest.map_or(0, |of| of.epoch).checked_add(1) {
            let row = MoveRow { from: from.into(), to: to.into(), state: MoveState::Prepare, epoch };
            rows.push((*account, Some(row)));
        } else {
            refuse(
                Code::Epoch,
                format!("the epoch of account {account} is at its end"),
                "fewer than four billion moves",
            );
        }
    }
    if report.is_empty() { changed(sources, &rows, &[], now) } else { Err(report.into_problems()) }
}

/// The files with these moves in another state; from the flip on, the account table has the new cell.
///
/// # Errors
/// A table cannot be changed, or the result would be rejected.
pub fn carry_on(
    sources: &Sources,
    moves: &[(Standing, MoveState)],
    now: i64,
) -> Result<Changed, Vec<Problem>> {
    let row = |(of, state): &(Standing, MoveState)| {
        let Standing { account, from, to, epoch, .. } = of.clone();
        (account, Some(MoveRow { from, to, state: *state, epoch }))
    };
    let rows: Vec<_> = moves.iter().map(row).collect();
    let flipped = moves.iter().filter(|(_, state)| *state == MoveState::Flipped);
    let cells: Vec<_> = flipped.map(|(of, _)| (of.account, of.to.clone())).collect();
    changed(sources, &rows, &cells, now)
}

/// The files with the moves of these accounts taken back, as far as they are on their way: their rows are gone, or say
/// again how often they have been moved.
///
/// # Errors
/// Every account that cannot be taken back, by line of the list.
pub fn take_back(
    sources: &Sources,
    config: &Config,
    (file, accounts): (&str, &[Listed]),
    now: i64,
) -> Result<Changed, Vec<Problem>> {
    let report = Report::default();
    let mut rows = Vec::new();
    for Listed { account, line } in accounts {
        let refuse = |code: Code, what: String, expected: &str| {
            report.push(Problem::in_file(code, file, what, expected).at_line(*line));
        };
        match standing(config, *account) {
            None => {
                refuse(Code::NotMoving, format!("account {account} is not on its way"), "an account that is")
            }
            Some(Standing { state: MoveState::Flipped, from, to, .. }) => {
                let back = if &*from == FORGOTTEN { "CELL" } else { &*from };
                refuse(
                    Code::FlippedAlready,
                    format!("account {account} is flipped to {to}, and its newest writes are there"),
                    &format!(
                        "an account that is on its way; cellgate move --accounts FILE --to {back} moves it back"
                    ),
                );
            }
            // What stood there before is not known any more; how often it was moved is.
            Some(Standing { epoch, from, .. }) => {
                let state = MoveState::Flipped;
                let row = MoveRow { from: FORGOTTEN.into(), to: from, state, epoch: epoch.saturating_sub(1) };
                rows.push((*account, Some(row).filter(|row| row.epoch > 0)));
            }
        }
    }
    if report.is_empty() { changed(sources, &rows, &[], now) } else { Err(report.into_problems()) }
}

fn changed(
    sources: &Sources,
    rows: &[(AccountId, Option<MoveRow>)],
    cells: &[(AccountId, Box<str>)],
    now: i64,
) -> Result<Changed, Vec<Problem>> {
    let routing = sources.routing.as_deref().unwrap_or_default();
    let Some(moves) = moves_file(routing) else {
        let expected = format!(
            "two lines more:\nmoves:\n  file: moves.csv\nand beside it a file moves.csv with this line:\n{}\nDeploy both before \
             the first move",
            MOVE_COLUMNS.join(",")
        );
        return Err(vec![Problem::in_file(
            Code::NoTableOfMoves,
            ROUTING_FILE,
            "it has no table of moves",
            expected,
        )]);
    };
    let mut after = sources.clone();
    let mut files = Vec::new();
    // First: where only one of the two is written, the folder says two things, and is rejected.
    let accounts = accounts_file(routing).unwrap_or_default();
    if !accounts.ends_with(".csv") {
        let what = "only tables in CSV are changed row by row";
        return Err(vec![Problem::in_file(Code::TableFileKind, &accounts, what, "the account table as CSV")]);
    }
    let cells: HashMap<AccountId, &str> = cells.iter().map(|(id, cell)| (*id, &**cell)).collect();
    edit(&mut after, &accounts, &mut files, |text| with_cells(text, |id| cells.get(&id).copied()))?;
    edit(&mut after, &moves, &mut files, |text| with_moves(text, rows))?;
    let config = parse_for_deciding(&after, now)?;
    Ok(Changed { sources: after, files, config })
}

fn edit<E: std::fmt::Display>(
    sources: &mut Sources,
    file: &str,
    files: &mut Vec<Box<str>>,
    edit: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<(), Vec<Problem>> {
    let problem =
        |what: String| vec![Problem::in_file(Code::BrokenRow, file, what, "a table in CSV that can be read")];
    let Some(Ok(text)) = sources.files.get(file) else { return Err(problem("it cannot be read".to_owned())) };
    let edited = edit(text).map_err(|error| problem(error.to_string()))?;
    if edited != *text {
        files.push(file.into());
        sources.files.insert(file.into(), Ok(edited));
    }
    Ok(())
}
