//! The tables: accounts, environments and known credentials, as CSV (any size) or YAML (small ones).
//!
//! Rows are read one by one and problems name their row; nothing is kept of a row but what the tables
//! need, because there may be millions.

use std::collections::HashMap;

use super::hosts::narrow;
use super::names::Names;
use super::problem::{Problem, Report, did_you_mean, one_of, quoted};
use super::raw::{self, Digits};
use super::secret::unhex;
use super::slot::{At, Document, LABEL};
use crate::policy::accounts::{Account, AccountTable, DuplicateAccount, ScheduleIndex};
use crate::policy::credential::Fingerprint;
use crate::policy::ids::{AccountId, CellIndex, EntityId, Label};

/// Most accounts: about 2 GB in memory.
pub(super) const MAX_ACCOUNTS: usize = 10_000_000;

/// Most environments and known credentials.
const MAX_ROWS: usize = 10_000_000;

/// Most prefixes of one account: its own, its vanity name and former ones.
const MAX_PREFIXES: usize = 16;

/// Labels that mean something else before a domain, or that a person would believe to be us.
pub const RESERVED_PREFIXES: [&str; 28] = [
    "account",
    "accounts",
    "admin",
    "api",
    "app",
    "assets",
    "auth",
    "billing",
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
    "system",
    "test",
    "webhooks",
    "www",
];

/// Where a row stands.
#[derive(Clone, Copy)]
enum Row<'a> {
    /// In a CSV file; line 0 is the file as a whole.
    Csv { file: &'a str, line: u32, report: &'a Report },
    /// In the list of a YAML file.
    Yaml { list: &'a At<'a>, index: u32 },
}

impl Row<'_> {
    fn refuse(self, column: &str, what: String, expected: &str, hint: Option<String>) {
        match self {
            Self::Csv { file, line, report } => {
                let problem = Problem::in_file(file, what, expected).at_path(column).with_hint(hint);
                report.push(if line == 0 { problem } else { problem.at_line(line) });
            }
            Self::Yaml { list, index } => {
                list.index(index as usize).key(column).refuse_with(what, expected, hint);
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

/// What account rows point at.
pub(super) struct Lookup<'a> {
    pub(super) cells: &'a Names,
    pub(super) schedules: &'a Names,
    /// Labels that cannot be a prefix, and why.
    pub(super) reserved: &'a HashMap<String, &'static str>,
}

/// What is known of the accounts when the other tables are read.
pub(super) enum KnownAccounts {
    /// Everything.
    Table(AccountTable),
    /// These at least; the table has problems.
    Partial(AccountTable),
    /// Nothing, and there is no use in saying so again for every row that needs it.
    Unknown,
}

impl KnownAccounts {
    fn lacks(&self, id: AccountId) -> bool {
        match self {
            Self::Table(table) | Self::Partial(table) => table.by_id(id).is_none(),
            Self::Unknown => false,
        }
    }
}

/// An account table while it is read.
struct Accounts<'a> {
    lookup: &'a Lookup<'a>,
    rows: Vec<Account>,
    /// The [`Row::number`] of each row.
    numbers: Vec<u32>,
    sound: bool,
}

impl<'a> Accounts<'a> {
    /// For about so many rows.
    fn new(lookup: &'a Lookup<'a>, rows: usize) -> Self {
        let rows = rows.min(MAX_ACCOUNTS);
        Self { lookup, rows: Vec::with_capacity(rows), numbers: Vec::with_capacity(rows), sound: true }
    }

    fn refuse(&mut self, row: Row<'_>, column: &str, what: String, expected: &str, hint: Option<String>) {
        self.sound = false;
        row.refuse(column, what, expected, hint);
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
            self.refuse(row, "cell", what, &expected, hint);
            None
        });
        let schedule = schedule.and_then(|name| {
            let found = self.lookup.schedules.find(name);
            if found.is_none() {
                let (what, expected, hint) = self.lookup.schedules.unknown(name);
                self.refuse(row, "schedule", what, &expected, hint);
            }
            found.map(|index| ScheduleIndex(narrow(index)))
        });
        // A row without a cell makes the table unsound, and still keeps others from claiming its id.
        if let Some(id) = id {
            let cell = CellIndex(narrow(cell.unwrap_or_default()));
            self.rows.push(Account { id, prefixes, cell, redirect_browsers, schedule });
            self.numbers.push(row.number());
        }
    }

    fn id(&mut self, row: Row<'_>, text: &str) -> Option<AccountId> {
        match AccountId::parse(text.as_bytes()) {
            Ok(id) => Some(id),
            Err(error) => {
                self.refuse(row, "account", format!("found {}, which {error}", quoted(text)), ACCOUNT, None);
                None
            }
        }
    }

    fn prefixes<'r>(&mut self, row: Row<'_>, texts: impl Iterator<Item = &'r str>) -> Vec<Label> {
        let mut prefixes = Vec::new();
        for text in texts {
            let Ok(prefix) = Label::parse(text) else {
                let hint =
                    Label::parse(&text.to_lowercase()).ok().map(|label| format!("did you mean \"{label}\"?"));
                self.refuse(row, "prefixes", format!("found {}", quoted(text)), LABEL, hint);
                continue;
            };
            if let Some(why) = self.lookup.reserved.get(text) {
                let what = format!("{} is {why}", quoted(text));
                self.refuse(row, "prefixes", what, "a label of the account's own", None);
            }
            prefixes.push(prefix);
        }
        if prefixes.len() > MAX_PREFIXES {
            let expected = format!("at most {MAX_PREFIXES}");
            self.refuse(row, "prefixes", format!("found {} prefixes", prefixes.len()), &expected, None);
        }
        prefixes.shrink_to_fit();
        prefixes
    }

    /// The table, after a word on every row that claims what another has. `whole` is where the table stands.
    fn finish(self, whole: Row<'_>) -> KnownAccounts {
        if self.rows.is_empty() {
            if self.sound {
                let hint = Some("if accounts are missing, the file was truncated on its way here".to_owned());
                whole.refuse("", "the table has no accounts".to_owned(), "at least one account", hint);
            }
            return KnownAccounts::Unknown;
        }
        let (table, duplicates) = AccountTable::build(self.rows);
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
            whole.other(second).refuse(column, what, "it in one row only", None);
        }
        if sound { KnownAccounts::Table(table) } else { KnownAccounts::Partial(table) }
    }
}

