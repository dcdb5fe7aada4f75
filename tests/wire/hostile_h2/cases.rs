//! What a hostile cell does on an HTTP/2 connection, what the client that asked may hear of it, and whether the
//! connection may go on. Rules are those of RFC 9113 where no other is named.

use super::POISON;
use crate::h2_raw::*;

/// What the client that asked may hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// 502 of ours.
    Refused,
    /// 504 of ours.
    TimedOut,
    /// `hello`, whole.
    Answered,
    /// An answer without a body, whole.
    Bodiless,
    /// The head and some of `hello`, seen not to be whole; or less, where the fault was seen before the head had gone:
    /// 502, or over HTTP/2 a stream that is reset.
    BrokenOff,
    /// The answer to its second attempt, whole.
    Again,
    /// `hello`, whole or broken off.
    Either,
}

use Expect::{Again, Answered, Bodiless, BrokenOff, Either, Refused, TimedOut};

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Streams beside and behind the case are served on it.
    Lives,
    /// The next request takes another.
    Ends,
    /// The same, and this one stays open.
    Full,
    /// The one or the other: what is wrong may come when the stream has been let go.
    LivesOrEnds,
    /// No connection to this cell can be used.
    Useless,
}

use Connection::{Ends, Full, Lives, LivesOrEnds, Useless};

/// How the cell begins each connection.
pub enum Begin {
    Properly,
    /// With these SETTINGS.
    Settings(Vec<(u16, u32)>),
    /// With these frames.
    Frames(Vec<u8>),
    /// With these bytes, and nothing else.
    Bytes(Vec<u8>),
    WithoutAcknowledging,
}

/// Streams of one play.
#[derive(Clone, Copy)]
pub struct Ids {
    /// That of the request.
    pub own: u32,
    /// Where another request waits.
    pub neighbour: u32,
    /// That nobody has opened.
    pub unopened: u32,
}

pub enum Piece {
    Send(Vec<u8>),
    /// All before has been read.
    Barrier,
    Close,
}

use Piece::{Barrier, Close, Send};

pub struct Case {
    pub name: String,
    pub method: &'static str,
    /// A part of the request's body that is sent after the play.
    pub rest: &'static str,
    pub begin: Begin,
    pub play: Box<dyn Fn(Ids) -> Vec<Piece> + std::marker::Send + Sync>,
    /// The second attempt meets the same.
    pub again: bool,
    pub expect: Expect,
    pub connection: Connection,
}

type Play = Box<dyn Fn(Ids) -> Vec<Piece> + std::marker::Send + Sync>;

fn case<P>(name: impl Into<String>, expect: Expect, connection: Connection, play: P) -> Case
where
    P: Fn(Ids) -> Vec<Piece> + std::marker::Send + Sync + 'static,
{
    Case {
        name: name.into(),
        method: "POST",
        rest: "",
        begin: Begin::Properly,
        play: Box::new(play) as Play,
        again: false,
        expect,
        connection,
    }
}

pub fn all() -> Vec<Case> {
    let mut all = lengths();
    all.extend(early_and_late());
    all.extend(statuses());
    all.extend(fields());
    all.extend(blocks());
    all.extend(trailers());
    all.extend(streams());
    all.extend(resets());
    all.extend(goaways());
    all.extend(windows());
    all.extend(settings_in_between());
    all.extend(beginnings());
    all
}

/// While the client still sends its request.
fn uploading(case: Case) -> Case {
    Case { rest: " and more", ..case }
}

/// A head that says 200 and these fields.
fn head(flags: u8, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    headers(flags, stream, &block(&[&[(":status", "200")], fields].concat()))
}

fn hello(stream: u32) -> Vec<u8> {
    [head(END_HEADERS, stream, &[("content-length", "5")]), data(END_STREAM, stream, b"hello")].concat()
}

fn poison(flags: u8, stream: u32) -> Vec<u8> {
    data(flags, stream, POISON.as_bytes())
}

const DONE: u8 = END_HEADERS | END_STREAM;

