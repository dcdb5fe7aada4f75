//! Where a request comes from: the client's address behind trusted proxies, and the ids that follow it
//! through logs and traces.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use super::{TRACEPARENT, X_FORWARDED_FOR, X_REQUEST_ID};

/// Most proxies between a client and us that are believed; each of them is one of ours.
const MAX_HOPS: usize = 16;

/// Most bytes of X-Forwarded-For that are read, from the right: 16 addresses with ports and blanks.
const MAX_FORWARDED_BYTES: usize = 1024;

/// The address of the client: the peer, or, where the peer is a trusted proxy, the right-most address
/// in X-Forwarded-For that is not one. What cannot be read ends the search: everything left of it is
/// anybody's word.
pub fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut client = peer.to_canonical();
    let mut bytes = 0;
    let lines = headers.get_all(X_FORWARDED_FOR);
    let hops = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops.take(MAX_HOPS) {
        bytes += hop.len() + 1;
        if !is_trusted(client) || bytes > MAX_FORWARDED_BYTES {
            break;
        }
        match address(hop) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// One hop: an address, in brackets or not, with a port or without (some balancers add it).
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// The client's request id, where it sent exactly one that is safe to write to logs.
pub fn kept_request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = headers.get_all(X_REQUEST_ID).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    // Eight characters are the fewest that tell requests of a day apart, 128 the most that fit a log
    // line beside everything else.
    ((8..=128).contains(&value.len()) && value.as_bytes().iter().all(plain)).then_some(value)
}

/// A new traceparent made of random bytes, unsampled; `None` where the client's own is valid and stays
/// as it is.
pub fn traceparent(headers: &HeaderMap, entropy: [u8; 24]) -> Option<HeaderValue> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    if let (Some(value), None) = (values.next(), values.next())
        && is_traceparent(value.as_bytes())
    {
        return None;
    }
    let mut text = *b"00-................................-................-00";
    let (trace, span) = entropy.split_at(16);
    for (half, place) in [(trace, 3), (span, 36)] {
        for (byte, pair) in half.iter().zip(text[place..].chunks_exact_mut(2)) {
            pair.copy_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
        }
        // All zeros is no id (W3C Trace Context section 3.2.2.3); one time in 2^64 it comes to this.
        if half.iter().all(|byte| *byte == 0) {
            text[place] = b'1';
        }
    }
    HeaderValue::from_bytes(&text).ok()
}

/// `version-traceid-parentid-flags` in lower-case hex (W3C Trace Context section 3.2.2). Versions after
/// 00 may add more behind another hyphen; ff is no version.
fn is_traceparent(value: &[u8]) -> bool {
    let lower_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let id = |range: std::ops::Range<usize>| {
        value[range.clone()].iter().all(lower_hex) && value[range].iter().any(|byte| *byte != b'0')
    };
    value.len() >= 55
        && value[..2].iter().all(lower_hex)
        && &value[..2] != b"ff"
        && (value.len() == 55 || (&value[..2] != b"00" && value[55] == b'-'))
        && [value[2], value[35], value[52]] == *b"---"
        && id(3..35)
        && id(36..52)
        && value[53..55].iter().all(lower_hex)
}

const fn hex(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + nibble - 10,
    }
}
