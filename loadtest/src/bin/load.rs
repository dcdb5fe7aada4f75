//! `load`: makes load from the command line and reports what became of it. See loadtest/README.md for examples.
// The report is this program's result.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use loadtest::client::{Client, Http};
use loadtest::fleet::{Fleet, FleetPlan, FleetReport};
use loadtest::load::lines::{short, templates};
use loadtest::load::{Load, LoadPlan, LoadReport, Pace, RunningLoad, Template};
use loadtest::tls::ClientTls;
use loadtest::usage::{USAGE, parsed};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

/// Sends requests at a given pace, checks every answer, and reports. Exits 0 if none failed (connections refused
/// are reported and not held against the server), 1 if some did.
#[derive(Parser)]
#[command(name = "load")]
struct Args {
    /// Where to connect, whatever the hosts of the requests
    #[arg(long, value_name = "ADDRESS:PORT")]
    target: SocketAddr,
    /// Protocol
    #[arg(long, default_value = "h1")]
    http: Protocol,
    /// TLS, trusting this authority, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A request, as "HOST/PATH" or "HOST/PATH CELL" where CELL must answer (repeatable)
    #[arg(long = "get", value_name = "REQUEST", value_parser = short)]
    gets: Vec<Template>,
    /// A file of requests, one JSON object a line: host, path, name, method, headers, body, cell, status, with
    #[arg(long, value_name = "FILE")]
    requests: Option<PathBuf>,
    /// A header field for all requests (repeatable)
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = field)]
    headers: Vec<(String, String)>,
    /// So many requests a second, whatever the server does
    #[arg(long, value_name = "N", conflicts_with = "clients")]
    rate: Option<f64>,
    /// So many clients that wait for their answers
    #[arg(long, value_name = "N")]
    clients: Option<usize>,
    /// For how long
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// How long a request may take
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    timeout_ms: u64,
    /// Hold so many WebSockets open meanwhile, to --socket
    #[arg(long, value_name = "N", requires = "socket")]
    websockets: Option<usize>,
    /// Where the WebSockets go, as "HOST/PATH" or "HOST/PATH CELL"
    #[arg(long, value_name = "REQUEST", value_parser = short, requires = "websockets")]
    socket: Option<Template>,
    /// Also print a line every second
    #[arg(long)]
    watch: bool,
    /// Write the report as JSON to this file; - prints it instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Protocol {
    /// HTTP/1.1
    H1,
    /// HTTP/2; without TLS by prior knowledge
    H2,
}

/// All that was asked for.
struct Wanted {
    plan: LoadPlan,
    fleet: Option<FleetPlan>,
}

/// What is written as JSON.
#[derive(Serialize)]
struct Reports {
    load: LoadReport,
    websockets: Option<FleetReport>,
}

fn main() -> ExitCode {
    let args: Args = match parsed() {
        Ok(args) => args,
        Err(code) => return code,
    };
    let wanted = match wanted(&args) {
        Ok(wanted) => wanted,
        Err(error) => {
            eprintln!("load: {error:#}");
            return ExitCode::from(USAGE);
        }
    };
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime");
    let reports = runtime.and_then(|runtime| runtime.block_on(run(wanted, args.watch)));
    match reports.and_then(|reports| tell(&args, reports)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn wanted(args: &Args) -> Result<Wanted> {
    let mut all = args.gets.clone();
    if let Some(path) = &args.requests {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        match templates(&text) {
            Ok(read) => all.extend(read),
            Err(errors) => {
                let told: Vec<String> = errors.iter().map(|e| e.to_string()).collect();
                bail!("{}: {}", path.display(), told.join("; "));
            }
        }
    }
    ensure!(!all.is_empty(), "nothing to send: give --get \"HOST/PATH\" or --requests FILE");
    for template in &mut all {
        template.ask.headers.extend(args.headers.iter().cloned());
    }
    let pace = match (args.rate, args.clients) {
        (Some(rate), _) if rate > 0.0 && rate.is_finite() => Pace::Rate(rate),
        (None, Some(clients)) if clients > 0 => Pace::Closed(clients),
        _ => bail!("how fast: give --rate N (a second) or --clients N, above 0"),
    };
    let duration = Duration::try_from_secs_f64(args.seconds)
        .with_context(|| format!("--seconds {}: expected a length of time", args.seconds))?;
    let client = client(args)?;
    let timeout = Duration::from_millis(args.timeout_ms);
    let fleet = args.websockets.zip(args.socket.clone()).map(|(size, socket)| {
        let mut plan = FleetPlan::websockets(client.clone(), "", "", size).timeout(timeout);
        plan.cell = socket.expect.cell;
        plan.ask = socket.ask;
        plan.ask.headers.extend(args.headers.iter().cloned());
        plan
    });
    let plan = LoadPlan { pace, ..LoadPlan::at_rate(client, all, 0.0, duration).timeout(timeout) };
    Ok(Wanted { plan, fleet })
}

fn client(args: &Args) -> Result<Client> {
    let http = match args.http {
        Protocol::H1 => Http::H1,
        Protocol::H2 => Http::H2,
    };
    let Some(ca) = &args.ca else {
        return Ok(Client::new(args.target, http));
    };
    let pem = fs::read_to_string(ca).with_context(|| format!("reading {}", ca.display()))?;
    Client::tls(args.target, http, &ClientTls::trusting(&pem))
        .with_context(|| format!("using {}", ca.display()))
}

async fn run(wanted: Wanted, watch: bool) -> Result<Reports> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    let fleet = match wanted.fleet {
        Some(plan) => Some(Fleet::open(plan).await),
        None => None,
    };
    let load = Load::start(wanted.plan);
    tokio::select! {
        _ = terminate.recv() => load.stop(),
        _ = interrupt.recv() => load.stop(),
        () = attend(&load, watch) => {}
    }
    Ok(Reports {
        load: load.finish().await,
        websockets: match fleet {
            Some(fleet) => Some(fleet.stop().await),
            None => None,
        },
    })
}

/// Waits for the end of the load and, if wanted, tells every second what became of each template's requests.
async fn attend(load: &RunningLoad, watch: bool) {
    // From nothing: what was answered before this first looks is of the first second too.
    let mut before = LoadReport::default();
    while !load.is_over() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = load.report();
        if watch {
            eprintln!("{}", second(&before, &now));
        }
        before = now;
    }
}

fn second(before: &LoadReport, now: &LoadReport) -> String {
    let told = now.templates.iter().map(|now| {
        let (old, new) = (before.template(&now.name), &now.tally);
        let ok = new.ok - old.ok;
        let failed = new.failed() - old.failed();
        let refused = new.refused() - old.refused();
        format!("{}: {ok} ok, {failed} failed, {refused} refused", now.name)
    });
    let told: Vec<String> = told.collect();
    format!("{:>5.0} s  {}", now.seconds, told.join("  |  "))
}

/// Prints or writes the reports; whether they are clean.
fn tell(args: &Args, reports: Reports) -> Result<bool> {
    let json = serde_json::to_string_pretty(&reports).context("writing the report as JSON")?;
    match &args.json {
        Some(path) if path.as_os_str() == "-" => println!("{json}"),
        path => {
            print!("{}", reports.load);
            if let Some(websockets) = &reports.websockets {
                print!("WebSockets: {websockets}");
            }
            if let Some(path) = path {
                fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
            }
        }
    }
    let websockets = reports.websockets.as_ref().is_none_or(FleetReport::is_clean);
    Ok(reports.load.is_clean() && websockets)
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("{text:?}: expected \"Name: value\""))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
