//! The table of environments.

use super::super::problem::{Report, quoted};
use super::super::raw::{self, Digits};
use super::super::slot::{At, Document};
use super::accounts::{KnownAccounts, known_account};
use super::csv::read_csv;
use super::keyed::Keyed;
use super::{MAX_ROWS, Row};
use crate::policy::code::Code;
use crate::policy::ids::EntityId;
use crate::policy::keyed::KeyTable;

/// Reads the environment table from CSV.
pub(in crate::config) fn environments_csv(
    file: &str,
    text: &[u8],
    accounts: &KnownAccounts,
    report: &Report,
) -> KeyTable<EntityId> {
    let mut environments = Keyed::default();
    read_csv(file, text, report, &["environment", "account"], &[0, 1], |row, [environment, account]| {
        add(&mut environments, row, environment, account, accounts);
    });
    finish(environments, Row::Csv { file, line: 0, report })
}

/// Reads the environment table from YAML.
pub(in crate::config) fn environments_yaml(
    document: &Document<'_>,
    raw: raw::Environments,
    accounts: &KnownAccounts,
) -> KeyTable<EntityId> {
    let at = At::root(document);
    let mut raw = at.open(raw);
    crate::config::version(raw.version(&at));
    let mut environments = Keyed::default();
    let list = at.key("environments");
    for (index, slot) in (0..).zip(raw.environments(&at).some_items(MAX_ROWS)) {
        let at = slot.at.clone();
        let Some(raw) = slot.required() else { continue };
        let mut raw = at.open(raw);
        let pair = raw.environment(&at).required().zip(raw.account(&at).required());
        if let Some((Digits(environment), Digits(account))) = pair {
            let row = Row::Yaml { list: &list, index };
            add(&mut environments, row, &environment, &account, accounts);
        }
    }
    finish(environments, Row::Yaml { list: &list, index: 0 })
}

fn add(
    environments: &mut Keyed<EntityId>,
    row: Row<'_>,
    environment: &str,
    account: &str,
    accounts: &KnownAccounts,
) {
    let id = EntityId::parse(environment.as_bytes());
    if let Err(error) = id {
        let what = format!("found {}, which {error}", quoted(environment));
        row.refuse(Code::AccountId, "environment", what, "an environment id of plain digits", None);
    }
    let account = known_account(row, account, accounts);
    if let (Ok(id), Some(account)) = (id, account) {
        environments.add(row, id, account);
    }
}

fn finish(environments: Keyed<EntityId>, whole: Row<'_>) -> KeyTable<EntityId> {
    environments.finish(whole, |id, second, first| {
        let what = format!("environment {id} is already in line {first}");
        second.refuse(Code::RowTwice, "environment", what, "each environment once", None);
    })
}
