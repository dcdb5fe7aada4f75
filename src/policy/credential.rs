//! Credentials as routing keys: how they are found in a request and fingerprinted. The raw token
//! never leaves this module's arguments; only the keyed fingerprint is compared, kept or shown.

use std::collections::HashMap;
use std::sync::Arc;

use super::ids::AccountId;

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
    pub table: HashMap<Fingerprint, AccountId>,
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

impl std::fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FingerprintKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
