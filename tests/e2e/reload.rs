//! Reloads under load: two hundred of them, by file, signal and admin call, while an account moves between two
//! cells. Nothing fails, nothing is dropped, and every request goes where a generation that served during it
//! sends its account.

mod approved;
mod break_glass;
mod certificates;
mod files;
mod guards;
pub mod rejected;
mod trust;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cellgate::policy::ids::AccountId;
use loadtest::client::{Ask, Client, Http, Line};
use loadtest::fleet::{Fleet, FleetPlan, RunningFleet};
use loadtest::load::{Load, LoadPlan, RunningLoad, Template};
use tokio::task::JoinHandle;

use crate::raw_http;
use crate::running::{Edge, eventually};
use crate::world::{TOKEN_12345, World, load_lane};

/// As many as the issue asks for.
const RELOADS: u64 = 200;

/// WebSockets held open meanwhile.
const WEBSOCKETS: usize = 200;

/// The account that moves.
const MOVING: u64 = 12_345;

/// How often the moving account is asked for on each line: ten times during the shortest reload.
const EVERY: Duration = Duration::from_millis(10);

#[test]
fn two_hundred_reloads_under_load_fail_misroute_and_drop_nothing() {
    let _lane = load_lane();
    let world = World::prepared(|folder| {
        // The one account that moves makes nearly all of the traffic.
        folder.edit("config/boot.yaml", "guards: {", "guards: { mode: 'off',");
        // However long it takes, no line is told that it has asked often enough.
        folder.append("config/boot.yaml", "limits: { requests_per_connection: 1000000 }");
    });
    let edge = &world.edge;
    let (plain, tls) = (edge.plain(Http::H1), edge.tls(Http::H2));
    let walk = Arc::new(Walk::default());
    walk.note(edge);
    let stop = Arc::new(AtomicBool::new(false));
    let (loads, fleets, movers) = world.block_on(async {
        let loads = [(plain.clone(), 100.0), (tls.clone(), 100.0)].map(|(client, rate)| steady(client, rate));
        let fleets = fleets(&plain, &tls).await;
        let movers = movers(&plain, &tls, &walk, &stop).await;
        (loads, fleets, movers)
    });

    let done = reload_again_and_again(edge, &walk);

    stop.store(true, Ordering::Relaxed);
    loads.iter().for_each(RunningLoad::stop);
    world.block_on(async {
        for load in loads {
            let report = load.finish().await;
            assert!(report.is_clean() && report.all.refused() == 0, "{report}");
        }
        let mut moved = BTreeMap::<String, u64>::new();
        for mover in movers {
            for (cell, count) in mover.await.unwrap() {
                *moved.entry(cell).or_default() += count;
            }
        }
        assert!(moved.len() == 2 && moved.values().all(|count| *count > 100), "both cells served: {moved:?}");
        for fleet in fleets {
            let report = fleet.stop().await;
            assert!(report.is_clean() && report.closed == report.size, "{report}");
            assert!(report.echoes > report.size as u64, "{report}");
        }
    });
    assert!(done.iter().all(|count| *count > 0), "by admin, signal and file: {done:?}");
    assert_eq!(edge.generation(), RELOADS + 1);
}

/// Which cell each generation gives the moving account, and what serves now.
#[derive(Default)]
struct Walk {
    cells: Mutex<BTreeMap<u64, String>>,
    newest: AtomicU64,
}

impl Walk {
    /// Writes down the generation that serves, before anybody may see a later one.
    fn note(&self, edge: &Edge) {
        let snapshot = edge.running().snapshot();
        let account = AccountId::parse(MOVING.to_string().as_bytes()).unwrap();
        let row = snapshot.accounts.by_id(account).unwrap();
        let cell = snapshot.cell(row.cell).name.to_string();
        // In this order: whoever finds the cell must find the number too.
        self.newest.store(snapshot.generation.0, Ordering::SeqCst);
        self.cells.lock().unwrap().insert(snapshot.generation.0, cell);
    }
}

/// Moves the account and reloads, each time by another of the three ways. Counts what was done by which.
fn reload_again_and_again(edge: &Edge, walk: &Walk) -> [u64; 3] {
    let rows = ["12345,acme ac345,cell-2,,", "12345,acme ac345,cell-1,,"];
    let table = edge.folder.read("config/accounts.csv");
    let mut done = [0; 3];
    for turn in 0..RELOADS {
        let from = edge.generation();
        let row = rows[usize::from(turn % 2 == 0)];
        edge.folder.write("config/accounts.csv", &table.replace(rows[0], row));
        // Most by admin call, which waits least for files to settle.
        let way = match turn % 10 {
            0 => 2,
            1 => 1,
            _ => 0,
        };
        match way {
            0 => assert_eq!(raw_http::admin(&edge.socket(), "POST", "/reload").status, 200),
            1 => edge.running().hang_up(),
            _ => {}
        }
        eventually("the next generation", || (edge.generation() == from + 1).then_some(()));
        walk.note(edge);
        done[way] += 1;
    }
    done
}

