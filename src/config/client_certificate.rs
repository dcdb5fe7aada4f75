//! `hosts[].client_certificate` of `cellgate.yaml`: whose certificates clients must have.

use std::sync::Arc;

use super::cells::named_file;
use super::files::Sources;
use super::raw;
use super::slot::Slot;
use super::tls::Tls;
use crate::policy::client_certificate::ClientPolicy;

/// Reads what a host asks for, where it asks.
pub(super) fn read(
    slot: Slot<'_, raw::ClientCertificate>,
    sources: &Sources,
    tls: &Tls,
) -> Option<Arc<ClientPolicy>> {
    let at = slot.at.clone();
    let mut raw = at.open(slot.optional()?);
    let required = raw.mode(&at).word(&[("required", true), ("optional", false)]).required();
    let ca = raw.ca(&at);
    if !ca.is_there() {
        ca.at.refuse("missing", "a PEM file of the authorities that sign client certificates");
    }
    let ca = named_file(ca, sources);
    let crl = named_file(raw.crl(&at), sources);
    let (ca, ca_at) = ca?;
    let roots = tls.roots(ca?, &ca_at)?;
    let crls = match crl {
        None => None,
        Some((crl, at)) => Some(tls.crls(crl?, &at)?),
    };
    tls.client_policy(roots, crls, required?, &at).map(Arc::new)
}
