//! What must hold for every request, whatever a client writes.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use cellgate::policy::decide::{Decision, Source, Verdict, Why};
use cellgate::policy::hosts::Role;
use cellgate::policy::learned::LearnedTable;
use cellgate::policy::refusal::Refusal;
use cellgate::policy::snapshot::Snapshot;
use proptest::prelude::*;
use proptest::sample::select;

use crate::servers;
use crate::snapshot::{NOW, Request, SERVICE_TOKEN, USER_TOKEN, account, example};

/// Pieces that paths are made of here: whole segments, half ones, and everything that some decoder
/// treats specially.
const SEGMENTS: [&str; 40] = [
    "api",
    "API",
    "%61pi",
    "v2",
    "v3",
    "V2",
    "accounts",
    "Accounts",
    "account%73",
    "%2561ccounts",
    "deploy",
    "private",
    "12345",
    "26228",
    "999",
    "70437463654557",
    "012345",
    "%31%32345",
    "12345;x",
    "12345%00",
    "",
    ".",
    "..",
    "%2e",
    "%2e%2e",
    ".%2E",
    "%252e%252e",
    "..;",
    "..;a=b",
    ";",
    "%3b",
    "x",
    "a%2fb",
    "a%5cb",
    "a\\b",
    "%c0%ae%c0%ae",
    "%",
    "%zz",
    "graphql",
    "me",
];
const SEPARATORS: [&str; 12] =
    ["/", "/", "/", "/", "/", "//", "\\", "%2f", "%5C", "%252F", "%c0%af", "%25252f"];

fn any_path() -> impl Strategy<Value = String> {
    let free = prop::collection::vec((select(&SEPARATORS[..]), select(&SEGMENTS[..])), 0..9);
    let pieces = |pieces: Vec<(&str, &str)>| pieces.into_iter().flat_map(|(a, b)| [a, b]).collect::<String>();
    // Purely random pieces rarely come near a template: half of the paths have one inside.
    let inner = select(&["/api/v2/accounts/12345", "/api/v3/accounts/26228/jobs", "/deploy/999", ""][..]);
    (free.clone().prop_map(pieces), inner, free.prop_map(pieces)).prop_map(|(before, inner, after)| {
        let path = format!("{before}{inner}{after}");
        if path.starts_with('/') { path } else { format!("/{path}") }
    })
}

fn any_query() -> impl Strategy<Value = String> {
    let pairs = [
        "account_id=12345",
        "account_id=26228",
        "account_id=70437463654557",
        "account_id=x",
        "account%5fid=26228",
        "x=y",
        "account_id=",
        "a;account_id=26228",
        "ACCOUNT_ID=26228",
    ];
    prop::collection::vec(select(pairs.to_vec()), 0..3)
        .prop_map(|pairs| if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) })
}

fn any_fields() -> impl Strategy<Value = Vec<String>> {
    let fields = [
        "x-account-id: 26228".into(),
        "x-account-id: 12345".into(),
        "X_Account_Id: 26228".into(),
        "environmentid: 88991".into(),
        "environmentid: 70437463654400".into(),
        "x-dbt-prod-environment-id: 70403103966025".into(),
        "X-Cellgate-Account: 26228".into(),
        "X-Cellgate-Cell: mt".into(),
        "X-Forwarded-Host: mx789.us1.dbt.com".into(),
        "X-Original-URL: /api/v2/accounts/26228/".into(),
        "Forwarded: host=cloud.getdbt.com".into(),
        "Cookie: account=26228".into(),
        "Cookie: sessionid=FAKE".into(),
        "Cookie: account=12345; account=26228".into(),
        format!("Authorization: Token {SERVICE_TOKEN}"),
        format!("Authorization: bearer {USER_TOKEN}"),
        "Authorization: Basic x".into(),
        "Sec-Fetch-Mode: navigate".into(),
        "Accept: text/html".into(),
        format!("x-api-key: {USER_TOKEN}"),
        "X-HTTP-Method-Override: GET".into(),
        "Connection: close".into(),
    ];
    prop::collection::vec(select(fields.to_vec()), 0..6)
}

fn any_request(hosts: &'static [&'static str]) -> impl Strategy<Value = Request> {
    let methods = select(&["GET", "POST", "OPTIONS", "HEAD", "DELETE"][..]);
    (methods, select(hosts), any_path(), any_query(), any_fields()).prop_map(
        |(method, host, path, query, fields)| {
            let request = Request::new(&format!("{method} {host}{path}{query}"));
            request.with(&fields.iter().map(String::as_str).collect::<Vec<_>>())
        },
    )
}

/// An account that no table has.
const NO_ROW: u64 = 999_999_999;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| example().build());
static WITH_COOKIE: LazyLock<Snapshot> = LazyLock::new(|| example().routing_cookie().build());
static LEARNED: LazyLock<LearnedTable> = LazyLock::new(learned);

/// A table that has learned something, so that credentials can pull in every direction.
fn learned() -> LearnedTable {
    let table = LearnedTable::default();
    let bounds = cellgate::policy::credential::Learning { entries: 100, per_account: 10 };
    let key = crate::snapshot::fingerprint_key("k2");
    let token = |text: &str| cellgate::policy::credential::fingerprint(&key, text.as_bytes());
    table.teach(token(SERVICE_TOKEN), "k2", account(26228), &bounds, 0);
    table.teach(token(USER_TOKEN), "k2", account(12345), &bounds, 0);
    table
}

