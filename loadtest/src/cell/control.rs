//! What one request asks the simulated cell to do: the request header `x-sim`.
//!
//! Grammar: `item;item;...`, where an item is `key` or `key=value`; spaces around items are ignored, a
//! value may hold percent-escapes (`%3B` for `;`). Several `x-sim` lines are read as one. An item that is
//! not understood is answered 400, so that a typing mistake in a test cannot pass for the normal answer.
//!
//! | item | the cell then |
//! |---|---|
//! | `status=N` | answers with status N |
//! | `delay_ms=N` | waits N ms before the head of its answer |
//! | `set=Name:Value` | adds a response header (repeatable) |
//! | `pad=N` | adds a response header `x-pad` of N bytes |
//! | `info103`, `info=N` | first sends an informational 103 (with a `Link`) or N (h1 only, repeatable) |
//! | `body=N` | answers N bytes of [`pattern`](crate::body::pattern) |
//! | `chunked` | gives no length, so that h1 uses chunked coding |
//! | `piece=N`, `every_ms=M` | sends the body in pieces of N bytes, M ms apart |
//! | `trailers` | ends with trailers `x-sim-trailer: last` and `x-sim-sha256` of the body (h1: if the request says `te: trailers`) |
//! | `sse=N` | answers N server-sent events, `every_ms` apart |
//! | `cut=N` | breaks off after N bytes of the body that was announced |
//! | `hang` | sends the head and then nothing |
//! | `abort` | ends without an answer (h1 closes, h2 resets the stream) |
//! | `early` | answers without waiting for the request body, which it goes on reading |
//! | `early-close` | answers without reading the request body, and closes |
//! | `echo` | answers with the request body as it arrives, full duplex, trailers included |
//! | `continue` | reads the body before it answers, which sends 100 to a client that expects it; the normal case, spelled out |
//! | `close` | announces the end of the connection (h1 `Connection: close`, h2 GOAWAY) |
//! | `hangup_ms=N` | closes the connection N ms after the head of the answer without announcing it |
//! | `messages=N` | gRPC server stream: answers N messages, `every_ms` apart |
//! | `grpc_status=N` | gRPC: ends with status N |

use std::str::FromStr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The request header by which a request chooses its answer; the table above is its grammar.
pub const CONTROL_HEADER: &str = "x-sim";

/// One request's wishes; the module's table says what each does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) status: Option<StatusCode>,
    pub(crate) delay: Duration,
    pub(crate) set: Vec<(HeaderName, HeaderValue)>,
    pub(crate) pad: usize,
    pub(crate) info: Vec<u16>,
    pub(crate) body: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) piece: Option<usize>,
    pub(crate) every: Duration,
    pub(crate) trailers: bool,
    pub(crate) sse: Option<u32>,
    pub(crate) cut: Option<u64>,
    pub(crate) hang: bool,
    pub(crate) abort: bool,
    pub(crate) early: bool,
    pub(crate) early_close: bool,
    pub(crate) echo: bool,
    pub(crate) close: bool,
    pub(crate) hangup: Option<Duration>,
    pub(crate) messages: Option<u32>,
    pub(crate) grpc_status: Option<u32>,
}

/// An item of `x-sim` that was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("x-sim item {item:?}: {expected}")]
pub(crate) struct ControlError {
    item: String,
    expected: &'static str,
}

impl Control {
    /// Reads all `x-sim` lines of a request.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ControlError> {
        let mut control = Self::default();
        for line in headers.get_all(CONTROL_HEADER) {
            let text = line.to_str().map_err(|_| ControlError {
                item: String::from_utf8_lossy(line.as_bytes()).into_owned(),
                expected: "expected visible ASCII; percent-escape the rest",
            })?;
            control.read(text)?;
        }
        Ok(control)
    }

    fn read(&mut self, text: &str) -> Result<(), ControlError> {
        for item in text.split(';').map(str::trim).filter(|item| !item.is_empty()) {
            self.item(item).map_err(|expected| ControlError { item: item.to_owned(), expected })?;
        }
        Ok(())
    }

    fn item(&mut self, item: &str) -> Result<(), &'static str> {
        let Some((key, value)) = item.split_once('=') else {
            return self.flag(item);
        };
        let value = &unescape(value).ok_or("expected two hexadecimal digits after each %")?;
        match key.trim() {
            "status" => self.status = Some(status(value)?),
            "delay_ms" => self.delay = millis(value)?,
            "set" => self.set.push(header(value)?),
            "pad" => self.pad = number(value, "expected a number of bytes")?,
            "info" => self.info.push(informational(value)?),
            "body" => self.body = Some(number(value, "expected a number of bytes")?),
            "piece" => self.piece = Some(number(value, "expected a number of bytes")?),
            "every_ms" => self.every = millis(value)?,
            "sse" => self.sse = Some(number(value, "expected a number of events")?),
            "cut" => self.cut = Some(number(value, "expected a number of bytes")?),
            "hangup_ms" => self.hangup = Some(millis(value)?),
            "messages" => self.messages = Some(number(value, "expected a number of messages")?),
            "grpc_status" => self.grpc_status = Some(number(value, "expected a gRPC status")?),
            _ => return Err("no item of this name takes a value"),
        }
        Ok(())
    }

    fn flag(&mut self, name: &str) -> Result<(), &'static str> {
        match name {
            "info103" => self.info.push(103),
            "chunked" => self.chunked = true,
            "trailers" => self.trailers = true,
            "hang" => self.hang = true,
            "abort" => self.abort = true,
            "early" => self.early = true,
            "early-close" => self.early_close = true,
            "echo" => self.echo = true,
            "continue" => {}
            "close" => self.close = true,
            _ => return Err("no item of this name stands alone"),
        }
        Ok(())
    }
}

