//! What the clients of one account can do to the entries of another: nothing.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::test_snapshot::account;

const BOUNDS: Learning = Learning { entries: 100, per_account: 4 };
const NOW: u64 = 1_770_000_000;
const KEY: &str = "k1";

fn token(number: u64) -> Fingerprint {
    // Spread over the shards as a real fingerprint would be.
    let mixed = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Fingerprint(mixed.to_be_bytes())
}

fn teach(table: &LearnedTable, token_number: u64, id: u64, now: u64) -> Taught {
    let taught = table.teach(token(token_number), KEY, account(id), &BOUNDS, now);
    check_books(table);
    taught
}

/// The owners' lists and the shards say the same.
fn check_books(table: &LearnedTable) {
    let export = table.export();
    let owners = lock(&table.owners);
    assert_eq!(export.entries.len(), owners.total);
    for entry in &export.entries {
        let own = owners.by_account.get(&entry.account).unwrap();
        assert_eq!(own.iter().filter(|token| **token == entry.fingerprint).count(), 1);
    }
    assert_eq!(owners.by_account.values().map(Vec::len).sum::<usize>(), owners.total);
}

#[test]
fn a_lesson_is_remembered_and_confirmed() {
    let table = LearnedTable::default();
    assert_eq!(table.lookup(token(1)), Learned::None);
    assert_eq!(teach(&table, 1, 7, NOW), Taught::New);
    assert_eq!(teach(&table, 1, 7, NOW + 1), Taught::Confirmed);
    assert_eq!(table.lookup(token(1)), Learned::Account(account(7)));
    assert_eq!((table.len(), table.epoch()), (1, 1));
}

#[test]
fn a_token_of_two_accounts_is_routed_on_for_neither() {
    let table = LearnedTable::default();
    teach(&table, 1, 7, NOW);
    assert_eq!(teach(&table, 1, 8, NOW), Taught::Ambiguous);
    for again in [7, 8, 9] {
        assert_eq!(teach(&table, 1, again, NOW), Taught::Ambiguous);
        assert_eq!(table.lookup(token(1)), Learned::Ambiguous);
    }
    // 401 answers do not make it anybody's either.
    for wait in 0..10 {
        assert!(!table.rejected(token(1), NOW + wait * STRIKE_SPACING_SECS, false));
    }
    assert_eq!(table.lookup(token(1)), Learned::Ambiguous);
}

#[test]
fn a_shared_junk_token_moves_no_account() {
    let table = LearnedTable::default();
    teach(&table, 1, 7, NOW);
    for id in 100..200 {
        teach(&table, 666, id, NOW);
    }
    assert_eq!(table.lookup(token(666)), Learned::Ambiguous);
    assert_eq!(table.lookup(token(1)), Learned::Account(account(7)));
    assert_eq!(table.len(), 2);
}

#[test]
fn an_ambiguous_token_counts_against_the_account_that_came_second() {
    let table = LearnedTable::default();
    for number in 1..=4 {
        teach(&table, number, 7, NOW);
    }
    for number in 1..=4 {
        assert_eq!(teach(&table, number, 8, NOW), Taught::Ambiguous);
    }
    assert_eq!(teach(&table, 10, 8, NOW), Taught::NoRoom, "8 has filled its own quota");
    assert_eq!(teach(&table, 10, 7, NOW), Taught::New, "and nobody else's");
}

#[test]
fn ambiguity_cannot_be_evicted() {
    let table = LearnedTable::default();
    teach(&table, 1, 8, NOW);
    teach(&table, 1, 7, NOW);
    for number in 100..200 {
        teach(&table, number, 7, NOW + number);
        teach(&table, number + 1000, 8, NOW + number);
    }
    assert_eq!(table.lookup(token(1)), Learned::Ambiguous);
}

#[test]
fn ambiguity_lapses_when_the_first_account_is_gone() {
    let table = LearnedTable::default();
    teach(&table, 1, 7, NOW);
    teach(&table, 1, 8, NOW);
    let later = NOW + EXPIRES_AFTER_SECS;
    teach(&table, 1, 8, later);
    assert_eq!(table.expire(later + 1), 1);
    assert_eq!(teach(&table, 1, 8, later + 2), Taught::New);
}

