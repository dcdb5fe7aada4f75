//! Requests that are refused before anything is decided about them, byte by byte.

use std::io::Write;

use http::Method;
use loadtest::client::{Ask, Http};

use super::{said, said_h2};
use crate::raw_http;
use crate::running::{access_line, authority, eventually};
use crate::world::World;

const HOST: &str = "Host: cloud.getdbt.com\r\n";

/// Requests and the reason that the answer names.
fn malformed() -> Vec<(String, &'static str)> {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\n{HOST}\r\n");
    let with = |fields: &str| format!("POST /x HTTP/1.1\r\n{HOST}{fields}\r\nhello");
    let chunks = |body: &str| format!("POST /x HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{body}");
    vec![
        ("GET / HTTP/1.1\r\n\r\n".into(), "bad_host"),
        (format!("GET / HTTP/1.1\r\n{HOST}{HOST}\r\n"), "bad_host"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), "bad_host"),
        (format!("GET http://ab123.us1.dbt.com/ HTTP/1.1\r\n{HOST}\r\n"), "host_mismatch"),
        (format!("GET  / HTTP/1.1\r\n{HOST}\r\n"), "bad_request_line"),
        (format!("GET / HTTP/2.0\r\n{HOST}\r\n"), "bad_request_line"),
        ("\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n".into(), "bad_request_line"),
        (with("Content-Length: 5\r\nContent-Length: 6\r\n"), "bad_content_length"),
        (with("Content-Length: +5\r\n"), "bad_content_length"),
        (with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), "bad_content_length"),
        (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), "bad_transfer_encoding"),
        (with("Content-Length : 5\r\n"), "bad_header_line"),
        (with("X-A: 1\r\n folded: 2\r\n"), "bad_header_line"),
        (with("X-A: \0\r\n"), "bad_header_line"),
        (with("Connection: Host\r\nContent-Length: 5\r\n"), "bad_connection_header"),
        (chunks("3;a\nb\r\nxyz\r\n0\r\n\r\n"), "bad_body"),
        (chunks("3;a\0b\r\nxyz\r\n0\r\n\r\n"), "bad_body"),
        (chunks("3\r\nxyz\r\n0;\n\r\n\r\n"), "bad_body"),
        (get("/api/v2/accounts/12345/../1001/"), "bad_path"),
        (get("/api/v2/accounts/12%3345/"), "bad_account_id"),
        (get("/api//v2/accounts/12345/"), "bad_path"),
        (get("/api/v2;x/accounts/12345/"), "bad_path"),
        (get("/api/v2/accounts/+12345/"), "bad_account_id"),
        (get("/api/v2/accounts/012345/"), "bad_account_id"),
        (get("/x?account_id=12345&account_id=1001"), "duplicate_key"),
        (get("/x?account%5fid=12345"), "duplicate_key"),
    ]
}

fn nothing_reached_a_cell(world: &World) {
    let reached: u64 = world.cells.values().map(loadtest::cell::RunningCell::requests).sum();
    assert_eq!(reached, 0);
}

#[test]
fn a_malformed_request_gets_a_problem_document_and_the_end_of_the_connection() {
    let world = World::example();
    for (request, reason) in malformed() {
        let mut connection = raw_http::tcp(world.edge.addr("http"));
        let reply = raw_http::ask(&mut connection, request.as_bytes()).unwrap();
        said(&reply, 400, "not-forwarded", &request);
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{request:?}");
        assert_eq!(reply.json()["title"], reason, "{request:?}");
        assert_eq!(reply.json()["status"], 400, "{request:?}");
        assert!(reply.body.len() < 1024, "short");
        assert_eq!(reply.header("connection"), Some("close"), "{request:?}");
        assert!(raw_http::ends(&mut connection), "{request:?}");
        let line = access_line(&world.edge.folder, reply.header("x-request-id").unwrap());
        let (method, _) = request.split_once(' ').unwrap_or_default();
        let said = line["method"].as_str().unwrap();
        assert!(said == "-" || said == method, "{request:?}: not read, and called {said}");
    }
    nothing_reached_a_cell(&world);
    // Unusual is not malformed.
    let absolute = "GET http://ab123.us1.dbt.com/a?b HTTP/1.1\r\nHost: ab123.us1.dbt.com\r\n\r\n";
    let reply = raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), absolute.as_bytes()).unwrap();
    assert_eq!(reply.json()["target"], "/a?b", "{}", reply.text());
}

