//! User instructions and allocations that a request costs a contestant, as callgrind counts them: what two runs with
//! different numbers of requests differ by, so that start and end are not in it. Nor is what a program does by the clock while
//! nobody asks, which has some fifty times as long for each request here: a third run shows what that is.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::run::{Origin, Wanted};
use super::site::{Certificate, Kind, Running, Site, SiteError};
use super::table::{CELL_HEADER, DOMAIN, LEGACY_HOST, Table};
use crate::ask::Ask;
use crate::client::{Client, Http, Line};
use crate::failure::SendError;
use crate::place::private_folder;

/// Connections that are kept while requests go round them.
const CONNECTIONS: usize = 4;

/// How long a contestant is watched while nobody asks: some turns of what is done once a second.
const IDLE: Duration = Duration::from_secs(10);

/// What programs call for memory: C, and what jemalloc adds for languages that know sizes.
const ALLOCATE: [&str; 8] =
    ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign", "mallocx", "rallocx"];

/// What a request costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// In user space, by all threads.
    pub instructions: f64,
    /// Calls for memory, new or more.
    pub allocations: f64,
}

/// Costs that are kept, by how the program was built: `debug`, `release`.
pub type Kept = BTreeMap<String, Cost>;

/// Why there is no count.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// The contestant does not run; under valgrind, which has to be there.
    #[error("under valgrind (scripts/setup test installs it)")]
    Site(#[from] SiteError),
    /// A request was not answered.
    #[error("a request to {kind} under valgrind")]
    Send {
        /// The contestant.
        kind: Kind,
        /// What became of it.
        source: SendError,
    },
    /// A request was answered by another account's cell, or by none.
    #[error("a request to {kind} was answered {status} by {cell:?}, and {expected} has its account")]
    Wrong {
        /// The contestant.
        kind: Kind,
        /// The status.
        status: u16,
        /// Who answered.
        cell: Option<String>,
        /// Who should have.
        expected: String,
    },
    /// No certificate could be made.
    #[error("making a certificate")]
    Certificate(#[from] devcerts::Error),
    /// The files of callgrind, the cells' program, or a runtime.
    #[error("{}", path.display())]
    Io {
        /// Of what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a request without TLS costs each contestant, with a line of the access log: of so many that come after as many
/// again.
///
/// # Errors
/// See [`CountError`].
pub fn count(wanted: &Wanted, requests: u32) -> Result<Vec<(Kind, Cost)>, CountError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| CountError::Io { path, source }
    };
    private_folder(&wanted.folder).map_err(at(&wanted.folder))?;
    let origin = Origin::start(&wanted.origin, wanted.table.cells).map_err(at(&wanted.origin))?;
    let site = Site {
        folder: wanted.folder.canonicalize().map_err(at(&wanted.folder))?,
        table: wanted.table,
        origins: origin.addresses.clone(),
        log: true,
        grpc: false,
        workers: wanted.workers,
        cpus: None,
        reloads: false,
        under: Vec::new(),
        certificate: Certificate::new()?,
        programs: wanted.programs.clone(),
    };
    wanted.contestants.iter().map(|kind| Ok((*kind, cost(*kind, &site, requests)?))).collect()
}

fn cost(kind: Kind, site: &Site, requests: u32) -> Result<Cost, CountError> {
    let before = run(kind, site, requests, Duration::ZERO)?;
    let after = run(kind, site, requests * 2, Duration::ZERO)?;
    let idle = run(kind, site, requests, IDLE)?;
    Ok(Cost {
        instructions: each(requests, [&before, &after, &idle], |profile| profile.instructions),
        allocations: each(requests, [&before, &after, &idle], |profile| profile.allocations),
    })
}

/// What each of `requests` costs that `after` has more than `before`, without what is done by the clock: `idle` had as many
/// as `before`, and went on without any.
fn each(requests: u32, [before, after, idle]: [&Profile; 3], of: impl Fn(&Profile) -> u64) -> f64 {
    let more = |than: &Profile| of(than).saturating_sub(of(before)) as f64;
    let longer = |than: &Profile| than.took.saturating_sub(before.took).as_secs_f64();
    let by_the_clock = if longer(idle) > 0.0 { more(idle) / longer(idle) } else { 0.0 };
    (more(after) - by_the_clock * longer(after)).max(0.0) / f64::from(requests.max(1))
}

/// What a whole run has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Profile {
    instructions: u64,
    allocations: u64,
    /// From the first request on.
    took: Duration,
}

