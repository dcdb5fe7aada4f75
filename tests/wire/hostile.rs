//! A hostile cell: answers that are too long, too short, too many or no answers. The client that asked may get
//! an error; the next client of the same cell must get its own answer, and nothing of another's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::canonical::Message;
use crate::client::{converse, probe};
use crate::edge::{CELLS, Edge, account};

/// What the client that asked may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// An answer of ours in place of the cell's.
    Refused,
    /// The cell's answer, whole.
    Answered,
    /// A beginning that shows that it is not whole.
    BrokenOff,
    /// Anything that is canonical.
    Either,
}

use Expect::{Answered, BrokenOff, Either, Refused};

/// One evil answer: in pieces, with a pause between them.
struct Case {
    name: String,
    method: &'static str,
    /// Field lines of the request.
    fields: &'static str,
    pieces: Vec<Vec<u8>>,
    /// The cell closes behind it.
    closes: bool,
    expect: Expect,
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// As many as the README says.
const ANSWERS: usize = 144;

/// What nobody must ever see who did not ask for it.
const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Poison: 1\r\n\r\nPOISON";

/// So long after the first piece the exchange is over and its connection would be idle.
const PAUSE: Duration = Duration::from_millis(15);

/// Longer than a cell takes for anything that it says.
const SAID: Duration = Duration::from_secs(20);

fn case(name: impl Into<String>, expect: Expect, pieces: &[&str]) -> Case {
    let pieces = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
    Case { name: name.into(), method: "GET", fields: "", pieces, closes: false, expect }
}

fn cases() -> Vec<Case> {
    let mut all = extra();
    all.extend(framing());
    all.extend(heads());
    all.extend(interim());
    all
}

/// More than was asked for, at once and later.
fn extra() -> Vec<Case> {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let mut all = Vec::new();
    for (name, answer) in [
        ("length", OK),
        ("chunks", chunked),
        ("204", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("304", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
        ("length 0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        for extra in
            [POISON, "x", "\r\n", "\0", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 408 Timeout\r\n\r\n"]
        {
            all.push(case(format!("{name}, then {extra:?}"), Answered, &[&format!("{answer}{extra}")]));
            all.push(case(format!("{name}, later {extra:?}"), Answered, &[answer, extra]));
        }
    }
    for status in ["204 No Content", "304 Not Modified"] {
        let body = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{POISON}", POISON.len());
        all.push(case(format!("{status} with a body"), Either, &[&body]));
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{POISON}", POISON.len());
    all.push(Case { method: "HEAD", ..case("HEAD with a body", Answered, &[&head]) });
    let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{POISON}");
    all.push(Case { method: "HEAD", ..case("HEAD with chunks", Answered, &[&head]) });
    all
}

/// Bodies that end in no one place.
fn framing() -> Vec<Case> {
    let with = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}{POISON}");
    let mut all = Vec::new();
    for (fields, expect) in [
        ("Content-Length: 5\r\nContent-Length: 6", Refused),
        ("Content-Length: 5, 6", Refused),
        ("Content-Length: +5", Refused),
        ("Content-Length: -5", Refused),
        ("Content-Length: 0x5", Refused),
        ("Content-Length: 5 5", Refused),
        ("Content-Length: 99999999999999999999999", Refused),
        ("Content-Length: 5\r\nContent-Length: 5", Refused),
        ("Content-Length: 5, 5", Refused),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", Refused),
        ("Transfer-Encoding: gzip, chunked", Refused),
        ("Transfer-Encoding: chunked, chunked", Refused),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Refused),
        ("Transfer-Encoding: xchunked", Refused),
        ("Transfer-Encoding: identity", Refused),
        ("Transfer-Encoding: \x0bchunked", Refused),
    ] {
        all.push(case(fields, expect, &[&with(fields, "5\r\nhello\r\n0\r\n\r\n")]));
    }
    for body in [
        "5\r\nhelloXX0\r\n\r\n",
        "5x\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n",
        "\r\nhello",
        "5\r\nhello\r\n0\r\nX-Cellgate-Account: 1\r\nContent-Length: 3\r\n\r\n",
    ] {
        all.push(case(format!("chunks {body:?}"), Either, &[&with("Transfer-Encoding: chunked", body)]));
    }
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello";
    all.push(Case { closes: true, ..case("short body", BrokenOff, &[short]) });
    let short = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel";
    all.push(Case { closes: true, ..case("short chunk", BrokenOff, &[short]) });
    all
}

/// Heads that are none, or too large.
fn heads() -> Vec<Case> {
    let mut all = Vec::new();
    for head in [
        "HTTP/1.1 200 OK\r\nX: a\0b",
        "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: evil=1",
        "HTTP/1.1 200 OK\r\nno colon",
        "HTTP/1.1 200 OK\r\n: empty",
        "HTTP/1.1 200 OK\r\nX y: z",
        "HTTP/1.1 200 OK\r\nX: \x01",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 abc OK",
        "HTTP/1.1 000 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1  200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/0.9 200 OK",
        "HTTP/3 200",
        "ICY 200 OK",
        "http/1.1 200 OK",
        "SSH-2.0-OpenSSH",
        "\0\0\0",
        "GET / HTTP/1.1\r\nHost: old.test",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
    ] {
        let bytes = format!("{head}\r\nContent-Length: 5\r\n\r\nhello{POISON}");
        all.push(Case { closes: true, ..case(format!("head {head:?}"), Refused, &[&bytes]) });
    }
    // Read as many servers of one's own making mean them, and never passed on like this.
    for lenient in ["\nX: y", "\r\nX : y", "\r\nX: y\r\n z", "\r\nX: y\n z"] {
        let bytes = format!("HTTP/1.1 200 OK{lenient}\r\nContent-Length: 5\r\n\r\nhello");
        all.push(case(format!("lenient {lenient:?}"), Either, &[&bytes]));
    }
    for (name, fields, expect) in [
        ("30 kB of fields", format!("X: {}\r\n", "y".repeat(30_000)), Answered),
        ("one field of 100 kB", format!("X: {}\r\n", "y".repeat(100_000)), Refused),
        ("one field of 2 MB", format!("X: {}\r\n", "y".repeat(2_000_000)), Refused),
        ("2000 fields", "X: y\r\n".repeat(2000), Refused),
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{fields}\r\nhello");
        all.push(case(name, expect, &[&bytes]));
    }
    for kept in ["99999999999999999999", "-5", "0", "Wed, 21 Oct 1999 07:28:00 GMT", "soon"] {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nRetry-After: {kept}\r\n\r\nhello");
        all.push(case(format!("kept Retry-After: {kept}"), Answered, &[&bytes]));
    }
    for field in [
        "X-Cellgate-Account: 1",
        "x-cellgate-outcome: not-forwarded",
        "X_Cellgate_Account: 1",
        "X-Cellgate-Anything: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Authenticate: Basic",
        "Upgrade: h2c",
        "Trailer: X",
        "TE: trailers",
        "Connection: X-Hop\r\nX-Hop: 1",
        "Connection: close, X-Hop, Content-Length\r\nX-Hop: 1",
        "Proxy-Connection: keep-alive",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{field}\r\n\r\nhello");
        all.push(case(format!("field {field:?}"), Answered, &[&bytes]));
    }
    all
}

/// Answers before the answer.
fn interim() -> Vec<Case> {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let switched = |upgrade: &str| {
        format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{upgrade}\r\n{POISON}")
    };
    let asked = |name: &str, upgrade: &str| Case {
        fields: websocket,
        closes: true,
        ..case(name, Refused, &[&switched(upgrade)])
    };
    vec![
        case("three hints", Answered, &[&format!("{}{OK}", hint.repeat(3))]),
        case("a flood of hints", Refused, &[&format!("{}{OK}", hint.repeat(5_000))]),
        case("a flood of 100", Refused, &[&format!("{}{OK}", "HTTP/1.1 100 Continue\r\n\r\n".repeat(5_000))]),
        case(
            "a hint with a length",
            Either,
            &[&format!("HTTP/1.1 103 H\r\nContent-Length: 5\r\n\r\nhello{OK}")],
        ),
        case("101 unasked", Refused, &[&switched("Upgrade: websocket\r\n")]),
        case("101 unasked, then an answer", Refused, &[&switched(""), OK]),
        asked("101 to something else", "Upgrade: h2c\r\n"),
        asked("101 to two things", "Upgrade: websocket, h2c\r\n"),
        asked("101 to nothing", ""),
    ]
}

/// Answers each request on a connection: those that ask for a case with it, all others as they should. Tells the number of
/// the case of which it has nothing more to say.
async fn cell(mut stream: TcpStream, cases: &[Case], played: &watch::Sender<Option<usize>>) {
    let mut bytes = Vec::new();
    loop {
        let head = loop {
            if let Some(head) = Message::head(&bytes) {
                break head;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        bytes.drain(..head.len);
        let asked = head.target.split("/case-").nth(1).and_then(|number| number.parse::<usize>().ok());
        let Some((number, case)) = asked.and_then(|number| Some((number, cases.get(number)?))) else {
            let id = head.field("x-request-id").unwrap_or_default();
            let text = format!("[cell=raw id={id} target={}]", head.target);
            let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
            continue;
        };
        let said = say(&mut stream, &case.pieces).await;
        // A request that was sent again is answered twice, and the second time may end after the next case began.
        played.send_modify(|played| *played = (*played).max(Some(number)));
        if said.is_err() || case.closes {
            return;
        }
    }
}

async fn say(stream: &mut TcpStream, pieces: &[Vec<u8>]) -> std::io::Result<()> {
    for (number, piece) in pieces.iter().enumerate() {
        if number > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        stream.write_all(piece).await?;
    }
    Ok(())
}

/// Whether the head of an answer has come, and not only such as come before one.
fn is_answered(mut heard: &[u8]) -> bool {
    while let Some(end) = heard.windows(4).position(|four| four == b"\r\n\r\n") {
        if !heard.starts_with(b"HTTP/1.1 1") || heard.starts_with(b"HTTP/1.1 101") {
            return true;
        }
        heard = &heard[end + 4..];
    }
    false
}

/// What is wrong with what a client heard.
fn wrong(case: &Case, heard: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(heard);
    let mut rest = &*text;
    while rest.starts_with("HTTP/1.1 1") && !rest.starts_with("HTTP/1.1 101") {
        rest = rest.split_once("\r\n\r\n").map_or("", |(_, rest)| rest);
    }
    let (head, body) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
    let lines: Vec<&str> = head.split("\r\n").collect();
    let status = lines[0].strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3)).unwrap_or("none");
    let field = |name: &str| {
        let named =
            |line: &&&str| line.split_once(':').is_some_and(|(field, _)| field.eq_ignore_ascii_case(name));
        lines.iter().filter(named).count()
    };
    let ours = text.contains("proxy-status: cellgate");
    let whole = status != "none" && field("content-length") + field("transfer-encoding") <= 1;
    let fits = match case.expect {
        Refused => ours && status == "502",
        Answered => whole && !ours && matches!(status, "200" | "204" | "304"),
        BrokenOff => {
            let begun = body.starts_with("hello") || body.starts_with("3\r\nhel");
            !ours && status == "200" && begun && !body.ends_with("0\r\n\r\n")
        }
        Either => whole,
    };
    let of_one_hop = [
        "keep-alive",
        "upgrade",
        "trailer",
        "te",
        "x-hop",
        "proxy-authenticate",
        "proxy-connection",
        "x_cellgate_account",
    ];
    let leaked = of_one_hop.iter().find(|name| field(name) > 0);
    let lower = text.to_ascii_lowercase();
    let spoofed = !ours && lower.contains("x-cellgate-");
    let bare = head.split("\r\n").any(|line| line.contains(['\r', '\n', '\0']));
    let poisoned =
        case.method == "HEAD" && !body.is_empty() || lower.contains("x-poison") || text.contains("evil=1");
    // What is for the client alone is passed on as it is; names have no case.
    let lost = case.name.strip_prefix("kept ");
    let lost = lost.filter(|kept| !lines.iter().any(|line| line.eq_ignore_ascii_case(kept)));
    let bad = lost.is_some() || !fits || leaked.is_some() || spoofed || bare || poisoned;
    let shown = text.chars().take(600).collect::<String>();
    bad.then(|| format!("{}: expected {:?}, leaked {leaked:?}, heard {shown:?}", case.name, case.expect))
}

#[test]
fn the_next_client_of_a_hostile_cell_sees_nothing_of_it() {
    let _ = cellgate::listen::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let evil = Arc::new(cases());
    let answers = Arc::clone(&evil);
    let (told, mut played) = watch::channel(None);
    let told = Arc::new(told);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answers, told) = (Arc::clone(&answers), Arc::clone(&told));
            tokio::spawn(async move { cell(stream, &answers, &told).await });
        }
    });
    let edge = Edge::start([address; CELLS.len()]);
    let client: SocketAddr = edge.addr("http");
    let mut bad = Vec::new();
    for (number, case) in evil.iter().enumerate() {
        let Case { method, fields, .. } = case;
        let path = format!("/api/v2/accounts/{}/case-{number}", account(0));
        let request = format!("{method} {path} HTTP/1.1\r\nHost: old.test\r\n{fields}\r\n");
        runtime.block_on(async {
            // What is broken off is so when its connection ends.
            let enough = |heard: &[u8]| case.expect != BrokenOff && is_answered(heard);
            let heard = converse(client, request.as_bytes(), enough).await;
            bad.extend(wrong(case, &heard));
            // One at once, three more when all has come. Not before what comes later, if anything does: a cell
            // that answers a request before it has read it whole cannot be told from one that answers it.
            let said = played.wait_for(|played| *played == Some(number));
            let said = tokio::time::timeout(SAID, said).await.map(drop);
            bad.extend(said.is_err().then(|| format!("{}: the cell has not said it all", case.name)));
            tokio::time::sleep(PAUSE * u32::from(case.pieces.len() > 1) * 3).await;
            bad.extend(probe(client, "raw", account(0), &format!("{number}-a")).await);
            let ids = ["b", "c", "d"].map(|name| format!("{number}-{name}"));
            let [b, c, d] = &ids;
            let probes = tokio::join!(
                probe(client, "raw", account(0), b),
                probe(client, "raw", account(0), c),
                probe(client, "raw", account(0), d)
            );
            bad.extend(
                [probes.0, probes.1, probes.2]
                    .into_iter()
                    .flatten()
                    .map(|text| format!("{}: {text}", case.name)),
            );
        });
    }
    assert_eq!(evil.len(), ANSWERS);
    assert!(bad.is_empty(), "{}:\n{}", bad.len(), bad.join("\n"));
    drop(edge.end());
}
