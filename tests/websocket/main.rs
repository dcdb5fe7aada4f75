//! Cases in the manner of the public WebSocket suite (Autobahn): what a client sees through cellgate, byte for byte, is
//! what it sees of the echo server itself. What the echo server makes of a case is not judged.
#![allow(clippy::print_stdout)] // The number of cases is what this prints.
#![allow(clippy::unwrap_used)]

mod cases;
#[allow(dead_code)]
#[path = "../h2spec/edge.rs"]
mod edge;
#[path = "../support/h2_raw.rs"]
mod h2_raw;
mod roads;
#[path = "../support/running.rs"]
mod running;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use loadtest::cell::{CellOptions, RunningCell};

use cases::Case;
use edge::Edge;
use roads::{End, Transcript, http1, http2};

/// As many as the README says.
const CASES: usize = 361;

/// How long the echo server and cellgate wait for a client's end before they close what it still writes to.
const WAITED_FOR: Duration = Duration::from_secs(2);

#[test]
fn every_case_is_the_same_through_cellgate_as_straight() {
    let runtime = edge::runtime();
    let cell = runtime.block_on(RunningCell::start(CellOptions::named("cell-1"))).unwrap();
    let edge = Edge::start(runtime, "", cell.addr(), "");
    let cases = cases::all();
    let mut wrong = Vec::new();
    let mut echoed = 0;
    let mut codes: BTreeMap<Option<u16>, usize> = BTreeMap::new();
    for case in &cases {
        let [straight, over_h1, over_h2] = play(&edge, cell.addr(), case);
        if straight.end != End::Closed || straight.bytes.is_empty() {
            wrong.push(format!("{}: straight {straight:?}", case.id));
        }
        for (road, seen) in [("http/1.1", over_h1), ("http/2", over_h2)] {
            if seen != straight {
                wrong.push(format!("{}: {road} {seen:?}, straight {straight:?}", case.id));
            }
        }
        echoed += straight.bytes.len();
        *codes.entry(close_code(&straight.bytes)).or_default() += 1;
    }
    println!(
        "{} WebSocket cases on 3 roads, {echoed} bytes of answers, by close code: {codes:?}",
        cases.len()
    );
    // Good cases, broken frames and broken text are told apart: the echo server reads what it is sent.
    for code in [1000, 1002, 1007] {
        assert!(codes.get(&Some(code)).is_some_and(|cases| *cases > 10), "{codes:?}");
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// On each road. On a machine that stops for as long as a client's end is waited for, a client may see a reset: then
/// the case is played again.
fn play(edge: &Edge, cell: SocketAddr, case: &Case) -> [Transcript; 3] {
    let mut times = 0;
    loop {
        let begun = Instant::now();
        let seen = edge.runtime.block_on(async {
            [
                http1(cell, &case.writes).await,
                http1(edge.addr("http"), &case.writes).await,
                http2(edge.connect(false).await, &case.writes).await,
            ]
        });
        times += 1;
        if begun.elapsed() < WAITED_FOR || times == 3 {
            return seen;
        }
    }
}

/// The code in the last frame of a server, where that is a close frame with a code and without a reason
/// (RFC 6455 section 5.5.1).
fn close_code(bytes: &[u8]) -> Option<u16> {
    match bytes.last_chunk::<4>()? {
        [0x88, 2, code @ ..] => Some(u16::from_be_bytes(*code)),
        _ => None,
    }
}

#[test]
fn the_cases_are_all_there() {
    let cases = cases::all();
    let ids: HashSet<&str> = cases.iter().map(|case| &*case.id).collect();
    assert_eq!(ids.len(), cases.len(), "an id stands twice");
    assert_eq!(cases.len(), CASES);
    for section in ["1.", "2.", "3.", "4.", "5.", "6.", "7.", "9.", "10."] {
        assert!(ids.iter().any(|id| id.starts_with(section)), "section {section}");
    }
    assert!(cases.iter().all(|case| !case.writes.is_empty()));
}
