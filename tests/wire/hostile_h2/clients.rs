//! Clients of a hostile HTTP/2 cell: what they heard, over HTTP/1.1 as bytes and over HTTP/2 through a library.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use loadtest::client::{Ask, Client, Http, Line, SendError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::cell::Progress;
use crate::edge::LEGACY;

/// Whoever has not heard anything for so long never will.
const PATIENCE: Duration = Duration::from_secs(40);

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    pub account: u64,
    /// Also its `X-Request-Id`.
    pub id: String,
    pub body: String,
    /// The end of the body, sent when the cell has played its case.
    pub rest: &'static str,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// 0 where there was no head.
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// It ended as it should.
    pub whole: bool,
    /// Its stream was reset.
    pub reset: bool,
    /// Bytes after its end, or what is not HTTP.
    pub extra: Option<String>,
}

impl Heard {
    /// Whether it is an answer of cellgate's own.
    pub fn is_ours(&self) -> bool {
        self.fields.iter().any(|(name, value)| name == "proxy-status" && value.starts_with("cellgate"))
    }

    /// Whether it is this whole answer of a cell.
    pub fn is(&self, body: &str) -> bool {
        self.status == 200 && self.whole && !self.is_ours() && self.body == body.as_bytes()
    }
}

/// How cellgate is asked.
#[derive(Clone)]
pub enum Asker {
    /// Each request on a connection of its own.
    H1(SocketAddr),
    /// All on one.
    H2(Line),
}

impl Asker {
    pub async fn new(http: Http, address: SocketAddr) -> Self {
        match http {
            Http::H1 => Self::H1(address),
            Http::H2 => Self::H2(Client::new(address, Http::H2).open(LEGACY).await.unwrap()),
        }
    }

    /// Asks and hears all of the answer. `cell` tells when the rest of the body may go.
    pub async fn ask(&self, request: &Request, cell: watch::Receiver<Progress>) -> Heard {
        let heard = async {
            match self {
                Self::H1(address) => over_h1(*address, request, cell).await.unwrap_or_default(),
                Self::H2(line) => over_h2(line, request, cell).await,
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap_or_default()
    }
}

async fn played(mut cell: watch::Receiver<Progress>) {
    let _ = cell.wait_for(|progress| progress.played > 0).await;
}

async fn over_h1(
    address: SocketAddr,
    request: &Request,
    cell: watch::Receiver<Progress>,
) -> std::io::Result<Heard> {
    let Request { method, account, id, body, rest } = request;
    let length = body.len() + rest.len();
    let framing = if length > 0 { format!("Content-Length: {length}\r\n") } else { String::new() };
    let head = format!(
        "{method} /api/v2/accounts/{account}/x HTTP/1.1\r\nHost: {LEGACY}\r\nX-Request-Id: {id}\r\n{framing}\
         Connection: close\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(head.as_bytes()).await?;
    if !rest.is_empty() {
        played(cell).await;
        // cellgate may have answered and closed already.
        let _ = stream.write_all(rest.as_bytes()).await;
    }
    let mut heard = Vec::new();
    // A reset after an answer takes nothing of it away.
    let _ = stream.read_to_end(&mut heard).await;
    Ok(parse(&heard, *method == "HEAD"))
}

/// Reads an answer of HTTP/1.1 whose connection is over.
fn parse(mut heard: &[u8], head_only: bool) -> Heard {
    let (head, mut rest) = loop {
        let Some(end) = heard.windows(4).position(|four| four == b"\r\n\r\n") else {
            let extra = (!heard.is_empty()).then(|| String::from_utf8_lossy(heard).into_owned());
            return Heard { extra, ..Heard::default() };
        };
        let head = String::from_utf8_lossy(&heard[..end]).into_owned();
        heard = &heard[end + 4..];
        if !head.starts_with("HTTP/1.1 1") {
            break (head, heard);
        }
    };
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let fields: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap_or((line, "no field")))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    let status = status.unwrap_or(0);
    let (mut body, mut whole) = (Vec::new(), false);
    if head_only || matches!(status, 204 | 304) {
        whole = true;
    } else if field("transfer-encoding").is_some() {
        while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
            let size = std::str::from_utf8(&rest[..line]).ok();
            let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else { break };
            let chunk = &rest[line + 2..];
            body.extend_from_slice(&chunk[..size.min(chunk.len())]);
            rest = chunk.get(size + 2..).unwrap_or_default();
            if size == 0 {
                whole = true;
                break;
            }
        }
    } else {
        let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(usize::MAX);
        body.extend_from_slice(&rest[..length.min(rest.len())]);
        whole = body.len() == length;
        rest = &rest[body.len()..];
    }
    let extra = (whole && !rest.is_empty()).then(|| String::from_utf8_lossy(rest).into_owned());
    Heard { status, fields, body, whole, extra, ..Heard::default() }
}

async fn over_h2(line: &Line, request: &Request, cell: watch::Receiver<Progress>) -> Heard {
    let Request { method, account, id, body, rest } = request.clone();
    let mut ask = Ask::get(LEGACY, &format!("/api/v2/accounts/{account}/x")).header("x-request-id", &id);
    ask.method = method.parse().unwrap();
    let pieces: VecDeque<Bytes> = [body.into(), Bytes::from_static(rest.as_bytes())]
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .collect();
    let first = pieces.len();
    let body = stream::unfold((pieces, cell), move |(mut pieces, cell)| async move {
        let piece = pieces.pop_front()?;
        if pieces.len() + 1 < first {
            played(cell.clone()).await;
        }
        Some((Ok::<_, std::convert::Infallible>(Frame::data(piece)), (pieces, cell)))
    });
    let sent = if first == 0 {
        line.stream(&ask, http_body_util::Empty::new()).await
    } else {
        line.stream(&ask, StreamBody::new(body)).await
    };
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) => return Heard { reset: is_reset(&error), ..Heard::default() },
    };
    let (head, mut body) = answer.into_parts();
    let mut heard = Heard { status: head.status.as_u16(), fields: texts(&head.headers), ..Heard::default() };
    loop {
        match body.frame().await {
            None => heard.whole = true,
            Some(Err(_)) => {}
            Some(Ok(frame)) => {
                match frame.into_data() {
                    Ok(bytes) => heard.body.extend_from_slice(&bytes),
                    Err(frame) => heard.trailers = frame.trailers_ref().map(texts).unwrap_or_default(),
                }
                continue;
            }
        }
        return heard;
    }
}

/// Whether cellgate has reset the stream, and not the connection or the test's patience ended.
fn is_reset(error: &SendError) -> bool {
    let SendError::Http(error) = error else { return false };
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    causes
        .filter_map(|cause| cause.downcast_ref::<h2::Error>())
        .any(|error| error.is_reset() && error.is_remote())
}

fn texts(fields: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

#[test]
fn an_answer_is_whole_or_seen_not_to_be() {
    let of = |bytes: &str| parse(bytes.as_bytes(), false);
    let chunked = "HTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    assert!(!of(chunked).whole);
    assert!(of(&format!("{chunked}0\r\n\r\n")).is("hello"));
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel";
    assert!(!of(length).whole && of(&format!("{length}lo")).is("hello"));
    for longer in [format!("{length}lomore"), format!("{chunked}0\r\n\r\nmore"), "more".to_owned()] {
        assert_eq!(of(&longer).extra.as_deref(), Some("more"), "{longer:?}");
    }
}
