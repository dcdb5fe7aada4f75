//! The credential table as a text that is written: from what a replica has learned, and from what many have. The
//! text is for people too, who review it as a change; where it goes is the caller's business.
//!
//! What is not known beyond doubt is left out, and every entry that is left out is said. A credential that was
//! seen with two accounts stays out until a person lets it in: a comment line `# ambiguous: key,fingerprint`
//! says so in exports and in the table itself, and every later merge reads it there.

mod text;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::files::{Sources, credential_names};
use super::parse_as_far_as;
use super::problem::{Problem, Report};
use super::tables::{CREDENTIAL_COLUMNS, CredentialRow, credential_rows};
use crate::policy::accounts::AccountTable;
use crate::policy::credential::Fingerprint;
use crate::policy::ids::AccountId;
pub use text::export;
use text::{Table, cut_short, read_veto};

/// What one replica has learned, as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The table.
    pub text: String,
    /// Its rows, in its order.
    pub rows: Vec<Entry>,
    /// How many there are by the id of their key: after a rotation, those of older keys are there too.
    pub by_key: BTreeMap<String, usize>,
    /// Credentials of two accounts, with the ids of their keys; they are comments in it.
    pub ambiguous: Vec<(Fingerprint, String)>,
    /// Entries that nothing has confirmed for too long; they are not in it.
    pub expired: usize,
}

/// A table to be merged.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The name of its file.
    pub name: &'a str,
    /// The file.
    pub text: &'a [u8],
}

/// What rows of the table may name.
#[derive(Debug)]
pub struct Scope {
    keys: Vec<String>,
    accounts: AccountTable,
}

/// One table of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The table.
    pub text: String,
    /// Rows that were not in the present table.
    pub added: usize,
    /// Rows of the present table.
    pub kept: usize,
    /// Rows that said what another one says.
    pub duplicates: usize,
    /// What is not in the table, by fingerprint.
    pub left_out: Vec<LeftOut>,
}

/// A credential that is not in a merged table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Which.
    pub fingerprint: Fingerprint,
    /// The id of its key.
    pub key_id: String,
    /// Why.
    pub reason: Reason,
    /// Where it stands: `a.csv:2 (account 12345)`.
    pub places: Vec<String>,
}

/// Why a credential is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It was seen with two accounts, or a replica or an earlier merge says so.
    Ambiguous,
    /// The account has no row in the account table.
    NoAccount,
    /// The configuration has no such fingerprint key.
    UnknownKey,
}

impl Scope {
    /// Reads of a configuration what rows of its credential table may name. Certificates, keys and the table
    /// itself play no part: who merges may not be allowed to read the ones, and is about to mend the other.
    ///
    /// # Errors
    /// Everything that is wrong with the rest.
    pub fn read(mut sources: Sources, now: i64) -> Result<Self, Vec<Problem>> {
        let routing = sources.routing.as_deref().unwrap_or_default();
        let (path, keys) = credential_names(routing);
        if let Some(path) = path {
            sources.files.insert(path.into(), Ok((CREDENTIAL_COLUMNS.join(",") + "\n").into_bytes()));
        }
        let of_key = |problem: &Problem| {
            let starts = ["identify.credentials.keys[", "identify.routing_cookie.keys["];
            starts.iter().any(|start| problem.path.starts_with(start)) && problem.path.ends_with("].file")
        };
        let config = parse_as_far_as(&sources, now, |problem| !of_key(problem))?;
        Ok(Self { keys, accounts: config.accounts })
    }
}