#[test]
fn a_flood_evicts_its_own_account_only() {
    let table = LearnedTable::default();
    for number in 1..=4 {
        teach(&table, number, 7, NOW);
    }
    for number in 100..1000 {
        assert_eq!(teach(&table, number, 8, NOW + number), Taught::New);
    }
    for number in 1..=4 {
        assert_eq!(table.lookup(token(number)), Learned::Account(account(7)));
    }
    assert_eq!(table.len(), 8);
    for number in 996..1000 {
        assert_eq!(table.lookup(token(number)), Learned::Account(account(8)), "the newest stay");
    }
}

#[test]
fn a_full_table_refuses_newcomers_until_something_expires() {
    let table = LearnedTable::default();
    for number in 0..100 {
        assert_eq!(teach(&table, number, 1 + number / 4, NOW + number), Taught::New);
    }
    assert_eq!(teach(&table, 500, 500, NOW + 200), Taught::NoRoom);
    for number in 0..100 {
        assert_eq!(table.lookup(token(number)), Learned::Account(account(1 + number / 4)));
    }
    assert_eq!(teach(&table, 501, 1, NOW + 200), Taught::New, "an account may replace its own");
    let later = NOW + EXPIRES_AFTER_SECS + 50;
    assert_eq!(teach(&table, 500, 500, later), Taught::New, "the expired ones made room");
    assert!(table.len() < 100);
}

#[test]
fn only_repeated_401_demotes() {
    let table = LearnedTable::default();
    let strike = |after: u64, abnormal: bool| table.rejected(token(1), NOW + after, abnormal);
    table.teach(token(1), KEY, account(7), &BOUNDS, NOW);
    // One burst is one strike.
    assert!(!(0..STRIKE_SPACING_SECS).any(|after| strike(after, false)));
    assert!(!strike(STRIKE_SPACING_SECS, false));
    // An answer that accepts it forgives everything before.
    table.accepted(token(1), NOW + 15);
    assert!(!strike(20, false));
    assert!(!strike(30, false));
    assert_eq!(table.lookup(token(1)), Learned::Account(account(7)));
    assert!(strike(40, false));
    assert_eq!(table.lookup(token(1)), Learned::None);
    assert!(!strike(50, false), "nothing is left to demote");
    check_books(&table);
}

#[test]
fn a_401_storm_of_a_cell_demotes_nobody() {
    let table = LearnedTable::default();
    for number in 0..50 {
        teach(&table, number, 1 + number, NOW);
    }
    for wait in 0..100 {
        for number in 0..50 {
            assert!(!table.rejected(token(number), NOW + wait * STRIKE_SPACING_SECS, true));
        }
    }
    for number in 0..50 {
        assert_eq!(table.lookup(token(number)), Learned::Account(account(1 + number)));
    }
}

#[test]
fn an_export_survives_a_restart() {
    let table = LearnedTable::default();
    for number in 0..20 {
        teach(&table, number, 1 + number / 4, NOW + number);
    }
    teach(&table, 3, 9, NOW + 30);
    let export = table.export();
    assert!(export.entries.windows(2).all(|pair| pair[0].fingerprint < pair[1].fingerprint));

    let restarted = LearnedTable::default();
    assert_eq!(restarted.import(&export, &BOUNDS, NOW + 40), Ok(20));
    assert_eq!(restarted.export(), export);
    assert_eq!(restarted.lookup(token(3)), Learned::Ambiguous);
    check_books(&restarted);
    assert_eq!(restarted.import(&export, &BOUNDS, NOW + 40), Ok(0), "what is known stays");
}

