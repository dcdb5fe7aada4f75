//! Sessions and client certificates over real handshakes: what carries from one process to another, and
//! what must never carry from one policy to another.
#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use rcgen::{
    CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connection::Facts;
use super::testing::{LEGACY, REGION, Served, World, ample, echo, patiently};
use crate::policy::client_certificate::{ClientPolicy, admit};
use crate::policy::hosts::Role;
use crate::policy::snapshot::Snapshot;
use crate::policy::tickets::{TicketKey, TicketRules};
use crate::test_snapshot::SnapshotBuilder;

/// 2026-11-20: all certificates and lists here hold.
const NOW: u64 = 1_795_132_800;

const HOST: &str = "ab123.us1.dbt.com";
const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&TLS12], &[&TLS13]];

fn world() -> World {
    World::new(&[LEGACY, REGION], ample())
}

fn keys(bytes: &[u8]) -> TicketRules {
    let key = |byte: &u8| TicketKey::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &[*byte; 32])));
    TicketRules { keys: bytes.iter().map(key).collect(), lifetime: Duration::from_secs(3_600) }
}

async fn kind(served: &Served, name: &str, client: &ClientConfig) -> HandshakeKind {
    let mut stream = served.connect(name, client).await.unwrap();
    echo(&mut stream).await;
    stream.get_ref().1.handshake_kind().unwrap()
}

#[tokio::test]
async fn without_keys_a_ticket_ends_with_its_process() {
    for versions in VERSIONS {
        let world = world();
        let (first, second) = (world.serve_tls(), world.replica());
        let client = world.client(versions, &[]);
        assert_eq!(kind(&first, HOST, &client).await, HandshakeKind::Full);
        assert_eq!(kind(&first, HOST, &client).await, HandshakeKind::Resumed);
        assert_eq!(kind(&second, HOST, &client).await, HandshakeKind::Full);
    }
}

#[tokio::test]
async fn a_ticket_resumes_in_another_process_until_its_key_is_removed() {
    for versions in VERSIONS {
        let world = world();
        world.reload_as(|next| next.tickets = keys(&[1]));
        let client = world.client(versions, &[]);
        let first = world.serve_tls();
        assert_eq!(kind(&first, HOST, &client).await, HandshakeKind::Full);
        drop(first);
        assert_eq!(kind(&world.replica(), HOST, &client).await, HandshakeKind::Resumed);
        // Rotated: the new key seals, the old one still opens.
        world.reload_as(|next| next.tickets = keys(&[2, 1]));
        let second = world.replica();
        assert_eq!(kind(&second, HOST, &client).await, HandshakeKind::Resumed);
        world.reload_as(|next| next.tickets = keys(&[2]));
        assert_eq!(kind(&second, HOST, &client).await, HandshakeKind::Resumed, "sealed with the new key");
        world.reload_as(|next| next.tickets = keys(&[3]));
        assert_eq!(kind(&second, HOST, &client).await, HandshakeKind::Full, "the key is gone");
        // The keys of a process are no way around.
        world.reload_as(|next| next.tickets = keys(&[]));
        assert_eq!(kind(&second, HOST, &client).await, HandshakeKind::Full);
    }
}

