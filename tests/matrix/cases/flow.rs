//! Pace: what trickles arrives as it trickles, what is not read stops the sender.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::cases::bulk::drink;
use crate::client::{Body, Fixture, LEGS, Legs, TLS_LEGS, expect_status};
use crate::table::{SOON, Table};
use crate::wire::{PatternCheck, pattern};

/// What may rest between two ends that do not read: socket buffers (the kernel grows them to some MB each)
/// and stream windows of 1 MB.
const IN_TRANSIT_BYTES_MAX: u64 = 40 << 20;

pub fn rows(t: &mut Table) {
    t.side_by_side();
    t.all_legs("10 bytes with a length, one by one", |f, l| trickle(f, l, "drip?cl=1&n=10&step=1"));
    t.all_legs("10 bytes without a length, one by one", |f, l| trickle(f, l, "drip?n=10&step=1"));
    for (name, behaviour) in [("with", "drip?cl=1&n=10&step=1"), ("without", "drip?n=10&step=1")] {
        t.each(&format!("10 bytes {name} a length over TLS"), &TLS_LEGS, |f, l| trickle(f, l, behaviour));
    }
    t.each("upload of 10 bytes over TLS", &TLS_LEGS, slow_upload);
    t.all_legs("server-sent events", |f, l| trickle(f, l, "drip?sse=1&n=10&step=1"));
    t.all_legs("upload of 10 bytes, one each 60 ms", slow_upload);
    t.all_legs("a client that does not read stops the cell", unread_download);
    t.all_legs("a cell that does not read stops the client", unread_upload);
    t.each("a stalled stream does not stop its neighbours", &LEGS[2..], neighbours);
}

async fn trickle(f: Arc<Fixture>, legs: Legs, behaviour: &str) -> Result<String> {
    let request = f.request(legs, "GET", behaviour);
    let mut call = f.call(legs, &request).await?;
    expect_status(&call.head().await?, &[200])?;
    let mut pieces = 0;
    while let Some(piece) = f.step(&request.id, &mut call.rx).await? {
        pieces += usize::from(!piece.is_empty());
    }
    // None was sent before the one before it had come.
    ensure!(pieces >= 10, "10 pieces came in {pieces}");
    Ok(String::new())
}

async fn slow_upload(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request = f.request(legs, "POST", "echo").body(Body::Stream);
    let mut call = f.call(legs, &request).await?;
    expect_status(&call.head().await?, &[200])?;
    for i in 0..10 {
        call.tx.data(pattern(i, 1)).await?;
        // The next one is sent only when this one is back: nothing may wait for more.
        ensure!(call.rx.data().await?.is_some_and(|b| b == pattern(i, 1)), "byte {i} changed");
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    call.tx.finish(&[]).await?;
    ensure!(call.rx.data().await?.is_none(), "data after the end");
    Ok(String::new())
}

async fn unread_download(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request = f.request(legs, "GET", &format!("down?n={}&te=chunked", 400 << 20));
    let mut call = f.call(legs, &request).await?;
    call.head().await?;
    let at = still(&f, &request.id).await?;
    ensure!(at < IN_TRANSIT_BYTES_MAX, "{} MB written to a client that reads nothing", at >> 20);
    let mut check = PatternCheck::default();
    while check.seen < at + (8 << 20) {
        let piece = call.rx.data().await?.ok_or_else(|| anyhow::anyhow!("ended"))?;
        check.piece(&piece)?;
    }
    Ok(format!("stopped at {} KB, went on intact", at >> 10))
}

/// Waits until the origin writes no more; the number of bytes it has written.
async fn still(f: &Fixture, id: &str) -> Result<u64> {
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let now = f.registry.written(id);
        if now == last {
            return Ok(now);
        }
        ensure!(now < 390 << 20, "{} MB and still writing", now >> 20);
        last = now;
    }
}

async fn unread_upload(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request = f.request(legs, "POST", "sink?ms=3000").body(Body::Stream);
    let mut call = f.call(legs, &request).await?;
    let mut sent = 0_u64;
    let begun = Instant::now();
    loop {
        let left = Duration::from_millis(2_000).saturating_sub(begun.elapsed());
        match tokio::time::timeout(left, call.tx.data(pattern(sent, 1))).await {
            Ok(done) => done?,
            Err(_) => break,
        }
        sent += 1;
        // After the first byte, a big piece that blocks is the proof: it ends this loop by the timeout.
        let left = Duration::from_millis(2_000).saturating_sub(begun.elapsed());
        let piece = pattern(sent, 64 * 1024);
        match tokio::time::timeout(left, call.tx.data(piece.clone())).await {
            Ok(done) => done?,
            Err(_) => break,
        }
        sent += piece.len() as u64;
        ensure!(sent < 390 << 20, "{} MB taken for a cell that reads nothing", sent >> 20);
    }
    ensure!(sent < IN_TRANSIT_BYTES_MAX, "{} MB taken for a cell that reads nothing", sent >> 20);
    call.reset()?;
    Ok(format!("stopped at {} KB", sent >> 10))
}

async fn neighbours(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let client = f.client(legs).await?;
    // 900 kB stay below the connection's window of 4 MB: what stands still is this stream alone.
    let mut stalled = client.send(&f.request(legs, "GET", "down?n=900000")).await?;
    stalled.head().await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let Some(mut next) = stalled.reuse_handle() else { anyhow::bail!("h2 only") };
    for _ in 0..10 {
        let mut call = next.send(&f.request(legs, "GET", "hello")).await?;
        let (head, _) = tokio::time::timeout(SOON, call.whole()).await??;
        expect_status(&head, &[200])?;
        next = call.reuse()?;
    }
    ensure!(drink(&mut stalled.rx).await? == 900_000, "the stalled stream lost bytes");
    Ok(String::new())
}
