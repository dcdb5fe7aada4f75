//! Where webhooks go: an address that is safe to send them to. Shown without its path, which may hold what only the receiver is to
//! know.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::Scheme;

/// An address.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    uri: Uri,
    /// As a name or an address, without brackets.
    host: String,
    port: u16,
    is_tls: bool,
    /// Whether only this machine may answer.
    loopback_only: bool,
}

/// Why a text is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// No address at all, or half of one.
    #[error("expected an address such as https://hooks.example.com/cellgate")]
    NoAddress,
    /// A name or a password before the host.
    #[error("a name and a password have no place in it: webhooks are signed")]
    UserInfo,
    /// Everybody on the way could read it.
    #[error("http is for receivers on this machine: use https, or --plain-http if nobody else is on the way")]
    Plain,
}

impl Target {
    /// Reads an address. `plain`: http also leaves this machine.
    ///
    /// # Errors
    /// It is none, or not a safe one.
    pub fn parse(text: &str, plain: bool) -> Result<Self, BadTarget> {
        let uri: Uri = text.parse().map_err(|_| BadTarget::NoAddress)?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(BadTarget::NoAddress),
        };
        let authority = uri.authority().ok_or(BadTarget::NoAddress)?;
        if authority.as_str().contains('@') {
            return Err(BadTarget::UserInfo);
        }
        let bare = authority.host().strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(authority.host()).to_owned();
        if host.is_empty() {
            return Err(BadTarget::NoAddress);
        }
        let is_here =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let loopback_only = !is_tls && !plain;
        if loopback_only && !is_here {
            return Err(BadTarget::Plain);
        }
        let port = match authority.as_str().rsplit_once(':') {
            // What is behind the last colon of an address in brackets is a part of it.
            Some((_, port)) if !port.contains(']') => port.parse().map_err(|_| BadTarget::NoAddress)?,
            _ if is_tls => 443,
            _ => 80,
        };
        Ok(Self { uri, host, port, is_tls, loopback_only })
    }

    /// Name or address of the host.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    pub(super) const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether what answers there may get anything.
    pub(super) fn may_be(&self, address: IpAddr) -> bool {
        !self.loopback_only || address.is_loopback()
    }

    /// As `Host` has it.
    pub(super) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// As the first line of a request has it.
    pub(super) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_whole_safe_and_shown_without_its_path() {
        for (text, host, port, path) in [
            ("https://hooks.example.com/T0/secret?k=1", "hooks.example.com", 443, "/T0/secret?k=1"),
            ("https://hooks.example.com:8443", "hooks.example.com", 8443, "/"),
            ("http://localhost:8080/in", "localhost", 8080, "/in"),
            ("http://127.0.0.2/", "127.0.0.2", 80, "/"),
            ("http://[::1]:8080/", "::1", 8080, "/"),
            ("https://[2001:db8::1]/", "2001:db8::1", 443, "/"),
        ] {
            let target = Target::parse(text, false).unwrap();
            assert_eq!((target.host(), target.port(), target.path()), (host, port, path), "{text}");
            assert!(!format!("{target} {target:?}").contains("secret"), "{target}");
        }
        for (text, expect) in [
            ("hooks.example.com", BadTarget::NoAddress),
            ("ftp://hooks.example.com/", BadTarget::NoAddress),
            ("https:///in", BadTarget::NoAddress),
            ("https://a:99999/", BadTarget::NoAddress),
            ("https://a:/", BadTarget::NoAddress),
            ("", BadTarget::NoAddress),
            ("https://kim:pass@hooks.example.com/", BadTarget::UserInfo),
            ("http://hooks.example.com/", BadTarget::Plain),
            ("http://127.0.0.1.example.com/", BadTarget::Plain),
            ("http://10.0.0.1/", BadTarget::Plain),
        ] {
            assert_eq!(Target::parse(text, false), Err(expect), "{text}");
        }
        let plain = Target::parse("http://hooks.example.com/", true).unwrap();
        assert!(plain.may_be([192, 0, 2, 1].into()));
        // A name that means this machine may resolve to another one.
        let here = Target::parse("http://localhost/", false).unwrap();
        assert!(here.may_be([127, 0, 0, 1].into()) && !here.may_be([192, 0, 2, 1].into()));
    }
}
