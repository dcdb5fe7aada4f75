//! Accounts that move: which requests wait, where the others go, and what writes under way are told.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use cellgate::explain::{Question, Shown, explain};
use cellgate::policy::decide::Verdict;
use cellgate::policy::holding::{self, call, patience, reported, still_goes};
use cellgate::policy::ids::{CellIndex, Generation};
use cellgate::policy::learned::LearnedTable;
use cellgate::policy::moves::{HeldReads, HoldRules, Move, MoveState, MoveTable};
use cellgate::policy::refusal::Refusal;
use cellgate::policy::snapshot::Snapshot;
use cellgate::policy::writes::Call;
use cellgate::replay::replay;
use http::{HeaderMap, Method};

use crate::decide::line;
use crate::snapshot::{Request, account, example};

const AB123: u64 = 70_403_103_966_603;

/// The example with a move of AB123 away from us1-c1, its own cell, to us1-c2. Flipped, nothing else has changed: where
/// the row is stands in the account table.
fn moving(state: MoveState, reads: HeldReads) -> Snapshot {
    let example = example();
    let (from, to) = (Some(example.cell_index("us1-c1")), Some(example.cell_index("us1-c2")));
    let mut snapshot = example.build();
    snapshot.moves.table = MoveTable::new(vec![(account(AB123), Move { from, to, state, epoch: 1 })]);
    snapshot.moves.rules = HoldRules { reads, ..HoldRules::default() };
    snapshot
}

fn decided(snapshot: &Snapshot, request: &Request) -> String {
    line(snapshot, &request.decide(snapshot, &LearnedTable::default()))
}

#[test]
fn what_waits_while_an_account_moves_and_where_the_rest_goes() {
    let here = "us1-c1 host_prefix 70403103966603";
    let waits = "hold us1-c1 host_prefix 70403103966603";
    let grpc = "content-type: application/grpc+proto";
    let upgrade = ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"];
    let requests: [(&str, &[&str], bool); 9] = [
        ("GET", &[], false),
        ("HEAD", &[], false),
        ("OPTIONS", &[], false),
        ("POST", &[], true),
        ("PUT", &[], true),
        ("DELETE", &[], true),
        ("PATCH", &[grpc], true),
        // Nobody makes gRPC calls by GET; if somebody does, it is one.
        ("GET", &[grpc], true),
        ("GET", &upgrade, true),
    ];
    for (method, headers, is_write) in requests {
        let request = Request::new(&format!("{method} ab123.us1.dbt.com/x")).with(headers);
        for state in [MoveState::Prepare, MoveState::Flipped] {
            for reads in [HeldReads::OldCell, HeldReads::Wait] {
                assert_eq!(decided(&moving(state, reads), &request), here, "{state:?} {method} {headers:?}");
            }
        }
        let reads_go = decided(&moving(MoveState::Holding, HeldReads::OldCell), &request);
        assert_eq!(reads_go, if is_write { waits } else { here }, "{method} {headers:?}");
        let reads_wait = decided(&moving(MoveState::Holding, HeldReads::Wait), &request);
        assert_eq!(reads_wait, waits, "{method} {headers:?}");
    }
}

#[test]
fn only_a_request_of_that_account_by_its_row_waits() {
    let snapshot = moving(MoveState::Holding, HeldReads::Wait);
    let check = |request: &str, headers: &[&str], expect: &str| {
        assert_eq!(decided(&snapshot, &Request::new(request).with(headers)), expect, "{request}");
    };
    check("POST cloud.getdbt.com/deploy/70403103966603/x", &[], "hold us1-c1 path 70403103966603");
    check("POST cloud.getdbt.com/deploy/12345/x", &[], "us1-c1 path 12345");
    check("POST cloud.getdbt.com/x", &["environmentid: 70437463654400"], "us1-c2 id_range");
    check("POST cloud.getdbt.com/x", &[], "404 no_account none");
}

