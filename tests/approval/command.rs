//! `cellgate approve` as people type it, with keys in files.

use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use cellgate::approval::{Demand, Digest, Judgement, Used, judge};
use cellgate::config::plan::digest_of;
use serde_json::{Value, json};

use crate::keys::{Keys, good};
use crate::{allowed, demand, file, short};

fn approve(keys: &Keys, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.arg("approve").args(arguments).current_dir(keys.path()).stdin(Stdio::null());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A plan, and its digest.
fn planned() -> (String, String) {
    let (base, candidate) = ("03".repeat(32), "02".repeat(32));
    let mut plan =
        json!({ "version": 1, "fleet": "prod-us", "base": base, "candidate": candidate, "cells": [] });
    let digest = digest_of(&plan);
    plan["digest"] = digest.as_str().into();
    plan["objections"] =
        json!([{ "guard": "removal", "mode": "enforce", "what": "cells that served are gone: us1" }]);
    (plan.to_string(), digest)
}

fn plan() -> String {
    planned().0
}

/// Of a file in the folder of the keys, by now.
fn judged(keys: &Keys, name: &str, line: &str) -> Judgement {
    let text = std::fs::read_to_string(keys.path().join(name)).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let demand = Demand { plan: Digest::parse(&planned().1).unwrap(), ..demand(1) };
    judge(&[file(name, &text)], &demand, &allowed(line), &Used::default(), i64::try_from(now).unwrap())
}

#[test]
fn a_plan_is_approved_with_a_key_and_said_in_words_before() {
    let keys = Keys::default();
    let alice = keys.make("alice", "ed25519", "");
    std::fs::write(keys.path().join("plan.json"), plan()).unwrap();
    let output =
        approve(&keys, &["--plan", "plan.json", "--key", "alice", "--out", "a.approval", "--expires", "90m"]);
    assert_eq!(good(&output), "a.approval\n");
    let words = said(&output);
    for expect in [
        "You approve one change of the fleet prod-us, and nothing else:",
        &format!("plan   {}", planned().1),
        &format!("from   {}  (serves now)", "03".repeat(32)),
        &format!("to     {}", "02".repeat(32)),
        "(90m from now)",
        "  removal (enforce): cells that served are gone: us1",
        &format!("Signed by {}.", alice.fingerprint()),
        "approvals/ of the configuration folder",
    ] {
        assert!(words.contains(expect), "{expect}: {words}");
    }
    let line = format!("alice@x {}", alice.public);
    let judgement = judged(&keys, "a.approval", &line);
    assert_eq!(short(&judgement), ["a.approval: alice@x"]);
    // Again, it is another approval; and by itself it takes a name of its own.
    let output = approve(&keys, &["--plan", "plan.json", "--key", "alice"]);
    let name = good(&output);
    assert!(name.starts_with(&format!("{}-", &planned().1[..12])) && name.ends_with(".approval\n"), "{name}");
    let again = judged(&keys, name.trim_end(), &line);
    assert!(again.met);
    assert_ne!(again.accepted[0].nonce, judgement.accepted[0].nonce);
}

/// The one object that programs are told.
fn object(output: &Output) -> Value {
    let text = good(output);
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn programs_are_told_what_was_signed_by_whom_and_where_it_is() {
    let keys = Keys::default();
    let alice = keys.make("alice", "ed25519", "");
    std::fs::write(keys.path().join("plan.json"), plan()).unwrap();
    let output =
        approve(&keys, &["--plan", "plan.json", "--key", "alice", "--out", "a.approval", "-o", "json"]);
    let told = object(&output);
    assert!(said(&output).contains("You approve one change"), "who signs reads it: {}", said(&output));
    let expect = [
        ("approval", "a.approval".to_owned()),
        ("signed_by", alice.fingerprint()),
        ("fleet", "prod-us".to_owned()),
        ("plan", planned().1),
        ("base", "03".repeat(32)),
        ("candidate", "02".repeat(32)),
        ("namespace", "cellgate-plan@v1".to_owned()),
    ];
    for (key, expect) in expect {
        assert_eq!(told[key], expect, "{key}: {told}");
    }
    assert_eq!((&told["objections"][0]["guard"], told["changes"].is_array()), (&json!("removal"), true));
    assert_eq!(
        short(&judged(&keys, "a.approval", &format!("alice@x {}", alice.public))),
        ["a.approval: alice@x"]
    );

    // Signed elsewhere: what is in the object is what is signed, byte for byte.
    let told = object(&approve(&keys, &["--plan", "plan.json", "--print-statement", "-o", "json"]));
    assert_eq!((&told["approval"], &told["signed_by"]), (&Value::Null, &Value::Null));
    let statement = told["statement"].as_str().unwrap();
    std::fs::write(keys.path().join("statement"), statement).unwrap();
    std::fs::write(keys.path().join("statement.sig"), alice.sign(statement)).unwrap();
    let join = ["--join", "statement", "statement.sig", "--out", "b.approval", "-o", "json"];
    let joined = object(&approve(&keys, &join));
    assert_eq!((&joined["nonce"], &joined["signed_by"]), (&told["nonce"], &json!(alice.fingerprint())));
    assert_eq!((&joined["statement"], &joined["changes"]), (&told["statement"], &Value::Null));
    assert_eq!(
        short(&judged(&keys, "b.approval", &format!("alice@x {}", alice.public))),
        ["b.approval: alice@x"]
    );

    // What cannot be signed leaves no object behind.
    let output = approve(&keys, &["--plan", "nowhere.json", "--key", "alice", "-o", "json"]);
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true));
}

