//! The kernel's view of connections: what this process still holds open to a port. Linux only, as cellgate is.

use std::net::SocketAddr;

/// `TCP_ESTABLISHED` and `TCP_CLOSE_WAIT` of Linux's `net/tcp_states.h`: held by whoever connected. In all
/// other states the kernel ends the connection by itself.
const HELD: [&str; 2] = ["01", "08"];

/// How many connections to `port` their clients hold open.
pub fn held_to(port: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let wanted = format!(":{:04X}", port.port());
    let held = |line: &&str| {
        let mut words = line.split_whitespace().skip(2);
        words.next().is_some_and(|remote| remote.ends_with(&wanted))
            && words.next().is_some_and(|state| HELD.contains(&state))
    };
    table.lines().skip(1).filter(held).count()
}