/// Lengths that disagree with DATA (section 8.1.1), and padding (section 6.1).
fn lengths() -> Vec<Case> {
    let length = |said: &'static str, frames: fn(u32) -> Vec<Piece>| {
        move |ids: Ids| {
            let mut pieces = vec![Send(head(END_HEADERS, ids.own, &[("content-length", said)]))];
            pieces.extend(frames(ids.own));
            pieces
        }
    };
    let two = |first: &'static str, second: &'static str| {
        move |ids: Ids| {
            let fields = [("content-length", first), ("content-length", second)];
            vec![Send([head(END_HEADERS, ids.own, &fields), data(END_STREAM, ids.own, b"hello")].concat())]
        }
    };
    let mut all = vec![
        case(
            "more DATA than its length",
            Either,
            Lives,
            length("5", |s| vec![Send(data(0, s, b"hello")), Barrier, Send(poison(END_STREAM, s))]),
        ),
        case(
            "more in one frame",
            BrokenOff,
            Lives,
            length("5", |s| vec![Send(data(END_STREAM, s, format!("hello{POISON}").as_bytes()))]),
        ),
        case(
            "more, and no end",
            Either,
            Lives,
            length("5", |s| vec![Send([data(0, s, b"hello"), poison(0, s)].concat())]),
        ),
        case(
            "less DATA than its length",
            BrokenOff,
            Lives,
            length("100", |s| vec![Send(data(END_STREAM, s, b"hello"))]),
        ),
        case(
            "less in two pieces",
            BrokenOff,
            Lives,
            length("100", |s| vec![Send(data(0, s, b"hel")), Barrier, Send(data(END_STREAM, s, b"lo"))]),
        ),
        case(
            "less, and trailers",
            BrokenOff,
            Lives,
            length("100", |s| {
                vec![Send([data(0, s, b"hello"), headers(DONE, s, &block(&[("x-end", "1")]))].concat())]
            }),
        ),
        case("a length and no DATA", Refused, Lives, |ids| {
            vec![Send(head(DONE, ids.own, &[("content-length", "5")]))]
        }),
        case("two lengths, 5 and 6", Refused, Lives, two("5", "6")),
        case("two lengths, both 5", Refused, Lives, two("5", "5")),
        case("DATA with a 204", Either, Lives, |ids| {
            let head = headers(END_HEADERS, ids.own, &block(&[(":status", "204")]));
            vec![Send([head, poison(END_STREAM, ids.own)].concat())]
        }),
        case("DATA with a 304", Either, Lives, |ids| {
            let head = headers(END_HEADERS, ids.own, &block(&[(":status", "304")]));
            vec![Send([head, poison(END_STREAM, ids.own)].concat())]
        }),
        Case {
            method: "HEAD",
            ..case("DATA with an answer to HEAD", Either, Lives, |ids| {
                let fields = [("content-length", "6")];
                vec![Send([head(END_HEADERS, ids.own, &fields), poison(END_STREAM, ids.own)].concat())]
            })
        },
        Case {
            method: "HEAD",
            ..case("a length with an answer to HEAD", Bodiless, Lives, |ids| {
                vec![Send(head(DONE, ids.own, &[("content-length", "6")]))]
            })
        },
        case("padding", Answered, Lives, |ids| {
            let padded = [&[200][..], b"hello", &[0; 200]].concat();
            let head = head(END_HEADERS, ids.own, &[("content-length", "5")]);
            vec![Send([head, frame(DATA, PADDED | END_STREAM, ids.own, &padded)].concat())]
        }),
    ];
    for said in ["5, 5", "+5", "-5", "0x5", "5 5", "", "99999999999999999999", "18446744073709551621"] {
        let play = length(said, |s| vec![Send(data(END_STREAM, s, b"hello"))]);
        all.push(case(format!("length {said:?}"), Refused, Lives, play));
    }
    for (name, payload) in
        [("all of the frame", &b"\x06hello"[..]), ("more than the frame", b"\xffhello"), ("nothing", b"")]
    {
        let play = move |ids: Ids| {
            let head = head(END_HEADERS, ids.own, &[("content-length", "5")]);
            vec![Send([head, frame(DATA, PADDED | END_STREAM, ids.own, payload)].concat())]
        };
        all.push(case(format!("padding of {name}"), BrokenOff, Ends, play));
    }
    all.push(case("padding of more than the head", Refused, Ends, |ids| {
        vec![Send(frame(
            HEADERS,
            PADDED | DONE,
            ids.own,
            &[&[250][..], &block(&[(":status", "200")])].concat(),
        ))]
    }));
    all
}

