//! The one form in which a request may reach a cell over HTTP/1.1, checked on the bytes. Written apart from
//! cellgate's own readers: what the two agree on by mistake would not be seen.

/// A request as it stands in a cell's connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub method: String,
    pub target: String,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    /// Bytes of it, body and framing included.
    pub len: usize,
    /// What is not canonical.
    pub faults: Vec<String>,
}

/// How the head says that the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
}

impl Message {
    /// All values of a field, joined as a list.
    pub fn field(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// Reads a head; `None` while it is not complete.
    pub fn head(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let mut message = Self { len: end, ..Self::default() };
        let mut lines = bytes[..end - 4].split(|byte| *byte == b'\n').peekable();
        let first = lines.next().unwrap_or_default();
        let first = message.line(first, lines.peek().is_none()).to_vec();
        message.request_line(&first);
        while let Some(line) = lines.next() {
            let line = message.line(line, lines.peek().is_none()).to_vec();
            message.field_line(&line);
        }
        message.together();
        Some(message)
    }

    /// How its body is framed, taken at its word.
    pub fn framing(&self) -> Framing {
        match (self.field("transfer-encoding"), self.field("content-length")) {
            (Some(_), _) => Framing::Chunked,
            (None, Some(length)) => Framing::Length(length.parse().unwrap_or(0)),
            (None, None) => Framing::Length(0),
        }
    }

    fn fault(&mut self, what: impl Into<String>) {
        self.faults.push(what.into());
    }

    /// A line without its CR. The last one's CR went with the end of the head.
    fn line<'a>(&mut self, line: &'a [u8], last: bool) -> &'a [u8] {
        let line = match line.strip_suffix(b"\r") {
            Some(line) if !last => line,
            _ if last => line,
            _ => {
                self.fault("a bare LF in the head");
                line
            }
        };
        if line.contains(&b'\r') || line.contains(&0) {
            self.fault("a bare CR or NUL in the head");
        }
        line
    }

    fn request_line(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        let parts: Vec<&str> = text.split(' ').collect();
        let [method, target, version] = parts[..] else {
            return self.fault(format!("request line {text:?}"));
        };
        if method.is_empty() || !method.bytes().all(is_token) {
            self.fault(format!("method {method:?}"));
        }
        let plain = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !plain || !(target.starts_with('/') || target == "*" && method == "OPTIONS") {
            self.fault(format!("target {target:?}"));
        }
        if version != "HTTP/1.1" {
            self.fault(format!("version {version:?}"));
        }
        if ["TRACE", "CONNECT"].iter().any(|one| method.eq_ignore_ascii_case(one)) {
            self.fault(format!("method {method:?} is not for cells"));
        }
        (self.method, self.target) = (method.to_owned(), target.to_owned());
    }

    fn field_line(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return self.fault(format!("no colon in {:?}", String::from_utf8_lossy(line)));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().copied().all(is_token) {
            self.fault(format!("field name {:?}", String::from_utf8_lossy(name)));
        }
        if !value.iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..=0xff)) {
            self.fault(format!("value of {:?}", String::from_utf8_lossy(name)));
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        self.fields.push((name, String::from_utf8_lossy(value).into_owned()));
    }

    /// What fields must be together.
    fn together(&mut self) {
        let count = |message: &Self, name: &str| message.fields.iter().filter(|(n, _)| n == name).count();
        for name in ["host", "x-cellgate-account", "x-cellgate-cell", "x-cellgate-generation", "x-request-id"]
        {
            if count(self, name) != 1 {
                self.fault(format!("{} times {name}", count(self, name)));
            }
        }
        let host = self.field("host").unwrap_or_default();
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b)) {
            self.fault(format!("host {host:?}"));
        }
        let (lengths, codings) = (count(self, "content-length"), count(self, "transfer-encoding"));
        if lengths + codings > 1 {
            self.fault(format!("{lengths} Content-Length and {codings} Transfer-Encoding"));
        }
        let plain = |length: &String| {
            length.bytes().all(|byte| byte.is_ascii_digit())
                && length.parse::<u64>().is_ok_and(|length| length <= 1 << 53)
        };
        if self.field("content-length").is_some_and(|length| !plain(&length)) {
            self.fault("Content-Length is no plain number");
        }
        if self.field("transfer-encoding").is_some_and(|coding| coding != "chunked") {
            self.fault("Transfer-Encoding is not exactly chunked");
        }
        let claims = ["for", "host", "proto", "port", "server"].map(|claim| format!("x-forwarded-{claim}"));
        let foreign = |(name, _): &&(String, String)| {
            let dashed = name.replace('_', "-");
            *name != dashed && (dashed.starts_with("x-cellgate-") || claims.contains(&dashed))
        };
        if let Some((name, _)) = self.fields.iter().find(foreign) {
            self.fault(format!("the field {name} reads like one of ours"));
        }
        let websocket = self.field("upgrade").is_some_and(|upgrade| upgrade == "websocket");
        let connection = self.field("connection");
        if connection.is_some() && !(websocket && connection.as_deref() == Some("Upgrade")) {
            self.fault(format!("Connection: {connection:?}"));
        }
        for name in ["keep-alive", "te", "trailer", "proxy-connection", "http2-settings"] {
            if name != "http2-settings" && count(self, name) > 0 {
                self.fault(format!("hop-by-hop field {name}"));
            }
        }
    }
}

