//! The two admin doors: what each opens, to whom.

use std::os::unix::fs::PermissionsExt;

use crate::raw_http;
use crate::world::World;

fn loopback(world: &World, method: &str, target: &str, host: &str) -> raw_http::RawReply {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    raw_http::ask(&mut raw_http::tcp(world.edge.admin()), request.as_bytes()).unwrap()
}

#[test]
fn the_loopback_door_reads_under_its_own_names_and_changes_nothing() {
    let world = World::example();
    for target in ["/", "/healthz", "/readyz", "/metrics", "/config", "/cells"] {
        for host in ["localhost", "127.0.0.1:9900", "[::1]"] {
            let reply = loopback(&world, "GET", target, host);
            assert_eq!(reply.status, 200, "{target} {host}");
            assert_eq!(reply.header("cache-control"), Some("no-store"));
        }
        assert_eq!(loopback(&world, "GET", target, "evil.example").status, 403, "{target}");
        assert_eq!(loopback(&world, "GET", target, "127.0.0.1.evil.example").status, 403, "{target}");
    }
    for (method, target) in
        [("POST", "/reload"), ("PUT", "/config"), ("DELETE", "/cells"), ("GET", "/accounts/12345")]
    {
        assert_eq!(loopback(&world, method, target, "localhost").status, 404, "{method} {target}");
    }
    assert_eq!(world.edge.generation(), 1);
}

#[test]
fn the_socket_is_its_owners_alone_and_does_everything() {
    let world = World::example();
    let socket = world.edge.socket();
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(socket.parent().unwrap().metadata().unwrap().permissions().mode() & 0o022, 0);
    let row = raw_http::admin(&socket, "GET", "/accounts/12345").json();
    assert_eq!((&row["cell"], &row["prefixes"][0]), (&"cell-2".into(), &"acme".into()), "{row}");
    world.edge.folder.edit("config/accounts.csv", "12345,acme ac345,cell-2,,", "12345,acme ac345,cell-1,,");
    let stale = "POST /reload HTTP/1.1\r\nHost: admin\r\nIf-Match: \"7\"\r\nConnection: close\r\n\r\n";
    let reply = raw_http::ask(&mut raw_http::unix(&socket), stale.as_bytes()).unwrap();
    assert_eq!(reply.status, 412, "{}", reply.text());
    assert_eq!(raw_http::admin(&socket, "POST", "/reload").status, 200);
    assert_eq!(raw_http::admin(&socket, "GET", "/accounts/12345").json()["cell"], "cell-1");
    let cells = raw_http::admin(&socket, "GET", "/cells").json();
    assert_eq!(cells["cells"].as_array().unwrap().len(), 4);
}

#[test]
fn the_sockets_mode_is_the_configured_one() {
    let world = World::prepared(|folder| {
        folder.edit(
            "config/boot.yaml",
            "  unix: ../state/admin.sock\n",
            "  unix: ../state/admin.sock\n  unix_mode: \"0660\"\n",
        );
    });
    assert_eq!(world.edge.socket().metadata().unwrap().permissions().mode() & 0o777, 0o660);
}

#[test]
fn metrics_count_what_happened_by_cell_and_refusal() {
    let world = World::example();
    let request = b"GET / HTTP/1.1\r\nHost: ab123.us1.dbt.com\r\n\r\n";
    assert_eq!(raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), request).unwrap().status, 200);
    let unknown = b"GET / HTTP/1.1\r\nHost: nobody.us1.dbt.com\r\n\r\n";
    assert_eq!(raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), unknown).unwrap().status, 404);
    crate::running::eventually("both to be counted", || {
        let text = loopback(&world, "GET", "/metrics", "localhost").text();
        let counted = |label: &str| {
            text.lines().any(|line| !line.starts_with('#') && line.contains(label) && line.ends_with(" 1"))
        };
        (counted("cell=\"cell-1\"") && counted("\"unmapped_account\"")).then_some(())
    });
}
