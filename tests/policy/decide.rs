//! Who is asking, which cell that means, and when nothing is forwarded.

#![allow(clippy::unwrap_used)]

use cellgate::policy::credential::{Learning, fingerprint};
use cellgate::policy::decide::{Decision, Source, Verdict};
use cellgate::policy::hosts::{Fallback, Role};
use cellgate::policy::learned::{LearnedTable, Taught};
use cellgate::policy::snapshot::{CellProtocol, Names, Snapshot};

use crate::snapshot::{Request, SERVICE_TOKEN, USER_TOKEN, account, example, fingerprint_key};

const AB123: u64 = 70_403_103_966_603;
const CD456: u64 = 70_437_463_654_557;

/// A decision in one line: `us1-c1 path 12345`, with `!query` for every source that disagrees.
pub fn line(snapshot: &Snapshot, decision: &Decision) -> String {
    let mut line = match &decision.verdict {
        Verdict::Forward { cell, .. } => snapshot.cell(*cell).name.to_string(),
        Verdict::Hold { cell } => format!("hold {}", snapshot.cell(*cell).name),
        Verdict::Redirect { location } => location.clone(),
        Verdict::Refuse(refusal) => format!("{} {}", refusal.status(), refusal.label()),
    };
    line += &format!(" {}", decision.source.as_str());
    if let Some(account) = decision.account {
        line += &format!(" {account}");
    }
    for conflict in &decision.conflicts {
        assert_eq!(conflict.followed, decision.source);
        line += &format!(" !{}", conflict.against.as_str());
    }
    line
}

fn check(snapshot: &Snapshot, request: &Request, expect: &str) {
    let decision = request.decide(snapshot, &LearnedTable::default());
    assert_eq!(line(snapshot, &decision), expect, "{request:?}");
    assert_eq!(
        decision,
        request.decide(snapshot, &LearnedTable::default()),
        "a decision is a plain function"
    );
}

fn get(url: &str) -> Request {
    Request::new(&format!("GET {url}"))
}

#[test]
fn every_source_can_name_the_account() {
    let snapshot = example().build();
    let check = |request: Request, expect: &str| check(&snapshot, &request, expect);
    check(get("ab123.us1.dbt.com/"), "us1-c1 host_prefix 70403103966603");
    check(get("acme.metadata.us1.dbt.com/graphql"), "us1-c1 host_prefix 70403103966603");
    check(get("metadata.ab123.us1.dbt.com/graphql"), "us1-c1 host_prefix 70403103966603");
    check(get("ab123.cloud.getdbt.com/"), "us1-c1 host_prefix 70403103966603");
    check(get("cloud.getdbt.com/deploy/12345/x"), "us1-c1 path 12345");
    check(get("cloud.getdbt.com/x?account_id=12345"), "us1-c1 query 12345");
    check(get("cloud.getdbt.com/x").with(&["x-account-id: 26228"]), "mt header 26228");
    check(get("semantic-layer.cloud.getdbt.com/x").with(&["environmentid: 88991"]), "us1-c1 header 12345");
    let token = format!("Authorization: bearer {SERVICE_TOKEN}");
    check(get("cloud.getdbt.com/").with(&[&token]), "us1-c1 credential 12345");
    let api_key = format!("x-api-key: {USER_TOKEN}");
    check(get("cloud.getdbt.com/").with(&[&api_key]), "us1-c1 credential 70403103966603");
    check(get("cloud.getdbt.com/").with(&["Cookie: a=b; account=26228"]), "mt cookie 26228");
    check(get("cloud.getdbt.com/").with(&["Cookie: sessionid=FAKE"]), "us1-c2 cookie 70437463654557");
    check(get("cloud.getdbt.com/").with(&["environmentid: 70437463654400"]), "us1-c2 id_range");
    check(get("cloud.getdbt.com/").with(&["environmentid: 70471823392768"]), "404 no_account none");
    check(get("cloud.getdbt.com/"), "404 no_account none");
    check(Request::new("OPTIONS cloud.getdbt.com/x"), "404 no_account none");
}

