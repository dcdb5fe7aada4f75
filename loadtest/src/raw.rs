//! Servers below HTTP, for what no HTTP library would send: [`RawCell`] plays a script of bytes on each
//! connection and keeps the bytes that it received, [`SilentPort`] is an address where connecting hangs.
//! Scripts read just enough HTTP to know where a head ends.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What a [`RawCell`] does on one connection, step by step. After the last step it ends its side and waits
/// shortly for the client to end the other.
#[derive(Clone, Debug, Default)]
pub struct RawScript(Vec<RawStep>);

/// One step of a script.
#[derive(Clone, Debug)]
pub enum RawStep {
    /// Reads on until an empty line, the end of a head.
    ReadHead,
    /// Reads on until so many more bytes have come.
    Read(usize),
    /// Reads on until the client has ended its side; keeps the connection open as long.
    ReadToEnd,
    /// Writes these bytes.
    Send(Bytes),
    /// Writes these bytes again and again with this pause, until the client has had enough.
    SendForever(Bytes, Duration),
    /// Does nothing for this long.
    Pause(Duration),
    /// Goes back to the first step: a connection that is kept alive.
    Repeat,
    /// Resets the connection (TCP RST).
    Reset,
}

impl RawScript {
    /// These steps.
    pub fn new(steps: impl IntoIterator<Item = RawStep>) -> Self {
        Self(steps.into_iter().collect())
    }

    /// Reads one head, answers these bytes, and closes.
    pub fn answer(bytes: impl Into<Bytes>) -> Self {
        Self::new([RawStep::ReadHead, RawStep::Send(bytes.into())])
    }

    /// Answers these bytes to every head, on a connection that is kept alive.
    pub fn keep_answering(bytes: impl Into<Bytes>) -> Self {
        Self::new([RawStep::ReadHead, RawStep::Send(bytes.into()), RawStep::Repeat])
    }

    /// Announces 100 bytes of body, sends 10, and closes.
    pub fn truncated_body() -> Self {
        Self::answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
    }

    /// Announces chunks, sends one, and closes without the last.
    pub fn truncated_chunks() -> Self {
        Self::answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    }

    /// Sends a whole answer and a piece of another that nobody asked for, and keeps the connection open.
    pub fn extra_bytes() -> Self {
        Self::new([
            RawStep::ReadHead,
            RawStep::Send(Bytes::from_static(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nX-Smuggled: yes\r\n",
            )),
            RawStep::ReadToEnd,
        ])
    }

    /// Two lengths that differ (RFC 9112 section 6.3: to be refused).
    pub fn differing_lengths() -> Self {
        Self::answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nhello")
    }

    /// A length and chunks at once (RFC 9112 section 6.3: a sign of smuggling).
    pub fn length_and_chunks() -> Self {
        Self::answer(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        )
    }

