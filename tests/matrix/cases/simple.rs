//! Plain requests over every pair of protocols, and what must not change on the way.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::client::{Body, Fixture, LEGS, Legs, Proto, Request, expect_status};
use crate::table::Table;
use crate::wire::{Head, pattern};

pub fn rows(t: &mut Table) {
    t.all_legs("GET", get);
    t.all_legs("POST with a length", |f, l| post(f, l, Body::Length(70_000)));
    t.all_legs("POST without a length", |f, l| post(f, l, Body::Stream));
    t.all_legs("POST of length 0", post_empty);
    t.each("POST of length 0 that is ended after its answer", &LEGS[2..], |f, legs| ended_late(f, legs, 0));
    // A cell over HTTP/2 waits for that end itself.
    t.each("POST of length 10 that is ended after its answer", &LEGS[2..3], |f, legs| {
        ended_late(f, legs, 10)
    });
    t.all_legs("20 GETs on one connection use one origin connection", pooled);
    t.all_legs("PUT DELETE PATCH OPTIONS", methods);
    t.all_legs("path and query byte for byte", target);
    t.all_legs("request fields: hop-by-hop gone, others kept", request_fields);
    t.all_legs("response fields: hop-by-hop gone, others kept", response_fields);
    t.all_legs("GET has no body framing at the cell", no_framing);
    t.all_legs("30 kB of request fields", big_fields);
    t.each("cookie crumbs are one field at an h1 cell", &LEGS[2..3], crumbs);
    t.each("100 streams at once", &LEGS[2..], hundred);
}

async fn get(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let (head, text) = f.call(legs, &f.request(legs, "GET", "hello")).await?.whole().await?;
    expect_status(&head, &[200])?;
    ensure!(text == "hello GET 0 intact", "body {text:?}");
    Ok(String::new())
}

async fn post(f: Arc<Fixture>, legs: Legs, body: Body) -> Result<String> {
    let mut call = f.call(legs, &f.request(legs, "POST", "hello").body(body)).await?;
    call.tx.data(pattern(0, 30_000)).await?;
    call.tx.data(pattern(30_000, 40_000)).await?;
    call.tx.finish(&[]).await?;
    let (head, text) = call.whole().await?;
    expect_status(&head, &[200])?;
    ensure!(text == "hello POST 70000 intact", "body {text:?}");
    Ok(String::new())
}

async fn post_empty(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut call = f.call(legs, &f.request(legs, "POST", "hello").body(Body::Length(0))).await?;
    call.tx.finish(&[]).await?;
    let (head, text) = call.whole().await?;
    expect_status(&head, &[200])?;
    ensure!(text == "hello POST 0 intact", "body {text:?}");
    Ok(String::new())
}

async fn ended_late(f: Arc<Fixture>, legs: Legs, length: u64) -> Result<String> {
    let mut call = f.call(legs, &f.request(legs, "POST", "hello").body(Body::Length(length))).await?;
    if length > 0 {
        call.tx.data(pattern(0, length as usize)).await?;
    }
    let (head, text) = call.whole().await?;
    expect_status(&head, &[200])?;
    ensure!(text == format!("hello POST {length} intact"), "body {text:?}");
    // Whatever was said about the first stream has arrived before this answer.
    let beside = call.reuse_handle().context("an h2 connection")?;
    let (head, _) = beside.send(&f.request(legs, "GET", "hello")).await?.whole().await?;
    expect_status(&head, &[200])?;
    call.tx.finish(&[]).await.context("the stream was reset behind its answer")?;
    Ok(String::new())
}

async fn pooled(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let before = f.registry.accepted();
    let mut client = f.client(legs).await?;
    for i in 0..20 {
        let mut call = client.send(&f.request(legs, "GET", "hello")).await?;
        let (head, _) = call.whole().await.map_err(|e| e.context(format!("request {i}")))?;
        expect_status(&head, &[200])?;
        client = call.reuse()?;
    }
    let opened = f.registry.accepted() - before;
    ensure!(opened <= 2, "{opened} origin connections for 20 requests in turn");
    Ok(format!("{opened} origin connections"))
}

async fn methods(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut client = f.client(legs).await?;
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let mut call = client.send(&f.request(legs, method, "hello").body(Body::Length(3))).await?;
        call.tx.data(pattern(0, 3)).await?;
        call.tx.finish(&[]).await?;
        let (head, text) = call.whole().await?;
        expect_status(&head, &[200])?;
        ensure!(text == format!("hello {method} 3 intact"), "body {text:?}");
        client = call.reuse()?;
    }
    Ok(String::new())
}

