//! What one replica has learned reaches another one as a table: `cellgate credentials export` and `merge`, and what
//! `cellgate check` says beforehand. Replicas are processes of their own, with folders of their own.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use loadtest::cell::{CellOptions, RunningCell};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::process::{self, Process};
use crate::raw_http;
use crate::running::{Folder, eventually};
use crate::shapes::{Shape, shapes};
use crate::world::{CELLS, addresses, runtime, start_cells, token};

/// A table in which nobody is known yet.
const NOBODY: &str = "# Reviewed in March.\nkey_id,fingerprint,account,note\n";

struct Fleet {
    cells: BTreeMap<String, RunningCell>,
    _runtime: Runtime,
}

impl Fleet {
    fn start() -> Self {
        let runtime = runtime();
        Self { cells: start_cells(&runtime, CELLS.map(CellOptions::named).to_vec()), _runtime: runtime }
    }

    /// The folder of a replica that knows nobody.
    fn folder(&self) -> Folder {
        let folder = Folder::example(&addresses(&self.cells));
        folder.write("config/credentials.csv", NOBODY);
        folder
    }
}

/// Requests whose account nothing names but the credential.
fn account_less() -> Vec<Shape> {
    let by_credential =
        |shape: &Shape| matches!(shape.expect.split(' ').nth(1), Some("credential" | "cookie"));
    let found: Vec<Shape> = shapes().into_iter().filter(by_credential).collect();
    assert_eq!(found.len(), 7);
    found
}

/// The cell that has answered, or the status of a refusal.
fn answer(process: &Process, request: &[u8]) -> String {
    let reply = raw_http::ask(&mut raw_http::tcp(process.addr("http")), request).unwrap();
    reply.header("x-cell").map_or_else(|| reply.status.to_string(), str::to_owned)
}

/// A request that names an account, with the credential in this field: what teaches.
fn teach(process: &Process, account: &str, field: &str) -> String {
    let path = format!("/api/v2/accounts/{account}/");
    let request = format!("GET {path} HTTP/1.1\r\nHost: cloud.getdbt.com\r\n{field}\r\n\r\n");
    answer(process, request.as_bytes())
}

