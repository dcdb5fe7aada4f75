//! Whose account a request is about, and its bytes: what an API client of the service sends.

use crate::bench::table::{DOMAIN, LEGACY_HOST, Table};

/// The target of a request that is to be answered with [`LARGE_BYTES`]. It names no account: for cell hosts only.
pub(super) const LARGE_TARGET: &str = "/bytes/1048576";

/// Body of such an answer.
pub(super) const LARGE_BYTES: u64 = 1024 * 1024;

/// The target of everything else that goes to a cell host and names no account.
pub(super) const SOCKET_TARGET: &str = "/ws";

/// The method of gRPC calls.
pub(super) const CALL_TARGET: &str = "/bench.Echo/Unary";

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// The account's number.
    pub account: u32,
    /// To the legacy host, and not to the account's own.
    pub legacy: bool,
}

impl Ask {
    /// Appends the host.
    pub(super) fn write_host(self, table: Table, to: &mut Vec<u8>) {
        if self.legacy {
            to.extend_from_slice(LEGACY_HOST.as_bytes());
        } else {
            table.write_prefix(self.account, to);
            to.push(b'.');
            to.extend_from_slice(DOMAIN.as_bytes());
        }
    }

    /// Appends the target that names the account. The same on both hosts: who moves to the account's own host changes
    /// nothing else.
    pub(super) fn write_target(self, table: Table, to: &mut Vec<u8>) {
        to.extend_from_slice(b"/api/v2/accounts/");
        write_decimal(table.id(self.account), to);
        to.extend_from_slice(b"/jobs/?limit=10");
    }

    /// Appends the token, one for each account: 40 hexadecimal digits as today's tokens have.
    pub(super) fn write_token(self, table: Table, to: &mut Vec<u8>) {
        to.extend_from_slice(b"Token 5be7c4a1d2f3968007fa12ce");
        // Spread over all 16 digits (the golden ratio as 64 bits): no two tokens look alike.
        let own = table.id(self.account).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let digit = |at: u32| HEXADECIMAL[(own >> (60 - 4 * at) & 0xf) as usize];
        to.extend((0..16).map(digit));
    }

    /// Appends a GET in HTTP/1.1; `target` in place of the one that names the account.
    pub(super) fn write_get(self, table: Table, target: Option<&str>, to: &mut Vec<u8>) {
        to.extend_from_slice(b"GET ");
        match target {
            Some(target) => to.extend_from_slice(target.as_bytes()),
            None => self.write_target(table, to),
        }
        to.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        self.write_host(table, to);
        for (name, value) in FIELDS {
            to.extend_from_slice(b"\r\n");
            to.extend_from_slice(name.as_bytes());
            to.extend_from_slice(b": ");
            to.extend_from_slice(value.as_bytes());
        }
        to.extend_from_slice(b"\r\nauthorization: ");
        self.write_token(table, to);
        to.extend_from_slice(b"\r\n\r\n");
    }
}

/// What a client sends beside host and token.
pub(super) const FIELDS: [(&str, &str); 3] =
    [("user-agent", "bench/1.0"), ("accept", "application/json"), ("accept-encoding", "gzip")];

const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";

/// As many digits as any `u64` has.
const DECIMAL_BYTES_MAX: usize = 20;

fn write_decimal(mut number: u64, to: &mut Vec<u8>) {
    let mut digits = [b'0'; DECIMAL_BYTES_MAX];
    let mut begin = digits.len() - 1;
    while number > 9 {
        digits[begin] = b'0' + (number % 10) as u8; // Below ten.
        number /= 10;
        begin -= 1;
    }
    digits[begin] = b'0' + number as u8; // Below ten.
    to.extend_from_slice(&digits[begin..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table = Table::of(100);

    fn text(ask: Ask, target: Option<&str>) -> String {
        let mut bytes = Vec::new();
        ask.write_get(TABLE, target, &mut bytes);
        bytes.into_iter().map(char::from).collect()
    }

    #[test]
    fn an_account_is_named_by_the_path_and_on_its_own_host_by_the_host_too() {
        let fields = "user-agent: bench/1.0\r\naccept: application/json\r\naccept-encoding: gzip\r\n";
        let line = format!("GET /api/v2/accounts/{}/jobs/?limit=10 HTTP/1.1\r\n", TABLE.id(7));
        let legacy = text(Ask { account: 7, legacy: true }, None);
        let begin = format!("{line}Host: legacy.example.com\r\n{fields}authorization: Token ");
        assert!(legacy.starts_with(&begin), "{legacy}");

        let own = text(Ask { account: 7, legacy: false }, None);
        let begin = format!("{line}Host: {}.app.example.com\r\n{fields}", TABLE.prefix(7));
        assert!(own.starts_with(&begin), "{own}");
        assert!(
            text(Ask { account: 7, legacy: false }, Some("/ws")).starts_with("GET /ws HTTP/1.1\r\nHost: ab")
        );
    }

    #[test]
    fn a_token_has_40_digits_and_is_of_one_account() {
        let token = |account| {
            let mut bytes = Vec::new();
            Ask { account, legacy: true }.write_token(TABLE, &mut bytes);
            bytes
        };
        assert_eq!(token(1).len(), "Token ".len() + 40);
        assert!(token(1)[6..].iter().all(u8::is_ascii_hexdigit));
        assert_eq!(token(1), token(1));
        assert_ne!(token(1)[..], token(2)[..]);
    }

    #[test]
    fn decimals_are_as_everywhere() {
        for number in [0, 9, 10, 99_999, 100_000, u64::MAX] {
            let mut bytes = Vec::new();
            write_decimal(number, &mut bytes);
            assert_eq!(bytes, number.to_string().as_bytes());
        }
    }
}