#[test]
fn an_import_respects_bounds_version_and_age() {
    let table = LearnedTable::default();
    for number in 0..4 {
        teach(&table, number, 7, NOW + number);
    }
    let export = table.export();
    let import = |bounds: Learning, now: u64| {
        let made = LearnedTable::default();
        (made.import(&export, &bounds, now).unwrap(), made)
    };
    let (taken, made) = import(Learning { per_account: 2, ..BOUNDS }, NOW + 10);
    assert_eq!(
        (taken, made.lookup(token(3)), made.lookup(token(0))),
        (2, Learned::Account(account(7)), Learned::None)
    );
    assert_eq!(import(Learning { entries: 1, ..BOUNDS }, NOW + 10).0, 1);
    assert_eq!(import(BOUNDS, NOW + 2 + EXPIRES_AFTER_SECS).0, 2);
    // Dates from the future are cut to now, so that they expire like all others.
    let (_, made) = import(BOUNDS, NOW - 100);
    assert_eq!(made.expire(NOW - 99 + EXPIRES_AFTER_SECS), 4);

    let foreign = LearnedExport { version: 2, ..export };
    assert_eq!(table.import(&foreign, &BOUNDS, NOW), Err(UnknownVersion(2)));
}

#[test]
fn no_bounds_means_no_lessons() {
    let table = LearnedTable::default();
    for bounds in [Learning { entries: 0, ..BOUNDS }, Learning { per_account: 0, ..BOUNDS }] {
        assert_eq!(table.teach(token(1), KEY, account(7), &bounds, NOW), Taught::NoRoom);
    }
    assert!(table.is_empty());
}

#[test]
fn threads_agree_on_the_books() {
    let table = LearnedTable::default();
    std::thread::scope(|scope| {
        for id in 1..=4u64 {
            let table = &table;
            scope.spawn(move || {
                for round in 0..2000u64 {
                    table.teach(token(round % 40), KEY, account(1 + (round + id) % 5), &BOUNDS, NOW + round);
                    table.rejected(token((round * 7) % 40), NOW + round * 20, false);
                    table.lookup(token(round % 40));
                }
            });
        }
    });
    check_books(&table);
}

proptest::proptest! {
    /// Whatever others do with their own tokens, an account that stays within its quota keeps its routes.
    #[test]
    fn nobody_elses_deeds_move_an_account(deeds in proptest::collection::vec((0u8..4, 0u64..60, 0u64..30), 0..300)) {
        let table = LearnedTable::default();
        for number in 1..=3 {
            teach(&table, number, 7, NOW);
        }
        for (round, (deed, number, id)) in deeds.into_iter().enumerate() {
            let now = NOW + round as u64 * 20;
            let (other, id) = (token(1000 + number), account(1000 + id));
            match deed {
                0 | 1 => { table.teach(other, KEY, id, &BOUNDS, now); }
                2 => { table.rejected(other, now, false); }
                _ => { table.expire(now); }
            }
        }
        check_books(&table);
        for number in 1..=3 {
            proptest::prop_assert_eq!(table.lookup(token(number)), Learned::Account(account(7)));
        }
    }
}

#[test]
fn an_entry_knows_the_key_that_it_was_made_under_and_no_key_is_kept_for_nobody() {
    let table = LearnedTable::default();
    table.teach(token(1), "k1", account(7), &BOUNDS, NOW);
    table.teach(token(2), "k2", account(7), &BOUNDS, NOW);
    // Confirmed, and then ambiguous: the fingerprint is still the one of its key.
    table.teach(token(1), "k1", account(7), &BOUNDS, NOW + 1);
    table.teach(token(1), "k1", account(8), &BOUNDS, NOW + 1);
    let keys = |table: &LearnedTable| -> Vec<(Fingerprint, String)> {
        table.export().entries.iter().map(|entry| (entry.fingerprint, entry.key.to_string())).collect()
    };
    let mut expect = vec![(token(1), "k1".to_owned()), (token(2), "k2".to_owned())];
    expect.sort();
    assert_eq!(keys(&table), expect);
    let restarted = LearnedTable::default();
    restarted.import(&table.export(), &BOUNDS, NOW + 2).unwrap();
    assert_eq!(keys(&restarted), expect);
    for month in 0..100 {
        let now = NOW + (month + 2) * EXPIRES_AFTER_SECS;
        table.expire(now);
        table.teach(token(month), &format!("k{month}"), account(7), &BOUNDS, now);
        assert!(lock(&table.owners).keys.len() <= 3, "{:?}", lock(&table.owners).keys);
    }
}
