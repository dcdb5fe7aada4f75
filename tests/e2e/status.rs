//! How the service stands, from end to end: a surface that fails is seen on the page, in an event, a webhook and a file, alone and
//! by its public name; and whoever looks takes nothing from anybody.

mod page;
mod reader;
mod restart;
mod upgrade;

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::python::python;
use crate::raw_http::{self, RawReply};
use crate::running::{Edge, Folder, eventually};
use crate::webhooks::{OLD, Receiver};
use crate::world::World;
use reader::Events;

/// Public names of two cells and a surface; the others have none.
const NAMES: &str = "  title: Example status\n  \
    cells: [{ name: cell-1, shown_as: Europe }, { name: cell-2, shown_as: 'United States' }]\n  \
    surfaces: [{ name: app, shown_as: Web application }, { name: metadata, shown_as: Discovery API }]\n";

/// What is nobody's business outside: own names of cells, zones and surfaces, hosts, prefixes, accounts, addresses, generations.
const INTERNAL: [&str; 14] = [
    "cell-1",
    "cell-2",
    "cell-3",
    "shared",
    "semantic-layer",
    "metadata",
    "local",
    "getdbt",
    "dbt.com",
    "ab123",
    "70403103966603",
    "12345",
    "127.0.0.1",
    "generation",
];

/// With a public door, names and more keys.
fn prepared(more: &str) -> impl FnOnce(&Folder) + use<'_> {
    move |folder| {
        folder.append("config/boot.yaml", &format!("status:\n  address: 127.0.0.1:0\n{NAMES}{more}"));
    }
}

fn door(edge: &Edge) -> SocketAddr {
    edge.running().status_address.unwrap()
}

fn json(edge: &Edge) -> Value {
    json_of(door(edge))
}

fn json_of(door: SocketAddr) -> Value {
    let reply = raw_http::page(door, "/status.json");
    if reply.status == 200 { reply.json() } else { Value::Null }
}

/// The states of a cell by its public name: its own, and those of its surfaces.
fn states(status: &Value, cell: &str) -> Vec<String> {
    let empty = Vec::new();
    let cells = status["cells"].as_array().unwrap_or(&empty);
    let Some(cell) = cells.iter().find(|one| one["name"] == cell) else { return Vec::new() };
    let surfaces = cell["surfaces"].as_array().unwrap().iter();
    let all = std::iter::once(cell).chain(surfaces);
    all.map(|one| one["state"].as_str().unwrap().to_owned()).collect()
}

/// Some requests of the account of the first cell on two of its surfaces, of which `metadata` fails where it is told to; and of
/// another one of the second cell.
fn traffic(edge: &Edge, fails: bool) {
    traffic_at(edge.addr("http"), fails);
}

fn traffic_at(listener: SocketAddr, fails: bool) {
    let sim = if fails { "X-Sim: status=500\r\n" } else { "" };
    for (host, sim) in
        [("ab123.us1.dbt.com", ""), ("ab123.metadata.us1.dbt.com", sim), ("globex.us1.dbt.com", "")]
    {
        let mut connection = raw_http::tcp(listener);
        for _ in 0..3 {
            let request = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n{sim}\r\n");
            let reply = raw_http::ask(&mut connection, request.as_bytes()).unwrap();
            assert_eq!(reply.status, if sim.is_empty() { 200 } else { 500 }, "{host}");
        }
    }
}

/// Whether a status is what its schema says.
fn is_valid(name: &str, status: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("target/e2e");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("status-{name}.json"));
    std::fs::write(&file, status).unwrap();
    let mut command = Command::new(python());
    command.arg(root.join("tests/e2e/clients/valid_report.py")).arg(root.join("docs/status.schema.json"));
    let output = command.arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn assert_names_nothing_internal(what: &str, text: &str) {
    // What ids are made of stands at the end of hashes of the policy, too; those are no names.
    for internal in INTERNAL {
        assert!(!text.contains(internal), "{internal} in {what}: {text}");
    }
}

