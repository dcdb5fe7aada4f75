//! `bench`: what a request costs cellgate, other proxies and two floors, side by side. See docs/performance.md.
// The tables are what it is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use loadtest::bench::count::{Cost, Kept, count};
use loadtest::bench::picture::svg;
use loadtest::bench::report::Report;
use loadtest::bench::run::{Wanted, run};
use loadtest::bench::scenario::Scenario;
use loadtest::bench::site::{Kind, Programs};
use loadtest::bench::table::{CELLS, CELLS_MAX, Table};
use loadtest::usage::parsed;

/// Measures what a request costs cellgate, HAProxy, nginx, Envoy and two floors, in turns, and prints a table for each
/// scenario. Takes 45 minutes with all of it. Exits with 1 if a request failed or was answered wrongly; those that another
/// proxy loses when it reads its table again are only told.
#[derive(Parser)]
#[command(name = "bench")]
struct Args {
    /// What is measured, in this order; everything, if nothing is said
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    scenarios: Vec<Scenario>,
    /// Who is measured; all, if nothing is said
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    contestants: Vec<Kind>,
    /// Accounts in the table
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    accounts: Option<u32>,
    /// Cells that the accounts are in; a reload needs two
    #[arg(long, value_name = "N", default_value_t = CELLS, value_parser = clap::value_parser!(u16).range(1..=i64::from(CELLS_MAX)))]
    cells: u16,
    /// Requests a second of what is asked at a fixed rate [default: 6000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// How often each contestant is measured in each scenario
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Seconds of each measurement, from 0.1 to 600; if nothing is said 3, and 8 of those in which a table is exchanged
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Threads, or processes, of each contestant; with more than one nothing has a processor of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Two short rounds of HTTP/1.1 over 100 accounts, without Envoy: shows that all of it works, and measures nothing
    #[arg(long)]
    smoke: bool,
    /// Count instructions and allocations instead, over 1,000 accounts: of so many requests that come after as many
    /// again. Of cellgate, if nobody is named
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), conflicts_with = "smoke")]
    count: Option<u32>,
    /// Say how that differs from the counts of cellgate that are kept in this file
    #[arg(long, value_name = "FILE", requires = "count")]
    against: Option<PathBuf>,
    /// Keep it there from now on
    #[arg(long, requires = "against")]
    keep: bool,
    /// Write the report as JSON to this file, after each scenario
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a picture of the ratios to this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Where the files of contestants go meanwhile
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    out: PathBuf,
    /// The program of cellgate [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    cellgate: Option<PathBuf>,
    /// The program of Envoy [default: the one that scripts/setup bench has installed]
    #[arg(long, value_name = "FILE")]
    envoy: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args: Args = match parsed() {
        Ok(args) => args,
        Err(code) => return code,
    };
    match measure(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<()> {
    if let Some(requests) = args.count {
        return counted(args, requests);
    }
    let wanted = wanted(args)?;
    let mut unwritten = None;
    let report = run(&wanted, |report| {
        if let Some(scenario) = report.scenarios.last() {
            eprintln!("{}: done", scenario.name);
        }
        // After each scenario, so that a run that is broken off leaves what it has.
        if let Err(error) = write(args, report) {
            unwritten = Some(error);
        }
    })?;
    print!("{report}");
    if let Some(error) = unwritten {
        return Err(error);
    }
    ensure!(report.bad() == 0, "{} requests failed or were answered wrongly", report.bad());
    Ok(())
}

/// How this program, and with it cellgate beside it, was built.
const BUILT: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

fn counted(args: &Args, requests: u32) -> Result<()> {
    let mut wanted = wanted(args)?;
    if args.contestants.is_empty() {
        wanted.contestants = vec![Kind::Cellgate];
    }
    wanted.table.accounts = args.accounts.unwrap_or(1_000);
    let against = args.against.as_deref();
    let mut kept: Kept = match against {
        None => Kept::new(),
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            serde_json::from_str(&text).with_context(|| format!("what is kept in {}", path.display()))?
        }
    };
    for (kind, cost) in count(&wanted, requests)? {
        let Cost { instructions, allocations } = cost;
        println!(
            "{kind} ({BUILT}): {instructions:.0} user instructions and {allocations:.1} allocations a request"
        );
        let Some(path) = against.filter(|_| kind == Kind::Cellgate) else { continue };
        if let Some(before) = kept.get(BUILT) {
            let change = (instructions / before.instructions - 1.0) * 100.0;
            println!(
                "{change:+.1} % against the {:.0} and {:.1} of {}",
                before.instructions,
                before.allocations,
                path.display()
            );
        }
        if args.keep {
            kept.insert(BUILT.to_owned(), cost);
            let text = serde_json::to_string_pretty(&kept)? + "\n";
            fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}

fn write(args: &Args, report: &Report) -> Result<()> {
    let put = |path: &Path, text: String| {
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    };
    if let Some(path) = &args.json {
        put(path, serde_json::to_string_pretty(report)? + "\n")?;
    }
    args.svg.as_ref().map_or(Ok(()), |path| put(path, svg(report)))
}

fn wanted(args: &Args) -> Result<Wanted> {
    let chosen = |all: &[Scenario]| -> Vec<Scenario> {
        let named = if args.scenarios.is_empty() { all } else { &args.scenarios };
        named.iter().map(|scenario| args.rate.map_or(*scenario, |rate| scenario.at(rate))).collect()
    };
    let all =
        |kinds: &[Kind]| if args.contestants.is_empty() { kinds.to_vec() } else { args.contestants.clone() };
    let quick = Kind::ALL.map(Some).map(|kind| kind.filter(|kind| *kind != Kind::Envoy));
    let contestants =
        if args.smoke { all(&quick.into_iter().flatten().collect::<Vec<_>>()) } else { all(&Kind::ALL) };
    let either = |usual: u64, smoke: u64| Duration::from_millis(if args.smoke { smoke } else { usual });
    let programs = programs(args, &contestants)?;
    let scenarios = if args.smoke { chosen(&Scenario::ALL[..1]) } else { chosen(&Scenario::ALL) };
    // A move is seen by the cell that answers.
    let moves = scenarios.iter().find(|scenario| scenario.reloads());
    if let Some(scenario) = moves.filter(|_| args.cells < 2) {
        bail!(
            "{} moves accounts from one cell to another: say --cells 2 or more, or --scenarios without it",
            scenario.name
        );
    }
    Ok(Wanted {
        scenarios,
        contestants,
        table: Table {
            accounts: args.accounts.unwrap_or(if args.smoke { 100 } else { 1_000_000 }),
            cells: args.cells,
        },
        rounds: args.rounds.map_or(if args.smoke { 2 } else { 5 }, |rounds| rounds as usize),
        warmup: either(1_000, 100),
        duration: args.seconds.unwrap_or(either(3_000, 300)),
        // 48,000 requests, as in the measurements that the targets come from.
        reload: args.seconds.unwrap_or(either(8_000, 2_000)),
        workers: usize::from(args.workers),
        folder: args.out.clone(),
        origin: beside("origin")?,
        programs,
    })
}

/// All that is missing is said at once. Without Envoy the others are measured.
fn programs(args: &Args, contestants: &[Kind]) -> Result<Programs> {
    let programs = Programs {
        cellgate: args.cellgate.clone().map_or_else(|| beside("cellgate"), Ok)?,
        floor: beside("floor")?,
        envoy: args.envoy.clone().or_else(installed_envoy),
        nginx: in_path("nginx"),
        haproxy: in_path("haproxy"),
    };
    let wanted = contestants.iter().filter_map(|kind| programs.of(*kind));
    let mut missing: Vec<String> =
        wanted.filter(|file| !file.is_file()).map(|file| file.display().to_string()).collect();
    missing.dedup();
    if !missing.is_empty() {
        bail!("missing: {}; run scripts/setup bench, and cargo build --workspace --bins", missing.join(", "));
    }
    Ok(programs)
}

fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding the folder of this program")?;
    Ok(own.with_file_name(name))
}

/// Its name alone, where it is nowhere. The folders of root's programs are not in every PATH.
fn in_path(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| PathBuf::from(name))
}

/// Below the folder that scripts/setup makes; the script in its `bin` is Python, which would be measured too.
fn installed_envoy() -> Option<PathBuf> {
    let versions = fs::read_dir("target/venv-bench/lib").ok()?.flatten();
    let files = versions.map(|version| version.path().join("site-packages/envoy/_bin/envoy"));
    files.into_iter().find(|file| file.is_file())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    match (0.1..=600.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("expected 0.1 to 600 seconds".to_owned()),
    }
}
