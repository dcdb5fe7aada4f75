//! Approvals as people make them: keys and signatures are those of the real `ssh-keygen`, which also says what it thinks
//! of our reading. Only what no machine without a token can make, the signature of a hardware key, is built here.
#![allow(clippy::unwrap_used)]
#![allow(clippy::panic)] // Ends a test with words.

mod command;
mod folder;
mod keys;
mod refusals;
mod signers;

use cellgate::approval::{
    AllowedSigners, ApprovalFile, Demand, Digest, FleetId, Judgement, Nonce, Statement, Used, judge,
};
use keys::{Key, Keys};

/// 2026-11-20T00:00:00Z.
const NOW: i64 = 1_795_132_800;

/// An hour later.
const EXPIRES: i64 = NOW + 3_600;

fn demand(needed: usize) -> Demand {
    Demand {
        fleet: FleetId::parse("prod-us").unwrap(),
        plan: Digest([1; 32]),
        candidate: Digest([2; 32]),
        base: Some(Digest([3; 32])),
        needed,
        author: None,
        max_age: 86_400,
    }
}

/// What is asked for, with a nonce.
fn statement(nonce: u8) -> Statement {
    let Demand { fleet, plan, candidate, base, .. } = demand(0);
    Statement { fleet, plan, candidate, base, nonce: Nonce([nonce; 16]), expires: EXPIRES }
}

/// An approval file by a key.
fn approval(name: &str, statement: &Statement, key: &Key) -> ApprovalFile {
    file(name, &format!("{}{}", statement.text(), key.sign(&statement.text())))
}

fn file(name: &str, text: &str) -> ApprovalFile {
    ApprovalFile { name: name.into(), text: Ok(text.as_bytes().to_vec()) }
}

/// A file of allowed signers without a mistake.
fn allowed(text: &str) -> AllowedSigners {
    let (signers, problems) = AllowedSigners::parse("allowed_signers", text.as_bytes());
    assert_eq!(problems, [], "{text}");
    signers
}

/// A judgement in short: who counts, and what does not with its label.
fn short(judgement: &Judgement) -> Vec<String> {
    let accepted = judgement.accepted.iter().map(|one| format!("{}: {}", one.file, one.principal));
    let refused = judgement.refused.iter().map(|(file, refusal)| format!("{file}: {}", refusal.label()));
    accepted.chain(refused).collect()
}

#[test]
fn each_kind_of_key_signs_and_a_changed_statement_is_noticed() {
    let keys = Keys::default();
    let mut checked = 0;
    for (kind, bits, hash) in [
        ("ed25519", "", ""),
        ("ecdsa", "256", ""),
        ("ecdsa", "384", "hashalg=sha256"),
        ("ecdsa", "521", ""),
        ("rsa", "2048", ""),
        ("rsa", "3072", "hashalg=sha256"),
    ] {
        let key = keys.make(&format!("{kind}{bits}"), kind, bits);
        let signers = allowed(&format!("alice@example.com {}\n", key.public));
        let options = if hash.is_empty() { vec![] } else { vec!["-O", hash] };
        let text = statement(1).text();
        let whole = format!("{text}{}", key.sign_with(&text, &options));
        let judged =
            |text: &str| judge(&[file("a.approval", text)], &demand(1), &signers, &Used::default(), NOW);
        let judgement = judged(&whole);
        assert_eq!(short(&judgement), ["a.approval: alice@example.com"], "{kind} {bits} {hash}");
        assert!(judgement.met);
        assert_eq!(judgement.accepted[0].key, key.fingerprint(), "{kind} {bits}");
        assert_eq!(judgement.accepted[0].nonce, Nonce([1; 16]));
        assert_eq!(judgement.accepted[0].expires, EXPIRES);
        let other = whole.replacen("nonce: 01", "nonce: 02", 1);
        assert_eq!(short(&judged(&other)), ["a.approval: bad_signature"], "{kind} {bits} {hash}");
        checked += 1;
    }
    assert_eq!(checked, 6);
}

#[test]
fn two_people_are_two_principals_with_two_keys() {
    let keys = Keys::default();
    let [alice, second, bob, carol] =
        ["alice", "second", "bob", "carol"].map(|name| keys.make(name, "ed25519", ""));
    let check = |lines: &str, by: &[&Key], expect: &[&str]| {
        let names = ["1.approval", "2.approval", "3.approval"];
        let files: Vec<ApprovalFile> = (1..)
            .zip(names.iter().zip(by))
            .map(|(nonce, (name, key))| approval(name, &statement(nonce), key))
            .collect();
        let judgement = judge(&files, &demand(2), &allowed(lines), &Used::default(), NOW);
        assert_eq!(short(&judgement), expect, "{lines}");
        assert_eq!(judgement.met, judgement.accepted.len() >= 2, "{lines}");
        judgement.met
    };
    let (a, a2, b, c) = (&alice.public, &second.public, &bob.public, &carol.public);
    let both = format!("alice@x {a}\nbob@x {b}\n");
    assert!(check(&both, &[&alice, &bob], &["1.approval: alice@x", "2.approval: bob@x"]));
    assert!(!check(&both, &[&alice], &["1.approval: alice@x"]));
    // One key, twice, also under two names.
    assert!(!check(&both, &[&alice, &alice], &["1.approval: alice@x", "2.approval: same_key"]));
    let two_names = format!("alice@x {a}\nbob@x {a}\n");
    assert!(!check(&two_names, &[&alice, &alice], &["1.approval: alice@x", "2.approval: same_key"]));
    // One person with two keys, also where patterns only may mean one person.
    for lines in [
        format!("alice@x {a}\nalice@x {a2}\n"),
        format!("alice@x,a@y {a}\nb@y,Alice@X {a2}\n"),
        format!("*@x {a}\nalice@x {a2}\n"),
        format!("*@x,!alice@x {a}\nalice@* {a2}\n"),
    ] {
        let first = lines.split(' ').next().unwrap();
        let counted = format!("1.approval: {first}");
        assert!(!check(&lines, &[&alice, &second], &[&counted, "2.approval: same_principal"]));
    }
    // A key that two people have is neither's alone: with it, each of the two could sign twice.
    let shared = format!("alice@x {a}\nbob@x {a}\nbob@x {b}\ncarol@x {c}\n");
    assert!(check(
        &shared,
        &[&alice, &bob, &carol],
        &["1.approval: alice@x", "3.approval: carol@x", "2.approval: same_principal"]
    ));
}

#[test]
fn what_is_used_once_is_used_up_and_two_may_sign_one_statement() {
    let keys = Keys::default();
    let (alice, bob) = (keys.make("alice", "ed25519", ""), keys.make("bob", "ed25519", ""));
    let signers = allowed(&format!("alice@x {}\nbob@x {}\n", alice.public, bob.public));
    let files = [approval("a", &statement(1), &alice), approval("b", &statement(1), &bob)];
    let judged = |used: &Used| judge(&files, &demand(2), &signers, used, NOW);
    let first = judged(&Used::default());
    assert!(first.met, "{:?}", short(&first));
    let used = Used::default().with(&first.accepted, &demand(2), NOW).unwrap();
    let again = judged(&used);
    assert!(!again.met);
    assert_eq!(short(&again), ["a: used_already", "b: used_already"]);
    assert!(
        used.for_candidate(demand(2).candidate).next().is_some(),
        "the start can know what was let through"
    );
}

#[test]
fn nothing_is_enough_where_nothing_is_needed_only() {
    let judged = |needed| judge(&[], &demand(needed), &AllowedSigners::default(), &Used::default(), NOW).met;
    assert!(judged(0));
    assert!(!judged(1));
}
