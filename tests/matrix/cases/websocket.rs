//! WebSocket as its clients use it, over HTTP/1.1 (RFC 6455) and HTTP/2 (RFC 8441), with and without TLS: what
//! is said comes back, and both sides can close. The cell is `loadtest`'s, which speaks HTTP/1.1 here.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use loadtest::client::{Ask, Client, Http};
use loadtest::socket::tungstenite::Message;
use loadtest::socket::tungstenite::protocol::CloseFrame;
use loadtest::socket::{OpenError, Socket, open};

use crate::client::{Fixture, LEGS, Legs, Proto, TLS_LEGS};
use crate::edge::HOST_SIM;
use crate::table::{SOON, Table};
use crate::wire::pattern;

pub fn rows(t: &mut Table) {
    // The cell is always the simulated one; only the client's side differs.
    let clients = [LEGS[0], LEGS[2], TLS_LEGS[0], TLS_LEGS[2]];
    t.each("messages of every size come back", &clients, echo);
    t.each("the cell speaks first", &clients, push);
    t.each("the client closes", &clients, client_closes);
    t.each("the cell closes", &clients, cell_closes);
    t.each("the cell drops the connection", &clients, cell_drops);
    t.each("the client drops the connection", &clients, client_drops);
    t.each("the handshake reaches the cell whole", &clients, handshake);
    t.each("a cell that answers 2xx and does not switch has opened nothing", &clients, not_switched);
}

fn client(f: &Fixture, legs: Legs) -> Result<Client> {
    let http = if legs.down == Proto::H1 { Http::H1 } else { Http::H2 };
    Ok(if legs.tls { Client::tls(f.https, http, &f.tls)? } else { Client::new(f.door(legs), http) })
}

async fn socket(f: &Fixture, legs: Legs) -> Result<Socket> {
    let client = client(f, legs)?;
    let ask = Ask::get(HOST_SIM, "/chat?room=1").header("sec-websocket-protocol", "chat, other");
    open(&client, &ask).await.context("opening the WebSocket")
}

async fn next(socket: &mut Socket) -> Result<Message> {
    let message = tokio::time::timeout(SOON, socket.stream.next()).await.context("nothing came")?;
    Ok(message.context("the stream ended without a close")??)
}

async fn not_switched(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let client = client(&f, legs)?;
    for (status, over_h2) in [(200, 502), (204, 502), (403, 403)] {
        let ask = Ask::get(HOST_SIM, "/chat").sim(&format!("status={status}"));
        let Err(OpenError::Refused(reply)) = open(&client, &ask).await else {
            bail!("{status} has opened one")
        };
        // Over HTTP/1.1 only 101 opens one, and the client can be told what the cell has said.
        let expect = if legs.down == Proto::H1 { status } else { over_h2 };
        ensure!(reply.status == expect, "{status} became {}", reply.status);
    }
    Ok(String::new())
}

/// No WebSocket is left open at the cell.
async fn ended(f: &Fixture) -> Result<()> {
    let over = async {
        while f.simulated.counts().open_websockets > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, over).await.context("the cell still has the WebSocket open")
}

async fn echo(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut socket = socket(&f, legs).await?;
    // The borders of the three length codings (RFC 6455 section 5.2), and more than a window.
    for size in [0, 1, 125, 126, 65_535, 65_536, 900_000] {
        let message = Message::Binary(pattern(7, size));
        socket.stream.send(message.clone()).await?;
        ensure!(next(&mut socket).await? == message, "a message of {size} bytes changed");
    }
    drop(socket);
    ended(&f).await?;
    Ok(String::new())
}

async fn push(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut socket = socket(&f, legs).await?;
    socket.stream.send(Message::text("sim:push 5 30")).await?;
    for number in 0..5 {
        ensure!(next(&mut socket).await? == Message::text(format!("push {number}")), "push {number} changed");
    }
    socket.stream.send(Message::text("sim:ping are you there")).await?;
    ensure!(next(&mut socket).await? == Message::Ping("are you there".into()), "the ping changed");
    Ok(String::new())
}

fn close(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code: code.into(), reason: reason.into() }
}

async fn client_closes(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut socket = socket(&f, legs).await?;
    socket.stream.close(Some(close(1000, "done"))).await?;
    let answer = next(&mut socket).await?;
    ensure!(answer == Message::Close(Some(close(1000, "done"))), "the answer to the close is {answer:?}");
    closed(&f, socket).await
}

async fn cell_closes(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut socket = socket(&f, legs).await?;
    socket.stream.send(Message::text("sim:close 4001 moved")).await?;
    let close_frame = next(&mut socket).await?;
    ensure!(close_frame == Message::Close(Some(close(4001, "moved"))), "the cell's close is {close_frame:?}");
    closed(&f, socket).await
}

/// After the close frames the connection ends, here and at the cell.
async fn closed(f: &Fixture, mut socket: Socket) -> Result<String> {
    let end = tokio::time::timeout(SOON, socket.stream.next()).await.context("the connection stays open")?;
    ensure!(end.is_none(), "after the close: {end:?}");
    ended(f).await?;
    Ok(String::new())
}

async fn cell_drops(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut socket = socket(&f, legs).await?;
    socket.stream.send(Message::text("sim:drop")).await?;
    let end = tokio::time::timeout(SOON, socket.stream.next()).await.context("the connection stays open")?;
    ensure!(!matches!(end, Some(Ok(_))), "a message from nowhere: {end:?}");
    ended(&f).await?;
    Ok(String::new())
}

async fn client_drops(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut socket = socket(&f, legs).await?;
    socket.stream.send(Message::text("hello")).await?;
    ensure!(next(&mut socket).await? == Message::text("hello"), "changed");
    drop(socket);
    ended(&f).await?;
    Ok(String::new())
}

async fn handshake(f: Arc<Fixture>, legs: Legs) -> Result<String> {
    let mut socket = socket(&f, legs).await?;
    let protocol = socket.headers.get("sec-websocket-protocol").context("no subprotocol")?;
    ensure!(protocol == "chat", "subprotocol {protocol:?}");
    socket.stream.send(Message::text("sim:seen")).await?;
    let seen: loadtest::cell::Seen = serde_json::from_str(next(&mut socket).await?.to_text()?)?;
    ensure!((seen.method.as_str(), seen.target.as_str()) == ("GET", "/chat?room=1"), "the cell saw {seen:?}");
    ensure!(seen.header("host") == Some(HOST_SIM), "host {:?}", seen.header("host"));
    ensure!(seen.headers("sec-websocket-key").count() == 1, "not one key");
    ensure!(seen.header("sec-websocket-version") == Some("13"), "no version");
    Ok(String::new())
}
