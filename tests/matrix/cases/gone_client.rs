//! The client goes away at every moment: the cell learns it soon and nothing stays behind. How soon is printed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{Body, Call, Fixture, H1_CLIENT, H2Client, Legs, Proto, Request};
use crate::registry::Saw;
use crate::table::{SOON, Table};
use crate::wire::{BodyTx, pattern};

/// The way a client leaves.
#[derive(Clone, Copy, PartialEq)]
enum Exit {
    /// TCP FIN (h1) or the whole h2 connection closed.
    Close,
    /// TCP RST (h1), RST_STREAM (h2).
    Reset,
}

pub fn rows(t: &mut Table) {
    t.all_legs("before the head is complete", before_head);
    // TCP cannot tell a half that ended from a client that left; like most proxies, cellgate takes it for the
    // latter, so that cells do not work for nobody.
    t.each("ends its half while waiting for the response", &H1_CLIENT, half_closed);
    for (exit, how) in [(Exit::Close, "close"), (Exit::Reset, "reset")] {
        t.all_legs(&format!("after the head, before the body ({how})"), move |f, l| after_head(f, l, exit));
        t.all_legs(&format!("mid upload ({how})"), move |f, l| mid_upload(f, l, exit));
        t.all_legs(&format!("while waiting for the response ({how})"), move |f, l| waiting(f, l, exit));
        t.all_legs(&format!("waiting after an upload ({how})"), move |f, l| waiting_upload(f, l, exit));
        t.all_legs(&format!("mid download, fast cell ({how})"), move |f, l| {
            downloading(f, l, exit, "down?n=400000000&te=chunked")
        });
        t.all_legs(&format!("mid download, quiet cell ({how})"), move |f, l| {
            downloading(f, l, exit, "drip?n=2&ms=20000")
        });
        t.all_legs(&format!("mid echo ({how})"), move |f, l| echoing(f, l, exit));
    }
}

/// Leaves, after a moment in which the proxy must not have given up by itself.
async fn leave(f: &Fixture, id: &str, call: Call, exit: Exit) -> Result<Option<H2Client>> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = f.registry.of(id);
    ensure!(
        !before.iter().any(|s| matches!(s, Saw::Aborted(_))),
        "broken off before the client left: {before:?}"
    );
    match exit {
        Exit::Close => {
            call.close();
            Ok(None)
        }
        Exit::Reset => call.reset(),
    }
}

async fn aborted(f: &Fixture, id: &str) -> Result<String> {
    let waited = f
        .registry
        .saw(id, SOON, |s| matches!(s, Saw::Aborted(_)), "the cell learns that the client left")
        .await?;
    f.registry.wait("no exchange in flight at a cell", SOON, |r| r.in_flight() == 0).await?;
    Ok(format!("{} ms", waited.as_millis()))
}

async fn begun(f: &Fixture, request: &Request, what: impl Fn(&Saw) -> bool) -> Result<()> {
    f.registry.saw(&request.id, SOON, what, "the request reaches the cell").await.map(|_| ())
}

async fn before_head(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request = f.request(legs, "GET", "hello");
    let mut socket = TcpStream::connect(f.door(legs)).await?;
    let text = request.h1_head();
    let bytes: &[u8] = if legs.down == Proto::H1 {
        &text.as_bytes()[..text.len() - 2]
    } else {
        // Preface, empty SETTINGS, and a HEADERS frame that announces 100 bytes and brings 3.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x64\x01\x05\0\0\0\x01\x82\x86\x84"
    };
    socket.write_all(bytes).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(socket);
    tokio::time::sleep(Duration::from_millis(200)).await;
    ensure!(f.registry.heads(&request.id) == 0, "the cell saw a request whose head never ended");
    Ok(String::new())
}

async fn after_head(f: Arc<Fixture>, legs: Legs, exit: Exit) -> Result<String> {
    let request = f.request(legs, "POST", "hello").body(Body::Length(1_000));
    let call = f.call(legs, &request).await?;
    begun(&f, &request, |s| matches!(s, Saw::Head(_))).await?;
    let _connection = leave(&f, &request.id, call, exit).await?;
    aborted(&f, &request.id).await
}

async fn mid_upload(f: Arc<Fixture>, legs: Legs, exit: Exit) -> Result<String> {
    let request = f.request(legs, "POST", "hello").body(Body::Stream);
    let mut call = f.call(legs, &request).await?;
    call.tx.data(pattern(0, 100_000)).await?;
    begun(&f, &request, |s| matches!(s, Saw::BodyBegan)).await?;
    let _connection = leave(&f, &request.id, call, exit).await?;
    let waited = aborted(&f, &request.id).await?;
    let clean = f.registry.of(&request.id).iter().any(|s| matches!(s, Saw::Body(_)));
    ensure!(!clean, "the cell took a cut upload for a whole one");
    Ok(waited)
}

async fn waiting(f: Arc<Fixture>, legs: Legs, exit: Exit) -> Result<String> {
    let request = f.request(legs, "GET", "stall");
    let call = f.call(legs, &request).await?;
    begun(&f, &request, |s| matches!(s, Saw::Body(_))).await?;
    let _connection = leave(&f, &request.id, call, exit).await?;
    aborted(&f, &request.id).await
}

async fn half_closed(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let request = f.request(legs, "GET", "stall");
    let mut call = f.call(legs, &request).await?;
    begun(&f, &request, |s| matches!(s, Saw::Body(_))).await?;
    if let BodyTx::H1(tx) = &mut call.tx {
        tx.half_close().await?;
    }
    let waited = aborted(&f, &request.id).await?;
    let answer = tokio::time::timeout(SOON, call.head()).await?;
    ensure!(answer.is_err(), "an answer: {answer:?}");
    Ok(waited)
}

async fn waiting_upload(f: Arc<Fixture>, legs: Legs, exit: Exit) -> Result<String> {
    let request = f.request(legs, "POST", "stall").body(Body::Length(5));
    let mut call = f.call(legs, &request).await?;
    call.tx.data(pattern(0, 5)).await?;
    call.tx.finish(&[]).await?;
    begun(&f, &request, |s| matches!(s, Saw::Body(5))).await?;
    let _connection = leave(&f, &request.id, call, exit).await?;
    aborted(&f, &request.id).await
}

async fn downloading(f: Arc<Fixture>, legs: Legs, exit: Exit, behaviour: &str) -> Result<String> {
    let request = f.request(legs, "GET", behaviour);
    let mut call = f.call(legs, &request).await?;
    call.head().await?;
    ensure!(call.rx.data().await?.is_some(), "no first piece");
    let _connection = leave(&f, &request.id, call, exit).await?;
    aborted(&f, &request.id).await
}

async fn echoing(f: Arc<Fixture>, legs: Legs, exit: Exit) -> Result<String> {
    let request = f.request(legs, "POST", "echo").body(Body::Stream);
    let mut call = f.call(legs, &request).await?;
    call.head().await?;
    call.tx.data(pattern(0, 1_000)).await?;
    ensure!(call.rx.data().await?.is_some(), "no echo");
    let _connection = leave(&f, &request.id, call, exit).await?;
    aborted(&f, &request.id).await
}
