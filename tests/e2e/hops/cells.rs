//! Cells over TLS with an authority, a name and a client certificate of their own; cells by name; the signed
//! verdict as a cell verifies it; redirects of a cell.

use std::path::Path;
use std::process::Command;

use devcerts::{Authority, Usage};
use loadtest::call;
use loadtest::cell::{Behaviour, CellOptions};
use loadtest::client::{Ask, Http};
use loadtest::tls::ServerTls;
use serde_json::json;

use crate::raw_http;
use crate::running::Folder;
use crate::world::{CELLS, TOKEN_12345, World, addresses, runtime, start_cells};

/// The name in the certificate of the cell that speaks TLS.
const SNI: &str = "cell-1.cells.internal";

/// Writes what cellgate needs to speak TLS to a cell that `authority` has certified.
fn trust(folder: &Folder, cell: &str, authority: &Authority, client: &Authority) {
    let ours = client.issue(&["cellgate"], Usage::Client).unwrap();
    folder.write(&format!("certs/{cell}-ca.pem"), authority.ca_pem());
    folder.write(&format!("certs/{cell}-edge.pem"), &ours.cert_pem);
    folder.write_secret(&format!("certs/{cell}-edge.key"), &ours.key_pem);
    let file = |kind: &str| format!("../certs/{cell}-{kind}");
    let (ca, cert, key) = (file("ca.pem"), file("edge.pem"), file("edge.key"));
    let tls = format!("tls: {{ ca: {ca}, sni: {SNI}, client_cert: {cert}, client_key: {key} }}");
    folder.tune(cell, &[&tls]);
}

/// cell-1 with TLS, found by name; cell-2 said to be at the same address, and certified by somebody else.
fn two_at_one_address(client_authority: &Authority, cell_authority: &Authority, other: &Authority) -> World {
    let pair = cell_authority.issue(&[SNI], Usage::Server).unwrap();
    let tls = ServerTls {
        cert_pem: pair.cert_pem,
        key_pem: pair.key_pem,
        client_ca_pem: Some(client_authority.ca_pem().to_owned()),
    };
    let mut cells: Vec<CellOptions> = CELLS.map(CellOptions::named).to_vec();
    cells[0] = CellOptions::named("cell-1").with_tls(tls);
    let runtime = runtime();
    let cells = start_cells(&runtime, cells);
    let folder = Folder::example(&addresses(&cells));
    let port = cells["cell-1"].addr().port();
    for (cell, authority) in [("cell-1", cell_authority), ("cell-2", other)] {
        folder.point(cell, &format!("localhost:{port}"));
        trust(&folder, cell, authority, client_authority);
    }
    World::of(crate::running::Edge::start(folder), cells, runtime)
}

#[test]
fn a_cell_is_reached_by_name_over_tls_with_its_own_authority_and_shares_no_connection() {
    let new = |name| Authority::new(name).unwrap();
    let world = two_at_one_address(&new("edges"), &new("cell-1"), &new("somebody else"));
    world.block_on(async {
        let line = world.edge.tls(Http::H2).open("ab123.us1.dbt.com").await.unwrap();
        for _ in 0..3 {
            let reply = line.ask(&Ask::get("ab123.us1.dbt.com", "/")).await.unwrap();
            let seen = reply.seen().unwrap();
            let tls = seen.tls.clone().unwrap();
            assert_eq!(
                (seen.connection, tls.sni.as_deref()),
                (1, Some(SNI)),
                "one kept connection: {seen:?}"
            );
            assert!(tls.client_certificate_sha256.is_some(), "{tls:?}");
            // The connection is kept after the client has its answer, and before the line is written.
            world.edge.access_line(reply.header("x-request-id").unwrap());
            let call = call::call("ab123.us1.dbt.com", "/a.B/C", &[b"x"]);
            assert_eq!(call::finish(&line, &call).await.unwrap().status(), Some(0));
            // The same address is another cell's too, and its authority is not this one.
            let other = line.ask(&Ask::get("globex.us1.dbt.com", "/")).await.unwrap();
            assert_eq!(other.status, 502, "{}", other.text());
            assert_eq!(other.header("x-cellgate-outcome"), Some("not-forwarded"));
            let call = call::call("globex.us1.dbt.com", "/a.B/C", &[b"x"]);
            assert_eq!(call::finish(&line, &call).await.unwrap().status(), Some(14));
        }
        let versions: Vec<String> =
            world.cell("cell-1").seen().iter().map(|seen| seen.version.clone()).collect();
        assert!(
            versions.contains(&"HTTP/1.1".into()) && versions.contains(&"HTTP/2.0".into()),
            "{versions:?}"
        );
    });
    let reached = world.cell("cell-1").seen();
    assert!(reached.iter().all(|seen| seen.header("x-cellgate-cell") == Some("cell-1")), "{reached:?}");
}

