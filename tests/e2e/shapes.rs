//! The 28 request shapes of real clients, over real sockets: HTTP/1.1 in plain text and with TLS, byte by
//! byte, and HTTP/2 with and without TLS. Each reaches the cell of its account as it was sent, and what
//! `cellgate explain` says beforehand is what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use aws_lc_rs::digest;
use loadtest::call;
use loadtest::cell::Seen;
use loadtest::client::{Ask, Http};
use loadtest::socket;
use serde_json::Value;

use crate::raw_http::{self, Connection, RawReply};
use crate::running::{access_line, authority};
use crate::world::World;

/// What happens to each shape under the example configuration, in the order of the file: cell, source,
/// account, `!` and the source that disagrees, or a status and a refusal.
const EXPECT: [&str; 28] = [
    "cell-2 credential 12345",                       // Terraform: list accounts
    "cell-2 path 12345",                             // Terraform: brackets in the query
    "cell-2 path 12345",                             // Terraform: POST without a slash
    "cell-1 host_prefix 70403103966603 !credential", // Terraform: PATCH on the own address
    "cell-2 path 12345",                             // Airflow: trigger
    "cell-2 credential 12345",                       // Airflow: GET /
    "cell-2 path 12345",                             // Dagster
    "cell-2 path 12345",                             // Prefect
    "cell-2 credential 12345",                       // Prefect: metadata
    "cell-1 host_prefix 70403103966603",             // MCP: discovery
    "cell-1 host_prefix 70403103966603",             // MCP: remote
    "cell-1 host_prefix 70403103966603",             // MCP: OAuth
    "cell-2 credential 12345",                       // Semantic Layer SDK
    "cell-1 host_prefix 70403103966603 !credential", // Arrow Flight SQL
    "cell-1 credential 70403103966603",              // Fusion: whoami
    "cell-2 path 70437463654557 !credential",        // Fusion: manifest
    "cell-2 path 12345",                             // jobs-as-code
    "cell-2 path 12345",                             // dbtc
    "cell-2 path 12345",                             // GitHub action
    "cell-3 path 70471823417825 !credential",        // Airbyte
    "cell-2 credential 12345",                       // DataHub
    "cell-2 path 12345",                             // OpenMetadata
    "cell-2 path 12345 !credential",                 // curl
    "cell-2 path 12345",                             // Okta SCIM
    "cell-2 path 70437463654557",                    // browser: a run
    "cell-2 cookie 70437463654557",                  // browser: CLI config
    "cell-1 host_prefix 70403103966603 !cookie",     // browser: IDE websocket
    "404 unmapped_account path 999999999 !credential",
];

/// The deprecation dates of the example's schedule `legacy`.
const DEPRECATION: &str = "@1769904000";
const SUNSET: &str = "Sun, 01 Nov 2026 00:00:00 GMT";

/// Fields that cellgate adds or replaces for a cell; everything else comes from the client.
const ADDED: [&str; 12] = [
    "host",
    "content-length",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-request-id",
    "traceparent",
    "via",
    "x-cellgate-account",
    "x-cellgate-cell",
    "x-cellgate-generation",
    "x-cellgate-attempt",
];

pub(crate) struct Shape {
    client: String,
    method: String,
    host: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    pub(crate) expect: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Grpc,
    WebSocket,
}

/// What came of sending a shape.
struct Sent {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    seen: Option<Seen>,
}

impl Sent {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.headers.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }
}

#[test]
fn every_shape_over_plain_http1_byte_by_byte() {
    let world = World::example();
    let mut sent = 0;
    for shape in shapes().iter().filter(|shape| shape.kind() != Kind::Grpc) {
        let connection = raw_http::tcp(world.edge.addr("http"));
        check(&world, shape, "http", &over_h1(&world, shape, connection));
        sent += 1;
    }
    assert_eq!(sent, 27, "all but gRPC, which is HTTP/2 only");
}

