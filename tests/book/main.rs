//! The book in `docs/`: its pages hang together, its commands do what it says, and what it says of tests is so.
//!
//! Each page has a folder of its own with the example configuration, four simulated cells and a cellgate that
//! serves, and its commands are run there from top to bottom as somebody would paste them. A command has to exit
//! with 0, or with the number that stands behind it (`# exits 2`); what the page shows below it must be there.

#![allow(clippy::unwrap_used, clippy::panic)]

mod commands;
#[path = "../support/markdown.rs"]
mod markdown;
mod pages;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/running.rs"]
mod running;
mod stage;

use std::path::Path;

use pages::{NOT_RUN, WITHOUT_A_WORLD};
use stage::Stage;

/// One test a page, so that a failure names it and they run side by side.
macro_rules! pages {
    ($($name:ident => $page:literal,)*) => {
        const RUN: &[&str] = &[$($page),*];
        $(
            #[test]
            fn $name() {
                Stage::of($page).play();
            }
        )*
    };
}

pages! {
    readme => "README.md",
    access => "docs/access.md",
    approvals => "docs/approvals.md",
    audit_trail => "docs/audit-trail.md",
    brownouts => "docs/brownouts.md",
    capacity => "docs/capacity.md",
    command_line => "docs/command-line.md",
    concepts => "docs/concepts.md",
    console => "docs/console.md",
    levers => "docs/levers.md",
    monitoring => "docs/monitoring.md",
    playbook => "docs/playbook.md",
    reports => "docs/reports.md",
    security => "docs/security.md",
    standing => "docs/standing.md",
    status => "docs/status.md",
    top => "docs/top.md",
    runbooks => "docs/runbooks/README.md",
    a_bad_push => "docs/runbooks/bad-push.md",
    a_cell_is_slow => "docs/runbooks/cell-slow.md",
    a_certificate_has_expired => "docs/runbooks/certificate-expired.md",
    the_disk_is_full => "docs/runbooks/disk-full.md",
    a_cell_comes_back => "docs/runbooks/recovery.md",
    the_shared_environment_is_dead => "docs/runbooks/shared-environment-dead.md",
    a_zone_is_sick => "docs/runbooks/zone-sick.md",
    upgrade_notes => "docs/upgrade-notes.md",
}

#[test]
fn every_page_with_commands_is_run() {
    let excused: Vec<&str> = WITHOUT_A_WORLD.iter().map(|(page, _)| *page).collect();
    let missing: Vec<String> = pages::all()
        .into_iter()
        .filter(|page| !commands::of(&pages::text(page)).is_empty())
        .filter(|page| !RUN.contains(&page.as_str()) && !excused.contains(&page.as_str()))
        .collect();
    assert!(missing.is_empty(), "pages with commands that no test runs: {missing:?}");
    let gone = RUN.iter().chain(&excused).filter(|page| !Path::new(&pages::root(page)).exists());
    assert_eq!(gone.collect::<Vec<_>>(), Vec::<&&str>::new(), "pages that are not there");
}

#[test]
fn commands_stand_where_they_are_run() {
    let mut hidden = Vec::new();
    for page in
        pages::all().into_iter().filter(|page| !page.starts_with("docs/decisions/") && !is_elsewhere(page))
    {
        let lines = pages::in_other_blocks(&pages::text(&page));
        hidden.extend(lines.into_iter().map(|line| format!("{page}: {line}")));
    }
    assert!(
        hidden.is_empty(),
        "commands that are in no console block, so that nobody runs them:\n{}",
        hidden.join("\n")
    );
}

fn is_elsewhere(page: &str) -> bool {
    pages::ELSEWHERE.iter().any(|(other, _)| *other == page)
}

#[test]
fn what_is_not_run_is_there_and_has_a_reason() {
    for (page, command, reason) in NOT_RUN {
        assert!(reason.len() > 10, "{page}: {command}: why is it not run?");
        let there = commands::of(&pages::text(page)).iter().any(|one| one.line == *command);
        assert!(there, "{page} has no command {command:?} any more: take it out of NOT_RUN");
    }
}

/// What is in `docs/` and is no page: its list, and the plan of an issue that is open.
const OF_OURS: [&str; 2] = ["docs/SUMMARY.md", "docs/plan.md"];

