//! Our own cookie among the other sources: whom it names, when it is given, and what it never does.

#![allow(clippy::unwrap_used)]

use cellgate::policy::credential::{Learning, fingerprint};
use cellgate::policy::facts::Scheme;
use cellgate::policy::learned::LearnedTable;
use cellgate::policy::snapshot::Snapshot;
use http::HeaderMap;

use crate::decide::line;
use crate::snapshot::{NOW, Request, SERVICE_TOKEN, account, example, fingerprint_key};

const AB123: u64 = 70_403_103_966_603;
const HOUR: u64 = 3_600;

/// A session that no table knows.
const SESSION: &str = "Cookie: sessionid=FAKEsession";
const BROWSER: &str = "Sec-Fetch-Mode: cors";

fn cookie(snapshot: &Snapshot, of: u64, issued: u64) -> String {
    let value = snapshot.identify.routing_cookie.as_ref().unwrap().sign(account(of), issued).unwrap();
    format!("Cookie: __Host-cellgate={value}")
}

fn get(url: &str) -> Request {
    Request::new(&format!("GET {url}"))
}

/// A table that knows [`SESSION`] as this account's.
fn learned(of: u64) -> LearnedTable {
    let table = LearnedTable::default();
    let bounds = Learning { entries: 100, per_account: 10 };
    table.teach(fingerprint(&fingerprint_key("k2"), b"FAKEsession"), "k2", account(of), &bounds, 0);
    table
}

#[test]
fn it_names_an_account_where_nothing_before_it_does() {
    let snapshot = example().routing_cookie().build();
    let ours = |of: u64| cookie(&snapshot, of, NOW);
    let nothing = LearnedTable::default();
    let check_with = |table: &LearnedTable, request: Request, fields: &[&str], expect: &str| {
        let decision = request.with(fields).decide(&snapshot, table);
        assert_eq!(line(&snapshot, &decision), expect, "{fields:?}");
    };
    let check = |url: &str, fields: &[&str], expect: &str| check_with(&nothing, get(url), fields, expect);
    let page = "cloud.getdbt.com/settings/profile";
    check(page, &[SESSION], "404 no_account none");
    check(page, &[SESSION, &ours(12345)], "us1-c1 cookie 12345");
    check(page, &[&ours(26228)], "mt cookie 26228");
    check("cloud.getdbt.com/api/v2/whoami", &[SESSION, &ours(12345)], "us1-c1 cookie 12345");
    // It is no credential.
    check("cloud.getdbt.com/api/v2/whoami", &[&ours(12345)], "401 credential_required none");
    // Whatever stands before it wins, and the disagreement is seen.
    check("cloud.getdbt.com/deploy/12345/", &[&ours(26228)], "us1-c1 path 12345 !cookie");
    check("cloud.getdbt.com/deploy/12345/", &[&ours(12345)], "us1-c1 path 12345");
    check("cloud.getdbt.com/x?account_id=12345", &[&ours(26228)], "us1-c1 query 12345 !cookie");
    check(page, &["environmentid: 88991", &ours(26228)], "us1-c1 header 12345 !cookie");
    let token = format!("Authorization: Token {SERVICE_TOKEN}");
    check(page, &[&token, &ours(26228)], "us1-c1 credential 12345 !cookie");
    check(page, &["Cookie: account=12345", &ours(26228)], "us1-c1 cookie 12345 !cookie");
    check_with(&learned(12345), get(page), &[SESSION, &ours(26228)], "us1-c1 cookie 12345 !cookie");
    check("ab123.cloud.getdbt.com/x", &[&ours(26228)], "us1-c1 host_prefix 70403103966603 !cookie");
    // On a cell host it is not there.
    check("ab123.us1.dbt.com/x", &[SESSION, &ours(26228)], "us1-c1 host_prefix 70403103966603");
    // An id range names a cell and no account, and comes after it.
    let born = "environmentid: 70437463654400";
    check(page, &[born], "us1-c2 id_range");
    check(page, &[born, &ours(12345)], "us1-c1 cookie 12345");
}

#[test]
fn one_that_does_not_hold_says_nothing() {
    let snapshot = example().routing_cookie().build();
    let without = example().build();
    let good = cookie(&snapshot, 12345, NOW);
    let check = |snapshot: &Snapshot, field: &str, now: u64, expect: &str| {
        let request = get("cloud.getdbt.com/settings").with(&[SESSION, field]);
        let decision = request.decide_at(snapshot, &LearnedTable::default(), now);
        assert_eq!(line(snapshot, &decision), expect, "{field} {now}");
    };
    let nobody = "404 no_account none";
    check(&snapshot, &good, NOW, "us1-c1 cookie 12345");
    check(&snapshot, &good, NOW + 12 * HOUR - 1, "us1-c1 cookie 12345");
    check(&snapshot, &good, NOW + 12 * HOUR, nobody);
    check(&snapshot, &good, NOW - HOUR, nobody);
    // An account whose row has gone: a refusal of it would last as long as the cookie.
    check(&snapshot, &cookie(&snapshot, 999_999_999, NOW), NOW, nobody);
    check(&snapshot, &good.replace(".12345.", ".26228."), NOW, nobody);
    check(&snapshot, &good.replace(".c2.", ".c1."), NOW, nobody);
    check(&snapshot, &good.replace(".c2.", ".c3."), NOW, nobody);
    check(&snapshot, "Cookie: __Host-cellgate=12345", NOW, nobody);
    check(&snapshot, &format!("{good}; __Host-cellgate=x"), NOW, nobody);
    check(&without, &good, NOW, nobody);
}

