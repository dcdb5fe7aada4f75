//! Revocation lists (RFC 5280 section 5) from PEM text, for the certificates of clients and of cells.

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::assets::short_digest;
use super::slot::At;
use super::time::show_moment;
use crate::policy::code::Code;

/// Revocation lists that all hold now.
pub(super) struct Crls {
    pub(super) lists: Vec<CertificateRevocationListDer<'static>>,
    /// The earliest next update; seconds since the Unix epoch.
    pub(super) until: i64,
    pub(super) digest: String,
}

/// Reads lists. One that is past its next update is a problem, as an expired certificate is: what it does
/// not list may have been revoked since.
pub(super) fn read(pem: &[u8], now: i64, at: &At<'_>) -> Option<Crls> {
    let lists = CertificateRevocationListDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let Some(lists) = lists.ok().filter(|lists| !lists.is_empty()) else {
        at.refuse(
            Code::RevocationList,
            "the file holds no revocation lists",
            "revocation lists in PEM (X509 CRL)",
        );
        return None;
    };
    let until = lists.iter().map(|list| next_update(list)).collect::<Option<Vec<_>>>();
    let Some(until) = until.and_then(|times| times.into_iter().min()) else {
        at.refuse(
            Code::RevocationList,
            "a revocation list cannot be read",
            "revocation lists that name their next update",
        );
        return None;
    };
    if until <= now {
        let what = format!("a revocation list was to be renewed by {}", show_moment(until));
        at.refuse(Code::RevocationListOverdue, what, "revocation lists that hold now");
        return None;
    }
    Some(Crls { lists, until, digest: short_digest(pem) })
}

fn next_update(der: &[u8]) -> Option<i64> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    list.next_update().map(|time| time.timestamp())
}
