//! The audit trail of a real process, what is refused when it cannot be written, the history, and the way back.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use cellgate::trail::{Event, Record, Trail};
use serde_json::Value;

use crate::command_line::{cellgate, said};
use crate::process::Process;
use crate::raw_http::{self, RawReply};
use crate::running::{Folder, eventually};

const MOVE: (&str, &str) = ("12345,acme ac345,cell-2,,", "12345,acme ac345,cell-3,,");

fn folder() -> Folder {
    Folder::example(&BTreeMap::new())
}

fn reload(folder: &Folder) -> RawReply {
    raw_http::admin(&folder.path("state/admin.sock"), "POST", "/reload")
}

fn page(process: &Process) -> Value {
    raw_http::page(process.admin(), "/config").json()
}

/// The cell of account 12345.
fn cell(folder: &Folder) -> String {
    let page = raw_http::admin(&folder.path("state/admin.sock"), "GET", "/accounts/12345");
    page.json()["cell"].as_str().unwrap_or_else(|| unreachable!("{}", page.text())).to_owned()
}

/// Waits until so many generations were put in force, by whatever saw the change first.
fn applied(process: &Process, folder: &Folder, generation: u64) {
    let _ = reload(folder);
    eventually("the generation", || (page(process)["generation"] == generation).then_some(()));
    // The history and the outcome come after the swap.
    eventually("the outcome in the trail", || {
        let shown = shown(folder);
        let last = shown.iter().rev().find(|line| line["outcome"] == "applied");
        last.is_some_and(|line| line["to"]["generation"] == generation).then_some(())
    });
}

