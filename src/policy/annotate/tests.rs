//! Responses before and after, as header lines.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::policy::ids::Label;
use crate::policy::schedule::{Dates, ScheduleParts};

const OURS: [&str; 3] = [
    "deprecation: @1769904000",
    "sunset: Sun, 01 Nov 2026 00:00:00 GMT",
    "link: <https://docs.example.com/url-migration>; rel=\"deprecation\"; type=\"text/html\"",
];
const EARLIER: &str = "Thu, 01 Oct 2026 00:00:00 GMT";
const LATER: &str = "Tue, 01 Dec 2026 00:00:00 GMT";

fn schedule(merge: Merge, policy: Option<&str>) -> Schedule {
    Schedule::new(ScheduleParts {
        name: Label::parse("legacy").unwrap(),
        dates: Dates { deprecated_since: 1_769_904_000, sunset_at: 1_793_491_200 },
        guide: "https://docs.example.com/url-migration".into(),
        policy: policy.map(Into::into),
        merge,
    })
    .unwrap()
}

fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    headers
}

/// The response's lines after annotation, in the order of `names`.
fn annotated(notice: &Notice<'_>, status: u16, upstream: &[&str]) -> (Vec<String>, UpstreamDates) {
    let mut headers = headers(upstream);
    let mut edits = Vec::new();
    let said = annotate(notice, status, &headers, &mut edits);
    edits.into_iter().for_each(|edit| edit.apply(&mut headers));
    let mut lines = Vec::new();
    for name in [DEPRECATION, SUNSET, LINK, ACCESS_CONTROL_EXPOSE_HEADERS] {
        let values = headers.get_all(&name).iter();
        lines.extend(values.map(|value| format!("{name}: {}", value.to_str().unwrap())));
    }
    (lines, said)
}

fn check(merge: Merge, upstream: &[&str], expect: &[&str], said: UpstreamDates) {
    let schedule = schedule(merge, None);
    let notice = Notice { schedule: &schedule, own_address: None, credential_known: false, path: "/x" };
    assert_eq!(
        annotated(&notice, 200, upstream),
        (expect.iter().map(|line| line.to_string()).collect(), said),
        "{merge:?} {upstream:?}"
    );
}

const NOTHING: UpstreamDates = UpstreamDates { present: false, unreadable: false };
const READ: UpstreamDates = UpstreamDates { present: true, unreadable: false };
const UNREADABLE: UpstreamDates = UpstreamDates { present: true, unreadable: true };

#[test]
fn a_plain_response_gets_one_of_each() {
    for merge in [Merge::Earliest, Merge::Ours, Merge::Upstream] {
        check(merge, &["content-type: text/plain"], &OURS, NOTHING);
    }
}

#[test]
fn octokit_finds_the_guide() {
    // `/<([^<>]+)>; rel="deprecation"/` of octokit/request.js, by hand.
    let line = schedule(Merge::Earliest, None).lines().guide.to_str().unwrap().to_string();
    let (url, rest) = line.strip_prefix('<').unwrap().split_once('>').unwrap();
    assert_eq!(url, "https://docs.example.com/url-migration");
    assert!(rest.starts_with("; rel=\"deprecation\""));
}

#[test]
fn the_earlier_date_counts() {
    let [_, sunset, guide] = OURS;
    check(Merge::Earliest, &["deprecation: @1700000000"], &["deprecation: @1700000000", sunset, guide], READ);
    check(Merge::Earliest, &["deprecation: @1780000000"], &OURS, READ);
    check(
        Merge::Earliest,
        &["deprecation: Tue, 14 Nov 2023 22:13:20 GMT"],
        &["deprecation: @1700000000", sunset, guide],
        READ,
    );
    check(
        Merge::Earliest,
        &["deprecation: @1700000000;x=y"],
        &["deprecation: @1700000000", sunset, guide],
        READ,
    );
    check(Merge::Earliest, &[&format!("sunset: {LATER}")], &OURS, READ);
    check(
        Merge::Earliest,
        &[&format!("sunset: {EARLIER}")],
        &[OURS[0], &format!("sunset: {EARLIER}"), guide],
        READ,
    );
    // Other forms of HTTP-date are rewritten to the one that may be sent.
    check(
        Merge::Earliest,
        &["sunset: Thursday, 01-Oct-26 00:00:00 GMT"],
        &[OURS[0], &format!("sunset: {EARLIER}"), guide],
        READ,
    );
}

#[test]
fn a_policy_can_prefer_one_side() {
    let both = [&*format!("sunset: {EARLIER}"), "deprecation: @1700000000"];
    check(Merge::Ours, &both, &OURS, READ);
    check(Merge::Upstream, &both, &["deprecation: @1700000000", both[0], OURS[2]], READ);
    let later = format!("sunset: {LATER}");
    check(Merge::Upstream, &[&later], &[OURS[0], &later, OURS[2]], READ);
}

#[test]
fn the_sunset_never_comes_before_the_deprecation() {
    let early = "sunset: Thu, 01 Jan 2026 00:00:00 GMT";
    check(Merge::Earliest, &[early], &["deprecation: @1767225600", early, OURS[2]], READ);
    check(
        Merge::Upstream,
        &[early, "deprecation: @1800000000"],
        &["deprecation: @1767225600", early, OURS[2]],
        READ,
    );
}

