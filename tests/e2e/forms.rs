//! Answers for programs: commands that write files, wait or make a secret, asked with `--output json`. One object on standard
//! output whatever comes of it, and the exit code that it has for people.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::move_command::{folder, honest, replica};
use crate::process;
use crate::running::Folder;

fn cellgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cellgate")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// The exit code, the one object, and what is said beside it.
fn told(output: &Output) -> (i32, Value, String) {
    let [answer, beside] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    assert_eq!(answer.trim_end().lines().count(), 1, "{answer:?} {beside}");
    (output.status.code().unwrap(), serde_json::from_str(&answer).unwrap(), beside)
}

/// `move`, in a folder, about the accounts of the list.
fn moved(folder: &Folder, arguments: &str) -> (i32, Value, String) {
    let wave = folder.path("wave").display().to_string();
    let arguments = format!("move {arguments} -o json");
    let arguments: Vec<&str> =
        arguments.split_whitespace().map(|word| if word == "WAVE" { wave.as_str() } else { word }).collect();
    told(&process::run(folder, &arguments))
}

#[test]
fn a_move_is_told_to_programs_from_its_announcement_to_its_end() {
    let folder = folder();
    let writes = Arc::new(AtomicU64::new(1));
    let a = replica(&folder, "a", honest(folder.path("config"), Arc::clone(&writes)));
    let dead = format!("c={}", folder.path("c").display());

    let (code, said, beside) = moved(&folder, "--accounts WAVE --to cell-3");
    assert_eq!((code, &said["outcome"], beside.as_str()), (0, &json!("announced"), ""), "{said}");
    assert_eq!((&said["written"], &said["accounts"]), (&json!(["moves.csv"]), &json!(2)));
    assert_eq!((&said["plan"]["verdict"], &said["capacity"]["cell"]), (&json!("changes"), &json!("cell-3")));
    assert!(said["next"].as_str().unwrap().starts_with("cellgate move advance --accounts "), "{said}");

    // Again: what stands against it is told as check tells problems.
    let (code, said, beside) = moved(&folder, "--accounts WAVE --to cell-3");
    assert_eq!((code, &said["ok"], beside.as_str()), (3, &json!(false), ""), "{said}");
    let problems = said["problems"].as_array().unwrap();
    assert_eq!((problems.len(), &problems[0]["line"], &problems[1]["line"]), (2, &json!(2), &json!(3)));
    assert!(problems[0]["code"].as_str().unwrap().starts_with('E'), "{said}");

    let (code, said, _) = moved(&folder, "status");
    assert_eq!((code, &said["outcome"], &said["waiting"]), (2, &json!("open"), &Value::Null));
    let group = json!([{ "from": "shared", "to": "cell-3", "state": "prepare", "accounts": [1001, 2044] }]);
    assert_eq!(said["moves"], group);
    // Nobody answers: that is an answer.
    let (code, said, beside) = moved(&folder, &format!("status --replica {a} --replica {dead}"));
    assert_eq!((code, said["waiting"].as_array().unwrap().len(), beside.as_str()), (2, 1, ""), "{said}");
    assert_eq!(
        (&said["waiting"][0]["replica"], &said["waiting"][0]["reason"]),
        (&json!("c"), &json!("silent"))
    );
    assert!(said["waiting"][0]["what"].as_str().unwrap().contains("did not answer: No such file"), "{said}");

    let advance = |more: &str| moved(&folder, &format!("advance --accounts WAVE --replica {a} {more}"));
    let (code, said, _) = advance("--dry-run");
    assert_eq!((code, &said["dry_run"], &said["written"]), (2, &json!(true), &json!([])), "{said}");
    assert_eq!(said["published"][0]["state"], "holding");
    assert!(folder.read("config/moves.csv").contains("prepare"));
    let (code, said, beside) = advance("");
    assert_eq!((code, &said["written"], beside.as_str()), (2, &json!(["moves.csv"]), ""), "{said}");
    assert_eq!(said["hash"], moved(&folder, "status").1["hash"], "of what was written");
    let (code, said, _) = advance("");
    assert_eq!(
        (code, &said["waiting"][0]["writes"], &said["not_flipped"]),
        (2, &json!(1), &json!(2)),
        "{said}"
    );

    // One object at the end; what comes before is for who looks on.
    writes.store(0, Ordering::Relaxed);
    let (code, said, beside) = advance("--wait 1m --every 10ms");
    assert_eq!((code, &said["outcome"]), (0, &json!("settled")), "{said} {beside}");
    assert_eq!(said["flipped"][0]["accounts"], json!([1001, 2044]));
    assert_eq!(said["written"], json!(["accounts.csv", "moves.csv"]), "of the whole run");
    assert!(beside.contains("shared -> cell-3: 2 flipped") && !beside.contains('{'), "{beside}");

    moved(&folder, "--accounts WAVE --to shared");
    let (code, said, beside) = moved(&folder, "abort --accounts WAVE");
    assert_eq!((code, &said["outcome"], beside.as_str()), (0, &json!("aborted"), ""), "{said}");
    assert_eq!((&said["accounts"], &said["written"]), (&json!([1001, 2044]), &json!(["moves.csv"])));
    assert!(said["changes"].to_string().contains("taken back"), "{said}");
}

