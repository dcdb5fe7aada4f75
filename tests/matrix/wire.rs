//! HTTP/1.1 framing by hand and HTTP/2 through the `h2` crate behind one pair of body halves.
//!
//! It is not a client library: it shows a truncated body as an error, never as an end, and leaves
//! every byte decision to the test that uses it.

use std::future::poll_fn;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

/// A message head of either protocol. `status` is 0 in requests, `target` is empty in responses.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub method: String,
    pub target: String,
    pub status: u16,
    /// Minor version of HTTP/1; 20 for HTTP/2.
    pub version: u8,
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn first(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    pub fn from_headers(headers: &HeaderMap) -> Vec<(String, String)> {
        headers
            .iter()
            .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
            .collect()
    }
}

/// Any connection.
pub trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Socket for T {}

/// One that may have TLS.
pub type AnySocket = Box<dyn Socket>;

/// How the body that follows is delimited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Framing {
    Done,
    Length(u64),
    ChunkHead,
    Chunk(u64),
    ChunkEnd,
    UntilClose,
}

/// The reading half of an HTTP/1 connection.
pub struct H1Rx {
    r: ReadHalf<AnySocket>,
    pub buf: BytesMut,
    pub framing: Framing,
    pub trailers: Vec<(String, String)>,
}

/// Head blocks above this are a fault of the test, not a case.
const HEAD_BYTES_MAX: usize = 1 << 20;
/// One read; big enough that 100 MB do not take a hundred thousand calls.
const READ_BYTES: usize = 64 * 1024;

impl H1Rx {
    pub fn new(r: ReadHalf<AnySocket>) -> Self {
        H1Rx { r, buf: BytesMut::new(), framing: Framing::Done, trailers: Vec::new() }
    }

    /// Reads once; 0 at the end of the stream.
    pub async fn fill(&mut self) -> std::io::Result<usize> {
        self.buf.reserve(READ_BYTES);
        self.r.read_buf(&mut self.buf).await
    }

    async fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.buf.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buf[..end]).into_owned();
                self.buf.advance(end + 2);
                return Ok(line);
            }
            ensure!(self.buf.len() < HEAD_BYTES_MAX, "a line longer than {HEAD_BYTES_MAX} bytes");
            ensure!(self.fill().await? > 0, "TRUNCATED inside a line");
        }
    }

    /// The next head, or None when the peer closed between two messages.
    pub async fn head(&mut self) -> Result<Option<Head>> {
        while self.buf.is_empty() {
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
        let first = self.line().await.context("reading the first line")?;
        let mut head = Head::default();
        let mut words = first.splitn(3, ' ');
        let word = words.next().unwrap_or_default();
        if let Some(minor) = word.strip_prefix("HTTP/1.") {
            head.version = minor.parse().context("version")?;
            head.status =
                words.next().unwrap_or_default().parse().with_context(|| format!("status line {first:?}"))?;
        } else {
            head.method = word.to_string();
            head.target = words.next().unwrap_or_default().to_string();
            let version = words.next().unwrap_or_default();
            let minor = version.strip_prefix("HTTP/1.").ok_or_else(|| anyhow!("not HTTP/1: {first:?}"))?;
            head.version = minor.parse().context("version")?;
        }
        head.headers = self.fields().await?;
        Ok(Some(head))
    }

    async fn fields(&mut self) -> Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await.context("reading fields")?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| anyhow!("no colon in {line:?}"))?;
            fields.push((name.to_string(), value.trim().to_string()));
        }
    }

    /// Sets the framing of a response's body (RFC 9112 section 6.3).
    pub fn expect_response_body(&mut self, head: &Head, request_method: &str) -> Result<()> {
        let none = request_method == "HEAD" || head.status < 200 || matches!(head.status, 204 | 304);
        self.framing = if none { Framing::Done } else { framing(head, Framing::UntilClose)? };
        Ok(())
    }

    /// Sets the framing of a request's body.
    pub fn expect_request_body(&mut self, head: &Head) -> Result<()> {
        self.framing = framing(head, Framing::Done)?;
        Ok(())
    }

    /// The next piece of the body; None at its clean end; an error when it was cut off.
    pub async fn data(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.framing {
                Framing::Done => return Ok(None),
                Framing::ChunkHead => self.chunk_head().await?,
                Framing::ChunkEnd => {
                    ensure!(self.line().await?.is_empty(), "no CRLF after a chunk");
                    self.framing = Framing::ChunkHead;
                }
                Framing::Length(0) => self.framing = Framing::Done,
                Framing::Chunk(0) => self.framing = Framing::ChunkEnd,
                Framing::UntilClose => return self.rest().await,
                Framing::Length(left) => {
                    return self.some(left).await.map(|(b, left)| {
                        self.framing = Framing::Length(left);
                        Some(b)
                    });
                }
                Framing::Chunk(left) => {
                    return self.some(left).await.map(|(b, left)| {
                        self.framing = Framing::Chunk(left);
                        Some(b)
                    });
                }
            }
        }
    }

    async fn chunk_head(&mut self) -> Result<()> {
        let line = self.line().await.context("reading a chunk size")?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).with_context(|| format!("chunk size {line:?}"))?;
        if size == 0 {
            self.trailers = self.fields().await?;
            self.framing = Framing::Done;
        } else {
            self.framing = Framing::Chunk(size);
        }
        Ok(())
    }

    async fn some(&mut self, left: u64) -> Result<(Bytes, u64)> {
        if self.buf.is_empty() {
            ensure!(self.fill().await? > 0, "TRUNCATED with {left} bytes to come");
        }
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.buf.len());
        Ok((self.buf.split_to(take).freeze(), left - take as u64))
    }

    async fn rest(&mut self) -> Result<Option<Bytes>> {
        if self.buf.is_empty() && self.fill().await? == 0 {
            self.framing = Framing::Done;
            return Ok(None);
        }
        Ok(Some(self.buf.split().freeze()))
    }

    /// Resolves when the peer ends or breaks the connection; bytes that still come are kept.
    pub async fn gone(&mut self) -> String {
        loop {
            match self.fill().await {
                Ok(0) => return "eof".into(),
                Ok(_) => continue,
                Err(e) => return format!("{:?}", e.kind()),
            }
        }
    }
}