#[test]
fn what_cannot_be_read_is_replaced() {
    for value in [
        "true",
        "?1",
        "@",
        "@x",
        "@1.5",
        "@+1",
        "@1700000000, @1700000001",
        "1700000000",
        "@9999999999999999",
        "soon",
        "\"@1\"",
    ] {
        check(Merge::Earliest, &[&format!("deprecation: {value}")], &OURS, UNREADABLE);
        check(Merge::Upstream, &[&format!("deprecation: {value}")], &OURS, UNREADABLE);
    }
    check(Merge::Earliest, &["deprecation: @1", "deprecation: @2"], &OURS, UNREADABLE);
    for value in ["2026-10-01", "Thu, 01 Oct 2026", "@1790000000", &format!("{EARLIER}, {EARLIER}")] {
        check(Merge::Earliest, &[&format!("sunset: {value}")], &OURS, UNREADABLE);
    }
    // A date that no field can say is as good as none.
    check(Merge::Earliest, &["deprecation: @-5"], &OURS, READ);
}

#[test]
fn links_of_the_cell_stay() {
    let theirs = ["link: </a>; rel=\"next\"", "link: <https://cell.test/d>; rel=\"deprecation\""];
    // Ours is the sunset that counts: ours first.
    check(Merge::Earliest, &theirs, &[OURS[0], OURS[1], OURS[2], theirs[0], theirs[1]], NOTHING);
    // The cell's counts: its own first.
    let early = format!("sunset: {EARLIER}");
    check(
        Merge::Earliest,
        &[&early, theirs[0], theirs[1]],
        &[OURS[0], &early, theirs[0], theirs[1], OURS[2]],
        READ,
    );
    check(Merge::Ours, &[&early, theirs[0]], &[OURS[0], OURS[1], OURS[2], theirs[0]], READ);
}

#[test]
fn nothing_is_said_on_1xx() {
    let schedule = schedule(Merge::Earliest, None);
    let notice = Notice { schedule: &schedule, own_address: None, credential_known: true, path: "/" };
    for status in [100, 101, 103, 199] {
        assert_eq!(
            annotated(&notice, status, &["access-control-allow-origin: *"]),
            (vec![], NOTHING),
            "{status}"
        );
    }
    for status in [200, 204, 206, 301, 304, 400, 404, 503] {
        assert!(annotated(&notice, status, &[]).0.starts_with(&OURS.map(String::from)), "{status}");
    }
}

#[test]
fn the_own_address_is_shown_to_those_who_were_let_in() {
    let (prefix, metadata) = (Label::parse("ab123").unwrap(), Label::parse("metadata").unwrap());
    let schedule = schedule(Merge::Earliest, Some("https://docs.example.com/policy"));
    let own_address = |surface| Some(OwnAddress { prefix: &prefix, surface, domain: "us1.dbt.com" });
    let links = |own_address: Option<OwnAddress<'_>>, status: u16, credential_known: bool, path: &str| {
        let notice = Notice { schedule: &schedule, own_address, credential_known, path };
        annotated(&notice, status, &[]).0.split_off(3)
    };
    let policy = "link: <https://docs.example.com/policy>; rel=\"sunset\"; type=\"text/html\"".to_string();
    let shown = |url: &str| vec![policy.clone(), format!("link: <{url}>; rel=\"successor-version\"")];
    let hidden = vec![policy.clone()];

    let path = "/api/v2/accounts/1/jobs/7/run/";
    assert_eq!(
        links(own_address(None), 200, false, path),
        shown(&format!("https://ab123.us1.dbt.com{path}"))
    );
    assert_eq!(
        links(own_address(Some(&metadata)), 204, false, "/graphql"),
        shown("https://ab123.metadata.us1.dbt.com/graphql")
    );
    assert_eq!(links(own_address(None), 404, true, "/"), shown("https://ab123.us1.dbt.com/"));
    assert_eq!(links(None, 200, true, "/"), hidden);
    for status in [301, 304, 400, 401, 403, 404, 500, 502] {
        assert_eq!(links(own_address(None), status, false, "/"), hidden, "{status}");
    }
    // A path cannot end the brackets, and is not repeated at any length.
    assert_eq!(
        links(own_address(None), 200, false, "/a>;rel=\"x\"<b\\c^`{|}%2F[]"),
        shown("https://ab123.us1.dbt.com/a%3E;rel=%22x%22%3Cb%5Cc%5E%60%7B%7C%7D%2F[]")
    );
    let long = format!("/{}", "a".repeat(MAX_PATH));
    assert_eq!(links(own_address(None), 200, false, &long), shown("https://ab123.us1.dbt.com/"));
    assert_eq!(links(own_address(None), 200, false, "*"), shown("https://ab123.us1.dbt.com/"));
}

#[test]
fn scripts_may_read_the_fields_where_they_may_read_the_response() {
    let exposed = |upstream: &[&str]| {
        let schedule = schedule(Merge::Earliest, None);
        let notice = Notice { schedule: &schedule, own_address: None, credential_known: false, path: "/" };
        annotated(&notice, 200, upstream).0.split_off(3)
    };
    let ours = &"access-control-expose-headers: Deprecation, Sunset, Link, Retry-After, Proxy-Status, X-Request-Id, X-Cellgate-Outcome".to_string();
    let origin = "access-control-allow-origin: https://app.test";
    assert_eq!(exposed(&[]), Vec::<String>::new());
    assert_eq!(exposed(&["access-control-expose-headers: ETag"]), ["access-control-expose-headers: ETag"]);
    assert_eq!(exposed(&[origin]), std::slice::from_ref(ours));
    assert_eq!(exposed(&["access-control-allow-origin: *"]), std::slice::from_ref(ours));
    let etag = "access-control-expose-headers: ETag";
    assert_eq!(exposed(&[origin, etag]), [etag.to_string(), ours.clone()]);
    let all = "access-control-expose-headers: *";
    assert_eq!(exposed(&["access-control-allow-origin: *", all]), [all]);
    assert_eq!(
        exposed(&[origin, "access-control-allow-credentials: true", all]),
        [all.to_string(), ours.clone()]
    );
}
