//! Under which names the loopback door may be called.
//!
//! A web page can make its own host name resolve to 127.0.0.1 and then read what answers there (DNS
//! rebinding). What it cannot do is to call under a name that is not its own.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::HOST;
use http::uri::{Authority, Uri};

/// The names that are answered.
#[derive(Clone, Debug)]
pub(super) struct AllowedHosts(Vec<Box<str>>);

impl AllowedHosts {
    /// `localhost`, loopback addresses, and these.
    pub fn new(more: &[String]) -> Self {
        Self(more.iter().map(|name| name.to_ascii_lowercase().into()).collect())
    }

    /// Whether a call is under an allowed name: exactly one Host, and the same for the authority of
    /// an absolute target where there is one.
    pub fn allow(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let Ok(host) = Authority::try_from(host.as_bytes()) else { return false };
        self.allow_authority(&host) && uri.authority().is_none_or(|authority| self.allow_authority(authority))
    }

    fn allow_authority(&self, authority: &Authority) -> bool {
        // `user@host` is no Host header of an honest client.
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host().to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        host == "localhost"
            || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            || self.0.iter().any(|name| **name == host)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_no_stranger_can_own_are_allowed() {
        let check = |target: &str, hosts: &[&str], expect: bool| {
            let allowed = AllowedHosts::new(&["Admin.Internal".to_owned()]);
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, host.parse().unwrap());
            }
            let uri = target.parse().unwrap();
            assert_eq!(allowed.allow(&uri, &headers), expect, "{target} {hosts:?}");
        };
        for host in
            ["localhost", "LOCALHOST:9901", "127.0.0.1:9901", "127.0.0.2", "[::1]:9901", "admin.internal:1"]
        {
            check("/", &[host], true);
        }
        for host in [
            "evil.example",
            "evil.example:9901",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "localhost.",
            "192.168.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "[::]",
            "user@localhost",
            "",
            "local host",
        ] {
            check("/", &[host], false);
        }
        check("/", &[], false);
        check("/", &["localhost", "evil.example"], false);
        check("/", &["localhost", "localhost"], false);
        check("http://evil.example/", &["localhost"], false);
        check("http://localhost/", &["evil.example"], false);
        check("http://127.0.0.1:9901/", &["127.0.0.1:9901"], true);
    }
}