#[test]
fn it_is_given_where_an_answer_proves_whose_the_session_is() {
    let snapshot = example().routing_cookie().build();
    let nothing = LearnedTable::default();
    let path = "cloud.getdbt.com/api/v3/accounts/12345/projects/";
    let check_as = |request: Request, table: &LearnedTable, expect: bool| {
        let decision = request.decide(&snapshot, table);
        assert_eq!(decision.may_mark, expect, "{request:?}");
        decision
    };
    let check = |url: &str, fields: &[&str], expect: bool| {
        check_as(get(url).with(fields), &nothing, expect);
    };
    check(path, &[SESSION, BROWSER], true);
    check(path, &[SESSION, "User-Agent: Mozilla/5.0 (Macintosh) Safari/605.1.15"], true);
    // Nobody who looks like a person at a browser with a session.
    check(path, &[SESSION, "User-Agent: python-requests/2.32"], false);
    check(path, &[BROWSER, "Cookie: sessionid=other"], false);
    check(path, &[BROWSER, "Authorization: Basic x"], false);
    check(path, &[SESSION, BROWSER, &format!("Authorization: Token {SERVICE_TOKEN}")], false);
    check_as(Request { scheme: Scheme::Http, ..get(path).with(&[SESSION, BROWSER]) }, &nothing, false);
    // Nothing that an answer would prove.
    check("cloud.getdbt.com/deploy/12345/", &[SESSION, BROWSER], false);
    check("cloud.getdbt.com/api/v2/whoami", &[SESSION, BROWSER, &cookie(&snapshot, 12345, NOW)], false);
    check("cloud.getdbt.com/api/v3/accounts/12345/graphql", &[SESSION, BROWSER], false);
    check("cloud.getdbt.com/api/v3/accounts/999999999/", &[SESSION, BROWSER], false);
    // Hosts that name the account: it would not be asked there.
    check("mx789.cloud.getdbt.com/api/v3/accounts/12345/", &[SESSION, BROWSER], false);
    check("mx789.us1.dbt.com/api/v3/accounts/12345/", &[SESSION, BROWSER], false);
    // Another source names another account.
    check(path, &["Cookie: account=26228", SESSION, BROWSER], false);
    check_as(get(path).with(&[SESSION, BROWSER]), &learned(26228), false);
    check_as(get(path).with(&[SESSION, BROWSER]), &learned(12345), true);
    let off = example().build();
    assert!(!get(path).with(&[SESSION, BROWSER]).decide(&off, &nothing).may_mark);
}

#[test]
fn it_is_given_again_after_half_of_its_time_and_for_another_account() {
    let snapshot = example().routing_cookie().build();
    let path = "cloud.getdbt.com/api/v3/accounts/12345/";
    let check = |of: u64, age: u64, expect: bool| {
        let held = cookie(&snapshot, of, NOW - age);
        let decision = get(path).with(&[SESSION, BROWSER, &held]).decide(&snapshot, &learned(12345));
        assert_eq!(decision.may_mark, expect, "{of} {age}");
        decision
    };
    check(12345, 0, false);
    check(12345, 6 * HOUR - 1, false);
    check(12345, 6 * HOUR, true);
    check(12345, 12 * HOUR, true);
    assert!(check(12345, 0, false).may_learn);
    // Whoever proves another account has moved on; but that answer teaches no credential.
    let moved = check(AB123, 0, true);
    assert_eq!(line(&snapshot, &moved), "us1-c1 path 12345 !cookie");
    assert!(!moved.may_learn);
}

#[test]
fn only_an_answer_that_accepts_the_session_and_is_for_one_gives_it() {
    let snapshot = example().routing_cookie().build();
    let request = get("cloud.getdbt.com/api/v3/accounts/12345/").with(&[SESSION, BROWSER]);
    let decision = request.decide(&snapshot, &LearnedTable::default());
    let check = |status: u16, cache: &str, expect: Option<u64>| {
        let mut answer = HeaderMap::new();
        answer.insert("cache-control", cache.parse().unwrap());
        assert_eq!(decision.mark(status, &answer), expect.map(account), "{status} {cache}");
    };
    for status in [200, 201, 202, 203, 204] {
        check(status, "private", Some(12345));
    }
    for status in [101, 205, 206, 301, 302, 304, 401, 403, 404, 500] {
        check(status, "private", None);
    }
    check(200, "public, max-age=60", None);
    check(200, "max-age=0, s-maxage=60", None);
}
