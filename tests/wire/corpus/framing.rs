//! Where a body ends: Content-Length and Transfer-Encoding in every doubtful spelling and combination
//! (CL.TE, TE.CL, TE.TE, CL.0, CL.CL), and chunks that some readers forgive.

use super::{Payload, hidden, post, request};

pub fn all() -> Vec<Payload> {
    let mut all = Vec::new();
    length_and_coding(&mut all);
    lengths(&mut all);
    unread_bodies(&mut all);
    chunk_lines(&mut all);
    trailers(&mut all);
    old_versions(&mut all);
    all
}

/// `Transfer-Encoding: chunked` as some see it and others do not.
fn codings() -> Vec<Vec<u8>> {
    let texts = [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding:chunked",
        "transfer-encoding: CHUNKED",
        "Transfer-Encoding: \tchunked \t",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\n\tTransfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding:\n chunked",
        "Transfer-Encoding:\r\n\tchunked",
        "Transfer-Encoding: chunked\r",
        "Transfer-Encoding: chunked\r\n\r",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunk",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chunked; ext",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: [chunked]",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-encoding: x",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Transfer_Encoding: chunked",
        "Transfer Encoding: chunked",
        "Transfer-Encoding; chunked",
        "Transfer-Encoding= chunked",
        "TE: chunked",
        "Content-Encoding: chunked",
        "X-Transfer-Encoding: chunked",
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
        "Connection: close, transfer-encoding\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: ch\u{fc}nked",
        "Transfer-Encoding: chun\u{212a}ed",
        "Foo: bar\r\n\rTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\u{85}",
        ": x\r\nTransfer-Encoding: chunked",
    ];
    let mut all: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    all.extend(insertions(b"Transfer-Encoding: chunked", &[0, 8, 17, 18, 19, 22, 26]));
    all
}

/// Every byte that is no letter, at these places of a line.
pub fn insertions(line: &[u8], places: &[usize]) -> Vec<Vec<u8>> {
    let bytes = (0..=255u8).filter(|byte| !byte.is_ascii_alphanumeric());
    let insert = |byte: u8| {
        places.iter().map(move |place| {
            let mut line = line.to_vec();
            line.insert(*place, byte);
            line
        })
    };
    bytes.flat_map(insert).collect()
}

fn lines(lines: &[&[u8]]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line, b"\r\n".as_slice()].concat()).collect()
}

/// Both, in either order, read by the one or the other.
fn length_and_coding(all: &mut Vec<Payload>) {
    for coding in codings() {
        for (number, hidden) in hidden().iter().enumerate() {
            let behind = [b"0\r\n\r\n".as_slice(), hidden].concat();
            let whole = format!("Content-Length: {}", behind.len());
            all.push(Payload::new("CL.TE", post(&lines(&[whole.as_bytes(), &coding]), &behind)));
            let chunk = format!("{:x}\r\n", hidden.len());
            let inside = [chunk.as_bytes(), hidden, b"\r\n0\r\n\r\n"].concat();
            let short = format!("Content-Length: {}", chunk.len());
            all.push(Payload::new("TE.CL", post(&lines(&[&coding, short.as_bytes()]), &inside)));
            if number == 0 {
                all.push(Payload::new("TE.TE", post(&lines(&[&coding]), &behind)));
                let zero = lines(&[b"Content-Length: 0", &coding]);
                all.push(Payload::new("TE.0", post(&zero, &inside)));
                all.push(Payload::new("TE of GET", request("GET", &lines(&[&coding]), &inside)));
            }
        }
    }
}

