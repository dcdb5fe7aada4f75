//! 100 MB up, down, and both ways at once, compared byte for byte.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::client::{Body, CallRx, Fixture, Legs, TLS_LEGS, expect_status};
use crate::table::Table;
use crate::wire::{BodyTx, PatternCheck, pattern};

/// What one transfer carries: far more than all buffers on the way.
const BIG: u64 = 100 << 20;

const PIECE_BYTES: u64 = 64 * 1024;

pub fn rows(t: &mut Table) {
    t.all_legs("big up with a length", |f, l| up(f, l, true));
    t.all_legs("big up without a length", |f, l| up(f, l, false));
    t.all_legs("big down with a length", |f, l| down(f, l, "cl"));
    t.all_legs("big down without a length", |f, l| down(f, l, "chunked"));
    t.all_legs("big echo, both ways at once", |f, l| echo(f, l, BIG));
    // Encryption in a debug build is slow; this still is many times what all buffers hold.
    t.each("echo over TLS, both ways at once", &TLS_LEGS, |f, l| echo(f, l, 30 << 20));
}

pub async fn pour(tx: &mut BodyTx, n: u64) -> Result<()> {
    let mut sent = 0;
    while sent < n {
        let piece = pattern(sent, PIECE_BYTES.min(n - sent) as usize);
        let len = piece.len() as u64;
        tx.data(piece).await.with_context(|| format!("sending at byte {sent}"))?;
        sent += len;
    }
    tx.finish(&[]).await
}

pub async fn drink(rx: &mut CallRx) -> Result<u64> {
    let mut check = PatternCheck::default();
    while let Some(piece) = rx.data().await.with_context(|| format!("receiving at byte {}", check.seen))? {
        check.piece(&piece)?;
    }
    Ok(check.seen)
}

async fn up(f: Arc<Fixture>, legs: Legs, length: bool) -> Result<String> {
    let body = if length { Body::Length(BIG) } else { Body::Stream };
    let mut call = f.call(legs, &f.request(legs, "POST", "hello").body(body)).await?;
    pour(&mut call.tx, BIG).await?;
    let (head, text) = call.whole().await?;
    expect_status(&head, &[200])?;
    ensure!(text == format!("hello POST {} intact", BIG), "body {text:?}");
    Ok(String::new())
}

async fn down(f: Arc<Fixture>, legs: Legs, te: &str) -> Result<String> {
    let mut call = f.call(legs, &f.request(legs, "GET", &format!("down?n={}&te={te}", BIG))).await?;
    expect_status(&call.head().await?, &[200])?;
    let n = drink(&mut call.rx).await?;
    ensure!(n == BIG, "{n} bytes of {}", BIG);
    Ok(String::new())
}

async fn echo(f: Arc<Fixture>, legs: Legs, size: u64) -> Result<String> {
    let mut call = f.call(legs, &f.request(legs, "POST", "echo").body(Body::Stream)).await?;
    let receiving = async {
        let (head, _) = call.rx.final_head("POST").await?;
        expect_status(&head, &[200])?;
        drink(&mut call.rx).await
    };
    let (sent, got) = tokio::join!(pour(&mut call.tx, size), receiving);
    sent?;
    let n = got?;
    ensure!(n == size, "{n} bytes of {}", size);
    Ok(String::new())
}
