//! The PROXY protocol, versions 1 and 2, as a function of the bytes received so far.
//!
//! After HAProxy's `doc/proxy-protocol.txt` (section numbers below are its). No socket, no trust: who
//! may send a header, and how long it may take, is for [`handshake`](super::handshake) to know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header that is read. A version 1 line has at most 107 bytes (section 2.1); a version 2
/// header needs at most 232 for its addresses, and the known TLVs (an AWS endpoint id, TLS details with
/// a certificate name) stay below 1 KiB, while the format would allow 64 KiB.
pub const MAX_HEADER_LEN: usize = 4096;

/// Longest version 1 line, with its CRLF (section 2.1).
const MAX_V1_LEN: usize = 107;

const V1_PREFIX: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, length (section 2.2).
const V2_FIXED_LEN: usize = 16;

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header; read on.
    Partial,
    /// A header of `len` bytes; what follows belongs to the client.
    Complete {
        /// How long the header is.
        len: usize,
        /// The client's addresses. `None` for LOCAL and UNKNOWN: the balancer speaks for itself, or
        /// for a client that it cannot name, and the socket's addresses stand.
        addresses: Option<Addresses>,
    },
    /// No header, and nothing that follows can make it one.
    Invalid(Fault),
}

/// Both ends of the client's own connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Neither `PROXY ` nor the signature of version 2.
    #[error("the connection does not begin with a PROXY protocol header")]
    NoSignature,
    /// More than [`MAX_HEADER_LEN`], or a version 1 line over 107 bytes.
    #[error("the PROXY header is longer than allowed")]
    TooLong,
    /// A version 1 line that is not `PROXY TCP4|TCP6 source destination port port`.
    #[error("the PROXY version 1 line is malformed")]
    MalformedLine,
    /// A version, command, family or transport that is not defined, or not for TCP.
    #[error("the PROXY version 2 header names an unknown version, command or address family")]
    UnknownKind,
    /// Addresses do not fit the announced length.
    #[error("the PROXY version 2 header is too short for its addresses")]
    TooShort,
}

/// Reads a header off the front of a connection. Given more bytes, a `Partial` may become anything;
/// `Complete` and `Invalid` stay what they are.
pub fn parse(bytes: &[u8]) -> Parsed {
    if begins(bytes, V1_PREFIX) {
        parse_v1(bytes)
    } else if begins(bytes, V2_SIGNATURE) {
        parse_v2(bytes)
    } else {
        Parsed::Invalid(Fault::NoSignature)
    }
}

/// Whether `bytes` begin with `prefix`, as far as they go.
fn begins(bytes: &[u8], prefix: &[u8]) -> bool {
    let common = bytes.len().min(prefix.len());
    bytes[..common] == prefix[..common]
}

/// Section 2.1.
fn parse_v1(bytes: &[u8]) -> Parsed {
    let window = &bytes[..bytes.len().min(MAX_V1_LEN)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return match window.len() {
            MAX_V1_LEN => Parsed::Invalid(Fault::TooLong),
            _ => Parsed::Partial,
        };
    };
    let line = window[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    match line.and_then(v1_addresses) {
        Some(addresses) => Parsed::Complete { len: end + 1, addresses },
        None => Parsed::Invalid(Fault::MalformedLine),
    }
}

/// The addresses of a version 1 line without its CRLF; `Some(None)` for `UNKNOWN`, after which
/// anything may stand.
fn v1_addresses(line: &str) -> Option<Option<Addresses>> {
    let rest = line.strip_prefix("PROXY ")?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let mut words = rest.split(' ');
    let family = words.next()?;
    let mut address = || {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address()?, address()?);
    let (source_port, destination_port) = (v1_port(words.next()?)?, v1_port(words.next()?)?);
    match words.next() {
        None => Some(Some(Addresses {
            source: canonical(source, source_port),
            destination: canonical(destination, destination_port),
        })),
        Some(_) => None,
    }
}

/// Decimal digits without a leading zero (section 2.1).
fn v1_port(word: &str) -> Option<u16> {
    match word.as_bytes() {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] if word.bytes().all(|byte| byte.is_ascii_digit()) => word.parse().ok(),
        _ => None,
    }
}

/// Section 2.2.
fn parse_v2(bytes: &[u8]) -> Parsed {
    // Judged byte by byte, so that a hopeless header is not waited for.
    if bytes.get(12).is_some_and(|version| !matches!(version, 0x20 | 0x21)) {
        return Parsed::Invalid(Fault::UnknownKind);
    }
    let Some((fixed, _)) = bytes.split_first_chunk::<V2_FIXED_LEN>() else {
        return Parsed::Partial;
    };
    let len = V2_FIXED_LEN + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if len > MAX_HEADER_LEN {
        return Parsed::Invalid(Fault::TooLong);
    }
    let Some(header) = bytes.get(..len) else { return Parsed::Partial };
    let body = &header[V2_FIXED_LEN..];
    let addresses = match (fixed[12], fixed[13]) {
        // LOCAL: whatever family and addresses it carries are to be ignored.
        (0x20, _) => Ok(None),
        // An unspecified family, or a Unix socket: no IP address to be had.
        (_, 0x00) => Ok(None),
        (_, 0x31) if body.len() >= 216 => Ok(None),
        (_, 0x31) => Err(Fault::TooShort),
        (_, 0x11) => v2_addresses::<4>(body).map(Some),
        (_, 0x21) => v2_addresses::<16>(body).map(Some),
        _ => Err(Fault::UnknownKind),
    };
    match addresses {
        Ok(addresses) => Parsed::Complete { len, addresses },
        Err(fault) => Parsed::Invalid(fault),
    }
}

