//! Network namespaces: one for cellgate, one for the router, one for each zone, and wires between them. Gone when
//! dropped.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The wires of the router: to cellgate, and with a number behind it to each zone.
pub const TO_EDGE: &str = "edge";
const TO_ZONE: &str = "zone";

/// The one wire of all others.
const UP: &str = "up";

/// Where all cells listen.
const PORT: u16 = 80;

/// Namespaces and wires.
pub struct Network {
    prefix: String,
    /// Those that have been made, in this order.
    made: Vec<String>,
}

impl Network {
    /// With so many zones, from 1, and in each so many endpoints, from 1.
    pub fn new(zones: u8, endpoints: u8) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("cellgate-packets-{}-{number}", std::process::id());
        let mut network = Self { prefix, made: Vec::new() };
        network.make("router");
        network.make(TO_EDGE);
        network.wire(TO_EDGE, Ipv4Addr::new(10, 90, 0, 1), &[Ipv4Addr::new(10, 90, 0, 2)]);
        for zone in 1..=zones {
            network.make(&to_zone(zone));
            let addresses: Vec<Ipv4Addr> = (1..=endpoints).map(|number| address(zone, number)).collect();
            network.wire(&to_zone(zone), Ipv4Addr::new(10, 90, zone, 1), &addresses);
        }
        network.in_router("sh", &["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
        network
    }

    /// The namespace of cellgate and its clients.
    pub fn edge(&self) -> String {
        self.name(TO_EDGE)
    }

    /// The namespace of a zone.
    pub fn zone(&self, zone: u8) -> String {
        self.name(&to_zone(zone))
    }

    /// Runs a command in the router to its end; what it printed.
    pub fn in_router(&self, program: &str, arguments: &[&str]) -> String {
        let router = self.name("router");
        run("ip", &[&["netns", "exec", &router, program], arguments].concat(), "")
    }

    /// Has the router's packet filter read rules.
    pub fn filter(&self, rules: &str) {
        run("ip", &["netns", "exec", &self.name("router"), "nft", "-f", "-"], rules);
    }

    fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.prefix)
    }

    fn make(&mut self, part: &str) {
        let name = self.name(part);
        run("ip", &["netns", "add", &name], "");
        self.made.push(name.clone());
        run("ip", &["-n", &name, "link", "set", "dev", "lo", "up"], "");
    }

    /// A wire from the router to a namespace, whose addresses these are.
    fn wire(&self, part: &str, here: Ipv4Addr, there: &[Ipv4Addr]) {
        let (router, name) = (self.name("router"), self.name(part));
        let ip = |namespace: &str, words: &str| {
            let words: Vec<&str> = words.split(' ').collect();
            run("ip", &[&["-n", namespace], &words[..]].concat(), "");
        };
        ip(&router, &format!("link add name {part} type veth peer name {UP} netns {name}"));
        ip(&router, &format!("address add {here}/24 dev {part}"));
        for address in there {
            ip(&name, &format!("address add {address}/24 dev {UP}"));
        }
        ip(&router, &format!("link set dev {part} up"));
        ip(&name, &format!("link set dev {UP} up"));
        ip(&name, &format!("route add default via {here}"));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.made.iter().rev() {
            // Whoever is in there is gone, and its wires go with it. A test that fails must not end here.
            let ended = Command::new("ip").args(["netns", "delete", name]).status();
            if !ended.as_ref().is_ok_and(std::process::ExitStatus::success) {
                println!("the namespace {name} is left behind: {ended:?}");
            }
        }
    }
}

/// The router's wire to a zone.
pub fn to_zone(zone: u8) -> String {
    format!("{TO_ZONE}{zone}")
}

/// Of an endpoint of a zone; the tens keep it apart from the router.
pub const fn address(zone: u8, endpoint: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 90, zone, 10 + endpoint)
}

/// The same with its port.
pub fn endpoint(zone: u8, endpoint: u8) -> SocketAddr {
    (address(zone, endpoint), PORT).into()
}

/// Says what is missing, before anything is made.
pub fn requirements() {
    assert!(
        rustix::process::geteuid().is_root(),
        "network namespaces need root: run these tests as root, or leave out this file (--test packets)"
    );
    for (program, arguments) in [("ip", &["netns", "list"][..]), ("tc", &["-V"]), ("nft", &["--version"])] {
        let found = Command::new(program).args(arguments).output();
        assert!(
            found.as_ref().is_ok_and(|output| output.status.success()),
            "`{program} {}` is needed here and does not work: {found:?}; `scripts/setup test` installs it",
            arguments.join(" ")
        );
    }
}

fn run(program: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}{input}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}
