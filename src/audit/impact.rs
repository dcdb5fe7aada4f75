//! What an incident took from whom, in the words in which such reports are published: requests that failed or came late,
//! of how many, by how many credentials and accounts; and what did not fail because it was not sent where others failed.
//!
//! "Avoided" is claimed of evidence only: minutes in which the books show that the shared cell failed, or a time of which
//! whoever asks says that it was down.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::json;

use super::json::JSON_VERSION;
use super::minute::{Ends, LOST_CALL_COLUMNS};
use super::renamed::NewestNames;
use super::render::{aligned, percent, rfc3339};
use super::report::{GapLine, gaps};
use super::shelf::{Reading, ReportError, Row, Shelf, Source, ask};
use super::verdicts::coverage;
use super::views::{Cell, List};
use crate::policy::legacy_use::verdict::LEAST_COVERAGE;

/// A cell is down in a minute in which one of two of its requests failed.
const DOWN: u64 = 2;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incident {
    /// Unix seconds: the minute in which this lies is the first.
    pub from: i64,
    /// Unix seconds: the minute that begins here is not counted any more.
    pub to: i64,
    /// The names of the shared cells: what others would have been sent to.
    pub shared: Vec<String>,
    /// Whoever asks says that they were down for all of that time.
    pub declared_down: bool,
}

/// What it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Impact {
    /// What was asked.
    incident: Incident,
    /// By whether it was on legacy hosts, cell and endpoint class.
    parts: BTreeMap<(bool, String, String), Part>,
    /// Accounts to which something went wrong.
    accounts: BTreeSet<u64>,
    /// Credentials of accounts to which something went wrong; what is no token counts once for each account.
    credentials: BTreeSet<(u64, String)>,
    /// Minutes in which a shared cell was down, and requests on legacy hosts that other cells answered meanwhile.
    avoided: (u64, u64),
    /// Calls that may have to be made again, by outcome.
    lost: BTreeMap<String, u64>,
    /// For which part of that time the books were kept, of 1.
    covered: f64,
    /// What the books miss.
    gaps: Vec<GapLine>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Part {
    ends: Ends,
    accounts: BTreeSet<u64>,
    credentials: BTreeSet<(u64, String)>,
}

/// Reads what an incident took from the books.
///
/// # Errors
/// There are none, or they cannot be read.
pub fn read<'a>(books: impl Into<Source<'a>>, incident: Incident) -> Result<Impact, ReportError> {
    ask(books, |books| impact(books, incident))
}

/// Every call of that time that may have to be made again, in order.
///
/// # Errors
/// There are none, or they cannot be read.
pub fn lost_calls<'a>(books: impl Into<Source<'a>>, from: i64, to: i64) -> Result<List, ReportError> {
    let query =
        "SELECT at, account, method, path, request_id, outcome, status, refusal, cell, class, credential
         FROM lost_calls WHERE at >= ?1 AND at < ?2 
         ORDER BY at, account, request_id, method, path, outcome, status";
    let text =
        |row: &Row<'_>, column| row.text_if_any(column).map(|text| Cell::Text(text.map(str::to_owned)));
    let call = |row: &Row<'_>, newest: &NewestNames| {
        let account = row.count(1)?;
        Ok(vec![
            Cell::Time(row.int(0)?),
            Cell::Text((account > 0).then(|| account.to_string())),
            text(row, 2)?,
            text(row, 3)?,
            text(row, 4)?,
            text(row, 5)?,
            Cell::Number(row.count(6)?),
            text(row, 7)?,
            text(row, 8)?,
            text(row, 9)?,
            Cell::Text(Some(newest.newest(account, row.text(10)?).to_owned())),
        ])
    };
    let rows = ask(books, |books| {
        let newest = NewestNames::read(books, None)?;
        books.rows(query, &[Some(from), Some(to)], |row| call(row, &newest))
    })?;
    Ok(List {
        name: "lost",
        columns: &LOST_CALL_COLUMNS,
        rows,
        nothing: "No call of that time that may have to be made again is in the books; `report impact` says whether they were kept.",
    })
}