#[test]
fn every_shape_over_http1_with_tls_as_explained() {
    let world = World::example();
    for shape in shapes().iter().filter(|shape| shape.kind() != Kind::Grpc) {
        let explained = explain(&world, shape);
        let connection = raw_http::tls(world.edge.addr("https"), &shape.host, authority().ca_pem());
        let sent = over_h1(&world, shape, connection);
        check(&world, shape, "https", &sent);
        compare(shape, &explained, &sent);
    }
}

#[test]
fn every_shape_over_http2_with_tls() {
    let world = World::example();
    for shape in &shapes() {
        let sent = over_h2(&world, shape, true);
        check(&world, shape, "https", &sent);
    }
}

#[test]
fn every_shape_over_http2_without_tls() {
    let world = World::example();
    for shape in &shapes() {
        let sent = over_h2(&world, shape, false);
        check(&world, shape, "http", &sent);
    }
}

pub(crate) fn shapes() -> Vec<Shape> {
    let rows: Vec<&str> = include_str!("../../src/replay/request_shapes.jsonl").lines().collect();
    assert_eq!(rows.len(), EXPECT.len());
    rows.iter().zip(EXPECT).map(|(row, expect)| Shape::read(row, expect)).collect()
}

impl Shape {
    fn read(row: &str, expect: &'static str) -> Self {
        let row: Value = serde_json::from_str(row).unwrap();
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let headers = row["headers"].as_object().unwrap().iter();
        let headers = headers.filter(|(name, _)| !name.starts_with(':'));
        let headers: Vec<_> =
            headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        let mut shape = Self {
            client: text("client"),
            method: text("method"),
            host: text("host"),
            target: text("path"),
            headers,
            body: Vec::new(),
            expect,
        };
        shape.body = shape.body(&text("note"));
        shape
    }

    /// The body that the note gives, or one that the content type asks for.
    fn body(&self, note: &str) -> Vec<u8> {
        if let Some((_, rest)) = note.split_once("body={") {
            let rest = format!("{{{rest}");
            let mut values = serde_json::Deserializer::from_str(&rest).into_iter::<Value>();
            values.next().unwrap().unwrap();
            return rest.as_bytes()[..values.byte_offset()].to_vec();
        }
        let kind = self.header("content-type").unwrap_or("");
        match (self.method.as_str(), kind) {
            ("GET", _) => Vec::new(),
            (_, "application/x-www-form-urlencoded") => b"grant_type=refresh_token&refresh_token=FAKE".into(),
            (_, "application/json") if self.target.ends_with("graphql") => {
                br#"{"query":"query($e:BigInt!){x}","variables":{"environmentId":88991}}"#.into()
            }
            _ => Vec::new(),
        }
    }

