//! The benchmark, small: that its parts fit together, every configuration routes, and no request fails or is answered by
//! another account's cell. How fast anything is, is for `make bench` on a machine that does nothing else.
#![allow(clippy::unwrap_used)]

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use loadtest::bench::report::Report;
use loadtest::bench::scenario::Figures;
use loadtest::bench::usage::signal;
use loadtest::place::free_address;
use rustix::process::Signal;

/// Runs of the benchmark take the same processors, and each looks for free ports where the others do.
static ALONE: Mutex<()> = Mutex::new(());

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
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (out, json, svg) = (at("sites"), at("report.json"), at("report.svg"));
    let contestants = match cellgate() {
        Some(_) => "haproxy,nginx,cellgate,floor,relay",
        None => "haproxy,nginx,floor,relay",
    };
    // Another number of cells than usual, which each contestant must have been told.
    let what = ["--smoke", "--cells", "3", "--contestants", contestants];
    let output = bench(&[&what[..], &["--out", &out, "--json", &json, "--svg", &svg]].concat());
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
fn tables_come_in_force_while_requests_come_and_programs_start_anew() {
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (out, json) = (at("sites"), at("report.json"));
    let contestants = match cellgate() {
        Some(_) => "haproxy,nginx,cellgate,relay",
        None => "haproxy,nginx,relay",
    };
    let scenarios = ["--smoke", "--scenarios", "reload,cold-start", "--seconds", "0.5"];
    let files = ["--out", &out, "--json", &json, "--contestants", contestants];
    let output = bench(&[&scenarios[..], &files[..]].concat());
    let said = text(&output);
    // Any wrong answer, and a request that cellgate has lost, would be another end.
    assert!(output.status.success(), "{said}");
    let report: Report = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let (reload, start) = (&report.scenarios[0], &report.scenarios[1]);
    assert_eq!(reload.figures, Figures::Reload);
    assert_eq!(reload.left_out, ["relay, which cannot do this"]);
    assert_eq!(reload.rows.len(), contestants.split(',').count() - 1);
    for row in &reload.rows {
        // Half a second of 6,000 a second, to the other table and back.
        assert_eq!((row.requests, row.wrong), (6_000, 0), "{row:?}");
        let above = [row.to_effect_s, row.worst_p99_us, row.peak_mib, row.cpu_us];
        assert!(above.iter().all(|value| value.unwrap().least > 0.0), "{row:?}");
        assert!(row.worst_p99_us.unwrap().least >= row.p99_us.unwrap().least, "{row:?}");
    }
    assert_eq!((start.figures, start.left_out.len()), (Figures::ColdStart, 0));
    assert_eq!(start.rows.len(), contestants.split(',').count());
    for row in &start.rows {
        assert!(row.first_answer_s.unwrap().least > 0.0 && row.resident_mib.unwrap().least > 0.0, "{row:?}");
        assert_eq!((row.requests, row.cpu_us, row.to_effect_s), (0, None, None), "{row:?}");
    }
}

#[test]
fn the_floor_ends_when_it_is_told_to() {
    let _alone = ALONE.lock();
    let address = free_address().unwrap();
    let mut floor = Command::new(env!("CARGO_BIN_EXE_floor"));
    floor.args(["--plain", &address.to_string(), "--accounts", "10", "--cell", "127.0.0.1:9"]);
    let mut floor = floor.spawn().unwrap();
    // Pingora's own patience is five minutes.
    let until = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(address).is_err() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    let ended = loop {
        // Again and again: the first may come before it listens to signals, which ends it too.
        signal(floor.id(), Signal::TERM);
        match floor.try_wait().unwrap() {
            Some(_) => break true,
            None if Instant::now() > until => break false,
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    floor.kill().unwrap();
    floor.wait().unwrap();
    assert!(ended, "it goes on after SIGTERM");
}

#[test]
fn what_is_missing_is_said_before_anything_runs() {
    let output = bench(&["--smoke", "--contestants", "cellgate", "--cellgate", "/nowhere/cellgate"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/nowhere/cellgate") && said.contains("scripts/setup bench"), "{said}");
}

#[test]
fn one_cell_is_enough_for_all_but_moves() {
    let output = bench(&["--scenarios", "h1,reload", "--cells", "1"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("reload moves accounts") && said.contains("--cells 2"), "{said}");
}

#[test]
fn a_wrong_word_is_answered_with_the_right_ones() {
    for (arguments, expected) in [
        (["--scenarios", "h3"], "handshakes"),
        (["--contestants", "apache"], "haproxy"),
        (["--accounts", "0"], "10000000"),
        (["--cells", "1001"], "1000"),
        (["--rate", "0"], "1000000"),
        (["--seconds", "0"], "0.1"),
    ] {
        let output = bench(&arguments);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}