impl Impact {
    /// For people.
    pub fn table(&self) -> String {
        let all = self.all();
        let (from, to) = (rfc3339(self.incident.from), rfc3339(self.incident.to));
        let mut text = format!(
            "{from} to {to}: {} of {} requests failed ({}); {} across {}.\n",
            all.failed,
            all.requests,
            percent(all.failed, all.requests),
            counted(self.credentials.len() as u64, "credential"),
            counted(self.accounts.len() as u64, "account")
        );
        let _ = writeln!(
            text,
            "{} waited more than 2 minutes for an answer, {} more than 5.",
            all.late[0], all.late[1]
        );
        if self.covered < LEAST_COVERAGE {
            // Rounded down: what is not all is never told as all.
            let percent = (self.covered * 10_000.0).floor() / 100.0;
            let _ = writeln!(
                text,
                "! The books were kept for {percent:.2} % of that time only: there may be more."
            );
        }
        let _ = writeln!(text, "{}", self.lost_sentence());
        let _ = writeln!(text, "{}", self.avoided_sentence());
        if !self.parts.is_empty() {
            let heading = [
                "HOST",
                "CELL",
                "CLASS",
                "REQUESTS",
                "FAILED",
                "SHARE",
                ">2M",
                ">5M",
                "ACCOUNTS",
                "CREDENTIALS",
            ];
            let rows = self.parts.iter().map(|((legacy, cell, class), part)| {
                let host = if *legacy { "legacy" } else { "own" };
                let counts = [
                    part.ends.late[0],
                    part.ends.late[1],
                    part.accounts.len() as u64,
                    part.credentials.len() as u64,
                ];
                let mut row = vec![host.to_owned(), cell.clone(), class.clone()];
                row.extend([part.ends.requests, part.ends.failed].map(|count| count.to_string()));
                row.push(percent(part.ends.failed, part.ends.requests));
                row.extend(counts.map(|count| count.to_string()));
                row
            });
            let rows: Vec<Vec<String>> =
                std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows).collect();
            let _ = write!(text, "\n{}", aligned(&rows, &[3, 4, 5, 6, 7, 8, 9]));
        }
        for gap in &self.gaps {
            let _ =
                writeln!(text, "! The books miss something until {}: {}.", rfc3339(gap.ended_at), gap.reason);
        }
        text
    }

    /// For programs.
    ///
    /// # Errors
    /// Never for an impact; the type is serde_json's.
    pub fn json(&self) -> serde_json::Result<String> {
        let all = self.all();
        let part = |((legacy, cell, class), part): (&(bool, String, String), &Part)| {
            json!({
                "legacy": legacy, "cell": cell, "class": class,
                "requests": part.ends.requests, "failed": part.ends.failed,
                "late_2m": part.ends.late[0], "late_5m": part.ends.late[1],
                "accounts": part.accounts.len(), "credentials": part.credentials.len(),
            })
        };
        let (minutes, requests) = self.avoided;
        let value = json!({
            "version": JSON_VERSION,
            "from": rfc3339(self.incident.from),
            "to": rfc3339(self.incident.to),
            "requests": all.requests, "failed": all.failed, "late_2m": all.late[0], "late_5m": all.late[1],
            "accounts": self.accounts, "credentials": self.credentials.len(),
            "lost_calls": self.lost,
            "avoided": {"minutes_down": minutes, "declared": self.incident.declared_down, "requests": requests},
            "covered": self.covered,
            "parts": self.parts.iter().map(part).collect::<Vec<_>>(),
            "gaps": self.gaps.iter().map(|gap| json!({"until": rfc3339(gap.ended_at), "reason": gap.reason})).collect::<Vec<_>>(),
        });
        let mut text = serde_json::to_string_pretty(&value)?;
        text.push('\n');
        Ok(text)
    }

    fn all(&self) -> Ends {
        let mut all = Ends::default();
        self.parts.values().for_each(|part| all.add(&part.ends));
        all
    }

    fn lost_sentence(&self) -> String {
        if self.lost.is_empty() && self.covered < LEAST_COVERAGE {
            return "No call that may have to be made again is in the books.".to_owned();
        }
        if self.lost.is_empty() {
            return "No call has to be made again.".to_owned();
        }
        let counts = self.lost.iter().map(|(outcome, many)| format!("{many} {}", outcome.replace('_', " ")));
        let all = self.lost.values().copied().fold(0, u64::saturating_add);
        let counts = counts.collect::<Vec<_>>().join(", ");
        format!("{} may have to be made again ({counts}); `report lost` lists them.", counted(all, "call"))
    }

    fn avoided_sentence(&self) -> String {
        let (minutes, requests) = self.avoided;
        let cells = self.incident.shared.join(", ");
        match (self.incident.shared.is_empty(), minutes) {
            (true, _) => "Nothing is said of what was avoided: no shared cell is configured.".to_owned(),
            (_, 0) => format!(
                "Nothing is claimed to be avoided: the books do not show {cells} failing in that time."
            ),
            _ => {
                let why = if self.incident.declared_down { "as was declared" } else { "as the books show" };
                format!(
                    "Avoided: {} to legacy hosts answered by other cells in the {} in which {cells} was down ({why}).",
                    counted(requests, "request"),
                    counted(minutes, "minute")
                )
            }
        }
    }
}

