//! The roads to the echo server: straight, through cellgate over HTTP/1.1, and through cellgate over HTTP/2
//! (RFC 8441). On each a case is played, byte for byte, and what comes back is written down.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::edge::HOST;
use crate::h2_raw::*;

/// What a client saw after the handshake.
#[derive(Clone, PartialEq, Eq)]
pub struct Transcript {
    /// All bytes of the server.
    pub bytes: Vec<u8>,
    pub end: End,
}

/// How the server's side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Closed,
    /// By a reset of the connection or of the stream.
    Reset,
    /// Not at all, for [`SOON`].
    Open,
}

impl std::fmt::Debug for Transcript {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = &self.bytes[..self.bytes.len().min(32)];
        write!(f, "{} bytes ({first:02x?}...), {:?}", self.bytes.len(), self.end)
    }
}

/// Over HTTP/1.1 (RFC 6455).
pub async fn http1(address: SocketAddr, writes: &[Vec<u8>]) -> Transcript {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let ask = format!(
        "GET /echo HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    tcp.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    let (mut from, mut to) = tcp.into_split();
    let write = async {
        for piece in writes {
            // The server may have had enough.
            if to.write_all(piece).await.is_err() {
                break;
            }
            // A write of its own, as the case says.
            tokio::task::yield_now().await;
        }
    };
    let read = async {
        let mut bytes = Vec::new();
        let end = match tokio::time::timeout(SOON, from.read_to_end(&mut bytes)).await {
            Ok(Ok(_)) => End::Closed,
            Ok(Err(_)) => End::Reset,
            Err(_) => End::Open,
        };
        Transcript { bytes, end }
    };
    tokio::join!(write, read).1
}

/// Over a stream of HTTP/2 (RFC 8441).
pub async fn http2(mut conn: Conn, writes: &[Vec<u8>]) -> Transcript {
    conn.shake(&[]).await.unwrap();
    assert_eq!(conn.settings.get(&ENABLE_CONNECT_PROTOCOL), Some(&1), "extended CONNECT is announced");
    let ask = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/echo"),
        (":authority", HOST),
        ("sec-websocket-version", "13"),
    ];
    conn.send(&headers(END_HEADERS, 1, &block(&ask))).await.unwrap();
    let head = conn.until(|frame| frame.kind == HEADERS).await;
    // `:status: 200` of the static table (RFC 7541 appendix A).
    assert!(matches!(&head, Event::Frame(frame) if frame.payload.first() == Some(&0x88)), "{head:?}");
    for piece in writes {
        for part in piece.chunks(16_384) {
            // No case sends more than the stream's window of 1 MiB. The server may have had enough.
            let _ = conn.send(&data(0, 1, part)).await;
        }
        tokio::task::yield_now().await;
    }
    let mut bytes = Vec::new();
    let end = loop {
        match conn.next().await {
            Event::Frame(frame) if frame.kind == RST_STREAM => break End::Reset,
            Event::Frame(frame) if frame.kind == DATA => {
                bytes.extend_from_slice(&frame.payload);
                if frame.ends_stream() {
                    break End::Closed;
                }
                let size = u32::try_from(frame.payload.len()).unwrap();
                if size > 0 {
                    let _ = conn.send(&[window_update(0, size), window_update(1, size)].concat()).await;
                }
            }
            Event::Frame(_) => {}
            Event::Closed => break End::Reset,
            Event::Silence => break End::Open,
        }
    };
    Transcript { bytes, end }
}
