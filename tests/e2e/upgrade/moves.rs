//! An upgrade in the middle of a move: what the old process has under way is not forgotten because the new one does not
//! count it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use loadtest::cell::CellOptions;
use serde_json::Value;

use super::Line;
use crate::process;
use crate::raw_http::{self, Upload};
use crate::running::{Folder, eventually};
use crate::world::{CELLS, addresses, runtime, start_cells};

const HOST: &str = "ab123.us1.dbt.com";

/// What whoever answers for the moves on the admin socket says: a process that gives way may still be there, and says
/// that another one answers.
fn moves(folder: &Folder) -> Value {
    eventually("an answer of who serves", || {
        let reply = raw_http::admin(&folder.path("state/admin.sock"), "GET", "/moves");
        let gives_way = reply.status == 503 && reply.json()["error"] == "gives_way";
        assert!(reply.status == 200 || gives_way, "{}", reply.text());
        (!gives_way).then(|| reply.json())
    })
}

/// Until the one account is in this state with so many writes at its old cell.
fn until(folder: &Folder, state: &str, writes: u64) {
    eventually(&format!("{state} with {writes} writes"), || {
        let of = moves(folder)["moves"][0].clone();
        (of["state"] == state && of["writes_at_old_cell"] == writes).then_some(())
    });
}

/// Runs `cellgate move`: its exit code and what it says.
fn run(folder: &Folder, arguments: &[&str]) -> (i32, String) {
    let output = process::run(folder, arguments);
    let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
    (output.status.code().unwrap(), said)
}

/// Ends a write, which its account's old cell has answered.
fn end(upload: Upload) {
    let reply = upload.end();
    assert_eq!((reply.status, reply.header("x-cell")), (200, Some("cell-1")));
}

/// The folder with a table of moves, and a list of the one account.
fn folder(cells: &BTreeMap<String, SocketAddr>) -> Folder {
    let folder = Folder::example(cells);
    folder.append("config/cellgate.yaml", "moves: { file: moves.csv, drain: 1h }");
    folder.write("config/moves.csv", "account,from,to,state,epoch\n");
    folder.write("wave", "ab123\n");
    folder
}

#[test]
fn no_state_is_published_before_the_processes_of_before_have_ended() {
    let runtime = runtime();
    let cells = start_cells(&runtime, CELLS.map(CellOptions::named).to_vec());
    let folder = folder(&addresses(&cells));
    folder.edit("config/boot.yaml", "deadline: 20s", "deadline: 5m");
    let mut line = Line::start(&folder);
    let wave = folder.path("wave").display().to_string();
    let replica = format!("a={}", folder.path("state/admin.sock").display());
    let advance = || run(&folder, &["move", "advance", "--accounts", &wave, "--replica", &replica]);
    let table = || folder.read("config/moves.csv");
    let waits_for = |pid: u32, state: &str| {
        let (code, said) = advance();
        let expected = format!("Waiting: replica a: its predecessor (process {pid}) has not ended.");
        assert!(code == 2 && said.contains(&expected), "{code} {said}");
        assert!(table().contains(state), "{}", table());
    };

    // What began before the upgrade is counted by the old process alone; so it is after another one.
    let (code, said) = run(&folder, &["move", "--accounts", &wave, "--to", "cell-2"]);
    assert_eq!(code, 0, "{said}");
    until(&folder, "prepare", 0);
    let upload = Upload::begin(line.first.addr("http"), HOST);
    until(&folder, "prepare", 1);
    let second = line.upgrade(&folder);
    until(&folder, "prepare", 0);
    assert_eq!(moves(&folder)["predecessors"], serde_json::json!([line.first.id()]));
    waits_for(line.first.id(), "prepare");
    line.upgrade(&folder);
    eventually("the second to have drained", || super::gone(second).then_some(()));
    waits_for(line.first.id(), "prepare");
    end(upload);
    assert_eq!(line.first.ended().code(), Some(0));

    // The same in the middle of a hold.
    let upload = Upload::begin(line.first.addr("http"), HOST);
    until(&folder, "prepare", 1);
    let (code, said) = advance();
    assert!(code == 2 && table().contains("holding"), "{code} {said}");
    until(&folder, "holding", 1);
    let third = *line.successors.last().unwrap();
    line.upgrade(&folder);
    until(&folder, "holding", 0);
    waits_for(third, "holding");
    end(upload);
    eventually("the third to have drained", || super::gone(third).then_some(()));
    let (code, said) = advance();
    assert!(code == 2 && table().contains("flipped"), "{code} {said}");

    // Both doors lead to the one that serves.
    let (_, said) = {
        let other = format!("b=http://{}", line.first.admin());
        run(&folder, &["move", "advance", "--replica", &replica, "--replica", &other])
    };
    assert!(said.contains("are one and the same process"), "{said}");
}

/// Somebody may have been told that its writes are held here.
#[test]
fn a_process_that_knows_less_of_what_is_held_does_not_take_over() {
    let folder = folder(&BTreeMap::new());
    let mut line = Line::start(&folder);
    let wave = folder.path("wave").display().to_string();
    let replica = format!("a={}", folder.path("state/admin.sock").display());
    let (code, said) = run(&folder, &["move", "--accounts", &wave, "--to", "cell-2"]);
    assert_eq!(code, 0, "{said}");
    until(&folder, "prepare", 0);
    let (code, said) = run(&folder, &["move", "advance", "--accounts", &wave, "--replica", &replica]);
    assert_eq!(code, 2, "{said}");
    until(&folder, "holding", 0);
    // Taken back with a change of boot.yaml: the running process cannot take that up, and a start does.
    let outcome = || {
        let config = raw_http::admin(&folder.path("state/admin.sock"), "GET", "/config").json();
        config["last_reload"]["outcome"].clone()
    };
    folder.edit("config/boot.yaml", "deadline: 20s", "deadline: 5m");
    eventually("boot.yaml to be seen", || (outcome() == "needs_restart").then_some(()));
    let (code, said) = run(&folder, &["move", "abort", "--accounts", &wave]);
    assert_eq!(code, 0, "{said}");
    let said = super::ask(&folder);
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1), "{words}");
    assert!(words.contains("holds the writes of account 70403103966603"), "{words}");
    assert!(line.first.runs());
    until(&folder, "holding", 0);
}
