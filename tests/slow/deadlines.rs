//! The deadlines of one exchange, and which of them a class of endpoints moves: what one path may do, another may not.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use loadtest::cell::{CellOptions, RunningCell};
use tokio::runtime::Runtime;

use crate::attack::HOST;
use crate::raw_http::{RawReply, ask, tcp};
use crate::running::{Edge, Folder};

/// A ping of RFC 6455 section 5.5.2 without content, masked with zeros, and its pong.
const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
const PONG: [u8; 2] = [0x8a, 0];

/// A cellgate and its cell. Two classes of requests have deadlines of their own.
struct World {
    edge: Edge,
    _cell: RunningCell,
    _runtime: Runtime,
}

impl World {
    /// With these timeouts of the cell, and so long for a whole request. What a test is not about is left to the defaults
    /// or made long: no deadline but its own is to end what a busy machine stops for a second.
    fn new(timeouts: &str, whole: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let cell = runtime.block_on(RunningCell::start(CellOptions::named("cell-1"))).unwrap();
        let folder = Folder::example(&BTreeMap::from([("cell-1".to_owned(), cell.addr())]));
        folder.tune("cell-1", &[&format!("timeouts: {{ {timeouts} }}")]);
        let text = folder.read("config/cellgate.yaml");
        let from = text.find("endpoint_classes:\n").unwrap();
        let until = from + text[from..].find("\n\n").unwrap();
        let classes = format!(
            "endpoint_classes:\n  - {{ name: interactive, request_timeout: {whole} }}\n  \
             - {{ name: long-poll, paths: [/poll], request_timeout: 20s, response_head: 10s }}\n  \
             - {{ name: stream, paths: [/stream], request_timeout: unlimited, idle: 10s }}"
        );
        folder.write("config/cellgate.yaml", &format!("{}{classes}{}", &text[..from], &text[until..]));
        Self { edge: Edge::start(folder), _cell: cell, _runtime: runtime }
    }

    fn connect(&self) -> TcpStream {
        tcp(self.edge.addr("http"))
    }

    /// The answer to a GET with a wish for the cell; an error where it was broken off.
    fn get(&self, path: &str, sim: &str) -> std::io::Result<RawReply> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nx-sim: {sim}\r\n\r\n");
        ask(&mut self.connect(), request.as_bytes())
    }

    fn status(&self, path: &str, sim: &str) -> u16 {
        self.get(path, sim).unwrap().status
    }
}

#[test]
fn the_first_byte_is_waited_for_as_the_class_says() {
    let world = World::new("response_head: 400ms", "20s");
    assert_eq!(world.status("/page", "delay_ms=3000"), 504);
    assert_eq!(world.status("/poll/next", "delay_ms=1200"), 200);
    assert_eq!(world.status("/stream", "delay_ms=3000"), 504);
}

#[test]
fn silence_between_bytes_ends_an_answer_as_the_class_says() {
    let world = World::new("idle: 400ms", "20s");
    let slow = "body=3;piece=1;every_ms=2000";
    world.get("/page", slow).unwrap_err();
    world.get("/poll", slow).unwrap_err();
    assert_eq!(world.get("/stream", slow).unwrap().body.len(), 3);
}

#[test]
fn an_answer_that_is_never_silent_ends_with_the_whole() {
    let world = World::new("idle: 10s", "2s");
    let steady = "body=80;piece=1;every_ms=50";
    // 4 s in all. Where a machine has stopped before the head, the same end is a 504.
    let ended = world.get("/page", steady);
    assert!(ended.is_err() || ended.is_ok_and(|reply| reply.status == 504));
    assert_eq!(world.get("/poll", steady).unwrap().body.len(), 80);
    assert_eq!(world.get("/stream/query?x=1", steady).unwrap().body.len(), 80);
}

#[test]
fn a_websocket_outlives_the_request_timeout_and_ends_with_its_silence() {
    let world = World::new("idle: 400ms, tunnel_idle: 5s", "2s");
    let mut socket = world.connect();
    let upgrade = format!(
        "GET /page HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    assert_eq!(ask(&mut socket, upgrade.as_bytes()).unwrap().status, 101);
    // Twice the whole of a request, with silences that are longer than those of an answer.
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(500));
        socket.write_all(&PING).unwrap();
        let mut pong = [0; 2];
        socket.read_exact(&mut pong).unwrap();
        assert_eq!(pong, PONG);
    }
    // Nobody says anything more: whatever comes before the end, the end comes.
    let mut rest = Vec::new();
    let end = socket.read_to_end(&mut rest);
    assert!(end.is_ok() || end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
}