/// Frames in another order, and more than one answer (section 8.1).
fn early_and_late() -> Vec<Case> {
    vec![
        case("DATA before HEADERS", Refused, Ends, |ids| {
            vec![Send([poison(0, ids.own), hello(ids.own)].concat())]
        }),
        case("HEADERS twice", BrokenOff, Lives, |ids| {
            vec![Send([head(END_HEADERS, ids.own, &[]), hello(ids.own)].concat())]
        }),
        case("HEADERS twice, the second at the end", BrokenOff, Lives, |ids| {
            let second = [(":status", "200"), ("x-poison", "1")];
            let first = head(END_HEADERS, ids.own, &[("content-length", "5")]);
            vec![Send([first, headers(DONE, ids.own, &block(&second))].concat())]
        }),
        case("two answers", Answered, Lives, |ids| {
            let second =
                [head(END_HEADERS, ids.own, &[("x-poison", "1")]), poison(END_STREAM, ids.own)].concat();
            vec![Send([hello(ids.own), second].concat())]
        }),
        case("DATA behind the end", Answered, Lives, |ids| {
            vec![Send([hello(ids.own), poison(END_STREAM, ids.own)].concat())]
        }),
        uploading(case("an answer before the request is whole", Answered, Lives, |ids| {
            vec![Send(hello(ids.own))]
        })),
        uploading(case("the same, and RST_STREAM with NO_ERROR", Answered, Lives, |ids| {
            vec![Send([hello(ids.own), reset(ids.own, NO_ERROR)].concat())]
        })),
        uploading(case("the same, and more DATA", Either, LivesOrEnds, |ids| {
            vec![Send([hello(ids.own), poison(END_STREAM, ids.own)].concat()), Barrier]
        })),
        case("the connection ends before the answer", Refused, Ends, |_| vec![Close]),
        case("the connection ends behind the head", BrokenOff, Ends, |ids| {
            vec![Send(head(END_HEADERS, ids.own, &[("content-length", "5")])), Close]
        }),
        case("the connection ends in the body", BrokenOff, Ends, |ids| {
            vec![Send([head(END_HEADERS, ids.own, &[]), data(0, ids.own, b"hel")].concat()), Close]
        }),
        case("the connection ends in a frame", BrokenOff, Ends, |ids| {
            let mut cut = [head(END_HEADERS, ids.own, &[]), data(END_STREAM, ids.own, b"hello")].concat();
            cut.truncate(cut.len() - 2);
            vec![Send(cut), Close]
        }),
        case("no answer", TimedOut, Lives, |_| Vec::new()),
        case("half an answer", BrokenOff, Lives, |ids| {
            vec![Send([head(END_HEADERS, ids.own, &[]), data(0, ids.own, b"hel")].concat())]
        }),
    ]
}

/// `:status` (section 8.3.2) and answers before the answer (section 8.1).
fn statuses() -> Vec<Case> {
    let answer = |fields: &'static [(&'static str, &'static str)]| {
        move |ids: Ids| {
            vec![Send(
                [headers(END_HEADERS, ids.own, &block(fields)), data(END_STREAM, ids.own, b"hello")].concat(),
            )]
        }
    };
    let interim = |status: &'static str, times: usize| {
        move |ids: Ids| {
            let one = headers(END_HEADERS, ids.own, &block(&[(":status", status), ("link", "</a>")]));
            vec![Send([one.repeat(times), hello(ids.own)].concat())]
        }
    };
    let mut all = vec![
        case("no :status", Refused, Lives, answer(&[("x", "y")])),
        case("no fields", Refused, Lives, answer(&[])),
        case(":status twice", Refused, Lives, answer(&[(":status", "200"), (":status", "200")])),
        case(":status twice, different", Refused, Lives, answer(&[(":status", "200"), (":status", "404")])),
        case(":status behind a field", Refused, Lives, answer(&[("x", "y"), (":status", "200")])),
        // The engine drops what only a request may have.
        case(":path", Answered, Lives, answer(&[(":status", "200"), (":path", "/")])),
        case(":authority", Answered, Lives, answer(&[(":status", "200"), (":authority", "old.test")])),
        case("an unknown pseudo-field", Refused, Ends, answer(&[(":status", "200"), (":poison", "1")])),
        case("three hints", Answered, Lives, interim("103", 3)),
        case("a flood of hints", Refused, Ends, interim("103", 5_000)),
        case("a flood of 100", Refused, Ends, interim("100", 5_000)),
        case("101 and an answer", Answered, Lives, interim("101", 1)),
        case("a hint that ends the stream", Refused, Lives, |ids| {
            vec![Send(headers(DONE, ids.own, &block(&[(":status", "103")])))]
        }),
        case("101 that ends the stream", Refused, Lives, |ids| {
            vec![Send(headers(DONE, ids.own, &block(&[(":status", "101")])))]
        }),
        case("DATA behind a hint", Refused, Ends, |ids| {
            let hint = headers(END_HEADERS, ids.own, &block(&[(":status", "103")]));
            vec![Send([hint, poison(END_STREAM, ids.own)].concat())]
        }),
    ];
    for status in ["abc", "000", "099", "20", "2000", "600", "999", "", "200 OK", "+20", "2 0", "\u{ff12}00"]
    {
        let play = move |ids: Ids| {
            let head = headers(END_HEADERS, ids.own, &block(&[(":status", status)]));
            vec![Send([head, data(END_STREAM, ids.own, b"hello")].concat())]
        };
        // Above 599 there is a number, which means nothing.
        let connection = if matches!(status, "600" | "999") { Lives } else { Ends };
        all.push(case(format!(":status {status:?}"), Refused, connection, play));
    }
    all
}

