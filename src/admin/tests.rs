//! The admin plane over real sockets.
#![allow(clippy::unwrap_used)]

mod bodies;
mod live;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use serde_json::{Value, json};

use super::*;
use crate::policy::certificates::{CertificateTable, ServerCertificate};
use crate::policy::facts::CertificateNames;
use crate::policy::ids::Generation;
use crate::policy::protection::levers::board::LeverBoard;
use crate::readiness::Reason;
use crate::reload::journal::Said;
use crate::reload::outcome::{
    Objection, ProblemView, Pushed, ReloadInbox, ReloadOutcome, ReloadReport, ReloadRequest, StaleGeneration,
    Trigger, handles,
};
use crate::status::desk::StatusDesk;
use crate::telemetry::fixture;

const TIMEOUT: Duration = Duration::from_secs(30);

struct Running {
    admin: Admin,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    reload: ReloadHandle,
    inbox: Option<ReloadInbox>,
    lineage: Arc<Lineage>,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn reported(outcome: ReloadOutcome) -> ReloadReport {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_168_800);
    ReloadReport { trigger: Trigger::Start, at, outcome, loaded_at: at }
}

fn start() -> Running {
    start_with(fixture::snapshot(1))
}

fn start_with(live: Arc<Snapshot>) -> Running {
    start_showing(live, false)
}

/// What an admin plane is given of a process that serves this and does nothing else.
pub(super) fn state(live: Arc<Snapshot>) -> AdminState {
    AdminState {
        live: Arc::new(move || Arc::clone(&live)),
        metrics: Arc::new(Metrics::new()),
        readiness: Arc::new(Readiness::default()),
        reload: handles(reported(ReloadOutcome::Applied { generation: Generation(1) })).0,
        upgrade: tokio::sync::mpsc::channel(1).0,
        levers: crate::levers::handle::handles(Arc::default()).0,
        lineage: Arc::new(Lineage::new(1, Vec::new())),
        learned: Arc::new(|| None),
        report: report::ReportDesk::new(Arc::new(report::tests::Fixed)),
        console: console::Console::default(),
        status: StatusDesk::new(String::new()),
        access: watch::channel(Arc::default()).1,
        attempts: crate::attempts::handle::handles().0,
    }
}

/// With reports on the loopback door, or without.
fn start_showing(live: Arc<Snapshot>, loopback_report: bool) -> Running {
    start_pulled(live, loopback_report, Arc::default())
}

/// With the levers of this board.
fn start_pulled(live: Arc<Snapshot>, loopback_report: bool, levers: Arc<LeverBoard>) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let (reload, inbox) = handles(reported(ReloadOutcome::Applied { generation: Generation(1) }));
    let readiness = Arc::new(Readiness::default());
    let lineage = Arc::new(Lineage::new(0x2a, Vec::new()));
    let state = AdminState {
        readiness: Arc::clone(&readiness),
        reload: reload.clone(),
        levers: crate::levers::handle::handles(levers).0,
        lineage: Arc::clone(&lineage),
        ..state(live)
    };
    let metrics = Arc::clone(&state.metrics);
    let settings = AdminSettings {
        loopback: Some(([127, 0, 0, 1], 0).into()),
        allowed_hosts: Vec::new(),
        socket: Some(folder.path().join("admin.sock")),
        loopback_report,
        ..AdminSettings::default()
    };
    let admin = Admin::start(&settings, state).unwrap();
    Running { admin, readiness, metrics, reload, inbox: Some(inbox), lineage, _folder: folder }
}