/// Authorities of clients, and what they have issued.
struct Clients {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Clients {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn issue(&self, name: &str, serial: u64) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// A policy, by what it revokes. `None`: without lists.
    fn policy(&self, required: bool, revoked: Option<&[u64]>) -> Arc<ClientPolicy> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let mut verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::new(provider::default_provider()),
        );
        if !required {
            verifier = verifier.allow_unauthenticated();
        }
        if let Some(revoked) = revoked {
            let one = |serial: &u64| RevokedCertParams {
                serial_number: SerialNumber::from(*serial),
                revocation_time: rcgen::date_time_ymd(2026, 1, 1),
                reason_code: None,
                invalidity_date: None,
            };
            let list = CertificateRevocationListParams {
                this_update: rcgen::date_time_ymd(2026, 1, 1),
                next_update: rcgen::date_time_ymd(2099, 1, 1),
                crl_number: SerialNumber::from(1),
                issuing_distribution_point: None,
                revoked_certs: revoked.iter().map(one).collect(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            let list = list.signed_by(&self.issuer).unwrap();
            verifier = verifier.with_crls([list.der().clone()]).only_check_end_entity_revocation();
        }
        let identity = format!("{required} {:?} {revoked:?}", self.issuer.der().as_ref());
        let crl_until = revoked.map(|_| i64::MAX);
        let verifier = verifier.build().unwrap();
        let (identity, authorities) = (identity.into(), [].into());
        Arc::new(ClientPolicy { required, known: true, identity, authorities, verifier, crl_until })
    }
}

/// A legacy host that asks for nothing, accounts' hosts under `policy`, and surfaces' under `other`.
fn asking(next: &mut Snapshot, policy: &Arc<ClientPolicy>, other: Option<&Arc<ClientPolicy>>) {
    let mut hosts = SnapshotBuilder::new()
        .host(Role::Legacy, "cloud.getdbt.com", 0)
        .host(Role::Cell, "{prefix}.us1.dbt.com", 0)
        .asking(Arc::clone(policy))
        .host(Role::Cell, "{prefix}.{surface}.us1.dbt.com", 0);
    if let Some(other) = other {
        hosts = hosts.asking(Arc::clone(other));
    }
    next.hosts = hosts.build().hosts;
}

/// A client that shows this certificate when it is asked.
fn showing(
    world: &World,
    versions: &[&'static SupportedProtocolVersion],
    (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(world.issuer.der().clone()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap()
}

/// Whether a connection gets as far as HTTP. In TLS 1.3 a client learns that only when it reads.
async fn let_in(served: &Served, name: &str, client: &ClientConfig) -> bool {
    let through = async {
        let mut stream = served.connect(name, client).await?;
        stream.write_all(b"ping").await?;
        let mut back = [0; 4];
        stream.read_exact(&mut back).await?;
        io::Result::Ok(())
    };
    patiently("the handshake", through).await.is_ok()
}

async fn facts_of(served: &mut Served) -> Facts {
    patiently("the facts", served.facts.recv()).await.unwrap()
}

#[tokio::test]
async fn a_required_certificate_is_asked_for_by_name() {
    for versions in VERSIONS {
        let (world, clients, strangers) = (world(), Clients::new("ours"), Clients::new("others"));
        world.reload_as(|next| asking(next, &clients.policy(true, None), None));
        let mut served = world.serve_tls();
        let none = world.client(versions, &[]);
        let good = showing(&world, versions, clients.issue("robot", 5));
        let strange = showing(&world, versions, strangers.issue("robot", 5));
        assert!(!let_in(&served, HOST, &none).await);
        patiently("the count", world.recorder.until("handshake client_certificate", 1)).await;
        assert!(!let_in(&served, HOST, &strange).await);
        patiently("the count", world.recorder.until("handshake client_certificate", 2)).await;
        // The neighbours ask for nothing, and a client with a certificate shows them none.
        for client in [&none, &strange, &good] {
            assert!(let_in(&served, "cloud.getdbt.com", client).await);
            assert!(facts_of(&mut served).await.client_certificate().is_none());
        }
        assert!(let_in(&served, HOST, &good).await);
        let facts = facts_of(&mut served).await;
        let told = facts.client_certificate().unwrap().told();
        assert!(told.starts_with("sha256=\"") && told.ends_with("CN=robot\""), "{told}");
    }
}

#[tokio::test]
async fn an_optional_certificate_may_be_absent_but_not_wrong() {
    for versions in VERSIONS {
        let (world, clients, strangers) = (world(), Clients::new("ours"), Clients::new("others"));
        world.reload_as(|next| asking(next, &clients.policy(false, Some(&[6])), None));
        let mut served = world.serve_tls();
        assert!(let_in(&served, HOST, &world.client(versions, &[])).await);
        assert!(facts_of(&mut served).await.client_certificate().is_none());
        assert!(let_in(&served, HOST, &showing(&world, versions, clients.issue("robot", 5))).await);
        assert!(facts_of(&mut served).await.client_certificate().is_some());
        assert!(!let_in(&served, HOST, &showing(&world, versions, clients.issue("revoked", 6))).await);
        assert!(!let_in(&served, HOST, &showing(&world, versions, strangers.issue("robot", 5))).await);
    }
}

/// What a request is told on a connection now.
fn served_on(world: &World, facts: &Facts, host: &str) -> bool {
    let snapshot = world.snapshot.load_full();
    admit(&snapshot, facts.sni(), host, facts.client_certificate(), NOW).is_ok()
}

#[tokio::test]
async fn a_connection_serves_only_hosts_that_ask_for_the_same() {
    let (world, clients, others) = (world(), Clients::new("ours"), Clients::new("others"));
    let (ours, theirs) = (clients.policy(true, None), others.policy(false, None));
    world.reload_as(|next| asking(next, &ours, Some(&theirs)));
    let mut served = world.serve_tls();
    let client = showing(&world, rustls::ALL_VERSIONS, clients.issue("robot", 5));
    assert!(let_in(&served, HOST, &client).await);
    let shown = facts_of(&mut served).await;
    assert!(let_in(&served, "cloud.getdbt.com", &client).await);
    let unasked = facts_of(&mut served).await;
    let mut nameless = world.any_client();
    nameless.enable_sni = false;
    assert!(let_in(&served, "cloud.getdbt.com", &nameless).await);
    let nameless = facts_of(&mut served).await;
    let cases = [
        (&shown, HOST, true),
        (&shown, "cd456.us1.dbt.com", true),
        (&shown, "ab123.metadata.us1.dbt.com", false),
        (&shown, "cloud.getdbt.com", false),
        (&unasked, HOST, false),
        (&unasked, "ab123.metadata.us1.dbt.com", false),
        (&unasked, "cloud.getdbt.com", true),
        (&nameless, HOST, false),
        (&nameless, "cloud.getdbt.com", true),
    ];
    for (facts, host, expect) in cases {
        assert_eq!(served_on(&world, facts, host), expect, "{:?} to {host}", facts.sni());
    }
    // Without TLS of ours nobody shows anything.
    let plain = Facts { tls: None, ..shown };
    assert!(!served_on(&world, &plain, HOST));
    assert!(served_on(&world, &plain, "ab123.metadata.us1.dbt.com"), "optional");
    assert!(served_on(&world, &plain, "cloud.getdbt.com"));
}

#[tokio::test]
async fn a_reload_judges_connections_that_live() {
    let (world, clients) = (world(), Clients::new("ours"));
    let policies = |required, revoked: Option<&[u64]>| clients.policy(required, revoked);
    world.reload_as(|next| asking(next, &policies(false, None), None));
    let mut served = world.serve_tls();
    let (kept, revoked) = (clients.issue("kept", 5), clients.issue("revoked", 6));
    let mut connected = Vec::new();
    for client in [
        showing(&world, rustls::ALL_VERSIONS, kept),
        showing(&world, rustls::ALL_VERSIONS, revoked),
        world.any_client(),
    ] {
        assert!(let_in(&served, HOST, &client).await);
        connected.push((facts_of(&mut served).await, client));
    }
    let check = |expect: [bool; 3]| {
        for ((facts, _), expect) in connected.iter().zip(expect) {
            // Twice: what was found once is remembered, and must be the same.
            assert_eq!([served_on(&world, facts, HOST), served_on(&world, facts, HOST)], [expect; 2]);
        }
    };
    check([true, true, true]);
    world.reload_as(|next| asking(next, &policies(false, Some(&[6])), None));
    check([true, false, true]);
    world.reload_as(|next| asking(next, &policies(true, Some(&[6])), None));
    check([true, false, false]);
    world.reload_as(|next| asking(next, &Clients::new("others").policy(true, None), None));
    check([false, false, false]);
    world.reload_as(|_| {});
    check([true, true, true]);
    world.reload_as(|next| asking(next, &policies(true, Some(&[6])), None));
    for ((_, client), expect) in connected.iter().zip([true, false, false]) {
        assert_eq!(let_in(&served, HOST, client).await, expect);
    }
}

#[tokio::test]
async fn a_certificate_and_a_list_end_on_connections_too() {
    let (world, clients) = (world(), Clients::new("ours"));
    let policy = clients.policy(true, None);
    world.reload_as(|next| asking(next, &policy, None));
    let mut served = world.serve_tls();
    assert!(let_in(&served, HOST, &showing(&world, rustls::ALL_VERSIONS, clients.issue("robot", 5))).await);
    let facts = facts_of(&mut served).await;
    assert!(policy.accepts(facts.client_certificate(), NOW));
    assert!(!policy.accepts(facts.client_certificate(), u64::MAX), "the certificate is over");
    let listed = |crl_until| ClientPolicy { crl_until: Some(crl_until), ..(*policy).clone() };
    let accepts = |policy: &ClientPolicy| policy.accepts(facts.client_certificate(), NOW);
    assert!(accepts(&listed(i64::try_from(NOW).unwrap() + 1)));
    assert!(!accepts(&listed(i64::try_from(NOW).unwrap())), "the list is over");
}

#[tokio::test]
async fn nothing_is_resumed_where_a_certificate_is_asked_for() {
    for versions in VERSIONS {
        for required in [true, false] {
            let (world, clients) = (world(), Clients::new("ours"));
            world.reload_as(|next| next.tickets = keys(&[1]));
            let served = world.serve_tls();
            let client = showing(&world, versions, clients.issue("robot", 5));
            assert_eq!(kind(&served, HOST, &client).await, HandshakeKind::Full);
            assert_eq!(kind(&served, HOST, &client).await, HandshakeKind::Resumed);
            // The session that no certificate was asked for does not get past the new policy.
            let ask = |policy: Arc<ClientPolicy>| {
                world.reload_as(|next| {
                    next.tickets = keys(&[1]);
                    asking(next, &policy, None);
                });
            };
            ask(clients.policy(required, None));
            let later = showing(&world, versions, clients.issue("robot", 6));
            for client in [&client, &client, &later, &later] {
                assert_eq!(kind(&served, HOST, client).await, HandshakeKind::Full);
            }
            // Nor does one of the policy get past a revocation, or back into the time without.
            ask(clients.policy(required, Some(&[5])));
            assert!(!let_in(&served, HOST, &client).await);
            world.reload_as(|next| next.tickets = keys(&[1]));
            assert_eq!(kind(&served, HOST, &later).await, HandshakeKind::Full);
        }
    }
}
