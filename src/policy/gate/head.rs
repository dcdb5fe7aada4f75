//! The strict reading of a raw HTTP/1.x request head, before any parser interprets it.
//!
//! It judges syntax and framing only, so that what a lenient parser (ours or a cell's) makes of the
//! same bytes cannot differ from what was checked here. What the fields mean (host, upgrade, loops)
//! is [`facts`](super::facts)' matter. After a refusal the head has not been consumed: the connection
//! cannot be used for another request and must be closed, whatever the refusal is.

use memchr::memchr;

use super::bytes::{all, is_field_content, is_token, is_visible, trim_blanks};
use crate::policy::facts::WireVersion;
use crate::policy::refusal::{BadRequest, Refusal};
use crate::policy::snapshot::RequestLimits;

/// Empty lines before a request line that are skipped (RFC 9112 section 2.2 asks for at least one: some
/// old clients send a CRLF after a body).
pub const MAX_EMPTY_LINES: usize = 2;

/// Longest method. The longest registered one (`UPDATEREDIRECTREF`) has 17 bytes; twice that is 32.
pub const MAX_METHOD_LEN: usize = 32;

/// Most digits of a Content-Length: 2^53 has 16.
pub const MAX_LENGTH_DIGITS: usize = 16;

/// Largest Content-Length: 2^53, the largest integer that every JSON and JavaScript stack still counts
/// exactly; no body comes near it.
pub const MAX_CONTENT_LENGTH: u64 = 1 << 53;

/// What the bytes received so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadStatus {
    /// Well formed so far; more bytes are needed.
    Partial,
    /// The whole head is there.
    Complete(Head),
}

/// A complete and well-formed head. Positions count from the start of the raw bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of empty lines before the request line; parsers need not see them.
    pub skipped: usize,
    /// Bytes up to and including the empty line that ends the head, skipped ones included.
    pub len: usize,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: WireVersion,
    /// The method.
    pub method: Span,
    /// The request target as received.
    pub target: Span,
    /// Which form the target has.
    pub form: TargetForm,
    /// Where the body ends.
    pub framing: Framing,
}

/// A part of the raw bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One behind the last byte.
    pub end: usize,
}

/// The forms of a request target that are served (RFC 9112 section 3.2). Authority-form belongs to
/// CONNECT, which is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`.
    Origin,
    /// `*`, with OPTIONS only.
    Asterisk,
    /// `http://authority/path?query`: to be rewritten to `/path?query` before it is forwarded.
    Absolute {
        /// Between `//` and the path.
        authority: Span,
        /// Path and query; may be empty or begin with `?`, see [`Head::origin_target`].
        rest: Span,
    },
}

/// How the body is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// Content-Length.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl Span {
    /// These bytes of `raw`.
    pub fn of(self, raw: &[u8]) -> &[u8] {
        &raw[self.start..self.end]
    }
}

impl Head {
    /// The authority of an absolute target.
    pub fn authority<'a>(&self, raw: &'a [u8]) -> Option<&'a str> {
        match self.form {
            TargetForm::Absolute { authority, .. } => Some(ascii(authority.of(raw))),
            TargetForm::Origin | TargetForm::Asterisk => None,
        }
    }

    /// The fields, in the order in which they came: names as they were spelled, values without the blanks around them.
    pub fn fields<'a>(&self, raw: &'a [u8]) -> impl Iterator<Item = (&'a [u8], Span)> + use<'a> {
        // The request line ends behind ` HTTP/1.1`, a line with its CRLF, and so does the head.
        let (mut start, end) = (self.target.end + " HTTP/1.1\r\n".len(), self.len - "\r\n".len());
        std::iter::from_fn(move || {
            let line = memchr(b'\n', &raw[start..end])?;
            let text = &raw[start..start + line - 1];
            let colon = memchr(b':', text)?;
            let value = &text[colon + 1..];
            let blanks = value.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let value_start = start + colon + 1 + blanks;
            start += line + 1;
            Some((&text[..colon], Span { start: value_start, end: value_start + trim_blanks(value).len() }))
        })
    }

    /// The target to forward: origin-form, or `*`. An absolute target without a path means `*` for
    /// OPTIONS and `/` otherwise (RFC 9112 sections 3.2.4 and 3.2.1).
    pub fn origin_target<'a>(&self, raw: &'a [u8]) -> std::borrow::Cow<'a, str> {
        let TargetForm::Absolute { rest, .. } = self.form else {
            return ascii(self.target.of(raw)).into();
        };
        match ascii(rest.of(raw)) {
            "" if self.method.of(raw) == b"OPTIONS" => "*".into(),
            "" => "/".into(),
            query if query.starts_with('?') => format!("/{query}").into(),
            rest => rest.into(),
        }
    }
}

