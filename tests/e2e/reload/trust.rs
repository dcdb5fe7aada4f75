//! Who is trusted changes while requests are under way: an address goes from one cell to another and back, and the name,
//! the client certificate and the authority of a cell change. Told by the server at that address, which looks at the TLS
//! of each connection: none that was made under one trust carries a request of another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use devcerts::{Authority, Usage};
use loadtest::call;
use loadtest::cell::{CellOptions, RunningCell, Seen};
use loadtest::client::{Ask, Http, Line};
use loadtest::tls::ServerTls;
use tokio::task::JoinHandle;

use crate::raw_http;
use crate::running::{Folder, eventually};
use crate::world::{CELLS, World, addresses, load_lane, runtime, start_cells};

/// Reloads, and those of a long run.
const RELOADS: [usize; 2] = [24, 500];

/// How often each line asks: some times in the shortest of these reloads.
const EVERY: Duration = Duration::from_millis(5);

/// The cells that take turns at one address, each with a host of an account of its own.
const OWNERS: [(&str, &str); 2] = [("cell-1", "ab123.us1.dbt.com"), ("cell-2", "globex.us1.dbt.com")];

/// Who has the address, and what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trust {
    /// Of [`OWNERS`].
    owner: usize,
    protocol: &'static str,
    sni: &'static str,
    /// Number of the client certificate.
    client: usize,
    /// The authority is the server's.
    right: bool,
}

const FIRST: Trust = Trust { owner: 0, protocol: "auto", sni: "one.cells.internal", client: 0, right: true };

/// One after the other, and again from the first. Each differs from its neighbours in one thing or two.
const TRUSTS: [Trust; 8] = [
    FIRST,
    Trust { owner: 1, ..FIRST },
    Trust { sni: "two.cells.internal", ..FIRST },
    Trust { sni: "two.cells.internal", client: 1, ..FIRST },
    Trust { sni: "two.cells.internal", client: 1, right: false, ..FIRST },
    Trust { client: 1, ..FIRST },
    Trust { owner: 1, protocol: "http2", ..FIRST },
    Trust { owner: 1, protocol: "http1", ..FIRST },
];

/// Where the connections go, and the configuration that sends them there.
struct Place {
    world: World,
    /// `cellgate.yaml` before a trust is written into it.
    routing: String,
    port: u16,
    other: u16,
    /// SHA-256 of the client certificates.
    clients: [String; 2],
}

#[test]
#[allow(clippy::print_stdout)] // The counts of a run.
fn no_connection_outlives_the_trust_that_it_was_made_under() {
    let _lane = load_lane();
    let long = std::env::var_os("CELLGATE_TEST_LONG").is_some();
    let place = place();
    let stop = Arc::new(AtomicBool::new(false));
    let refused = Arc::new(AtomicU64::new(0));
    let lines = place.world.block_on(lines(&place.world, &stop, &refused));
    let mut generations: BTreeMap<u64, Trust> = BTreeMap::new();
    let mut connections: BTreeMap<u64, Trust> = BTreeMap::new();
    let mut requests = 0;
    for turn in 0..RELOADS[usize::from(long)] {
        let trust = TRUSTS[turn % TRUSTS.len()];
        let edge = &place.world.edge;
        generations.insert(edge.generation() + 1, trust);
        let refused_before = refused.load(Ordering::Relaxed);
        edge.folder.write("config/cellgate.yaml", &written(&place, trust));
        assert_eq!(raw_http::admin(&edge.socket(), "POST", "/reload").status, 200);
        let mut seen = Vec::new();
        eventually("requests under the new trust", || {
            seen.extend(place.origin().seen());
            place.origin().forget();
            let refuses = !trust.right && refused.load(Ordering::Relaxed) > refused_before;
            (refuses || arrived(&seen, edge.generation(), trust)).then_some(())
        });
        for seen in &seen {
            judge(seen, &generations, &mut connections, &place.clients);
        }
        requests += seen.len();
    }
    stop.store(true, Ordering::Relaxed);
    place.world.block_on(async {
        for line in lines {
            line.await.unwrap();
        }
    });
    let made = place.origin().counts().connections;
    println!(
        "{} reloads, {requests} requests on {} connections of {made}",
        generations.len(),
        connections.len()
    );
    assert!(refused.load(Ordering::Relaxed) > 0, "under the wrong authority nothing is served");
}

impl Place {
    fn origin(&self) -> &RunningCell {
        self.world.cell("cell-1")
    }
}

/// An origin that asks for a client certificate, a second cell for whoever has not its address, and no trust yet.
fn place() -> Place {
    let new = |name| Authority::new(name).unwrap();
    let (right, wrong, edges) = (new("cells"), new("somebody else"), new("edges"));
    let names = TRUSTS.map(|trust| trust.sni);
    let pair = right.issue(&names[1..3], Usage::Server).unwrap();
    let tls = ServerTls {
        cert_pem: pair.cert_pem,
        key_pem: pair.key_pem,
        client_ca_pem: Some(edges.ca_pem().to_owned()),
    };
    let mut cells = CELLS.map(CellOptions::named).to_vec();
    cells[0] = CellOptions::named("cell-1").with_tls(tls);
    let runtime = runtime();
    let cells = start_cells(&runtime, cells);
    let folder = Folder::example(&addresses(&cells));
    // Authorities go here, which is what guards are against.
    folder.edit("config/boot.yaml", "guards: {", "guards: { mode: 'off',");
    // However long it takes, no line is told that it has asked often enough.
    folder.append("config/boot.yaml", "limits: { requests_per_connection: 1000000 }");
    let (port, other) = (cells["cell-1"].addr().port(), cells["cell-2"].addr().port());
    for (name, authority) in [("right", &right), ("wrong", &wrong)] {
        folder.write(&format!("certs/{name}.pem"), authority.ca_pem());
    }
    let clients = [0, 1].map(|number| {
        let ours = edges.issue(&["cellgate"], Usage::Client).unwrap();
        folder.write(&format!("certs/edge-{number}.pem"), &ours.cert_pem);
        folder.write_secret(&format!("certs/edge-{number}.key"), &ours.key_pem);
        sha256_of(&ours.cert_pem)
    });
    let routing = folder.read("config/cellgate.yaml");
    let world = World::of(crate::running::Edge::start(folder), cells, runtime);
    Place { world, routing, port, other, clients }
}

