//! Traces: what cells are told, what a real collector understands, and that a request never waits for one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver as Inbox, sync_channel};
use std::time::Duration;

use cellgate::listen::drain::Drained;
use devcerts::Usage;
use loadtest::cell::Behaviour;
use loadtest::client::{Ask, Http};
use serde_json::Value;

use crate::process::quiet_port;
use crate::python::python;
use crate::raw_http;
use crate::running::{Folder, PATIENCE, authority, eventually};
use crate::world::World;

/// More spans than any collector here gets.
const SPANS: usize = 10_000;

/// How a request is traced by a client that is not of us.
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The account's own address, in cell-1.
const OWN: &str = "ab123.us1.dbt.com";

pub struct Collector {
    child: Child,
    pub port: u16,
    told: Inbox<Value>,
}

impl Collector {
    pub fn start(mode: &str, tls: &[&Path]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/traces/collector.py");
        let mut command = Command::new(python());
        command.arg("-B").arg(script).arg(mode).args(tls).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let (sender, told) = sync_channel(SPANS);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    break;
                }
            }
        });
        Self { child, port, told }
    }

    /// The next span.
    pub fn next(&self) -> Value {
        self.told.recv_timeout(PATIENCE).unwrap()
    }

    /// All that have come and that nobody has asked for. None comes after them.
    pub fn all(&mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        // What it has said before is read to its end.
        self.told.iter().collect()
    }

    /// The two spans of one request: its own, and what its cell was asked.
    fn pair(&self) -> (Value, Value) {
        let (one, other) = (self.next(), self.next());
        if one["kind"] == 2 { (one, other) } else { (other, one) }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn traced(folder: &Folder, keys: &str) {
    folder.append("config/boot.yaml", &format!("traces: {{ {keys} }}"));
}

/// A value of the page of metrics.
fn metric(world: &World, series: &str) -> f64 {
    let page = raw_http::page(world.edge.admin(), "/metrics").text();
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

fn ask(world: &World, http: Http, ask: Ask) -> u16 {
    let reply = world.block_on(world.edge.plain(http).ask(&ask)).unwrap();
    reply.status.as_u16()
}

/// What the cell was sent last.
fn seen(world: &World, cell: &str, name: &str) -> Vec<String> {
    let seen = world.cell(cell).seen();
    seen.last().unwrap().headers(name).map(str::to_owned).collect()
}

#[test]
fn a_trace_goes_from_a_trusted_client_through_both_spans_to_the_cell_and_to_a_real_collector_over_tls() {
    let mut collector = None;
    let world = World::prepared(|folder| {
        let pair = authority().issue(&["localhost"], Usage::Server).unwrap();
        folder.write("ca.pem", authority().ca_pem());
        folder.write("collector.pem", &pair.cert_pem);
        folder.write_secret("collector.key", &pair.key_pem);
        folder.write_secret("config/keys/collector.headers", "# of the collector\nApi-Key: canary-1234\n");
        let tls = [folder.path("collector.pem"), folder.path("collector.key")];
        let started = collector.insert(Collector::start("takes", &[&tls[0], &tls[1]]));
        let files = "ca_file: ../ca.pem, headers_file: keys/collector.headers";
        let whom = "ratio: 0%, trust_from: [127.0.0.0/8], service_name: edge";
        traced(folder, &format!("endpoint: 'https://localhost:{}', {files}, {whom}", started.port));
    });
    let collector = collector.unwrap();
    for (http, version) in [(Http::H1, "1.1"), (Http::H2, "2")] {
        let asked = Ask::get(OWN, "/api/v2/accounts/70403103966603/jobs/?token=canary")
            .header("traceparent", PARENT)
            .header("tracestate", "vendor=canary");
        assert_eq!(ask(&world, http, asked), 200);
        let (server, client) = collector.pair();
        assert_eq!((&server["trace"], &client["trace"]), (&PARENT[3..35].into(), &PARENT[3..35].into()));
        assert_eq!((&server["parent"], &client["parent"]), (&PARENT[36..52].into(), &server["span"]));
        assert_eq!((&server["kind"], &client["kind"]), (&2.into(), &3.into()), "SERVER, CLIENT");
        let sent = format!("00-{}-{}-01", &PARENT[3..35], client["span"].as_str().unwrap());
        assert_eq!(seen(&world, "cell-1", "traceparent"), [sent], "the cell's parent is our span");
        assert_eq!(seen(&world, "cell-1", "tracestate"), ["vendor=canary"]);
        let at = |span: &Value, key: &str| span[key].as_u64().unwrap();
        assert!(at(&server, "start") <= at(&client, "start") && at(&client, "end") <= at(&server, "end"));
        let (of_server, of_client) = (&server["attributes"], &client["attributes"]);
        assert_eq!(of_server["cellgate.account"], 70_403_103_966_603_u64);
        assert_eq!(of_server["network.protocol.version"], version);
        assert_eq!(of_server["url.path"], "/api/v2/accounts/70403103966603/jobs/");
        assert_eq!(of_client["server.port"], world.cell("cell-1").addr().port());
        assert_eq!(
            (&of_client["cellgate.cell"], &of_client["http.response.status_code"]),
            (&"cell-1".into(), &200.into())
        );
        assert_eq!(
            (&server["resource"]["service.name"], &server["scope"]),
            (&"edge".into(), &"cellgate".into())
        );
        assert_eq!((&server["key"], &server["path"]), (&"canary-1234".into(), &"/v1/traces".into()));
        assert_eq!(server["type"], "application/x-protobuf");
        let said = format!("{of_server}{of_client}{}", server["state"]);
        assert!(!said.contains("canary"), "{said}");
        let line = world.edge.access_line(of_server["cellgate.request_id"].as_str().unwrap());
        assert_eq!(line["trace_id"], PARENT[3..35]);
    }
    // They are counted once the collector's answer is there.
    eventually("the spans to be counted", || {
        let exported = metric(&world, "cellgate_spans_exported_total");
        assert!(exported <= 4.0, "{exported}");
        (exported == 4.0).then_some(())
    });
}

#[test]
fn a_client_that_is_not_trusted_has_a_trace_of_its_own_which_it_cannot_have_kept() {
    let collector = Collector::start("takes", &[]);
    let world = World::prepared(|folder| {
        traced(folder, &format!("endpoint: 'http://127.0.0.1:{}', ratio: 0%", collector.port));
    });
    let get = || Ask::get(OWN, "/").header("traceparent", PARENT).header("tracestate", "vendor=1");
    for _ in 0..20 {
        assert_eq!(ask(&world, Http::H1, get()), 200);
        let [sent] = &seen(&world, "cell-1", "traceparent")[..] else { unreachable!("there is one") };
        assert!(!sent.contains(&PARENT[3..35]) && sent.ends_with("-00"), "{sent}");
        assert!(seen(&world, "cell-1", "tracestate").is_empty(), "it was of another trace");
    }
    // Neither what it does wrong nor what it asks for is kept; what its cell does wrong is.
    assert_eq!(ask(&world, Http::H1, Ask::get("nobody.example", "/").header("traceparent", PARENT)), 421);
    world.block_on(world.cell("cell-1").behave(Behaviour::Status(503, "no".into()))).unwrap();
    assert_eq!(ask(&world, Http::H1, get()), 503);
    let (server, client) = collector.pair();
    assert_eq!((&server["error"], &client["error"]), (&true.into(), &true.into()));
    assert_eq!((&server["links"], &server["parent"]), (&serde_json::json!([PARENT[3..35]]), &"".into()));
    assert_eq!(server["attributes"]["error.type"], "503");
    assert_eq!(server["flags"].as_u64().unwrap() & 1, 0, "its cell was told that it is not kept");
}

#[test]
fn every_request_has_a_trace_where_all_are_kept_refused_ones_too() {
    let collector = Collector::start("takes", &[]);
    let world = World::prepared(|folder| {
        traced(folder, &format!("endpoint: 'http://127.0.0.1:{}', ratio: 100%", collector.port));
    });
    for malformed in ["rubbish", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
        let get = Ask::get("nobody.example", "/").header("traceparent", malformed);
        assert_eq!(ask(&world, Http::H1, get), 421);
        let refused = collector.next();
        assert_eq!((&refused["kind"], &refused["links"]), (&2.into(), &serde_json::json!([])));
        assert_eq!(
            (&refused["attributes"]["cellgate.refusal"], &refused["error"]),
            (&"misdirected".into(), &false.into())
        );
    }
    let traces: Vec<String> = (0..3)
        .map(|_| {
            assert_eq!(ask(&world, Http::H2, Ask::get(OWN, "/")), 200);
            collector.pair().0["trace"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(traces[0] != traces[1] && traces[1] != traces[2] && traces[0] != traces[2], "{traces:?}");
}

#[test]
fn without_traces_what_a_client_says_of_its_trace_passes_byte_for_byte() {
    let world = World::example();
    let states = ["b=2 ,, a=1", "not even one"];
    let get = Ask::get(OWN, "/").header("traceparent", PARENT);
    let get = states.iter().fold(get, |get, state| get.header("tracestate", state));
    assert_eq!(ask(&world, Http::H1, get), 200);
    assert_eq!(seen(&world, "cell-1", "traceparent"), [PARENT]);
    assert_eq!(seen(&world, "cell-1", "tracestate"), states);
    let id = seen(&world, "cell-1", "x-request-id").remove(0);
    assert!(world.edge.access_line(&id).get("trace_id").is_none());
}

/// Reads what comes, and answers nothing, ever.
fn silent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut connection = connection;
                let mut bytes = [0; 65_536];
                while connection.read(&mut bytes).is_ok_and(|many| many > 0) {}
            });
        }
    });
    port
}