/// Reads one head that arrives in pieces. Each byte is looked at once, however small the pieces are (a CR
/// that ends a piece, twice).
#[derive(Clone, Debug, Default)]
pub struct HeadReader {
    /// Where the line begins that is being received.
    line: usize,
    /// Up to where its end was looked for in vain.
    searched: usize,
    empty_lines: usize,
    skipped: usize,
    request: Option<RequestLine>,
    fields: Fields,
}

/// Reads a head from its first byte: [`HeadReader`] for those who have it in one piece.
pub fn read_head(raw: &[u8], limits: &RequestLimits) -> Result<HeadStatus, Refusal> {
    HeadReader::default().read(raw, limits)
}

impl HeadReader {
    /// Reads on. `raw` is everything received so far, from the same first byte at every call.
    pub fn read(&mut self, raw: &[u8], limits: &RequestLimits) -> Result<HeadStatus, Refusal> {
        while let Some(found) = memchr(b'\n', &raw[self.searched..]) {
            let end = self.searched + found;
            let line = Span { start: self.line, end };
            self.line = end + 1;
            self.searched = end + 1;
            if let Some(head) = self.take_line(raw, line, limits)? {
                return Ok(HeadStatus::Complete(head));
            }
        }
        self.check_partial(raw, limits)?;
        // A CR is the last byte of a line or a mistake; the next call sees which, and so looks at it again.
        self.searched = raw.len() - usize::from(raw.ends_with(b"\r"));
        Ok(HeadStatus::Partial)
    }

    /// Takes one line, of which `line` is everything before the LF.
    fn take_line(&mut self, raw: &[u8], line: Span, limits: &RequestLimits) -> Result<Option<Head>, Refusal> {
        let text = line.of(raw).strip_suffix(b"\r");
        let Some(request) = self.request else {
            let text = text.ok_or(BadRequest::RequestLine)?;
            if text.is_empty() && self.empty_lines < MAX_EMPTY_LINES {
                self.empty_lines += 1;
                self.skipped = self.line;
                return Ok(None);
            }
            self.request = Some(RequestLine::read(text, line.start, limits)?);
            return Ok(None);
        };
        let text = text.ok_or(BadRequest::HeaderLine)?;
        if self.line - self.skipped > limits.head_bytes {
            return Err(Refusal::HeadersTooLarge);
        }
        if !text.is_empty() {
            self.fields.take(text, request.version, limits)?;
            return Ok(None);
        }
        let framing = self.fields.framing(request.version)?;
        let RequestLine { version, method, target, form } = request;
        Ok(Some(Head { skipped: self.skipped, len: self.line, version, method, target, form, framing }))
    }

    /// Refuses what is wrong or too long already, although its line has not ended.
    fn check_partial(&self, raw: &[u8], limits: &RequestLimits) -> Result<(), Refusal> {
        if self.request.is_some() {
            let too_long = raw.len() - self.skipped > limits.head_bytes;
            return if too_long { Err(Refusal::HeadersTooLarge) } else { Ok(()) };
        }
        let new = &raw[self.searched..];
        // A CR at the end may be the end of the line.
        let new = new.strip_suffix(b"\r").unwrap_or(new);
        if !all(new, |byte| is_visible(byte) || byte == b' ') {
            return Err(BadRequest::RequestLine.into());
        }
        let line = &raw[self.line..];
        let Some(method) = line.iter().take(MAX_METHOD_LEN + 1).position(|byte| *byte == b' ') else {
            let plausible = line.len() <= MAX_METHOD_LEN
                && line.strip_suffix(b"\r").unwrap_or(line).iter().all(|byte| is_token(*byte));
            return if plausible { Ok(()) } else { Err(BadRequest::RequestLine.into()) };
        };
        check_method(&line[..method])?;
        if line.len() - method - 1 > limits.target_bytes + AFTER_TARGET_LEN {
            return Err(Refusal::TargetTooLong);
        }
        Ok(())
    }
}

/// A request line that has been read.
#[derive(Clone, Copy, Debug)]
struct RequestLine {
    version: WireVersion,
    method: Span,
    target: Span,
    form: TargetForm,
}