fn counted(many: u64, what: &str) -> String {
    if many == 1 { format!("1 {what}") } else { format!("{many} {what}s") }
}

fn impact(books: &Shelf, incident: Incident) -> Reading<Impact> {
    let (first, end) = (incident.from.div_euclid(60), incident.to.div_euclid(60));
    let mut impact = Impact {
        parts: BTreeMap::new(),
        accounts: BTreeSet::new(),
        credentials: BTreeSet::new(),
        avoided: (0, 0),
        lost: BTreeMap::new(),
        covered: coverage(books, incident.to)?.share(incident.from, incident.to),
        gaps: gaps(books, incident.from, incident.to)?,
        incident,
    };
    // By minute: requests and failures of the shared cells, and what other cells answered on legacy hosts.
    let mut minutes = BTreeMap::<i64, [u64; 3]>::new();
    let query = "SELECT minute, legacy, cell, class, requests, failed, late_2m, late_5m FROM minutes
         WHERE minute >= ?1 AND minute < ?2";
    for (minute, key, ends) in
        books.rows(query, &[Some(first), Some(end)], |row| Ok((row.int(0)?, key(row)?, ends(row, 4)?)))?
    {
        let of = minutes.entry(minute).or_default();
        if impact.incident.shared.contains(&key.1) {
            (of[0], of[1]) = (of[0].saturating_add(ends.requests), of[1].saturating_add(ends.failed));
        } else if key.0 && key.1 != "none" {
            of[2] = of[2].saturating_add(ends.requests.saturating_sub(ends.failed));
        }
        impact.parts.entry(key).or_default().ends.add(&ends);
    }
    let declared = impact.incident.declared_down && !impact.incident.shared.is_empty();
    for [requests, failed, answered] in minutes.values() {
        if declared || *failed > 0 && failed.saturating_mul(DOWN) >= *requests {
            impact.avoided = (impact.avoided.0 + 1, impact.avoided.1.saturating_add(*answered));
        }
    }
    let query =
        "SELECT account, legacy, cell, class, credential FROM harmed WHERE minute >= ?1 AND minute < ?2";
    let newest = NewestNames::read(books, None)?;
    for (account, key, credential) in books.rows(query, &[Some(first), Some(end)], |row| {
        let account = row.count(0)?;
        Ok((account, key(row)?, newest.newest(account, row.text(4)?).to_owned()))
    })? {
        // Of requests that name no account nothing can be said of who they were.
        if account > 0 {
            let part = impact.parts.entry(key).or_default();
            part.accounts.insert(account);
            part.credentials.insert((account, credential.clone()));
            impact.accounts.insert(account);
            impact.credentials.insert((account, credential));
        }
    }
    let query = "SELECT outcome, count(*) FROM lost_calls WHERE at >= ?1 AND at < ?2 GROUP BY outcome";
    let lost = [Some(impact.incident.from), Some(impact.incident.to)];
    for (outcome, many) in books.rows(query, &lost, |row| Ok((row.text(0)?.to_owned(), row.count(1)?)))? {
        *impact.lost.entry(outcome).or_default() += many;
    }
    Ok(impact)
}

