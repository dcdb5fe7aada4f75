//! Plans as data: one digest for one change, and texts that say all of it.

use cellgate::config::diff::Rows;
use cellgate::config::diff::brownouts::CohortChange;
use cellgate::config::diff::moves::Noted;
use cellgate::config::diff::rows::RowChanges;
use cellgate::config::guard::{Guard, Mode, Objection};
use cellgate::config::plan::{Plan, Verdict};
use cellgate::config::settings::SettingChange;
use cellgate::config::{Diff, Traffic};

fn noted(count: usize, first: &str) -> Noted {
    Noted { count, first: vec![first.to_owned()] }
}

fn plan() -> Plan {
    let mut diff = Diff { rows: Rows { before: 1_000_000, after: 999_988 }, ..Diff::default() };
    diff.cells.removed = vec!["us2".into()];
    diff.cells.changed = vec!["us1".into()];
    diff.hosts.added = vec!["{prefix}.us3.dbt.com".into()];
    diff.assets.removed = vec!["certificate for a|b".into()];
    diff.accounts_moved = [(("us-mt".into(), "us1".into()), 1_204)].into();
    diff.accounts_removed = [("us1".into(), 12)].into();
    diff.accounts_added = [("us1".into(), 1)].into();
    diff.environments =
        RowChanges { rows: Rows { before: 9, after: 10 }, added: noted(1, "31"), ..RowChanges::default() };
    diff.credentials = RowChanges {
        rows: Rows { before: 2_000, after: 1_500 },
        removed: noted(500, "0123456789ab"),
        repointed: noted(1, "abababababab (account 1 -> 2)"),
        ..RowChanges::default()
    };
    diff.brownouts.cohorts = vec![
        CohortChange { id: "bo-1".into(), enter: 12, leave: 0 },
        CohortChange { id: "bo-2".into(), enter: 0, leave: 1 },
    ];
    diff.brownouts.promises = noted(1, "account 7: none -> 2027-01-31T00:00:00Z");
    diff.settings =
        vec![SettingChange { path: "limits.head_bytes".into(), before: Some("65536".into()), after: None }];
    let what = "cells that served are gone: us2".to_owned();
    Plan {
        fleet: Some("prod".into()),
        base: "aaaaaaaaaaaaaaaa".into(),
        candidate: "bbbbbbbbbbbbbbbb".into(),
        diff,
        boot: vec!["workers".into()],
        traffic: Some(Traffic { total: 120_000, concerned: 45_600 }),
        objections: vec![
            Objection { guard: Guard::Removal, mode: Mode::Enforce, what },
            Objection {
                guard: Guard::Capacity,
                mode: Mode::Observe,
                what: "cell us1 stands in one zone".into(),
            },
        ],
    }
}

#[test]
fn a_plan_reads_as_what_it_does() {
    let plan = plan();
    insta::with_settings!({ snapshot_path => "../golden", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("plan_text", plan.to_text());
        insta::assert_snapshot!("plan_markdown", plan.to_markdown());
        insta::assert_snapshot!("plan_json", serde_json::to_string_pretty(&plan.view()).unwrap());
    });
}

#[test]
fn the_digest_is_of_what_changes_alone() {
    let first = plan().digest();
    let same = |change: &dyn Fn(&mut Plan)| {
        let mut other = plan();
        change(&mut other);
        other.digest() == first
    };
    // Another day, other books, other guards, another machine's boot.yaml.
    assert!(same(&|plan| plan.traffic = None));
    assert!(same(&|plan| plan.objections.clear()));
    assert!(same(&|plan| plan.boot.clear()));
    assert!(same(&|plan| plan.fleet = None));
    let changes: [&dyn Fn(&mut Plan); 14] = [
        &|plan| plan.diff.brownouts.cohorts[0].leave = 1,
        &|plan| plan.diff.brownouts.promises = Noted::default(),
        &|plan| plan.diff.settings.clear(),
        &|plan| plan.base = "c".into(),
        &|plan| plan.candidate = "c".into(),
        &|plan| plan.diff.cells.removed.clear(),
        &|plan| plan.diff.hosts.added.clear(),
        &|plan| plan.diff.assets.removed.clear(),
        &|plan| plan.diff.accounts_moved.clear(),
        &|plan| plan.diff.accounts_changed = 1,
        &|plan| plan.diff.rows.after = 1,
        &|plan| plan.diff.environments = RowChanges::default(),
        &|plan| plan.diff.credentials.repointed.first.clear(),
        &|plan| plan.diff.listeners_removed = vec!["http".into()],
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert!(!same(change), "change {number}");
    }
}

#[test]
fn a_plan_ends_in_one_of_three_ways() {
    let mut plan = plan();
    assert_eq!(plan.verdict(), Verdict::Refused);
    plan.objections.remove(0);
    assert_eq!(plan.verdict(), Verdict::Changes, "what only watches refuses nothing");
    plan.candidate = plan.base.clone();
    assert_eq!(plan.verdict(), Verdict::Changes, "boot.yaml differs");
    plan.boot.clear();
    assert_eq!(plan.verdict(), Verdict::Nothing);
}

#[test]
fn a_plan_without_rows_of_tables_and_settings_keeps_the_digest_it_always_had() {
    let mut plan = plan();
    (plan.diff.environments, plan.diff.credentials, plan.diff.settings) = Default::default();
    plan.diff.brownouts = Default::default();
    let view = serde_json::to_value(plan.view()).unwrap();
    assert!(view.get("environments").is_none() && view.get("credentials").is_none(), "{view}");
    assert!(view.get("settings").is_none(), "{view}");
    assert_eq!(plan.digest(), "8b6ac8f3cd9319e9f1de087b32eea4346081c6ef1d77ebda44cf045540d07150");
}
