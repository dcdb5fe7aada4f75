//! `tls:` of `cellgate.yaml`: keys of session tickets, and when certificates are warned about.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::files::Sources;
use super::raw;
use super::secret;
use super::slot::Slot;
use crate::policy::code::Code;
use crate::policy::tickets::{NAME_LEN, TicketKey, TicketRules};

/// The values of keys that are absent, each with its reason.
pub mod default {
    use std::time::Duration;

    pub use crate::policy::tickets::LIFETIME as TICKET_LIFETIME;
    /// Three weeks: a third of the shortest common lifetime (90 days) is when renewal is tried, and a week
    /// has gone by without it.
    pub const WARN_BEFORE: Duration = Duration::from_secs(21 * 86_400);
}

/// Most keys: the one in use, the one before, the next, and one more that somebody forgot.
const MAX_KEYS: usize = 4;

/// Shortest and longest life of a ticket. Below the first hardly anybody resumes; the last is the most
/// that clients keep one (RFC 8446 section 4.6.1).
const LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(7 * 86_400);

/// A second is as good as no warning; certificates do not live longer than the last.
const WARNINGS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(825 * 86_400);

/// TLS with clients, apart from certificates.
#[derive(Debug)]
pub struct ClientTls {
    /// Session tickets.
    pub tickets: TicketRules,
    /// How long before its end a certificate is warned about.
    pub warn_before: Duration,
}

/// Reads it; all of it has defaults.
pub(super) fn read(slot: Slot<'_, raw::ClientTls>, sources: &Sources) -> ClientTls {
    let at = slot.at.clone();
    let mut raw = at.open(slot.or(raw::ClientTls::default()));
    let keys = raw.ticket_keys(&at);
    let slots = if keys.is_there() { keys.some_items(MAX_KEYS) } else { Vec::new() };
    let mut lines: HashMap<[u8; NAME_LEN], u32> = HashMap::new();
    let mut keys = Vec::new();
    for slot in slots {
        let at = slot.at.clone();
        let Some(raw) = slot.required() else { continue };
        let mut raw = at.open(raw);
        raw.allow_readable(&at).or(false);
        let file = raw.file(&at);
        let file_at = file.at.clone();
        let Some(key) = secret::read(file, sources).map(TicketKey::new) else { continue };
        if let Some(first) = lines.insert(key.name, file_at.line()) {
            file_at.refuse(
                Code::TicketKeyTwice,
                format!("the key is the one in line {first}"),
                "each key once",
            );
        }
        keys.push(key);
    }
    let lifetime = raw.ticket_lifetime(&at).duration(LIFETIMES).or(default::TICKET_LIFETIME);
    let warn_before = raw.warn_before(&at).duration(WARNINGS).or(default::WARN_BEFORE);
    ClientTls { tickets: TicketRules { keys, lifetime }, warn_before }
}