const ACCOUNT: &str = "an account id of plain digits";

/// Reads the account table from CSV.
pub(super) fn accounts_csv(file: &str, text: &[u8], lookup: &Lookup<'_>, report: &Report) -> KnownAccounts {
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
pub(super) fn accounts_yaml(
    document: &Document<'_>,
    raw: raw::Accounts,
    lookup: &Lookup<'_>,
) -> KnownAccounts {
    let before = document.report.len();
    let at = At::root(document);
    let mut raw = at.open(raw);
    super::version(raw.version(&at));
    let mut accounts = Accounts::new(lookup, 0);
    let list = at.key("accounts");
    for (index, slot) in (0..).zip(raw.accounts(&at).some_items(MAX_ACCOUNTS)) {
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

/// The environments while they are read.
struct Environments<'a> {
    accounts: &'a KnownAccounts,
    map: HashMap<EntityId, AccountId>,
    lines: HashMap<EntityId, u32>,
}

impl<'a> Environments<'a> {
    fn new(accounts: &'a KnownAccounts) -> Self {
        Self { accounts, map: HashMap::new(), lines: HashMap::new() }
    }

    fn add(&mut self, row: Row<'_>, environment: &str, account: &str) {
        let id = EntityId::parse(environment.as_bytes());
        if let Err(error) = id {
            let what = format!("found {}, which {error}", quoted(environment));
            row.refuse("environment", what, "an environment id of plain digits", None);
        }
        let account = known_account(row, account, self.accounts);
        let (Ok(id), Some(account)) = (id, account) else { return };
        if let Some(first) = self.lines.insert(id, row.line()) {
            let what = format!("environment {id} is already in line {first}");
            row.refuse("environment", what, "each environment once", None);
        }
        self.map.insert(id, account);
    }
}

/// Reads the environment table from CSV.
pub(super) fn environments_csv(
    file: &str,
    text: &[u8],
    accounts: &KnownAccounts,
    report: &Report,
) -> HashMap<EntityId, AccountId> {
    let mut environments = Environments::new(accounts);
    read_csv(file, text, report, &["environment", "account"], &[0, 1], |row, [environment, account]| {
        environments.add(row, environment, account);
    });
    environments.map
}

/// Reads the environment table from YAML.
pub(super) fn environments_yaml(
    document: &Document<'_>,
    raw: raw::Environments,
    accounts: &KnownAccounts,
) -> HashMap<EntityId, AccountId> {
    let at = At::root(document);
    let mut raw = at.open(raw);
    super::version(raw.version(&at));
    let mut environments = Environments::new(accounts);
    let list = at.key("environments");
    for (index, slot) in (0..).zip(raw.environments(&at).some_items(MAX_ROWS)) {
        let at = slot.at.clone();
        let Some(raw) = slot.required() else { continue };
        let mut raw = at.open(raw);
        let pair = raw.environment(&at).required().zip(raw.account(&at).required());
        if let Some((Digits(environment), Digits(account))) = pair {
            environments.add(Row::Yaml { list: &list, index }, &environment, &account);
        }
    }
    environments.map
}

/// Reads the table of known credentials; `keys` are the ids of the fingerprint keys.
pub(super) fn credentials_csv(
    file: &str,
    text: &[u8],
    keys: &Names,
    accounts: &KnownAccounts,
    report: &Report,
) -> HashMap<Fingerprint, AccountId> {
    let mut table = HashMap::new();
    let mut lines: HashMap<Fingerprint, u32> = HashMap::new();
    let columns = ["key_id", "fingerprint", "account", "note"];
    read_csv(file, text, report, &columns, &[0, 1, 2], |row, [key_id, fingerprint, account, _note]| {
        if keys.find(key_id).is_none() {
            let (what, expected, hint) = keys.unknown(key_id);
            row.refuse("key_id", what, &expected, hint);
        }
        let bytes: Option<[u8; 16]> = unhex(fingerprint).and_then(|bytes| bytes.try_into().ok());
        if bytes.is_none() {
            // Not quoted: what stands here by mistake may be a token.
            row.refuse("fingerprint", "found something else".to_owned(), "32 hexadecimal digits", None);
        }
        let account = known_account(row, account, accounts);
        let (Some(fingerprint), Some(account)) = (bytes.map(Fingerprint), account) else { return };
        if let Some(first) = lines.insert(fingerprint, row.line()) {
            row.refuse(
                "fingerprint",
                format!("it is already in line {first}"),
                "each fingerprint once",
                None,
            );
        }
        table.insert(fingerprint, account);
    });
    table
}

fn known_account(row: Row<'_>, text: &str, accounts: &KnownAccounts) -> Option<AccountId> {
    let id = match AccountId::parse(text.as_bytes()) {
        Ok(id) => id,
        Err(error) => {
            row.refuse("account", format!("found {}, which {error}", quoted(text)), ACCOUNT, None);
            return None;
        }
    };
    if accounts.lacks(id) {
        row.refuse("account", format!("account {id} has no row"), "an account of the account table", None);
    }
    Some(id)
}

/// Calls `each` for every row, with its fields in the order of `columns`; fields of absent columns are empty.
/// `required` are the positions in `columns` that must be there. False when anything was refused here.
fn read_csv<const N: usize>(
    file: &str,
    text: &[u8],
    report: &Report,
    columns: &[&str; N],
    required: &[usize],
    mut each: impl FnMut(Row<'_>, [&str; N]),
) -> bool {
    let mut sound = true;
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text);
    let Some(positions) = header(file, &mut reader, report, columns, required) else { return false };
    let mut record = csv::StringRecord::new();
    let mut rows = 0;
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => return sound,
            Ok(true) => {
                let row =
                    Row::Csv { file, line: record.position().map_or(0, |at| line_of(text, at)), report };
                each(
                    row,
                    positions.map(|position| position.and_then(|at| record.get(at)).unwrap_or_default()),
                );
            }
            Err(error) => {
                sound = false;
                report.push(row_problem(file, text, &error));
            }
        }
        if report.is_full() {
            return false;
        }
        rows += 1;
        if rows > MAX_ROWS {
            report.push(Problem::in_file(file, "too many rows", format!("at most {MAX_ROWS}")));
            return false;
        }
    }
}

