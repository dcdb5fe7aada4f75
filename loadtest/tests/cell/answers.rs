//! Normal answers and what one request asks for.

use devcerts::{Authority, Usage};
use http::{Method, StatusCode, Version};
use loadtest::body::{is_pattern, sha256_hex};
use loadtest::cell::{CellOptions, RunningCell};
use loadtest::client::{Ask, Client, Http};
use loadtest::tls::{ClientTls, ServerTls};

use super::*;

#[tokio::test]
async fn over_h1_it_describes_the_bytes_that_came() {
    let cell = cell().await;
    let request = "POST /a//b/%2e%2E/?x=[1]&&y HTTP/1.1\r\nhOsT: cloud.getdbt.com\r\nX-B: 1\r\nx-a: \
                   caf\u{e9}\r\nX-b:  2 \r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
    wire(&cell, request).await;
    let seen = cell.seen().pop().unwrap();
    assert_eq!(seen.target, "/a//b/%2e%2E/?x=[1]&&y");
    assert!(seen.exact);
    let headers: Vec<_> = seen.headers.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(
        headers,
        [
            "hOsT=cloud.getdbt.com",
            "X-B=1",
            "x-a=caf\u{c3}\u{a9}",
            "X-b=2",
            "Content-Length=3",
            "Connection=close"
        ]
    );
    let body = seen.body.unwrap();
    assert_eq!((body.bytes, body.sha256), (3, sha256_hex(b"abc")));
}

#[tokio::test]
async fn pipelined_requests_are_not_mixed_up() {
    let cell = cell().await;
    let first = "GET / HTTP/1.1\r\nHost: h\r\nX-N: 1\r\n\r\n";
    let second = "GET / HTTP/1.1\r\nHost: h\r\nX-N: 2\r\nConnection: close\r\n\r\n";
    wire(&cell, &[first, second].concat()).await;
    let seen = cell.seen();
    let numbers: Vec<_> = seen.iter().map(|seen| seen.header("x-n")).collect();
    assert_eq!(numbers, [Some("1"), Some("2")]);
    assert_eq!((seen[0].exact, seen[1].exact), (true, false));
}

#[tokio::test]
async fn every_answer_names_the_cell_and_describes_the_request() {
    let cell = cell().await;
    for client in clients(&cell) {
        let ask = Ask::post("cloud.getdbt.com", "/p?q=%41", "body").header("x-two", "2");
        let reply = client.ask(&ask).await.unwrap();
        assert_eq!((reply.status, reply.cell()), (StatusCode::OK, Some("cell-1")));
        let seen = reply.seen().unwrap();
        assert_eq!(cell.seen().last(), Some(&seen));
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/p?q=%41"));
        assert_eq!(seen.header("X-Two"), Some("2"));
        assert_eq!(seen.body.unwrap().bytes, 4);
        let authority = seen
            .authority
            .as_deref()
            .or(seen.headers.iter().find_map(|(n, v)| n.eq_ignore_ascii_case("host").then_some(v.as_str())));
        assert_eq!(authority, Some("cloud.getdbt.com"));
    }
}

#[tokio::test]
async fn connections_and_their_requests_are_numbered() {
    let cell = cell().await;
    let [h1, h2] = clients(&cell);
    for (connection, client) in [(1, h1), (2, h2)] {
        let line = client.open("h").await.unwrap();
        for request in 1..=3 {
            let seen = line.ask(&Ask::get("h", "/")).await.unwrap().seen().unwrap();
            assert_eq!((seen.connection, seen.request), (connection, request));
        }
    }
    assert_eq!((cell.connections(), cell.requests()), (2, 6));
}

#[tokio::test]
async fn over_tls_it_tells_sni_protocol_and_client_certificate() {
    let authority = Authority::new("test authority").unwrap();
    let server = authority.issue(&["cell-1.cells.internal"], Usage::Server).unwrap();
    let edge = authority.issue(&["cellgate"], Usage::Client).unwrap();
    let tls = ServerTls {
        cert_pem: server.cert_pem,
        key_pem: server.key_pem,
        client_ca_pem: Some(authority.ca_pem().to_owned()),
    };
    let options = CellOptions::named("cell-1").with_tls(tls);
    let cell = RunningCell::start(options).await.unwrap();

    let anonymous = ClientTls::trusting(authority.ca_pem());
    let known = ClientTls { identity: Some((edge.cert_pem, edge.key_pem)), ..anonymous.clone() };
    for (http, alpn, version) in [(Http::H1, "http/1.1", "HTTP/1.1"), (Http::H2, "h2", "HTTP/2.0")] {
        let client = Client::tls(cell.addr(), http, &known).unwrap();
        let reply = client.ask(&Ask::get("cell-1.cells.internal", "/")).await.unwrap();
        let seen = reply.seen().unwrap();
        let tls = seen.tls.unwrap();
        assert_eq!(tls.sni.as_deref(), Some("cell-1.cells.internal"));
        assert_eq!(tls.alpn.as_deref(), Some(alpn));
        assert_eq!(tls.version.as_deref(), Some("TLSv1_3"));
        assert_eq!(tls.client_certificate_sha256.unwrap().len(), 64);
        assert_eq!(seen.version, version);
    }
    let client = Client::tls(cell.addr(), Http::H1, &anonymous).unwrap();
    let refused = client.ask(&Ask::get("cell-1.cells.internal", "/")).await;
    assert!(refused.is_err(), "served without a client certificate");
}

