//! Several requests on a connection: pipelines, requests hidden behind answers without a body (tunnelling),
//! bodies that a cell does not wait for, and everything in pieces.

use super::{Payload, hidden, post, request};

pub fn all() -> Vec<Payload> {
    let mut all = Vec::new();
    pipelines(&mut all);
    tunnels(&mut all);
    early(&mut all);
    pieces(&mut all);
    all
}

/// Two to four ordinary requests, some with bodies, in one write: each is the account's own business.
fn pipelines(all: &mut Vec<Payload>) {
    let [other, upload, open] = hidden();
    let bodies: [(&[u8], &[u8]); 5] = [
        (b"", b""),
        (b"Content-Length: 5\r\n", b"hello"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"Connection: close\r\n", b""),
        (b"Content-Length: 5\r\nConnection: close\r\n", b"hello"),
    ];
    for method in ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        for (fields, body) in bodies {
            let first = request(method, fields, body);
            for (second, second_body) in bodies {
                let second = request("POST", second, second_body);
                for last in
                    [&[][..], &other, &upload, &open, b"\r\n", b"0\r\n\r\n", b"GARBAGE\r\n\r\n", b"\0"]
                {
                    all.push(Payload::new("pipeline", [&first, &second, last].concat()));
                }
                all.push(Payload::new(
                    "pipeline of one",
                    [&first, b"\r\n".as_slice(), &second, &first].concat(),
                ));
            }
        }
    }
}

/// A body that is a request, where the answer to the outer one has none or comes from cellgate itself.
fn tunnels(all: &mut Vec<Payload>) {
    for method in ["HEAD", "GET", "OPTIONS", "DELETE"] {
        for target in [
            "/api/v2/accounts/@AAA/@tagnnn",
            "/api/v2/accounts/9999/@tagnnn",
            "/api/v2/accounts/@AAA/@tagnnn/early",
            "/@tagnnn",
            "/api/v2/accounts/@AAA/@tagnnn?account_id=@BBB",
        ] {
            for host in ["old.test", "@own.cells.test", "nobody.cells.test", "evil.test"] {
                for hidden in hidden() {
                    for length in [0, 1, hidden.len() / 2, hidden.len(), hidden.len() + 50] {
                        let head = format!(
                            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n"
                        );
                        all.push(Payload::new("tunnel", [head.as_bytes(), &hidden].concat()));
                    }
                    let head = format!(
                        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n"
                    );
                    let chunk = format!("{:x}\r\n", hidden.len());
                    let whole =
                        [head.as_bytes(), chunk.as_bytes(), &hidden, b"\r\n0\r\n\r\n", &hidden].concat();
                    all.push(Payload::new("tunnel", whole));
                }
            }
        }
    }
}

/// The cell has answered before the body is there: what comes later must not begin its connection's next
/// request.
fn early(all: &mut Vec<Payload>) {
    for hidden in hidden() {
        for framing in ["Content-Length: N", "Transfer-Encoding: chunked"] {
            for extra in
                ["", "Expect: 100-continue\r\n", "Connection: close\r\n", "Connection: keep-alive\r\n"]
            {
                for cut in [0, 1, 20, hidden.len()] {
                    let fields = format!("{}\r\n{extra}", framing.replace('N', &hidden.len().to_string()));
                    let head = post(fields.as_bytes(), b"");
                    let text = String::from_utf8_lossy(&head).replacen("@tagnnn", "@tagnnn/early", 1);
                    let head = text.into_bytes();
                    let (now, later) = hidden.split_at(cut);
                    let pieces = vec![[&head, now].concat(), later.to_vec()];
                    all.push(Payload { class: "early answer", pieces, http2: false });
                    let again = vec![[&head, now].concat(), [later, &head].concat(), hidden.clone()];
                    all.push(Payload { class: "early answer", pieces: again, http2: false });
                }
            }
        }
    }
}

/// What is ambiguous whole, cut in two at every place that matters.
fn pieces(all: &mut Vec<Payload>) {
    let [other, ..] = hidden();
    let whole = [post(b"Content-Length: 5\r\nX: y\r\n", b"hello"), other].concat();
    let cuts = whole.iter().enumerate().filter(|(_, byte)| matches!(byte, b'\r' | b'\n' | b':' | b' '));
    for (at, _) in cuts {
        let (first, second) = whole.split_at(at);
        all.push(Payload { class: "in pieces", pieces: vec![first.to_vec(), second.to_vec()], http2: false });
        let spoiled = [first, b"\n"].concat();
        all.push(Payload { class: "in pieces", pieces: vec![spoiled, second.to_vec()], http2: false });
    }
}
