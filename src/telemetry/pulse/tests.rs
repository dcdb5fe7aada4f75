//! What is counted is seen, once, under its name, for a minute; and a flood of refusals leaves room for the rest.

use std::time::Duration;

use super::seconds::SHORT;
use super::*;
use crate::policy::cell_failure::Unreachable;
use crate::policy::credential::{CredentialRules, TokenShape};
use crate::policy::decide::{Decision, Verdict};
use crate::policy::ids::SurfaceIndex;
use crate::policy::protection::shed::Shed;
use crate::policy::refusal::{BadRequest, Refusal};
use crate::telemetry::event::End;
use crate::telemetry::fixture::{legacy_event, snapshot};
use crate::test_snapshot::label;

fn second(number: u64) -> Moment {
    Moment::START + Duration::from_secs(number)
}

fn refused(snapshot: &Arc<Snapshot>, refusal: Refusal) -> RequestEvent {
    let mut event = legacy_event(snapshot);
    (event.refusal, event.status) = (Some(refusal), refusal.status());
    event
}

fn tile(pulse: &Pulse, cell: &str) -> TilePulse {
    let tiles = pulse.tiles();
    tiles.into_iter().find(|tile| &*tile.name.cell == cell).expect("it had requests")
}

#[test]
fn what_threads_count_is_seen_once_and_under_its_name() {
    let (pulse, snapshot) = (Pulse::default(), snapshot(1));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut other = legacy_event(&snapshot);
                other.decision.as_mut().unwrap().surface = Some(SurfaceIndex(200));
                other.status = 503;
                (0..1_000).for_each(|_| pulse.count(&legacy_event(&snapshot)));
                (0..10).for_each(|_| pulse.count(&other));
            });
        }
        (1..5).for_each(|number| pulse.tick(second(number)));
    });
    pulse.tick(second(5));
    pulse.tick(second(6));
    let names: Vec<_> = pulse.tiles().into_iter().map(|tile| (tile.name.cell, tile.name.surface)).collect();
    assert_eq!(names, [("us1".into(), "app".into()), ("us1".into(), "none".into())]);
    let [app, none]: [TilePulse; 2] = pulse.tiles().try_into().unwrap();
    assert_eq!((app.long.count(Answer::Served), app.long.requests()), (4_000, 4_000));
    assert_eq!((none.long.count(Answer::Failed), none.long.requests()), (40, 40));
    assert_eq!(app.requests.iter().sum::<u32>(), 4_000);
    assert_eq!((none.failed.iter().sum::<u32>(), none.failed.last()), (40, Some(&0)));
    let median = app.long.quantile(0.5).unwrap();
    assert!(median.abs_diff(Duration::from_millis(80)) < Duration::from_millis(10), "{median:?}");
}

#[test]
fn a_window_holds_its_seconds_and_no_more() {
    let (pulse, snapshot) = (Pulse::default(), snapshot(1));
    for number in 1..=100 {
        (0..number).for_each(|_| pulse.count(&legacy_event(&snapshot)));
        pulse.tick(second(number));
    }
    let seen = tile(&pulse, "us1");
    assert_eq!(seen.short.requests(), (91..=100).sum::<u64>());
    assert_eq!(seen.long.requests(), (41..=100).sum::<u64>());
    assert_eq!((seen.short.lasted, seen.long.lasted), (SHORT, Duration::from_secs(60)));
    assert!((seen.short.per_second(seen.short.requests()) - 95.5).abs() < 1e-9);
    assert_eq!(seen.requests, (41..=100).collect::<Vec<u32>>());
    // A tick that comes late is a longer second, and its rate is no higher for it.
    (0..300).for_each(|_| pulse.count(&legacy_event(&snapshot)));
    pulse.tick(second(103));
    let late = tile(&pulse, "us1");
    assert_eq!(late.short.lasted, Duration::from_secs(10));
    assert_eq!(late.short.requests(), (94..=100).sum::<u64>() + 300);
    // Silence is told as such, and then nothing is told.
    (104..=162).for_each(|number| pulse.tick(second(number)));
    assert_eq!((tile(&pulse, "us1").short.requests(), tile(&pulse, "us1").short.quantile(0.5)), (0, None));
    pulse.tick(second(163));
    assert!(pulse.tiles().is_empty());
}

#[test]
fn a_reload_begins_nothing_anew_and_leaves_no_snapshot_behind() {
    let pulse = Pulse::default();
    let old = snapshot(1);
    pulse.count(&legacy_event(&old));
    pulse.tick(second(1));
    let mut next = Arc::into_inner(snapshot(2)).unwrap();
    // The same names at other positions.
    next.cells.reverse();
    next.cells[0].name = label("us9");
    let next = Arc::new(next);
    let mut event = legacy_event(&next);
    event.decision.as_mut().unwrap().verdict =
        Verdict::Forward { cell: crate::policy::ids::CellIndex(1), why: crate::policy::decide::Why::Mapped };
    pulse.count(&event);
    drop(event);
    (2..=4).for_each(|number| pulse.tick(second(number)));
    assert_eq!(tile(&pulse, "us1").long.requests(), 2);
    assert_eq!((Arc::strong_count(&old), Arc::strong_count(&next)), (1, 1));
}

