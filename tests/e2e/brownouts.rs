//! Brownouts and the time after the sunset, with real clients: who is refused and how that reads, what an operator ends at
//! once, and that an account gets one answer over reloads and restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::SystemTime;

use cellgate::config::time::show_moment;
use serde_json::Value;

use crate::clients::{curl, run_script};
use crate::command_line::said;
use crate::raw_http;
use crate::running::{Edge, Folder, eventually};
use crate::world::{TOKEN_12345, World};

const ROUTING: &str = "config/cellgate.yaml";

/// Accounts of the example, by an address that asks for no credential.
const ACCOUNTS: [u64; 9] =
    [70403103966603, 70437463654557, 70471823417825, 41007, 12345, 26228, 1001, 2044, 9002];

/// A brownout that is in force since a minute and for most of a day.
fn brownout(mode: &str, more: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let start = show_moment(i64::try_from(now).unwrap() - 60);
    // A guard asks for the word; one that names accounts has no use for it.
    format!(
        "brownouts:\n  - {{ id: bo-1, mode: {mode}, everybody: true, windows: [{{ start: \"{start}\", lasts: 20h }}]{more} }}\n"
    )
}

fn world(text: &str) -> World {
    World::prepared(|folder| folder.append(ROUTING, text))
}

fn ask(edge: &Edge, host: &str, target: &str) -> raw_http::RawReply {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Token {TOKEN_12345}\r\nConnection: close\r\n\r\n"
    );
    raw_http::ask(&mut raw_http::tcp(edge.addr("http")), request.as_bytes()).unwrap()
}

const JOBS: &str = "/api/v2/accounts/12345/jobs/";

fn status(edge: &Edge) -> u16 {
    ask(edge, "cloud.getdbt.com", JOBS).status
}

#[test]
fn who_posts_over_http2_reads_why_it_is_refused() {
    let world = world(&brownout("hard", ""));
    let url = format!("https://cloud.getdbt.com{JOBS}");
    let large = "x".repeat(100_000);
    for turn in 0..12 {
        let body = if turn % 4 == 3 { large.as_str() } else { "{}" };
        let options = ["--http2", "-H", "Content-Type: application/json", "--data-binary", body];
        // No answer, or a stream that was reset before it, fails the command.
        let told = curl(&world, &options, world.edge.addr("https").port(), &url);
        assert_eq!(told["status"], 410, "turn {turn}: {told}");
    }
}

/// Those who are refused.
fn refused(edge: &Edge) -> BTreeSet<u64> {
    let is_refused = |account: &u64| {
        let target = format!("/deploy/{account}/projects/");
        let status = ask(edge, "cloud.getdbt.com", &target).status;
        assert!([200, 410].contains(&status), "{account}: {status}");
        status == 410
    };
    ACCOUNTS.into_iter().filter(is_refused).collect()
}

fn reload(edge: &Edge) {
    let reply = raw_http::admin(&edge.socket(), "POST", "/reload");
    // Whoever watches the files may have been there first.
    let outcome = reply.json()["outcome"].clone();
    assert!(outcome == "applied" || outcome == "unchanged", "{}", reply.text());
}

fn page(edge: &Edge, target: &str) -> Value {
    raw_http::page(edge.admin(), target).json()
}

fn metric(edge: &Edge, series: &str) -> Option<String> {
    let text = raw_http::page(edge.admin(), "/metrics").text();
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned))
}

fn command(folder: &Folder, arguments: &[&str], code: i32) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    let socket = folder.path("state/admin.sock");
    said(&command.args(arguments).arg("--socket").arg(socket).output().unwrap(), code)
}

#[test]
fn whoever_is_refused_for_good_reads_where_to_go() {
    let text = format!("{}cors_origins: [\"https://app.example.com\"]\n", brownout("hard", ""));
    let world = world(&text);
    run_script(&world, "with_hard_brownout.py", &[]);
    let port = world.edge.addr("https").port();
    let told = curl(&world, &["-H", "Accept: text/plain"], port, &format!("https://cloud.getdbt.com{JOBS}"));
    assert_eq!(told["status"], 410, "{told}");
    let line = told["body"].as_str().unwrap();
    assert!(line.starts_with("410 brownout_hard: Use https://acme.us1.dbt.com instead of cloud"), "{line}");
}

#[test]
fn a_library_that_retries_waits_as_it_is_told_and_an_operator_ends_it_at_once() {
    let world = world(&brownout("soft", ""));
    let cellgate = env!("CARGO_BIN_EXE_cellgate");
    let socket = world.edge.folder.path("state/admin.sock").display().to_string();
    run_script(&world, "with_soft_brownout.py", &[cellgate, &socket]);
    assert_eq!(status(&world.edge), 200);
    let listed = page(&world.edge, "/brownouts")["brownouts"][0].clone();
    assert_eq!((&listed["cancelled"], &listed["in_force"]), (&true.into(), &false.into()), "{listed}");
    assert!(command(&world.edge.folder, &["brownout", "list"], 0).contains("CANCELLED"));
    let gauge = r#"cellgate_brownout_in_force{brownout="bo-1",mode="soft"}"#;
    assert_eq!(metric(&world.edge, gauge).as_deref(), Some("0"));

    // A restart keeps it; its release does what the configuration says.
    let world = world.restart();
    assert_eq!(status(&world.edge), 200);
    command(&world.edge.folder, &["release", "1", "--name", "ann"], 0);
    assert_eq!(status(&world.edge), 503);
    let all = ["brownout", "cancel", "all", "--reason", "a customer calls", "--name", "ann"];
    assert!(command(&world.edge.folder, &all, 0).contains("brownout cancel all"));
    assert_eq!(status(&world.edge), 200);
}

