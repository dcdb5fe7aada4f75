//! What an origin does with one request: the last path segment names it, the query tunes it.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::watch;

use crate::origin::query;
use crate::registry::{Registry, Saw};
use crate::wire::{BodyRx, BodyTx, H1Tx, Head, PatternCheck, pattern};

/// How much a fast origin writes at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A client that has not got by then what was sent does not get it: it was held back.
const TAKEN: Duration = Duration::from_secs(20);

/// What the connection does when the next request comes; set by an earlier request on it.
#[derive(Clone, Copy, PartialEq)]
pub enum Trap {
    None,
    /// Read the request whole, then close without a word.
    Close,
    /// h2: refuse the stream.
    Refuse,
}

/// One request as a behaviour sees it.
pub struct Exchange {
    pub id: String,
    pub connection: u64,
    pub head: Head,
    pub rx: BodyRx,
    pub reply: Reply,
    pub registry: Arc<Registry>,
    pub trap: Trap,
    /// h2: whoever takes the connection's next request learns of the trap here, before the answer that lets it come.
    pub next: Option<watch::Sender<Trap>>,
    /// h1: the connection is of no further use.
    pub spent: bool,
}

pub enum Reply {
    H1(H1Tx),
    H2 { respond: h2::server::SendResponse<Bytes>, body: Option<BodyTx> },
}

impl Exchange {
    fn number(&self, key: &str, otherwise: u64) -> u64 {
        query(&self.head.target, key).and_then(|v| v.parse().ok()).unwrap_or(otherwise)
    }

    fn flag(&self, key: &str, value: &str) -> bool {
        query(&self.head.target, key).as_deref() == Some(value)
    }

    pub async fn run(&mut self) -> Result<()> {
        if self.trap != Trap::None {
            return self.sprung().await;
        }
        let path = self.head.target.split('?').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default().to_string();
        match name.as_str() {
            "hello" => self.hello().await,
            "head" => self.show_head().await,
            "down" => self.down().await,
            "echo" => self.echo().await,
            "early" => self.early().await,
            "stall" => self.stall().await,
            "sink" => self.sink().await,
            "drip" => self.drip().await,
            "status" => self.bare_status().await,
            "hints" => self.hints().await,
            "continue" => self.go_on().await,
            "die" => self.die().await,
            "until-close" => self.until_close().await,
            "ws" => self.websocket().await,
            "trailers" => self.trailers().await,
            "grpc" => self.grpc().await,
            _ => self.answer(404, &[], "no such behaviour").await,
        }
    }

    // ---- building blocks ----

    /// Sends a response head; `length` None means chunked on h1 and unannounced on h2.
    async fn begin(
        &mut self,
        status: u16,
        length: Option<u64>,
        extra: &[(&str, &str)],
        end: bool,
    ) -> Result<()> {
        match &mut self.reply {
            Reply::H1(tx) => {
                let mut text = format!("HTTP/1.1 {status} X\r\nx-mx-conn: {}\r\n", self.connection);
                for (name, value) in extra {
                    text.push_str(&format!("{name}: {value}\r\n"));
                }
                match length {
                    Some(n) => text.push_str(&format!("content-length: {n}\r\n")),
                    None if end => {}
                    None => text.push_str("transfer-encoding: chunked\r\n"),
                }
                tx.chunked = length.is_none() && !end;
                tx.raw(text + "\r\n").await
            }
            Reply::H2 { respond, body } => {
                let mut response =
                    http::Response::builder().status(status).header("x-mx-conn", self.connection);
                for (name, value) in extra {
                    response = response.header(*name, *value);
                }
                if let Some(n) = length {
                    response = response.header("content-length", n);
                }
                *body = Some(BodyTx::H2(respond.send_response(response.body(())?, end)?));
                Ok(())
            }
        }
    }

