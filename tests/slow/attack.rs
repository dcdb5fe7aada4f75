//! The kinds of slow clients: what each sends, when its deadline begins, and how it sees that it was cut.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use crate::wire::{
    END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, Stream, block, frame, tcp, tls,
    until_frame,
};

/// An account's own address; its cell is the one that is attacked.
pub const HOST: &str = "ab123.us1.dbt.com";

/// Bytes of an answer that is not read: twice what the client's connection takes without being read (128 KiB that wait
/// unsent, or the window of a stream, 64 KiB, and two pieces of as much). What is more would only lie in the kernel, in
/// the sockets between cellgate and the cell.
const ANSWER_BYTES: usize = 512 << 10;

/// Bytes of the kernel's memory for sockets that one who does not read at all costs, with both ends of both connections
/// on one machine: its answer, and what the kernel counts beside it. 618 KiB were measured, and are printed each time.
pub const READER_IN_KERNEL: u64 = 700 << 10;

/// How often one that drips gives a byte.
const DRIP: Duration = Duration::from_millis(250);

/// What slow clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The beginning of a ClientHello, and silence.
    HalfHandshake,
    /// A request head, byte by byte.
    HeadH1,
    /// A header block that never ends.
    HeadH2,
    /// HTTP/2 was agreed on, and nothing comes.
    NoPreface,
    /// A body that stops.
    BodyH1,
    /// The same on a stream.
    BodyH2,
    /// A body that never stops for long enough.
    DripH1,
    /// An answer that is not read.
    ReaderH1,
    /// A stream without window.
    ReaderH2,
    /// One request, and silence.
    IdleH1,
    /// The same over HTTP/2.
    IdleH2,
}

/// How one slow client was cut.
#[derive(Debug)]
pub struct Cut {
    /// From before the deadline began until the client saw the end.
    pub after: Duration,
    /// What it was told before the end, where that is text.
    pub answer: String,
}

/// Where slow clients go.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub h1: TlsConnector,
    pub h2: TlsConnector,
}

/// One slow client on its way.
pub struct Slow {
    kind: Kind,
    stream: Box<dyn Stream>,
    since: Instant,
}

impl Kind {
    fn is_h2(self) -> bool {
        matches!(self, Self::HeadH2 | Self::NoPreface | Self::BodyH2 | Self::ReaderH2 | Self::IdleH2)
    }

    /// Whether the server and not the client must say when it is over: who does not read sees nothing.
    pub fn is_blind(self) -> bool {
        self == Self::ReaderH1
    }

    /// What it must be told before the end.
    pub fn answer(self) -> Option<&'static str> {
        match self {
            Self::HeadH1 | Self::BodyH1 | Self::DripH1 => Some("HTTP/1.1 408 "),
            _ => None,
        }
    }

    /// Most bytes that one connection may cost. The bars are 16 KiB for a connection on which nothing of a request is
    /// under way and 32 KiB for one that is slow in the middle of something; three kinds cannot be held to them with
    /// an HTTP/2 session of the `h2` crate, which costs 12 KiB from its preface on and more once it has had a request
    /// (docs/limits.md takes it apart).
    pub fn bar(self) -> u64 {
        let kib = match self {
            Self::IdleH1 | Self::NoPreface => 16,
            Self::HalfHandshake | Self::HeadH1 | Self::HeadH2 => 32,
            Self::BodyH1 | Self::DripH1 | Self::ReaderH1 => 32,
            // Measured: 27.9.
            Self::IdleH2 => 32,
            // Measured: 34.6.
            Self::BodyH2 => 40,
            // Measured: 66.0. What a session and an exchange cost, and the piece of its answer that it does not take.
            Self::ReaderH2 => 72,
        };
        kib * 1024
    }

    /// Whether it does not take what it has asked for.
    pub fn is_reader(self) -> bool {
        matches!(self, Self::ReaderH1 | Self::ReaderH2)
    }

    fn request(self) -> Vec<u8> {
        let h1 = |line: &str, rest: &str| format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{rest}").into_bytes();
        let sized = ANSWER_BYTES.to_string();
        let sim = format!("body={sized}");
        match self {
            Self::HalfHandshake | Self::NoPreface => Vec::new(),
            Self::HeadH1 => h1("GET /slow", "X-Drip: "),
            Self::BodyH1 | Self::DripH1 => h1("POST /slow", "Content-Length: 100000\r\n\r\n0123456789"),
            Self::ReaderH1 => h1("GET /slow", &format!("x-sim: {sim}\r\n\r\n")),
            Self::IdleH1 => h1("HEAD /slow", "\r\n"),
            Self::HeadH2 => [PREFACE, &frame(HEADERS, 0, &block("GET", HOST, "/slow", &[]))[..]].concat(),
            Self::BodyH2 => {
                let head = frame(HEADERS, END_HEADERS, &block("POST", HOST, "/slow", &[]));
                [PREFACE, &head[..], &frame(0, 0, b"0123456789")[..]].concat()
            }
            Self::ReaderH2 => {
                let head = block("GET", HOST, "/slow", &[("x-sim", sim.as_str())]);
                [PREFACE, &frame(HEADERS, END_HEADERS | END_STREAM, &head)[..]].concat()
            }
            Self::IdleH2 => {
                let head = block("HEAD", HOST, "/slow", &[]);
                [PREFACE, &frame(HEADERS, END_HEADERS | END_STREAM, &head)[..]].concat()
            }
        }
    }
}

