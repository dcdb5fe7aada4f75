//! How answers come: in pieces, early, late, cut off, and how connections end.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Frame};
use loadtest::body::{is_pattern, pattern_body, sha256_hex};
use loadtest::client::{Ask, FailureKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::*;

#[tokio::test]
async fn events_come_one_by_one() {
    let cell = cell().await;
    for client in clients(&cell) {
        let line = client.open("h").await.unwrap();
        let nothing = StreamBody::new(futures_util::stream::empty());
        // Far longer than what is asked for: we may be stopped between the first event and our clock.
        let mut response = line.stream(&get("sse=3;every_ms=400"), nothing).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let first = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "id: 0\ndata: event 0\n\n");
        let start = Instant::now();
        let rest = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(rest.iter().filter(|byte| **byte == b':').count(), 4);
        assert!(start.elapsed() >= Duration::from_millis(100), "all at once");
    }
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_body() {
    let cell = cell().await;
    for client in clients(&cell) {
        let line = client.open("h").await.unwrap();
        let (sending, body) = upload();
        let ask = get("early").method(Method::POST);
        let response = line.stream(&ask, body).await.unwrap();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let seen: loadtest::cell::Seen = serde_json::from_slice(&text).unwrap();
        assert_eq!(seen.body, None);
        // It goes on reading: the upload can be finished and the connection used again.
        for _ in 0..20 {
            sending.send(vec![0; 50_000].into()).await.unwrap();
        }
        drop(sending);
        let again = line.ask(&Ask::get("h", "/")).await.unwrap().seen().unwrap();
        assert_eq!((again.connection, again.request), (seen.connection, 2));
    }
}

#[tokio::test]
async fn large_bodies_are_streamed_both_ways() {
    const LENGTH: u64 = 5_000_000;
    let cell = cell().await;
    for client in clients(&cell) {
        let line = client.open("h").await.unwrap();
        let ask = get(&format!("body={LENGTH}")).method(Method::POST);
        let response = line.stream(&ask, pattern_body(LENGTH)).await.unwrap();
        let (mut body, mut length) = (response.into_body(), 0);
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(is_pattern(length, &data), "at {length}");
            length += data.len() as u64;
        }
        assert_eq!(length, LENGTH);
        let got = cell.seen().pop().unwrap().body.unwrap();
        let sent = sha256_hex(&loadtest::body::pattern(0, LENGTH as usize));
        assert_eq!((got.bytes, got.sha256), (LENGTH, sent));
    }
}

#[tokio::test]
async fn an_early_close_answers_and_closes() {
    let cell = cell().await;
    let request = "POST / HTTP/1.1\r\nHost: h\r\nX-Sim: early-close\r\nContent-Length: 1000000\r\n\r\nabc";
    let answer = wire(&cell, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn an_echo_is_full_duplex() {
    let cell = cell().await;
    for client in clients(&cell) {
        let line = client.open("h").await.unwrap();
        let (sending, body) = upload();
        let ask = get("echo").method(Method::POST);
        let response = line.stream(&ask, body).await.unwrap();
        let mut answer = response.into_body();
        for part in ["one", "two"] {
            sending.send(part.into()).await.unwrap();
            let frame = answer.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), part);
        }
        drop(sending);
        assert!(answer.collect().await.unwrap().to_bytes().is_empty());
    }
}

#[tokio::test]
async fn informational_responses_come_first() {
    let cell = cell().await;
    let [h1, _] = clients(&cell);
    let line = h1.open("h").await.unwrap();
    let reply = line.ask(&get("info=100;info103;delay_ms=50")).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.informational), (200, vec![100, 103]));
    let reply = line.ask(&get("")).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.informational.len()), (200, 0));
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_and_then_sends() {
    let cell = cell().await;
    let mut stream = TcpStream::connect(cell.addr()).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ok").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 OK"), "{rest}");
    assert!(cell.seen()[0].exact);
}

#[tokio::test]
async fn answers_break_off_as_asked() {
    let cell = cell().await;
    for client in clients(&cell) {
        let cut = client.ask(&get("body=100000;cut=20000")).await.unwrap_err();
        assert_eq!(cut.kind(true), FailureKind::Body, "{cut}");
        let abort = client.ask(&get("abort")).await.unwrap_err();
        assert_eq!(abort.kind(true), FailureKind::LostNew, "{abort}");
        let line = client.open("h").await.unwrap();
        let ask = get("hang");
        let hang = tokio::time::timeout(NEVER, line.ask(&ask));
        assert!(hang.await.is_err(), "the body came");
    }
}

#[tokio::test]
async fn a_connection_ends_announced_or_not() {
    let cell = cell().await;
    for client in clients(&cell) {
        for control in ["close", "hangup_ms=20"] {
            let line = client.open("h").await.unwrap();
            assert_eq!(line.ask(&get(control)).await.unwrap().status, 200);
            assert!(line.closes(SOON).await, "{control}");
        }
    }
    let [h1, _] = clients(&cell);
    let announced = h1.ask(&get("close")).await.unwrap();
    assert_eq!(announced.header("connection"), Some("close"));
    let silent = h1.ask(&get("hangup_ms=20")).await.unwrap();
    assert_eq!(silent.header("connection"), None);
}

/// A request body of the chunks that are sent.
fn upload() -> (mpsc::Sender<Bytes>, impl Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static) {
    let (sending, chunks) = mpsc::channel::<Bytes>(1);
    let body = futures_util::stream::unfold(chunks, async |mut chunks: mpsc::Receiver<_>| {
        Some((Ok(Frame::data(chunks.recv().await?)), chunks))
    });
    (sending, StreamBody::new(Box::pin(body)))
}
