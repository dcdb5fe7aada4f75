//! The TLS door: client certificates with real ones, versions, renewal, and callers who say nothing.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cellgate::policy::access::Role;
use devcerts::Usage;
use socket2::{Domain, Socket, Type};

use super::{Site, addresses, curl, on_loopback, over_tls, request};
use crate::process::Process;
use crate::raw_http;
use crate::running::eventually;

/// Puts a client's certificate into the folder, and gives what curl is told of it.
fn client(site: &Site, authority: &devcerts::Authority, name: &str) -> [String; 4] {
    let pair = authority.issue(&[name], Usage::Client).unwrap();
    let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
    site.folder.write(&cert, &pair.cert_pem);
    site.folder.write_secret(&key, &pair.key_pem);
    let path = |file: &str| site.folder.path(file).display().to_string();
    ["--cert".into(), path(&cert), "--key".into(), path(&key)]
}

#[test]
fn a_certificate_has_the_role_of_its_name_and_changes_nothing_without_the_consoles_header() {
    let site = Site::new();
    let process = Process::start(&site.folder);
    let (_, tls) = addresses(&process);
    let operator = client(&site, &site.clients, "operator.example.com");
    let reader = client(&site, &site.clients, "reader.example.com");
    let unknown = client(&site, &site.clients, "stranger.example.com");
    let (json, console) = ("Content-Type: application/json", "X-Cellgate-Console: 1");
    let url = |path: &str| format!("https://localhost:{}{path}", tls.port());
    let ask = |own: &[String], path: &str, more: &[&str]| {
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let (code, said) = curl(&site, &[&own[..], more, &[&url(path)]].concat());
        assert_eq!(code, 0, "{said}");
        let (body, status) = said.rsplit_once('\n').unwrap();
        (status.parse::<u16>().unwrap(), body.to_owned())
    };
    let (status, who) = ask(&operator, "/whoami", &[]);
    assert_eq!(status, 200);
    assert!(who.contains("\"certificate:operator.example.com\"") && who.contains("\"operate\""), "{who}");
    let (status, said) = ask(&operator, "/reload", &["-X", "POST", "-H", json]);
    assert_eq!((status, said.contains("no_console_header")), (403, true), "{said}");
    let (status, said) = ask(&operator, "/reload", &["-X", "POST", "-H", console]);
    assert_eq!((status, said.contains("not_json")), (415, true), "{said}");
    let (status, said) = ask(&operator, "/reload", &["-X", "POST", "-H", json, "-H", console]);
    assert_eq!((status, said.contains("unchanged")), (200, true), "{said}");
    let foreign = ["-X", "POST", "-H", json, "-H", console, "-H", "Origin: https://evil.example"];
    let (status, said) = ask(&operator, "/reload", &foreign);
    assert_eq!((status, said.contains("cross_site")), (403, true), "{said}");
    let (status, said) = ask(&reader, "/reload", &["-X", "POST", "-H", json, "-H", console]);
    assert_eq!((status, said.contains("role_missing")), (403, true), "{said}");
    assert_eq!(ask(&reader, "/accounts/12345", &[]).0, 200);
    let (status, said) = ask(&unknown, "/cells", &[]);
    assert_eq!((status, said.contains("certificate_unknown")), (403, true), "{said}");
    let anna = format!("Authorization: Bearer {}", site.token(Role::Approve));
    assert_eq!(ask(&unknown, "/cells", &["-H", &anna]).0, 200, "a token counts for whoever brings one");
    site.call("refused", "cross_site");
    let trail = site.trail();
    let by = |line: &&serde_json::Value| {
        line["event"] == "outcome" && line["caller"] == "certificate:operator.example.com"
    };
    assert!(trail.iter().any(|line| by(&line)), "{trail:?}");
    // Another authority has signed it, or the version is older: there is no handshake.
    let imposter = devcerts::Authority::new("imposters").unwrap();
    let imposter = client(&site, &imposter, "operator2.example.com");
    let imposter: Vec<&str> = imposter.iter().map(String::as_str).collect();
    assert_ne!(curl(&site, &[&imposter[..], &[&url("/whoami")]].concat()).0, 0);
    assert_eq!(curl(&site, &["--tls-max", "1.2", &url("/whoami")]).0, 35, "TLS 1.3 only");
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let site = Site::new();
    let process = Process::start(&site.folder);
    let (_, tls) = addresses(&process);
    let ask = |ca: &str| {
        let mut connection = raw_http::tls(tls, "localhost", ca);
        raw_http::ask(&mut connection, request("GET", "/whoami", None, "").as_bytes()).ok()
    };
    assert_eq!(ask(site.keys.authority.ca_pem()).unwrap().status, 200);
    site.folder.write("admin.pem", "no certificate");
    process.line("a complaint", |line| {
        line["fields"]["problem"].as_str().is_some_and(|said| said.contains("admin.tls.cert"))
    });
    assert_eq!(ask(site.keys.authority.ca_pem()).unwrap().status, 200, "it goes on with what it had");
    let other = devcerts::Authority::new("next year's").unwrap();
    let pair = other.issue(&["localhost"], Usage::Server).unwrap();
    site.folder.write_secret("admin.key", &pair.key_pem);
    site.folder.write("admin.pem", &pair.cert_pem);
    eventually("the new certificate", || ask(other.ca_pem()).filter(|reply| reply.status == 200));
    assert!(ask(site.keys.authority.ca_pem()).is_none());
}

/// A connection from an address of this machine.
fn from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 9, last], 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

#[test]
fn callers_who_say_nothing_give_way_at_the_tls_door_and_have_no_place_at_another() {
    let site = Site::new();
    let process = Process::start(&site.folder);
    let (loopback, tls) = addresses(&process);
    let get = request("GET", "/cells", Some(site.token(Role::Read)), "");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for last in 1..=4 {
            // Sixteen of each address, each of which is renewed as soon as it is closed.
            let stop = &stop;
            scope.spawn(move || {
                let mut silent: Vec<_> = (0..16).map(|_| from(last, tls)).collect();
                while !stop.load(Ordering::Relaxed) {
                    for one in &mut silent {
                        one.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                        if one.read(&mut [0; 1]).is_ok_and(|read| read == 0) {
                            *one = from(last, tls);
                        }
                    }
                }
            });
        }
        let told = std::panic::catch_unwind(AssertUnwindSafe(|| {
            process.line("that connections gave way", |line| {
                let said = line["fields"]["message"].as_str().unwrap_or_default();
                said.contains("so many connections gave way to new ones")
            });
            for _ in 0..8 {
                assert_eq!(over_tls(tls, &site.keys, &get).status, 200, "a good token is let in");
            }
            assert_eq!(on_loopback(loopback, &request("GET", "/healthz", None, "")).status, 200);
            let socket = site.folder.path("state/admin.sock");
            assert_eq!(raw_http::admin(&socket, "GET", "/healthz").status, 200);
        }));
        // A test that fails must not leave them calling.
        stop.store(true, Ordering::Relaxed);
        told.unwrap();
    });
    let mut silent = from(9, tls);
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).unwrap_or(0), 0, "whoever does not shake hands is gone");
}
