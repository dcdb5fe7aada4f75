//! A cell that serves about half of its requests and breaks the others off at a random moment after it has read
//! their head, and remembers each. By hand for HTTP/1, because a server library decides itself how a connection
//! ends.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// One time that it has got the head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `X-Cellgate-Attempt`.
    pub attempt: u8,
    /// It may have acted on it; else it has said that it has not.
    pub processed: bool,
}

type Log = Arc<Mutex<HashMap<usize, Vec<Seen>>>>;

/// Where it listens, and what it got; it ends with its runtime.
pub struct Unreliable {
    addr: SocketAddr,
    log: Log,
}

impl Unreliable {
    /// On a free port.
    pub async fn start(protocol: Protocol) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let log = Log::default();
        let noted = Arc::clone(&log);
        tokio::spawn(async move {
            for seed in 0.. {
                let Ok((socket, _)) = listener.accept().await else { return };
                let (log, random) = (Arc::clone(&noted), fastrand::Rng::with_seed(seed));
                // However a connection ends, the next one is served.
                tokio::spawn(async move {
                    drop(match protocol {
                        Protocol::Http1 => serve_h1(socket, &log, random).await,
                        Protocol::Http2 => serve_h2(socket, &log, random).await,
                    });
                });
            }
        });
        Ok(Self { addr, log })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it has seen of each request, by `X-Test-Number`.
    pub fn seen(&self) -> HashMap<usize, Vec<Seen>> {
        std::mem::take(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn note(log: &Log, headers: &HeaderMap, processed: bool) -> Result<()> {
    let text = |name: &str| headers.get(name).context("a field is missing")?.to_str().context("no text");
    let number = text("x-test-number")?.parse()?;
    let seen = Seen { attempt: text("x-cellgate-attempt")?.parse()?, processed };
    log.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_default().push(seen);
    Ok(())
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn serve_h1(mut socket: TcpStream, log: &Log, mut random: fastrand::Rng) -> Result<()> {
    let mut buffer = Vec::new();
    loop {
        let (headers, body) = head(&mut socket, &mut buffer).await?;
        note(log, &headers, true)?;
        let breaks = random.bool();
        // Where it breaks: after so many bytes of the body, and so many of the answer.
        let (read, written) = match random.u8(0..4) {
            _ if !breaks => (body, ANSWER.len()),
            0 => (0, 0),
            1 => (random.usize(0..=body), 0),
            2 => (body, 0),
            _ => (body, random.usize(1..20)),
        };
        while buffer.len() < read {
            more(&mut socket, &mut buffer).await?;
        }
        buffer.drain(..read);
        socket.write_all(&ANSWER[..written]).await?;
        if breaks {
            // An abort, as of a killed process; or an orderly end.
            if random.bool() {
                SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
            }
            bail!("broken off");
        }
        // A server with a short keep-alive: whoever sends now meets the close.
        if random.u8(0..10) == 0 {
            bail!("closed between requests");
        }
    }
}

/// Takes the next head off the buffer: its fields, and how many bytes of body follow.
async fn head(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<(HeaderMap, usize)> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        if let httparse::Status::Complete(length) = request.parse(buffer)? {
            let mut headers = HeaderMap::new();
            for field in request.headers.iter() {
                headers.append(http::HeaderName::from_bytes(field.name.as_bytes())?, field.value.try_into()?);
            }
            buffer.drain(..length);
            let body = match headers.get("content-length") {
                Some(length) => length.to_str()?.parse()?,
                None => 0,
            };
            return Ok((headers, body));
        }
        more(socket, buffer).await?;
    }
}

async fn more(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<()> {
    match socket.read_buf(buffer).await? {
        0 => bail!("cellgate has closed"),
        _ => Ok(()),
    }
}

async fn serve_h2(socket: TcpStream, log: &Log, mut random: fastrand::Rng) -> Result<()> {
    let abort = SockRef::from(&socket).try_clone()?;
    let mut connection = h2::server::handshake(socket).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let breaks = random.bool();
        // Refuse, reset, say goodbye, or fall down with all streams.
        let how = random.u8(0..20);
        note(log, request.headers(), !(breaks && how < 5))?;
        match how {
            _ if !breaks => drop(tokio::spawn(answer(request, respond))),
            0..5 => reset(respond, Reason::REFUSED_STREAM),
            5..18 => drop(tokio::spawn(read_and_reset(request, respond))),
            18 => {
                reset(respond, Reason::INTERNAL_ERROR);
                connection.graceful_shutdown();
            }
            _ => {
                abort.set_linger(Some(Duration::ZERO))?;
                bail!("broken off");
            }
        }
    }
    Ok(())
}

fn reset(mut respond: SendResponse<Bytes>, reason: Reason) {
    respond.send_reset(reason);
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<()> {
    read(request.into_body()).await?;
    let mut body = respond.send_response(Response::new(()), false)?;
    Ok(body.send_data(Bytes::from_static(b"ok"), true)?)
}

async fn read_and_reset(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Result<()> {
    read(request.into_body()).await?;
    reset(respond, Reason::INTERNAL_ERROR);
    Ok(())
}

async fn read(mut body: RecvStream) -> Result<()> {
    while let Some(bytes) = body.data().await {
        let length = bytes?.len();
        body.flow_control().release_capacity(length)?;
    }
    Ok(())
}
