//! Whom is trusted and for how long: ticket keys, client certificates, revocation lists, stapled answers,
//! TLS towards cells. What configurations make is tried in handshakes in memory.

use std::sync::Arc;
use std::time::Duration;

use cellgate::config::{Config, Sources, compile, parse_all, parse_for_deciding, referenced_files};
use cellgate::policy::client_certificate::ClientPolicy;
use cellgate::policy::snapshot::Snapshot;
use devcerts::{Authority, Pair, Usage};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::{ClientConnection, HandshakeKind, ServerConfig, ServerConnection};

use super::ocsp;
use super::{NOW, authority, certificates, example, lines, replace};

type Files<'a> = &'a [(&'a str, Vec<u8>)];

/// The example with a piece of `cellgate.yaml` replaced and some files beside it.
fn with(from: &str, to: &str, files: Files<'_>) -> Result<Config, String> {
    parse_all(&changed(from, to, files), NOW).map(|(_, config)| config).map_err(|problems| lines(&problems))
}

fn changed(from: &str, to: &str, files: Files<'_>) -> Sources {
    let mut sources = example();
    replace(&mut sources.routing, from, to);
    sources.files.extend(files.iter().map(|(name, bytes)| ((*name).into(), Ok(bytes.clone()))));
    sources
}

/// Exactly one problem, with this text.
fn refused(what: &str, found: Result<Config, String>, expect: &str) {
    let found = found.err().unwrap_or_default();
    assert!(
        found.lines().count() == 1 && found.contains(expect),
        "{what}: expected {expect:?}, found {found:?}"
    );
}

/// `tls:` of the example.
fn tls(written: &str, files: Files<'_>) -> Result<Config, String> {
    let guide = "\nguide: https";
    with(guide, &format!("\ntls: {written}\nguide: https"), files)
}

fn key(digit: char) -> Vec<u8> {
    digit.to_string().repeat(64).into_bytes()
}

#[test]
fn ticket_keys_are_read_in_their_order() {
    let files = [("a.key", key('a')), ("b.key", key('b')), ("a2.key", key('a')), ("no.key", b"x".to_vec())];
    let names = |written: &str| -> Vec<[u8; 16]> {
        tls(written, &files).unwrap().client_tls.tickets.keys.iter().map(|key| key.name).collect()
    };
    let both = names("{ ticket_keys: [{ file: b.key }, { file: a.key }] }");
    assert_eq!(both.len(), 2);
    assert_eq!(names("{ ticket_keys: [{ file: a2.key }] }"), both[1..], "equal files make equal names");
    let none = parse_all(&example(), NOW).map(|(_, config)| config).unwrap().client_tls;
    assert_eq!((none.tickets.keys.len(), none.tickets.lifetime), (0, Duration::from_secs(12 * 3_600)));
    assert_eq!(none.warn_before, Duration::from_secs(21 * 86_400));
    let set = tls("{ ticket_lifetime: 1h, warn_before: 30d }", &[]).unwrap().client_tls;
    assert_eq!((set.tickets.lifetime.as_secs(), set.warn_before.as_secs()), (3_600, 30 * 86_400));

    let refuse = |written: &str, expect: &str| refused(written, tls(written, &files), expect);
    refuse("{ ticket_keys: [] }", "tls.ticket_keys: the list is empty");
    refuse("{ ticket_keys: [{ file: no.key }] }", "tls.ticket_keys[0].file: the file does not hold a key");
    refuse("{ ticket_keys: [{ file: lost.key }] }", "tls.ticket_keys[0].file: the file was not read");
    let twice = "{ ticket_keys: [{ file: a.key }, { file: a2.key }] }";
    refuse(twice, "tls.ticket_keys[1].file: the key is the one in line");
    let five = "[{ file: a.key }, { file: b.key }, { file: c }, { file: d }, { file: e }]";
    let found = tls(&format!("{{ ticket_keys: {five} }}"), &files).err().unwrap();
    assert!(found.contains("tls.ticket_keys: the list has 5 items; expected at most 4"), "{found}");
    refuse("{ ticket_lifetime: 8d }", "tls.ticket_lifetime: found \"8d\"; expected a time");
    refuse("{ warn_before: 0s }", "tls.warn_before: found \"0s\"");
    refuse("{ ticket_key: a }", "tls.ticket_key: unknown key \"ticket_key\"");
}

#[test]
fn keys_are_guarded_as_keys_and_the_rest_as_certificates() {
    use cellgate::config::FileKind::{Certificate, Secret};
    let text = "tls: { ticket_keys: [{ file: t.key }, { file: u.key, allow_readable: true }] }\n\
         certificates: [{ cert: c.pem, key: c.key, ocsp: c.ocsp }]\n\
         hosts: [{ client_certificate: { ca: h.pem, crl: h.crl } }]\n\
         cells: [{ tls: { ca: u.pem, crl: u.crl } }]\n";
    let named: Vec<_> = referenced_files(text.as_bytes())
        .into_iter()
        .map(|file| (file.path.to_string(), file.kind))
        .collect();
    let secret = |allow_readable| Secret { allow_readable };
    for (path, kind) in [
        ("t.key", secret(false)),
        ("u.key", secret(true)),
        ("c.key", secret(false)),
        ("c.ocsp", Certificate),
        ("h.pem", Certificate),
        ("h.crl", Certificate),
        ("u.pem", Certificate),
        ("u.crl", Certificate),
    ] {
        assert!(named.contains(&(path.to_owned(), kind)), "{path} in {named:?}");
    }
}

/// An authority that revokes, with rcgen: `devcerts` does not.
struct Revoker(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Revoker {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        let key = rcgen::KeyPair::generate().unwrap();
        Self(rcgen::CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn issue(&self, name: &str, serial: u64) -> Pair {
        use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.serial_number = Some(rcgen::SerialNumber::from(serial));
        params.extended_key_usages = vec![ClientAuth, ServerAuth];
        let key = rcgen::KeyPair::generate().unwrap();
        let cert_pem = params.signed_by(&key, &self.0).unwrap().pem();
        Pair { cert_pem, key_pem: key.serialize_pem() }
    }

    /// A list until the first day of a year.
    fn list(&self, revoked: &[u64], until: i32) -> Vec<u8> {
        let one = |serial: &u64| rcgen::RevokedCertParams {
            serial_number: rcgen::SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2025, 6, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2025, 1, 1),
            next_update: rcgen::date_time_ymd(until, 1, 1),
            crl_number: rcgen::SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(one).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap().into_bytes()
    }

    fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn at(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds.unsigned_abs()))
}

#[test]
fn a_host_asks_for_certificates_of_its_authorities() {
    let (ours, others) = (Revoker::new(), Revoker::new());
    let files = [
        ("ca.pem", ours.pem()),
        ("crl.pem", ours.list(&[6], 2030)),
        ("other.crl", others.list(&[], 2030)),
        ("old.crl", ours.list(&[], 2026)),
        ("leaf.pem", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n".to_vec()),
    ];
    let host = "    role: cell\n    surface: app\n";
    let read = |written: &str| with(host, &format!("{host}    client_certificate: {written}\n"), &files);
    let policy = |written: &str| -> Arc<ClientPolicy> {
        let snapshot = compile(read(written).unwrap(), None);
        assert!(ClientPolicy::of(&snapshot, "cloud.getdbt.com").is_none());
        Arc::clone(ClientPolicy::of(&snapshot, "ab123.us1.dbt.com").unwrap())
    };
    let (good, revoked) = (ours.issue("a", 5), ours.issue("b", 6));
    let strange = others.issue("a", 5);
    let accepts = |policy: &ClientPolicy, pair: &Pair, now: i64| {
        policy.verifier.verify_client_cert(&der(&pair.cert_pem), &[], at(now)).is_ok()
    };
    let plain = policy("{ ca: ca.pem, mode: required }");
    assert!(plain.required && plain.verifier.client_auth_mandatory());
    assert_eq!([&good, &revoked, &strange].map(|pair| accepts(&plain, pair, NOW)), [true, true, false]);
    let listed = policy("{ ca: ca.pem, mode: optional, crl: crl.pem }");
    assert!(!listed.required && !listed.verifier.client_auth_mandatory());
    assert_eq!([&good, &revoked, &strange].map(|pair| accepts(&listed, pair, NOW)), [true, false, false]);
    // 2030-01-01: from then on nobody can say who was revoked.
    let until = listed.crl_until.unwrap();
    assert_eq!(until, 1_893_456_000);
    assert!(accepts(&listed, &good, until - 1) && !accepts(&listed, &good, until));
    // A list of somebody else says nothing about ours.
    assert!(!accepts(&policy("{ ca: ca.pem, mode: required, crl: other.crl }"), &good, NOW));
    // Equal files, equal policy; anything else is another one.
    assert_eq!(listed, policy("{ ca: ca.pem, mode: optional, crl: crl.pem }"));
    for other in ["{ ca: ca.pem, mode: required, crl: crl.pem }", "{ ca: ca.pem, mode: optional }"] {
        assert_ne!(listed, policy(other), "{other}");
    }

    let refuse = |written: &str, expect: &str| refused(written, read(written), expect);
    let at = "hosts[5].client_certificate";
    refuse(
        "{ mode: required }",
        &format!("{at}.ca: missing; expected a PEM file of the authorities that sign"),
    );
    refuse("{ ca: ca.pem }", &format!("{at}.mode: missing; expected required or optional"));
    refuse(
        "{ ca: ca.pem, mode: maybe }",
        &format!("{at}.mode: found \"maybe\"; expected required or optional"),
    );
    refuse("{ ca: lost.pem, mode: required }", &format!("{at}.ca: the file was not read"));
    refuse("{ ca: crl.pem, mode: required }", &format!("{at}.ca: the file holds no certificates"));
    refuse("{ ca: ca.pem, mode: required, crl: ca.pem }", &format!("{at}.crl: the file holds no revocation"));
    refuse(
        "{ ca: ca.pem, mode: required, crl: leaf.pem }",
        &format!("{at}.crl: a revocation list cannot be"),
    );
    let old = format!("{at}.crl: a revocation list was to be renewed by 2026-01-01T00:00:00Z");
    refuse("{ ca: ca.pem, mode: required, crl: old.crl }", &old);
}

#[test]
fn deciding_needs_none_of_it() {
    let host = "    role: cell\n    surface: app\n";
    let asking = format!("{host}    client_certificate: {{ ca: lost.pem, mode: required }}\n");
    let mut sources = changed(host, &asking, &[]);
    let guide = "\nguide: https";
    let keys = "\ntls: { ticket_keys: [{ file: lost.key }] }\nguide: https";
    replace(&mut sources.routing, guide, keys);
    assert_eq!(parse_all(&sources, NOW).err().unwrap().len(), 2);
    assert!(parse_for_deciding(&sources, NOW).is_ok());
}

#[test]
fn a_host_can_promise_https() {
    let host = "    role: cell\n    surface: app\n";
    let read = |written: &str| with(host, &format!("{host}    hsts: {written}\n"), &[]);
    let promised = |written: &str| read(written).unwrap().hosts[5].rule.hsts;
    assert_eq!((promised("365d"), promised("0s")), (Some(31_536_000), Some(0)));
    refused("too long", read("731d"), "hosts[5].hsts: found \"731d\"; expected a time");
}

#[test]
fn a_staple_is_about_its_certificate_and_fresh_or_left_out() {
    let us1 = &certificates()["us1"];
    let entry = "key: ../certs/dev/us1.key }";
    let read =
        |der: Vec<u8>| with(entry, "key: ../certs/dev/us1.key, ocsp: us1.ocsp }", &[("us1.ocsp", der)]);
    let staple = |from: &str, until: &str| {
        let staple =
            read(ocsp::good(&us1.cert_pem, from, until)).unwrap().certificates.remove(1).staple.unwrap();
        assert!(staple.key.ocsp.is_some());
        staple.is_fresh(NOW)
    };
    assert!(staple("20261119000000Z", "20261121000000Z"));
    assert!(staple("20261120000000Z", "20261120000001Z"));
    // Stale ones do not keep the rest of the configuration from being changed.
    assert!(!staple("20261112000000Z", "20261120000000Z"));
    assert!(!staple("20261120000001Z", "20261121000000Z"));
    let at = "certificates[1].ocsp";
    refused("garbage", read(b"x".to_vec()), &format!("{at}: the file is no OCSP response; expected"));
    let legacy = ocsp::good(&certificates()["legacy"].cert_pem, "20261119000000Z", "20261121000000Z");
    refused("other", read(legacy), &format!("{at}: the OCSP response is about another certificate"));
    let lost = with(entry, "key: ../certs/dev/us1.key, ocsp: lost }", &[]);
    refused("lost", lost, &format!("{at}: the file was not read"));
}

#[test]
fn everything_that_ends_is_known() {
    use cellgate::policy::validity::{Kind, endings};
    let ours = Revoker::new();
    let client = ours.issue("cellgate", 5);
    let files = [
        ("ca.pem", ours.pem()),
        ("crl.pem", ours.list(&[], 2030)),
        ("c.pem", client.cert_pem.clone().into_bytes()),
        ("c.key", client.key_pem.clone().into_bytes()),
        ("us1.ocsp", ocsp::good(&certificates()["us1"].cert_pem, "20261119000000Z", "20261121000000Z")),
    ];
    let entry = "key: ../certs/dev/us1.key }";
    let mut sources = changed(entry, "key: ../certs/dev/us1.key, ocsp: us1.ocsp }", &files);
    let host = "    role: cell\n    surface: app\n";
    let asked = "    client_certificate: { ca: ca.pem, mode: optional, crl: crl.pem }\n";
    replace(&mut sources.routing, host, &format!("{host}{asked}"));
    let first = "- name: cell-1\n    domain: us1.dbt.com\n";
    let tls = "ca: ca.pem, sni: cell-1.internal, crl: crl.pem, client_cert: c.pem, client_key: c.key";
    replace(&mut sources.routing, first, &format!("{first}    tls: {{ {tls} }}\n"));
    let (_, config) = parse_all(&sources, NOW).map_err(|problems| lines(&problems)).unwrap();
    let found = endings(&compile(config, None));
    let named: Vec<_> = found.iter().map(|ending| (ending.kind, ending.name.as_str())).collect();
    let expect = [
        (Kind::Certificate, "cloud.getdbt.com"),
        (Kind::Certificate, "us1.dbt.com"),
        (Kind::Staple, "us1.dbt.com"),
        (Kind::HostList, "{prefix}.us1.dbt.com"),
        (Kind::CellCertificate, "cell-1"),
        (Kind::CellList, "cell-1"),
    ];
    assert_eq!(named, expect);
    assert!(
        found[2].until == NOW + 86_400 && found[3].until == 1_893_456_000 && found[5].until == found[3].until
    );
    assert!(found.iter().all(|ending| ending.until > NOW));
}

/// A cell that presents this certificate.
fn cell(pair: &Pair, versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der(&pair.cert_pem)], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    Arc::new(config)
}

/// Shakes hands with a cell in memory, as HTTP/1.1 and HTTP/2 connections do.
fn shake(snapshot: &Snapshot, server: &Arc<ServerConfig>) -> [Result<HandshakeKind, rustls::Error>; 2] {
    let tls = snapshot.cells[0].tls.as_ref().unwrap();
    [&tls.http1, &tls.http2].map(|config| {
        let mut client = ClientConnection::new(Arc::clone(config), tls.sni.clone()).unwrap();
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        // Three flights, and the tickets behind them.
        for _ in 0..4 {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut &bytes[..]).unwrap();
            let done = server.process_new_packets();
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            while !bytes.is_empty() {
                let read = client.read_tls(&mut &bytes[..]).unwrap();
                bytes.drain(..read);
                client.process_new_packets()?;
            }
            done?;
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok(client.handshake_kind().unwrap())
    })
}

#[test]
fn a_cell_is_held_to_name_authority_version_and_lists() {
    use rustls::version::{TLS12, TLS13};
    let (ours, others) = (Revoker::new(), Revoker::new());
    let name = "cell-1.internal";
    let (good, revoked, renamed) =
        (ours.issue(name, 5), ours.issue(name, 6), ours.issue("cell-2.internal", 5));
    let files =
        [("ca.pem", ours.pem()), ("crl.pem", ours.list(&[6], 2090)), ("old.crl", ours.list(&[], 2026))];
    let first = "- name: cell-1\n    domain: us1.dbt.com\n";
    let read = |more: &str| {
        let tls = format!("{first}    tls: {{ ca: ca.pem, sni: {name}{more} }}\n");
        with(first, &tls, &files)
    };
    let snapshot = |more: &str| compile(read(more).unwrap(), None);
    let accepts = |more: &str, pair: &Pair, versions| {
        let [http1, http2] = shake(&snapshot(more), &cell(pair, versions));
        assert_eq!(http1.is_ok(), http2.is_ok());
        http1.is_ok()
    };
    let (both, old): (&[_], &[_]) = (&[&TLS13, &TLS12], &[&TLS12]);
    assert!(accepts("", &good, both) && accepts("", &good, old) && accepts("", &revoked, both));
    assert!(!accepts("", &renamed, both), "the name is verified");
    assert!(!accepts("", &others.issue(name, 5), both), "the authority is verified");
    let modern = ", min_version: \"1.3\"";
    assert!(accepts(modern, &good, both) && !accepts(modern, &good, old));
    let listed = ", crl: crl.pem";
    assert!(accepts(listed, &good, both) && !accepts(listed, &revoked, both));

    let key = |more: &str| read(more).unwrap().cells[0].groups[0].endpoints[0].key.0.to_string();
    let keys = ["", modern, listed, ", crl: crl.pem, min_version: \"1.3\""].map(key);
    let different: std::collections::BTreeSet<&String> = keys.iter().collect();
    assert_eq!(different.len(), keys.len(), "all of it is in the pool key: {keys:?}");
    assert_eq!(keys[0], key(", min_version: \"1.2\""));

    let refuse = |more: &str, expect: &str| refused(more, read(more), expect);
    let at = "cells[0].tls";
    for version in ["1.3", "\"1.1\"", "TLSv1.3"] {
        let expect = format!("{at}.min_version: found ");
        refuse(&format!(", min_version: {version}"), &expect);
        refuse(&format!(", min_version: {version}"), "expected \"1.2\" or \"1.3\", in quotes");
    }
    refuse(", crl: ca.pem", &format!("{at}.crl: the file holds no revocation lists"));
    refuse(", crl: old.crl", &format!("{at}.crl: a revocation list was to be renewed by"));
    refuse(", crl: lost.crl", &format!("{at}.crl: the file was not read"));
}

#[test]
fn sessions_with_cells_are_resumed_and_survive_a_reload_that_keeps_trust() {
    use rustls::version::{TLS12, TLS13};
    let pair = authority().issue(&["cell-1.internal"], Usage::Server).unwrap();
    let other = Authority::new("another").unwrap();
    let first = "- name: cell-1\n    domain: us1.dbt.com\n";
    let read = |ca: Vec<u8>, more: &str| {
        let tls = format!("{first}    tls: {{ ca: ca.pem, sni: cell-1.internal }}\n{more}");
        with(first, &tls, &[("ca.pem", ca)]).unwrap()
    };
    let ours = || authority().ca_pem().as_bytes().to_vec();
    for versions in [&[&TLS13], &[&TLS12]] {
        let server = cell(&pair, versions);
        let before = compile(read(ours(), ""), None);
        assert_eq!(shake(&before, &server), [Ok(HandshakeKind::Full), Ok(HandshakeKind::Full)]);
        assert_eq!(shake(&before, &server), [Ok(HandshakeKind::Resumed), Ok(HandshakeKind::Resumed)]);
        let same = compile(read(ours(), "    max_in_flight: 7\n"), Some(&before));
        assert_eq!(shake(&same, &server), [Ok(HandshakeKind::Resumed), Ok(HandshakeKind::Resumed)]);
        // Another authority: the old session must not stand in for its verdict.
        let distrusting = compile(read(other.ca_pem().as_bytes().to_vec(), ""), Some(&same));
        assert!(shake(&distrusting, &server).iter().all(Result::is_err));
        // And the way back begins anew.
        let again = compile(read(ours(), ""), Some(&distrusting));
        assert_eq!(shake(&again, &server), [Ok(HandshakeKind::Full), Ok(HandshakeKind::Full)]);
    }
}
