//! HTTP/2 requests that mean something else in HTTP/1.1: H2.CL, H2.TE, line ends and colons in names and
//! values, pseudo-header oddities, bodies that end in nothing.

use super::{HIDDEN_TAG, OTHER_ID, OTHER_PREFIX, OWN_ID, OWN_PREFIX, Payload, TAG, hidden};

type Field = (Vec<u8>, Vec<u8>);

pub fn all() -> Vec<Payload> {
    let mut all = Vec::new();
    bodies(&mut all);
    bytes(&mut all);
    injections(&mut all);
    pseudo(&mut all);
    connection_fields(&mut all);
    routing(&mut all);
    all
}

/// A request with a field of this name.
pub fn named(name: &str) -> Payload {
    request("found", &with(own("GET"), &[field(name, "5")]), &[], &[])
}

/// What the engine's library does not refuse: another authority in a block whose first frame ends within a field,
/// and a path with a fragment.
pub fn dropped() -> [Payload; 2] {
    let fields = [field(":authority", &format!("{OTHER_PREFIX}.cells.test")), field("accept", "*/*")];
    let block = block(&with(own("GET"), &fields));
    let (first, rest) = block.split_at(block.len() - 2);
    let bytes = [PREFACE, &frame(4, 0, 0, b""), &frame(1, 1, 1, first), &frame(9, 4, 1, rest)].concat();
    let path = format!("/api/v2/accounts/{OWN_ID}/{TAG}#/../../../accounts/{OTHER_ID}");
    let fragment = request("found", &head("GET", &path, "old.test"), &[], &[]);
    [Payload { class: "found", pieces: vec![bytes], http2: true }, fragment]
}

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn field(name: &str, value: &str) -> Field {
    (name.into(), value.into())
}

/// The four pseudo-header fields of a request of the payload's own account.
fn head(method: &str, path: &str, authority: &str) -> Vec<Field> {
    vec![
        field(":method", method),
        field(":scheme", "http"),
        field(":path", path),
        field(":authority", authority),
    ]
}

