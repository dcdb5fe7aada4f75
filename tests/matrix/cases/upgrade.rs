//! WebSocket: the tunnel is never torn, whatever comes right behind the 101.

use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::client::{BOTH_H1, Client, Fixture, expect_status};
use crate::registry::Saw;
use crate::table::{SOON, Table};
use crate::wire::{H1Rx, H1Tx, PatternCheck, pattern};

/// pingora issue 946 tore 122 of 900.
const ROUNDS: usize = 900;
/// Side by side: the fault needs the cell's 101 to be there when the proxy first looks.
const LANES: usize = 6;

pub fn rows(t: &mut Table) {
    t.add("900 upgrades, echo, none torn", many);
    t.add("1 MB through the tunnel", big);
    t.add("client ends the tunnel", client_ends);
    t.add("client ends its half: what the cell says then still comes", half_closed);
    t.add("cell ends the tunnel", cell_ends);
    t.add("refused upgrade is a plain response", refused);
}

async fn open(f: &Fixture, tuned: &str) -> Result<(String, H1Rx, H1Tx)> {
    let request = f.request(BOTH_H1, "GET", &format!("ws?{tuned}"));
    let request = request.header("Connection", "Upgrade").header("Upgrade", "websocket");
    let request =
        request.header("Sec-WebSocket-Version", "13").header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let mut call = f.call(BOTH_H1, &request).await?;
    let head = call.head().await?;
    expect_status(&head, &[101])?;
    ensure!(
        head.first("upgrade").is_some_and(|v| v.eq_ignore_ascii_case("websocket")),
        "upgrade field: {:?}",
        head.headers
    );
    ensure!(head.first("x-mx-key") == Some("dGhlIHNhbXBsZSBub25jZQ=="), "key lost");
    let Client::H1(mut rx, tx, _) = call.reuse()? else { anyhow::bail!("h1 only") };
    ensure!(take(&mut rx, 8).await? == b"GREETING", "greeting changed");
    Ok((request.id, rx, tx))
}

async fn take(rx: &mut H1Rx, n: usize) -> Result<Vec<u8>> {
    while rx.buf.len() < n {
        ensure!(rx.fill().await? > 0, "TORN after {} of {n} bytes", rx.buf.len());
    }
    Ok(rx.buf.split_to(n).to_vec())
}

async fn many(f: Arc<Fixture>) -> Result<String> {
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..LANES {
        let f = f.clone();
        lanes.spawn(async move {
            let mut torn = Vec::new();
            for i in 0..ROUNDS / LANES {
                if let Err(e) = round(&f, ["gap=0", "gap=1"][i % 2]).await {
                    torn.push(format!("{e:#}"));
                }
            }
            torn
        });
    }
    let torn = lanes.join_all().await.concat();
    ensure!(torn.is_empty(), "{} of {ROUNDS} torn; first: {}", torn.len(), torn[0]);
    Ok(format!("0 of {ROUNDS} torn"))
}

async fn round(f: &Fixture, gap: &str) -> Result<()> {
    let (_, mut rx, mut tx) = open(f, gap).await?;
    for n in 0..3 {
        tx.raw(pattern(n, 64)).await?;
        ensure!(take(&mut rx, 64).await? == pattern(n, 64), "echo changed");
    }
    tx.raw("BYE").await
}

async fn big(f: Arc<Fixture>) -> Result<String> {
    let (_, mut rx, mut tx) = open(&f, "gap=0").await?;
    let sending = async {
        for i in 0..16 {
            tx.raw(pattern(i * 65_536, 65_536)).await?;
        }
        Ok::<_, anyhow::Error>(tx)
    };
    let (sent, got) = tokio::join!(sending, take(&mut rx, 16 * 65_536));
    let _tx = sent?;
    let mut check = PatternCheck::default();
    check.piece(&got?)?;
    Ok(String::new())
}

async fn client_ends(f: Arc<Fixture>) -> Result<String> {
    let (id, rx, tx) = open(&f, "gap=0").await?;
    drop((rx, tx));
    let waited =
        f.registry.saw(&id, SOON, |s| matches!(s, Saw::Aborted(_)), "the cell sees the tunnel end").await?;
    Ok(format!("{} ms", waited.as_millis()))
}

async fn half_closed(f: Arc<Fixture>) -> Result<String> {
    let (_, mut rx, mut tx) = open(&f, "farewell=1").await?;
    tx.half_close().await?;
    ensure!(take(&mut rx, 8).await? == b"FAREWELL", "another word");
    let end = tokio::time::timeout(SOON, rx.gone()).await;
    end.map_err(|_| anyhow::anyhow!("the tunnel stays open with both halves ended"))
}

async fn cell_ends(f: Arc<Fixture>) -> Result<String> {
    let (_, mut rx, mut tx) = open(&f, "gap=0").await?;
    tx.raw("BYE").await?;
    let end = tokio::time::timeout(SOON, rx.gone()).await;
    end.map_err(|_| anyhow::anyhow!("the client still waits {SOON:?} after the cell closed"))
}

async fn refused(f: Arc<Fixture>) -> Result<String> {
    let request =
        f.request(BOTH_H1, "GET", "hello").header("Connection", "Upgrade").header("Upgrade", "websocket");
    let mut call = f.call(BOTH_H1, &request).await?;
    let (head, text) = call.whole().await?;
    expect_status(&head, &[200])?;
    ensure!(text == "hello GET 0 intact", "body {text:?}");
    Ok(String::new())
}