#[test]
fn what_only_observes_changes_nothing_and_says_so_loudly() {
    let world = world(&brownout("observe", ""));
    let (legacy, own) =
        (ask(&world.edge, "cloud.getdbt.com", JOBS), ask(&world.edge, "acme.us1.dbt.com", JOBS));
    assert_eq!((legacy.status, own.status), (200, 200));
    assert_eq!(legacy.json()["cell"], "cell-2");
    assert_eq!(legacy.header("retry-after"), None);
    let line = world.edge.access_line(legacy.header("x-request-id").unwrap());
    assert_eq!((&line["brownout"], &line["brownout_mode"]), (&"bo-1".into(), &"observe".into()), "{line}");
    let line = world.edge.access_line(own.header("x-request-id").unwrap());
    assert_eq!(line["brownout"], Value::Null, "{line}");
    let counted = r#"cellgate_brownout_requests_total{brownout="bo-1",mode="observe"}"#;
    assert_eq!(metric(&world.edge, counted).as_deref(), Some("1"));
    let reasons = page(&world.edge, "/readyz")["reasons"].clone();
    let note = reasons.as_array().unwrap().iter().find(|reason| reason["reason"] == "brownout");
    let note = note.unwrap_or_else(|| unreachable!("{reasons}"));
    assert!(note["detail"].as_str().unwrap().contains("only observes: it REFUSES NOBODY"), "{note}");
    assert_eq!(note["blocks"], false);
}

#[test]
fn an_account_gets_one_answer_over_reloads_and_restarts() {
    let world = world(&brownout("hard", ", share: 20%"));
    let some = refused(&world.edge);
    assert!(!some.is_empty() && some.len() < ACCOUNTS.len(), "{some:?}");
    for _ in 0..3 {
        assert_eq!(refused(&world.edge), some);
    }
    world.edge.folder.edit(ROUTING, "share: 20%", "share: 70%");
    reload(&world.edge);
    let more = refused(&world.edge);
    assert!(more.is_superset(&some) && more.len() > some.len(), "{some:?} {more:?}");
    let world = world.restart();
    assert_eq!(refused(&world.edge), more);
    let promised = *more.first().unwrap();
    world.edge.folder.append(
        ROUTING,
        &format!(
            "exemptions:\n  - {{ account: {promised}, until: 2099-01-01T00:00:00Z, reason: a promise }}"
        ),
    );
    reload(&world.edge);
    let expect: BTreeSet<u64> = more.iter().copied().filter(|account| *account != promised).collect();
    assert_eq!(refused(&world.edge), expect);
}

#[test]
fn explain_and_list_say_what_a_brownout_does_before_it_does() {
    let folder = Folder::example(&BTreeMap::new());
    folder.append(ROUTING, &brownout("hard", ""));
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
        command.args(arguments).arg("--config").arg(folder.path("config"));
        said(&command.output().unwrap(), 0)
    };
    let explain = |host: &str| run(&["explain", "--host", host, "--path", "/deploy/12345/", "--plain"]);
    let told = explain("cloud.getdbt.com");
    for line in
        ["verdict     refuse\n", "refusal     410 brownout_hard: ", "brownout    bo-1 (hard) until 20"]
    {
        assert!(told.contains(line), "{line} in {told}");
    }
    let own = explain("acme.us1.dbt.com");
    assert!(own.contains("verdict     forward\n") && !own.contains("bo-1"), "{own}");
    let listed: Value = serde_json::from_str(&run(&["brownout", "list", "--json"])).unwrap();
    let listed = &listed["brownouts"][0];
    assert_eq!(
        (&listed["in_force"], &listed["accounts"]),
        (&true.into(), &ACCOUNTS.len().into()),
        "{listed}"
    );
    let later = run(&["brownout", "list", "--at", "2099-01-01T00:00:00Z"]);
    let row = later.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(row, ["bo-1", "hard", "100%", "9", "0", "-", "-"]);
}

