//! `recovery`: a cell that comes back before a crowd, behind one proxy after the other. See docs/recovery.md.
// The table is what it is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use loadtest::place::private_folder;
use loadtest::recovery::curve::Summary;
use loadtest::recovery::peer::{Arm, Kind, check};
use loadtest::recovery::plot::svg;
use loadtest::recovery::run::Scenario;
use loadtest::usage::parsed;

/// Lets a cell die and come back with cold caches before a crowd, behind one proxy after the other, and writes a table,
/// and for each arm a curve as CSV and as SVG. Each arm takes three minutes.
#[derive(Parser)]
#[command(name = "recovery")]
struct Args {
    /// What stands before the cell, in this order; all, if nothing is said
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_values_t = Arm::ALL)]
    arms: Vec<Arm>,
    /// Where curves and logs go
    #[arg(long, value_name = "FOLDER", default_value = "target/recovery")]
    out: PathBuf,
    /// The program of cellgate [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    cellgate: Option<PathBuf>,
    /// Who comes when, and how long the cell takes for each
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Declared capacity of the cell, in requests a second
    #[arg(long, value_name = "RPS", default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=1000))]
    capacity: u32,
    /// What is left of the cell's speed while it thrashes, of 1 [default: 0.4]
    #[arg(long, value_name = "FACTOR")]
    collapsed_factor: Option<f64>,
    /// Seconds of normal times, of the outage, and after it
    #[arg(long, value_name = "SECONDS", num_args = 3, value_names = ["BEFORE", "OUTAGE", "AFTER"],
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<Vec<u64>>,
    /// Fail if an arm of cellgate was ever above the envelope, fell again, or was not full in 150 s
    #[arg(long)]
    hold: bool,
    /// Only asks the programs whether they accept their configurations
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let args: Args = match parsed() {
        Ok(args) => args,
        Err(code) => return code,
    };
    // One thread: the proxies have the rest of the machine.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.context("starting the runtime").and_then(|runtime| runtime.block_on(run(&args)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("recovery: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    let scenario = scenario(args)?;
    // Before the first of many minutes.
    for arm in &args.arms {
        let (cell, _workers) = scenario.cell().await?;
        check(*arm, &scenario.site(folder(&args.out, *arm)?, &cell)).await?;
    }
    if args.check {
        return Ok(());
    }
    let mut table = HEAD.to_owned();
    let mut complaints = Vec::new();
    for arm in &args.arms {
        eprintln!("{arm}: {} s", scenario.plan.total().as_secs());
        let recorded = scenario.run(*arm, folder(&args.out, *arm)?).await?;
        write(&args.out.join(format!("{arm}.csv")), &recorded.csv())?;
        write(&args.out.join(format!("{arm}.svg")), &svg(arm.as_str(), &recorded))?;
        let summary = recorded.summary();
        table += &row(*arm, &summary);
        // After each arm, so that a run that is broken off leaves what it has.
        write(&args.out.join("summary.md"), &table)?;
        if args.hold && arm.kind == Kind::Cellgate {
            complaints.extend(summary.complaints().into_iter().map(|text| format!("{arm}: {text}")));
        }
    }
    print!("{table}");
    ensure!(complaints.is_empty(), "this is no paced recovery:\n{}", complaints.join("\n"));
    Ok(())
}

fn scenario(args: &Args) -> Result<Scenario> {
    let own = std::env::current_exe().context("finding the folder of this program")?;
    let cellgate = args.cellgate.clone().unwrap_or_else(|| own.with_file_name("cellgate"));
    let mut scenario = Scenario::of(args.capacity, cellgate);
    scenario.seed = args.seed;
    if let Some(factor) = args.collapsed_factor {
        scenario.model.collapsed_factor = factor.clamp(0.01, 1.0);
    }
    if let Some([before, outage, after]) = args.seconds.as_deref() {
        scenario.plan.before = Duration::from_secs(*before);
        scenario.plan.outage = Duration::from_secs(*outage);
        scenario.plan.after = Duration::from_secs(*after);
    }
    Ok(scenario)
}

/// The folder of one arm, empty.
fn folder(out: &Path, arm: Arm) -> Result<PathBuf> {
    let folder = out.join(arm.as_str());
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    private_folder(&folder).with_context(|| format!("making {}", folder.display()))?;
    // nginx takes relative paths as relative to a folder of its own.
    folder.canonicalize().with_context(|| format!("finding {}", folder.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Columns as docs/recovery.md explains them.
const HEAD: &str = "\
| arm | waiting | 95 % after | collapses | thrashed | most a second | of the envelope | seconds over | good | at the end | refused | failed | wasted | left |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

fn row(arm: Arm, found: &Summary) -> String {
    let after = found.served_after_secs.map_or_else(|| "never".to_owned(), |secs| format!("{secs} s"));
    format!(
        "| {arm} | {:.1} x | {after} | {} | {:.0} s | {} | {:.1} x | {} | {:.0}/s | {:.0}/s | {} | {} | {} | {} |\n",
        found.waiting_times_demand,
        found.collapses,
        found.thrashed_secs,
        found.most_arrived,
        found.most_of_envelope,
        found.seconds_over,
        found.good_rps,
        found.good_at_end_rps,
        found.refused,
        found.failed,
        found.wasted,
        found.left,
    )
}