#[test]
fn the_first_source_that_answers_wins() {
    let snapshot = example().build();
    let check = |request: Request, expect: &str| check(&snapshot, &request, expect);
    let token = format!("Authorization: Token {SERVICE_TOKEN}");
    let path = "cloud.getdbt.com/deploy/26228/";
    check(get(path).with(&[&token]), "mt path 26228 !credential");
    check(get(path).with(&["Cookie: sessionid=FAKE"]), "mt path 26228 !cookie");
    check(get(path).with(&[&token, "Cookie: account=26228"]), "mt path 26228 !credential");
    check(get("cloud.getdbt.com/deploy/12345/").with(&[&token]), "us1-c1 path 12345");
    check(get("cloud.getdbt.com/?account_id=26228").with(&[&token]), "mt query 26228 !credential");
    check(get("cloud.getdbt.com/").with(&["x-account-id: 26228", &token]), "mt header 26228 !credential");
    check(
        get("cloud.getdbt.com/").with(&[&token, "Cookie: account=26228"]),
        "us1-c1 credential 12345 !cookie",
    );
    // A token out of a cookie never speaks louder than one in a header.
    check(get("cloud.getdbt.com/").with(&[&token, "Cookie: sessionid=FAKE"]), "us1-c1 credential 12345");
    // An id range names a cell only where nothing names an account.
    let range = "environmentid: 70437463654400";
    check(get("cloud.getdbt.com/").with(&[range, &token]), "us1-c1 credential 12345");
    check(
        get("cloud.getdbt.com/").with(&[range, "x-dbt-prod-environment-id: 70403103916032"]),
        "404 no_account none !id_range",
    );
}

#[test]
fn explicit_sources_of_a_legacy_request_must_agree() {
    let snapshot = example().build();
    let check = |request: Request, expect: &str| check(&snapshot, &request, expect);
    let refused = "400 conflicting_accounts";
    check(get("cloud.getdbt.com/deploy/12345/?account_id=26228"), &format!("{refused} path 12345 !query"));
    check(
        get("cloud.getdbt.com/deploy/12345/").with(&["x-account-id: 26228"]),
        &format!("{refused} path 12345 !header"),
    );
    check(
        get("cloud.getdbt.com/?account_id=26228").with(&["environmentid: 88991"]),
        &format!("{refused} query 26228 !header"),
    );
    check(get("ab123.cloud.getdbt.com/deploy/12345/"), &format!("{refused} host_prefix {AB123} !path"));
    check(
        get("cloud.getdbt.com/deploy/12345/?account_id=12345").with(&["x-account-id: 12345"]),
        "us1-c1 path 12345",
    );
    check(get("ab123.cloud.getdbt.com/deploy/70403103966603/"), "us1-c1 host_prefix 70403103966603");
}

#[test]
fn on_a_cell_host_nothing_else_changes_the_account() {
    let snapshot = example().build();
    let check = |request: Request, expect: &str| check(&snapshot, &request, expect);
    let token = format!("Authorization: Token {SERVICE_TOKEN}");
    let fields = ["x-account-id: 26228", "Cookie: account=26228", &token];
    check(
        get("ab123.us1.dbt.com/deploy/12345/?account_id=26228").with(&fields),
        "us1-c1 host_prefix 70403103966603 !path !query !header !credential !cookie",
    );
    check(get("cd456.us1.dbt.com/deploy/999/"), "us1-c2 host_prefix 70437463654557 !path");
    check(get("CD456.US1.dbt.com./deploy/70437463654557/"), "us1-c2 host_prefix 70437463654557");
    check(get("cd456.us1.dbt.com/").with(&["environmentid: abc"]), "us1-c2 host_prefix 70437463654557");
    check(get("cd456.us1.dbt.com/?account_id=abc"), "us1-c2 host_prefix 70437463654557");
    check(get("cd456.us1.dbt.com/api//v2/accounts/1"), "400 bad_path none");
    check(get("cd456.us1.dbt.com/?account_id=1&account_id=2"), "400 duplicate_key none");
}