#[test]
fn grpc_that_the_old_cell_cannot_speak_does_not_wait_to_be_told_so() {
    let mut snapshot = moving(MoveState::Holding, HeldReads::OldCell);
    for cell in &mut snapshot.cells {
        cell.protocol = cellgate::policy::snapshot::CellProtocol::Http1;
    }
    let call = Request::new("POST ab123.us1.dbt.com/a.B/C").with(&["content-type: application/grpc"]);
    let decision = call.decide(&snapshot, &LearnedTable::default());
    assert_eq!(decision.verdict, Verdict::Refuse(Refusal::NotImplemented));
}

#[test]
fn a_write_is_one_by_row_and_at_the_cell_of_the_row() {
    let snapshot = moving(MoveState::Prepare, HeldReads::OldCell);
    let write = |request: &str| Request::new(request).decide(&snapshot, &LearnedTable::default()).write();
    let c1 = example().cell_index("us1-c1");
    assert_eq!(write("POST ab123.us1.dbt.com/"), Some((account(AB123), c1)));
    assert_eq!(write("GET ab123.us1.dbt.com/"), None);
    assert_eq!(write("POST zz999.us1.dbt.com/"), None);
    let held = moving(MoveState::Holding, HeldReads::OldCell);
    let held = Request::new("POST ab123.us1.dbt.com/").decide(&held, &LearnedTable::default());
    assert_eq!(held.write(), None, "it is sent nowhere yet");
}

#[test]
fn a_write_still_goes_where_it_was_sent_unless_something_has_changed_for_its_account() {
    let pinned = moving(MoveState::Prepare, HeldReads::OldCell);
    let (c1, c2) = (example().cell_index("us1-c1"), example().cell_index("us1-c2"));
    let goes = |newest: &Snapshot| still_goes(&pinned, newest, account(AB123), c1);
    assert!(goes(&pinned));
    assert!(goes(&example().build()), "a move that is given up before anything was held");
    assert!(!goes(&moving(MoveState::Holding, HeldReads::OldCell)));
    assert!(!goes(&moving(MoveState::Flipped, HeldReads::OldCell)), "there and back: the epoch is another");
    assert!(!still_goes(&pinned, &pinned, account(AB123), c2), "it lives elsewhere");
    assert!(!still_goes(&pinned, &pinned, account(999), c1), "its row is gone");
    // The number of a cell is another in another snapshot; its name is the same.
    let mut renumbered = moving(MoveState::Prepare, HeldReads::OldCell);
    let (first, second) = (usize::from(c1.0), usize::from(c2.0));
    renumbered.cells.swap(first, second);
    assert!(!goes(&renumbered), "the row's number now means another cell");
}

#[test]
fn writes_under_way_leave_and_are_cut_when_their_time_is_over() {
    let (c1, c2) = (example().cell_index("us1-c1"), example().cell_index("us1-c2"));
    let drain = HoldRules::default().drain;
    let almost = drain - Duration::from_nanos(1);
    for (state, cell, held_for, expect) in [
        (MoveState::Prepare, c1, drain, Call::Stay),
        (MoveState::Holding, c1, Duration::ZERO, Call::Leave),
        (MoveState::Holding, c1, almost, Call::Leave),
        (MoveState::Holding, c1, drain, Call::Cut),
        // Its row is in c1, so what is in c2 is from before an earlier move.
        (MoveState::Prepare, c2, Duration::ZERO, Call::Cut),
        (MoveState::Holding, c2, Duration::ZERO, Call::Cut),
        (MoveState::Flipped, c2, Duration::ZERO, Call::Cut),
        (MoveState::Flipped, c1, drain, Call::Stay),
    ] {
        let snapshot = moving(state, HeldReads::OldCell);
        assert_eq!(
            call(&snapshot, account(AB123), cell, held_for),
            expect,
            "{state:?} {cell:?} {held_for:?}"
        );
        assert_eq!(call(&snapshot, account(12345), c2, drain), Call::Stay, "it does not move");
    }
}

