//! The books of a real process, as its owner reads them: what is said of accounts, what their owners have to change, and
//! what is forgotten.

use rusqlite::Connection;

use crate::clients::report_schema;
use crate::command_line::{cellgate, said};
use crate::process::Process;
use crate::raw_http;
use crate::running::{Folder, PATIENCE, eventually};
use crate::world::TOKEN_12345;

/// How many requests of this account the books know.
fn known(folder: &Folder, account: u64) -> u64 {
    let report = cellgate(folder, &["report", "-o", "csv"]);
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    let line = report.lines().find(|line| line.starts_with(&format!("account,{account},")));
    line.and_then(|line| line.split(',').nth(4)).map_or(0, |requests| requests.parse().unwrap())
}

#[test]
fn an_account_has_a_verdict_and_a_recipe_and_is_forgotten_while_the_proxy_runs() {
    let folder = Folder::example(&std::collections::BTreeMap::new());
    let process = Process::start(&folder);
    let request = format!(
        "GET /api/v2/accounts/12345/ HTTP/1.1\r\nHost: cloud.getdbt.com\r\nUser-Agent: \
         apache-airflow-providers-dbt-cloud-v4\r\nAuthorization: Token {TOKEN_12345}\r\n\r\n"
    );
    // Each on a connection of its own: one would be closed for its silence while the reports are made.
    let ask = || raw_http::ask(&mut raw_http::tcp(process.addr("http")), request.as_bytes()).unwrap();
    for _ in 0..3 {
        ask();
    }
    eventually("the window to be written", || (known(&folder, 12345) == 3).then_some(()));
    let config = folder.path("config").display().to_string();
    let shown = said(&cellgate(&folder, &["report", "--account", "12345", "--config", &config]), 0);
    assert!(shown.contains("ACTIVE: last seen "), "{shown}");
    assert!(shown.contains("Host (Tenant) = acme.us1.dbt.com"), "{shown}");
    let without = said(&cellgate(&folder, &["report", "--account", "12345", "--config", "/nowhere"]), 0);
    assert!(
        without.contains("are left out: the configuration in /nowhere has problems. The first of "),
        "{without}"
    );

    assert!(shown.contains("Integrations, by credential and network:"), "{shown}");

    // Past the sunset of the example, in each form.
    let report = |more: &[&str], code| {
        let arguments = [&["report", "--exit-code", "--config", &config], more].concat();
        said(&cellgate(&folder, &arguments), code)
    };
    let table = report(&[], 3);
    assert!(table.starts_with("LEGACY HOST ") && table.contains("ACTIVE 1"), "{table}");
    let json: Vec<_> = [&["-o", "json"][..], &["-o", "json", "--account", "12345"], &["-o", "json", "--all"]]
        .iter()
        .zip(["all", "one", "ever"])
        .map(|(more, name)| {
            let file = folder.path(&format!("{name}.json"));
            std::fs::write(&file, report(more, 3)).unwrap();
            file
        })
        .collect();
    report_schema::is_valid(&json);
    assert!(report(&["integrations"], 3).contains("airflow"));
    assert_eq!(report(&["unattributed"], 3), "All requests name an account of the table.\n");
    assert!(report(&["-o", "markdown"], 3).contains("12345"));
    let page = report(&["-o", "html"], 3);
    assert!(page.starts_with("<!doctype html>") && page.contains("acme.us1.dbt.com"), "{}", page.len());
    let page = report(&["--account", "12345", "-o", "html"], 3);
    assert!(page.contains("<h1>Account 12345 still uses ") && page.contains("How to fix it"), "{page}");
    let text = report(&["--account", "12345", "-o", "markdown"], 3);
    assert!(text.starts_with("# Account 12345 still uses ") && text.contains("## What to change"), "{text}");
    assert!(report(&["--account", "7", "-o", "html"], 4).contains("The books know nothing of account 7"));

    let letters = folder.path("letters").display().to_string();
    let told = said(&cellgate(&folder, &["outreach", &letters, "--config", &config]), 0);
    assert!(
        told.contains("accounts.csv, and 1 letter in letters/, each as Markdown and as a page."),
        "{told}"
    );
    assert!(folder.read("letters/accounts.csv").contains("acme.us1.dbt.com"));
    assert!(folder.read("letters/letters/12345.md").contains("Host (Tenant) = acme.us1.dbt.com"));
    let page = folder.read("letters/letters/12345.html");
    assert!(page.contains("Host (Tenant) = acme.us1.dbt.com") && !page.contains("Books complete"), "{page}");
    let told = said(&cellgate(&folder, &["outreach", &letters, "--config", &config]), 1);
    assert!(told.contains("name a folder that is not there yet"), "{told}");

    let told = said(&cellgate(&folder, &["books", "forget", "12345"]), 2);
    assert!(told.contains("The books know account 12345 from "), "{told}");
    assert_eq!(known(&folder, 12345), 3);
    let told = said(&cellgate(&folder, &["books", "forget", "12345", "--yes"]), 0);
    assert!(told.contains("Account 12345 is forgotten: "), "{told}");
    assert_eq!(known(&folder, 12345), 0);
    let told = said(&cellgate(&folder, &["books", "forget", "12345", "--yes"]), 0);
    assert!(told.contains("The books know nothing of account 12345."), "{told}");
    // The process goes on counting.
    ask();
    eventually("the next window to be written", || (known(&folder, 12345) == 1).then_some(()));
}