#[test]
fn an_account_that_is_not_served_ends_the_search() {
    let snapshot = example().build();
    let check = |request: Request, expect: &str| check(&snapshot, &request, expect);
    let token = format!("Authorization: Token {SERVICE_TOKEN}");
    let unmapped = "404 unmapped_account";
    check(get("cloud.getdbt.com/deploy/999/").with(&[&token]), &format!("{unmapped} path 999 !credential"));
    check(get("cloud.getdbt.com/?account_id=999"), &format!("{unmapped} query 999"));
    check(get("cloud.getdbt.com/").with(&["Cookie: account=999"]), &format!("{unmapped} cookie 999"));
    check(get("nobody.us1.dbt.com/deploy/12345/"), &format!("{unmapped} host_prefix"));
    check(get("nobody.cloud.getdbt.com/deploy/12345/"), &format!("{unmapped} host_prefix"));
    // An account id is never read as an id of its cell's range.
    check(get("cloud.getdbt.com/deploy/70437463654401/"), &format!("{unmapped} path 70437463654401"));
    // The prefix of an account that lives in another region.
    check(get("ab123.us2.dbt.com/"), &format!("{unmapped} host_prefix {AB123}"));
    check(get("zz001.us2.dbt.com/"), "us2-c1 host_prefix 70506183150011");
}

#[test]
fn hosts_that_are_not_served_are_misdirected() {
    let snapshot = example().build();
    for host in ["example.com", "us1.dbt.com", "a.b.us1.dbt.com", "ab123.us3.dbt.com", "127.0.0.1", "[::1]"] {
        check(&snapshot, &get(&format!("{host}/deploy/12345/")), "421 misdirected none");
    }
}

#[test]
fn ambiguous_texts_are_refused() {
    let snapshot = example().build();
    let check = |request: Request, expect: &str| check(&snapshot, &request, &format!("400 {expect} none"));
    for query in [
        "account_id=1&account_id=2",
        "account_id=1&account_id=",
        "account%5Fid=1",
        "%61ccount_id=1",
        "account%255fid=1",
        "x=1&account%5fid=1&account_id=1",
        "+account_id=1",
        "account_id%20=1",
        "x=1;account_id=2",
        "account_id=1;account_id=2",
        "ACCOUNT_ID=1",
        "account_id=1&Account_Id=2",
        "account_id[]=1",
        "account_id=1&account_id[0]=2",
        "account%5Fid%5B%5D=1",
        "x=1;ACCOUNT_ID[a]=2",
    ] {
        check(get(&format!("cloud.getdbt.com/?{query}")), "duplicate_key");
    }
    for query in [
        "account_id=x",
        "account_id=01",
        "account_id=%31",
        "account_id=1%00",
        "account_id=-1",
        "account_id=1;x",
    ] {
        check(get(&format!("cloud.getdbt.com/?{query}")), "bad_account_id");
    }
    check(get("cloud.getdbt.com/").with(&["x-account-id: 1", "X-Account-Id: 2"]), "duplicate_key");
    check(get("cloud.getdbt.com/").with(&["x-account-id: 1", "environmentid: 88991"]), "duplicate_key");
    // Many cells read both spellings as one name.
    check(get("cloud.getdbt.com/").with(&["x-account-id: 12345", "x_account_id: 26228"]), "duplicate_key");
    check(get("cloud.getdbt.com/").with(&["X-Account_Id: 12345"]), "duplicate_key");
    check(get("ab123.us1.dbt.com/").with(&["x_account_id: 26228"]), "duplicate_key");
    // The cell would not be shown what the request was routed by.
    for connection in ["Connection: x-account-id", "Connection: close, X-Account-Id"] {
        check(get("cloud.getdbt.com/").with(&[connection, "x-account-id: 12345"]), "bad_connection_header");
    }
    check(get("cloud.getdbt.com/").with(&["x-account-id: 1, 1"]), "bad_account_id");
    check(get("cloud.getdbt.com/").with(&["environmentid: abc"]), "bad_account_id");
    check(get("cloud.getdbt.com/deploy/me/"), "bad_account_id");
    check(get("cloud.getdbt.com//deploy/12345/"), "bad_path");
}

