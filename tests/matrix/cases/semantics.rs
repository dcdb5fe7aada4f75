//! HTTP semantics at the edges: HEAD, bodiless statuses, 1xx, HTTP/1.0, pipelining, connection persistence.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};

use crate::client::{BOTH_H1, Body, Call, Client, Fixture, H1_CELL, H1_CLIENT, LEGS, Legs, expect_status};
use crate::table::{SOON, Table};
use crate::wire::{H1Rx, H1Tx, Head, PatternCheck, pattern};

pub fn rows(t: &mut Table) {
    t.all_legs("HEAD keeps content-length and has no body", |f, l| {
        bodiless(f, l, "HEAD", "status?code=200&cl=1234", 200, Some("1234"))
    });
    t.all_legs("204 has no body", |f, l| bodiless(f, l, "GET", "status?code=204", 204, None));
    t.all_legs("304 keeps its etag and has no body", |f, l| {
        bodiless(f, l, "GET", "status?code=304", 304, None)
    });
    t.all_legs("304 with a content-length", |f, l| {
        bodiless(f, l, "GET", "status?code=304&cl=999", 304, None)
    });
    t.each("an empty response without a length", &[LEGS[1], LEGS[3]], |f, l| {
        bodiless(f, l, "GET", "status?code=200", 200, None)
    });
    t.each("103 early hints reach the client", &[BOTH_H1], |f, l| hints(f, l, true));
    // The engine's HTTP/2 sessions neither read nor write them.
    t.each("103 early hints are dropped", &LEGS[1..], |f, l| hints(f, l, false));
    t.each("100-continue: the waiting client is told to go on", &H1_CLIENT, go_on);
    t.each("100-continue: an h2 client is not told, and need not wait", &LEGS[2..], go_on_untold);
    t.each("HTTP/1.0 without keep-alive", &H1_CLIENT, |f, l| http10(f, l, "hello", false));
    t.each("HTTP/1.0: a chunked response is unchunked", &H1_CLIENT, |f, l| {
        http10(f, l, "down?n=50000&te=chunked", false)
    });
    t.each("HTTP/1.0 with keep-alive", &H1_CLIENT, |f, l| http10(f, l, "hello", true));
    t.each("pipelined: three GETs in one write", &H1_CLIENT, pipelined);
    t.each("pipelined: POST, POST chunked, GET in one write", &H1_CLIENT, pipelined_bodies);
    t.each("Connection: close is honoured", &H1_CLIENT, close);
    t.each("the cell's Connection: close does not close the client's", &H1_CELL, cell_closes);
}

async fn bodiless(
    f: Arc<Fixture>,
    legs: Legs,
    method: &str,
    behaviour: &str,
    status: u16,
    length: Option<&str>,
) -> Result<String> {
    let mut client = f.client(legs).await?;
    for round in 0..2 {
        let mut call = client.send(&f.request(legs, method, behaviour)).await?;
        let (head, text) = call.whole().await.map_err(|e| e.context(format!("round {round}")))?;
        expect_status(&head, &[status])?;
        ensure!(text.is_empty(), "a body: {text:?}");
        ensure!(head.first("etag") == Some("\"x\""), "etag lost: {:?}", head.headers);
        ensure!(
            length.is_none() || head.first("content-length") == length,
            "content-length {:?}",
            head.first("content-length")
        );
        ensure!(head.first("transfer-encoding").is_none(), "transfer-encoding on a bodiless response");
        let mut call = call.reuse()?.send(&f.request(legs, "GET", "hello")).await?;
        let (head, text) = call.whole().await.map_err(|e| e.context("the next request on the connection"))?;
        ensure!(
            head.status == 200 && text == "hello GET 0 intact",
            "the next request got {} {text:?}",
            head.status
        );
        client = call.reuse()?;
    }
    Ok(String::new())
}

async fn hints(f: Arc<Fixture>, legs: Legs, kept: bool) -> Result<String> {
    let mut call = f.call(legs, &f.request(legs, "GET", "hints")).await?;
    let (head, text) = call.whole().await?;
    expect_status(&head, &[200])?;
    ensure!(text == "hinted", "body {text:?}");
    let links: Vec<_> =
        call.informational.iter().filter(|h| h.status == 103).filter_map(|h| h.first("link")).collect();
    let wanted: &[_] = if kept { &["</a.css>; rel=preload", "</b.css>; rel=preload"] } else { &[] };
    ensure!(links == wanted, "103 came with {links:?} (RFC 9110 section 15.2)");
    Ok(String::new())
}

async fn go_on(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request =
        f.request(legs, "POST", "continue").body(Body::Length(5_000)).header("Expect", "100-continue");
    let mut call = f.call(legs, &request).await?;
    let told = tokio::time::timeout(SOON, call.any_head()).await;
    let told = told.map_err(|_| anyhow!("no 100 within {SOON:?}: the client waits for ever"))??;
    expect_status(&told, &[100])?;
    upload(call).await
}

async fn go_on_untold(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request =
        f.request(legs, "POST", "continue").body(Body::Length(5_000)).header("Expect", "100-continue");
    let mut call = f.call(legs, &request).await?;
    let told = tokio::time::timeout(Duration::from_millis(300), call.any_head()).await;
    ensure!(told.is_err(), "{told:?}: say so in docs/decisions/0001-engine.md");
    upload(call).await
}

