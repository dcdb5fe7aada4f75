//! Levers at a real process: from the command over the socket and the trail until they are released or over, and in the
//! modules below what requests feel of each.

mod felt;
mod holds;
mod operators;
mod places;

use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::access::unix_user;
use crate::command_line::said;
use crate::process::Process;
use crate::raw_http;
use crate::reload::rejected::Site;
use crate::running::{Folder, eventually};
use crate::upgrade::Line;

fn folder() -> Folder {
    Folder::example(&std::collections::BTreeMap::new())
}

fn command(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.args(arguments).arg("--socket").arg(folder.path("state/admin.sock")).output().unwrap()
}

/// A command with a reason and a name.
fn pull(folder: &Folder, arguments: &[&str], code: i32) -> String {
    let why = ["--reason", "us1 burns", "--name", "ann"];
    said(&command(folder, &[arguments, &why].concat()), code)
}

fn listed(folder: &Folder) -> Vec<Value> {
    let output = command(folder, &["levers", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let levers = list["levers"].as_array().unwrap().clone();
    assert_eq!(output.status.code(), Some(if levers.is_empty() { 0 } else { 2 }));
    levers
}

fn words(folder: &Folder) -> Vec<String> {
    listed(folder).iter().map(|lever| lever["lever"].as_str().unwrap().to_owned()).collect()
}

/// Lines of the trail about levers, which is whole.
fn trail(folder: &Folder) -> Vec<Value> {
    let audit = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
        said(
            &command
                .arg("audit")
                .args(arguments)
                .arg("--state-dir")
                .arg(folder.path("state"))
                .output()
                .unwrap(),
            0,
        )
    };
    audit(&["verify"]);
    let shown = audit(&["show", "--last", "1000", "--json"]);
    let lines = shown.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] == "lever").collect()
}