impl Running {
    fn tcp(&self, request: &str) -> Answer {
        let stream = TcpStream::connect(self.admin.loopback().unwrap()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        exchange(stream, request.as_bytes())
    }

    fn unix(&self, request: &str) -> Answer {
        let stream = UnixStream::connect(self.admin.socket().unwrap()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        exchange(stream, request.as_bytes())
    }

    fn get(&self, path: &str) -> Answer {
        self.tcp(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    fn post_reload(&self, headers: &str) -> Answer {
        self.unix(&format!("POST /reload HTTP/1.1\r\nHost: admin\r\n{headers}Content-Length: 0\r\n\r\n"))
    }
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Answer {
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer with a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// Plays the reload task: gives `answer` to every wish.
fn play(
    mut inbox: ReloadInbox,
    answer: impl Fn(&ReloadRequest) -> Result<ReloadOutcome, StaleGeneration> + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while let Some(request) = inbox.requests.blocking_recv() {
            let answer = answer(&request);
            if let Ok(outcome) = &answer {
                inbox.tell(reported(outcome.clone()));
            }
            let _ = request.reply.send(answer);
        }
    })
}

#[test]
fn every_page_is_on_both_doors() {
    let running = start();
    for path in ["/", "/healthz", "/readyz", "/metrics", "/config", "/cells"] {
        for answer in
            [running.get(path), running.unix(&format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n"))]
        {
            assert_eq!(answer.status, 200, "{path}");
            assert!(!answer.body.is_empty(), "{path}");
            for header in
                ["content-security-policy: default-src 'none'", "cache-control: no-store", "nosniff"]
            {
                assert!(answer.head.contains(header), "{path}: {header} in {}", answer.head);
            }
        }
    }
    assert_eq!(running.get("/nothing").json()["error"], "not_found");
    for path in ["/reload", "/upgrade"] {
        let answer = running.unix(&format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n"));
        assert_eq!((answer.status, &answer.json()["error"]), (405, &json!("method_not_allowed")), "{path}");
        assert!(answer.head.contains("allow: post"), "{path}: {}", answer.head);
    }
    let head = running.tcp("HEAD /config HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(running.get("/metrics").body.contains("cellgate_in_flight_limit{cell=\"mt\"} 20\n"));
}

#[test]
fn cells_and_config_say_what_is_in_force() {
    let running = start();
    assert_eq!(
        running.get("/cells").json(),
        json!({"generation": 1, "cells": [
            {"name": "us1", "shared": false, "domain": "us1.dbt.com", "protocol": "auto", "tls": false,
             "in_flight": 0, "max_in_flight": 10,
             "groups": [{"zone": "a", "priority": 0, "endpoints": ["us1.internal:443"]}]},
            {"name": "mt", "shared": true, "domain": "mt.dbt.com", "protocol": "auto", "tls": false,
             "in_flight": 0, "max_in_flight": 20,
             "groups": [{"zone": "a", "priority": 0, "endpoints": ["127.0.0.1:9001"]}]},
        ], "verdicts": []})
    );
    let config = running.get("/config");
    assert!(config.head.contains("etag: \"1\""), "{}", config.head);
    assert_eq!(
        config.json(),
        json!({"generation": 1, "hash": "0123456789abcdef", "loaded_at": "2026-11-20T10:00:00Z",
               "accounts": 2, "cells": 2,
               "last_reload": {"at": "2026-11-20T10:00:00Z", "trigger": "start", "outcome": "applied",
                               "generation": 1}})
    );
}

#[test]
fn of_its_moves_a_process_that_gives_way_says_nothing() {
    let running = start();
    let page = json!({"process": "000000000000002a", "predecessors": [], "generation": 1,
                      "hash": "0123456789abcdef", "moves": []});
    assert_eq!(running.get("/moves").json(), page);
    let giving_way = running.lineage.give_way();
    let answer = running.get("/moves");
    assert_eq!((answer.status, &answer.json()["error"]), (503, &json!("gives_way")));
    assert_eq!(running.get("/config").status, 200, "all else it says as ever");
    drop(giving_way);
    assert_eq!(running.get("/moves").json(), page, "the upgrade has come to nothing");
}

#[test]
fn strangers_names_and_changing_methods_get_nothing_on_loopback() {
    let running = start();
    let check = |request: &str, status: u16, error: &str| {
        let answer = running.tcp(request);
        assert_eq!(answer.status, status, "{request:?}: {}", answer.body);
        assert_eq!(answer.json()["error"], error, "{request:?}");
        assert!(answer.json()["next"].as_str().is_some_and(|next| !next.is_empty()), "{request:?}");
    };
    for host in [
        "Host: evil.example",
        "Host: evil.example:80",
        "Host: 127.0.0.1.evil.example",
        "Host: localhost.evil.example",
        "Host: 10.0.0.1",
        "Host: ",
        "Host: localhost\r\nHost: evil.example",
        "X-Forwarded-Host: localhost",
    ] {
        check(&format!("GET /config HTTP/1.1\r\n{host}\r\n\r\n"), 403, "host_not_allowed");
    }
    check("GET http://evil.example/config HTTP/1.1\r\nHost: localhost\r\n\r\n", 403, "host_not_allowed");
    check(
        "POST /reload HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n",
        403,
        "host_not_allowed",
    );
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        check(
            &format!("{method} /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"),
            404,
            "read_only",
        );
        check(
            &format!("{method} /config HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"),
            404,
            "read_only",
        );
    }
    check("GET /reload HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "not_found");
    check("GET /accounts/1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "not_found");
    check("GET /credentials HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "not_found");
    let page = running.metrics.render(&fixture::snapshot(1), SystemTime::now());
    for (door, reason, count) in [
        ("loopback", "host_not_allowed", 10),
        ("loopback", "read_only", 12),
        // Of pages that nobody has there is none: `GET /reload` is such a one.
        ("loopback", "not_found", 2),
        ("socket", "host_not_allowed", 0),
    ] {
        let series = format!("cellgate_admin_refused_total{{door=\"{door}\",reason=\"{reason}\"}} {count}\n");
        assert!(page.contains(&series), "{series} in {page}");
    }
    let queued = running.inbox.unwrap().requests.try_recv();
    assert!(queued.is_err(), "nothing has reached the reload task");
}

#[test]
fn readiness_gives_every_reason_and_only_blocking_ones_fail() {
    let expired = certificate("ab123.us1.dbt.com", 1_000_000_000);
    let valid = certificate("cloud.getdbt.com", i64::MAX);
    let short = certificate(
        "soon.us1.dbt.com",
        crate::telemetry::wall_time::unix_seconds(SystemTime::now()) + 20 * 86_400,
    );
    let mut live = Arc::into_inner(fixture::snapshot(1)).unwrap();
    live.certificates = CertificateTable::new([expired, valid, short]);
    let running = start_with(Arc::new(live));
    const SOON: (&str, bool) = ("certificate_expires_soon", false);
    let check = |status: u16, expect: &[(&str, bool)]| {
        let answer = running.get("/readyz");
        assert_eq!(answer.status, status, "{}", answer.body);
        let answer = answer.json();
        assert_eq!(answer["ready"], status == 200);
        let reasons = answer["reasons"].as_array().unwrap();
        let seen: Vec<_> =
            reasons.iter().map(|r| (r["reason"].as_str().unwrap(), r["blocks"].as_bool().unwrap())).collect();
        assert_eq!(seen, expect, "{answer}");
        assert!(reasons.iter().all(|reason| reason["detail"].as_str().is_some_and(|text| text.len() > 20)));
    };
    check(200, &[("certificate_expired", false), SOON]);
    let starting = running.readiness.block(Reason::Starting);
    check(503, &[("starting", true), ("certificate_expired", false), SOON]);
    drop(starting);
    let written = SystemTime::now() - Duration::from_secs(7200);
    let note = running.readiness.note(Reason::LastGood {
        written,
        max_age: None,
        cause: "cells.yaml line 3".into(),
    });
    check(200, &[("last_good", false), ("certificate_expired", false), SOON]);
    let shown = running.get("/readyz").json();
    let age = shown["reasons"][0]["age_seconds"].as_u64().unwrap();
    assert!((7200..7300).contains(&age), "{shown}");
    assert!(shown["reasons"][0]["detail"].as_str().unwrap().contains("cells.yaml line 3"), "{shown}");
    let draining = running.readiness.block(Reason::Draining);
    check(503, &[("last_good", false), ("draining", true), ("certificate_expired", false), SOON]);
    drop((note, draining));
    let hour = Duration::from_secs(3600);
    let limited = |max_age: Duration| {
        let cause = "cells.yaml line 3".into();
        running.readiness.note(Reason::LastGood { written, max_age: Some(max_age), cause })
    };
    let young = limited(3 * hour);
    check(200, &[("last_good", false), ("certificate_expired", false), SOON]);
    drop(young);
    let old = limited(hour);
    check(503, &[("last_good", false), ("last_good_too_old", true), ("certificate_expired", false), SOON]);
    let shown = running.get("/readyz").json();
    let detail = shown["reasons"][1]["detail"].as_str().unwrap();
    for said in
        [" 2h", "allows 1h", "max_last_good_age in boot.yaml", "Correct the files and reload", "restart"]
    {
        assert!(detail.contains(said), "{said} in {detail}");
    }
    drop(old);
    check(200, &[("certificate_expired", false), SOON]);
}

#[test]
fn a_reload_answers_with_its_outcome() {
    let problem = ProblemView {
        file: Some("cells.yaml".into()),
        line: Some(3),
        path: Some("cells.us1".into()),
        what: "unknown key 'endpoint'".into(),
        expected: Some("endpoints".into()),
        ..ProblemView::default()
    };
    let pushed =
        || Arc::new(Pushed { hash: "cafe".into(), plan: Some("feed".into()), said: Said::default() });
    let objection = Objection { guard: "shrink".into(), what: "half of the accounts go".into(), hint: None };
    let shown_problem = json!({"file": "cells.yaml", "line": 3, "path": "cells.us1",
                               "what": "unknown key 'endpoint'", "expected": "endpoints"});
    for (outcome, status, expect) in [
        (ReloadOutcome::Unchanged, 200, json!({"outcome": "unchanged"})),
        (
            ReloadOutcome::Applied { generation: Generation(2) },
            200,
            json!({"outcome": "applied", "generation": 2}),
        ),
        (
            ReloadOutcome::Staged { generation: Generation(3), pushed: pushed() },
            202,
            json!({"outcome": "staged", "generation": 3, "hash": "cafe", "plan": "feed"}),
        ),
        (
            ReloadOutcome::RolledBack { hash: "feed".into(), reasons: vec!["cell us1: dead".into()] },
            409,
            json!({"outcome": "rolled_back", "hash": "feed", "reasons": ["cell us1: dead"],
                   "hint": "correct the files, or try them again on purpose: POST /reload with {\"again\": true}"}),
        ),
        (
            ReloadOutcome::Rejected(vec![problem.clone(), problem]),
            422,
            json!({"outcome": "rejected", "problems": [shown_problem.clone(), shown_problem]}),
        ),
        (
            ReloadOutcome::Refused(vec![objection], Some(pushed())),
            409,
            json!({"outcome": "refused", "hash": "cafe", "plan": "feed",
                   "objections": [{"guard": "shrink", "what": "half of the accounts go"}]}),
        ),
        (
            ReloadOutcome::NeedsRestart(vec!["listeners[0].address".into()]),
            409,
            json!({"outcome": "needs_restart", "fields": ["listeners[0].address"]}),
        ),
    ] {
        let mut running = start();
        let task = play(running.inbox.take().unwrap(), move |_| Ok(outcome.clone()));
        let answer = running.post_reload("");
        assert_eq!((answer.status, answer.json()), (status, expect.clone()));
        // The same is seen later on /config.
        let mut last = running.get("/config").json()["last_reload"].take();
        for extra in ["at", "trigger"] {
            assert!(last.as_object_mut().unwrap().remove(extra).is_some());
        }
        assert_eq!(last, expect);
        drop(running);
        task.join().unwrap();
    }
}

#[test]
fn a_caller_names_the_generation_it_means_to_replace() {
    let mut running = start();
    let task = play(running.inbox.take().unwrap(), |request| match request.expected {
        None | Some(Generation(7)) => Ok(ReloadOutcome::Unchanged),
        Some(_) => Err(StaleGeneration { current: Generation(7) }),
    });
    for (header, status, error) in [
        ("", 200, None),
        ("If-Match: 7\r\n", 200, None),
        ("If-Match: \"7\"\r\n", 200, None),
        ("If-Match: *\r\n", 200, None),
        ("If-Match: \"6\"\r\n", 412, Some("stale_generation")),
        ("If-Match: seven\r\n", 400, Some("bad_if_match")),
        ("If-Match: +7\r\n", 400, Some("bad_if_match")),
        ("If-Match: \r\n", 400, Some("bad_if_match")),
        ("If-Match: 99999999999999999999\r\n", 400, Some("bad_if_match")),
        ("If-Match: 7\r\nIf-Match: 7\r\n", 400, Some("bad_if_match")),
    ] {
        let answer = running.post_reload(header);
        assert_eq!(answer.status, status, "{header:?}");
        assert_eq!(answer.json()["error"].as_str(), error, "{header:?}");
        assert_eq!(answer.head.contains("etag: \"7\""), status == 412, "{header:?}");
    }
    drop(running);
    task.join().unwrap();
}

#[test]
fn of_eight_callers_who_replace_the_same_generation_one_succeeds() {
    let mut running = start();
    let current = AtomicU64::new(1);
    let task = play(running.inbox.take().unwrap(), move |request| {
        let now = current.load(Ordering::Relaxed);
        match request.expected {
            Some(expected) if expected.0 == now => {
                current.store(now + 1, Ordering::Relaxed);
                Ok(ReloadOutcome::Applied { generation: Generation(now + 1) })
            }
            _ => Err(StaleGeneration { current: Generation(now) }),
        }
    });
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let callers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| running.post_reload("If-Match: 1\r\n").status)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 7, "{statuses:?}");
    drop(running);
    task.join().unwrap();
}

#[test]
fn a_full_queue_and_an_ending_process_are_told_apart() {
    let mut running = start();
    let mut answers = Vec::new();
    while let (reply, answer) = tokio::sync::oneshot::channel()
        && running
            .reload
            .requests
            .try_send(ReloadRequest {
                expected: None,
                trigger: Trigger::Admin,
                caller: "unix:root".into(),
                reply,
            })
            .is_ok()
    {
        answers.push(answer);
    }
    let busy = running.post_reload("");
    assert_eq!((busy.status, busy.json()["error"].as_str()), (503, Some("busy")));
    assert!(busy.head.contains("retry-after: 1"), "{}", busy.head);
    running.inbox = None;
    let ending = running.post_reload("");
    assert_eq!((ending.status, ending.json()["error"].as_str()), (503, Some("ending")));
}

#[test]
fn a_body_beyond_the_limit_is_not_read_to_its_end() {
    let running = start();
    let size = 1024 * 1024 + 1;
    let head = format!("POST /reload HTTP/1.1\r\nHost: admin\r\nContent-Length: {size}\r\n\r\n");
    let mut request = head.into_bytes();
    request.resize(request.len() + size, b'x');
    let stream = UnixStream::connect(running.admin.socket().unwrap()).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let answer = exchange(stream, &request);
    assert_eq!((answer.status, answer.json()["error"].as_str()), (413, Some("body_too_large")));
    assert!(running.inbox.unwrap().requests.try_recv().is_err());
}

#[test]
fn without_a_key_there_is_no_page_of_learned_credentials() {
    let answer = start().unix("GET /credentials HTTP/1.1\r\nHost: admin\r\n\r\n");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (404, Some("nothing_learned")));
}

#[test]
fn accounts_are_shown_on_the_socket() {
    let running = start();
    let get = |id: &str| running.unix(&format!("GET /accounts/{id} HTTP/1.1\r\nHost: admin\r\n\r\n"));
    assert_eq!(
        get("2").json(),
        json!({"generation": 1, "account": 2, "prefixes": ["cd456"], "cell": "mt",
               "redirect_browsers": false})
    );
    for (id, status, error) in [("3", 404, "unmapped_account"), ("03", 400, "bad_account")] {
        let answer = get(id);
        assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(error)));
    }
}

#[test]
fn silent_callers_hold_their_places_for_five_seconds_and_only_those_of_their_door() {
    let running = start();
    let address = running.admin.loopback().unwrap();
    let begun = Instant::now();
    let silent: Vec<_> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
    let connected = Instant::now();
    assert_eq!(running.unix("GET /healthz HTTP/1.1\r\nHost: admin\r\n\r\n").status, 200);
    assert!(connected.elapsed() < Duration::from_secs(4), "the other door is not affected");
    assert_eq!(running.get("/healthz").status, 200, "a place has come free");
    assert!(begun.elapsed() > Duration::from_secs(4), "until then there was none");
    drop(silent);
}

#[test]
fn a_door_that_cannot_be_opened_is_an_error_that_says_what_to_do() {
    let running = start();
    let check = |settings: AdminSettings, expect: &str| {
        let error = Admin::start(&settings, state(fixture::snapshot(1))).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    let loopback = |address| AdminSettings { loopback: Some(address), ..AdminSettings::default() };
    check(loopback(([0, 0, 0, 0], 0).into()), "is not a loopback address: use 127.0.0.1");
    check(loopback(running.admin.loopback().unwrap()), "choose another port");
    let taken = AdminSettings { socket: running.admin.socket().map(Into::into), ..AdminSettings::default() };
    check(taken, "another process answers on admin socket");
}

#[test]
fn after_the_end_the_doors_are_closed_and_the_socket_file_is_gone() {
    let running = start();
    let (address, socket) = (running.admin.loopback().unwrap(), running.admin.socket().unwrap().to_owned());
    running.admin.stop();
    // A child that another test starts at this moment has the door, too, until it is another program.
    fixture::wait_until(|| TcpStream::connect(address).is_err());
    assert!(!socket.exists());
}

#[derive(Debug)]
struct NoKey;

impl SigningKey for NoKey {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        None
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

fn certificate(name: &str, not_after: i64) -> ServerCertificate {
    ServerCertificate {
        key: Arc::new(CertifiedKey::new(Vec::new(), Arc::new(NoKey))),
        names: CertificateNames::new([name]),
        not_after,
        staple: None,
    }
}

/// Asks until it is made: on a busy machine a caller may be told to come again.
fn made(ask: impl Fn() -> Answer) -> Answer {
    let begun = Instant::now();
    loop {
        let answer = ask();
        if answer.status != 503 || begun.elapsed() > TIMEOUT {
            return answer;
        }
    }
}

/// How many seconds old a report is by its own word, which are no more than have passed since nobody had asked.
fn age(answer: &Answer, begun: Instant) -> u64 {
    let age = answer.head.lines().find_map(|line| line.strip_prefix("age: "));
    let age = age.and_then(|age| age.parse::<u64>().ok()).expect("a report has an age");
    assert!(age <= begun.elapsed().as_secs(), "{}", answer.head);
    age
}

#[test]
fn reports_are_on_the_socket_and_on_loopback_only_where_that_was_asked_for() {
    let policy = "content-security-policy: default-src 'none'; script-src 'sha256-x'\r\n";
    let pages = [
        (
            "/report",
            200,
            "<body><p class=\"quiet\" id=\"age\">Read from the books {age} ago.</p><h1>fleet</h1>",
        ),
        ("/report/accounts/7", 200, "<h1>seven</h1>"),
        ("/report/accounts/9", 404, "<h1>nobody</h1>"),
        ("/report/accounts/8", 500, "<h1>There is no report</h1>The books are damaged."),
        ("/report/accounts/07", 400, "<h1>This is no account id</h1>The account id "),
    ];
    let (shown, hidden) = (start_showing(fixture::snapshot(1), true), start());
    let seconds = |many: u64| if many == 1 { "1 second".to_owned() } else { format!("{many} seconds") };
    let unix =
        |running: &Running, path: &str| running.unix(&format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n"));
    let begun = Instant::now();
    for (path, status, body) in pages {
        for answer in [made(|| shown.get(path)), made(|| unix(&shown, path)), made(|| unix(&hidden, path))] {
            assert_eq!(answer.status, status, "{path}: {}", answer.body);
            let body = match path {
                "/report" => body.replace("{age}", &seconds(age(&answer, begun))),
                _ => body.to_owned(),
            };
            assert!(answer.body.contains(&body), "{path}: {}", answer.body);
            assert!(
                answer.head.contains("content-type: text/html") && answer.head.contains(policy),
                "{}",
                answer.head
            );
            assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
        }
    }
    for answer in [made(|| shown.get("/report.json")), made(|| unix(&hidden, "/report.json"))] {
        assert_eq!((answer.status, answer.json()), (200, json!({"version": 2})));
        age(&answer, begun);
    }
    for path in ["/report", "/report.json", "/report/accounts/7"] {
        let answer = hidden.get(path);
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (403, &json!("report_on_socket_only")),
            "{path}"
        );
        assert!(
            !answer.body.contains("seven") && answer.body.contains("admin.loopback_report"),
            "{}",
            answer.body
        );
    }
    assert!(
        shown.get("/").body.contains("href=\"/report\"")
            && !hidden.get("/").body.contains("href=\"/report\"")
    );
}