#[test]
fn a_surface_that_fails_turns_alone_is_told_everywhere_and_comes_back() {
    let receiver = Receiver::start("takes", OLD, &[]);
    let published = tempfile::tempdir().unwrap();
    let folder: PathBuf = published.path().join("status");
    let more = format!(
        "  publish: {{ folder: '{}' }}\n  webhook: {{ url: '{}', secret_file: webhook.secret }}\n",
        folder.display(),
        receiver.url()
    );
    let world = World::prepared(|to| {
        prepared(&more)(to);
        to.write_secret("config/webhook.secret", OLD);
    });
    let edge = &world.edge;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let whole = scope.spawn(|| whole_at_any_moment(&folder, &stop));
        // A test that fails must not leave the reader reading.
        let _stopping = StopAtEnd(&stop);
        let mut events = Events::of(door(edge));
        let well = ["operating"; 4].map(str::to_owned);
        eventually("traffic to be seen", || {
            traffic(edge, false);
            let status = json(edge);
            let tile =
                &status["cells"].as_array()?.iter().find(|cell| cell["name"] == "Europe")?["surfaces"][1];
            (tile["little_traffic"] == false).then_some(())
        });
        let mut seen = Vec::new();
        eventually("the surface to turn", || {
            traffic(edge, true);
            let status = json(edge);
            assert_eq!(states(&status, "United States"), well, "nobody else turns");
            seen = states(&status, "Europe");
            (seen[2] == "down").then_some(())
        });
        assert_eq!(seen, ["degraded", "operating", "down", "operating"]);
        let told = events.until(|event| {
            let mut changes = event["changes"].as_array().unwrap().iter();
            changes.any(|change| change["surface"]["name"] == "Discovery API" && change["to"] == "down")
        });
        assert_eq!(told["state"], "degraded");
        let page = raw_http::page(door(edge), "/status").text();
        assert!(page.contains("One of 4 parts of the service has trouble"), "{page}");
        assert_names_nothing_internal("the page", &page);
        assert_names_nothing_internal("the JSON", &raw_http::page(door(edge), "/status.json").text());
        is_valid("trouble", &raw_http::page(door(edge), "/status.json").text());

        eventually("it to recover", || {
            traffic(edge, false);
            (states(&json(edge), "Europe")[2] == "recovering").then_some(())
        });
        eventually("it to be over", || {
            traffic(edge, false);
            (states(&json(edge), "Europe") == well).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        assert!(whole.join().unwrap() > 10, "the reader has read");
    });
    let told = receiver.told(6);
    let of_surface: Vec<&str> = told
        .iter()
        .map(|told| &told["event"])
        .filter(|event| event["data"]["surface"]["name"] == "Discovery API")
        .map(|event| event["data"]["to"].as_str().unwrap())
        .collect();
    assert_eq!(of_surface, ["down", "recovering", "operating"], "{told:?}");
    assert!(told.iter().all(|told| told["status"] == 204 && told["event"]["type"] == "status.changed"));
    assert!(told.iter().all(|told| told["event"]["data"]["cell"]["name"] == "Europe"), "{told:?}");
    assert_names_nothing_internal(
        "the webhooks",
        &told.iter().map(|told| told["event"].to_string()).collect::<String>(),
    );
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads what is published until it is told to stop; how often it has.
fn whole_at_any_moment(folder: &Path, stop: &AtomicBool) -> u64 {
    let mut times = 0;
    while !stop.load(Ordering::Relaxed) {
        // Or a core of the machine would do nothing else for half a minute.
        std::thread::sleep(Duration::from_millis(1));
        let Ok(json) = std::fs::read_to_string(folder.join("status.json")) else { continue };
        let status: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(status["title"], "Example status");
        let Ok(page) = std::fs::read_to_string(folder.join("index.html")) else { continue };
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"), "{page}");
        assert_names_nothing_internal("the published page", &page);
        times += 1;
    }
    times
}

#[test]
fn a_cell_that_is_dead_is_down_and_what_operators_do_is_told() {
    let world = World::prepared(prepared(""));
    let edge = &world.edge;
    eventually("the first status", || (!json(edge).is_null()).then_some(()));
    world.block_on(world.cell("cell-1").behave(loadtest::cell::Behaviour::Killed)).unwrap();
    eventually("the cell to be down", || {
        let request = b"GET /x HTTP/1.1\r\nHost: ab123.us1.dbt.com\r\n\r\n";
        let _ = raw_http::ask(&mut raw_http::tcp(edge.addr("http")), request);
        (states(&json(edge), "Europe") == ["down"; 4]).then_some(())
    });
    pull(edge, "hold cell cell-2");
    let status = eventually("the hold to be told", || {
        let status = json(edge);
        (states(&status, "United States") == ["held"; 4]).then_some(status)
    });
    let cells = status["cells"].as_array().unwrap();
    let held = cells.iter().find(|cell| cell["name"] == "United States").unwrap();
    assert_eq!(held["measures"][0]["kind"], "waiting");
    for secret in ["kim", "canary"] {
        assert!(!status.to_string().contains(secret), "{status}");
    }
    // Operators see it by its own name, and what is pulled; theirs is laid down behind the public one.
    let own = eventually("the hold to be told to operators", || {
        let own = raw_http::admin(&edge.socket(), "GET", "/status.json").json();
        (states(&own, "cell-2") == ["held"; 4]).then_some(own)
    });
    assert_eq!(own["operators"]["levers"][0], "hold cell cell-2");
    is_valid("operators", &own.to_string());
    let page = raw_http::page(edge.admin(), "/status").text();
    assert!(page.contains("hold cell cell-2") && page.contains("cell-1"), "{page}");
}

/// Pulls a lever; its answer.
fn pull(edge: &Edge, lever: &str) -> Value {
    let body = format!(r#"{{"lever": "{lever}", "by": "kim", "reason": "a canary reason", "seconds": 60}}"#);
    let pulled = raw_http::admin_with(&edge.socket(), "POST", "/levers", &body);
    assert_eq!(pulled.status, 200, "{}", pulled.text());
    pulled.json()
}

/// The kinds of what is done about a cell, by its public name.
fn measures(status: &Value, cell: &str) -> Vec<String> {
    let cell = status["cells"].as_array().unwrap().iter().find(|one| one["name"] == cell).unwrap();
    cell["measures"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn levers_that_leave_no_endpoint_are_an_outage_that_is_told() {
    let receiver = Receiver::start("takes", OLD, &[]);
    let more = format!("  webhook: {{ url: '{}', secret_file: webhook.secret }}\n", receiver.url());
    let world = World::prepared(|to| {
        prepared(&more)(to);
        to.write_secret("config/webhook.secret", OLD);
    });
    let edge = &world.edge;
    eventually("the first status", || (!json(edge).is_null()).then_some(()));
    let bare = pull(edge, "evacuate zone local")["cells_without_endpoint"].clone();
    assert!(bare.as_array().unwrap().iter().any(|cell| cell == "cell-1"), "{bare}");
    let status = eventually("the outage to be told", || {
        let status = json(edge);
        (states(&status, "Europe") == ["down"; 4]).then_some(status)
    });
    assert_eq!(
        (&status["state"], &status["summary"]),
        (&"down".into(), &"All 4 parts of the service are down".into())
    );
    assert_eq!(measures(&status, "Europe"), ["out_of_service"]);
    assert_eq!(status["cells"][0]["basis"], "operators");
    is_valid("evacuated", &raw_http::page(door(edge), "/status.json").text());
    let told = receiver.told(4);
    assert!(told.iter().any(|told| told["event"]["data"]["to"] == "down"), "{told:?}");
}

#[test]
fn a_cell_that_is_capped_at_next_to_nothing_is_not_operating() {
    let world = World::prepared(prepared(""));
    let edge = &world.edge;
    eventually("the first status", || (!json(edge).is_null()).then_some(()));
    pull(edge, "cap cell cell-2 rps 1");
    let status = eventually("the cap to be told", || {
        // Another one each time: how often a connection may ask has an end.
        let mut connection = raw_http::tcp(edge.addr("http"));
        for _ in 0..10 {
            let request = b"GET /x HTTP/1.1\r\nHost: globex.us1.dbt.com\r\n\r\n";
            let reply = raw_http::ask(&mut connection, request).unwrap();
            assert!([200, 503].contains(&reply.status), "{}", reply.status);
        }
        let status = json(edge);
        states(&status, "United States").contains(&"down".to_owned()).then_some(status)
    });
    assert_eq!(states(&status, "United States"), ["degraded", "down", "operating", "operating"]);
    assert_eq!(measures(&status, "United States"), ["limited"]);
    assert_eq!(states(&status, "Europe"), ["operating"; 4], "nobody else turns");
}

/// A request to the public door.
fn ask(edge: &Edge, head: &str) -> RawReply {
    let mut connection = raw_http::tcp(door(edge));
    raw_http::ask(&mut connection, format!("{head}\r\nHost: status.example.com\r\n\r\n").as_bytes()).unwrap()
}

#[test]
fn the_public_door_is_for_caches_and_shows_nothing_else() {
    let world = World::prepared(prepared(""));
    let edge = &world.edge;
    eventually("the first status", || (ask(edge, "GET /status HTTP/1.1").status == 200).then_some(()));
    for (path, kind) in [
        ("/status", "text/html; charset=utf-8"),
        ("/", "text/html; charset=utf-8"),
        ("/status.json", "application/json"),
    ] {
        let reply = ask(edge, &format!("GET {path} HTTP/1.1"));
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(kind)));
        assert_eq!(reply.header("cache-control"), Some("public, max-age=5"));
        // Another one may be printed in between.
        eventually("the tag to hold", || {
            let tag = ask(edge, &format!("GET {path} HTTP/1.1")).header("etag").unwrap().to_owned();
            let again = ask(edge, &format!("GET {path} HTTP/1.1\r\nIf-None-Match: \"x\", W/{tag}"));
            let is_same = (again.status, again.body.len(), again.header("etag")) == (304, 0, Some(&*tag));
            is_same.then_some(())
        });
        let mut connection = raw_http::tcp(door(edge));
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        std::io::Write::write_all(&mut connection, head.as_bytes()).unwrap();
        let reply = raw_http::read_reply(&mut connection, true).unwrap();
        assert!(reply.status == 200 && reply.header("etag").is_some());
    }
    let page = ask(edge, "GET /status HTTP/1.1");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for path in
        ["/metrics", "/readyz", "/config", "/cells", "/levers", "/reload", "/report", "/status/../config"]
    {
        assert_eq!(ask(edge, &format!("GET {path} HTTP/1.1")).status, 404, "{path}");
    }
    assert_eq!(ask(edge, "POST /status HTTP/1.1\r\nContent-Length: 0").status, 405);
}

#[test]
fn the_public_door_answers_while_the_data_plane_is_full() {
    let world = World::prepared(|folder| {
        prepared("")(folder);
        folder.append("config/boot.yaml", "limits: { requests: 4 }\n");
    });
    let edge = &world.edge;
    eventually("the first status", || (ask(edge, "GET /status HTTP/1.1").status == 200).then_some(()));
    // Of two cells: neither may have all of the process.
    let hang = |host: &str| {
        let mut connection = raw_http::tcp(edge.addr("http"));
        let request = format!("GET /x HTTP/1.1\r\nHost: {host}.us1.dbt.com\r\nX-Sim: hang\r\n\r\n");
        std::io::Write::write_all(&mut connection, request.as_bytes()).unwrap();
        connection
    };
    let mut hung: Vec<TcpStream> = Vec::new();
    eventually("all permits to be taken", || {
        // More each time: some find no permit and are refused, while others are still on their way.
        hung.extend(["ab123", "globex"].map(hang));
        let request = b"GET /x HTTP/1.1\r\nHost: globex.us1.dbt.com\r\n\r\n";
        let reply = raw_http::ask(&mut raw_http::tcp(edge.addr("http")), request).unwrap();
        (reply.status == 503).then_some(())
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stopping = StopAtEnd(&stop);
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let request = b"GET /x HTTP/1.1\r\nHost: globex.us1.dbt.com\r\nConnection: close\r\n\r\n";
                    let _ = raw_http::ask(&mut raw_http::tcp(edge.addr("http")), request);
                }
            });
        }
        let before = json(edge)["as_of"].clone();
        // It answers, and it goes on to look.
        eventually("a newer status", || (json(edge)["as_of"] != before).then_some(()));
    });
    drop(hung);
}

