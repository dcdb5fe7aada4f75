//! What cells and the file as a whole say of protection, and what is said to those who take some of it away.

use std::time::Duration;

use cellgate::config::diff::diff;
use cellgate::config::protection::{Remark, remarks};
use cellgate::config::{compile, parse_all};
use cellgate::policy::guard::Mode;
use cellgate::policy::protection::health::checks::{Check, CheckKind, CheckRules};
use cellgate::policy::protection::policies::Policy;
use cellgate::policy::snapshot::Snapshot;

use super::{NOW, example, lines, replace};

const CELL: &str = "  - name: cell-1\n    domain: us1.dbt.com\n";

/// With keys in the first cell and at the end of the file.
fn read(of_cell: &str, of_file: &str) -> Result<Snapshot, String> {
    let mut sources = example();
    replace(&mut sources.routing, CELL, &format!("{CELL}    {of_cell}\n"));
    replace(&mut sources.routing, "\nguide: ", &format!("\n{of_file}\nguide: "));
    let parsed = parse_all(&sources, NOW).map_err(|problems| lines(&problems));
    parsed.map(|(_, config)| compile(config, None))
}

fn said(snapshot: &Snapshot) -> Vec<Remark> {
    remarks(&snapshot.protection, snapshot.cells.iter(), NOW)
}

#[test]
fn a_cell_that_says_nothing_is_protected_by_everything() {
    let snapshot = read("max_in_flight: 7", "protection: { replicas: 3 }").unwrap();
    for cell in &snapshot.cells {
        assert!(Policy::ALL.iter().all(|policy| cell.protection.modes.of(*policy) == Mode::Enforce));
    }
    assert_eq!((snapshot.protection.replicas.get(), snapshot.protection.verdict), (3, Mode::Enforce));
    assert_eq!(said(&snapshot), []);
}

#[test]
fn what_takes_protection_away_without_an_end_is_refused() {
    let late = "observe_until: 2026-12-24T00:00:00Z";
    for (of_cell, of_file, expect) in [
        ("modes: { limit: 'off' }", "", "modes.limit: a cell without a limiter"),
        ("modes: { queue: observe }", "", "modes.observe_until: missing"),
        (&format!("modes: {{ {late} }}"), "", "modes.observe_until: nothing is in observe"),
        ("modes: { health: watch }", "", "modes.health: found \"watch\"; expected off, observe or enforce"),
        ("modes: { verdict: observe }", "", "modes.verdict: unknown key"),
        ("shared: false", "protection: { verdict: observe }", "protection.observe_until: missing"),
        ("shared: false", "protection: { replicas: 0 }", "protection.replicas: found 0"),
    ] {
        let problems = read(of_cell, of_file).unwrap_err();
        assert!(problems.contains(expect), "{of_cell} {of_file}: {problems}");
    }
}

#[test]
fn what_only_watches_is_told_and_is_overdue_after_its_time() {
    for (until, is_overdue) in [("2026-12-24T00:00:00Z", false), ("2026-11-20T00:00:00Z", true)] {
        let modes =
            format!("modes: {{ queue: observe, limit: observe, recovery: 'off', observe_until: {until} }}");
        let file = format!("protection: {{ verdict: observe, observe_until: {until} }}");
        let snapshot = read(&modes, &file).unwrap();
        let told = said(&snapshot);
        let whats: Vec<_> = told.iter().map(|remark| (remark.what.as_str(), remark.is_overdue)).collect();
        let meant = if is_overdue { "was" } else { "is" };
        let watched = |what: &str| {
            format!("{what}: in observe, which protects nothing and {meant} meant until {until}")
        };
        let (all, of_cell) = (watched("protection.verdict"), watched("cell cell-1: limit, queue"));
        let expect = [
            (all.as_str(), is_overdue),
            (of_cell.as_str(), is_overdue),
            ("cell cell-1: off: recovery", false),
        ];
        assert_eq!(whats, expect);
    }
}

