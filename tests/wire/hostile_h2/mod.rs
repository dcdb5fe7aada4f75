//! A hostile cell over HTTP/2: frames that lie about lengths, streams, windows and ends. The client that asked may get
//! an error; whoever has a stream beside it gets its own answer where the connection can go on, or an error; the next
//! client of the same cell gets its own answer, and nothing of another's.

mod cases;
mod cell;
mod clients;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use loadtest::client::Http;
use serde_json::Value;

use crate::edge::{Edge, account};
use cases::{Case, Connection, Expect};
use cell::Told;
use clients::{Asker, Heard, Request};

/// As many as the README says.
const CASES: usize = 266;

/// What nobody must ever see.
const POISON: &str = "POISON";

/// Cases at once: they wait more than they work.
const LANES: usize = 8;

/// Long enough that an honest answer is never late; some cases wait for it.
const KEYS: &str = "protocol: http2\n    timeouts: { connect: 5s, response_head: 5s, idle: 5s }";

/// Whatever is to happen has happened by then.
const SOON: Duration = Duration::from_secs(40);

/// What became of one case.
#[derive(Default)]
struct Played {
    faults: Vec<String>,
    /// What was heard, by request.
    heard: Vec<(String, Heard)>,
}

#[test]
fn over_http1_the_next_client_of_a_hostile_http2_cell_sees_nothing_of_it() {
    play_all(Http::H1);
}

#[test]
fn over_http2_the_next_client_of_a_hostile_http2_cell_sees_nothing_of_it() {
    play_all(Http::H2);
}

fn play_all(http: Http) {
    let _ = cellgate::listen::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cases: Vec<Arc<Case>> = cases::all().into_iter().map(Arc::new).collect();
    let cells = runtime.block_on(async {
        let mut cells = Vec::new();
        for case in &cases {
            cells.push(cell::start(Arc::clone(case)).await);
        }
        cells
    });
    let named: Vec<_> =
        cells.iter().enumerate().map(|(number, (address, _))| (name(number), *address)).collect();
    let edge = Edge::before(&named, KEYS);
    let address = edge.addr(if http == Http::H1 { "http" } else { "h2c" });
    let played: Vec<Played> = runtime.block_on(async {
        let numbered = cases.iter().zip(&cells).enumerate();
        let plays = numbered.map(|(number, (case, (_, told)))| async move {
            play(number, case, told, Asker::new(http, address).await).await
        });
        stream::iter(plays).buffered(LANES).collect().await
    });
    let log = edge.end();
    let mut faults: Vec<String> = Vec::new();
    for (number, (case, played)) in cases.iter().zip(played).enumerate() {
        let unaccounted = played.heard.iter().filter_map(|(id, heard)| accounted(&log, number, id, heard));
        let found = played.faults.iter().cloned().chain(unaccounted);
        faults.extend(found.map(|fault| format!("{number} {}: {fault}", case.name)));
    }
    println!("{} cases, {} faults", cases.len(), faults.len());
    assert!(faults.is_empty(), "{}:\n{}", faults.len(), faults.join("\n"));
    assert_eq!(cases.len(), CASES);
}

fn name(number: usize) -> String {
    format!("cell-{number}")
}

/// One case: a neighbour waits, the case is played, and others follow.
async fn play(number: usize, case: &Case, told: &Told, asker: Asker) -> Played {
    let mut played = Played::default();
    let ask = async |method: &'static str, word: &str, part: &str, rest: &'static str| {
        let id = format!("case-{number}-{part}");
        let body = if method == "HEAD" { String::new() } else { format!("{word} {id}") };
        let request = Request { method, account: account(number), id: id.clone(), body, rest };
        (id, asker.ask(&request, told.subscribe()).await)
    };
    let neighbour = async {
        if case.connection == Connection::Useless {
            return None;
        }
        Some(ask("POST", "wait", "neighbour", "").await)
    };
    let evil = async {
        if case.connection != Connection::Useless {
            until(told, "a neighbour", |progress| progress.waiting > 0).await?;
        }
        Ok(ask(case.method, "case", "evil", case.rest).await)
    };
    let (neighbour, evil) = tokio::join!(neighbour, evil);
    match evil {
        Ok((id, heard)) => {
            played.faults.extend(wrong(case, &id, &heard));
            played.heard.push((id, heard));
        }
        Err(fault) => played.faults.push(fault),
    }
    if let Some((id, heard)) = neighbour {
        let may_end = matches!(case.connection, Connection::Ends | Connection::LivesOrEnds);
        let fits = heard.is(&format!("[{id}]")) || may_end && is_error(&heard);
        played.faults.extend((!fits).then(|| format!("the neighbour heard {heard:?}")));
        played.heard.push((id, heard));
    }
    let settled = match case.connection {
        Connection::Ends => until(told, "the end of the connection", |progress| progress.ended > 0).await,
        Connection::LivesOrEnds => until(told, "the play", |progress| progress.played > 0).await,
        Connection::Lives | Connection::Full | Connection::Useless => Ok(()),
    };
    played.faults.extend(settled.err());
    let mut others = vec![ask("POST", "probe", "a", "").await];
    let more = tokio::join!(
        ask("POST", "probe", "b", ""),
        ask("POST", "probe", "c", ""),
        ask("POST", "probe", "d", "")
    );
    others.extend([more.0, more.1, more.2]);
    for (id, heard) in others {
        let fits = match case.connection {
            Connection::Useless => wrong(case, &id, &heard).is_none(),
            Connection::Lives | Connection::Ends | Connection::Full | Connection::LivesOrEnds => {
                heard.is(&format!("[{id}]"))
            }
        };
        played.faults.extend((!fits).then(|| format!("{id} heard {heard:?}")));
        played.heard.push((id, heard));
    }
    played.faults.extend(counts(case, told, number));
    played
}

