//! Twenty upgrades in a row under load over h1, h2, gRPC and WebSockets, each by another way of asking.

use std::time::Duration;

use loadtest::cell::CellOptions;
use loadtest::client::{Ask, Client, Http};
use loadtest::fleet::{Fleet, FleetPlan};
use loadtest::load::{Load, LoadPlan, RunningLoad, Template};
use loadtest::socket::{self, Socket};
use loadtest::tls::ClientTls;

use super::{Line, messages};
use crate::process::Process;
use crate::raw_http;
use crate::running::{Folder, authority, install_provider};
use crate::world::{CELLS, TOKEN_12345, addresses, load_lane, runtime, start_cells};

/// As many as the issue asks for.
const UPGRADES: usize = 20;

/// WebSockets of each protocol that are open from the first process to the last.
const WEBSOCKETS: usize = 10;

const HOST: &str = "ab123.us1.dbt.com";
const FLIGHT: &str = "ab123.semantic-layer.us1.dbt.com";

#[test]
fn twenty_upgrades_under_load_refuse_fail_and_drop_nothing() {
    let _lane = load_lane();
    install_provider();
    let runtime = runtime();
    let cells = start_cells(&runtime, CELLS.map(CellOptions::named).to_vec());
    let folder = Folder::example(&addresses(&cells));
    folder.edit("config/boot.yaml", "deadline: 20s", "deadline: 5m");
    let mut line = Line::start(&folder);
    let clients = clients(&line.first);
    let (plain, tls) = (&clients[0], &clients[1]);
    let admin = line.first.admin();
    let (loads, fleets) = runtime.block_on(async {
        let loads: Vec<_> = clients.iter().map(|client| steady(client.clone())).collect();
        let second = Duration::from_secs(1);
        let sockets =
            |client: &Client| FleetPlan::websockets(client.clone(), HOST, "/ws", WEBSOCKETS).every(second);
        let streams = FleetPlan::grpc_streams(tls.clone(), FLIGHT, "/x.Y/Bidi", WEBSOCKETS).every(second);
        let mut fleets = Vec::new();
        for plan in [sockets(plain), sockets(tls), streams] {
            fleets.push(Fleet::open(plan.cell("cell-1")).await);
        }
        (loads, fleets)
    });

    let mut opened = Vec::new();
    for turn in 0..UPGRADES {
        let client = if turn % 2 == 0 { plain } else { tls };
        opened.push(runtime.block_on(socket::open(client, &Ask::get(HOST, "/ws"))).unwrap());
        match (turn % 4, line.successors.last()) {
            (0, None) => line.first.signal("USR2"),
            (0, Some(_)) => line.signal("USR2"),
            _ => assert!(super::ask(&folder).status.success()),
        }
        line.another(&folder);
        assert_eq!(raw_http::page(admin, "/readyz").status, 200, "whoever answers is ready");
    }

    loads.iter().for_each(RunningLoad::stop);
    runtime.block_on(async {
        for (load, client) in loads.into_iter().zip(&clients) {
            let report = load.finish().await;
            assert!(report.is_clean() && report.all.refused() == 0, "{report}");
            // Over h2 a client that has just been told (GOAWAY) takes its next request elsewhere by itself.
            assert!(client.http() == Http::H2 || report.resent == 0, "{report}");
        }
        for mut socket in opened {
            echoes(&mut socket).await;
        }
        for fleet in fleets {
            let report = fleet.stop().await;
            assert_eq!((report.opened, report.closed), (report.size, report.size), "{report}");
            assert!(report.is_clean() && report.echoes > report.size as u64, "{report}");
        }
    });
    line.drained();
    assert_eq!(messages(&line.first, "drained: every request was finished").len(), UPGRADES);
    assert!(messages(&line.first, "the drain deadline has passed; these connections were cut").is_empty());
    line.signal("TERM");
    let last = *line.successors.last().unwrap();
    crate::running::eventually("the last process to end", || super::gone(last).then_some(()));
    assert!(!folder.path("state/admin.sock").exists(), "and takes its socket along");
}

/// Of each listener.
fn clients(process: &Process) -> [Client; 4] {
    let trusting = ClientTls::trusting(authority().ca_pem());
    let tls = |http| Client::tls(process.addr("https"), http, &trusting).unwrap();
    [
        Client::new(process.addr("http"), Http::H1),
        tls(Http::H2),
        tls(Http::H1),
        Client::new(process.addr("h2c"), Http::H2),
    ]
}

/// Requests short and long; an upload cannot be sent twice without anybody noticing.
fn steady(client: Client) -> RunningLoad {
    let legacy = Ask::get("cloud.getdbt.com", "/api/v2/accounts/26228/");
    let mut templates = vec![
        Template::new("own address", Ask::get(HOST, "/")).cell("cell-1"),
        Template::new("slow", Ask::get(HOST, "/").sim("delay_ms=300")).cell("cell-1"),
        Template::new("upload", Ask::post("globex.us1.dbt.com", "/upload", vec![b'x'; 100_000]))
            .cell("cell-2"),
        Template::new("legacy", legacy.header("authorization", &format!("Token {TOKEN_12345}")))
            .cell("cell-3"),
    ];
    if client.http() == Http::H2 {
        let service = "/arrow.flight.protocol.FlightService";
        let unary = Template::grpc_unary("gRPC", FLIGHT, &format!("{service}/GetFlightInfo"), b"ticket");
        let stream =
            Template::grpc_stream("gRPC stream", FLIGHT, &format!("{service}/ServerStream"), b"row", 20);
        templates.extend([unary.cell("cell-1"), stream.cell("cell-1")]);
    }
    // Stopped when the upgrades are done.
    Load::start(LoadPlan::at_rate(client, templates, 50.0, Duration::from_secs(300)))
}

async fn echoes(socket: &mut Socket) {
    use futures_util::{SinkExt, StreamExt};
    use socket::tungstenite::Message;
    socket.stream.send(Message::text("still here")).await.unwrap();
    let echo = socket.stream.next().await.unwrap().unwrap();
    assert_eq!(echo, Message::text("still here"));
    socket.stream.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.stream.next().await {}
}
