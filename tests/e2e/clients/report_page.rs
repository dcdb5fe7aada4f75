//! The report of a legacy host in a real browser, from a file, without a network: that it asks for nothing, that its policy
//! has nothing to complain of, that the table can be sorted and filtered, and read where there is no script.

use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cellgate::audit::fleet::Fleet;
use cellgate::audit::html::{Place, Reader, account_page, page};
use serde_json::{Value, json};

use super::devtools::Page;
use crate::fleet::made_up;
use crate::running::eventually;

/// Of three hundred accounts, beside the pictures that are taken of it.
fn file(name: &str) -> PathBuf {
    file_of(name, &made_up(300))
}

fn file_of(name: &str, fleet: &Fleet) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/e2e");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{name}.html"));
    fs::write(&file, page(fleet, Place::File)).unwrap();
    file
}

pub fn keep(name: &str, base64: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/e2e");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), STANDARD.decode(base64).unwrap()).unwrap();
}

/// What the browser asked anybody for besides the file itself, and what anybody complained of.
fn unasked(page: &Page) -> Vec<Value> {
    unasked_of(page, "file://")
}

/// The same of a page whose address begins like this.
pub fn unasked_of(page: &Page, own: &str) -> Vec<Value> {
    let is_unasked = |event: &&Value| match event["method"].as_str().unwrap_or_default() {
        "Network.requestWillBeSent" => {
            let url = event["params"]["request"]["url"].as_str().unwrap_or_default();
            !url.starts_with(own) && url != "data:,"
        }
        "Log.entryAdded" | "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" => true,
        _ => false,
    };
    page.events.iter().filter(is_unasked).cloned().collect()
}

/// The cells of one column of the rows that are shown.
fn column(page: &mut Page, at: usize) -> Vec<String> {
    let cells = format!(
        "[...document.querySelectorAll('#table tbody tr')].filter(row => row.offsetParent)
            .map(row => row.cells[{at}].textContent.replaceAll('\\u202f', ''))"
    );
    page.ask(&cells).as_array().unwrap().iter().map(|cell| cell.as_str().unwrap().to_owned()).collect()
}

fn numbers(cells: &[String]) -> Vec<u64> {
    cells.iter().map(|cell| cell.parse().unwrap()).collect()
}

/// On a phone, a tablet and a desk, with each account's section open.
pub fn nothing_is_wider_than_the_window(page: &mut Page) {
    page.ask("document.querySelectorAll('details').forEach(account => account.open = true)");
    for width in [400, 768, 1280] {
        page.resize(width, 800);
        let wide = page.ask("document.documentElement.scrollWidth");
        assert!(wide.as_u64().unwrap() <= width.into(), "{wide} of {width}");
    }
}

#[test]
fn names_without_an_end_do_not_tear_the_report() {
    let mut fleet = made_up(40);
    let name = || "x".repeat(500);
    fleet.hosts = vec![name()];
    for mover in fleet.clients.iter_mut().chain(&mut fleet.integrations) {
        mover.name = name();
    }
    for account in &mut fleet.accounts {
        (account.address, account.cell, account.top_client) = (Some(name()), Some(name()), Some(name()));
        for integration in &mut account.details {
            (integration.client, integration.network) = (name(), Some(name()));
        }
    }
    let mut page = Page::open();
    page.load(&file_of("report-long-names", &fleet));
    nothing_is_wider_than_the_window(&mut page);
    page.resize(1280, 2_600);
    keep("report-long-names.png", &page.picture());
}