impl Slow {
    /// Connects and does what it does before it falls silent.
    pub async fn open(kind: Kind, target: &Target) -> io::Result<Self> {
        let mut since = Instant::now();
        let mut stream = tcp(target.address, kind.is_blind()).await?;
        if kind == Kind::HalfHandshake {
            // A handshake record of 512 bytes that breaks off in the client's version.
            stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3]).await?;
            return Ok(Self { kind, stream: Box::new(stream), since });
        }
        let connector = if kind.is_h2() { &target.h2 } else { &target.h1 };
        let mut stream = tls(stream, HOST, connector).await?;
        if kind != Kind::NoPreface {
            since = Instant::now();
        }
        stream.write_all(&kind.request()).await?;
        stream.flush().await?;
        match kind {
            Kind::IdleH1 => until_blank_line(&mut stream).await?,
            Kind::IdleH2 | Kind::ReaderH2 => {
                let answered = until_frame(&mut *stream, &[HEADERS]).await;
                answered.ok_or(io::ErrorKind::UnexpectedEof)?;
            }
            _ => {}
        }
        Ok(Self { kind, stream, since })
    }

    /// Goes on until it is cut. One that does not read waits until it is told that all is over.
    pub async fn until_cut(mut self, over: watch::Receiver<bool>) -> Cut {
        let answer = match self.kind {
            Kind::HeadH1 | Kind::DripH1 => self.drip(b"x").await,
            Kind::HalfHandshake | Kind::BodyH1 | Kind::IdleH1 => self.read().await,
            Kind::ReaderH1 => self.read_late(over).await,
            Kind::BodyH2 => {
                let head = until_frame(&mut *self.stream, &[HEADERS]).await;
                head.map_or(String::new(), |(_, block)| format!("{block:02x?}"))
            }
            Kind::ReaderH2 => {
                let end = until_frame(&mut *self.stream, &[RST_STREAM]).await;
                end.map_or(String::new(), |_| "reset".to_owned())
            }
            Kind::HeadH2 | Kind::NoPreface | Kind::IdleH2 => {
                let end = until_frame(&mut *self.stream, &[GOAWAY]).await;
                end.map_or(String::new(), |_| "goaway".to_owned())
            }
        };
        Cut { after: self.since.elapsed(), answer }
    }

    /// The first bytes that come, or nothing at the end.
    async fn read(&mut self) -> String {
        let mut bytes = [0; 512];
        let read = self.stream.read(&mut bytes).await.unwrap_or(0);
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    async fn drip(&mut self, byte: &[u8]) -> String {
        let mut answer = [0; 512];
        loop {
            tokio::select! {
                read = self.stream.read(&mut answer) => {
                    return String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned();
                }
                () = tokio::time::sleep(DRIP) => {}
            }
            // Where the other end has gone, the next read says so.
            let _ = self.stream.write_all(byte).await;
            let _ = self.stream.flush().await;
        }
    }

    /// Reads only when it is over: a part of the answer must be missing.
    async fn read_late(&mut self, mut over: watch::Receiver<bool>) -> String {
        // The sender lives as long as the siege.
        let _ = over.wait_for(|over| *over).await;
        let mut answer = Vec::new();
        let _ = self.stream.read_to_end(&mut answer).await;
        if answer.len() < ANSWER_BYTES { "cut".to_owned() } else { "whole".to_owned() }
    }
}

async fn until_blank_line(stream: &mut Box<dyn Stream>) -> io::Result<()> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
