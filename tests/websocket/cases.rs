//! The cases, in the manner of the public WebSocket suite (Autobahn), whose sections are numbered alike: frames of a
//! client, good and bad, and how they are cut into writes. What an echo server makes of them is not said here.

/// Opcodes (RFC 6455 section 5.2).
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The bits of a first byte.
const FIN: u8 = 0x80;

/// Any key will do for masking; a fixed one makes failures repeatable.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Bytes in one write of a case that is cut small: no length that a frame or buffer has.
const ODD: usize = 997;

/// What a client writes, in these pieces. Every case ends so that the server closes the connection.
pub struct Case {
    pub id: String,
    pub writes: Vec<Vec<u8>>,
}

/// A masked frame with this first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        small @ 0..=125 => bytes.push(0x80 | u8::try_from(small).unwrap()),
        medium @ 126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        large => {
            bytes.push(0x80 | 127);
            bytes.extend((large as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn whole(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(FIN | opcode, payload)
}

fn text(payload: &str) -> Vec<u8> {
    whole(TEXT, payload.as_bytes())
}

/// The payload of a close frame.
fn reason(code: u16, text: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], text].concat()
}

fn close(code: u16) -> Vec<u8> {
    whole(CLOSE, &reason(code, b""))
}

/// A message in fragments of so many bytes.
fn fragments(opcode: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let count = payload.len().div_ceil(size).max(1);
    let mut frames = Vec::new();
    for (at, part) in payload.chunks(size).enumerate() {
        let opcode = if at == 0 { opcode } else { CONTINUATION };
        frames.push(frame(if at + 1 == count { FIN | opcode } else { opcode }, part));
    }
    frames
}

/// How the frames of a case are written.
#[derive(Clone, Copy)]
enum Cut {
    /// All in one write.
    Once,
    /// A write for each.
    Frames,
    /// Writes of so many bytes.
    Bytes(usize),
}

#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    /// Adds a case that ends with a close of the client.
    fn add(&mut self, id: impl Into<String>, cut: Cut, mut frames: Vec<Vec<u8>>) {
        frames.push(close(1000));
        self.bare(id, cut, frames);
    }

    /// Adds a case that ends as its frames do.
    fn bare(&mut self, id: impl Into<String>, cut: Cut, frames: Vec<Vec<u8>>) {
        let writes = match cut {
            Cut::Once => vec![frames.concat()],
            Cut::Frames => frames,
            Cut::Bytes(size) => frames.concat().chunks(size).map(<[u8]>::to_vec).collect(),
        };
        self.0.push(Case { id: id.into(), writes });
    }

    /// The same frames in one write, in one each, and byte by byte.
    fn each_cut(&mut self, id: &str, frames: &[Vec<u8>]) {
        for (name, cut) in [("once", Cut::Once), ("frames", Cut::Frames), ("bytes", Cut::Bytes(1))] {
            self.add(format!("{id} {name}"), cut, frames.to_vec());
        }
    }
}

/// All of them.
pub fn all() -> Vec<Case> {
    let mut cases = Cases::default();
    framing(&mut cases);
    pings(&mut cases);
    reserved(&mut cases);
    fragmentation(&mut cases);
    utf8(&mut cases);
    closing(&mut cases);
    sizes(&mut cases);
    cases.0
}

/// 1: the borders of the three length codings.
fn framing(cases: &mut Cases) {
    for (section, opcode, fill) in [("1.1", TEXT, b'*'), ("1.2", BINARY, 0xfe)] {
        for (number, size) in [0, 125, 126, 127, 128, 65_535, 65_536].into_iter().enumerate() {
            let message = whole(opcode, &vec![fill; size]);
            cases.add(format!("{section}.{} {size} bytes", number + 1), Cut::Once, vec![message]);
        }
        let message = whole(opcode, &vec![fill; 65_536]);
        cases.add(format!("{section}.8 65536 bytes, cut"), Cut::Bytes(ODD), vec![message]);
    }
}

