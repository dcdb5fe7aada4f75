//! Rules of this repository that no compiler holds: who may name whom, what a file may be, and what must
//! not be in it. Each rule is a function from files to complaints, and each is shown a file that breaks it.
//!
//! Sizes are a ratchet: what is over the limit today stands in a list, and its numbers only fall.
#![allow(clippy::unwrap_used)]

#[path = "tidy/locked.rs"]
mod locked;
#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeMap;
use std::path::Path;

use source::{Source, files_below, rust_files};

/// Who may name whom. A room is a module, or a file in one that has a rule of its own; what it may name
/// begins with one of these paths. Everybody may name themselves.
const ARROWS: &[(&str, &[&str])] = &[
    ("policy", &[]),
    ("config", &["policy"]),
    ("approval", &["policy", "config"]),
    ("live", &["policy"]),
    ("readiness", &["policy"]),
    ("telemetry", &["policy"]),
    ("listen", &["policy"]),
    ("clock", &["policy"]),
    ("proxy", &["policy", "live", "telemetry", "listen", "clock"]),
    ("standing_file", &["policy", "state_file"]),
    ("status_file", &["policy", "state_file"]),
    (
        "standing",
        &["policy", "config", "live", "readiness", "telemetry", "clock", "standing_file", "state_file"],
    ),
    ("prober", &["policy", "live", "telemetry", "clock", "proxy::connect"]),
    ("handover", &[]),
    ("quiet", &[]),
    ("systemd", &[]),
    ("state_file", &["policy"]),
    ("state_lock", &[]),
    ("state_volume", &[]),
    ("descriptors", &[]),
    ("compiled_file", &["policy", "config", "state_file"]),
    ("last_good", &["policy", "config", "state_file"]),
    ("learned_file", &["policy", "config", "state_file"]),
    ("levers_file", &["policy", "state_file"]),
    ("rolled_back", &["policy::code", "state_file"]),
    ("trail", &["policy", "config"]),
    ("history", &["last_good", "trail"]),
    ("load", &["policy", "config"]),
    ("access_files", &["policy", "config", "load"]),
    ("approval_files", &["policy", "config", "approval", "state_file", "load"]),
    ("break_glass_file", &["policy::code", "approval", "state_file"]),
    (
        "start",
        &[
            "policy",
            "config",
            "compiled_file",
            "last_good",
            "rolled_back",
            "load",
            "approval",
            "approval_files",
            "break_glass_file",
        ],
    ),
    (
        "reload",
        &[
            "policy",
            "config",
            "live",
            "readiness",
            "telemetry",
            "approval",
            "approval_files",
            "break_glass_file",
            "quiet",
            "state_file",
            "compiled_file",
            "last_good",
            "rolled_back",
            "trail",
            "history",
            "load",
            "start",
        ],
    ),
    // Beside the task that reloads, with which it has the audit trail together.
    (
        "levers",
        &["policy", "config", "readiness", "telemetry", "state_file", "levers_file", "reload::journal"],
    ),
    ("levers/handle", &["policy"]),
    ("attempts", &["policy", "telemetry", "state_file", "reload::journal"]),
    ("attempts/handle", &["policy"]),
    // The vocabulary that the admin plane shares with the reload task; nothing here can reload.
    ("reload/outcome", &["policy", "telemetry"]),
    // Can look and ask. Without `live` and the rest of `reload` it cannot swap.
    (
        "admin",
        &[
            "policy",
            "readiness",
            "telemetry",
            "reload::outcome",
            "levers::handle",
            "attempts::handle",
            "handover",
            "quiet",
            "explain",
            "status::desk",
        ],
    ),
    // Whom to trust, of who calls out.
    ("authorities", &[]),
    ("audit", &["policy", "telemetry", "authorities", "quiet"]),
    ("traces", &["policy", "telemetry", "authorities"]),
    // Posts what it is given; what there is to say is known elsewhere.
    ("webhooks", &[]),
    ("status", &["policy", "telemetry", "authorities", "load", "webhooks", "state_file", "status_file"]),
    // Where the admin plane finds it, printed.
    ("status/desk", &[]),
    ("explain", &["policy"]),
    // Maps of other proxies; whoever calls reads the files.
    ("import", &["policy", "config"]),
    ("init", &["policy", "config", "import"]),
    ("replay", &["policy", "explain"]),
    ("drill", &["policy", "config"]),
    // The root lists the modules.
    ("lib", &[]),
];

/// The rooms that may name everybody.
const TOP: [&str; 3] = ["app", "cli", "main"];

