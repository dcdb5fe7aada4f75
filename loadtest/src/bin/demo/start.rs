//! Starts the cells, then cellgate, and waits until it is ready. Everything is bounded.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::place::{CELLS, EDGE_PORTS, Place};
use crate::port;
use crate::process::Processes;

/// The name of cellgate's process.
pub const CELLGATE: &str = "cellgate";

/// How long any of them may take to start; a debug build on a busy machine takes two seconds.
const START_WITHIN: Duration = Duration::from_secs(30);

/// Between two looks at whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A credential that each cell knows, and whose it is; a cell answers 401 to all others. The first two stand
/// in `config/credentials.csv` too.
pub const TOKENS: [(&str, &str, &str); 11] = [
    ("cell-1", PERSONAL_TOKEN, "70403103966603"),
    ("cell-2", SERVICE_TOKEN, "12345"),
    ("cell-3", SHARED_TOKEN, "1001"),
    ("shared", SHARED_TOKEN, "1001"),
    // The request shapes were recorded with two tokens and one cookie, whosever account they are of.
    ("cell-1", SERVICE_TOKEN, "70403103966603"),
    ("cell-1", SESSION, "70403103966603"),
    ("cell-2", PERSONAL_TOKEN, "12345"),
    ("cell-2", SESSION, "70437463654557"),
    ("cell-3", SERVICE_TOKEN, "70471823417825"),
    ("cell-3", PERSONAL_TOKEN, "70471823417825"),
    ("cell-3", MOVED_TOKEN, "26228"),
];

/// The personal token of the request shapes.
const PERSONAL_TOKEN: &str = "dbtu_FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0";

/// The service token of the request shapes.
const SERVICE_TOKEN: &str = "dbtc_FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1";

/// The session cookie of the request shapes.
const SESSION: &str = "FAKE";

/// A credential of account 26228, which has moved from the shared cell to cell-3.
pub const MOVED_TOKEN: &str = "dbtc_FAKE3FAKE3FAKE3FAKE3FAKE3FAKE3FAKE3";

/// A credential of account 1001, which starts in the shared cell and may be moved to cell-3.
pub const SHARED_TOKEN: &str = "dbtc_FAKE2FAKE2FAKE2FAKE2FAKE2FAKE2FAKE2";

/// What a running demonstration is reached by.
#[derive(Debug)]
pub struct Edge {
    /// HTTP/1.1.
    pub http: SocketAddr,
    /// TLS: HTTP/1.1 and HTTP/2.
    pub https: SocketAddr,
    /// HTTP/2 without TLS.
    pub h2c: SocketAddr,
    /// The read-only pages.
    pub admin: SocketAddr,
    /// The process of the shared cell, while it is ours and runs: the id of one that is gone may be anybody's.
    pub shared_pid: Option<u32>,
    /// Where the shared cell listens.
    pub shared: SocketAddr,
}

/// Starts everything.
pub async fn started(place: &Place, processes: &mut Processes) -> Result<Edge> {
    if place.free_ports {
        for (_, port) in EDGE_PORTS {
            place.move_address("boot.yaml", &format!("127.0.0.1:{port}"), "127.0.0.1:0")?;
        }
    } else {
        ports_are_free()?;
    }
    let mut shared = None;
    for (name, port) in CELLS {
        let wanted = if place.free_ports { 0 } else { port };
        let pid =
            processes.start(name, &place.program("simcell"), &cell_args(name, wanted), &place.log(name))?;
        let line =
            said(processes, &place.log(name), name, |log| log.lines().next().map(str::to_owned)).await?;
        let address =
            listens(&line).with_context(|| format!("{name} should say where it listens: {line}"))?;
        if place.free_ports {
            place.move_address("cellgate.yaml", &format!("127.0.0.1:{port}"), &address.to_string())?;
        }
        // The shared cell is the last one.
        shared = Some((pid, address));
    }
    let (shared_pid, shared) = shared.context("there should be cells")?;
    let args = ["serve", "--bootstrap", "--config"]
        .map(str::to_owned)
        .into_iter()
        .chain([place.config.display().to_string()]);
    processes.start(CELLGATE, &place.program(CELLGATE), &args.collect::<Vec<_>>(), &place.log(CELLGATE))?;
    let addresses = said(processes, &place.log(CELLGATE), CELLGATE, serving).await?;
    let of =
        |name: &str| addresses.get(name).copied().with_context(|| format!("cellgate should listen: {name}"));
    let edge = Edge {
        http: of("http")?,
        https: of("https")?,
        h2c: of("h2c")?,
        admin: of("admin")?,
        shared_pid: Some(shared_pid),
        shared,
    };
    ready(edge.admin).await?;
    Ok(edge)
}

