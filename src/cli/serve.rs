//! `cellgate serve`: starts, says where it listens, and runs until it is told to stop. SIGTERM and
//! Ctrl-C drain; a second one ends at once; SIGHUP reloads.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::{ConfigFolder, FAILED, OK, USAGE, complain, print_problems};
use crate::app::{self, Options, Running};
use crate::listen::drain::Drained;
use crate::listen::tls::install_provider;
use crate::start::CannotStart;

/// Serve until SIGTERM or Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFolder,
    /// Folder for what cellgate writes; replaces state_dir of boot.yaml, for all that lies below it
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    start_log();
    install_provider().context("installing the TLS provider")?;
    let options = Options { config: args.config.folder.clone(), state_dir: args.state_dir.clone() };
    let running = match app::build(&options) {
        Ok(running) => running,
        Err(error) => match error.downcast_ref::<CannotStart>() {
            Some(cannot) => {
                print_problems(&cannot.problems);
                complain(&format!("cellgate: {error:#}"));
                return Ok(USAGE.into());
            }
            None => return Err(error),
        },
    };
    announce(&running);
    let waiting = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the signal thread")?;
    waiting.block_on(until_told_to_stop(&running))?;
    tracing::info!("draining: readiness fails, requests in flight finish");
    // A second signal means now.
    std::thread::spawn(move || {
        waiting.block_on(async {
            if let Ok(()) = stop_signal().await {
                std::process::exit(i32::from(FAILED));
            }
        });
    });
    match running.drain() {
        Drained::Clean => {
            tracing::info!("drained: every request was finished");
            Ok(OK.into())
        }
        Drained::Cut(connections) => {
            tracing::warn!(connections, "the drain deadline has passed; these connections were cut");
            Ok(FAILED.into())
        }
    }
}

fn announce(running: &Running) {
    if let Some(fallback) = &running.fallback {
        for problem in &fallback.problems {
            tracing::error!(%problem, "the configuration is bad");
        }
        tracing::error!("serving the LAST GOOD configuration; correct the files and reload");
    }
    let snapshot = running.snapshot();
    for (name, address) in &running.listeners {
        tracing::info!(listener = %name, %address, "listening");
    }
    if let Some(address) = running.admin_loopback {
        tracing::info!(%address, "admin pages, read-only");
    }
    if let Some(socket) = &running.admin_socket {
        tracing::info!(socket = %socket.display(), "admin socket");
    }
    let (cells, accounts) = (snapshot.cells.len(), snapshot.accounts.len());
    tracing::info!(generation = %snapshot.generation, hash = &snapshot.hash[..12], cells, accounts, "serving");
}

async fn until_told_to_stop(running: &Running) -> anyhow::Result<()> {
    let mut hang_up = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    loop {
        tokio::select! {
            stopped = stop_signal() => return stopped,
            Some(()) = hang_up.recv() => running.hang_up(),
        }
    }
}

async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Own log lines on standard error; libraries that log what clients do are kept quiet.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("CELLGATE_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new("info,rustls=error,pingora=error,pingora_core=error,h2=error")
    });
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // Where nobody reads the log any more, saying so there would be a panic of whoever logs.
    let lines = lines.log_internal_errors(false);
    if std::io::stderr().is_terminal() {
        lines.compact().init();
    } else {
        lines.json().init();
    }
}