/// Starts a contestant, asks it, leaves it alone for a while, and ends it.
fn run(kind: Kind, site: &Site, requests: u32, idle: Duration) -> Result<Profile, CountError> {
    let more = if idle.is_zero() { "" } else { "-idle" };
    let folder = site.folder.join(format!("{kind}-{requests}{more}"));
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| CountError::Io { path, source }
    };
    let profiles = folder.join("profiles");
    if folder.exists() {
        // Of an earlier count; its profiles would be added.
        fs::remove_dir_all(&folder).map_err(at(&folder))?;
    }
    fs::create_dir_all(&profiles).map_err(at(&profiles))?;
    let words = ["valgrind", "--quiet", "--tool=callgrind", "--trace-children=yes"].map(OsString::from);
    let mut out = OsString::from("--callgrind-out-file=");
    out.push(profiles.join("%p"));
    let under = [&words[..], &[out]].concat();
    let running = Running::start(kind, &Site { folder, under, ..site.clone() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(at(Path::new("tokio")))?;
    let begun = Instant::now();
    runtime.block_on(ask_all(kind, &running, site.table, requests))?;
    std::thread::sleep(idle);
    let took = begun.elapsed();
    running.finish().map_err(at(Path::new("valgrind")))?;
    let mut whole = Profile { took, ..Profile::default() };
    for entry in fs::read_dir(&profiles).map_err(at(&profiles))?.flatten() {
        let text = fs::read_to_string(entry.path()).map_err(at(&entry.path()))?;
        let one = read(&text);
        whole.instructions += one.instructions;
        whole.allocations += one.allocations;
    }
    Ok(whole)
}

async fn ask_all(kind: Kind, running: &Running, table: Table, requests: u32) -> Result<(), CountError> {
    let failed = |source| CountError::Send { kind, source };
    let client = Client::new(running.plain, Http::H1);
    let mut lines: Vec<Line> = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        lines.push(client.open(LEGACY_HOST).await.map_err(failed)?);
    }
    for (number, line) in (0..requests).zip(lines.iter().cycle()) {
        // In an order that has nothing to do with that of the table (7919 is a prime).
        let account = (u64::from(number) * 7919 % u64::from(table.accounts)) as u32;
        let target = format!("/api/v2/accounts/{}/jobs/?limit=10", table.id(account));
        let own = format!("{}.{DOMAIN}", table.prefix(account));
        // Two in a row, so that both hosts come by on each connection.
        let host = if number / 4 % 2 == 0 { LEGACY_HOST } else { &own };
        let ask =
            Ask::get(host, &target).header("user-agent", "bench/1.0").header("accept", "application/json");
        let token = format!("Token {:040x}", table.id(account));
        let ask = ask.header("accept-encoding", "gzip").header("authorization", &token);
        let reply = line.ask(&ask).await.map_err(failed)?;
        let expected = Table::cell_name(table.cell(account));
        let cell = reply.header(CELL_HEADER);
        if (reply.status.as_u16(), cell) != (200, Some(expected.as_str())) && kind.routes() {
            let cell = cell.map(str::to_owned);
            return Err(CountError::Wrong { kind, status: reply.status.as_u16(), cell, expected });
        }
    }
    Ok(())
}

/// Reads a profile in the format of callgrind 1: `totals:`, and `calls=` behind the name of who is called (`cfn=`), which
/// is written once and has a number from then on.
fn read(text: &str) -> Profile {
    let mut profile = Profile::default();
    let mut names: HashMap<&str, bool> = HashMap::new();
    let mut allocates = false;
    for line in text.lines() {
        if let Some(totals) = line.strip_prefix("totals: ") {
            profile.instructions += totals.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        } else if let Some(name) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
            let (number, name) = name.split_once(' ').unwrap_or((name, ""));
            let known = *names.entry(number).or_insert_with(|| ALLOCATE.contains(&name));
            if line.starts_with('c') {
                allocates = known;
            }
        } else if let Some(calls) = line.strip_prefix("calls=")
            && allocates
        {
            profile.allocations += calls.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        }
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_says_how_many_instructions_and_calls_for_memory() {
        let text = "version: 1\nfn=(1) main\n1 10\ncfn=(2) malloc\ncalls=3 0\n1 20\ncfn=(3) free\ncalls=9 0\n1 5\n\
                    fn=(3)\n1 5\ncfn=(2)\ncalls=4 7\n1 2\nfn=(4) rallocx\n1 1\ncfn=(5) malloc'2\ncalls=8 0\n1 1\n\
                    totals: 4711\n";
        let read = read(text);
        assert_eq!((read.instructions, read.allocations), (4711, 7));
    }

    #[test]
    fn what_is_done_by_the_clock_is_no_part_of_a_request() {
        let ran = |instructions, seconds| Profile {
            instructions,
            took: Duration::from_secs(seconds),
            ..Profile::default()
        };
        // 500 a request and 70 a second.
        let (before, after, idle) =
            (ran(5_000, 20), ran(5_000 + 10 * 500 + 30 * 70, 50), ran(5_000 + 10 * 70, 30));
        let of = |profile: &Profile| profile.instructions;
        assert!((each(10, [&before, &after, &idle], of) - 500.0).abs() < 1e-6);
        assert!((each(10, [&before, &after, &before], of) - 710.0).abs() < 1e-6);
    }
}