#[test]
fn equal_duplicates_and_other_keys_do_no_harm() {
    let snapshot = example().build();
    let check = |request: Request, expect: &str| check(&snapshot, &request, expect);
    check(get("cloud.getdbt.com/?account_id=12345&x=%zz&account_id=12345"), "us1-c1 query 12345");
    check(get("cloud.getdbt.com/?account_id=&a+b=%61;c"), "404 no_account none");
    check(get("cloud.getdbt.com/?my_account_id=12345"), "404 no_account none");
    check(
        get("cloud.getdbt.com/").with(&["x-account-id: 12345", "x-account-id: 12345"]),
        "us1-c1 header 12345",
    );
    // A cookie that cannot be read says nothing.
    for cookie in ["account=1; account=2", "account=x", "account=", "xaccount=12345", "account"] {
        check(get("cloud.getdbt.com/").with(&[&format!("Cookie: {cookie}")]), "404 no_account none");
    }
    check(get("cloud.getdbt.com/").with(&["Cookie: a=1", "Cookie: account=12345"]), "us1-c1 cookie 12345");
}

#[test]
fn fallbacks_are_an_explicit_choice() {
    let builder = example();
    let mt = Fallback::Cell(builder.cell_index("mt"));
    let snapshot = builder
        .host_with(Role::Legacy, "emea.dbt.com", 0, mt, Fallback::Refuse)
        .host_with(Role::Legacy, "au.dbt.com", 0, Fallback::Refuse, mt)
        .host_with(Role::Cell, "login.us1.dbt.com", 0, mt, Fallback::Refuse)
        .build();
    let check = |request: Request, expect: &str| check(&snapshot, &request, expect);
    check(get("emea.dbt.com/"), "mt none");
    check(get("emea.dbt.com/deploy/999/"), "404 unmapped_account path 999");
    check(get("au.dbt.com/"), "404 no_account none");
    check(get("au.dbt.com/deploy/999/"), "mt path 999");
    check(get("au.dbt.com/deploy/999/?account_id=12345"), "400 conflicting_accounts path 999 !query");
    // A cell host without a prefix: nothing but the host may name an account, and it names none.
    check(get("login.us1.dbt.com/deploy/12345/"), "mt none");
}

#[test]
fn walking_ids_without_a_credential_teaches_nothing() {
    let snapshot = example().build();
    let learned = LearnedTable::default();
    let refused = |url: &str| {
        let decision = get(url).decide(&snapshot, &learned);
        assert_eq!(
            line(&snapshot, &Decision { account: None, ..decision.clone() }),
            "401 credential_required path"
        );
        (decision.schedule, decision.verdict)
    };
    let unknown = refused("cloud.getdbt.com/api/v2/accounts/999/");
    for id in [12345, 26228, AB123, 70_471_823_417_825] {
        assert_eq!(refused(&format!("cloud.getdbt.com/api/v2/accounts/{id}/")), unknown, "{id}");
    }
    let check = |request: Request, expect: &str| check(&snapshot, &request, expect);
    let path = "cloud.getdbt.com/api/v2/accounts/12345/";
    check(get(path).with(&["Authorization: Basic x"]), "us1-c1 path 12345");
    check(get(path).with(&["Cookie: sessionid=anything"]), "us1-c1 path 12345");
    check(get(path).with(&["Cookie: other=anything"]), "401 credential_required path 12345");
    check(get(path).with(&["x-api-key: x"]), "us1-c1 path 12345");
    check(get("cloud.getdbt.com/api/v2/accounts/"), "401 credential_required none");
    // Nothing in the field, or nothing behind its scheme. A client that leaves out the scheme has sent something.
    for nothing in
        ["Authorization: ", "authorization: token", "Authorization: Token  ", "Authorization: Bearer"]
    {
        check(get(path).with(&[nothing]), "401 credential_required path 12345");
    }
    for nothing in ["Authorization: basic", "x-api-key: ", "Cookie: sessionid="] {
        check(get(path).with(&[nothing]), "401 credential_required path 12345");
    }
    check(get(path).with(&["Authorization: dbtc_x"]), "us1-c1 path 12345");
    check(get(path).with(&["Authorization: ", "Authorization: Basic x"]), "us1-c1 path 12345");
    // Routes that ask for none, browsers that cannot send one, and cell hosts.
    check(get("cloud.getdbt.com/deploy/12345/"), "us1-c1 path 12345");
    check(get("mx789.us1.dbt.com/api/v2/accounts/12345/"), "us1-c1 host_prefix 12345");
    let websocket = get(path).with(&["Connection: Upgrade", "Upgrade: websocket"]);
    check(websocket.clone(), "401 credential_required path 12345");
    check(websocket.with(&["Cookie: sessionid=anything"]), "us1-c1 path 12345");
    let options = Request::new(&format!("OPTIONS {path}"));
    let preflight = options.clone().with(&["Access-Control-Request-Method: POST"]);
    check(preflight.clone(), "us1-c1 path 12345");
    check(options, "401 credential_required path 12345");
    // The cell answers a preflight; nothing of the table goes with it.
    let own_dates = Request::new("OPTIONS cloud.getdbt.com/api/v2/accounts/70471823417825/")
        .with(&["Access-Control-Request-Method: POST"]);
    for preflight in [preflight, own_dates] {
        let decision = preflight.decide(&snapshot, &learned);
        assert_eq!((decision.schedule, decision.may_show_address(200)), (None, false));
    }
    // What is malformed says so first: that does not depend on who exists.
    check(get("cloud.getdbt.com/api/v2/accounts/x/"), "400 bad_account_id none");
    check(get("cloud.getdbt.com/api/v2/accounts/1/?account_id=2"), "401 credential_required path 1");
}