fn framing(head: &Head, otherwise: Framing) -> Result<Framing> {
    if let Some(coding) = head.first("transfer-encoding") {
        ensure!(coding.eq_ignore_ascii_case("chunked"), "transfer-encoding {coding:?}");
        ensure!(head.first("content-length").is_none(), "both content-length and transfer-encoding");
        return Ok(Framing::ChunkHead);
    }
    match head.all("content-length").as_slice() {
        [] => Ok(otherwise),
        [one] => Ok(Framing::Length(one.parse().with_context(|| format!("content-length {one:?}"))?)),
        many => bail!("content-length {many:?}"),
    }
}

/// The writing half of an HTTP/1 connection.
pub struct H1Tx {
    w: WriteHalf<AnySocket>,
    pub chunked: bool,
}

impl H1Tx {
    pub fn new(w: WriteHalf<AnySocket>) -> Self {
        H1Tx { w, chunked: false }
    }

    pub async fn raw(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.w.write_all(bytes.as_ref()).await?;
        Ok(self.w.flush().await?)
    }

    /// Ends this half; the other goes on.
    pub async fn half_close(&mut self) -> Result<()> {
        Ok(self.w.shutdown().await?)
    }

    pub async fn data(&mut self, data: Bytes) -> Result<()> {
        if !self.chunked {
            return self.raw(&data).await;
        }
        if data.is_empty() {
            return Ok(());
        }
        let mut framed = BytesMut::with_capacity(data.len() + 16);
        framed.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        framed.extend_from_slice(&data);
        framed.extend_from_slice(b"\r\n");
        self.raw(&framed).await
    }