fn cell_name(snapshot: &Snapshot, decision: &Decision) -> Option<String> {
    match &decision.verdict {
        Verdict::Forward { cell, .. } | Verdict::Hold { cell } => Some(snapshot.cell(*cell).name.to_string()),
        Verdict::Redirect { .. } | Verdict::Refuse(_) => None,
    }
}

proptest! {
    // PROPTEST_CASES asks for more.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(4_000), ..ProptestConfig::default() })]

    #[test]
    fn no_input_makes_a_cell_host_request_leave_its_accounts_cell(
        request in any_request(&[
            "cd456.us1.dbt.com", "CD456.us1.DBT.com", "cd456.us1.dbt.com.", "cd456.us1.dbt.com:443", "cd456.metadata.us1.dbt.com",
            "metadata.cd456.us1.dbt.com", "cd456.semantic-layer.us1.dbt.com:8443",
        ]),
    ) {
        let snapshot = &*SNAPSHOT;
        let decision = request.decide(snapshot, &LEARNED);
        match &decision.verdict {
            Verdict::Forward { why, .. } => {
                prop_assert_eq!(cell_name(snapshot, &decision).unwrap(), "us1-c2");
                prop_assert_eq!((*why, decision.source), (Why::Mapped, Source::HostPrefix));
                prop_assert_eq!(decision.account, Some(account(70_437_463_654_557)));
                prop_assert_eq!(decision.schedule, None);
            }
            Verdict::Refuse(refusal) => prop_assert!(matches!(refusal, Refusal::BadRequest(_)), "{:?}", refusal),
            Verdict::Hold { .. } => prop_assert!(false, "nothing moves here"),
            Verdict::Redirect { .. } => prop_assert!(false, "nothing is redirected on a cell host"),
        }
    }

    #[test]
    fn our_cookie_routes_only_what_nothing_else_names(
        request in any_request(&[
            "cloud.getdbt.com", "metadata.cloud.getdbt.com", "zz001.cloud.getdbt.com", "cd456.us1.dbt.com", "nobody.test",
        ]),
        of in select(&[26228, 12345, 70_437_463_654_557, NO_ROW][..]),
        age in 0..13 * 3_600u64,
    ) {
        let snapshot = &*WITH_COOKIE;
        let cookie = snapshot.identify.routing_cookie.as_ref().unwrap().sign(account(of), NOW - age).unwrap();
        let carrying = request.clone().with(&[&format!("Cookie: __Host-cellgate={cookie}")]);
        let (without, with) = (request.decide(snapshot, &LEARNED), carrying.decide(snapshot, &LEARNED));
        let followed = |decision: &Decision| (decision.verdict.clone(), decision.account, decision.source, decision.schedule);
        let refused = matches!(without.verdict, Verdict::Refuse(refusal) if refusal != Refusal::NoAccount);
        if without.role != Some(Role::Legacy) || age >= 12 * 3_600 || of == NO_ROW {
            prop_assert_eq!(&with, &without);
        } else if refused || !matches!(without.source, Source::None | Source::IdRange) {
            prop_assert_eq!(followed(&with), followed(&without));
            prop_assert!(without.may_learn || !with.may_learn, "it teaches nothing");
            prop_assert!(!with.may_learn || with.conflicts == without.conflicts);
        } else {
            prop_assert_eq!((with.account, with.source), (Some(account(of)), Source::Cookie));
            prop_assert!(!with.may_learn && !with.may_mark && !with.credential_known);
        }
        if with.may_mark {
            let mapped = matches!(with.verdict, Verdict::Forward { why: Why::Mapped, .. });
            prop_assert!(mapped && with.source == Source::Path);
        }
    }

    #[test]
    fn a_decision_is_a_plain_function(
        request in any_request(&["cloud.getdbt.com", "ab123.us1.dbt.com", "zz001.cloud.getdbt.com", "nobody.test"]),
    ) {
        let decision = request.decide(&SNAPSHOT, &LEARNED);
        prop_assert_eq!(&decision, &request.decide(&example().build(), &learned()));
        // What may teach was proven by host or path and sent to the account's own cell.
        if decision.may_learn {
            let proven = matches!(decision.source, Source::HostPrefix | Source::Path);
            let mapped = matches!(decision.verdict, Verdict::Forward { why: Why::Mapped, .. });
            prop_assert!(proven && mapped && decision.fingerprint.is_some());
        }
        let snapshot = &*SNAPSHOT;
        if let (Verdict::Forward { cell, why: Why::Mapped }, Some(account)) = (&decision.verdict, decision.account) {
            prop_assert_eq!(snapshot.accounts.by_id(account).unwrap().cell, *cell);
        }
    }

    #[test]
    fn every_server_finds_the_account_that_was_routed_by_or_none(
        path in any_path(),
        host in select(&["cloud.getdbt.com", "mx789.us1.dbt.com"][..]),
        field in select(&["x-none: x", "x-account-id: 777", "Cookie: account=777", "Authorization: Basic x"][..]),
    ) {
        let request = Request::new(&format!("GET {host}{path}")).with(&[field, "Cookie: sessionid=x"]);
        let decision = request.decide(&SNAPSHOT, &LearnedTable::default());
        let by_path = servers::account(&path).filter(|_| host.starts_with("mx789"));
        if matches!(decision.verdict, Verdict::Forward { .. }) {
            for (name, server) in servers::ALL {
                let Some(found) = servers::account(&server(&path)) else { continue };
                // On a cell host a plain path may name another account: it is counted, and the cell says
                // no. It must be the same account for every server.
                let expect = by_path.or(decision.account.map(|account| account.value()));
                prop_assert_eq!(Some(found), expect, "a server that {} reads {}", name, path);
            }
        }
    }
}