#[test]
fn chunks_that_go_wrong_later_get_400_too() {
    let world = World::example();
    let head = "POST /api/v2/accounts/12345/ HTTP/1.1\r\nHost: cloud.getdbt.com\r\nAuthorization: Token x\r\n\
                Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    connection.write_all(head.as_bytes()).unwrap();
    // The cell has the beginning when the rest is sent.
    eventually("the request at the cell", || (world.cell("cell-2").requests() == 1).then_some(()));
    let reply = raw_http::ask(&mut connection, b"3;a\nb\r\nxyz\r\n0\r\n\r\n").unwrap();
    said(&reply, 400, "unknown", "a broken chunk");
    assert_eq!(reply.json()["title"], "bad_body");
    assert!(raw_http::ends(&mut connection));
}

#[test]
fn what_follows_a_malformed_request_is_not_another_request() {
    let world = World::example();
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    let smuggled = format!(
        "POST /x HTTP/1.1\r\n{HOST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         GET /x?account_id=12345 HTTP/1.1\r\n{HOST}\r\n"
    );
    let reply = raw_http::ask(&mut connection, smuggled.as_bytes()).unwrap();
    assert_eq!(reply.status, 400);
    assert!(raw_http::ends(&mut connection));
    nothing_reached_a_cell(&world);
}

#[test]
fn too_long_targets_and_heads_have_statuses_of_their_own() {
    let world = World::example();
    let fields: String = (0..101).map(|number| format!("X-{number}: 1\r\n")).collect();
    let cases = [
        (format!("GET /{} HTTP/1.1\r\n{HOST}\r\n", "a".repeat(9_000)), 414),
        (format!("GET / HTTP/1.1\r\n{HOST}X-Long: {}\r\n\r\n", "a".repeat(40_000)), 431),
        (format!("GET / HTTP/1.1\r\n{HOST}{fields}\r\n"), 431),
    ];
    for (request, status) in cases {
        let mut connection = raw_http::tcp(world.edge.addr("http"));
        // The answer may come, and the connection go, before all is written.
        let _ = connection.write_all(request.as_bytes());
        let reply = raw_http::read_reply(&mut connection, false).unwrap();
        said(&reply, status, "not-forwarded", &request[..40]);
        assert!(raw_http::ends(&mut connection));
    }
    world.block_on(async {
        let client = world.edge.tls(Http::H2);
        let long = Ask::get("cloud.getdbt.com", &format!("/{}", "a".repeat(9_000)));
        said_h2(&client.ask(&long).await.unwrap(), 414, "not-forwarded", "h2 target");
        let mut many = Ask::get("cloud.getdbt.com", "/");
        for number in 0..101 {
            many = many.header(&format!("x-{number}"), "1");
        }
        said_h2(&client.ask(&many).await.unwrap(), 431, "not-forwarded", "h2 fields");
    });
    nothing_reached_a_cell(&world);
}

