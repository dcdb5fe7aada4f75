//! The signed verdict: how a cell can tell that this request was routed to it by cellgate, just now.
//!
//! It says where a request was sent and why. It says nothing about who the client is: it is a routing
//! verdict, not authentication, and the cell checks credentials as before. The format is documented
//! for implementers in `docs/verdict-signature/`, with test vectors.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue};

use super::decide::Source;
use super::ids::AccountId;
use super::snapshot::SealKey;

/// The field that carries the signature.
pub const HEADER: HeaderName = HeaderName::from_static("x-cellgate-signature");

/// How far the clocks of cellgate and a cell may be apart, and so how long a captured signature is of
/// any use to whoever captured it. NTP keeps clocks within a second; thirty leave room for a request
/// that waits in a queue on the way.
pub const TOLERANCE_SECS: u64 = 30;

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// The cell that it is meant for, by name.
    pub cell: &'a str,
    /// The account routed by.
    pub account: Option<AccountId>,
    /// Who named it.
    pub source: Source,
    /// [`Snapshot::hash`](super::snapshot::Snapshot::hash).
    pub generation: &'a str,
    /// How often the account was moved; a cell refuses an older one than it has seen.
    pub epoch: u64,
    /// The method that the cell receives.
    pub method: &'a str,
    /// The authority that the cell receives (Host or `:authority`).
    pub authority: &'a str,
    /// The raw target that the cell receives.
    pub target: &'a str,
    /// `X-Request-Id`.
    pub request_id: &'a str,
    /// Seconds since the Unix epoch.
    pub time: u64,
}

/// What a cell knows of a request by itself, to compare the signature with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Its own name. Never taken from the request.
    pub cell: &'a str,
    /// `X-Cellgate-Account`.
    pub account: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The authority.
    pub authority: &'a str,
    /// The raw target.
    pub target: &'a str,
    /// `X-Request-Id`.
    pub request_id: &'a str,
}

/// What a valid signature adds to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'a> {
    /// Which source named the account, as [`Source::as_str`] has it.
    pub source: &'a str,
    /// The hash of the configuration that was routed by.
    pub generation: &'a str,
    /// How often the account was moved.
    pub epoch: u64,
    /// When it was signed.
    pub time: u64,
}

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not of the documented form, or of another version.
    #[error("the signature is malformed; expected v1;kid=…;t=…;src=…;gen=…;epoch=…;sig=…")]
    Malformed,
    /// Signed with a key that the verifier does not have.
    #[error("the signature names an unknown key")]
    UnknownKey,
    /// Older, or newer, than [`TOLERANCE_SECS`].
    #[error("the signature is not from now: clocks differ or it was replayed")]
    NotNow,
    /// For another cell, account, method, authority, target or request, or not signed with this key.
    #[error("the signature is not for this request")]
    Mismatch,
}

/// The value of `X-Cellgate-Signature`. `None` for text that could be read as two lines: the gate and
/// the configuration let none through.
pub fn sign(key: &SealKey, sealed: &Sealed<'_>) -> Option<HeaderValue> {
    let account = sealed.account.map(|account| account.to_string());
    let received = Received {
        cell: sealed.cell,
        account: account.as_deref(),
        method: sealed.method,
        authority: sealed.authority,
        target: sealed.target,
        request_id: sealed.request_id,
    };
    let Sealed { generation, epoch, time, .. } = *sealed;
    let verified = Verified { source: sealed.source.as_str(), generation, epoch, time };
    let tag = hmac::sign(&key.key, canonical(&key.id, &received, &verified)?.as_bytes());
    let (source, tag) = (verified.source, URL_SAFE_NO_PAD.encode(tag));
    let value = format!("v1;kid={};t={time};src={source};gen={generation};epoch={epoch};sig={tag}", key.id);
    HeaderValue::try_from(value).ok()
}

/// Verifies a signature the way a cell does; for tests and for cells that are written in Rust.
pub fn verify<'a>(
    signature: &'a str,
    received: &Received<'_>,
    keys: &[SealKey],
    now: u64,
) -> Result<Verified<'a>, SealError> {
    let (key_id, verified, tag) = parse(signature).ok_or(SealError::Malformed)?;
    let key = keys.iter().find(|key| *key.id == *key_id).ok_or(SealError::UnknownKey)?;
    if verified.time.abs_diff(now) > TOLERANCE_SECS {
        return Err(SealError::NotNow);
    }
    let canonical = canonical(key_id, received, &verified).ok_or(SealError::Mismatch)?;
    hmac::verify(&key.key, canonical.as_bytes(), &tag).map_err(|_| SealError::Mismatch)?;
    Ok(verified)
}

/// The signed text: one `name=value` a line, in this order. No value holds a line break, so no two
/// verdicts have the same text.
fn canonical(key_id: &str, received: &Received<'_>, verified: &Verified<'_>) -> Option<String> {
    use std::fmt::Write;
    let values = [
        ("kid", key_id),
        ("cell", received.cell),
        ("account", received.account.unwrap_or("-")),
        ("source", verified.source),
        ("generation", verified.generation),
        ("method", received.method),
        ("authority", received.authority),
        ("target", received.target),
        ("request-id", received.request_id),
    ];
    let mut text = String::with_capacity(256 + received.target.len());
    text.push_str("cellgate-verdict-v1\n");
    for (name, value) in values {
        if value.bytes().any(|byte| byte < b' ') {
            return None;
        }
        writeln!(text, "{name}={value}").ok()?;
    }
    write!(text, "epoch={}\ntime={}", verified.epoch, verified.time).ok()?;
    Some(text)
}

/// The parts of a signature, which stand in a fixed order.
fn parse(signature: &str) -> Option<(&str, Verified<'_>, Vec<u8>)> {
    let mut parts = signature.split(';');
    (parts.next()? == "v1").then_some(())?;
    let mut part = |name: &str| parts.next()?.strip_prefix(name)?.strip_prefix('=');
    let (key_id, time) = (part("kid")?, number(part("t")?)?);
    let (source, generation, epoch) = (part("src")?, part("gen")?, number(part("epoch")?)?);
    let tag = URL_SAFE_NO_PAD.decode(part("sig")?).ok()?;
    (parts.next().is_none() && tag.len() == TAG_LEN).then_some((
        key_id,
        Verified { source, generation, epoch, time },
        tag,
    ))
}

/// Digits without sign or leading zero, so that a number has one spelling.
pub(super) fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// HMAC-SHA-256 in full: a shorter tag would be accepted by nobody, a longer one is none.
const TAG_LEN: usize = 32;
