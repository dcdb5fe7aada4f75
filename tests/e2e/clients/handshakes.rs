//! TLS as clients see it that have nothing of ours: OpenSSL's `s_client` looks at the stapled answer and takes its
//! sessions from process to process, sslyze judges the whole.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use cellgate::config::time::show_moment;
use devcerts::{Authority, Validity};
use serde_json::{Value, json};

use super::{CLIENT, client, run};
use crate::ocsp;
use crate::process::Process;
use crate::python::python;
use crate::raw_http;
use crate::running::Folder;
use crate::world::World;

/// Served by the certificate `us1`.
const NAME: &str = "ab123.us1.dbt.com";

/// What `s_client` says about a connection on which one request is answered.
fn openssl(folder: &Folder, address: SocketAddr, options: &[&str]) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    folder.write("request", &request);
    let mut command = Command::new("sh");
    command.current_dir(folder.path("")).args(["-c", "exec openssl s_client \"$@\" <request", "sh"]);
    let to = address.to_string();
    command.args(["-connect", &to, "-servername", NAME, "-ign_eof"]).args(options);
    run(&mut command, &folder.path(""), CLIENT)
}

const OCSP: &str = "certs/dev/us1.ocsp";

/// Writes an answer about the certificate that is good until then.
fn staple(folder: &Folder, until: &str) {
    let response = ocsp::good(&folder.read("certs/dev/us1.pem"), "20250101000000Z", until);
    std::fs::write(folder.path(OCSP), response).unwrap();
}

fn stapling(folder: &Folder, until: &str) {
    staple(folder, until);
    let key = "key: ../certs/dev/us1.key }";
    folder.edit("config/cellgate.yaml", key, &format!("key: ../certs/dev/us1.key, ocsp: ../{OCSP} }}"));
}

/// Until when the stapled answer says that it holds.
fn stapled(world: &World, version: &str) -> Option<String> {
    let said = openssl(&world.edge.folder, world.edge.addr("https"), &["-status", version]);
    let until = said.lines().find_map(|line| line.trim().strip_prefix("Next Update: "));
    let none = said.contains("OCSP response: no response sent");
    assert_eq!(until.is_none(), none, "{said}");
    assert_eq!(until.is_some(), said.contains("Cert Status: good"), "{said}");
    assert!(said.contains("HTTP/1.1 200"), "{said}");
    until.map(str::to_owned)
}

fn reload(world: &World) {
    let reply = raw_http::admin(&world.edge.socket(), "POST", "/reload");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn openssl_sees_the_staple_of_the_file_and_the_next_one_after_a_reload() {
    let world = World::prepared(|folder| stapling(folder, "20900101000000Z"));
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(stapled(&world, version).as_deref(), Some("Jan  1 00:00:00 2090 GMT"), "{version}");
    }
    staple(&world.edge.folder, "20910101000000Z");
    reload(&world);
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(stapled(&world, version).as_deref(), Some("Jan  1 00:00:00 2091 GMT"), "{version}");
    }
    // A stale one does not stop a reload, and is not sent.
    staple(&world.edge.folder, "20260101000000Z");
    reload(&world);
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(stapled(&world, version), None, "{version}");
    }
    // Who does not ask for it gets none.
    let unasked = openssl(&world.edge.folder, world.edge.addr("https"), &[]);
    assert!(!unasked.contains("OCSP"), "{unasked}");
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

#[test]
fn openssl_sees_no_staple_once_it_is_past_its_next_update() {
    let until = now() + 4;
    let text: String = show_moment(until).chars().filter(|digit| !"-:T".contains(*digit)).collect();
    let world = World::prepared(|folder| stapling(folder, &text));
    loop {
        let before = now();
        let stapled = stapled(&world, "-tls1_3");
        // A handshake that was over before is sure to have had it, one that began after is sure not to.
        if now() < until {
            assert!(stapled.is_some(), "it holds for another moment");
        } else if before >= until {
            assert_eq!(stapled, None);
            break;
        }
    }
    let page = raw_http::page(world.edge.admin(), "/readyz");
    assert!(page.text().contains("ocsp_stale"), "{}", page.text());
}

