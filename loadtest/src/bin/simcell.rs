//! `simcell`: one simulated cell as a process of its own. See loadtest/README.md for examples.
// The line that says where it listens is for people and scripts alike.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use loadtest::cell::{Behaviour, CellOptions, RunningCell, admin};
use loadtest::tls::ServerTls;
use loadtest::usage::{USAGE, parsed};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// A simulated cell: answers with a description of what reached it, and misbehaves on command.
#[derive(Parser)]
#[command(name = "simcell")]
struct Args {
    /// Name, sent in every answer as x-cell
    #[arg(long)]
    name: String,
    /// Where to listen: h1 in clear text, with a certificate h1 and h2 over TLS; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where to listen for h2 in clear text
    #[arg(long, value_name = "ADDRESS:PORT")]
    h2c_listen: Option<SocketAddr>,
    /// Certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Authority that must have signed the client's certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
    /// Wait so long before each answer
    #[arg(long, value_name = "MS", conflicts_with = "behaviour")]
    latency_ms: Option<u64>,
    /// Behave like this from the start, for example: "fail 0.1"
    #[arg(long, value_name = "TEXT")]
    behaviour: Option<Behaviour>,
    /// Where to listen for POST /behaviour and GET /counts, /seen; asks for no credentials
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<SocketAddr>,
    /// A credential it knows, and its account; with any, all others get 401 (repeatable)
    #[arg(long = "token", value_name = "TOKEN=ACCOUNT", value_parser = token)]
    tokens: Vec<(String, String)>,
}

fn main() -> ExitCode {
    let args: Args = match parsed() {
        Ok(args) => args,
        Err(code) => return code,
    };
    let options = match options(&args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("simcell: {error:#}");
            return ExitCode::from(USAGE);
        }
    };
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime");
    match runtime.and_then(|runtime| runtime.block_on(run(args, options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simcell: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args, options: CellOptions) -> Result<()> {
    // Before anything is printed: whoever reads that line may end this process at once.
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;

    let cell = Arc::new(RunningCell::start(options).await?);
    let latency = args.latency_ms.map(Duration::from_millis);
    if let Some(behaviour) = args.behaviour.or(latency.map(Behaviour::Delay)) {
        cell.behave(behaviour).await.context("taking on the behaviour")?;
    }
    let mut admin_address = None;
    if let Some(wanted) = args.admin {
        let listener =
            TcpListener::bind(wanted).await.with_context(|| format!("listening on {wanted} for --admin"))?;
        admin_address = Some(listener.local_addr().context("reading the admin address")?);
        tokio::spawn(admin::serve(listener, cell.clone()));
    }
    println!(
        "simcell name={} listen={} tls={} h2c={} admin={}",
        cell.name(),
        cell.addr(),
        if args.tls_cert.is_some() { "yes" } else { "no" },
        or_none(cell.h2c_addr()),
        or_none(admin_address),
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// What the command line and the files that it names say.
fn options(args: &Args) -> Result<CellOptions> {
    if let Some(admin) = args.admin {
        ensure!(
            admin.ip().is_loopback(),
            "--admin {admin}: expected a loopback address, since the page asks for no credentials"
        );
    }
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(cert), Some(key)) => Some(ServerTls {
            cert_pem: read(cert)?,
            key_pem: read(key)?,
            client_ca_pem: args.client_ca.as_deref().map(read).transpose()?,
        }),
        _ => None,
    };
    let tokens: HashMap<String, String> = args.tokens.iter().cloned().collect();
    Ok(CellOptions {
        listen: args.listen,
        h2c_listen: args.h2c_listen,
        tls,
        tokens: (!tokens.is_empty()).then_some(tokens),
        ..CellOptions::named(&args.name)
    })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn token(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(token, account)| !token.is_empty() && !account.is_empty());
    let (token, account) = pair.ok_or("expected TOKEN=ACCOUNT")?;
    Ok((token.to_owned(), account.to_owned()))
}

fn or_none(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "none".to_owned(), |address| address.to_string())
}
