//! The cell that looks at every byte. A target with `early` in it is answered before its body is read, as
//! servers do that refuse an upload.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Book, Read, answer};
use crate::canonical::{Framing, Message, chunked};

/// More than any request of the lab.
const MOST: usize = 256 * 1024;

pub async fn connection(mut stream: TcpStream, book: Book) {
    let mut bytes = Vec::new();
    loop {
        let Some(head) = wait(&mut stream, &mut bytes, Message::head).await else {
            // cellgate leaves a connection between two requests, or never sends what is not one.
            if !bytes.is_empty() {
                let fault = format!("no head: {:?}", String::from_utf8_lossy(&bytes));
                book.note(Read { cell: "raw".into(), faults: vec![fault], ..Read::default() });
            }
            return;
        };
        bytes.drain(..head.len);
        let early = head.target.contains("early");
        let read = read_of(&head);
        let text = answer("raw", &read.id, &read.target);
        book.note(read.clone());
        if early && say(&mut stream, &head, &text).await.is_none() {
            return;
        }
        let framing = head.framing();
        let body = wait(&mut stream, &mut bytes, |bytes| match framing {
            Framing::Length(length) => (bytes.len() >= length).then_some(Ok(length)),
            Framing::Chunked => chunked(bytes),
        });
        match body.await {
            Some(Ok(length)) => drop(bytes.drain(..length)),
            Some(Err(fault)) => return book.note(Read { faults: vec![fault], ..read }),
            None => return,
        }
        if !early && say(&mut stream, &head, &text).await.is_none() {
            return;
        }
    }
}

fn read_of(head: &Message) -> Read {
    let field = |name| head.field(name).unwrap_or_default();
    Read {
        cell: "raw".into(),
        id: field("x-request-id"),
        account: field("x-cellgate-account"),
        method: head.method.clone(),
        target: head.target.clone(),
        path: head.target.split('?').next().unwrap_or_default().to_owned(),
        host: field("host"),
        header: field("x-account"),
        refused: false,
        faults: head.faults.clone(),
    }
}

async fn say(stream: &mut TcpStream, head: &Message, text: &str) -> Option<()> {
    let body = if head.method == "HEAD" { "" } else { text };
    let reply = format!("HTTP/1.1 200 OK\r\nX-Cell: raw\r\nContent-Length: {}\r\n\r\n{body}", text.len());
    stream.write_all(reply.as_bytes()).await.ok()
}

/// Reads until `found` finds something; `None` when the connection ends before.
async fn wait<T>(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    found: impl Fn(&[u8]) -> Option<T>,
) -> Option<T> {
    loop {
        if let Some(found) = found(bytes) {
            return Some(found);
        }
        if bytes.len() > MOST || stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}
