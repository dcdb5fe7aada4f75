//! Fields as HTTP/1 writes them.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Room for the first line of a head, and for the fields that are added to those it comes with.
const ADDED: usize = 768;

/// Makes room for a head with these fields, before its first byte: what grows later is copied.
pub(super) fn reserve(text: &mut BytesMut, fields: &HeaderMap) {
    let line = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    text.reserve(ADDED + fields.iter().map(line).sum::<usize>());
}

/// Writes one field line.
pub(super) fn field(text: &mut BytesMut, name: &HeaderName, value: &[u8]) {
    text.put_slice(spelled(name).as_bytes());
    text.put_slice(b": ");
    text.put_slice(value);
    text.put_slice(b"\r\n");
}

/// Names have no case (RFC 9110 section 5.1). These are written as they always were, for readers that mind.
fn spelled(name: &HeaderName) -> &str {
    match *name {
        header::ACCEPT_RANGES => "Accept-Ranges",
        header::AGE => "Age",
        header::CACHE_CONTROL => "Cache-Control",
        header::CONNECTION => "Connection",
        header::CONTENT_TYPE => "Content-Type",
        header::CONTENT_ENCODING => "Content-Encoding",
        header::CONTENT_LENGTH => "Content-Length",
        header::DATE => "Date",
        header::TRANSFER_ENCODING => "Transfer-Encoding",
        header::HOST => "Host",
        header::SERVER => "Server",
        header::SET_COOKIE => "Set-Cookie",
        _ => name.as_str(),
    }
}
