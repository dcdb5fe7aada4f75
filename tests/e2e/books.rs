//! The books of a real process, as its owner reads them: what is said of accounts, what their owners have to change, and
//! what is forgotten.

use crate::command_line::{cellgate, said};
use crate::process::Process;
use crate::raw_http;
use crate::running::{Folder, eventually};
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
    let mut connection = raw_http::tcp(process.addr("http"));
    let request = format!(
        "GET /api/v2/accounts/12345/ HTTP/1.1\r\nHost: cloud.getdbt.com\r\nUser-Agent: \
         apache-airflow-providers-dbt-cloud-v4\r\nAuthorization: Token {TOKEN_12345}\r\n\r\n"
    );
    let mut ask = || raw_http::ask(&mut connection, request.as_bytes()).unwrap();
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
        without.contains("is left out: the configuration in /nowhere has problems. The first of "),
        "{without}"
    );

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
