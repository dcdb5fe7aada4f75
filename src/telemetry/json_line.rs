//! One JSON object in one line, field by field, appended to bytes that are used again and again: no allocation, and printable
//! ASCII whatever a client has sent. Says nothing of what the fields are: that is `access_line`'s and `access_fields`'.
//!
//! serde_json writes the same bytes at fifteen times the instructions, and every request has a line; the tests hold the two
//! together.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::policy::ip_text::IpText;

/// A key as it stands in a line, behind the field before it. Written out by the compiler, so that it is copied in one piece.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}
pub(super) use key;

/// A line on its way.
#[derive(Debug)]
pub(super) struct Line<'a>(&'a mut Vec<u8>);

/// What a field can be. A field that is `None` is not there.
pub(super) trait Value {
    /// Appends the field.
    fn append(self, key: &'static str, line: &mut Vec<u8>);
}

/// A word of a closed list of ours, or a label by its type: nothing in it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a>(pub &'a str);

/// A duration as milliseconds with at most three decimals, which are microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct InMillis(pub Duration);

impl<'a> Line<'a> {
    /// Begins a line with `beginning`, which has its first fields.
    #[inline]
    pub fn begin(bytes: &'a mut Vec<u8>, beginning: &'static str, time: &[u8; 24]) -> Self {
        bytes.extend_from_slice(beginning.as_bytes());
        bytes.extend_from_slice(time);
        bytes.push(b'"');
        Self(bytes)
    }

    /// Appends a field, whose key is by [`key!`].
    // Always: only where the key is known is its copy two moves and not a call.
    #[inline(always)]
    pub fn field(&mut self, key: &'static str, value: impl Value) -> &mut Self {
        value.append(key, self.0);
        self
    }

    /// Appends fields that are the same in every line.
    #[inline(always)]
    pub fn constant(&mut self, fields: &'static str) -> &mut Self {
        self.0.extend_from_slice(fields.as_bytes());
        self
    }

    /// Appends a field that is a list of objects, where there are any; `each` appends their fields, the first of which has the
    /// whole of its key.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        objects: &[T],
        each: impl Fn(&mut Line<'_>, &T),
    ) -> &mut Self {
        for (at, object) in objects.iter().enumerate() {
            self.0.extend_from_slice(if at == 0 { key.as_bytes() } else { b"," });
            self.0.extend_from_slice(if at == 0 { b"[{" } else { b"{" });
            each(&mut Line(self.0), object);
            self.0.push(b'}');
        }
        if !objects.is_empty() {
            self.0.push(b']');
        }
        self
    }

    /// Ends the object and the line.
    #[inline]
    pub fn end(self) {
        self.0.extend_from_slice(b"}\n");
    }
}

impl<V: Value> Value for Option<V> {
    #[inline(always)]
    fn append(self, key: &'static str, line: &mut Vec<u8>) {
        if let Some(value) = self {
            value.append(key, line);
        }
    }
}

/// Fields whose value is appended by a function of its own, behind the key.
macro_rules! values {
    ($($type:ty: |$value:ident, $line:ident| $append:expr;)+) => {$(
        impl Value for $type {
            #[inline(always)]
            fn append(self, key: &'static str, $line: &mut Vec<u8>) {
                let $value = self;
                $line.extend_from_slice(key.as_bytes());
                $append;
            }
        }
    )+};
}

values! {
    &str: |text, line| append_text(line, text);
    Word<'_>: |word, line| append_quoted(line, word.0);
    u64: |number, line| append_number(line, number);
    u16: |number, line| append_number(line, number.into());
    u8: |number, line| append_number(line, number.into());
    bool: |yes, line| line.extend_from_slice(if yes { b"true" } else { b"false" });
    InMillis: |spent, line| append_millis(line, spent.0);
    IpAddr: |address, line| append_ip(line, address);
    SocketAddr: |address, line| append_endpoint(line, address);
}

fn append_quoted(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    line.extend_from_slice(text.as_bytes());
    line.push(b'"');
}

fn append_text(line: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        return append_quoted(line, text);
    }
    line.push(b'"');
    text.chars().for_each(|character| append_character(line, character));
    line.push(b'"');
}

