//! New certificates without dropping a connection.

use devcerts::Authority;
use loadtest::client::{Ask, Client, Http};
use loadtest::tls::ClientTls;

use crate::raw_http;
use crate::running::eventually;
use crate::world::World;

#[test]
fn new_certificates_serve_new_connections_and_old_connections_stay() {
    let world = World::example();
    let edge = &world.edge;
    let other = Authority::new("the authority after").unwrap();
    let ask = Ask::get("ab123.us1.dbt.com", "/");
    let lines = world.block_on(async {
        let mut lines = Vec::new();
        for http in [Http::H1, Http::H2] {
            let line = edge.tls(http).open("ab123.us1.dbt.com").await.unwrap();
            assert_eq!(line.ask(&ask).await.unwrap().cell(), Some("cell-1"));
            lines.push(line);
        }
        lines
    });

    edge.folder.certificates(&other);
    // The watcher may see a key before its certificate; then it is rejected, and the next look is good.
    eventually("the new certificates to serve", || {
        let reply = raw_http::admin(&edge.socket(), "POST", "/reload");
        (reply.status == 200 && edge.generation() > 1).then_some(())
    });

    world.block_on(async {
        for line in &lines {
            assert_eq!(line.ask(&ask).await.unwrap().cell(), Some("cell-1"), "the old connection");
            assert!(!line.is_closed());
        }
        let trust = ClientTls::trusting(other.ca_pem());
        for http in [Http::H1, Http::H2] {
            let new = Client::tls(edge.addr("https"), http, &trust).unwrap();
            assert_eq!(new.ask(&ask).await.unwrap().cell(), Some("cell-1"), "a new connection");
            assert!(edge.tls(http).ask(&ask).await.is_err(), "the old authority's certificate is gone");
        }
    });
}