/// Words that plain functions must not have: time, randomness, the environment, files,
/// sockets and logs are arguments or results there.
const NOT_IN_FLOORS: [&str; 14] = [
    "async",
    "await",
    "tokio",
    "rand",
    "fastrand",
    "tracing",
    "println!",
    "eprintln!",
    "print!",
    "eprint!",
    "dbg!",
    "thread_rng",
    "UnixStream",
    "TcpStream",
];

/// The same by path below `std`.
const NOT_IN_FLOORS_OF_STD: [&str; 7] =
    ["env", "fs", "process", "thread", "os", "time::SystemTime::now", "time::Instant::now"];

/// Longest file, without its tests: two screens of structure and eight of text are what a reader keeps in
/// mind.
const FILE_LINES: usize = 400;

/// Longest function: one screen.
const FUNCTION_LINES: usize = 70;

/// Files that are longer, by today's number of lines.
const LONG_FILES: [(&str, usize); 0] = [];

/// Functions that are longer, by file and name.
const LONG_FUNCTIONS: [(&str, &str, usize); 0] = [];

/// How far a number in the lists above may lie over the truth before it must be lowered: others work on
/// the same file, and a line less is no reason to stop them.
const SLACK: usize = 20;

type Complaints = Vec<String>;

#[test]
fn arrows_point_down() {
    let wrong = [
        ("src/policy/a.rs", "//!\nuse crate::config::Config;"),
        ("src/policy/b.rs", "//!\nfn f() { super::super::live::pin() }"),
        ("src/config/mod.rs", "//!\nuse crate::{policy::ids, load};"),
        ("src/admin/a.rs", "//!\nuse crate::live::Live;"),
        ("src/admin/b.rs", "//!\nuse crate::reload::Reloader;"),
        ("src/reload/outcome.rs", "//!\nuse crate::live::Live;"),
        ("src/listen/mod.rs", "//!\nuse crate::telemetry::metrics::Metrics;"),
        ("src/attic.rs", "//! A room that nobody has heard of."),
    ];
    holds(arrows, &rust_files(root(), &["src"]), &wrong);
}

#[test]
fn every_arrow_begins_at_a_room_that_is_there() {
    for (room, _) in ARROWS {
        let there = [format!("src/{room}.rs"), format!("src/{room}/mod.rs")];
        assert!(there.iter().any(|path| root().join(path).is_file()), "{room} is in ARROWS and not in src/");
    }
}

#[test]
fn one_snapshot_and_one_writer() {
    let wrong = [
        ("src/proxy/a.rs", "//!\nuse arc_swap::ArcSwap;"),
        ("src/proxy/b.rs", "//!\nuse crate::live::Live;\nfn f(x: &Live) { x.replace(next()) }"),
        ("src/proxy/c.rs", "//!\nfn f(x: &S) { x.live.replace(next()) }"),
        ("src/app/d.rs", "//!\nfn f() { Live::replace(&live, next()) }"),
        ("src/reload/mod.rs", "//!\nfn f(x: &S) { x.live.try_out(None) }"),
        ("src/app/e.rs", "//!\n#![allow(clippy::disallowed_methods)]"),
    ];
    holds(one_swap, &rust_files(root(), &["src"]), &wrong);
}

#[test]
fn policy_config_and_approval_are_plain_functions() {
    let wrong = [
        ("src/policy/a.rs", "//!\nasync fn f() {}"),
        ("src/policy/b.rs", "//!\nfn f() -> u8 { fastrand::u8(..) }"),
        ("src/policy/c.rs", "//!\nuse std::time::{Duration, SystemTime};\nfn f() { SystemTime::now(); }"),
        ("src/policy/d.rs", "//!\nfn f() { std::time::Instant::now(); }"),
        ("src/config/e.rs", "//!\nuse std::{collections, fs};"),
        ("src/config/f.rs", "//!\nfn f() { std::env::var(name).ok(); }"),
        ("src/config/g.rs", "//!\nfn f() { println!() }"),
        ("src/approval/h.rs", "//!\nuse std::fs;"),
    ];
    holds(plain_floors, &rust_files(root(), &["src"]), &wrong);
}

#[test]
fn every_file_says_what_it_is() {
    let wrong =
        [("src/a.rs", "use std::fmt;\n"), ("loadtest/src/b.rs", "/// About the first item.\nfn f() {}")];
    holds(introduced, &rust_files(root(), &RUST), &wrong);
}

#[test]
fn files_and_functions_are_short() {
    let long = format!("//!\nfn f() {{\n{}}}", "    g();\n".repeat(FUNCTION_LINES));
    let longer = format!("//!\n{}", "const A: u8 = 0;\n".repeat(FILE_LINES));
    let wrong = [("src/a.rs", &*long), ("src/b.rs", &*longer)];
    breaks(|files| sizes(files, &[], &[]), &wrong);
    holds(|files| sizes(files, &LONG_FILES, &LONG_FUNCTIONS), &rust_files(root(), &PRODUCTION), &[]);
}

