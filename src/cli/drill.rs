//! `cellgate drill`: the loss of a cell, of a zone, and a recovery, against simulated cells and with the operator's own
//! configuration. Nothing is asked, sent or written.

mod said;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::form::Form;
use super::progress::{self, Busy};
use super::{ConfigFolder, OK, USAGE, complain, now, print, print_line, span};
use crate::config::Sources;
use crate::drill::demand::Demand;
use crate::drill::plan::{self, Alike, Batch};
use crate::drill::report::Report;
use crate::drill::rules::DrillRules;
use crate::drill::run::run as simulate;
use crate::drill::scenario::{CROWD, Scenario};
use crate::drill::world::Setup;
use crate::policy::snapshot::Snapshot;
use crate::{config, load};

/// It does not hold, or a cell could not be rehearsed.
const DOES_NOT_HOLD: u8 = 2;

/// Rehearse the loss of a cell, of a zone, and a recovery, against simulated cells
///
/// The configuration is this folder's, and what decides is the code that serves; the cells are models, and time is
/// virtual. No running process is asked, nothing is sent and nothing is written.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 it holds, 2 it does not or a cell could not be rehearsed, 64 wrong arguments or a \
                  configuration with problems. How to read it: docs/standing.md."
)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFolder,
    /// The cell that is lost, and the only one that is judged when a zone is; without it, the one that is asked most is
    /// lost, and all are judged
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
    #[command(flatten)]
    form: Form,
}

/// Which scenarios.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// All endpoints of a cell refuse for a minute and come back cold
    CellLoss,
    /// All endpoints of a zone are silent for a minute and a half, in all cells (N-1)
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
            args.form.tell(&problems)?;
            return Ok(USAGE.into());
        }
    };
    let first = config::compile(config, None);
    let demand = Demand::of(&first, args.load, &args.demand).map(|demand| match &args.cell {
        // What nobody asks about need not be known.
        Some(only) => demand.of_which_unknown(only),
        None => demand,
    });
    let planned = demand.and_then(|demand| Ok((rehearsals(args, &first, &demand)?, demand)));
    let (rehearsals, demand) = match planned {
        Ok(planned) => planned,
        Err(wrong) => {
            complain(&format!("cellgate: {wrong}"));
            return Ok(USAGE.into());
        }
    };
    let rules = DrillRules {
        service_median: args.service_time,
        cold: (args.cold, args.cold_for),
        ..DrillRules::default()
    };
    let requests = boot.limits.requests.get();
    let drill = Drill { args, sources: &sources, first: &first, demand, rules, requests };
    drill.print_all(&rehearsals)
}

/// What is simulated at once: a scenario, of these cells.
struct Rehearsal {
    /// Positions in it are those of the batch.
    scenario: Scenario,
    batch: Batch,
    /// By cell of the batch; empty where none is like another.
    alike: Vec<Alike>,
}

/// All that rehearsals have in common.
struct Drill<'a> {
    args: &'a Args,
    sources: &'a Sources,
    first: &'a Snapshot,
    demand: Demand,
    rules: DrillRules,
    requests: u32,
}

impl Drill<'_> {
    fn print_all(&self, rehearsals: &[Rehearsal]) -> anyhow::Result<ExitCode> {
        let busy = progress::counted("rehearsing", rehearsals.len());
        let reports = self.rehearse_all(rehearsals, &busy);
        drop(busy);
        let holds = reports.iter().all(Report::holds) && self.demand.unknown.is_empty();
        match self.args.form.is_json() {
            false => {
                print(self.head(rehearsals).as_bytes())?;
                reports.iter().try_for_each(|report| print(format!("\n{report}").as_bytes()))?;
                print(self.result(&reports, holds).as_bytes())?;
            }
            true => print_line(&self.to_json(rehearsals, &reports, holds).to_string())?,
        }
        Ok(if holds { OK.into() } else { DOES_NOT_HOLD.into() })
    }

    /// On as many threads as there are cores: a rehearsal knows nothing of another. Those of one scenario are one report.
    fn rehearse_all(&self, rehearsals: &[Rehearsal], busy: &Busy) -> Vec<Report> {
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, Report)>> = Mutex::default();
        let work = || {
            while let at = next.fetch_add(1, Ordering::Relaxed)
                && let Some(rehearsal) = rehearsals.get(at)
            {
                let report = self.rehearse(rehearsal);
                busy.one_more();
                done.lock().unwrap_or_else(PoisonError::into_inner).push((at, report));
            }
        };
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            (1..threads.min(rehearsals.len())).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(at, _)| *at);
        let mut reports: Vec<Report> = Vec::new();
        for (_, report) in done {
            match reports.last_mut() {
                Some(last) if last.scenario == report.scenario => last.cells.extend(report.cells),
                _ => reports.push(report),
            }
        }
        reports
    }

    fn rehearse(&self, Rehearsal { scenario, batch, alike }: &Rehearsal) -> Report {
        // Compiled each by itself: counters are shared by what was compiled from each other.
        let again = |_| {
            let (_, config) = config::parse_all(self.sources, now()).ok()?;
            let mut snapshot = config::compile(config, None);
            batch.cut(&mut snapshot);
            Some(snapshot)
        };
        let snapshots: Vec<Snapshot> = (0..batch.replicas).filter_map(again).collect();
        let (demand, rules, seed) = (&batch.demand(&self.demand)[..], &self.rules, self.args.seed);
        let process_requests = batch.bound(self.requests);
        let setup = Setup { snapshots: &snapshots, process_requests, demand, rules, seed };
        let books = simulate(&setup, &scenario.script(&snapshots[0]));
        let mut report = Report::new(scenario, &snapshots[0], demand, batch.scale(), &books);
        for (cell, alike) in report.cells.iter_mut().zip(alike) {
            cell.like = alike.iter().skip(1).map(|at| self.first.cells[*at].name.clone()).collect();
        }
        if let (Some(only), Scenario::ZoneLoss { .. }) = (&self.args.cell, scenario) {
            report.cells.retain(|cell| cell.cell.as_str() == only);
        }
        report
    }
}

