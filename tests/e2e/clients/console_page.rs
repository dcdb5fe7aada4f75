//! The console of a real process in a real browser: what it shows of a calm day and of a bad one, that it needs nothing from
//! elsewhere, and that it says so when what it shows is old.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};

use loadtest::cell::Behaviour;
use serde_json::{Value, json};

use super::devtools::{Page, says};
use super::report_page::{keep, unasked_of};
use crate::command_line::said;
use crate::raw_http;
use crate::running::{Folder, eventually};
use crate::world::{TOKEN_12345, World};

fn world(loopback_report: bool) -> World {
    World::prepared(|folder| prepare(folder, loopback_report))
}

fn prepare(folder: &Folder, loopback_report: bool) {
    if loopback_report {
        folder.edit(
            "config/boot.yaml",
            "  loopback: 127.0.0.1:0\n",
            "  loopback: 127.0.0.1:0\n  loopback_report: true\n",
        );
    }
    folder.append("config/boot.yaml", "books: { window: 1s }\n");
}

/// On the socket of a world.
fn command(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.args(arguments).arg("--socket").arg(folder.path("state/admin.sock")).output().unwrap()
}

fn open(world: &World) -> (Page, String) {
    let root = format!("http://{}", world.edge.admin());
    let mut page = Page::open();
    page.resize(1280, 900);
    page.visit(&format!("{root}/console"));
    (page, root)
}

/// Requests of two accounts at their own addresses, one for nobody, and one on the legacy host.
fn use_it(world: &World) {
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    for (host, path, token) in [
        ("cloud.getdbt.com", "/api/v2/accounts/12345/", TOKEN_12345),
        ("ab123.us1.dbt.com", "/api/v2/accounts/70403103966603/", ""),
        ("cloud.getdbt.com", "/api/v2/accounts/999999999/", TOKEN_12345),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: python-requests/2.31\r\nAuthorization: Token {token}\r\n\r\n"
        );
        raw_http::ask(&mut connection, request.as_bytes()).unwrap();
    }
}

fn pictures(page: &mut Page, name: &str) {
    for (scheme, width, height) in
        [("light", 1280, 2_000), ("dark", 1280, 2_000), ("light", 400, 2_800), ("dark", 400, 2_800)]
    {
        page.resize(width, height);
        page.media("screen", scheme);
        keep(&format!("{name}-{scheme}-{width}.png"), &page.picture());
    }
    page.media("screen", "light");
}

/// On a phone, a tablet and a desk, with everything open.
fn nothing_is_wider_than_the_window(page: &mut Page) {
    page.ask("document.querySelectorAll('details').forEach(one => one.open = true)");
    for width in [400, 768, 1280] {
        page.resize(width, 800);
        let wide = page.ask("document.documentElement.scrollWidth");
        assert!(wide.as_u64().unwrap() <= width.into(), "{wide} of {width}");
    }
    page.ask("document.querySelectorAll('details').forEach(one => one.open = false)");
}

fn look_for(page: &mut Page, account: &str) {
    page.ask(&format!(
        "document.getElementById('account-find').value = {account:?};
         document.getElementById('account-form').requestSubmit()"
    ));
}

#[test]
fn a_calm_console_shows_every_cell_and_asks_nobody_else_for_anything() {
    let world = world(true);
    use_it(&world);
    let (mut page, root) = open(&world);
    says(&mut page, "#headline", "All is well");
    for cell in ["cell-1", "cell-2", "cell-3", "shared"] {
        says(&mut page, "#cell-list", cell);
    }
    says(&mut page, "[data-key=cell-1]", "127.0.0.1:");
    says(&mut page, "#stream", "live");
    says(&mut page, "#lever-list", "None is pulled.");
    says(&mut page, "#history-list", "start");
    // Nobody is known, so nothing can be pulled here; the command that does it is told.
    assert_eq!(page.ask("document.getElementById('l-submit').hidden"), true);
    page.ask(
        "{ const set = (id, value) => { const e = document.getElementById(id); e.value = value;
            e.dispatchEvent(new Event('input', { bubbles: true })); };
           set('l-kind', 'drain'); set('l-cell', 'cell-2'); set('l-reason', \"it's sick\"); set('l-for', '1h'); }",
    );
    says(&mut page, "#l-command", "cellgate drain cell cell-2 --reason 'it'\\''s sick' --for 1h");
    says(&mut page, "#l-sentence", "ALL new requests of cell cell-2 are REFUSED");
    nothing_is_wider_than_the_window(&mut page);
    pictures(&mut page, "console-calm");
    assert_eq!(unasked_of(&page, &root), Vec::<Value>::new());
    let page = raw_http::page(world.edge.admin(), "/console");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
}