/// Reads a chunked body: its length with framing, or what is wrong; `None` while it is not complete.
pub fn chunked(bytes: &[u8]) -> Option<Result<usize, String>> {
    let mut at = 0;
    loop {
        let line = bytes[at..].iter().position(|byte| *byte == b'\n')?;
        let size = &bytes[at..at + line];
        let text = String::from_utf8_lossy(size).into_owned();
        let plain = text.strip_suffix('\r').filter(|digits| {
            (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        let Some(size) = plain.and_then(|digits| usize::from_str_radix(digits, 16).ok()) else {
            return Some(Err(format!("chunk size {text:?}")));
        };
        at += line + 1;
        let end = bytes.get(at + size..at + size + 2)?;
        if end != b"\r\n" {
            return Some(Err(format!("a chunk or the body ends in {end:?}")));
        }
        at += size + 2;
        if size == 0 {
            return Some(Ok(at));
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[test]
fn only_the_canonical_form_has_no_fault() {
    let ours =
        "X-Cellgate-Account: 1\r\nX-Cellgate-Cell: c\r\nX-Cellgate-Generation: 1\r\nX-Request-Id: i\r\n";
    let faults = |line: &str, fields: &str| {
        let head = format!("{line}\r\nHost: a.test\r\n{ours}{fields}\r\n");
        Message::head(head.as_bytes()).unwrap().faults
    };
    for fields in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "X: y\r\nX: z\r\n"] {
        assert_eq!(faults("GET / HTTP/1.1", fields), [""; 0], "{fields:?}");
    }
    for line in
        ["GET  / HTTP/1.1", "GET / HTTP/1.0", "GET x HTTP/1.1", "TRACE / HTTP/1.1", "GET /#a HTTP/1.1"]
    {
        assert_ne!(faults(line, ""), [""; 0], "{line:?}");
    }
    for fields in [
        "Host: b\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: Chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "X-Cellgate-Account: 2\r\n",
        "X_Cellgate_Account: 2\r\n",
        "Connection: close\r\n",
        "X : y\r\n",
        " X: y\r\n",
        "X: y\nY: z\r\n",
        "X: y\rY: z\r\n",
        "X: \0\r\n",
        "TE: trailers\r\n",
    ] {
        assert_ne!(faults("GET / HTTP/1.1", fields), [""; 0], "{fields:?}");
    }
    assert_eq!(chunked(b"5\r\nhello\r\n0\r\n\r\nGET"), Some(Ok(15)));
    assert_eq!(chunked(b"5\r\nhel"), None);
    for body in
        ["5;x\r\nhello\r\n0\r\n\r\n", "5\nhello\r\n", "+5\r\nhello\r\n", "5\r\nhelloXX", "0\r\nX: y\r\n\r\n"]
    {
        assert!(chunked(body.as_bytes()).unwrap().is_err(), "{body:?}");
    }
}
