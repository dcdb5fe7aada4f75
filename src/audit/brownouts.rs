//! What brownouts did, from the books: whom they met, how often, and who of these has stopped calling the legacy hosts since.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::brownout::BrownoutMode;
use crate::policy::ids::AccountId;
use crate::policy::legacy_use::coverage::Coverage;
use crate::policy::legacy_use::verdict::{LEAST_ACTIVE, LEAST_COVERAGE};
use crate::policy::standings::Standings;

use super::fleet::Brownout;
use super::known::Known;
use super::report::facts;
use super::shelf::{Reading, ReportError, Shelf, Source, ask};
use super::verdicts::{Judging, coverage};
use super::views::{Cell, List};

/// What each brownout did in each of its windows, in order, from the books, at `now` (Unix seconds).
///
/// # Errors
/// There are none, or they cannot be read.
pub fn read<'a>(books: impl Into<Source<'a>>, now: i64) -> Result<Vec<Brownout>, ReportError> {
    ask(books, |books| {
        let (known, coverage) = known(books, now)?;
        effects(books, &known, &coverage, None, now)
    })
}

/// All accounts by what they do alone: who has stopped follows from that.
fn known(books: &Shelf, now: i64) -> Reading<(Known, Coverage)> {
    let (coverage, standings) = (coverage(books, now)?, Standings::default());
    let judging = Judging { coverage: &coverage, standings: &standings };
    Ok((Known::read(books, None, &judging, now)?, coverage))
}

/// The accounts that one brownout met in any of its windows, those with the most requests first.
///
/// # Errors
/// As [`read`].
pub fn accounts<'a>(books: impl Into<Source<'a>>, id: &str, now: i64) -> Result<List, ReportError> {
    let rows = ask(books, |books| {
        let (known, _) = known(books, now)?;
        let (mut sums, mut facts) = (BTreeMap::<u64, (u64, u64)>::new(), facts(books, None)?);
        for met in met(books, None)?.into_iter().filter(|met| met.id == id) {
            let (requests, writes) = sums.entry(met.account).or_default();
            (*requests, *writes) = (*requests + met.requests, *writes + met.writes);
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(account, (requests, _))| (std::cmp::Reverse(*requests), *account));
        let row = |(account, (requests, writes)): (u64, (u64, u64))| {
            let (prefix, cell) = facts.remove(&account).map_or((None, None), |(p, c)| (p, Some(c)));
            let is_gone =
                known.accounts.get(&account).map(|of| if of.judged.is_gone() { "yes" } else { "no" });
            vec![
                Cell::Text((account > 0).then(|| account.to_string())),
                Cell::Text(prefix),
                Cell::Text(cell),
                Cell::Number(requests),
                Cell::Number(writes),
                known.accounts.get(&account).map_or(Cell::Text(None), |of| Cell::Time(of.last_seen)),
                Cell::Text(is_gone.map(str::to_owned)),
            ]
        };
        Ok(sums.into_iter().map(row).collect())
    })?;
    Ok(List {
        name: "brownout",
        columns: &["account", "prefix", "cell", "requests", "writes", "last_seen", "gone"],
        rows,
        nothing: "The books know of nobody whom it met. `cellgate brownout effect` lists the brownouts that they know.",
    })
}

/// What brownouts did, as a list.
pub fn list(brownouts: &[Brownout]) -> List {
    let row = |of: &Brownout| {
        let text = |text: &str| Cell::Text(Some(text.to_owned()));
        vec![
            text(&of.id),
            text(of.mode.as_str()),
            text(&super::render::rfc3339(of.started_at)),
            text(&super::render::rfc3339(of.ended_at)),
            Cell::Number(of.accounts),
            Cell::Number(of.requests),
            Cell::Number(of.writes),
            Cell::Text(of.left.map(|left| left.to_string())),
        ]
    };
    List {
        name: "brownouts",
        columns: &["brownout", "mode", "from", "to", "accounts", "requests", "writes", "gone_since"],
        rows: brownouts.iter().map(row).collect(),
        nothing: "No brownout has met a request, as far as the books know.",
    }
}