#[test]
fn the_report_sorts_and_filters_and_asks_nobody_for_anything() {
    let file = file("report");
    let mut page = Page::open();
    page.tell(
        "Network.emulateNetworkConditions",
        json!({"offline": true, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}),
    );
    page.resize(1280, 900);
    page.load(&file);
    assert_eq!(unasked(&page), Vec::<Value>::new());

    let before = column(&mut page, 5);
    assert_eq!(before.len(), 300);
    page.ask("document.querySelectorAll('#table th button')[5].click()");
    let largest = numbers(&column(&mut page, 5));
    assert!(largest.is_sorted_by(|a, b| a >= b) && largest[0] > 0, "{largest:?}");
    assert_ne!(numbers(&before), largest, "they stood in another order before");
    page.ask("document.querySelectorAll('#table th button')[5].click()");
    assert!(numbers(&column(&mut page, 5)).is_sorted());
    let sorted = "document.querySelectorAll('#table th')[5].getAttribute('aria-sort')";
    assert_eq!(page.ask(sorted), "ascending");

    let set = |element: &str, value: &str| {
        format!(
            "{{ const e = document.getElementById('{element}'); e.value = '{value}';
                e.dispatchEvent(new Event('input', {{ bubbles: true }})); }}"
        )
    };
    page.ask(&set("verdict", "FADING"));
    let verdicts = column(&mut page, 0);
    assert!(
        !verdicts.is_empty() && verdicts.iter().all(|verdict| verdict.ends_with("FADING")),
        "{verdicts:?}"
    );
    page.ask(&set("verdict", ""));
    page.ask(&set("find", "70000"));
    assert_eq!(column(&mut page, 1).len(), 1);
    assert_eq!(page.ask("document.getElementById('shown').textContent"), "1 of 300");
    page.ask("location.hash = document.querySelector('#table td a').hash");
    // The page is told of the new address after the script that has changed it has ended.
    eventually("a link to open its account", || {
        (page.ask("document.querySelectorAll('details[open]').length") == 1).then_some(())
    });
    assert_eq!(unasked(&page), Vec::<Value>::new());
}

#[test]
fn the_policy_stops_what_came_to_stand_in_the_report() {
    let file = file("report-changed");
    let text = fs::read_to_string(&file).unwrap();
    let changed = text.replace(
        "</main>",
        "<script>document.title = 'changed'</script><img src=\"https://192.0.2.1/\"></main>",
    );
    fs::write(&file, changed).unwrap();
    let mut page = Page::open();
    page.load(&file);
    assert_ne!(page.ask("document.title"), "changed");
    let told: Vec<String> = unasked(&page).iter().map(ToString::to_string).collect();
    assert_eq!(told.iter().filter(|told| told.contains("Content Security Policy")).count(), 2, "{told:?}");
}

#[test]
fn the_report_reads_without_its_script_and_on_a_phone() {
    let file = file("report-plain");
    let mut page = Page::open();
    page.tell("Emulation.setScriptExecutionDisabled", json!({"value": true}));
    page.resize(1280, 900);
    page.load(&file);
    assert_eq!(unasked(&page), Vec::<Value>::new());
    assert_eq!(column(&mut page, 0).len(), 300);
    assert_eq!(page.ask("document.querySelectorAll('#table th button').length"), 0);
    assert_eq!(page.ask("getComputedStyle(document.getElementById('filter')).display"), "none");
    nothing_is_wider_than_the_window(&mut page);
    page.ask("document.querySelectorAll('details').forEach((account, at) => account.open = at === 0)");
    for (name, media, scheme, width, height) in [
        ("report-light.png", "screen", "light", 1280, 2_600),
        ("report-dark.png", "screen", "dark", 1280, 2_600),
        ("report-phone.png", "screen", "light", 400, 2_600),
        ("report-print.png", "print", "dark", 1080, 1_600),
    ] {
        page.resize(width, height);
        page.media(media, scheme);
        keep(name, &page.picture());
    }
    keep("report.pdf", &page.pdf());
}

#[test]
fn the_page_of_one_account_asks_nobody_for_anything_and_fits_everywhere() {
    let fleet = made_up(40);
    let account = fleet.accounts.iter().find(|of| of.details.len() > 1).unwrap();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/e2e");
    fs::create_dir_all(&folder).unwrap();
    let mut page = Page::open();
    for (reader, name) in [(Reader::Operator(Place::File), "account"), (Reader::Owner, "account-owner")] {
        let file = folder.join(format!("{name}.html"));
        fs::write(&file, account_page(&fleet, account.account, reader)).unwrap();
        page.media("screen", "light");
        page.resize(1280, 900);
        page.load(&file);
        assert_eq!(unasked(&page), Vec::<Value>::new());
        assert_eq!(page.ask("document.querySelectorAll('script').length"), 0);
        nothing_is_wider_than_the_window(&mut page);
        for (media, scheme, width, height) in [
            ("screen", "light", 1280, 1_500),
            ("screen", "dark", 1280, 1_500),
            ("screen", "light", 400, 2_600),
        ] {
            page.resize(width, height);
            page.media(media, scheme);
            keep(&format!("{name}-{scheme}-{width}.png"), &page.picture());
        }
        page.resize(1080, 1_500);
        page.media("print", "dark");
        keep(&format!("{name}-print.png"), &page.picture());
        keep(&format!("{name}.pdf"), &page.pdf());
    }
}