fn outcomes(folder: &Folder) -> Vec<String> {
    trail(folder).iter().map(|line| line["outcome"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_lever_is_a_command_and_is_listed_in_its_own_words() {
    let folder = folder();
    let _process = Process::start(&folder);
    assert!(said(&command(&folder, &["levers"]), 0).contains("No lever is pulled."));
    let commands = [
        "cap cell cell-1 in_flight 200",
        "cap cell cell-1 rps 50",
        "shed 50% cell cell-1 account 12345 client curl",
        "drain group cell-1 local",
        "drain zone local",
        "drain cell cell-3",
        "evacuate zone local",
        "ramp set cell cell-1 rps 100",
        "hold account 12345 writes",
        "policy set limit observe cell cell-1",
    ];
    for (number, words) in (1..).zip(commands) {
        let words: Vec<&str> = words.split(' ').collect();
        let told = pull(&folder, &[&words[..], &["--for", "30m"]].concat(), 0);
        assert!(told.starts_with(&format!("lever {number} is pulled until ")), "{told}");
        assert!(told.contains(&format!("to end it before: cellgate release {number}")), "{told}");
    }
    let (pass, other) = (folder.path("pass"), folder.path("other"));
    let traffic = |pass: &std::path::Path| {
        let pass = pass.display().to_string();
        let told = pull(&folder, &["break-glass", "traffic", "--permits", "20", "--pass", &pass], 0);
        assert!(told.contains(&format!("curl -H @{pass} ")), "{told}");
        words(&folder).pop().unwrap()
    };
    let operators = traffic(&pass);
    assert_eq!(traffic(&pass), operators, "the same pass, for another replica");
    assert_ne!(traffic(&other), operators);
    let drawn = folder.read("pass");
    let (name, digits) = drawn.trim_end().split_once(": ").unwrap();
    assert_eq!((name, digits.len()), ("x-cellgate-operator-pass", 64));
    for file in ["state/audit.jsonl", "state/levers.cellgate"] {
        assert!(!folder.read(file).contains(digits), "no pass is written down");
    }
    assert_eq!(words(&folder)[..10], commands);
    let list = said(&command(&folder, &["levers"]), 2);
    assert!(list.contains("   3  shed 50% cell cell-1 account 12345 client curl\n"), "{list}");
    let by = format!(r#"by "{} for ann" at "#, unix_user());
    assert!(list.contains(&by) && list.contains(r#": "us1 burns""#), "{list}");
}

#[test]
fn a_lever_is_released_by_the_words_it_was_pulled_with_and_no_other_is() {
    let folder = folder();
    let _process = Process::start(&folder);
    // A colleague's, before and after.
    pull(&folder, &["cap", "cell", "cell-1", "rps", "50"], 0);
    let shed = ["shed", "50%", "client", "curl", "cell", "cell-1"];
    pull(&folder, &shed, 0);
    let pass = folder.path("pass").display().to_string();
    pull(&folder, &["break-glass", "traffic", "--permits", "20", "--pass", &pass, "--cell", "cell-1"], 0);
    pull(&folder, &["drain", "cell", "cell-2"], 0);
    let release = |words: &[&str], code| said(&command(&folder, &[&["release"], words].concat()), code);
    assert_eq!(release(&shed, 0), "lever 2 is released: shed 50% cell cell-1 client curl\n");
    let again = release(&shed, 1);
    assert!(
        again.contains("no lever with these words is pulled: shed 50% cell cell-1 client curl"),
        "{again}"
    );
    let other = release(&["cap", "cell", "cell-1", "rps", "60"], 1);
    assert!(other.contains("see cellgate levers"), "{other}");
    let told = release(&["operators", "permits", "20", "cell", "cell-1"], 0);
    assert!(told.starts_with("lever 3 is released: operators permits 20 pass "), "{told}");
    let wrong = release(&["N"], 64);
    assert!(wrong.contains("expected the name of a lever"), "{wrong}");
    assert_eq!(words(&folder), ["cap cell cell-1 rps 50", "drain cell cell-2"]);
}

#[test]
fn a_lever_ends_by_itself_and_the_trail_and_the_log_say_so() {
    let folder = folder();
    let process = Process::start(&folder);
    pull(&folder, &["drain", "cell", "cell-1", "--for", "1s"], 0);
    let told = pull(&folder, &["drain", "cell", "cell-2"], 0);
    assert!(told.contains("NO ENDPOINT IS LEFT in cell-2: "), "{told}");
    let told = pull(&folder, &["cap", "cell", "cell-3", "rps", "5"], 0);
    assert!(!told.contains("NO ENDPOINT"), "{told}");
    let told = pull(&folder, &["cap", "cell", "cell-3", "rps", "9"], 0);
    assert!(told.contains("in place of lever 3: cap cell cell-3 rps 5"), "{told}");
    eventually("the first to be over", || (words(&folder).len() == 2).then_some(()));
    eventually("its line", || outcomes(&folder).contains(&"over".to_owned()).then_some(()));
    let reasons = raw_http::page(process.admin(), "/readyz").json()["reasons"].clone();
    assert_eq!((&reasons[0]["reason"], &reasons[0]["blocks"]), (&"levers".into(), &false.into()));
    assert!(
        reasons[0]["detail"].as_str().unwrap().contains("lever 2 (drain cell cell-2) until "),
        "{reasons}"
    );
    let released = command(&folder, &["release", "2", "--reason", "it is out", "--name", "bob"]);
    assert_eq!(said(&released, 0), "lever 2 is released: drain cell cell-2\n");
    let again = said(&command(&folder, &["release", "2"]), 1);
    assert!(again.contains("lever 2 is not pulled"), "{again}");
    let line = |outcome: &str, lever: &str| {
        let lines = trail(&folder);
        let found = lines
            .iter()
            .find(|line| line["outcome"] == outcome && line["changes"].as_str().unwrap().starts_with(lever));
        found.unwrap_or_else(|| unreachable!("{outcome} {lever} in {lines:?}")).clone()
    };
    let (begun, over) = (line("pulled", "lever 1 "), line("over", "lever 1 "));
    assert_eq!((&begun["trigger"], &over["trigger"]), (&"admin".into(), &"time".into()));
    assert_eq!(
        (&over["why"], &over["who"][0], &over["caller"]),
        (&"us1 burns".into(), &"ann".into(), &unix_user().into())
    );
    assert_eq!(line("released", "lever 2 ")["who"][0], "bob");
    process.line("that a lever is over", |line| {
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        line["fields"]["lever"] == "1" && message.starts_with("the time of this lever is over")
    });
}

#[test]
fn levers_outlive_kill_9_and_an_upgrade_and_no_number_comes_back() {
    let folder = folder();
    let mut process = Process::start(&folder);
    pull(&folder, &["drain", "cell", "cell-1"], 0);
    let before = listed(&folder)[0]["until"].clone();
    // Over after the kill, and not at that moment: it is said in the trail first and put down then, and who is killed
    // between the two says it again.
    pull(&folder, &["drain", "cell", "cell-2", "--for", "3s"], 0);
    process.signal("KILL");
    process.ended();
    let process = Process::start(&folder);
    eventually("what is over to end", || (words(&folder) == ["drain cell cell-1"]).then_some(()));
    assert_eq!(listed(&folder)[0]["until"], before, "a restart prolongs nothing");

    let mut line = Line::of(process);
    line.upgrade(&folder);
    assert_eq!(words(&folder), ["drain cell cell-1"]);
    // For a moment the one before answers at the socket, too, and pulls nothing any more.
    let told = eventually("the new process to be asked", || {
        let why = ["--reason", "us1 burns", "--name", "ann"];
        let output = command(&folder, &[&["drain", "cell", "cell-2"][..], &why].concat());
        let elsewhere = "another process has the state folder";
        let is_before = String::from_utf8_lossy(&output.stderr).contains(elsewhere);
        (!is_before).then(|| said(&output, 0))
    });
    assert!(told.starts_with("lever 3 is pulled"), "{told}");
    line.drained();
    line.upgrade(&folder);
    assert_eq!(words(&folder), ["drain cell cell-1", "drain cell cell-2"]);
    assert_eq!(outcomes(&folder), ["pulled", "pulled", "over", "pulled"]);
}

#[test]
fn what_is_wrong_is_said_before_anything_is_pulled() {
    let folder = folder();
    let process = Process::start(&folder);
    let check = |arguments: &[&str], code: i32, expect: &str| {
        let told = pull(&folder, arguments, code);
        assert!(told.contains(expect), "{arguments:?}: {told}");
    };
    check(
        &["shed", "50%"],
        64,
        "it would shed everything; expected at least one of cell, account, client, class",
    );
    check(&["drain", "cells", "us1"], 64, "expected what is drained: endpoint, group, zone, cell");
    check(&["drain", "cell", "cell-1", "--for", "25h"], 64, "it would last 25h; expected 1s to 1d");
    check(&["drain", "cell", "cell-9"], 1, "there is no cell cell-9; expected one of: cell-1, ");
    check(&["shed", "5%", "client", "a b"], 1, "there is no client family a b");
    let short = command(&folder, &["drain", "cell", "cell-1", "--reason", "x"]);
    assert!(said(&short, 1).contains("the reason has 1 characters; expected 3 to 200"));
    assert!(said(&command(&folder, &["drain", "cell", "cell-1"]), 64).contains("--reason"));
    assert!(words(&folder).is_empty());

    let ask = |method: &str, path: &str, body: &str| {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: admin\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let socket = folder.path("state/admin.sock");
        raw_http::ask(&mut raw_http::unix(&socket), head.as_bytes()).unwrap()
    };
    let good = r#"{"lever":"drain cell cell-1","reason":"us1 burns","by":"ann"}"#;
    for (method, path, body, status) in [
        ("POST", "/levers", "", 400),
        ("POST", "/levers", &*good.replace("cell cell-1", "moon"), 400),
        ("POST", "/levers", &*good.replace("cell-1", "cell-9"), 422),
        ("POST", "/levers", &*good.replace("ann", " "), 409),
        ("POST", "/levers", &*good.replace("}", r#","seconds":0}"#), 409),
        ("POST", "/levers", &*good.replace("}", r#","until":7}"#), 400),
        ("DELETE", "/levers/one", r#"{"by":"ann"}"#, 400),
        ("DELETE", "/levers/1", "", 409),
        ("DELETE", "/levers/1", "{", 400),
        ("DELETE", "/levers/1", r#"{"by":"ann"}"#, 409),
        ("DELETE", "/levers", r#"{"by":"ann"}"#, 405),
        ("POST", "/levers", good, 200),
        ("DELETE", "/levers/1", r#"{"by":"ann"}"#, 200),
    ] {
        let reply = ask(method, path, body);
        assert_eq!(reply.status, status, "{method} {path} {body}: {}", reply.text());
    }
    for request in ["GET /levers", "POST /levers"] {
        let request = format!("{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let reply = raw_http::ask(&mut raw_http::tcp(process.admin()), request.as_bytes()).unwrap();
        assert_eq!(reply.status, 404, "only whoever is on the machine: {}", reply.text());
    }
}

#[test]
fn what_cannot_be_written_down_is_not_pulled() {
    let folder = folder();
    let _process = Process::start(&folder);
    let (trail, aside) = (folder.path("state/audit.jsonl"), folder.path("state/aside"));
    std::fs::rename(&trail, &aside).unwrap();
    std::fs::create_dir(&trail).unwrap();
    let told = pull(&folder, &["drain", "cell", "cell-1"], 1);
    assert!(told.contains("audit.jsonl") && told.contains("make the state folder writable again"), "{told}");
    assert!(words(&folder).is_empty());
    std::fs::remove_dir(&trail).unwrap();
    std::fs::rename(&aside, &trail).unwrap();
    pull(&folder, &["drain", "cell", "cell-1"], 0);
    assert_eq!(outcomes(&folder), ["pulled"]);
}

/// Rows of a table that takes a core-second to be read, beside everything else.
const MANY: u64 = 100_000;

/// It gives way to all that the machine does.
const RELOADED: std::time::Duration = std::time::Duration::from_secs(120);

/// Levers that must be answered while one reload is under way, which is as long as this looks; whoever waits for it
/// answers one, or two.
const ENOUGH: usize = 10;

#[test]
fn levers_are_answered_while_requests_saturate_and_a_large_table_is_read() {
    let site = Site::start();
    let folder = &site.folder;
    let http = site.process.addr("http");
    let socket = folder.path("state/admin.sock");
    let rows: String = (0..MANY).map(|row| format!("{},,cell-3,,\n", 1_000_000 + row)).collect();
    let (over, read) = (AtomicBool::new(false), AtomicBool::new(false));
    let answered = std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let request = b"GET /api/v2/accounts/1/ HTTP/1.1\r\nHost: cloud.getdbt.com\r\n\r\n";
                    let _ = raw_http::ask(&mut raw_http::tcp(http), request);
                }
            });
        }
        folder.append("config/accounts.csv", rows.trim_end());
        scope.spawn(|| {
            let mut stream = raw_http::unix(&socket);
            stream.set_read_timeout(Some(RELOADED)).unwrap();
            let request = b"POST /reload HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\n\r\n";
            let reply = raw_http::ask(&mut stream, request).unwrap();
            read.store(true, Ordering::Relaxed);
            assert!(reply.status == 200 || reply.status == 409, "{}", reply.text());
        });
        let mut answered = 0;
        while answered < ENOUGH && !read.load(Ordering::Relaxed) {
            let body = r#"{"lever":"cap cell cell-1 rps 5","reason":"us1 burns","by":"ann"}"#;
            let length = body.len();
            let head =
                format!("POST /levers HTTP/1.1\r\nHost: admin\r\nContent-Length: {length}\r\n\r\n{body}");
            let reply = raw_http::ask(&mut raw_http::unix(&socket), head.as_bytes()).unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text());
            answered += 1;
        }
        over.store(true, Ordering::Relaxed);
        answered
    });
    assert!(answered >= ENOUGH, "{answered} levers were answered before the reload was");
}

#[test]
fn who_gives_no_name_is_who_they_are_and_a_time_of_nothing_is_refused() {
    let folder = folder();
    let _process = Process::start(&folder);
    let drain = |lasts: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
        command.args(["drain", "cell", "cell-1", "--for", lasts, "--reason", "us1 burns"]);
        command.arg("--socket").arg(folder.path("state/admin.sock"));
        command.env_remove("USER").env_remove("SUDO_USER").output().unwrap()
    };
    assert!(said(&drain("0s"), 64).contains("expected more than no time at all"));
    said(&drain("5m"), 0);
    let by = listed(&folder)[0]["by"].as_str().unwrap().to_owned();
    assert_eq!(by, unix_user());
}
