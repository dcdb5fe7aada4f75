//! Every reason not to count an approval, each with the approval that has it and nothing else against it.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cellgate::approval::used::MAX_USES;
use cellgate::approval::{
    AllowedSigners, ApprovalFile, Demand, Digest, FleetId, Nonce, Refusal, Statement, Use, Used, judge,
};
use cellgate::config::Unreadable;

use crate::keys::{Key, Keys, armored, blob, good, signed_data, ssh_keygen, string};
use crate::{EXPIRES, NOW, allowed, approval, demand, file, statement};

/// All labels, so that a reason without a case is noticed.
const ALL: [&str; 22] = [
    "unreadable",
    "malformed",
    "wrong_namespace",
    "other_fleet",
    "wrong_base",
    "wrong_candidate",
    "other_plan",
    "expired",
    "expires_too_late",
    "used_already",
    "memory_lost",
    "memory_full",
    "unknown_key",
    "unsupported",
    "bad_signature",
    "not_touched",
    "key_not_yet_valid",
    "key_no_longer_valid",
    "namespace_not_allowed",
    "signer_is_author",
    "same_key",
    "same_principal",
];

/// What is judged: without a change it counts.
struct Case {
    files: Vec<ApprovalFile>,
    demand: Demand,
    signers: AllowedSigners,
    used: Used,
    now: i64,
}

/// The cases, and what was seen in them.
struct Cases {
    keys: Keys,
    alice: Key,
    seen: BTreeSet<&'static str>,
}

impl Cases {
    fn case(&self) -> Case {
        Case {
            files: vec![approval("a", &statement(1), &self.alice)],
            demand: demand(1),
            signers: allowed(&format!("alice@x {}\n", self.alice.public)),
            used: Used::default(),
            now: NOW,
        }
    }

    /// The last of the files is refused with this label and a text that has this in it.
    fn check(&mut self, label: &'static str, text: &str, change: impl FnOnce(&mut Case, &Self)) {
        let mut case = self.case();
        change(&mut case, self);
        let Case { files, demand, signers, used, now } = case;
        let judgement = judge(&files, &demand, &signers, &used, now);
        assert_eq!(judgement.refused.len(), 1, "{label}: {:?}", judgement.refused);
        let (file, refusal) = &judgement.refused[0];
        assert_eq!(Some(file), files.last().map(|file| &file.name), "{label}");
        assert_eq!(refusal.label(), label, "{refusal}");
        let said = refusal.to_string();
        assert!(said.contains(text), "{label}: {said}");
        assert!(!said.contains(char::is_control), "{label}: {said}");
        self.seen.insert(refusal.label());
    }

    /// The one file is this text.
    fn check_text(&mut self, label: &'static str, text: &str, whole: &str) {
        self.check(label, text, |case, _| case.files = vec![file("a", whole)]);
    }

    /// The one file is alice's, and says this.
    fn check_said(&mut self, label: &'static str, text: &str, change: impl FnOnce(&mut Statement)) {
        let mut said = statement(1);
        change(&mut said);
        self.check(label, text, |case, cases| case.files = vec![approval("a", &said, &cases.alice)]);
    }
}

#[test]
fn every_reason_is_exact() {
    let keys = Keys::default();
    let alice = keys.make("alice", "ed25519", "");
    let mut cases = Cases { keys, alice, seen: BTreeSet::new() };
    let case = cases.case();
    let judgement = judge(&case.files, &case.demand, &case.signers, &case.used, case.now);
    assert!(judgement.met, "without a change it counts: {judgement:?}");
    what_cannot_be_read(&mut cases);
    what_is_signed_for_something_else(&mut cases);
    what_is_not_good_now(&mut cases);
    who_may_not_sign(&mut cases);
    who_has_been_counted(&mut cases);
    what_is_signed_in_another_way(&mut cases);
    hardware_keys(&mut cases);
    assert_eq!(cases.seen, BTreeSet::from(ALL));
}

