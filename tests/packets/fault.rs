//! What goes wrong with packets in the router, until it is dropped.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::inside::Inside;
use crate::network::{Network, TO_EDGE, to_zone};

/// What happens to packets on their way through the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// So many of a hundred are lost, to a zone and from it.
    Zone { zone: u8, percent: u8 },
    /// The same of all, between cellgate and everybody.
    Egress { percent: u8 },
    /// Whoever asks this address is told that nobody listens; so are those who are connected.
    Refused(Ipv4Addr),
    /// Nothing comes to this address, and nothing from it.
    Silent(Ipv4Addr),
    /// The way to a zone takes [`RATE`] and holds [`QUEUE`], and somebody else fills it.
    Full { zone: u8 },
}

/// Some ten times what the requests of a zone need: it is the queue that hurts, and not the rate.
const RATE: &str = "10mbit";

/// Time that a full queue takes: as long as the buffers of common switches and modems are at their rate.
const QUEUE: &str = "80ms";

/// Two packets and a half: what is sent at once without waiting.
const BURST: &str = "4kb";

/// The port of who fills the way (RFC 863).
const DISCARD: u16 = 9;

/// A fault that stands.
pub struct Standing<'a> {
    network: &'a Network,
    fault: Fault,
    filler: Vec<JoinHandle<()>>,
}

impl Fault {
    /// Makes it so. Who fills a way does so from the edge to the first endpoint of the zone.
    pub fn begin<'a>(self, network: &'a Network, edge: &Inside, zones: &[Inside]) -> Standing<'a> {
        let mut standing = Standing { network, fault: self, filler: Vec::new() };
        if let Some(rules) = self.rules() {
            network.filter(&table(&rules));
        }
        if let Self::Full { zone } = self {
            let wire = to_zone(zone);
            let queue = ["root", "tbf", "rate", RATE, "burst", BURST, "latency", QUEUE];
            network.in_router("tc", &[&["qdisc", "add", "dev", &wire][..], &queue].concat());
            let address = (crate::network::address(zone, 1), DISCARD).into();
            standing.filler = vec![discard(&zones[usize::from(zone) - 1], address), fill(edge, address)];
        }
        standing
    }

    /// Rules for packets that are forwarded, each of which counts those that it hits.
    fn rules(self) -> Option<Vec<String>> {
        let some = |percent: u8| format!("numgen random mod 100 < {percent} counter drop");
        let wire = |wire: &str, percent| {
            vec![format!("oifname {wire} {}", some(percent)), format!("iifname {wire} {}", some(percent))]
        };
        match self {
            Self::None | Self::Full { .. } => None,
            Self::Zone { zone, percent } => Some(wire(&to_zone(zone), percent)),
            Self::Egress { percent } => Some(wire(TO_EDGE, percent)),
            Self::Refused(address) => {
                Some(vec![format!("ip daddr {address} meta l4proto tcp counter reject with tcp reset")])
            }
            Self::Silent(address) => Some(vec![
                format!("ip daddr {address} counter drop"),
                format!("ip saddr {address} counter drop"),
            ]),
        }
    }
}

impl Standing<'_> {
    /// Packets that it has hit.
    pub fn hit(&self) -> u64 {
        match self.fault {
            Fault::None => 0,
            // "backlog 96Kb 64p requeues 0" is what waits; "dropped 12" what found no room.
            Fault::Full { zone } => {
                let told = self.network.in_router("tc", &["-s", "qdisc", "show", "dev", &to_zone(zone)]);
                numbers_after(&told, "dropped ").sum()
            }
            _ => {
                numbers_after(&self.network.in_router("nft", &["list", "ruleset"]), "counter packets ").sum()
            }
        }
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.filler.iter().for_each(JoinHandle::abort);
        // While a test fails its namespaces go, and all of this with them.
        if std::thread::panicking() {
            return;
        }
        self.network.filter("flush ruleset\n");
        if let Fault::Full { zone } = self.fault {
            self.network.in_router("tc", &["qdisc", "delete", "dev", &to_zone(zone), "root"]);
        }
    }
}

fn table(rules: &[String]) -> String {
    let rules = rules.join("\n");
    format!(
        "table inet fault {{\nchain way {{\ntype filter hook forward priority 0; policy accept;\n{rules}\n}}\n}}\n"
    )
}

/// The numbers that follow these words.
fn numbers_after<'a>(text: &'a str, words: &'a str) -> impl Iterator<Item = u64> + 'a {
    text.split(words).skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

/// Takes all that comes, and answers nothing. Listens when this returns.
fn discard(zone: &Inside, address: SocketAddr) -> JoinHandle<()> {
    let listener = zone.run(async move { TcpListener::bind(address).await.unwrap() });
    zone.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 64 * 1024];
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    })
}

/// Sends as much as goes.
fn fill(edge: &Inside, address: SocketAddr) -> JoinHandle<()> {
    edge.spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let bytes = vec![0; 64 * 1024];
        while stream.write_all(&bytes).await.is_ok() {}
    })
}