/// Merges what replicas have learned into the present table, which comes first. The result does not depend on
/// the order of the others, and merging them again changes nothing.
///
/// # Errors
/// Every row that cannot be read: nothing is merged then.
pub fn merge(
    present: Option<Input<'_>>,
    learned: &[Input<'_>],
    scope: &Scope,
) -> Result<Merged, Vec<Problem>> {
    let report = Report::default();
    let mut claims = Claims::default();
    let present_rows = present.map(|input| claims.read(input, true, &report)).unwrap_or_default();
    for input in learned {
        claims.read(*input, false, &report);
    }
    if !report.is_empty() {
        return Err(report.into_problems());
    }
    let (good, left_out) = claims.judge(scope);
    let text = present.map(|input| String::from_utf8_lossy(input.text).into_owned()).unwrap_or_default();
    let mut table = Table::new(&text, &present_rows, &good);
    for of in left_out.iter().filter(|out| out.reason == Reason::Ambiguous) {
        table.keep_out(&of.key_id, of.fingerprint);
    }
    let kept = table.kept.len();
    let added = good.len() - kept;
    let duplicates = claims.rows - claims.by_credential.len() - extra(&claims);
    Ok(Merged { text: table.write(&good), added, kept, duplicates, left_out })
}

/// Rows of ambiguous credentials beyond the first of each: they say something else, and are no duplicates.
fn extra(claims: &Claims) -> usize {
    claims.by_credential.values().map(|claim| claim.accounts.len().saturating_sub(1)).sum()
}

/// Everything that the inputs say.
#[derive(Default)]
struct Claims {
    by_credential: BTreeMap<Fingerprint, Claim>,
    vetoes: BTreeMap<Fingerprint, Veto>,
    rows: usize,
}

/// Who says that a credential must stay out.
#[derive(Default)]
struct Veto {
    key_ids: BTreeSet<String>,
    places: BTreeSet<String>,
}

/// What they say of one credential.
#[derive(Default)]
struct Claim {
    /// The first of the present table, or else the first of all by name.
    key_id: Option<String>,
    /// It stands in the present table.
    in_place: bool,
    accounts: BTreeMap<AccountId, BTreeSet<String>>,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The id of its key.
    pub key_id: String,
    /// Whose it is.
    pub account: AccountId,
    /// Which credential.
    pub fingerprint: Fingerprint,
}

impl Claim {
    fn note(&mut self, row: &CredentialRow<'_>, present: bool, place: String) {
        self.accounts.entry(row.account).or_default().insert(place);
        match &self.key_id {
            Some(_) if present || self.in_place => {}
            Some(known) if known.as_str() <= row.key_id => {}
            Some(_) | None => self.key_id = Some(row.key_id.to_owned()),
        }
        self.in_place |= present;
    }
}

impl Claims {
    /// Takes in a table; says which credential stands in which line.
    fn read(&mut self, input: Input<'_>, present: bool, report: &Report) -> HashMap<u32, Fingerprint> {
        let mut lines = HashMap::new();
        let mut vetoes = 0;
        credential_rows(input.name, input.text, report, |row| {
            lines.insert(row.line, row.fingerprint);
            let place = format!("{}:{}", input.name, row.line);
            self.by_credential.entry(row.fingerprint).or_default().note(&row, present, place);
        });
        self.rows += lines.len();
        for (number, line) in (1..).zip(String::from_utf8_lossy(input.text).lines()) {
            let Some((key_id, fingerprint)) = read_veto(line) else { continue };
            vetoes += 1;
            let veto = self.vetoes.entry(fingerprint).or_default();
            veto.key_ids.insert(key_id);
            veto.places.insert(format!("{}:{number}", input.name));
        }
        if let Some(problem) = cut_short(input, lines.len(), vetoes) {
            report.push(problem);
        }
        lines
    }

    /// What may be routed on, and what not.
    fn judge(&self, scope: &Scope) -> (BTreeMap<Fingerprint, Entry>, Vec<LeftOut>) {
        let (mut good, mut left_out) = (BTreeMap::new(), Vec::new());
        for (fingerprint, claim) in &self.by_credential {
            let key_id = claim.key_id.clone().unwrap_or_default();
            let veto = self.vetoes.get(fingerprint);
            let account = claim.accounts.keys().next().copied();
            let reason = match account {
                _ if claim.accounts.len() > 1 || veto.is_some() => Some(Reason::Ambiguous),
                Some(account) if scope.accounts.by_id(account).is_none() => Some(Reason::NoAccount),
                _ if !scope.keys.contains(&key_id) => Some(Reason::UnknownKey),
                _ => None,
            };
            match (reason, account) {
                (None, Some(account)) => {
                    let entry = Entry { key_id, account, fingerprint: *fingerprint };
                    good.insert(*fingerprint, entry);
                }
                (reason, _) => {
                    let rows = claim.accounts.iter().flat_map(|(account, places)| {
                        places.iter().map(move |place| format!("{place} (account {account})"))
                    });
                    let vetoes = veto.iter().flat_map(|veto| veto.places.iter().cloned());
                    let (fingerprint, places) = (*fingerprint, rows.chain(vetoes).collect());
                    let reason = reason.unwrap_or(Reason::Ambiguous);
                    left_out.push(LeftOut { fingerprint, key_id, reason, places });
                }
            }
        }
        let silent = self.vetoes.iter().filter(|(of, _)| !self.by_credential.contains_key(of));
        left_out.extend(silent.map(|(fingerprint, veto)| LeftOut {
            fingerprint: *fingerprint,
            key_id: veto.key_ids.first().cloned().unwrap_or_default(),
            reason: Reason::Ambiguous,
            places: veto.places.iter().cloned().collect(),
        }));
        left_out.sort_by_key(|out| out.fingerprint);
        (good, left_out)
    }
}

impl Reason {
    /// The word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::NoAccount => "no_account",
            Self::UnknownKey => "unknown_key",
        }
    }

    /// What it means, and what to do.
    const fn said(self) -> &'static str {
        match self {
            Self::Ambiguous => {
                "seen with two accounts; ask its owner for one token an account, then delete its line \"# ambiguous\""
            }
            Self::NoAccount => "its account has no row in the account table; add one, or forget the token",
            Self::UnknownKey => {
                "the configuration has no such fingerprint key; merge before the key is taken away"
            }
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (places, reason) = (self.places.join(", "), self.reason);
        write!(f, "left out: {},{}: {}; {places}", self.key_id, self.fingerprint, reason.said())
    }
}

#[cfg(test)]
mod tests;