fn number<T: FromStr>(value: &str, expected: &'static str) -> Result<T, &'static str> {
    value.parse().map_err(|_| expected)
}

fn status(value: &str) -> Result<StatusCode, &'static str> {
    let expected = "expected a status from 200 to 999";
    let status: StatusCode = number(value, expected)?;
    if status.is_informational() {
        return Err(expected);
    }
    Ok(status)
}

fn informational(value: &str) -> Result<u16, &'static str> {
    let expected = "expected a status from 100 to 199 but 101, which would end HTTP";
    let status = number(value, expected)?;
    if !(100..200).contains(&status) || status == 101 {
        return Err(expected);
    }
    Ok(status)
}

fn millis(value: &str) -> Result<Duration, &'static str> {
    number(value, "expected a number of milliseconds").map(Duration::from_millis)
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let expected = "expected Name:Value, a header field";
    let (name, value) = text.split_once(':').ok_or(expected)?;
    Ok((
        HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| expected)?,
        HeaderValue::from_str(value.trim()).map_err(|_| expected)?,
    ))
}

/// Percent-decoding (RFC 3986 section 2.1); none for a broken escape or a result that is not UTF-8.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None; // from_str_radix alone would take a sign.
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Control, ControlError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTROL_HEADER, HeaderValue::from_str(text).unwrap());
        Control::of(&headers)
    }

    #[test]
    fn no_header_is_the_normal_answer() {
        assert_eq!(Control::of(&HeaderMap::new()).unwrap(), Control::default());
    }

    #[test]
    fn items_are_read_in_any_order_and_spacing() {
        let expected = Control {
            status: Some(StatusCode::ACCEPTED),
            delay: Duration::from_millis(20),
            chunked: true,
            info: vec![103, 100],
            ..Control::default()
        };
        for text in [
            "status=202;delay_ms=20;chunked;info103;info=100",
            " chunked ; info103;info=100; delay_ms=20 ; status=202 ;",
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_header_value_may_hold_what_the_grammar_uses() {
        let control = read("set=Link:%3Chttps://x/%3E%3B rel=successor-version").unwrap();
        let (name, value) = &control.set[0];
        assert_eq!(name, "link");
        assert_eq!(value, "<https://x/>; rel=successor-version");
    }

    #[test]
    fn several_lines_are_one() {
        let mut headers = HeaderMap::new();
        headers.append(CONTROL_HEADER, HeaderValue::from_static("set=a:1"));
        headers.append(CONTROL_HEADER, HeaderValue::from_static("set=a:2;close"));
        let control = Control::of(&headers).unwrap();
        assert_eq!((control.set.len(), control.close), (2, true));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, expected) in [
            ("statu=200", "no item of this name takes a value"),
            ("chunk", "no item of this name stands alone"),
            ("status=abc", "expected a status from 200 to 999"),
            ("status=100", "expected a status from 200 to 999"),
            ("info=101", "expected a status from 100 to 199 but 101, which would end HTTP"),
            ("set=nocolon", "expected Name:Value, a header field"),
            ("set=bad name:1", "expected Name:Value, a header field"),
            ("body=%4", "expected two hexadecimal digits after each %"),
            ("body=%+4", "expected two hexadecimal digits after each %"),
            ("delay_ms=-1", "expected a number of milliseconds"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!((error.item.as_str(), error.expected), (text, expected));
        }
    }
}