/// Content-Length in every doubtful spelling; `N` is the true length.
fn lengths(all: &mut Vec<Payload>) {
    const TEXTS: [&str; 58] = [
        "Content-Length: N",
        "Content-Length:N",
        "Content-Length: \tN\t",
        "Content-Length : N",
        "Content-Length\t: N",
        " Content-Length: N",
        "Content-Length: +N",
        "Content-Length: -N",
        "Content-Length: -0",
        "Content-Length: 0N",
        "Content-Length: 000000000000000000N",
        "Content-Length: 0xN",
        "Content-Length: N.0",
        "Content-Length: Ne0",
        "Content-Length: N N",
        "Content-Length: N 0",
        "Content-Length: N, N",
        "Content-Length: N,N",
        "Content-Length: N, 0",
        "Content-Length: 0, N",
        "Content-Length: ,N",
        "Content-Length: N,",
        "Content-Length: N;",
        "Content-Length: N;x=y",
        "Content-Length: \"N\"",
        "Content-Length: N\r\n\t0",
        "Content-Length:\r\n N",
        "Content-Length: N\0",
        "Content-Length: \0N",
        "Content-Length: N\x0b",
        "Content-Length: \x0bN",
        "Content-Length: N\u{a0}",
        "Content-Length:",
        "Content-Length: ",
        "Content-Length: abc",
        "Content-Length: \u{ff15}",
        "Content-Length: \u{665}",
        "Content-Length: N\r\nContent-Length: N",
        "Content-Length: N\r\nContent-Length: 0",
        "Content-Length: 0\r\nContent-Length: N",
        "Content-Length: N\r\ncontent-length: 5",
        "Content-Length: N\nContent-Length: 0",
        "Content-Length: N\rContent-Length: 0",
        "Content_Length: N",
        "Content-Length: 0\r\nContent_Length: N",
        "Content Length: N",
        "X-Content-Length: N",
        "Content-Length: 2147483648",
        "Content-Length: 4294967296",
        "Content-Length: 9007199254740992",
        "Content-Length: 9007199254740993",
        "Content-Length: 9223372036854775807",
        "Content-Length: 9223372036854775808",
        "Content-Length: 18446744073709551616",
        "Content-Length: 18446744073709551621",
        "Content-Length: 99999999999999999999999999999999999999",
        "Connection: Content-Length\r\nContent-Length: N",
        "Connection: keep-alive, content-length\r\nContent-Length: N",
    ];
    for hidden in hidden() {
        let length = hidden.len().to_string();
        let spelled = TEXTS.iter().map(|text| text.replace('N', &length).into_bytes());
        let line = format!("Content-Length: {length}");
        let inserted = insertions(line.as_bytes(), &[0, 7, 14, 15, 16, 17, line.len()]);
        for line in spelled.chain(inserted) {
            all.push(Payload::new("CL spelling", post(&lines(&[&line]), &hidden)));
        }
    }
}

/// Bodies of methods that usually have none, and bodies that nobody announces.
fn unread_bodies(all: &mut Vec<Payload>) {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "PATCH", "post", "PROPFIND", "SEARCH", "LOCK"] {
        for hidden in hidden() {
            for (over, under) in [(0, 0), (0, 1), (1, 0), (0, hidden.len()), (100, 0)] {
                let length = format!("Content-Length: {}", hidden.len() + over - under);
                for extra in ["", "Connection: close", "Connection: keep-alive", "Expect: 100-continue"] {
                    let mut fields = lines(&[length.as_bytes()]);
                    if !extra.is_empty() {
                        fields.extend(lines(&[extra.as_bytes()]));
                    }
                    all.push(Payload::new("CL.0", request(method, &fields, &hidden)));
                }
            }
            all.push(Payload::new("0.CL", request(method, b"", &hidden)));
        }
    }
}