#[test]
fn the_own_address_is_shown_to_those_who_have_proven_to_belong_there() {
    let snapshot = example().build();
    let known = format!("Authorization: Token {SERVICE_TOKEN}");
    let check = |url: &str, fields: &[&str], expect: [(u16, bool); 3]| {
        let decision = get(url).with(fields).decide(&snapshot, &LearnedTable::default());
        for (status, shown) in expect {
            assert_eq!(decision.may_show_address(status), shown, "{url} {fields:?} {status}");
        }
    };
    let path = "cloud.getdbt.com/api/v2/accounts/12345/";
    check(path, &[&known], [(200, true), (403, true), (502, true)]);
    check(path, &["Authorization: Token unknown"], [(200, true), (403, false), (302, false)]);
    check(path, &["Cookie: sessionid=unknown"], [(204, true), (401, false), (302, false)]);
    // A page that everybody may see proves nothing.
    check("cloud.getdbt.com/deploy/12345/", &[], [(200, false), (101, false), (404, false)]);
    check("cloud.getdbt.com/deploy/26228/", &[&known], [(200, true), (403, false), (404, false)]);
}

#[test]
fn a_schedule_is_the_accounts_own_or_the_hosts() {
    let snapshot = example().build();
    let schedule = |request: Request| {
        let decision = request.decide(&snapshot, &LearnedTable::default());
        decision.schedule.map(|index| snapshot.schedules[usize::from(index.0)].name.to_string())
    };
    assert_eq!(schedule(get("cloud.getdbt.com/deploy/12345/")).as_deref(), Some("legacy"));
    assert_eq!(schedule(get("cloud.getdbt.com/deploy/70471823417825/")).as_deref(), Some("enterprise"));
    assert_eq!(schedule(get("cloud.getdbt.com/")).as_deref(), Some("legacy"));
    assert_eq!(schedule(get("cloud.getdbt.com//deploy/1")).as_deref(), Some("legacy"));
    assert_eq!(schedule(get("ef789.us1.dbt.com/")), None);
    assert_eq!(schedule(get("example.com/")), None);
}

