//! What guards object to, what they let through, and that nobody loosens them on the way.

use std::collections::BTreeMap;

use cellgate::config::boot::Boot;
use cellgate::config::diff::Rows;
use cellgate::config::diff::moves::Noted;
use cellgate::config::diff::rows::RowChanges;
use cellgate::config::guard::{Change, Guard, Guards, Mode, Objection, judge};
use cellgate::config::{Config, Diff, Sources, Traffic, diff, parse_all, parse_boot, weigh};
use cellgate::policy::ids::{AccountId, Label};

use super::{NOW, example, lines, replace};

const BOOT: &str = "version: 1\nlisteners:\n  - { name: http, address: 127.0.0.1:8080, protocol: http }\n";

fn boot(guards: &str) -> Boot {
    let mut sources = example();
    sources.boot = Ok(format!("{BOOT}guards: {guards}\n").into_bytes());
    parse_boot(&sources).map_err(|problems| lines(&problems)).unwrap()
}

fn guards(text: &str) -> Guards {
    boot(text).guards
}

fn config(change: impl FnOnce(&mut Sources)) -> Config {
    let mut sources = example();
    change(&mut sources);
    parse_all(&sources, NOW).map(|(_, config)| config).map_err(|problems| lines(&problems)).unwrap()
}

/// What they object to where only the diff matters.
fn against(guards: &Guards, diff: &Diff) -> Vec<(Guard, String)> {
    let objections = judge(guards, Change { diff, cells: &[], traffic: None });
    objections.into_iter().map(|objection| (objection.guard, objection.what)).collect()
}

fn one(count: usize) -> BTreeMap<Box<str>, usize> {
    BTreeMap::from([("us1".into(), count)])
}

fn removing(count: usize, of: usize) -> Diff {
    let rows = Rows { before: of, after: of - count };
    Diff { accounts_removed: one(count), rows, ..Diff::default() }
}

fn moving(count: usize, of: usize) -> Diff {
    let moved = BTreeMap::from([(("us1".into(), "us2".into()), count)]);
    Diff { accounts_moved: moved, rows: Rows { before: of, after: of }, ..Diff::default() }
}

#[test]
fn every_guard_enforces_where_nothing_is_said() {
    let nothing = guards("{}");
    assert_eq!(nothing, Guards::all(Mode::Enforce));
    let mut sources = example();
    sources.boot = Ok(BOOT.into());
    assert_eq!(parse_boot(&sources).unwrap().guards, nothing);
    for guard in Guard::ALL {
        assert_eq!(nothing.mode(*guard), Mode::Enforce, "{guard:?}");
        let key = guard.as_str();
        let watching = guards(&format!("{{ mode: 'off', {key}: {{ mode: observe }} }}"));
        assert_eq!(watching.in_observe(), [*guard], "{key} is a key of its own");
    }
}

#[test]
fn accounts_may_go_up_to_a_count_and_a_share() {
    let by_default = guards("{}");
    for (count, of, refused) in [
        (0, 1_000_000, false),
        (1_000, 1_000_000, false),
        (1_001, 1_000_000, true),
        // 1 % of fifty thousand.
        (500, 50_000, false),
        (501, 50_000, true),
        // Small fleets: ten are let through whatever their share.
        (10, 20, false),
        (11, 20, true),
        (11, 1_100, false),
        (12, 1_100, true),
    ] {
        for (diff, guard) in
            [(removing(count, of), Guard::AccountsRemoved), (moving(count, of), Guard::AccountsMoved)]
        {
            let found: Vec<Guard> = against(&by_default, &diff).into_iter().map(|(guard, _)| guard).collect();
            let expect: &[Guard] = if refused { &[guard] } else { &[] };
            assert_eq!(found, expect, "{count} of {of}");
        }
    }
    let strict = guards("{ accounts_removed: { most: 2, percent: 100, free: 0 } }");
    assert!(against(&strict, &removing(2, 10)).is_empty());
    assert_eq!(
        against(&strict, &removing(3, 10)),
        [(
            Guard::AccountsRemoved,
            "3 accounts of 10 (30 %) are removed; at most 2 and 100 % may be, or 0".to_owned()
        )]
    );
}

/// Of one of the two tables: rows that go, and rows that lead to another account.
fn rows(removed: usize, repointed: usize, of: usize) -> RowChanges {
    let noted = |count| Noted { count, first: vec!["first".to_owned(); count.min(1)] };
    let rows = Rows { before: of, after: of - removed };
    let (removed, repointed) = (noted(removed), noted(repointed));
    RowChanges { rows, removed, repointed, ..RowChanges::default() }
}

