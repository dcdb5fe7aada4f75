//! The clients of the lab: one connection a payload, bytes as they are, and a probe behind it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::edge::LEGACY;

/// How long a payload that is not answered is waited for: it may be waiting for more of itself. Shorter only
/// lets less happen, and decides about no finding.
const FIRST_BYTE: Duration = Duration::from_millis(250);

/// Silence after an answer that may be the first of several.
const QUIET: Duration = Duration::from_millis(20);

/// A probe is an ordinary request: silence for so long is a finding, and so is that of whoever must be answered.
const PROBE: Duration = Duration::from_secs(20);

/// Sends a payload piece by piece, and returns what came back until nothing did.
pub async fn deliver(address: SocketAddr, pieces: &[Vec<u8>], http2: bool) -> Vec<u8> {
    let mut heard = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address).await else { return heard };
    // So that pieces stay pieces.
    let _ = stream.set_nodelay(true);
    for (number, piece) in pieces.iter().enumerate() {
        if number > 0 {
            listen(&mut stream, &mut heard, QUIET, |_| false).await;
        }
        if stream.write_all(piece).await.is_err() {
            break;
        }
    }
    let begun = heard.len();
    let answered = |heard: &[u8]| if http2 { is_over(heard) } else { heard.len() > begun };
    listen(&mut stream, &mut heard, FIRST_BYTE, answered).await;
    if !http2 {
        while listen(&mut stream, &mut heard, QUIET, |_| true).await {}
    }
    heard
}

/// Sends a request that is answered somehow, and returns what came back until it is `enough`, and nothing more did.
pub async fn converse(address: SocketAddr, request: &[u8], enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut heard = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address).await else { return heard };
    // Whoever is answered and cut while this is sent can read the answer.
    let _ = stream.write_all(request).await;
    listen(&mut stream, &mut heard, PROBE, enough).await;
    while listen(&mut stream, &mut heard, QUIET, |_| true).await {}
    heard
}

/// Reads until there is enough, nothing for `wait`, or the end. Whether anything came.
async fn listen(
    stream: &mut TcpStream,
    heard: &mut Vec<u8>,
    wait: Duration,
    enough: impl Fn(&[u8]) -> bool,
) -> bool {
    let (before, end) = (heard.len(), Instant::now() + wait);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match timeout(left, stream.read_buf(heard)).await {
            Ok(Ok(read)) if read > 0 && !enough(heard) => {}
            Ok(Ok(read)) if read > 0 => return true,
            Ok(_) => return false,
            Err(_) => return heard.len() > before,
        }
    }
}

/// Whether the last thing that can happen to one HTTP/2 request has happened.
fn is_over(heard: &[u8]) -> bool {
    let mut rest = heard;
    while let [a, b, c, kind, flags, _, _, _, _, after @ ..] = rest {
        let len = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some(next) = after.get(len..) else { return false };
        let ends = matches!(kind, 0 | 1) && flags & 1 == 1;
        if ends || matches!(kind, 3 | 7) {
            return true;
        }
        rest = next;
    }
    false
}

/// Asks for an account on a connection of its own; what is wrong with the answer, if anything.
pub async fn probe(address: SocketAddr, cell: &str, account: u64, id: &str) -> Option<String> {
    let target = format!("/api/v2/accounts/{account}/probe-{id}");
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {LEGACY}\r\nX-Request-Id: probe-{id}\r\nConnection: close\r\n\r\n"
    );
    let mut heard = Vec::new();
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut heard).await
    };
    let ended = timeout(PROBE, exchange).await;
    let heard = String::from_utf8_lossy(&heard);
    let own = format!("[cell={cell} id=probe-{id} target={target}]");
    let is_own =
        heard.starts_with("HTTP/1.1 200 ") && heard.matches("[cell=").count() == 1 && heard.ends_with(&own);
    (!is_own).then(|| format!("the probe {id} to {cell} got {heard:?} ({ended:?})"))
}

/// Answers to other payloads than number `own` in what a client heard.
pub fn crossed(heard: &[u8], own: usize) -> Option<String> {
    let text = String::from_utf8_lossy(heard);
    let foreign = text.split("[cell=").skip(1).find(|answer| {
        let answer = answer.split(']').next().unwrap_or_default();
        let tag = answer.split(['/', '?', '=']).find_map(tag_of);
        tag.is_some_and(|tag| tag != own) || answer.contains("probe-")
    });
    foreign.map(|answer| format!("payload {own} got {answer:?}"))
}

/// The number in `t000123` or `s000123`, which are payloads' names for themselves and for what they hide.
fn tag_of(segment: &str) -> Option<usize> {
    let digits = segment.strip_prefix(['t', 's'])?.get(..6)?;
    digits.parse().ok()
}

#[test]
fn an_answer_to_another_payload_is_seen() {
    let answer =
        |text: &str| crossed(format!("HTTP/1.1 200 OK\r\n\r\n[cell=raw id=x target={text}]").as_bytes(), 12);
    assert_eq!(answer("/api/v2/accounts/1001/t000012?x"), None);
    assert_eq!(answer("/api/v2/accounts/1001/s000012"), None);
    assert_eq!(answer("/anything"), None);
    assert!(answer("/api/v2/accounts/1001/t000013").is_some());
    assert!(answer("/api/v2/accounts/1001/probe-7").is_some());
}