fn shown(folder: &Folder) -> Vec<Value> {
    let output = cellgate(folder, &["audit", "show", "--last", "1000", "--json"]);
    said(&output, 0).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn events(folder: &Folder) -> Vec<String> {
    shown(folder).iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_change_stands_in_the_trail_and_the_chain_outlives_kill_9() {
    let folder = folder();
    let mut process = Process::start(&folder);
    folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
    applied(&process, &folder, 2);
    let lines = shown(&folder);
    let intent = lines.iter().find(|line| line["event"] == "intent").unwrap();
    assert_eq!((&intent["from"]["generation"], &intent["to"]["generation"]), (&1.into(), &2.into()));
    assert_eq!(intent["to"]["hash"], page(&process)["hash"]);
    assert!(intent["changes"].as_str().unwrap().contains("1 accounts moved from cell-2 to cell-3"));
    let outcome = lines.iter().find(|line| line["outcome"] == "applied").unwrap();
    assert!(outcome["seq"].as_u64() > intent["seq"].as_u64());
    folder.edit("config/accounts.csv", MOVE.1, "12345,acme ac345,cell-9,,");
    assert_eq!(reload(&folder).status, 422);
    process.line("a head in the log, to be kept elsewhere", |line| {
        line["fields"]["message"] == "head of the audit trail" && line["fields"]["sha256"].is_string()
    });

    process.signal("KILL");
    process.ended();
    // As if it had died within a line.
    let trail = folder.path("state/audit.jsonl");
    let mut bytes = fs::read(&trail).unwrap();
    bytes.extend_from_slice(b"{\"seq\":99,\"prev\":\"12");
    fs::write(&trail, bytes).unwrap();
    folder.edit("config/accounts.csv", "12345,acme ac345,cell-9,,", MOVE.0);
    let process = Process::start(&folder);
    let whole = said(&cellgate(&folder, &["audit", "verify"]), 0);
    assert!(whole.contains("is whole") && whole.contains("Head: line"), "{whole}");
    assert!(whole.contains("died within this line"), "{whole}");
    let all = events(&folder);
    assert_eq!(all.iter().filter(|event| *event == "start").count(), 2, "{all:?}");
    assert!(all.contains(&"torn".to_owned()), "{all:?}");
    drop(process);

    // One byte, by somebody else.
    let text = folder.read("state/audit.jsonl");
    let at = text.lines().position(|line| line.contains(r#""event":"intent""#)).unwrap() + 1;
    fs::write(&trail, text.replacen("cell-2 to cell-3", "cell-2 to cell-1", 1)).unwrap();
    let broken = said(&cellgate(&folder, &["audit", "verify"]), 1);
    for expected in ["BROKEN", &format!("audit.jsonl:{at}\n"), "expected: sha256", "found:    sha256"] {
        assert!(broken.contains(expected), "{expected} in {broken}");
    }
    let report = said(&cellgate(&folder, &["audit", "verify", "--json"]), 1);
    assert_eq!(serde_json::from_str::<Value>(&report).unwrap()["broken"]["line"], at);
    let process = Process::start(&folder);
    process.line("that it is said loudly", |line| {
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        line["level"] == "ERROR" && message.contains("THE AUDIT TRAIL IS BROKEN")
    });
    assert!(events(&folder).contains(&"broken".to_owned()));
    assert!(said(&cellgate(&folder, &["audit", "verify"]), 1).contains("says so in a line after it"));
}

#[test]
fn a_head_that_was_kept_elsewhere_is_asked_for() {
    let folder = folder();
    let process = Process::start(&folder);
    // A second line: a first one is the same again where the same begins in the same second.
    assert_eq!(reload(&folder).status, 200);
    drop(process);
    let report = said(&cellgate(&folder, &["audit", "verify", "--json"]), 0);
    let head: Value = serde_json::from_str(&report).unwrap();
    let head = head["head"]["sha256"].as_str().unwrap();
    said(&cellgate(&folder, &["audit", "verify", "--contains", head]), 0);
    fs::remove_file(folder.path("state/audit.jsonl")).unwrap();
    assert!(said(&cellgate(&folder, &["audit", "verify"]), 1).contains("--state-dir"));
    fs::write(folder.path("state/audit.jsonl"), "").unwrap();
    assert!(said(&cellgate(&folder, &["audit", "verify"]), 1).contains("has no line"));
    let report = said(&cellgate(&folder, &["audit", "verify", "--json"]), 1);
    assert!(report.contains(r#""whole":false"#), "{report}");
    said(&cellgate(&folder, &["audit", "verify", "--contains", head]), 1);
    assert!(said(&cellgate(&folder, &["audit", "verify", "--contains", "zz"]), 64).contains("64 hex digits"));
    drop(Process::start(&folder));
    let anew = said(&cellgate(&folder, &["audit", "verify", "--contains", head]), 1);
    assert!(anew.contains(head) && anew.contains("written anew"), "{anew}");
}

#[test]
fn what_cannot_be_written_down_is_refused_and_the_generation_before_serves() {
    let folder = folder();
    let process = Process::start(&folder);
    let (trail, aside) = (folder.path("state/audit.jsonl"), folder.path("state/aside"));
    fs::rename(&trail, &aside).unwrap();
    // A link, which goes in one step: whoever watches the files may try again at any moment.
    std::os::unix::fs::symlink(&aside, &trail).unwrap();
    folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
    let reply = reload(&folder);
    assert_eq!(reply.status, 409, "{}", reply.text());
    let text = reply.text();
    for expected in ["audit_trail", "state/audit.jsonl", "no ordinary file", "make the state folder writable"]
    {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let now = page(&process);
    assert_eq!((&now["generation"], &now["last_reload"]["outcome"]), (&1.into(), &"refused".into()));
    assert_eq!(cell(&folder), "cell-2");

    fs::rename(&aside, &trail).unwrap();
    applied(&process, &folder, 2);
    assert_eq!(cell(&folder), "cell-3");
    said(&cellgate(&folder, &["audit", "verify"]), 0);
}

/// Ends the process, and lets `state/<name>` be a folder, which nobody can write as a file.
fn ended_and_blocked(folder: &Folder, mut process: Process, name: &str) {
    process.signal("TERM");
    process.ended();
    let path = folder.path(&format!("state/{name}"));
    if path.exists() {
        fs::rename(&path, folder.path("aside")).unwrap();
    }
    fs::create_dir(&path).unwrap();
}

/// What `/readyz` says beside being ready.
fn notes(process: &Process) -> Vec<(String, String)> {
    let page = raw_http::page(process.admin(), "/readyz");
    assert_eq!(page.status, 200, "{}", page.text());
    let reasons = page.json()["reasons"].as_array().unwrap().clone();
    let text = |reason: &Value, key: &str| reason[key].as_str().unwrap().to_owned();
    reasons.iter().map(|reason| (text(reason, "reason"), text(reason, "detail"))).collect()
}

#[test]
fn a_start_that_cannot_be_written_down_serves_what_has_served_before() {
    let folder = folder();
    ended_and_blocked(&folder, Process::start(&folder), "audit.jsonl");
    // The files that have just served.
    let mut process = Process::start(&folder);
    let noted = notes(&process);
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert!(noted[0].0 == "unwritten" && noted[0].1.contains("audit.jsonl"), "{noted:?}");
    assert_eq!(page(&process)["last_reload"]["outcome"], "applied");
    process.signal("TERM");
    process.ended();

    // Files that have not.
    folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
    let mut process = Process::start(&folder);
    assert_eq!(cell(&folder), "cell-2");
    let noted = notes(&process);
    assert!(
        noted.iter().any(|(name, told)| name == "last_good" && told.contains("audit.jsonl")),
        "{noted:?}"
    );
    let last = page(&process)["last_reload"].clone();
    assert_eq!(
        (&last["outcome"], &last["objections"][0]["guard"]),
        (&"refused".into(), &"audit_trail".into())
    );

    // With nothing to fall back to.
    process.signal("TERM");
    process.ended();
    fs::rename(folder.path("state/last-good.cellgate"), folder.path("kept")).unwrap();
    let mut none = Process::spawn(&folder);
    assert_eq!(none.ended().code(), Some(1));
    let logged = folder.read("log/stderr.jsonl");
    let line = logged.lines().find(|line| line.starts_with("cellgate: ")).unwrap();
    assert!(line.contains("audit.jsonl") && line.contains("then start again"), "{line}");
    fs::rename(folder.path("kept"), folder.path("state/last-good.cellgate")).unwrap();

    let process = Process::start(&folder);
    fs::remove_dir(folder.path("state/audit.jsonl")).unwrap();
    fs::rename(folder.path("aside"), folder.path("state/audit.jsonl")).unwrap();
    applied(&process, &folder, 2);
    assert_eq!((cell(&folder), notes(&process)), ("cell-3".to_owned(), Vec::new()));
    said(&cellgate(&folder, &["audit", "verify"]), 0);
}

#[test]
fn a_start_that_cannot_be_kept_for_later_ones_serves_and_says_so_until_it_can() {
    let folder = folder();
    ended_and_blocked(&folder, Process::start(&folder), "last-good.cellgate.part");
    folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
    let process = Process::start(&folder);
    assert_eq!(cell(&folder), "cell-3");
    let noted = notes(&process);
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert!(noted[0].0 == "unwritten" && noted[0].1.contains("last-good.cellgate"), "{noted:?}");
    fs::remove_dir(folder.path("state/last-good.cellgate.part")).unwrap();
    assert_eq!(reload(&folder).status, 200);
    assert_eq!(notes(&process), Vec::new());
    let kept = cellgate::last_good::load(&folder.path("state")).unwrap();
    assert_eq!(page(&process)["hash"], kept.hash);
}

#[test]
fn a_disk_that_is_full_refuses_the_change_and_the_trail_goes_on_when_there_is_room() {
    let folder = folder();
    // The system's bound on the size of a file: a write goes as far as there is room, and fails.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\""]);
    shell.arg(env!("CARGO_BIN_EXE_cellgate")).stdin(Stdio::null()).stdout(Stdio::null());
    let mut process = Process::spawn_as(&folder, shell);
    process.line("that it serves", |line| line["fields"]["message"] == "serving");
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max file size")).unwrap();
    let limit: u64 = limit.split_whitespace().next().unwrap().parse().unwrap();
    fill(&folder, limit - 100);

    folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
    let reply = reload(&folder);
    assert_eq!(reply.status, 409, "{}", reply.text());
    assert!(reply.text().contains("File too large"), "{}", reply.text());
    assert_eq!((page(&process)["generation"].as_u64(), &*cell(&folder)), (Some(1), "cell-2"));
    assert_eq!(fs::metadata(folder.path("state/audit.jsonl")).unwrap().len(), limit);
    let torn = said(&cellgate(&folder, &["audit", "verify"]), 0);
    assert!(torn.contains("its writer died within it"), "{torn}");

    process.signal("KILL");
    process.ended();
    let process = Process::start(&folder);
    assert_eq!(cell(&folder), "cell-3", "with room, the files serve");
    said(&cellgate(&folder, &["audit", "verify"]), 0);
    assert!(events(&folder).ends_with(&["torn".to_owned(), "start".to_owned()]));
    drop(process);
}

/// Makes the trail so long, with lines that are good.
fn fill(folder: &Folder, to: u64) {
    let path = folder.path("state/audit.jsonl");
    let mut trail = Trail::new(&folder.path("state")).with_bounds(u64::MAX, 1);
    let mut add = |bytes: usize| {
        let before = fs::metadata(&path).unwrap().len();
        let why = Some("x".repeat(bytes));
        trail.append(0, Record { why, ..Record::new(Event::Unknown) }).unwrap();
        let after = fs::metadata(&path).unwrap().len();
        (to - after, after - before - bytes as u64)
    };
    let (mut left, mut frame) = add(1);
    while left > 16_000 {
        (left, frame) = add(15_000);
    }
    add(usize::try_from(left - frame).unwrap());
}

#[test]
fn the_way_back_leaves_every_account_where_it_is() {
    let folder = folder();
    let process = Process::start(&folder);
    folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
    applied(&process, &folder, 2);
    folder.point("cell-1", "127.0.0.1:9");
    applied(&process, &folder, 3);

    let listed = said(&cellgate(&folder, &["history", "--json"]), 0);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let numbers: Vec<String> =
        listed["history"].as_array().unwrap().iter().map(|entry| entry["number"].to_string()).collect();
    let [first, _, last] = &numbers[..] else { unreachable!("{listed}") };
    let text = said(&cellgate(&folder, &["history"]), 0);
    assert!(
        text.contains("accounts moved from cell-2 to cell-3") && text.contains("cells changed: cell-1"),
        "{text}"
    );
    let diff = said(&cellgate(&folder, &["history", "diff", first, last]), 0);
    assert!(diff.contains("1 accounts moved from cell-2 to cell-3\n  cells changed: cell-1"), "{diff}");
    assert!(said(&cellgate(&folder, &["history", "diff", first, "999999"]), 1).contains("has no 999999"));

    let out = folder.path("back");
    let arguments = ["rollback", "--to", first, "--reason", "cell-1 is gone", "--out", out.to_str().unwrap()];
    let done = said(&cellgate(&folder, &arguments), 0);
    for expected in ["1 accounts that moved from cell-2 to cell-3 stay in cell-3", "cells changed: cell-1"] {
        assert!(done.contains(expected), "{expected} in {done}");
    }
    assert!(said(&cellgate(&folder, &arguments), 1).contains("is there already"));
    let table = folder.read("back/accounts.csv");
    assert!(table.contains("# Moved from the shared environment") && table.contains(MOVE.1), "{table}");
    assert_eq!(page(&process)["generation"], 3, "nothing that runs has changed");

    // Deployed as any other change, of which the process sees no half.
    process.signal("STOP");
    folder.write("config/change.json", &folder.read("back/change.json"));
    let copied = Command::new("cp").arg("-rT").args([&out, &folder.path("config")]).status().unwrap();
    assert!(copied.success());
    process.signal("CONT");
    applied(&process, &folder, 4);
    assert_eq!(cell(&folder), "cell-3");
    let lines = shown(&folder);
    let back = lines.iter().rfind(|line| line["event"] == "rollback").unwrap();
    assert_eq!((back["restores"].to_string(), &back["why"]), (first.clone(), &"cell-1 is gone".into()));
    assert!(said(&cellgate(&folder, &["history"]), 0).contains("cell-1 is gone"));
    assert!(folder.read("config/cellgate.yaml").contains("127.0.0.1:7101"));
}

#[test]
fn a_claim_is_never_shown_as_an_approval_and_takes_nothing_from_the_author() {
    let folder = folder();
    let process = Process::start(&folder);
    let yaml = folder.read("config/cellgate.yaml");
    // The process sees the file too, and would serve it before there is a note.
    process.signal("STOP");
    folder
        .write("config/cellgate.yaml", &format!("{yaml}\nchange: {{ author: ann, reason: us1 is full }}\n"));
    let output = Command::new(env!("CARGO_BIN_EXE_cellgate"))
        .args(["check", "-o", "json", "--config"])
        .arg(folder.path("config"))
        .output()
        .unwrap();
    let hash = serde_json::from_slice::<Value>(&output.stdout).unwrap()["hash"].clone();
    let note =
        serde_json::json!({ "hash": hash, "who": "x\"  approved by bob (SHA256:b)", "why": "tidying" });
    folder.write("config/change.json", &note.to_string());
    process.signal("CONT");
    applied(&process, &folder, 2);
    let lines = shown(&folder);
    let intent = lines.iter().rfind(|line| line["event"] == "intent").unwrap();
    assert_eq!((&intent["author"], &intent["who"][0]), (&"ann".into(), &note["who"]), "{intent}");
    assert!(intent["approved_by"].is_null(), "{intent}");
    for text in [said(&cellgate(&folder, &["history"]), 0), said(&cellgate(&folder, &["audit", "show"]), 0)] {
        assert!(text.contains(r#"who (claimed) "x\"  approved by bob (SHA256:b)""#), "{text}");
        assert!(text.contains(r#"author "ann""#), "{text}");
        assert!(text.contains("us1 is full (change.json: tidying)"), "{text}");
    }
}

#[test]
fn the_head_of_the_trail_is_a_metric_that_falls_when_lines_are_taken_away() {
    let folder = folder();
    let process = Process::start(&folder);
    let metric = |name: &str| -> f64 {
        let text = raw_http::page(process.admin(), "/metrics").text();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap()
    };
    let head = || metric("cellgate_audit_trail_head ");
    let said_at = || metric("cellgate_audit_trail_last_entry_timestamp_seconds ");
    assert_eq!(head(), 1.0, "the start");
    folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
    applied(&process, &folder, 2);
    let lines = shown(&folder);
    assert_eq!(head(), lines.len() as f64);
    let now = cellgate::telemetry::wall_time::unix_seconds(std::time::SystemTime::now());
    assert!((now - said_at() as i64) < 60, "{}", said_at());
    // Nobody reloads: a look at the folder is enough.
    let text = folder.read("state/audit.jsonl");
    folder.write("state/audit.jsonl", text.split_inclusive('\n').next().unwrap());
    let accounts = folder.read("config/accounts.csv");
    folder.write("config/accounts.csv", &accounts);
    eventually("the cut to be seen", || (head() == 1.0).then_some(()));
}
