//! The account table. Every row is looked at, also of a wrong table, so that all of its problems are told
//! and the other tables can still be held against it.

use std::collections::HashMap;

use super::super::hosts::narrow;
use super::super::names::Names;
use super::super::problem::{Report, quoted};
use super::super::raw::{self, Digits};
use super::super::slot::{At, Document, LABEL};
use super::csv::read_csv;
use super::{MAX_ROWS, Row};
use crate::policy::accounts::{
    AccountTable, AccountTableBuilder, DuplicateAccount, NewAccount, ScheduleIndex,
};
use crate::policy::code::Code;
use crate::policy::ids::{AccountId, CellIndex, Label};

/// Most prefixes of one account: its own, its vanity name and former ones.
const MAX_PREFIXES: usize = 16;

/// Labels that mean something else before a domain, or that a person would believe to be us.
pub const RESERVED_PREFIXES: [&str; 21] = [
    "admin",
    "api",
    "app",
    "auth",
    "cdn",
    "console",
    "docs",
    "help",
    "internal",
    "localhost",
    "login",
    "logout",
    "mail",
    "mta-sts",
    "oauth",
    "saml",
    "sso",
    "static",
    "status",
    "support",
    "www",
];

/// What account rows point at.
pub(in crate::config) struct Lookup<'a> {
    pub(in crate::config) cells: &'a Names,
    pub(in crate::config) schedules: &'a Names,
    /// Labels that cannot be a prefix, and why.
    pub(in crate::config) reserved: &'a HashMap<String, &'static str>,
}

/// What is known of the accounts when the other tables are read.
pub(in crate::config) enum KnownAccounts {
    /// Everything.
    Table(AccountTable),
    /// These at least; the table has problems.
    Partial(AccountTable),
    /// Nothing, and there is no use in saying so again for every row that needs it.
    Unknown,
}

impl KnownAccounts {
    /// The table, where nothing is wrong with it.
    pub(in crate::config) fn whole(self) -> Option<AccountTable> {
        match self {
            Self::Table(table) => Some(table),
            Self::Partial(_) | Self::Unknown => None,
        }
    }

    /// Where an account lives, as far as that is known.
    pub(super) fn cell(&self, id: AccountId) -> Option<CellIndex> {
        match self {
            Self::Table(table) | Self::Partial(table) => table.by_id(id).map(|account| account.cell),
            Self::Unknown => None,
        }
    }

    /// Whether it is known that an account has no row.
    pub(in crate::config) fn lacks(&self, id: AccountId) -> bool {
        match self {
            Self::Table(table) | Self::Partial(table) => table.by_id(id).is_none(),
            Self::Unknown => false,
        }
    }
}

/// The id of an account that another table names; reported when it is no id or has no row.
pub(super) fn known_account(row: Row<'_>, text: &str, accounts: &KnownAccounts) -> Option<AccountId> {
    let id = match AccountId::parse(text.as_bytes()) {
        Ok(id) => id,
        Err(error) => {
            row.refuse(
                Code::AccountId,
                "account",
                format!("found {}, which {error}", quoted(text)),
                ACCOUNT,
                None,
            );
            return None;
        }
    };
    if accounts.lacks(id) {
        row.refuse(
            Code::AccountWithoutRow,
            "account",
            format!("account {id} has no row"),
            "an account of the account table",
            None,
        );
    }
    Some(id)
}

const ACCOUNT: &str = "an account id of plain digits";

/// Reads the account table from CSV.
pub(in crate::config) fn accounts_csv(
    file: &str,
    text: &[u8],
    lookup: &Lookup<'_>,
    report: &Report,
) -> KnownAccounts {
    let mut accounts = Accounts::new(lookup, text.iter().filter(|b| **b == b'\n').count());
    let columns = ["account", "prefixes", "cell", "redirect_browsers", "schedule"];
    let read = read_csv(
        file,
        text,
        report,
        &columns,
        &[0, 2],
        |row, [account, prefixes, cell, redirect, schedule]| {
            let redirect_browsers = match redirect {
                "" | "false" => false,
                "true" => true,
                other => {
                    accounts.refuse(
                        Code::NotAWord,
                        row,
                        "redirect_browsers",
                        format!("found {}", quoted(other)),
                        "true, false or nothing",
                        None,
                    );
                    false
                }
            };
            let schedule = Some(schedule).filter(|name| !name.is_empty());
            accounts.add(row, account, prefixes.split_ascii_whitespace(), cell, redirect_browsers, schedule);
        },
    );
    accounts.sound &= read;
    accounts.finish(Row::Csv { file, line: 0, report })
}

/// Reads the account table from YAML.
pub(in crate::config) fn accounts_yaml(
    document: &Document<'_>,
    raw: raw::Accounts,
    lookup: &Lookup<'_>,
) -> KnownAccounts {
    let before = document.report.len();
    let at = At::root(document);
    let mut raw = at.open(raw);
    crate::config::version(raw.version(&at));
    let mut accounts = Accounts::new(lookup, 0);
    let list = at.key("accounts");
    for (index, slot) in (0..).zip(raw.accounts(&at).some_items(MAX_ROWS)) {
        let at = slot.at.clone();
        let Some(raw) = slot.required() else { continue };
        let mut raw = at.open(raw);
        let account = raw.account(&at).required();
        let prefixes = raw.prefixes(&at).items().into_iter().filter_map(|slot| slot.required());
        let prefixes: Vec<String> = prefixes.collect();
        let cell = raw.cell(&at).required();
        let redirect_browsers = raw.redirect_browsers(&at).or(false);
        let schedule = raw.schedule(&at).optional();
        let (Some(Digits(account)), Some(cell)) = (account, cell) else { continue };
        let prefixes = prefixes.iter().map(String::as_str);
        let row = Row::Yaml { list: &list, index };
        accounts.add(row, &account, prefixes, &cell, redirect_browsers, schedule.as_deref());
    }
    accounts.sound &= document.report.len() == before;
    accounts.finish(Row::Yaml { list: &list, index: 0 })
}