fn what_cannot_be_read(cases: &mut Cases) {
    cases.check("unreadable", "the file is no ordinary file; expected a file", |case, _| {
        let unreadable = Unreadable { what: "is no ordinary file".into(), expected: "a file".into() };
        case.files[0].text = Err(unreadable);
    });
    let text = statement(1).text();
    let signature = cases.alice.sign(&text);
    let whole = format!("{text}{signature}");
    cases.check_text("malformed", "line 8: there is no signature; expected a line", &text);
    cases.check_text("malformed", "line 8: ", &format!("{text}{}", &signature[..90]));
    cases.check_text("malformed", "line 8: ", &format!("{whole}more"));
    cases.check_text("malformed", "line 8: ", &format!("{whole}{signature}"));
    cases.check_text("malformed", "line 8: there is more", &format!("{text}\n{signature}"));
    cases.check_text("malformed", "CR LF", &whole.replace('\n', "\r\n"));
    cases.check_text("malformed", "line 3: found \"plan: x\"", &whole.replacen(&"01".repeat(32), "x", 1));
    cases.check_text("malformed", "cannot be read", &whole.replacen("U1NIU0lH", "U1NIU0lI", 1));
    cases.check_text("malformed", "8193 bytes; expected at most 8192", &"x".repeat(8_193));
    cases.check("malformed", "it is not text", |case, _| case.files[0].text = Ok(vec![0xff]));
}

fn what_is_signed_for_something_else(cases: &mut Cases) {
    let text = statement(1).text();
    let whole = format!("{text}{}", cases.alice.sign(&text));
    cases.check_text("wrong_namespace", "it is for \"\"; expected \"cellgate-plan@v1\"", "");
    let other = whole.replacen("@v1", "@v2", 1);
    cases.check_text("wrong_namespace", "it is for \"cellgate-plan@v2\"", &other);
    let for_git = format!("{text}{}", cases.alice.sign_as("git", &text, &[]));
    cases.check_text("wrong_namespace", "it is for \"git\"", &for_git);
    cases.check_said("other_fleet", "it is for the fleet prod-eu, and this is prod-us", |said| {
        said.fleet = FleetId::parse("prod-eu").unwrap();
    });
    cases.check_said(
        "wrong_base",
        &format!("configuration {}, and {}", "09".repeat(32), "03".repeat(32)),
        |said| {
            said.base = Some(Digest([9; 32]));
        },
    );
    cases.check_said("wrong_base", "configuration none, and 0303", |said| said.base = None);
    cases.check("wrong_base", "03, and none serves", |case, _| case.demand.base = None);
    cases.check_said("wrong_candidate", "configuration 0909", |said| said.candidate = Digest([9; 32]));
    cases.check_said("other_plan", "plan 0909", |said| said.plan = Digest([9; 32]));
}

fn what_is_not_good_now(cases: &mut Cases) {
    cases.check("expired", "it expired at 2026-11-20T01:00:00Z", |case, _| case.now = EXPIRES);
    cases.check(
        "expires_too_late",
        "until 2026-11-20T01:00:00Z; expected 2026-11-20T00:59:59Z",
        |case, _| {
            case.demand.max_age = 3_599;
        },
    );
    let used = |number: u128| {
        let Demand { plan, candidate, .. } = demand(1);
        let nonce = Nonce((u128::from_be_bytes([1; 16]) + number).to_be_bytes());
        let (principal, key) = ("bob@x".to_owned(), "SHA256:b".to_owned());
        Use { plan, nonce, candidate, principal, key, expires: EXPIRES, at: NOW - 60 }
    };
    let expect = format!("it was used at 2026-11-19T23:59:00Z for the configuration {}", "02".repeat(32));
    cases.check("used_already", &expect, |case, _| case.used = Used::of([used(0)]).unwrap());
    cases.check("memory_lost", "not known: it is damaged. Until", |case, _| {
        case.used = Used::lost("it is damaged")
    });
    cases.check("memory_full", "4000 approvals", |case, _| {
        case.used = Used::of((1..=MAX_USES as u128).map(used)).unwrap();
    });
}

