//! `cellgate drill`: the loss of a cell, of a zone, and a recovery, against simulated cells and with the operator's own
//! configuration. Nothing is asked, sent or written.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::{ConfigFolder, OK, Output, USAGE, complain, now, print, print_line, print_problems, span};
use crate::config::Sources;
use crate::drill::demand::Demand;
use crate::drill::report::Report;
use crate::drill::rules::DrillRules;
use crate::drill::run::run as rehearse;
use crate::drill::scenario::Scenario;
use crate::drill::world::Setup;
use crate::policy::snapshot::Snapshot;
use crate::{config, load};

/// It does not hold, or a cell could not be rehearsed.
const DOES_NOT_HOLD: u8 = 2;

/// Requests a second in a simulation: with more, fewer replicas are simulated, and their part of the cells.
const MOST_RPS: f64 = 6_000.0;

/// Replicas that are simulated at most: with four it shows what it costs that they know nothing of each other.
const MOST_REPLICAS: u32 = 4;

/// Rehearse the loss of a cell, of a zone, and a recovery, against simulated cells
///
/// The configuration is this folder's, and what decides is the code that serves; the cells are models, and time is
/// virtual. No running process is asked, nothing is sent and nothing is written.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 it holds, 2 it does not or a cell could not be rehearsed, 64 wrong arguments or a \
                  configuration with problems."
)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFolder,
    /// The cell that is lost and judged; without it, the one that is asked most
    #[arg(long, value_name = "NAME")]
    cell: Option<String>,
    /// The zone that is lost; without it, each in turn
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// What is rehearsed
    #[arg(long, value_enum, default_value_t)]
    scenario: Which,
    /// What is asked of each cell, as a part of what its groups declare
    #[arg(long, value_name = "PERCENT%", default_value = "70%", value_parser = percent)]
    load: f64,
    /// What is asked of one cell, in requests a second; may be given several times
    #[arg(long, value_name = "CELL=RPS", value_parser = demand)]
    demand: Vec<(String, f64)>,
    /// The same number gives the same rehearsal
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Half of all requests are answered within this time
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = span)]
    service_time: Duration,
    /// What is left of the speed of a cell with cold caches
    #[arg(long, value_name = "PERCENT%", default_value = "30%", value_parser = percent)]
    cold: f64,
    /// How long its caches are cold
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = span)]
    cold_for: Duration,
    /// How to report
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// Which scenarios.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// All endpoints of a cell refuse for a minute and come back cold
    CellLoss,
    /// All endpoints of a zone are silent for a minute, in all cells
    ZoneLoss,
    /// As the loss of a cell, and ten times its demand waits for it
    Recovery,
    /// All of these
    #[default]
    All,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let sources = load::load(args.config.place());
    let (boot, config) = match config::parse_all(&sources, now()) {
        Ok(read) => read,
        Err(problems) => {
            print_problems(&problems);
            return Ok(USAGE.into());
        }
    };
    let first = config::compile(config, None);
    let found = Demand::of(&first, args.load, &args.demand)
        .map_err(|name| format!("--demand: there is no cell {name}"));
    let planned = found.and_then(|demand| Ok((scenarios(args, &first, &demand)?, demand)));
    let (scenarios, demand) = match planned {
        Ok(planned) => planned,
        Err(wrong) => {
            complain(&format!("cellgate: {wrong}"));
            return Ok(USAGE.into());
        }
    };
    demand.unknown.iter().for_each(|cell| complain(&cell.to_string()));
    let rules = DrillRules {
        service_median: args.service_time,
        cold: (args.cold, args.cold_for),
        ..DrillRules::default()
    };
    let drill =
        Drill { args, sources: &sources, first: &first, demand, rules, requests: boot.limits.requests.get() };
    drill.print_all(&scenarios)
}

/// A rehearsal that can begin.
struct Drill<'a> {
    args: &'a Args,
    sources: &'a Sources,
    first: &'a Snapshot,
    demand: Demand,
    rules: DrillRules,
    requests: u32,
}