/// Waits for something to have happened at the cell.
async fn until(told: &Told, what: &str, happened: impl FnMut(&cell::Progress) -> bool) -> Result<(), String> {
    let mut told = told.subscribe();
    let waited = tokio::time::timeout(SOON, told.wait_for(happened)).await;
    waited.map(drop).map_err(|_| format!("waited for {what}"))
}

/// How often the cell was connected to, and how often it saw each request.
fn counts(case: &Case, told: &Told, number: usize) -> Vec<String> {
    let progress = told.borrow();
    let mut faults = progress.faults.clone();
    let connections = match case.connection {
        Connection::Lives => 1..=1,
        Connection::Ends | Connection::Full => 2..=2,
        Connection::LivesOrEnds => 1..=2,
        Connection::Useless => return faults,
    };
    if !connections.contains(&progress.connections) {
        faults.push(format!("{} connections", progress.connections));
    }
    let evil = progress.seen.iter().filter(|(body, _)| body.starts_with("case")).map(|(_, times)| *times);
    let expected = if case.expect == Expect::Again || case.again { 2 } else { 1 };
    if !evil.eq([expected]) {
        faults.push(format!("not seen {expected} times: {:?}", progress.seen));
    }
    for part in ["a", "b", "c", "d"] {
        if progress.seen.get(&format!("probe case-{number}-{part}")) != Some(&1) {
            faults.push(format!("{part} was not seen once: {:?}", progress.seen));
        }
    }
    faults
}

/// Whether a client sees that something is wrong, and nothing else.
fn is_error(heard: &Heard) -> bool {
    let refused = heard.is_ours() && heard.whole && heard.status == 502;
    let broken = heard.status == 200 && !heard.is_ours() && !heard.whole && heard.body.is_empty();
    refused || broken || is_reset(heard)
}

/// Whether the stream was reset before its head had gone out.
fn is_reset(heard: &Heard) -> bool {
    heard.reset && heard.status == 0
}

/// What is wrong with what the client of the case heard.
fn wrong(case: &Case, id: &str, heard: &Heard) -> Option<String> {
    let ours = |status| heard.is_ours() && heard.whole && heard.status == status;
    let body = String::from_utf8_lossy(&heard.body);
    let begun = is_reset(heard)
        || heard.status == 200 && !heard.is_ours() && !heard.whole && "hello".starts_with(&*body);
    let bodiless = !heard.is_ours() && body.is_empty();
    let fits = match case.expect {
        Expect::Refused => ours(502),
        Expect::TimedOut => ours(504),
        Expect::Answered => heard.is("hello"),
        Expect::Bodiless => bodiless && heard.whole && matches!(heard.status, 200 | 204 | 304),
        Expect::BrokenOff => begun || ours(502),
        Expect::Again => heard.is(&format!("[{id}]")),
        Expect::Either => {
            let no_body = bodiless && (case.method == "HEAD" || matches!(heard.status, 204 | 304));
            heard.is("hello") || begun || no_body || ours(502)
        }
    };
    let leaked = heard.fields.iter().chain(&heard.trailers).find(|(name, value)| is_leak(heard, name, value));
    let misplaced = heard.trailers.iter().find(|(name, _)| NO_TRAILERS.contains(&&**name));
    let lost =
        case.name.strip_prefix("their ").filter(|kept| !kept.starts_with("deprecation")).is_some_and(
            |kept| !heard.fields.iter().any(|(name, value)| *kept == format!("{name}: {value}")),
        );
    let poisoned = body.contains(POISON) || heard.extra.is_some();
    let bad = !fits || leaked.is_some() || misplaced.is_some() || lost || poisoned;
    let expect = case.expect;
    bad.then(|| format!("expected {expect:?}, leaked {leaked:?}, misplaced {misplaced:?}, heard {heard:?}"))
}

/// Fields that say where a message ends, or something to a browser or a proxy: not after the body.
const NO_TRAILERS: [&str; 4] = ["content-length", "set-cookie", "trailer", "proxy-status"];

/// Whether a client must not be told this by a cell.
fn is_leak(heard: &Heard, name: &str, value: &str) -> bool {
    let of_one_hop = ["keep-alive", "upgrade", "te", "trailer", "proxy-authenticate", "proxy-connection"];
    let spoofed = name.replace('_', "-").starts_with("x-cellgate-") || name == "proxy-status";
    let poison = name == "x-poison" || value.contains("evil=1");
    of_one_hop.contains(&name) || spoofed && !heard.is_ours() || poison
}

/// What the access log does not say as it was.
fn accounted(log: &[Value], number: usize, id: &str, heard: &Heard) -> Option<String> {
    let lines: Vec<&Value> = log.iter().filter(|line| line["request_id"] == id).collect();
    let [line] = lines[..] else { return Some(format!("{id} has {} lines in the access log", lines.len())) };
    let seen: HashMap<&str, String> =
        ["status", "cell", "end"].into_iter().map(|key| (key, line[key].to_string())).collect();
    let status = heard.status.to_string();
    let ended = seen["end"] == "\"complete\"";
    let fits = seen["cell"] == format!("\"{}\"", name(number))
        && (heard.status == 0 || seen["status"] == status)
        // A client that has had all that it was promised need not see what its cell did then.
        && (heard.whole || !ended);
    (!fits)
        .then(|| format!("{id} is {seen:?} in the access log, heard {} whole {}", heard.status, heard.whole))
}
