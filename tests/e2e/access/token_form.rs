//! The token form of the console at the TLS door, in a real browser: what a person who has a token is shown and told, and where
//! the token is meanwhile.

use cellgate::policy::access::Role;
use serde_json::{Value, json};

use super::{Site, addresses, made};
use crate::clients::devtools::{Page, says};
use crate::process::Process;

/// As a person enters it.
fn enter(page: &mut Page, token: &str) {
    page.ask(&format!(
        "document.getElementById('access').open = true;
         document.getElementById('token').value = {token:?};
         document.querySelector('#token-form button').click()"
    ));
}

/// Everything that the browser keeps for this page, and what it has called it.
fn kept(page: &mut Page) -> Value {
    let mut kept = page.ask(
        "(async () => ({
            url: location.href, title: document.title, cookie: document.cookie, state: history.state,
            field: document.getElementById('token').value,
            local: {...localStorage}, session: {...sessionStorage},
            databases: await indexedDB.databases(), caches: await caches.keys(),
            asked: performance.getEntriesByType('resource').map(entry => entry.name),
        }))()",
    );
    kept["history"] = page.tell("Page.getNavigationHistory", json!({}))["entries"].clone();
    kept
}

/// Where requests of the page have gone, and what they brought beside their header fields.
fn sent(page: &Page) -> Vec<Value> {
    let of = |event: &Value| {
        let request = &event["params"]["request"];
        json!([request["url"], request["postData"], event["params"]["documentURL"]])
    };
    page.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent").map(of).collect()
}

#[test]
fn a_person_with_a_token_sees_what_their_role_shows_and_is_told_which_role_a_lever_needs() {
    let site = Site::new();
    let process = Process::start(&site.folder);
    let (_, tls) = addresses(&process);
    let (nobodys, _) = made("nobody", "approve", &[]);
    let rita = site.token(Role::Read).to_owned();
    let mut page = Page::open();
    page.tell("Security.setIgnoreCertificateErrors", json!({"ignore": true}));
    page.visit(&format!("https://localhost:{}/console", tls.port()));

    says(&mut page, "#access-told", "You have shown no token");
    says(&mut page, "#stream", "This needs a role");
    enter(&mut page, &nobodys);
    says(&mut page, "#access-told", "Nobody has this token");
    enter(&mut page, "cga_slip");
    says(&mut page, "#access-told", "Copy it again");
    assert!(!page.ask("document.getElementById('cell-list').textContent").to_string().contains("cell-1"));

    enter(&mut page, &format!(" {rita} "));
    says(&mut page, "#access-told", "You are token:rita, with the role read.");
    says(&mut page, "#who", "You are token:rita (read)");
    says(&mut page, "#cell-list", "cell-1");
    says(&mut page, "#l-need", "Your role may not pull levers: it needs operate.");
    assert_eq!(page.ask("document.getElementById('l-submit').hidden"), true);
    assert_eq!(page.ask("document.getElementById('reload-now').hidden"), true);
    // The door says it too, to a page that asks all the same.
    let lever = json!({"lever": "drain cell cell-1", "reason": "it burns", "seconds": 60});
    let told = page.ask(&format!("change('POST', '/levers', {lever}).then(() => 'pulled', e => e.message)"));
    assert_eq!(
        told,
        "This needs the role operate, and the caller has read. Ask somebody with that role, or for a token that has it."
    );
    assert_eq!(site.call("refused", "role_missing")["caller"], "token:rita");

    let mut kept_now = kept(&mut page);
    assert_eq!(kept_now["session"], json!({"cellgate-token": rita}), "this tab has it, and nothing else");
    kept_now["session"].take();
    let (kept_now, sent) = (kept_now.to_string(), sent(&page));
    assert!(sent.len() > 5 && kept_now.contains("/whoami"), "{kept_now}");
    let sent = Value::from(sent).to_string();
    for token in [&rita, &nobodys] {
        assert!(!kept_now.contains(&token[4..24]) && !sent.contains(&token[4..24]), "{kept_now} {sent}");
    }

    // Whoever is no longer known is not called by their name.
    enter(&mut page, &nobodys);
    says(&mut page, "#access-told", "Nobody has this token");
    says(&mut page, "#who", "Who are you here?");
    page.ask("document.querySelector('[data-act=forget]').click()");
    says(&mut page, "#access-told", "You have shown no token");
    assert_eq!(kept(&mut page)["session"], json!({}));
    drop(process);
    let said = site.said();
    assert!(!said.contains(&rita[4..24]) && !said.contains(&nobodys[4..24]));
}
