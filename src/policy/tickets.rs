//! Keys for TLS session tickets that outlive a process and are the same on all replicas.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;

/// Bytes of a key's name, as in RFC 5077 section 4.
pub const NAME_LEN: usize = 16;

/// What the names of keys and the keys of single tickets are derived under: neither tells of the other.
const NAME: &[u8] = b"cellgate ticket key name";
const TICKET: &[u8] = b"cellgate ticket";

/// Which keys seal and open tickets.
#[derive(Clone, Debug)]
pub struct TicketRules {
    /// The first seals, all open. None: the process makes keys of its own, which end with it.
    pub keys: Vec<TicketKey>,
    /// How long a ticket can be used.
    pub lifetime: Duration,
}

/// One key.
#[derive(Clone)]
pub struct TicketKey {
    /// Stands in the ticket in the clear; follows from the key, so that equal files make equal names.
    pub name: [u8; NAME_LEN],
    key: Arc<hmac::Key>,
}

impl TicketKey {
    /// From the key of a key file.
    pub fn new(key: Arc<hmac::Key>) -> Self {
        let digest = hmac::sign(&key, NAME);
        let mut name = [0; NAME_LEN];
        name.copy_from_slice(&digest.as_ref()[..NAME_LEN]);
        Self { name, key }
    }

    /// The key of a single ticket: HMAC-SHA-256 over its salt. Tickets do not share an AES key, so
    /// there is no number of them, over all replicas and years, beyond which a nonce would repeat.
    pub fn of_ticket(&self, salt: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(TICKET);
        context.update(salt);
        context.sign()
    }
}

impl Default for TicketRules {
    fn default() -> Self {
        Self { keys: Vec::new(), lifetime: LIFETIME }
    }
}

/// How long tickets last where nothing is said: over a night, so that the clients of yesterday evening
/// resume; what a stolen key opens stays a day's traffic when keys change daily.
pub const LIFETIME: Duration = Duration::from_secs(12 * 3_600);

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey")
    }
}
