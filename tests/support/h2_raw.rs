//! HTTP/2 by hand: frames as bytes, header blocks as literals, and a connection that does only what a test
//! says. No library, because none sends what a conformance suite and an attacker send. Numbers are those of
//! RFC 9113 and RFC 7541.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use loadtest::tls::ClientTls;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Frame types (RFC 9113 section 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
/// No type of any RFC.
pub const UNKNOWN: u8 = 0x16;

/// Flags (RFC 9113 section 6).
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

/// Settings (RFC 9113 section 6.5.2, RFC 8441 section 3).
pub const HEADER_TABLE_SIZE: u16 = 1;
pub const ENABLE_PUSH: u16 = 2;
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const INITIAL_WINDOW_SIZE: u16 = 4;
pub const MAX_FRAME_SIZE: u16 = 5;
pub const MAX_HEADER_LIST_SIZE: u16 = 6;
pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// Error codes (RFC 9113 section 7).
pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const COMPRESSION_ERROR: u32 = 9;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whatever is to come comes at once; this is for a machine that is busy.
pub const SOON: Duration = Duration::from_secs(10);

/// A frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM and GOAWAY.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?))
    }

    /// Whether the sender says that nothing more comes on the stream.
    pub fn ends_stream(&self) -> bool {
        self.kind == RST_STREAM || matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    pub fn is(&self, kind: u8, flags: u8) -> bool {
        self.kind == kind && self.flags & flags == flags
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            "DATA",
            "HEADERS",
            "PRIORITY",
            "RST_STREAM",
            "SETTINGS",
            "PUSH_PROMISE",
            "PING",
            "GOAWAY",
            "WINDOW_UPDATE",
            "CONTINUATION",
        ];
        let name = names.get(usize::from(self.kind)).unwrap_or(&"UNKNOWN");
        write!(f, "{name}(stream {}, flags {:#x}, {} bytes", self.stream, self.flags, self.payload.len())?;
        match self.code() {
            Some(code) => write!(f, ", code {code})"),
            None => write!(f, ")"),
        }
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

pub fn headers(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, stream, block)
}

pub fn continuation(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(CONTINUATION, flags, stream, block)
}

pub fn data(flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, body)
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub fn ping(flags: u8, payload: &[u8; 8]) -> Vec<u8> {
    frame(PING, flags, 0, payload)
}

pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub fn goaway(last: u32, code: u32, debug: &[u8]) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[&last.to_be_bytes()[..], &code.to_be_bytes(), debug].concat())
}

pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let value = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &values.iter().flat_map(value).collect::<Vec<u8>>())
}

/// The five bytes of a priority: dependency, exclusive or not, weight (less one on the wire).
pub fn dependency(on: u32, exclusive: bool, weight: u8) -> Vec<u8> {
    let on = if exclusive { on | 1 << 31 } else { on };
    [&on.to_be_bytes()[..], &[weight]].concat()
}

pub fn priority(stream: u32, dependency: &[u8]) -> Vec<u8> {
    frame(PRIORITY, 0, stream, dependency)
}