#[test]
fn environments_and_credentials_may_go_as_accounts_may_and_hardly_ever_lead_elsewhere() {
    let by_default = guards("{}");
    let (removed, repointed) = (Guard::RowsRemoved, Guard::RowsRepointed);
    for (changes, expect) in [
        (rows(1_000, 0, 1_000_000), None),
        (rows(1_001, 0, 1_000_000), Some(removed)),
        (rows(501, 0, 50_000), Some(removed)),
        (rows(10, 0, 20), None),
        (rows(11, 0, 20), Some(removed)),
        (rows(0, 10, 1_000_000), None),
        (rows(0, 11, 1_000_000), Some(repointed)),
        (rows(0, 1, 100), None),
        (rows(0, 1, 99), Some(repointed)),
    ] {
        let in_environments = Diff { environments: changes.clone(), ..Diff::default() };
        let in_credentials = Diff { credentials: changes.clone(), ..Diff::default() };
        for diff in [in_environments, in_credentials] {
            let found: Vec<Guard> = against(&by_default, &diff).into_iter().map(|(guard, _)| guard).collect();
            assert_eq!(found, Vec::from_iter(expect), "{changes:?}");
        }
    }
    let both = Diff { environments: rows(0, 8, 1_000), credentials: rows(0, 8, 1_000), ..Diff::default() };
    assert!(against(&by_default, &both).is_empty(), "each table by itself");
    let strict = guards("{ rows_removed: { most: 0, free: 0 }, rows_repointed: { most: 0 } }");
    assert_eq!(
        against(&strict, &Diff { credentials: rows(1, 1, 1_000), ..Diff::default() }),
        [
            (removed, "1 credentials of 1000 (0.1 %) are removed; at most 0 and 1 % may be, or 0: first".to_owned()),
            (
                repointed,
                "1 credentials of 1000 (0.1 %) are re-pointed to another account; at most 0 and 1 % may be, or 0: first"
                    .to_owned()
            ),
        ]
    );
}

#[test]
fn rows_of_the_tables_are_told_by_what_becomes_of_them() {
    let before = config(|_| {});
    let after = config(|sources| {
        let environments = sources.files.get_mut("environments.csv").unwrap();
        *environments = Ok(swapped(environments.as_deref().unwrap()));
    });
    let found = diff(&before, &after);
    assert!(found.credentials.is_empty() && !found.is_empty());
    let words: Vec<_> = found.environments.by_word().map(|(word, noted)| (word, noted.count)).collect();
    assert_eq!(words, [("removed", 1), ("re-pointed", 1), ("added", 1)]);
    let said = found.to_string();
    assert!(said.contains("1 environments re-pointed: "), "{said}");
    let objections = against(&guards("{}"), &found);
    assert_eq!(objections.len(), 1, "{objections:?}");
    assert_eq!(objections[0].0, Guard::RowsRepointed);
    assert!(objections[0].1.contains("(account "), "{objections:?}");
    // The same rows in another order are the same table.
    let turned = config(|sources| {
        let credentials = sources.files.get_mut("credentials.csv").unwrap();
        let text = String::from_utf8(credentials.clone().unwrap()).unwrap();
        let mut rows: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        rows[1..].reverse();
        *credentials = Ok((rows.join("\n") + "\n").into_bytes());
    });
    assert!(before.hash != turned.hash && diff(&before, &turned).credentials.is_empty());
}

/// A table of environments with the first row gone, the second of another account, and a new one at the end.
fn swapped(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(text.to_vec()).unwrap();
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    drop(lines.remove(1));
    let (key, account) = lines[1].split_once(',').map(|(key, of)| (key.to_owned(), of.to_owned())).unwrap();
    lines[1] = format!("{key},{}", if account == "1001" { "41007" } else { "1001" });
    lines.push(format!("987654321,{account}"));
    (lines.join("\n") + "\n").into_bytes()
}

