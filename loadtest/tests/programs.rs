//! The programs, as a person or a script runs them.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use loadtest::client::{Ask, Client, Http};

/// A `simcell` that ends with the test, however the test ends.
struct SimCell {
    child: Child,
    told: HashMap<String, String>,
}

impl SimCell {
    fn start(args: &[&str]) -> Self {
        let mut child =
            Command::new(env!("CARGO_BIN_EXE_simcell")).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
        let told = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        Self { child, told }
    }

    fn client(&self, port: &str, http: Http) -> Client {
        let address: SocketAddr = self.told[port].parse().unwrap();
        Client::new(address, http)
    }
}

impl Drop for SimCell {
    fn drop(&mut self) {
        // It has ended already where the test ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ANY: &str = "127.0.0.1:0";

#[tokio::test]
async fn simcell_tells_its_addresses_and_ends_on_sigterm() {
    let args = ["--name", "cell-1", "--listen", ANY, "--h2c-listen", ANY];
    let mut cell = SimCell::start(&[&args[..], &["--token", "t=1"]].concat());
    assert_eq!(cell.told["name"], "cell-1");
    assert_eq!(cell.told["admin"], "none");
    let ask = Ask::get("h", "/").header("authorization", "Token t");
    for (port, http) in [("listen", Http::H1), ("h2c", Http::H2)] {
        let reply = cell.client(port, http).ask(&ask).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.cell()), (200, Some("cell-1")));
    }
    let pid = cell.child.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(killed.success());
    assert_eq!(cell.child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn simcell_obeys_its_admin_page() {
    let cell = SimCell::start(&["--name", "cell-1", "--admin", ANY, "--latency-ms", "1"]);
    let main = cell.client("listen", Http::H1);
    let admin = cell.client("admin", Http::H1);
    let tell = async |method: &str, path: &str, text: &str| {
        let ask = Ask::post("admin", path, text.to_owned()).method(method.parse().unwrap());
        let reply = admin.ask(&ask).await.unwrap();
        (reply.status.as_u16(), reply.text())
    };
    assert_eq!(tell("GET", "/behaviour", "").await, (200, "delay 1\n".into()));
    assert_eq!(main.ask(&Ask::get("h", "/")).await.unwrap().status, 200);

    let down = "status 503 down";
    assert_eq!(tell("POST", "/behaviour", down).await, (200, format!("{down}\n")));
    let reply = main.ask(&Ask::get("h", "/")).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (503, "down"));

    let (status, text) = tell("POST", "/behaviour", "explode").await;
    assert!(status == 400 && text.contains("black-hole"), "{status} {text}");
    assert_eq!(tell("GET", "/behaviour", "").await.1, format!("{down}\n"));
    assert_eq!(tell("GET", "/nothing", "").await.0, 404);

    let counts = tell("GET", "/counts", "").await.1;
    let counts: loadtest::cell::Counts = serde_json::from_str(&counts).unwrap();
    assert_eq!(counts.requests, 2);
    let seen = tell("GET", "/seen", "").await.1;
    let seen: Vec<loadtest::cell::Seen> = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen.len(), 1);
}

#[test]
fn a_wrong_command_line_is_64_and_says_what_was_expected() {
    for (args, expected) in [
        (vec!["--listen", "127.0.0.1:0"], "--name"),
        (vec!["--name", "c", "--behaviour", "explode"], "black-hole"),
        (vec!["--name", "c", "--token", "x"], "TOKEN=ACCOUNT"),
        (vec!["--name", "c", "--tls-cert", "x.pem"], "--tls-key"),
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_simcell")).args(&args).output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(64), "{args:?}: {text}");
        assert!(text.contains(expected), "{args:?}: {text}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let out = Command::new(env!("CARGO_BIN_EXE_simcell"))
        .args(["--name", "c", "--tls-cert", "/nowhere/a.pem", "--tls-key", "/nowhere/a.key"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(64), "{text}");
    assert!(text.contains("/nowhere/a.pem"), "{text}");
}

fn load(args: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_load")).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

#[test]
fn load_reports_as_a_table_and_as_json_and_exits_by_what_it_found() {
    let cell = SimCell::start(&["--name", "cell-1"]);
    let target = ["--target", &cell.told["listen"], "--seconds", "0.2"];
    let fast = ["--rate", "100", "--get", "h/a cell-1"];
    let sockets = ["--websockets", "3", "--socket", "h/ws cell-1", "--watch"];
    let (code, table, seconds) = load(&[&target[..], &fast, &sockets].concat());
    assert_eq!(code, Some(0), "{table}{seconds}");
    assert!(table.contains("h/a         20       20        0"), "{table}");
    assert!(table.contains("WebSockets: 3 of 3 opened"), "{table}");
    // In one second, or in several where the machine is busy.
    let told = seconds.lines().filter_map(|line| Some(line.split_once("h/a: ")?.1));
    let ok = told.filter_map(|told| told.strip_suffix(" ok, 0 failed, 0 refused")?.parse::<u64>().ok());
    assert_eq!(ok.sum::<u64>(), 20, "{seconds}");

    let wrong = ["--clients", "2", "--get", "h/a cell-2", "--json", "-"];
    let (code, json, _) = load(&[&target[..], &wrong].concat());
    assert_eq!(code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let failures = &json["load"]["all"]["failures"];
    assert!(failures["wrong_cell"].as_u64().unwrap() > 0, "{json}");
    assert_eq!(failures.as_object().unwrap().len(), 1, "{json}");
}

#[test]
fn load_says_what_it_needs() {
    let target = ["--target", "127.0.0.1:1"];
    for (args, expected) in [
        (vec!["--rate", "1"], "--get"),
        (vec!["--get", "h/"], "--rate"),
        (vec!["--get", "h", "--rate", "1"], "HOST/PATH"),
        (vec!["--get", "h/", "--rate", "0"], "--rate"),
        (vec!["--get", "h/", "--rate", "1", "--ca", "/nowhere/ca.pem"], "/nowhere/ca.pem"),
        (vec!["--requests", "/nowhere/r", "--rate", "1"], "/nowhere/r"),
        (vec!["--get", "h/", "--rate", "1", "--websockets", "1"], "--socket"),
    ] {
        let (code, _, told) = load(&[&target[..], &args].concat());
        assert_eq!(code, Some(64), "{args:?}: {told}");
        assert!(told.contains(expected), "{args:?}: {told}");
    }
}