/// Requests of accounts that stay where they are.
fn steady(client: Client, rate: f64) -> RunningLoad {
    let token = format!("Token {TOKEN_12345}");
    let api = |id: &str| Ask::get("cloud.getdbt.com", &format!("/api/v2/accounts/{id}/"));
    let legacy = |name: &str, id: &str, cell: &str| {
        Template::new(name, api(id).header("authorization", &token)).cell(cell).with("sunset")
    };
    let mut templates = vec![
        legacy("moved long ago", "26228", "cell-3"),
        legacy("shared", "1001", "shared"),
        Template::new("own address", Ask::get("ab123.us1.dbt.com", "/")).cell("cell-1"),
        Template::new("upload", Ask::post("globex.us1.dbt.com", "/upload", vec![b'x'; 100_000]))
            .cell("cell-2"),
    ];
    if client.http() == Http::H2 {
        let (host, service) = ("ab123.semantic-layer.us1.dbt.com", "/arrow.flight.protocol.FlightService");
        let unary = format!("{service}/GetFlightInfo");
        templates.push(Template::grpc_unary("gRPC", host, &unary, b"ticket").cell("cell-1"));
        let stream = format!("{service}/ServerStream");
        templates.push(Template::grpc_stream("gRPC stream", host, &stream, b"row", 20).cell("cell-1"));
    } else {
        // Without one a kept connection that ends just then could not be told from a lost request.
        templates.retain(|template| template.name != "upload");
    }
    // Stopped when the reloads are done.
    Load::start(LoadPlan::at_rate(client, templates, rate, Duration::from_secs(300)))
}

async fn fleets(plain: &Client, tls: &Client) -> Vec<RunningFleet> {
    let half = WEBSOCKETS / 2;
    let second = Duration::from_secs(1);
    let sockets = |client: &Client| {
        let path = "/ws/develop/70403103966603/";
        FleetPlan::websockets(client.clone(), "ab123.us1.dbt.com", path, half).cell("cell-1").every(second)
    };
    let streams = FleetPlan::grpc_streams(tls.clone(), "ab123.semantic-layer.us1.dbt.com", "/x.Y/Bidi", 20);
    let plans = [sockets(plain), sockets(tls), streams.cell("cell-1").every(second)];
    let mut fleets = Vec::new();
    for plan in plans {
        let fleet = Fleet::open(plan).await;
        assert_eq!(fleet.report().opened, fleet.report().size, "{}", fleet.report());
        fleets.push(fleet);
    }
    fleets
}

/// Lines that ask for the moving account without end; each answer must be of a cell that a generation, pinned
/// between the request's start and end, assigns.
async fn movers(
    plain: &Client,
    tls: &Client,
    walk: &Arc<Walk>,
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<BTreeMap<String, u64>>> {
    let mut movers = Vec::new();
    for client in [plain, plain, tls, tls] {
        let line = client.open("cloud.getdbt.com").await.unwrap();
        let (walk, stop) = (walk.clone(), stop.clone());
        movers.push(tokio::spawn(async move {
            let mut served = BTreeMap::new();
            while !stop.load(Ordering::Relaxed) {
                let cell = ask_for_the_moving_account(&line, &walk).await;
                *served.entry(cell).or_default() += 1;
                tokio::time::sleep(EVERY).await;
            }
            served
        }));
    }
    movers
}

async fn ask_for_the_moving_account(line: &Line, walk: &Walk) -> String {
    let ask = Ask::get("cloud.getdbt.com", &format!("/api/v2/accounts/{MOVING}/"))
        .header("authorization", &format!("Token {TOKEN_12345}"));
    let before = walk.newest.load(Ordering::SeqCst);
    let reply = line.ask(&ask).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let seen = reply.seen().unwrap();
    let generation: u64 = seen.header("x-cellgate-generation").unwrap().parse().unwrap();
    // A generation serves a moment before it is written down here; its number is known beforehand.
    let assigned = loop {
        if let Some(cell) = walk.cells.lock().unwrap().get(&generation).cloned() {
            break cell;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let after = walk.newest.load(Ordering::SeqCst);
    assert!((before..=after).contains(&generation), "generation {generation}, served {before} to {after}");
    assert_eq!(seen.cell, assigned, "generation {generation}");
    assert_eq!(Some(seen.cell.as_str()), reply.cell());
    seen.cell
}
