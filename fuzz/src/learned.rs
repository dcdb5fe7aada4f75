//! Bytes as the file of learned credentials, and as the lessons of a predecessor.

use std::sync::LazyLock;

use cellgate::learned_file::{learn, lessons, read};
use cellgate::policy::credential::{Fingerprint, Learning};
use cellgate::policy::ids::AccountId;
use cellgate::policy::learned::{Learned, LearnedTable};
use cellgate::policy::snapshot::Snapshot;

use super::snapshot::{NOW, account, example};

/// So many that a small file can try to have more.
const BOUNDS: Learning = Learning { entries: 6, per_account: 3 };

/// More than a file of the longest size has.
const WIDE: Learning = Learning { entries: 1_000, per_account: 1_000 };

static NARROW_RULES: LazyLock<Snapshot> = LazyLock::new(|| rules(BOUNDS));
static WIDE_RULES: LazyLock<Snapshot> = LazyLock::new(|| rules(WIDE));

/// A table never has more than its bounds, is written as it would be read, believes nobody about a token that it
/// knows better, and is not younger than its clock. Returns whether they could be read.
pub fn learned(data: &[u8]) -> bool {
    let table = LearnedTable::default();
    let taken = read(&table, &NARROW_RULES, data, NOW);
    assert_eq!(taken.as_ref().copied().unwrap_or(0), table.len());
    within(&table, BOUNDS);
    if let Some(text) = lessons(&table, &NARROW_RULES, 0) {
        let again = LearnedTable::default();
        assert_eq!(read(&again, &NARROW_RULES, text.as_bytes(), NOW), Ok(table.len()));
        assert_eq!(again.export(), table.export());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        taught_by_a_predecessor(text, taken.is_ok());
    }
    taken.is_ok()
}

fn taught_by_a_predecessor(text: &str, is_sound: bool) {
    let table = LearnedTable::default();
    let known = [(Fingerprint([1; 16]), account(12345)), (Fingerprint([2; 16]), account(26228))];
    for (token, account) in known {
        table.teach(token, "k2", account, &WIDE, NOW - 60);
    }
    let heard = learn(&table, &WIDE_RULES, text, NOW);
    assert_eq!(heard.is_ok(), is_sound, "{heard:?}");
    within(&table, WIDE);
    for (token, account) in known {
        let found = table.lookup(token);
        assert!(matches!(found, Learned::Ambiguous) || found == Learned::Account(account), "{found:?}");
    }
    // What was said twice is no news.
    let before = table.export();
    assert_eq!(learn(&table, &WIDE_RULES, text, NOW), heard);
    assert_eq!(table.len(), before.entries.len());
}

fn within(table: &LearnedTable, bounds: Learning) {
    let entries = table.export().entries;
    assert_eq!(entries.len(), table.len());
    assert!(entries.len() <= bounds.entries);
    let mut accounts: Vec<AccountId> = entries.iter().map(|entry| entry.account).collect();
    accounts.sort_unstable();
    assert!(accounts.chunk_by(|one, other| one == other).all(|own| own.len() <= bounds.per_account));
    assert!(entries.iter().all(|entry| entry.confirmed <= NOW), "from the future");
}

fn rules(bounds: Learning) -> Snapshot {
    let mut snapshot = example().build();
    snapshot.identify.credentials.learning = Some(bounds);
    snapshot
}
