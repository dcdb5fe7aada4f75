//! The files that `cellgate.yaml` names for what is too long for it: accounts, environments, credentials, clients.

use super::compiled::Compiled;
use super::files::Sources;
use super::identify::KnownCredentials;
use super::problem::Report;
use super::raw;
use super::settings::{self, Settings};
use super::slot::{At, Slot};
use super::tables::{self, KnownAccounts, Lookup};
use super::{clients, document, tree, typed};
use crate::policy::client::ClientFamily;
use crate::policy::code::Code;
use crate::policy::credential::Fingerprint;
use crate::policy::ids::EntityId;
use crate::policy::keyed::KeyTable;

/// The large tables as the configuration names them.
pub(super) struct Tables<'a> {
    pub(super) accounts: Slot<'a, raw::Table>,
    pub(super) environments: Slot<'a, raw::Table>,
    pub(super) credentials: Option<KnownCredentials<'a>>,
}

impl Tables<'_> {
    /// Reads them, or takes those that were made of the same files.
    pub(super) fn read(
        self,
        compiled: Option<&Compiled>,
        sources: &Sources,
        lookup: &Lookup<'_>,
        report: &Report,
    ) -> (KnownAccounts, KeyTable<EntityId>, KeyTable<Fingerprint>) {
        if let Some(Compiled { accounts, environments, credentials, .. }) = compiled.cloned() {
            return (KnownAccounts::Table(accounts), environments, credentials);
        }
        let accounts = accounts(self.accounts, sources, lookup, report);
        let environments = environments(self.environments, sources, &accounts, report);
        let credentials = credentials(self.credentials, sources, &accounts, report);
        (accounts, environments, credentials)
    }
}

/// Reads the client families.
pub(super) fn client_families(
    slot: Slot<'_, raw::Table>,
    sources: &Sources,
    settings: &mut Settings,
    report: &Report,
) -> Vec<ClientFamily> {
    let Some((path, at)) = table_file(slot) else { return Vec::new() };
    let written = sources.table(&at, &path).and_then(|text| tree(&path, text, report));
    let Some((places, tree)) = written else { return Vec::new() };
    settings::take_in(settings, "clients", &tree, &["version"]);
    match typed(&path, places, tree, report) {
        Some((document, raw)) => clients::read(raw, &At::root(&document)),
        None => Vec::new(),
    }
}

/// The path in a `{ file: ... }` mapping and where it stands.
fn table_file<'a>(slot: Slot<'a, raw::Table>) -> Option<(String, At<'a>)> {
    let at = slot.at.clone();
    let mut raw = at.open(slot.optional()?);
    let file = raw.file(&at);
    let file_at = file.at.clone();
    file.required().map(|file| (file, file_at))
}

/// How a table is written, by the ending of its name.
enum Format {
    Csv,
    Yaml,
}

fn format(path: &str, at: &At<'_>) -> Option<Format> {
    match path.rsplit_once('.') {
        Some((_, "csv")) => Some(Format::Csv),
        Some((_, "yaml" | "yml")) => Some(Format::Yaml),
        _ => {
            at.refuse(
                Code::TableFileKind,
                "the file is no known kind of table",
                "a file that ends in .csv or .yaml",
            );
            None
        }
    }
}

fn accounts(
    slot: Slot<'_, raw::Table>,
    sources: &Sources,
    lookup: &Lookup<'_>,
    report: &Report,
) -> KnownAccounts {
    if !slot.is_there() {
        slot.at.refuse(Code::Missing, "missing", "a mapping with file, the name of the account table");
    }
    let Some((path, at)) = table_file(slot) else { return KnownAccounts::Unknown };
    let Some(format) = format(&path, &at) else { return KnownAccounts::Unknown };
    let Some(text) = sources.table(&at, &path) else { return KnownAccounts::Unknown };
    match format {
        Format::Csv => tables::accounts_csv(&path, text, lookup, report),
        Format::Yaml => match document(&path, text, report) {
            Some((document, raw)) => tables::accounts_yaml(&document, raw, lookup),
            None => KnownAccounts::Unknown,
        },
    }
}

fn environments(
    slot: Slot<'_, raw::Table>,
    sources: &Sources,
    accounts: &KnownAccounts,
    report: &Report,
) -> KeyTable<EntityId> {
    let Some((path, at)) = table_file(slot) else { return KeyTable::default() };
    let (Some(format), Some(text)) = (format(&path, &at), sources.table(&at, &path)) else {
        return KeyTable::default();
    };
    match format {
        Format::Csv => tables::environments_csv(&path, text, accounts, report),
        Format::Yaml => match document(&path, text, report) {
            Some((document, raw)) => tables::environments_yaml(&document, raw, accounts),
            None => KeyTable::default(),
        },
    }
}

fn credentials(
    table: Option<KnownCredentials<'_>>,
    sources: &Sources,
    accounts: &KnownAccounts,
    report: &Report,
) -> KeyTable<Fingerprint> {
    let Some(KnownCredentials { path, at, keys }) = table else { return KeyTable::default() };
    let Some(text) = sources.table(&at, &path) else { return KeyTable::default() };
    tables::credentials_csv(&path, text, &keys, accounts, report)
}