    async fn put(&mut self, data: impl Into<Bytes>) -> Result<()> {
        let data = data.into();
        let n = data.len() as u64;
        match &mut self.reply {
            Reply::H1(tx) => tx.data(data).await?,
            Reply::H2 { body, .. } => body.as_mut().ok_or_else(|| anyhow!("no head yet"))?.data(data).await?,
        }
        self.registry.wrote(&self.id, n);
        Ok(())
    }

    async fn finish(&mut self, trailers: &[(&'static str, &str)]) -> Result<()> {
        match &mut self.reply {
            Reply::H1(tx) => tx.finish(trailers).await?,
            Reply::H2 { body, .. } => {
                body.as_mut().ok_or_else(|| anyhow!("no head yet"))?.finish(trailers).await?
            }
        }
        self.registry.note(&self.id, Saw::Answered);
        Ok(())
    }

    async fn answer(&mut self, status: u16, extra: &[(&str, &str)], body: impl Into<Bytes>) -> Result<()> {
        let body = if self.head.method == "HEAD" { Bytes::new() } else { body.into() };
        self.begin(status, Some(body.len() as u64), extra, false).await?;
        self.put(body).await?;
        self.finish(&[]).await
    }

    /// Reads the request body to its end; `Ok(bytes)` only when it ended cleanly.
    async fn read_body(&mut self) -> Result<(u64, bool)> {
        let mut check = PatternCheck::default();
        let (mut total, mut good) = (0, true);
        while let Some(piece) = self.rx.data().await? {
            if total == 0 {
                self.registry.note(&self.id, Saw::BodyBegan);
            }
            total += piece.len() as u64;
            good &= check.piece(&piece).is_ok();
        }
        self.registry.note(&self.id, Saw::Body(total));
        Ok((total, good))
    }

    /// Between two pieces: `ms`, or with `step=1` until the client has all that was sent.
    fn pause(&self, sent: u64) -> impl Future<Output = Result<()>> + Send + use<> {
        let (step, ms) = (self.flag("step", "1"), self.number("ms", 50));
        let (registry, id) = (Arc::clone(&self.registry), self.id.clone());
        async move {
            if step {
                return taken(&registry, &id, sent).await;
            }
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(())
        }
    }

    fn set(&mut self, trap: Trap) {
        self.trap = trap;
        if let Some(next) = &self.next {
            next.send_replace(trap);
        }
    }

    /// Resolves when the proxy gives this exchange up.
    async fn gone(&mut self) -> String {
        match (&mut self.reply, &mut self.rx) {
            (Reply::H1(_), BodyRx::H1(rx)) => rx.gone().await,
            (Reply::H2 { body: Some(BodyTx::H2(stream)), .. }, _) => {
                match poll_fn(|cx| stream.poll_reset(cx)).await {
                    Ok(reason) => format!("{reason:?}"),
                    Err(e) => e.to_string(),
                }
            }
            (Reply::H2 { respond, .. }, _) => match poll_fn(|cx| respond.poll_reset(cx)).await {
                Ok(reason) => format!("{reason:?}"),
                Err(e) => e.to_string(),
            },
            _ => "mixed halves".into(),
        }
    }

    fn reset(&mut self, reason: h2::Reason) {
        self.spent = true;
        match &mut self.reply {
            Reply::H1(_) => {}
            Reply::H2 { body: Some(BodyTx::H2(stream)), .. } => stream.send_reset(reason),
            Reply::H2 { respond, .. } => respond.send_reset(reason),
        }
    }

    // ---- behaviours ----

    async fn sprung(&mut self) -> Result<()> {
        let trap = self.trap;
        self.set(Trap::None);
        self.read_body().await?;
        match trap {
            Trap::Refuse => self.reset(h2::Reason::REFUSED_STREAM),
            Trap::Close | Trap::None => self.spent = true,
        }
        Ok(())
    }

    /// Reads the body, says how long and how intact it was. `next=close|refuse` sets the trap,
    /// `linger_ms` closes the idle connection after that time.
    async fn hello(&mut self) -> Result<()> {
        let (n, good) = self.read_body().await?;
        if self.flag("next", "close") {
            self.set(Trap::Close);
        }
        if self.flag("next", "refuse") {
            self.set(Trap::Refuse);
        }
        let text = format!("hello {} {n} {}", self.head.method, if good { "intact" } else { "CORRUPT" });
        self.answer(200, &[], text).await?;
        if self.flag("next", "fin") {
            self.spent = true;
        }
        Ok(())
    }

    async fn show_head(&mut self) -> Result<()> {
        self.read_body().await?;
        let mut text = format!("{} {}\n", self.head.method, self.head.target);
        for (name, value) in &self.head.headers {
            text.push_str(&format!("{}: {value}\n", name.to_ascii_lowercase()));
        }
        let hop = [("connection", "x-hop"), ("x-hop", "1"), ("keep-alive", "timeout=5"), ("x-end", "kept")];
        let extra: &[_] = if self.flag("hop", "1") { &hop } else { &[] };
        self.answer(200, extra, text).await
    }

    /// `n` pattern bytes as fast as they go, `te=chunked` without a length.
    async fn down(&mut self) -> Result<()> {
        self.read_body().await?;
        let n = self.number("n", 0);
        let length = (!self.flag("te", "chunked")).then_some(n);
        self.begin(200, length, &[], false).await?;
        let mut sent = 0;
        while sent < n {
            let piece = pattern(sent, PIECE_BYTES.min((n - sent) as usize));
            sent += piece.len() as u64;
            self.put(piece).await?;
        }
        self.finish(&[]).await
    }

    /// Answers at once and sends back whatever comes.
    async fn echo(&mut self) -> Result<()> {
        self.begin(200, None, &[], false).await?;
        let mut total = 0;
        while let Some(piece) = self.rx.data().await? {
            if total == 0 {
                self.registry.note(&self.id, Saw::BodyBegan);
            }
            total += piece.len() as u64;
            self.put(piece).await?;
        }
        self.registry.note(&self.id, Saw::Body(total));
        self.finish(&[]).await
    }

    /// A whole final response while the request body is still coming; then waits for the proxy's next move.
    async fn early(&mut self) -> Result<()> {
        let after = self.number("after", 0);
        let mut seen = 0;
        while seen < after {
            match self.rx.data().await? {
                Some(piece) => seen += piece.len() as u64,
                None => break,
            }
        }
        self.answer(self.number("status", 413) as u16, &[], "too large for this cell").await?;
        if matches!(self.reply, Reply::H2 { .. }) {
            // RFC 9113 section 8.1: the whole response, then RST_STREAM(NO_ERROR), which the h2 crate sends for a
            // dropped stream once the response is written; an explicit reset would throw the response away.
            return Ok(());
        }
        while self.rx.data().await?.is_some() {}
        self.registry.note(&self.id, Saw::Body(0));
        Ok(())
    }

    /// Reads the body and never answers.
    async fn stall(&mut self) -> Result<()> {
        self.read_body().await?;
        bail!("{}", self.gone().await)
    }

    /// Reads nothing of the body for `ms`, then all of it.
    async fn sink(&mut self) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(self.number("ms", 0))).await;
        self.hello().await
    }