/// The body of a `continue` request, after its head was or was not answered by 100.
async fn upload(mut call: Call) -> Result<String> {
    call.tx.whole(pattern(0, 5_000)).await;
    let (head, text) = call.whole().await?;
    expect_status(&head, &[200])?;
    ensure!(text == "hello POST 5000 intact", "body {text:?}");
    Ok(String::new())
}

async fn halves(f: &Fixture, legs: Legs) -> Result<(H1Rx, H1Tx)> {
    match f.client(legs).await? {
        Client::H1(rx, tx, _) => Ok((rx, tx)),
        Client::H2(_) => bail!("asked for h1"),
    }
}

async fn answer(rx: &mut H1Rx, method: &str) -> Result<(Head, Vec<u8>)> {
    let head = rx.head().await?.ok_or_else(|| anyhow!("closed without a response"))?;
    rx.expect_response_body(&head, method)?;
    let mut all = Vec::new();
    while let Some(piece) = rx.data().await? {
        all.extend_from_slice(&piece);
    }
    Ok((head, all))
}

async fn http10(f: Arc<Fixture>, legs: Legs, behaviour: &str, keep: bool) -> Result<String> {
    let (mut rx, mut tx) = halves(&f, legs).await?;
    let rounds = if keep { 2 } else { 1 };
    for _ in 0..rounds {
        let request = f.request(legs, "GET", behaviour);
        let keep_alive = if keep { "Connection: keep-alive\r\n" } else { "" };
        tx.raw(format!("GET {} HTTP/1.0\r\nHost: {}\r\n{keep_alive}\r\n", request.target, request.host))
            .await?;
        let (head, body) = answer(&mut rx, "GET").await?;
        expect_status(&head, &[200])?;
        ensure!(head.first("transfer-encoding").is_none(), "a coding that HTTP/1.0 does not know");
        if behaviour.starts_with("down") {
            PatternCheck::default().piece(&body)?;
            ensure!(body.len() == 50_000, "{} bytes of 50000", body.len());
        } else {
            ensure!(body == b"hello GET 0 intact", "body {:?}", String::from_utf8_lossy(&body));
        }
        let says_keep = head.first("connection").is_some_and(|v| v.eq_ignore_ascii_case("keep-alive"));
        if keep && !says_keep {
            return Ok("keep-alive declined".into());
        }
    }
    if keep {
        return Ok("kept".into());
    }
    let end = tokio::time::timeout(SOON, rx.gone()).await;
    ensure!(end.is_ok(), "the connection stays open after an HTTP/1.0 request");
    Ok(String::new())
}

async fn pipelined(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let (mut rx, mut tx) = halves(&f, legs).await?;
    let sizes = [10, 20_000, 30];
    let all: String =
        sizes.iter().map(|n| f.request(legs, "GET", &format!("down?n={n}")).h1_head()).collect();
    tx.raw(all).await?;
    for n in sizes {
        let (head, body) =
            answer(&mut rx, "GET").await.map_err(|e| e.context(format!("response of {n} bytes")))?;
        expect_status(&head, &[200])?;
        ensure!(body.len() == n, "{} bytes, wanted {n}: out of order", body.len());
    }
    Ok(String::new())
}

async fn pipelined_bodies(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let (mut rx, mut tx) = halves(&f, legs).await?;
    let mut all = f.request(legs, "POST", "hello").body(Body::Length(5)).h1_head().into_bytes();
    all.extend_from_slice(&pattern(0, 5));
    all.extend_from_slice(f.request(legs, "POST", "hello").body(Body::Stream).h1_head().as_bytes());
    all.extend_from_slice(b"4\r\n");
    all.extend_from_slice(&pattern(0, 4));
    all.extend_from_slice(b"\r\n0\r\n\r\n");
    all.extend_from_slice(f.request(legs, "GET", "hello").h1_head().as_bytes());
    tx.raw(all).await?;
    for want in ["hello POST 5 intact", "hello POST 4 intact", "hello GET 0 intact"] {
        let (head, body) = answer(&mut rx, "GET").await.map_err(|e| e.context(want))?;
        expect_status(&head, &[200])?;
        ensure!(body == want.as_bytes(), "got {:?}, wanted {want:?}", String::from_utf8_lossy(&body));
    }
    Ok(String::new())
}

async fn close(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut call = f.call(legs, &f.request(legs, "GET", "hello").header("Connection", "close")).await?;
    let (head, _) = call.whole().await?;
    expect_status(&head, &[200])?;
    let Client::H1(mut rx, _tx, _) = call.reuse()? else { bail!("h1 only") };
    let end = tokio::time::timeout(SOON, rx.gone()).await;
    ensure!(end.is_ok(), "the connection stays open after Connection: close");
    Ok(String::new())
}

async fn cell_closes(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut call = f.call(legs, &f.request(legs, "GET", "until-close?n=10")).await?;
    let (head, _) = call.whole().await?;
    expect_status(&head, &[200])?;
    let mut call = call.reuse()?.send(&f.request(legs, "GET", "hello")).await?;
    let (head, _) =
        call.whole().await.map_err(|e| e.context("the client connection ended with the cell's"))?;
    expect_status(&head, &[200])?;
    Ok(String::new())
}