/// Chunk sizes, their line ends, the ends of chunks and the last chunk.
fn chunk_lines(all: &mut Vec<Payload>) {
    const SIZES: [&str; 38] = [
        "5",
        "05",
        "0005",
        "00000000000000000000000000000005",
        "0x5",
        "0X5",
        "+5",
        "-5",
        " 5",
        "5 ",
        "\t5",
        "5\t",
        "5;",
        "5;x",
        "5;x=y",
        "5; x=\"a;b\"",
        "5;x=\"a\r\nb\"",
        "5;\n",
        "5;\rx",
        "5;\0",
        "5 ;x",
        "5,",
        "5.",
        "5_",
        "5g",
        "g",
        "",
        "5\0",
        "5\x0b",
        "5\x0c",
        "FFFFFFFFFFFFFFFB",
        "10000000000000005",
        "100000005",
        "\u{ff15}",
        "5\u{85}",
        "\"5\"",
        "5x",
        "5=5",
    ];
    const ENDS: [&str; 9] = ["\r\n", "\n", "\r", "\n\r", "\r\r\n", "", " \r\n", "\r\n\r\n", "XX"];
    let hidden = &hidden()[0];
    let te = b"Transfer-Encoding: chunked\r\n";
    let mut push = |body: &[&[u8]]| all.push(Payload::new("chunk lines", post(te, &body.concat())));
    for size in SIZES {
        for end in ENDS {
            push(&[size.as_bytes(), end.as_bytes(), b"hello\r\n0\r\n\r\n", hidden]);
        }
    }
    for end in ENDS {
        push(&[b"5\r\nhello", end.as_bytes(), b"0\r\n\r\n", hidden]);
        push(&[b"5\r\nhello\r\n0", end.as_bytes(), b"\r\n", hidden]);
        push(&[b"5\r\nhello\r\n0\r\n", end.as_bytes(), hidden]);
        push(&[b"5\r\nhello\r\n0\r\n\r\n", end.as_bytes(), hidden]);
    }
    for last in SIZES.map(|size| size.replace('5', "0")) {
        push(&[b"5\r\nhello\r\n", last.as_bytes(), b"\r\n\r\n", hidden]);
        push(&[last.as_bytes(), b"\r\n\r\n", hidden]);
    }
    for lie in ["4", "6", "2", "0", "ff"] {
        push(&[lie.as_bytes(), b"\r\nhello\r\n0\r\n\r\n", hidden]);
    }
}

/// Fields behind the last chunk.
fn trailers(all: &mut Vec<Payload>) {
    for (te, announced) in [("", ""), ("TE: trailers\r\nConnection: TE\r\n", "Trailer: X\r\n")] {
        for trailer in [
            "X: y\r\n",
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Host: evil.test\r\n",
            "X-Cellgate-Account: @BBB\r\n",
            "Authorization: Token x\r\n",
            " folded\r\n",
            "no colon\r\n",
            "X : y\r\n",
            "X: y\n",
            "X: y\r",
            "X: \0\r\n",
            "X: y\r\n\n",
            ": y\r\n",
            "X: y\r\n X: z\r\n",
            "X:\nGET /@smgnnn HTTP/1.1\r\n",
            "GET /@smgnnn HTTP/1.1\r\nHost: @oth.cells.test\r\n",
        ] {
            for hidden in hidden() {
                let fields = format!("Transfer-Encoding: chunked\r\n{te}{announced}");
                let body = [b"5\r\nhello\r\n0\r\n".as_slice(), trailer.as_bytes(), b"\r\n", &hidden].concat();
                all.push(Payload::new("trailers", post(fields.as_bytes(), &body)));
            }
        }
    }
}

/// HTTP/1.0 and what it does not know.
fn old_versions(all: &mut Vec<Payload>) {
    for version in ["HTTP/1.0", "HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/1.10"] {
        for framing in [
            "",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\n",
            "Content-Length: 0\r\n",
        ] {
            for connection in ["", "Connection: keep-alive\r\n", "Connection: close\r\n", "Keep-Alive: 5\r\n"]
            {
                for hidden in hidden() {
                    let body = [b"0\r\n\r\n".as_slice(), &hidden].concat();
                    let whole = post(format!("{framing}{connection}").as_bytes(), &body);
                    let text = String::from_utf8_lossy(&whole).replacen("HTTP/1.1", version, 1);
                    all.push(Payload::new("old version", text));
                }
            }
        }
    }
}