    pub async fn finish(&mut self, trailers: &[(&'static str, &str)]) -> Result<()> {
        if !self.chunked {
            return Ok(());
        }
        let mut end = String::from("0\r\n");
        for (name, value) in trailers {
            end.push_str(&format!("{name}: {value}\r\n"));
        }
        self.chunked = false;
        self.raw(end + "\r\n").await
    }
}

/// The receiving half of a message body.
pub enum BodyRx {
    H1(H1Rx),
    H2(h2::RecvStream),
}

impl BodyRx {
    pub async fn data(&mut self) -> Result<Option<Bytes>> {
        match self {
            BodyRx::H1(rx) => rx.data().await,
            // An empty DATA frame that carries END_STREAM is an end, not a piece.
            BodyRx::H2(stream) => loop {
                match stream.data().await {
                    None => return Ok(None),
                    Some(Err(e)) => return Err(anyhow!("TRUNCATED: {e}")),
                    Some(Ok(bytes)) if bytes.is_empty() => continue,
                    Some(Ok(bytes)) => {
                        let _ = stream.flow_control().release_capacity(bytes.len());
                        return Ok(Some(bytes));
                    }
                }
            },
        }
    }

    pub async fn trailers(&mut self) -> Result<Vec<(String, String)>> {
        match self {
            BodyRx::H1(rx) => Ok(rx.trailers.clone()),
            BodyRx::H2(stream) => match stream.trailers().await {
                Ok(map) => Ok(map.as_ref().map(Head::from_headers).unwrap_or_default()),
                Err(e) => Err(anyhow!("TRUNCATED: {e}")),
            },
        }
    }
}

/// The sending half of a message body.
pub enum BodyTx {
    H1(H1Tx),
    H2(h2::SendStream<Bytes>),
}

impl BodyTx {
    pub async fn data(&mut self, mut data: Bytes) -> Result<()> {
        let stream = match self {
            BodyTx::H1(tx) => return tx.data(data).await,
            BodyTx::H2(stream) => stream,
        };
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            let ready = poll_fn(|cx| match stream.poll_reset(cx) {
                std::task::Poll::Ready(reset) => std::task::Poll::Ready(Err(anyhow!("reset: {reset:?}"))),
                std::task::Poll::Pending => stream.poll_capacity(cx).map(|got| match got {
                    Some(Ok(n)) => Ok(n),
                    Some(Err(e)) => Err(anyhow!("{e}")),
                    None => Err(anyhow!("stream closed")),
                }),
            })
            .await?;
            let part = data.split_to(ready.min(data.len()));
            if !part.is_empty() {
                stream.send_data(part, false)?;
            }
        }
        Ok(())
    }

    /// All of a body. An answer that is there already may have ended the stream (RFC 9113 section 8.1): then
    /// the rest is not wanted, and the answer counts.
    pub async fn whole(&mut self, data: Bytes) {
        if self.data(data).await.is_ok() {
            let _ = self.finish(&[]).await;
        }
    }

    pub async fn finish(&mut self, trailers: &[(&'static str, &str)]) -> Result<()> {
        match self {
            BodyTx::H1(tx) => tx.finish(trailers).await,
            BodyTx::H2(stream) if trailers.is_empty() => Ok(stream.send_data(Bytes::new(), true)?),
            BodyTx::H2(stream) => {
                let mut map = HeaderMap::new();
                for (name, value) in trailers {
                    map.append(*name, value.parse()?);
                }
                Ok(stream.send_trailers(map)?)
            }
        }
    }
}

/// The period of [`pattern`]: a prime, so that no buffer size divides it and a lost, doubled or swapped
/// buffer shows.
const PATTERN_PERIOD: usize = 1_000_003;

/// Bytes `[from, from + len)` of an endless pseudo-random stream; both ends know it, so that comparing is the checksum.
pub fn pattern(from: u64, len: usize) -> Bytes {
    static TABLE: std::sync::OnceLock<Bytes> = std::sync::OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        let step = |_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x.to_le_bytes()[3]
        };
        let once: Vec<u8> = (0..PATTERN_PERIOD).map(step).collect();
        Bytes::from([once.as_slice(), once.as_slice()].concat())
    });
    let at = (from % PATTERN_PERIOD as u64) as usize;
    table.slice(at..at + len.min(PATTERN_PERIOD))
}

/// Checks a stream of pieces against [`pattern`].
#[derive(Default)]
pub struct PatternCheck {
    pub seen: u64,
}

impl PatternCheck {
    pub fn piece(&mut self, piece: &[u8]) -> Result<()> {
        for part in piece.chunks(PATTERN_PERIOD) {
            ensure!(pattern(self.seen, part.len()) == part, "CORRUPT near byte {}", self.seen);
            self.seen += part.len() as u64;
        }
        Ok(())
    }
}
