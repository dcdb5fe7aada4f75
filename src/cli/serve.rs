//! `cellgate serve`: starts, says where it listens, and runs until it is told to stop. SIGTERM and
//! Ctrl-C drain; a second one ends at once; SIGHUP reloads; SIGUSR2 hands over to a new process.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tokio::runtime::Runtime;

use super::signals::{Signals, Told, Watcher};
use super::{ConfigFolder, FAILED, OK, USAGE, complain, print_problems};
use crate::app::{self, Options, Running, Sockets};
use crate::handover::wire::Wire;
use crate::listen::drain::Drained;
use crate::listen::tls::install_provider;
use crate::start::{CannotStart, Why};
use crate::systemd;

/// Serve until SIGTERM or Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFolder,
    /// Folder for what cellgate writes; replaces state_dir of boot.yaml, for all that lies below it
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Serve although no last good configuration shows what this one may have lost; for the first start of a replica
    #[arg(long)]
    bootstrap: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // Before there are other threads, as it changes the environment.
    let passed = systemd::sockets().context("taking the sockets that systemd passes (LISTEN_FDS)")?;
    start_log();
    install_provider().context("installing the TLS provider")?;
    let options = Options {
        config: args.config.folder.clone(),
        boot: args.config.boot.clone(),
        bootstrap: args.bootstrap,
        state_dir: args.state_dir.clone(),
    };
    let mut running = match start(&options, Sockets::passed(passed)) {
        Ok(running) => running,
        Err(error) => match error.downcast_ref::<CannotStart>() {
            Some(cannot) => {
                print_reasons(&cannot.why);
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
    let signals = {
        let _inside = waiting.enter();
        Signals::new()?
    };
    let told = waiting.block_on(Watcher::new(&mut running).until_told_to_stop(signals));
    let (drained, heir) = match told {
        Told::ToStop(mut signals) => {
            tracing::info!("draining: readiness fails, requests in flight finish");
            systemd::stopping("draining");
            // A second signal means now.
            exit_after(waiting, 1, async move || signals.stop().await);
            (running.drain(), None)
        }
        Told::ToHandOver(heir, mut signals) => {
            // The first may be meant for the service, whose end would have us drain as well.
            exit_after(waiting, 2, async move || signals.stop().await);
            (running.hand_over(&heir), Some(heir.pid))
        }
    };
    match drained {
        Drained::Clean => {
            tracing::info!(successor = heir, "drained: every request was finished");
            Ok(OK.into())
        }
        Drained::Cut(connections) => {
            tracing::warn!(
                connections,
                successor = heir,
                "the drain deadline has passed; these connections were cut"
            );
            Ok(FAILED.into())
        }
    }
}

/// By itself, or as successor of the process that has started this one.
fn start(options: &Options, passed: Sockets) -> anyhow::Result<Running> {
    match Wire::to_predecessor().context("taking over (CELLGATE_PREDECESSOR) over standard input")? {
        Some(wire) => app::take_over(options, wire),
        None => app::prepare(options, passed)?.serve(),
    }
}

fn print_reasons(why: &Why) {
    match why {
        Why::Rejected(problems) => print_problems(problems),
        Why::Refused(..) | Why::Kept(_) | Why::RolledBack(_) | Why::Unwritten(_) => {
            complain(&why.lines().join("\n"))
        }
    }
}

fn announce(running: &Running) {
    if let Some(fallback) = &running.fallback {
        for reason in fallback.why.lines() {
            tracing::error!(%reason, "the configuration is not served");
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

/// Ends the process when `signal` has come so many times.
fn exit_after(waiting: Runtime, times: u32, mut signal: impl AsyncFnMut() + Send + 'static) {
    std::thread::spawn(move || {
        waiting.block_on(async {
            for _ in 0..times {
                signal().await;
            }
        });
        tracing::warn!(
            "told to stop again: what is under way is cut off now, and has no line in the access log"
        );
        std::process::exit(i32::from(FAILED));
    });
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
