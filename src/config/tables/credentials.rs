//! The table of known credentials: fingerprints, never tokens.

use super::super::names::Names;
use super::super::problem::Report;
use super::super::secret::unhex;
use super::Row;
use super::accounts::{KnownAccounts, known_account};
use super::csv::read_csv;
use super::keyed::Keyed;
use crate::policy::credential::Fingerprint;
use crate::policy::keyed::KeyTable;

/// Reads the table of known credentials; `keys` are the ids of the fingerprint keys.
pub(in crate::config) fn credentials_csv(
    file: &str,
    text: &[u8],
    keys: &Names,
    accounts: &KnownAccounts,
    report: &Report,
) -> KeyTable<Fingerprint> {
    let mut table = Keyed::default();
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
        if let (Some(fingerprint), Some(account)) = (bytes.map(Fingerprint), account) {
            table.add(row, fingerprint, account);
        }
    });
    table.finish(Row::Csv { file, line: 0, report }, |_, second, first| {
        let what = format!("it is already in line {first}");
        second.refuse("fingerprint", what, "each fingerprint once", None);
    })
}