#[test]
fn browsers_are_redirected_only_where_the_row_says_so() {
    let snapshot = example().token("FAKE-of-zz001", 70506183150011).build();
    let session = "Cookie: sessionid=FAKE-of-zz001";
    let html = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    let navigation = ["Sec-Fetch-Mode: navigate", html, session];
    let check = |request: Request, expect: &str| check(&snapshot, &request, expect);
    let path = "cloud.getdbt.com/deploy/70506183150011/projects/1?tab=a%2Fb";
    let redirected =
        "https://zz001.us2.dbt.com/deploy/70506183150011/projects/1?tab=a%2Fb path 70506183150011";
    let forwarded = "us2-c1 path 70506183150011";
    check(get(path).with(&navigation), redirected);
    check(get(path), forwarded);
    check(get(path).with(&navigation[..1]), forwarded);
    check(get(path).with(&["Sec-Fetch-Mode: cors", html, session]), forwarded);
    // Without a session that is known to be this account's, the address is not shown.
    check(get(path).with(&navigation[..2]), forwarded);
    check(
        get(path).with(&["Sec-Fetch-Mode: navigate", html, "Cookie: sessionid=FAKE"]),
        &format!("{forwarded} !cookie"),
    );
    check(get(path).with(&["Sec-Fetch-Mode: navigate", "Accept: application/json"]), forwarded);
    check(get(path).with(&navigation).with(&["Authorization: Bearer x"]), forwarded);
    check(get(path).with(&navigation).with(&["Sec-Purpose: prefetch"]), forwarded);
    check(Request::new(&format!("POST {path}")).with(&navigation), forwarded);
    check(Request::new(&format!("HEAD {path}")).with(&navigation), forwarded);
    // Other accounts, other surfaces, callbacks, and targets that a browser would read as a host.
    check(get("cloud.getdbt.com/deploy/12345/").with(&navigation), "us1-c1 path 12345 !cookie");
    let account = "?account_id=70506183150011";
    let by_query = "us2-c1 query 70506183150011";
    check(get(&format!("metadata.cloud.getdbt.com/x{account}")).with(&navigation), by_query);
    check(get(&format!("cloud.getdbt.com/complete/github{account}")).with(&navigation), by_query);
    check(get(&format!("cloud.getdbt.com//evil.example{account}")).with(&navigation), by_query);
    check(get(&format!("cloud.getdbt.com/\\evil.example{account}")).with(&navigation), by_query);
    check(
        get(&format!("cloud.getdbt.com/x{account}")).with(&navigation),
        &format!("https://zz001.us2.dbt.com/x{account} query 70506183150011"),
    );
    check(get("zz001.us2.dbt.com/").with(&navigation), "us2-c1 host_prefix 70506183150011");
}

const BOUNDS: Learning = Learning { entries: 1000, per_account: 32 };
const JUNK: &str = "dbtc_JUNKJUNKJUNK";

/// A request with a token, decided; then the cell answers with `status`, and what that teaches is
/// learned.
fn answer(
    snapshot: &Snapshot,
    learned: &LearnedTable,
    url: &str,
    token: &str,
    status: u16,
) -> Option<Taught> {
    let decision = get(url).with(&[&format!("Authorization: Token {token}")]).decide(snapshot, learned);
    let (token, account) = decision.lesson(status)?;
    Some(learned.teach(token, "k2", account, &BOUNDS, 0))
}

#[test]
fn a_credential_is_learned_where_host_or_path_prove_it() {
    let snapshot = example().build();
    let learn = |url: &str, status: u16| answer(&snapshot, &LearnedTable::default(), url, JUNK, status);
    let path = "cloud.getdbt.com/api/v2/accounts/12345/jobs/";
    for status in [200, 201, 202, 204] {
        assert_eq!(learn(path, status), Some(Taught::New), "{status}");
    }
    for status in [101, 206, 207, 301, 304, 400, 401, 403, 404, 500] {
        assert_eq!(learn(path, status), None, "{status}");
    }
    assert_eq!(learn("ab123.us1.dbt.com/api/v2/whoami", 200), Some(Taught::New));
    for url in [
        "cloud.getdbt.com/deploy/12345/", // not marked authenticated
        "cloud.getdbt.com/api/v2/accounts/?account_id=12345", // named by the query
        "cloud.getdbt.com/api/v2/accounts/999/", // no row
        "ab123.us1.dbt.com/api/v2/accounts/12345/", // host and path disagree
        "ab123.us2.dbt.com/api/v2/whoami", // not this account's host
        "ab123.metadata.us1.dbt.com/graphql", // GraphQL answers 200 to anything
        "ab123.us1.dbt.com/",             // no such route
    ] {
        assert_eq!(learn(url, 200), None, "{url}");
    }
    let decision =
        get(path).with(&["Authorization: Token weird"]).decide(&snapshot, &LearnedTable::default());
    assert_eq!(decision.lesson(200), None, "no token of a configured shape");
}