#[test]
fn problems_have_one_shape_whatever_command_finds_them() {
    let folder = folder();
    folder.write("wave", "1001\nnobody\n");
    let (code, said, beside) = moved(&folder, "--accounts WAVE --to cell-3");
    assert_eq!((code, &said["problems"][0]["line"], beside.as_str()), (64, &json!(2), ""), "{said}");
    let (code, said, _) = moved(&folder, "advance");
    assert_eq!((code, &said["problems"][0]["file"]), (3, &Value::Null), "{said}");
    assert!(said["problems"][0]["what"].as_str().unwrap().contains("no replica was named"), "{said}");
    let (code, said, _) = moved(&folder, "status --replica nowhere:9900");
    assert_eq!((code, &said["problems"][0]["file"]), (64, &json!("--replica")), "{said}");

    folder.append("config/accounts.csv", "123,,no-such-cell,,");
    let table = folder.path("table.csv").display().to_string();
    for command in [
        &["check"][..],
        &["plan"],
        &["explain", "--host", "cloud.getdbt.com"],
        &["drill"],
        &["fingerprint"],
        &["brownout", "list"],
        &["move", "status"],
        &["credentials", "merge", &table, "--into", &table],
    ] {
        let (code, said, beside) = told(&process::run(&folder, &[command, &["-o", "json"]].concat()));
        assert_eq!((code, &said["ok"], beside.as_str()), (64, &json!(false), ""), "{command:?}: {said}");
        assert_eq!(said["problems"][0]["code"], "E0144", "{command:?}: {said}");
    }
}

#[test]
fn a_token_is_told_once_with_its_row_and_nothing_beside_it() {
    let output =
        cellgate(&["token", "new", "--name", "ann", "--role", "read", "--expires", "1d", "-o", "json"]);
    let (code, said, beside) = told(&output);
    assert_eq!((code, beside.as_str()), (0, ""));
    let token = said["token"].as_str().unwrap();
    assert!(token.starts_with("cga_") && token.len() == 76, "{said}");
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap().matches(token).count(), 1);
    let row = said["row"].as_str().unwrap();
    let expect = ["ann", "read"].map(|word| format!("{word},")).concat();
    assert!(row.starts_with(&format!("{expect}{},", said["sha256"].as_str().unwrap())), "{said}");
    assert!(row.contains(said["expires"].as_str().unwrap()), "{said}");
}

/// Whoever asked has gone: what was to be done is done, and the exit code says how it went.
#[test]
fn a_reader_that_is_gone_changes_neither_what_is_done_nor_how_it_ends() {
    let folder = folder();
    let wave = folder.path("wave").display().to_string();
    let config = folder.path("config").display().to_string();
    for (arguments, code) in [
        (&["move", "--accounts", &wave, "--to", "cell-3", "--config", &config][..], 0),
        (&["move", "--accounts", &wave, "--to", "cell-3", "--config", &config], 3),
        (&["move", "status", "--config", &config], 2),
        (&["token", "new", "--name", "ann", "--role", "read"], 0),
    ] {
        // The end that is read is closed before the command starts.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
        let output = command.args(arguments).args(["-o", "json"]).stdout(writer).output().unwrap();
        let beside = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), beside.as_str()), (Some(code), ""), "{arguments:?}");
    }
    assert!(folder.read("config/moves.csv").contains("1001,shared,cell-3,prepare,1"));
}

#[test]
fn manual_pages_are_counted_for_programs() {
    let folder = folder();
    let out: PathBuf = folder.path("man");
    let (code, said, beside) = told(&cellgate(&["man", "--json", "--out", out.to_str().unwrap()]));
    assert_eq!((code, beside.as_str()), (0, ""));
    assert_eq!(said["pages"], std::fs::read_dir(&out).unwrap().count());
}