/// Two addresses of `N` bytes and two ports; TLVs may follow and are skipped (section 2.2).
fn v2_addresses<const N: usize>(body: &[u8]) -> Result<Addresses, Fault>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = body.split_first_chunk::<N>().ok_or(Fault::TooShort)?;
    let (destination, rest) = rest.split_first_chunk::<N>().ok_or(Fault::TooShort)?;
    let (ports, _tlvs) = rest.split_first_chunk::<4>().ok_or(Fault::TooShort)?;
    Ok(Addresses {
        source: canonical(IpAddr::from(*source), u16::from_be_bytes([ports[0], ports[1]])),
        destination: canonical(IpAddr::from(*destination), u16::from_be_bytes([ports[2], ports[3]])),
    })
}

/// An IPv4 client must not escape an IPv4 rule by being written as `::ffff:192.0.2.1`.
fn canonical(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// `LOCAL`, or `source>destination`, or the fault.
    fn check(bytes: &[u8], expect: &str) {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        let mut followed = bytes.to_vec();
        followed.extend_from_slice(b"GET / HTTP/1.1\r\n");
        let found = match parse(&followed) {
            Parsed::Partial => "partial".to_owned(),
            Parsed::Invalid(fault) => format!("{fault:?}"),
            Parsed::Complete { len, addresses } => {
                assert_eq!(len, bytes.len(), "{shown:?}");
                match addresses {
                    None => "LOCAL".to_owned(),
                    Some(both) => format!("{}>{}", both.source, both.destination),
                }
            }
        };
        assert_eq!(found, expect, "{shown:?}");
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        header.extend(body);
        header
    }

    const FOUR: [u8; 12] = [203, 0, 113, 9, 198, 51, 100, 1, 0x15, 0xb3, 0x01, 0xbb];

    fn six(source: &str) -> Vec<u8> {
        let mut body = source.parse::<Ipv6Addr>().unwrap().octets().to_vec();
        body.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
        body.extend([0x15, 0xb3, 0x01, 0xbb]);
        body
    }

    #[test]
    fn version_1() {
        check(b"PROXY TCP4 203.0.113.9 198.51.100.1 5555 443\r\n", "203.0.113.9:5555>198.51.100.1:443");
        check(b"PROXY TCP6 2001:db8::1 2001:db8::2 5555 443\r\n", "[2001:db8::1]:5555>[2001:db8::2]:443");
        check(b"PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n", "203.0.113.9:1>[::1]:2");
        check(b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", "0.0.0.0:0>255.255.255.255:65535");
        check(b"PROXY UNKNOWN\r\n", "LOCAL");
        check(b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "LOCAL");
        for line in [
            "PROXY \r\n",
            "PROXY  TCP4 203.0.113.9 198.51.100.1 5555 443\r\n",
            "PROXY TCP4 203.0.113.9 198.51.100.1 5555 443 \r\n",
            "PROXY TCP4 203.0.113.9 198.51.100.1 5555 443 x\r\n",
            "PROXY TCP4 203.0.113.9 198.51.100.1 5555\r\n",
            "PROXY TCP4 203.0.113.9 198.51.100.1 05555 443\r\n",
            "PROXY TCP4 203.0.113.9 198.51.100.1 +5555 443\r\n",
            "PROXY TCP4 203.0.113.9 198.51.100.1 65536 443\r\n",
            "PROXY TCP4 203.0.113.09 198.51.100.1 5555 443\r\n",
            "PROXY TCP4 203.0.113 198.51.100.1 5555 443\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 5555 443\r\n",
            "PROXY TCP6 203.0.113.9 198.51.100.1 5555 443\r\n",
            "PROXY UDP4 203.0.113.9 198.51.100.1 5555 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY TCP4 203.0.113.9 198.51.100.1 5555 443\n",
            "PROXY TCP4 203.0.113.9\r198.51.100.1 5555 443\r\n",
            "PROXY TCP4 203.0.113.9 198.51.100.1 5555 443\r\r\n",
        ] {
            check(line.as_bytes(), "MalformedLine");
        }
        check(b"PROXY TCP4 \xff\xfe 198.51.100.1 5555 443\r\n", "MalformedLine");
    }

    #[test]
    fn a_version_1_line_ends_within_107_bytes() {
        let line = |len: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16)).into_bytes();
        check(&line(107), "LOCAL");
        check(&line(108), "TooLong");
        assert_eq!(parse(&line(200)[..106]), Parsed::Partial);
        assert_eq!(parse(&line(200)[..107]), Parsed::Invalid(Fault::TooLong));
    }

    #[test]
    fn version_2() {
        check(&v2(0x21, 0x11, &FOUR), "203.0.113.9:5555>198.51.100.1:443");
        check(&v2(0x21, 0x21, &six("2001:db8::1")), "[2001:db8::1]:5555>[2001:db8::2]:443");
        check(&v2(0x21, 0x21, &six("::ffff:203.0.113.9")), "203.0.113.9:5555>[2001:db8::2]:443");
        // TLVs: an AWS VPC endpoint id (0xea) and padding (0x04).
        let with_tlvs = [&FOUR[..], &[0xea, 0, 3, 1, b'v', b'p', 0x04, 0, 1, 0]].concat();
        check(&v2(0x21, 0x11, &with_tlvs), "203.0.113.9:5555>198.51.100.1:443");
        check(&v2(0x20, 0x00, &[]), "LOCAL");
        check(&v2(0x20, 0x11, &FOUR), "LOCAL");
        check(&v2(0x20, 0x7f, &[1, 2, 3]), "LOCAL");
        check(&v2(0x21, 0x00, &[]), "LOCAL");
        check(&v2(0x21, 0x31, &[0; 216]), "LOCAL");
        check(&v2(0x21, 0x31, &[0; 215]), "TooShort");
        check(&v2(0x21, 0x11, &FOUR[..11]), "TooShort");
        check(&v2(0x21, 0x21, &six("::1")[..35]), "TooShort");
        for (command, family) in
            [(0x22, 0x11), (0x11, 0x11), (0x01, 0x11), (0x21, 0x12), (0x21, 0x22), (0x21, 0x41), (0x21, 0x10)]
        {
            check(&v2(command, family, &FOUR), "UnknownKind");
        }
        check(
            &v2(0x21, 0x11, &[&FOUR[..], &[0; MAX_HEADER_LEN - 28]].concat()),
            "203.0.113.9:5555>198.51.100.1:443",
        );
        check(&v2(0x21, 0x11, &[0; MAX_HEADER_LEN - 15]), "TooLong");
    }

    #[test]
    fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
        for bytes in
            [&b"G"[..], b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"\r\n\r\n\0\r\nQUIX", b"PROXX", b"proxy "]
        {
            assert_eq!(parse(bytes), Parsed::Invalid(Fault::NoSignature), "{bytes:?}");
        }
        for bytes in [&b""[..], b"P", b"PROXY", b"\r", b"\r\n\r\n\0\r\nQUIT", V2_SIGNATURE] {
            assert_eq!(parse(bytes), Parsed::Partial, "{bytes:?}");
        }
    }

    /// Bytes that are often nearly a header: pure noise would never get past the signature.
    fn nearly_a_header() -> impl Strategy<Value = Vec<u8>> {
        let noise = || prop::collection::vec(any::<u8>(), 0..300);
        let four =
            (any::<[u8; 12]>(), noise()).prop_map(|(addresses, tlvs)| [&addresses[..], &tlvs].concat());
        let kinds = (
            prop::sample::select(vec![0x20u8, 0x21, 0x22]),
            prop::sample::select(vec![0u8, 0x11, 0x21, 0x31]),
        );
        let two = (kinds, prop_oneof![four, noise()])
            .prop_map(|((command, family), body)| v2(command, family, &body));
        let words = prop::sample::select(vec![
            "TCP4", "TCP6", "UNKNOWN", "1.2.3.4", "::1", "80", "0", " ", "\r\n", "x",
        ]);
        let one = prop::collection::vec(words, 0..12)
            .prop_map(|words| format!("PROXY {}\r\n", words.join(" ")).into_bytes());
        let cut = (two, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        });
        prop_oneof![noise(), one, cut]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// However the bytes arrive, the answer is the same, found at the same byte.
        #[test]
        fn an_answer_does_not_depend_on_how_the_bytes_arrive(bytes in nearly_a_header()) {
            let mut first = None;
            for end in 0..=bytes.len() {
                match (parse(&bytes[..end]), first) {
                    (Parsed::Partial, None) => {}
                    (answer, None) => first = Some(answer),
                    (answer, Some(first)) => prop_assert_eq!(answer, first),
                }
            }
            if let Some(Parsed::Complete { len, .. }) = first {
                prop_assert!(len <= bytes.len() && len <= MAX_HEADER_LEN);
                prop_assert_eq!(parse(&bytes[..len - 1]), Parsed::Partial);
            }
        }
    }

    #[test]
    fn the_generator_reaches_every_answer() {
        use proptest::strategy::ValueTree;
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let (mut partial, mut complete, mut invalid) = (0, 0, 0);
        for _ in 0..2_000 {
            match parse(&nearly_a_header().new_tree(&mut runner).unwrap().current()) {
                Parsed::Partial => partial += 1,
                Parsed::Complete { .. } => complete += 1,
                Parsed::Invalid(_) => invalid += 1,
            }
        }
        assert!(partial > 0 && complete > 100 && invalid > 100, "{partial} {complete} {invalid}");
    }
}