/// One request of account 12345, on a connection that is open.
pub fn ask(connection: &mut std::net::TcpStream) -> raw_http::RawReply {
    let request = format!(
        "GET /api/v2/accounts/12345/ HTTP/1.1\r\nHost: cloud.getdbt.com\r\nUser-Agent: curl/8\r\nAuthorization: Token \
         {TOKEN_12345}\r\n\r\n"
    );
    raw_http::ask(connection, request.as_bytes()).unwrap()
}

/// A series without labels on the metrics page.
pub fn metric(process: &Process, name: &str) -> f64 {
    let page = raw_http::page(process.admin(), "/metrics").text();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// A folder whose books have windows of a second.
fn short_windows() -> Folder {
    let folder = Folder::example(&std::collections::BTreeMap::new());
    folder.append("config/boot.yaml", "books: { window: 1s }\n");
    folder
}

#[test]
fn a_trigger_that_its_cell_never_got_is_listed_until_somebody_makes_it_again() {
    let folder = short_windows();
    let process = Process::start(&folder);
    let mut connection = raw_http::tcp(process.addr("http"));
    let path = "/api/v2/accounts/12345/jobs/7/run/";
    let request = format!(
        "POST {path}?token=dbtc_canary HTTP/1.1\r\nHost: cloud.getdbt.com\r\nX-Request-Id: to-be-made-again-1\r\n\
         Authorization: Token {TOKEN_12345}\r\nContent-Length: 7\r\n\r\ncanary!"
    );
    // Nothing listens where the cells of the example are.
    let answer = raw_http::ask(&mut connection, request.as_bytes()).unwrap();
    assert_eq!(answer.status, 502);
    ask(&mut raw_http::tcp(process.addr("http")));
    let asked = |list: &[&str]| {
        let config = folder.path("config").display().to_string();
        let time = ["--from", "2020-01-01T00:00Z", "--to", "2100-01-01T00:00Z", "--config", config.as_str()];
        cellgate(&folder, &[&["report"], list, &time[..]].concat())
    };
    let ended = |list: &[&str], code| said(&asked(list), code);
    let report = |list: &str| ended(&[list], 0);
    eventually("the window to be written", || {
        // Before that there may be no books, and no report.
        let impact = asked(&["impact"]).stdout;
        String::from_utf8_lossy(&impact).contains("2 of 2 requests failed (100%)").then_some(())
    });
    let impact = report("impact");
    assert!(impact.contains("1 credential across 1 account") && impact.contains("(1 not sent)"), "{impact}");
    assert!(
        impact.contains("Nothing is claimed to be avoided: the books do not show shared failing"),
        "{impact}"
    );
    let lost = report("lost");
    let line = lost.lines().find(|line| line.contains("to-be-made-again-1")).unwrap();
    assert!(line.contains(path) && line.contains("not_sent") && line.contains("cell_unreachable"), "{lost}");
    assert!(ended(&["lost", "--account", "12345"], 0).contains("to-be-made-again-1"));
    assert!(ended(&["lost", "--account", "12346"], 0).contains("No call of that time"));
    let wrong = ended(&["impact", "--account", "12345", "--exit-code"], 64);
    assert!(wrong.contains("cellgate: --exit-code says nothing of an incident"), "{wrong}");
    assert!(wrong.contains("by cell and endpoint class and not by account"), "{wrong}");
    let wrong = said(&cellgate(&folder, &["report", "lost"]), 64);
    assert!(wrong.starts_with("cellgate: say when it was: --from"), "{wrong}");
    for entry in std::fs::read_dir(folder.path("state")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("canary") && !text.contains(TOKEN_12345), "{}", path.display());
    }
}

#[test]
fn what_was_counted_before_a_kill_counts_once() {
    let folder = short_windows();
    let (mut sent, mut in_the_books) = (0, 0);
    for round in 1..=4 {
        let mut process = Process::start(&folder);
        let mut connection = raw_http::tcp(process.addr("http"));
        for _ in 0..25 {
            ask(&mut connection);
        }
        sent += 25;
        // What the process before had in its open window is lost, and nothing else.
        let before = in_the_books + 25;
        eventually("the window to be written", || {
            in_the_books = known(&folder, 12345);
            (in_the_books >= before).then_some(())
        });
        assert!(in_the_books <= sent, "round {round}: {in_the_books} of {sent}");
        for _ in 0..round {
            ask(&mut connection);
        }
        sent += round;
        process.signal("KILL");
        process.ended();
    }
    assert!(sent - in_the_books <= 1 + 2 + 3 + 4, "{in_the_books} of {sent}");
}

