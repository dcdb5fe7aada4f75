//! The reading of a cell's answer: a head that could be read in two ways, or that is larger than any head
//! needs to be, is not passed on. A cell is trusted with its accounts' requests, not with our clients'
//! connections.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, StatusCode};

use super::{head, members};
use crate::policy::facts::{Upgrade, WireVersion};

/// Most bytes of an answer's fields. Twice what a request's head may have by default, because cookies come
/// back with their attributes; nginx takes 4 or 8 KiB, Envoy 60 KiB.
pub const ANSWER_BYTES: usize = 64 * 1024;

/// Most answers below 200 before the final one: an hour of `102 Processing` at one each 40 seconds. More
/// hold the client without answering it.
pub const INTERIM_ANSWERS: usize = 100;

/// What is wrong with a cell's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAnswer {
    /// More than [`ANSWER_BYTES`].
    TooLarge,
    /// Content-Length doubled, a list, not a plain number, or together with Transfer-Encoding.
    ContentLength,
    /// A transfer coding other than exactly `chunked`, or one in HTTP/1.0.
    TransferEncoding,
    /// 101 to a request that asked for nothing, or to something else than WebSocket; or a 2xx that an HTTP/2
    /// client would take for an open WebSocket.
    Upgrade,
    /// A status above 599 (RFC 9110 section 15).
    Status,
}

/// What the client asked its connection, or its stream, to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    Nothing,
    /// A WebSocket over HTTP/1.1, which 101 opens.
    WebSocket,
    /// One over HTTP/2, which any 2xx of ours opens (RFC 8441 section 5).
    WebSocketStream,
}

impl Asked {
    /// What a request asks for.
    pub fn of(upgrade: Upgrade, version: WireVersion) -> Self {
        match (upgrade, version) {
            (Upgrade::WebSocket, WireVersion::Http2) => Self::WebSocketStream,
            (Upgrade::WebSocket, _) => Self::WebSocket,
            _ => Self::Nothing,
        }
    }
}

/// Bytes of the fields as HTTP/1.1 writes them.
pub fn size(headers: &HeaderMap) -> usize {
    // Colon, blank and CRLF.
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// Judges the final head of an answer. `chunks` where its version knows transfer codings (HTTP/1.1).
///
/// # Errors
/// What is wrong with it; none of it may reach the client.
pub fn check_answer(
    status: StatusCode,
    headers: &HeaderMap,
    chunks: bool,
    asked: Asked,
) -> Result<(), BadAnswer> {
    if size(headers) > ANSWER_BYTES {
        return Err(BadAnswer::TooLarge);
    }
    if status.as_u16() > 599 {
        return Err(BadAnswer::Status);
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let mut offers = members(headers, &UPGRADE);
        let websocket = matches!((offers.next(), offers.next()), (Some(offer), None)
            if offer.eq_ignore_ascii_case(b"websocket"));
        return if asked != Asked::Nothing && websocket { Ok(()) } else { Err(BadAnswer::Upgrade) };
    }
    if asked == Asked::WebSocketStream && status.is_success() {
        return Err(BadAnswer::Upgrade);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => false,
        (Some(value), None)
            if head::content_length(super::bytes::trim_blanks(value.as_bytes())).is_some() =>
        {
            true
        }
        (Some(_), _) => return Err(BadAnswer::ContentLength),
    };
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(_), None) if length => Err(BadAnswer::ContentLength),
        (Some(coding), None) if chunks && coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(BadAnswer::TransferEncoding),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn judge(status: u16, fields: &[(&str, &str)], asked: Asked) -> Result<(), BadAnswer> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        check_answer(StatusCode::from_u16(status).unwrap(), &headers, true, asked)
    }

    #[test]
    fn ordinary_answers_pass() {
        for fields in [
            &[][..],
            &[("content-length", "5")],
            &[("content-length", "0"), ("set-cookie", "a"), ("set-cookie", "b")],
            &[("transfer-encoding", "Chunked")],
        ] {
            assert_eq!(judge(200, fields, Asked::Nothing), Ok(()), "{fields:?}");
        }
        assert_eq!(
            judge(101, &[("upgrade", "WebSocket"), ("connection", "upgrade")], Asked::WebSocket),
            Ok(())
        );
        // A refused upgrade is an answer like any other.
        assert_eq!(judge(403, &[("content-length", "5")], Asked::WebSocket), Ok(()));
    }

    #[test]
    fn answers_with_two_readings_do_not() {
        for length in ["5, 5", "+5", "-5", "", "5 5", "0x5", "99999999999999999999"] {
            let judged = judge(200, &[("content-length", length)], Asked::Nothing);
            assert_eq!(judged, Err(BadAnswer::ContentLength), "{length:?}");
        }
        let twice = [("content-length", "5"), ("content-length", "5")];
        assert_eq!(judge(200, &twice, Asked::Nothing), Err(BadAnswer::ContentLength));
        let both = [("content-length", "5"), ("transfer-encoding", "chunked")];
        assert_eq!(judge(200, &both, Asked::Nothing), Err(BadAnswer::ContentLength));
        for coding in ["gzip, chunked", "chunked, chunked", "identity", "xchunked", ""] {
            let judged = judge(200, &[("transfer-encoding", coding)], Asked::Nothing);
            assert_eq!(judged, Err(BadAnswer::TransferEncoding), "{coding:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(TRANSFER_ENCODING, "chunked".parse().unwrap());
        let old = check_answer(StatusCode::OK, &headers, false, Asked::Nothing);
        assert_eq!(old, Err(BadAnswer::TransferEncoding), "HTTP/1.0 knows no chunks");
        assert_eq!(judge(999, &[], Asked::Nothing), Err(BadAnswer::Status));
    }

    #[test]
    fn only_a_websocket_that_was_asked_for_is_switched_to() {
        assert_eq!(judge(101, &[("upgrade", "websocket")], Asked::Nothing), Err(BadAnswer::Upgrade));
        for offer in ["h2c", "websocket, h2c", ""] {
            assert_eq!(
                judge(101, &[("upgrade", offer)], Asked::WebSocket),
                Err(BadAnswer::Upgrade),
                "{offer:?}"
            );
        }
        assert_eq!(judge(101, &[], Asked::WebSocket), Err(BadAnswer::Upgrade));
        assert_eq!(judge(101, &[("upgrade", "websocket")], Asked::WebSocketStream), Ok(()));
    }

    #[test]
    fn an_answer_without_a_switch_opens_no_websocket() {
        // Over HTTP/1.1 only 101 does, and the client can be told what the cell has said.
        for (status, asked, expect) in [
            (200, Asked::WebSocket, Ok(())),
            (200, Asked::WebSocketStream, Err(BadAnswer::Upgrade)),
            (204, Asked::WebSocketStream, Err(BadAnswer::Upgrade)),
            (302, Asked::WebSocketStream, Ok(())),
            (403, Asked::WebSocketStream, Ok(())),
        ] {
            assert_eq!(judge(status, &[], asked), expect, "{status} {asked:?}");
        }
    }

    #[test]
    fn a_large_head_is_refused() {
        let value = "y".repeat(ANSWER_BYTES - "x".len() - 4);
        assert_eq!(judge(200, &[("x", &value)], Asked::Nothing), Ok(()));
        assert_eq!(judge(200, &[("x", &format!("{value}y"))], Asked::Nothing), Err(BadAnswer::TooLarge));
    }
}
