//! Field lines: bytes that do not belong, fields that only cellgate may set, Connection, Expect, Upgrade,
//! sizes and counts.

use super::framing::insertions;
use super::{Payload, hidden, post, request};

pub fn all() -> Vec<Payload> {
    let mut all = Vec::new();
    strange_bytes(&mut all);
    spoofed(&mut all);
    connection(&mut all);
    expect(&mut all);
    upgrade(&mut all);
    sizes(&mut all);
    all
}

/// Every byte in and around names and values, with something hidden behind line ends.
fn strange_bytes(all: &mut Vec<Payload>) {
    for line in insertions(b"X-Custom: value", &[0, 4, 8, 9, 10, 12, 15]) {
        all.push(Payload::new("byte in field", post(&[&line, b"\r\n".as_slice()].concat(), b"")));
    }
    for line in insertions(b"X-Cellgate-Account: @BBB", &[0, 1, 10, 18, 19, 20, 24]) {
        all.push(Payload::new("byte in our field", post(&[&line, b"\r\n".as_slice()].concat(), b"")));
    }
    for injected in [
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        "\n\n",
        "\0",
        "%0d%0a",
        "\\r\\n",
        "\u{560d}\u{560a}",
        "\u{10d}\u{10a}",
    ] {
        for field in
            ["X-Cellgate-Account: @BBB", "Content-Length: 5", "Transfer-Encoding: chunked", "Host: evil.test"]
        {
            for hidden in hidden() {
                let line = format!("X: y{injected}{field}\r\n");
                all.push(Payload::new("injected line", post(line.as_bytes(), &hidden)));
                let line = format!("X{injected}{field}\r\n");
                all.push(Payload::new("injected line", post(line.as_bytes(), &hidden)));
            }
        }
    }
    for line in [
        "X: a\r\n b",
        "X: a\r\n\tb",
        "X:\r\n b",
        "X: a\r\n  \r\n b",
        "no colon",
        ":",
        ": x",
        "X:",
        "X: ",
        "X::y",
        "X: y: z",
        "\u{fc}: x",
        "X: \u{fc}",
        "X: \u{1f600}",
        "(X): y",
        "X y: z",
        "X, Y: z",
        "\"X\": y",
        "X\u{130}: y",
        "{X}: y",
        "X@Y: z",
    ] {
        all.push(Payload::new("field line", post(format!("{line}\r\n").as_bytes(), b"")));
        all.push(Payload::new(
            "field line",
            post(format!("{line}\r\nContent-Length: 5\r\n").as_bytes(), b"hello"),
        ));
    }
}

/// What a client must not be able to say, in many spellings.
fn spoofed(all: &mut Vec<Payload>) {
    let names = [
        "X-Cellgate-Account",
        "X-Cellgate-Cell",
        "X-Cellgate-Generation",
        "X-Cellgate-Verdict",
        "X-Cellgate-Anything",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "X-Real-Ip",
        "Forwarded",
        "X-Original-Url",
        "X-Original-Host",
        "X-Rewrite-Url",
        "X-Host",
        "X-Http-Host-Override",
        "X-Http-Method-Override",
        "X-Request-Id",
        "Traceparent",
        "Via",
        "X-Account",
        "Proxy-Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Proxy-Authorization",
        "Http2-Settings",
    ];
    let values = [
        "@BBB",
        "@AAA",
        "acc1.cells.test",
        "/api/v2/accounts/@BBB/x",
        "-",
        "",
        "127.0.0.1",
        "for=127.0.0.1;host=x",
    ];
    for name in names {
        let spellings = [
            name.to_owned(),
            name.to_ascii_lowercase(),
            name.to_ascii_uppercase(),
            name.replace('-', "_"),
            name.replacen('-', "_", 1),
            format!("HTTP_{}", name.replace('-', "_")),
        ];
        for spelled in spellings {
            for value in values {
                let line = format!("{spelled}: {value}\r\n");
                all.push(Payload::new("spoofed field", post(line.as_bytes(), b"")));
            }
            let twice = format!("{spelled}: @BBB\r\n{name}: @AAA\r\nConnection: {spelled}\r\n");
            all.push(Payload::new("spoofed field twice", post(twice.as_bytes(), b"")));
        }
    }
}