fn sha256_of(pem: &str) -> String {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `cellgate.yaml` in which the owner has the address, and the other of the two is somewhere else without TLS.
fn written(place: &Place, trust: Trust) -> String {
    let Trust { owner, protocol, sni, client, right } = trust;
    let ca = if right { "right" } else { "wrong" };
    let tls = format!(
        "    tls: {{ ca: ../certs/{ca}.pem, sni: {sni}, client_cert: ../certs/edge-{client}.pem, client_key: \
         ../certs/edge-{client}.key }}\n"
    );
    let mut text = place.routing.clone();
    for (number, (name, _)) in OWNERS.iter().enumerate() {
        let (port, protocol, tls) =
            if number == owner { (place.port, protocol, tls.as_str()) } else { (place.other, "auto", "") };
        let start = text.find(&format!("  - name: {name}\n")).unwrap();
        let end = start + text[start..].find(']').unwrap() + 1;
        let cell = format!(
            "  - name: {name}\n    domain: us1.dbt.com\n    protocol: {protocol}\n{tls}    groups:\n      - zone: \
             local\n        endpoints: [127.0.0.1:{port}]"
        );
        text.replace_range(start..end, &cell);
    }
    text
}

/// Lines that ask for both accounts without end, over both protocols and with calls of gRPC.
async fn lines(world: &World, stop: &Arc<AtomicBool>, refused: &Arc<AtomicU64>) -> Vec<JoinHandle<()>> {
    let mut lines = Vec::new();
    for (_, host) in OWNERS {
        for http in [Http::H1, Http::H2] {
            let line = world.edge.tls(http).open(host).await.unwrap();
            let (stop, refused) = (Arc::clone(stop), Arc::clone(refused));
            lines.push(world.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    ask(&line, host, &refused).await;
                    tokio::time::sleep(EVERY).await;
                }
            }));
        }
    }
    lines
}

async fn ask(line: &Line, host: &str, refused: &AtomicU64) {
    let reply = line.ask(&Ask::get(host, "/")).await.unwrap();
    // An endpoint under the wrong authority is left out after a few.
    let left_out = reply.header("proxy-status") == Some("cellgate; error=destination_unavailable");
    if reply.status == 502 || left_out {
        refused.fetch_add(1, Ordering::Relaxed);
    } else {
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    if line.http() == Http::H2 {
        // Over HTTP/1, to a cell that speaks nothing else, its trailers are lost; else it is answered or not taken.
        let status = call::finish(line, &call::call(host, "/a.B/C", &[b"x"])).await.unwrap().status();
        assert!(matches!(status, Some(0 | 12..=14)), "{status:?}");
    }
}

/// Whether requests of this generation have come over all that it speaks.
fn arrived(seen: &[Seen], generation: u64, trust: Trust) -> bool {
    let over = |version: &str| {
        let of = |seen: &&Seen| seen.version == version && generation_of(seen) == generation;
        seen.iter().find(of).is_some()
    };
    trust.right
        && (trust.protocol == "http2" || over("HTTP/1.1"))
        && (trust.protocol == "http1" || over("HTTP/2.0"))
}

fn generation_of(seen: &Seen) -> u64 {
    seen.header("x-cellgate-generation").unwrap().parse().unwrap()
}

/// The trust of the request's generation is that of its connection, and was that of all requests on it.
fn judge(
    seen: &Seen,
    generations: &BTreeMap<u64, Trust>,
    connections: &mut BTreeMap<u64, Trust>,
    clients: &[String; 2],
) {
    let generation = generation_of(seen);
    // Before the first trust, cell-1 was asked here without TLS, and nothing came of it.
    let trust = generations.get(&generation).copied();
    let trust = trust.unwrap_or_else(|| unreachable!("generation {generation} trusts nobody here"));
    let tls = seen.tls.clone().unwrap();
    let found = (
        seen.header("x-cellgate-cell"),
        tls.sni.as_deref(),
        tls.client_certificate_sha256.as_deref(),
        seen.version.as_str() == "HTTP/2.0",
    );
    let h2 = match trust.protocol {
        "http1" => false,
        "http2" => true,
        _ => found.3,
    };
    let expected = (Some(OWNERS[trust.owner].0), Some(trust.sni), Some(&*clients[trust.client]), h2);
    assert!(trust.right, "generation {generation} trusts another authority: {seen:?}");
    assert_eq!(found, expected, "generation {generation}");
    let first = *connections.entry(seen.connection).or_insert(trust);
    assert_eq!(first, trust, "connection {} in generation {generation}", seen.connection);
}
