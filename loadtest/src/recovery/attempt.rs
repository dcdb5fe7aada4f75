//! One request of one client on a connection of its own, as a program makes it that has just woken up. What comes back is
//! sorted by who gave the answer; nothing is repeated here.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cell::CELL_HEADER;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// For whoever counts.
    pub end: End,
    /// How long the client was told to stay away, by whomever.
    pub retry_after: Option<Duration>,
}

/// How an attempt ended, for whoever counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The cell has answered with 2xx, within the client's time.
    Good,
    /// The proxy has said 429 or 503; the cell has not seen it.
    Refused,
    /// Everything else: no connection, no answer in time, half an answer, an error of the cell or the proxy.
    Failed,
}

const FAILED: Attempt = Attempt { end: End::Failed, retry_after: None };

/// Most bytes of an answer: a simulated cell's are below one KiB.
const ANSWER_MAX: usize = 64 * 1024;

/// Fields of an answer; proxies add a few to the cell's.
const FIELDS_MAX: usize = 64;

/// Asks once and waits no longer than `patience`. The request asks for the end of the connection.
pub async fn attempt(edge: SocketAddr, request: &[u8], patience: Duration) -> Attempt {
    match tokio::time::timeout(patience, exchange(edge, request)).await {
        Ok(Ok(answer)) => read(&answer),
        _ => FAILED,
    }
}

async fn exchange(edge: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(edge).await?;
    stream.set_nodelay(true)?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    while !is_whole(&answer) && answer.len() < ANSWER_MAX {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    Ok(answer)
}

/// Whether a body with a length is there to its end; one without ends with its connection.
fn is_whole(answer: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    match head.parse(answer) {
        Ok(httparse::Status::Complete(end)) => {
            length(&head).is_some_and(|length| answer.len() - end >= length)
        }
        _ => false,
    }
}

fn length(head: &httparse::Response<'_, '_>) -> Option<usize> {
    field(head, "content-length")?.parse().ok()
}

fn field<'a>(head: &httparse::Response<'_, 'a>, name: &str) -> Option<&'a str> {
    let found = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(found.value).ok()
}

fn read(answer: &[u8]) -> Attempt {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(end)) = head.parse(answer) else {
        return FAILED;
    };
    let by_cell = field(&head, CELL_HEADER).is_some();
    let whole = length(&head).is_none_or(|length| answer.len() - end >= length);
    let end = match head.code {
        Some(200..300) if by_cell && whole => End::Good,
        Some(429 | 503) if !by_cell => End::Refused,
        _ => End::Failed,
    };
    let seconds = field(&head, "retry-after").and_then(|seconds| seconds.trim().parse().ok());
    Attempt { end, retry_after: seconds.map(Duration::from_secs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_sorted_by_who_gave_it() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nx-cell: c\r\ncontent-length: 2\r\n\r\nok", End::Good, None),
            ("HTTP/1.1 200 OK\r\nX-Cell: c\r\n\r\nok", End::Good, None),
            ("HTTP/1.1 200 OK\r\nx-cell: c\r\ncontent-length: 3\r\n\r\nok", End::Failed, None),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", End::Failed, None),
            ("HTTP/1.1 503 Busy\r\nretry-after: 10\r\n\r\n", End::Refused, Some(10)),
            ("HTTP/1.1 429 Busy\r\nretry-after: soon\r\n\r\n", End::Refused, None),
            ("HTTP/1.1 503 Busy\r\nx-cell: c\r\nretry-after: 3\r\n\r\n", End::Failed, Some(3)),
            ("HTTP/1.1 504 Late\r\nretry-after: 3\r\n\r\n", End::Failed, Some(3)),
            ("HTTP/1.1 200 OK\r\nx-ce", End::Failed, None),
            ("", End::Failed, None),
        ];
        for (answer, end, seconds) in cases {
            let expected = Attempt { end, retry_after: seconds.map(Duration::from_secs) };
            assert_eq!(read(answer.as_bytes()), expected, "{answer:?}");
        }
    }

    #[test]
    fn an_answer_is_read_to_its_end_and_no_further() {
        let cases = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no", false),
            ("HTTP/1.1 200 OK\r\n\r\nok", false),
            ("HTTP/1.1 200 OK\r\ncontent-le", false),
        ];
        for (answer, whole) in cases {
            assert_eq!(is_whole(answer.as_bytes()), whole, "{answer:?}");
        }
    }
}
