//! Session tickets: sealed with the keys of the configuration, so that they outlive the process and are
//! good on every replica, or with keys of the process where none are configured.
//!
//! A ticket is the key's name (16 bytes), a salt (16), and AES-256-GCM over the moment of sealing and
//! rustls' session state under a key that HMAC-SHA-256 makes of the configured key and the salt; name and
//! salt are authenticated with it. What is in the session (server name, version, cipher) is rustls' matter,
//! which resumes only under the same name. Hosts that ask for client certificates have no tickets at all:
//! see [`tls`](super::tls).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;

use super::tls::SnapshotSource;
use crate::policy::tickets::{NAME_LEN, TicketKey, TicketRules};

/// Bytes of a ticket's salt: two of 2^64 tickets of one key may share one by chance.
const SALT_LEN: usize = 16;

/// What stands in the clear.
const HEADER_LEN: usize = NAME_LEN + SALT_LEN;

/// Bytes of the moment of sealing.
const TIME_LEN: usize = 8;

/// Largest ticket that is looked at: the session state of rustls has about 150 bytes and the server name
/// at most 255. Whoever sends more has it from somebody else.
const MAX_LEN: usize = 1_024;

/// How far another replica's clock may be ahead of ours.
const CLOCKS_APART: u64 = 60;

/// Tickets by the rules of the snapshot of now, so that a reload changes keys without a word to rustls.
pub(super) struct Tickets {
    snapshot: SnapshotSource,
    /// For configurations without keys.
    own: Arc<dyn ProducesTickets>,
}

impl Tickets {
    pub(super) fn new(snapshot: SnapshotSource, own: Arc<dyn ProducesTickets>) -> Self {
        Self { snapshot, own }
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        let snapshot = (self.snapshot)();
        match snapshot.tickets.keys.as_slice() {
            [] => self.own.lifetime(),
            [_, ..] => u32::try_from(snapshot.tickets.lifetime.as_secs()).unwrap_or(u32::MAX),
        }
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let snapshot = (self.snapshot)();
        let Some(key) = snapshot.tickets.keys.first() else { return self.own.encrypt(plain) };
        let mut salt = [0; SALT_LEN];
        // Without randomness there is no ticket, and the handshake is a full one next time.
        aws_lc_rs::rand::fill(&mut salt).ok()?;
        seal(key, salt, plain, UnixTime::now().as_secs())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let snapshot = (self.snapshot)();
        if snapshot.tickets.keys.is_empty() {
            return self.own.decrypt(ticket);
        }
        open(&snapshot.tickets, ticket, UnixTime::now().as_secs())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

/// A ticket; `now` is in seconds since the Unix epoch.
fn seal(key: &TicketKey, salt: [u8; SALT_LEN], plain: &[u8], now: u64) -> Option<Vec<u8>> {
    let mut ticket = [&key.name[..], &salt].concat();
    let mut sealed = [&now.to_be_bytes()[..], plain].concat();
    cipher(key, &salt)?.seal_in_place_append_tag(nonce(), Aad::from(&ticket), &mut sealed).ok()?;
    ticket.append(&mut sealed);
    (ticket.len() <= MAX_LEN).then_some(ticket)
}

/// What was sealed, where a key of ours sealed it and its time has not passed.
fn open(rules: &TicketRules, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
    if ticket.len() > MAX_LEN {
        return None;
    }
    let (header, sealed) = ticket.split_at_checked(HEADER_LEN)?;
    let (name, salt) = header.split_at(NAME_LEN);
    let key = rules.keys.iter().find(|key| key.name == *name)?;
    let mut sealed = sealed.to_vec();
    let plain = cipher(key, salt)?.open_in_place(nonce(), Aad::from(header), &mut sealed).ok()?;
    let (time, plain) = plain.split_first_chunk::<TIME_LEN>()?;
    let sealed_at = u64::from_be_bytes(*time);
    let fresh = sealed_at <= now.saturating_add(CLOCKS_APART)
        && now.saturating_sub(sealed_at) < rules.lifetime.as_secs();
    fresh.then(|| plain.to_vec())
}

fn cipher(key: &TicketKey, salt: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key.of_ticket(salt).as_ref()).ok().map(LessSafeKey::new)
}

/// Each key seals one ticket, so that there is nothing for a nonce to tell apart.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::hmac;

    use super::*;

    const NOW: u64 = 1_795_132_800;
    const SALT: [u8; SALT_LEN] = [7; SALT_LEN];

    fn key(byte: u8) -> TicketKey {
        TicketKey::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32])))
    }

    fn rules(keys: &[u8]) -> TicketRules {
        TicketRules { keys: keys.iter().copied().map(key).collect(), lifetime: Duration::from_secs(3_600) }
    }

    #[test]
    fn the_first_key_seals_and_all_open_until_they_are_gone() {
        let old = seal(&key(1), SALT, b"session", NOW).unwrap();
        let opened = |keys: &[u8]| open(&rules(keys), &old, NOW).is_some_and(|plain| plain == b"session");
        assert!(opened(&[1]), "the same key in another process");
        assert!(opened(&[1, 2]));
        assert!(opened(&[2, 1]), "after the rotation");
        assert!(!opened(&[2]), "once the key is gone");
        assert!(!opened(&[]));
        assert!(!old.windows(7).any(|window| window == b"session"));
        assert_ne!(old, seal(&key(1), [8; SALT_LEN], b"session", NOW).unwrap());
    }

    #[test]
    fn any_changed_byte_is_no_session() {
        let ticket = seal(&key(1), SALT, b"session", NOW).unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(open(&rules(&[1, 2]), &changed, NOW), None, "byte {at}");
            assert_eq!(open(&rules(&[1, 2]), &ticket[..at], NOW), None, "{at} bytes");
        }
        // The name of another key does not make it that key's ticket.
        let renamed = [&key(2).name[..], &ticket[NAME_LEN..]].concat();
        assert_eq!(open(&rules(&[1, 2]), &renamed, NOW), None);
        assert_eq!(open(&rules(&[1]), &[&ticket[..], b"x"].concat(), NOW), None);
        assert_eq!(open(&rules(&[1]), &[0; MAX_LEN + 1], NOW), None);
        assert_eq!(seal(&key(1), SALT, &[0; MAX_LEN], NOW), None, "nobody could open it");
    }

    #[test]
    fn a_ticket_lives_as_long_as_the_rules_of_now_say() {
        let ticket = seal(&key(1), SALT, b"session", NOW).unwrap();
        let check =
            |now: u64, good: bool| assert_eq!(open(&rules(&[1]), &ticket, now).is_some(), good, "{now}");
        check(NOW, true);
        check(NOW + 3_599, true);
        check(NOW + 3_600, false);
        check(u64::MAX, false);
        check(NOW - CLOCKS_APART, true);
        check(NOW - CLOCKS_APART - 1, false);
    }
}
