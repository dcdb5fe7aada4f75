//! W3C Trace Context: whose trace a request belongs to, and what its cell is told of it
//! (<https://www.w3.org/TR/trace-context/>, level 1; of level 2, the flag of random ids is passed on). Ids are arguments.
//!
//! A client that is not trusted decides nothing: neither which trace it is, nor whether it is kept.

use std::net::IpAddr;

use http::header::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use super::canary::Share;
use super::forwarding::{TRACEPARENT, TRACESTATE};
use super::hex::write_hex;

/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const TRACEPARENT_BYTES: usize = 55;

/// The trace is kept (section 3.2.2.5.1).
const SAMPLED: u8 = 0b01;

/// Its id is random (level 2). Not set for traces of our own, although they are: level 1 wants all other flags to be zero, and
/// some who read them refuse what is not.
const RANDOM: u8 = 0b10;

/// Most entries of a `tracestate` (section 3.3.1.1).
const MAX_ENTRIES: usize = 32;

/// So many characters of it everybody must pass on (section 3.3.1.5); more are not.
const MAX_STATE: usize = 512;

/// Entries beyond this go first where it is too long.
const LARGE_ENTRY: usize = 128;

/// Longest name of an entry.
const MAX_KEY: usize = 256;

/// Longest value of one.
const MAX_VALUE: usize = 256;

/// Whom to follow, and what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceRules {
    /// Networks of clients whose trace is continued.
    pub trust_from: Vec<IpNet>,
    /// The share of traces that begin here and are kept; `None` is none.
    pub ratio: Option<Share>,
    /// Whether failures are kept, too.
    pub failures: bool,
}

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Of the format; 0 is the only one that exists.
    pub version: u8,
    /// The trace.
    pub trace: u128,
    /// The span of whoever sent it.
    pub span: u64,
    /// Flags.
    flags: u8,
}

/// Random numbers for one request.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// For a trace that begins here.
    pub trace: u128,
    /// For the request.
    pub span: u64,
    /// For what its cell is asked.
    pub to_cell: u64,
}

/// The trace of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The trace.
    pub trace: u128,
    /// The span of the request.
    pub span: u64,
    /// The span of what its cell is asked.
    pub to_cell: u64,
    /// The client's span, whose trace this is.
    pub parent: Option<u64>,
    /// Trace and span that a client named whose trace this is not.
    pub link: Option<(u128, u64)>,
    /// Whether it is kept, and its cell is to keep its part.
    pub sampled: bool,
    /// What becomes of the client's `tracestate`.
    pub state: State,
    random: bool,
}

/// What becomes of a `tracestate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It passes as it is.
    AsItIs,
    /// It is too long, and this is what is left.
    Cut(HeaderValue),
    /// It is of another trace, or is none.
    Gone,
}

impl Traced {
    /// The trace of a request with these fields, of this client.
    pub fn of(rules: &TraceRules, headers: &HeaderMap, client: IpAddr, fresh: Fresh) -> Self {
        let parent = Parent::read(headers);
        let is_trusted = || rules.trust_from.iter().any(|network| network.contains(&client));
        let (span, to_cell) = (fresh.span.max(1), fresh.to_cell.max(1));
        match parent {
            Some(parent) if is_trusted() => Self {
                trace: parent.trace,
                span,
                to_cell,
                parent: Some(parent.span),
                link: None,
                sampled: parent.flags & SAMPLED != 0,
                state: state(headers),
                random: parent.flags & RANDOM != 0,
            },
            untrusted => {
                let trace = fresh.trace.max(1);
                Self {
                    trace,
                    span,
                    to_cell,
                    parent: None,
                    link: untrusted.map(|parent| (parent.trace, parent.span)),
                    // The part that everybody who samples by ids looks at is the right-hand one.
                    sampled: rules.ratio.is_some_and(|share| share.has(trace as u64)),
                    state: State::Gone,
                    random: false,
                }
            }
        }
    }

    /// `traceparent` for the cell: its parent is our span.
    pub fn to_cell(&self) -> [u8; TRACEPARENT_BYTES] {
        let flags = if self.sampled { SAMPLED } else { 0 } | if self.random { RANDOM } else { 0 };
        traceparent(self.trace, self.to_cell, flags)
    }
}

/// A `traceparent` of version 00.
pub(super) fn traceparent(trace: u128, span: u64, flags: u8) -> [u8; TRACEPARENT_BYTES] {
    let mut text = [b'-'; TRACEPARENT_BYTES];
    write_hex(&[0], &mut text[..2]);
    write_hex(&trace.to_be_bytes(), &mut text[3..35]);
    write_hex(&span.to_be_bytes(), &mut text[36..52]);
    write_hex(&[flags], &mut text[53..]);
    text
}

