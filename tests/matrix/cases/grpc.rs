//! gRPC shapes: streamed, never buffered, trailers kept.

use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};

use crate::behave::message;
use crate::client::{BOTH_H2, Body, Call, Fixture, LEGS, Legs, Request, expect_status, messages};
use crate::registry::Saw;
use crate::table::{SOON, Table};

pub fn rows(t: &mut Table) {
    t.add("unary", unary);
    t.add("server stream arrives as it is sent", server_stream);
    t.add("bidi ping-pong", bidi);
    t.add("trailers-only error", error);
    t.add("cancel reaches the cell", cancel);
    t.each("trailers of a response", &[BOTH_H2], |f, l| response_trailers(f, l, true));
    // The engine's HTTP/1 sessions neither read nor write trailers.
    t.each("trailers of a response are dropped", &LEGS[..3], |f, l| response_trailers(f, l, false));
    // Its HTTP/2 server session offers no way to read them, its HTTP/1 session skips them.
    t.all_legs("trailers of a request are dropped", request_trailers);
}

fn request(f: &Fixture, call: &str) -> Request {
    let method = f.request(BOTH_H2, "POST", &format!("grpc?call={call}")).body(Body::Stream);
    method.header("content-type", "application/grpc").header("te", "trailers")
}

async fn status_of(call: &mut Call) -> Result<String> {
    let trailers = call.rx.trailers().await?;
    let status = trailers.iter().find(|(n, _)| n == "grpc-status").map(|(_, v)| v.clone());
    status.ok_or_else(|| anyhow!("no grpc-status in {trailers:?}"))
}

async fn unary(f: Arc<Fixture>) -> Result<String> {
    let mut call = f.call(BOTH_H2, &request(&f, "unary")).await?;
    call.tx.data(message("hi")).await?;
    call.tx.finish(&[]).await?;
    let head = call.head().await?;
    expect_status(&head, &[200])?;
    ensure!(head.first("x-te") == Some("trailers"), "te: trailers did not reach the cell");
    let text = call.rx.text().await?;
    ensure!(messages(text.as_bytes())? == ["got 7"], "message {text:?}");
    ensure!(status_of(&mut call).await? == "0", "wrong grpc-status");
    Ok(String::new())
}

async fn server_stream(f: Arc<Fixture>) -> Result<String> {
    let request = request(&f, "stream&n=10&step=1");
    let mut call = f.call(BOTH_H2, &request).await?;
    call.tx.data(message("hi")).await?;
    call.tx.finish(&[]).await?;
    let head = call.head().await?;
    ensure!(head.first("grpc-status").is_none(), "no stream but {head:?}");
    let (mut pieces, mut all) = (0, Vec::new());
    while let Some(piece) = f.step(&request.id, &mut call.rx).await? {
        pieces += 1;
        all.extend_from_slice(&piece);
    }
    ensure!(messages(&all)?.len() == 10, "not ten messages");
    ensure!(status_of(&mut call).await? == "0", "wrong grpc-status");
    // None was sent before the one before it had come.
    ensure!(pieces >= 10, "ten messages came in {pieces} pieces: buffered");
    Ok(String::new())
}

async fn bidi(f: Arc<Fixture>) -> Result<String> {
    let mut call = f.call(BOTH_H2, &request(&f, "bidi")).await?;
    call.head().await?;
    for i in 0..20 {
        let message = message(&format!("ping {i}"));
        call.tx.data(message.clone()).await?;
        let mut got = Vec::new();
        while got.len() < message.len() {
            got.extend_from_slice(&call.rx.data().await?.ok_or_else(|| anyhow!("ended at round {i}"))?);
        }
        ensure!(got == message, "round {i} came back changed");
    }
    call.tx.finish(&[]).await?;
    ensure!(call.rx.data().await?.is_none(), "data after the last round");
    ensure!(status_of(&mut call).await? == "0", "wrong grpc-status");
    Ok(String::new())
}

async fn error(f: Arc<Fixture>) -> Result<String> {
    let mut call = f.call(BOTH_H2, &request(&f, "error")).await?;
    call.tx.whole(message("hi")).await;
    let (head, text) = call.whole().await?;
    expect_status(&head, &[200])?;
    ensure!(head.first("grpc-status") == Some("5"), "grpc-status lost: {:?}", head.headers);
    ensure!(head.first("grpc-message") == Some("no such row"), "grpc-message lost");
    ensure!(text.is_empty(), "a body came from nowhere");
    Ok(String::new())
}

async fn cancel(f: Arc<Fixture>) -> Result<String> {
    let request = request(&f, "stream&n=1000&ms=20");
    let mut call = f.call(BOTH_H2, &request).await?;
    call.tx.data(message("hi")).await?;
    call.tx.finish(&[]).await?;
    call.head().await?;
    call.rx.data().await?;
    let _connection = call.reset()?;
    let waited = f
        .registry
        .saw(&request.id, SOON, |s| matches!(s, Saw::Aborted(_)), "the cell sees the cancel")
        .await?;
    Ok(format!("{} ms", waited.as_millis()))
}

async fn response_trailers(f: Arc<Fixture>, legs: Legs, kept: bool) -> Result<String> {
    let mut call = f.call(legs, &f.request(legs, "GET", "trailers").header("te", "trailers")).await?;
    let (head, _) = call.whole().await?;
    expect_status(&head, &[200])?;
    let trailers = call.rx.trailers().await?;
    let came = trailers.iter().any(|(n, v)| n.eq_ignore_ascii_case("x-sum") && v == "42");
    ensure!(came == kept, "trailers {trailers:?}");
    Ok(String::new())
}

async fn request_trailers(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut call = f
        .call(legs, &f.request(legs, "POST", "trailers").header("trailer", "x-req").body(Body::Stream))
        .await?;
    call.tx.data("abc".into()).await?;
    call.tx.finish(&[("x-req", "7")]).await?;
    let (head, text) = call.whole().await?;
    expect_status(&head, &[200])?;
    ensure!(
        text == "[]",
        "cell saw {text}: request trailers now pass, say so in docs/decisions/0001-engine.md"
    );
    Ok(String::new())
}