#[test]
fn each_end_counts_as_what_it_is() {
    let snapshot = snapshot(1);
    let of = |event: &RequestEvent| Answer::of(event);
    let with = |status, end| {
        let mut event = legacy_event(&snapshot);
        (event.status, event.end) = (status, end);
        of(&event)
    };
    let rows = [
        (with(404, End::Complete), Answer::Served),
        (with(500, End::Complete), Answer::Failed),
        (with(200, End::CellGone), Answer::Failed),
        (with(200, End::TimedOut), Answer::Failed),
        (with(200, End::ClientGone), Answer::Served),
        (with(499, End::ClientGone), Answer::ByClient),
        (with(200, End::Moved), Answer::Moving),
        (with(200, End::Drain), Answer::Ours),
    ];
    rows.into_iter().for_each(|(found, expect)| assert_eq!(found, expect));
    let mut tunnel = legacy_event(&snapshot);
    (tunnel.upgrade, tunnel.status, tunnel.end) =
        (crate::policy::facts::Upgrade::WebSocket, 101, End::CellGone);
    assert_eq!(of(&tunnel), Answer::Served);
    for (refusal, expect) in [
        (Refusal::CellUnreachable(Unreachable::Refused), Answer::Failed),
        (Refusal::Shed(Shed::CellDown), Answer::Down),
        (Refusal::Shed(Shed::QueueFull), Answer::NoRoom),
        (Refusal::Shed(Shed::Operator), Answer::OnPurpose),
        (Refusal::BrownoutHard, Answer::OnPurpose),
        (Refusal::AccountMoving, Answer::Moving),
        (Refusal::BadRequest(BadRequest::Path), Answer::ByClient),
        (Refusal::Internal, Answer::Ours),
    ] {
        assert_eq!(of(&refused(&snapshot, refusal)), expect, "{refusal:?}");
    }
}

#[test]
fn what_was_refused_counts_for_the_cell_of_its_account() {
    let (pulse, snapshot) = (Pulse::default(), snapshot(1));
    let mut event = refused(&snapshot, Refusal::BrownoutSoft);
    event.decision.as_mut().unwrap().verdict = Verdict::Refuse(Refusal::BrownoutSoft);
    pulse.count(&event);
    event.decision = Some(Decision::refused(Refusal::NoAccount));
    event.refusal = Some(Refusal::NoAccount);
    pulse.count(&event);
    pulse.tick(second(1));
    assert_eq!(tile(&pulse, "us1").long.count(Answer::OnPurpose), 1);
    assert_eq!(tile(&pulse, "none").long.count(Answer::ByClient), 1);
}

#[test]
fn what_a_lever_refuses_is_told_from_what_was_announced() {
    let (pulse, snapshot) = (Pulse::default(), snapshot(1));
    for refusal in [Refusal::BrownoutSoft, Refusal::Shed(Shed::Operator), Refusal::Shed(Shed::Operator)] {
        pulse.count(&refused(&snapshot, refusal));
    }
    pulse.tick(second(1));
    let window = tile(&pulse, "us1").now;
    assert_eq!((window.count(Answer::OnPurpose), window.by_lever), (3, 2));
    // Of one account, which has asked and was refused: known in each window, or nobody's own trouble is ever told from all's.
    assert_eq!((window.asking.count_ones(), window.failing), (1, window.asking));
}

#[test]
fn a_flood_of_one_reason_leaves_what_was_seldom() {
    let (pulse, snapshot) = (Pulse::default(), snapshot(1));
    let mut rare = refused(&snapshot, Refusal::CellUnreachable(Unreachable::Refused));
    rare.request_id = "the-rare-one".into();
    pulse.count(&rare);
    let flood = refused(&snapshot, Refusal::Shed(Shed::QueueFull));
    for number in 1..=200 {
        (0..1_000).for_each(|_| pulse.count(&flood));
        pulse.tick(second(number));
    }
    let kept = pulse.failures();
    assert_eq!(kept.len(), KEPT_FAILURES);
    assert_eq!(&*kept.last().unwrap().request_id, "the-rare-one");
    assert_eq!((kept[0].reason, kept[0].answer), ("shed_queue_full", Answer::NoRoom));
    assert_eq!(kept.last().unwrap().cell_error, Some("connection_refused"));
    // The newest seconds are not pushed out by the oldest: four of each.
    pulse.count(&refused(&snapshot, Refusal::Internal));
    assert_eq!((pulse.failures()[0].reason, pulse.failures().len()), ("internal", KEPT_FAILURES));
}

#[test]
fn a_failure_shows_no_query_and_no_credential() {
    let mut live = Arc::into_inner(snapshot(1)).unwrap();
    let shape = TokenShape { prefix: "dbtc_".into(), min_len: 20, max_len: 40 };
    live.identify.credentials = CredentialRules { shapes: vec![shape], ..CredentialRules::default() };
    let (pulse, snapshot) = (Pulse::default(), Arc::new(live));
    let mut event = refused(&snapshot, Refusal::Shed(Shed::Operator));
    event.path = format!("/x/dbtc_{}/y?token=canary", "a".repeat(30)).into();
    event.host = format!("{}.example.com", "b".repeat(300)).into();
    pulse.count(&event);
    let [seen]: [SeenFailure; 1] = pulse.failures().try_into().unwrap();
    assert_eq!((&*seen.path, seen.host.len()), ("/x/{credential}/y", 256));
    assert_eq!((seen.cell.as_deref(), seen.surface.as_deref()), (Some("us1"), Some("app")));
    assert_eq!((seen.account.unwrap().value(), seen.status), (1, 503));
}
