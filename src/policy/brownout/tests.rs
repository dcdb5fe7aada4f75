//! Whom brownouts meet, when, and whom they spare.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::policy::decide::decide;
use crate::policy::endpoint_class::{EndpointClass, EndpointClasses};
use crate::policy::extension::{Extension, Extensions};
use crate::policy::learned::LearnedTable;
use crate::policy::protection::priority::Priority;
use crate::policy::snapshot::Segment;
use crate::test_snapshot::{Request, SERVICE_TOKEN, account, brownouts, example, label};

/// Sunset of the schedule of all hosts: 2026-11-01. The brownouts of these tests lie before it.
const SUNSET: i64 = 1_793_491_200;
const START: i64 = SUNSET - 86_400;
const WINDOW: (i64, i64) = (START, START + 3_600);

fn snapshot(all: &[(&str, BrownoutMode)]) -> Snapshot {
    let mut snapshot = example().build();
    let all: Vec<_> = all.iter().map(|(id, mode)| (*id, *mode, WINDOW)).collect();
    snapshot.brownouts = brownouts(&all);
    snapshot
}

fn met_at(snapshot: &Snapshot, request: &Request, now: i64, cancelled: &str) -> Option<Planned> {
    let decided = |facts: &RequestFacts<'_>| {
        let decision = decide(snapshot, &LearnedTable::default(), facts, u64::try_from(now).unwrap());
        planned(snapshot, facts, &decision, now, |id| id.as_str() == cancelled)
    };
    request.read(snapshot, decided).unwrap()
}

fn met(snapshot: &Snapshot, request: &Request) -> Option<Planned> {
    met_at(snapshot, request, START, "")
}

/// The ids and modes that a brownout has, or what came after the sunset.
fn told(snapshot: &Snapshot, planned: Option<Planned>) -> String {
    match planned {
        None => "served".to_owned(),
        Some(Planned::Brownout { index, mode, .. }) => {
            format!("{} {}", snapshot.brownouts.at(index).id, mode.as_str())
        }
        Some(Planned::Sunset { gone }) => if gone { "gone" } else { "refused" }.to_owned(),
    }
}

fn api(line: &str) -> Request {
    Request::new(line).with(&[&format!("authorization: Token {SERVICE_TOKEN}")])
}

const LEGACY: &str = "GET cloud.getdbt.com/api/v2/accounts/12345/jobs/";

#[test]
fn only_requests_to_legacy_hosts_that_name_an_account_are_met() {
    let snapshot = snapshot(&[("bo", BrownoutMode::Hard)]);
    let check = |request: &Request, expect: bool| {
        assert_eq!(met(&snapshot, request).is_some(), expect, "{request:?}");
    };
    check(&api(LEGACY), true);
    check(&api("POST cloud.getdbt.com/api/v2/accounts/12345/jobs/7/run/"), true);
    check(&api("GET mx789.cloud.getdbt.com/"), true);
    check(&api("GET metadata.cloud.getdbt.com/graphql"), true);
    // An account's own address never.
    check(&api("GET mx789.us1.dbt.com/api/v2/accounts/12345/jobs/"), false);
    check(&api("GET mx789.metadata.us1.dbt.com/graphql"), false);
    // Nobody is named, and the switch is off; or the request is refused anyway.
    check(&Request::new("GET cloud.getdbt.com/"), false);
    check(&Request::new(LEGACY), false);
    check(&api("GET cloud.getdbt.com/api/v2/accounts/404404/jobs/"), false);
}

#[test]
fn preflights_health_checks_and_sign_in_callbacks_are_spared() {
    let mut snapshot = snapshot(&[("bo", BrownoutMode::Hard)]);
    snapshot.brownouts.exceptions = vec!["/healthz".into()];
    let check = |request: &Request, expect: bool| {
        assert_eq!(met(&snapshot, request).is_some(), expect, "{request:?}");
    };
    check(&api("GET mx789.cloud.getdbt.com/complete/okta"), false);
    let preflight = Request::new("OPTIONS cloud.getdbt.com/api/v2/accounts/12345/jobs/");
    check(&preflight.clone().with(&["access-control-request-method: POST"]), false);
    check(&api("OPTIONS cloud.getdbt.com/api/v2/accounts/12345/jobs/"), true);
    check(&api("GET mx789.cloud.getdbt.com/healthz"), false);
    check(&api("GET mx789.cloud.getdbt.com/healthz/live"), false);
    check(&api("GET mx789.cloud.getdbt.com/health"), true);
    check(&api("GET mx789.cloud.getdbt.com/healthzz"), true);
}

