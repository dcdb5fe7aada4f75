//! The table of environments.

use std::collections::HashMap;

use super::super::problem::{Report, quoted};
use super::super::raw::{self, Digits};
use super::super::slot::{At, Document};
use super::accounts::{KnownAccounts, known_account};
use super::csv::read_csv;
use super::{MAX_ROWS, Row};
use crate::policy::ids::{AccountId, EntityId};

/// Reads the environment table from CSV.
pub(in crate::config) fn environments_csv(
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
pub(in crate::config) fn environments_yaml(
    document: &Document<'_>,
    raw: raw::Environments,
    accounts: &KnownAccounts,
) -> HashMap<EntityId, AccountId> {
    let at = At::root(document);
    let mut raw = at.open(raw);
    crate::config::version(raw.version(&at));
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
