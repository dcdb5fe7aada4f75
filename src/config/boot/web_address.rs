//! Addresses of other programs that cellgate calls: of collectors and of receivers of webhooks.

use std::net::IpAddr;

use http::Uri;

/// A whole address with http or https. A password in it would be shown with it; there are files for that.
pub(super) fn without_password(text: &str) -> Option<Uri> {
    let uri = text.parse::<Uri>().ok()?;
    let authority = uri.authority()?;
    let good = matches!(uri.scheme_str(), Some("http" | "https"))
        && !authority.as_str().contains('@')
        && !authority.host().is_empty();
    good.then_some(uri)
}

/// Whether nobody else reads what is sent there.
pub(super) fn is_private(address: &Uri) -> bool {
    let host = address.host().unwrap_or_default();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_here = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    address.scheme_str() == Some("https") || is_here
}
