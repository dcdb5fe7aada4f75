//! A page of another site in a real browser, on the machine of an operator who has everything: a loopback port that changes
//! things, a token in another tab, a tunnel to the unix socket. None of it helps the page.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use cellgate::policy::access::Role;
use serde_json::Value;

use super::{Site, addresses};
use crate::clients::devtools::Page;
use crate::process::Process;
use crate::raw_http;
use crate::running::eventually;

const BODY: &str = r#"{"lever":"shed 50% cell cell-1","reason":"us1 burns","seconds":600}"#;

/// A page of somebody else. Each caller gets it, whatever is asked.
fn evil_site() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A browser opens connections on which it may never ask: nobody waits behind one.
            std::thread::spawn(move || show(stream));
        }
    });
    address
}

fn show(mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let page = "<!doctype html><title>evil</title><iframe name=sink></iframe>";
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close";
    let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len());
}

/// `ssh -L PORT:SOCKET`.
fn tunnel(socket: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let Ok(to) = UnixStream::connect(&socket) else { return };
            std::thread::spawn(move || carry(stream, to));
        }
    });
    address
}

fn carry(mut from: TcpStream, mut to: UnixStream) {
    let (mut back, mut answers) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let returning = std::thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(std::net::Shutdown::Both);
    });
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
    returning.join().unwrap();
}

/// What a script gets of a call: its status, or that the browser does not tell it.
fn fetched(page: &mut Page, url: &str, options: &str) -> Value {
    page.ask(&format!(
        "fetch({url:?}, {options}).then(r => r.type == 'opaque' ? 'opaque' : r.status, () => 'blocked')"
    ))
}

/// As an old form does it: no question before, and the answer into a frame.
fn submitted(page: &mut Page, url: &str, kind: &str) {
    page.ask(&format!(
        "new Promise(done => {{
            const form = document.createElement('form');
            Object.assign(form, {{method: 'post', action: {url:?}, enctype: {kind:?}, target: 'sink'}});
            const field = document.createElement('input');
            Object.assign(field, {{name: '{{\"lever\":\"shed 50% cell cell-1\",\"reason\":\"us1 burns\",\"by\":\"', value: '\"}}'}});
            form.append(field);
            document.body.append(form);
            document.querySelector('iframe').onload = () => done(true);
            form.submit();
        }})"
    ));
}

#[test]
fn a_page_of_another_site_changes_nothing_and_reads_nothing_that_names_accounts() {
    let site = Site::new();
    let process = Process::start(&site.folder);
    let (loopback, tls) = addresses(&process);
    let socket = site.folder.path("state/admin.sock");
    let (tunnel, evil) = (tunnel(socket.clone()), evil_site());
    let mut page = Page::open();
    page.tell("Security.setIgnoreCertificateErrors", serde_json::json!({"ignore": true}));
    page.visit(&format!("http://localhost:{}/", evil.port()));
    let doors = [
        format!("http://127.0.0.1:{}", loopback.port()),
        format!("http://localhost:{}", tunnel.port()),
        format!("https://localhost:{}", tls.port()),
    ];
    let token = site.token(Role::Approve).to_owned();
    for door in &doors {
        let levers = format!("{door}/levers");
        // What needs no question before is sent, and refused; that too the page is not let see.
        for kind in ["text/plain", "application/x-www-form-urlencoded"] {
            let simple = format!(
                "{{method: 'POST', mode: 'no-cors', credentials: 'include', headers: {{'Content-Type': '{kind}'}}, body: '{BODY}'}}"
            );
            assert_eq!(fetched(&mut page, &levers, &simple), "blocked", "{door}");
            submitted(&mut page, &levers, kind);
        }
        submitted(&mut page, &format!("{door}/reload"), "text/plain");
        // What the browser asks about before: nobody says yes, even to whoever has a token.
        for header in [
            "'X-Cellgate-Console': '1'",
            &format!("Authorization: 'Bearer {token}'"),
            "'X-Cellgate-Console': '1', Accept: 'a'",
        ] {
            let asked = format!(
                "{{method: 'POST', credentials: 'include', headers: {{'Content-Type': 'application/json', {header}}}, body: '{BODY}'}}"
            );
            assert_eq!(fetched(&mut page, &levers, &asked), "blocked", "{door} {header}");
        }
        assert_eq!(fetched(&mut page, &format!("{door}/levers/1"), "{method: 'DELETE'}"), "blocked");
        for path in ["/accounts/12345", "/cells", "/report.json"] {
            assert_eq!(fetched(&mut page, &format!("{door}{path}"), "{}"), "blocked", "{door}{path}");
        }
    }
    let levers = raw_http::admin(&socket, "GET", "/levers").json();
    assert_eq!(levers["levers"], serde_json::json!([]), "nothing is pulled");
    let cross = site.call("refused", "cross_site");
    assert_eq!(cross["changes"], "POST /levers");
    // Those of the last door may still be on their way to the disk.
    let trail = eventually("a refusal at each door", || {
        let trail = site.trail();
        let refused =
            |door: &str| trail.iter().any(|line| line["event"] == "call" && line["trigger"] == door);
        ["loopback", "socket", "tls"].iter().all(|door| refused(door)).then_some(trail)
    });
    assert!(!trail.iter().any(|line| line["event"] == "lever" || line["trigger"] == "admin"), "{trail:?}");

    // The console's own page, at the same address, with a token from its script, is let in.
    page.visit(&format!("{}/", doors[0]));
    let own = format!(
        "{{method: 'POST', headers: {{'Content-Type': 'application/json', 'X-Cellgate-Console': '1', \
          Authorization: 'Bearer {token}'}}, body: '{BODY}'}}"
    );
    page.tell("Page.setBypassCSP", serde_json::json!({"enabled": true}));
    page.visit(&format!("{}/", doors[0]));
    assert_eq!(fetched(&mut page, "/levers", &own), 200);
    assert_eq!(fetched(&mut page, "/levers", &own.replace("'X-Cellgate-Console': '1', ", "")), 403);
}

#[test]
fn a_name_that_was_bound_anew_reads_nothing_through_a_tunnel_to_the_socket() {
    let site = Site::new();
    let _process = Process::start(&site.folder);
    let socket = site.folder.path("state/admin.sock");
    for (host, status) in
        [("evil.example:8000", 403), ("evil:8000", 403), ("localhost:8000", 200), ("admin", 200)]
    {
        let call = format!("GET /accounts/12345 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let reply = raw_http::ask(&mut raw_http::unix(&socket), call.as_bytes()).unwrap();
        assert_eq!(reply.status, status, "{host}: {}", reply.text());
    }
}