/// Fields that a hop must take away, and those that it must not be talked into taking away.
fn connection(all: &mut Vec<Payload>) {
    let names = [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Cookie",
        "Authorization",
        "X-Cellgate-Account",
        "x_cellgate_account",
        "X-Cellgate-Cell",
        "X-Forwarded-For",
        "X-Request-Id",
        "Via",
        "X-Account",
        "TE",
        "Upgrade",
        "Connection",
        "Expect",
        "close",
        "keep-alive",
        "Trailer",
        "X-Custom",
        "Content-Type",
        "Date",
        "",
        ",",
        ";",
        "\"Host\"",
        "*",
    ];
    for first in names {
        for second in ["", "close", "keep-alive", "Upgrade", "Host"] {
            for ows in [", ", ",", " ,\t", ",,", ";", "\r\nConnection: "] {
                let line =
                    format!("Connection: {first}{ows}{second}\r\nContent-Length: 5\r\nX-Custom: y\r\n");
                all.push(Payload::new("Connection", post(line.as_bytes(), b"hello")));
            }
        }
    }
}

fn expect(all: &mut Vec<Payload>) {
    let values = [
        "100-continue",
        "100-Continue",
        " 100-continue",
        "100-continue ",
        "100-continue, 100-continue",
        "100-continue;x",
        "100",
        "x",
        "",
        "100-continue\r\nExpect: 100-continue",
        "100-continue\r\nExpect: x",
        "100-continue\n x",
        "\"100-continue\"",
    ];
    for value in values {
        for method in ["POST", "GET", "HEAD", "OPTIONS"] {
            for hidden in hidden() {
                let length = hidden.len();
                for framing in [
                    String::new(),
                    "Content-Length: 0\r\n".into(),
                    format!("Content-Length: {length}\r\n"),
                    "Transfer-Encoding: chunked\r\n".into(),
                ] {
                    let fields = format!("Expect: {value}\r\n{framing}");
                    all.push(Payload::new("Expect", request(method, fields.as_bytes(), &hidden)));
                }
            }
        }
    }
}

/// Upgrades that are none, and bytes that come before an upgrade is agreed on.
fn upgrade(all: &mut Vec<Payload>) {
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    for offer in [
        "websocket",
        "WebSocket",
        "websocket, h2c",
        "h2c, websocket",
        "h2c",
        "h2",
        "TLS/1.0",
        "HTTP/2.0",
        "websocket/13",
        "websocket\r\nUpgrade: h2c",
        " websocket",
        "web socket",
        "",
        "connect-udp",
    ] {
        for connection in [
            "Upgrade",
            "upgrade, keep-alive",
            "Upgrade, HTTP2-Settings",
            "keep-alive",
            "close",
            "Upgrade, Sec-WebSocket-Key",
        ] {
            for method in ["GET", "POST", "HEAD"] {
                for version in ["HTTP/1.1", "HTTP/1.0"] {
                    let fields = format!(
                        "Connection: {connection}\r\nUpgrade: {offer}\r\nHTTP2-Settings: AAMAAABk\r\n{KEY}"
                    );
                    for framing in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
                        let fields = format!("{fields}{framing}");
                        let bytes =
                            request(method, fields.as_bytes(), &hidden()[usize::from(framing.is_empty())]);
                        let text = String::from_utf8_lossy(&bytes).replacen("HTTP/1.1", version, 1);
                        all.push(Payload::new("Upgrade", text));
                    }
                }
            }
        }
    }
}

/// At, below and above every limit.
fn sizes(all: &mut Vec<Payload>) {
    for count in [90, 97, 98, 99, 100, 101, 128, 255, 256, 257, 400] {
        all.push(Payload::new("field count", post("X: y\r\n".repeat(count).as_bytes(), b"")));
        all.push(Payload::new("field count", post("Cookie: a=b\r\n".repeat(count).as_bytes(), b"")));
    }
    for size in [1_000, 8_000, 16_000, 31_000, 32_500, 32_768, 33_000, 40_000, 70_000] {
        all.push(Payload::new("field size", post(format!("X: {}\r\n", "a".repeat(size)).as_bytes(), b"")));
        all.push(Payload::new("field size", post(format!("{}: y\r\n", "a".repeat(size)).as_bytes(), b"")));
        let target = format!(
            "GET /api/v2/accounts/@AAA/@tagnnn?{} HTTP/1.1\r\nHost: old.test\r\n\r\n",
            "a".repeat(size)
        );
        all.push(Payload::new("target size", target));
    }
}
