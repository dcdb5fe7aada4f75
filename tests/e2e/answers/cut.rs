//! What is still under way at the drain's deadline is cut so that its client sees it: real clients, in front of a
//! process that ends and of one that has been replaced. And what a cell breaks off, for a client to whom nothing but
//! the end of the connection is the end of an answer.

use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command, Stdio};

use cellgate::listen::drain::Drained;
use loadtest::cell::{CellOptions, RunningCell};
use loadtest::client::{Ask, Client, Http};
use serde_json::Value;

use crate::python::python;
use crate::raw_http::{self, Connection};
use crate::running::{Folder, access_line, authority, eventually};
use crate::upgrade::Line;
use crate::world::{CELLS, World, addresses, runtime, start_cells};

const HOST: &str = "ab123.us1.dbt.com";

/// So long that what is cut has half a second to be told; nothing that the clients ask for ends by itself.
const DEADLINE: &str = "deadline: 5s";
const EVENTS: &str = "X-Sim: sse=1000000;every_ms=20";

/// How curl ends when a transfer breaks off: "partial file", and, by version, "stream was not closed cleanly".
const PARTIAL: [i32; 2] = [18, 92];

/// Clients of streams without end.
struct Clients {
    h1: Child,
    h2: Child,
    grpc: Child,
}

