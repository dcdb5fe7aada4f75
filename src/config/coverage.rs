//! Which certificate covers which host: each must be good for some, and where a listener serves https, each host needs
//! one. What is in a certificate, [`tls`](super::tls) reads.

use super::hosts::HostEntry;
use super::names::Names;
use super::slot::At;
use crate::policy::certificates::ServerCertificate;
use crate::policy::code::Code;
use crate::policy::hosts::Labels;

/// A label that stands for any account prefix when certificates are compared with host patterns.
const ANY_PREFIX: &str = "any-prefix";

/// Every certificate must be good for some host; with an https listener, every host needs a certificate.
pub(super) fn check_coverage(
    certificates: &[(At<'_>, ServerCertificate)],
    hosts: &[(At<'_>, HostEntry)],
    surfaces: &Names,
    https: bool,
) {
    let needed: Vec<String> = hosts.iter().flat_map(|(_, entry)| probes(entry, surfaces)).collect();
    for (at, certificate) in certificates {
        if !needed.iter().any(|host| certificate.names.covers(host)) {
            let names: Vec<String> = certificate.names.iter().take(4).collect();
            let what = format!("the certificate is for {} and no host needs it", names.join(", "));
            at.key("cert").refuse(Code::CertificateForNoHost, what, "a certificate for a name in hosts");
        }
    }
    if https {
        check_hosts(certificates, hosts, surfaces);
    }
}

fn check_hosts(
    certificates: &[(At<'_>, ServerCertificate)],
    hosts: &[(At<'_>, HostEntry)],
    surfaces: &Names,
) {
    let covered = |host: &str| certificates.iter().any(|(_, certificate)| certificate.names.covers(host));
    // A surface that has the address without its label needs none with it.
    let spare = |entry: &HostEntry, host: &str| {
        let surface = host.split('.').nth(1).and_then(|label| surfaces.find(label));
        let bare = |other: &HostEntry| other.labels == Labels::Prefix && other.name == entry.name;
        let has = |other: &HostEntry| bare(other) && surface == Some(usize::from(other.rule.surface.0));
        entry.labels == Labels::PrefixSurface && hosts.iter().any(|(_, other)| has(other))
    };
    for (at, entry) in hosts {
        for host in probes(entry, surfaces).iter().filter(|host| !covered(host) && !spare(entry, host)) {
            let name = host.replacen(ANY_PREFIX, "*", 1);
            let what = format!("no certificate covers {name}, and a listener serves https");
            let hint = Some("add one under certificates, or serve no https".to_owned());
            at.refuse_with(Code::HostWithoutCertificate, what, "a certificate for every host", hint);
        }
    }
}

/// Host names that stand for all those of a pattern.
fn probes(entry: &HostEntry, surfaces: &Names) -> Vec<String> {
    match entry.labels {
        Labels::Exact => vec![entry.name.to_string()],
        Labels::Prefix => vec![format!("{ANY_PREFIX}.{}", entry.name)],
        Labels::PrefixSurface => {
            surfaces.iter().map(|surface| format!("{ANY_PREFIX}.{surface}.{}", entry.name)).collect()
        }
    }
}
