//! Bearer tokens of the admin plane: how one is written, and whose it is. A file has their digests alone.
//!
//! `cga_`, 64 hex digits that are 256 random bits, and 8 that are the CRC-32 of what is before them: by these a slip of the hand
//! is told from a token that nobody has, and scanners of secrets know one that has leaked. The digest is a plain SHA-256:
//! against guesses at 256 random bits no slower one helps.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use super::{Caller, Denied, Proof, Role};
use crate::policy::beginnings::beginnings;
use crate::policy::hex::hex;

/// How every token begins.
pub const PREFIX: &str = "cga_";

/// Hex digits of what is random.
const RANDOM: usize = 64;

/// And of the checksum.
const CHECK: usize = 8;

/// Hex digits behind the prefix that make a text part of a token: no word has so many, and whoever has fewer lacks 192 bits.
const TELLING: usize = 16;

/// The SHA-256 of a token as it is sent. No secret: what it is the digest of cannot be guessed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

/// A row of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Whose it is.
    pub name: Box<str>,
    /// What they may do.
    pub role: Role,
    /// The token.
    pub digest: TokenDigest,
    /// When its time is over (seconds since the Unix epoch); `None` never.
    pub expires: Option<i64>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenTable(Vec<TokenRow>);

/// A new token, of these random bytes.
pub fn minted(random: [u8; 32]) -> String {
    let body = format!("{PREFIX}{}", hex(random));
    let check = crc32fast::hash(body.as_bytes());
    format!("{body}{check:08x}")
}

/// Whether bytes have the form of a token, checksum included.
pub fn is_token(bytes: &[u8]) -> bool {
    let Some((body, check)) = bytes.len().checked_sub(CHECK).and_then(|at| bytes.split_at_checked(at)) else {
        return false;
    };
    let digits = body.strip_prefix(PREFIX.as_bytes()).unwrap_or_default();
    digits.len() == RANDOM
        && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && format!("{:08x}", crc32fast::hash(body)).as_bytes() == check
}

/// Whether a text has a token somewhere, or so much of one that it can be told for one. In any case: people shout, too.
pub fn is_within(text: &[u8]) -> bool {
    beginnings(text, PREFIX.as_bytes(), PREFIX.len() + TELLING)
        .any(|at| text[at + PREFIX.len()..][..TELLING].iter().all(u8::is_ascii_hexdigit))
}

impl TokenDigest {
    /// Of a token as it is sent.
    pub fn of(token: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token).as_ref());
        Self(bytes)
    }

    /// These bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.0))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

impl TokenTable {
    /// Of these rows.
    pub const fn new(rows: Vec<TokenRow>) -> Self {
        Self(rows)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose a token is, at `now` (seconds since the Unix epoch). Every row is compared, each in the same time, so that how
    /// long it takes says nothing of any of them.
    ///
    /// # Errors
    /// Nobody's.
    pub fn find(&self, token: &[u8], now: i64) -> Result<Caller, Denied> {
        if !is_token(token) {
            return Err(Denied::TokenMistyped);
        }
        let shown = TokenDigest::of(token);
        let mut found = None;
        for row in &self.0 {
            if verify_slices_are_equal(&row.digest.0, &shown.0).is_ok() {
                found = Some(row);
            }
        }
        let row = found.ok_or(Denied::TokenUnknown)?;
        if row.expires.is_some_and(|expires| expires <= now) {
            return Err(Denied::TokenExpired);
        }
        Ok(Caller { name: format!("token:{}", row.name).into(), role: row.role, proof: Proof::Token })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_digest_until_its_time_is_over() {
        let (ann, bob, nobody) = (minted([1; 32]), minted([2; 32]), minted([3; 32]));
        let row = |name: &str, role, token: &str, expires| {
            let digest = TokenDigest::of(token.as_bytes());
            TokenRow { name: name.into(), role, digest, expires }
        };
        let rows = vec![row("ann", Role::Read, &ann, None), row("bob", Role::Approve, &bob, Some(100))];
        let table = TokenTable::new(rows);
        let find = |token: &str, now| table.find(token.as_bytes(), now);
        let known = find(&ann, 1_000).unwrap();
        assert_eq!((&*known.name, known.role, known.proof), ("token:ann", Role::Read, Proof::Token));
        assert_eq!(find(&bob, 99).unwrap().role, Role::Approve);
        assert_eq!(find(&bob, 100), Err(Denied::TokenExpired));
        assert_eq!(find(&nobody, 99), Err(Denied::TokenUnknown));
        assert!(!format!("{table:?}").contains(&ann[4..]), "{table:?}");
    }

    #[test]
    fn a_slip_of_the_hand_is_no_token() {
        let token = minted([0xab; 32]);
        assert_eq!(token.len(), 76);
        assert!(is_token(token.as_bytes()));
        for at in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[at] = if other[at] == b'1' { b'2' } else { b'1' };
            assert!(!is_token(&other), "{at}");
            assert!(!is_token(&token.as_bytes()[..at]), "{at}");
        }
        for wrong in ["", "cga_", &token.to_uppercase(), &format!("{token} "), &token.replace("cga_", "cgb_")]
        {
            assert!(!is_token(wrong.as_bytes()), "{wrong:?}");
        }
    }
}