#[test]
fn every_page_is_in_the_summary_and_every_entry_of_it_is_a_page() {
    let summary = pages::text("docs/SUMMARY.md");
    let entries: Vec<String> = pages::links(&summary).into_iter().map(|to| format!("docs/{to}")).collect();
    for entry in &entries {
        assert!(Path::new(&pages::root(entry)).is_file(), "SUMMARY.md names {entry}, which is not there");
    }
    let of_the_book = |page: &String| {
        page.starts_with("docs/") && !page.starts_with("docs/decisions/") && !OF_OURS.contains(&page.as_str())
    };
    let missing: Vec<String> =
        pages::all().into_iter().filter(of_the_book).filter(|page| !entries.contains(page)).collect();
    assert!(missing.is_empty(), "pages that SUMMARY.md does not name: {missing:?}");
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages::all() {
        let text = pages::text(&page);
        for to in pages::links(&text) {
            if !pages::leads_somewhere(&page, &to) {
                broken.push(format!("{page}: {to}"));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_test_that_a_page_names_is_there() {
    let mut gone = Vec::new();
    for page in pages::all() {
        for (file, name) in pages::tests_named(&pages::text(&page)) {
            let source = std::fs::read_to_string(pages::root(&file)).unwrap_or_default();
            if !source.contains(&format!("fn {name}(")) && !source.contains(&format!("    {name} => ")) {
                gone.push(format!("{page}: {file}: {name}"));
            }
        }
    }
    assert!(gone.is_empty(), "tests that are not there:\n{}", gone.join("\n"));
}

#[test]
fn each_sentence_of_the_incidents_has_its_row() {
    let text = pages::text("docs/incidents.md");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| \"")).collect();
    // As many as the list of capabilities that was made of the four reports.
    assert_eq!(rows.len(), 34);
    for row in rows {
        let verdict = row.trim_end_matches('|').rsplit('|').next().unwrap().trim();
        let is_one = ["held", "in part: ", "not held: "].iter().any(|word| verdict.starts_with(word));
        assert!(is_one, "a row says held, in part or not held: {row}");
        assert!(verdict.starts_with("not held") || row.contains(".rs: "), "a row names its test: {row}");
    }
}

/// What the runbooks say of installed systems, and where it comes from.
const INSTALLED: [(&str, &str); 7] = [
    ("packaging/systemd/cellgate.service", "--socket /var/lib/cellgate/admin.sock"),
    ("packaging/systemd/cellgate.service", "--state-dir /var/lib/cellgate"),
    ("packaging/systemd/cellgate.service", "--config /etc/cellgate"),
    ("packaging/debian/boot.yaml", "/var/log/cellgate/access.log"),
    ("packaging/docker/compose.yaml", "/etc/cellgate-boot/boot.yaml"),
    ("packaging/kubernetes/cellgate.yaml", "/etc/cellgate-boot/boot.yaml"),
    ("packaging/kubernetes/cellgate.yaml", "--socket /var/lib/cellgate/state/admin.sock"),
];

#[test]
fn runbooks_name_the_paths_of_what_is_installed() {
    let page = pages::text("docs/runbooks/README.md");
    for (file, words) in INSTALLED {
        assert!(page.contains(words), "docs/runbooks/README.md does not say {words}");
        // In lists of arguments each word is one of its own.
        let there = pages::text(file).replace(", ", " ");
        assert!(there.contains(words), "{file} has no {words}");
    }
}

#[test]
fn every_runbook_says_where_the_words_of_an_installed_system_stand() {
    let runbooks = pages::all().into_iter().filter(|page| page.starts_with("docs/runbooks/"));
    for page in runbooks.filter(|page| !page.ends_with("README.md")) {
        assert!(
            pages::links(&pages::text(&page)).contains(&"README.md#on-an-installed-system".to_owned()),
            "{page}"
        );
    }
}

#[test]
fn reports_ask_no_cell_anything() {
    let stage = Stage::of("docs/reports.md");
    let before = stage.asked_of_cells();
    for report in [
        "cellgate report",
        "cellgate report -o html",
        "cellgate report -o json",
        "cellgate report integrations",
        "cellgate report impact --from 2026-01-01T00:00Z --to 2026-01-02T00:00Z",
        "cellgate outreach letters",
        "curl -sf --unix-socket state/admin.sock http://admin/report",
    ] {
        stage.run(report, 0);
    }
    assert_eq!(stage.asked_of_cells(), before);
}
