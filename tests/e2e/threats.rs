//! Threats that need the whole of cellgate to be tried: see `docs/threats.md`.

use std::io::Write;

use loadtest::client::{Ask, Http};

use crate::raw_http;
use crate::running::{access_line, eventually};
use crate::world::World;

#[test]
fn a_thousand_streams_of_one_connection_go_each_to_its_own_cell_or_nowhere() {
    let world = World::example();
    world.block_on(async {
        let line = std::sync::Arc::new(world.edge.tls(Http::H2).open("cloud.getdbt.com").await.unwrap());
        // The last has a certificate of ours, but not this connection's.
        let kinds = [
            ("cloud.getdbt.com", "/deploy/12345/x", 200, Some("cell-2")),
            ("ab123.cloud.getdbt.com", "/x", 200, Some("cell-1")),
            ("metadata.cloud.getdbt.com", "/x?account_id=70471823417825", 200, Some("cell-3")),
            ("ab123.us1.dbt.com", "/x", 421, None),
        ];
        let mut streams = tokio::task::JoinSet::new();
        for number in 0..1_000 {
            let (line, (host, path, status, cell)) =
                (std::sync::Arc::clone(&line), kinds[number % kinds.len()]);
            streams.spawn(async move {
                let reply = line.ask(&Ask::get(host, path)).await.unwrap();
                assert_eq!(
                    (reply.status.as_u16(), reply.cell()),
                    (status, cell),
                    "stream {number} to {host}"
                );
            });
        }
        let mut ended = 0;
        while let Some(stream) = streams.join_next().await {
            stream.unwrap();
            ended += 1;
        }
        assert_eq!(ended, 1_000);
    });
}

#[test]
fn a_cell_whose_address_is_cellgate_itself_goes_round_once() {
    let world = World::example();
    let own = world.edge.addr("http");
    world.edge.folder.point("cell-1", &own.to_string());
    assert_eq!(raw_http::admin(&world.edge.socket(), "POST", "/reload").status, 200);
    eventually("the circle to serve", || (world.edge.generation() > 1).then_some(()));
    let request = b"GET /round HTTP/1.1\r\nHost: ab123.us1.dbt.com\r\nX-Request-Id: going-round\r\n\r\n";
    let reply = raw_http::ask(&mut raw_http::tcp(own), request).unwrap();
    assert_eq!(reply.status, 508, "{}", reply.text());
    // Once in, once round, and refused: not until something runs out.
    let lines = eventually("three lines of the log", || {
        let text = world.edge.folder.read("log/access.log");
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() >= 3).then_some(lines)
    });
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("\"status\":508")), "{lines:?}");
}

#[test]
fn secrets_of_a_request_are_in_no_log_no_metric_and_no_admin_page() {
    let world = World::example();
    let canary = "CANARY7f3a91";
    let request = format!(
        "GET /deploy/12345/x?token={canary} HTTP/1.1\r\nHost: cloud.getdbt.com\r\nAuthorization: Token dbtc_{canary}{}\r\n\
         Cookie: sessionid=FAKE{canary}; other={canary}\r\nX-Api-Key: {canary}\r\nX-Request-Id: has-secrets\r\n\
         User-Agent: curl/8 {canary}\r\n\r\n",
        "0".repeat(40)
    );
    let reply = raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), request.as_bytes()).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    // And a head that is refused before anything is known about it.
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    connection.write_all(request.replace("Host:", "Host :").as_bytes()).unwrap();
    assert_eq!(raw_http::read_reply(&mut connection, false).unwrap().status, 400);
    access_line(&world.edge.folder, "has-secrets");
    let mut told = vec![world.edge.folder.read("log/access.log")];
    for page in ["/metrics", "/status", "/cells", "/accounts/12345", "/config"] {
        told.push(raw_http::page(world.edge.admin(), page).text());
        told.push(raw_http::admin(&world.edge.socket(), "GET", page).text());
    }
    assert!(told[1].contains("cellgate_"), "that is the page of metrics: {}", told[1]);
    for text in told {
        assert!(!text.contains(canary), "{text}");
    }
}

#[test]
fn configured_limits_of_a_head_hold_on_both_protocols() {
    let world = World::prepared(|folder| {
        let limits = "limits: { target_bytes: 300, head_bytes: 2000, header_fields: 20 }";
        folder.append("config/cellgate.yaml", limits);
    });
    let kinds = [
        ("/deploy/12345/".to_owned() + &"a".repeat(200), 1, 10, 200),
        ("/deploy/12345/".to_owned() + &"a".repeat(300), 1, 10, 414),
        ("/deploy/12345/x".into(), 15, 10, 200),
        ("/deploy/12345/x".into(), 25, 10, 431),
        ("/deploy/12345/x".into(), 2, 1_200, 431),
    ];
    for (target, fields, bytes, status) in &kinds {
        let lines: String = (0..*fields).map(|n| format!("X-{n}: {}\r\n", "v".repeat(*bytes))).collect();
        let request = format!("GET {target} HTTP/1.1\r\nHost: cloud.getdbt.com\r\n{lines}\r\n");
        let mut connection = raw_http::tcp(world.edge.addr("http"));
        // The answer may come, and the connection go, before all is written.
        let _ = connection.write_all(request.as_bytes());
        let reply = raw_http::read_reply(&mut connection, false).unwrap();
        assert_eq!(reply.status, *status, "h1 {target} {fields} {bytes}");
        world.block_on(async {
            let mut ask = Ask::get("cloud.getdbt.com", target);
            for number in 0..*fields {
                ask = ask.header(&format!("x-{number}"), &"v".repeat(*bytes));
            }
            let reply = world.edge.tls(Http::H2).ask(&ask).await.unwrap();
            assert_eq!(reply.status.as_u16(), *status, "h2 {target} {fields} {bytes}");
        });
    }
}