fn program(command: &mut Command) -> Child {
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

impl Clients {
    /// Starts them; each has had some of its stream when this returns.
    fn start(http: u16, h2c: u16, cell: &RunningCell) -> Self {
        let before = cell.counts().requests;
        let curl = |id: &str, version: &str, port: u16| {
            let mut command = Command::new("curl");
            command.args([
                "--silent",
                "--show-error",
                "--no-buffer",
                "--max-time",
                "60",
                version,
                "-H",
                EVENTS,
            ]);
            command.args(["-H", &format!("X-Request-Id: {id}")]);
            command.args(["--connect-to", &format!("::127.0.0.1:{port}"), &format!("http://{HOST}/events")]);
            program(&mut command)
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/clients/cut_grpcio.py");
        let mut grpc = Command::new(python());
        grpc.args(["-B", script, &h2c.to_string(), "ab123.semantic-layer.us1.dbt.com"]);
        let clients = Self {
            h1: curl("cut-over-h1", "--http1.1", http),
            h2: curl("cut-over-h2", "--http2-prior-knowledge", h2c),
            grpc: program(&mut grpc),
        };
        eventually("all three to be answered", || (cell.counts().requests == before + 3).then_some(()));
        clients
    }

    /// Waits for their ends, which show that they were cut.
    fn were_cut(self) {
        let (h1, h2) = (self.h1.wait_with_output().unwrap(), self.h2.wait_with_output().unwrap());
        for (output, codes) in [(&h1, &PARTIAL[..1]), (&h2, &PARTIAL[..])] {
            let said = String::from_utf8_lossy(&output.stderr);
            let code = output.status.code().unwrap();
            assert!(codes.contains(&code), "{code}: {said}");
            assert!(output.stdout.starts_with(b"data:") || output.stdout.starts_with(b"id:"), "events came");
        }
        let grpc = self.grpc.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&grpc.stdout);
        let why = String::from_utf8_lossy(&grpc.stderr);
        assert!(said.starts_with("True UNAVAILABLE The proxy was stopped"), "{said:?} {why}");
    }
}

fn ends(line: &Value) -> (Option<u64>, Option<&str>, Option<&str>) {
    (line["status"].as_u64(), line["end"].as_str(), line["refusal"].as_str())
}

#[test]
fn streams_at_the_deadline_are_cut_so_that_clients_see_it() {
    let mut world = World::prepared(|folder| folder.edit("config/boot.yaml", "deadline: 20s", DEADLINE));
    let (http, h2c) = (world.edge.addr("http").port(), world.edge.addr("h2c").port());
    let clients = Clients::start(http, h2c, world.cell("cell-1"));
    // Of these nothing has come yet when the time is over.
    let slow: Vec<_> = [Http::H1, Http::H2]
        .map(|http| {
            let (client, id) = (world.edge.plain(http), format!("slow-over-{http:?}"));
            let ask = Ask::get(HOST, "/").sim("delay_ms=60000").header("x-request-id", &id);
            (id, world.spawn(async move { client.ask(&ask).await.unwrap() }))
        })
        .into();
    eventually("the slow ones to arrive", || (world.cell("cell-1").counts().requests == 5).then_some(()));
    assert_eq!(world.edge.drain(), Drained::Cut(5));
    clients.were_cut();
    for (id, slow) in slow {
        let reply = world.block_on(slow).unwrap();
        assert_eq!((reply.status.as_u16(), reply.header("x-cellgate-outcome")), (503, Some("unknown")));
        let line = access_line(&world.edge.folder, &id);
        assert_eq!(ends(&line), (Some(503), Some("complete"), Some("drain")), "{line}");
    }
    for id in ["cut-over-h1", "cut-over-h2"] {
        let line = access_line(&world.edge.folder, id);
        assert_eq!(ends(&line), (Some(200), Some("drain"), None), "{line}");
    }
}

#[test]
fn what_is_cut_is_in_the_log_also_where_its_client_reads_nothing() {
    // Of two seconds the last fifth is for cutting, and for all that a client is given to take what is queued for it.
    let mut world =
        World::prepared(|folder| folder.edit("config/boot.yaml", "deadline: 20s", "deadline: 2s"));
    let mut line = raw_http::tcp(world.edge.addr("http"));
    let id = "reads-nothing";
    // More than all buffers on the way take.
    let sim = "X-Sim: body=100000000";
    line.write_all(
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{sim}\r\nX-Request-Id: {id}\r\n\r\n").as_bytes(),
    )
    .unwrap();
    line.read_exact(&mut [0; 16]).unwrap();
    assert_eq!(world.edge.drain(), Drained::Cut(1));
    let line = access_line(&world.edge.folder, id);
    assert_eq!(ends(&line), (Some(200), Some("drain"), None), "{line}");
}

#[test]
fn after_an_upgrade_old_streams_are_cut_at_the_deadline_and_new_ones_go_on() {
    let runtime = runtime();
    let cells = start_cells(&runtime, CELLS.map(CellOptions::named).to_vec());
    let folder = Folder::example(&addresses(&cells));
    folder.edit("config/boot.yaml", "deadline: 20s", DEADLINE);
    let mut line = Line::start(&folder);
    let (http, h2c) = (line.first.addr("http"), line.first.addr("h2c"));
    let clients = Clients::start(http.port(), h2c.port(), &cells["cell-1"]);
    line.upgrade(&folder);
    clients.were_cut();
    for (address, http) in [(http, Http::H1), (h2c, Http::H2)] {
        let reply = runtime.block_on(Client::new(address, http).ask(&Ask::get(HOST, "/"))).unwrap();
        assert_eq!(reply.cell(), Some("cell-1"), "the new process serves");
    }
    for id in ["cut-over-h1", "cut-over-h2"] {
        let line = access_line(&folder, id);
        assert_eq!(ends(&line), (Some(200), Some("drain"), None), "{line}");
    }
}

#[test]
fn an_old_client_does_not_take_a_broken_answer_for_a_whole_one() {
    let world = World::example();
    let ask = |mut connection: Box<dyn Connection>, sim: &str| {
        let request = format!("GET / HTTP/1.0\r\nHost: {HOST}\r\nX-Sim: {sim}\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let end = connection.read_to_end(&mut answer).map_err(|error| error.kind());
        (end, String::from_utf8_lossy(&answer).to_lowercase())
    };
    // Such as nginx, which by default asks the servers behind it so.
    let plain = || -> Box<dyn Connection> { Box::new(raw_http::tcp(world.edge.addr("http"))) };
    let secure = || -> Box<dyn Connection> {
        Box::new(raw_http::tls(world.edge.addr("https"), HOST, authority().ca_pem()))
    };
    for connect in [&plain as &dyn Fn() -> Box<dyn Connection>, &secure] {
        let (end, answer) = ask(connect(), "body=60000;chunked");
        assert!(end.is_ok_and(|bytes| bytes > 60_000), "a whole one: {end:?}");
        assert!(!answer.contains("content-length"), "nothing but the close ends it");
        let (end, _) = ask(connect(), "body=60000;chunked;cut=100");
        assert_eq!(end, Err(ErrorKind::ConnectionReset));
    }
}
