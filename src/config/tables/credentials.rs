//! The table of known credentials: fingerprints, never tokens.

use super::super::names::Names;
use super::super::problem::Report;
use super::super::secret::unhex;
use super::Row;
use super::accounts::{KnownAccounts, known_account};
use super::csv::read_csv;
use super::keyed::Keyed;
use crate::policy::code::Code;
use crate::policy::credential::Fingerprint;
use crate::policy::ids::AccountId;
use crate::policy::keyed::KeyTable;

/// The columns of the table, in the order in which they are written.
pub(in crate::config) const COLUMNS: [&str; 4] = ["key_id", "fingerprint", "account", "note"];

/// One row, as far as it can be told without any other table.
pub(in crate::config) struct CredentialRow<'r> {
    /// The line it stands in.
    pub(in crate::config) line: u32,
    pub(in crate::config) key_id: &'r str,
    pub(in crate::config) fingerprint: Fingerprint,
    pub(in crate::config) account: AccountId,
}

/// Reads the table of known credentials; `keys` are the ids of the fingerprint keys.
pub(in crate::config) fn credentials_csv(
    file: &str,
    text: &[u8],
    keys: &Names,
    accounts: &KnownAccounts,
    report: &Report,
) -> KeyTable<Fingerprint> {
    let mut table = Keyed::default();
    read_rows(file, text, accounts, report, |row, key_id, entry| {
        if keys.find(key_id).is_none() {
            let (what, expected, hint) = keys.unknown(key_id);
            row.refuse(Code::NoSuchName, "key_id", what, &expected, hint);
        }
        if let Some((fingerprint, account)) = entry {
            table.add(row, fingerprint, account);
        }
    });
    table.finish(Row::Csv { file, line: 0, report }, |_, second, first| {
        let what = format!("it is already in line {first}");
        second.refuse(Code::RowTwice, "fingerprint", what, "each fingerprint once", None);
    })
}

/// Reads rows whose keys and accounts need not be known.
pub(in crate::config) fn credential_rows(
    file: &str,
    text: &[u8],
    report: &Report,
    mut each: impl FnMut(CredentialRow<'_>),
) {
    read_rows(file, text, &KnownAccounts::Unknown, report, |row, key_id, entry| {
        if let Some((fingerprint, account)) = entry {
            each(CredentialRow { line: row.line(), key_id, fingerprint, account });
        }
    });
}

/// Fingerprint and account are absent where one of them cannot be read, which is reported.
fn read_rows(
    file: &str,
    text: &[u8],
    accounts: &KnownAccounts,
    report: &Report,
    mut each: impl FnMut(Row<'_>, &str, Option<(Fingerprint, AccountId)>),
) {
    read_csv(file, text, report, &COLUMNS, &[0, 1, 2], |row, [key_id, fingerprint, account, _note]| {
        let bytes: Option<[u8; 16]> = unhex(fingerprint).and_then(|bytes| bytes.try_into().ok());
        if bytes.is_none() {
            // Not quoted: what stands here by mistake may be a token.
            row.refuse(
                Code::Fingerprint,
                "fingerprint",
                "found something else".to_owned(),
                "32 hexadecimal digits",
                None,
            );
        }
        let account = known_account(row, account, accounts);
        each(row, key_id, bytes.map(Fingerprint).zip(account));
    });
}
