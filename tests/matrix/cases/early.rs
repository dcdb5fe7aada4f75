//! The cell answers before the client has finished: the client gets the answer, nothing is reused in doubt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};

use crate::cases::bulk::pour;
use crate::client::{BOTH_H1, Body, Call, Client, Fixture, Legs, Proto, expect_status};
use crate::registry::Saw;
use crate::table::{SOON, Table};
use crate::wire::pattern;

pub fn rows(t: &mut Table) {
    t.all_legs("413 to a paused upload", paused);
    t.all_legs("413 to an upload that keeps coming", pouring);
    t.all_legs("413 to a client that reads only after 1 MB", lazy);
    t.all_legs("413 before any body byte, length announced", untouched);
    t.add("413 to an upload that dribbles on for ever: cut after a while", dribbling);
    t.all_legs("100-continue refused with 417", expect_refused);
}

async fn refused(f: &Fixture, call: &mut Call, id: &str) -> Result<u64> {
    let (head, text) = call.whole().await.map_err(|e| e.context("the 413 did not arrive"))?;
    expect_status(&head, &[413])?;
    ensure!(text == "too large for this cell", "body {text:?}");
    f.registry.connection_of(id).ok_or_else(|| anyhow!("the cell saw nothing"))
}

/// After the early answer: the client connection gives a right answer or ends; a new one works; the cell's
/// connection with the unfinished request carried nothing else.
async fn aftermath(
    f: &Fixture,
    legs: Legs,
    call: Call,
    left: u64,
    from: u64,
    cell_connection: u64,
    id: &str,
) -> Result<String> {
    let same = same_connection(f, legs, call, left, from).await?;
    for _ in 0..3 {
        let (head, text) = f.call(legs, &f.request(legs, "GET", "hello")).await?.whole().await?;
        expect_status(&head, &[200])?;
        ensure!(text == "hello GET 0 intact", "the next request got {text:?}");
    }
    if legs.up == Proto::H1 {
        unshared(f, cell_connection, id)?;
    }
    Ok(same)
}

/// The cell's connection carried nothing after this request, or the request's body came to its announced end first.
fn unshared(f: &Fixture, connection: u64, id: &str) -> Result<()> {
    let ended = f.registry.of(id).iter().any(|s| matches!(s, Saw::Body(_)));
    let heads = f.registry.heads_on(connection);
    ensure!(heads == 1 || ended, "the cell connection of the unfinished upload carried {heads} requests");
    Ok(())
}

async fn same_connection(f: &Fixture, legs: Legs, mut call: Call, left: u64, from: u64) -> Result<String> {
    if legs.down == Proto::H1 {
        let mut sent = 0;
        while sent < left {
            let piece = pattern(from + sent, (left - sent).min(65_536) as usize);
            sent += piece.len() as u64;
            match tokio::time::timeout(SOON, call.tx.data(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok("connection ended".into()),
                Err(_) => bail!("the rest of the upload is neither drained nor refused for {SOON:?}"),
            }
        }
    }
    let client = call.reuse()?;
    let next = async {
        let mut call = client.send(&f.request(legs, "GET", "hello")).await?;
        call.whole().await
    };
    match tokio::time::timeout(SOON, next).await {
        Err(_) => bail!("the client connection is neither usable nor closed after {SOON:?}"),
        Ok(Ok((head, text))) => {
            ensure!(
                head.status == 200 && text == "hello GET 0 intact",
                "the same connection then gave {} {text:?}",
                head.status
            );
            Ok("connection kept".into())
        }
        Ok(Err(_)) if legs.down == Proto::H1 => Ok("connection ended".into()),
        Ok(Err(e)) => Err(e.context("an early answer on one stream broke the h2 connection")),
    }
}

async fn paused(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request = f.request(legs, "POST", "early?after=100000").body(Body::Length(2_000_000));
    let mut call = f.call(legs, &request).await?;
    call.tx.data(pattern(0, 200_000)).await?;
    let connection = refused(&f, &mut call, &request.id).await?;
    aftermath(&f, legs, call, 1_800_000, 200_000, connection, &request.id).await
}

async fn pouring(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request = f.request(legs, "POST", "early?after=100000").body(Body::Stream);
    let mut call = f.call(legs, &request).await?;
    let (head, text) = {
        let reading = async {
            let (head, _) = call.rx.final_head("POST").await?;
            Ok::<_, anyhow::Error>((head, call.rx.text().await?))
        };
        let mut writing = std::pin::pin!(pour(&mut call.tx, 1 << 40));
        let mut reading = std::pin::pin!(reading);
        tokio::select! {
            biased;
            read = &mut reading => read?,
            _broken = &mut writing => reading.await?,
        }
    };
    expect_status(&head, &[413])?;
    ensure!(text == "too large for this cell", "body {text:?}");
    drop(call);
    let connection = f.registry.connection_of(&request.id).ok_or_else(|| anyhow!("the cell saw nothing"))?;
    let (head, _) = f.call(legs, &f.request(legs, "GET", "hello")).await?.whole().await?;
    expect_status(&head, &[200])?;
    if legs.up == Proto::H1 {
        unshared(&f, connection, &request.id)?;
    }
    Ok(String::new())
}

async fn dribbling(f: Arc<Fixture>) -> Result<String> {
    let request = f.request(BOTH_H1, "POST", "early?after=1000").body(Body::Stream);
    let mut call = f.call(BOTH_H1, &request).await?;
    call.tx.data(pattern(0, 2_000)).await?;
    // Before the answer, from which on it is waited: this client may be late to see that.
    let begun = Instant::now();
    refused(&f, &mut call, &request.id).await?;
    // So little that no count of bytes ends it.
    while call.tx.data(pattern(0, 10)).await.is_ok() {
        ensure!(begun.elapsed() < SOON, "after {SOON:?} the rest is still taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(
        begun.elapsed() > Duration::from_secs(1),
        "cut after {:?}: the answer may be lost",
        begun.elapsed()
    );
    Ok(format!("{} ms", begun.elapsed().as_millis()))
}

async fn lazy(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request = f.request(legs, "POST", "early?after=1000").body(Body::Length(1_000_000));
    let mut call = f.call(legs, &request).await?;
    let mut sent = 0;
    while sent < 1_000_000 {
        let piece = pattern(sent, 10_000);
        sent += 10_000;
        if call.tx.data(piece).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    refused(&f, &mut call, &request.id).await?;
    Ok(format!("{sent} bytes sent"))
}

async fn untouched(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request = f.request(legs, "POST", "early?after=0").body(Body::Length(500_000));
    let mut call = f.call(legs, &request).await?;
    let connection = refused(&f, &mut call, &request.id).await?;
    aftermath(&f, legs, call, 500_000, 0, connection, &request.id).await
}

async fn expect_refused(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request = f
        .request(legs, "POST", "continue?say=417")
        .body(Body::Length(1_000))
        .header("Expect", "100-continue");
    let mut call = f.call(legs, &request).await?;
    let (head, _) = call.whole().await?;
    expect_status(&head, &[417])?;
    let client = call.reuse()?;
    if let Client::H1(mut rx, _tx, _control) = client {
        // The client may now send the body or not; a proxy that keeps the connection must not take a next request for it.
        let end = tokio::time::timeout(Duration::from_millis(300), rx.gone()).await;
        return Ok(if end.is_ok() { "connection ended".into() } else { "connection open".into() });
    }
    Ok(String::new())
}
