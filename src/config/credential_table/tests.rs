//! What is exported and merged, as the text that people read.

#![allow(clippy::unwrap_used)]

use super::text::LEARNED;
use super::*;
use crate::config::parse_accounts;
use crate::policy::learned::{EXPIRES_AFTER_SECS, LearnedEntry, LearnedExport};

const NOW: u64 = 1_795_132_800;

const ACCOUNTS: &str = "account,cell\n1,a\n2,a\n70437463654557,a\n";

fn scope() -> Scope {
    let accounts = parse_accounts(ACCOUNTS.as_bytes(), &["a"], &[]).unwrap();
    Scope { keys: vec!["k2".into(), "k1".into()], accounts }
}

fn print(byte: u8) -> Fingerprint {
    Fingerprint([byte; 16])
}

/// `k1,0707..,1`: a row of the table, where the note is absent.
fn row(key_id: &str, byte: u8, account: u64, note: &str) -> String {
    format!("{key_id},{},{account},{note}\n", print(byte))
}

const HEADER: &str = "key_id,fingerprint,account,note\n";

fn table(rows: &[String]) -> String {
    HEADER.to_owned() + &rows.concat()
}

fn merged(present: Option<&str>, learned: &[&str]) -> Merged {
    let names = ["a.csv", "b.csv", "c.csv"];
    let inputs = names.iter().zip(learned).map(|(name, text)| Input { name, text: text.as_bytes() });
    let inputs: Vec<_> = inputs.collect();
    let present = present.map(|text| Input { name: "credentials.csv", text: text.as_bytes() });
    let merged = merge(present, &inputs, &scope()).unwrap();
    // In whatever order, and once more: the same.
    let backwards: Vec<_> = inputs.iter().rev().copied().collect();
    assert_eq!(merge(present, &backwards, &scope()).unwrap(), merged);
    let again = Input { name: "credentials.csv", text: merged.text.as_bytes() };
    let again = merge(Some(again), &inputs, &scope()).unwrap();
    assert_eq!((again.text.as_str(), again.added), (merged.text.as_str(), 0));
    merged
}

fn said(merged: &Merged) -> Vec<String> {
    merged.left_out.iter().map(ToString::to_string).collect()
}

fn learned(entries: &[(u8, u64, bool, u64)]) -> LearnedExport {
    let entry = |(byte, account, ambiguous, confirmed): &(u8, u64, bool, u64)| LearnedEntry {
        fingerprint: print(*byte),
        key: "k2".into(),
        account: AccountId::parse(account.to_string().as_bytes()).unwrap(),
        ambiguous: *ambiguous,
        confirmed: *confirmed,
    };
    LearnedExport { version: 1, entries: entries.iter().map(entry).collect() }
}

#[test]
fn an_export_has_what_may_be_routed_on_and_says_what_may_not() {
    let old = NOW - EXPIRES_AFTER_SECS;
    let entries =
        [(9, 2, false, NOW), (7, 70_437_463_654_557, false, old), (8, 1, true, NOW), (6, 1, false, old - 1)];
    let made = export(&learned(&entries), NOW);
    let rows = [row("k2", 9, 2, "learned"), row("k2", 7, 70_437_463_654_557, "learned")];
    let counts = "# What one replica has learned: 2 credentials, and 1 that are ambiguous.\n";
    let veto = format!("# ambiguous: k2,{}\n", print(8));
    assert_eq!(made.text, format!("{counts}{}{veto}", table(&rows)));
    assert_eq!((made.by_key, made.ambiguous.len(), made.expired), ([("k2".to_owned(), 2)].into(), 1, 1));
    let accounts: Vec<u64> = made.rows.iter().map(|row| row.account.value()).collect();
    assert_eq!(accounts, [2, 70_437_463_654_557], "in the order of the table");
}

