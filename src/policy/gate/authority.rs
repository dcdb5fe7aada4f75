//! An authority: a host name or address with an optional port, read strictly.

use std::net::Ipv6Addr;

use memchr::memchr;

use super::bytes::all;
use crate::policy::facts::Scheme;
use crate::policy::ids::MAX_LABEL_LEN;

/// Longest host name, RFC 1035 section 2.3.4, in text without the root's dot.
pub const MAX_HOST_LEN: usize = 253;

/// A host and, where given, a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// In the client's case, without one trailing dot. An IPv6 address keeps its brackets.
    pub host: &'a str,
    /// 1 to 65535.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`. User information, empty labels and ports,
    /// percent escapes and anything that is not ASCII are refused.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(after) => {
                let (address, port) = after.split_once(']')?;
                address.parse::<Ipv6Addr>().ok()?;
                let port = if port.is_empty() { None } else { Some(port.strip_prefix(':')?) };
                (&text[..address.len() + 2], port)
            }
            None => match memchr(b':', text.as_bytes()) {
                Some(colon) => (host_name(&text[..colon])?, Some(&text[colon + 1..])),
                None => (host_name(text)?, None),
            },
        };
        let port = match port {
            Some(port) => Some(parse_port(port)?),
            None => None,
        };
        Some(Self { host, port })
    }

    /// Whether both mean the same place: case, a trailing dot and the scheme's own port do not count.
    pub fn same_as(self, other: Self, scheme: Scheme) -> bool {
        let default = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }

    /// The host in lower case: borrowed where it already is, else written to `scratch`.
    pub fn lower_host(self, scratch: &'a mut String) -> &'a str {
        if all(self.host.as_bytes(), |byte| !byte.is_ascii_uppercase()) {
            return self.host;
        }
        scratch.clear();
        scratch.push_str(self.host);
        scratch.make_ascii_lowercase();
        scratch
    }
}

/// A host name or IPv4 address, without one trailing dot. Underscores are let through: such a name is
/// not served, and 421 says so better than 400.
fn host_name(text: &str) -> Option<&str> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let fits = |label: &[u8]| {
        (1..=MAX_LABEL_LEN).contains(&label.len())
            && all(label, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !matches!(label, [b'-', ..] | [.., b'-'])
    };
    (name.len() <= MAX_HOST_LEN && name.as_bytes().split(|byte| *byte == b'.').all(fits)).then_some(name)
}

fn parse_port(text: &str) -> Option<u16> {
    // 65535 has five digits; `u16::from_str` alone would accept a plus sign.
    let plain = text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| plain && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<(&str, Option<u16>)>) {
        let read = Authority::parse(text).map(|authority| (authority.host, authority.port));
        assert_eq!(read, expect, "{text:?}");
    }

    #[test]
    fn hosts_and_ports_are_read() {
        check("cloud.getdbt.com", Some(("cloud.getdbt.com", None)));
        check("Cloud.GetDBT.com.", Some(("Cloud.GetDBT.com", None)));
        check("cloud.getdbt.com:443", Some(("cloud.getdbt.com", Some(443))));
        check("cloud.getdbt.com.:8443", Some(("cloud.getdbt.com", Some(8443))));
        check("xn--bcher-kva.example", Some(("xn--bcher-kva.example", None)));
        check("127.0.0.1:65535", Some(("127.0.0.1", Some(65535))));
        check("[::1]", Some(("[::1]", None)));
        check("[2001:DB8::1]:80", Some(("[2001:DB8::1]", Some(80))));
        check("under_score.example", Some(("under_score.example", None)));
    }

    #[test]
    fn everything_else_is_refused() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = format!("{}com", "a.".repeat(126));
        let refused = [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a.b..",
            "-a.b",
            "a-.b",
            "a b",
            "a,b",
            "a/b",
            "a#b",
            "a?b",
            "a\\b",
            "user@host",
            "user:pass@host",
            "host:",
            "host:0",
            "host:65536",
            "host:+80",
            "host:-1",
            "host:8 0",
            "host:000080",
            "host:80:80",
            "bücher.example",
            "a%2eb",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:",
            "[::1]:0",
            "[1.2.3.4]",
            "[::1%25eth0]",
            "a\tb",
            "a\0b",
            &long_label,
            &long_name,
        ];
        for text in refused {
            check(text, None);
        }
    }

    #[test]
    fn the_same_place_can_be_written_in_several_ways() {
        let same = |a: &str, b: &str, scheme: Scheme| {
            let read = |text| Authority::parse(text).expect("a well-formed authority");
            assert_eq!(read(a).same_as(read(b), scheme), read(b).same_as(read(a), scheme));
            read(a).same_as(read(b), scheme)
        };
        assert!(same("EDGE.test:80", "edge.test", Scheme::Http));
        assert!(same("edge.test.", "edge.test:443", Scheme::Https));
        assert!(same("edge.test:8443", "EDGE.TEST:8443", Scheme::Https));
        assert!(!same("edge.test:80", "edge.test", Scheme::Https));
        assert!(!same("edge.test", "other.test", Scheme::Https));
        assert!(!same("edge.test:1", "edge.test:2", Scheme::Https));
    }
}
