//! The books: who still uses the legacy hosts. Counted where requests end, by the threads that serve them; kept in a SQLite
//! file for each month in the state folder, read by `cellgate report` while the proxy runs. Beside them, how much traffic
//! each account makes on cell hosts, for guards that weigh a change.
//!
//! What is told apart is an integration: account, client family, surface, endpoint class, credential, network. The seam to
//! serving is [`RequestEvent`](crate::telemetry::event::RequestEvent) and nothing else.
//!
//! On its way a request is a number on a thread's sheet (`sheets`), a row of a window (`window`), part of a frame in the spool
//! (`frame`, `spool`, `outbox`) and then in a file (`store`); reports read the files (`shelf`, `report`, `verdicts`).

pub mod books;
mod cell_use;
mod days;
mod detail;
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
pub mod markdown;
mod minute;
mod month;
mod names;
mod outbox;
pub mod outreach;
pub mod recipes;
mod renamed;
pub mod render;
pub mod report;
mod sheets;
mod shelf;
mod spool;
mod store;
pub mod survey;
mod told;
pub mod unknown_clients;
mod verdicts;
pub mod views;
pub mod week;
mod window;

// A fleet that is made up, which the tests of the whole crate use, too.
#[cfg(test)]
#[path = "../../tests/support/fleet.rs"]
mod made_up;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::books::{Books, BooksSettings};
    use super::report::{Question, read};
    use super::views::View;
    use super::{headline, html, impact, json, markdown, outreach, render, survey, views};
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
        };
        let sinks: Vec<Box<dyn EventSink>> = vec![
            Box::new(AccessLog::start(Target::File(log.clone()), metrics.access_log()).unwrap()),
            Box::new(Books::start(settings, metrics.books()).unwrap()),
        ];
        let telemetry = Telemetry::start(metrics, sinks).unwrap();
        let snapshot = snapshot(1);
        telemetry.metrics.prepare(&snapshot);
        for _ in 0..1_000 {
            let mut event = legacy_event(&snapshot);
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
        let outputs = outputs(folder.path());
        for output in &outputs {
            assert!(!output.contains("canary") && !output.contains(&"ca".repeat(7)), "{output}");
        }
        assert!(outputs.iter().any(|output| output.contains("/api/v2/accounts/1/jobs/,req-0001,unknown")));
    }

    /// Everything that is made of the books.
    fn outputs(folder: &std::path::Path) -> Vec<String> {
        let now = unix_seconds(std::time::SystemTime::now());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let report = read(folder, Question { now, ..Question::default() }).unwrap();
        let fleet = survey::read(folder, &survey::Host::default(), None, now).unwrap();
        let incident = impact::Incident { to: now, ..impact::Incident::default() };
        let incident = impact::read(folder, incident).unwrap();
        let lost = impact::lost_calls(folder, 0, now).unwrap();
        let mut outputs = vec![
            render::table(&report, now),
            text(render::csv(&report).unwrap()),
            json::print(&report).unwrap(),
            headline::lines(&fleet),
            markdown::print(&fleet),
            html::page(&fleet),
            text(outreach::csv(&fleet).unwrap()),
            incident.table(),
            incident.json().unwrap(),
            text(lost.csv().unwrap()),
        ];
        outputs.extend(outreach::letters(&fleet).map(|letter| letter.text));
        for view in [View::Integrations, View::New, View::Returned, View::Unattributed] {
            outputs.push(views::list(view, &fleet, &report).json().unwrap());
        }
        outputs
    }
}