fn who_may_not_sign(cases: &mut Cases) {
    let fingerprint = cases.alice.fingerprint();
    let other = cases.keys.make("other", "ed25519", "");
    let is_unknown = format!("the key {fingerprint} is not in the file of allowed signers");
    cases.check("unknown_key", &is_unknown, |case, _| case.signers = AllowedSigners::default());
    cases.check("unknown_key", &is_unknown, |case, _| {
        case.signers = allowed(&format!("alice@x {}", other.public));
    });
    let mut line = |label, text: &str, options: &str| {
        cases.check(label, text, |case, cases| {
            case.signers = allowed(&format!("alice@x {options} {}", cases.alice.public));
        });
    };
    line("key_not_yet_valid", "not valid before 2026-11-21T00:00:00Z", "valid-after=\"20261121Z\"");
    line("key_no_longer_valid", "no longer valid since 2026-11-19T00:00:00Z", "valid-before=\"20261119Z\"");
    line("namespace_not_allowed", "namespaces=\"file,git\" only", "namespaces=\"file,git\"");
    for author in ["alice@x", "Alice@X"] {
        let expect = format!("its signer, alice@x, is or may be the author of the change, {author}");
        cases.check("signer_is_author", &expect, |case, _| case.demand.author = Some(author.to_owned()));
    }
    cases.check("signer_is_author", "may be the author", |case, cases| {
        case.demand.author = Some("bob@x".to_owned());
        case.signers = allowed(&format!("alice@x {0}\nb*@x {0}", cases.alice.public));
    });
    cases.check("bad_signature", &format!("the key {fingerprint} did not sign"), |case, cases| {
        let (said, other) = (statement(1).text(), statement(2).text());
        case.files = vec![file("a", &format!("{said}{}", cases.alice.sign(&other)))];
    });
}

fn who_has_been_counted(cases: &mut Cases) {
    let fingerprint = cases.alice.fingerprint();
    cases.check("same_key", &format!("the key {fingerprint} has been counted, in a;"), |case, cases| {
        case.files.push(approval("b", &statement(2), &cases.alice));
    });
    cases.check("same_key", "in a;", |case, _| {
        case.files.push(ApprovalFile { name: "copy".into(), ..case.files[0].clone() });
    });
    let second = cases.keys.make("second", "ecdsa", "256");
    cases.check(
        "same_principal",
        "its signer, ALICE@x, is or may be who signed a with another key",
        |case, cases| {
            case.files.push(approval("b", &statement(2), &second));
            case.signers = allowed(&format!("alice@x {}\nALICE@x {}", cases.alice.public, second.public));
        },
    );
}

fn what_is_signed_in_another_way(cases: &mut Cases) {
    let text = statement(1).text();
    let rsa = cases.keys.make("rsa", "rsa", "2048");
    let signature = |alg: &str, bytes: &[u8]| [string(alg), string(bytes)].concat();
    let of = |key: &[u8], hash: &str, signature: &[u8]| {
        format!("{text}{}", armored(key, "cellgate-plan@v1", hash, signature))
    };
    let sha1 = of(&rsa.blob(), "sha512", &signature("ssh-rsa", &[1; 256]));
    cases.check_text("unsupported", "RSA with SHA-1 (ssh-rsa); expected rsa-sha2-512", &sha1);
    let md5 = of(&cases.alice.blob(), "md5", &signature("ssh-ed25519", &[1; 64]));
    cases.check_text("unsupported", "hashed with \"md5\"; expected sha512", &md5);
    for kind in ["ssh-ed25519", "webauthn-sk-ecdsa-sha2-nistp256@openssh.com"] {
        let mixed = of(&rsa.blob(), "sha512", &signature(kind, &[1; 64]));
        cases.check("unsupported", &format!("\"{kind}\" by a key of the kind ssh-rsa"), |case, _| {
            case.files = vec![file("a", &mixed)];
            case.signers = allowed(&format!("alice@x {}", rsa.public));
        });
    }
    let weak = cases.keys.make("weak", "rsa", "1024");
    let weak = of(&weak.blob(), "sha512", &signature("rsa-sha2-512", &[1; 128]));
    cases.check_text("unsupported", "an RSA key of 1024 bits; expected", &weak);
    let certify = [
        "-q",
        "-s",
        cases.alice.path.to_str().unwrap(),
        "-I",
        "id",
        "-n",
        "alice",
        rsa.path.to_str().unwrap(),
    ];
    good(&ssh_keygen(&certify, b""));
    let certificate = std::fs::read_to_string(cases.keys.path().join("rsa-cert.pub")).unwrap();
    let certified = of(&blob(&certificate), "sha512", &signature("rsa-sha2-512", &[1; 256]));
    cases.check_text(
        "unsupported",
        "a certificate (\"ssh-rsa-cert-v01@openssh.com\"), and cellgate checks none",
        &certified,
    );
}

