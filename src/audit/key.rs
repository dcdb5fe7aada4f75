//! What legacy requests are told apart by, as numbers that a thread can count by without making text: positions in the
//! snapshot, the first bits of a fingerprint, the network of an address.

use std::fmt;
use std::net::IpAddr;

use crate::policy::credential::Fingerprint;
use crate::policy::decide::Decision;
use crate::policy::hex::hex;
use crate::policy::ids::AccountId;
use crate::policy::refusal::Refusal;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::event::RequestEvent;
use crate::telemetry::wall_time::unix_seconds;

/// Bytes of a fingerprint that are shown: with a million credentials, two are alike once in 500 fleets.
pub(super) const SHOWN: usize = 6;

/// Stands for whatever was too much to be told apart.
pub(super) const OTHER: &str = "other";

/// Whom requests are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Subject {
    /// An account with a row in the table.
    Account(AccountId),
    /// Nothing named an account.
    Unattributed,
    /// Ids without a row. One bucket: clients can make up as many ids as they like.
    Unmapped,
}

/// One integration in one minute, under one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Minutes since the Unix epoch, of when the request began.
    pub minute: i64,
    pub subject: Subject,
    /// Where it was sent; says how a minute went, and is no part of an integration.
    pub cell: Place,
    pub detail: Detail,
}

/// What of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Detail {
    pub client: Place,
    pub surface: Place,
    /// Endpoint class.
    pub class: Place,
    pub credential: Credential,
    pub network: Network,
}

/// A place in a list of the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// None of the list.
    None,
    /// This one.
    At(u16),
    /// Too many to be told apart.
    Other,
}

/// What a request proves itself with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Credential {
    /// With nothing.
    None,
    /// With a browser's session, which changes with each sign-in.
    Session,
    /// With something that has none of the configured shapes.
    Unknown,
    /// With what the cell does not accept: clients can make up as many as they like.
    Refused,
    /// With a token: the beginning of its fingerprint.
    Token([u8; SHOWN]),
    /// Too many to be told apart.
    Other,
}

/// Where a request comes from, as coarse as who runs a program knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Network {
    /// The first 24 bits of an IPv4 address.
    V4([u8; 3]),
    /// The first 48 bits of an IPv6 address, which is what a site has (RFC 6177).
    V6([u8; 6]),
    /// Of a request that the cell does not accept: nobody's integration, and from anywhere.
    None,
    /// Too many to be told apart.
    Other,
}

impl Key {
    /// Of a request on a legacy host.
    pub fn of(event: &RequestEvent, decision: &Decision) -> Self {
        Self {
            minute: unix_seconds(event.started).div_euclid(60),
            subject: Subject::of(event, decision),
            cell: Place::of_cell(event),
            detail: Detail::of(event, decision),
        }
    }

    /// All that is left where there are too many to be told apart: whose it is.
    pub fn without_detail(self) -> Self {
        let (client, surface, class) = (Place::Other, Place::Other, Place::Other);
        let (credential, network) = (Credential::Other, Network::Other);
        Self { detail: Detail { client, surface, class, credential, network }, ..self }
    }
}

impl Subject {
    /// Of a request.
    pub fn of(event: &RequestEvent, decision: &Decision) -> Self {
        match decision.account {
            None => Self::Unattributed,
            // Whoever walks ids without a credential must not make accounts look busy on the legacy host.
            Some(_) if event.refusal == Some(Refusal::CredentialRequired) => Self::Unattributed,
            Some(id) if event.snapshot.accounts.by_id(id).is_some() => Self::Account(id),
            Some(_) => Self::Unmapped,
        }
    }

    /// The id of an account; 0 for all others.
    pub fn account(self) -> u64 {
        match self {
            Self::Account(id) => id.value(),
            Self::Unattributed | Self::Unmapped => 0,
        }
    }
}

impl Detail {
    fn of(event: &RequestEvent, decision: &Decision) -> Self {
        let credential = Credential::of(event.status, decision);
        let accepted = credential != Credential::Refused;
        Self {
            client: Place::of(decision.client),
            surface: Place::of(decision.surface.map(|surface| u16::from(surface.0))),
            class: Place::of_class(event),
            credential,
            network: if accepted { Network::of(event.client_ip) } else { Network::None },
        }
    }
}

impl Place {
    /// Where a request was sent, or would have been.
    pub fn of_cell(event: &RequestEvent) -> Self {
        Self::of(event.cell().map(|cell| cell.0))
    }

    /// The endpoint class of a request.
    pub fn of_class(event: &RequestEvent) -> Self {
        let at = event.snapshot.endpoint_classes.position(&event.path);
        Self::of(at.and_then(|at| u16::try_from(at).ok()))
    }

    /// The name of what is there, or `none`.
    pub fn name<'a>(self, none: &'a str, name: impl Fn(usize) -> Option<&'a str>) -> &'a str {
        match self {
            Self::None => none,
            Self::At(at) => name(usize::from(at)).unwrap_or(none),
            Self::Other => OTHER,
        }
    }

    fn of(at: Option<u16>) -> Self {
        at.map_or(Self::None, Self::At)
    }
}