fn own(method: &str) -> Vec<Field> {
    head(method, &format!("/api/v2/accounts/{OWN_ID}/{TAG}"), "old.test")
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Literal fields without indexing and without Huffman coding (RFC 7541 section 6.2.2).
pub fn block(fields: &[Field]) -> Vec<u8> {
    let text = |bytes: &[u8]| {
        let mut coded = match u8::try_from(bytes.len()) {
            Ok(len) if len < 127 => vec![len],
            _ => {
                let mut coded = vec![127];
                let mut rest = bytes.len() - 127;
                while rest >= 128 {
                    coded.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                coded.push(u8::try_from(rest).unwrap());
                coded
            }
        };
        coded.extend_from_slice(bytes);
        coded
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// One request on stream 1: its fields, its body in frames, and trailers.
fn request(class: &'static str, fields: &[Field], body: &[&[u8]], trailers: &[Field]) -> Payload {
    let ends = body.is_empty() && trailers.is_empty();
    let mut bytes =
        [PREFACE, &frame(4, 0, 0, b""), &frame(1, 4 | u8::from(ends), 1, &block(fields))].concat();
    for (number, data) in body.iter().enumerate() {
        let ends = number + 1 == body.len() && trailers.is_empty();
        bytes.extend(frame(0, u8::from(ends), 1, data));
    }
    if !trailers.is_empty() {
        bytes.extend(frame(1, 5, 1, &block(trailers)));
    }
    Payload { class, pieces: vec![bytes], http2: true }
}

fn with(mut fields: Vec<Field>, more: &[Field]) -> Vec<Field> {
    fields.extend_from_slice(more);
    fields
}

/// H2.CL and H2.TE, empty DATA, trailers.
fn bodies(all: &mut Vec<Payload>) {
    for hidden in hidden() {
        let length = hidden.len();
        let chunked = [b"0\r\n\r\n".as_slice(), &hidden].concat();
        for method in ["POST", "GET", "HEAD", "PUT", "OPTIONS", "DELETE"] {
            for said in [
                "0".to_owned(),
                "1".into(),
                length.to_string(),
                (length - 1).to_string(),
                (length + 1).to_string(),
                "+5".into(),
                "-1".into(),
                format!("{length}, {length}"),
                format!("0{length}"),
                "9223372036854775808".into(),
                String::new(),
                "x".into(),
                format!("{length} "),
                format!(" {length}"),
                "18446744073709551616".into(),
            ] {
                for more in
                    [vec![], vec![field("content-length", "0")], vec![field("transfer-encoding", "chunked")]]
                {
                    let fields = with(with(own(method), &[field("content-length", &said)]), &more);
                    all.push(request("H2.CL", &fields, &[&hidden], &[]));
                    all.push(request("H2.CL", &fields, &[], &[]));
                }
            }
            for coding in [
                "chunked",
                "CHUNKED",
                " chunked",
                "chunked ",
                "identity",
                "gzip, chunked",
                "xchunked",
                "\x0bchunked",
                "",
            ] {
                for name in [
                    "transfer-encoding",
                    "Transfer-Encoding",
                    "transfer_encoding",
                    "transfer-encoding ",
                    "te",
                ] {
                    all.push(request("H2.TE", &with(own(method), &[field(name, coding)]), &[&chunked], &[]));
                }
            }
            all.push(request("empty DATA", &own(method), &[b""], &[]));
            all.push(request("empty DATA", &own(method), &[b"", b"", b""], &[]));
            all.push(request(
                "empty DATA",
                &with(own(method), &[field("content-length", "0")]),
                &[b"", b""],
                &[],
            ));
            all.push(request(
                "empty DATA",
                &with(own(method), &[field("content-length", "5")]),
                &[b"", b""],
                &[],
            ));
            all.push(request("H2.0", &own(method), &[&hidden], &[]));
            for trailer in [
                "x",
                "content-length",
                "transfer-encoding",
                "host",
                "x-cellgate-account",
                ":path",
                "X",
                "connection",
            ] {
                all.push(request("h2 trailers", &own(method), &[b"hello"], &[field(trailer, "5")]));
                all.push(request("h2 trailers", &own(method), &[], &[field(trailer, "5")]));
            }
        }
    }
}

/// Every byte in a name, a value, and each pseudo-header field.
fn bytes(all: &mut Vec<Payload>) {
    for byte in (0..=255u8).filter(|byte| !byte.is_ascii_lowercase() && !byte.is_ascii_digit()) {
        for (name, at) in [
            ("x-name", 0),
            ("x-name", 3),
            ("x-name", 6),
            ("host", 4),
            ("content-length", 14),
            ("transfer-encoding", 17),
        ] {
            let mut spoiled = name.as_bytes().to_vec();
            spoiled.insert(at, byte);
            all.push(request("byte in h2 name", &with(own("GET"), &[(spoiled, b"5".to_vec())]), &[], &[]));
        }
        for at in [0, 3, 5] {
            let mut value = b"value".to_vec();
            value.insert(at, byte);
            all.push(request(
                "byte in h2 value",
                &with(own("GET"), &[(b"x-name".to_vec(), value)]),
                &[],
                &[],
            ));
        }
        for number in 0..4 {
            for at in [0, 1] {
                let mut fields = own("GET");
                let value = &mut fields[number].1;
                let at = if at == 0 { 0 } else { value.len() };
                value.insert(at, byte);
                all.push(request("byte in h2 pseudo field", &fields, &[], &[]));
            }
            let mut fields = own("GET");
            let middle = fields[number].1.len() / 2;
            fields[number].1.insert(middle, byte);
            all.push(request("byte in h2 pseudo field", &fields, &[], &[]));
        }
    }
}

/// Lines and whole requests inside names and values.
fn injections(all: &mut Vec<Payload>) {
    let spoof = format!("x-cellgate-account: {OTHER_ID}");
    let other = format!("GET /{HIDDEN_TAG} HTTP/1.1\r\nHost: {OTHER_PREFIX}.cells.test\r\n\r\n");
    let injected = [
        format!("x\r\n{spoof}"),
        format!("x\n{spoof}"),
        format!("x\r{spoof}"),
        format!("x\r\n\r\n{other}"),
        format!("x\n\n{other}"),
        format!("x\0\r\n{spoof}"),
        "x\r\ntransfer-encoding: chunked".into(),
        "x\r\ncontent-length: 5".into(),
        "x\r\nhost: evil.test".into(),
        format!("x HTTP/1.1\r\n{spoof}\r\ny: z"),
        format!("x HTTP/1.1\r\n\r\n{other}"),
        format!("x: y\r\n{spoof}"),
        format!("\r\n{spoof}"),
        "x%0d%0ay: z".into(),
        "x\u{560d}\u{560a}y: z".into(),
    ];
    for text in &injected {
        for number in 0..4 {
            let mut fields = own("GET");
            fields[number].1.extend_from_slice(text.as_bytes());
            all.push(request("h2 injection", &fields, &[], &[]));
            let mut fields = own("GET");
            fields[number].1 = text.as_bytes().to_vec();
            all.push(request("h2 injection", &fields, &[], &[]));
        }
        for name in [
            "x-name",
            "cookie",
            "user-agent",
            "host",
            "x-account",
            "authorization",
            "content-type",
            "referer",
            "x-request-id",
        ] {
            all.push(request("h2 injection", &with(own("GET"), &[field(name, text)]), &[], &[]));
            all.push(request("h2 injection", &with(own("POST"), &[field(name, text)]), &[b"hello"], &[]));
        }
        all.push(request("h2 injection", &with(own("GET"), &[field(text, "y")]), &[], &[]));
        all.push(request(
            "h2 injection",
            &with(own("GET"), &[field(&format!("x-name: {text}"), "y")]),
            &[],
            &[],
        ));
        let mut fields = own("GET");
        fields[0].0 = format!(":method{text}").into_bytes();
        all.push(request("h2 injection", &fields, &[], &[]));
    }
}

/// Missing, doubled, unknown and misplaced pseudo-header fields.
fn pseudo(all: &mut Vec<Payload>) {
    let names = [
        ":method",
        ":scheme",
        ":path",
        ":authority",
        ":status",
        ":protocol",
        ":unknown",
        ":",
        ":Path",
        ":PATH",
        ": path",
    ];
    let values = [
        "GET",
        "http",
        "/api/v2/accounts/@BBB/@smgnnn",
        "@oth.cells.test",
        "200",
        "websocket",
        "",
        "CONNECT",
        "*",
    ];
    for number in 0..4 {
        let mut fields = own("GET");
        let taken = fields.remove(number);
        all.push(request("h2 pseudo missing", &fields, &[], &[]));
        fields.push(field("x", "y"));
        fields.push(taken);
        all.push(request("h2 pseudo behind", &fields, &[], &[]));
    }
    for name in names {
        for value in values {
            for at in [0, 4] {
                let mut fields = own("GET");
                fields.insert(at, field(name, value));
                all.push(request("h2 pseudo twice", &fields, &[], &[]));
            }
            all.push(request(
                "h2 pseudo twice",
                &with(own("GET"), &[field("x", "y"), field(name, value)]),
                &[],
                &[],
            ));
        }
    }
    for method in ["CONNECT", "TRACE", "PRI", "get", "G T", "", "GET / HTTP/1.1", "*", "GET\t", "OPTIONS"] {
        for scheme in ["http", "https", "HTTP", "ftp", "", "http://x/", "http /", "javascript"] {
            for path in
                ["/@tagnnn", "*", "", "api/v2/accounts/@AAA", "http://old.test/", "//old.test/", "/ x", "/\t"]
            {
                let mut fields = head(method, path, "@own.cells.test");
                fields[1].1 = scheme.into();
                all.push(request("h2 pseudo values", &fields, &[], &[]));
            }
        }
    }
}

/// Fields that mean something for one connection of HTTP/1.1 only, and those that only cellgate sets.
fn connection_fields(all: &mut Vec<Payload>) {
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "te",
        "trailer",
        "http2-settings",
        "expect",
        "host",
        "via",
        "x-cellgate-account",
        "x_cellgate_account",
        "x-forwarded-for",
        "x_forwarded_host",
        "x-request-id",
        "traceparent",
        "x-account",
    ] {
        for value in [
            "close",
            "x-cellgate-account",
            "host",
            "trailers",
            "websocket",
            "h2c",
            "100-continue",
            "@BBB",
            "old.test",
            "",
            "a, b",
        ] {
            for method in ["GET", "POST"] {
                let body: &[&[u8]] = if method == "POST" { &[b"hello"] } else { &[] };
                all.push(request(
                    "h2 connection fields",
                    &with(own(method), &[field(name, value)]),
                    body,
                    &[],
                ));
                let twice = [field(name, value), field(name, "other")];
                all.push(request("h2 connection fields", &with(own(method), &twice), body, &[]));
            }
        }
    }
}

/// Authority against Host, and the paths and ids of [`super::routing`].
fn routing(all: &mut Vec<Payload>) {
    let authorities = [
        "old.test",
        "OLD.test:80",
        "old.test.",
        &format!("{OWN_PREFIX}.cells.test"),
        &format!("{OTHER_PREFIX}.cells.test"),
        "u@old.test",
        "old.test@evil.test",
        "old.test/x",
        "old.test?x",
        "old.test#x",
        "",
        "evil.test",
        "old.test,evil.test",
        "old.test evil.test",
        "[::1]",
        "old.test:0",
        "old.test:",
    ];
    for authority in authorities {
        for host in [
            "",
            "old.test",
            "OLD.TEST.",
            &format!("{OTHER_PREFIX}.cells.test"),
            "evil.test",
            "old.test, evil.test",
        ] {
            for path in ["/api/v2/accounts/@AAA/@tagnnn", "/@tagnnn", "/api/v2/accounts/@BBB/@tagnnn"] {
                let fields = head("GET", path, authority);
                all.push(request("h2 authority", &with(fields.clone(), &[field("host", host)]), &[], &[]));
                let without: Vec<Field> =
                    fields.into_iter().filter(|(name, _)| name != b":authority").collect();
                all.push(request("h2 authority", &with(without, &[field("host", host)]), &[], &[]));
            }
        }
    }
    for payload in super::routing::all()
        .iter()
        .filter(|payload| matches!(payload.class, "path" | "account id" | "query"))
    {
        let bytes = payload.pieces.concat();
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
        let target =
            lines.next().and_then(|line| line.strip_prefix("GET ")?.strip_suffix(" HTTP/1.1")).unwrap_or("/");
        let (hosts, others): (Vec<_>, Vec<_>) =
            lines.filter_map(|line| line.split_once(": ")).partition(|(name, _)| *name == "Host");
        let others: Vec<Field> =
            others.iter().map(|(name, value)| field(&name.to_ascii_lowercase(), value)).collect();
        all.push(request("h2 path", &with(head("GET", target, hosts[0].1), &others), &[], &[]));
    }
}
