//! The state folder of a process: one owner at a time, and wherever the command line wants it.

use std::collections::BTreeMap;

use crate::process::Process;
use crate::raw_http;
use crate::running::Folder;

#[test]
fn a_second_process_on_one_state_folder_does_not_start() {
    let folder = Folder::example(&BTreeMap::new());
    let mut first = Process::start(&folder);
    // Its own admin socket, so that only the folder is in the way.
    folder.edit("config/boot.yaml", "unix: ../state/admin.sock", "unix: ../log/other.sock");
    let mut second = Process::spawn(&folder);
    assert_eq!(second.ended().code(), Some(1));
    let said = folder.read("log/stderr.jsonl");
    let line = said.lines().find(|line| line.starts_with("cellgate: ")).unwrap();
    for expected in [folder.path("config/../state").to_str().unwrap(), "(process ", "--state-dir"] {
        assert!(line.contains(expected), "{expected} in {line}");
    }
    assert!(first.runs());
    first.signal("KILL");
    first.ended();
    // Dead without a word, and the folder is free.
    drop(Process::start(&folder));
}

#[test]
fn another_state_folder_on_the_command_line_is_all_it_takes() {
    let folder = Folder::example(&BTreeMap::new());
    // As in a fresh clone: what boot.yaml says of the state folder is not there.
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config/boot.yaml");
    let boot = std::fs::read_to_string(example).unwrap();
    let ports = [":8080", ":8443", ":8082", ":9900"];
    let boot = ports.into_iter().fold(boot, |boot, port| boot.replacen(port, ":0", 1));
    folder.write("config/boot.yaml", &boot);
    let elsewhere = folder.path("elsewhere");
    let process = Process::start_with(&folder, &["--bootstrap", "--state-dir", elsewhere.to_str().unwrap()]);
    for file in ["admin.sock", "access.log", "last-good.cellgate", "cellgate.lock"] {
        assert!(folder.path("elsewhere").join(file).exists(), "{file}");
    }
    assert!(!folder.path("state").exists());
    // The file still says another folder, and that is no change.
    folder.append("config/accounts.csv", "# a row fewer than it seems");
    let reply = raw_http::admin(&folder.path("elsewhere/admin.sock"), "POST", "/reload");
    assert_eq!(reply.status, 200, "{}", reply.text());
    drop(process);
}

#[test]
fn another_state_folder_in_the_file_needs_a_restart() {
    let folder = Folder::example(&BTreeMap::new());
    let process = Process::start(&folder);
    folder.edit("config/boot.yaml", "state_dir: ../state", "state_dir: ../other");
    let reply = raw_http::admin(&folder.path("state/admin.sock"), "POST", "/reload");
    assert_eq!(reply.status, 409, "{}", reply.text());
    assert_eq!(reply.json()["fields"][0], "state_dir");
    drop(process);
}