#[test]
fn hundreds_of_idle_callers_of_the_public_door_take_no_place_of_an_operator() {
    let world = World::prepared(prepared(""));
    let edge = &world.edge;
    let idle: Vec<TcpStream> = (0..700).map(|_| raw_http::tcp(door(edge))).collect();
    // More than the door has places: the others wait in its queue, and nobody else.
    for _ in 0..100 {
        assert_eq!(raw_http::admin(&edge.socket(), "GET", "/healthz").status, 200);
        assert_eq!(raw_http::page(edge.admin(), "/healthz").status, 200);
    }
    assert_eq!(idle.len(), 700);
    // They are let go at the deadline of a head, and the door answers.
    eventually("the door to answer", || (ask(edge, "GET /status HTTP/1.1").status == 200).then_some(()));
}

#[test]
fn readers_of_events_leave_places_for_those_who_look() {
    let world = World::prepared(prepared(""));
    let edge = &world.edge;
    eventually("the first status", || (!json(edge).is_null()).then_some(()));
    let mut told: Vec<Events> = (0..256).map(|_| Events::of(door(edge))).collect();
    let full = ask(edge, "GET /status/events HTTP/1.1");
    assert_eq!((full.status, full.header("retry-after")), (503, Some("30")));
    assert_eq!(ask(edge, "GET /status HTTP/1.1").status, 200);
    // Each is told at once how it stands.
    assert_eq!(told[255].until(|_| true)["state"], "operating");
    drop(told);
    eventually("their places to be free", || {
        let mut one = raw_http::tcp(door(edge));
        std::io::Write::write_all(&mut one, b"GET /status/events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        reader::has_begun(&mut one).then_some(())
    });
}