/// An account table while it is read.
struct Accounts<'a> {
    lookup: &'a Lookup<'a>,
    rows: AccountTableBuilder,
    /// The [`Row::number`] of each row.
    numbers: Vec<u32>,
    sound: bool,
}

impl<'a> Accounts<'a> {
    /// For about so many rows.
    fn new(lookup: &'a Lookup<'a>, rows: usize) -> Self {
        let rows = rows.min(MAX_ROWS);
        let (rows, numbers) = (AccountTableBuilder::with_capacity(rows), Vec::with_capacity(rows));
        Self { lookup, rows, numbers, sound: true }
    }

    fn refuse(
        &mut self,
        code: Code,
        row: Row<'_>,
        column: &str,
        what: String,
        expected: &str,
        hint: Option<String>,
    ) {
        self.sound = false;
        row.refuse(code, column, what, expected, hint);
    }

    fn add<'r>(
        &mut self,
        row: Row<'_>,
        account: &str,
        prefixes: impl Iterator<Item = &'r str>,
        cell: &str,
        redirect_browsers: bool,
        schedule: Option<&str>,
    ) {
        let id = self.id(row, account);
        let prefixes = self.prefixes(row, prefixes);
        let cell = self.lookup.cells.find(cell).or_else(|| {
            let (what, expected, hint) = self.lookup.cells.unknown(cell);
            self.refuse(Code::NoSuchName, row, "cell", what, &expected, hint);
            None
        });
        let schedule = schedule.and_then(|name| {
            let found = self.lookup.schedules.find(name);
            if found.is_none() {
                let (what, expected, hint) = self.lookup.schedules.unknown(name);
                self.refuse(Code::NoSuchName, row, "schedule", what, &expected, hint);
            }
            found.map(|index| ScheduleIndex(narrow(index)))
        });
        // A row without a cell makes the table unsound, and still keeps others from claiming its id.
        if let Some(id) = id {
            let cell = CellIndex(narrow(cell.unwrap_or_default()));
            self.rows.push(NewAccount { id, prefixes: &prefixes, cell, redirect_browsers, schedule });
            self.numbers.push(row.number());
        }
    }

    fn id(&mut self, row: Row<'_>, text: &str) -> Option<AccountId> {
        match AccountId::parse(text.as_bytes()) {
            Ok(id) => Some(id),
            Err(error) => {
                self.refuse(
                    Code::AccountId,
                    row,
                    "account",
                    format!("found {}, which {error}", quoted(text)),
                    ACCOUNT,
                    None,
                );
                None
            }
        }
    }

    fn prefixes<'r>(&mut self, row: Row<'_>, texts: impl Iterator<Item = &'r str>) -> Vec<&'r str> {
        let mut prefixes = Vec::new();
        for text in texts {
            if Label::check(text).is_err() {
                let hint =
                    Label::parse(&text.to_lowercase()).ok().map(|label| format!("did you mean \"{label}\"?"));
                self.refuse(Code::Label, row, "prefixes", format!("found {}", quoted(text)), LABEL, hint);
                continue;
            }
            if let Some(why) = self.lookup.reserved.get(text) {
                let what = format!("{} is {why}", quoted(text));
                self.refuse(
                    Code::PrefixReserved,
                    row,
                    "prefixes",
                    what,
                    "a label of the account's own",
                    None,
                );
            }
            prefixes.push(text);
        }
        if prefixes.len() > MAX_PREFIXES {
            let expected = format!("at most {MAX_PREFIXES}");
            self.refuse(
                Code::TooManyPrefixes,
                row,
                "prefixes",
                format!("found {} prefixes", prefixes.len()),
                &expected,
                None,
            );
        }
        prefixes
    }

    /// The table, after a word on every row that claims what another has. `whole` is where the table stands.
    fn finish(self, whole: Row<'_>) -> KnownAccounts {
        if self.rows.is_empty() {
            if self.sound {
                let hint = Some("if accounts are missing, the file was truncated on its way here".to_owned());
                whole.refuse(
                    Code::TableEmpty,
                    "",
                    "the table has no accounts".to_owned(),
                    "at least one account",
                    hint,
                );
            }
            return KnownAccounts::Unknown;
        }
        let (table, duplicates) = self.rows.finish();
        let sound = self.sound && duplicates.is_empty();
        for duplicate in duplicates {
            let (column, claimed, first, second) = match duplicate {
                DuplicateAccount::Id { id, first, second } => {
                    ("account", format!("account {id}"), first, second)
                }
                DuplicateAccount::Prefix { prefix, first, second } => {
                    ("prefixes", format!("prefix {}", quoted(prefix.as_str())), first, second)
                }
            };
            let (first, second) = (self.numbers[first], self.numbers[second]);
            let what = format!("{claimed} is already in line {}", whole.other(first).line());
            whole.other(second).refuse(Code::RowTwice, column, what, "it in one row only", None);
        }
        if sound { KnownAccounts::Table(table) } else { KnownAccounts::Partial(table) }
    }
}
