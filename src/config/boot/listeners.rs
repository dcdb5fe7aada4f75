//! Reads where clients connect.

use super::{Listener, ListenerProtocol, default};
use crate::config::networks::{MAX_NETWORKS, networks};
use crate::config::raw;
use crate::config::slot::{At, Slot};
use crate::policy::code::Code;
use crate::policy::facts::Scheme;

/// Most listeners; each has its accept loop.
const MAX_LISTENERS: usize = 64;

/// Those of a file, and where each stands; what is wrong with the others is reported.
pub(super) fn listeners<'a>(slot: Slot<'a, Vec<raw::Field<raw::Listener>>>) -> (Vec<Listener>, Vec<At<'a>>) {
    let (mut listeners, mut places): (Vec<Listener>, Vec<At<'a>>) = (Vec::new(), Vec::new());
    for slot in slot.some_items(MAX_LISTENERS) {
        let at = slot.at.clone();
        let Some(listener) = slot.required().and_then(|raw| listener(raw, &at)) else { continue };
        if listeners.iter().any(|other| other.name == listener.name) {
            at.key("name").refuse(
                Code::NameTwice,
                format!("two listeners are called {}", listener.name),
                "a name of its own",
            );
        }
        listeners.push(listener);
        places.push(at);
    }
    (listeners, places)
}

fn listener(raw: raw::Listener, at: &At<'_>) -> Option<Listener> {
    let mut raw = at.open(raw);
    let name = raw.name(at).label().required();
    let address = raw.address(at).parse(
        Code::AddressAndPort,
        "an address and port such as 127.0.0.1:8080 or \"[::]:443\"",
        |text| text.parse().ok(),
    );
    let address = address.required();
    let words = [
        ("http", ListenerProtocol::Http),
        ("https", ListenerProtocol::Https),
        ("h2c", ListenerProtocol::H2c),
    ];
    let protocol = raw.protocol(at).word(&words).required();
    let redirect = raw.redirect_to_https(at).or(false);
    let https_port = raw.https_port(at);
    if https_port.is_there() && !redirect {
        https_port.at.refuse(
            Code::PortWithoutRedirect,
            "it has no effect without redirect_to_https",
            "redirect_to_https: true, or no https_port",
        );
    }
    let https_port = https_port.number(1..=u16::MAX).or(default::HTTPS_PORT);
    let proxy_protocol = raw.proxy_protocol(at);
    let proxy_at = proxy_protocol.at.clone();
    let proxy_protocol = proxy_protocol.optional().map(|raw| {
        let mut raw = proxy_at.open(raw);
        networks(raw.trusted(&proxy_at).some_items(MAX_NETWORKS))
    });
    let forwarded = raw.forwarded_scheme(at);
    let (forwarded_at, forwarded_there) = (forwarded.at.clone(), forwarded.is_there());
    let forwarded = forwarded.word(&[("http", Scheme::Http), ("https", Scheme::Https)]).or(Scheme::Http);
    let protocol = protocol?;
    if redirect && protocol != ListenerProtocol::Http {
        at.key("redirect_to_https").refuse(
            Code::RedirectOnHttps,
            "only a listener with protocol http can redirect",
            "protocol: http",
        );
    }
    if forwarded_there && protocol == ListenerProtocol::Https {
        forwarded_at.refuse(
            Code::SchemeOnHttps,
            "this listener terminates TLS itself",
            "no forwarded_scheme",
        );
    }
    let scheme = if protocol == ListenerProtocol::Https { Scheme::Https } else { forwarded };
    let redirect_to_https = redirect.then_some(https_port);
    Some(Listener { name: name?, address: address?, protocol, redirect_to_https, proxy_protocol, scheme })
}