fn credential(shape: &Shape) -> String {
    let named = ["authorization", "cookie"].into_iter().find_map(|name| Some((name, shape.header(name)?)));
    let (name, value) = named.unwrap();
    format!("{name}: {value}")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(folder: &Folder, path: &str) -> String {
    folder.path(path).to_str().unwrap().to_owned()
}

fn export(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.args(["credentials", "export"]).args(arguments).output().unwrap()
}

/// Merges exports into the table of a folder; says what it reports.
fn merge(folder: &Folder, exports: &[&str]) -> (Value, String) {
    let table = path(folder, "config/credentials.csv");
    let arguments = [&["credentials", "merge", "-o", "json", "--into", &table], exports].concat();
    let output = process::run(folder, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    (serde_json::from_slice(&output.stdout).unwrap(), folder.read("config/credentials.csv"))
}

/// What `check` says of a replica with the configuration of one folder, by the books of another one.
fn cold(config: &Folder, books: &Folder) -> Value {
    let output = process::run(config, &["check", "-o", "json", "--state-dir", &path(books, "state")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    told["cold_replica"].clone()
}

#[test]
fn a_fresh_replica_with_the_merged_table_answers_every_account_less_shape_as_the_first_one_does() {
    let fleet = Fleet::start();
    let (first, second) = (fleet.folder(), fleet.folder());
    let (mut warm, mut fresh) = (Process::start(&first), Process::start(&second));
    let shapes = account_less();
    let answers =
        |process: &Process| shapes.iter().map(|shape| answer(process, &shape.bytes())).collect::<Vec<_>>();
    let refused = vec!["404".to_owned(); shapes.len()];
    assert_eq!((answers(&warm), answers(&fresh)), (refused.clone(), refused.clone()));
    let mut cells = Vec::new();
    for shape in &shapes {
        let mut expect = shape.expect.split(' ');
        let (cell, account) = (expect.next().unwrap(), expect.nth(1).unwrap());
        assert_eq!(teach(&warm, account, &credential(shape)), cell);
        cells.push(cell.to_owned());
    }
    assert_eq!((answers(&warm), answers(&fresh)), (cells.clone(), refused.clone()));

    let socket = path(&first, "state/admin.sock");
    let of_process = export(&["--socket", &socket]);
    assert_eq!(of_process.status.code(), Some(0), "{}", text(&of_process.stderr));
    // The end writes down what is not written yet, in the books too.
    for process in [&mut warm, &mut fresh] {
        process.signal("TERM");
        assert_eq!(process.ended().code(), Some(0));
    }
    let of_folder = export(&["--state-dir", &path(&first, "state")]);
    assert_eq!(text(&of_folder.stdout), text(&of_process.stdout));
    assert!(text(&of_folder.stderr).starts_with("3 credentials of key demo; left out: 0 ambiguous"));
    let of_programs = export(&["--state-dir", &path(&first, "state"), "-o", "json"]);
    assert!(of_programs.stderr.is_empty(), "{}", text(&of_programs.stderr));
    let of_programs: Value = serde_json::from_slice(&of_programs.stdout).unwrap();
    let rows = of_programs["credentials"].as_array().unwrap().iter().map(|row| {
        let word = |key: &str| row[key].as_str().unwrap().to_owned();
        (word("key_id"), word("fingerprint"), row["account"].to_string())
    });
    assert_eq!(rows.len(), 3);
    for (key, fingerprint, account) in rows {
        let line =
            text(&of_folder.stdout).lines().find(|line| line.contains(&fingerprint)).unwrap().to_owned();
        assert!(line.contains(&key) && line.contains(&account), "{line}");
    }
    assert_eq!((&of_programs["ambiguous"], &of_programs["expired"]), (&Value::Array(Vec::new()), &0.into()));
    let unplaced = cold(&second, &first);
    assert_eq!((&unplaced["unplaced_requests"], &unplaced["unplaced_credentials"]), (&7.into(), &3.into()));
    // Fourteen refused or placed, seven taught.
    assert_eq!(unplaced["legacy_requests"], 21, "{unplaced}");

    first.write("export.csv", &text(&of_folder.stdout));
    let (told, table) = merge(&second, &[&path(&first, "export.csv")]);
    assert_eq!((&told["added"], &told["kept"], &told["changed"]), (&3.into(), &0.into(), &true.into()));
    assert!(table.starts_with(NOBODY), "{table}");
    assert_eq!(cold(&second, &first)["unplaced_requests"], 0);
    let said = process::run(&second, &["check", "--state-dir", &path(&first, "state")]);
    let said = text(&said.stdout);
    assert!(said.contains("could have placed all that this one placed"), "{said}");
    assert_eq!(cold(&first, &first)["unplaced_requests"], 7, "its own table does not know them yet");

    std::fs::remove_dir_all(second.path("state")).unwrap();
    let (warm, fresh) = (Process::start(&first), Process::start(&second));
    assert_eq!((answers(&warm), answers(&fresh)), (cells.clone(), cells));
    // Once more changes nothing, and a file that is served is not written to.
    let (told, again) = merge(&second, &[&path(&first, "export.csv")]);
    assert_eq!((&told["added"], &told["kept"], &told["changed"]), (&0.into(), &3.into(), &false.into()));
    assert_eq!(again, table);
}

#[test]
fn what_was_learned_before_a_rotation_is_exported_under_the_key_that_it_matches() {
    let fleet = Fleet::start();
    let folder = fleet.folder();
    let mut process = Process::start(&folder);
    let field = |number: u64| format!("Authorization: Bearer {}", token(number));
    assert_eq!(teach(&process, "12345", &field(1)), "cell-2");
    // The new key first; the old one stays until its rows have gone.
    folder.write("config/keys/next.key", &"5a".repeat(32));
    let demo = "      - { id: demo, file: keys/demo-fingerprint.key, allow_readable: true }\n";
    let next = demo.replace("demo", "next").replace("next-fingerprint", "next");
    folder.edit("config/cellgate.yaml", demo, &format!("{next}{demo}"));
    let reply = raw_http::admin(&folder.path("state/admin.sock"), "POST", "/reload");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(teach(&process, "26228", &field(2)), "cell-3");
    let of_process = export(&["--socket", &path(&folder, "state/admin.sock")]);
    process.signal("TERM");
    assert_eq!(process.ended().code(), Some(0));
    let of_folder = export(&["--state-dir", &path(&folder, "state")]);
    assert_eq!(text(&of_folder.stdout), text(&of_process.stdout));
    let said = text(&of_folder.stderr);
    assert!(said.starts_with("1 credentials of key demo, 1 credentials of key next; left out: 0"), "{said}");

    let fresh = fleet.folder();
    fresh.write("config/keys/next.key", &"5a".repeat(32));
    fresh.edit("config/cellgate.yaml", demo, &format!("{next}{demo}"));
    fresh.write("export.csv", &text(&of_folder.stdout));
    let (told, _) = merge(&fresh, &[&path(&fresh, "export.csv")]);
    assert_eq!(told["added"], 2, "{told}");
    // By the table, and, after a restart, by what was learned: both tokens find their cells.
    for folder in [&fresh, &folder] {
        let process = Process::start(folder);
        for (number, cell) in [(1, "cell-2"), (2, "cell-3")] {
            let field = field(number);
            let request = format!("GET /api/v2/whoami HTTP/1.1\r\nHost: cloud.getdbt.com\r\n{field}\r\n\r\n");
            assert_eq!(answer(&process, request.as_bytes()), cell);
        }
    }
}

#[test]
fn what_two_replicas_learned_for_two_accounts_is_routed_on_by_no_fresh_one() {
    let fleet = Fleet::start();
    let ours = [fleet.folder(), fleet.folder()];
    let field = |number: u64| format!("Authorization: Bearer {}", token(number));
    let (both, sound, gone) = (field(1), field(2), field(3));
    let mut exports = Vec::new();
    for (folder, (account, cell)) in ours.iter().zip([("12345", "cell-2"), ("26228", "cell-3")]) {
        let process = Process::start(folder);
        assert_eq!(teach(&process, account, &both), cell);
        assert_eq!(teach(&process, "12345", &sound), "cell-2");
        assert_eq!(teach(&process, "1001", &gone), "shared");
        let output = export(&["--socket", &path(folder, "state/admin.sock")]);
        folder.write("export.csv", &text(&output.stdout));
        exports.push(path(folder, "export.csv"));
    }
    let folder = fleet.folder();
    let process = Process::start(&folder);
    folder.edit("config/accounts.csv", "1001,mt001,shared,,\n", "");
    folder.write("config/environments.csv", "environment,account\n");
    let (told, table) = merge(&folder, &[&exports[1], &exports[0]]);
    assert_eq!((&told["added"], &told["duplicates"]), (&1.into(), &2.into()), "{told}");
    let mut reasons: Vec<_> = told["left_out"].as_array().unwrap().iter().map(|out| &out["reason"]).collect();
    reasons.sort_by_key(|reason| reason.to_string());
    assert_eq!(reasons, ["ambiguous", "no_account"]);
    assert_eq!(table.matches("\n# ambiguous: demo,").count(), 1, "{table}");
    // The replica that runs takes the table over by itself.
    let whoami =
        |field: &str| format!("GET /api/v2/whoami HTTP/1.1\r\nHost: cloud.getdbt.com\r\n{field}\r\n\r\n");
    let ask = |field: &str| answer(&process, whoami(field).as_bytes());
    eventually("the merged table to serve", || (ask(&sound) == "cell-2").then_some(()));
    assert_eq!([ask(&both), ask(&gone)], ["404", "404"]);
}

#[test]
fn nothing_is_merged_from_a_file_that_cannot_be_read_or_into_a_configuration_with_mistakes() {
    let folder = Folder::example(&BTreeMap::new());
    let before = folder.read("config/credentials.csv");
    let table = path(&folder, "config/credentials.csv");
    let export = path(&folder, "export.csv");
    let check = |what: &str, code: i32, expect: &str| {
        let output = process::run(&folder, &["credentials", "merge", &export, "--into", &table]);
        let said = text(&output.stderr);
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(code), &b""[..]),
            "{what}: {said}"
        );
        assert!(said.contains(expect), "{what}: {expect:?} in {said}");
        assert_eq!(folder.read("config/credentials.csv"), before, "{what}");
    };
    check("no file", 1, "export.csv: No such file or directory");
    std::fs::create_dir(folder.path("export.csv")).unwrap();
    check("a folder", 1, "export.csv is no ordinary file; expected one");
    std::fs::remove_dir(folder.path("export.csv")).unwrap();
    folder.write("export.csv", "key_id,fingerprint,account,note\ndemo,dbtc_123,12345,learned\n");
    check("a token", 64, "export.csv:2: fingerprint: found something else; expected 32 hexadecimal digits");
    folder.write("export.csv", "key_id,fingerprint,account,note\n");
    folder.edit("config/accounts.csv", "12345,acme ac345,cell-2,,", "12345,acme ac345,cell-9,,");
    check("a configuration with a mistake", 64, "accounts.csv:");
    let output = self::export(&["--state-dir", &path(&folder, "log")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--state-dir names another folder"), "{}", text(&output.stderr));
}