#[test]
fn a_learned_credential_routes_what_names_no_account() {
    let snapshot = example().build();
    let learned = LearnedTable::default();
    let token = format!("Authorization: Token {JUNK}");
    let list = get("cloud.getdbt.com/api/v2/accounts/").with(&[&token]);
    let asked = |learned: &LearnedTable| line(&snapshot, &list.decide(&snapshot, learned));
    assert_eq!(asked(&learned), "404 no_account none");
    answer(&snapshot, &learned, "cloud.getdbt.com/api/v2/accounts/12345/", JUNK, 200);
    assert_eq!(asked(&learned), "us1-c1 credential 12345");
    let decision = list.decide(&snapshot, &learned);
    assert!(decision.credential_known && decision.routed_by().is_some() && decision.lesson(200).is_none());

    // Another account's path does not move it: it makes it nobody's.
    let other = "cloud.getdbt.com/api/v2/accounts/26228/";
    let disagreement = get(other).with(&[&token]).decide(&snapshot, &learned);
    assert_eq!(line(&snapshot, &disagreement), "mt path 26228 !credential");
    assert!(!disagreement.credential_known && disagreement.routed_by().is_none());
    assert_eq!(answer(&snapshot, &learned, other, JUNK, 403), None);
    assert_eq!(asked(&learned), "us1-c1 credential 12345");
    assert_eq!(answer(&snapshot, &learned, other, JUNK, 200), Some(Taught::Ambiguous));
    assert_eq!(asked(&learned), "404 no_account none");
    assert_eq!(
        answer(&snapshot, &learned, "cloud.getdbt.com/api/v2/accounts/12345/", JUNK, 200),
        Some(Taught::Ambiguous)
    );
    assert_eq!(asked(&learned), "404 no_account none");
}

#[test]
fn a_rotated_key_does_not_settle_whose_token_it_is() {
    let snapshot = example().build();
    let learned = LearnedTable::default();
    let list = get("cloud.getdbt.com/api/v2/accounts/").with(&[&format!("Authorization: Token {JUNK}")]);
    let teach = |key: &str, id: u64| {
        learned.teach(fingerprint(&fingerprint_key(key), JUNK.as_bytes()), key, account(id), &BOUNDS, 0);
    };
    teach("k1", 12345);
    let decision = list.decide(&snapshot, &learned);
    assert_eq!(line(&snapshot, &decision), "us1-c1 credential 12345");
    let entry = fingerprint(&fingerprint_key("k1"), JUNK.as_bytes());
    assert_eq!(decision.routed_by(), Some(entry), "a 401 counts against the entry that was followed");
    teach("k2", 26228);
    assert_eq!(line(&snapshot, &list.decide(&snapshot, &learned)), "404 no_account none");
}

#[test]
fn the_configured_table_is_never_overruled_by_what_was_learned() {
    let snapshot = example().build();
    let learned = LearnedTable::default();
    let token = fingerprint(&fingerprint_key("k2"), SERVICE_TOKEN.as_bytes());
    learned.teach(token, "k2", account(26228), &BOUNDS, 0);
    let request = get("cloud.getdbt.com/").with(&[&format!("Authorization: Token {SERVICE_TOKEN}")]);
    assert_eq!(line(&snapshot, &request.decide(&snapshot, &learned)), "us1-c1 credential 12345");
    // And a path that disagrees with it teaches nothing.
    let path = get("cloud.getdbt.com/api/v2/accounts/26228/")
        .with(&[&format!("Authorization: Token {SERVICE_TOKEN}")]);
    let decision = path.decide(&snapshot, &learned);
    assert_eq!(line(&snapshot, &decision), "mt path 26228 !credential");
    assert_eq!(decision.lesson(200), None);
}

#[test]
fn older_keys_still_find_their_rows() {
    let mut builder = example();
    let old = fingerprint(&fingerprint_key("k1"), b"dbtc_old");
    let table = &mut builder.snapshot.identify.credentials.table;
    *table = table.iter().chain([(old, account(CD456))]).collect();
    let snapshot = builder.build();
    let learned = LearnedTable::default();
    let request = get("cloud.getdbt.com/").with(&["Authorization: Token dbtc_old"]);
    let decision = request.decide(&snapshot, &learned);
    assert_eq!(line(&snapshot, &decision), "us1-c2 credential 70437463654557");
    assert_eq!(decision.fingerprint, Some(fingerprint(&fingerprint_key("k2"), b"dbtc_old")));
    assert_eq!(decision.fingerprint_before, Some(old));
    learned.teach(fingerprint(&fingerprint_key("k1"), b"dbtc_seen"), "k1", account(26228), &BOUNDS, 0);
    let request = get("cloud.getdbt.com/").with(&["Authorization: Token dbtc_seen"]);
    assert_eq!(line(&snapshot, &request.decide(&snapshot, &learned)), "mt credential 26228");
}

