//! What to listen on. Part of what cannot be reloaded: a change needs a restart.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::policy::facts::Scheme;

/// One listening address.
#[derive(Clone, Debug)]
pub struct ListenerSpec {
    /// Unique name, as metrics and logs show it.
    pub name: Arc<str>,
    /// Where to listen. Port 0 takes a free one; [`Bound::local_addr`](super::bind::Bound) names it.
    /// `[::]` takes IPv6 only: an address in the configuration stands for one family, so that
    /// `0.0.0.0:443` and `[::]:443` may stand side by side and no peer shows up as `::ffff:192.0.2.1`.
    pub address: SocketAddr,
    /// What is spoken here.
    pub protocol: Protocol,
    /// The networks that may, and then must, open every connection with a PROXY protocol header.
    /// `None`: the header is not understood here, and the socket's peer is the client.
    pub proxy_protocol: Option<Vec<IpNet>>,
    /// Answer every request with a redirect to this port over HTTPS. For the caller; nothing here
    /// looks at it.
    pub redirect_to_https: Option<u16>,
    /// What the client spoke, where a balancer in front has taken TLS off already.
    pub forwarded_scheme: Option<Scheme>,
    /// From accept until the PROXY header and the TLS handshake are through, in total.
    pub handshake_deadline: Duration,
}

/// What is spoken on a listener. Nothing is guessed from the first bytes: telling HTTP/1 from HTTP/2
/// by its 24-byte preface makes shorter requests wait for bytes that never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1 without TLS.
    Http,
    /// HTTP over TLS, the version by ALPN.
    Https(Alpn),
    /// HTTP/2 without TLS, by prior knowledge (RFC 9113 section 3.3).
    H2c,
}

/// What ALPN offers on a TLS listener. Clients without ALPN get HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// `h2`, then `http/1.1`.
    H2AndHttp1,
    /// `http/1.1` only.
    Http1,
}

/// Most connections at once, over all listeners.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Over all sources.
    pub total: usize,
    /// From one source: an IPv4 address, or an IPv6 /64, which is what one subscriber has.
    pub per_source: usize,
    /// Sources that only the total counts for: a balancer or NAT gateway stands for many clients.
    pub exempt: Vec<IpNet>,
    /// PROXY headers and TLS handshakes in progress.
    pub handshakes: usize,
}

impl ListenerSpec {
    /// Whether anything comes before HTTP: a PROXY header or TLS.
    pub const fn shakes_hands(&self) -> bool {
        self.proxy_protocol.is_some() || matches!(self.protocol, Protocol::Https(_))
    }

    /// The scheme of requests that arrive here.
    pub const fn scheme(&self) -> Scheme {
        match (self.forwarded_scheme, self.protocol) {
            (Some(scheme), _) => scheme,
            (None, Protocol::Https(_)) => Scheme::Https,
            (None, Protocol::Http | Protocol::H2c) => Scheme::Http,
        }
    }
}

/// Whether an address lies in one of the networks; `::ffff:192.0.2.1` counts as `192.0.2.1`.
pub(super) fn within(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}