#[test]
fn a_new_connection_to_a_cell_resumes_the_session_of_the_last_one() {
    let new = |name| Authority::new(name).unwrap();
    let world = two_at_one_address(&new("edges"), &new("cell-1"), &new("somebody else"));
    let resumed = || {
        world.block_on(async {
            let line = world.edge.tls(Http::H2).open("ab123.us1.dbt.com").await.unwrap();
            // Over HTTP/1 and over HTTP/2, each with sessions of its own.
            let reply = line.ask(&Ask::get("ab123.us1.dbt.com", "/")).await.unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text());
            let call = call::call("ab123.us1.dbt.com", "/a.B/C", &[b"x"]);
            assert_eq!(call::finish(&line, &call).await.unwrap().status(), Some(0));
        });
        let seen = world.cell("cell-1").seen();
        let last = |version: &str| {
            let last = seen.iter().rev().find(|seen| seen.version == version).unwrap();
            last.tls.clone().unwrap().resumed
        };
        [last("HTTP/1.1"), last("HTTP/2.0")]
    };
    assert_eq!(resumed(), [false, false]);
    let cell = world.cell("cell-1");
    world.block_on(async {
        cell.behave(Behaviour::Killed).await.unwrap();
        cell.behave(Behaviour::Normal).await.unwrap();
    });
    assert_eq!(resumed(), [true, true]);
}

#[test]
fn a_cell_that_does_not_accept_our_certificate_is_unreachable() {
    let new = |name| Authority::new(name).unwrap();
    let cell = new("cell-1");
    let world = two_at_one_address(&new("edges"), &cell, &cell);
    let request = b"GET / HTTP/1.1\r\nHost: globex.us1.dbt.com\r\n\r\n";
    let get = |world: &World| raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), request).unwrap();
    assert_eq!(get(&world).status, 200, "the same authority, so far the same place");
    trust_again(&world.edge.folder, &new("not the edges' authority"));
    assert_eq!(raw_http::admin(&world.edge.socket(), "POST", "/reload").status, 200);
    let reply = get(&world);
    assert_eq!(reply.status, 502, "a connection of before must not serve: {}", reply.text());
}

/// Replaces cell-2's client certificate by one of another authority.
fn trust_again(folder: &Folder, authority: &Authority) {
    let ours = authority.issue(&["cellgate"], Usage::Client).unwrap();
    folder.write_secret("certs/cell-2-edge.key", &ours.key_pem);
    folder.write("certs/cell-2-edge.pem", &ours.cert_pem);
}

/// Calls the verifier that is shipped for cells. Its arguments are the header, what was received, the keys.
const VERIFY: &str = "
import importlib.util, json, sys, time
spec = importlib.util.spec_from_file_location('verify', sys.argv[1])
verify = importlib.util.module_from_spec(spec); spec.loader.exec_module(verify)
asked = json.loads(sys.argv[2])
keys = {kid: bytes.fromhex(key) for kid, key in asked['keys'].items()}
try:
    print(json.dumps(verify.verify(asked['signature'], asked['received'], keys, time.time() + asked['later'])))
except verify.BadSignature as error:
    print(json.dumps(str(error)))
";

