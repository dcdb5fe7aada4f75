//! Under which names the doors of this machine may be called.
//!
//! A web page can make its own host name resolve to 127.0.0.1 and then read what answers there (DNS
//! rebinding). What it cannot do is to call under a name that is not its own.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::HOST;
use http::uri::{Authority, Uri};

/// The name of the unix socket in a URL. Without a port: it has none.
const SOCKET_NAME: &str = "admin";

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

    /// Whether a call of the unix socket may be answered: where it names no host, as a browser always does, or is under an
    /// allowed name or `admin`, which commands and guides write for it. A page that has come through a tunnel has a name of its
    /// own, and that may be of one word: somebody's search domain, or a line in a file of hosts.
    pub fn allow_on_socket(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let fits = |authority: &Authority| {
            authority.as_str().eq_ignore_ascii_case(SOCKET_NAME) || self.allow_authority(authority)
        };
        let hosts = headers.get_all(HOST).iter().filter(|host| !host.is_empty());
        let mut hosts = hosts.map(|host| Authority::try_from(host.as_bytes()));
        hosts.all(|host| host.is_ok_and(|host| fits(&host))) && uri.authority().is_none_or(fits)
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
    fn on_the_socket_no_name_of_somebody_is_answered() {
        for (host, expect) in [
            ("admin", true),
            ("Admin", true),
            ("admin:8000", false),
            ("x", false),
            ("evil:8000", false),
            ("evil", false),
            ("admin.", false),
            ("localhost", true),
            ("[::1]:8000", true),
            ("localhost:8000", true),
            ("127.0.0.1:8000", true),
            ("admin.internal", true),
            ("", true),
            ("evil.example:8000", false),
            ("a@evil", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(HOST, host.parse().unwrap());
            let allowed = AllowedHosts::new(&["admin.internal".to_owned()]);
            assert_eq!(allowed.allow_on_socket(&Uri::from_static("/"), &headers), expect, "{host}");
        }
    }

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