    /// `n` pieces of `size` bytes, one each `ms`, or with `step=1` each when the client has the one before; `cl=1`
    /// announces the length, `sse=1` shapes them as events.
    async fn drip(&mut self) -> Result<()> {
        self.read_body().await?;
        let (n, size) = (self.number("n", 1), self.number("size", 1));
        let length = self.flag("cl", "1").then_some(n * size);
        let sse = self.flag("sse", "1");
        let extra: &[_] =
            if sse { &[("content-type", "text/event-stream"), ("cache-control", "no-cache")] } else { &[] };
        self.begin(200, length, extra, false).await?;
        let mut sent = 0;
        for i in 0..n {
            let piece =
                if sse { Bytes::from(format!("data: {i}\n\n")) } else { pattern(i * size, size as usize) };
            sent += piece.len() as u64;
            self.put(piece).await?;
            tokio::select! {
                waited = self.pause(sent) => waited?,
                why = self.gone() => bail!("{why}"),
            }
        }
        self.finish(&[]).await
    }

    /// A response that must not have a body: `code=204|304`, HEAD.
    async fn bare_status(&mut self) -> Result<()> {
        self.read_body().await?;
        let code = self.number("code", 204) as u16;
        let length = query(&self.head.target, "cl").and_then(|v| v.parse().ok());
        self.begin(code, length, &[("etag", "\"x\"")], true).await?;
        self.registry.note(&self.id, Saw::Answered);
        Ok(())
    }