#[test]
fn a_collector_that_is_dead_silent_or_refuses_costs_no_request_and_no_end() {
    let refusing = Collector::start("refuses", &[]);
    for (what, port) in [("dead", quiet_port()), ("silent", silent()), ("refusing", refusing.port)] {
        let mut world = World::prepared(|folder| {
            traced(folder, &format!("endpoint: 'http://127.0.0.1:{port}', ratio: 100%, timeout: 60s"));
        });
        let client = world.edge.plain(Http::H1);
        let line = world.block_on(client.open(OWN)).unwrap();
        for _ in 0..1_000 {
            let reply = world.block_on(line.ask(&Ask::get(OWN, "/"))).unwrap();
            assert_eq!(reply.status, 200, "{what}");
        }
        if what != "silent" {
            eventually("spans that are lost", || {
                (metric(&world, r#"cellgate_spans_dropped_total{reason="collector"}"#) > 0.0).then_some(())
            });
        }
        assert_eq!(metric(&world, "cellgate_spans_exported_total"), 0.0, "{what}");
        drop(line);
        assert_eq!(world.edge.drain(), Drained::Clean, "{what}");
    }
}

#[test]
fn keys_of_the_collector_may_come_later_and_what_is_wrong_with_them_is_said_without_them() {
    let collector = Collector::start("takes", &[]);
    let folder = {
        let cells = BTreeMap::new();
        Folder::example(&cells)
    };
    let keys = "headers_file: keys/collector.headers, ratio: 100%";
    traced(&folder, &format!("endpoint: 'http://127.0.0.1:{}', {keys}", collector.port));
    folder.write("config/keys/collector.headers", "api-key: canary-1234\n");
    let process = crate::process::Process::start(&folder);
    let get = || {
        let request = b"GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n";
        raw_http::ask(&mut raw_http::tcp(process.addr("http")), request).unwrap().status
    };
    assert_eq!(get(), 421);
    let line = process.line("a line about spans", |line| {
        line["fields"]["message"].as_str().is_some_and(|text| text.starts_with("spans cannot be sent"))
    });
    let error = line["fields"]["error"].as_str().unwrap();
    assert!(error.contains("has mode 0644, so that everybody can read it: chmod o-rwx"), "{error}");
    folder.write_secret("config/keys/collector.headers", "api-key: canary-1234\n");
    let span = eventually("a span", || {
        assert_eq!(get(), 421);
        collector.told.recv_timeout(Duration::from_millis(100)).ok()
    });
    assert_eq!(span["key"], "canary-1234");
    process.line("a line about spans", |line| line["fields"]["message"] == "the collector takes spans again");
    assert!(!folder.read("log/stderr.jsonl").contains("canary"));
}
