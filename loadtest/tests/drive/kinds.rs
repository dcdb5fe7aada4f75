//! Kinds of work that keep something: sessions, WebSockets, gRPC calls and idle connections.

use std::sync::atomic::Ordering;
use std::time::Duration;

use loadtest::bench::drive::{Door, DriveError, Driven, GRPC_STREAMS, Order, Pace, Work, run};
use loadtest::bench::table::{CELLS, Table};
use loadtest::cell::{CellOptions, RunningCell};
use loadtest::raw::{RawScript, RawStep};

use crate::cells::Cells;
use crate::edge::{Edge, Script, Security, door, pair};

const TABLE: Table = Table::of(1_000);

/// One account alone, so that a cell without a proxy before it may be the right one.
const LONE: Table = Table::of(1);

fn order(door: &Door, table: Table, work: Work, pace: Pace) -> Order {
    let duration = Duration::from_millis(200);
    Order { door: door.clone(), table, work, pace, warmup: Duration::ZERO, duration, seed: 1, l4: false }
}

fn driven(order: &Order) -> Driven {
    run(order, || {}, || {}).unwrap()
}

fn counts(driven: &Driven) -> (u64, u64, u64, u64) {
    (driven.requests, driven.failed, driven.wrong, driven.latency.latency().count)
}

const CLOSED: Pace = Pace::Closed { connections: 4 };

/// One request alone.
const ONCE: Pace = Pace::Open { per_second: 5, connections: 1 };

#[test]
fn clients_resume_their_sessions_where_there_are_any() {
    for (security, resumed) in [(Security::Tls, 100), (Security::TlsWithoutSessions, 0)] {
        let edge = Edge::right(TABLE, security);
        let pace = Pace::Open { per_second: 500, connections: 4 };
        let driven = driven(&order(&edge.door, TABLE, Work::Resumptions { clients: 30 }, pace));
        assert_eq!(counts(&driven), (100, 0, 0, 100), "{driven:?}");
        assert_eq!(driven.resumed, resumed);
        // The first of each client comes before.
        assert_eq!(edge.seen.requests.load(Ordering::SeqCst), 130);
    }
}

#[test]
fn websockets_and_calls_are_checked_with_and_without_tls() {
    let cells = Cells::start(CELLS.into());
    let own = usize::from(LONE.cell(0));
    let (server, client) = pair();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let name = Table::cell_name(LONE.cell(0));
    let options = CellOptions::named(&name).with_tls(server);
    let cell = runtime.block_on(RunningCell::start(options)).unwrap();
    let over_tls = Door { address: cell.addr(), tls: Some(client) };
    for door in [door(cells.addresses[own]), over_tls] {
        for work in [Work::WebSocket, Work::GrpcUnary] {
            let driven = driven(&order(&door, LONE, work, CLOSED));
            assert!(driven.requests > 0, "{work:?} {driven:?}");
            assert_eq!(counts(&driven), (driven.requests, 0, 0, driven.requests), "{work:?} {driven:?}");
        }
    }
    // A wrong cell is seen before the first message, and with each call.
    let other = door(cells.addresses[(own + 1) % usize::from(CELLS)]);
    let refused = run(&order(&other, LONE, Work::WebSocket, CLOSED), || {}, || {}).unwrap_err();
    assert!(matches!(&refused, DriveError::Opening { fault, .. } if fault.contains("101")), "{refused}");
    let wrong = driven(&order(&other, LONE, Work::GrpcUnary, ONCE));
    assert_eq!(counts(&wrong), (1, 0, 1, 0), "{wrong:?}");
}

#[test]
fn calls_share_connections() {
    let cells = Cells::start(CELLS.into());
    let door = door(cells.addresses[usize::from(LONE.cell(0))]);
    let pace = Pace::Closed { connections: 1 };
    let driven = driven(&order(&door, LONE, Work::GrpcUnary, pace));
    assert_eq!((driven.failed, driven.wrong), (0, 0), "{driven:?}");
    assert!(driven.requests >= GRPC_STREAMS as u64, "each stream has asked: {driven:?}");
}

/// Accepts the upgrade, reads the first message, and goes on like this.
fn socket(then: impl IntoIterator<Item = RawStep>) -> Script {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {PROOF}\r\nX-Cell: {}\r\n\r\n",
        Table::cell_name(LONE.cell(0))
    );
    // A masked frame of 100 bytes has a head of six (RFC 6455 section 5.2).
    let begin = [RawStep::ReadHead, RawStep::Send(head.into()), RawStep::Read(106)];
    Script::start(RawScript::new(begin.into_iter().chain(then)))
}

/// The proof for the load's one key, by another's SHA-1.
const PROOF: &str = "oCqaporDcpgIeqOHWPbagJzBu2U=";

/// A frame with the first message of a WebSocket, or another.
fn echo(number: u64) -> RawStep {
    let message = [&number.to_be_bytes()[..], &[b'm'; 92]].concat();
    RawStep::Send([&[0x82, 100][..], &message].concat().into())
}

#[test]
fn a_message_that_is_another_or_lost_or_late_is_counted_as_that() {
    let pause = RawStep::Pause(Duration::from_millis(300));
    let message = |script: &Script| driven(&order(&script.door, LONE, Work::WebSocket, ONCE));
    let right = message(&socket([echo(1), RawStep::ReadToEnd]));
    assert_eq!(counts(&right), (1, 0, 0, 1), "{right:?}");
    let wrong = message(&socket([echo(2), RawStep::ReadToEnd]));
    assert_eq!(counts(&wrong), (1, 0, 1, 0), "{wrong:?}");
    let lost = message(&socket([]));
    assert_eq!(counts(&lost), (1, 1, 0, 0), "{lost:?}");
    // Later than the end of the window.
    let late = message(&socket([pause, echo(1), RawStep::ReadToEnd]));
    assert_eq!(counts(&late), (1, 0, 0, 1), "{late:?}");
    assert!(late.latency.latency().max_us >= 300_000, "{late:?}");
}

#[test]
fn a_call_that_is_lost_is_counted() {
    let script = Script::start(RawScript::immediate_close());
    let lost = driven(&order(&script.door, LONE, Work::GrpcUnary, ONCE));
    assert_eq!(counts(&lost), (1, 1, 0, 0), "{lost:?}");
}

#[test]
fn idle_connections_are_held_from_one_border_to_the_other() {
    for security in [Security::Plain, Security::Tls] {
        let edge = Edge::right(TABLE, security);
        let order = order(&edge.door, TABLE, Work::Idle { connections: 300 }, CLOSED);
        let open = || edge.seen.open.load(Ordering::SeqCst);
        let (mut before, mut held) = (None, None);
        let driven = run(&order, || before = Some(open()), || held = Some(open())).unwrap();
        assert_eq!((before, held), (Some(0), Some(300)));
        assert_eq!(counts(&driven), (300, 0, 0, 300), "{driven:?}");
        assert_eq!(edge.seen.requests.load(Ordering::SeqCst), 600, "each has asked again at the end");
    }
}

#[test]
fn idle_connections_that_were_closed_meanwhile_are_counted() {
    let cell = Table::cell_name(LONE.cell(0));
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Cell: {cell}\r\nDeprecation: @1\r\n\r\n");
    let script = Script::start(RawScript::answer(answer));
    let driven = driven(&order(&script.door, LONE, Work::Idle { connections: 10 }, CLOSED));
    assert_eq!(counts(&driven), (10, 10, 0, 10), "{driven:?}");
}