/// The same of books that are open, for accounts of which it is known what is said of them; of one account only where that
/// is asked for.
pub(super) fn effects(
    books: &Shelf,
    known: &Known,
    coverage: &Coverage,
    only: Option<AccountId>,
    now: i64,
) -> Reading<Vec<Brownout>> {
    let mut sums = BTreeMap::<(i64, String, i64, BrownoutMode), Sum>::new();
    for met in met(books, only)? {
        let sum = sums.entry((met.window.0, met.id, met.window.1, met.mode)).or_default();
        (sum.requests, sum.writes) = (sum.requests + met.requests, sum.writes + met.writes);
        sum.accounts.extend((met.account > 0).then_some(met.account));
    }
    let brownout = |((started_at, id, ended_at, mode), of): (_, Sum)| {
        // Before that nobody can be said to have stopped; and in books with holes everybody would seem to have.
        let is_told = now - ended_at >= LEAST_ACTIVE && coverage.share(ended_at, now) >= LEAST_COVERAGE;
        let is_gone = |account: &&u64| known.accounts.get(account).is_some_and(|of| of.judged.is_gone());
        let left = is_told.then(|| of.accounts.iter().filter(is_gone).count() as u64);
        let Sum { requests, writes, accounts } = of;
        Brownout { id, started_at, ended_at, mode, accounts: accounts.len() as u64, requests, writes, left }
    };
    Ok(sums.into_iter().map(brownout).collect())
}

#[derive(Default)]
struct Sum {
    requests: u64,
    writes: u64,
    accounts: BTreeSet<u64>,
}

/// One account in one window.
struct MetIn {
    id: String,
    window: (i64, i64),
    mode: BrownoutMode,
    account: u64,
    requests: u64,
    writes: u64,
}

