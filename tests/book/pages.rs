//! The pages as text: which there are, where their links lead, which tests they name.

use std::fs;
use std::path::{Path, PathBuf};

pub use crate::markdown::links;
use crate::markdown::without_code;

/// Commands that are not run, by page: what they need is not there, or would harm the machine.
pub const NOT_RUN: &[(&str, &str, &str)] = &[
    (
        "docs/reports.md",
        "cellgate report --database /etc/cellgate/books.conn",
        "a fleet's database: tests/e2e/fleet_books.rs runs it with one",
    ),
    (
        "docs/reports.md",
        "cellgate outreach --webhook https://hooks.example.com/cellgate --webhook-secret hook.secret",
        "posts to a host: tests/e2e/webhooks.rs runs it with one",
    ),
    (
        "README.md",
        "kill -9 4711                     # the shared environment",
        "make demo-check kills it; here its cell is stopped",
    ),
    (
        "docs/access.md",
        "cellgate levers --admin https://10.0.0.5:9901 --admin-token alice.token --admin-ca admin-ca.pem",
        "asks another machine: tests/e2e/access/commands.rs runs it over a TLS port",
    ),
    (
        "docs/access.md",
        "cellgate shed 50% cell cell-1 --reason \"us1 burns\" --admin https://10.0.0.5:9901 --admin-token alice.token --admin-ca admin-ca.pem",
        "asks another machine: tests/e2e/access/commands.rs runs it over a TLS port",
    ),
    ("README.md", "make run", "make demo-check starts the same and tries every line that it prints"),
    ("README.md", "make test", "this is a part of it"),
    (
        "docs/recovery.md",
        "make recovery                                                # all arms: 23 minutes; target/recovery/",
        "23 minutes: make test-long runs it, and tests/recovery.rs a small one",
    ),
    (
        "docs/recovery.md",
        "make recovery RECOVERY='--arms haproxy,cellgate --seed 2'    # some, with another crowd",
        "minutes: make test-long runs recoveries, and tests/recovery.rs a small one",
    ),
    (
        "docs/recovery.md",
        "make recovery RECOVERY='--arms cellgate --hold'              # fails if it is no paced recovery",
        "minutes: make test-long runs recoveries, and tests/recovery.rs a small one",
    ),
    (
        "docs/performance.md",
        "make dist                                                    # after a profile of its work: half an hour",
        "half an hour",
    ),
    (
        "docs/performance.md",
        "make bench BENCH='--cellgate target/dist/cellgate'           # that build, beside the others",
        "45 minutes, and the machine for itself",
    ),
    (
        "docs/performance.md",
        "make bench                                                   # everything, a million accounts: 45 minutes",
        "45 minutes on a machine that does nothing else: loadtest/tests/bench.rs runs a small one",
    ),
    (
        "docs/performance.md",
        "make bench BENCH='--scenarios h1,h1-log --accounts 100000'   # some, with another table",
        "minutes: loadtest/tests/bench.rs runs a small one",
    ),
    (
        "docs/performance.md",
        "make bench BENCH=--smoke                                     # two short rounds: does it work?",
        "builds for release: loadtest/tests/bench.rs runs the same",
    ),
    (
        "docs/performance.md",
        "target/release/bench --count 1000                            # of cellgate; --contestants haproxy,floor: of others too",
        "builds for release: make test runs the debug build's",
    ),
];

/// Pages whose commands need something else than the example's world, and what runs them instead.
pub const WITHOUT_A_WORLD: &[(&str, &str)] = &[
    (
        "docs/first-steps.md",
        "begins in an empty folder: tests/e2e/first_steps.rs goes through these steps there",
    ),
    (
        "docs/recovery.md",
        "all of its commands take minutes; they stand in NOT_RUN with what runs them instead",
    ),
    (
        "docs/performance.md",
        "all of its commands build for release; they stand in NOT_RUN with what runs them instead",
    ),
    ("docs/moves.md", "tests/e2e/move_command.rs goes through these steps with three replicas"),
];

/// Pages with commands for machines that are not here, in blocks of another kind.
pub const ELSEWHERE: &[(&str, &str)] = &[
    (
        "docs/deploy.md",
        "needs root, a cluster or AWS; tests/packaging holds what can be held, and the page says what was tried",
    ),
    ("docs/container.md", "needs a docker engine; the page says what was tried without one"),
];

/// A path of the repository.
pub fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of a page.
pub fn text(page: &str) -> String {
    fs::read_to_string(root(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// Every page for readers: the README and all of `docs/`.
pub fn all() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned()];
    collect("docs", &mut pages);
    pages.sort();
    pages
}

fn collect(folder: &str, pages: &mut Vec<String>) {
    for entry in fs::read_dir(root(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&path, pages);
        } else if Path::new(&path).extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}

/// Whether a file, and the heading where one is named, is there.
pub fn leads_somewhere(page: &str, target: &str) -> bool {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let here = Path::new(page).parent().unwrap();
    let path = if file.is_empty() { root(page) } else { root(&here.join(file).to_string_lossy()) };
    if anchor.is_empty() || path.extension().is_none_or(|extension| extension != "md") {
        return path.exists();
    }
    let Ok(text) = fs::read_to_string(path) else { return false };
    let headings = without_code(&text).filter(|line| line.starts_with('#'));
    headings.map(|heading| slug(heading.trim_start_matches('#'))).any(|slug| slug == anchor)
}

/// What mdBook and GitHub make of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().replace(' ', "-");
    kept.chars().filter(|char| char.is_alphanumeric() || matches!(char, '-' | '_')).collect()
}

/// Tests by file and name: `` `tests/e2e/books.rs: name` ``.
pub fn tests_named(text: &str) -> Vec<(String, String)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let named = quoted.filter_map(|words| words.split_once(".rs: "));
    named.map(|(file, name)| (format!("{file}.rs"), name.to_owned())).collect()
}

/// Programs that readers of the book are told to call.
const PROGRAMS: [&str; 9] =
    ["cellgate", "make", "curl", "promtool", "kubectl", "helm", "docker", "systemctl", "apt-get"];

/// Lines that begin with such a program in blocks that are not for commands.
pub fn in_other_blocks(text: &str) -> Vec<String> {
    let mut kind = None;
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(fence) = line.trim_start().strip_prefix("```") {
            kind = if kind.is_some() { None } else { Some(fence) };
            continue;
        }
        let is_code = matches!(kind, Some("" | "sh" | "bash" | "shell" | "text"));
        let is_indented = kind.is_none() && line.starts_with("    ");
        let first = line.split_whitespace().next().unwrap_or_default();
        if (is_code || is_indented) && PROGRAMS.contains(&first) {
            found.push(line.trim().to_owned());
        }
    }
    found
}