async fn shown(f: &Fixture, legs: Legs, request: &Request) -> Result<(Head, Vec<String>)> {
    let (head, text) = f.call(legs, request).await?.whole().await?;
    expect_status(&head, &[200])?;
    Ok((head, text.lines().map(str::to_string).collect()))
}

async fn target(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request = f.request(legs, "GET", "head?a=%20b&c=+%2F%2f&d=;,:@!$'()*~-._&e&&f=%C3%A9");
    let (_, lines) = shown(&f, legs, &request).await?;
    let want = format!("GET {}", request.target);
    ensure!(lines.first() == Some(&want), "cell saw {:?}, wanted {want:?}", lines.first());
    Ok(String::new())
}

async fn request_fields(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut request = f
        .request(legs, "GET", "head")
        .header("x-keep", "a, b;c=\"d\"")
        .header("x-twice", "1")
        .header("x-twice", "2");
    if legs.down == Proto::H1 {
        request = request
            .header("Connection", "keep-alive, x-hop")
            .header("X-Hop", "secret")
            .header("Keep-Alive", "timeout=9")
            .header("Proxy-Connection", "keep-alive");
    }
    let (_, lines) = shown(&f, legs, &request).await?;
    let has = |line: &str| lines.iter().any(|l| l == line);
    ensure!(has("x-keep: a, b;c=\"d\""), "x-keep lost: {lines:?}");
    ensure!((has("x-twice: 1") && has("x-twice: 2")) || has("x-twice: 1, 2"), "x-twice changed: {lines:?}");
    let host = f.host(legs.up);
    ensure!(
        has(&format!("host: {host}")) || has(&format!(":authority: {host}")),
        "authority lost: {lines:?}"
    );
    for gone in ["x-hop:", "keep-alive:", "proxy-connection:"] {
        ensure!(!lines.iter().any(|l| l.starts_with(gone)), "{gone} reached the cell: {lines:?}");
    }
    Ok(String::new())
}

async fn response_fields(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request = f.request(legs, "GET", if legs.up == Proto::H1 { "head?hop=1" } else { "head" });
    let (head, _) = shown(&f, legs, &request).await?;
    ensure!(head.first("x-mx-conn").is_some(), "x-mx-conn lost: {:?}", head.headers);
    if legs.up == Proto::H1 {
        ensure!(head.first("x-end") == Some("kept"), "x-end lost: {:?}", head.headers);
        ensure!(head.first("x-hop").is_none(), "nominated x-hop reached the client: {:?}", head.headers);
        ensure!(!head.all("keep-alive").contains(&"timeout=5"), "the cell's keep-alive reached the client");
    }
    Ok(String::new())
}

async fn no_framing(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let (_, lines) = shown(&f, legs, &f.request(legs, "GET", "head")).await?;
    let framed = lines.iter().find(|l| {
        l.starts_with("transfer-encoding") || (l.starts_with("content-length") && !l.ends_with(": 0"))
    });
    ensure!(framed.is_none(), "cell saw {framed:?}");
    Ok(String::new())
}

async fn big_fields(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut request = f.request(legs, "GET", "hello");
    for i in 0..10 {
        request = request.header(&format!("x-big-{i}"), &"v".repeat(3_000));
    }
    let (head, _) = f.call(legs, &request).await?.whole().await?;
    expect_status(&head, &[200])?;
    Ok(String::new())
}

async fn crumbs(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request = f.request(legs, "GET", "head").header("cookie", "a=1").header("cookie", "b=2");
    let (_, lines) = shown(&f, legs, &request).await?;
    let cookies: Vec<_> = lines.iter().filter(|l| l.starts_with("cookie:")).collect();
    ensure!(cookies == ["cookie: a=1; b=2"], "cell saw {cookies:?} (RFC 9113 section 8.2.3)");
    Ok(String::new())
}

async fn hundred(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let client = f.client(legs).await?;
    let mut calls = Vec::new();
    let mut next = client;
    for _ in 0..100 {
        let mut call = next.send(&f.request(legs, "POST", "hello?ms=1").body(Body::Length(10))).await?;
        call.tx.data(pattern(0, 10)).await?;
        call.tx.finish(&[]).await?;
        next = match call.reuse_handle() {
            Some(client) => client,
            None => anyhow::bail!("h2 only"),
        };
        calls.push(call);
    }
    for mut call in calls {
        let (head, text) = call.whole().await?;
        expect_status(&head, &[200])?;
        ensure!(text == "hello POST 10 intact", "body {text:?}");
    }
    Ok(String::new())
}
