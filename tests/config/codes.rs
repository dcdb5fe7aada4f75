//! Codes of errors: their page, that none is ever given a second meaning, and that what an explanation calls wrong is
//! told with its code and what it calls mended is not. The examples are changes of a small configuration.

#![allow(clippy::panic)] // Ends a test with words.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cellgate::config::{Problem, Sources, parse_all};
use cellgate::load;
use cellgate::policy::code::{BASE, Code, Example, page};

use super::{NOW, authority, example, lines, replace};
use devcerts::Usage;

/// What each configuration code that no piece of text shows is shown by: a change of the example of the repository, or of
/// the small configuration.
#[allow(clippy::type_complexity)]
const BY_HAND: &[(Code, fn() -> Sources)] = &[
    (Code::EmptyFile, || with("cellgate.yaml", "# nothing\n")),
    (Code::LargeFile, || with("cellgate.yaml", &"# long\n".repeat(200_000))),
    (Code::NotUtf8, || raw("cellgate.yaml", b"version: 1 # \xff\n")),
    (Code::ControlCharacter, || with("cellgate.yaml", "version: 1 # \u{7}\n")),
    (Code::TooDeep, || with("cellgate.yaml", &format!("a: {}\n", "[".repeat(40)))),
    (Code::TooManyValues, || with("cellgate.yaml", &format!("a: [{}]\n", "1,".repeat(200_001)))),
    (Code::LongText, || with("cellgate.yaml", &format!("a: {}\n", "x".repeat(10_000)))),
    (Code::NotAMapping, || with("cellgate.yaml", "- version\n")),
    (Code::TooManyProblems, || {
        with(
            "accounts.csv",
            &format!(
                "account,prefixes,cell\n{}",
                (1..600).map(|id| format!("{id},,x\n")).collect::<String>()
            ),
        )
    }),
    (Code::LongList, || {
        let paths = "/a, ".repeat(2_000);
        changed(&format!("redirect_exceptions: [{paths}]\n"))
    }),
    (Code::HalfAPair, || changed(&cell("tls: { ca: ca.pem, client_cert: ca.pem }"))),
    (Code::TokenLengths, || {
        changed(
            "identify: { credentials: { shapes: [{ prefix: t_, min: 40, max: 20 }], keys: [{ id: k, file: key }] } }\n",
        )
    }),
    (Code::WaitingPerCell, || {
        changed("moves: { file: moves.csv, waiting_per_account: 64, waiting_per_cell: 32 }\n")
    }),
    (Code::RoutingCookieTaken, || {
        changed(
            "identify: { cookies: [{ name: __Host-cellgate, names: credential }], routing_cookie: { keys: [{ id: k, file: key }] } }\n",
        )
    }),
    (Code::RoutingCookieWithoutSession, || {
        changed("identify: { routing_cookie: { keys: [{ id: k, file: key }] } }\n")
    }),
    (Code::LearnMoreThanAll, || {
        changed(
            "identify: { credentials: { shapes: [{ prefix: t_, min: 20, max: 40 }], keys: [{ id: k, file: key }], learn: { entries: 10, per_account: 11 } } }\n",
        )
    }),
    (Code::SchemeOnHttps, || {
        let mut sources = example();
        replace(&mut sources.boot, "protocol: https", "protocol: https\n    forwarded_scheme: https");
        sources
    }),
    (Code::FamilyWithoutCondition, || clients("  - { name: nobody }\n")),
    (Code::FamilyContradicts, || clients("  - { name: both, user_agent_prefix: x, no_user_agent: true }\n")),
    (Code::FixWithoutHost, || {
        clients("  - { name: x, user_agent_prefix: x, fix: { why: old, how: call your own address } }\n")
    }),
    (Code::NoPrivateKey, || certificate(|_, _| "no key\n".to_owned())),
    (Code::KeyOfAnother, || certificate(|_, other| other)),
    (Code::NoCertificateInFile, || in_file("../certs/dev/us1.pem", b"nothing\n")),
    (Code::UnreadableCertificate, || {
        in_file("../certs/dev/us1.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    }),
    (Code::NotAuthorities, || {
        let mut sources = changed(&cell("tls: { ca: ca.pem }"));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        sources.files.insert("ca.pem".into(), Ok(broken.to_vec()));
        sources
    }),
    (Code::CertificateForNoHost, || {
        let mut sources = example();
        let pair = authority().issue(&["elsewhere.example.com"], Usage::Server).unwrap();
        sources.files.insert("e.pem".into(), Ok(pair.cert_pem.into()));
        sources.files.insert("e.key".into(), Ok(pair.key_pem.into()));
        replace(&mut sources.routing, "certificates:\n", "certificates:\n  - { cert: e.pem, key: e.key }\n");
        sources
    }),
    (Code::HostWithoutCertificate, || {
        let mut sources = example();
        let more = "hosts:\n  - { pattern: x.example.com, role: legacy, surface: app, schedule: legacy }\n";
        replace(&mut sources.routing, "hosts:\n", more);
        sources
    }),
    (Code::RevocationList, || {
        let mut sources = changed(&cell("tls: { ca: ca.pem, crl: crl.pem }"));
        sources.files.insert("crl.pem".into(), Ok(b"nothing\n".to_vec()));
        sources
    }),
    (Code::NoKeyInFile, || changed(&cell("seal: { key_id: k, key_file: ca.pem }"))),
    (Code::TicketKeyTwice, || changed("tls: { ticket_keys: [{ file: key }, { file: key2 }] }\n")),
    (Code::TooManyPrefixes, || {
        let prefixes: Vec<String> = (0..200).map(|n| format!("p{n}")).collect();
        with("accounts.csv", &format!("account,prefixes,cell\n1,{},cell-1\n", prefixes.join(" ")))
    }),
    (Code::LastLineOpen, || with("accounts.csv", "account,prefixes,cell\n1,,cell-1")),
    (Code::Fingerprint, || {
        let mut sources = changed(
            "identify: { credentials: { shapes: [{ prefix: t_, min: 20, max: 40 }], keys: [{ id: k, file: key }], table: c.csv } }\n",
        );
        sources.files.insert("c.csv".into(), Ok(b"key_id,fingerprint,account\nk,zz,12345\n".to_vec()));
        sources
    }),
    (Code::MoveToItself, || moves("12345,cell-1,cell-1,prepare,1\n")),
    (Code::MoveAndTable, || moves("12345,cell-2,cell-1,prepare,1\n")),
    (Code::Epoch, || moves("12345,cell-1,cell-2,prepare,0\n")),
];

/// Codes of the configuration that other tests show, for what they need is large or made with care: where.
const ELSEWHERE: &[(Code, &str)] = &[
    (Code::KeyKind, "no library at hand makes such a key"),
    (Code::CertificateExpired, "tests/config/mistakes.rs"),
    (Code::CertificateNotYet, "tests/config/mistakes.rs"),
    (Code::OcspResponse, "tests/config/trust.rs"),
    (Code::RevocationListOverdue, "tests/config/trust.rs"),
    (Code::TooManyRows, "ten million rows"),
    (Code::TokenDigest, "src/config/access.rs"),
];

#[test]
fn the_page_of_codes_is_printed_from_their_explanations() {
    same_as_file("docs/errors.md", &page(), "codes");
}

#[test]
fn no_code_is_ever_given_a_second_meaning() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/codes.txt");
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let mut past = BTreeMap::new();
    for line in known.lines().filter(|line| !line.starts_with('#')) {
        let (code, name) = line.split_once(' ').unwrap();
        assert_eq!(past.insert(code, name), None, "{code} stands twice in tests/config/codes.txt");
    }
    let present: BTreeMap<String, String> =
        Code::ALL.iter().map(|code| (code.to_string(), format!("{code:?}"))).collect();
    for (code, name) in &present {
        match past.get(code.as_str()) {
            Some(past) => assert!(
                *past == name,
                "{code} was {past} once, and is {name} now: take a number that is free"
            ),
            None => panic!("{code} is new: add the line \"{code} {name}\" to tests/config/codes.txt"),
        }
    }
    for (code, name) in past {
        let is_there = present.contains_key(code) || name.ends_with(" (gone)");
        assert!(
            is_there,
            "{code} is no more: write \"{code} {name} (gone)\", so that nobody takes the number again"
        );
    }
}

#[test]
fn each_code_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    read_below(&root.join("src"), &mut sources);
    let used: BTreeSet<&str> = sources
        .split("Code::")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default())
        .collect();
    // Those that have a name are found by it; that of each refusal and guard is a total function.
    let unused: Vec<_> = Code::ALL
        .iter()
        .filter(|code| code.explanation().name.is_none() && !used.contains(&*format!("{code:?}")))
        .collect();
    assert!(unused.is_empty(), "nothing is told with these: {unused:?}");
}