    fn kind(&self) -> Kind {
        if self.header("upgrade").is_some() {
            return Kind::WebSocket;
        }
        if self.header("content-type") == Some("application/grpc") { Kind::Grpc } else { Kind::Plain }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// On the wire of HTTP/1.1: names in the file's case and order.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.host);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if self.method != "GET" {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }

    /// For HTTP/2, whose connection-specific fields are gone (RFC 9113 section 8.2.2).
    fn ask(&self) -> Ask {
        let mut ask = Ask::post(&self.host, &self.target, self.body.clone())
            .method(http::Method::from_bytes(self.method.as_bytes()).unwrap());
        for (name, value) in &self.headers {
            let hop = ["connection", "upgrade", "sec-websocket-key", "sec-websocket-version"];
            if !hop.iter().any(|hop| name.eq_ignore_ascii_case(hop)) {
                ask = ask.header(name, value);
            }
        }
        ask
    }
}

/// Ends the connection: a tunnel is logged when it is over.
fn over_h1(world: &World, shape: &Shape, mut connection: impl Connection) -> Sent {
    forget(world);
    let connection = &mut connection;
    let reply = raw_http::ask(connection, &shape.bytes()).unwrap();
    if shape.kind() == Kind::WebSocket {
        // RFC 6455 section 1.3 has this key and its answer.
        assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        echo_by_hand(connection);
    }
    let RawReply { status, headers, body } = reply;
    Sent { status, headers, body, seen: arrived(world) }
}

/// One masked text frame and its echo (RFC 6455 section 5.2).
fn echo_by_hand(connection: &mut dyn Connection) {
    connection.write_all(b"\x81\x85\0\0\0\0hello").unwrap();
    connection.flush().unwrap();
    let mut frame = [0; 7];
    connection.read_exact(&mut frame).unwrap();
    assert_eq!(&frame, b"\x81\x05hello");
}

fn over_h2(world: &World, shape: &Shape, tls: bool) -> Sent {
    forget(world);
    let client = if tls { world.edge.tls(Http::H2) } else { world.edge.plain(Http::H2) };
    let (status, headers, body) = world.block_on(async {
        let ask = shape.ask();
        match shape.kind() {
            Kind::Plain => {
                let reply = client.ask(&ask).await.unwrap();
                (reply.status, reply.headers, reply.body)
            }
            Kind::Grpc => {
                let mut ask = ask;
                ask.body = call::call("", "", &[b"ticket"]).body;
                let line = client.open(&shape.host).await.unwrap();
                let reply = call::finish(&line, &ask).await.unwrap();
                assert_eq!((reply.status(), reply.trailers_only), (Some(0), false), "{reply:?}");
                assert_eq!(reply.messages, [&b"ticket"[..]]);
                (reply.http_status, reply.headers, reply.messages[0].clone())
            }
            Kind::WebSocket => {
                let mut socket = socket::open(&client, &ask).await.unwrap();
                echo(&mut socket).await;
                (http::StatusCode::OK, socket.headers.clone(), Default::default())
            }
        }
    });
    let headers = headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    Sent { status: status.as_u16(), headers: headers.collect(), body: body.into(), seen: arrived(world) }
}

async fn echo(socket: &mut socket::Socket) {
    use futures_util::{SinkExt, StreamExt};
    use socket::tungstenite::Message;
    socket.stream.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.stream.next().await.unwrap().unwrap(), Message::text("hello"));
}

fn forget(world: &World) {
    world.cells.values().for_each(loadtest::cell::RunningCell::forget);
}

/// The one request that reached a cell, if any did.
fn arrived(world: &World) -> Option<Seen> {
    let mut seen: Vec<Seen> = world.cells.values().flat_map(|cell| cell.seen()).collect();
    assert!(seen.len() < 2, "one request, one cell: {seen:#?}");
    seen.pop()
}

/// Everything that must hold of a shape, however it was sent.
fn check(world: &World, shape: &Shape, scheme: &str, sent: &Sent) {
    let what = format!("{} {} {}{} ({scheme})", shape.client, shape.method, shape.host, shape.target);
    let id = sent.header("x-request-id").unwrap_or_default();
    let line = access_line(&world.edge.folder, id);
    assert_eq!(told(&line, &line["refusal"]), shape.expect, "{what}: {line}");
    assert_eq!(line["scheme"], scheme, "{what}");
    let legacy = shape.host.ends_with("getdbt.com");
    let dates = legacy.then_some((DEPRECATION, SUNSET));
    assert_eq!(sent.header("deprecation").zip(sent.header("sunset")), dates, "{what}: {:?}", sent.headers);
    let links: Vec<&str> = sent.all("link").collect();
    assert_eq!(links.iter().any(|link| link.contains("rel=\"deprecation\"")), legacy, "{what}: {links:?}");
    let Some(seen) = &sent.seen else {
        assert_eq!(sent.status, 404, "{what}");
        assert!(!links.iter().any(|link| link.contains("successor-version")), "{what}: {links:?}");
        let body: Value = serde_json::from_slice(&sent.body).unwrap();
        assert_eq!(body["status"]["code"], 404, "{what}: {body}");
        return;
    };
    let successor = links.iter().any(|link| link.contains("rel=\"successor-version\""));
    assert_eq!(successor, legacy && sent.status < 300, "{what}: {links:?}");
    check_arrival(shape, scheme, seen, &what);
}