#[test]
fn numbers_of_the_ratchet_only_fall() {
    let text = format!("//!\nfn f() {{\n{}}}", "    g();\n".repeat(400));
    let files = [Source::new("src/a.rs", &text)];
    let of = |file, function| sizes(&files, &[("src/a.rs", file)], &[("src/a.rs", "f", function)]).len();
    assert_eq!(of(403, 402), 0, "both as long as they are listed");
    assert_eq!(of(402, 401), 2, "both have grown");
    assert_eq!(of(403 + SLACK + 1, 402 + SLACK + 1), 2, "both have shrunk and the list has not");
    assert_eq!(sizes(&[], &[("src/a.rs", 500)], &[("src/a.rs", "f", 100)]).len(), 2, "both are gone");
}

#[test]
fn nothing_gives_up() {
    let wrong = [
        ("src/a.rs", "//!\nfn f() { g().unwrap(); }"),
        ("src/b.rs", "//!\nfn f() { todo!() }"),
        ("src/c.rs", "//!\nfn f() { unimplemented!() }"),
        ("tests/d.rs", "//!\n#[test]\n#[ignore]\nfn f() {}"),
        ("tests/e.rs", "//!\n#[test]\n#[ignore = \"later\"]\nfn f() {}"),
        ("src/f.rs", "//!\nfn f() { unsafe { g() } }"),
    ];
    holds(gives_up, &rust_files(root(), &RUST), &wrong);
}

#[test]
fn nothing_is_of_one_machine() {
    let files: Vec<Source> = files_below(root(), &[""])
        .into_iter()
        .filter_map(|path| {
            let text = std::fs::read_to_string(root().join(&path)).ok()?;
            Some(Source { path, text, code: String::new(), production: String::new(), lines: 0 })
        })
        .collect();
    let wrong: Vec<String> = MACHINE.iter().map(|words| words.concat()).collect();
    let wrong: Vec<(&str, &str)> = wrong.iter().map(|text| ("docs/a.md", &**text)).collect();
    holds(of_one_machine, &files, &wrong);
}