/// What is to be rehearsed; or what is wrong with the question.
fn rehearsals(args: &Args, snapshot: &Snapshot, demand: &Demand) -> Result<Vec<Rehearsal>, String> {
    let most = |a: &usize, b: &usize| demand.rps[*a].total_cmp(&demand.rps[*b]).then(b.cmp(a));
    let cell = match &args.cell {
        None => (0..demand.rps.len()).max_by(most).ok_or("there are no cells")?,
        Some(name) => position(snapshot, name).ok_or_else(|| no_cell("--cell", name, snapshot))?,
    };
    if demand.rps[cell] <= 0.0 {
        let name = &snapshot.cells[cell].name;
        // That nothing can be rehearsed is an answer.
        return match demand.unknown.iter().any(|one| one.cell == *name) {
            true => Ok(Vec::new()),
            false => Err(format!(
                "cell {name} is asked for nothing, so there is nothing to rehearse; raise --demand {name}=RPS"
            )),
        };
    }
    let mut found = Vec::new();
    let of_cell = |scenario: Scenario, crowd: f64| {
        let batch = plan::of_cell(snapshot, demand, cell, crowd);
        Rehearsal { scenario, batch, alike: Vec::new() }
    };
    if matches!(args.scenario, Which::CellLoss | Which::All) {
        found.push(of_cell(Scenario::CellLoss { cell: 0 }, 1.0));
    }
    if matches!(args.scenario, Which::ZoneLoss | Which::All) {
        for zone in zones(args, snapshot, demand)? {
            for (batch, alike) in plan::of_zone(snapshot, demand, cell) {
                let only = args.cell.as_ref().is_none_or(|_| batch.cells.contains(&cell));
                if only && is_in(&batch, snapshot, zone) {
                    found.push(Rehearsal {
                        scenario: Scenario::ZoneLoss { zone: zone.into() },
                        batch,
                        alike,
                    });
                }
            }
        }
    }
    if matches!(args.scenario, Which::Recovery | Which::All) {
        found.push(of_cell(Scenario::Recovery { cell: 0 }, CROWD + 1.0));
    }
    Ok(found)
}

/// Zones of the cells that can be rehearsed; or the one that is asked for.
fn zones<'a>(args: &'a Args, snapshot: &'a Snapshot, demand: &Demand) -> Result<Vec<&'a str>, String> {
    let cells = snapshot.cells.iter().zip(&demand.rps).filter(|(_, rps)| **rps > 0.0).map(|(cell, _)| cell);
    let cells = cells.filter(|cell| args.cell.as_ref().is_none_or(|only| cell.name.as_str() == only));
    let zones: BTreeSet<&str> =
        cells.flat_map(|cell| cell.groups.iter().map(|group| group.zone.as_str())).collect();
    match &args.zone {
        Some(zone) if !zones.contains(zone.as_str()) => {
            let known: Vec<&str> = zones.into_iter().collect();
            Err(format!(
                "--zone: no cell that is rehearsed has a group in zone {zone}; expected one of {}",
                known.join(", ")
            ))
        }
        Some(zone) => Ok(vec![zone]),
        None => Ok(zones.into_iter().collect()),
    }
}

fn is_in(batch: &Batch, snapshot: &Snapshot, zone: &str) -> bool {
    let mut groups = batch.cells.iter().flat_map(|at| &snapshot.cells[*at].groups);
    groups.any(|group| group.zone.as_str() == zone)
}

fn no_cell(option: &str, name: &str, snapshot: &Snapshot) -> String {
    let known: Vec<&str> = snapshot.cells.iter().map(|cell| cell.name.as_str()).collect();
    format!("{option}: there is no cell {name}; expected one of {}", known.join(", "))
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
