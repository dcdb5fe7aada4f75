//! What exactly was wrong with a cell: `Proxy-Status` (RFC 9209) and the access log say it, each with a cell that
//! does just that. Status, label and outcome stay those of the refusal.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use devcerts::{Authority, Usage};
use loadtest::cell::{CellOptions, RunningCell};
use loadtest::tls::ServerTls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::said;
use crate::raw_http::{self, RawReply};
use crate::world::World;
use crate::{process, running};

const HOST: &str = "ab123.us1.dbt.com";

/// The end of the request, and the first byte of every TLS record of a handshake.
const BODY: &[u8] = b"{}";
const HELLO: &[u8] = &[0x16];

/// A cell that reads until it has seen `until`, sends `answer`, and closes or keeps silent.
#[derive(Clone)]
struct Script {
    until: &'static [u8],
    answer: Vec<u8>,
    then_close: bool,
}

impl Script {
    fn new(until: &'static [u8], answer: impl Into<Vec<u8>>, then_close: bool) -> Self {
        Self { until, answer: answer.into(), then_close }
    }

    /// On a free port; ends with the runtime of the world.
    fn start(self, world: &World) -> SocketAddr {
        let listener = world.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        world.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(self.clone().play(socket));
            }
        });
        address
    }

    async fn play(self, mut socket: TcpStream) {
        let mut read = Vec::new();
        while !self.until.is_empty() && !read.windows(self.until.len()).any(|window| window == self.until) {
            if !matches!(socket.read_buf(&mut read).await, Ok(1..)) {
                return;
            }
        }
        if socket.write_all(&self.answer).await.is_ok() && !self.then_close {
            std::future::pending::<()>().await;
        }
    }
}

/// For a cell that does not get ready in time, before others that do.
const CONNECT: &str = "timeouts: { connect: 2s }";

/// Sends cell-1's requests there from now on.
fn point(world: &World, endpoint: &str) {
    world.edge.folder.point("cell-1", endpoint);
    let reply = raw_http::admin(&world.edge.socket(), "POST", "/reload");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// A POST, so that nothing is sent twice.
fn post(world: &World, path: &str) -> RawReply {
    let request = format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\n{{}}");
    raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), request.as_bytes()).unwrap()
}

/// What client and log are told.
fn check(world: &World, reply: &RawReply, expect: (u16, &str, &str, &str)) {
    let (status, outcome, label, error) = expect;
    said(reply, status, outcome, error);
    assert_eq!(reply.header("proxy-status"), Some(format!("cellgate; error={error}").as_str()));
    let line = world.edge.access_line(reply.header("x-request-id").unwrap());
    assert_eq!((line["refusal"].as_str(), line["cell_error"].as_str()), (Some(label), Some(error)), "{line}");
}

const UNREACHABLE: (u16, &str, &str) = (502, "not-forwarded", "cell_unreachable");
const BROKEN: (u16, &str, &str) = (502, "unknown", "cell_broken");
const TIMEOUT: (u16, &str, &str) = (504, "unknown", "cell_timeout");

fn with<'a>(
    (status, outcome, label): (u16, &'a str, &'a str),
    error: &'a str,
) -> (u16, &'a str, &'a str, &'a str) {
    (status, outcome, label, error)
}

#[test]
fn why_a_cell_cannot_be_reached() {
    let world = World::example();
    // The name is one that no resolver asks anybody about (RFC 6761 section 6.4).
    let refused = format!("127.0.0.1:{}", process::quiet_port());
    for (endpoint, error) in [
        ("cell-1.invalid:7101", "dns_error"),
        (refused.as_str(), "connection_refused"),
        // Why the last of them did not.
        (&format!("cell-1.invalid:7101, {refused}, cell-1.invalid:7102"), "dns_error"),
    ] {
        point(&world, endpoint);
        let reply = post(&world, "/");
        let several = endpoint.contains(',');
        let either = reply.header("proxy-status") == Some("cellgate; error=connection_refused");
        // Which one is last is not the test's to say.
        let error = if several && either { "connection_refused" } else { error };
        check(&world, &reply, with(UNREACHABLE, error));
    }
    let page = raw_http::page(world.edge.admin(), "/metrics").text();
    assert!(page.contains("cellgate_refusals_total{reason=\"cell_unreachable\"} 3"), "{page}");
}

#[test]
fn why_a_cell_that_is_to_speak_http2_cannot_be_reached() {
    let world = World::prepared(|folder| {
        folder.tune("cell-1", &[CONNECT]);
        folder.over_http2("cell-1");
    });
    for (answer, then_close, error) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], false, "http_protocol_error"),
        (b"", true, "connection_terminated"),
        (b"", false, "connection_timeout"),
    ] {
        let cell = Script::new(b"PRI * HTTP/2.0", answer, then_close).start(&world);
        point(&world, &cell.to_string());
        check(&world, &post(&world, "/"), with(UNREACHABLE, error));
    }
}