#[tokio::test]
async fn a_request_chooses_status_headers_and_body() {
    let cell = cell().await;
    for client in clients(&cell) {
        let ask = get("status=418;set=Deprecation:@1;set=Link:<a>;set=Link:<b>;pad=3000;body=100000");
        let reply = client.ask(&ask).await.unwrap();
        assert_eq!(reply.status, 418);
        assert_eq!(reply.header("deprecation"), Some("@1"));
        assert_eq!(reply.headers.get_all("link").iter().count(), 2);
        assert_eq!(reply.header("x-pad").unwrap().len(), 3_000);
        assert_eq!(reply.header("content-length"), Some("100000"));
        assert_eq!(reply.body.len(), 100_000);
        assert!(is_pattern(0, &reply.body));
    }
}

#[tokio::test]
async fn a_wish_that_is_not_understood_is_400() {
    let cell = cell().await;
    for client in clients(&cell) {
        let reply = client.ask(&get("statu=200")).await.unwrap();
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains("statu=200"), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_body_may_come_in_chunks_with_trailers() {
    let cell = cell().await;
    for client in clients(&cell) {
        let ask = get("body=1000;piece=300;trailers").header("te", "trailers");
        let reply = client.ask(&ask).await.unwrap();
        assert_eq!(reply.header("content-length"), None);
        assert_eq!(reply.trailers.get("x-sim-trailer").unwrap(), "last");
        let sum = reply.trailers.get("x-sim-sha256").unwrap();
        assert_eq!(sum, &sha256_hex(&reply.body));

        let reply = client.ask(&get("body=1000;chunked")).await.unwrap();
        assert_eq!(reply.header("content-length"), None);
        assert_eq!((reply.body.len(), reply.trailers.len()), (1000, 0));
    }
}

#[tokio::test]
async fn head_and_bodyless_statuses_have_no_body() {
    let cell = cell().await;
    for client in clients(&cell) {
        let head = get("body=1000").method(Method::HEAD);
        let reply = client.ask(&head).await.unwrap();
        assert_eq!(reply.header("content-length"), Some("1000"));
        assert_eq!(reply.body.len(), 0);
        for status in [204, 304] {
            let reply = client.ask(&get(&format!("status={status}"))).await.unwrap();
            assert_eq!((reply.status.as_u16(), reply.body.len()), (status, 0));
        }
    }
}

#[tokio::test]
async fn known_tokens_are_let_in_and_others_get_dbts_401() {
    let options = CellOptions::named("cell-1").with_token("dbtc_1", "12345");
    let cell = RunningCell::start(options).await.unwrap();
    let client = Client::new(cell.addr(), Http::H1);
    let ask = Ask::get("h", "/api/v2/accounts/");
    for value in ["Token dbtc_1", "Bearer dbtc_1"] {
        let reply = client.ask(&ask.clone().header("authorization", value)).await.unwrap();
        assert_eq!(reply.seen().unwrap().authenticated.as_deref(), Some("12345"));
    }
    let unknown = ask.clone().header("authorization", "Token dbtc_2");
    for ask in [ask, unknown] {
        let reply = client.ask(&ask).await.unwrap();
        assert_eq!(reply.status, 401);
        assert_eq!(
            reply.text(),
            r#"{"status":{"code":401,"is_success":false,"user_message":"Invalid token."},"data":null}"#
        );
    }
    assert_eq!(cell.seen().len(), 4);
}

#[tokio::test]
async fn versions_are_what_was_asked_for() {
    let cell = cell().await;
    let [h1, h2] = clients(&cell);
    assert_eq!(h1.ask(&get("")).await.unwrap().version, Version::HTTP_11);
    assert_eq!(h2.ask(&get("")).await.unwrap().version, Version::HTTP_2);
}
