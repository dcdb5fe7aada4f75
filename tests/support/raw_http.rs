//! HTTP/1.1 by hand over blocking sockets: requests are bytes, answers come as they stand on the wire. For
//! what a library would not send, and for saying that bytes arrive as they were sent.

#![allow(dead_code)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Longest wait for bytes: a server that says nothing for so long has a defect.
const SILENCE: Duration = Duration::from_secs(20);

/// A connection of any kind.
pub trait Connection: Read + Write {}

impl<T: Read + Write> Connection for T {}

/// One answer as it came.
#[derive(Clone, Debug, Default)]
pub struct RawReply {
    /// Its status.
    pub status: u16,
    /// Fields in order, names as they were written.
    pub headers: Vec<(String, String)>,
    /// Its body, without transfer coding.
    pub body: Vec<u8>,
}

impl RawReply {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a field.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.headers.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| serde_json::Value::from(self.text()))
    }
}

/// Connects without TLS.
pub fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Connects to a unix socket.
pub fn unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    stream
}

/// Connects with TLS, asks for `http/1.1`, and names `host`.
pub fn tls(address: SocketAddr, host: &str, ca_pem: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(host.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp(address))
}

/// Sends these bytes and reads one answer.
pub fn ask(connection: &mut dyn Connection, request: &[u8]) -> io::Result<RawReply> {
    connection.write_all(request)?;
    connection.flush()?;
    read_reply(connection, request.starts_with(b"HEAD "))
}

/// A GET of an admin page, on a connection of its own.
pub fn page(address: SocketAddr, target: &str) -> RawReply {
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    ask(&mut tcp(address), request.as_bytes()).unwrap()
}

/// A call of the admin socket, on a connection of its own.
pub fn admin(socket: &Path, method: &str, target: &str) -> RawReply {
    admin_with(socket, method, target, "")
}

/// The same with a body.
pub fn admin_with(socket: &Path, method: &str, target: &str, body: &str) -> RawReply {
    let head = format!("Host: admin\r\nConnection: close\r\nContent-Length: {}", body.len());
    let request = format!("{method} {target} HTTP/1.1\r\n{head}\r\n\r\n{body}");
    ask(&mut unix(socket), request.as_bytes()).unwrap()
}

/// A write of five bytes that goes on until it is ended.
pub struct Upload(TcpStream);

impl Upload {
    /// Sends the head and less than all of the body.
    pub fn begin(address: SocketAddr, host: &str) -> Self {
        let mut stream = tcp(address);
        let head =
            format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nab");
        stream.write_all(head.as_bytes()).unwrap();
        Self(stream)
    }

    /// Sends the rest, and reads the answer.
    pub fn end(mut self) -> RawReply {
        self.0.write_all(b"cde").unwrap();
        read_reply(&mut self.0, false).unwrap()
    }
}

/// Reads one answer; informational ones before it are passed over.
pub fn read_reply(connection: &mut dyn Connection, head_only: bool) -> io::Result<RawReply> {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            match bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => more(connection, &mut bytes)?,
            }
        };
        let mut reply = parse_head(&bytes[..end])?;
        bytes.drain(..end);
        if reply.status == 101 {
            return Ok(reply);
        }
        if reply.status < 200 {
            continue;
        }
        if !head_only && !matches!(reply.status, 204 | 304) {
            reply.body = read_body(connection, &reply, bytes)?;
        }
        return Ok(reply);
    }
}

/// Whether the server ends the connection without another byte.
pub fn ends(connection: &mut dyn Connection) -> bool {
    match connection.read(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<RawReply> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("not an answer: {text:?}")))?;
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    Ok(RawReply { status, headers: lines.filter_map(field).collect(), body: Vec::new() })
}

fn read_body(connection: &mut dyn Connection, reply: &RawReply, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    if reply.header("transfer-encoding").is_some() {
        return read_chunks(connection, bytes);
    }
    let Some(length) = reply.header("content-length").and_then(|length| length.parse().ok()) else {
        connection.read_to_end(&mut bytes)?;
        return Ok(bytes);
    };
    while bytes.len() < length {
        more(connection, &mut bytes)?;
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn read_chunks(connection: &mut dyn Connection, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = loop {
            match bytes.windows(2).position(|two| two == b"\r\n") {
                Some(line) => break line,
                None => more(connection, &mut bytes)?,
            }
        };
        let size = String::from_utf8_lossy(&bytes[..line]).into_owned();
        let size = usize::from_str_radix(size.split(';').next().unwrap_or("").trim(), 16)
            .map_err(io::Error::other)?;
        while bytes.len() < line + 2 + size + 2 {
            more(connection, &mut bytes)?;
        }
        body.extend_from_slice(&bytes[line + 2..line + 2 + size]);
        bytes.drain(..line + 2 + size + 2);
        if size == 0 {
            return Ok(body);
        }
    }
}

fn more(connection: &mut dyn Connection, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    match connection.read(&mut buffer)? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("ended after {} bytes", bytes.len()))),
        read => {
            bytes.extend_from_slice(&buffer[..read]);
            Ok(())
        }
    }
}
