//! What is said of each account that the books know: for which time the books are complete, and what `policy::legacy_use`
//! makes of both.

use std::collections::BTreeMap;

use crate::policy::ids::AccountId;
use crate::policy::legacy_use::activity::Activity;
use crate::policy::legacy_use::coverage::Coverage;
use crate::policy::legacy_use::verdict::{Judgement, Subject, judge_together};
use crate::policy::standings::Standings;

use super::shelf::{Reading, Shelf};

/// By what accounts are judged, beside what they do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judging<'a> {
    /// The time for which the books are complete.
    pub coverage: &'a Coverage,
    /// Where accounts stand by the configuration.
    pub standings: &'a Standings,
}

impl Judging<'_> {
    /// Judges an account by its habits, one by one and all together, at `now` (Unix seconds).
    pub fn judge(
        &self,
        account: u64,
        habits: &[Activity],
        all: &Activity,
        last_seen: i64,
        now: i64,
    ) -> Judgement {
        let account = AccountId::from_value(account);
        let subject = Subject {
            integrations: habits,
            last_seen,
            cut_at: account.and_then(|account| self.standings.cut_at(account, now)),
            is_migrated: !account.is_some_and(|account| self.standings.is_in_shared_cell(account)),
        };
        judge_together(&subject, all, self.coverage, now)
    }
}

/// For which time the books are complete: those of every replica. Requests that are missing could have been anybody's; those
/// that are only not told apart have been counted for their account. Of a file that was damaged or removed nothing before is
/// known. What is said to be kept after `now` is not yet.
pub(super) fn coverage(books: &Shelf, now: i64) -> Reading<Coverage> {
    let written = books.rows(
        "SELECT started_at, ended_at FROM coverage WHERE started_at < ?1 AND started_at <= ended_at",
        &[Some(now)],
        |row| Ok((row.int(0)?.max(0), row.int(1)?.min(now))),
    )?;
    let mut lost = books.rows(
        "SELECT coalesce(started_at, 0), ended_at FROM gaps
         WHERE reason NOT IN ('detail', 'lost_calls') AND (started_at IS NULL OR started_at < ?1)",
        &[Some(now)],
        |row| Ok((row.int(0)?.max(0), row.int(1)?.min(now))),
    )?;
    lost.extend(silent(&runs(books, now)?, now).into_iter().map(|(_, span)| span));
    Ok(Coverage::new(written, lost))
}

/// Replicas that have not been heard of for [`QUIET_FOR`] and have not said that they end; since when (Unix seconds).
pub(super) fn not_heard_of(books: &Shelf, now: i64) -> Reading<Vec<(String, i64)>> {
    let runs = runs(books, now)?;
    let newest = runs.iter().map(|run| run.ended_at).max().unwrap_or(now);
    let silent = silent(&runs, now).into_iter();
    let silent = silent.filter(|(_, (since, until))| *until == now && newest - since > QUIET_FOR);
    Ok(silent.map(|(run, (since, _))| (run.replica.clone(), since)).collect())
}

/// Seconds: twice the longest time between two shipments, so that who is only a little behind is not told of.
pub(super) const QUIET_FOR: i64 = 2 * 3_600;

/// A run of a process, over all months.
#[derive(Debug, Default)]
struct Run {
    replica: String,
    started_at: i64,
    ended_at: i64,
    closed: bool,
}

/// Of a fleet. In a folder one run follows the other, and what lies between them is a hole already.
fn runs(books: &Shelf, now: i64) -> Reading<Vec<Run>> {
    if !books.is_fleet() {
        return Ok(Vec::new());
    }
    let mut runs = BTreeMap::<String, Run>::new();
    let query = "SELECT writer, replica, started_at, ended_at, closed FROM coverage
         WHERE started_at < ?1 AND started_at <= ended_at";
    books.each(None, query, &[Some(now)], |_, row| {
        let (started_at, ended_at) = (row.int(2)?.max(0), row.int(3)?.min(now));
        let run = runs.entry(row.text(0)?.to_owned()).or_insert_with(|| Run {
            started_at,
            ended_at,
            ..Run::default()
        });
        run.replica = row.text(1)?.to_owned();
        (run.started_at, run.ended_at) = (run.started_at.min(started_at), run.ended_at.max(ended_at));
        run.closed |= row.int(4)? != 0;
        Ok(())
    })?;
    Ok(runs.into_values().collect())
}

/// Runs that ended without saying so, and until when nobody knows what they have served: until a run of the same replica goes
/// on, or until now.
fn silent(runs: &[Run], now: i64) -> Vec<(&Run, (i64, i64))> {
    // The digits behind a name are of its state folder. A replica that was renamed goes on; another one of that name does not.
    let folder =
        |run: &Run| run.replica.rsplit_once('.').map_or_else(|| run.replica.clone(), |(_, of)| of.to_owned());
    let mut by_folder = BTreeMap::<String, Vec<&Run>>::new();
    for run in runs {
        by_folder.entry(folder(run)).or_default().push(run);
    }
    let goes_on = |of: &Run| {
        let others = by_folder[&folder(of)].iter().filter(|other| other.ended_at > of.ended_at);
        others.map(|other| other.started_at.max(of.ended_at)).min().unwrap_or(now)
    };
    let open = runs.iter().filter(|run| !run.closed);
    open.map(|run| (run, (run.ended_at, goes_on(run)))).filter(|(_, (from, to))| from < to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_silent_leaves_a_hole_until_its_replica_goes_on() {
        let run = |replica: &str, started_at, ended_at, closed| Run {
            replica: replica.into(),
            started_at,
            ended_at,
            closed,
        };
        let holes = |runs: &[Run]| silent(runs, 100).into_iter().map(|(_, span)| span).collect::<Vec<_>>();
        // Ended in order, and nobody came after it.
        assert_eq!(holes(&[run("a", 0, 40, true)]), []);
        // Killed; nobody came after it; another replica is no help.
        assert_eq!(holes(&[run("a", 0, 40, false), run("b", 0, 100, true)]), [(40, 100)]);
        // Killed, and started again.
        assert_eq!(holes(&[run("a", 0, 40, false), run("a", 50, 100, true)]), [(40, 50)]);
        // Killed while its successor had begun.
        assert_eq!(holes(&[run("a", 0, 40, false), run("a", 30, 100, true)]), []);
        // Under another name in the same folder; and another machine of the same name.
        assert_eq!(holes(&[run("a.01", 0, 40, false), run("b.01", 50, 100, true)]), [(40, 50)]);
        assert_eq!(holes(&[run("a.01", 0, 40, false), run("a.02", 0, 100, true)]), [(40, 100)]);
        // Twice, and the second time for good.
        let twice = [run("a", 0, 40, false), run("a", 50, 60, false), run("a", 10, 20, true)];
        assert_eq!(holes(&twice), [(40, 50), (60, 100)]);
    }
}
