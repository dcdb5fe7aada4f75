//! Broken configurations, ten thousand of them: no panic, nothing of them is believed, and every message says in which
//! file, in which line and under which key it is. A file that is wrong as a whole has no line ([`WHOLE`]), and what cannot
//! be read as YAML or as a row has no key ([`NO_KEY`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cellgate::config::{FileKind, Problem, Sources, parse_all, referenced_files};
use fastrand::Rng;

use super::{NOW, example, lines};
use crate::breaking::broken;

/// How many of each configuration, ten thousand together: most are of the smallest, for what they cost is reading YAML
/// unoptimised. `CELLGATE_TEST_LONG=1` reads ten times as many.
const OF_EXAMPLE: usize = 400;
const OF_SEEDS: usize = 1_600;
const OF_SMALL: usize = 8_000;

/// Each with a seed of its own, on threads of their own.
const PARTS: u64 = 4;

/// What is wrong with a file as a whole, and so has no line.
const WHOLE: [&str; 4] =
    ["the file is empty", "the file has ", "the table has no accounts", "there are more than 500 problems"];

/// What is wrong with a line, or with everything, and so has no key.
const NO_KEY: [&str; 11] = [
    "not readable as YAML",
    "the file is empty",
    "the table has no accounts",
    "there are more than 500 problems",
    "found bytes that are not UTF-8",
    "found the control character",
    "found a tab in the indentation",
    "the last line does not end",
    "unknown column",
    "no column",
    "column ",
];

/// The configuration of the fuzz targets, which has every key that there is.
fn rich() -> Sources {
    let seeds = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/config"));
    let seed = |name: &str| std::fs::read(seeds.join(name));
    let key = "413182179ca0d8c0579fe3827fe0cc1ce2690643e3bcc7b6262f3bfc34d40e28\n";
    let routing = seed("routing.yaml").unwrap();
    let text = |kind: FileKind, path: &str| match kind {
        FileKind::Table => seed(path).unwrap(),
        FileKind::Certificate | FileKind::Secret { .. } => key.into(),
    };
    let files = referenced_files(&routing).into_iter();
    let files = files.map(|named| (named.path.clone(), Ok(text(named.kind, &named.path)))).collect();
    Sources {
        boot_file: None,
        folder: PathBuf::new(),
        boot: seed("boot.yaml").map_err(|_| unreachable!()),
        routing: Ok(routing),
        files,
    }
}

/// The least that serves.
fn small() -> Sources {
    let boot = "version: 1\nlisteners: [{ name: http, address: \"127.0.0.1:0\", protocol: http }]\n";
    let routing = "version: 1\nguide: https://docs.example.com/moving\nsurfaces: [{ name: app }]\n\
        schedules: [{ name: all, deprecated_since: 2026-02-01T00:00:00Z, sunset_at: 2026-11-01T00:00:00Z }]\n\
        hosts: [{ pattern: cloud.getdbt.com, role: legacy, schedule: all }, { pattern: \"{prefix}.us1.dbt.com\", role: cell }]\n\
        cells:\n  - { name: a, domain: us1.dbt.com, groups: [{ endpoints: [\"127.0.0.1:7101\"] }] }\n\
        identify: { paths: [{ path: \"/api/v2/accounts/{account}\" }] }\n\
        accounts: { file: accounts.csv }\nenvironments: { file: environments.csv }\n";
    let accounts = "account,prefixes,cell\n12345,acme ab123,a\n26228,,a\n";
    let files = [("accounts.csv", accounts), ("environments.csv", "environment,account\n88991,12345\n")];
    Sources {
        boot_file: None,
        folder: PathBuf::new(),
        boot: Ok(boot.into()),
        routing: Ok(routing.into()),
        files: files.map(|(name, text)| (name.into(), Ok(text.into()))).into_iter().collect(),
    }
}

/// What problems were about, and what was wrong with messages: with a message for each.
type Found = (BTreeSet<String>, BTreeMap<&'static str, String>);

#[test]
#[allow(clippy::print_stdout)] // How long it took.
fn whatever_is_broken_is_refused_with_file_line_and_key() {
    let times = if std::env::var_os("CELLGATE_TEST_LONG").is_some() { 10 } else { 1 };
    let started = std::time::Instant::now();
    let mut found = Found::default();
    for (name, good, count) in [
        ("the example", example(), OF_EXAMPLE),
        ("the seeds", rich(), OF_SEEDS),
        ("the small one", small(), OF_SMALL),
    ] {
        assert_eq!(parse_all(&good, NOW).err().map(|problems| lines(&problems)), None, "{name} is sound");
        let each = count / PARTS as usize * times;
        // The same configurations on whatever machine.
        std::thread::scope(|scope| {
            let part = |seed| {
                let good = &good;
                scope.spawn(move || read_broken(name, good, seed, each))
            };
            let parts: Vec<_> = (0..PARTS).map(part).collect();
            for part in parts {
                let (kinds, faults) = part.join().unwrap();
                found.0.extend(kinds);
                found.1.extend(faults);
            }
        });
        println!("{} broken ones of {name} after {:.1?}", each * PARTS as usize, started.elapsed());
    }
    let (kinds, faults) = found;
    assert_eq!(faults, BTreeMap::new());
    assert!(kinds.len() > 30, "{kinds:?}");
}

/// Reads so many broken ones.
fn read_broken(name: &str, good: &Sources, seed: u64, count: usize) -> Found {
    let (mut rng, mut found) = (Rng::with_seed(seed), Found::default());
    let (mut bad, mut sound) = (0, 0);
    while bad < count {
        let (sources, how) = broken(good, &mut rng);
        let Err(problems) = parse_all(&sources, NOW) else {
            sound += 1;
            assert!(sound < count, "{name}: most of what is broken is refused");
            continue;
        };
        bad += 1;
        assert!(!problems.is_empty(), "{name}, {how}");
        for problem in &problems {
            if let Err(what) = check(problem, &sources) {
                found.1.insert(what, format!("{name}, {how}: {problem}"));
            }
            found.0.insert(problem.path.split(['[', '.']).next().unwrap().to_owned());
        }
    }
    found
}

/// A problem says where, and on one line what is wrong and what would be right.
fn check(problem: &Problem, sources: &Sources) -> Result<(), &'static str> {
    let known = ["boot.yaml", "cellgate.yaml", "(all files)"].contains(&&*problem.file)
        || sources.files.contains_key(&problem.file);
    let starts = |whats: &[&str]| whats.iter().any(|what| problem.what.starts_with(what));
    let line = problem.to_string();
    // Of a document that is one plain value.
    let whole = problem.expected.starts_with("a mapping that begins with ")
        || (problem.line, problem.column) == (Some(1), Some(1)) && problem.what.contains(" without quotes");
    let row = problem.what.starts_with("found ") && problem.what.ends_with(" fields");
    match () {
        () if !known => Err("no file"),
        () if problem.line.is_none() && !starts(&WHOLE) => Err("no line"),
        () if problem.line == Some(0) => Err("line 0"),
        () if problem.path.is_empty() && !row && !whole && !starts(&NO_KEY) => Err("no key"),
        () if problem.what.is_empty() || problem.expected.is_empty() => Err("half a sentence"),
        () if line.contains(char::is_control) => Err("a control character"),
        () if line.len() > 1_500 => Err("too much"),
        () => Ok(()),
    }
}