#[test]
fn a_row_that_leads_away_from_a_protected_cell_is_a_loss_of_it() {
    let watching = guards("{ rows_repointed: { mode: 'off' }, protected_cells: { names: [us1] } }");
    let from = |cell: &str| {
        let repointed_from = BTreeMap::from([(cell.into(), 2)]);
        Diff { credentials: RowChanges { repointed_from, ..rows(0, 2, 1_000) }, ..Diff::default() }
    };
    let what: Vec<String> = against(&watching, &from("us1")).into_iter().map(|(_, what)| what).collect();
    assert_eq!(what, ["the protected cell us1 loses 2 credentials that are re-pointed to another account"]);
    assert!(against(&watching, &from("us2")).is_empty());
}

#[test]
fn whatever_served_may_not_go_unseen() {
    let by_default = guards("{}");
    let mut gone = Diff::default();
    gone.cells.removed = vec!["us2".into()];
    gone.hosts.removed = vec!["cloud.getdbt.com".into()];
    gone.listeners_removed = vec!["https".into()];
    gone.assets.removed = (0..12).map(|n| format!("certificate for h{n}").into()).collect();
    let found = against(&by_default, &gone);
    let what: Vec<&str> = found.iter().map(|(_, what)| what.as_str()).collect();
    assert!(found.iter().all(|(guard, _)| *guard == Guard::Removal));
    assert_eq!(
        what[..3],
        [
            "cells that served are gone: us2",
            "hosts that served are gone: cloud.getdbt.com",
            "listeners that served are gone: https",
        ]
    );
    assert!(what[3].ends_with("certificate for h9 and 2 more"), "{}", what[3]);
    let mut come = Diff::default();
    come.cells.added = vec!["us2".into()];
    come.hosts.added = vec!["cloud.getdbt.com".into()];
    come.assets.added = vec!["certificate for a".into()];
    assert!(against(&by_default, &come).is_empty());
}

#[test]
fn nothing_of_a_protected_cell_changes_or_goes() {
    let guards =
        guards("{ capacity: { mode: 'off' }, removal: { mode: 'off' }, protected_cells: { names: [us1] } }");
    let changed = |names: &[&str]| {
        let mut diff = Diff::default();
        diff.cells.changed = names.iter().map(|name| (*name).into()).collect();
        diff
    };
    let mut removed = Diff::default();
    removed.cells.removed = vec!["us1".into()];
    for (diff, expect) in [
        (changed(&["us1"]), Some("the protected cell us1 changes")),
        (removed, Some("the protected cell us1 is removed")),
        (removing(1, 1_000), Some("the protected cell us1 loses 1 accounts that are removed")),
        (moving(2, 1_000), Some("the protected cell us1 loses 2 accounts that move elsewhere")),
        (changed(&["us2"]), None),
        (Diff { accounts_added: one(5), ..Diff::default() }, None),
    ] {
        let found = against(&guards, &diff);
        assert_eq!(found.first().map(|(_, what)| what.as_str()), expect, "{diff:?}");
    }
}

#[test]
fn a_table_has_a_limit_and_does_not_jump() {
    let by_default = guards("{}");
    let rows = |before, after| Diff { rows: Rows { before, after }, ..Diff::default() };
    for (before, after, refused) in [
        (1_000_000, 1_200_000, false),
        (1_000_000, 2_000_000, false),
        (1_000_000, 2_000_001, true),
        (4_999_999, 5_000_000, false),
        (4_999_999, 5_000_001, true),
        (10, 1_010, false),
        (10, 1_011, true),
        // A beginning has nothing to grow from.
        (0, 1_000_000, false),
    ] {
        let found = against(&by_default, &rows(before, after));
        assert_eq!(found.iter().any(|(guard, _)| *guard == Guard::TableSize), refused, "{before} {after}");
    }
}

#[test]
fn a_change_is_weighed_by_its_traffic() {
    let by_default = guards("{}");
    let objection = |total, concerned| {
        let traffic = Some(Traffic { total, concerned });
        judge(&by_default, Change { diff: &Diff::default(), cells: &[], traffic }).pop()
    };
    assert_eq!(objection(9_999, 9_999), None, "too little to say anything");
    assert_eq!(objection(10_000, 500), None);
    let found = objection(10_000, 501).unwrap();
    assert_eq!(found.guard, Guard::Traffic);
    assert!(found.what.contains("made 5 % of the last 7 days' 10000 requests"), "{}", found.what);
    let id = |id: u64| AccountId::parse(id.to_string().as_bytes()).unwrap();
    let (before, after) = (
        config(|_| {}),
        config(|sources| {
            let accounts = sources.files.get_mut("accounts.csv").unwrap();
            replace(accounts, "1001,mt001,shared", "1001,mt001,cell-1");
            replace(accounts, "9002,,shared,,extended\n", "");
        }),
    );
    // One moves, one goes, one stays, one was never known.
    let requests = [(id(1001), 7), (id(9002), 5), (id(41007), 100), (id(31337), 11)];
    assert_eq!(weigh(&before, &after, requests, false), Traffic { total: 123, concerned: 12 });
}

