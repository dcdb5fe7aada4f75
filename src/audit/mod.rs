//! The books: who still uses the legacy hosts. Counted where requests end, by the threads that serve them; kept in a SQLite
//! file for each month in the state folder, read by `cellgate report` while the proxy runs. Beside them, how much traffic
//! each account makes on cell hosts, for guards that weigh a change.
//!
//! What is told apart is an integration: account, client family, surface, endpoint class, credential, network. The seam to
//! serving is [`RequestEvent`](crate::telemetry::event::RequestEvent) and nothing else.
//!
//! On its way a request is a number on a thread's sheet (`sheets`), a row of a window (`window`), part of a frame in the spool
//! (`frame`, `spool`, `outbox`), with those of other windows a row of a file (`writer`, `store`); reports read the files (`shelf`, `report`, `verdicts`).

pub mod account;
mod accounts;
mod agents;
mod bell;
pub mod books;
pub mod brownouts;
mod cell_use;
pub mod database;
mod days;
mod detail;
pub mod events;
pub mod fleet;
mod foreign;
pub mod forget;
mod frame;
pub mod headline;
mod heavy;
pub mod html;
pub mod impact;
pub mod json;
mod key;
mod known;
pub mod learned_use;
mod map;
pub mod markdown;
mod merged;
mod met;
mod minute;
mod month;
mod names;
mod outbox;
pub mod outreach;
mod packed;
mod places;
pub mod recipes;
mod renamed;
pub mod render;
pub mod report;
mod rows;
mod seen;
mod sheets;
pub mod shelf;
mod side_by_side;
mod spool;
mod store;
pub mod survey;
mod told;
pub mod unknown_clients;
mod uses;
mod verdicts;
pub mod views;
pub mod week;
mod window;
mod writer;

// A fleet that is made up, which the tests of the whole crate use, too.
#[cfg(test)]
#[path = "../../tests/support/fleet.rs"]
mod made_up;