#[test]
fn the_time_after_the_sunset_is_what_is_written_and_another_word_undoes_it() {
    let world = World::example();
    let edge = &world.edge;
    let nobody = || {
        let request = b"GET / HTTP/1.1\r\nHost: cloud.getdbt.com\r\nConnection: close\r\n\r\n";
        raw_http::ask(&mut raw_http::tcp(edge.addr("http")), request).unwrap().status
    };
    assert_eq!((status(edge), nobody()), (200, 404), "the sunset is past, and a date breaks nobody");
    let dates = "sunset_at: 2026-11-01T00:00:00Z\n";
    let folder = &edge.folder;
    folder.edit(ROUTING, dates, &format!("{dates}    after_sunset: refuse\n"));
    reload(edge);
    let refusal = ask(edge, "cloud.getdbt.com", JOBS);
    assert_eq!((refusal.status, nobody()), (410, 404));
    let message = refusal.json()["status"]["user_message"].as_str().unwrap().to_owned();
    assert!(message.contains("which was retired on 2026-11-01."), "{message}");
    assert_eq!(
        refusal.header("proxy-status"),
        Some("cellgate; error=http_request_denied; details=\"sunset\"")
    );
    assert_eq!(ask(edge, "acme.us1.dbt.com", JOBS).status, 200);
    folder.edit(ROUTING, "after_sunset: refuse", "after_sunset: gone");
    reload(edge);
    assert_eq!((status(edge), nobody()), (410, 410));
    folder.append(
        ROUTING,
        "extensions:\n  - { account: 12345, sunset_at: 2099-01-01T00:00:00Z, reason: a promise }",
    );
    reload(edge);
    let extended = ask(edge, "cloud.getdbt.com", JOBS);
    assert_eq!((extended.status, nobody()), (200, 410));
    assert_eq!(extended.header("sunset"), Some("Thu, 01 Jan 2099 00:00:00 GMT"));
    folder.edit(ROUTING, "after_sunset: gone", "after_sunset: keep");
    reload(edge);
    assert_eq!((status(edge), nobody()), (200, 404));
    let shown = said(
        &Command::new(env!("CARGO_BIN_EXE_cellgate"))
            .args(["audit", "show", "--last", "100", "--json", "--state-dir"])
            .arg(folder.path("state"))
            .output()
            .unwrap(),
        0,
    );
    assert!(
        shown.contains("account 12345: none -> 2099-01-01T00:00:00Z"),
        "the promise is in the trail: {shown}"
    );
}

#[test]
fn what_a_brownout_did_and_who_moved_a_date_stand_in_the_reports() {
    let world = world(&brownout("hard", ""));
    let folder = &world.edge.folder;
    let ran = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
        command.args(arguments).arg("--state-dir").arg(folder.path("state")).output().unwrap()
    };
    let run = |arguments: &[&str]| said(&ran(arguments), 0);
    for _ in 0..3 {
        assert_eq!(status(&world.edge), 410);
    }
    assert_eq!(ask(&world.edge, "acme.us1.dbt.com", JOBS).status, 200);
    let row = || {
        // Before that there may be no books, and nothing to say.
        let table = String::from_utf8_lossy(&ran(&["brownout", "effect"]).stdout).into_owned();
        let row: Vec<String> = table.lines().nth(1)?.split_whitespace().map(str::to_owned).collect();
        (row.get(5)? == "3").then_some(row)
    };
    let row = eventually("the window to be written", row);
    // Name, mode, from, to, accounts, requests, writes, and nobody has stopped yet that could be said of.
    assert_eq!(
        (&*row[0], &*row[1], &*row[4], &*row[6], &*row[7]),
        ("bo-1", "hard", "1", "0", "-"),
        "{row:?}"
    );
    let accounts: Value = serde_json::from_str(&run(&["brownout", "effect", "bo-1", "--json"])).unwrap();
    assert_eq!(
        (&accounts["rows"][0]["account"], &accounts["rows"][0]["gone"]),
        (&"12345".into(), &"no".into())
    );

    folder.edit(ROUTING, "sunset_at: 2026-11-01T00:00:00Z", "sunset_at: 2026-10-01T00:00:00Z");
    reload(&world.edge);
    let config = folder.path("config").display().to_string();
    let html = run(&["report", "-o", "html", "--config", &config]);
    for part in ["<td>bo-1</td>", "hard (410)", "moved from 2026-11-01T00:00:00Z to 2026-10-01T00:00:00Z"] {
        assert!(html.contains(part), "{part}");
    }
    assert!(run(&["books", "forget", "12345", "--yes"]).contains("12345"));
    assert!(run(&["brownout", "effect"]).starts_with("No brownout has met a request"));
}

#[test]
fn a_reload_that_would_fail_every_account_is_refused_until_the_file_says_that_it_is_meant() {
    let world = World::example();
    world.edge.folder.append(ROUTING, &brownout("hard", "").replace(" everybody: true,", ""));
    let refused = raw_http::admin(&world.edge.socket(), "POST", "/reload").json();
    assert_eq!(refused["outcome"], "refused", "{refused}");
    assert!(refused.to_string().contains("is hard for every account"), "{refused}");
    assert_eq!(status(&world.edge), 200);
    world.edge.folder.edit(ROUTING, "mode: hard,", "mode: hard, everybody: true,");
    reload(&world.edge);
    assert_eq!(status(&world.edge), 410);
}