#[test]
fn a_bad_day_is_seen_and_each_of_its_troubles_is_told() {
    let world = world(true);
    let folder = &world.edge.folder;
    let (mut page, root) = open(&world);
    says(&mut page, "#headline", "All is well");
    world.block_on(world.cell("cell-1").behave(Behaviour::Killed)).unwrap();
    let why = ["--reason", "us1 burns, see INC-7", "--name", "ann", "--for", "2h"];
    said(&command(folder, &[&["shed", "10%", "cell", "cell-3"][..], &why].concat()), 0);
    let lever = says(&mut page, "#lever-list", "1 h 59 m left");
    for part in ["shed 10% cell cell-3", "us1 burns, see INC-7", "for ann", "cellgate release 1"] {
        assert!(lever.contains(part), "{part} in {lever}");
    }
    folder.append("config/cellgate.yaml", "nonsense: true\n");
    says(&mut page, "#attention", "reload rejected");
    let history = says(&mut page, "#history-list", "nonsense");
    assert!(history.contains("rejected"), "{history}");
    eventually("the killed cell to be seen", || {
        use_it(&world);
        let text = page.ask("document.getElementById('attention').textContent");
        text.as_str().unwrap().contains("Cell cell-1 is").then_some(())
    });
    says(&mut page, "#headline", "wrong");
    says(&mut page, "[data-key=cell-1]", "failed");
    page.ask("document.getElementById('refusals').scrollIntoView()");
    let refused = says(&mut page, "#refusal-list", "999999999");
    assert!(refused.contains("unmapped account"), "{refused}");
    page.ask("document.querySelector('[data-key=cell-1]').open = true; scrollTo(0, 0)");
    let is_open = "document.querySelector('[data-key=cell-1]').open";
    let number = |page: &mut Page| page.ask("live.number").as_u64().unwrap();
    let before = number(&mut page);
    eventually("the next document", || (number(&mut page) > before).then_some(()));
    assert_eq!(page.ask(is_open), true, "what is open stays open when a document comes");
    pictures(&mut page, "console-bad");
    nothing_is_wider_than_the_window(&mut page);
    assert_eq!(unasked_of(&page, &root), Vec::<Value>::new());
}

#[test]
fn an_account_is_found_with_its_cell_its_ways_its_refusals_and_its_books() {
    let world = world(true);
    use_it(&world);
    let (mut page, root) = open(&world);
    says(&mut page, "#headline", "All is well");
    eventually("the window of the books to be written", || {
        let known = crate::command_line::cellgate(&world.edge.folder, &["report", "-o", "csv"]);
        String::from_utf8_lossy(&known.stdout).contains("account,12345,").then_some(())
    });
    look_for(&mut page, "https://cloud.getdbt.com/api/v2/accounts/12345/jobs/1/");
    let found = says(&mut page, "#account-answer", "found by url");
    assert!(found.contains("12345") && found.contains("cell-"), "{found}");
    let books = says(&mut page, "#books", "request in a day");
    assert!(books.contains("ACTIVE") && books.contains("python-requests"), "{books}");
    pictures(&mut page, "console-account");
    look_for(&mut page, "ab123");
    says(&mut page, "#account-answer", "found by prefix");
    let ways = says(&mut page, "#account-answer", "ab123.us1.dbt.com");
    assert!(ways.contains("host") && ways.contains("path"), "{ways}");
    look_for(&mut page, "999999999");
    let nobody = says(&mut page, "#account-answer", "it has no row");
    assert!(nobody.contains("refused: ") && nobody.contains("unmapped_account"), "{nobody}");
    assert_eq!(unasked_of(&page, &root), Vec::<Value>::new());
    look_for(&mut page, "zz999.us1.dbt.com");
    says(&mut page, "#account-answer", "no account of the table has its prefix");
}

#[test]
fn where_accounts_are_not_to_be_seen_the_page_says_what_is_needed() {
    let world = world(false);
    use_it(&world);
    let (mut page, root) = open(&world);
    says(&mut page, "#history-list", "admin.loopback_report");
    says(&mut page, "#history-list", "cellgate history");
    says(&mut page, "#reload-list", "applied");
    look_for(&mut page, "12345");
    says(&mut page, "#account-answer", "admin.loopback_report");
    page.ask("document.getElementById('refusals').scrollIntoView()");
    says(&mut page, "#refusal-list", "admin.loopback_report");
    assert_eq!(unasked_of(&page, &root), Vec::<Value>::new());
    for path in ["/accounts?find=12345", "/refusals", "/history"] {
        let answer = raw_http::page(world.edge.admin(), path);
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (403, &json!("report_on_socket_only")),
            "{path}"
        );
        let socket = raw_http::admin(&world.edge.socket(), "GET", path);
        assert_eq!(socket.status, 200, "{path}: {}", socket.text());
    }
}