impl Drill<'_> {
    fn print_all(&self, scenarios: &[Scenario]) -> anyhow::Result<ExitCode> {
        let mut reports = Vec::new();
        if self.args.output == Output::Text {
            print(self.head().as_bytes())?;
        }
        for scenario in scenarios {
            let report = self.rehearse(scenario);
            if self.args.output == Output::Text {
                print(format!("\n{report}").as_bytes())?;
            }
            reports.push(report);
        }
        let holds = reports.iter().all(|report| report.holds) && self.demand.unknown.is_empty();
        if self.args.output == Output::Json {
            let unknown: Vec<_> = self.demand.unknown.iter().map(ToString::to_string).collect();
            let told: Vec<_> = reports.iter().map(Report::to_json).collect();
            let told = json!({
                "hash": self.first.hash, "seed": self.args.seed, "holds": holds, "not_rehearsed": unknown,
                "replicas": self.first.protection.replicas, "simulated_replicas": self.replicas(), "scenarios": told,
            });
            print_line(&told.to_string())?;
        }
        Ok(if holds { OK.into() } else { DOES_NOT_HOLD.into() })
    }

    /// How many are simulated.
    fn replicas(&self) -> u32 {
        let all = self.first.protection.replicas.get();
        let asked: f64 = self.demand.rps.iter().sum();
        // Truncates to whole replicas.
        let fit = (f64::from(all) * MOST_RPS / asked.max(1.0)) as u32;
        all.min(MOST_REPLICAS).min(fit.max(1))
    }

    fn rehearse(&self, scenario: &Scenario) -> Report {
        // Compiled each by itself: counters are shared by what was compiled from each other.
        let again =
            || config::parse_all(self.sources, now()).ok().map(|(_, config)| config::compile(config, None));
        let snapshots: Vec<Snapshot> = (0..self.replicas()).filter_map(|_| again()).collect();
        let (demand, rules, seed) = (&self.demand.rps, &self.rules, self.args.seed);
        let process_requests = self.requests;
        let setup = Setup { snapshots: &snapshots, process_requests, demand, rules, seed };
        let books = rehearse(&setup, &scenario.script(self.first));
        let scale = f64::from(self.first.protection.replicas.get()) / f64::from(self.replicas());
        let only = self.args.cell.as_deref().and_then(|name| position(self.first, name));
        Report::new(scenario, self.first, demand, scale, &books, only)
    }

    fn head(&self) -> String {
        let (all, simulated) = (self.first.protection.replicas.get(), self.replicas());
        let asked: f64 = self.demand.rps.iter().sum();
        let replicas = match all == simulated {
            true => format!("{all} replicas"),
            false => format!(
                "{simulated} of {all} replicas with their part (rates below are of all {all}, counts of these)"
            ),
        };
        let cells = self.demand.rps.iter().filter(|rps| **rps > 0.0).count();
        let DrillRules { service_median, cold, bears, patience, .. } = &self.rules;
        let assumed = format!(
            "Assumed of each group: it bears {:.0} % of its capacity_rps, answers in {} ms, is at {:.0} % for {} s \
             after a restart, and thrashes when half a second of work waits. Clients wait {} s; half of them heed \
             Retry-After.",
            bears * 100.0,
            service_median.as_millis(),
            cold.0 * 100.0,
            cold.1.as_secs(),
            patience.as_secs()
        );
        let said = format!(
            "Rehearsal of configuration {}: {cells} cells, {asked:.0} rps, {replicas}, seed {}.",
            &self.first.hash[..12],
            self.args.seed
        );
        crate::drill::report::paragraphs(&[&said, &assumed])
    }
}

/// What is to be rehearsed; or what is wrong with the question.
fn scenarios(args: &Args, snapshot: &Snapshot, demand: &Demand) -> Result<Vec<Scenario>, String> {
    let most = |a: &usize, b: &usize| demand.rps[*a].total_cmp(&demand.rps[*b]).then(b.cmp(a));
    let cell = match &args.cell {
        None => (0..demand.rps.len()).max_by(most).ok_or("there are no cells")?,
        Some(name) => position(snapshot, name).ok_or_else(|| format!("--cell: there is no cell {name}"))?,
    };
    if demand.rps[cell] <= 0.0 {
        let why = demand.unknown.iter().find(|one| one.cell == snapshot.cells[cell].name);
        return Err(why.map_or_else(
            || {
                format!(
                    "cell {} is asked for nothing, so there is nothing to rehearse",
                    snapshot.cells[cell].name
                )
            },
            ToString::to_string,
        ));
    }
    let mut zones: Vec<&str> = snapshot
        .cells
        .iter()
        .zip(&demand.rps)
        .filter(|(_, rps)| **rps > 0.0)
        .flat_map(|(cell, _)| cell.groups.iter().map(|group| group.zone.as_str()))
        .collect();
    zones.sort_unstable();
    zones.dedup();
    if let Some(zone) = &args.zone {
        if !zones.contains(&zone.as_str()) {
            return Err(format!("--zone: no cell that can be rehearsed has a group in zone {zone}"));
        }
        zones = vec![zone];
    }
    let mut found = Vec::new();
    if matches!(args.scenario, Which::CellLoss | Which::All) {
        found.push(Scenario::CellLoss { cell });
    }
    if matches!(args.scenario, Which::ZoneLoss | Which::All) {
        found.extend(zones.into_iter().map(|zone| Scenario::ZoneLoss { zone: zone.into() }));
    }
    if matches!(args.scenario, Which::Recovery | Which::All) {
        found.push(Scenario::Recovery { cell });
    }
    Ok(found)
}

fn position(snapshot: &Snapshot, name: &str) -> Option<usize> {
    snapshot.cells.iter().position(|cell| cell.name.as_str() == name)
}

/// A part such as `70%`, of 1.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let number = number.filter(|number| (1.0..=1_000.0).contains(number));
    number
        .map(|number| number / 100.0)
        .ok_or_else(|| "expected a part such as 70%, from 1% to 1000%".to_owned())
}

/// A cell and what it is asked, such as `us1=400`.
fn demand(text: &str) -> Result<(String, f64), String> {
    let split =
        text.split_once('=').and_then(|(name, rps)| Some((name.to_owned(), rps.parse::<f64>().ok()?)));
    let split = split.filter(|(name, rps)| !name.is_empty() && (0.0..=1e7).contains(rps));
    split.ok_or_else(|| "expected a cell and requests a second, such as us1=400".to_owned())
}