#[test]
fn the_signer_sees_what_the_digest_covers_and_what_it_does_not() {
    let keys = Keys::default();
    keys.make("alice", "ed25519", "");
    let none = json!({ "added": [], "removed": [], "changed": [] });
    let mut plan = json!({
        "version": 1, "fleet": "prod-us", "base": "03".repeat(32), "candidate": "02".repeat(32),
        "cells": { "added": [], "removed": ["us7"], "changed": [] }, "hosts": none, "trust": none,
        "listeners_removed": [],
        "accounts": { "before": 30, "after": 20, "added": [], "removed": [{ "cell": "us7", "accounts": 10 }],
                      "moved": [{ "from": "us1", "to": "us2", "accounts": 3 }], "changed": 0 },
        "credentials": { "before": 2, "after": 2, "added": { "rows": 0, "first": [] },
                         "removed": { "rows": 0, "first": [] },
                         "repointed": { "rows": 1, "first": ["abc (account 1 -> 2)"] } },
        "dates": [],
    });
    plan["digest"] = digest_of(&plan).into();
    // Whoever hands the file on can say that nobody objects; not that nothing changes.
    plan["objections"] = json!([]);
    std::fs::write(keys.path().join("plan.json"), plan.to_string()).unwrap();
    let words = said(&approve(&keys, &["--plan", "plan.json", "--key", "alice"]));
    for expect in [
        "  - cells      us7\n",
        "  - accounts   10 accounts removed from us7\n",
        "  ~ accounts   us1 -> us2: 3\n",
        "  ~ credentials 1 re-pointed: abc (account 1 -> 2)\n",
        "  = accounts   30 before, 20 after\n",
        "names no guard that objects. That is not signed",
    ] {
        assert!(words.contains(expect), "{expect}: {words}");
    }
    // A key of a later version is shown as it stands, and nothing of it moves the cursor.
    plan["later"] = "\u{1b}[2J".into();
    plan["digest"] = digest_of(&plan).into();
    plan["objections"] = json!([{ "guard": "a", "mode": "b", "what": "c\u{1b}d" }]);
    std::fs::write(keys.path().join("plan.json"), plan.to_string()).unwrap();
    let words = said(&approve(&keys, &["--plan", "plan.json", "--key", "alice"]));
    assert!(words.contains("\"later\"") && words.contains("as the file says; not signed"), "{words}");
    assert!(words.contains("a (b): c d") && !words.contains('\u{1b}'), "{words}");
}

#[test]
fn a_key_on_another_machine_signs_the_printed_statement() {
    let keys = Keys::default();
    let alice = keys.make("alice", "ecdsa", "256");
    let (plan, base, candidate) = (planned().1, "03".repeat(32), "02".repeat(32));
    let by_hand = [
        "--plan-digest",
        &plan,
        "--base",
        &base,
        "--candidate",
        &candidate,
        "--fleet",
        "prod-us",
        "--print-statement",
    ];
    let output = approve(&keys, &by_hand);
    let statement = good(&output);
    assert!(
        said(&output).contains("ssh-keygen -Y sign -n cellgate-plan@v1 -f KEY STATEMENT"),
        "{}",
        said(&output)
    );
    std::fs::write(keys.path().join("statement"), &statement).unwrap();
    std::fs::write(keys.path().join("statement.sig"), alice.sign(&statement)).unwrap();
    let output = approve(&keys, &["--join", "statement", "statement.sig", "--out", "joined.approval"]);
    assert_eq!(good(&output), "joined.approval\n");
    assert!(said(&output).contains("You approve one change of the fleet prod-us"));
    let judgement = judged(&keys, "joined.approval", &format!("alice@x {}", alice.public));
    assert_eq!(short(&judgement), ["joined.approval: alice@x"]);
    // From nothing.
    let from_nothing = by_hand.map(|word| if word == base { "none" } else { word });
    let output = approve(&keys, &from_nothing);
    assert!(good(&output).contains("\nbase: none\n"));
    assert!(said(&output).contains("from   nothing"));
}