/// A port for a process and for the one after it. Below those of the system's choice, which it gives to somebody else while
/// nobody listens there, and above those where other tests of this process look for one.
fn own_port() -> u16 {
    let first = 32_000 + u16::try_from(std::process::id() % 700).unwrap();
    (first..32_768).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

#[test]
fn a_page_that_has_lost_its_process_says_since_when_and_finds_the_next_one() {
    let address = format!("  loopback: 127.0.0.1:{}\n", own_port());
    let world = World::prepared(|folder| {
        prepare(folder, true);
        folder.edit("config/boot.yaml", "  loopback: 127.0.0.1:0\n", &address);
    });
    let (mut page, _) = open(&world);
    says(&mut page, "#stream", "live");
    let world = world.restart_with(|_| {
        says(&mut page, "#stream", "Stale since ");
        assert_eq!(page.ask("document.body.classList.contains('stale')"), true);
        says(&mut page, "#headline", "What happens now is not known");
        keep("console-stale.png", &page.picture());
    });
    let process = raw_http::page(world.edge.admin(), "/live").json()["process"].clone();
    eventually("the page to be live again", || (page.ask("live.process") == process).then_some(()));
    assert_eq!(page.ask("document.body.classList.contains('stale')"), false);
    says(&mut page, "#headline", "All is well");
}

#[test]
fn the_command_says_where_the_console_is_and_how_to_come_there() {
    let world = world(false);
    let (folder, address) = (&world.edge.folder, world.edge.admin());
    let text = said(&command(folder, &["console"]), 0);
    assert!(text.contains(&format!("http://{address}/console")), "{text}");
    assert!(text.contains(&format!("ssh -L {}:{address} ", address.port())), "{text}");
    assert!(text.contains("admin.sock"), "{text}");
    let json: Value = serde_json::from_str(&said(&command(folder, &["console", "-o", "json"]), 0)).unwrap();
    assert_eq!(json["console"], format!("http://{address}/console"));
    let nobody = Command::new(env!("CARGO_BIN_EXE_cellgate"))
        .args(["console", "--socket", "/nowhere/admin.sock"])
        .output();
    assert!(said(&nobody.unwrap(), 1).contains("is cellgate running"));
}

/// The near end of a tunnel to the admin socket, as `ssh -L PORT:SOCKET` makes one.
fn tunnel(socket: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = UnixStream::connect(&socket) else { break };
            let (mut from_near, mut to_far) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || io::copy(&mut from_near, &mut to_far));
            let (mut from_far, mut to_near) = (far, near);
            std::thread::spawn(move || {
                let _ = io::copy(&mut from_far, &mut to_near);
                to_near.shutdown(std::net::Shutdown::Both)
            });
        }
    });
    address
}

#[test]
fn whoever_may_pulls_a_lever_after_they_have_read_what_it_does_and_releases_it() {
    let world = world(false);
    let root = format!("http://{}", tunnel(world.edge.socket()));
    let mut page = Page::open();
    page.resize(1280, 1_200);
    page.visit(&format!("{root}/console"));
    says(&mut page, "#headline", "All is well");
    // Where the door does not say who this is.
    page.ask("me = { name: 'ann', role: 'operate', may: ['operate'] }; draw()");
    page.ask(
        "{ const set = (id, value) => { const e = document.getElementById(id); e.value = value;
            e.dispatchEvent(new Event('input', { bubbles: true })); };
           document.getElementById('composer').open = true;
           set('l-kind', 'drain'); set('l-place', 'zone'); set('l-zone', 'local'); set('l-reason', 'local burns'); }",
    );
    says(&mut page, "#l-sentence", "NO ENDPOINT IS LEFT in cell-1");
    page.ask("document.getElementById('composer').scrollIntoView()");
    keep("console-composer.png", &page.picture());
    page.ask("document.querySelector('#l-submit button').click()");
    says(&mut page, "#sure-words", "drain zone local");
    says(&mut page, "#sure-text", "are REFUSED");
    keep("console-sure.png", &page.picture());
    // What is at hand is to leave it.
    assert_eq!(page.ask("document.activeElement.textContent"), "Leave it");
    page.ask("document.activeElement.click()");
    assert_eq!(said(&command(&world.edge.folder, &["levers"]), 0), "No lever is pulled.\n");
    page.ask("document.querySelector('#l-submit button').click()");
    page.ask("document.getElementById('sure-yes').click()");
    let answer = says(&mut page, "#lever-answer", "Lever 1 is pulled until ");
    assert!(answer.contains("NO ENDPOINT IS LEFT in cell-1, cell-2, cell-3, shared"), "{answer}");
    let listed = said(&command(&world.edge.folder, &["levers"]), 2);
    assert!(listed.contains("drain zone local") && listed.contains("local burns"), "{listed}");
    assert!(listed.contains("ann"), "{listed}");
    says(&mut page, "#lever-list", "drain zone local");
    page.ask("document.querySelector('[data-act=release]').click()");
    page.ask("document.getElementById('sure-why').value = 'it is over'; document.getElementById('sure-yes').click()");
    says(&mut page, "#lever-answer", "Lever 1 is released.");
    says(&mut page, "#lever-list", "None is pulled.");
    let history = says(&mut page, "#history-list", "released");
    assert!(history.contains("it is over"), "{history}");
    // On the socket accounts are shown.
    look_for(&mut page, "12345");
    says(&mut page, "#account-answer", "found by id");
}
