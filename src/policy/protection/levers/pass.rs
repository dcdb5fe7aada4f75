//! The operators' pass: by what a request of theirs is known on the worst day.
//!
//! It is 32 random bytes that the command draws on the operator's machine, and that cellgate never has: it is told their
//! SHA-256, over the admin socket, and compares that with the digest of what a request brings in [`HEADER`]. So whoever has
//! the admin socket decides who has a pass; nothing that is written down anywhere (state folder, trail, list) is one; and it
//! is worth nothing when the lever's time is over. What it opens are permits: a request with it is routed, judged and
//! answered like any other.

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderMap;

use crate::policy::hex::hex;

/// The field of a request that brings it. Removed from every request before it is sent on, whether a lever is pulled or not.
pub const HEADER: &str = "x-cellgate-operator-pass";

/// Length of a pass as it is sent, in bytes: 32 random ones, in hex. Nothing else is worth a digest.
pub const PASS_LEN: usize = 64;

/// The SHA-256 of a pass as it is sent. No secret: what it is the digest of cannot be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatorPass([u8; 32]);

impl OperatorPass {
    /// With this digest.
    pub const fn of_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Whether bytes have the form of a pass: 64 lower-case hex digits.
    pub fn is_pass(bytes: &[u8]) -> bool {
        bytes.len() == PASS_LEN && bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// Of the one that a request brings: exactly one value, in the form of a pass.
    pub fn shown(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(HEADER).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        if !Self::is_pass(value.as_bytes()) {
            return None;
        }
        let digest = digest(&SHA256, value.as_bytes());
        digest.as_ref().try_into().ok().map(Self)
    }

    /// From its hex form.
    pub fn parse(text: &str) -> Option<Self> {
        if !Self::is_pass(text.as_bytes()) {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl std::fmt::Display for OperatorPass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(self.0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_shows_exactly_one_pass_or_none() {
        let (pass, other) = ("0a".repeat(32), "0b".repeat(32));
        let digest = digest(&SHA256, pass.as_bytes()).as_ref().try_into().unwrap();
        let check = |values: &[&str], expect: bool| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, value.parse().unwrap());
            }
            let shown = OperatorPass::shown(&headers);
            assert_eq!(shown == Some(OperatorPass::of_digest(digest)), expect, "{values:?}");
            assert_eq!(shown.is_some(), expect, "{values:?}");
        };
        check(&[&pass], true);
        check(&[], false);
        check(&[&pass, &other], false);
        check(&[&pass, &pass], false);
        check(&[&format!("{pass}, {pass}")], false);
        check(&[&pass.to_uppercase()], false);
        check(&[&pass[2..]], false);
    }
}