/// Whether on legacy hosts, cell, endpoint class: the columns after the first.
fn key(row: &Row<'_>) -> Reading<(bool, String, String)> {
    Ok((row.int(1)? != 0, row.text(2)?.to_owned(), row.text(3)?.to_owned()))
}

fn ends(row: &Row<'_>, first: usize) -> Reading<Ends> {
    Ok(Ends {
        requests: row.count(first)?,
        failed: row.count(first + 1)?,
        late: [row.count(first + 2)?, row.count(first + 3)?],
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::frame::tests::NOON;
    use super::super::store::Store;
    use super::super::window::tests::window;
    use super::*;
    use crate::policy::cell_failure::Unreachable;
    use crate::policy::credential::{Fingerprint, TokenShape};
    use crate::policy::decide::{Verdict, Why};
    use crate::policy::hosts::Role;
    use crate::policy::ids::CellIndex;
    use crate::policy::refusal::Refusal;
    use crate::telemetry::event::{End, RequestEvent};
    use crate::telemetry::fixture::{legacy_event, snapshot};
    use crate::test_snapshot::account;

    /// One minute: `us1` answers ten requests of account 1 and one after three minutes; `mt`, the shared one, fails three times
    /// for account 2, which comes with two tokens, and answers once. On its own address account 1 is cut off once.
    fn books(folder: &Path) {
        let mut snapshot = std::sync::Arc::into_inner(snapshot(1)).unwrap();
        snapshot.identify.credentials.shapes =
            vec![TokenShape { prefix: "dbtc_".into(), min_len: 8, max_len: 40 }];
        let snapshot = std::sync::Arc::new(snapshot);
        let mut events = Vec::new();
        let mut add = |many: usize, change: &dyn Fn(&mut RequestEvent)| {
            for number in 0..many {
                let mut event = legacy_event(&snapshot);
                event.request_id = format!("req-{}-{number}", events.len()).into();
                change(&mut event);
                events.push(event);
            }
        };
        add(10, &|_| {});
        add(1, &|event| event.timings.first_byte = Some(Duration::from_secs(180)));
        let shared = |event: &mut RequestEvent, token: u8| {
            let decision = event.decision.as_mut().unwrap();
            decision.account = Some(account(2));
            decision.verdict = Verdict::Forward { cell: CellIndex(1), why: Why::Mapped };
            (decision.fingerprint, decision.credential_sent) = (Some(Fingerprint([token; 16])), true);
        };
        add(1, &|event| shared(event, 7));
        let trigger = |event: &mut RequestEvent, token: u8, sends: u8| {
            shared(event, token);
            event.decision.as_mut().unwrap().writes = true;
            event.method = http::Method::POST;
            event.path = "/api/v2/accounts/2/jobs/9/run/dbtc_canary_in_a_path/".into();
            event.refusal = Some(Refusal::CellUnreachable(Unreachable::Refused));
            (event.status, event.sends) = (502, sends);
        };
        add(1, &|event| trigger(event, 7, 0));
        add(1, &|event| trigger(event, 7, 1));
        add(1, &|event| trigger(event, 8, 0));
        add(1, &|event| {
            event.decision.as_mut().unwrap().role = Some(Role::Cell);
            event.end = End::CellGone;
        });
        let frame = window(NOON, &events).frame("a", 1, NOON + 10);
        for _ in 0..2 {
            Store::new(folder).write(&frame, NOON).unwrap();
        }
    }

    fn incident() -> Incident {
        Incident { from: NOON, to: NOON + 60, shared: vec!["mt".into()], declared_down: false }
    }

    #[test]
    fn an_incident_is_told_as_such_reports_are() {
        let folder = tempfile::tempdir().unwrap();
        books(folder.path());
        let text = read(folder.path(), incident()).unwrap().table();
        let expect = "\
2026-11-20T10:00:00Z to 2026-11-20T10:01:00Z: 4 of 16 requests failed (25%); 3 credentials across 2 accounts.
1 waited more than 2 minutes for an answer, 0 more than 5.
! The books were kept for 16.66 % of that time only: there may be more.
3 calls may have to be made again (2 not sent, 1 unknown); `report lost` lists them.
Avoided: 11 requests to legacy hosts answered by other cells in the 1 minute in which mt was down (as the books show).

HOST     CELL   CLASS   REQUESTS   FAILED   SHARE   >2M   >5M   ACCOUNTS   CREDENTIALS
own      us1    none           1        1    100%     0     0          1             1
legacy   mt     none           4        3     75%     0     0          1             2
legacy   us1    none          11        0      0%     1     0          1             1
";
        assert_eq!(text, expect);
        let before = read(folder.path(), Incident { from: NOON - 600, to: NOON, ..incident() }).unwrap();
        assert!(before.table().starts_with(
            "2026-11-20T09:50:00Z to 2026-11-20T10:00:00Z: 0 of 0 requests failed (-); 0 credentials across 0 accounts."
        ));
    }

    #[test]
    fn what_was_avoided_is_claimed_of_evidence_only() {
        let folder = tempfile::tempdir().unwrap();
        books(folder.path());
        let avoided = |incident: Incident| read(folder.path(), incident).unwrap().avoided;
        assert_eq!(avoided(incident()), (1, 11));
        // A cell that answers is not down, whatever else fails; unless whoever asks knows better.
        let healthy = Incident { shared: vec!["us1".into()], ..incident() };
        assert_eq!(avoided(healthy.clone()), (0, 0));
        assert_eq!(avoided(Incident { declared_down: true, ..healthy }), (1, 1));
        assert_eq!(avoided(Incident { shared: vec![], declared_down: true, ..incident() }), (0, 0));
    }

    #[test]
    fn calls_that_have_to_be_made_again_are_listed_without_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        books(folder.path());
        let lost = lost_calls(folder.path(), NOON, NOON + 60).unwrap();
        let csv = String::from_utf8(lost.csv().unwrap()).unwrap();
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(
            lines,
            [
                "at,account,method,path,request_id,outcome,status,refusal,cell,class,credential",
                "2026-11-20T10:00:00Z,2,POST,/api/v2/accounts/2/jobs/9/run/{credential}/,req-12-0,not_sent,502,cell_unreachable,mt,none,:070707070707",
                "2026-11-20T10:00:00Z,2,POST,/api/v2/accounts/2/jobs/9/run/{credential}/,req-13-0,unknown,502,cell_unreachable,mt,none,:070707070707",
                "2026-11-20T10:00:00Z,2,POST,/api/v2/accounts/2/jobs/9/run/{credential}/,req-14-0,not_sent,502,cell_unreachable,mt,none,:080808080808",
            ]
        );
        assert_eq!(lost_calls(folder.path(), NOON + 60, NOON + 120).unwrap().table(NOON).lines().count(), 1);
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains("canary"));
        }
    }
}
