//! Requests that name no account, one that is not there, or one without a credential.

use std::collections::BTreeSet;

use loadtest::call;
use loadtest::client::{Ask, Http};

use super::{said, said_h2};
use crate::raw_http::{self, RawReply};
use crate::world::{TOKEN_12345, World};

/// Ids that are walked: half of them are accounts.
const WALKED: u64 = 10_000;

/// The first of them; far from the example's.
const FIRST: u64 = 5_000_000;

fn ask(world: &World, host: &str, target: &str, fields: &str) -> RawReply {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
    raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), request.as_bytes()).unwrap()
}

#[test]
fn an_unknown_account_is_told_what_to_do_in_the_manner_of_its_api() {
    let world = World::example();
    let fields = format!("Authorization: Token {TOKEN_12345}\r\n");
    let guide = "https://docs.getdbt.com/docs/platform/about-platform/account-url-migration";
    let reply = ask(&world, "cloud.getdbt.com", "/api/v2/accounts/999999999/", &fields);
    said(&reply, 404, "not-forwarded", "app");
    let body = reply.json();
    assert_eq!((&body["status"]["code"], &body["status"]["is_success"]), (&404.into(), &false.into()));
    assert!(body["status"]["user_message"].as_str().unwrap().contains(guide), "{body}");
    assert!(body["data"].is_null());
    let metadata = ask(&world, "metadata.cloud.getdbt.com", "/graphql?account_id=999999999", "");
    said(&metadata, 404, "not-forwarded", "metadata");
    let error = metadata.json()["errors"][0].clone();
    assert!(error["message"].as_str().unwrap().contains(guide), "{error}");
    assert_eq!(error["extensions"]["code"], "unmapped_account");
    for (host, target, reason) in [
        ("nobody.us1.dbt.com", "/", "unmapped_account"),
        ("nobody.cloud.getdbt.com", "/", "unmapped_account"),
        ("cloud.getdbt.com", "/", "no_account"),
    ] {
        let reply = ask(&world, host, target, "");
        said(&reply, 404, "not-forwarded", host);
        let developer = reply.json()["status"]["developer_message"].clone();
        assert!(developer.as_str().unwrap().contains(reason), "{host}: {developer}");
        let legacy = host.ends_with("getdbt.com");
        assert_eq!(reply.header("deprecation").is_some(), legacy, "{host}: ours carry the dates too");
        assert!(!reply.all("link").any(|link| link.contains("successor-version")), "{host}");
    }
}

#[test]
fn a_client_whose_body_is_not_read_is_told_that_the_connection_ends() {
    let world = World::example();
    for (rest, closes) in [("Content-Length: 2\r\n\r\n{}", true), ("Content-Length: 0\r\n\r\n", false)] {
        let head = "POST /api/v2/accounts/999999999/ HTTP/1.1\r\nHost: cloud.getdbt.com\r\n";
        let request = format!("{head}Authorization: Token {TOKEN_12345}\r\n{rest}");
        let mut connection = raw_http::tcp(world.edge.addr("http"));
        let reply = raw_http::ask(&mut connection, request.as_bytes()).unwrap();
        said(&reply, 404, "not-forwarded", rest);
        let told = reply.header("connection").is_some_and(|said| said.eq_ignore_ascii_case("close"));
        assert_eq!(told, closes, "{rest:?}: {:?}", reply.headers);
    }
}

#[test]
fn a_grpc_client_is_told_in_trailers_only() {
    let world = World::example();
    world.block_on(async {
        let host = "nobody.semantic-layer.us1.dbt.com";
        let line = world.edge.tls(Http::H2).open(host).await.unwrap();
        let reply = call::finish(&line, &call::call(host, "/a.B/C", &[b"x"])).await.unwrap();
        assert_eq!((reply.http_status.as_u16(), reply.status(), reply.trailers_only), (200, Some(5), true));
        assert!(reply.message().unwrap().contains("not served at this address"), "{reply:?}");
        assert!(reply.headers.contains_key("x-cellgate-outcome"), "{reply:?}");
    });
}

#[test]
fn explicit_sources_that_disagree_are_refused_on_a_legacy_host() {
    let world = World::example();
    let reply = ask(&world, "cloud.getdbt.com", "/deploy/12345/?account_id=1001", "");
    said(&reply, 400, "not-forwarded", "path against query");
    let reply = ask(&world, "acme.us1.dbt.com", "/deploy/1001/?account_id=1001", "");
    assert_eq!(reply.header("x-cell"), Some("cell-2"), "on a cell host the host wins");
}

/// What of an answer may tell one account from another: all but what is new in every answer.
fn shape(reply: &RawReply) -> String {
    let id = reply.header("x-request-id").unwrap().to_owned();
    let mut fields: Vec<String> = Vec::new();
    for (name, value) in &reply.headers {
        match name.to_ascii_lowercase().as_str() {
            "date" => fields.push("date".into()),
            // The last answer of a connection ends it.
            "connection" => {}
            _ => fields.push(format!("{name}: {}", value.replace(&id, "ID"))),
        }
    }
    format!("{} {fields:?} {}", reply.status, reply.text().replace(&id, "ID"))
}

#[test]
fn walking_ten_thousand_ids_without_a_token_tells_nobody_which_accounts_exist() {
    let world = World::prepared(|folder| {
        let rows = (0..WALKED).step_by(2).map(|step| format!("{},,cell-1,,", FIRST + step));
        folder.append("config/accounts.csv", &rows.collect::<Vec<_>>().join("\n"));
    });
    assert!(world.edge.running().snapshot().accounts.len() as u64 > WALKED / 2);
    let mut shapes = BTreeSet::new();
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    for step in 0..WALKED {
        let target = format!("/api/v2/accounts/{}/", FIRST + step);
        // Half of the ids of either kind with a field for a token that has none in it.
        let empty = if step % 4 < 2 { "Authorization: Token \r\n" } else { "" };
        let request = format!("GET {target} HTTP/1.1\r\nHost: cloud.getdbt.com\r\n{empty}\r\n");
        let reply = raw_http::ask(&mut connection, request.as_bytes()).unwrap();
        shapes.insert(shape(&reply));
        if reply.header("connection").is_some_and(|said| said.eq_ignore_ascii_case("close")) {
            connection = raw_http::tcp(world.edge.addr("http"));
        }
    }
    assert_eq!(shapes.len(), 1, "{shapes:#?}");
    assert!(shapes.iter().all(|shape| shape.starts_with("401 ")), "{shapes:#?}");
    let reached: u64 = world.cells.values().map(loadtest::cell::RunningCell::requests).sum();
    assert_eq!(reached, 0);
}

#[test]
fn a_route_that_needs_a_credential_says_so_and_how() {
    let world = World::example();
    let reply = ask(&world, "cloud.getdbt.com", "/api/v3/accounts/12345/projects/", "");
    said(&reply, 401, "not-forwarded", "no token");
    assert!(reply.header("www-authenticate").is_some());
    assert!(reply.json()["status"]["user_message"].as_str().unwrap().contains("Authorization"));
    world.block_on(async {
        let ask = Ask::get("cloud.getdbt.com", "/api/v3/accounts/12345/projects/");
        said_h2(&world.edge.tls(Http::H2).ask(&ask).await.unwrap(), 401, "not-forwarded", "h2");
    });
}