/// Starts the shared cell again, where it was.
pub async fn start_shared(place: &Place, edge: &mut Edge, processes: &mut Processes) -> Result<()> {
    let (name, log) = ("shared", place.log("shared"));
    let args = cell_args(name, edge.shared.port());
    let pid = processes.start(name, &place.program("simcell"), &args, &log)?;
    said(processes, &log, name, |log| log.lines().next().and_then(listens)).await?;
    edge.shared_pid = Some(pid);
    Ok(())
}

/// The arguments of a simulated cell.
pub fn cell_args(name: &str, port: u16) -> Vec<String> {
    let listen = format!("127.0.0.1:{port}");
    let mut args: Vec<String> = ["--name", name, "--listen", &listen].map(str::to_owned).into();
    for (_, token, account) in TOKENS.iter().filter(|(cell, ..)| *cell == name) {
        args.extend(["--token".to_owned(), format!("{token}={account}")]);
    }
    args
}

/// Reports every taken port at once.
fn ports_are_free() -> Result<()> {
    let edge = EDGE_PORTS.iter().map(|(what, port)| (format!("cellgate, {what}"), *port));
    let cells = CELLS.iter().map(|(name, port)| (format!("the simulated cell {name}"), *port));
    let taken: Vec<String> = edge
        .chain(cells)
        .filter_map(|(what, port)| {
            let who = port::taken(port)?;
            Some(format!("  127.0.0.1:{port} ({what}) is taken by {who}"))
        })
        .collect();
    ensure!(
        taken.is_empty(),
        "the demonstration needs ports that are taken:\n{}\nStop what holds them, or take free ports: \
         make run DEMO=--free-ports",
        taken.join("\n")
    );
    Ok(())
}

/// Waits until the log of a process holds what `find` looks for.
async fn said<T>(
    processes: &mut Processes,
    log: &Path,
    name: &str,
    find: impl Fn(&str) -> Option<T>,
) -> Result<T> {
    let until = Instant::now() + START_WITHIN;
    loop {
        let text = std::fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
        // Only whole lines count.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        if let Some(found) = find(whole).filter(|_| !whole.is_empty()) {
            return Ok(found);
        }
        if let Some((ended, status)) = processes.ended()?.into_iter().next() {
            bail!("{ended} ended ({status}) instead of starting; it said:\n{text}");
        }
        ensure!(Instant::now() < until, "{name} did not start within {START_WITHIN:?}; it said:\n{text}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The address in simcell's line.
fn listens(line: &str) -> Option<SocketAddr> {
    line.split(' ').find_map(|word| word.strip_prefix("listen="))?.parse().ok()
}

/// The addresses in cellgate's log, once it serves.
fn serving(log: &str) -> Option<BTreeMap<String, SocketAddr>> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let fields: Vec<Value> = lines.map(|line| line["fields"].clone()).collect();
    fields.iter().find(|fields| fields["message"] == "serving")?;
    let named = |fields: &Value| {
        let name = match fields["message"].as_str()? {
            "listening" => fields["listener"].as_str()?,
            "admin pages, read-only" => "admin",
            _ => return None,
        };
        Some((name.to_owned(), fields["address"].as_str()?.parse().ok()?))
    };
    Some(fields.iter().filter_map(named).collect())
}

/// Waits until `/readyz` says 200.
async fn ready(admin: SocketAddr) -> Result<()> {
    let until = Instant::now() + START_WITHIN;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let answer = tokio::time::timeout(left, ask_ready(admin)).await.unwrap_or_else(|_| Ok(String::new()));
        match answer {
            Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => return Ok(()),
            Ok(answer) if left.is_zero() => bail!("http://{admin}/readyz did not become 200: {answer}"),
            Err(error) if left.is_zero() => bail!("http://{admin}/readyz cannot be asked: {error}"),
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

async fn ask_ready(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
