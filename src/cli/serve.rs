//! `cellgate serve`: starts, says where it listens, and runs until it is told to stop. SIGTERM and
//! Ctrl-C drain; a second one ends at once; SIGHUP reloads; SIGUSR2 hands over to a new process.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::runtime::Runtime;
use tracing::Level;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use super::signals::{Signals, Told, Watcher};
use super::{ConfigFolder, FAILED, OK, USAGE, complain, print_problems};
use crate::app::{self, Options, Running, Sockets};
use crate::descriptors;
use crate::handover::wire::Wire;
use crate::listen::drain::Drained;
use crate::listen::tls::install_provider;
use crate::policy::code::Code;
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
    keep_memory_private();
    let most = raise_descriptors();
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
                complain(&super::codes::told(&error));
                return Ok(USAGE.into());
            }
            None => return Err(error),
        },
    };
    let _few_descriptors = running.note_few_descriptors(most);
    let waiting = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the signal thread")?;
    let signals = {
        let _inside = waiting.enter();
        Signals::new()?
    };
    // Not before signals are waited for: whoever has read that it serves may send one at once, and is not to kill it.
    announce(&running);
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
            tracing::warn!(code = %Code::DrainCut,
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
        tracing::error!(code = %Code::ServingLastGood, "serving the LAST GOOD configuration; correct the files and reload");
    }
    let snapshot = running.snapshot();
    for (name, address) in &running.listeners {
        tracing::info!(listener = %name, %address, "listening");
    }
    if let Some(address) = running.admin_loopback {
        match running.admin_changes_on_loopback() {
            true => tracing::info!(%address, "admin pages, changes by token"),
            false => tracing::info!(%address, "admin pages, read-only"),
        }
    }
    if let Some(address) = running.admin_tls {
        tracing::info!(%address, "admin pages, TLS");
    }
    if let Some(address) = running.status_address {
        tracing::info!(%address, "status page, for everybody");
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

/// Asks for core dumps, and for debuggers of the same user: `CELLGATE_CORE_DUMPS=1`.
const CORE_DUMPS: &str = "CELLGATE_CORE_DUMPS";

/// Keys and requests under way are in memory, and would be in the file that a crash leaves. Before anything secret is read.
/// `RLIMIT_CORE` is none of it: where cores go into a program, as under systemd, that limit does not hold.
fn keep_memory_private() {
    if std::env::var_os(CORE_DUMPS).is_some_and(|wanted| wanted == "1") {
        tracing::warn!(
            "a crash leaves a core dump, with keys and with requests under way in it ({CORE_DUMPS}=1)"
        );
    } else if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "a crash may leave a core dump, with keys and with requests under way in it");
    }
}

/// Whoever starts this has asked for the lower limit least of all. What it may have open then.
fn raise_descriptors() -> descriptors::Most {
    descriptors::raise().unwrap_or_else(|(most, error)| {
        tracing::warn!(%error, most, "the limit of open files stays as it is");
        most
    })
}

/// Own log lines on standard error. Libraries are heard from warnings on, whatever `CELLGATE_LOG` says: below that they print
/// the heads of requests, credentials included.
fn start_log() {
    let wanted = EnvFilter::try_from_env("CELLGATE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,rustls=error,pingora=error,pingora_core=error,h2=error"));
    let safe = filter_fn(|line| is_safe(line.target(), *line.level()));
    // Where nobody reads the log any more, saying so there would be a panic of whoever logs.
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false).log_internal_errors(false);
    let log = tracing_subscriber::registry().with(wanted).with(safe);
    let terminal = std::io::stderr().is_terminal();
    let asked = std::env::var(LOG_FORMAT).ok();
    match format_of(asked.as_deref(), terminal) {
        Ok(LogFormat::Text) | Err(LogFormat::Text) => {
            let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|asked| asked.is_empty());
            log.with(lines.compact().with_ansi(colours)).init();
        }
        Ok(LogFormat::Json) | Err(LogFormat::Json) => log.with(lines.json()).init(),
    }
    if format_of(asked.as_deref(), terminal).is_err() {
        tracing::warn!("{LOG_FORMAT} is neither json nor text, and counts for nothing");
    }
}

/// `json` or `text`: how log lines are written, whoever reads them.
const LOG_FORMAT: &str = "CELLGATE_LOG_FORMAT";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// The format that was asked for; where none was, or none that there is (`Err`), text on a terminal and JSON elsewhere.
fn format_of(asked: Option<&str>, terminal: bool) -> Result<LogFormat, LogFormat> {
    let usual = if terminal { LogFormat::Text } else { LogFormat::Json };
    match asked {
        Some("json") => Ok(LogFormat::Json),
        Some("text") => Ok(LogFormat::Text),
        None | Some("") => Ok(usual),
        Some(_) => Err(usual),
    }
}

/// Whether a line of this origin and level can hold nothing of a request.
fn is_safe(origin: &str, level: Level) -> bool {
    let own = origin.split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    own || level <= Level::WARN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_for_people_on_a_terminal_and_for_programs_elsewhere_unless_somebody_says_so() {
        for (asked, terminal, expect) in [
            (None, true, Ok(LogFormat::Text)),
            (None, false, Ok(LogFormat::Json)),
            (Some(""), false, Ok(LogFormat::Json)),
            (Some("text"), false, Ok(LogFormat::Text)),
            (Some("json"), true, Ok(LogFormat::Json)),
            (Some("xml"), true, Err(LogFormat::Text)),
            (Some("xml"), false, Err(LogFormat::Json)),
        ] {
            assert_eq!(format_of(asked, terminal), expect, "{asked:?} {terminal}");
        }
    }

    #[test]
    fn libraries_are_heard_from_warnings_on() {
        for (origin, level, expect) in [
            ("cellgate::proxy::forward", Level::TRACE, true),
            ("cellgate", Level::DEBUG, true),
            ("cellgates::x", Level::INFO, false),
            ("pingora_core::protocols::http::v1::client", Level::TRACE, false),
            ("h2::codec", Level::DEBUG, false),
            // Lines of the `log` crate.
            ("log", Level::INFO, false),
            ("rustls::conn", Level::WARN, true),
            ("log", Level::ERROR, true),
        ] {
            assert_eq!(is_safe(origin, level), expect, "{origin} {level}");
        }
    }
}
