//! The benchmark, small: that its parts fit together, every configuration routes, and no request fails or is answered by
//! another account's cell. How fast anything is, is for `make bench` on a machine that does nothing else.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use loadtest::bench::report::Report;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench")).args(arguments).output().unwrap()
}

/// The program of cellgate, where the whole workspace has been built; alone, this member does not build it.
fn cellgate() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_bench")).with_file_name("cellgate");
    beside.is_file().then_some(beside)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn two_short_rounds_lose_no_request_and_are_reported_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (out, json, svg) = (at("sites"), at("report.json"), at("report.svg"));
    let contestants = match cellgate() {
        Some(_) => "haproxy,nginx,cellgate,floor,relay",
        None => "haproxy,nginx,floor,relay",
    };
    let output =
        bench(&["--smoke", "--out", &out, "--json", &json, "--svg", &svg, "--contestants", contestants]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    let report: Report = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!((report.accounts, report.rounds, report.scenarios.len()), (100, 2, 1));
    let rows = &report.scenarios[0].rows;
    let named: Vec<&str> = rows.iter().map(|row| row.contestant.as_str()).collect();
    assert_eq!(named, contestants.split(',').collect::<Vec<_>>());
    for row in rows {
        assert!(row.requests > 0, "{row:?}");
        assert_eq!((row.failed, row.wrong), (0, 0), "{row:?}");
        let whole = [row.cpu_us, row.user_us, row.system_us, row.ratio, row.per_second, row.p99_us];
        assert!(whole.iter().all(Option::is_some), "{row:?}");
        assert!(row.resident_mib.unwrap().least > 0.0, "{row:?}");
    }
    // The table says what the JSON says.
    assert!(said.contains(&report.scenarios[0].to_string()), "{said}");
    let picture = std::fs::read_to_string(&svg).unwrap();
    assert_eq!(picture.matches("<rect x=").count(), rows.len(), "{picture}");
}

#[test]
fn what_is_missing_is_said_before_anything_runs() {
    let output = bench(&["--smoke", "--contestants", "cellgate", "--cellgate", "/nowhere/cellgate"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/nowhere/cellgate") && said.contains("scripts/setup bench"), "{said}");
}

#[test]
fn a_wrong_word_is_answered_with_the_right_ones() {
    for (arguments, expected) in [
        (["--scenarios", "h3"], "handshakes"),
        (["--contestants", "apache"], "haproxy"),
        (["--accounts", "3"], "10"),
        (["--seconds", "0"], "0.1"),
    ] {
        let output = bench(&arguments);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}
