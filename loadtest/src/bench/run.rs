//! All scenarios, one after the other: contestants started, measured in turns, ended.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::drive::{self, Door, DriveError, Driven, Order};
use super::machine;
use super::report::{Contestant, Report, ScenarioReport};
use super::rounds::{Measured, turns};
use super::scenario::{Figures, Scenario};
use super::site::{Certificate, Kind, Programs, Running, Site, SiteError};
use super::table::Table;
use super::usage::{Counting, Memory, Used};
use crate::place::private_folder;
use crate::tied::tied_to_us;
use crate::tls::TlsError;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What, in this order.
    pub scenarios: Vec<Scenario>,
    /// Of whom.
    pub contestants: Vec<Kind>,
    /// Over which accounts.
    pub table: Table,
    /// How often each, at least once.
    pub rounds: usize,
    /// Before each measurement, so that connections are open and caches warm.
    pub warmup: Duration,
    /// Each measurement.
    pub duration: Duration,
    /// Each during which another table comes in force.
    pub reload: Duration,
    /// Threads, or processes, of each contestant.
    pub workers: usize,
    /// Where their files go; what is there of an earlier run is overwritten.
    pub folder: PathBuf,
    /// Where the programs are.
    pub programs: Programs,
    /// The program of the cells.
    pub origin: PathBuf,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The cells do not run.
    #[error("starting the cells ({}); cargo build makes it", program.display())]
    Origin {
        /// Their program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No certificate could be made.
    #[error("making a certificate")]
    Certificate(#[from] devcerts::Error),
    /// Clients cannot use it.
    #[error("trusting the certificate of this run")]
    Tls(#[from] TlsError),
    /// The folder, or the processor.
    #[error("preparing {}", folder.display())]
    Prepare {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A contestant does not run.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// Nothing was measured.
    #[error("measuring {kind} in {scenario}")]
    Drive {
        /// The contestant.
        kind: Kind,
        /// The scenario.
        scenario: &'static str,
        /// What the load said.
        source: DriveError,
    },
}

/// Measures all that is wanted; `told` hears of the report each time that a scenario has been added to it.
///
/// # Errors
/// The first thing that does not run. Requests that fail are no error: they are counted.
pub fn run(wanted: &Wanted, mut told: impl FnMut(&Report)) -> Result<Report, BenchError> {
    let prepare = |source| BenchError::Prepare { folder: wanted.folder.clone(), source };
    let contestants = present(wanted);
    let mut machine = machine::machine(&wanted.programs, &contestants);
    private_folder(&wanted.folder).map_err(prepare)?;
    // nginx takes relative paths as relative to a folder of its own.
    let folder = wanted.folder.canonicalize().map_err(prepare)?;
    let cpu = machine::set_apart(wanted.workers).map_err(prepare)?;
    machine.pinned = cpu.is_some();
    let origin = Origin::start(&wanted.origin, wanted.table.cells)
        .map_err(|source| BenchError::Origin { program: wanted.origin.clone(), source })?;
    let certificate = Certificate::new()?;
    let mut report = Report {
        machine,
        accounts: wanted.table.accounts,
        cells: wanted.table.cells,
        rounds: wanted.rounds,
        seconds: wanted.duration.as_secs_f64(),
        scenarios: Vec::new(),
    };
    for scenario in &wanted.scenarios {
        let site = Site {
            folder: folder.join(scenario.name),
            table: wanted.table,
            origins: origin.addresses.clone(),
            log: scenario.log,
            grpc: scenario.is_grpc(),
            workers: wanted.workers,
            // A reload is work beside that for requests, which a machine has processors for.
            cpus: cpu.map(|cpu| if scenario.reloads() { machine::both(cpu) } else { cpu.to_string() }),
            reloads: scenario.reloads(),
            under: Vec::new(),
            certificate: certificate.clone(),
            programs: wanted.programs.clone(),
        };
        report.scenarios.push(measured(wanted, scenario, &site)?);
        // Tables of millions of rows, and logs of as many lines.
        std::fs::remove_dir_all(&site.folder).map_err(prepare)?;
        told(&report);
    }
    Ok(report)
}

/// Those whose program there is.
fn present(wanted: &Wanted) -> Vec<Kind> {
    let there = |kind: &&Kind| wanted.programs.of(**kind).is_some();
    wanted.contestants.iter().filter(there).copied().collect()
}

fn measured(wanted: &Wanted, scenario: &Scenario, site: &Site) -> Result<ScenarioReport, BenchError> {
    let mut left_out = Vec::new();
    let mut runners = Vec::new();
    for kind in &wanted.contestants {
        if !scenario.takes(*kind) {
            left_out.push(format!("{kind}, which cannot do this"));
        } else if wanted.programs.of(*kind).is_none() {
            left_out.push(format!("{kind}, which is not installed (scripts/setup bench)"));
        } else {
            runners.push(Runner::start(*kind, scenario, site)?);
        }
    }
    for round in 0..wanted.rounds {
        for turn in turns(runners.len(), round) {
            if let Some(runner) = runners.get_mut(turn) {
                runner.measure(wanted, round)?;
            }
        }
    }
    let contestants = runners.into_iter().map(|runner| runner.end(wanted)).collect::<Result<Vec<_>, _>>()?;
    Ok(ScenarioReport::of(scenario, &contestants, left_out))
}

/// A contestant of a scenario, while it is measured.
struct Runner<'a> {
    scenario: &'a Scenario,
    site: &'a Site,
    running: Running,
    rounds: Vec<Measured>,
}

impl<'a> Runner<'a> {
    fn start(kind: Kind, scenario: &'a Scenario, site: &'a Site) -> Result<Self, BenchError> {
        Ok(Self { scenario, site, running: Running::start(kind, site)?, rounds: Vec::new() })
    }

    fn measure(&mut self, wanted: &Wanted, round: usize) -> Result<(), BenchError> {
        let measured = match self.scenario.figures() {
            Figures::Requests | Figures::Idle => self.requests(wanted, round)?,
            Figures::Reload => self.reload(wanted, round)?,
            Figures::ColdStart => self.cold_start()?,
        };
        self.rounds.push(measured);
        Ok(())
    }

    fn requests(&mut self, wanted: &Wanted, round: usize) -> Result<Measured, BenchError> {
        let idle = self.scenario.figures() == Figures::Idle;
        // What connections have once used is used again by the next, so memory is measured in a fresh process each time.
        if idle && round > 0 {
            self.running.restart(self.site)?;
        }
        let pids = &self.running.pids;
        // Reading the memory of a large process takes milliseconds: within the window only where nothing is asked in it.
        let look = || (Used::by(pids), if idle { Memory::of(pids) } else { Memory::default() });
        let (begun, ended) = (Cell::new(None), Cell::new(None));
        let order = self.order(wanted, wanted.duration, round)?;
        let driven = self.drive(&order, || begun.set(Some(look())), || ended.set(Some(look())))?;
        let (used_before, before) = begun.get().unwrap_or_default();
        let (used_after, after) = ended.get().unwrap_or_default();
        Ok(Measured {
            used: used_after.since(used_before),
            before,
            after: if idle { after } else { Memory::of(pids) },
            ..Measured::of(driven)
        })
    }

    /// The window begins with the signal.
    fn reload(&mut self, wanted: &Wanted, round: usize) -> Result<Measured, BenchError> {
        let ready = self.running.ready(self.site)?;
        let (begun, ended) = (Cell::new(None), Cell::new(None));
        let begin = || begun.set(Some((Used::by(&self.running.pids), ready.begin())));
        // By then it may have other processes. Looking for them takes a millisecond, at the end of the window.
        let end = || ended.set(Some(Used::by(&self.running.processes())));
        let driven = self.drive(&self.order(wanted, wanted.reload, round)?, begin, end)?;
        let (used_before, reloading) = begun.take().unzip();
        let reloaded = reloading.map(|reloading| self.running.reloaded(reloading)).transpose()?;
        Ok(Measured {
            used: ended.take().unwrap_or_default().since(used_before.unwrap_or_default()),
            to_effect: reloaded.map(|reloaded| reloaded.to_effect),
            peak: reloaded.map(|reloaded| reloaded.peak),
            after: Memory::of(&self.running.pids),
            ..Measured::of(driven)
        })
    }

    fn cold_start(&mut self) -> Result<Measured, BenchError> {
        self.running.restart(self.site)?;
        Ok(Measured {
            first_answer: Some(self.running.first_answer),
            after: Memory::of(&self.running.pids),
            ..Measured::default()
        })
    }

    /// Counts system calls, which makes everything slow, and ends the contestant.
    fn end(self, wanted: &Wanted) -> Result<Contestant, BenchError> {
        let system_calls = match self.scenario.figures() {
            Figures::Requests => self.system_calls(wanted)?,
            Figures::Idle | Figures::Reload | Figures::ColdStart => None,
        };
        let cold_start_ms = u64::try_from(self.running.cold_start.as_millis()).unwrap_or(u64::MAX);
        Ok(Contestant { kind: self.running.kind, cold_start_ms, rounds: self.rounds, system_calls })
    }

    fn system_calls(&self, wanted: &Wanted) -> Result<Option<f64>, BenchError> {
        let table = self.site.folder.join("strace.txt");
        let (counting, calls) = (Cell::new(None), Cell::new(None));
        let order = self.order(wanted, COUNTED, wanted.rounds)?;
        let driven = self.drive(
            &order,
            || counting.set(Counting::begin(&self.running.pids, &table).ok()),
            || calls.set(counting.take().and_then(|counting| counting.end(&table).ok())),
        )?;
        let calls = calls.get().filter(|_| driven.requests > 0);
        Ok(calls.map(|calls| calls as f64 / driven.requests as f64))
    }

    fn drive(&self, order: &Order, begin: impl FnOnce(), end: impl FnOnce()) -> Result<Driven, BenchError> {
        let (kind, scenario) = (self.running.kind, self.scenario.name);
        drive::run(order, begin, end).map_err(|source| BenchError::Drive { kind, scenario, source })
    }

    fn order(&self, wanted: &Wanted, duration: Duration, round: usize) -> Result<Order, BenchError> {
        let tls = self.running.tls.filter(|_| self.scenario.tls);
        let door = match tls {
            None => Door { address: self.running.plain, tls: None },
            Some(address) => Door { address, tls: Some(self.site.certificate.client()?) },
        };
        Ok(Order {
            door,
            table: wanted.table,
            work: self.scenario.work,
            pace: self.scenario.pace,
            warmup: wanted.warmup,
            duration,
            // All contestants of a round are asked about the same accounts in the same order.
            seed: round as u64,
            l4: !self.running.kind.routes(),
        })
    }
}

/// How long system calls are counted: some thousand requests also where strace makes each a hundred times slower.
const COUNTED: Duration = Duration::from_millis(500);

/// The cells, until this is dropped.
pub(super) struct Origin {
    pub(super) addresses: Vec<SocketAddr>,
    child: Child,
}

impl Origin {
    pub(super) fn start(program: &Path, cells: u16) -> io::Result<Self> {
        let mut command = tied_to_us(program).into_std();
        for _ in 0..cells {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let addresses: Vec<SocketAddr> =
            line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if addresses.len() == usize::from(cells) {
            return Ok(Self { addresses, child });
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(io::Error::other(format!("it said {line:?} and not where {cells} cells listen")))
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        // It has ended, or ends now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
