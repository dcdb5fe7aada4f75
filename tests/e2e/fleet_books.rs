//! The books of several replicas in one database: real processes, a real PostgreSQL.

use std::process::{Command, Output};

use crate::books::{ask, metric};
use crate::command_line::{cellgate, said};
use crate::postgres::Server;
use crate::process::Process;
use crate::raw_http;
use crate::running::{Folder, eventually};

/// A replica that ships its books each second.
fn replica(name: &str, server: &Server) -> Folder {
    let folder = Folder::example(&std::collections::BTreeMap::new());
    let file = server.connection_file().display().to_string();
    folder.append(
        "config/boot.yaml",
        &format!(
            "books: {{ window: 1s, database: {{ connection_file: {file}, replica: {name}, every: 1s }} }}\n"
        ),
    );
    folder
}

/// A command that asks the database.
fn ask_fleet(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.args(arguments).arg("--database").arg(server.connection_file()).output().unwrap()
}

/// How many requests the fleet's books know of account 12345, in CSV of the report.
fn known(server: &Server) -> u64 {
    let report = ask_fleet(server, &["report", "-o", "csv"]);
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    let line = report.lines().find(|line| line.starts_with("account,12345,"));
    line.and_then(|line| line.split(',').nth(4)).map_or(0, |requests| requests.parse().unwrap())
}

#[test]
fn replicas_add_up_in_the_database_through_its_absence_and_a_kill() {
    let mut server = Server::start();
    let (first, second) = (replica("edge-0", &server), replica("edge-1", &server));
    let (mut one, mut other) = (Process::start(&first), Process::start(&second));
    let send = |process: &Process, times: usize| {
        let mut connection = raw_http::tcp(process.addr("http"));
        (0..times).for_each(|_| _ = ask(&mut connection));
    };
    send(&one, 10);
    send(&other, 5);
    eventually("both to be shipped", || (known(&server) == 15).then_some(()));

    server.stop();
    send(&one, 20);
    let until = metric(&one, "cellgate_books_fleet_waiting_windows") + 3.0;
    eventually("windows to wait", || {
        (metric(&one, "cellgate_books_fleet_waiting_windows") >= until).then_some(())
    });
    // Requests are served all the while, and the replica's own books go on.
    eventually("its own books", || said(&cellgate(&first, &["report"]), 0).contains(" 30 ").then_some(()));
    let told = said(&ask_fleet(&server, &["report"]), 1);
    assert!(told.contains("/connection leads to cannot be read: PostgreSQL: "), "{told}");
    one.signal("KILL");
    one.ended();
    let one = Process::start(&first);
    server.start_again();
    eventually("what had waited", || (known(&server) == 35).then_some(()));
    eventually("nothing to wait", || {
        (metric(&one, "cellgate_books_fleet_waiting_windows") <= 1.0).then_some(())
    });
    assert_eq!(known(&server), 35, "and none of it twice");

    // Who ends in order has shipped all of it, and says so; who was killed is gone on with.
    send(&other, 7);
    other.signal("TERM");
    other.ended();
    assert_eq!(known(&server), 42);
    let mut client = server.connect();
    let open = "SELECT DISTINCT replica FROM cellgate.coverage AS run WHERE closed = 0
         AND NOT EXISTS (SELECT FROM cellgate.coverage AS next WHERE next.replica = run.replica AND next.ended_at > run.ended_at)";
    let open: Vec<String> = client.query(open, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(open.len() == 1 && open[0].starts_with("edge-0."), "which runs: {open:?}");
    let told = said(&ask_fleet(&server, &["books", "retire", &open[0]]), 2);
    assert!(told.contains("less than two hours ago: nothing is changed"), "{told}");
    let told = said(&ask_fleet(&server, &["books", "retire", "edge-9"]), 2);
    assert!(told.contains("No run of a replica named edge-9 is open."), "{told}");
    let told = said(&ask_fleet(&server, &["books", "forget", "12345", "--yes"]), 0);
    assert!(told.contains("Account 12345 is forgotten: "), "{told}");
    assert_eq!(known(&server), 0);
}

#[test]
fn a_database_that_cannot_be_used_stops_no_replica_and_is_told_once() {
    let server = Server::start();
    let folder = replica("edge-0", &server);
    server.connection_file_with("connection", "host=/nowhere user=cellgate password=dbtc_canary");
    let mut process = Process::start(&folder);
    ask(&mut raw_http::tcp(process.addr("http")));
    eventually("attempts to fail", || {
        (metric(&process, "cellgate_books_fleet_failures_total") >= 2.0).then_some(())
    });
    eventually("its own books", || said(&cellgate(&folder, &["report"]), 0).contains("12345").then_some(()));
    process.signal("TERM");
    process.ended();
    let log: Vec<String> = process.log().iter().map(ToString::to_string).collect();
    let lines = log.iter().filter(|line| line.contains("the database of the fleet does not take the books"));
    assert_eq!(lines.count(), 1, "{log:?}");
    assert!(!log.iter().any(|line| line.contains("canary")), "{log:?}");
    // The next process ships what waits in the spool.
    let _process = Process::start(&folder);
    eventually("what had waited", || (known(&server) == 1).then_some(()));
}
