//! Where anybody connects, compared with each other: two doors on one address are two sockets of which the kernel gives only one.

use std::net::{IpAddr, SocketAddr};

use super::Boot;
use crate::config::slot::At;
use crate::policy::code::Code;

/// An address on which the process will listen.
struct Door<'a> {
    at: At<'a>,
    /// What has it, for problems.
    name: String,
    address: SocketAddr,
    /// Whether all addresses of version 6 are all of version 4 as well. Listeners take those of one version; the doors of the
    /// admin plane and of the status what the kernel gives, and that is both.
    both_versions: bool,
}

/// Reports each door that another one before it shuts. `listeners` is where each of them stands.
pub(super) fn compare<'a>(boot: &Boot, at: &At<'a>, listeners: Vec<At<'a>>) {
    let mut doors: Vec<Door<'_>> = Vec::new();
    for door in of(boot, at, listeners) {
        if let Some(other) = doors.iter().find(|other| clash(&door, other)) {
            let what = if door.address == other.address {
                format!("{} has the same address", other.name)
            } else {
                format!("{} has {}, and both cannot listen there", other.name, other.address)
            };
            door.at.refuse(Code::AddressTwice, what, "an address or a port of its own");
        }
        doors.push(door);
    }
}

fn of<'a>(boot: &Boot, at: &At<'a>, listeners: Vec<At<'a>>) -> Vec<Door<'a>> {
    let listeners = boot.listeners.iter().zip(listeners).map(|(listener, at)| Door {
        at: at.key("address"),
        name: format!("listener {}", listener.name),
        address: listener.address,
        both_versions: false,
    });
    let (admin, status) = (at.key("admin"), at.key("status"));
    let tls = boot.admin.tls.as_ref().map(|tls| tls.address);
    let others = [
        (admin.key("loopback"), "admin.loopback", boot.admin.loopback),
        (admin.key("tls").key("address"), "admin.tls.address", tls),
        (status.key("address"), "status.address", boot.status.address),
    ];
    let others = others.into_iter().filter_map(|(at, name, address)| {
        Some(Door { at, name: name.to_owned(), address: address?, both_versions: true })
    });
    listeners.chain(others).collect()
}

/// Port 0 is another one each time.
fn clash(one: &Door<'_>, other: &Door<'_>) -> bool {
    let port = one.address.port();
    port != 0
        && port == other.address.port()
        && (one.address == other.address || takes(one, other.address) || takes(other, one.address))
}

/// Whether a door is on all addresses, and this is one of them.
fn takes(door: &Door<'_>, address: SocketAddr) -> bool {
    match door.address.ip() {
        IpAddr::V4(all) => all.is_unspecified() && address.is_ipv4(),
        IpAddr::V6(all) => all.is_unspecified() && (address.is_ipv6() || door.both_versions),
    }
}
