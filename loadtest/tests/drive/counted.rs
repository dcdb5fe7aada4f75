//! What the load counts is what happened: right answers, wrong ones, lost ones and late ones.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use loadtest::bench::drive::{Door, DriveError, Driven, Order, Pace, Work, run};
use loadtest::bench::table::{CELL_HEADER, CELLS, Table};
use loadtest::raw::{RawScript, RawStep};

use crate::cells::Cells;
use crate::edge::{Edge, Reply, Script, Security, door};

const TABLE: Table = Table::of(1_000);

/// One account alone, so that a script knows its cell.
const LONE: Table = Table::of(1);

const H2: Work = Work::H2Get { connections: 2, streams: 5 };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn order(door: &Door, table: Table, work: Work, pace: Pace) -> Order {
    Order { door: door.clone(), table, work, pace, warmup: ms(0), duration: ms(200), seed: 1, l4: false }
}

/// Two hundred requests in all.
fn rate(connections: usize) -> Pace {
    Pace::Open { per_second: 1_000, connections }
}

fn driven(order: &Order) -> Driven {
    run(order, || {}, || {}).unwrap()
}

fn counts(driven: &Driven) -> (u64, u64, u64, u64) {
    (driven.requests, driven.failed, driven.wrong, driven.latency.latency().count)
}

#[test]
fn without_a_pause_every_answer_of_every_protocol_is_right() {
    for (security, work) in [
        (Security::Plain, Work::Get),
        (Security::Plain, H2),
        (Security::Plain, Work::FullHandshakes),
        (Security::Tls, Work::Get),
        (Security::Tls, H2),
        (Security::Tls, Work::FullHandshakes),
    ] {
        let edge = Edge::right(TABLE, security);
        // Time for some handshakes in each, also on a machine that does other things.
        let (warmup, duration) = (ms(500), ms(500));
        let closed = Pace::Closed { connections: 4 };
        let order = Order { warmup, duration, ..order(&edge.door, TABLE, work, closed) };
        let asked = || edge.seen.requests.load(Ordering::SeqCst);
        let (mut begin, mut end) = (None, None);
        let border = || Some((asked(), Instant::now()));
        let driven = run(&order, || begin = border(), || end = border()).unwrap();
        let ((begin, began), (end, ended)) = (begin.unwrap(), end.unwrap());
        assert!(driven.requests > 0, "{work:?} {driven:?}");
        assert_eq!(counts(&driven), (driven.requests, 0, 0, driven.requests), "{work:?} {driven:?}");
        assert_eq!((driven.resumed, &driven.remark), (0, &None), "{work:?}");
        assert!(asked() > driven.requests, "those of the warm-up are not counted: {work:?}");
        assert!(0 < begin && begin < end && end <= asked(), "{work:?} {begin} {end}");
        // What lies between the borders, and no more: where the first is seen late, it is less than was ordered.
        let between = ended - began;
        assert!(driven.elapsed <= between && driven.elapsed + ms(250) >= between, "{between:?} {driven:?}");
        let connections = edge.seen.connections.load(Ordering::SeqCst);
        match work {
            Work::Get => assert_eq!(connections, 4),
            Work::FullHandshakes => assert_eq!(connections as u64, asked()),
            _ => assert_eq!(connections, 2),
        }
    }
}

#[test]
fn at_a_rate_what_is_due_is_sent_to_both_hosts_and_about_all_accounts() {
    let edge = Edge::right(TABLE, Security::Plain);
    let order = Order { warmup: ms(800), ..order(&edge.door, TABLE, Work::Get, rate(4)) };
    assert_eq!(counts(&driven(&order)), (200, 0, 0, 200));
    assert_eq!(edge.seen.requests.load(Ordering::SeqCst), 1_000);
    let legacy = edge.seen.legacy.load(Ordering::SeqCst);
    // Each connection goes to the legacy host first: four more than half at most.
    assert!((500..=504).contains(&legacy), "{legacy}");
    let accounts = edge.seen.accounts.lock().unwrap().clone();
    // A thousand draws out of a thousand leave out 368 (1/e), give or take 16.
    assert!((550..=720).contains(&accounts.len()), "{}", accounts.len());
    // The most that one is drawn is five or six; a hundred would be another distribution.
    assert!(accounts.values().all(|count| *count < 12), "{accounts:?}");
}

/// Each tenth answer wrong, in another way each time.
fn sometimes_wrong(number: u64, mut reply: Reply) -> Option<Reply> {
    if number.is_multiple_of(10) {
        match number / 10 % 4 {
            0 => *reply.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE,
            1 => drop(reply.headers_mut().remove(CELL_HEADER)),
            2 => drop(reply.headers_mut().insert(CELL_HEADER, "mt".parse().unwrap())),
            _ => match reply.headers_mut().remove("deprecation") {
                Some(_) => {}
                None => drop(reply.headers_mut().insert("deprecation", "@1".parse().unwrap())),
            },
        }
    }
    Some(reply)
}

fn sometimes_lost(number: u64, reply: Reply) -> Option<Reply> {
    (!number.is_multiple_of(10)).then_some(reply)
}

