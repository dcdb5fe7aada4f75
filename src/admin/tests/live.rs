//! Everything that is live, in one answer: what it says, and that many listeners cost what one does.

use std::io::BufRead;
use std::io::BufReader;

use super::*;
use crate::policy::protection::judge::{Report, VerdictReport};
use crate::policy::protection::levers::{Lever, Levers};
use crate::policy::protection::verdict::{Evidence, Verdict};
use crate::telemetry::Telemetry;
use crate::telemetry::wall_time::unix_seconds;

/// As many as the desk has places for at a door.
const PLACES: usize = 32;

/// A stream of events on the socket, read as far as its head.
fn listen(running: &Running) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(running.admin.socket().unwrap()).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    listening(stream)
}

/// The same on the loopback port.
fn listen_on_loopback(running: &Running) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(running.admin.loopback().unwrap()).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    listening(stream)
}

fn listening<S: Read + Write>(mut stream: S) -> BufReader<S> {
    stream.write_all(b"GET /live/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "a head in {head}");
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    reader
}

/// The next document and its number.
fn next(reader: &mut BufReader<UnixStream>) -> (u64, String) {
    let mut number = None;
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the stream goes on");
        number = line.trim().strip_prefix("id: ").map_or(number, |id| Some(id.parse().unwrap()));
        if let Some(data) = line.strip_prefix("data: ") {
            return (number.unwrap(), data.trim().to_owned());
        }
    }
}

#[test]
fn everybody_who_listens_gets_the_same_document_which_was_made_once() {
    let running = start();
    let mut readers: Vec<_> = (0..PLACES).map(|_| listen(&running)).collect();
    let mut seen: std::collections::BTreeMap<u64, std::collections::BTreeSet<String>> = Default::default();
    for reader in &mut readers {
        loop {
            let (number, document) = next(reader);
            assert_eq!(serde_json::from_str::<Value>(&document).unwrap()["number"], number);
            seen.entry(number).or_default().insert(document);
            if number >= 3 {
                break;
            }
        }
    }
    assert!(seen.values().all(|documents| documents.len() == 1), "{seen:?}");
    assert!(seen.contains_key(&3), "no number was made for one listener and not for the others");
}