#[test]
fn openssl_takes_a_session_to_every_process_that_has_its_key() {
    let replica = |keys: &[(&str, &str)]| {
        let folder = Folder::example(&BTreeMap::new());
        for (name, key) in keys {
            folder.write_secret(&format!("config/keys/{name}"), key);
        }
        let named: Vec<String> = keys.iter().map(|(name, _)| format!("{{ file: keys/{name} }}")).collect();
        folder.append("config/cellgate.yaml", &format!("tls: {{ ticket_keys: [{}] }}", named.join(", ")));
        (Process::start(&folder), folder)
    };
    let (old, new, foreign) = ("01".repeat(32), "02".repeat(32), "03".repeat(32));
    let first = replica(&[("a", &old)]);
    let second = replica(&[("elsewhere", &old)]);
    let rotated = replica(&[("b", &new), ("a", &old)]);
    let after = replica(&[("b", &new)]);
    let stranger = replica(&[("c", &foreign)]);
    for version in ["-tls1_2", "-tls1_3"] {
        let kind = |(process, folder): &(Process, Folder), options: &[&str]| {
            let said = openssl(folder, process.addr("https"), &[&[version], options].concat());
            let line = said.lines().find(|line| line.starts_with("New, ") || line.starts_with("Reused, "));
            line.unwrap_or_else(|| panic!("{said}")).split(',').next().unwrap().to_owned()
        };
        let session = |name: &str| first.1.path(name).to_str().unwrap().to_owned();
        let (of_old, of_new) = (session(&format!("old{version}")), session(&format!("new{version}")));
        assert_eq!(kind(&first, &["-sess_out", &of_old]), "New");
        assert_eq!(
            kind(&second, &["-sess_in", &of_old]),
            "Reused",
            "{version}: the same key in another process"
        );
        assert_eq!(kind(&stranger, &["-sess_in", &of_old]), "New", "{version}: a foreign key");
        assert_eq!(kind(&after, &["-sess_in", &of_old]), "New", "{version}: the key is gone");
        // In the middle of a rotation the old one opens, and the new one seals.
        assert_eq!(kind(&rotated, &["-sess_in", &of_old]), "Reused", "{version}: the key before");
        assert_eq!(kind(&rotated, &["-sess_out", &of_new]), "New", "{version}");
        assert_eq!(kind(&after, &["-sess_in", &of_new]), "Reused", "{version}: sealed with the new key");
    }
}

/// As long as certificates of public authorities hold.
const LIFETIME: Duration = Duration::from_secs(90 * 86_400);

#[test]
fn sslyze_finds_the_example_to_be_intermediate() {
    let (not_before, not_after) = (SystemTime::now() - LIFETIME / 2, SystemTime::now() + LIFETIME / 2);
    let authority = Authority::with_validity("grade", Validity { not_before, not_after }).unwrap();
    let world = World::prepared(|folder| folder.certificates(&authority));
    world.edge.folder.write("ca.pem", authority.ca_pem());
    let mut command = Command::new(python());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients/tls_grade.py");
    // No compiled files beside the script.
    command.arg("-B").arg(script).args(["cloud.getdbt.com", &world.edge.addr("https").port().to_string()]);
    let said = client(command.arg(world.edge.folder.path("ca.pem")), &world);
    let found: Value = serde_json::from_str(&said).unwrap();
    let expect = json!({
        // What Mozilla's profile wants otherwise; the certificates and their lifetime are part of it.
        "intermediate": {},
        "suites": {
            "ssl_2_0": [], "ssl_3_0": [], "tls_1_0": [], "tls_1_1": [],
            "tls_1_2": ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"],
            "tls_1_3": ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"],
        },
        "compression": false,
        "early_data": false,
        "heartbleed": false,
        "robot": "NOT_VULNERABLE_RSA_NOT_SUPPORTED",
        "ccs_injection": false,
        "fallback_scsv": true,
        "client_renegotiation": false,
        "extended_master_secret": true,
        "resumption_by_id": "FULLY_SUPPORTED",
    });
    assert_eq!(found, expect, "{found:#}");
}