fn append_character(line: &mut Vec<u8>, character: char) {
    match character {
        '"' => line.extend_from_slice(br#"\""#),
        '\\' => line.extend_from_slice(br"\\"),
        '\n' => line.extend_from_slice(br"\n"),
        '\r' => line.extend_from_slice(br"\r"),
        '\t' => line.extend_from_slice(br"\t"),
        '\u{8}' => line.extend_from_slice(br"\b"),
        '\u{c}' => line.extend_from_slice(br"\f"),
        ' '..='~' => line.push(character as u8),
        // Also DEL, the C1 controls that some terminals obey, line separators and direction marks.
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(line, "\\u{unit:04x}").expect("writing to memory does not fail");
            }
        }
    }
}

/// Whether a text stands in a line as it is. Eight bytes at a time; the last eight are looked at once more rather than one by
/// one.
fn is_plain(text: &[u8]) -> bool {
    let (words, _) = text.as_chunks::<8>();
    match text.last_chunk::<8>() {
        Some(last) => words.iter().all(is_plain_word) && is_plain_word(last),
        None => text.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')),
    }
}

/// Looks for bytes that are below 0x20, a quote, a backslash, DEL or beyond: each leaves the high bit of a byte set (Sean
/// Eron Anderson, "Bit Twiddling Hacks", "Determine if a word has a byte less than n"). What borrows and carries between bytes
/// is only where such a byte is below them.
fn is_plain_word(bytes: &[u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let word = u64::from_le_bytes(*bytes);
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\') | word.wrapping_add(ONES) | word) & HIGH == 0
}

fn append_number(line: &mut Vec<u8>, number: u64) {
    // Half of the numbers of a line have one digit.
    match number {
        0..10 => line.push(b'0' + number as u8),
        _ => line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
    }
}

/// As serde_json writes [`millis`](crate::policy::server_timing::millis), at least up to thirty years, where doubles begin to
/// miss microseconds.
fn append_millis(line: &mut Vec<u8>, spent: Duration) {
    let whole = spent.as_secs().saturating_mul(1_000).saturating_add(spent.subsec_millis().into());
    append_number(line, whole);
    let micros = spent.subsec_micros() % 1_000;
    let digit = |unit| b'0' + (micros / unit % 10) as u8;
    let fraction = [b'.', digit(100), digit(10), digit(1)];
    let shown = match fraction {
        [.., b'0', b'0'] => 2,
        [.., b'0'] => 3,
        _ => 4,
    };
    line.extend_from_slice(&fraction[..shown]);
}

fn append_ip(line: &mut Vec<u8>, address: IpAddr) {
    line.push(b'"');
    line.extend_from_slice(IpText::of(address).as_bytes());
    line.push(b'"');
}

fn append_endpoint(line: &mut Vec<u8>, address: SocketAddr) {
    line.push(b'"');
    match address {
        SocketAddr::V4(address) => {
            line.extend_from_slice(IpText::of((*address.ip()).into()).as_bytes());
            line.push(b':');
            append_number(line, address.port().into());
        }
        SocketAddr::V6(address) => write!(line, "{address}").expect("writing to memory does not fail"),
    }
    line.push(b'"');
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::policy::server_timing::millis;

    const ROUNDS: usize = 10_000;

    /// What is written of a value, without its key.
    fn written(value: impl Value) -> String {
        let mut line = Vec::new();
        value.append(key!("k"), &mut line);
        String::from_utf8(line).unwrap().strip_prefix(r#","k":"#).unwrap().to_owned()
    }

    fn as_serde_writes(value: impl serde::Serialize) -> String {
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn text_of_ascii_is_what_serde_json_writes() {
        let mut random = fastrand::Rng::with_seed(1);
        for round in 0..ROUNDS {
            // Half of them hold nothing that is escaped, but for one byte at any place.
            let bytes = if round % 2 == 0 { b' '..b'~' } else { 0..0x7f };
            let mut text: String =
                (0..random.usize(..40)).map(|_| char::from(random.u8(bytes.clone()))).collect();
            if !text.is_empty() && random.bool() {
                let at = random.usize(..text.len());
                text.replace_range(at..=at, &char::from(random.u8(..0x7f)).to_string());
            }
            assert_eq!(written(&*text), as_serde_writes(&text));
        }
    }

    #[test]
    fn every_text_is_printable_ascii_and_read_as_what_it_was() {
        let mut random = fastrand::Rng::with_seed(2);
        let odd = ['\u{7f}', '\u{80}', '\u{9b}', '\u{2028}', '\u{202e}', '\u{ffff}', '\u{1f980}', '"', 'a'];
        for _ in 0..ROUNDS {
            let any = |random: &mut fastrand::Rng| match random.u8(..3) {
                0 => random.char(..),
                1 => odd[random.usize(..odd.len())],
                _ => 'x',
            };
            let text: String = (0..random.usize(..20)).map(|_| any(&mut random)).collect();
            let shown = written(&*text);
            assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{shown}");
            assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }

    #[test]
    fn every_single_byte_at_every_place_is_seen() {
        for byte in 0..=u8::MAX {
            let is_odd = !(b' '..=b'~').contains(&byte) || b"\"\\".contains(&byte);
            for (length, at) in (1..20).flat_map(|length| (0..length).map(move |at| (length, at))) {
                let mut text = vec![b'a'; length];
                text[at] = byte;
                assert_eq!(is_plain(&text), !is_odd, "{byte} at {at} of {length}");
            }
        }
        assert!(is_plain(b""));
    }

    #[test]
    fn times_are_what_serde_json_writes_of_milliseconds() {
        let mut random = fastrand::Rng::with_seed(3);
        let longest = 900_000_000_000_000;
        let check = |micros: u64, nanos: u64| {
            let spent = Duration::from_micros(micros) + Duration::from_nanos(nanos);
            assert_eq!(written(InMillis(spent)), as_serde_writes(millis(spent)), "{spent:?}");
        };
        (0..3_000).for_each(|micros| check(micros, 999));
        for round in 0..ROUNDS {
            check(random.u64(..longest >> (round % 48)), 0);
        }
        assert_eq!(written(InMillis(Duration::MAX)), "18446744073709551615.999");
    }

    #[test]
    fn numbers_and_addresses_are_what_serde_json_writes() {
        let mut random = fastrand::Rng::with_seed(4);
        for round in 0..ROUNDS {
            let number = random.u64(..) >> (round % 64);
            assert_eq!(written(number), as_serde_writes(number));
            let octets = [(); 4].map(|()| random.u8(..) >> random.u8(..8));
            let groups = [(); 8].map(|()| if random.bool() { 0 } else { random.u16(..) });
            for address in [IpAddr::from(octets), Ipv6Addr::from(groups).into()] {
                let endpoint = SocketAddr::new(address, random.u16(..));
                assert_eq!(written(address), as_serde_writes(address));
                assert_eq!(written(endpoint), as_serde_writes(endpoint));
            }
        }
        let all: Vec<(bool, u8)> = (0..=u8::MAX).map(|byte| (byte % 2 == 0, byte)).collect();
        for (yes, byte) in all {
            assert_eq!((written(yes), written(byte)), (as_serde_writes(yes), as_serde_writes(byte)));
        }
    }

    #[test]
    fn what_is_absent_leaves_nothing_and_lists_have_all_their_objects() {
        let objects = |many: u8| {
            let mut bytes = Vec::new();
            let mut line = Line::begin(&mut bytes, r#"{"time":""#, b"2026-11-20T10:00:00.000Z");
            line.field(key!("none"), None::<u8>).field(key!("one"), Some(1_u8));
            let numbers: Vec<u8> = (0..many).collect();
            line.list(key!("list"), &numbers, |line, number| {
                line.constant(r#""same":true"#).field(key!("number"), *number);
            });
            line.end();
            String::from_utf8(bytes).unwrap()
        };
        let line = |list: &str| format!("{{\"time\":\"2026-11-20T10:00:00.000Z\",\"one\":1{list}}}\n");
        assert_eq!(objects(0), line(""));
        assert_eq!(objects(1), line(r#","list":[{"same":true,"number":0}]"#));
        assert_eq!(objects(2), line(r#","list":[{"same":true,"number":0},{"same":true,"number":1}]"#));
    }
}
