//! `/report`, `/report.json` and `/report/accounts/{id}`: how the legacy hosts stand, live. The books of a large fleet take seconds
//! to read, so they are read beside everything else, one question at a time, and what came of it is kept for a while and says
//! how old it is. What a report is, this does not know: it asks whoever has the books.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{self, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{AGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFRESH, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::sync::watch;
use tokio::time::Instant;

use super::AdminState;
use super::routes::{Rows, trouble};
use crate::policy::ids::AccountId;
use crate::quiet;

/// For so long what was made is given again: verdicts are of days, and who looks at a page looks at it for a minute.
const KEPT: Duration = Duration::from_secs(60);

/// For so long it is still given, with its age, while a newer one is made; then its memory is given back.
const STALE: Duration = Duration::from_secs(600);

/// Why there is none is told for so long without asking again: long enough that nobody hammers a file that is damaged.
const KEPT_FAILURE: Duration = Duration::from_secs(5);

/// A caller waits so long for one that is being made: the books of some thousand accounts are read in less.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pages of accounts that are kept, each some ten kilobytes and half a megabyte at most: as many as somebody has open.
const MOST_ACCOUNTS: usize = 32;

/// When to ask again for one that is being made: a hundred thousand accounts take some seconds.
const RETRY_SECONDS: &str = "3";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportSubject {
    /// The hosts and everybody.
    Fleet,
    /// One account.
    Account(AccountId),
}

/// What was made. The page comes in two parts: between them its age is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeReport {
    /// HTML up to that place.
    pub before: Bytes,
    /// HTML from there on.
    pub after: Bytes,
    /// For programs.
    pub json: Bytes,
    /// Whether the books know what was asked for.
    pub is_known: bool,
}

/// Whoever has the books.
pub trait ReportSource: Send + Sync {
    /// Makes it; takes seconds. The error is for people, and a whole sentence.
    ///
    /// # Errors
    /// The books cannot be read.
    fn make(&self, subject: ReportSubject) -> Result<MadeReport, String>;

    /// A page that says why there is none.
    fn notice(&self, title: &str, text: &str) -> String;

    /// The policy of all these pages.
    fn policy(&self) -> String;
}

/// Makes reports, one at a time, and keeps them.
pub struct ReportDesk {
    source: Arc<dyn ReportSource>,
    policy: HeaderValue,
    state: Mutex<Shelf>,
    /// Counts what was made: whoever waits looks again.
    made: watch::Sender<u64>,
}

#[derive(Default)]
struct Shelf {
    kept: Vec<Kept>,
    is_busy: bool,
}

#[derive(Clone)]
struct Kept {
    subject: ReportSubject,
    at: Instant,
    made: Result<MadeReport, String>,
}

/// What a caller gets.
enum Answer {
    Is {
        made: MadeReport,
        age: Duration,
    },
    Failed(String),
    /// Somebody's is being made, maybe this one.
    Busy,
}

impl ReportDesk {
    /// With nothing kept.
    pub fn new(source: Arc<dyn ReportSource>) -> Arc<Self> {
        let policy =
            HeaderValue::try_from(source.policy()).expect("a policy is words, hashes and semicolons");
        Arc::new(Self { source, policy, state: Mutex::default(), made: watch::channel(0).0 })
    }