    /// 100, 103 twice, then 200 with the body `ok` (RFC 9110 section 15.2), kept alive.
    pub fn informational() -> Self {
        Self::keep_answering(
            "HTTP/1.1 100 Continue\r\n\r\n\
             HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n\
             HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        )
    }

    /// A head that goes on for ever, a field of 1 KB every millisecond.
    pub fn endless_head() -> Self {
        let field = format!("X-More: {}\r\n", "m".repeat(1_000));
        Self::new([
            RawStep::ReadHead,
            RawStep::Send(Bytes::from_static(b"HTTP/1.1 200 OK\r\n")),
            RawStep::SendForever(field.into(), Duration::from_millis(1)),
        ])
    }

    /// Something that is not HTTP.
    pub fn not_http() -> Self {
        Self::answer("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    }

    /// Reads the request and closes without an answer.
    pub fn silent_close() -> Self {
        Self::new([RawStep::ReadHead])
    }

    /// Reads the request and resets.
    pub fn reset() -> Self {
        Self::new([RawStep::ReadHead, RawStep::Reset])
    }

    /// Reads the request and never answers.
    pub fn no_answer() -> Self {
        Self::new([RawStep::ReadHead, RawStep::ReadToEnd])
    }

    /// Closes as soon as it is connected to.
    pub fn immediate_close() -> Self {
        Self::new([])
    }

    /// Answers once with `ok`, kept alive, and resets without warning after `idle`: a pooled connection gone stale.
    pub fn stale_after(idle: Duration) -> Self {
        Self::new([
            RawStep::ReadHead,
            RawStep::Send(Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")),
            RawStep::Pause(idle),
            RawStep::Reset,
        ])
    }
}

/// What a [`RawCell`] saw on one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawSeen {
    /// All bytes received so far, up to [`KEPT_MAX`].
    pub bytes: Vec<u8>,
    /// Whether the script is through or the connection is gone.
    pub ended: bool,
}

impl RawSeen {
    /// The bytes as text, what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Bytes kept of one connection: more than any head, less than would hurt.
pub const KEPT_MAX: usize = 1024 * 1024;

/// A TCP server that plays scripts, until it is dropped.
#[must_use = "the server stops when this is dropped"]
pub struct RawCell {
    address: SocketAddr,
    seen: Arc<watch::Sender<Vec<RawSeen>>>,
    task: JoinHandle<()>,
}

impl RawCell {
    /// Starts on a free loopback port. The first connection gets the first script, and so on; when they run
    /// out, the last one again.
    pub async fn start(scripts: impl IntoIterator<Item = RawScript>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(watch::Sender::new(Vec::new()));
        let scripts: Vec<RawScript> = scripts.into_iter().collect();
        let task = tokio::spawn(accept(listener, scripts, seen.clone()));
        Ok(Self { address, seen, task })
    }

    /// Its real address.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Every connection so far, in order.
    pub fn seen(&self) -> Vec<RawSeen> {
        self.seen.borrow().clone()
    }

    /// Waits until `enough` of what was seen, and returns that; none if it does not come `within` the time.
    pub async fn until(
        &self,
        within: Duration,
        mut enough: impl FnMut(&[RawSeen]) -> bool,
    ) -> Option<Vec<RawSeen>> {
        let mut seen = self.seen.subscribe();
        let found = tokio::time::timeout(within, seen.wait_for(|seen| enough(seen))).await;
        Some(found.ok()?.ok()?.clone())
    }
}

impl Drop for RawCell {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A loopback address where connecting neither succeeds nor fails: its queue of connections is full, so the
/// system drops each SYN, as a firewall or a dead host would. It holds until dropped.
#[must_use = "the port is free again when this is dropped"]
pub struct SilentPort {
    address: SocketAddr,
    _listener: Socket,
    _waiting: Vec<Socket>,
}

impl SilentPort {
    /// Takes a free loopback port and fills its queue.
    pub fn open() -> io::Result<Self> {
        let listener = stream_socket()?;
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        // The shortest queue there is; Linux still lets one connection more than this wait.
        listener.listen(0)?;
        let local = listener.local_addr()?;
        let address =
            local.as_socket().ok_or_else(|| io::Error::other("a socket bound to an IP address has none"))?;
        let mut waiting = Vec::new();
        for _ in 0..QUEUE_FILL {
            let socket = stream_socket()?;
            socket.set_nonblocking(true)?;
            match socket.connect(&local) {
                Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => return Err(error),
                _ => waiting.push(socket),
            }
        }
        Ok(Self { address, _listener: listener, _waiting: waiting })
    }

    /// The address.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }
}

/// Two fill the queue on Linux; the others are there for a kernel that counts otherwise.
const QUEUE_FILL: usize = 4;

/// `EINPROGRESS` on Linux, which the standard library gives no stable name.
const IN_PROGRESS: i32 = 115;

/// After the last step: how long a client has to end its side before it is ended for it.
const LINGER: Duration = Duration::from_secs(1);

fn stream_socket() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
}

async fn accept(listener: TcpListener, scripts: Vec<RawScript>, seen: Arc<watch::Sender<Vec<RawSeen>>>) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        // An accept that fails concerns that client alone.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        seen.send_modify(|all| all.push(RawSeen::default()));
        let script = scripts.get(number).or(scripts.last()).cloned().unwrap_or_default();
        let mut line = Line { stream, unread: Vec::new(), number, seen: seen.clone() };
        connections.spawn(async move {
            // However the connection ends, the script is over.
            let _ = line.play(&script.0).await;
            line.seen.send_modify(|all| all[line.number].ended = true);
        });
        number += 1;
    }
}

/// One connection and what of its bytes no step has asked for yet.
struct Line {
    stream: TcpStream,
    unread: Vec<u8>,
    number: usize,
    seen: Arc<watch::Sender<Vec<RawSeen>>>,
}

impl Line {
    async fn play(&mut self, steps: &[RawStep]) -> io::Result<()> {
        let mut next = 0;
        while let Some(step) = steps.get(next) {
            next += 1;
            match step {
                RawStep::ReadHead => self.read_head().await?,
                RawStep::Read(length) => {
                    self.fill(*length).await?;
                    self.unread.drain(..*length);
                }
                RawStep::ReadToEnd => while self.more().await? > 0 {},
                RawStep::Send(bytes) => self.stream.write_all(bytes).await?,
                RawStep::SendForever(bytes, every) => loop {
                    self.stream.write_all(bytes).await?;
                    tokio::time::sleep(*every).await;
                },
                RawStep::Pause(time) => tokio::time::sleep(*time).await,
                RawStep::Repeat => next = 0,
                RawStep::Reset => {
                    SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
                    return Ok(());
                }
            }
        }
        self.stream.shutdown().await?;
        let drained = async {
            while self.more().await? > 0 {}
            io::Result::Ok(())
        };
        tokio::time::timeout(LINGER, drained).await.unwrap_or(Ok(()))
    }

    async fn read_head(&mut self) -> io::Result<()> {
        loop {
            let end = self.unread.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                self.unread.drain(..end + 4);
                return Ok(());
            }
            let length = self.unread.len() + 1;
            self.fill(length).await?;
        }
    }

    async fn fill(&mut self, length: usize) -> io::Result<()> {
        while self.unread.len() < length {
            if self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Reads what there is, notes it, and says how much it was; 0 at the end.
    async fn more(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let length = self.stream.read(&mut buffer).await?;
        let bytes = &buffer[..length];
        self.unread.extend_from_slice(bytes);
        self.seen.send_modify(|all| {
            let kept = &mut all[self.number].bytes;
            let room = KEPT_MAX - kept.len();
            kept.extend_from_slice(&bytes[..length.min(room)]);
        });
        Ok(length)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    async fn exchange(cell: &RawCell, request: &str) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(cell.addr()).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn it_answers_its_bytes_and_keeps_those_it_got() {
        let cell = RawCell::start([RawScript::truncated_body()]).await.unwrap();
        let answer = exchange(&cell, "GET /x HTTP/1.1\r\nHost:  a\r\n\r\n").await.unwrap();
        assert!(answer.ends_with(b"\r\n\r\n0123456789"));
        let seen = cell.until(SOON, |seen| seen[0].ended).await.unwrap();
        assert_eq!(seen[0].text(), "GET /x HTTP/1.1\r\nHost:  a\r\n\r\n");
    }

    #[tokio::test]
    async fn each_connection_gets_its_script_and_the_last_one_stays() {
        let cell = RawCell::start([RawScript::answer("one"), RawScript::answer("two")]).await.unwrap();
        for expected in ["one", "two", "two"] {
            let answer = exchange(&cell, "\r\n\r\n").await.unwrap();
            assert_eq!(answer, expected.as_bytes());
        }
        assert_eq!(cell.seen().len(), 3);
    }

    #[tokio::test]
    async fn a_kept_connection_is_answered_again_and_again() {
        let cell = RawCell::start([RawScript::keep_answering("ok")]).await.unwrap();
        let mut stream = TcpStream::connect(cell.addr()).await.unwrap();
        for _ in 0..3 {
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"ok");
        }
        assert_eq!(cell.seen().len(), 1);
    }

    #[tokio::test]
    async fn a_reset_is_a_reset() {
        let cell = RawCell::start([RawScript::reset()]).await.unwrap();
        let error = exchange(&cell, "GET / HTTP/1.1\r\n\r\n").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn an_endless_head_goes_on_until_the_client_leaves() {
        let cell = RawCell::start([RawScript::endless_head()]).await.unwrap();
        let mut stream = TcpStream::connect(cell.addr()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut head = vec![0; 5_000];
        stream.read_exact(&mut head).await.unwrap();
        drop(stream);
        assert!(cell.until(SOON, |seen| seen[0].ended).await.is_some());
    }

    #[tokio::test]
    async fn connecting_to_a_silent_port_hangs() {
        let port = SilentPort::open().unwrap();
        let connect = TcpStream::connect(port.addr());
        let outcome = tokio::time::timeout(Duration::from_millis(300), connect).await;
        assert!(outcome.is_err(), "connected or refused: {outcome:?}");
    }
}