#[test]
fn it_is_in_force_in_its_windows_and_the_strongest_that_is_not_cancelled_counts() {
    let snapshot = snapshot(&[
        ("watch", BrownoutMode::Observe),
        ("hard", BrownoutMode::Hard),
        ("soft", BrownoutMode::Soft),
        ("hard-2", BrownoutMode::Hard),
    ]);
    let check = |now, cancelled: &str, expect: &str| {
        let planned = met_at(&snapshot, &api(LEGACY), now, cancelled);
        assert_eq!(told(&snapshot, planned), expect, "{now} without {cancelled}");
    };
    check(START - 1, "", "served");
    check(START, "", "hard hard");
    check(START + 3_599, "", "hard hard");
    check(START + 3_600, "", "served");
    check(START, "hard", "hard-2 hard");
    check(START, "soft", "hard hard");
    let soft = super::tests::snapshot(&[("watch", BrownoutMode::Observe), ("soft", BrownoutMode::Soft)]);
    assert_eq!(told(&soft, met_at(&soft, &api(LEGACY), START, "soft")), "watch observe");
}

#[test]
fn what_it_says_of_whom_it_is_about_must_all_be_true() {
    let check = |change: &dyn Fn(&mut Brownout), line: &str, expect: bool| {
        let mut snapshot = snapshot(&[("bo", BrownoutMode::Soft)]);
        snapshot.endpoint_classes = exports();
        change(&mut snapshot.brownouts.all[0]);
        assert_eq!(met(&snapshot, &api(line)).is_some(), expect, "{line} {:?}", snapshot.brownouts.all[0]);
    };
    let metadata = "GET metadata.cloud.getdbt.com/graphql";
    check(&|bo| bo.surfaces = [SurfaceIndex(1)].into(), LEGACY, false);
    check(&|bo| bo.surfaces = [SurfaceIndex(1)].into(), metadata, true);
    check(&|bo| bo.schedules = [ScheduleIndex(0)].into(), LEGACY, true);
    check(&|bo| bo.schedules = [ScheduleIndex(1)].into(), LEGACY, false);
    check(&|bo| bo.accounts = [account(777), account(12345)].into(), LEGACY, true);
    check(&|bo| bo.accounts = [account(777)].into(), LEGACY, false);
    check(&|bo| bo.classes = [label("exports")].into(), LEGACY, false);
    check(&|bo| bo.classes = [label("exports")].into(), "GET mx789.cloud.getdbt.com/exports/1", true);
    check(&|bo| bo.no_account = true, LEGACY, true);
}

#[test]
fn requests_that_name_nobody_have_a_switch_of_their_own() {
    use crate::policy::hosts::{Fallback, Role};
    let builder = example();
    let fallback = Fallback::Cell(builder.cell_index("mt"));
    let mut snapshot =
        builder.host_with(Role::Legacy, "old.getdbt.com", 0, fallback, Fallback::Refuse).build();
    snapshot.brownouts = brownouts(&[("bo", BrownoutMode::Hard, WINDOW)]);
    let request = Request::new("GET old.getdbt.com/login");
    assert_eq!(met(&snapshot, &request), None);
    snapshot.brownouts.all[0].no_account = true;
    assert!(met(&snapshot, &request).is_some());
}

#[test]
fn an_account_is_always_in_or_out_and_a_larger_share_has_all_of_a_smaller_one() {
    let of = |id: &str, share: &str| {
        let mut brownout = snapshot(&[(id, BrownoutMode::Soft)]).brownouts.all.remove(0);
        brownout.share = Share::parse(share).unwrap();
        (1..=20_000).filter(|id| brownout.has(account(*id))).collect::<Vec<u64>>()
    };
    let (tenth, third) = (of("bo-1", "10%"), of("bo-1", "30%"));
    assert_eq!(tenth, of("bo-1", "10%"));
    assert!(tenth.iter().all(|id| third.contains(id)));
    // Five standard deviations: 5 * sqrt(20000 * 0.1 * 0.9) = 212.
    assert!(tenth.len().abs_diff(2_000) < 212, "{}", tenth.len());
    let other = of("bo-2", "10%");
    let both = tenth.iter().filter(|id| other.contains(id)).count();
    assert!(both < 300, "another id is another choice: {both} of {} are in both", other.len());
}

#[test]
fn an_exempt_account_is_served_until_its_day() {
    let mut snapshot = snapshot(&[("bo-1", BrownoutMode::Soft), ("bo-2", BrownoutMode::Hard)]);
    let exempt = |account: u64, until, brownouts: &[u16]| Exemption {
        account: crate::test_snapshot::account(account),
        until,
        reason: "a promise".into(),
        brownouts: brownouts.iter().copied().map(BrownoutIndex).collect(),
    };
    let all = snapshot.brownouts.all.clone();
    let mut check = |exemptions: Vec<Exemption>, expect: &str| {
        snapshot.brownouts = Brownouts::new(all.clone(), exemptions, Vec::new());
        assert_eq!(told(&snapshot, met(&snapshot, &api(LEGACY))), expect);
    };
    check(vec![exempt(12345, START + 1, &[]), exempt(5, START + 1, &[])], "served");
    check(vec![exempt(12345, START, &[])], "bo-2 hard");
    check(vec![exempt(12345, START + 1, &[1])], "bo-1 soft");
    check(vec![exempt(12345, START + 1, &[1]), exempt(12345, START + 1, &[0])], "served");
    check(vec![exempt(12344, START + 1, &[]), exempt(12346, START + 1, &[])], "bo-2 hard");
}