#[test]
fn a_cell_that_changes_says_what_it_can_bear() {
    let mut changed = diff(&config(|_| {}), &config(|_| {}));
    changed.cells.changed = vec!["cell-1".into()];
    let cells = config(|_| {}).cells;
    let found = judge(&guards("{}"), Change { diff: &changed, cells: &cells, traffic: None });
    let what: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        what,
        ["capacity: cell cell-1 declares no capacity_rps in local and stands in one zone only (local) \
         (give every group of the cell capacity_rps, and the cell a second zone) [E0510]"]
    );
    let whole = config(|sources| {
        replace(
            &mut sources.routing,
            "      - zone: local\n        endpoints: [127.0.0.1:7101]\n",
            "      - { zone: a, endpoints: [127.0.0.1:7101], capacity_rps: 10 }\n      \
             - { zone: b, endpoints: [127.0.0.1:7111], capacity_rps: 10 }\n",
        );
    });
    let real = diff(&config(|_| {}), &whole);
    assert_eq!(*real.cells.changed, ["cell-1".into()]);
    assert_eq!(judge(&guards("{}"), Change { diff: &real, cells: &whole.cells, traffic: None }), []);
}

#[test]
fn observe_says_the_same_and_refuses_nothing_and_off_says_nothing() {
    let diff = removing(500, 1_000);
    let judged = |text: &str| judge(&guards(text), Change { diff: &diff, cells: &[], traffic: None });
    let (enforced, observed) = (judged("{}"), judged("{ mode: observe }"));
    assert!(enforced.iter().all(Objection::refuses) && !enforced.is_empty());
    assert!(!observed.iter().any(Objection::refuses));
    let what = |objections: &[Objection]| -> Vec<String> {
        objections.iter().map(|objection| objection.what.clone()).collect()
    };
    assert_eq!(what(&enforced), what(&observed));
    assert_eq!(judged("{ mode: 'off' }"), []);
    let mixed = judged("{ mode: observe, accounts_removed: { mode: enforce } }");
    assert!(mixed[0].refuses(), "what refuses comes first");
}

#[test]
fn keys_that_rotate_may_go_when_they_are_no_longer_used() {
    let ring = |keys: &str| {
        config(|sources| {
            let written = "      - { id: demo, file: keys/demo-fingerprint.key, allow_readable: true }\n";
            replace(&mut sources.routing, written, keys);
            let demo = sources.files["keys/demo-fingerprint.key"].clone();
            sources.files.insert("keys/next.key".into(), demo);
            sources.files.insert("credentials.csv".into(), Ok(b"key_id,fingerprint,account,note\n".to_vec()));
        })
    };
    let demo = "      - { id: demo, file: keys/demo-fingerprint.key, allow_readable: true }\n";
    let next = "      - { id: next, file: keys/next.key, allow_readable: true }\n";
    let (one, both, other) = (ring(demo), ring(&format!("{next}{demo}")), ring(next));
    assert_eq!(diff(&one, &both).assets.added, ["fingerprint key next".into()]);
    assert!(diff(&both, &other).assets.removed.is_empty(), "the second of a ring has done its time");
    assert_eq!(diff(&one, &other).assets.removed, ["fingerprint key demo".into()], "the one in use is gone");
}

#[test]
fn certificates_are_told_by_the_names_they_cover() {
    let without = config(|sources| {
        replace(
            &mut sources.routing,
            "  - { cert: ../certs/dev/us1.pem, key: ../certs/dev/us1.key }\n",
            "  - { cert: ../certs/dev/legacy.pem, key: ../certs/dev/legacy.key }\n",
        );
        replace(&mut sources.boot, "protocol: https", "protocol: http");
    });
    let gone = diff(&config(|_| {}), &without).assets.removed;
    assert!(gone.contains(&"certificate for *.us1.dbt.com".into()), "{gone:?}");
    assert!(!gone.iter().any(|name| name.contains("getdbt")), "{gone:?}");
}