fn verify(asked: &serde_json::Value) -> serde_json::Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verdict-signature/verify.py");
    let output = Command::new("python3")
        .args(["-B", "-c", VERIFY])
        .arg(script)
        .arg(asked.to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_cell_verifies_the_verdict_with_the_shipped_verifier() {
    let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let world = World::prepared(|folder| {
        folder.write_secret("config/keys/seal.key", &format!("{key}\n"));
        folder.tune("cell-2", &["seal: { key_id: k1, key_file: keys/seal.key }"]);
    });
    let target = "/api/v3/accounts/12345/projects/?include_related=[a,b]&x=%2F";
    let ask = Ask::get("cloud.getdbt.com", target)
        .header("authorization", &format!("Token {TOKEN_12345}"))
        .header("x-cellgate-signature", "v1;forged")
        .header("x-cellgate-account", "1");
    for http in [Http::H1, Http::H2] {
        let reply = world.block_on(world.edge.tls(http).ask(&ask)).unwrap();
        let seen = reply.seen().unwrap();
        assert_eq!(seen.headers("x-cellgate-signature").count(), 1, "{seen:?}");
        let received = json!({
            "cell": "cell-2", "account": seen.header("x-cellgate-account"), "method": seen.method,
            "authority": seen.header("host").or(seen.authority.as_deref()), "target": seen.target,
            "request_id": seen.header("x-request-id"),
        });
        let asked = json!({
            "signature": seen.header("x-cellgate-signature"), "received": received,
            "keys": { "k1": key }, "later": 0,
        });
        let claims = verify(&asked);
        assert_eq!((&claims["source"], &claims["epoch"]), (&json!("path"), &json!(0)), "{claims}");
        assert_eq!(claims["generation"], world.edge.running().snapshot().hash.to_string());
        for (field, other) in
            [("cell", "cell-1"), ("target", "/api/v3/accounts/12345/users/"), ("method", "DELETE")]
        {
            let mut replayed = asked.clone();
            replayed["received"][field] = other.into();
            assert_eq!(verify(&replayed), "mismatch", "replayed to another {field}");
        }
        let mut late = asked;
        late["later"] = 60.into();
        assert_eq!(verify(&late), "not_now");
    }
    let reply = world.block_on(world.edge.tls(Http::H1).ask(&Ask::get("ab123.us1.dbt.com", "/"))).unwrap();
    assert_eq!(reply.seen().unwrap().header("x-cellgate-signature"), None, "cell-1 has no key");
}

#[test]
fn a_redirect_of_a_cell_stays_on_the_address_that_the_client_called() {
    let world = World::example();
    let ask = |host: &str, location: &str| {
        let ask = Ask::get(host, "/api/v2/accounts/12345/")
            .sim(&format!("status=302;set=Location:{}", location.replace('%', "%25")));
        let ask = ask.header("authorization", &format!("Token {TOKEN_12345}"));
        let reply = world.block_on(world.edge.tls(Http::H1).ask(&ask)).unwrap();
        assert_eq!(reply.status, 302);
        reply.header("location").unwrap().to_owned()
    };
    let own = "https://acme.us1.dbt.com/next?a=%2F";
    assert_eq!(ask("cloud.getdbt.com", own), "https://cloud.getdbt.com/next?a=%2F");
    assert_eq!(ask("acme.us1.dbt.com", own), own);
    assert_eq!(ask("cloud.getdbt.com", "/relative"), "/relative");
    assert_eq!(ask("cloud.getdbt.com", "https://login.example/x"), "https://login.example/x");
    assert_eq!(ask("cloud.getdbt.com", "https://globex.us1.dbt.com/x"), "https://globex.us1.dbt.com/x");
}

#[test]
fn a_cell_may_ask_for_the_accounts_own_host() {
    let world = World::prepared(|folder| folder.tune("cell-2", &["host: account"]));
    let ask = Ask::get("cloud.getdbt.com", "/x?account_id=12345");
    let seen = world.block_on(world.edge.tls(Http::H2).ask(&ask)).unwrap().seen().unwrap();
    assert_eq!(seen.header("host"), Some("acme.us1.dbt.com"));
    assert_eq!(seen.header("x-forwarded-host"), Some("cloud.getdbt.com"));
}
