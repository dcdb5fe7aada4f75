//! Going back to an older configuration without taking accounts back: whoever has moved since stays where they are, for
//! their newest writes are there. What comes out are files for people to review and deploy like any other change.

use std::collections::BTreeMap;
use std::fmt;

use super::files::{accounts_file, moves_file, stays_inside};
use super::tables::MOVE_COLUMNS;
use super::tables::rewrite::{CannotRewrite, NewRow, with_cells, with_rows};
use super::{Config, Diff, Problem, Sources, diff, parse_for_deciding};
use crate::policy::accounts::Account;
use crate::policy::ids::{AccountId, CellIndex};
use crate::policy::moves::MoveState;

/// An older configuration with the accounts where they are now.
#[derive(Debug)]
pub struct RolledBack {
    /// The files.
    pub sources: Sources,
    /// Its configuration hash.
    pub hash: Box<str>,
    /// What is not as it was.
    pub kept: Kept,
    /// What it changes against what serves.
    pub diff: Diff,
}

/// What is not taken back, and what comes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Accounts that have moved since and stay, by the cell they were in and the one they are in.
    pub moved: BTreeMap<(Box<str>, Box<str>), usize>,
    /// Accounts that came since and stay, by cell.
    pub came: BTreeMap<Box<str>, usize>,
    /// Accounts that are gone now and come back, by the cell they were in.
    pub come_back: BTreeMap<Box<str>, usize>,
    /// Accounts whose newest move is another than it was then; the present one stays.
    pub moves: usize,
    /// Environments that are known now and were not then; they are not kept.
    pub environments_lost: usize,
    /// Fingerprints of credentials that are known now and were not then; they are not kept.
    pub credentials_lost: usize,
    /// `boot.yaml` was another one; the present one stays.
    pub boot: bool,
    /// Files outside the configuration folder that were others; they are taken as they are now.
    pub outside: Vec<Box<str>>,
}

/// Why there is no going back by itself.
#[derive(Debug, thiserror::Error)]
pub enum CannotRollBack {
    /// The older files cannot be read by this version.
    #[error("the older configuration has problems: {}", first(.0))]
    Older(Vec<Problem>),
    /// What serves cannot be read.
    #[error("the configuration that serves has problems: {}", first(.0))]
    Live(Vec<Problem>),
    /// Accounts are in a cell that did not exist.
    #[error(
        "{accounts} accounts are now in the cell {cell}, which the older configuration does not have. Move them to a \
         cell that it has first, or go back to a configuration that has {cell}"
    )]
    CellMissing {
        /// The cell.
        cell: Box<str>,
        /// How many.
        accounts: usize,
    },
    /// An account that came since has a schedule that did not exist.
    #[error(
        "account {account} came since, with the schedule {schedule}, which the older configuration does not have. Take \
         the schedule from the account first, or go back to a configuration that has it"
    )]
    ScheduleMissing {
        /// The account.
        account: AccountId,
        /// The schedule.
        schedule: Box<str>,
    },
    /// The epochs of accounts would be forgotten.
    #[error(
        "{accounts} accounts have moved with cellgate move, and the older configuration has no table of moves: their \
         epochs would be forgotten. Go back to a configuration whose cellgate.yaml has `moves:`, or write the change by \
         hand"
    )]
    MovesMissing {
        /// How many.
        accounts: usize,
    },
    /// The table cannot be changed.
    #[error("accounts have moved or come since, and the older table {file} cannot be changed: {reason}")]
    Table {
        /// The file.
        file: String,
        /// What stands in the way.
        reason: String,
    },
    /// Older files and present accounts do not fit together.
    #[error("the older configuration with the present accounts has problems: {}", first(.0))]
    Candidate(Vec<Problem>),
    /// It is what serves.
    #[error("nothing would change: with the accounts where they are now, it is what serves")]
    Same,
}