/// Field names and values (sections 8.2.1 and 8.2.2), and fields that are ours.
fn fields() -> Vec<Case> {
    let with = |name: &'static str, value: &'static str| {
        move |ids: Ids| {
            let fields = [("content-length", "5"), (name, value)];
            vec![Send([head(END_HEADERS, ids.own, &fields), data(END_STREAM, ids.own, b"hello")].concat())]
        }
    };
    let mut all = Vec::new();
    for (name, value) in [
        ("connection", "close"),
        ("connection", "x-hop"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
    ] {
        all.push(case(format!("{name}: {value}"), Refused, Lives, with(name, value)));
    }
    for name in ["X-Upper", "Set-Cookie", "x\0y", "x\ry", "x\ny", "x y", "x:y", "", "x\u{e9}", "x\x7f"] {
        all.push(case(format!("a field named {name:?}"), Refused, Ends, with(name, "1")));
    }
    for value in [
        "a\0b",
        "a\rb",
        "a\nb",
        "a\r\nset-cookie: evil=1",
        "a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "\x01",
        "\x7f",
    ] {
        all.push(case(format!("a field's value {value:?}"), Refused, Ends, with("x-value", value)));
    }
    // Spaces around a value are no part of it anywhere else (RFC 9110 section 5.5).
    for value in [" a", "a ", "\ta\t"] {
        all.push(case(format!("a field's value {value:?}"), Answered, Lives, with("x-value", value)));
    }
    for (name, value) in [
        ("x-cellgate-account", "1"),
        ("x-cellgate-outcome", "not-forwarded"),
        ("x_cellgate_account", "1"),
        ("x-cellgate-anything", "1"),
        ("trailer", "x-hop"),
        ("te", "trailers"),
        ("proxy-authenticate", "Basic"),
        ("proxy-status", "cellgate; error=http_request_denied"),
    ] {
        all.push(case(format!("our {name}: {value}"), Answered, Lives, with(name, value)));
    }
    for (name, value) in
        [("retry-after", "99999999999999999999"), ("retry-after", "soon"), ("deprecation", "true")]
    {
        all.push(case(format!("their {name}: {value}"), Answered, Lives, with(name, value)));
    }
    all
}

/// Header blocks: too large, without end, and broken (sections 4.3, 6.10 and RFC 7541).
fn blocks() -> Vec<Case> {
    let large = |fields: fn() -> Vec<u8>| {
        move |ids: Ids| {
            let block = [block(&[(":status", "200")]), fields()].concat();
            let mut parts = block.chunks(16_000).peekable();
            let mut frames = headers(0, ids.own, parts.next().unwrap());
            while let Some(part) = parts.next() {
                let flags = if parts.peek().is_none() { END_HEADERS } else { 0 };
                frames.extend(continuation(flags, ids.own, part));
            }
            vec![Send(frames), Send(data(END_STREAM, ids.own, b"hello"))]
        }
    };
    let raw = |bytes: &'static [u8]| {
        move |ids: Ids| {
            let block = [block(&[(":status", "200")]), bytes.to_vec()].concat();
            vec![Send([headers(END_HEADERS, ids.own, &block), data(END_STREAM, ids.own, b"hello")].concat())]
        }
    };
    let endless = |piece: fn() -> Vec<u8>| {
        move |ids: Ids| {
            let flood = continuation(0, ids.own, &piece()).repeat(600);
            vec![Send([headers(0, ids.own, &block(&[(":status", "200")])), flood].concat())]
        }
    };
    vec![
        case("30 kB of fields", Answered, Lives, large(|| field("x-large", &"y".repeat(30_000)))),
        case("one field of 70 kB", Refused, Lives, large(|| field("x-large", &"y".repeat(70_000)))),
        case("one field of 200 kB", Refused, Ends, large(|| field("x-large", &"y".repeat(200_000)))),
        case("4000 small fields", Refused, Lives, large(|| field("x", "y").repeat(4_000))),
        case("one field of 2 MB", Refused, Ends, large(|| field("x-large", &"y".repeat(2_000_000)))),
        case("a header block without end", Refused, Ends, endless(|| field("x-more", "and more"))),
        case("empty CONTINUATION without end", Refused, Ends, endless(Vec::new)),
        case("a frame inside a header block", Refused, Ends, |ids| {
            let open = headers(0, ids.own, &block(&[(":status", "200")]));
            vec![Send([open, ping(0, b"between!"), continuation(DONE, ids.own, &[])].concat())]
        }),
        case("CONTINUATION of another stream", Refused, Ends, |ids| {
            let open = headers(0, ids.own, &block(&[(":status", "200")]));
            vec![Send([open, continuation(END_HEADERS, ids.neighbour, &field("x-poison", "1"))].concat())]
        }),
        case("CONTINUATION without HEADERS", Refused, Ends, |ids| {
            vec![Send(continuation(END_HEADERS, ids.own, &block(&[(":status", "200")])))]
        }),
        case("an index without an entry", Refused, Ends, raw(&[0xff, 0xff, 0x0f])),
        case("the index 0", Refused, Ends, raw(&[0x80])),
        case("a table larger than allowed", Refused, Ends, |ids| {
            vec![Send(headers(
                DONE,
                ids.own,
                &[vec![0x3f, 0xff, 0xff, 0xff, 0x7f], block(&[(":status", "200")])].concat(),
            ))]
        }),
        case("a string longer than the block", Refused, Ends, raw(b"\0\x01x\x7fabc")),
        case(
            "an integer without end",
            Refused,
            Ends,
            raw(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ),
        case(
            "Huffman code with the end in it",
            Refused,
            Ends,
            raw(&[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
        ),
        case("an HPACK bomb", Refused, Ends, |ids| {
            let long = "x".repeat(4_000);
            let entry = [vec![0x40], string("x-bomb"), string(&long)].concat();
            let bomb = [block(&[(":status", "200")]), entry, integer(0x80, 7, 62).repeat(12_000)].concat();
            vec![Send(headers(DONE, ids.own, &bomb))]
        }),
    ]
}

/// Trailers (section 8.1) with what does not belong there.
fn trailers() -> Vec<Case> {
    let with = |flags: u8, fields: &'static [(&'static str, &'static str)]| {
        move |ids: Ids| {
            let answer = [head(END_HEADERS, ids.own, &[]), data(0, ids.own, b"hello")].concat();
            vec![Send([answer, headers(flags, ids.own, &block(fields))].concat())]
        }
    };
    let mut all = vec![
        case("trailers", Answered, Lives, with(DONE, &[("x-end", "1")])),
        case("trailers that do not end the stream", BrokenOff, Lives, with(END_HEADERS, &[("x-end", "1")])),
        case("trailers with :status", Either, Lives, with(DONE, &[(":status", "200")])),
        case("trailers with :path", Either, Lives, with(DONE, &[(":path", "/poison")])),
        case("trailers and DATA", Answered, Lives, |ids| {
            let answer = [head(END_HEADERS, ids.own, &[]), data(0, ids.own, b"hello")].concat();
            let trailers = headers(DONE, ids.own, &block(&[("x-end", "1")]));
            vec![Send([answer, trailers, poison(END_STREAM, ids.own)].concat())]
        }),
        case("trailers of 200 kB", BrokenOff, Ends, |ids| {
            let answer = [head(END_HEADERS, ids.own, &[]), data(0, ids.own, b"hello")].concat();
            let field = field("x-large", &"y".repeat(200_000));
            let mut frames = headers(END_STREAM, ids.own, &field[..16_000]);
            for part in field[16_000..].chunks(16_000) {
                frames.extend(continuation(0, ids.own, part));
            }
            frames.extend(continuation(END_HEADERS, ids.own, &[]));
            vec![Send(answer), Barrier, Send(frames)]
        }),
    ];
    for (name, value) in [
        ("x-cellgate-account", "1"),
        ("x-cellgate-outcome", "not-forwarded"),
        ("x_cellgate_account", "1"),
        ("proxy-status", "cellgate"),
        ("content-length", "7"),
        ("set-cookie", "evil=1"),
        ("trailer", "x"),
    ] {
        let play = move |ids: Ids| {
            let answer = [head(END_HEADERS, ids.own, &[]), data(0, ids.own, b"hello")].concat();
            vec![Send([answer, headers(DONE, ids.own, &block(&[(name, value), ("x-end", "1")]))].concat())]
        };
        all.push(case(format!("our {name} in trailers"), Answered, Lives, play));
    }
    for (name, value) in [("connection", "close"), ("transfer-encoding", "chunked")] {
        let play = move |ids: Ids| {
            let answer = [head(END_HEADERS, ids.own, &[]), data(0, ids.own, b"hello")].concat();
            vec![Send([answer, headers(DONE, ids.own, &block(&[(name, value)]))].concat())]
        };
        all.push(case(format!("{name} in trailers"), BrokenOff, Lives, play));
    }
    all
}

/// Streams that are not there (section 5.1), pushes (section 8.4), frames on stream 0, and sizes (section 4.2).
fn streams() -> Vec<Case> {
    let before =
        |frames: fn(Ids) -> Vec<u8>| move |ids: Ids| vec![Send([frames(ids), hello(ids.own)].concat())];
    let promise = |ids: Ids| {
        let request =
            [(":method", "GET"), (":scheme", "http"), (":path", "/poison"), (":authority", "old.test")];
        frame(PUSH_PROMISE, END_HEADERS, ids.own, &[&2u32.to_be_bytes()[..], &block(&request)].concat())
    };
    vec![
        case(
            "an answer on a stream that nobody has opened",
            Refused,
            Ends,
            before(|ids| [head(END_HEADERS, ids.unopened, &[]), poison(END_STREAM, ids.unopened)].concat()),
        ),
        case(
            "an answer on a stream of its own",
            Refused,
            Ends,
            before(|_| [head(END_HEADERS, 2, &[]), poison(END_STREAM, 2)].concat()),
        ),
        case("HEADERS on stream 0", Refused, Ends, before(|_| head(END_HEADERS, 0, &[]))),
        case("DATA on stream 0", Refused, Ends, before(|_| poison(0, 0))),
        case("DATA on a stream that nobody has opened", Refused, Ends, before(|ids| poison(0, ids.unopened))),
        case("RST_STREAM of stream 0", Refused, Ends, before(|_| reset(0, CANCEL))),
        case(
            "RST_STREAM of one that nobody has opened",
            Refused,
            Ends,
            before(|ids| reset(ids.unopened, CANCEL)),
        ),
        case(
            "WINDOW_UPDATE of one that nobody has opened",
            Refused,
            Ends,
            before(|ids| window_update(ids.unopened, 1)),
        ),
        case("a push", Refused, Ends, move |ids| {
            let pushed = [head(END_HEADERS, 2, &[]), poison(END_STREAM, 2)].concat();
            vec![Send([promise(ids), pushed, hello(ids.own)].concat())]
        }),
        case("a promise and no push", Refused, Ends, move |ids| {
            vec![Send([promise(ids), hello(ids.own)].concat())]
        }),
        case("a frame above the largest", BrokenOff, Ends, |ids| {
            vec![Send([head(END_HEADERS, ids.own, &[]), data(END_STREAM, ids.own, &[b'x'; 70_000])].concat())]
        }),
        case("RST_STREAM of 3 bytes", Refused, Ends, before(|ids| frame(RST_STREAM, 0, ids.own, &[0; 3]))),
        case("PING of 7 bytes", Refused, Ends, before(|_| frame(PING, 0, 0, &[0; 7]))),
        case("PING on a stream", Refused, Ends, before(|ids| frame(PING, 0, ids.own, &[0; 8]))),
        case("HTTP/1.1 in between", Refused, Ends, |ids| {
            vec![Send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON".to_vec()), Send(hello(ids.own))]
        }),
        case(
            "frames that nobody knows",
            Answered,
            Lives,
            before(|ids| [frame(UNKNOWN, 0xff, ids.own, b"?"), frame(UNKNOWN, 0xff, 0, b"?")].concat()),
        ),
        case(
            "PRIORITY of itself",
            Answered,
            Lives,
            before(|ids| priority(ids.neighbour, &dependency(ids.own, true, 9))),
        ),
    ]
}

/// RST_STREAM with each code (section 7), at each moment. Only REFUSED_STREAM says that nothing was done (section 8.7).
fn resets() -> Vec<Case> {
    let mut all = Vec::new();
    for code in (0..=13).chain([0xff]) {
        let before = move |ids: Ids| vec![Send(reset(ids.own, code))];
        let expect = if code == REFUSED_STREAM { Again } else { Refused };
        all.push(case(format!("reset {code} before the head"), expect, Lives, before));
        all.push(case(format!("reset {code} behind the head"), BrokenOff, Lives, move |ids| {
            let head = head(END_HEADERS, ids.own, &[("content-length", "5")]);
            vec![Send(head), Barrier, Send(reset(ids.own, code))]
        }));
        all.push(case(format!("reset {code} in the body"), BrokenOff, Lives, move |ids| {
            let begun = [head(END_HEADERS, ids.own, &[]), data(0, ids.own, b"hel")].concat();
            vec![Send(begun), Barrier, Send(reset(ids.own, code))]
        }));
        all.push(case(format!("reset {code} behind the end"), Answered, Lives, move |ids| {
            vec![Send(hello(ids.own)), Barrier, Send(reset(ids.own, code))]
        }));
    }
    let refused = |ids: Ids| vec![Send(reset(ids.own, REFUSED_STREAM))];
    all.push(Case { again: true, ..case("refused again", Refused, Lives, refused) });
    all.push(Case { method: "PUT", ..case("a PUT that is refused", Again, Lives, refused) });
    all.push(Case {
        method: "PUT",
        ..case("a PUT that is reset", Again, Lives, |ids| vec![Send(reset(ids.own, CANCEL))])
    });
    all.push(Case {
        method: "PUT",
        ..case("a PUT whose answer is reset", BrokenOff, Lives, |ids| {
            vec![Send(head(END_HEADERS, ids.own, &[])), Barrier, Send(reset(ids.own, CANCEL))]
        })
    });
    all.push(case("a refusal, and an answer behind it", Again, Lives, |ids| {
        let answer = [head(END_HEADERS, ids.own, &[("x-poison", "1")]), poison(END_STREAM, ids.own)].concat();
        vec![Send([reset(ids.own, REFUSED_STREAM), answer].concat())]
    }));
    all
}

/// GOAWAY (section 6.8).
fn goaways() -> Vec<Case> {
    vec![
        case("GOAWAY below the request", Again, Ends, |ids| vec![Send(goaway(ids.own - 2, NO_ERROR, b""))]),
        case("GOAWAY below all", Again, Ends, |_| vec![Send(goaway(0, NO_ERROR, b""))]),
        case("GOAWAY below, and an answer", Again, Ends, |ids| {
            let answer =
                [head(END_HEADERS, ids.own, &[("x-poison", "1")]), poison(END_STREAM, ids.own)].concat();
            vec![Send([goaway(ids.own - 2, NO_ERROR, b""), answer].concat())]
        }),
        case("GOAWAY with an error below the request", Again, Ends, |ids| {
            vec![Send(goaway(ids.own - 2, ENHANCE_YOUR_CALM, b"calm"))]
        }),
        case("GOAWAY, and an answer", Answered, Ends, |ids| {
            vec![Send([goaway(ids.own, NO_ERROR, b""), hello(ids.own)].concat())]
        }),
        case("an announced GOAWAY, and an answer", Answered, Ends, |ids| {
            vec![Send([goaway(u32::MAX >> 1, NO_ERROR, b""), hello(ids.own)].concat())]
        }),
        case("GOAWAY with an error, and an answer", Either, Ends, |ids| {
            vec![Send([goaway(ids.own, PROTOCOL_ERROR, b"you"), hello(ids.own)].concat())]
        }),
        case("GOAWAY below in the body", BrokenOff, Ends, |ids| {
            let begun = [head(END_HEADERS, ids.own, &[]), data(0, ids.own, b"hel")].concat();
            vec![Send(begun), Barrier, Send(goaway(0, NO_ERROR, b""))]
        }),
        case("GOAWAY that takes more back", Refused, Ends, |ids| {
            vec![Send([goaway(ids.own, NO_ERROR, b""), goaway(ids.own + 2, NO_ERROR, b"")].concat())]
        }),
        case("GOAWAY on a stream", Refused, Ends, |ids| vec![Send(frame(GOAWAY, 0, ids.own, &[0; 8]))]),
        case("GOAWAY of 3 bytes", Refused, Ends, |_| vec![Send(frame(GOAWAY, 0, 0, &[0; 3]))]),
        case("GOAWAY, and a close", Refused, Ends, |ids| vec![Send(goaway(ids.own, NO_ERROR, b"")), Close]),
        case("GOAWAY, and a push", Refused, Ends, |ids| {
            let pushed = [head(END_HEADERS, 2, &[]), poison(END_STREAM, 2)].concat();
            vec![Send([goaway(ids.own, NO_ERROR, b""), pushed, hello(ids.own)].concat())]
        }),
    ]
}

/// Windows (section 6.9).
fn windows() -> Vec<Case> {
    let most = (1 << 31) - 1;
    let before =
        |frames: fn(Ids) -> Vec<u8>| move |ids: Ids| vec![Send(frames(ids)), Barrier, Send(hello(ids.own))];
    vec![
        case("a window above the largest, of the connection", Refused, Ends, move |ids| {
            vec![Send([window_update(0, most), hello(ids.own)].concat())]
        }),
        uploading(case("a window above the largest, of the stream", Refused, Lives, move |ids| {
            vec![Send([window_update(ids.own, most), hello(ids.own)].concat())]
        })),
        case("a window larger by 0, of the connection", Refused, Ends, before(|_| window_update(0, 0))),
        case("a window larger by 0, of the stream", Refused, Ends, before(|ids| window_update(ids.own, 0))),
        case("WINDOW_UPDATE of 3 bytes", Refused, Ends, before(|_| frame(WINDOW_UPDATE, 0, 0, &[0; 3]))),
        uploading(case(
            "windows of streams above the largest",
            Refused,
            Ends,
            before(|ids| {
                [window_update(ids.own, (1 << 31) - 1 - 65_535), settings(&[(INITIAL_WINDOW_SIZE, 100_000)])]
                    .concat()
            }),
        )),
    ]
}

/// SETTINGS (section 6.5) in the middle of a connection.
fn settings_in_between() -> Vec<Case> {
    let before = |frames: fn() -> Vec<u8>| move |ids: Ids| vec![Send(frames()), Send(hello(ids.own))];
    vec![
        case("SETTINGS on a stream", Refused, Ends, |ids| vec![Send(frame(SETTINGS, 0, ids.own, &[]))]),
        case("SETTINGS of 5 bytes", Refused, Ends, before(|| frame(SETTINGS, 0, 0, &[0; 5]))),
        case("an acknowledgement with a payload", Refused, Ends, before(|| frame(SETTINGS, ACK, 0, &[0; 6]))),
        case("an acknowledgement of nothing", Refused, Ends, before(|| frame_ack().repeat(2))),
        case(
            "windows above the largest",
            Refused,
            Ends,
            before(|| settings(&[(INITIAL_WINDOW_SIZE, 1 << 31)])),
        ),
        case("frames below the smallest", Refused, Ends, before(|| settings(&[(MAX_FRAME_SIZE, 1)]))),
        case("frames above the largest", Refused, Ends, before(|| settings(&[(MAX_FRAME_SIZE, 1 << 24)]))),
        case("ENABLE_PUSH 2", Refused, Ends, before(|| settings(&[(ENABLE_PUSH, 2)]))),
        case("settings that nobody knows", Answered, Lives, before(|| settings(&[(0xff, 1), (0xfe, 0)]))),
        case("no stream any more", Answered, Full, before(|| settings(&[(MAX_CONCURRENT_STREAMS, 0)]))),
        case("windows below zero, and back", Answered, Lives, |ids| {
            let (less, more) =
                (settings(&[(INITIAL_WINDOW_SIZE, 0)]), settings(&[(INITIAL_WINDOW_SIZE, 65_535)]));
            vec![Send(less), Barrier, Send([more, hello(ids.own)].concat())]
        }),
        case(
            "a table of 0 and back",
            Answered,
            Lives,
            before(|| {
                [settings(&[(HEADER_TABLE_SIZE, 0)]), settings(&[(HEADER_TABLE_SIZE, u32::MAX)])].concat()
            }),
        ),
        case("heads of 1 byte", Answered, Lives, before(|| settings(&[(MAX_HEADER_LIST_SIZE, 1)]))),
    ]
}

/// Connections that begin otherwise (section 3.4).
fn beginnings() -> Vec<Case> {
    let answered = |name: &str, begin: Begin| Case {
        begin,
        ..case(name, Answered, Lives, |ids| vec![Send(hello(ids.own))])
    };
    let useless = |name: &str, expect: Expect, begin: Begin| Case {
        begin,
        ..case(name, expect, Useless, |ids| vec![Send(hello(ids.own))])
    };
    let bytes = |bytes: &[u8]| Begin::Bytes(bytes.to_vec());
    vec![
        answered("SETTINGS that are not acknowledged", Begin::WithoutAcknowledging),
        answered(
            "the smallest table and the largest frames",
            Begin::Settings(vec![(HEADER_TABLE_SIZE, 0), (MAX_FRAME_SIZE, (1 << 24) - 1)]),
        ),
        answered("ENABLE_PUSH 0", Begin::Settings(vec![(ENABLE_PUSH, 0)])),
        // Which only a client may say; a push is refused nevertheless.
        answered("ENABLE_PUSH 1", Begin::Settings(vec![(ENABLE_PUSH, 1)])),
        useless("a window that never opens", TimedOut, Begin::Settings(vec![(INITIAL_WINDOW_SIZE, 0)])),
        useless("no streams", Refused, Begin::Settings(vec![(MAX_CONCURRENT_STREAMS, 0)])),
        useless("a window above the largest", Refused, Begin::Settings(vec![(INITIAL_WINDOW_SIZE, 1 << 31)])),
        useless("frames of 1 byte", Refused, Begin::Settings(vec![(MAX_FRAME_SIZE, 1)])),
        useless("another frame than SETTINGS", Refused, Begin::Frames(ping(0, b"no hello"))),
        useless("GOAWAY at once", Refused, Begin::Frames([settings(&[]), goaway(0, NO_ERROR, b"")].concat())),
        useless("an answer before any request", Refused, Begin::Frames([settings(&[]), hello(1)].concat())),
        useless("HTTP/1.1", Refused, bytes(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 6\r\n\r\nPOISON")),
        useless("silence", Refused, bytes(b"")),
        useless("bytes of zero", Refused, bytes(&[0; 1000])),
        useless("the client's own preface", Refused, bytes(PREFACE)),
    ]
}