impl Parent {
    /// The one `traceparent` of a request, where it is one (section 3.2). A later version is read as far as this one
    /// goes, as section 4.3 asks.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let text = value.as_bytes();
        let (known, rest) = text.split_at_checked(TRACEPARENT_BYTES)?;
        let hyphens = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let version = u8::try_from(number(&known[..2])?).ok()?;
        let longer = version > 0 && rest.first() == Some(&b'-');
        let parent = Self {
            version,
            trace: number(&known[3..35])?,
            span: u64::try_from(number(&known[36..52])?).ok()?,
            flags: u8::try_from(number(&known[53..])?).ok()?,
        };
        let good = hyphens && version != 0xff && parent.trace != 0 && parent.span != 0;
        (good && (rest.is_empty() || longer)).then_some(parent)
    }
}

/// Lower-case hexadecimal digits as a number.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(nibble))
    })
}

/// What becomes of the `tracestate` of a trace that goes on. Nothing of ours is added, so what is well-formed and short enough
/// passes untouched.
fn state(headers: &HeaderMap) -> State {
    let lines = || headers.get_all(TRACESTATE).iter().map(HeaderValue::as_bytes);
    if lines().next().is_none() {
        return State::AsItIs;
    }
    let members = || lines().flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let entries: Vec<&[u8]> = members().filter(|member| !member.is_empty()).take(MAX_ENTRIES + 1).collect();
    if entries.len() > MAX_ENTRIES || !entries.iter().all(|entry| is_entry(entry)) {
        return State::Gone;
    }
    if lines().map(|line| line.len() + 1).sum::<usize>() <= MAX_STATE + 1 {
        return State::AsItIs;
    }
    let joined = shortened(entries).join(&b',');
    HeaderValue::from_bytes(&joined).ok().filter(|_| !joined.is_empty()).map_or(State::Gone, State::Cut)
}

/// As many entries as there is room for: large ones go first, then those at the end (section 3.3.1.5).
fn shortened(mut entries: Vec<&[u8]>) -> Vec<&[u8]> {
    let length = |entries: &[&[u8]]| entries.iter().map(|entry| entry.len() + 1).sum::<usize>();
    while length(&entries) > MAX_STATE + 1 {
        match entries.iter().rposition(|entry| entry.len() > LARGE_ENTRY) {
            Some(large) => drop(entries.remove(large)),
            None => drop(entries.pop()),
        }
    }
    entries
}