#[test]
fn of_two_sets_of_guards_the_stricter_counts() {
    let strict = guards("{ protected_cells: { names: [us1] }, accounts_removed: { most: 5, percent: 1 } }");
    let loose =
        guards("{ mode: 'off', protected_cells: { names: [us2] }, accounts_removed: { most: 9, free: 3 } }");
    let both = loose.stricter(&strict);
    assert_eq!(both, strict.stricter(&loose), "whichever comes first");
    assert_eq!((both.removal, both.accounts_removed.most, both.accounts_removed.free), (Mode::Enforce, 5, 3));
    let names: Vec<&str> = both.protected_cells.iter().map(Label::as_str).collect();
    assert_eq!(names, ["us1", "us2"]);
    assert_eq!(both.weaker_than(&strict), Vec::<String>::new());
    let weaker = loose.weaker_than(&strict);
    for said in [
        "guards.removal.mode was enforce and is off",
        "guards.protected_cells no longer names us1",
        "guards.accounts_removed.most was 5 and is 9",
    ] {
        assert!(weaker.iter().any(|line| line == said), "{said}: {weaker:?}");
    }
}

/// Every bound of the guards, loosened one at a time, is noticed.
#[test]
fn no_bound_can_be_loosened_unseen() {
    let before = "{ protected_cells: { names: [us1] } }";
    for (key, value) in [
        ("accounts_removed", "most: 1001"),
        ("accounts_removed", "percent: 2"),
        ("accounts_removed", "free: 11"),
        ("accounts_moved", "most: 1001"),
        ("accounts_moved", "percent: 2"),
        ("accounts_moved", "free: 11"),
        ("rows_removed", "most: 1001"),
        ("rows_removed", "percent: 2"),
        ("rows_removed", "free: 11"),
        ("rows_repointed", "most: 11"),
        ("rows_repointed", "percent: 2"),
        ("rows_repointed", "free: 1"),
        ("table_size", "rows: 5000001"),
        ("table_size", "growth_percent: 101"),
        ("traffic", "percent: 6"),
        ("traffic", "at_least: 10001"),
    ] {
        let after = guards(&format!("{{ protected_cells: {{ names: [us1] }}, {key}: {{ {value} }} }}"));
        let weaker = after.weaker_than(&guards(before));
        assert_eq!(weaker.len(), 1, "{key} {value}: {weaker:?}");
        assert!(guards(before).weaker_than(&after).is_empty(), "{key} {value}");
        assert_eq!(after.stricter(&guards(before)), guards(before), "{key} {value}");
    }
}

#[test]
fn what_is_let_through_is_remarked_on() {
    let snapshot = cellgate::config::compile(config(|_| {}), None);
    let rows = snapshot.accounts.len();
    let remarks = |text: &str| guards(text).remarks(&snapshot);
    assert!(remarks("{ protected_cells: { names: [shared] } }").is_empty());
    assert_eq!(
        remarks("{ protected_cells: { names: [us9] }, traffic: { mode: observe } }"),
        [
            "guards.protected_cells names us9, and no cell is called that",
            "these guards are in observe mode and protect nothing: traffic",
        ]
    );
    // Seven tenths, and not a row earlier.
    let limit = |limit: usize| remarks(&format!("{{ table_size: {{ rows: {limit} }} }}")).len();
    assert_eq!((limit(rows * 10 / 7), limit(rows * 10 / 7 + 1)), (1, 0));
}

#[test]
fn mistakes_in_guards_are_told_with_their_place() {
    let mut sources = example();
    let text = "guards:\n  mode: strict\n  protected_cells: { names: [US1, us1] }\n  accounts_removed: { percent: 101 }\n  \
                table_size: { rows: 0, rose: 1 }\n  trafic: {}\n";
    sources.boot = Ok(format!("{BOOT}{text}").into_bytes());
    let told = lines(&parse_boot(&sources).unwrap_err());
    for expected in [
        "boot.yaml:5:3: guards.mode: found \"strict\"; expected off, observe or enforce",
        "guards.protected_cells.names[0]: found \"US1\"",
        "guards.accounts_removed.percent: found 101; expected a whole number from 0 to 100",
        "guards.table_size.rows: found 0; expected a whole number from 1",
        "guards.table_size.rose: unknown key",
        "guards.trafic: unknown key",
    ] {
        assert!(told.contains(expected), "{expected} in {told}");
    }
    assert_eq!(told.lines().count(), 6, "{told}");
}
