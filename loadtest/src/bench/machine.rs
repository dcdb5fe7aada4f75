//! Where the benchmark runs: the machine, the versions of what is compared, and which processor is whose.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::SystemTime;

use rustix::thread::{CpuSet, sched_setaffinity};

use super::report::Machine;
use super::site::{Kind, Programs};

/// The processor of the load and of the cells.
const LOAD_CPU: usize = 0;

/// The processor of a contestant with one worker.
const CONTESTANT_CPU: usize = 1;

/// The processor for contestants, where there is one for them alone and they need no more. This process, and what it
/// starts from now on, stays off it.
///
/// # Errors
/// The system keeps us from choosing.
pub fn set_apart(workers: usize) -> io::Result<Option<usize>> {
    if processors() < 2 || workers > 1 {
        return Ok(None);
    }
    let mut ours = CpuSet::new();
    ours.set(LOAD_CPU);
    sched_setaffinity(None, &ours)?;
    Ok(Some(CONTESTANT_CPU))
}

/// Both processors, as taskset takes them: for a contestant whose own is `cpu` and that may use the load's too.
pub fn both(cpu: usize) -> String {
    format!("{LOAD_CPU},{cpu}")
}

/// What a report says of this machine. Before [`set_apart`], which makes it look smaller.
pub fn machine(programs: &Programs, contestants: &[Kind]) -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let named = read("/proc/cpuinfo").lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    let compared = contestants.iter().filter(|kind| !matches!(kind, Kind::Relay | Kind::Floor));
    Machine {
        processor: named.unwrap_or_else(|| "unknown".to_owned()),
        processors: processors(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        date: httpdate::fmt_http_date(SystemTime::now()),
        pinned: false,
        versions: compared.filter_map(|kind| version(*kind, programs.of(*kind)?)).collect(),
    }
}

fn processors() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// The first line that says a version.
fn version(kind: Kind, program: &Path) -> Option<String> {
    let option = match kind {
        Kind::Cellgate | Kind::Envoy => "--version",
        Kind::Haproxy | Kind::Nginx | Kind::Relay | Kind::Floor => "-v",
    };
    let output = Command::new(program).arg(option).output().ok()?;
    // nginx says it on the standard error output.
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let line = said.lines().find(|line| !line.trim().is_empty())?;
    // Envoy begins with where it lies.
    let version = line.split_once("version: ").filter(|_| kind == Kind::Envoy);
    Some(version.map_or_else(|| line.to_owned(), |(_, version)| format!("envoy {version}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version(Kind::Nginx, Path::new("/nowhere/nginx")), None);
    }
}