#[test]
fn beyond_the_bound_nobody_listens_and_a_place_that_is_left_is_taken() {
    let running = start();
    let mut readers: Vec<_> = (0..PLACES).map(|_| listen_on_loopback(&running)).collect();
    let one_more = || running.get("/live/events");
    for _ in 0..100 - PLACES {
        let answer = one_more();
        assert_eq!((answer.status, &answer.json()["error"]), (503, &json!("too_many_listeners")));
        assert!(answer.head.contains("retry-after: 5"), "{}", answer.head);
    }
    assert_eq!(running.get("/live").status, 200, "who asks once is answered");
    next(&mut listen(&running));
    assert_eq!(running.get("/healthz").status, 200);
    readers.pop();
    fixture::wait_until(|| {
        let mut stream = TcpStream::connect(running.admin.loopback().unwrap()).unwrap();
        stream.write_all(b"GET /live/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        status == *b"HTTP/1.1 200"
    });
}

#[test]
fn streams_end_with_the_admin_plane() {
    let running = start();
    let mut reader = listen(&running);
    next(&mut reader);
    running.admin.stop();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    // The last chunk: it was ended, and not cut.
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
}

#[test]
fn the_document_names_no_account_where_a_lever_is_about_one() {
    let board = Arc::<LeverBoard>::default();
    let mut levers = Levers::default();
    let now = unix_seconds(SystemTime::now());
    for words in ["shed 50% cell us1", "hold account 4711", "shed 10% account 4711"] {
        let lever = Lever::parse(words).unwrap();
        let _ = levers.pull(lever, ("ann", "us1 burns"), None, now).unwrap();
    }
    board.put_up(levers);
    let running = start_pulled(fixture::snapshot(7), false, Arc::clone(&board));
    let _note = running.readiness.note(Reason::Levers { told: "lever 2 (hold account 4711)".into() });
    let _rejected = running.readiness.note(Reason::Rejected {
        at: SystemTime::UNIX_EPOCH,
        cause: "accounts.csv:3: account 4711 stands twice [E0300]".into(),
        place: "accounts.csv:3 [E0300]".into(),
    });
    let answer = running.get("/live");
    assert!(!answer.body.contains("4711"), "{}", answer.body);
    let live = answer.json();
    let words: Vec<_> =
        live["levers"].as_array().unwrap().iter().map(|lever| lever["lever"].as_str().unwrap()).collect();
    assert_eq!(words, ["shed 50% cell us1", "hold account (see /levers)", "shed 10% account (see /levers)"]);
    let lever = &live["levers"][0];
    assert_eq!((&lever["by"], &lever["reason"]), (&json!("ann"), &json!("us1 burns")));
    assert!((1_700..=1_800).contains(&lever["seconds_left"].as_u64().unwrap()), "{lever}");
    assert_eq!(live["reasons"][0]["detail"], "Levers are pulled; they are listed under levers.");
    let rejected = |cause: &str| {
        format!(
            "The reload at 1970-01-01T00:00:00Z was rejected: {cause}. What served before serves. `cellgate check` lists every \
             problem: correct them and reload."
        )
    };
    assert_eq!(live["reasons"][1]["detail"], rejected("accounts.csv:3 [E0300]"));
    let told = &running.get("/readyz").json()["reasons"][1];
    assert_eq!((&told["reason"], &told["blocks"]), (&json!("reload_rejected"), &json!(false)));
    assert_eq!(told["detail"], rejected("accounts.csv:3: account 4711 stands twice [E0300]"));
}

#[test]
fn the_document_has_everything_as_of_one_moment() {
    let running = start_with(fixture::snapshot(7));
    running.inbox.as_ref().unwrap().tell(reported(ReloadOutcome::Rejected(vec![ProblemView::default(); 2])));
    let telemetry = Telemetry::start(Arc::clone(&running.metrics), Vec::new()).unwrap();
    telemetry.record(fixture::legacy_event(&fixture::snapshot(7)));
    fixture::wait_until(|| !running.metrics.pulse.tiles().is_empty());
    let answer = running.get("/live");
    assert!(answer.head.contains("application/json"), "{}", answer.head);
    let live = answer.json();
    assert_eq!(
        (&live["version"], &live["number"], &live["generation"], &live["accounts"], &live["ready"]),
        (&json!(1), &json!(1), &json!(7), &json!(2), &json!(true))
    );
    let cell = &live["cells"][0];
    assert_eq!(
        (&cell["name"], &cell["traffic"]["last_10s"]["ended"]),
        (&json!("us1"), &json!({"served": 1}))
    );
    assert_eq!(cell["traffic"]["surfaces"][0]["surface"], "app");
    assert_eq!((&live["cells"][1]["traffic"], &live["no_cell"]), (&Value::Null, &Value::Null));
    assert_eq!(
        live["reloads"],
        json!([
            {"at": "2026-11-20T10:00:00Z", "trigger": "start", "outcome": "rejected", "problems": 2, "guards": []},
            {"at": "2026-11-20T10:00:00Z", "trigger": "start", "outcome": "applied", "generation": 1, "problems": 0,
             "guards": []},
        ])
    );
}

/// Every key of a value.
fn keys(value: &Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            found.insert(key.clone());
            keys(value, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[test]
fn the_guide_has_every_field() {
    let running = start();
    let telemetry = Telemetry::start(Arc::clone(&running.metrics), Vec::new()).unwrap();
    telemetry.record(fixture::legacy_event(&fixture::snapshot(1)));
    fixture::wait_until(|| !running.metrics.pulse.tiles().is_empty());
    let verdict = VerdictReport { present: Some(Evidence::default()), ..VerdictReport::fresh(Verdict::Path) };
    running.metrics.standing.report(Report { verdicts: vec![verdict], ..Report::default() });
    let mut found = std::collections::BTreeSet::new();
    keys(&running.get("/live").json(), &mut found);
    assert!(found.len() > 40, "{found:?}");
    let guide = include_str!("../../../docs/console.md");
    let missing: Vec<_> = found.iter().filter(|key| !guide.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "docs/console.md says nothing of {missing:?}");
}
