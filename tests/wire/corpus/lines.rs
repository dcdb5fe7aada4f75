//! Where a line ends and what a request line is: CR, LF and NUL in every place, blanks, versions, methods.

use super::{Payload, hidden, post};

pub fn all() -> Vec<Payload> {
    let mut all = Vec::new();
    line_ends(&mut all);
    beginnings(&mut all);
    request_lines(&mut all);
    methods(&mut all);
    all
}

/// Each line end of a request replaced by another.
fn line_ends(all: &mut Vec<Payload>) {
    const ENDS: [&str; 16] = [
        "\n", "\r", "\r\r\n", "\n\r", "\r\n\n", "\r\n\r", "\0\r\n", "\x0b\r\n", "\x0c\r\n", " \r\n",
        "\t\r\n", "\r \n", "\u{2028}", "\u{85}", "\\r\\n", "",
    ];
    for hidden in hidden() {
        let fields = b"X: y\r\nContent-Length: 5\r\nY: z\r\n";
        let whole = post(fields, &[b"hello".as_slice(), &hidden].concat());
        let places: Vec<usize> = whole
            .windows(2)
            .enumerate()
            .filter_map(|(at, two)| (two == b"\r\n").then_some(at))
            .take(6)
            .collect();
        for (number, place) in places.iter().enumerate() {
            for end in ENDS {
                let mut bytes = whole.clone();
                bytes.splice(*place..place + 2, end.bytes());
                all.push(Payload::new("line end", bytes.clone()));
                // And the next one too.
                if let Some(next) = places.get(number + 1) {
                    let next = next + end.len() - 2;
                    bytes.splice(next..next + 2, end.bytes());
                    all.push(Payload::new("line ends", bytes));
                }
            }
        }
    }
}

/// What stands before a request line.
fn beginnings(all: &mut Vec<Payload>) {
    let request = post(b"Content-Length: 5\r\n", b"hello");
    for before in [
        "\r\n",
        "\r\n\r\n",
        "\r\n\r\n\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        "\0",
        " \r\n",
        "\u{feff}",
        "0\r\n\r\n",
        "x\r\n",
        "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
        "\r\n\r\n\0\r\nQUIT\n",
        "\x16\x03\x01\x00\x05hello",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "SSH-2.0-x\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "GET /@smgnnn\r\n",
        "GET /@smgnnn\r\n\r\n",
    ] {
        for twice in [false, true] {
            let mut bytes = [before.as_bytes(), &request].concat();
            if twice {
                bytes.extend_from_slice(before.as_bytes());
                bytes.extend_from_slice(&request);
            }
            all.push(Payload::new("beginning", bytes));
        }
    }
}

/// Separators, targets and versions of a request line.
fn request_lines(all: &mut Vec<Payload>) {
    const SEPARATORS: [&str; 13] =
        [" ", "  ", "\t", " \t", "\x0b", "\x0c", "\r", "\0", "\u{a0}", "\u{2003}", "%20", "+", ""];
    const VERSIONS: [&str; 20] = [
        "HTTP/1.1",
        "HTTP/1.0",
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/2.0",
        "HTTP/2",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/1.1 ",
        "HTTP/1.1 HTTP/1.1",
        "HTTP/1,1",
        "HTTP/11",
        "HTTP/ 1.1",
        "http/1.1",
        "HTTPS/1.1",
        "ICY/1.1",
        "HTTP/1.1\0",
        "",
    ];
    let path = "/api/v2/accounts/@AAA/@tagnnn";
    let mut push = |line: String, ending: &[u8]| {
        let head = format!("{line}\r\nHost: old.test\r\nContent-Length: 0\r\n\r\n");
        all.push(Payload::new("request line", [head.as_bytes(), ending].concat()));
    };
    for ending in [b"".as_slice(), &hidden()[0]] {
        for before in SEPARATORS {
            for after in SEPARATORS {
                push(format!("GET{before}{path}{after}HTTP/1.1"), ending);
            }
            push(format!("{before}GET {path} HTTP/1.1"), ending);
            push(format!("GET {path} HTTP/1.1{before}"), ending);
            push(format!("GET {path}{before}/api/v2/accounts/@BBB/x HTTP/1.1"), ending);
            push(format!("GET {path}?x{before}HTTP/1.1 HTTP/1.1"), ending);
            push(format!("GET {path} HTTP/1.1{before}Host: @oth.cells.test"), ending);
        }
        for version in VERSIONS {
            push(format!("GET {path} {version}"), ending);
            push(format!("HEAD {path} {version}"), ending);
        }
    }
    for byte in (0..=255u8).filter(|byte| !byte.is_ascii_alphanumeric()) {
        for (before, after) in
            [("GET /", "api/v2/accounts/@AAA/@tagnnn"), ("GET /api/v2/accounts/@AAA", "/@tagnnn")]
        {
            let ending = b" HTTP/1.1\r\nHost: old.test\r\n\r\n".as_slice();
            let bytes = [before.as_bytes(), &[byte], after.as_bytes(), ending].concat();
            all.push(Payload::new("byte in target", bytes));
        }
        let head = b"T /api/v2/accounts/@AAA/@tagnnn HTTP/1.1\r\nHost: old.test\r\n\r\n".as_slice();
        let bytes = [b"GE".as_slice(), &[byte], head];
        all.push(Payload::new("byte in method", bytes.concat()));
    }
}

fn methods(all: &mut Vec<Payload>) {
    for method in [
        "TRACE",
        "trace",
        "CONNECT",
        "connect",
        "TRACK",
        "PRI",
        "GET\x0b",
        "get",
        "Get",
        "G",
        "*",
        "!#$%&'*+-.^_`|~",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "GET,POST",
        "GET/x",
        "\"GET\"",
    ] {
        for target in ["/api/v2/accounts/@AAA/@tagnnn", "*", "old.test:443", "@oth.cells.test:80", "/"] {
            for host in ["old.test", "@own.cells.test", "@oth.cells.test"] {
                for hidden in hidden() {
                    let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
                    all.push(Payload::new("method", [head.as_bytes(), &hidden].concat()));
                }
            }
        }
    }
}
