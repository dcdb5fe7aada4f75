//! Packed rows.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::super::frame::tests::{NOON, uses};
use super::*;

/// Rows that differ in all that rows can differ in.
fn made_up(rng: &mut fastrand::Rng, many: usize) -> Vec<Use> {
    let mut rows = BTreeMap::new();
    for _ in 0..many {
        let mut of = uses(rng.u64(1..9) * rng.choice([1, 1 << 45]).unwrap(), "curl", rng.u64(1..300));
        let integration = &mut of.integration;
        let pick = |rng: &mut fastrand::Rng, of: &[&str]| (*rng.choice(of).unwrap()).to_owned();
        if rng.u8(..) < 40 {
            (integration.subject, integration.account) = (pick(rng, &["unattributed", "unmapped"]), 0);
        }
        integration.client = pick(rng, &["curl", "airflow", "unknown"]);
        integration.class = pick(rng, &["none", "trigger", "other"]);
        integration.credential =
            pick(rng, &["none", "k1:0102030405ff", "k2:0102030405ff", ":ffffffffffff", "refused"]);
        integration.network =
            pick(rng, &["192.0.2.0/24", "10.0.0.0/24", "2001:db8:7::/48", "none", "192.0.2.7/24"]);
        of.template = pick(rng, &["other", "/api/v2/accounts/{account}"]);
        (of.statuses[3], of.writes, of.refused) = (rng.u64(0..3), rng.u64(0..3), rng.u64(0..2));
        of.hours = vec![(3, of.statuses[1] + of.statuses[3])];
        if rng.bool() {
            of.hours.push((23, u64::from(rng.u32(1..))));
        }
        of.day += rng.i64(-40..3);
        (of.first_seen, of.last_seen) = (NOON - rng.i64(0..90_000), NOON + rng.i64(0..90_000));
        rows.insert((of.day, of.integration.clone()), of);
    }
    rows.into_values().collect()
}

fn by_key(uses: impl Iterator<Item = Use>) -> BTreeMap<(i64, Integration), Use> {
    uses.map(|of| ((of.day, of.integration.clone()), of)).collect()
}

#[test]
fn rows_are_the_same_after_packing_and_half_of_them_are_none() {
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..50 {
        let many = rng.usize(0..60);
        let plain = made_up(&mut rng, many);
        let rows = Rows::from(plain.clone());
        assert_eq!(by_key(rows.uses()), by_key(plain.iter().cloned()));
        assert_eq!(rows.uses().count(), plain.len());
        assert_eq!(rows.requests(), plain.iter().flat_map(|of| of.statuses).sum::<u64>());
        let mut bytes = Vec::new();
        rows.pack(&mut bytes);
        assert_eq!(Rows::unpack(&mut &*bytes).unwrap(), rows);
        assert!((0..bytes.len()).all(|half| Rows::unpack(&mut &bytes[..half]).is_none()));
    }
}

#[test]
fn windows_are_merged_to_what_their_rows_add_up_to() {
    let mut rng = fastrand::Rng::with_seed(2);
    for _ in 0..50 {
        let windows: Vec<Vec<Use>> = (0..rng.usize(1..6)).map(|_| made_up(&mut rng, 40)).collect();
        let mut expect =
            BTreeMap::<(i64, Integration), ([u64; 5], u64, BTreeMap<u8, u64>, i64, i64, String)>::new();
        for of in windows.iter().flatten() {
            let sum = expect
                .entry((of.day, of.integration.clone()))
                .or_insert_with(|| ([0; 5], 0, BTreeMap::new(), i64::MAX, i64::MIN, of.template.clone()));
            sum.0.iter_mut().zip(of.statuses).for_each(|(sum, more)| *sum += more);
            sum.1 += of.writes;
            of.hours.iter().for_each(|(hour, requests)| *sum.2.entry(*hour).or_default() += requests);
            (sum.3, sum.4) = (sum.3.min(of.first_seen), sum.4.max(of.last_seen));
            sum.5 = sum.5.clone().min(of.template.clone());
        }
        let windows: Vec<Rows> = windows.into_iter().map(Rows::from).collect();
        let (names, rows) = Rows::merged(&windows.iter().collect::<Vec<_>>());
        let found: BTreeMap<_, _> = rows
            .map(|(key, counts)| {
                let Counts { statuses, writes, first_seen, last_seen, .. } = counts;
                let template = names[counts.template as usize].to_owned();
                let sums = (statuses, writes, counts.hours.iter().collect(), first_seen, last_seen, template);
                ((key.day, key.integration(&names)), sums)
            })
            .collect();
        assert_eq!(found, expect);
    }
}

#[test]
fn what_is_forgotten_is_gone_and_nothing_else() {
    let plain = made_up(&mut fastrand::Rng::with_seed(3), 100);
    let mut rows = Rows::from(plain.clone());
    rows.forget(3);
    let rest = plain.into_iter().filter(|of| of.integration.account != 3);
    assert_eq!(by_key(rows.uses()), by_key(rest));
}

#[test]
fn days_are_told_once_each_and_in_order() {
    let later = |days| Use { day: NOON / 86_400 + days, ..uses(1, "curl", 1) };
    let rows = Rows::from(vec![later(2), later(0), Use { day: NOON / 86_400, ..uses(2, "curl", 1) }]);
    assert_eq!(rows.days(), [NOON / 86_400, NOON / 86_400 + 2]);
}