/// The older configuration with every account in the cell that it has in `live`, and its moves as they are there: the
/// newest epoch of each account is kept with the cell. `now`, in seconds since the Unix epoch, is when both are judged.
///
/// # Errors
/// [`CannotRollBack`].
pub fn rollback(older: &Sources, live: &Sources, now: i64) -> Result<RolledBack, CannotRollBack> {
    let then = parse_for_deciding(older, now).map_err(CannotRollBack::Older)?;
    let serving = parse_for_deciding(live, now).map_err(CannotRollBack::Live)?;
    cells_exist(&then, &serving)?;
    let mut kept = compare(&then, &serving);
    let mut sources = Sources { boot: live.boot.clone(), ..older.clone() };
    kept.boot = older.boot != live.boot;
    for (path, text) in sources.files.iter_mut().filter(|(path, _)| !stays_inside(path)) {
        if let Some(present) = live.files.get(path).filter(|present| *present != text) {
            text.clone_from(present);
            kept.outside.push(path.clone());
        }
    }
    if !(kept.moved.is_empty() && kept.came.is_empty()) {
        rewrite(&mut sources, &then, &serving)?;
    }
    keep_moves(&mut sources, live, &serving)?;
    let candidate = parse_for_deciding(&sources, now).map_err(CannotRollBack::Candidate)?;
    everybody_stays(&serving, &candidate)?;
    if candidate.hash == serving.hash {
        return Err(CannotRollBack::Same);
    }
    let diff = diff(&serving, &candidate);
    Ok(RolledBack { sources, hash: candidate.hash, kept, diff })
}

/// Name of the cell of an account of this configuration.
fn cell<'c>(config: &'c Config, account: Account<'_>) -> &'c str {
    config.cells[usize::from(account.cell.0)].name.as_str()
}

fn schedule<'c>(config: &'c Config, account: Account<'_>) -> Option<&'c str> {
    account.schedule.map(|index| config.schedules[usize::from(index.0)].name.as_str())
}

fn cells_exist(then: &Config, serving: &Config) -> Result<(), CannotRollBack> {
    let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
    for account in serving.accounts.iter() {
        let cell = cell(serving, account);
        if !then.cells.iter().any(|older| older.name.as_str() == cell) {
            *missing.entry(cell).or_default() += 1;
        }
    }
    match missing.pop_first() {
        Some((cell, accounts)) => Err(CannotRollBack::CellMissing { cell: cell.into(), accounts }),
        None => Ok(()),
    }
}

fn compare(then: &Config, serving: &Config) -> Kept {
    let mut kept = Kept::default();
    for account in serving.accounts.iter() {
        let now = cell(serving, account);
        match then.accounts.by_id(account.id).map(|older| cell(then, older)) {
            None => *kept.came.entry(now.into()).or_default() += 1,
            Some(before) if before != now => {
                *kept.moved.entry((before.into(), now.into())).or_default() += 1;
            }
            Some(_) => {}
        }
    }
    for account in then.accounts.iter().filter(|account| serving.accounts.by_id(account.id).is_none()) {
        *kept.come_back.entry(cell(then, account).into()).or_default() += 1;
    }
    let now = serving.moves.table.iter().map(|(account, _)| *account);
    let gone = then.moves.table.iter().map(|(account, _)| *account);
    let gone = gone.filter(|account| serving.moves.table.find(*account).is_none());
    kept.moves = now.chain(gone).filter(|account| moves(serving, *account) != moves(then, *account)).count();
    kept.environments_lost =
        serving.environments.iter().filter(|(id, _)| then.environments.find(*id).is_none()).count();
    let (known, knew) = (&serving.identify.credentials.table, &then.identify.credentials.table);
    kept.credentials_lost = known.iter().filter(|(fingerprint, _)| knew.find(*fingerprint).is_none()).count();
    kept
}