/// Where each of our columns stands in the file.
fn header<const N: usize>(
    file: &str,
    reader: &mut csv::Reader<&[u8]>,
    report: &Report,
    columns: &[&str; N],
    required: &[usize],
) -> Option<[Option<usize>; N]> {
    let problem = |what: String, hint: Option<String>| {
        let expected = format!("a first line with the columns {}", columns.join(","));
        report.push(Problem::in_file(file, what, expected).at_line(1).with_hint(hint));
    };
    let names = match reader.headers() {
        Ok(names) if !names.is_empty() => names,
        Ok(_) => {
            problem("the file is empty".to_owned(), None);
            return None;
        }
        Err(error) => {
            report.push(row_problem(file, &[], &error));
            return None;
        }
    };
    let mut positions = [None; N];
    let mut sound = true;
    for (at, name) in names.iter().enumerate() {
        match columns.iter().position(|column| *column == name) {
            Some(column) if positions[column].is_none() => positions[column] = Some(at),
            Some(_) => {
                sound = false;
                problem(format!("column {} stands twice", quoted(name)), None);
            }
            None => {
                sound = false;
                problem(
                    format!("unknown column {}", quoted(name)),
                    did_you_mean(name, columns.iter().copied()),
                );
            }
        }
    }
    let missing: Vec<&str> =
        required.iter().filter(|c| positions[**c].is_none()).map(|c| columns[*c]).collect();
    if !missing.is_empty() {
        sound = false;
        problem(format!("no column {}", one_of(missing)), None);
    }
    sound.then_some(positions)
}

/// The line of a record. Its position is that of the comments and blank lines before it.
fn line_of(text: &[u8], position: &csv::Position) -> u32 {
    let mut line = position.line();
    let mut rest = usize::try_from(position.byte()).ok().and_then(|at| text.get(at..)).unwrap_or_default();
    while let Some(b'#' | b'\n' | b'\r') = rest.first() {
        let Some(end) = rest.iter().position(|b| *b == b'\n') else { break };
        rest = &rest[end + 1..];
        line += 1;
    }
    u32::try_from(line).unwrap_or(u32::MAX)
}

fn row_problem(file: &str, text: &[u8], error: &csv::Error) -> Problem {
    let line = error.position().map(|position| line_of(text, position));
    let (what, expected) = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => {
            ("found bytes that are not UTF-8".to_owned(), "text in UTF-8".to_owned())
        }
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            (format!("found {len} fields"), format!("{expected_len}, as in the first line"))
        }
        _ => (error.to_string(), "CSV as in RFC 4180".to_owned()),
    };
    let problem = Problem::in_file(file, what, expected);
    match line {
        Some(line) => problem.at_line(line),
        None => problem,
    }
}
