//! A Network Load Balancer in front: the template is one that CloudFormation would take, as far as cfn-lint knows, and
//! cellgate takes what such a balancer writes, and nothing of anybody else. No such balancer is had here.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::checkers::{checker, objects, passes, with};
use crate::example::Example;
use crate::running::{PATIENCE, eventually};

const TEMPLATE: &str = "packaging/nlb/nlb.yaml";
const BOOT: &str = "packaging/nlb/boot.yaml";

/// Version 2, PROXY, TCP over IPv4: 198.51.100.7:40000 to 203.0.113.1:80.
const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x07\xcb\x00\x71\x01\x9c\x40\x00\x50";

/// The same, LOCAL: the balancer asks for itself.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

const REQUEST: &[u8] =
    b"GET /deploy/12345/ HTTP/1.1\r\nHost: legacy.example.com\r\nConnection: close\r\n\r\n";

#[test]
fn cfn_lint_has_nothing_against_the_template() {
    passes(checker("cfn-lint").arg(crate::path(TEMPLATE)));
    let (_folder, wrong) = with(TEMPLATE, "TargetType: instance", "TargetType: machine", "nlb.yaml");
    assert!(objects(checker("cfn-lint").arg(wrong)).contains("'machine' is not one of"));
}

#[test]
fn both_target_groups_write_who_the_client_is_and_keep_their_own_address_as_source() {
    let text = crate::read(TEMPLATE);
    let count = |line: &str| text.lines().filter(|found| found.trim() == line).count();
    for (key, value) in [
        ("proxy_protocol_v2.enabled", "true"),
        ("preserve_client_ip.enabled", "false"),
        ("deregistration_delay.connection_termination.enabled", "false"),
    ] {
        assert_eq!(count(&format!("- {{ Key: {key}, Value: \"{value}\" }}")), 2, "{key}");
    }
    let (boot, _) = Example::with(BOOT).read();
    assert!(boot.listeners.iter().all(|listener| listener.proxy_protocol.is_some()));
    let delay = text.split("deregistration_delay.timeout_seconds, Value: \"").nth(1).unwrap();
    assert!(delay.split('"').next().unwrap().parse::<u64>().unwrap() > boot.drain.deadline.as_secs());
}

#[test]
fn health_is_checked_at_a_port_that_cellgate_opens_itself() {
    let template = crate::read(TEMPLATE);
    let ports: Vec<u16> = template
        .lines()
        .filter_map(|line| line.trim().strip_prefix("HealthCheckPort: "))
        .map(|port| port.trim_matches('"').parse().unwrap())
        .collect();
    assert_eq!(ports.len(), template.matches("AWS::ElasticLoadBalancingV2::TargetGroup").count());
    let (boot, _) = Example::with(BOOT).read();
    let sockets = socket_units();
    for port in ports {
        assert!(boot.listeners.iter().any(|listener| listener.address.port() == port), "{port}");
        let of_systemd =
            |(_, text): &(String, String)| text.contains(&format!("ListenStream=0.0.0.0:{port}\n"));
        assert!(!sockets.iter().any(of_systemd), "systemd takes connections to {port} while nothing serves");
    }
}

#[test]
fn the_guide_leaves_every_target_group_and_stops_every_socket_with_the_service() {
    let guide = crate::read("docs/deploy.md");
    let template = crate::read(TEMPLATE);
    let outputs = template.lines().filter_map(|line| line.trim().strip_suffix("Targets:"));
    let outputs: Vec<String> = outputs.map(|name| format!("\"${}_TARGETS\"", name.to_uppercase())).collect();
    assert_eq!(outputs.len(), 2);
    let sockets = socket_units();
    let (_, after) = guide.split_once("for targets in ").unwrap();
    for output in outputs {
        assert!(after.lines().next().unwrap().contains(&output), "{output}");
    }
    let stops: Vec<&str> = guide.lines().filter(|line| line.starts_with("systemctl stop ")).collect();
    assert!(!stops.is_empty());
    for stop in stops {
        assert!(sockets.iter().all(|(name, _)| stop.contains(name)), "{stop}: the sockets start it again");
    }
}

/// Name and text of each unit that has systemd listen.
fn socket_units() -> Vec<(String, String)> {
    let entries = fs::read_dir(crate::path("packaging/systemd")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let units: Vec<_> = names
        .filter(|name| name.ends_with(".socket"))
        .map(|name| (name.clone(), crate::read(&format!("packaging/systemd/{name}"))))
        .collect();
    assert!(!units.is_empty());
    units
}

/// A process on one of the examples.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a client is answered on the plain port, with these bytes first; nothing where the connection is closed.
fn answered(trusted: &str, first: &[u8]) -> Vec<u8> {
    let example = Example::with(BOOT);
    let boot = fs::read_to_string(example.path("boot.yaml")).unwrap();
    let boot =
        boot.replace("[10.0.0.0/24, 10.0.1.0/24]", trusted).replace("\"0.0.0.0:443\"", "\"127.0.0.1:0\"");
    let boot = boot.replace("\"0.0.0.0:80\"", "\"127.0.0.1:0\"").replace("127.0.0.1:9900", "127.0.0.1:0");
    let log = example.path("access.log");
    let boot = boot.replace("/var/log/cellgate/access.log", log.to_str().unwrap());
    fs::write(example.path("boot.yaml"), boot).unwrap();
    let said = example.path("stderr.jsonl");
    let mut serve = example.cellgate("serve");
    serve.arg("--bootstrap").arg("--state-dir").arg(example.path("state"));
    serve.stdin(Stdio::null()).stderr(fs::File::create(&said).unwrap());
    let _serving = Serving(serve.spawn().unwrap());
    let address = eventually("the plain listener", || {
        let text = fs::read_to_string(&said).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut fields = lines.map(|line| line["fields"].clone());
        let found = fields.find(|one| one["message"] == "listening" && one["listener"] == "http")?;
        found["address"].as_str().unwrap().parse::<std::net::SocketAddr>().ok()
    });
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    // Whoever is refused may see the end, or a reset.
    if client.write_all(&[first, REQUEST].concat()).is_ok() {
        let _ = client.read_to_end(&mut answer);
    }
    if !answer.is_empty() {
        let line = eventually("its line in the log", || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            text.lines().next().and_then(|line| serde_json::from_str::<Value>(line).ok())
        });
        let client = line["client_ip"].as_str().unwrap_or_default().to_owned();
        answer.extend(format!("\nclient {client}").into_bytes());
    }
    answer
}

#[test]
fn what_the_balancer_says_of_the_client_is_believed_and_nobody_elses_word() {
    let said = |trusted, first: &[u8]| String::from_utf8(answered(trusted, first)).unwrap();
    let ours = said("[127.0.0.0/8]", HEADER);
    assert!(ours.starts_with("HTTP/1.1 308 "), "{ours}");
    assert!(ours.contains("\r\nlocation: https://legacy.example.com/deploy/12345/\r\n"), "{ours}");
    assert!(ours.ends_with("\nclient 198.51.100.7"), "{ours}");
    assert!(said("[127.0.0.0/8]", LOCAL).starts_with("HTTP/1.1 308 "));
    assert_eq!(said("[127.0.0.0/8]", b""), "", "a connection without a header");
    assert_eq!(said("[10.0.0.0/24, 10.0.1.0/24]", HEADER), "", "a header of somebody else");
}
