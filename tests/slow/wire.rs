//! As much HTTP/2 and TLS by hand as a slow client needs: what a library would not send.

use std::io;
use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// A connection of either kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Receive buffer of a client that does not want to read, and the segment of a connection whose other end
/// should not wait for more: as small as the kernel makes it.
const SMALL: u32 = 4 * 1024;

/// The preface of an HTTP/2 connection and an empty SETTINGS frame (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// HEADERS, RST_STREAM and GOAWAY (RFC 9113 section 6).
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const GOAWAY: u8 = 7;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Connects; `small` with a receive buffer that is soon full.
pub async fn tcp(address: SocketAddr, small: bool) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if small {
        socket.set_recv_buffer_size(SMALL)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// TLS for a host.
pub async fn tls(stream: TcpStream, host: &str, connector: &TlsConnector) -> io::Result<Box<dyn Stream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(connector.connect(name, stream).await?))
}

/// A frame of stream 1.
pub fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// The header block of a request, without dynamic table and Huffman coding (RFC 7541 section 6.2.2).
pub fn block(method: &str, host: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let literal = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    // Indices of the static table: 1 :authority, 2 :method GET, 4 :path /, 7 :scheme https.
    let mut block = vec![0x87, 0x02];
    block.extend(literal(method));
    block.push(0x01);
    block.extend(literal(host));
    block.push(0x04);
    block.extend(literal(path));
    for (name, value) in fields {
        block.push(0x00);
        block.extend([literal(name), literal(value)].concat());
    }
    block
}

/// Reads frames until one of this type, or until the end, which is `None`. Returns its payload.
pub async fn until_frame(stream: &mut dyn Stream, kinds: &[u8]) -> Option<(u8, Vec<u8>)> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.ok()?;
        if kinds.contains(&head[3]) {
            return Some((head[3], payload));
        }
    }
}