#[test]
fn why_an_answer_is_none() {
    let world = World::example();
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(70_000));
    let cases: [(&[u8], bool, &str); 10] = [
        (b"", true, "connection_terminated"),
        (b"HTTP/1.1 200 OK\r\nConte", true, "http_response_incomplete"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", true, "http_response_incomplete"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", false, "http_protocol_error"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n", false, "http_protocol_error"),
        (b"HTTP/1.1 700 OK\r\nContent-Length: 0\r\n\r\n", false, "http_protocol_error"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            false,
            "http_response_transfer_coding",
        ),
        (large.as_bytes(), false, "http_response_header_section_size"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
            false,
            "http_upgrade_failed",
        ),
        // A server that speaks first, and something else.
        (b"\0\x01\x02", true, "http_protocol_error"),
    ];
    for (answer, then_close, error) in cases {
        let cell = Script::new(BODY, answer, then_close).start(&world);
        point(&world, &cell.to_string());
        check(&world, &post(&world, "/"), with(BROKEN, error));
    }
}

#[test]
fn a_hint_says_nothing_for_one_hop_and_nothing_of_ours() {
    let world = World::example();
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\
                X-Cellgate-Outcome: not-forwarded\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = format!("{hint}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
    let cell = Script::new(BODY, answer, false).start(&world);
    point(&world, &cell.to_string());
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    let request =
        format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}");
    connection.write_all(request.as_bytes()).unwrap();
    let mut all = String::new();
    connection.read_to_string(&mut all).unwrap();
    let (hint, answer) = all.split_once("\r\n\r\n").unwrap();
    assert!(answer.ends_with("\r\n\r\ndone"), "{all}");
    let mut lines: Vec<String> = hint.lines().map(str::to_ascii_lowercase).collect();
    lines.sort();
    assert_eq!(lines, ["http/1.1 103 early hints", "link: </a.css>"]);
}

#[test]
fn what_a_cell_did_not_do_in_time() {
    let world = World::prepared(|folder| {
        folder.tune("cell-1", &["timeouts: { response_head: 500ms }"]);
        let class = "  - { name: interactive, request_timeout: 15m }\n";
        let brief = "  - { name: brief, paths: [/brief], request_timeout: 100ms }\n";
        folder.edit("config/cellgate.yaml", class, &format!("{class}{brief}"));
    });
    let silent = Script::new(BODY, "", false).start(&world);
    point(&world, &silent.to_string());
    check(&world, &post(&world, "/"), with(TIMEOUT, "connection_read_timeout"));
    check(&world, &post(&world, "/brief"), with(TIMEOUT, "http_response_timeout"));

    // More than all buffers between the client and a cell that does not read.
    let deaf = Script::new(b"", "", false).start(&world);
    point(&world, &deaf.to_string());
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n", 1 << 30);
    connection.write_all(head.as_bytes()).unwrap();
    let mut body = connection.try_clone().unwrap();
    let upload = std::thread::spawn(move || while body.write_all(&[b'x'; 65_536]).is_ok() {});
    let reply = raw_http::read_reply(&mut connection, false).unwrap();
    check(&world, &reply, with(TIMEOUT, "connection_write_timeout"));
    drop(connection.shutdown(std::net::Shutdown::Both));
    upload.join().unwrap();
}

const SNI: &str = "cell-1.cells.internal";

#[test]
fn why_a_cell_is_not_trusted() {
    let (ours, others) = (Authority::new("cells").unwrap(), Authority::new("others").unwrap());
    let world = World::prepared(|folder| {
        folder.write("certs/cells.pem", ours.ca_pem());
        folder.tune("cell-1", &[CONNECT, &format!("tls: {{ ca: ../certs/cells.pem, sni: {SNI} }}")]);
    });
    let cell = |authority: &Authority, name: &str| {
        let pair = authority.issue(&[name], Usage::Server).unwrap();
        let tls = ServerTls { cert_pem: pair.cert_pem, key_pem: pair.key_pem, client_ca_pem: None };
        world.block_on(RunningCell::start(CellOptions::named("cell-1").with_tls(tls))).unwrap()
    };
    let good = cell(&ours, SNI);
    point(&world, &good.addr().to_string());
    assert_eq!(post(&world, "/").header("x-cell"), Some("cell-1"));
    for wrong in [cell(&others, SNI), cell(&ours, "cell-2.cells.internal")] {
        point(&world, &wrong.addr().to_string());
        check(&world, &post(&world, "/"), with(UNREACHABLE, "tls_certificate_error"));
    }
    // handshake_failure, as a server sends it that wants something else.
    let alert = [0x15, 3, 3, 0, 2, 2, 40];
    for (answer, then_close, error) in [
        (&alert[..], false, "tls_alert_received"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", false, "tls_protocol_error"),
        (b"", true, "connection_terminated"),
        (b"", false, "connection_timeout"),
    ] {
        let cell = Script::new(HELLO, answer, then_close).start(&world);
        point(&world, &cell.to_string());
        check(&world, &post(&world, "/"), with(UNREACHABLE, error));
    }
    let line = running::eventually("the count of handshakes", || {
        let page = raw_http::page(world.edge.admin(), "/metrics").text();
        page.lines()
            .find(|line| line.contains("cell-1") && line.contains("result=\"tls\""))
            .map(str::to_owned)
    });
    assert!(line.ends_with(" 5"), "two certificates, an alert, no TLS, a close: {line}");
}
