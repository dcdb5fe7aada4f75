//! The page in a real browser: it asks nobody but its own door, brings itself up to date, fits a telephone, and is read without
//! script.

use loadtest::cell::Behaviour;
use serde_json::{Value, json};

use super::{door, prepared};
use crate::clients::devtools::Page;
use crate::clients::report_page::{keep, nothing_is_wider_than_the_window, unasked_of};
use crate::raw_http;
use crate::running::eventually;
use crate::world::World;

fn picture(page: &mut Page, name: &str) {
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")] {
        page.media("screen", scheme);
        page.resize(width, 1_200);
        keep(&format!("status-{name}-{width}-{scheme}.png"), &page.picture());
    }
}

fn heading(page: &mut Page) -> String {
    page.ask("document.querySelector('.whole').textContent").as_str().unwrap().to_owned()
}

#[test]
fn the_page_brings_itself_up_to_date_and_asks_nobody_else() {
    let world = World::prepared(prepared(""));
    let edge = &world.edge;
    let root = format!("http://{}", door(edge));
    eventually("the first status", || (raw_http::page(door(edge), "/status").status == 200).then_some(()));
    let mut page = Page::open();
    page.resize(1280, 900);
    page.visit(&format!("{root}/status"));
    assert_eq!(unasked_of(&page, &root), Vec::<Value>::new());
    assert!(heading(&mut page).ends_with("Everything is operating"), "{}", heading(&mut page));
    nothing_is_wider_than_the_window(&mut page);
    picture(&mut page, "operating");

    world.block_on(world.cell("cell-1").behave(Behaviour::Killed)).unwrap();
    eventually("the page to say so by itself", || {
        let request = b"GET /x HTTP/1.1\r\nHost: ab123.us1.dbt.com\r\n\r\n";
        let _ = raw_http::ask(&mut raw_http::tcp(edge.addr("http")), request);
        heading(&mut page).ends_with("One of 4 parts of the service has trouble").then_some(())
    });
    let said = page.ask("document.getElementById('said').textContent");
    assert!(said.as_str().unwrap().ends_with("One of 4 parts of the service has trouble"), "{said}");
    assert_eq!(page.ask("document.querySelector('.cell h3').textContent"), "Europe", "trouble comes first");
    eventually("the second cell to fail in part", || {
        traffic_of_second(&world);
        let status = super::json(edge);
        (super::states(&status, "United States").first()? == "degraded").then_some(())
    });
    eventually("the page to follow", || heading(&mut page).contains("2 of 4 parts").then_some(()));
    nothing_is_wider_than_the_window(&mut page);
    picture(&mut page, "trouble");
    assert_eq!(unasked_of(&page, &root), Vec::<Value>::new());

    // Without script all of it is there, and it loads itself again.
    page.tell("Emulation.setScriptExecutionDisabled", json!({"value": true}));
    page.visit(&format!("{root}/status"));
    let text = raw_http::page(door(edge), "/status").text();
    assert!(text.contains("<noscript><meta http-equiv=\"refresh\" content=\"30\"></noscript>"), "{text}");
    page.resize(400, 1_200);
    keep("status-without-script.png", &page.picture());
}

/// Half of the requests of the second cell fail.
fn traffic_of_second(world: &World) {
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    for sim in ["", "X-Sim: status=500\r\n", "", ""] {
        let request = format!("GET /x HTTP/1.1\r\nHost: globex.us1.dbt.com\r\n{sim}\r\n");
        raw_http::ask(&mut connection, request.as_bytes()).unwrap();
    }
}