#[test]
fn an_export_after_a_rotation_has_each_row_under_the_key_that_it_was_made_under() {
    let mut all = learned(&[(9, 2, false, NOW), (7, 1, false, NOW), (8, 1, true, NOW), (6, 2, false, NOW)]);
    // Learned before k2 was the newest, and before k1 was.
    (all.entries[1].key, all.entries[2].key, all.entries[3].key) = ("k1".into(), "k1".into(), "k0".into());
    let made = export(&all, NOW);
    let rows = [row("k0", 6, 2, "learned"), row("k1", 7, 1, "learned"), row("k2", 9, 2, "learned")];
    assert!(made.text.contains(&table(&rows)), "{}", made.text);
    assert!(made.text.ends_with(&format!("# ambiguous: k1,{}\n", print(8))), "{}", made.text);
    let by_key: Vec<_> = made.by_key.into_iter().collect();
    assert_eq!(by_key, [("k0".to_owned(), 1), ("k1".to_owned(), 1), ("k2".to_owned(), 1)]);
    // What the configuration has no key for can never match, and the merge says so.
    let table = merged(None, &[&made.text]);
    assert_eq!((table.added, table.left_out.len()), (2, 2));
    assert!(
        said(&table)[0].contains(&format!("k0,{}: the configuration has no such", print(6))),
        "{table:?}"
    );
}

#[test]
fn exports_come_behind_what_people_wrote_in_an_order_of_their_own() {
    let present = format!(
        "# Ours.\n{HEADER}{}# Below: sessions.\n{}\n# The end.\n",
        row("k1", 3, 2, "\"by hand, in March\""),
        row("k2", 2, 1, "service token")
    );
    let a = table(&[row("k2", 9, 2, "learned"), row("k2", 8, 1, "learned"), row("k2", 2, 1, "learned")]);
    let b = table(&[row("k2", 9, 2, "learned"), row("k1", 7, 70_437_463_654_557, "learned")]);
    let made = merged(Some(&present), &[&a, &b]);
    let rows =
        [row("k1", 7, 70_437_463_654_557, "learned"), row("k2", 8, 1, "learned"), row("k2", 9, 2, "learned")];
    assert_eq!(made.text, format!("{present}{LEARNED}\n{}", rows.concat()));
    assert_eq!((made.added, made.kept, made.duplicates), (3, 2, 2));
    assert_eq!(said(&made), [""; 0]);

    // A later merge goes on where this one has stopped, and leaves remarks among its own rows alone.
    let present = made.text.replace(&rows[1], &format!("# Ours too.\n{}", rows[1]));
    let c = table(&[row("k2", 5, 1, "learned")]);
    let made = merged(Some(&present), &[&c]);
    let rows = [&rows[..1], &[row("k2", 5, 1, "learned")], &rows[1..]].concat();
    let before = present.split(LEARNED).next().unwrap();
    assert_eq!(made.text, format!("{before}{LEARNED}\n# Ours too.\n{}", rows.concat()));
    assert_eq!((made.added, made.kept, made.duplicates), (1, 5, 0));
}

#[test]
fn without_a_table_there_is_one_and_its_columns_and_line_ends_are_those_of_the_present_one() {
    let a = table(&[row("k2", 9, 2, "learned")]);
    assert_eq!(merged(None, &[&a]).text, format!("{HEADER}{LEARNED}\n{}", row("k2", 9, 2, "learned")));
    let of = |byte| print(byte).to_string();
    let present = format!("account,fingerprint,key_id\r\n1,{},k1\r\n", of(1));
    let expect = format!("{present}{LEARNED}\r\n2,{},k2\r\n", of(9));
    assert_eq!(merged(Some(&present), &[&a]).text, expect);
}

