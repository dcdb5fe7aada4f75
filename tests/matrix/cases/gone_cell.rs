//! The cell goes away at every moment: the right status before the head, a visible break after it.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};

use crate::client::{Body, Fixture, H1_CELL, Legs, Proto, expect_status};
use crate::origin::Door;
use crate::registry::Saw;
use crate::table::{SOON, Table};
use crate::wire::pattern;

pub fn rows(t: &mut Table) {
    t.all_legs("refuses connections: GET", |f, l| door(f, l, Door::Refuse, "GET"));
    t.all_legs("refuses connections: POST", |f, l| door(f, l, Door::Refuse, "POST"));
    t.all_legs("accepts and closes", |f, l| door(f, l, Door::Slam, "GET"));
    t.all_legs("closes without an answer: POST", |f, l| no_head(f, l, "accept"));
    t.each("closes mid head", &H1_CELL, |f, l| no_head(f, l, "head"));
    t.each("answers garbage", &H1_CELL, |f, l| no_head(f, l, "garbage"));
    t.all_legs("breaks mid body with a length", |f, l| mid_body(f, l, "length"));
    t.all_legs("breaks mid chunk", |f, l| mid_body(f, l, "chunk"));
    t.all_legs("breaks between two chunks", |f, l| mid_body(f, l, "between-chunks"));
    t.all_legs("dies mid upload", mid_upload);
    t.each("body until close ends cleanly", &H1_CELL, until_close);
}

async fn door(f: Arc<Fixture>, legs: Legs, door: Door, method: &str) -> Result<String> {
    f.cold().await?;
    f.origin(legs.up).set(door).await?;
    let body = if method == "POST" { Body::Length(5) } else { Body::None };
    let mut call = f.call(legs, &f.request(legs, method, "hello").body(body)).await?;
    if method == "POST" {
        call.tx.whole(pattern(0, 5)).await;
    }
    let (head, _) = call.whole().await?;
    expect_status(&head, &[502, 503])?;
    let status = head.status;
    f.origin(legs.up).set(Door::Open).await?;
    let (head, _) = f.call(legs, &f.request(legs, "GET", "hello")).await?.whole().await?;
    ensure!(head.status == 200, "after the cell came back: status {}", head.status);
    Ok(format!("{status}"))
}

async fn no_head(f: Arc<Fixture>, legs: Legs, at: &str) -> Result<String> {
    let request = f.request(legs, "POST", &format!("die?at={at}")).body(Body::Length(5));
    let mut call = f.call(legs, &request).await?;
    call.tx.whole(pattern(0, 5)).await;
    let (head, _) = call.whole().await?;
    expect_status(&head, &[502])?;
    let times = f.registry.heads(&request.id);
    ensure!(times == 1, "a POST was sent {times} times");
    let (next, _) =
        call.reuse()?.send(&f.request(legs, "GET", "hello")).await.map_or((None, ()), |c| (Some(c), ()));
    let kept = match next {
        Some(mut call) => call.whole().await.map(|(head, _)| head.status == 200).unwrap_or(false),
        None => false,
    };
    Ok(if kept { "502, connection kept".into() } else { "502, connection ended".into() })
}

async fn mid_body(f: Arc<Fixture>, legs: Legs, at: &str) -> Result<String> {
    let request = f.request(legs, "GET", &format!("die?at={at}"));
    let mut call = f.call(legs, &request).await?;
    expect_status(&call.head().await?, &[200])?;
    let mut seen = 0;
    loop {
        match tokio::time::timeout(SOON, call.rx.data()).await {
            Err(_) => bail!("the client still waits {SOON:?} after the cell broke off ({seen} bytes seen)"),
            Ok(Ok(Some(piece))) => {
                seen += piece.len();
                f.registry.took(&request.id, piece.len());
            }
            Ok(Ok(None)) => bail!("a broken body ended cleanly after {seen} bytes"),
            Ok(Err(_)) => break,
        }
    }
    ensure!(seen >= 50_000, "only {seen} of the 50000 bytes that the cell sent arrived");
    Ok(String::new())
}

async fn mid_upload(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request = f.request(legs, "POST", "hello").body(Body::Stream);
    let mut call = f.call(legs, &request).await?;
    call.tx.data(pattern(0, 100_000)).await?;
    let began = |s: &Saw| matches!(s, Saw::BodyBegan);
    f.registry.saw(&request.id, SOON, began, "the upload reaches the cell").await?;
    f.origin(legs.up).kill_connections();
    let head = tokio::time::timeout(SOON, call.head()).await;
    let Ok(head) = head else { bail!("no answer {SOON:?} after the cell died under the upload") };
    let head = head?;
    expect_status(&head, &[502])?;
    ensure!(f.registry.heads(&request.id) == 1, "the upload was sent again");
    if legs.down == Proto::H2 {
        let client = call.reuse()?;
        let (head, _) = client.send(&f.request(legs, "GET", "hello")).await?.whole().await?;
        expect_status(&head, &[200])?;
    }
    Ok(String::new())
}

async fn until_close(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut call = f.call(legs, &f.request(legs, "GET", "until-close?n=100000")).await?;
    expect_status(&call.head().await?, &[200])?;
    let n = super::bulk::drink(&mut call.rx).await?;
    ensure!(n == 100_000, "{n} bytes of 100000");
    Ok(String::new())
}
