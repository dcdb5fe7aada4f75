//! Lists of networks that are trusted with something: whose PROXY header or whose `X-Forwarded-For` counts.

use std::net::IpAddr;

use ipnet::IpNet;

use super::raw::Field;
use super::slot::Slot;
use crate::policy::code::Code;

/// Most networks in a list of trusted ones; each is tried on each connection.
pub(super) const MAX_NETWORKS: usize = 1_000;

/// Networks of a list that may be absent.
pub(super) fn any_networks(slot: Slot<'_, Vec<Field<String>>>) -> Vec<IpNet> {
    let at = slot.at.clone();
    networks(at.at_most(slot.items(), MAX_NETWORKS))
}

/// Networks in CIDR notation, or single addresses.
pub(super) fn networks(slots: Vec<Slot<'_, String>>) -> Vec<IpNet> {
    let read = |text: String| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let mut networks = Vec::new();
    for slot in slots {
        let at = slot.at.clone();
        let Some(network): Option<IpNet> =
            slot.parse(Code::Network, "a network such as 10.0.0.0/8", read).required()
        else {
            continue;
        };
        if network != network.trunc() {
            let hint = Some(format!("did you mean {}?", network.trunc()));
            at.refuse_with(
                Code::AddressInANetwork,
                format!("{network} is an address inside a network"),
                "the network itself",
                hint,
            );
        }
        if network.prefix_len() == 0 {
            at.refuse(
                Code::TrustsEverybody,
                format!("{network} trusts everybody"),
                "the networks of your own balancers",
            );
        }
        networks.push(network);
    }
    networks
}
