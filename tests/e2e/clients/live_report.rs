//! The report on the admin plane of a real process, in a real browser: its policy holds as a header, too, and its script runs
//! under it.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::devtools::Page;
use super::report_page::{keep, nothing_is_wider_than_the_window, unasked_of};
use super::report_schema::is_valid;
use crate::process::Process;
use crate::raw_http;
use crate::running::{Folder, eventually};
use crate::world::TOKEN_12345;

/// A folder whose books have windows of a second, and whose loopback address shows reports.
fn folder() -> Folder {
    let folder = Folder::example(&BTreeMap::new());
    folder.edit(
        "config/boot.yaml",
        "  loopback: 127.0.0.1:0\n",
        "  loopback: 127.0.0.1:0\n  loopback_report: true\n",
    );
    folder.append("config/boot.yaml", "books: { window: 1s }\n");
    folder
}

/// Requests of account 12345 by three clients.
fn use_it(process: &Process) {
    let mut connection = raw_http::tcp(process.addr("http"));
    for agent in ["apache-airflow-providers-dbt-cloud-v4", "curl/8", "python-requests/2.31"] {
        let request = format!(
            "GET /api/v2/accounts/12345/ HTTP/1.1\r\nHost: cloud.getdbt.com\r\nUser-Agent: {agent}\r\nAuthorization: Token \
             {TOKEN_12345}\r\n\r\n"
        );
        raw_http::ask(&mut connection, request.as_bytes()).unwrap();
    }
}

/// Opens a page of a report once it is made, which takes longer than a caller waits on a busy machine; its heading.
fn visit(page: &mut Page, url: &str) -> String {
    eventually("the report to be made", || {
        page.visit(url);
        let heading = page.ask("document.querySelector('h1').textContent").as_str().unwrap().to_owned();
        (heading != "The report is being made").then_some(heading)
    })
}

#[test]
fn the_report_is_live_on_the_admin_plane_under_its_own_policy() {
    let folder = folder();
    let process = Process::start(&folder);
    use_it(&process);
    // What was made before the window was written is kept for a minute; of one account it is made anew.
    eventually("the window to be written", || {
        let known = crate::command_line::cellgate(&folder, &["report", "-o", "csv"]);
        String::from_utf8_lossy(&known.stdout).contains("account,12345,").then_some(())
    });
    let root = format!("http://{}", process.admin());
    let mut page = Page::open();
    page.resize(1280, 900);
    let heading = visit(&mut page, &format!("{root}/report"));
    assert_eq!(unasked_of(&page, &root), Vec::<Value>::new());
    assert!(heading.starts_with("1 account still comes"), "{heading}");
    let age = page.ask("document.getElementById('age').textContent");
    assert!(age.as_str().unwrap().starts_with("Read from the books "), "{age}");
    // The script runs: it shows the form, and sorts.
    assert_eq!(page.ask("document.getElementById('filter').hidden"), false);
    page.ask("document.querySelectorAll('#table th button')[5].click()");
    assert_eq!(page.ask("document.querySelectorAll('#table th')[5].getAttribute('aria-sort')"), "descending");
    nothing_is_wider_than_the_window(&mut page);
    pictures(&mut page, "live");

    let heading = visit(&mut page, &format!("{root}/report/accounts/12345"));
    assert_eq!(unasked_of(&page, &root), Vec::<Value>::new());
    assert!(heading.starts_with("Account 12345 still uses "), "{heading}");
    assert_eq!(page.ask("document.querySelector('a').getAttribute('href')"), "/report");
    assert!(page.ask("document.querySelectorAll('.fix').length").as_u64().unwrap() > 0);
    nothing_is_wider_than_the_window(&mut page);
    pictures(&mut page, "live-account");

    let heading = visit(&mut page, &format!("{root}/report/accounts/99"));
    assert_eq!(heading, "The books know nothing of account 99");
    page.visit(&format!("{root}/"));
    assert_eq!(page.ask("document.querySelector('a[href=\"/report\"]').textContent"), "/report");
    pictures(&mut page, "live-index");

    let json = folder.path("live.json");
    fs::write(&json, raw_http::page(process.admin(), "/report.json").text()).unwrap();
    is_valid(std::slice::from_ref(&json));
    let json: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!((&json["accounts"][0]["account"], &json["accounts_left_out"]), (&12_345.into(), &0.into()));
    let socket = raw_http::admin(&folder.path("state/admin.sock"), "GET", "/report");
    assert!(socket.status == 200 && socket.text().contains("12345"), "{}", socket.status);
}

#[test]
fn books_that_cannot_be_read_are_told_on_a_page_with_what_to_do() {
    let folder = folder();
    let process = Process::start(&folder);
    // A month of long ago in the form of a later edition: nothing that is read can be believed, and nobody moves it aside.
    let later = folder.path("state/books-2001-01.sqlite");
    let file = rusqlite::Connection::open(&later).unwrap();
    file.execute_batch(
        "CREATE TABLE schema_version (version INTEGER); INSERT INTO schema_version VALUES (99);",
    )
    .unwrap();
    let root = format!("http://{}", process.admin());
    let mut page = Page::open();
    page.resize(1280, 500);
    let text = eventually("the page of the error", || {
        page.visit(&format!("{root}/report"));
        let text = page.ask("document.querySelector('.lead').textContent").as_str().unwrap().to_owned();
        text.contains("newer cellgate").then_some(text)
    });
    assert!(text.contains("use that one for the report"), "{text}");
    assert_eq!(page.ask("document.querySelector('h1').textContent"), "There is no report");
    pictures(&mut page, "live-error");
    // That there is none is known for some seconds, and found out once more after the pictures.
    let json = eventually("the error as JSON", || {
        let json = raw_http::page(process.admin(), "/report.json");
        (json.status != 503).then_some(json)
    });
    assert_eq!((json.status, &json.json()["error"]), (500, &"no_report".into()));
}

fn pictures(page: &mut Page, name: &str) {
    for (media, scheme, width, height) in
        [("screen", "light", 1280, 1_700), ("screen", "dark", 1280, 1_700), ("screen", "light", 400, 2_600)]
    {
        page.resize(width, height);
        page.media(media, scheme);
        keep(&format!("{name}-{scheme}-{width}.png"), &page.picture());
    }
    page.resize(1080, 1_600);
    page.media("print", "light");
    keep(&format!("{name}-print.png"), &page.picture());
    page.media("screen", "light");
}