#[test]
fn learning_can_be_switched_off_and_routes_stay_in_their_table() {
    let mut builder = example();
    builder.snapshot.identify.credentials.learning = None;
    let snapshot = builder.build();
    assert_eq!(
        answer(&snapshot, &LearnedTable::default(), "cloud.getdbt.com/api/v2/accounts/12345/", JUNK, 200),
        None
    );
    // An id range that is switched off names no cell.
    let mut builder = example();
    builder.snapshot.identify.id_ranges[1].enabled = false;
    let snapshot = builder.build();
    check(
        &snapshot,
        &get("cloud.getdbt.com/").with(&["environmentid: 70437463654400"]),
        "404 no_account none",
    );
}

#[test]
fn hosts_and_clients_are_noted() {
    let snapshot = example().header("x-unused", Names::Account).build();
    let decide = |request: Request| request.decide(&snapshot, &LearnedTable::default());
    let decision =
        decide(get("metadata.ab123.us1.dbt.com/").with(&["User-Agent: terraform-provider-dbtcloud/1"]));
    assert!(decision.misordered_host);
    assert_eq!(decision.surface.map(|surface| surface.0), Some(1));
    assert_eq!((decision.role, decision.client), (Some(Role::Cell), Some(0)));
    // Below a legacy host that names its surface itself, for that surface only.
    let legacy = example().host(Role::Legacy, "{prefix}.metadata.cloud.getdbt.com", 1).build();
    for (host, expect, misordered) in [
        ("ab123.metadata.cloud.getdbt.com", "us1-c1 host_prefix 70403103966603", false),
        ("metadata.ab123.cloud.getdbt.com", "us1-c1 host_prefix 70403103966603", true),
        ("semantic-layer.ab123.cloud.getdbt.com", "421 misdirected none", false),
        ("metadata.metadata.cloud.getdbt.com", "421 misdirected none", false),
        ("ab123.ab123.cloud.getdbt.com", "421 misdirected none", false),
        ("metadata.ab123.elsewhere.com", "421 misdirected none", false),
    ] {
        let request = get(&format!("{host}/"));
        let decision = request.decide(&legacy, &LearnedTable::default());
        assert_eq!(decision.misordered_host, misordered, "{host}");
        if misordered {
            assert_eq!(
                (decision.role, decision.surface.map(|surface| surface.0)),
                (Some(Role::Legacy), Some(1))
            );
            assert!(decision.schedule.is_some(), "deprecated as the host that was meant");
        }
        check(&legacy, &request, expect);
    }
    let decision = decide(get("cloud.getdbt.com/deploy/12345/"));
    assert_eq!((decision.misordered_host, decision.role, decision.client), (false, Some(Role::Legacy), None));
    assert_eq!(decide(get("example.com/")).source, Source::None);
}

#[test]
fn grpc_is_not_sent_where_its_status_would_be_lost() {
    let decided = |protocol, content_type: &str| {
        let mut snapshot = example().build();
        for cell in &mut snapshot.cells {
            cell.protocol = protocol;
        }
        let request =
            Request::new("POST ab123.us1.dbt.com/a.B/C").with(&[&format!("content-type: {content_type}")]);
        line(&snapshot, &request.decide(&snapshot, &LearnedTable::default()))
    };
    let refused = decided(CellProtocol::Http1, "application/grpc+proto");
    assert!(refused.starts_with("501 not_implemented host_prefix"), "{refused}");
    for (protocol, content_type) in [
        (CellProtocol::Auto, "application/grpc"),
        (CellProtocol::Http2, "application/grpc"),
        (CellProtocol::Http1, "application/grpc-web+proto"),
        (CellProtocol::Http1, "application/json"),
    ] {
        let sent = decided(protocol, content_type);
        assert!(sent.starts_with("us1"), "{protocol:?} {content_type}: {sent}");
    }
}