#[test]
fn after_the_sunset_it_is_what_the_schedule_or_the_promise_says() {
    let check = |after: AfterSunset, now, line: &str, expect: &str| {
        let mut snapshot = snapshot(&[]);
        snapshot.schedules[0].after_sunset = after;
        let extension = Extension {
            account: account(70_403_103_966_603),
            sunset_at: SUNSET + 100,
            reason: "a promise".into(),
            after_sunset: None,
        };
        snapshot.extensions = Extensions::new(vec![extension], &snapshot.schedules);
        let request = if line == "GET cloud.getdbt.com/" { Request::new(line) } else { api(line) };
        assert_eq!(told(&snapshot, met_at(&snapshot, &request, now, "")), expect, "{after:?} {now} {line}");
    };
    let (extended, own) = ("GET ab123.cloud.getdbt.com/", "GET mx789.us1.dbt.com/api/v2/accounts/12345/");
    for now in [SUNSET - 1, SUNSET, SUNSET + 100] {
        check(AfterSunset::Keep, now, LEGACY, "served");
        check(AfterSunset::Gone, now, own, "served");
    }
    check(AfterSunset::Refuse, SUNSET - 1, LEGACY, "served");
    check(AfterSunset::Refuse, SUNSET, LEGACY, "refused");
    check(AfterSunset::Refuse, SUNSET, "GET cloud.getdbt.com/", "served");
    check(AfterSunset::Refuse, SUNSET + 99, extended, "served");
    check(AfterSunset::Refuse, SUNSET + 100, extended, "refused");
    check(AfterSunset::Gone, SUNSET, LEGACY, "gone");
    check(AfterSunset::Gone, SUNSET, "GET cloud.getdbt.com/", "gone");
    check(AfterSunset::Gone, SUNSET, "GET cloud.getdbt.com/api/v2/accounts/404404/", "gone");
    check(AfterSunset::Gone, SUNSET, "GET mx789.cloud.getdbt.com/complete/okta", "gone");
    check(AfterSunset::Gone, SUNSET + 99, extended, "served");
    // The account's own schedule ends a month later.
    check(AfterSunset::Gone, SUNSET, "GET ef789.cloud.getdbt.com/", "served");
}

#[test]
fn a_client_of_a_soft_one_is_told_its_end_and_no_more_than_an_hour() {
    let check = |mode, until, now, random, expect: Option<u32>| {
        let planned = Planned::Brownout { index: BrownoutIndex(0), mode, until };
        assert_eq!(planned.retry_after_s(now, random), expect, "{mode:?} {until} {now} {random}");
    };
    check(BrownoutMode::Soft, 100, 0, 0, Some(100));
    check(BrownoutMode::Soft, 100, 0, 10, Some(110));
    check(BrownoutMode::Soft, 100, 0, 11, Some(100));
    check(BrownoutMode::Soft, 100, 99, u32::MAX, Some(1));
    check(BrownoutMode::Soft, 100, 100, 7, Some(1));
    check(BrownoutMode::Soft, 86_400, 0, 0, Some(3_600));
    check(BrownoutMode::Hard, 100, 0, 0, None);
    check(BrownoutMode::Observe, 100, 0, 0, None);
    assert_eq!(Planned::Sunset { gone: true }.retry_after_s(0, 0), None);
}

#[test]
fn the_own_address_is_shown_to_whoever_is_known_and_to_nobody_else() {
    let snapshot = snapshot(&[("bo-1", BrownoutMode::Hard)]);
    let of = |request: &Request| {
        let noticed = |facts: &RequestFacts<'_>| {
            let decision = decide(&snapshot, &LearnedTable::default(), facts, START.unsigned_abs());
            let planned = planned(&snapshot, facts, &decision, START, |_| false).unwrap();
            notice::notice(&snapshot, &decision, planned, facts.host, facts.target).unwrap()
        };
        request.read(&snapshot, noticed).unwrap()
    };
    let known = of(&api(LEGACY));
    assert_eq!(known.replacement.as_deref(), Some("https://mx789.us1.dbt.com/api/v2/accounts/12345/jobs/"));
    assert_eq!(known.brownout, Some(("bo-1".into(), WINDOW.1)));
    assert_eq!(
        known.message(),
        "Use https://mx789.us1.dbt.com instead of cloud.getdbt.com, which is being retired. This is a planned \
         interruption (bo-1) until 2026-10-31T01:00:00Z; the new address is not affected."
    );
    let stranger = of(&Request::new(LEGACY).with(&["authorization: Token dbtc_WALKER"]));
    assert_eq!((&stranger.origin, &stranger.replacement), (&None, &None));
    assert!(!stranger.message().contains("mx789"), "{}", stranger.message());
}

fn exports() -> EndpointClasses {
    let literal = |text: &str| Segment::Literal(text.into());
    let class = EndpointClass {
        name: label("exports"),
        paths: vec![vec![literal("exports")]],
        request: None,
        response_head: None,
        idle: None,
        priority: Priority::default(),
        long_lived: false,
    };
    EndpointClasses::new(vec![class], |_, _| std::cmp::Ordering::Equal)
}
