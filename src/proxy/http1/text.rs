//! Heads as HTTP/1 writes them.

use bytes::BytesMut;
use http::{HeaderName, header};

/// Room that is taken at a time: most heads of an API fit, with the fields that are added to them. To look through
/// the fields for how much they need costs more than to take more for the few that are longer.
const ROOM: usize = 1024;

/// A head that is written behind what a text holds. Room is taken for many lines at once: to ask for it for each part
/// of a line costs more than to copy the part.
#[derive(Debug)]
pub struct Lines<'a> {
    text: &'a mut BytesMut,
    /// Where what is written ends. Behind it stand zeros, which go with this.
    end: usize,
}

impl<'a> Lines<'a> {
    /// Behind what `text` holds.
    pub(super) fn behind(text: &'a mut BytesMut) -> Self {
        let end = text.len();
        text.resize(end + ROOM, 0);
        Self { text, end }
    }

    /// Writes a line of these parts.
    pub(super) fn line<const PARTS: usize>(&mut self, parts: [&[u8]; PARTS]) {
        for part in parts {
            self.room(part.len()).copy_from_slice(part);
        }
        self.room(b"\r\n".len()).copy_from_slice(b"\r\n");
    }

    /// Writes one field.
    pub fn field(&mut self, name: &HeaderName, value: &[u8]) {
        let name = spelled(name).as_bytes();
        let line = self.room(name.len() + value.len() + b": \r\n".len());
        let (to_name, line) = line.split_at_mut(name.len());
        to_name.copy_from_slice(name);
        let (colon, line) = line.split_at_mut(b": ".len());
        colon.copy_from_slice(b": ");
        let (to_value, end) = line.split_at_mut(value.len());
        to_value.copy_from_slice(value);
        end.copy_from_slice(b"\r\n");
    }

    /// The next so many bytes, all of which the caller writes.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let start = self.end;
        self.end += bytes;
        if self.end > self.text.len() {
            self.grow();
        }
        &mut self.text[start..self.end]
    }

    #[cold]
    fn grow(&mut self) {
        self.text.resize(self.end + ROOM, 0);
    }
}

impl Drop for Lines<'_> {
    fn drop(&mut self) {
        self.text.truncate(self.end);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_behind_what_was_there_however_long_they_are() {
        for bytes in [0, 1, ROOM - 40, ROOM - 20, ROOM, 3 * ROOM] {
            let value = "v".repeat(bytes);
            let mut text = BytesMut::from("before");
            let mut lines = Lines::behind(&mut text);
            lines.line([b"GET ", b"/", b" HTTP/1.1"]);
            lines.field(&header::HOST, b"a.test");
            lines.field(&HeaderName::from_static("x-a"), value.as_bytes());
            lines.field(&header::ACCEPT, b"");
            lines.line([]);
            drop(lines);
            text.extend_from_slice(b"behind");
            let expect =
                format!("beforeGET / HTTP/1.1\r\nHost: a.test\r\nx-a: {value}\r\naccept: \r\n\r\nbehind");
            assert_eq!(text, expect, "{bytes} bytes");
        }
    }

    #[test]
    fn what_is_not_written_of_the_room_goes() {
        let mut text = BytesMut::new();
        drop(Lines::behind(&mut text));
        assert!(text.is_empty());
    }
}