    async fn ask(self: &Arc<Self>, subject: ReportSubject) -> Answer {
        let asking = async {
            let mut made = self.made.subscribe();
            loop {
                match self.look(subject) {
                    Answer::Busy => {}
                    answer => return answer,
                }
                // The sender lives as long as the desk.
                let _ = made.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or(Answer::Busy)
    }

    /// What is kept of it; where that is nothing, or old, a newer one is begun unless another one is being made.
    fn look(self: &Arc<Self>, subject: ReportSubject) -> Answer {
        let mut state = self.state();
        let now = Instant::now();
        state.forget(now);
        let kept = state.kept.iter().find(|kept| kept.subject == subject).cloned();
        let is_fresh = kept.as_ref().is_some_and(|kept| kept.is_fresh(now));
        if !is_fresh && !state.is_busy {
            state.is_busy = true;
            tokio::spawn(Arc::clone(self).build(subject));
        }
        match kept {
            Some(Kept { made: Ok(made), at, .. }) => Answer::Is { made, age: now - at },
            Some(Kept { made: Err(error), .. }) if is_fresh => Answer::Failed(error),
            _ => Answer::Busy,
        }
    }

    async fn build(self: Arc<Self>, subject: ReportSubject) {
        let source = Arc::clone(&self.source);
        let began = Instant::now();
        let made = quiet::run(move || source.make(subject)).await;
        let made = made.unwrap_or_else(|| {
            Err("making the report ended unexpectedly: the log of the process says more.".to_owned())
        });
        {
            let mut state = self.state();
            state.is_busy = false;
            // It is as old as the books were when they were read.
            state.keep(Kept { subject, at: began, made });
        }
        self.made.send_modify(|count| *count += 1);
        tokio::time::sleep(STALE).await;
        self.state().forget(Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, Shelf> {
        // Nothing that holds it can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page, with the policy that the others have.
    fn page(&self, status: StatusCode, html: impl Into<axum::body::Body>) -> Response {
        let mut response = (status, html.into()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        response
    }

    fn notice(&self, status: StatusCode, title: &str, text: &str) -> Response {
        self.page(status, self.source.notice(title, text))
    }

    async fn html(self: &Arc<Self>, subject: ReportSubject) -> Response {
        match self.ask(subject).await {
            Answer::Is { made, age } => {
                let status = if made.is_known { StatusCode::OK } else { StatusCode::NOT_FOUND };
                let html = [&made.before[..], age_line(age).as_bytes(), &made.after[..]].concat();
                with(self.page(status, html), AGE, &age.as_secs().to_string())
            }
            Answer::Failed(error) => {
                self.notice(StatusCode::INTERNAL_SERVER_ERROR, "There is no report", &sentence(&error))
            }
            Answer::Busy => {
                let page = self.notice(StatusCode::SERVICE_UNAVAILABLE, "The report is being made", BUSY);
                with(with(page, RETRY_AFTER, RETRY_SECONDS), REFRESH, RETRY_SECONDS)
            }
        }
    }
}

impl std::fmt::Debug for ReportDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReportDesk")
    }
}

impl Shelf {
    fn forget(&mut self, now: Instant) {
        self.kept.retain(|kept| now.duration_since(kept.at) < kept.lives());
    }

    fn keep(&mut self, kept: Kept) {
        self.kept.retain(|other| other.subject != kept.subject);
        let is_account = |kept: &Kept| kept.subject != ReportSubject::Fleet;
        if is_account(&kept) && self.kept.iter().filter(|kept| is_account(kept)).count() >= MOST_ACCOUNTS {
            // They stand in the order in which they were made.
            let oldest = self.kept.iter().position(is_account);
            oldest.map(|at| self.kept.remove(at));
        }
        self.kept.push(kept);
    }
}

impl Kept {
    fn is_fresh(&self, now: Instant) -> bool {
        let kept = if self.made.is_ok() { KEPT } else { KEPT_FAILURE };
        now.duration_since(self.at) < kept
    }

    const fn lives(&self) -> Duration {
        if self.made.is_ok() { STALE } else { KEPT_FAILURE }
    }
}

/// What a page says while it is made.
const BUSY: &str = "The books are being read, one report at a time, beside everything else. That takes some seconds for a \
                    large fleet: ask again in three.";

/// The pages of a door.
pub(super) fn rows(rows: Rows) -> Rows {
    rows.row("GET", "/report", get(fleet)).row("GET", "/report.json", get(json)).row(
        "GET",
        "/report/accounts/{id}",
        get(account),
    )
}

/// `GET /report`.
async fn fleet(State(state): State<AdminState>) -> Response {
    state.report.html(ReportSubject::Fleet).await
}

/// `GET /report/accounts/{id}`, and `/report/accounts/{id}.json`.
async fn account(State(state): State<AdminState>, extract::Path(id): extract::Path<String>) -> Response {
    let (id, is_json) = id.strip_suffix(".json").map_or((&*id, false), |id| (id, true));
    match AccountId::parse(id.as_bytes()) {
        Ok(id) if is_json => json_of(&state, ReportSubject::Account(id)).await,
        Ok(id) => state.report.html(ReportSubject::Account(id)).await,
        Err(error) => {
            let text = format!("The account id {error}. Write it as it stands in a URL.");
            state.report.notice(StatusCode::BAD_REQUEST, "This is no account id", &text)
        }
    }
}

/// `GET /report.json`.
async fn json(State(state): State<AdminState>) -> Response {
    json_of(&state, ReportSubject::Fleet).await
}

async fn json_of(state: &AdminState, subject: ReportSubject) -> Response {
    match state.report.ask(subject).await {
        Answer::Is { made, age } => {
            let response = ([(CONTENT_TYPE, "application/json")], made.json).into_response();
            with(response, AGE, &age.as_secs().to_string())
        }
        Answer::Failed(error) => {
            let next = "Mend it; the next call reads the books again.";
            trouble(StatusCode::INTERNAL_SERVER_ERROR, "no_report", sentence(&error), next)
        }
        Answer::Busy => {
            let what = "The books are being read, one report at a time.";
            let response =
                trouble(StatusCode::SERVICE_UNAVAILABLE, "being_made", what, "Ask again in three seconds.");
            with(response, RETRY_AFTER, RETRY_SECONDS)
        }
    }
}

/// How old what follows is.
fn age_line(age: Duration) -> String {
    let seconds = age.as_secs();
    let newer = if age < KEPT { "" } else { " A newer one is being made: load this page again." };
    let s = if seconds == 1 { "" } else { "s" };
    format!("<p class=\"quiet\" id=\"age\">Read from the books {seconds} second{s} ago.{newer}</p>")
}

fn sentence(error: &str) -> String {
    let mut text: String = error.chars().take(1).flat_map(char::to_uppercase).collect();
    text.extend(error.chars().skip(1));
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}

fn with(mut response: Response, name: HeaderName, value: &str) -> Response {
    let value = HeaderValue::try_from(value).expect("digits are a header value");
    response.headers_mut().insert(name, value);
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Always the same: a fleet, account 7, and books that cannot be read for account 8.
    pub struct Fixed;

    impl ReportSource for Fixed {
        fn make(&self, subject: ReportSubject) -> Result<MadeReport, String> {
            let (text, json, is_known) = match subject {
                ReportSubject::Fleet => ("<h1>fleet</h1>", "{\"version\": 2}", true),
                _ if subject == number(7) => ("<h1>seven</h1>", "{\"accounts\": [7]}", true),
                _ if subject == number(8) => return Err("the books are damaged".into()),
                _ => ("<h1>nobody</h1>", "{}", false),
            };
            Ok(MadeReport { before: "<body>".into(), after: text.into(), json: json.into(), is_known })
        }

        fn notice(&self, title: &str, text: &str) -> String {
            format!("<h1>{title}</h1>{text}")
        }

        fn policy(&self) -> String {
            "default-src 'none'; script-src 'sha256-x'".to_owned()
        }
    }

    /// Whose makings are let through one by one.
    struct Gated {
        /// What was begun.
        begun: mpsc::SyncSender<ReportSubject>,
        /// What comes of the next.
        results: Mutex<mpsc::Receiver<Result<MadeReport, String>>>,
    }

    impl ReportSource for Gated {
        fn make(&self, subject: ReportSubject) -> Result<MadeReport, String> {
            self.begun.send(subject).unwrap();
            self.results.lock().unwrap().recv().unwrap()
        }

        fn notice(&self, title: &str, text: &str) -> String {
            format!("{title}: {text}")
        }

        fn policy(&self) -> String {
            "default-src 'none'".to_owned()
        }
    }

    /// More than any test here lets be made.
    const FEW: usize = 8;

    type Results = mpsc::SyncSender<Result<MadeReport, String>>;

    fn desk() -> (Arc<ReportDesk>, mpsc::Receiver<ReportSubject>, Results) {
        let ((begun, told), (results, receiver)) = (mpsc::sync_channel(FEW), mpsc::sync_channel(FEW));
        (ReportDesk::new(Arc::new(Gated { begun, results: Mutex::new(receiver) })), told, results)
    }

    fn made(text: &'static str) -> MadeReport {
        MadeReport { before: text.into(), after: "".into(), json: Bytes::new(), is_known: true }
    }

    fn told(answer: &Answer) -> String {
        match answer {
            Answer::Is { made, age } => {
                format!("{} {}", String::from_utf8_lossy(&made.before), age.as_secs())
            }
            Answer::Failed(error) => error.clone(),
            Answer::Busy => "busy".into(),
        }
    }

    fn number(id: u64) -> ReportSubject {
        ReportSubject::Account(crate::test_snapshot::account(id))
    }

    /// What is said of it once it is made.
    async fn settled(desk: &Arc<ReportDesk>, subject: ReportSubject) -> String {
        let mut made = desk.made.subscribe();
        loop {
            match desk.look(subject) {
                Answer::Busy => made.changed().await.unwrap(),
                answer => return told(&answer),
            }
        }
    }

    #[tokio::test]
    async fn one_is_made_at_a_time_and_whoever_is_early_is_told_to_come_again() {
        let (desk, begun, results) = desk();
        let began = Instant::now();
        // The clock goes on meanwhile: no older than this test.
        let is_new = |said: String, text: &str| {
            let age = said.strip_prefix(text).and_then(|age| age.trim_start().parse::<u64>().ok());
            assert!(age.is_some_and(|age| age <= began.elapsed().as_secs()), "{said}");
        };
        assert_eq!(told(&desk.look(ReportSubject::Fleet)), "busy");
        assert_eq!(told(&desk.look(ReportSubject::Fleet)), "busy");
        assert_eq!(told(&desk.look(number(7))), "busy");
        results.send(Ok(made("fleet"))).unwrap();
        is_new(settled(&desk, ReportSubject::Fleet).await, "fleet");
        results.send(Ok(made("seven"))).unwrap();
        is_new(settled(&desk, number(7)).await, "seven");
        // Of three calls for the first one came one making, and the second began when it had ended.
        assert_eq!(begun.try_iter().collect::<Vec<_>>(), [ReportSubject::Fleet, number(7)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_says_its_age_and_is_made_again_after_a_minute() {
        let (desk, begun, results) = desk();
        results.send(Ok(made("first"))).unwrap();
        settled(&desk, ReportSubject::Fleet).await;
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        assert_eq!(told(&desk.look(ReportSubject::Fleet)), "first 59");
        assert_eq!(begun.try_iter().count(), 1);
        // Old, and given until the next is there.
        tokio::time::advance(Duration::from_secs(2)).await;
        let mut next = desk.made.subscribe();
        assert_eq!(told(&desk.look(ReportSubject::Fleet)), "first 61");
        results.send(Ok(made("second"))).unwrap();
        next.changed().await.unwrap();
        assert!(told(&desk.look(ReportSubject::Fleet)).starts_with("second "));
        // Nobody has looked since: what is too old is gone.
        tokio::time::advance(STALE).await;
        assert_eq!(told(&desk.look(ReportSubject::Fleet)), "busy");
        results.send(Ok(made("third"))).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn why_there_is_none_is_told_and_soon_tried_again() {
        let (desk, begun, results) = desk();
        results.send(Err("there are no books".into())).unwrap();
        assert_eq!(settled(&desk, ReportSubject::Fleet).await, "there are no books");
        assert_eq!(told(&desk.look(ReportSubject::Fleet)), "there are no books");
        assert_eq!(begun.try_iter().count(), 1);
        tokio::time::advance(KEPT_FAILURE).await;
        results.send(Ok(made("mended"))).unwrap();
        assert!(settled(&desk, ReportSubject::Fleet).await.starts_with("mended "));
    }

    #[test]
    fn pages_of_accounts_are_bounded_and_the_fleet_is_not_among_them() {
        let (mut shelf, at) = (Shelf::default(), Instant::now());
        shelf.keep(Kept { subject: ReportSubject::Fleet, at, made: Ok(made("fleet")) });
        for id in 1..=100 {
            shelf.keep(Kept { subject: number(id), at, made: Ok(made("account")) });
        }
        assert_eq!(shelf.kept.len(), MOST_ACCOUNTS + 1);
        assert_eq!((shelf.kept[0].subject, shelf.kept[1].subject), (ReportSubject::Fleet, number(69)));
    }

    #[test]
    fn an_age_is_a_sentence() {
        for (seconds, expect) in [
            (0, "Read from the books 0 seconds ago.</p>"),
            (1, "Read from the books 1 second ago.</p>"),
            (61, "61 seconds ago. A newer one is being made: load this page again.</p>"),
        ] {
            let line = age_line(Duration::from_secs(seconds));
            assert!(line.ends_with(expect), "{line}");
        }
        assert_eq!(sentence("there are none"), "There are none.");
    }
}