#[test]
fn patience_ends_with_the_budget() {
    let rules = HoldRules { budget: Duration::from_secs(3), ..HoldRules::default() };
    for (waited, left) in [(0, Some(3_000)), (2_999, Some(1)), (3_000, None), (10_000, None)] {
        let left = left.map(Duration::from_millis);
        assert_eq!(patience(&rules, Duration::from_millis(waited)), left, "{waited} ms");
    }
}

#[test]
fn slots_are_counted_by_account_and_by_cell_and_come_free() {
    let rules = HoldRules { waiting_per_account: 2, waiting_per_cell: 3, ..HoldRules::default() };
    let waiting = Arc::<holding::Waiting>::default();
    let begin = |id| waiting.try_begin(Some(account(id)), &rules);
    let (first, second) = (begin(1), begin(1));
    assert!(first.is_some() && second.is_some() && begin(1).is_none(), "the account has as many as it may");
    let third = begin(2);
    assert!(third.is_some() && begin(3).is_none(), "and now the cell");
    assert_eq!((waiting.taken(), waiting.of(account(1)), waiting.of(account(3))), (3, 2, 0));
    drop(first);
    assert!(begin(1).is_some() && begin(3).is_some(), "one after the other, each was dropped at once");
    drop((second, third));
    assert_eq!((waiting.taken(), waiting.of(account(1))), (0, 0));
}

#[test]
fn reported_are_open_moves_and_finished_ones_with_writes_at_the_old_cell() {
    let report = |snapshot: &Snapshot| {
        let line = |one: holding::ReportedMove| {
            format!("{} {} {}", one.account, one.of.state.as_str(), one.writes_at_old_cell)
        };
        reported(snapshot, 10).into_iter().map(line).collect::<Vec<_>>()
    };
    for (state, without) in [(MoveState::Prepare, 1), (MoveState::Holding, 1), (MoveState::Flipped, 0)] {
        let snapshot = moving(state, HeldReads::OldCell);
        assert_eq!(report(&snapshot).len(), without, "{state:?}");
        let CellIndex(from) = example().cell_index("us1-c1");
        let writes = &snapshot.cells[usize::from(from)].load.writes;
        let others = writes.begin(account(12345));
        let write = writes.begin(account(AB123));
        assert_eq!(report(&snapshot), [format!("{AB123} {} 1", state.as_str())]);
        assert_eq!(reported(&snapshot, 0), [], "as many as were asked for");
        drop((others, write));
        assert_eq!(report(&snapshot).len(), without, "{state:?}");
    }
}

#[test]
fn explain_and_replay_say_that_it_waits() {
    let snapshot = moving(MoveState::Holding, HeldReads::OldCell);
    let ask = |method: Method| {
        let question = Question {
            method,
            host: "ab123.us1.dbt.com".into(),
            target: "/".into(),
            headers: HeaderMap::new(),
            tls: true,
            shown: Shown::Nothing,
        };
        explain(&snapshot, None, &question, 0)
    };
    let held = ask(Method::POST);
    assert_eq!(held.to_json()["verdict"], "hold, for the account is moving");
    assert_eq!((&held.to_json()["cell"], &held.to_json()["why"]), (&"us1-c1".into(), &"mapped".into()));
    assert_eq!(held.decision(), "waits at us1-c1 (account 70403103966603)");
    assert_eq!(ask(Method::GET).decision(), "us1-c1 (account 70403103966603)");
    let mut before = moving(MoveState::Prepare, HeldReads::OldCell);
    before.generation = Generation(0);
    let lines = [
        r#"{"method":"POST","host":"ab123.us1.dbt.com","path":"/","scheme":"https"}"#,
        r#"{"method":"PUT","host":"cloud.getdbt.com","path":"/x","source":"credential","account":70403103966603}"#,
        r#"{"method":"GET","host":"ab123.us1.dbt.com","path":"/","scheme":"https"}"#,
    ];
    let replayed = replay(lines, &before, &snapshot, 0);
    assert_eq!((replayed.requests, replayed.different), (3, 2), "{replayed:?}");
    assert!(replayed.differences.iter().all(|one| one.after == "waits at us1-c1 (account 70403103966603)"));
}