/// The rule holds for the repository, and would not for each of these files.
fn holds(rule: impl Fn(&[Source]) -> Complaints, files: &[Source], wrong: &[(&str, &str)]) {
    assert!(files.len() > 1, "there are files to look at");
    breaks(&rule, wrong);
    let complaints = rule(files);
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Each of these files breaks the rule.
fn breaks(rule: impl Fn(&[Source]) -> Complaints, wrong: &[(&str, &str)]) {
    for (path, text) in wrong {
        let complaints = rule(&[Source::new(path, text)]);
        assert_eq!(complaints.len(), 1, "{path} breaks the rule once: {complaints:?}\n{text}");
    }
}

/// Everything in Rust.
const RUST: [&str; 5] = ["src", "loadtest", "certs", "tests", "fuzz"];

/// What is not a test.
const PRODUCTION: [&str; 4] = ["src", "loadtest/src", "certs/src", "fuzz"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn arrows(files: &[Source]) -> Complaints {
    let mut complaints = Vec::new();
    for file in files {
        let inner = file.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let module = inner.split('/').next().unwrap();
        if TOP.contains(&module) {
            continue;
        }
        let by_file = ARROWS.iter().find(|(room, _)| *room == inner);
        let Some((_, allowed)) = by_file.or(ARROWS.iter().find(|(room, _)| *room == module)) else {
            complaints.push(format!("{}: say in ARROWS of tests/tidy.rs whom {module} may name", file.path));
            continue;
        };
        for path in named(file, inner) {
            let may = path[0] == module || allowed.iter().any(|start| begins(&path, start));
            if !may {
                complaints.push(format!(
                    "{}: {module} must not name {}; it may name {allowed:?}",
                    file.path,
                    path.join("::"),
                ));
            }
        }
    }
    complaints
}

/// Paths from the root of the crate, through `crate` or through enough `super`.
fn named(file: &Source, inner: &str) -> Vec<Vec<String>> {
    let mut paths = file.paths("crate");
    let depth = inner.split('/').count();
    for path in file.paths("super") {
        let above = path.iter().take_while(|word| *word == "super").count() + 1;
        if above >= depth {
            paths.push(path[above - 1..].to_vec());
        }
    }
    paths
}

fn begins(path: &[String], start: &str) -> bool {
    start.split("::").enumerate().all(|(at, word)| path.get(at).is_some_and(|named| named == word))
}

fn one_swap(files: &[Source]) -> Complaints {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| !file.production.is_empty()) {
        let words = file.words();
        if file.path != "src/live.rs" && words.contains(&"ArcSwap") {
            complaints.push(format!("{}: the one ArcSwap is in src/live.rs; pin from there", file.path));
        }
        let holds_live = file.paths("crate").iter().any(|path| path[0] == "live");
        let replaces = words.windows(3).any(|words| match words {
            [_, ".", "replace" | "try_out"] if holds_live => true,
            ["live", ".", "replace" | "try_out"] | ["Live", "::", "replace" | "try_out"] => true,
            _ => false,
        });
        let may_replace = file.path == "src/reload/staged.rs";
        if file.production.contains("clippy::disallowed_methods") && !may_replace {
            complaints.push(format!("{}: clippy.toml says what to call instead", file.path));
        }
        if replaces && !may_replace {
            complaints
                .push(format!("{}: only src/reload/staged.rs replaces the snapshot; ask it", file.path));
        }
    }
    complaints
}

fn plain_floors(files: &[Source]) -> Complaints {
    let floors = ["src/policy/", "src/config/", "src/approval/"];
    let on_floor = |file: &&Source| floors.iter().any(|floor| file.path.starts_with(floor));
    let mut complaints = Vec::new();
    for file in files.iter().filter(on_floor) {
        let words = file.words();
        let mut found: Vec<String> =
            NOT_IN_FLOORS.iter().filter(|word| words.contains(word)).map(|word| (*word).to_owned()).collect();
        let paths = file.paths("std");
        let by_path =
            NOT_IN_FLOORS_OF_STD.iter().filter(|start| paths.iter().any(|path| begins(path, start)));
        found.extend(by_path.map(|start| format!("std::{start}")));
        let imported_clock =
            words.windows(3).any(|words| matches!(words, ["SystemTime" | "Instant", "::", "now"]));
        if imported_clock && !found.iter().any(|word| word.ends_with("::now")) {
            found.push("a clock".to_owned());
        }
        complaints
            .extend(found.into_iter().map(|word| format!("{}: {word} is for the shells above", file.path)));
    }
    complaints
}

fn introduced(files: &[Source]) -> Complaints {
    let silent = files.iter().filter(|file| !file.text.starts_with("//!"));
    silent.map(|file| format!("{}: begin with //! and what the file is and is not", file.path)).collect()
}

fn sizes(
    files: &[Source],
    long_files: &[(&str, usize)],
    long_functions: &[(&str, &str, usize)],
) -> Complaints {
    let mut listed: BTreeMap<String, usize> =
        long_files.iter().map(|(path, lines)| ((*path).to_owned(), *lines)).collect();
    listed.extend(long_functions.iter().map(|(path, name, lines)| (format!("{path}: fn {name}"), *lines)));
    let mut complaints = Vec::new();
    let mut measure = |what: String, lines: usize, limit: usize| {
        let allowed = listed.remove(&what).unwrap_or(0);
        if lines > limit.max(allowed) {
            complaints.push(format!("{what} has {lines} lines, at most {}", limit.max(allowed)));
        } else if allowed > 0 && (lines <= limit || allowed > lines + SLACK) {
            complaints.push(format!("{what} has {lines} lines now: lower the {allowed} in tests/tidy.rs"));
        }
    };
    for file in files {
        measure(file.path.clone(), file.lines, FILE_LINES);
        for function in file.functions() {
            measure(format!("{}: fn {}", file.path, function.name), function.lines, FUNCTION_LINES);
        }
    }
    complaints
        .extend(listed.keys().map(|what| format!("{what} is gone: take it off the list in tests/tidy.rs")));
    complaints
}

fn gives_up(files: &[Source]) -> Complaints {
    let mut complaints = Vec::new();
    for file in files {
        let is_test = file.path.contains("tests/") || file.production.is_empty();
        for word in file.words() {
            if matches!(word, "todo!" | "unimplemented!" | "unsafe") || (word == "unwrap" && !is_test) {
                complaints.push(format!("{}: {word} has no place here", file.path));
            }
        }
        if file.code.contains("#[ignore") {
            complaints.push(format!("{}: a test that is ignored holds nothing", file.path));
        }
    }
    complaints
}

/// What only means something where it was written, in pieces, so that this file does not say it.
const MACHINE: [[&str; 2]; 6] = [
    ["/wo", "rk/"],
    ["/ro", "ot/"],
    ["issues ", "show"],
    [".lib", "rary/"],
    ["work", "tree"],
    ["BRIEF", ".md"],
];

fn of_one_machine(files: &[Source]) -> Complaints {
    let mut complaints = Vec::new();
    for file in files {
        for (at, line) in file.text.lines().enumerate() {
            for word in MACHINE.iter().map(|words| words.concat()).filter(|word| line.contains(word.as_str()))
            {
                complaints.push(format!("{}:{}: {word} means nothing elsewhere", file.path, at + 1));
            }
        }
    }
    complaints
}