/// `key=value` (section 3.3.1.3).
fn is_entry(entry: &[u8]) -> bool {
    let Some(at) = entry.iter().position(|byte| *byte == b'=') else { return false };
    let (key, value) = (&entry[..at], &entry[at + 1..]);
    let of_key = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let first = key.first().is_some_and(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
    let one_at = key.iter().filter(|byte| **byte == b'@').count() <= 1;
    let of_value = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'=');
    let key_is = first && one_at && key.len() <= MAX_KEY && key.iter().all(of_key);
    key_is && (1..=MAX_VALUE).contains(&value.len()) && value.iter().all(of_value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const THEIRS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const FRESH: Fresh = Fresh { trace: 7, span: 8, to_cell: 9 };

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn rules(ratio: Option<Share>) -> TraceRules {
        TraceRules { trust_from: vec!["10.0.0.0/8".parse().unwrap()], ratio, failures: true }
    }

    fn traced(fields: &[(&'static str, &str)], client: &str, ratio: Option<Share>) -> Traced {
        Traced::of(&rules(ratio), &headers(fields), client.parse().unwrap(), FRESH)
    }

    #[test]
    fn a_traceparent_is_read_as_the_recommendation_has_it() {
        let read = |text: &str| Parent::read(&headers(&[("traceparent", text)]));
        let parent = read(THEIRS).unwrap();
        let expect = (0, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7, 1);
        assert_eq!((parent.version, parent.trace, parent.span, parent.flags), expect);
        // A version to come may say more behind a hyphen.
        for text in
            [THEIRS.replace("00-4", "cc-4"), THEIRS.replace("00-4", "cc-4") + "-what-the-future-brings"]
        {
            assert!(read(&text).is_some(), "{text}");
        }
        for text in [
            "",
            "rubbish",
            &THEIRS[..54],
            &[THEIRS, "-"].concat(),
            &[THEIRS, "-more"].concat(),
            &[&THEIRS.replace("00-4", "cc-4"), ".more"].concat(),
            &THEIRS.replace("00-4", "ff-4"),
            &THEIRS.to_uppercase(),
            &THEIRS.replace('-', "_"),
            &THEIRS.replace("b7-01", "b7-0x"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "é",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        let twice = headers(&[("traceparent", THEIRS), ("traceparent", THEIRS)]);
        assert_eq!(Parent::read(&twice), None);
    }

    #[test]
    fn who_is_trusted_is_followed_and_nobody_else() {
        let all = Some(Share::percent(100));
        let fields = [("traceparent", THEIRS), ("tracestate", "vendor=1")];
        let followed = traced(&fields, "10.1.2.3", None);
        assert_eq!(
            (followed.parent, followed.link, followed.sampled),
            (Some(0x00f0_67aa_0ba9_02b7), None, true)
        );
        assert_eq!(&followed.to_cell(), b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000009-01");
        assert_eq!(followed.state, State::AsItIs);
        let unsampled = THEIRS.replace("b7-01", "b7-00");
        assert!(
            !traced(&[("traceparent", &unsampled)], "10.1.2.3", all).sampled,
            "its word counts both ways"
        );
        let random = THEIRS.replace("b7-01", "b7-ff");
        let passed = traced(&[("traceparent", &random)], "10.1.2.3", all).to_cell();
        assert!(passed.ends_with(b"-03"), "{passed:?}: flags that nobody knows stay behind");

        let own = traced(&fields, "192.0.2.1", None);
        let link = Some((0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7));
        assert_eq!((own.parent, own.link, own.sampled), (None, link, false), "it cannot have itself kept");
        assert_eq!(&own.to_cell(), b"00-00000000000000000000000000000007-0000000000000009-00");
        assert_eq!(own.state, State::Gone);
        assert!(traced(&fields, "192.0.2.1", all).sampled);
        let none = traced(&[("traceparent", "rubbish"), ("tracestate", "vendor=1")], "10.1.2.3", all);
        assert_eq!((none.trace, none.parent, none.link, none.state), (7, None, None, State::Gone));
    }

    #[test]
    fn ids_are_never_zero() {
        let zero = Fresh { trace: 0, span: 0, to_cell: 0 };
        let traced = Traced::of(&rules(None), &HeaderMap::new(), "192.0.2.1".parse().unwrap(), zero);
        assert_eq!((traced.trace, traced.span, traced.to_cell), (1, 1, 1));
    }

    #[test]
    fn the_ratio_is_of_the_traces() {
        let half = TraceRules { trust_from: Vec::new(), ratio: Some(Share::percent(50)), failures: true };
        let none = HeaderMap::new();
        let client = "192.0.2.1".parse().unwrap();
        let kept = (0..1_000_u64).filter(|n| {
            let trace = u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            Traced::of(&half, &none, client, Fresh { trace, span: 1, to_cell: 1 }).sampled
        });
        let kept = kept.count();
        assert!((450..550).contains(&kept), "{kept}");
    }

    #[test]
    fn a_tracestate_is_kept_within_its_limits() {
        let check = |values: &[&str], expect: State| {
            let mut fields = vec![("traceparent", THEIRS)];
            fields.extend(values.iter().map(|value| ("tracestate", *value)));
            assert_eq!(traced(&fields, "10.1.2.3", None).state, expect, "{values:?}");
        };
        check(&[], State::AsItIs);
        check(&["a=1, b@c=2 ,,d/e=x y", "f=3"], State::AsItIs);
        let many = |count: usize| (0..count).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
        check(&[&many(32)], State::AsItIs);
        check(&[&many(33)], State::Gone);
        for bad in ["a", "=1", "a=", "A=1", "a=1=2", "a=\u{e9}", "a@b@c=1", "_a=1"] {
            check(&[bad], State::Gone);
        }
        let value = |bytes: usize| "v".repeat(bytes);
        check(&[&format!("a={}", value(257))], State::Gone);
        // Large ones go first, wherever they stand; then those at the end.
        let (large, small) = (format!("l={}", value(200)), format!("s={}", value(100)));
        let given = [&*small, &large, &small, &small, &small].join(",");
        let left = [&*small, &small, &small, &small].join(",");
        check(&[&given], State::Cut(left.parse().unwrap()));
        let given = [&*small, &small, &small, &small, &small, &small].join(",");
        check(&[&given], State::Cut(left.parse().unwrap()));
    }
}