/// 2: pings and pongs.
fn pings(cases: &mut Cases) {
    let ping = |payload: &[u8]| whole(PING, payload);
    cases.add("2.1 no payload", Cut::Once, vec![ping(b"")]);
    cases.add("2.2 text", Cut::Once, vec![ping(b"Hello, world!")]);
    cases.add("2.3 binary", Cut::Once, vec![ping(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")]);
    cases.add("2.4 the longest", Cut::Once, vec![ping(&[0xfe; 125])]);
    cases.add("2.5 too long", Cut::Once, vec![ping(&[0xfe; 126])]);
    cases.add("2.6 the longest, byte by byte", Cut::Bytes(1), vec![ping(&[0xfe; 125])]);
    cases.add("2.7 a pong that nobody asked for", Cut::Once, vec![whole(PONG, b"")]);
    cases.add("2.8 the same with payload", Cut::Once, vec![whole(PONG, b"unsolicited")]);
    cases.add("2.9 the same, then a ping", Cut::Once, vec![whole(PONG, b"unsolicited"), ping(b"ping")]);
    let ten: Vec<Vec<u8>> = (0..10).map(|n| ping(format!("payload-{n}").as_bytes())).collect();
    // A server may answer the last of several pings alone (RFC 6455 section 5.5.3): one at a time is told apart.
    cases.add("2.10 ten, byte by byte", Cut::Bytes(1), ten);
}

/// 3 and 4: reserved bits, reserved opcodes.
fn reserved(cases: &mut Cases) {
    let with = |rsv: u8, opcode: u8, payload: &[u8]| frame(FIN | rsv << 4 | opcode, payload);
    cases.add("3.1 text, RSV 1", Cut::Once, vec![with(1, TEXT, b"Hello, world!")]);
    let between = vec![text("Hello, world!"), with(2, TEXT, b"Hello, world!"), whole(PING, b"")];
    cases.add("3.2 RSV 2 after a text", Cut::Once, between);
    for (name, cut) in [("3.3 frame by frame", Cut::Frames), ("3.4 byte by byte", Cut::Bytes(1))] {
        for rsv in [3, 4] {
            let frames = vec![text("Hello, world!"), with(rsv, TEXT, b"Hello, world!"), whole(PING, b"")];
            cases.add(format!("{name}, RSV {rsv}"), cut, frames);
        }
    }
    cases.add("3.5 binary, RSV 5", Cut::Once, vec![with(5, BINARY, b"\x00\xff\xfe\xfd")]);
    cases.add("3.6 ping, RSV 6", Cut::Once, vec![with(6, PING, b"Hello, world!")]);
    cases.bare("3.7 close, RSV 7", Cut::Once, vec![with(7, CLOSE, &reason(1000, b""))]);
    for (section, opcodes) in [("4.1", 3..=7u8), ("4.2", 11..=15)] {
        for opcode in opcodes {
            let alone = vec![whole(opcode, b"")];
            cases.add(format!("{section} opcode {opcode}"), Cut::Once, alone);
            let after = vec![text("Hello, world!"), whole(opcode, b"payload"), whole(PING, b"")];
            cases.add(format!("{section} opcode {opcode} after a text"), Cut::Frames, after);
        }
    }
}

/// 5: fragmentation.
fn fragmentation(cases: &mut Cases) {
    let part = |opcode: u8, payload: &str| frame(opcode, payload.as_bytes());
    let last = |payload: &str| whole(CONTINUATION, payload.as_bytes());
    let ping = || whole(PING, b"ping payload");
    cases.add("5.1 a ping in fragments", Cut::Once, vec![part(PING, "frag"), last("ment")]);
    cases.add("5.2 a pong in fragments", Cut::Once, vec![part(PONG, "frag"), last("ment")]);
    cases.each_cut("5.3 two fragments", &[part(TEXT, "fragment1"), last("fragment2")]);
    cases.each_cut("5.6 a ping between", &[part(TEXT, "fragment1"), ping(), last("fragment2")]);
    cases.each_cut("5.9 nothing to continue", &[last("non-continuation payload"), text("Hello, world!")]);
    let unfinished = [part(CONTINUATION, "non-continuation payload"), text("Hello, world!")];
    cases.each_cut("5.12 nothing to continue, not final", &unfinished);
    let again = [part(TEXT, "fragment1"), last("fragment2"), last("fragment3"), text("fragment4")];
    cases.add("5.15 continued after its end", Cut::Once, again.to_vec());
    for first in [part(CONTINUATION, "fragment1"), last("fragment1")] {
        let once = vec![first, part(TEXT, "fragment2"), last("fragment3")];
        let frames = [once.clone(), once].concat();
        cases.add(format!("5.16 a continuation first, {:#x}", frames[0][0]), Cut::Once, frames);
    }
    cases.add("5.18 a text inside a message", Cut::Once, vec![part(TEXT, "fragment1"), text("fragment2")]);
    let long = vec![
        part(TEXT, "fragment1"),
        part(CONTINUATION, "fragment2"),
        ping(),
        part(CONTINUATION, "fragment3"),
        part(CONTINUATION, "fragment4"),
        ping(),
        last("fragment5"),
    ];
    cases.add("5.19 five fragments and two pings", Cut::Frames, long.clone());
    cases.add("5.20 the same, byte by byte", Cut::Bytes(1), long);
}

/// Byte sequences of 6.5 to 6.23, in the groups of Markus Kuhn's decoder stress test: where codings begin and end,
/// stray and missing continuations, bytes that never occur, overlong forms, surrogates, non-characters.
fn sequences() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let borders: [u32; 14] = [
        0x00, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xfffd, 0xffff, 0x1_0000, 0x10_ffff, 0x11_0000,
        0x1f_ffff, 0x3ff_ffff,
    ];
    all.extend(borders.map(|point| (format!("6.6 U+{point:04X}"), coded(point, 0))));
    all.extend((1..=7).map(|n| (format!("6.8 {n} stray continuations"), vec![0x80; n])));
    all.push(("6.8 all continuations".into(), (0x80..=0xbf).collect()));
    for (name, first, last) in [("2", 0xc0u8, 0xdf), ("3", 0xe0, 0xef), ("4", 0xf0, 0xf7), ("5", 0xf8, 0xfd)]
    {
        all.push((format!("6.9 starts of {name}"), (first..=last).flat_map(|byte| [byte, b' ']).collect()));
    }
    let broken: [&[u8]; 8] = [
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
    ];
    all.extend(broken.map(|bytes| (format!("6.12 {bytes:02x?} without its end"), bytes.to_vec())));
    all.push(("6.13 all of these".into(), broken.concat()));
    all.extend([&b"\xfe"[..], b"\xff", b"\xfe\xfe\xff\xff"].map(|b| (format!("6.14 {b:02x?}"), b.to_vec())));
    for more in 1..=5 {
        for point in [0x00, 0x2f, [0x7f, 0x7ff, 0xffff, 0x1f_ffff, 0x3ff_ffff][more - 1]] {
            all.push((format!("6.15 U+{point:04X}, {more} too long"), coded(point, more)));
        }
    }
    let surrogates: [u32; 7] = [0xd800, 0xdb7f, 0xdb80, 0xdbff, 0xdc00, 0xdf80, 0xdfff];
    all.extend(surrogates.map(|point| (format!("6.18 surrogate {point:04X}"), coded(point, 0))));
    for (high, low) in [(0xd800, 0xdc00), (0xdb7f, 0xdfff), (0xdb80, 0xdc00), (0xdbff, 0xdfff)] {
        let pair = [coded(high, 0), coded(low, 0)].concat();
        all.push((format!("6.19 pair {high:04X} {low:04X}"), pair));
    }
    for plane in 0..=16u32 {
        for end in [0xfffe, 0xffff] {
            let point = plane << 16 | end;
            all.push((format!("6.22 non-character {point:06X}"), coded(point, 0)));
        }
    }
    all.push(("6.23 replacement".into(), coded(0xfffd, 0)));
    all
}

/// UTF-8 as first defined, up to six bytes, for any number, and so many bytes longer than it need be.
fn coded(point: u32, longer: usize) -> Vec<u8> {
    let needed = match point {
        0..=0x7f => 1,
        0x80..=0x7ff => 2,
        0x800..=0xffff => 3,
        0x1_0000..=0x1f_ffff => 4,
        0x20_0000..=0x3ff_ffff => 5,
        _ => 6,
    };
    let length = (needed + longer).min(6);
    if length == 1 {
        return vec![u8::try_from(point).unwrap()];
    }
    let byte = |n: u32| u8::try_from(n & 0xff).unwrap();
    let mark = byte(0xff00 >> length);
    let mut bytes = vec![mark | byte(point >> (6 * (length - 1)))];
    bytes.extend((0..length - 1).rev().map(|at| 0x80 | byte(point >> (6 * at)) & 0x3f));
    bytes
}

/// 6: UTF-8.
fn utf8(cases: &mut Cases) {
    let message = "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!";
    let bytes = message.as_bytes();
    cases.add("6.1.1 an empty text", Cut::Once, vec![text("")]);
    let empties = vec![frame(TEXT, b""), frame(CONTINUATION, b""), whole(CONTINUATION, b"")];
    cases.add("6.1.2 empty fragments", Cut::Once, empties);
    let middle = vec![frame(TEXT, b""), frame(CONTINUATION, b"middle"), whole(CONTINUATION, b"")];
    cases.add("6.1.3 one that is not empty", Cut::Once, middle);
    cases.add("6.2.1 valid", Cut::Once, vec![text(message)]);
    cases.add("6.2.2 valid, two fragments", Cut::Once, fragments(TEXT, bytes, bytes.len().div_ceil(2)));
    cases.add("6.2.3 valid, a fragment a byte", Cut::Once, fragments(TEXT, bytes, 1));
    cases.add("6.2.4 valid, byte by byte", Cut::Bytes(1), vec![text(message)]);
    let invalid = [bytes, b"\xed\xa0\x80", b"edited"].concat();
    cases.add("6.3.1 invalid", Cut::Once, vec![whole(TEXT, &invalid)]);
    cases.add("6.3.2 invalid, a fragment a byte", Cut::Once, fragments(TEXT, &invalid, 1));
    for (number, cut) in [(1, Cut::Frames), (2, Cut::Once), (3, Cut::Bytes(ODD)), (4, Cut::Bytes(1))] {
        let late = vec![
            frame(TEXT, bytes),
            frame(CONTINUATION, b"\xf4\x90\x80\x80"),
            whole(CONTINUATION, b"edited"),
        ];
        cases.add(format!("6.4.{number} invalid in the second of three fragments"), cut, late);
    }
    for (id, sequence) in sequences() {
        cases.add(id.clone(), Cut::Once, vec![whole(TEXT, &sequence)]);
        cases.add(format!("{id}, a fragment a byte"), Cut::Once, fragments(TEXT, &sequence, 1));
    }
}

/// 7: closing.
fn closing(cases: &mut Cases) {
    let mut end = |id: &str, frames: Vec<Vec<u8>>| cases.bare(id, Cut::Once, frames);
    end("7.1.1 after a text", vec![text("Hello World!"), close(1000)]);
    end("7.1.2 twice", vec![close(1000), close(1000)]);
    end("7.1.3 then a ping", vec![close(1000), whole(PING, b"ping")]);
    end("7.1.4 then a text", vec![close(1000), text("Hello World!")]);
    end(
        "7.1.5 inside a message",
        vec![frame(TEXT, b"fragment1"), close(1000), whole(CONTINUATION, b"fragment2")],
    );
    end("7.1.6 after 256 KiB", vec![whole(TEXT, &vec![b'B'; 256 * 1024]), text("Hello World!"), close(1000)]);
    end("7.3.1 no payload", vec![whole(CLOSE, b"")]);
    end("7.3.2 a payload of one byte", vec![whole(CLOSE, b"a")]);
    end("7.3.3 a code", vec![close(1000)]);
    end("7.3.4 a code and a reason", vec![whole(CLOSE, &reason(1000, b"Hello World!"))]);
    end("7.3.5 the longest reason", vec![whole(CLOSE, &reason(1000, &[b'*'; 123]))]);
    end("7.3.6 a reason that is too long", vec![whole(CLOSE, &reason(1000, &[b'*'; 124]))]);
    end("7.5.1 a reason that is no UTF-8", vec![whole(CLOSE, &reason(1000, b"\xce\xba\xed\xa0\x80edited"))]);
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        end(&format!("7.7 code {code}"), vec![close(code)]);
    }
    for code in [0, 999, 1004, 1005, 1006, 1012, 1016, 1100, 2000, 2999, 5000, 65_535] {
        end(&format!("7.9 code {code}"), vec![close(code)]);
    }
}

/// 9 and 10: sizes, in small, and fragments as a library makes them.
fn sizes(cases: &mut Cases) {
    for (section, opcode) in [("9.1", TEXT), ("9.2", BINARY)] {
        for size in [64 * 1024, 256 * 1024] {
            let message = whole(opcode, &vec![b'*'; size]);
            cases.add(format!("{section} {size} bytes"), Cut::Once, vec![message]);
        }
    }
    for (section, opcode) in [("9.3", TEXT), ("9.4", BINARY)] {
        for size in [64, 256, 1024, 4096, 16_384, 65_536] {
            let frames = fragments(opcode, &[b'*'; 65_536], size);
            cases.add(format!("{section} fragments of {size} bytes"), Cut::Once, frames);
        }
    }
    for (section, opcode) in [("9.5", TEXT), ("9.6", BINARY)] {
        for size in [256, 512, 1024, 2048] {
            let message = whole(opcode, &[b'*'; 65_536]);
            cases.add(format!("{section} writes of {size} bytes"), Cut::Bytes(size), vec![message]);
        }
    }
    for (section, opcode) in [("9.7", TEXT), ("9.8", BINARY)] {
        for size in [0, 16, 64, 256, 1024, 4096] {
            let messages = vec![whole(opcode, &vec![b'*'; size]); 100];
            cases.add(format!("{section} a hundred of {size} bytes"), Cut::Frames, messages);
        }
    }
    cases.add("10.1.1 fragments of 1300 bytes", Cut::Once, fragments(TEXT, &[b'*'; 65_536], 1300));
}