#[test]
fn a_group_without_capacity_gets_no_failover_and_that_is_said() {
    let mut sources = example();
    let groups = "      - { zone: a, capacity_rps: 100, endpoints: [127.0.0.1:1] }\n      - { zone: b, endpoints: [127.0.0.1:2] }\n";
    let text = String::from_utf8(sources.routing.clone().unwrap()).unwrap();
    let from = text.find("      - zone: local\n").unwrap();
    let until = from + text[from..].find("  - name: cell-2").unwrap();
    sources.routing = Ok(format!("{}{groups}{}", &text[..from], &text[until..]).into());
    let (_, config) = parse_all(&sources, NOW).map_err(|problems| lines(&problems)).unwrap();
    let whats: Vec<String> = said(&compile(config, None)).into_iter().map(|remark| remark.what).collect();
    assert_eq!(whats, ["cell cell-1: no failover to b, which declares no capacity_rps"]);
}

/// How the first cell, which speaks `protocol`, is checked.
fn check(text: &str, protocol: &str) -> Result<Option<Check>, String> {
    let mut sources = example();
    let cell = format!("{CELL}    protocol: auto\n");
    let written = format!("{CELL}    protocol: {protocol}\n    {text}\n");
    replace(&mut sources.routing, &cell, &written);
    let parsed = parse_all(&sources, NOW).map_err(|problems| lines(&problems));
    parsed.map(|(_, config)| compile(config, None).cells[0].protection.check.clone())
}

#[test]
fn a_cell_says_how_its_endpoints_are_checked() {
    let usual = Check::default();
    let of = |kind| Some(Check { rules: CheckRules { kind, ..usual.rules.clone() }, ..usual.clone() });
    let http = |path: &str, passes: &[std::ops::RangeInclusive<u16>]| CheckKind::Http {
        path: path.into(),
        passes: passes.to_vec(),
    };
    let grpc = |service: &str| of(CheckKind::Grpc { service: service.into() });
    let times = Check {
        rules: CheckRules {
            interval: Duration::from_secs(2),
            timeout: Duration::from_millis(300),
            kind: CheckKind::Tcp,
        },
        fall: 5,
        rise: 1,
    };
    for (text, expect) in [
        ("shared: false", None),
        ("check: { kind: tcp }", of(CheckKind::Tcp)),
        ("check: { kind: http, path: '/healthz?full=1' }", of(http("/healthz?full=1", &[200..=399]))),
        ("check: { kind: http, path: /, statuses: [200, 429] }", of(http("/", &[200..=200, 429..=429]))),
        ("check: { kind: grpc }", grpc("")),
        ("check: { kind: grpc, service: shop.v1.Cart }", grpc("shop.v1.Cart")),
        ("check: { kind: tcp, interval: 2s, timeout: 300ms, fall: 5, rise: 1 }", Some(times)),
        ("check: { kind: tcp, interval: 1s, timeout: 1s }", {
            let rules = CheckRules { interval: Duration::from_secs(1), ..usual.rules.clone() };
            Some(Check { rules, ..usual.clone() })
        }),
    ] {
        assert_eq!(check(text, "auto").unwrap(), expect, "{text}");
    }
    assert_eq!(check("check: { kind: grpc }", "http2").unwrap(), grpc(""));
}

