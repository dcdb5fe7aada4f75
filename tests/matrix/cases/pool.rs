//! Pooled connections that went stale: what is safe is tried again, what is not is never sent twice.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Body, Client, Fixture, LEGS, Legs, Proto, Request};
use crate::edge::HOST_LEAVING;
use crate::leaving;
use crate::sockets::held_to;
use crate::table::{SOON, Table};
use crate::wire::pattern;

/// Several workers may have a pool each; this many tries find the trapped connection.
const TRIES: usize = 10;

pub fn rows(t: &mut Table) {
    t.cold();
    t.all_legs("GET on a connection that closes under it is sent again", |f, l| sprung(f, l, "GET"));
    t.all_legs("POST on a connection that closes under it is not sent again", |f, l| sprung(f, l, "POST"));
    t.all_legs("GET after the cell closed the idle connection", |f, l| closed_idle(f, l, "GET"));
    t.all_legs("POST after the cell closed the idle connection", |f, l| closed_idle(f, l, "POST"));
    let h2_cell = [LEGS[1], LEGS[3]];
    for method in ["GET", "POST"] {
        t.each(&format!("{method} on a refused h2 stream is sent again"), &h2_cell, move |f, l| {
            refused_stream(f, l, method)
        });
        t.each(&format!("{method} that a GOAWAY excludes is sent again"), &h2_cell, move |f, l| {
            excluded(f, l, method)
        });
    }
}

async fn one(client: Client, request: &Request) -> Result<(u16, String, Option<Client>)> {
    let mut call = client.send(request).await?;
    if let Body::Length(n) = request.body {
        call.tx.whole(pattern(0, n as usize)).await;
    }
    let (head, text) = call.whole().await?;
    Ok((head.status, text, call.reuse().ok()))
}

async fn fresh(f: &Fixture, legs: Legs, old: Option<Client>) -> Result<Client> {
    match old {
        Some(client) => Ok(client),
        None => f.client(legs).await,
    }
}

fn with_body(request: Request, method: &str) -> Request {
    if method == "POST" { request.body(Body::Length(2_000)) } else { request }
}

async fn sprung(f: Arc<Fixture>, legs: Legs, method: &str) -> Result<String> {
    let mut client = None;
    for _ in 0..TRIES {
        let first = f.request(legs, "GET", "hello?next=close");
        let (status, _, back) = one(fresh(&f, legs, client.take()).await?, &first).await?;
        ensure!(status == 200, "setting the trap: status {status}");
        let second = with_body(f.request(legs, method, "hello"), method);
        let (status, text, back) = one(fresh(&f, legs, back).await?, &second).await?;
        if f.registry.connection_of(&second.id) != f.registry.connection_of(&first.id) {
            client = if status == 200 { back } else { None };
            continue;
        }
        let times = f.registry.heads(&second.id);
        if method == "GET" {
            ensure!(
                status == 200 && text == "hello GET 0 intact",
                "status {status} after {times} sends, wanted a retry and 200"
            );
            ensure!(times == 2, "sent {times} times");
        } else {
            ensure!(times == 1, "a POST was sent {times} times");
            ensure!(status == 502, "status {status}, wanted 502");
        }
        return Ok(String::new());
    }
    bail!("in {TRIES} tries the proxy never reused the connection")
}

async fn closed_idle(f: Arc<Fixture>, legs: Legs, method: &str) -> Result<String> {
    let mut client = None;
    for i in 0..5 {
        let (status, _, back) =
            one(fresh(&f, legs, client.take()).await?, &f.request(legs, "GET", "hello")).await?;
        ensure!(status == 200, "round {i}: status {status}");
        f.origin(legs.up).kill_connections();
        f.registry.wait("idle connections closed", SOON, |r| r.connections() == 0).await?;
        // The FIN crosses loopback and wakes the proxy; a proxy that ignores it for this long is what the case is about.
        tokio::time::sleep(Duration::from_millis(100)).await;
        if legs.up == Proto::H2 {
            noticed(&f, legs).await?;
        }
        let second = with_body(f.request(legs, method, "hello"), method);
        let (status, _, back) = one(fresh(&f, legs, back).await?, &second).await?;
        ensure!(status == 200, "round {i}: status {status}");
        ensure!(f.registry.heads(&second.id) == 1, "sent {} times", f.registry.heads(&second.id));
        client = back;
    }
    Ok(String::new())
}

/// Until the proxy has closed, too. Over HTTP/2 a task of the connection sees the end, and no request looks for itself.
async fn noticed(f: &Fixture, legs: Legs) -> Result<()> {
    let closed = async {
        while held_to(f.origin(legs.up).addr) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, closed).await.context("the proxy keeps a connection that the cell has closed")
}

async fn refused_stream(f: Arc<Fixture>, legs: Legs, method: &str) -> Result<String> {
    let mut client = None;
    for _ in 0..TRIES {
        let first = f.request(legs, "GET", "hello?next=refuse");
        let (status, _, back) = one(fresh(&f, legs, client.take()).await?, &first).await?;
        ensure!(status == 200, "setting the trap: status {status}");
        let second = with_body(f.request(legs, method, "hello"), method);
        let (status, text, back) = one(fresh(&f, legs, back).await?, &second).await?;
        if f.registry.connection_of(&second.id) == f.registry.connection_of(&first.id)
            && f.registry.heads(&second.id) >= 2
        {
            let length = if method == "POST" { 2_000 } else { 0 };
            ensure!(status == 200 && text == format!("hello {method} {length} intact"), "{status} {text:?}");
            return Ok(String::new());
        }
        ensure!(status == 200, "status {status} after {} sends", f.registry.heads(&second.id));
        client = back;
    }
    bail!("in {TRIES} tries the proxy never reused the connection")
}

/// Asks the leaving cell twice; the second request goes on a connection that excludes it.
async fn leave(f: &Fixture, legs: Legs, second: Request) -> Result<(u16, Vec<leaving::Request>)> {
    let (mut first, mut second) = (f.request(legs, "GET", "hello"), second);
    for request in [&mut first, &mut second] {
        request.host = HOST_LEAVING.into();
    }
    let (status, _, back) = one(f.client(legs).await?, &first).await?;
    ensure!(status == 200, "the first request: status {status}");
    f.leaving.take();
    let (status, _, _) = one(fresh(f, legs, back).await?, &second).await?;
    Ok((status, f.leaving.take()))
}

async fn excluded(f: Arc<Fixture>, legs: Legs, method: &str) -> Result<String> {
    let (status, seen) = leave(&f, legs, with_body(f.request(legs, method, "hello"), method)).await?;
    ensure!(status == 200, "status {status}, and the cell saw {seen:?}");
    let body = if method == "POST" { 2_000 } else { 0 };
    let wanted = [false, true].map(|answered| leaving::Request { body, answered });
    ensure!(seen == wanted, "the cell saw {seen:?}");
    // The connection that answered excludes its next request too, and the pool must not keep it then.
    let (status, _) = leave(&f, legs, f.request(legs, "GET", "hello")).await?;
    ensure!(status == 200, "the next request: status {status}");
    Ok(String::new())
}