impl Credential {
    /// Of a request that was answered with this status.
    pub fn of(status: u16, decision: &Decision) -> Self {
        match decision.fingerprint {
            _ if !decision.credential_sent => Self::None,
            _ if matches!(status, 401 | 403) => Self::Refused,
            _ if decision.by_cookie => Self::Session,
            Some(Fingerprint(bytes)) => {
                let (first, _) = bytes.split_first_chunk().expect("a fingerprint has 16 bytes");
                Self::Token(*first)
            }
            None => Self::Unknown,
        }
    }

    /// What the same credential was called under the key before, while keys rotate.
    pub fn before(decision: &Decision) -> Option<[u8; SHOWN]> {
        let Fingerprint(bytes) = decision.fingerprint_before?;
        bytes.first_chunk().copied()
    }

    /// Name in the books. Tokens are told by fingerprints under the newest key of a snapshot, which is named first.
    pub fn name(self, snapshot: &Snapshot) -> String {
        let name = match self {
            Self::None => "none",
            Self::Session => "session",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
            Self::Other => OTHER,
            Self::Token(bytes) => return token_name(snapshot, 0, bytes),
        };
        name.to_owned()
    }
}

/// The name of a token by the beginning of its fingerprint under the key at this position, the newest being the first.
pub(super) fn token_name(snapshot: &Snapshot, position: usize, bytes: [u8; SHOWN]) -> String {
    format!("{}:{}", key_name(snapshot, position), hex(bytes))
}

/// The name of the key of fingerprints at this position.
pub(super) fn key_name(snapshot: &Snapshot, position: usize) -> &str {
    snapshot.identify.credentials.keys.get(position).map_or("", |key| &key.id)
}

impl Network {
    /// Of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [first, second, third, _] = address.octets();
                Self::V4([first, second, third])
            }
            IpAddr::V6(address) => {
                let octets = address.octets();
                let (first, _) = octets.split_first_chunk().expect("an IPv6 address has 16 bytes");
                Self::V6(*first)
            }
        }
    }
}

/// Name in the books.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4([first, second, third]) => write!(f, "{first}.{second}.{third}.0/24"),
            Self::V6(bytes) => {
                let mut octets = [0; 16];
                octets[..6].copy_from_slice(bytes);
                write!(f, "{}/48", std::net::Ipv6Addr::from(octets))
            }
            Self::None => f.write_str("none"),
            Self::Other => f.write_str(OTHER),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::decide::{Decision, Verdict};
    use crate::telemetry::fixture::{legacy_event, snapshot};
    use crate::test_snapshot::account;

    fn key(change: impl FnOnce(&mut RequestEvent, &mut Decision)) -> Key {
        let mut event = legacy_event(&snapshot(1));
        let mut decision = event.decision.take().unwrap();
        change(&mut event, &mut decision);
        Key::of(&event, &decision)
    }

    #[test]
    fn whose_it_is_is_who_has_a_row_and_a_credential_where_one_is_needed() {
        assert_eq!(key(|_, _| {}).subject, Subject::Account(account(1)));
        assert_eq!(key(|_, decision| decision.account = None).subject, Subject::Unattributed);
        assert_eq!(key(|_, decision| decision.account = Some(account(77))).subject, Subject::Unmapped);
        let walker = key(|event, decision| {
            event.refusal = Some(Refusal::CredentialRequired);
            decision.verdict = Verdict::Refuse(Refusal::CredentialRequired);
        });
        assert_eq!(walker.subject, Subject::Unattributed);
    }

    #[test]
    fn a_credential_is_what_the_cell_accepts() {
        let fingerprint = Some(Fingerprint([0xab; 16]));
        for (status, sent, by_cookie, fingerprint, expect) in [
            (200, false, false, None, "none"),
            (401, false, false, None, "none"),
            (200, true, false, None, "unknown"),
            (200, true, true, None, "session"),
            (200, true, true, fingerprint, "session"),
            (200, true, false, fingerprint, ":abababababab"),
            (404, true, false, fingerprint, ":abababababab"),
            (401, true, false, fingerprint, "refused"),
            (403, true, true, fingerprint, "refused"),
        ] {
            let key = key(|event, decision| {
                event.status = status;
                decision.credential_sent = sent;
                decision.by_cookie = by_cookie;
                decision.fingerprint = fingerprint;
            });
            assert_eq!(key.detail.credential.name(&snapshot(1)), expect, "{status}");
            let network = if expect == "refused" { "none" } else { "192.0.2.0/24" };
            assert_eq!(key.detail.network.to_string(), network, "{expect}");
        }
    }

    #[test]
    fn networks_are_those_that_sites_have() {
        for (address, expect) in [
            ("203.0.113.9", "203.0.113.0/24"),
            ("::ffff:203.0.113.9", "203.0.113.0/24"),
            ("2001:db8:7:8:9::1", "2001:db8:7::/48"),
        ] {
            assert_eq!(Network::of(address.parse().unwrap()).to_string(), expect);
        }
    }

    #[test]
    fn what_is_no_longer_told_apart_keeps_its_account_and_its_minute() {
        let one = key(|_, decision| decision.client = Some(1)).without_detail();
        let other = key(|event, _| event.client_ip = "2001:db8::1".parse().unwrap()).without_detail();
        assert_eq!(one, other);
        let later = key(|event, _| event.started += std::time::Duration::from_secs(3600)).without_detail();
        assert_ne!(one, later);
        let names = Arc::new(snapshot(1));
        assert_eq!(
            (one.detail.credential.name(&names), one.detail.network.to_string()),
            ("other".into(), "other".into())
        );
    }
}