impl RequestLine {
    /// `line` without its CRLF begins at `start`.
    fn read(line: &[u8], start: usize, limits: &RequestLimits) -> Result<Self, Refusal> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadRequest::RequestLine.into());
        };
        check_method(method)?;
        let version = match version {
            b"HTTP/1.1" => WireVersion::Http11,
            b"HTTP/1.0" => WireVersion::Http10,
            _ => return Err(BadRequest::RequestLine.into()),
        };
        if target.len() > limits.target_bytes {
            return Err(Refusal::TargetTooLong);
        }
        if !all(target, |byte| is_visible(byte) && byte != b'#') {
            return Err(BadRequest::RequestLine.into());
        }
        let begin = start + method.len() + 1;
        let span = Span { start: begin, end: begin + target.len() };
        let form = TargetForm::read(method, target, begin).ok_or(BadRequest::RequestLine)?;
        Ok(Self { version, method: Span { start, end: begin - 1 }, target: span, form })
    }
}

impl TargetForm {
    fn read(method: &[u8], target: &[u8], begin: usize) -> Option<Self> {
        match target {
            [b'/', ..] => return Some(Self::Origin),
            b"*" => return (method == b"OPTIONS").then_some(Self::Asterisk),
            _ => {}
        }
        let scheme = ["http://", "https://"].into_iter().find(|scheme| {
            target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
        })?;
        let after = &target[scheme.len()..];
        let len = after.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(after.len());
        let authority = Span { start: begin + scheme.len(), end: begin + scheme.len() + len };
        let rest = Span { start: authority.end, end: begin + target.len() };
        (len > 0).then_some(Self::Absolute { authority, rest })
    }
}

/// What the fields seen so far say about framing.
#[derive(Clone, Debug, Default)]
struct Fields {
    count: usize,
    host: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Fields {
    /// Takes one field line without its CRLF.
    fn take(&mut self, line: &[u8], version: WireVersion, limits: &RequestLimits) -> Result<(), Refusal> {
        self.count += 1;
        if self.count > limits.header_fields {
            return Err(Refusal::HeadersTooLarge);
        }
        // An obsolete fold begins with a blank and a blank before the colon ends the name: neither is
        // a token.
        let end = line.iter().position(|byte| !is_token(*byte)).ok_or(BadRequest::HeaderLine)?;
        let (name, [b':', value @ ..]) = line.split_at(end) else {
            return Err(BadRequest::HeaderLine.into());
        };
        if name.is_empty() || !all(value, is_field_content) {
            return Err(BadRequest::HeaderLine.into());
        }
        let value = trim_blanks(value);
        if name.eq_ignore_ascii_case(b"host") {
            if self.host || value.is_empty() {
                return Err(BadRequest::Host.into());
            }
            self.host = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return Err(BadRequest::ContentLength.into());
            }
            self.length = Some(content_length(value).ok_or(BadRequest::ContentLength)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || version == WireVersion::Http10 {
                return Err(BadRequest::TransferEncoding.into());
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::NotImplemented);
            }
            self.chunked = true;
        }
        Ok(())
    }

    /// Judges the whole head.
    fn framing(&self, version: WireVersion) -> Result<Framing, Refusal> {
        if !self.host && version != WireVersion::Http10 {
            return Err(BadRequest::Host.into());
        }
        match (self.length, self.chunked) {
            (None, false) => Ok(Framing::None),
            (Some(length), false) => Ok(Framing::Length(length)),
            (None, true) => Ok(Framing::Chunked),
            (Some(_), true) => Err(BadRequest::ContentLength.into()),
        }
    }
}

/// Reads a Content-Length: 1 to [`MAX_LENGTH_DIGITS`] digits, at most [`MAX_CONTENT_LENGTH`]. Without leading zeros,
/// which the grammar allows and some readers take for octal.
pub(super) fn content_length(value: &[u8]) -> Option<u64> {
    if value.len() > 1 && value[0] == b'0' {
        return None;
    }
    if value.is_empty() || value.len() > MAX_LENGTH_DIGITS || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = value.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    (length <= MAX_CONTENT_LENGTH).then_some(length)
}

/// Refuses a method that is no token, too long, or one of the two that a gateway must not serve: TRACE
/// echoes credentials, CONNECT opens tunnels. In any case, because some cells do not mind the case.
pub(super) fn check_method(method: &[u8]) -> Result<(), Refusal> {
    if method.is_empty() || method.len() > MAX_METHOD_LEN || !method.iter().all(|byte| is_token(*byte)) {
        return Err(BadRequest::RequestLine.into());
    }
    if method.eq_ignore_ascii_case(b"TRACE") || method.eq_ignore_ascii_case(b"CONNECT") {
        return Err(Refusal::MethodNotAllowed);
    }
    Ok(())
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a target is visible ASCII, which RequestLine::read checks")
}

/// ` HTTP/1.1\r`, all that may follow a target in an unfinished request line.
const AFTER_TARGET_LEN: usize = 10;