/// Tokens sign with flags and a counter of their own (PROTOCOL.u2f); this is what one would do.
fn hardware_keys(cases: &mut Cases) {
    let text = statement(1).text();
    let mut checked = 0;
    for kind in ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"] {
        let (key, sign) = token(kind);
        let line = format!("alice@x {kind} {}", STANDARD.encode(&key));
        let signed = |flags: u8| armored(&key, "cellgate-plan@v1", "sha512", &sign(flags));
        // Touched, and touched with a PIN.
        for flags in [1, 5] {
            let signature = signed(flags);
            let files = [file("a", &format!("{text}{signature}"))];
            let judgement = judge(&files, &demand(1), &allowed(&line), &Used::default(), NOW);
            assert!(judgement.met, "{kind}: {judgement:?}");
            let openssh = cases.keys.verifies(&line, "alice@x", "20261120000000Z", &text, &signature);
            assert!(openssh, "{kind}: what is built here is what a token signs");
            checked += 1;
        }
        let untouched = format!("{text}{}", signed(0));
        cases.check("not_touched", "signed without being touched", |case, _| {
            case.files = vec![file("a", &untouched)];
            case.signers = allowed(&line);
        });
        // The flags are signed, too.
        let wrong = format!("{}{}", text.replacen("nonce: 01", "nonce: 02", 1), signed(1));
        cases.check("bad_signature", "did not sign", |case, _| {
            case.files = vec![file("a", &wrong)];
            case.signers = allowed(&line);
        });
    }
    assert_eq!(checked, 4);
}

/// What a token signs of the statement, with these flags.
type Sign = Box<dyn Fn(u8) -> Vec<u8>>;

/// The public key of a token, and its signature.
fn token(kind: &'static str) -> (Vec<u8>, Sign) {
    let message = |flags: u8| {
        let (application, text) = (digest(&SHA256, b"ssh:"), signed_data(&statement(1).text()));
        let hash = digest(&SHA256, &text);
        [application.as_ref(), &[flags], &7_u32.to_be_bytes(), hash.as_ref()].concat()
    };
    let signed = move |flags: u8, bytes: &[u8]| {
        [string(kind), string(bytes), vec![flags], 7_u32.to_be_bytes().to_vec()].concat()
    };
    if kind.starts_with("sk-ssh") {
        let pair = Ed25519KeyPair::generate().unwrap();
        let key = [string(kind), string(pair.public_key()), string("ssh:")].concat();
        return (key, Box::new(move |flags| signed(flags, pair.sign(&message(flags)).as_ref())));
    }
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let key = [string(kind), string("nistp256"), string(pair.public_key()), string("ssh:")].concat();
    let sign = move |flags| {
        let fixed = pair.sign(&SystemRandom::new(), &message(flags)).unwrap();
        let numbers: Vec<u8> = fixed.as_ref().chunks(32).flat_map(|number| string(mpint(number))).collect();
        signed(flags, &numbers)
    };
    (key, Box::new(sign))
}

/// A positive number as RFC 4251 writes it.
fn mpint(number: &[u8]) -> Vec<u8> {
    let first = number.iter().position(|byte| *byte != 0).unwrap();
    let zero = (number[first] >= 0x80).then_some(0);
    zero.into_iter().chain(number[first..].iter().copied()).collect()
}

#[test]
fn a_malformed_file_names_no_more_than_it_must() {
    let long = Refusal::WrongNamespace { found: cellgate::config::problem::quoted(&"x".repeat(10_000)) };
    assert!(long.to_string().len() < 300);
}