/// What reached the cell is what was sent.
fn check_arrival(shape: &Shape, scheme: &str, seen: &Seen, what: &str) {
    let mut expect = shape.expect.split(' ');
    let (cell, _, account) = (expect.next(), expect.next(), expect.next());
    assert_eq!(Some(seen.cell.as_str()), cell, "{what}");
    assert_eq!(seen.header("x-cellgate-cell"), cell, "{what}");
    assert_eq!(seen.header("x-cellgate-account"), account, "{what}");
    assert_eq!(seen.header("x-forwarded-host"), Some(shape.host.as_str()), "{what}");
    assert_eq!(seen.header("x-forwarded-proto"), Some(scheme), "{what}");
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        (shape.method.as_str(), &*shape.target),
        "{what}"
    );
    let authority = seen.authority.as_deref().or(seen.header("host"));
    assert_eq!(authority, Some(shape.host.as_str()), "{what}");
    if let (Kind::Plain, Some(body)) = (shape.kind(), &seen.body) {
        assert_eq!((body.bytes, &body.sha256), (shape.body.len() as u64, &sha256(&shape.body)), "{what}");
    }
    let mut known: BTreeSet<String> = ADDED.iter().map(|name| (*name).to_owned()).collect();
    for (name, value) in &shape.headers {
        known.insert(name.to_ascii_lowercase());
        // For one hop only; the tunnel's are our own, and over HTTP/2 there is no key to pass on.
        let hop = ["connection", "te", "upgrade", "sec-websocket-key"].contains(&&*name.to_ascii_lowercase());
        let arrived: Vec<&str> = seen.headers(name).collect();
        assert!(hop || arrived == [value.as_str()], "{what}: {name} arrived as {arrived:?}");
    }
    let strangers: Vec<_> =
        seen.headers.iter().filter(|(name, _)| !known.contains(&name.to_ascii_lowercase())).collect();
    assert!(strangers.is_empty(), "{what}: nobody sent {strangers:?}");
}

/// A decision as [`EXPECT`] has it, from a line of the access log or from `explain`.
fn told(line: &Value, refusal: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut told = match line["cell"].as_str() {
        Some(cell) => cell.to_owned(),
        None => format!("{} {}", line["status"], text(refusal)),
    };
    told += &format!(" {} {}", text(&line["source"]), text(&line["account"]));
    for conflict in line["conflicts"].as_array().into_iter().flatten() {
        told += &format!(" !{}", text(&conflict["against"]));
    }
    told
}

fn explain(world: &World, shape: &Shape) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.args(["explain", "--output", "json", "--method", &shape.method, "--host", &shape.host]);
    command.args(["--path", &shape.target, "--config"]).arg(world.edge.folder.path("config"));
    for (name, value) in &shape.headers {
        command.args(["--header", &format!("{name}: {value}")]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What was explained is what happened, but for what is new in every request.
fn compare(shape: &Shape, explained: &Value, sent: &Sent) {
    let what = &shape.client;
    let mut flat = explained.clone();
    flat["status"] = explained["refusal"]["status"].clone();
    assert_eq!(told(&flat, &explained["refusal"]["reason"]), shape.expect, "{what}: {explained}");
    let fields = |side: &str| {
        let mut fields = BTreeMap::<String, Vec<String>>::new();
        for pair in explained["headers"][side].as_array().unwrap() {
            let text = |index: usize| pair[index].as_str().unwrap().to_owned();
            fields.entry(text(0)).or_default().push(text(1));
        }
        fields
    };
    if let Some(seen) = &sent.seen {
        for (name, values) in fields("to_cell") {
            // Who asks and on which connection is not known beforehand.
            let new = ["x-request-id", "traceparent", "x-forwarded-for", "x-cellgate-generation"]
                .contains(&name.as_str());
            let arrived: Vec<&str> = seen.headers(&name).collect();
            assert!(new && arrived.len() == 1 || arrived == values, "{what}: {name} {arrived:?} {values:?}");
        }
    }
    for (name, values) in fields("to_client") {
        let got: Vec<&str> = sent.all(&name).collect();
        assert_eq!(got, values, "{what}: {name}");
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