fn met(books: &Shelf, only: Option<AccountId>) -> Reading<Vec<MetIn>> {
    let only = only.map(|account| account.value() as i64);
    let mut found = Vec::new();
    let query = "SELECT brownout, started_at, ended_at, mode, account, CAST(sum(requests) AS BIGINT), CAST(sum(writes) AS BIGINT)
         FROM brownout_use WHERE ?1 IS NULL OR account = ?1 GROUP BY brownout, started_at, ended_at, mode, account";
    books.each(None, query, &[only], |_, row| {
        // What a later edition calls otherwise is not to be told under a wrong name.
        let Some(mode) = BrownoutMode::parse(row.text(3)?) else { return Ok(()) };
        found.push(MetIn {
            id: row.text(0)?.to_owned(),
            window: (row.int(1)?, row.int(2)?),
            mode,
            account: row.count(4)?,
            requests: row.count(5)?,
            writes: row.count(6)?,
        });
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use rusqlite::Connection;

    use super::super::forget::forget;
    use super::super::frame::Use;
    use super::super::frame::tests::{NOON, frame, uses};
    use super::super::met::BrownoutUse;
    use super::super::month::Month;
    use super::super::store::Store;
    use super::super::survey::{self, Host};
    use super::*;
    use crate::policy::legacy_use::DAY;
    use crate::test_snapshot::account;

    const HOUR: i64 = 3_600;

    fn line(account: u64, mode: &str, requests: u64) -> BrownoutUse {
        BrownoutUse {
            day: NOON.div_euclid(DAY),
            brownout: "bo-1".into(),
            mode: mode.into(),
            started_at: NOON,
            ended_at: NOON + HOUR,
            account,
            requests,
            writes: 1,
        }
    }

    fn ago(days: i64, mut of: Use) -> Use {
        of.day -= days;
        (of.first_seen, of.last_seen) = (of.first_seen - days * DAY, of.last_seen - days * DAY);
        of
    }

    /// Accounts 1 and 2 came each day until a brownout on the last one; account 1 goes on for ten days, as somebody without an
    /// account does. Complete until then, or until the brownout.
    fn books(folder: &Path, complete: bool) -> i64 {
        let now = NOON + 10 * DAY;
        let mut all: Vec<Use> =
            (0..30).flat_map(|days| [1, 2].map(|id| ago(days, uses(id, "curl", 5)))).collect();
        all.extend((1..=10).map(|days| ago(-days, uses(1, "curl", 5))));
        let mut of_brownout = frame("a", 1, all);
        (of_brownout.started_at, of_brownout.ended_at) = (NOON - 40 * DAY, if complete { now } else { NOON });
        of_brownout.brownouts =
            vec![line(0, "hard", 4), line(1, "hard", 5), line(2, "hard", 6), line(2, "observe", 3)];
        let mut store = Store::new(folder);
        store.write(&of_brownout, now).unwrap();
        // The same window in a later frame.
        let mut later = frame("b", 1, Vec::new());
        later.brownouts = vec![line(2, "hard", 1)];
        store.write(&later, now).unwrap();
        store.write(&later, now).unwrap();
        now
    }

    #[test]
    fn an_effect_is_whom_it_met_and_who_has_stopped_since() {
        let folder = tempfile::tempdir().unwrap();
        let now = books(folder.path(), true);
        let of = |mode, accounts, requests, writes, left| Brownout {
            id: "bo-1".into(),
            started_at: NOON,
            ended_at: NOON + HOUR,
            mode,
            accounts,
            requests,
            writes,
            left,
        };
        let expect = [of(BrownoutMode::Observe, 1, 3, 1, Some(1)), of(BrownoutMode::Hard, 2, 16, 4, Some(1))];
        assert_eq!(read(folder.path(), now).unwrap(), expect);
        let fleet = survey::read(folder.path(), &Host::default(), None, now).unwrap();
        assert_eq!(fleet.brownouts, expect, "and the page has it");
        let only = survey::read(folder.path(), &Host::default(), Some(account(1)), now).unwrap();
        assert_eq!(only.brownouts, [of(BrownoutMode::Hard, 1, 5, 1, Some(0))], "of one account its own");
        // A day after it nobody can be said to have stopped.
        let early = read(folder.path(), NOON + DAY).unwrap();
        assert!(early.iter().all(|of| of.left.is_none()), "{early:?}");
        let table = list(&expect).table(now);
        assert!(table.contains("2026-11-20T10:00:00Z") && table.contains("GONE SINCE"), "{table}");
        let rows = accounts(folder.path(), "bo-1", now).unwrap().csv().unwrap();
        let rows = String::from_utf8(rows).unwrap();
        let gone: Vec<_> = rows.lines().skip(1).map(|row| row.split(',').collect::<Vec<_>>()).collect();
        assert_eq!((gone[0][0], gone[0][3], gone[0][6]), ("2", "10", "yes"), "{rows}");
        assert_eq!((gone[1][0], gone[1][3], gone[1][6]), ("1", "5", "no"), "{rows}");
        assert_eq!((gone[2][0], gone[2][6]), ("", ""), "what names no account is nobody's: {rows}");
        assert_eq!(accounts(folder.path(), "bo-2", now).unwrap().rows.len(), 0);
    }

    #[test]
    fn books_with_holes_say_of_nobody_that_it_has_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let now = books(folder.path(), false);
        assert!(read(folder.path(), now).unwrap().iter().all(|of| of.left.is_none()));
    }

    #[test]
    fn an_account_is_forgotten_and_a_month_of_before_has_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let now = books(folder.path(), true);
        let before = forget(folder.path(), account(2), false).unwrap().rows;
        // A file of version 1, as it lies there from before.
        for month in [NOON, NOON - 30 * DAY].map(Month::of) {
            let file = Connection::open(month.file(folder.path())).unwrap();
            let known: i64 =
                file.query_row("SELECT count(*) FROM brownout_use", [], |row| row.get(0)).unwrap();
            if known == 0 {
                file.execute_batch(
                    "DROP TABLE brownout_use; DROP TABLE credential_names; DROP TABLE unknown_clients;
                     DELETE FROM schema_version WHERE version > 1",
                )
                .unwrap();
            }
        }
        assert_eq!(read(folder.path(), now).unwrap().len(), 2);
        assert_eq!(forget(folder.path(), account(2), true).unwrap().rows, before);
        let left = read(folder.path(), now).unwrap();
        assert_eq!(left.iter().map(|of| (of.accounts, of.requests)).collect::<Vec<_>>(), [(1, 9)]);
    }
}