/// Puts the present cells into the older table, and the accounts that came since at its end.
fn rewrite(sources: &mut Sources, then: &Config, serving: &Config) -> Result<(), CannotRollBack> {
    let routing = sources.routing.as_ref().map_err(|_| CannotRollBack::Older(Vec::new()))?;
    let file = accounts_file(routing).ok_or_else(|| CannotRollBack::Older(Vec::new()))?;
    let cannot = |reason: String| CannotRollBack::Table { file: file.clone(), reason };
    if !file.ends_with(".csv") {
        return Err(cannot("only tables in CSV are changed row by row; write it as CSV".to_owned()));
    }
    let Some(Ok(text)) = sources.files.get(file.as_str()) else {
        return Err(cannot("it was not kept".to_owned()));
    };
    let present = |id| serving.accounts.by_id(id).map(|account| cell(serving, account));
    let came = serving.accounts.iter().filter(|account| then.accounts.by_id(account.id).is_none());
    let mut rows = Vec::new();
    for account in came {
        let schedule = schedule(serving, account);
        if let Some(name) = schedule
            && !then.schedules.iter().any(|older| older.name.as_str() == name)
        {
            return Err(CannotRollBack::ScheduleMissing { account: account.id, schedule: name.into() });
        }
        rows.push(NewRow { account, cell: cell(serving, account), schedule });
    }
    let said = |error: CannotRewrite| cannot(error.to_string());
    let text = with_cells(text, present).map_err(said)?;
    let text = with_rows(&text, "Came since, kept by the rollback:", &rows).map_err(said)?;
    sources.files.insert(file.as_str().into(), Ok(text));
    Ok(())
}

/// The newest move of an account, with names.
fn moves(config: &Config, account: AccountId) -> Option<(&str, &str, MoveState, u32)> {
    let name =
        |cell: Option<CellIndex>| cell.map_or("", |cell| config.cells[usize::from(cell.0)].name.as_str());
    config.moves.table.find(account).map(|of| (name(of.from), name(of.to), of.state, of.epoch))
}

/// Puts the present table of moves where the older configuration has one.
fn keep_moves(sources: &mut Sources, live: &Sources, serving: &Config) -> Result<(), CannotRollBack> {
    let file = |sources: &Sources| moves_file(sources.routing.as_deref().unwrap_or_default());
    let Some(older) = file(sources) else {
        return match serving.moves.table.iter().count() {
            0 => Ok(()),
            accounts => Err(CannotRollBack::MovesMissing { accounts }),
        };
    };
    let present = file(live).and_then(|file| live.files.get(file.as_str()).cloned());
    // What served without a table had no moves; those of the older one are not begun again.
    let none = || Ok(format!("{}\n", MOVE_COLUMNS.join(",")).into_bytes());
    sources.files.insert(older.into(), present.unwrap_or_else(none));
    Ok(())
}

/// Holds the result against what it is for: a mistake in rewriting must not send one write backwards.
fn everybody_stays(serving: &Config, candidate: &Config) -> Result<(), CannotRollBack> {
    let lost = serving.accounts.iter().find(|account| {
        let there = candidate.accounts.by_id(account.id).map(|there| cell(candidate, there));
        there != Some(cell(serving, *account)) || moves(candidate, account.id) != moves(serving, account.id)
    });
    match lost {
        None => Ok(()),
        Some(account) => Err(CannotRollBack::Table {
            file: "of accounts".to_owned(),
            reason: format!("account {} would not stay where it is; report this with the files", account.id),
        }),
    }
}

fn first(problems: &[Problem]) -> String {
    let more = problems.len().saturating_sub(1);
    match (problems.first(), more) {
        (None, _) => "it cannot be read".to_owned(),
        (Some(problem), 0) => problem.to_string(),
        (Some(problem), more) => format!("{problem} (and {more} more)"),
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for ((before, now), count) in &self.moved {
            lines.push(format!("kept: {count} accounts that moved from {before} to {now} stay in {now}"));
        }
        for (cell, count) in &self.came {
            lines.push(format!("kept: {count} accounts that came since stay in {cell}"));
        }
        for (cell, count) in &self.come_back {
            lines.push(format!("back: {count} accounts that are gone now come back, in {cell}"));
        }
        if self.moves > 0 {
            lines.push(format!(
                "kept: the table of moves as it is now ({} accounts have another move there than then)",
                self.moves
            ));
        }
        if self.boot {
            lines.push("kept: boot.yaml as it is now (a reload cannot change it)".to_owned());
        }
        for path in &self.outside {
            lines.push(format!("kept: {path} as it is now (it is outside the configuration folder)"));
        }
        for (count, what) in
            [(self.environments_lost, "environments"), (self.credentials_lost, "credentials")]
        {
            if count > 0 {
                lines.push(format!(
                    "LOST: {count} {what} that are known now and were not then; add their rows"
                ));
            }
        }
        f.write_str(&lines.join("\n"))
    }
}