#[test]
fn what_is_wrong_with_a_check_is_told_all_at_once() {
    let none = "has no effect on this kind of check";
    let (path, service) = ("expected a path such as /healthz", "expected the name of a gRPC service");
    let long = format!("check: {{ kind: grpc, service: {} }}", "x".repeat(128));
    let many = format!("check: {{ kind: http, path: /, statuses: [{}] }}", "200, ".repeat(33));
    for (text, protocol, expect) in [
        ("check: {}", "auto", &["check.kind: missing"][..]),
        ("check: tcp", "auto", &["check: found \"tcp\""]),
        ("check: { kind: icmp }", "auto", &["check.kind: found \"icmp\"; expected tcp, http or grpc"]),
        ("check: { kind: http }", "auto", &["check.path: missing"]),
        ("check: { kind: http, path: healthz }", "auto", &[path]),
        ("check: { kind: http, path: '/a b' }", "auto", &[path]),
        ("check: { kind: http, path: '/a#b' }", "auto", &[path]),
        ("check: { kind: http, path: '/\u{e4}' }", "auto", &[path]),
        ("check: { kind: http, path: /, statuses: [] }", "auto", &["check.statuses: the list is empty"]),
        (
            "check: { kind: http, path: /, statuses: [100, 600, ok] }",
            "auto",
            &[
                "check.statuses[0]: found 100",
                "check.statuses[1]: found 600",
                "check.statuses[2]: found \"ok\"",
            ],
        ),
        (&many, "auto", &["check.statuses: the list has 33 items"]),
        ("check: { kind: grpc, service: '' }", "auto", &[service]),
        ("check: { kind: grpc, service: 'a b' }", "auto", &[service]),
        (&long, "auto", &[service]),
        ("check: { kind: grpc }", "http1", &["check.kind: the cell speaks http1, and gRPC is HTTP/2"]),
        (
            "check: { kind: tcp, path: /, statuses: [200], service: x }",
            "auto",
            &[
                &format!("check.path: {none}"),
                &format!("check.statuses: {none}"),
                &format!("check.service: {none}; expected kind grpc, or no such key"),
            ],
        ),
        ("check: { kind: grpc, path: / }", "auto", &[&format!("check.path: {none}; expected kind http")]),
        ("check: { kind: http, path: /, service: x }", "auto", &[&format!("check.service: {none}")]),
        (
            "check: { kind: tcp, interval: 2s, timeout: 3s }",
            "auto",
            &["check.timeout: 3s in an interval of 2s; expected no longer than the interval"],
        ),
        ("check: { kind: tcp, interval: 500ms }", "auto", &["check.timeout: 1s in an interval of 500ms"]),
        (
            "check: { kind: tcp, interval: 100ms, timeout: 1ms, fall: 0, rise: 101, every: 1s }",
            "auto",
            &[
                "check.interval: found \"100ms\"; expected a time such as 500ms, 10s or 5m, from 500ms to 5m",
                "check.timeout: found \"1ms\"",
                "check.fall: found 0; expected a whole number from 1 to 100",
                "check.rise: found 101",
                "check.every: unknown key",
            ],
        ),
    ] {
        let problems = check(text, protocol).unwrap_err();
        for expect in expect {
            assert!(problems.contains(expect), "{text}: {expect}\n{problems}");
        }
        assert_eq!(problems.lines().count(), expect.len(), "{text}: nothing else\n{problems}");
    }
}

#[test]
fn a_cell_whose_checks_change_has_changed() {
    let with = |text: &str| read(text, "").unwrap();
    let none = with("shared: false");
    let tcp = with("check: { kind: tcp }");
    let slow = with("check: { kind: tcp, fall: 9 }");
    for (before, after, changed) in [(&none, &tcp, 1), (&tcp, &slow, 1), (&slow, &none, 1), (&tcp, &tcp, 0)] {
        assert_eq!(diff(before, after).cells.changed.len(), changed);
    }
}

#[test]
fn a_check_that_nobody_makes_is_told() {
    let snapshot = read("modes: { health: 'off' }\n    check: { kind: tcp }", "").unwrap();
    assert_eq!(snapshot.cells[0].protection.checks(), None);
    let whats: Vec<String> = said(&snapshot).into_iter().map(|remark| remark.what).collect();
    assert_eq!(whats, ["cell cell-1: off: health", "cell cell-1: no checks are made while health is off"]);
    let snapshot = read("check: { kind: tcp }", "").unwrap();
    assert_eq!(snapshot.cells[0].protection.checks(), Some(&CheckRules::default()));
}
