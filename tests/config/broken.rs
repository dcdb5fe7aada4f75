//! Broken configurations, ten thousand of them with `CELLGATE_TEST_LONG=1`: no panic, nothing of them is believed, and every message says in which file,
//! in which line and under which key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cellgate::config::{FileKind, Problem, Sources, parse_all, referenced_files};
use fastrand::Rng;

use super::{NOW, example, lines};
use crate::breaking::broken;

/// How many of each of the two configurations: a few seconds unoptimised. `CELLGATE_TEST_LONG=1` reads ten times as
/// many, in a minute.
const EACH: usize = 500;

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

#[test]
fn whatever_is_broken_is_refused_with_file_line_and_key() {
    let each = if std::env::var_os("CELLGATE_TEST_LONG").is_some() { EACH * 10 } else { EACH };
    let (mut kinds, mut faults) = (BTreeSet::new(), BTreeMap::new());
    for (name, good) in [("the example", example()), ("the seeds", rich())] {
        assert_eq!(parse_all(&good, NOW).err().map(|problems| lines(&problems)), None, "{name} is sound");
        let mut rng = Rng::with_seed(4);
        let (mut bad, mut sound) = (0, 0);
        while bad < each {
            let (sources, how) = broken(&good, &mut rng);
            let Err(problems) = parse_all(&sources, NOW) else {
                sound += 1;
                assert!(sound < each, "{name}: most of what is broken is refused");
                continue;
            };
            bad += 1;
            assert!(!problems.is_empty(), "{name}, {how}");
            for problem in &problems {
                if let Err(what) = check(problem, &sources) {
                    faults.insert(what, format!("{name}, {how}: {problem}"));
                }
                kinds.insert(problem.path.split(['[', '.']).next().unwrap().to_owned());
            }
        }
    }
    assert_eq!(faults, BTreeMap::new());
    assert!(kinds.len() > 30, "{kinds:?}");
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
