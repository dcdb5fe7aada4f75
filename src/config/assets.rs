//! What serves and is no route, by name: certificates, authorities, keys. The deletion behind this project
//! was one of these, not of a route, so a change that takes one away shows in the diff.
//!
//! Of keys that rotate only the one in use counts: a ring loses its oldest at every rotation.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

use super::diff::Changes;
use super::routing::Config;
use crate::policy::certificates::ServerCertificate;
use crate::policy::hex::hex;
use crate::policy::hosts::HostRule;
use crate::policy::snapshot::{Cell, IdentifyRules, Snapshot};
use crate::policy::tickets::TicketRules;

/// Digits of a digest that tell two authorities or keys of one operator apart.
const SHOWN: usize = 12;

/// Names of what a configuration has.
#[derive(Debug, Default)]
pub(super) struct Assets {
    /// All of it.
    all: BTreeSet<String>,
    /// What is used where there are several: the first key of a ring.
    used: BTreeSet<String>,
}

/// What comes and goes from one to the other. A key that was in use is gone even where others of its ring stay; one
/// that was only kept for what it made before has done its time.
pub(super) fn changes(before: &Assets, after: &Assets) -> Changes {
    let names = |names: Vec<&String>| names.into_iter().map(|name| name.as_str().into()).collect();
    Changes {
        added: names(after.all.difference(&before.all).collect()),
        removed: names(before.used.difference(&after.all).collect()),
        changed: Vec::new(),
    }
}

/// Names of everything in a snapshot.
pub(super) fn of_snapshot(snapshot: &Snapshot) -> Assets {
    let certificates = snapshot.certificates.iter().map(|certificate| &**certificate);
    all(certificates, snapshot.hosts.iter(), &snapshot.cells, &snapshot.identify, &snapshot.tickets)
}

/// Names of everything in a configuration that is not yet one.
pub(super) fn of_config(config: &Config) -> Assets {
    let hosts = config.hosts.iter().map(|host| &host.rule);
    all(config.certificates.iter(), hosts, &config.cells, &config.identify, &config.client_tls.tickets)
}

/// Digests of authorities by which they are named, sorted.
pub(super) fn digests(authorities: &[CertificateDer<'_>]) -> Arc<[Box<str>]> {
    let mut digests: Vec<Box<str>> = authorities.iter().map(|der| short_digest(der).into()).collect();
    digests.sort();
    digests.dedup();
    digests.into()
}

fn all<'a>(
    certificates: impl Iterator<Item = &'a ServerCertificate>,
    hosts: impl Iterator<Item = &'a HostRule>,
    cells: &[Cell],
    identify: &IdentifyRules,
    tickets: &TicketRules,
) -> Assets {
    let mut names = BTreeSet::new();
    for certificate in certificates {
        names.extend(certificate.names.iter().map(|name| format!("certificate for {name}")));
    }
    for host in hosts {
        let Some(asked) = &host.client_certificate else { continue };
        let host = &host.pattern;
        names.insert(format!("client certificates on {host}"));
        names.extend(asked.authorities.iter().map(|ca| format!("client authority {} on {host}", short(ca))));
    }
    for cell in cells {
        let name = &cell.name;
        if let Some(tls) = &cell.tls {
            names.insert(format!("TLS towards {name}"));
            names.extend(tls.authorities.iter().map(|ca| format!("authority {} of {name}", short(ca))));
        }
        if cell.seal.is_some() {
            names.insert(format!("seal of {name}"));
        }
    }
    if identify.routing_cookie.is_some() {
        names.insert("routing cookie".to_owned());
    }
    let mut assets = Assets { used: names.clone(), all: names };
    assets.ring(tickets.keys.iter().map(|key| format!("ticket key {}", short(&hex(key.name)))));
    assets.ring(identify.credentials.keys.iter().map(|key| format!("fingerprint key {}", key.id)));
    let cookies = identify.routing_cookie.iter().flat_map(|cookie| &cookie.keys);
    assets.ring(cookies.map(|key| format!("routing cookie key {}", key.id)));
    assets
}

impl Assets {
    /// Keys of which the first is used.
    fn ring(&mut self, keys: impl Iterator<Item = String>) {
        let keys: Vec<String> = keys.collect();
        self.used.extend(keys.first().cloned());
        self.all.extend(keys);
    }
}

/// 128 bits of SHA-256: two files that an operator has do not share them by chance.
pub(super) fn short_digest(bytes: &[u8]) -> String {
    hex(&digest(&SHA256, bytes).as_ref()[..16])
}

fn short(digest: &str) -> &str {
    digest.get(..SHOWN).unwrap_or(digest)
}
