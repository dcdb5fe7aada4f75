//! Credentials as routing keys: how they are found in a request and fingerprinted. The raw token
//! never leaves this module's arguments; only the keyed fingerprint is compared, kept or shown.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::hex::hex;
use super::keyed::KeyTable;

/// Schemes that say nothing alone, whatever is configured (RFC 7617, RFC 6750, and that of many APIs).
const SCHEMES: [&str; 3] = ["basic", "bearer", "token"];

/// The first 128 bits of HMAC-SHA-256 over a token: enough that two tokens of 10^9 collide with
/// probability 10^-21, half the memory of the whole digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

/// A fleet-wide key, so that every replica computes the same fingerprint.
#[derive(Clone)]
pub struct FingerprintKey {
    /// Names the key in tables and exports; rotates.
    pub id: Box<str>,
    /// HMAC-SHA-256 key.
    pub key: Arc<aws_lc_rs::hmac::Key>,
}

/// What a token must look like to be a routing key at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenShape {
    /// `dbtc_`, `dbtu_`.
    pub prefix: Box<str>,
    /// Fewest bytes of the whole token.
    pub min_len: usize,
    /// Most bytes of the whole token.
    pub max_len: usize,
}

/// How credentials look and how they are fingerprinted.
#[derive(Debug, Default)]
pub struct CredentialRules {
    /// Authorization schemes in lower case: `token`, `bearer`.
    pub schemes: Vec<Box<str>>,
    /// Accepted shapes; none means that no credential is ever a routing key.
    pub shapes: Vec<TokenShape>,
    /// Newest first: learning uses the first, look-ups try each that the static table uses.
    pub keys: Vec<FingerprintKey>,
    /// The static table, by fingerprint under any of the keys.
    pub table: KeyTable<Fingerprint>,
    /// Bounds of the learned table; `None` switches learning off.
    pub learning: Option<Learning>,
}

/// Bounds of the learned table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learning {
    /// Most entries in all.
    pub entries: usize,
    /// Most entries of one account, so that one account cannot push out the others.
    pub per_account: usize,
}

/// The token in `Authorization`, where scheme and shape are configured ones. Two such fields name no
/// token: which of them a cell would read is not known.
pub fn find<'a>(rules: &CredentialRules, headers: &'a HeaderMap) -> Option<&'a [u8]> {
    if rules.shapes.is_empty() {
        return None;
    }
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let value = value.as_bytes();
    let (scheme, token) = value.split_at_checked(value.iter().position(|byte| *byte == b' ')?)?;
    let known = rules.schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()));
    let token = token.trim_ascii();
    (known && rules.fits(token)).then_some(token)
}

/// Whether a value of `Authorization` has anything in it that a cell could take for a credential: a scheme alone is none.
/// Another single word may be one, of a client that leaves the scheme out.
pub fn is_said(rules: &CredentialRules, value: &HeaderValue) -> bool {
    let value = value.as_bytes().trim_ascii();
    let known = rules.schemes.iter().map(|scheme| &**scheme).chain(SCHEMES);
    let mut schemes = known.map(str::as_bytes);
    !value.is_empty() && !schemes.any(|scheme| value.eq_ignore_ascii_case(scheme))
}

/// The fingerprint of a token under a key.
pub fn fingerprint(key: &FingerprintKey, token: &[u8]) -> Fingerprint {
    let tag = aws_lc_rs::hmac::sign(&key.key, token);
    let (first, _) = tag.as_ref().split_first_chunk().expect("HMAC-SHA-256 has 32 bytes, more than 16");
    Fingerprint(*first)
}

impl CredentialRules {
    /// Whether a text has one of the configured shapes, in the alphabet of RFC 6750 section 2.1.
    pub fn fits(&self, token: &[u8]) -> bool {
        let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
        self.shapes.iter().any(|shape| shape.fits(token)) && token.iter().all(alphabet)
    }
}

impl TokenShape {
    /// Whether a token begins and measures as this shape says.
    pub fn fits(&self, token: &[u8]) -> bool {
        (self.min_len..=self.max_len).contains(&token.len()) && token.starts_with(self.prefix.as_bytes())
    }
}

impl std::fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FingerprintKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// 32 lower-case hexadecimal digits, as tables and files have them.
impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> CredentialRules {
        let shape = |prefix: &str| TokenShape { prefix: prefix.into(), min_len: 10, max_len: 20 };
        CredentialRules {
            schemes: vec!["token".into(), "bearer".into()],
            shapes: vec![shape("dbtc_"), shape("dbtu_")],
            ..CredentialRules::default()
        }
    }

    #[test]
    fn tokens_are_found_by_scheme_and_shape() {
        let check = |fields: &[&'static str], expect: Option<&str>| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(AUTHORIZATION, http::HeaderValue::from_static(field));
            }
            assert_eq!(find(&rules(), &headers), expect.map(str::as_bytes), "{fields:?}");
        };
        check(&["Token dbtc_12345"], Some("dbtc_12345"));
        check(&["bearer dbtu_12345"], Some("dbtu_12345"));
        check(&["BEARER   dbtu_12345 "], Some("dbtu_12345"));
        check(&[], None);
        check(&["dbtc_12345"], None);
        check(&["Basic dbtc_12345"], None);
        check(&["Token dbtx_12345"], None);
        check(&["Token dbtc_1234"], None);
        check(&["Token dbtc_1234567890123456"], None);
        check(&["Token dbtc_123 45"], None);
        check(&["Token dbtc_123,45"], None);
        check(&["Token"], None);
        check(&["Token "], None);
        check(&["Token dbtc_12345", "Token dbtc_12345"], None);
    }

    #[test]
    fn no_shape_means_no_credential() {
        assert!(!CredentialRules::default().fits(b"dbtc_12345"));
    }

    #[test]
    fn a_fingerprint_is_the_first_half_of_hmac_sha_256() {
        // RFC 4231 test case 2.
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"Jefe");
        let key = FingerprintKey { id: "k1".into(), key: Arc::new(key) };
        let made = fingerprint(&key, b"what do ya want for nothing?");
        assert_eq!(format!("{made:?}"), "5bdcc146bf60754e6a042426089575c7");
    }
}
