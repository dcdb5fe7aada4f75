//! Which endpoint is tried.

#![allow(clippy::unwrap_used)]

use cellgate::policy::pick::{Pick, pick};
use cellgate::policy::snapshot::{Cell, Group};

use crate::snapshot::{SnapshotBuilder, label};

/// A cell with groups of so many endpoints at these priorities.
fn cell(groups: &[(u8, usize)]) -> Cell {
    let mut cell = SnapshotBuilder::new().cell("c1", "us1.dbt.com").build().cells.pop().unwrap();
    let endpoint = cell.groups[0].endpoints[0].clone();
    let group = |(priority, count): &(u8, usize)| Group {
        zone: label("a"),
        priority: *priority,
        capacity_rps: None,
        endpoints: vec![endpoint.clone(); *count],
    };
    cell.groups = groups.iter().map(group).collect();
    cell
}

/// What the first tickets get, as `group.endpoint`, with these endpoints excluded.
fn check(groups: &[(u8, usize)], exclude: &[(usize, usize)], expect: &str) {
    let cell = cell(groups);
    let exclude: Vec<_> =
        exclude.iter().map(|(group, endpoint)| Pick { group: *group, endpoint: *endpoint }).collect();
    let picked = (0..6).map(|ticket| match pick(&cell, ticket, &exclude) {
        Some(pick) => {
            assert_eq!(pick.endpoint(&cell).key, cell.groups[pick.group].endpoints[pick.endpoint].key);
            format!("{}.{}", pick.group, pick.endpoint)
        }
        None => "-".into(),
    });
    assert_eq!(picked.collect::<Vec<_>>().join(" "), expect, "{groups:?} without {exclude:?}");
}

#[test]
fn endpoints_take_turns() {
    check(&[(0, 1)], &[], "0.0 0.0 0.0 0.0 0.0 0.0");
    check(&[(0, 3)], &[], "0.0 0.1 0.2 0.0 0.1 0.2");
    check(&[(0, 2), (0, 1)], &[], "0.0 0.1 1.0 0.0 0.1 1.0");
}

#[test]
fn a_lower_priority_number_goes_first_wherever_it_stands() {
    check(&[(1, 2), (0, 2)], &[], "1.0 1.1 1.0 1.1 1.0 1.1");
    check(&[(5, 1), (3, 1), (5, 1), (3, 1)], &[], "1.0 3.0 1.0 3.0 1.0 3.0");
}

#[test]
fn what_failed_in_this_request_is_not_tried_again() {
    check(&[(0, 3)], &[(0, 1)], "0.0 0.2 0.0 0.2 0.0 0.2");
    check(&[(0, 1), (1, 2)], &[(0, 0)], "1.0 1.1 1.0 1.1 1.0 1.1");
    check(&[(0, 1), (1, 1)], &[(0, 0), (1, 0)], "- - - - - -");
    check(&[], &[], "- - - - - -");
    check(&[(0, 0), (1, 1)], &[], "1.0 1.0 1.0 1.0 1.0 1.0");
}

#[test]
fn every_endpoint_is_reached_before_none_is_left() {
    let cell = cell(&[(0, 2), (1, 3), (0, 1)]);
    for ticket in [0, 1, 7, u64::MAX] {
        let mut tried = Vec::new();
        while let Some(next) = pick(&cell, ticket, &tried) {
            assert!(!tried.contains(&next));
            tried.push(next);
        }
        assert_eq!(tried.len(), 6);
        let priorities: Vec<_> = tried.iter().map(|pick| cell.groups[pick.group].priority).collect();
        assert!(priorities.is_sorted(), "{priorities:?}");
    }
}