#[cfg(test)]
#[path = "../../tests/support/postgres.rs"]
mod postgres_server;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::books::{Books, BooksSettings};
    use super::frame::Minute;
    use super::frame::tests::{NOON, frame, uses};
    use super::minute::Ends;
    use super::report::{Question, read};
    use super::shelf::Source;
    use super::store::Store;
    use super::views::View;
    use super::{
        account, events, headline, html, impact, json, markdown, outreach, render, survey, unknown_clients,
        views,
    };
    use crate::policy::cell_failure::Silence;
    use crate::policy::credential::Fingerprint;
    use crate::policy::refusal::Refusal;
    use crate::telemetry::access_log::{AccessLog, Target};
    use crate::telemetry::fixture::{legacy_event, snapshot};
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::wall_time::unix_seconds;
    use crate::telemetry::{EventSink, Telemetry};

    #[test]
    fn one_event_reaches_metrics_log_and_books_and_no_secret_does() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        let metrics = Arc::new(Metrics::new());
        let settings = BooksSettings {
            folder: folder.path().into(),
            window: Duration::from_secs(1),
            spool_bytes: super::books::LEAST_SPOOL_BYTES,
            writer: "a".into(),
            replica: String::new(),
            shipping: None,
        };
        let sinks: Vec<Box<dyn EventSink>> = vec![
            Box::new(
                AccessLog::start(Target::File(log.clone()), Default::default(), metrics.access_log())
                    .unwrap(),
            ),
            Box::new(Books::start(settings, &metrics).unwrap()),
        ];
        let telemetry = Telemetry::start(metrics, sinks).unwrap();
        let snapshot = snapshot(1);
        telemetry.metrics.prepare(&snapshot);
        for _ in 0..1_000 {
            let mut event = legacy_event(&snapshot);
            // What is older than the books keep is deleted.
            event.started = std::time::SystemTime::now();
            event.path = "/api/v2/accounts/1/jobs/?token=canary-query".into();
            event.user_agent = Some("airflow canary-agent".into());
            // A trigger that was lost: it is kept as it was, but for this.
            (event.method, event.sends) = (http::Method::POST, 1);
            (event.refusal, event.status) = (Some(Refusal::CellTimeout(Silence::Unanswered)), 504);
            let decision = event.decision.as_mut().unwrap();
            decision.fingerprint = Some(Fingerprint([0xca; 16]));
            (decision.credential_sent, decision.writes) = (true, true);
            telemetry.record(event);
        }
        assert!(telemetry.close(Duration::from_secs(20)));
        let page = telemetry.metrics.render(&snapshot, std::time::SystemTime::UNIX_EPOCH);
        let counted = r#"cellgate_requests_total{cell="us1",surface="app",status="5xx"} 1000"#;
        assert!(page.lines().any(|line| line == counted), "{page}");
        assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 1_000);
        let report = read(folder.path(), Question::default()).unwrap();
        assert_eq!((report.accounts[0].account, report.requests()), (1, 1_000));
        let mut files = 0;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            // Of a fingerprint, which is keyed, twelve digits are shown.
            assert!(!text.contains("canary") && !text.contains(&"ca".repeat(7)));
            files += 1;
        }
        assert!(files >= 2 && !page.contains("canary"));
        // When the hour of the requests is over.
        let outputs = outputs(folder.path(), unix_seconds(std::time::SystemTime::now()) + 3_600);
        for output in &outputs {
            assert!(!output.contains("canary") && !output.contains(&"ca".repeat(7)), "{output}");
        }
        assert!(outputs.iter().any(|output| output.contains("/api/v2/accounts/1/jobs/,req-0001,unknown")));
    }

    #[test]
    fn sums_of_books_that_were_made_up_stay_at_the_largest_number() {
        let folder = tempfile::tempdir().unwrap();
        let most = i64::MAX as u64;
        let mut frame = frame("a", 1, (1..=3).map(|account| uses(account, "airflow", most)).collect());
        let ends = Ends { requests: most, failed: most, late: [most, most] };
        let cell = |cell: &str| Minute {
            minute: NOON / 60,
            legacy: true,
            cell: cell.into(),
            class: "none".into(),
            ends,
        };
        frame.minutes = ["mt", "us1", "us2"].map(cell).to_vec();
        Store::new(folder.path()).write(&frame, NOON + 10).unwrap();
        let outputs = outputs(folder.path(), NOON + 3_600);
        let largest = u64::MAX.to_string();
        assert!(outputs[0].contains(&format!("3 accounts, {largest} requests")), "{}", outputs[0]);
        assert!(
            outputs.iter().any(|output| output.contains(&format!("{largest} of {largest} requests failed")))
        );
    }

    /// Everything that is made of the books.
    pub fn outputs<'a>(books: impl Into<Source<'a>>, now: i64) -> Vec<String> {
        let books = &books.into();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let report = read(books, Question { now, ..Question::default() }).unwrap();
        let fleet = survey::read(books, &survey::Host::default(), None, now).unwrap();
        let incident = impact::Incident { to: now, ..impact::Incident::default() };
        let incident = impact::read(books, incident).unwrap();
        let lost = impact::lost_calls(books, 0, now).unwrap();
        let mut outputs = vec![
            render::table(&report, now),
            text(render::csv(&report).unwrap()),
            json::print(&report, &fleet, usize::MAX).unwrap(),
            headline::lines(&fleet),
            markdown::print(&fleet),
            html::page(&fleet, html::Place::File),
            text(outreach::csv(&fleet).unwrap()),
            incident.table(),
            incident.json().unwrap(),
            text(lost.csv().unwrap()),
        ];
        outputs.extend(events::events(&fleet).map(|event| event.body));
        outputs.extend(outreach::letters(&fleet).flat_map(|letter| [letter.text, letter.page]));
        for of in &fleet.accounts {
            let reader = html::Reader::Operator(html::Place::Live);
            outputs.push(html::account_page(&fleet, of.account, reader));
            outputs.push(account::markdown(&fleet, of.account));
        }
        outputs.push(text(unknown_clients::list(books, 0).unwrap().csv().unwrap()));
        for view in [View::Integrations, View::New, View::Returned, View::Unattributed] {
            outputs.push(views::list(view, &fleet, &report).json().unwrap());
        }
        outputs
    }
}
