//! New certificates without dropping a connection, and in time: what ends soon is told.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use devcerts::{Authority, Validity};
use loadtest::client::{Ask, Client, Http};
use loadtest::tls::ClientTls;

use crate::process::Process;
use crate::raw_http;
use crate::running::{Folder, authority, eventually};
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

#[test]
fn certificates_that_end_soon_are_told_in_log_metrics_and_readiness_until_there_are_new_ones() {
    const DAY: Duration = Duration::from_secs(86_400);
    let now = SystemTime::now();
    let soon = Validity { not_before: now - DAY, not_after: now + 7 * DAY };
    let folder = Folder::example(&BTreeMap::new());
    folder.certificates(&Authority::with_validity("ends soon", soon).unwrap());
    let process = Process::start(&folder);
    let page = |target: &str| raw_http::page(process.admin(), target);
    let until = |name: &str| -> f64 {
        let series = format!("cellgate_certificate_not_after_seconds{{name=\"{name}\"}} ");
        let page = page("/metrics").text();
        page.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    };
    let end = soon.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64().floor();
    for name in ["cloud.getdbt.com", "us1.dbt.com"] {
        let warning = process.line("a warning", |line| {
            let fields = &line["fields"];
            let about = fields["message"].as_str().is_some_and(|message| message.contains(name));
            about && fields["reason"] == "certificate_expires_soon"
        });
        assert_eq!(warning["level"], "WARN", "{warning}");
        assert!((until(name) - end).abs() < 1.0, "{name} ends at {end}");
    }
    let ready = page("/readyz");
    assert!(ready.status == 200 && ready.text().contains("certificate_expires_soon"), "{}", ready.text());

    folder.certificates(authority());
    eventually("the new certificates", || {
        raw_http::admin(&folder.path("state/admin.sock"), "POST", "/reload");
        (!page("/readyz").text().contains("certificate_expires_soon")).then_some(())
    });
    assert!(until("us1.dbt.com") > end + 365.0 * 86_400.0);
}
