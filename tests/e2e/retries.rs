//! A cell that fails every second request at a random moment after it has read it: how often it gets a request,
//! and what the client is told.
#![allow(clippy::print_stdout)] // How often is what this finds out.

mod unreliable;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use loadtest::client::{Ask, Client, Http, Line, SendError};

use crate::running::{Edge, Folder};
use unreliable::{Protocol, Seen, Unreliable};

const HOST: &str = "cloud.getdbt.com";

/// Of account 12345, in cell-2.
const PATH: &str = "/api/v2/accounts/12345/jobs/1/run/";

/// Requests that are on their way at once.
const CLIENTS: usize = 8;

/// Requests of one test. The issue of a duplicate is one in thousands, if it is there at all.
fn requests() -> usize {
    if std::env::var_os("CELLGATE_TEST_LONG").is_some() { 1_000_000 } else { 10_000 }
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Done,
    Failed {
        outcome: Box<str>,
    },
    /// An answer that is not whole: the cell has gone in the middle of it.
    BrokenOff,
    /// No answer, on which nothing can be built.
    Nothing {
        error: Box<str>,
        /// Requests before it on its connection.
        before: usize,
    },
}

/// What became of a request, on both sides.
#[derive(Debug)]
struct Record {
    told: Told,
    seen: Vec<Seen>,
}

/// Sends requests of one kind to an unreliable cell.
fn run(protocol: Protocol, method: &Method, total: usize) -> Vec<Record> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cell = runtime.block_on(Unreliable::start(protocol)).unwrap();
    let folder = Folder::example(&BTreeMap::from([("cell-2".to_owned(), cell.addr())]));
    let spoken = match protocol {
        Protocol::Http1 => "http1",
        Protocol::Http2 => "http2",
    };
    let from = "  - name: cell-2\n    domain: us1.dbt.com\n    protocol: auto\n";
    folder.edit("config/cellgate.yaml", from, &from.replace("auto", spoken));
    let edge = Edge::start(folder);
    let client = Arc::new(edge.plain(Http::H1));
    let told = runtime.block_on(async {
        let tasks: Vec<_> = (0..CLIENTS)
            .map(|first| {
                let (client, method) = (Arc::clone(&client), method.clone());
                let numbers = (first..total).step_by(CLIENTS);
                tokio::spawn(async move { ask_all(&client, &method, numbers).await })
            })
            .collect();
        let mut told = BTreeMap::new();
        for task in tasks {
            told.extend(task.await.unwrap());
        }
        told
    });
    assert_eq!(told.len(), total);
    let mut seen = cell.seen();
    let record = |(number, told)| Record { told, seen: seen.remove(&number).unwrap_or_default() };
    let records: Vec<Record> = told.into_iter().map(record).collect();
    let unanswered = records.iter().enumerate().filter(|(_, one)| matches!(one.told, Told::Nothing { .. }));
    let unanswered: Vec<String> =
        unanswered.map(|(number, one)| format!("{number}: {:?}, {:?}", one.told, one.seen)).collect();
    let first = &unanswered[..unanswered.len().min(10)];
    assert!(unanswered.is_empty(), "{} requests got no answer: {}", unanswered.len(), first.join("\n"));
    assert!(seen.is_empty(), "the cell has got requests that nobody has sent: {seen:?}");
    records
}

async fn ask_all(
    client: &Client,
    method: &Method,
    numbers: impl Iterator<Item = usize>,
) -> Vec<(usize, Told)> {
    let mut told = Vec::new();
    let mut line: Option<(Line, usize)> = None;
    for number in numbers {
        let (open, before) = match line.take().filter(|(line, _)| !line.is_closed()) {
            Some(open) => open,
            None => (client.open(HOST).await.unwrap(), 0),
        };
        // More than one segment on the wire, and small enough to be kept for a second time.
        let body = if *method == Method::POST { "x".repeat(number % 3_000) } else { String::new() };
        let ask = Ask::post(HOST, PATH, body)
            .method(method.clone())
            .header("authorization", "Token dbtc_FAKE1")
            .header("x-test-number", &number.to_string());
        let asked = open.ask(&ask).await;
        // A connection that ends with this answer may not look closed yet.
        let stays = asked.as_ref().is_ok_and(|reply| reply.header("connection") != Some("close"));
        let reply = match asked {
            Ok(reply) => match reply.header("x-cellgate-outcome") {
                None => Told::Done,
                Some(outcome) => Told::Failed { outcome: outcome.into() },
            },
            Err(SendError::Body(_)) => Told::BrokenOff,
            Err(error) => Told::Nothing { error: format!("{error:?}").into(), before },
        };
        told.push((number, reply));
        line = stays.then_some((open, before + 1));
    }
    told
}

/// How often a record holds.
fn count(records: &[Record], holds: impl Fn(&Record) -> bool) -> usize {
    records.iter().filter(|record| holds(record)).count()
}

fn check_posts(protocol: Protocol) {
    let records = run(protocol, &Method::POST, requests());
    for (number, Record { told, seen }) in records.iter().enumerate() {
        let processed = seen.iter().filter(|seen| seen.processed).count();
        match told {
            Told::Done => assert_eq!(processed, 1, "POST {number} was answered: {seen:?}"),
            Told::Failed { outcome } if **outcome == *"not-forwarded" => {
                assert_eq!(processed, 0, "POST {number} was said not to have been forwarded: {seen:?}");
            }
            Told::Failed { .. } | Told::BrokenOff | Told::Nothing { .. } => {
                assert!(processed <= 1, "POST {number} was processed twice: {seen:?}");
            }
        }
    }
    let done = count(&records, |record| record.told == Told::Done);
    let unknown = count(&records, |record| record.told == Told::Failed { outcome: "unknown".into() });
    let broken = count(&records, |record| record.told == Told::BrokenOff);
    println!(
        "{protocol:?}: {} POSTs, {done} done, {unknown} with an unknown outcome, {broken} answers broken off",
        records.len()
    );
    // Else the cell was not as unreliable as all this needs, or cellgate has given up on it.
    assert!(done > records.len() / 4 && unknown > records.len() / 10, "{done} done, {unknown} unknown");
}

#[test]
fn no_post_is_processed_twice_by_a_cell_that_resets_http1_connections() {
    check_posts(Protocol::Http1);
}

#[test]
fn no_post_is_processed_twice_by_a_cell_that_resets_http2_streams_and_connections() {
    check_posts(Protocol::Http2);
}

#[test]
fn a_cell_that_fails_every_second_request_gets_at_most_a_tenth_more_of_them() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let records = run(protocol, &Method::GET, requests());
        let sends: usize = records.iter().map(|record| record.seen.len()).sum();
        let again = count(&records, |record| record.seen.len() > 1);
        println!(
            "{protocol:?}: {} GETs reached the cell {sends} times, {again} of them twice",
            records.len()
        );
        assert!(again > 0, "nothing was sent again");
        assert!(sends * 10 <= records.len() * 11, "{sends} for {} requests", records.len());
        for Record { seen, .. } in &records {
            let numbers: Vec<u8> = seen.iter().map(|seen| seen.attempt).collect();
            // What never came as far as a whole head is missing here.
            assert!(matches!(numbers[..], [] | [1] | [2] | [1, 2]), "{numbers:?}");
        }
    }
}
