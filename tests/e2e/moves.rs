//! A wave of accounts moved by the real command, with three real replicas whose files come late, one replica after the
//! other, while clients read and write through all of them: nothing fails, nothing goes astray, and no write reaches the
//! old cell after the first one at the new.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::process::{self, Process};
use crate::raw_http::{self, RawReply};
use crate::running::{Folder, eventually};
use crate::world::load_lane;

const REPLICAS: [&str; 3] = ["a", "b", "c"];
const ACCOUNTS: [&str; 4] = ["w1", "w2", "w3", "w4"];
const OLD: &str = "shared";
const NEW: &str = "cell-3";

/// Longest time that files take to a replica, and a cell to act on a write.
const LATE_MS: u64 = 800;
const SLOW_MS: u64 = 60;

/// One request as a cell has read it.
#[derive(Clone, Debug)]
struct Arrived {
    cell: &'static str,
    prefix: String,
    is_write: bool,
}

/// Everything that arrived anywhere, in order.
type Ledger = Arc<Mutex<Vec<Arrived>>>;

/// A cell that writes down what comes before it does anything else, and is slow to act on writes.
fn cell(name: &'static str, ledger: Ledger) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || while let Some(()) = answer(name, &ledger, &connection) {});
        }
    });
    address
}

/// One request; `None` at the end of the connection.
fn answer(cell: &'static str, ledger: &Ledger, mut connection: &TcpStream) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let is_write = head.starts_with("post ");
    let host = head.split("host: ").nth(1)?;
    let prefix = host.split('.').next()?.to_owned();
    ledger.lock().unwrap().push(Arrived { cell, prefix, is_write });
    if is_write {
        let mut body = [0; 2];
        connection.read_exact(&mut body).ok()?;
        thread::sleep(Duration::from_millis(fastrand::u64(..SLOW_MS)));
    }
    connection
        .write_all(format!("HTTP/1.1 200 OK\r\nx-cell: {cell}\r\ncontent-length: 0\r\n\r\n").as_bytes())
        .ok()
}

/// The folder that moves are written in, with the accounts of the wave.
fn origin(cells: &BTreeMap<String, SocketAddr>) -> Folder {
    let folder = Folder::example(cells);
    folder.edit("config/boot.yaml", ", hold: { mode: 'off' }", "");
    folder.append("config/cellgate.yaml", "moves: { file: moves.csv }");
    folder.write("config/moves.csv", "account,from,to,state,epoch\n");
    for (number, prefix) in (1..).zip(ACCOUNTS) {
        folder.append("config/accounts.csv", &format!("{},{prefix},{OLD},,", 900_000 + number));
    }
    folder.write("wave", &format!("{}\n", ACCOUNTS.join("\n")));
    folder
}

/// A folder of a replica, the same as that of the origin.
fn copy(origin: &Folder) -> Folder {
    let folder = Folder::example(&BTreeMap::new());
    for name in ["config/cellgate.yaml", "config/boot.yaml", "config/accounts.csv", "config/moves.csv"] {
        folder.write(name, &origin.read(name));
    }
    for name in ["legacy.pem", "us1.pem"] {
        folder.write(&format!("certs/dev/{name}"), &origin.read(&format!("certs/dev/{name}")));
    }
    for name in ["legacy.key", "us1.key"] {
        folder.write_secret(&format!("certs/dev/{name}"), &origin.read(&format!("certs/dev/{name}")));
    }
    folder
}

/// Brings what changes at the origin to a replica, later, and in the order in which it changed.
fn deploy(origin: &Folder, replica: &Folder, ended: &AtomicBool) {
    let tables = |folder: &Folder| ["config/accounts.csv", "config/moves.csv"].map(|name| folder.read(name));
    let mut there = tables(origin);
    while !ended.load(Ordering::Relaxed) {
        let now = tables(origin);
        if now == there {
            thread::sleep(Duration::from_millis(10));
            continue;
        }
        thread::sleep(Duration::from_millis(fastrand::u64(..LATE_MS)));
        let [accounts, moves] = &now;
        replica.write("config/accounts.csv", accounts);
        replica.write("config/moves.csv", moves);
        there = now;
    }
}

fn request(method: &str, prefix: &str) -> String {
    let body = if method == "POST" { "Content-Length: 2\r\n\r\n{}" } else { "\r\n" };
    format!("{method} /api/v2/jobs/ HTTP/1.1\r\nHost: {prefix}.us1.dbt.com\r\nConnection: close\r\n{body}")
}

/// What one client has met.
#[derive(Debug, Default)]
struct Met {
    answered: usize,
    told_to_wait: usize,
    failed: Vec<String>,
}