#[test]
fn what_an_explanation_calls_wrong_is_told_with_its_code_and_what_it_calls_mended_is_not() {
    assert_eq!(told(&small()), Vec::new());
    let (mut shown, mut wrong) = (0, String::new());
    for code in Code::ALL {
        for Example { file, is_wrong, text } in code.explanation().examples() {
            let problems = told(&with_example(file, text));
            let codes: BTreeSet<Code> = problems.iter().map(|problem| problem.code).collect();
            let expected = if is_wrong { BTreeSet::from([*code]) } else { BTreeSet::new() };
            if codes != expected {
                wrong += &format!("{code}, in {file}:\n{text}is told as\n{}\n", lines(&problems));
            }
            shown += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(shown > 150, "{shown} examples");
}

#[test]
fn each_code_of_the_configuration_is_shown_by_something() {
    let mut shown: BTreeSet<Code> = ELSEWHERE.iter().map(|(code, _)| *code).collect();
    let mut wrong = String::new();
    for (code, sources) in BY_HAND {
        let problems = told(&sources());
        if !problems.iter().any(|problem| problem.code == *code) {
            wrong += &format!("{code} is not told, but\n{}\n", lines(&problems));
        }
        assert!(shown.insert(*code), "{code} is shown twice");
    }
    for code in Code::ALL.iter().filter(|code| code.number() < 400) {
        let is_explained = code.explanation().examples().iter().any(|example| example.is_wrong);
        if is_explained == shown.contains(code) {
            wrong += &format!(
                "{code} is shown by an example or by hand, one of both
"
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Compares a file of the repository with what the code makes, or writes it where UPDATE_REFERENCE is set.
pub fn same_as_file(name: &str, text: &str, filter: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let line = text.lines().zip(there.lines()).position(|(code, page)| code != page);
    assert!(
        there == text,
        "{name} differs from the code, first in line {}; run: UPDATE_REFERENCE=1 cargo test --test config {filter}",
        line.unwrap_or(there.lines().count().min(text.lines().count())) + 1
    );
}

/// The configuration that examples change.
fn small() -> Sources {
    raw("cellgate.yaml", BASE[1].1.as_bytes())
}

/// The same with whole top-level keys of a YAML file in place of its own, or another table.
pub fn with_example(file: &str, text: &str) -> Sources {
    let base = BASE.iter().find(|(name, _)| *name == file).unwrap_or_else(|| panic!("there is no {file}")).1;
    match file.ends_with(".csv") {
        true => with(file, text),
        false => with(file, &overlaid(base, text)),
    }
}

/// What stands in `base`, without the keys that stand in `text`, and `text` behind it.
pub fn overlaid(base: &str, text: &str) -> String {
    let key = |line: &str| line.split_once(':').map(|(key, _)| key.to_owned()).unwrap_or_default();
    let top = |line: &&str| !line.starts_with([' ', '-', '#', '\t']);
    let replaced: BTreeSet<String> = text.lines().filter(top).map(key).collect();
    let (mut kept, mut keep) = (String::new(), true);
    for line in base.lines() {
        keep = if top(&line) { !replaced.contains(&key(line)) } else { keep };
        if keep {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept + text
}

fn changed(text: &str) -> Sources {
    let mut sources = with_example("cellgate.yaml", text);
    let key = |digit: &str| Ok(format!("{}\n", digit.repeat(64)).into_bytes());
    sources.files.insert("key".into(), key("a"));
    sources.files.insert("key2".into(), key("a"));
    sources.files.insert("moves.csv".into(), Ok(b"account,from,to,state,epoch\n".to_vec()));
    sources.files.insert("ca.pem".into(), Ok(authority().ca_pem().into()));
    sources
}

fn cell(more: &str) -> String {
    format!(
        "cells:\n  - name: cell-1\n    domain: us1.example.com\n    groups: [{{ endpoints: [\"10.0.1.10:8080\"] }}]\n    {more}\n"
    )
}

fn moves(rows: &str) -> Sources {
    let two =
        "  - { name: cell-2, domain: us1.example.com, groups: [{ endpoints: [\"10.0.2.10:8080\"] }] }\n";
    let mut sources = changed(&format!("{}{two}moves: {{ file: moves.csv }}\n", cell("protocol: auto")));
    sources.files.insert("moves.csv".into(), Ok(format!("account,from,to,state,epoch\n{rows}").into_bytes()));
    sources
}

fn clients(families: &str) -> Sources {
    let mut sources = changed("clients: { file: clients.yaml }\n");
    sources
        .files
        .insert("clients.yaml".into(), Ok(format!("version: 1\nfamilies:\n{families}").into_bytes()));
    sources
}

/// The example of the repository with another key for a certificate, made of the right one and of that of another.
fn certificate(key: impl Fn(String, String) -> String) -> Sources {
    let sources = example();
    let text = |name: &str| String::from_utf8(sources.files[name].clone().unwrap()).unwrap();
    let key = key(text("../certs/dev/us1.key"), text("../certs/dev/legacy.key"));
    in_file("../certs/dev/us1.key", key.as_bytes())
}

fn in_file(name: &str, bytes: &[u8]) -> Sources {
    let mut sources = example();
    assert!(sources.files.insert(name.into(), Ok(bytes.to_vec())).is_some(), "{name}");
    sources
}

fn with(file: &str, text: &str) -> Sources {
    raw(file, text.as_bytes())
}

fn raw(file: &str, bytes: &[u8]) -> Sources {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in BASE {
        std::fs::write(folder.path().join(name), if name == file { bytes } else { text.as_bytes() }).unwrap();
    }
    let mut sources = load::load(folder.path());
    // As it is, also where it is more than is read from a folder.
    match file {
        "boot.yaml" => sources.boot = Ok(bytes.to_vec()),
        "cellgate.yaml" => sources.routing = Ok(bytes.to_vec()),
        table => drop(sources.files.insert(table.into(), Ok(bytes.to_vec()))),
    }
    sources
}

fn told(sources: &Sources) -> Vec<Problem> {
    parse_all(sources, NOW).err().unwrap_or_default()
}

fn read_below(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            read_below(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
