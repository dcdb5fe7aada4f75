//! Hosts that ask for client certificates, sessions that outlive the process, and the promise of https, over
//! real sockets and both protocols.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use devcerts::{Authority, Pair, Usage};
use loadtest::client::{Ask, Client, Http, Line, Reply};
use loadtest::tls::ClientTls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use crate::raw_http;
use crate::running::{Folder, authority, eventually};
use crate::world::World;

/// Asks for a certificate; of cell-1.
const ASKS: &str = "ab123.us1.dbt.com";

/// Under the same server certificate, and asks for nothing.
const ASKS_NOT: &str = "ab123.metadata.us1.dbt.com";

const HEADER: &str = "x-cellgate-client-cert";

/// Accounts' own addresses ask for certificates of these authorities.
pub fn asking(folder: &Folder, clients: &Authority, mode: &str) {
    folder.write("certs/dev/clients.pem", clients.ca_pem());
    let host = "    role: cell\n    surface: app\n";
    let asked = format!("    client_certificate: {{ ca: ../certs/dev/clients.pem, mode: {mode} }}\n");
    folder.edit("config/cellgate.yaml", host, &format!("{host}{asked}    hsts: 365d\n"));
}

/// A client that shows this certificate where it is asked for one.
fn showing(address: SocketAddr, http: Http, clients: &Authority) -> Client {
    showing_this(address, http, clients.issue(&["robot"], Usage::Client).unwrap())
}

fn showing_this(address: SocketAddr, http: Http, pair: Pair) -> Client {
    let identity = Some((pair.cert_pem, pair.key_pem));
    Client::tls(address, http, &ClientTls { ca_pem: authority().ca_pem().to_owned(), identity }).unwrap()
}

fn told(reply: &Reply) -> Vec<String> {
    let mut seen = reply.seen().unwrap().headers.clone();
    seen.retain(|(name, _)| name.to_lowercase().replace('_', "-").contains("client-cert"));
    seen.into_iter().map(|(name, value)| format!("{}: {value}", name.to_lowercase())).collect()
}

#[test]
fn a_certificate_counts_on_the_connection_that_showed_it() {
    let clients = Authority::new("clients").unwrap();
    let world = World::prepared(|folder| asking(folder, &clients, "required"));
    let https = world.edge.addr("https");
    let forged = Ask::get(ASKS, "/api/v2/")
        .header(HEADER, "sha256=\"0\"")
        .header("X_Cellgate_Client_Cert", "a")
        .header("client-cert", ":AAAA:")
        .header("client-cert-chain", ":AAAA:");
    for http in [Http::H1, Http::H2] {
        let client = showing(https, http, &clients);
        world.block_on(async {
            let line = client.open(ASKS).await.unwrap();
            let reply = line.ask(&forged).await.unwrap();
            assert_eq!((reply.status.as_u16(), reply.cell()), (200, Some("cell-1")), "{}", reply.text());
            let [told] = &told(&reply)[..] else { unreachable!("{:?}", told(&reply)) };
            assert!(
                told.starts_with("x-cellgate-client-cert: sha256=\"") && told.contains("robot"),
                "{told}"
            );
            assert_eq!(reply.headers["strict-transport-security"], "max-age=31536000");
            // Whoever has shown one has shown it to this host only, and the other way round.
            let elsewhere = line.ask(&Ask::get(ASKS_NOT, "/")).await.unwrap();
            assert_eq!((elsewhere.status.as_u16(), elsewhere.cell()), (421, None));
            let other = client.open(ASKS_NOT).await.unwrap();
            let unasked = other.ask(&Ask::get(ASKS_NOT, "/").header(HEADER, "x")).await.unwrap();
            assert_eq!((unasked.status.as_u16(), unasked.cell()), (200, Some("cell-1")));
            assert!(self::told(&unasked).is_empty());
            assert!(!unasked.headers.contains_key("strict-transport-security"));
            let crossed = other.ask(&forged).await.unwrap();
            assert_eq!((crossed.status.as_u16(), crossed.cell()), (421, None));

            let refused = world.edge.tls(http).ask(&Ask::get(ASKS, "/")).await;
            assert!(refused.is_err(), "without a certificate there is no connection");
            let strange = showing(https, http, &Authority::new("others").unwrap());
            assert!(strange.ask(&Ask::get(ASKS, "/")).await.is_err());
            let plain = world.edge.plain(http).ask(&forged).await.unwrap();
            assert_eq!((plain.status.as_u16(), plain.cell()), (421, None), "nor without TLS");
        });
    }
    // Counted after the client has been told.
    let refused = "cellgate_tls_handshakes_total{result=\"client_certificate\"} 4";
    eventually(refused, || {
        let page = raw_http::page(world.edge.admin(), "/metrics").text();
        page.lines().any(|line| line == refused).then_some(())
    });
}