#[test]
fn mistakes_are_told_and_nothing_is_written() {
    let keys = Keys::default();
    let alice = keys.make("alice", "ed25519", "");
    keys.make("weak", "rsa", "1024");
    let write = |name: &str, text: &str| std::fs::write(keys.path().join(name), text).unwrap();
    write("plan.json", &plan());
    write("newer.json", &plan().replacen("\"version\":1", "\"version\":2", 1));
    write("short.json", &plan().replacen("\"digest\":\"", "\"digest\":\"0", 1));
    write("changed.json", &plan().replacen("\"cells\":[]", "\"cells\":[1]", 1));
    write("unnamed.json", &plan().replacen("prod-us", "prod us", 1));
    write("text.json", "no JSON");
    write("taken.approval", "what was here");
    let statement = crate::statement(1).text();
    write("statement", &statement);
    write("other.sig", &alice.sign("something else"));
    write("git.sig", &alice.sign_as("git", &statement, &[]));
    let before = std::fs::read_dir(keys.path()).unwrap().count();
    let mut checked = 0;
    for (line, code, expect) in [
        ("", 64, "--plan"),
        ("--plan plan.json", 64, "--key"),
        ("--plan plan.json --fleet prod-us --key alice", 64, "cannot be used with"),
        ("--plan-digest 01 --key alice", 64, "--candidate"),
        ("--join statement", 64, "2 values"),
        ("--plan plan.json --key alice --expires 8d", 64, "at most 7d"),
        ("--plan plan.json --key alice --expires 0s", 64, "expected more than no time at all"),
        ("--plan plan.json --key alice --out a.txt", 1, "expected a name that ends with .approval"),
        ("--plan nowhere.json --key alice", 1, "reading nowhere.json"),
        ("--plan text.json --key alice", 1, "text.json is no plan; expected what cellgate plan"),
        ("--plan newer.json --key alice", 1, "is a plan of version 2; this cellgate knows version 1"),
        ("--plan short.json --key alice", 1, "short.json: its digest is"),
        ("--plan changed.json --key alice", 1, "somebody has changed it; make the plan anew"),
        ("--plan unnamed.json --key alice", 1, "the fleet is \"prod us\"; expected 1 to 63 letters"),
        ("--plan plan.json --key nobody", 1, "ssh-keygen has not signed with nobody"),
        ("--plan plan.json --key weak", 1, "no replica would count it: "),
        ("--plan plan.json --key nobody --out taken.approval", 1, "taken.approval: it is there already"),
        (
            "--plan plan.json --key nobody --out nowhere/a.approval",
            1,
            "there is no such folder; make it first",
        ),
        (
            "--plan plan.json --key nobody --out /proc/a.approval",
            1,
            "making /proc/a.approval; --out names another",
        ),
        ("--join statement other.sig", 1, "did not sign this text"),
        ("--join statement git.sig", 1, "it is for \"git\""),
        ("--join plan.json other.sig", 1, "plan.json is no statement of cellgate approve"),
    ] {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let output = approve(&keys, &arguments);
        assert_eq!(output.status.code(), Some(code), "{line}: {}", said(&output));
        assert!(said(&output).contains(expect), "{line}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{line}");
        checked += 1;
    }
    assert_eq!(checked, 22);
    assert_eq!(std::fs::read_dir(keys.path()).unwrap().count(), before);
    assert_eq!(std::fs::read_to_string(keys.path().join("taken.approval")).unwrap(), "what was here");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.args(["approve", "--plan", "plan.json", "--key", "alice"]).current_dir(keys.path());
    let output = command.env("PATH", keys.path()).output().unwrap();
    assert!(said(&output).contains("starting ssh-keygen (package openssh-client)"), "{}", said(&output));
}