#[test]
fn a_credential_of_two_accounts_is_nobodys_wherever_it_stands() {
    let kept_out = |text: &str, present: Option<&str>, inputs: &[&str], places: &str| {
        let made = merged(present, inputs);
        let veto = format!("# ambiguous: k2,{}\n", print(9));
        assert!(
            made.text.ends_with(&veto) && !made.text.replace(&veto, "").contains(&print(9).to_string()),
            "{text}"
        );
        let told = said(&made);
        assert_eq!(told.len(), 1, "{text}: {told:?}");
        let start = format!("left out: k2,{}: seen with two accounts; ask its owner", print(9));
        assert!(told[0].starts_with(&start) && told[0].ends_with(places), "{text}: {told:?}");
        made
    };
    let one = table(&[row("k2", 9, 1, "learned"), row("k2", 5, 1, "learned")]);
    let other = table(&[row("k2", 9, 2, "learned")]);
    let places = "; a.csv:2 (account 1), b.csv:2 (account 2)";
    let made = kept_out("two replicas", None, &[&one, &other], places);
    assert_eq!((made.added, made.kept, made.duplicates), (1, 0, 0));
    // What one merge has kept out, the next one does, with one of the two exports only.
    let later =
        kept_out("a later merge", Some(&made.text), &[&one], "; a.csv:2 (account 1), credentials.csv:4");
    assert_eq!((later.added, later.kept), (0, 1));
    // A person lets it in.
    let allowed = made.text.replace(&format!("# ambiguous: k2,{}\n", print(9)), "");
    assert_eq!(merged(Some(&allowed), &[&one]).left_out, []);

    let by_hand = table(&[row("k2", 9, 1, "by hand")]);
    kept_out(
        "the present table and a replica",
        Some(&by_hand),
        &[&other],
        "; credentials.csv:2 (account 1), a.csv:2 (account 2)",
    );
    let gone = table(&[row("k2", 9, 999, "learned")]);
    kept_out(
        "one of the accounts is gone",
        None,
        &[&one, &gone],
        "; a.csv:2 (account 1), b.csv:2 (account 999)",
    );
    let ambiguous = export(&learned(&[(9, 2, true, NOW)]), NOW).text;
    kept_out("a replica knows", None, &[&one, &ambiguous], "; a.csv:2 (account 1), b.csv:3");
    kept_out("nobody routes on it", None, &[&ambiguous], "; a.csv:3");
}

#[test]
fn what_the_configuration_does_not_know_is_left_out_and_said() {
    let a = table(&[row("k2", 9, 999, "learned"), row("k0", 8, 1, "learned"), row("k2", 7, 2, "learned")]);
    let present = table(&[row("k2", 6, 998, "of a customer who left"), row("k1", 5, 1, "")]);
    let made = merged(Some(&present), &[&a]);
    let expect = [row("k1", 5, 1, ""), format!("{LEARNED}\n"), row("k2", 7, 2, "learned")];
    assert_eq!(made.text, table(&expect));
    let left: Vec<_> = made.left_out.iter().map(|out| (out.fingerprint.0[0], out.reason)).collect();
    assert_eq!(left, [(6, Reason::NoAccount), (8, Reason::UnknownKey), (9, Reason::NoAccount)]);
    let told = said(&made);
    assert!(told[0].ends_with("; credentials.csv:2 (account 998)"), "{told:?}");
    assert!(
        told[1].contains("no such fingerprint key") && told[1].ends_with("; a.csv:3 (account 1)"),
        "{told:?}"
    );
    assert_eq!((made.added, made.kept, made.duplicates), (1, 1, 0));
}

#[test]
fn one_row_that_cannot_be_read_merges_nothing() {
    let whole = export(&learned(&[(9, 2, false, NOW), (8, 1, false, NOW), (7, 1, true, NOW)]), NOW).text;
    let check = |text: &str, expect: &str| {
        let good = table(&[row("k2", 3, 1, "learned")]);
        let inputs =
            [Input { name: "a.csv", text: good.as_bytes() }, Input { name: "b.csv", text: text.as_bytes() }];
        let problems = merge(None, &inputs, &scope()).unwrap_err();
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(lines.iter().any(|line| line.starts_with(expect)), "{expect}: {lines:?}");
    };
    check("", "b.csv:1: the file is empty");
    check("key_id,fingerprint\n", "b.csv:1: no column account");
    check(&table(&[row("k2", 3, 1, "x").replace("03", "zz")]), "b.csv:2: fingerprint: found something else");
    check(&table(&[row("k2", 3, 1, "x").replace(",1,", ",01,")]), "b.csv:2: account: found \"01\"");
    let mut cuts = 0;
    for end in 1..whole.len() - 1 {
        if whole.is_char_boundary(end) {
            check(&whole[..end], "b.csv:");
            cuts += 1;
        }
    }
    assert!(cuts > 200, "{cuts}");
}
