//! How many credentials and networks of an account have rows of their own on one day. Clients can make up as many as they
//! like, and whoever works off a list does not read thousands.

use std::collections::hash_map::Entry;

use super::key::{Credential, Key, Network, Subject};
use super::map::Map;

/// Credentials of one account that have rows of their own on one day: who has more of them has no list to work off, but
/// something that makes tokens.
const CREDENTIALS_A_DAY: usize = 32;

/// Networks of one account that have rows of their own on one day, likewise.
const NETWORKS_A_DAY: usize = 16;

/// Subjects that this is kept for; at 200 bytes each, some 26 MB. Beyond them, nobody's credentials and networks are told
/// for the rest of the day.
const MAX_TOLD: usize = 128 * 1024;

/// Which credentials and networks have rows of their own today. Outlives windows.
#[derive(Debug, Default)]
pub(super) struct Told {
    day: i64,
    of: Map<Subject, (Vec<Credential>, Vec<Network>)>,
}

impl Told {
    /// Takes from a key what its account has too many of on this day; whether that was something. `before` is what its
    /// credential was called until keys rotated: both are one.
    pub fn limit(&mut self, key: &mut Key, before: Option<Credential>, day: i64) -> bool {
        if day > self.day {
            (self.day, self.of) = (day, Map::default());
        }
        let room = self.of.len() < MAX_TOLD;
        let (credentials, networks) = match self.of.entry(key.subject) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) if room => place.insert(Default::default()),
            Entry::Vacant(_) => {
                (key.detail.credential, key.detail.network) = (Credential::Other, Network::Other);
                return true;
            }
        };
        let mut limited = false;
        if let Some(old) = before.and_then(|before| credentials.iter_mut().find(|known| **known == before)) {
            *old = key.detail.credential;
        }
        if matches!(key.detail.credential, Credential::Token(_))
            && !fits(credentials, key.detail.credential, CREDENTIALS_A_DAY)
        {
            (key.detail.credential, limited) = (Credential::Other, true);
        }
        if matches!(key.detail.network, Network::V4(_) | Network::V6(_))
            && !fits(networks, key.detail.network, NETWORKS_A_DAY)
        {
            (key.detail.network, limited) = (Network::Other, true);
        }
        limited
    }
}

/// Whether it is among these, or there was room to add it.
fn fits<T: PartialEq>(known: &mut Vec<T>, one: T, most: usize) -> bool {
    let there = known.contains(&one);
    if !there && known.len() < most {
        known.push(one);
        return true;
    }
    there
}