#[test]
fn a_host_that_is_not_served_or_not_covered_is_misdirected_on_both_protocols() {
    let world = World::example();
    let mut plain = raw_http::tcp(world.edge.addr("http"));
    let reply = raw_http::ask(&mut plain, b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").unwrap();
    said(&reply, 421, "not-forwarded", "a host of nobody");
    // A certificate covers both names, and it is another one than this connection's.
    let mut secure = raw_http::tls(world.edge.addr("https"), "cloud.getdbt.com", authority().ca_pem());
    let reply = raw_http::ask(&mut secure, b"GET / HTTP/1.1\r\nHost: ab123.us1.dbt.com\r\n\r\n").unwrap();
    said(&reply, 421, "not-forwarded", "another certificate's host");
    // The connection is as good as before.
    let request = format!("GET /x?account_id=12345 HTTP/1.1\r\n{HOST}\r\n");
    assert_eq!(raw_http::ask(&mut secure, request.as_bytes()).unwrap().header("x-cell"), Some("cell-2"));
    world.block_on(async {
        let line = world.edge.tls(Http::H2).open("cloud.getdbt.com").await.unwrap();
        for host in ["ab123.us1.dbt.com", "example.com"] {
            let reply = line.ask(&Ask::get(host, "/")).await.unwrap();
            said_h2(&reply, 421, "not-forwarded", host);
        }
        let good = line.ask(&Ask::get("metadata.cloud.getdbt.com", "/x?account_id=12345")).await.unwrap();
        assert_eq!(good.cell(), Some("cell-2"), "a name that the same certificate covers");
    });
    assert_eq!(world.cells["cell-1"].requests(), 0);
}

#[test]
fn trace_and_connect_are_not_allowed() {
    let world = World::example();
    for method in ["TRACE", "CONNECT"] {
        let target = if method == "CONNECT" { "cloud.getdbt.com:443" } else { "/" };
        let host = if method == "CONNECT" { "Host: cloud.getdbt.com:443\r\n" } else { HOST };
        let mut connection = raw_http::tcp(world.edge.addr("http"));
        let request = format!("{method} {target} HTTP/1.1\r\n{host}\r\n");
        let reply = raw_http::ask(&mut connection, request.as_bytes()).unwrap();
        said(&reply, 405, "not-forwarded", method);
        assert!(reply.header("allow").unwrap().contains("GET"), "{method}");
    }
    world.block_on(async {
        let ask = Ask::get("cloud.getdbt.com", "/").method(Method::TRACE);
        let reply = world.edge.tls(Http::H2).ask(&ask).await.unwrap();
        said_h2(&reply, 405, "not-forwarded", "TRACE over h2");
    });
    nothing_reached_a_cell(&world);
}

#[test]
fn a_request_that_is_refused_unrouted_is_answered_and_logged_as_one_on_its_host() {
    let world = World::example();
    let of =
        |fields: &str| format!("GET /x?y HTTP/1.1\r\n{HOST}X-Request-Id: of-the-client-1\r\n{fields}\r\n");
    for (fields, status) in [("Expect: miracles\r\n", 417), ("Connection: cookie\r\n", 400)] {
        let mut connection = raw_http::tcp(world.edge.addr("http"));
        let reply = raw_http::ask(&mut connection, of(fields).as_bytes()).unwrap();
        said(&reply, status, "not-forwarded", fields);
        assert!(reply.header("sunset").is_some_and(|date| date.ends_with("GMT")), "{fields}");
        let line = world.edge.access_line("of-the-client-1");
        assert_eq!((&line["host"], &line["path"]), (&"cloud.getdbt.com".into(), &"/x".into()), "{fields}");
    }
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    let grpc = of("Expect: miracles\r\nContent-Type: application/grpc\r\n");
    let reply = raw_http::ask(&mut connection, grpc.as_bytes()).unwrap();
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/grpc")));
    assert!(reply.header("grpc-status").is_some());
    // On no host of ours there are no dates.
    let elsewhere = of("Expect: miracles\r\n").replace("cloud.getdbt.com", "example.com");
    let reply = raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), elsewhere.as_bytes()).unwrap();
    assert_eq!((reply.status, reply.header("sunset")), (417, None));
    world.block_on(async {
        let ask = Ask::get("cloud.getdbt.com", "/").method(Method::TRACE);
        let reply = world.edge.tls(Http::H2).ask(&ask).await.unwrap();
        assert!(reply.header("sunset").is_some(), "TRACE over h2");
    });
    nothing_reached_a_cell(&world);
}

#[test]
fn a_listener_that_leads_to_https_sends_nothing_to_a_cell() {
    let world = World::prepared(|folder| {
        let listener = "name: http, address: 127.0.0.1:0, protocol: http";
        folder.edit(
            "config/boot.yaml",
            &format!("{listener} }}"),
            &format!("{listener}, redirect_to_https: true }}"),
        );
    });
    let mut plain = raw_http::tcp(world.edge.addr("http"));
    // One connection: the second is asked after the first was answered.
    for (method, target) in [("POST", "/api/v2/accounts/12345/?a=%2f"), ("GET", "/x")] {
        let request = format!("{method} {target} HTTP/1.1\r\n{HOST}\r\n");
        let reply = raw_http::ask(&mut plain, request.as_bytes()).unwrap();
        assert_eq!(reply.status, 308, "{method}: {}", reply.text());
        assert_eq!(reply.header("location"), Some(&*format!("https://cloud.getdbt.com{target}")), "{method}");
        assert!(reply.header("deprecation").is_some(), "the host is a legacy one");
    }
    let request = format!("GET / HTTP/1.1\r\n{HOST}{HOST}\r\n");
    let reply = raw_http::ask(&mut plain, request.as_bytes()).unwrap();
    said(&reply, 400, "not-forwarded", "what is malformed leads nowhere");
    nothing_reached_a_cell(&world);
}
