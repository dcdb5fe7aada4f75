//! A cell whose HTTP/2 connections carry one request each: the second is answered by a GOAWAY that excludes
//! it. By hand, because no library sends less than it could serve.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::edge::ANY;

/// Where it listens, and what it got.
pub struct Leaving {
    pub addr: SocketAddr,
    seen: Arc<watch::Sender<Vec<Request>>>,
}

/// One request that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Bytes of its body.
    pub body: usize,
    /// Whether it was answered; else the connection's GOAWAY excluded it.
    pub answered: bool,
}

impl Leaving {
    /// On a free port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(ANY).await?;
        let addr = listener.local_addr()?;
        let seen = Arc::new(watch::Sender::new(Vec::new()));
        let noted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let seen = Arc::clone(&noted);
                // However a connection ends, the next one is served.
                tokio::spawn(async move { drop(serve(socket, &seen).await) });
            }
        });
        Ok(Self { addr, seen })
    }

    /// The requests since the last call.
    pub fn take(&self) -> Vec<Request> {
        self.seen.send_replace(Vec::new())
    }
}

/// Frame types and flags of RFC 9113 section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// `:status: 200` of the static table (RFC 7541 appendix A).
const STATUS_200: u8 = 0x88;

async fn serve(mut socket: TcpStream, seen: &watch::Sender<Vec<Request>>) -> Result<()> {
    let mut preface = [0; 24];
    socket.read_exact(&mut preface).await?;
    ensure!(preface.starts_with(b"PRI * HTTP/2.0"), "not HTTP/2");
    write(&mut socket, SETTINGS, 0, 0, &[]).await?;
    let mut body = 0;
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        socket.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & ACK == 0 => write(&mut socket, SETTINGS, ACK, 0, &[]).await?,
            DATA => body += payload.len(),
            _ => {}
        }
        if !matches!(kind, DATA | HEADERS) || flags & END_STREAM == 0 {
            continue;
        }
        let stream = u32::from_be_bytes(stream);
        let answered = stream == 1;
        seen.send_modify(|all| all.push(Request { body: std::mem::take(&mut body), answered }));
        if !answered {
            // The last stream that was looked at is the first; NO_ERROR.
            write(&mut socket, GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]).await?;
            socket.shutdown().await?;
            bail!("left");
        }
        write(&mut socket, HEADERS, END_STREAM | END_HEADERS, stream, &[STATUS_200]).await?;
    }
}

async fn write(socket: &mut TcpStream, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
    let length = u32::try_from(payload.len())?.to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    Ok(socket.write_all(&frame).await?)
}
