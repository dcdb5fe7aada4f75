//! Lists of networks that are trusted with something: whose PROXY header or whose `X-Forwarded-For` counts.

use std::net::IpAddr;

use ipnet::IpNet;

use super::slot::Slot;

/// Most networks in a list of trusted ones; each is tried on each connection.
pub(super) const MAX_NETWORKS: usize = 1_000;

/// Networks in CIDR notation, or single addresses.
pub(super) fn networks(slots: Vec<Slot<'_, String>>) -> Vec<IpNet> {
    let read = |text: String| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let mut networks = Vec::new();
    for slot in slots {
        let at = slot.at.clone();
        let Some(network): Option<IpNet> = slot.parse("a network such as 10.0.0.0/8", read).required() else {
            continue;
        };
        if network != network.trunc() {
            let hint = Some(format!("did you mean {}?", network.trunc()));
            at.refuse_with(format!("{network} is an address inside a network"), "the network itself", hint);
        }
        if network.prefix_len() == 0 {
            at.refuse(format!("{network} trusts everybody"), "the networks of your own balancers");
        }
        networks.push(network);
    }
    networks
}