/// Reads and writes one account through all replicas, as a client that does what it is told.
fn client(prefix: &str, replicas: &[SocketAddr], ended: &AtomicBool) -> Met {
    let mut met = Met::default();
    while !ended.load(Ordering::Relaxed) {
        let method = if fastrand::bool() { "POST" } else { "GET" };
        let replica = replicas[fastrand::usize(..replicas.len())];
        let reply = raw_http::ask(&mut raw_http::tcp(replica), request(method, prefix).as_bytes());
        let is_honest_wait = |reply: &RawReply| {
            reply.status == 503
                && reply.header("x-cellgate-outcome") == Some("not-forwarded")
                && reply.header("retry-after").is_some()
        };
        match reply {
            Ok(reply) if reply.status == 200 => met.answered += 1,
            Ok(reply) if is_honest_wait(&reply) => met.told_to_wait += 1,
            Ok(reply) => met.failed.push(format!("{method} {prefix}: {} {}", reply.status, reply.text())),
            Err(error) => met.failed.push(format!("{method} {prefix}: {error}")),
        }
    }
    met
}

#[test]
#[allow(clippy::print_stdout)] // How often clients were told to wait is what this prints.
fn a_wave_moves_while_files_come_late_and_no_write_is_late() {
    let _lane = load_lane();
    let ledger = Ledger::default();
    let cells = ["cell-1", "cell-2", NEW, OLD].map(|name| (name.to_owned(), cell(name, Arc::clone(&ledger))));
    let origin = origin(&cells.into());
    let folders: Vec<Folder> = REPLICAS.iter().map(|_| copy(&origin)).collect();
    let processes: Vec<Process> = folders.iter().map(Process::start).collect();
    let doors: Vec<SocketAddr> = processes.iter().map(|process| process.addr("http")).collect();
    let (deployed, asked) = (AtomicBool::new(false), AtomicBool::new(false));

    let met: Vec<Met> = thread::scope(|scope| {
        let clients: Vec<_> =
            ACCOUNTS.iter().map(|prefix| scope.spawn(|| client(prefix, &doors, &asked))).collect();
        for folder in &folders {
            scope.spawn(|| deploy(&origin, folder, &deployed));
        }
        let wave = origin.path("wave").display().to_string();
        let announced = process::run(&origin, &["move", "--accounts", &wave, "--to", NEW]);
        let said = String::from_utf8_lossy(&announced.stderr).into_owned();
        let mut arguments =
            vec!["move", "advance", "--accounts", &wave, "--batch", "2", "--wait", "2m", "--every", "1s"];
        let replicas: Vec<String> = REPLICAS
            .iter()
            .zip(&folders)
            .map(|(name, folder)| format!("{name}={}", folder.path("state/admin.sock").display()))
            .collect();
        replicas.iter().for_each(|replica| arguments.extend(["--replica", replica]));
        let ended = announced.status.success().then(|| process::run(&origin, &arguments));
        // Whatever came of it, nobody waits for ever; and each account writes once more where it lives now.
        let moved = || ACCOUNTS.iter().all(|prefix| writes(&ledger, prefix).contains(&NEW));
        if ended.as_ref().is_some_and(|ended| ended.status.success()) {
            eventually("a write of each account at the new cell", || moved().then_some(()));
        }
        asked.store(true, Ordering::Relaxed);
        deployed.store(true, Ordering::Relaxed);
        let met = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let ended = ended.unwrap_or_else(|| unreachable!("the wave was not announced: {said}"));
        let said = [&ended.stdout[..], &ended.stderr].map(String::from_utf8_lossy).concat();
        assert_eq!(ended.status.code(), Some(0), "{said}");
        met
    });

    let sum = |count: fn(&Met) -> usize| met.iter().map(count).sum::<usize>();
    let (answered, waits) = (sum(|met| met.answered), sum(|met| met.told_to_wait));
    println!("{answered} requests answered, {waits} told to come back");
    let failed: Vec<&String> = met.iter().flat_map(|met| &met.failed).collect();
    assert!(failed.is_empty(), "{failed:?}");
    for prefix in ACCOUNTS {
        let writes = writes(&ledger, prefix);
        assert!(writes.iter().all(|cell| [OLD, NEW].contains(cell)), "{prefix} went astray: {writes:?}");
        let first = writes.iter().position(|cell| *cell == NEW).unwrap();
        assert!(first > 0, "{prefix} has written before it was moved");
        let late = writes[first..].iter().filter(|cell| **cell == OLD).count();
        assert_eq!(late, 0, "writes of {prefix} at the old cell after the first at the new");
    }
    let moves = fs::read_to_string(origin.path("config/moves.csv")).unwrap();
    assert_eq!(moves.matches(",flipped,1\n").count(), ACCOUNTS.len(), "{moves}");
}

/// Where an account has written, in order.
fn writes(ledger: &Ledger, prefix: &str) -> Vec<&'static str> {
    let ledger = ledger.lock().unwrap();
    ledger
        .iter()
        .filter(|arrived| arrived.is_write && arrived.prefix == prefix)
        .map(|arrived| arrived.cell)
        .collect()
}