    async fn inform(&mut self, status: u16, extra: &[(&str, &str)]) -> Result<()> {
        match &mut self.reply {
            Reply::H1(tx) => {
                let fields: String = extra.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
                tx.raw(format!("HTTP/1.1 {status} I\r\n{fields}\r\n")).await
            }
            Reply::H2 { respond, .. } => {
                let mut response = http::Response::builder().status(status);
                for (name, value) in extra {
                    response = response.header(*name, *value);
                }
                Ok(respond.send_informational(response.body(())?)?)
            }
        }
    }

    /// Two 103 responses, then the answer.
    async fn hints(&mut self) -> Result<()> {
        self.read_body().await?;
        self.inform(103, &[("link", "</a.css>; rel=preload")]).await?;
        self.inform(103, &[("link", "</b.css>; rel=preload")]).await?;
        self.answer(200, &[], "hinted").await
    }

    /// `Expect: 100-continue`: says 100 and reads, or with `say=417` refuses without reading.
    async fn go_on(&mut self) -> Result<()> {
        let say = self.number("say", 100) as u16;
        if say == 100 {
            self.inform(100, &[]).await?;
            return self.hello().await;
        }
        self.answer(say, &[("connection", "close")][..usize::from(self.head.version < 20)], "no").await?;
        self.spent = true;
        Ok(())
    }

    /// Breaks off: `at=accept|head|length|chunk`.
    async fn die(&mut self) -> Result<()> {
        self.read_body().await?;
        self.spent = true;
        let at = query(&self.head.target, "at").unwrap_or_default();
        match (at.as_str(), &mut self.reply) {
            ("head", Reply::H1(tx)) => tx.raw("HTTP/1.1 200 OK\r\ncontent-le").await?,
            ("garbage", Reply::H1(tx)) => tx.raw("SSH-2.0-OpenSSH_9.9\r\n\r\n").await?,
            ("length", _) => {
                self.begin(200, Some(100_000), &[], false).await?;
                self.put(pattern(0, 50_000)).await?;
                self.break_behind(50_000).await;
            }
            ("chunk", _) => {
                self.begin(200, None, &[], false).await?;
                self.put(pattern(0, 50_000)).await?;
                if let Reply::H1(tx) = &mut self.reply {
                    tx.raw("1000\r\nonly the beginning of it").await?;
                }
                self.break_behind(50_000).await;
            }
            ("between-chunks", _) => {
                self.begin(200, None, &[], false).await?;
                self.put(pattern(0, 50_000)).await?;
                self.break_behind(50_000).await;
            }
            _ => self.reset(h2::Reason::INTERNAL_ERROR),
        }
        Ok(())
    }

    /// Lets what was written travel first: the client must have seen a begun response, and a reset of a stream may
    /// overtake what waits on it.
    async fn break_behind(&mut self, sent: u64) {
        // A client that never gets it says so itself.
        let _ = taken(&self.registry, &self.id, sent).await;
        self.reset(h2::Reason::INTERNAL_ERROR);
    }

