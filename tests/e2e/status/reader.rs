//! A reader of server-sent events, as plain as the format is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::raw_http;

/// One stream.
pub struct Events(BufReader<TcpStream>);

impl Events {
    /// Calls, and reads the head of the answer.
    pub fn of(door: SocketAddr) -> Self {
        let mut connection = raw_http::tcp(door);
        connection.write_all(b"GET /status/events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut reader = BufReader::new(connection);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: text/event-stream"),
            "{head}"
        );
        Self(reader)
    }

    /// Reads events until one is this; those of a status alone.
    pub fn until(&mut self, mut is: impl FnMut(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream has ended");
            // What else there is are lengths of chunks, ids and empty lines.
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let event: Value = serde_json::from_str(data).unwrap();
            if is(&event) {
                return event;
            }
        }
    }
}

/// Whether the answer on a connection is a stream.
pub fn has_begun(connection: &mut TcpStream) -> bool {
    let mut status = [0; 12];
    connection.read_exact(&mut status).unwrap();
    &status == b"HTTP/1.1 200"
}