#[test]
fn what_the_files_could_not_take_is_in_the_spool_when_the_process_is_killed() {
    let folder = short_windows();
    let mut process = Process::start(&folder);
    let mut connection = raw_http::tcp(process.addr("http"));
    ask(&mut connection);
    eventually("the first window", || (known(&folder, 12345) == 1).then_some(()));
    let is_month = |name: &str| name.starts_with("books-") && name.ends_with(".sqlite");
    let files = std::fs::read_dir(folder.path("state")).unwrap().map(|entry| entry.unwrap().path());
    let month =
        files.into_iter().find(|path| is_month(&path.file_name().unwrap().to_string_lossy())).unwrap();
    let lock = Connection::open(month).unwrap();
    lock.busy_timeout(PATIENCE).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..20 {
        ask(&mut connection);
    }
    // The window in which these were counted is among those that wait when two more have begun to.
    let waiting = || metric(&process, "cellgate_books_waiting_windows");
    let until = waiting() + 3.0;
    eventually("windows to wait", || (waiting() >= until).then_some(()));
    assert_eq!(known(&folder, 12345), 1);
    process.signal("KILL");
    process.ended();
    lock.execute_batch("ROLLBACK").unwrap();
    drop(lock);
    let process = Process::start(&folder);
    eventually("the spool to be written", || (known(&folder, 12345) == 21).then_some(()));
    eventually("it to be empty", || {
        (metric(&process, "cellgate_books_waiting_windows") == 0.0).then_some(())
    });
}

#[test]
fn a_program_that_clients_yaml_does_not_know_is_listed_by_its_name_alone() {
    let folder = short_windows();
    let process = Process::start(&folder);
    let mut connection = raw_http::tcp(process.addr("http"));
    for agent in ["acme-sync/2.1 (of-a-customer)", "acme-sync/2.2", TOKEN_12345, "curl/8"] {
        let head = "GET /api/v2/accounts/12345/ HTTP/1.1\r\nHost: cloud.getdbt.com";
        let request = format!("{head}\r\nUser-Agent: {agent}\r\nAuthorization: Token {TOKEN_12345}\r\n\r\n");
        raw_http::ask(&mut connection, request.as_bytes()).unwrap();
    }
    eventually("the windows to be written", || (known(&folder, 12345) == 4).then_some(()));
    let told = said(&cellgate(&folder, &["report", "clients", "-o", "json"]), 0);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let rows: Vec<_> =
        told["rows"].as_array().unwrap().iter().map(|row| (&row["client"], &row["requests"])).collect();
    assert_eq!(rows, [(&"acme-sync".into(), &2.into()), (&"-".into(), &1.into())]);
    let table = said(&cellgate(&folder, &["report", "clients"]), 0);
    assert!(table.starts_with("CLIENT ") && !table.contains("customer"), "{table}");
    drop(process);
}

#[test]
fn a_new_fingerprint_key_changes_nothing_in_reports_and_no_name_of_an_account_outlives_it() {
    let folder = short_windows();
    let process = Process::start(&folder);
    let mut connection = raw_http::tcp(process.addr("http"));
    ask(&mut connection);
    let config = folder.path("config").display().to_string();
    let integrations = || {
        let told = said(&cellgate(&folder, &["report", "--account", "12345", "--config", &config]), 0);
        let (_, table) = told.split_once("Integrations, by credential and network:\n").unwrap_or_default();
        let rows = table.lines().skip(1).take_while(|line| !line.trim().is_empty());
        let row = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        rows.map(row).collect::<Vec<_>>()
    };
    eventually("the window to be written", || (known(&folder, 12345) == 1).then_some(()));
    let before = integrations();
    assert_eq!(before.len(), 1, "{before:?}");
    let name = before[0].iter().find(|word| word.starts_with("demo:")).unwrap().clone();

    // The new key first, and the old one behind it.
    folder.write_secret("config/keys/new.key", &"5a".repeat(32));
    let old = "      - { id: demo, file: keys/demo-fingerprint.key, allow_readable: true }\n";
    let keys = format!("      - {{ id: new, file: keys/new.key }}\n{old}");
    folder.edit("config/cellgate.yaml", old, &keys);
    let reply = raw_http::admin(&folder.path("state/admin.sock"), "POST", "/reload");
    assert_eq!(reply.status, 200, "{}", reply.text());
    ask(&mut connection);
    eventually("the window to be written", || (known(&folder, 12345) == 2).then_some(()));
    let after = integrations();
    assert_eq!(after.len(), 1, "{after:?}");
    assert!(after[0].iter().any(|word| word.starts_with("new:")) && !after[0].contains(&name), "{after:?}");

    // Gone, and what it was called before as well.
    let names = || -> u32 {
        let files = std::fs::read_dir(folder.path("state")).unwrap().map(|entry| entry.unwrap().path());
        let months = files.filter(|path| path.extension().is_some_and(|end| end == "sqlite"));
        let rows = |path| {
            Connection::open(path)
                .unwrap()
                .query_row("SELECT count(*) FROM credential_names", [], |row| row.get(0))
        };
        months.map(|path| rows(path).unwrap_or(0)).sum()
    };
    assert_eq!(names(), 1);
    said(&cellgate(&folder, &["books", "forget", "12345", "--yes"]), 0);
    assert_eq!(names(), 0);
    drop(process);
}
