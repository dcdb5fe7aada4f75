//! The table of known credentials: fingerprints, never tokens.

use std::collections::HashMap;

use super::super::names::Names;
use super::super::problem::Report;
use super::super::secret::unhex;
use super::accounts::{KnownAccounts, known_account};
use super::csv::read_csv;
use crate::policy::credential::Fingerprint;
use crate::policy::ids::AccountId;

/// Reads the table of known credentials; `keys` are the ids of the fingerprint keys.
pub(in crate::config) fn credentials_csv(
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
