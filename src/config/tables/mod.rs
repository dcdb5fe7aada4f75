//! The tables: accounts, environments and known credentials, as CSV (any size) or YAML (small ones).
//!
//! Rows are read one by one and problems name their row; nothing is kept of a row but what the tables
//! need, because there may be millions.

mod accounts;
mod credentials;
pub(super) mod csv;
mod environments;
mod keyed;
mod moves;
pub(super) mod rewrite;

pub use accounts::RESERVED_PREFIXES;
pub(super) use accounts::{KnownAccounts, Lookup, accounts_csv, accounts_yaml};
pub(super) use credentials::{
    COLUMNS as CREDENTIAL_COLUMNS, CredentialRow, credential_rows, credentials_csv,
};
pub(super) use environments::{environments_csv, environments_yaml};
pub(super) use moves::{MOVE_COLUMNS, MOVE_STATES, moves_csv};

use super::problem::{Problem, Report};
use super::slot::At;
use crate::policy::code::Code;

/// Most rows of a table: accounts alone take half a gigabyte of memory then.
const MAX_ROWS: usize = 10_000_000;

/// Where a row stands.
#[derive(Clone, Copy)]
pub(super) enum Row<'a> {
    /// In a CSV file; line 0 is the file as a whole.
    Csv { file: &'a str, line: u32, report: &'a Report },
    /// In the list of a YAML file.
    Yaml { list: &'a At<'a>, index: u32 },
}

impl Row<'_> {
    pub(super) fn refuse(self, code: Code, column: &str, what: String, expected: &str, hint: Option<String>) {
        match self {
            Self::Csv { file, line, report } => {
                let problem = Problem::in_file(code, file, what, expected).at_path(column).with_hint(hint);
                report.push(if line == 0 { problem } else { problem.at_line(line) });
            }
            Self::Yaml { list, index } => {
                list.index(index as usize).key(column).refuse_with(code, what, expected, hint);
            }
        }
    }

    /// What tells this row from the others of its table.
    fn number(self) -> u32 {
        match self {
            Self::Csv { line, .. } => line,
            Self::Yaml { index, .. } => index,
        }
    }

    /// The row of the same table with another number.
    fn other(self, number: u32) -> Self {
        match self {
            Self::Csv { file, report, .. } => Self::Csv { file, line: number, report },
            Self::Yaml { list, .. } => Self::Yaml { list, index: number },
        }
    }

    fn line(self) -> u32 {
        match self {
            Self::Csv { line, .. } => line,
            Self::Yaml { list, index } => list.index(index as usize).line(),
        }
    }
}
