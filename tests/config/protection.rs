//! What cells and the file as a whole say of protection, and what is said to those who take some of it away.

use cellgate::config::protection::{Remark, remarks};
use cellgate::config::{compile, parse_all};
use cellgate::policy::guard::Mode;
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