    /// A response that ends with the connection (h1 only).
    async fn until_close(&mut self) -> Result<()> {
        self.read_body().await?;
        let n = self.number("n", 10);
        self.spent = true;
        if let Reply::H1(tx) = &mut self.reply {
            tx.raw("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
            tx.raw(pattern(0, n as usize)).await?;
            return Ok(());
        }
        self.answer(200, &[], pattern(0, n as usize)).await
    }

    /// 101 with data right behind it (`gap=0` in one write, `gap=1` in a second), then an echo. `farewell=1` has a
    /// last word after the client's end.
    async fn websocket(&mut self) -> Result<()> {
        let key = self.head.first("sec-websocket-key").unwrap_or_default().to_string();
        let upgrade = self.head.first("upgrade").unwrap_or_default().to_string();
        self.spent = true;
        let (gap, farewell) = (self.flag("gap", "1"), self.flag("farewell", "1"));
        let (Reply::H1(tx), BodyRx::H1(rx)) = (&mut self.reply, &mut self.rx) else { bail!("h1 only") };
        let mut text = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: {upgrade}\r\nconnection: Upgrade\r\nx-mx-key: {key}\r\n\r\n"
        );
        if !gap {
            text.push_str("GREETING");
        }
        tx.raw(text).await?;
        if gap {
            tx.raw("GREETING").await?;
        }
        loop {
            if !rx.buf.is_empty() {
                let piece = rx.buf.split().freeze();
                if piece.ends_with(b"BYE") {
                    self.registry.note(&self.id, Saw::Answered);
                    return Ok(());
                }
                tx.raw(piece).await?;
            }
            if rx.fill().await? == 0 {
                if farewell {
                    tx.raw("FAREWELL").await?;
                    self.registry.note(&self.id, Saw::Answered);
                    return Ok(());
                }
                bail!("eof");
            }
        }
    }

    /// A chunked response with trailers; says which request trailers came.
    async fn trailers(&mut self) -> Result<()> {
        self.read_body().await?;
        let came = self.rx.trailers().await?;
        self.begin(200, None, &[("trailer", "x-sum")], false).await?;
        self.put(format!("{came:?}")).await?;
        self.finish(&[("x-sum", "42")]).await
    }

    /// gRPC shapes without protobuf: `call=unary|stream|bidi|error`; a message is 5 bytes of prefix and a text.
    async fn grpc(&mut self) -> Result<()> {
        let te = self.head.first("te").unwrap_or_default().to_string();
        let kind = [("content-type", "application/grpc"), ("x-te", te.as_str())];
        match query(&self.head.target, "call").unwrap_or_default().as_str() {
            "error" => {
                let fields = [
                    ("content-type", "application/grpc"),
                    ("grpc-status", "5"),
                    ("grpc-message", "no such row"),
                ];
                self.begin(200, None, &fields, true).await?;
                self.registry.note(&self.id, Saw::Answered);
                return Ok(());
            }
            "stream" => {
                self.read_body().await?;
                self.begin(200, None, &kind, false).await?;
                let mut sent = 0;
                for i in 0..self.number("n", 10) {
                    let message = message(&format!("m{i}"));
                    sent += message.len() as u64;
                    self.put(message).await?;
                    self.pause(sent).await?;
                }
            }
            "bidi" => {
                self.begin(200, None, &kind, false).await?;
                while let Some(piece) = self.rx.data().await? {
                    self.put(piece).await?;
                }
            }
            _ => {
                let (n, _) = self.read_body().await?;
                self.begin(200, None, &kind, false).await?;
                self.put(message(&format!("got {n}"))).await?;
            }
        }
        self.finish(&[("grpc-status", "0"), ("grpc-message", "fine")]).await
    }
}

/// Until the client has so many bytes of the body.
async fn taken(registry: &Registry, id: &str, bytes: u64) -> Result<()> {
    let has = |r: &Registry| r.taken(id) >= bytes;
    registry.wait("the client gets what the cell has sent", TAKEN, has).await.map(drop)
}

/// One length-prefixed gRPC message.
pub fn message(text: &str) -> Bytes {
    let mut m = BytesMut::with_capacity(5 + text.len());
    m.put_u8(0);
    m.put_u32(text.len() as u32);
    m.put_slice(text.as_bytes());
    m.freeze()
}