#[test]
fn each_wrong_answer_is_counted_as_wrong() {
    for (work, pace) in [(Work::Get, rate(4)), (H2, rate(1)), (Work::FullHandshakes, rate(4))] {
        let edge = Edge::start(TABLE, Security::Tls, sometimes_wrong);
        let driven = driven(&order(&edge.door, TABLE, work, pace));
        assert_eq!(counts(&driven), (200, 0, 20, 180), "{work:?} {driven:?}");
        assert!(driven.remark.is_some(), "{work:?}: of that which was seen first");
        // A relay is asked for the status alone, and so there is one thing to say.
        let edge = Edge::start(TABLE, Security::Tls, sometimes_wrong);
        let l4 = Order { l4: true, ..order(&edge.door, TABLE, work, pace) };
        let driven = run(&l4, || {}, || {}).unwrap();
        assert_eq!(driven.wrong, 5, "{work:?}");
        assert!(driven.remark.is_some_and(|remark| remark.contains("503")), "{work:?}");
    }
}

#[test]
fn each_lost_answer_is_counted_as_failed() {
    for (work, pace) in [(Work::Get, rate(4)), (H2, rate(1)), (Work::FullHandshakes, rate(4))] {
        let edge = Edge::start(TABLE, Security::Plain, sometimes_lost);
        let driven = driven(&order(&edge.door, TABLE, work, pace));
        assert_eq!(counts(&driven), (200, 20, 0, 180), "{work:?} {driven:?}");
        assert_eq!(edge.seen.requests.load(Ordering::SeqCst), 200, "nothing is sent twice: {work:?}");
    }
}

#[test]
fn a_stalled_server_delays_what_was_due_meanwhile_and_hides_none_of_it() {
    // The first answer comes after a fifth of a second, when all others have become due; there is one connection.
    let steps = [vec![RawStep::ReadHead, RawStep::Pause(ms(200)), RawStep::Send(legacy().into())]];
    let others = (1..200).map(|number| {
        let answer = if number % 2 == 0 { legacy() } else { own() };
        vec![RawStep::ReadHead, RawStep::Send(answer.into())]
    });
    let script = Script::start(RawScript::new(steps.into_iter().chain(others).flatten()));
    let driven = driven(&order(&script.door, LONE, Work::Get, rate(1)));
    assert_eq!(counts(&driven), (200, 0, 0, 200), "{driven:?}");
    // Request n was due after n ms and is answered after 200: half of them have waited 100 ms and more. Counted from when
    // they were sent they would have taken no time.
    assert!(driven.latency.quantile_us(0.5) >= 100_000, "{driven:?}");
}

#[test]
fn who_is_never_answered_is_lost_and_so_are_those_who_waited_behind() {
    let script = Script::start(RawScript::no_answer());
    let open = driven(&order(&script.door, LONE, Work::Get, rate(3)));
    assert_eq!(counts(&open), (200, 200, 0, 0), "{open:?}");
    let closed = driven(&order(&script.door, LONE, Work::Get, Pace::Closed { connections: 3 }));
    assert_eq!(counts(&closed), (3, 3, 0, 0), "{closed:?}");
}

#[test]
fn large_answers_are_as_long_as_they_were_asked_for() {
    let cells = Cells::start(CELLS.into());
    let right = cells.addresses[usize::from(LONE.cell(0))];
    let closed = Pace::Closed { connections: 2 };
    let large = driven(&order(&door(right), LONE, Work::Bytes, closed));
    assert!(large.requests > 0);
    assert_eq!(counts(&large), (large.requests, 0, 0, large.requests), "{large:?}");

    let script = Script::start(RawScript::keep_answering(own()));
    let short = driven(&order(&script.door, LONE, Work::Bytes, rate(2)));
    assert_eq!(counts(&short), (200, 0, 200, 0), "{short:?}");
    assert!(short.remark.is_some_and(|remark| remark.contains("2 bytes")));
}

#[test]
fn an_answer_that_says_close_costs_no_request() {
    let last = own().replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let steps = [legacy(), last].map(|answer| [RawStep::ReadHead, RawStep::Send(answer.into())]);
    let script = Script::start(RawScript::new(steps.into_iter().flatten()));
    let driven = driven(&order(&script.door, LONE, Work::Get, rate(1)));
    assert_eq!(counts(&driven), (200, 0, 0, 200), "{driven:?}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let edge = Edge::right(TABLE, Security::Plain);
    let refused = |order: Order| run(&order, || {}, || {}).unwrap_err();
    let closed = Pace::Closed { connections: 1 };
    let sessions = order(&edge.door, TABLE, Work::Resumptions { clients: 1 }, closed);
    assert!(matches!(refused(sessions), DriveError::NeedsTls));
    for (table, work, pace) in [
        (Table::of(0), Work::Get, closed),
        (TABLE, Work::Get, Pace::Closed { connections: 0 }),
        (TABLE, Work::Get, Pace::Open { per_second: 0, connections: 1 }),
        (TABLE, Work::H2Get { connections: 1, streams: 0 }, closed),
        (TABLE, Work::Idle { connections: 0 }, closed),
    ] {
        let error = refused(order(&edge.door, table, work, pace));
        assert!(matches!(error, DriveError::Nothing(_)), "{error}");
    }
    // Bound, so that nobody else gets it, and nobody listens.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let free = bound.local_addr().unwrap();
    let error = refused(order(&door(free), TABLE, Work::Get, closed));
    assert!(error.to_string().contains(&free.to_string()), "{error}");
}

/// The right answers about the one account.
fn legacy() -> String {
    format!("{}Deprecation: @1\r\n\r\n{{}}", own_head())
}

fn own() -> String {
    format!("{}\r\n{{}}", own_head())
}

fn own_head() -> String {
    let cell = Table::cell_name(LONE.cell(0));
    format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Cell: {cell}\r\n")
}
