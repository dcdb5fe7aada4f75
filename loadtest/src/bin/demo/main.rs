//! `demo`: four simulated cells and cellgate on loopback, and the lines to try on them. `make run` calls it.
//!
//! It serves the configuration in `config/` with the programs that lie beside it, until Ctrl-C. At a terminal it sends
//! traffic and shows what becomes of it, with a key for each thing to try; elsewhere it prints the lines. With `--check` it
//! runs every line that it would print and looks at what comes back.
// What it prints is its purpose.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod check;
mod deletion;
mod live;
mod lock;
mod place;
mod port;
mod process;
mod screen;
mod start;
mod tally;
mod tour;
mod traffic;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use loadtest::usage::parsed;
use tokio::signal::unix::{Signal, SignalKind, signal};

use place::Place;
use process::Processes;
use start::{CELLGATE, started};
use tour::Shared;

/// How often the processes are looked at: soon enough that the news of a death comes before the answer to
/// the next pasted line is read.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Serve the example configuration with simulated cells, and say what to try.
#[derive(Parser)]
#[command(name = "demo")]
struct Args {
    /// Take free ports instead of those in config/; works on a copy of the configuration in DIR
    #[arg(
        long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "target/demo",
        conflicts_with = "check"
    )]
    free_ports: Option<PathBuf>,
    /// Try every line instead of printing it, on free ports; DIR holds certs/dev, the rest is made
    #[arg(long, value_name = "DIR")]
    check: Option<PathBuf>,
    /// Work on free ports in this folder, which holds certs/dev
    #[arg(long, value_name = "DIR", conflicts_with_all = ["check", "free_ports"], hide = true)]
    apart: Option<PathBuf>,
}

// One thread: the kernel ends the children when the thread that started them is gone.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Args = match parsed() {
        Ok(args) => args,
        Err(code) => return code,
    };
    match run(&args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<ExitCode> {
    // Before anything is started, so that a Ctrl-C at any moment stops what was.
    let mut stop = Stop::new()?;
    let mut processes = Processes::default();
    let ended = tokio::select! {
        ended = demonstrate(args, &mut processes) => ended,
        () = stop.asked() => Ok(ExitCode::SUCCESS),
    };
    if args.check.is_none() && ended.is_ok() {
        println!("\nStopping. Ctrl-C again ends it at once.");
    }
    tokio::select! {
        () = processes.stop() => {}
        () = stop.asked() => {}
    }
    // Whatever is left is killed here.
    processes.kill().await;
    ended
}

async fn demonstrate(args: &Args, processes: &mut Processes) -> Result<ExitCode> {
    let place = match (args.check.as_ref().or(args.apart.as_ref()), &args.free_ports) {
        (Some(folder), _) => Place::apart(folder)?,
        (None, Some(folder)) => Place::copied(folder)?,
        (None, None) => Place::example()?,
    };
    deletion::mended(&place)?;
    let mut edge = started(&place, processes).await?;
    let steps = tour::steps(&place, &edge, Shared::Answers);
    if args.check.is_some() {
        let failed = check::run(&place, &steps, processes).await?;
        return Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if screen::is_there() {
        return live::run(&place, &mut edge, processes).await;
    }
    print!("{}", tour::text(&place, &edge, &steps)?);
    watch(&place, processes).await
}

/// Says which processes end, until cellgate itself does.
async fn watch(place: &Place, processes: &mut Processes) -> Result<ExitCode> {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for (name, status) in processes.ended()? {
            println!("\n{name} is gone ({status}).");
            if name == CELLGATE {
                anyhow::bail!("cellgate ended by itself; {} says why", place.log(CELLGATE).display());
            }
        }
    }
}

/// Ctrl-C, `kill`, or a terminal that was closed.
struct Stop {
    signals: [Signal; 3],
}

impl Stop {
    fn new() -> Result<Self> {
        let on = |kind| signal(kind).context("listening for signals");
        let signals = [on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::hangup())?];
        Ok(Self { signals })
    }

    async fn asked(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