/// An integer with a prefix of so many bits (RFC 7541 section 5.1); `first` are the bits above it.
pub fn integer(first: u8, bits: u32, value: usize) -> Vec<u8> {
    let most = (1usize << bits) - 1;
    if value < most {
        return vec![first | u8::try_from(value).unwrap()];
    }
    let mut bytes = vec![first | u8::try_from(most).unwrap()];
    let mut rest = value - most;
    while rest >= 128 {
        bytes.push(0x80 | u8::try_from(rest & 0x7f).unwrap());
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// A string without Huffman coding (RFC 7541 section 5.2).
pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = integer(0, 7, text.len());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// A literal field without indexing, name and value in full (RFC 7541 section 6.2.2): leaves both sides'
/// tables empty.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    [vec![0], string(name), string(value)].concat()
}

/// A block of such fields.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// What came, or did not.
#[derive(Debug)]
pub enum Event {
    Frame(Frame),
    /// The server closed, or reset, the connection.
    Closed,
    /// Nothing, for [`SOON`].
    Silence,
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection on which HTTP/2 is spoken by hand.
pub struct Conn {
    io: Box<dyn Io>,
    read: Vec<u8>,
    /// What the server's first SETTINGS say.
    pub settings: BTreeMap<u16, u32>,
    /// Frames that came, for reports.
    pub seen: Vec<Frame>,
}

impl Conn {
    /// Over TCP.
    pub async fn plain(address: SocketAddr) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        Ok(Self::over(tcp))
    }

    /// Over TLS with ALPN `h2`.
    pub async fn tls(address: SocketAddr, host: &str, tls: &ClientTls) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let connector = tls.connector(&["h2"]).map_err(std::io::Error::other)?;
        let name = rustls::pki_types::ServerName::try_from(host.to_owned()).unwrap();
        let stream = connector.connect(name, tcp).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Ok(Self::over(stream))
    }

    /// A client's connection, whose preface is read and answered.
    pub async fn accepted(tcp: TcpStream) -> std::io::Result<Self> {
        let mut conn = Self::greeted(tcp).await?;
        conn.send(&settings(&[])).await?;
        conn.settle().await?;
        Ok(conn)
    }

    /// A client's connection, whose preface is read and not answered.
    pub async fn greeted(mut tcp: TcpStream) -> std::io::Result<Self> {
        tcp.set_nodelay(true)?;
        let mut preface = [0; PREFACE.len()];
        tcp.read_exact(&mut preface).await?;
        assert_eq!(preface, PREFACE);
        Ok(Self::over(tcp))
    }

    fn over(io: impl Io + 'static) -> Self {
        Self { io: Box::new(io), read: Vec::new(), settings: BTreeMap::new(), seen: Vec::new() }
    }

    /// Both prefaces and both acknowledgements.
    pub async fn shake(&mut self, values: &[(u16, u32)]) -> std::io::Result<()> {
        self.send(&[PREFACE, &settings(values)].concat()).await?;
        self.settle().await
    }

    async fn settle(&mut self) -> std::io::Result<()> {
        let (mut theirs, mut acknowledged) = (false, false);
        while !(theirs && acknowledged) {
            match self.next().await {
                Event::Frame(frame) if frame.is(SETTINGS, ACK) => acknowledged = true,
                Event::Frame(frame) if frame.kind == SETTINGS => {
                    self.settings = frame
                        .payload
                        .chunks_exact(6)
                        .map(|pair| {
                            let id = u16::from_be_bytes(pair[..2].try_into().unwrap());
                            (id, u32::from_be_bytes(pair[2..].try_into().unwrap()))
                        })
                        .collect();
                    theirs = true;
                    self.send(&frame_ack()).await?;
                }
                Event::Frame(_) => {}
                other => return Err(std::io::Error::other(format!("{other:?} instead of a handshake"))),
            }
        }
        Ok(())
    }

    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// The next frame.
    pub async fn next(&mut self) -> Event {
        tokio::time::timeout(SOON, self.frame()).await.unwrap_or(Event::Silence)
    }

    /// Frames until one that is wanted.
    pub async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Event {
        loop {
            match self.next().await {
                Event::Frame(frame) if !wanted(&frame) => {}
                other => return other,
            }
        }
    }

    async fn frame(&mut self) -> Event {
        loop {
            if let Some(frame) = self.take() {
                self.seen.push(frame.clone());
                return Event::Frame(frame);
            }
            let mut buffer = [0; 16 * 1024];
            match self.io.read(&mut buffer).await {
                Ok(0) | Err(_) => return Event::Closed,
                Ok(read) => self.read.extend_from_slice(&buffer[..read]),
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.read.get(..9)?.try_into().unwrap();
        let [a, b, c, kind, flags, stream @ ..] = head;
        let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = self.read.get(9..end)?.to_vec();
        self.read.drain(..end);
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream) & !(1 << 31), payload })
    }
}

/// The acknowledgement of settings.
pub fn frame_ack() -> Vec<u8> {
    frame(SETTINGS, ACK, 0, &[])
}