#[test]
fn an_optional_certificate_is_told_where_it_is_shown() {
    let clients = Authority::new("clients").unwrap();
    let world = World::prepared(|folder| asking(folder, &clients, "optional"));
    for http in [Http::H1, Http::H2] {
        let ask = |client: Client| world.block_on(client.ask(&Ask::get(ASKS, "/"))).unwrap();
        let shown = ask(showing(world.edge.addr("https"), http, &clients));
        let none = ask(world.edge.tls(http));
        let plain = ask(world.edge.plain(http));
        for (reply, count) in [(&shown, 1), (&none, 0), (&plain, 0)] {
            assert_eq!((reply.status.as_u16(), reply.cell()), (200, Some("cell-1")), "{}", reply.text());
            assert_eq!(told(reply).len(), count);
        }
        assert!(!plain.headers.contains_key("strict-transport-security"), "RFC 6797 section 7.2");
    }
}

/// A list that revokes these certificates, and holds.
fn revoking(authority: &Authority, revoked: &[&Pair]) -> String {
    let key = rcgen::KeyPair::from_pem(&authority.key_pem()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(authority.ca_pem(), key).unwrap();
    let one = |pair: &&Pair| {
        let der = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        rcgen::RevokedCertParams {
            serial_number: rcgen::SerialNumber::from_slice(certificate.raw_serial()),
            revocation_time: rcgen::date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }
    };
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2090, 1, 1),
        crl_number: rcgen::SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(one).collect(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    list.signed_by(&issuer).unwrap().pem().unwrap()
}

#[test]
fn a_revoked_certificate_is_refused_on_old_connections_and_new_ones() {
    let clients = Authority::new("clients").unwrap();
    let [kept, revoked] = ["kept", "revoked"].map(|name| clients.issue(&[name], Usage::Client).unwrap());
    let list = "certs/dev/clients.crl";
    let world = World::prepared(|folder| {
        asking(folder, &clients, "required");
        folder.edit("config/cellgate.yaml", "mode: required", &format!("mode: required, crl: ../{list}"));
        folder.write(list, &revoking(&clients, &[]));
    });
    let ask = Ask::get(ASKS, "/");
    let open = |http, pair: &Pair| {
        let client = showing_this(world.edge.addr("https"), http, pair.clone());
        world.block_on(client.open(ASKS))
    };
    let lines = [Http::H1, Http::H2].map(|http| [&kept, &revoked].map(|pair| open(http, pair).unwrap()));
    let statuses = || {
        let status = |line: &Line| world.block_on(line.ask(&ask)).unwrap().status.as_u16();
        lines.each_ref().map(|pair| pair.each_ref().map(status))
    };
    assert_eq!(statuses(), [[200, 200]; 2]);
    world.edge.folder.write(list, &revoking(&clients, &[&revoked]));
    let reply = raw_http::admin(&world.edge.socket(), "POST", "/reload");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(statuses(), [[200, 421]; 2]);
    for http in [Http::H1, Http::H2] {
        let asked = [&kept, &revoked].map(|pair| {
            let client = showing_this(world.edge.addr("https"), http, pair.clone());
            world.block_on(client.ask(&ask)).map(|reply| reply.status.as_u16()).ok()
        });
        assert_eq!(asked, [Some(200), None]);
    }
}

/// How a handshake went; a request follows it, because tickets come after it.
fn handshake(address: SocketAddr, config: &Arc<ClientConfig>) -> HandshakeKind {
    let name = ServerName::try_from("cloud.getdbt.com").unwrap();
    let client = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = StreamOwned::new(client, raw_http::tcp(address));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: cloud.getdbt.com\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&answer));
    stream.conn.handshake_kind().unwrap()
}

#[test]
fn a_session_outlives_the_process_as_long_as_its_key() {
    let keys = |names: &[&str]| {
        let keys: Vec<String> = names.iter().map(|name| format!("{{ file: keys/{name} }}")).collect();
        format!("tls: {{ ticket_keys: [{}] }}\n", keys.join(", "))
    };
    let mut world = World::prepared(|folder| {
        folder.write_secret("config/keys/old", &"01".repeat(32));
        folder.write_secret("config/keys/new", &"02".repeat(32));
        folder.append("config/cellgate.yaml", &keys(&["old"]));
        // In the end a key that is in use goes.
        folder.edit("config/boot.yaml", "guards: {", "guards: { mode: 'off',");
    });
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority().ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
    assert_eq!(handshake(world.edge.addr("https"), &client), HandshakeKind::Full);
    world = world.restart();
    assert_eq!(handshake(world.edge.addr("https"), &client), HandshakeKind::Resumed);
    // While it runs: the new key first, and then alone.
    let reload = |from: &[&str], to: &[&str]| {
        world.edge.folder.edit("config/cellgate.yaml", &keys(from), &keys(to));
        let reply = raw_http::admin(&world.edge.socket(), "POST", "/reload");
        assert_eq!(reply.status, 200, "{}", reply.text());
        handshake(world.edge.addr("https"), &client)
    };
    assert_eq!(reload(&["old"], &["new", "old"]), HandshakeKind::Resumed);
    assert_eq!(reload(&["new", "old"], &["new"]), HandshakeKind::Resumed, "it has a ticket of the new key");
    assert_eq!(reload(&["new"], &["old"]), HandshakeKind::Full);
}
