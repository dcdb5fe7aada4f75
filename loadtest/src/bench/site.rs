//! The contestants: what stands between the load and the ten cells. Configurations are in `loadtest/peers/bench`; here
//! they are filled in, and programs are run until one request of each kind has come through.

mod command;
mod files;
mod look;
mod reload;

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::TLS13;

use super::table::{DOMAIN, Edition, LEGACY_HOST, Table};
use super::usage::{signal, tree};
use crate::place::{free_address, private_folder};
use crate::tls::{TlsError, roots};
use look::Look;
pub use reload::{Ready, Reloaded, Reloading};

/// Who stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// cellgate.
    Cellgate,
    /// HAProxy, what all are compared with.
    Haproxy,
    /// nginx, the open one.
    Nginx,
    /// Envoy, with the table in Lua.
    Envoy,
    /// A floor: HAProxy hands bytes to the first cell, and looks at none.
    Relay,
    /// A floor: pingora's own proxy with a table in a hash map, and nothing else.
    Floor,
}

impl Kind {
    /// All that there are.
    pub const ALL: [Self; 6] =
        [Self::Haproxy, Self::Nginx, Self::Envoy, Self::Cellgate, Self::Floor, Self::Relay];

    /// Its name, on the command line, in tables and of its folder.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cellgate => "cellgate",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Relay => "relay",
            Self::Floor => "floor",
        }
    }

    /// Whether it reads requests, so that it knows the cell of each.
    pub const fn routes(self) -> bool {
        !matches!(self, Self::Relay)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| format!("expected one of: {}", names()))
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// cellgate.
    pub cellgate: PathBuf,
    /// The floor, which is built with this.
    pub floor: PathBuf,
    /// Envoy, where there is one.
    pub envoy: Option<PathBuf>,
    /// nginx.
    pub nginx: PathBuf,
    /// HAProxy.
    pub haproxy: PathBuf,
}

impl Programs {
    /// The file of a contestant's program.
    pub fn of(&self, kind: Kind) -> Option<&Path> {
        match kind {
            Kind::Cellgate => Some(&self.cellgate),
            Kind::Haproxy | Kind::Relay => Some(&self.haproxy),
            Kind::Nginx => Some(&self.nginx),
            Kind::Envoy => self.envoy.as_deref(),
            Kind::Floor => Some(&self.floor),
        }
    }
}

/// An ECDSA P-256 certificate for all hosts of the benchmark, made for one run.
#[derive(Clone, Debug)]
pub struct Certificate {
    pair: devcerts::Pair,
    /// Whom clients must trust.
    pub ca_pem: String,
}

impl Certificate {
    /// A new one, and a new authority.
    pub fn new() -> Result<Self, devcerts::Error> {
        let authority = devcerts::Authority::new("cellgate benchmark")?;
        let names = [LEGACY_HOST, &format!("*.{DOMAIN}")];
        Ok(Self {
            pair: authority.issue(&names, devcerts::Usage::Server)?,
            ca_pem: authority.ca_pem().to_owned(),
        })
    }

    /// Clients that trust it, and offer what all contestants can do, OpenSSL 3.0 too, and nothing else: TLS 1.3 with
    /// AES-128-GCM after X25519. Otherwise some would be measured in key exchanges that others do not have.
    pub fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = CryptoProvider {
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            ..aws_lc_rs::default_provider()
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        let builder = builder.with_protocol_versions(&[&TLS13])?.with_root_certificates(roots(&self.ca_pem)?);
        Ok(Arc::new(builder.with_no_client_auth()))
    }
}

/// What all contestants of a scenario have in common.
#[derive(Clone, Debug)]
pub struct Site {
    /// Each has a folder of its own below this one.
    pub folder: PathBuf,
    /// The accounts.
    pub table: Table,
    /// Where the cells listen.
    pub origins: Vec<SocketAddr>,
    /// Whether each request is a line of JSON in a file. Floors write none.
    pub log: bool,
    /// Whether cells are spoken to in HTTP/2 without TLS, for gRPC. cellgate finds that out by itself.
    pub grpc: bool,
    /// Threads, or processes, that serve.
    pub workers: usize,
    /// The processors that they may run on, as taskset takes them; all, if none are given.
    pub cpus: Option<String>,
    /// Whether they will be told to read their tables again. HAProxy has a process more for that.
    pub reloads: bool,
    /// What their programs are run by, with its options; mostly nothing.
    pub under: Vec<OsString>,
    /// What listeners with TLS show.
    pub certificate: Certificate,
    /// Where the programs are.
    pub programs: Programs,
}

/// Why a contestant does not run.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A file of its configuration could not be written, or no port be had.
    #[error("preparing {kind} in {}", folder.display())]
    Prepare {
        /// The contestant.
        kind: Kind,
        /// Its folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no program of it.
    #[error("{kind} is not installed; scripts/setup bench installs nginx, haproxy and envoy")]
    Missing {
        /// The contestant.
        kind: Kind,
    },
    /// The program could not be started.
    #[error("starting {}; scripts/setup bench installs nginx, haproxy and envoy, cargo build makes the others", program.display())]
    Start {
        /// Its file.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Clients cannot use the certificate.
    #[error("trusting the certificate of this run")]
    Tls(#[from] TlsError),
    /// No request came through in time, or the program has ended.
    #[error("no request comes through {kind}: {what}; it said:\n{said}")]
    Silent {
        /// The contestant.
        kind: Kind,
        /// The last that was tried, and what came of it.
        what: String,
        /// What the program said.
        said: String,
    },
    /// It runs, and would do something else than it was told.
    #[error("{kind} warns of its configuration:\n{said}")]
    Warned {
        /// The contestant.
        kind: Kind,
        /// What it said.
        said: String,
    },
    /// It goes on with the table that it had.
    #[error("{kind} does not use another table; it said:\n{said}")]
    Reload {
        /// The contestant.
        kind: Kind,
        /// What came of the last request that should have shown it.
        source: io::Error,
        /// What the program said.
        said: String,
    },
}

/// A contestant that runs until this is dropped.
#[must_use = "the proxy ends when this is dropped"]
#[derive(Debug)]
pub struct Running {
    /// Who it is.
    pub kind: Kind,
    /// Where it speaks HTTP without TLS.
    pub plain: SocketAddr,
    /// Where it speaks HTTPS, if it does.
    pub tls: Option<SocketAddr>,
    /// Its processes.
    pub pids: Vec<u32>,
    /// From the start of the program until the first request, without TLS, had come through.
    pub first_answer: Duration,
    /// Until one of each kind had.
    pub cold_start: Duration,
    /// The table that it was last told to use.
    edition: Edition,
    folder: PathBuf,
    child: Child,
}

impl Running {
    /// Writes configuration and tables, starts the program, and waits until one request of each kind has come through.
    pub fn start(kind: Kind, site: &Site) -> Result<Self, SiteError> {
        let program = site.programs.of(kind).ok_or(SiteError::Missing { kind })?;
        let folder = site.folder.join(kind.as_str());
        let prepare = || {
            // Each start is a first one: what was compiled, learned and booked in another run would make it quicker.
            remove_folder(&folder.join("state"))?;
            private_folder(&folder.join("config"))?;
            let (plain, tls) = (free_address()?, free_address()?);
            files::write(kind, site, &folder, plain, tls)?;
            Ok((plain, kind.routes().then_some(tls), [log(&folder, ACCESS)?, log(&folder, SAID)?]))
        };
        let (plain, tls, logs) =
            prepare().map_err(|source| SiteError::Prepare { kind, folder: folder.clone(), source })?;
        let [stdout, stderr] = logs;
        let mut command = command::pinned(program, site);
        command.args(command::arguments(kind, site, &folder, plain, tls));
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let begun = Instant::now();
        let child =
            command.spawn().map_err(|source| SiteError::Start { program: program.to_owned(), source })?;
        let mut running = Self {
            kind,
            plain,
            tls,
            pids: Vec::new(),
            first_answer: Duration::ZERO,
            cold_start: Duration::ZERO,
            edition: Edition::First,
            folder,
            child,
        };
        running.await_requests(site, begun)?;
        running.pids = running.processes();
        Ok(running)
    }

    /// Ends it, and starts it once more as if it had never run.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub fn restart(&mut self, site: &Site) -> Result<(), SiteError> {
        // Before the next begins: two would share a folder, and a processor.
        self.kill();
        *self = Self::start(self.kind, site)?;
        Ok(())
    }

    /// Its processes as they are now; a reload changes them.
    pub fn processes(&self) -> Vec<u32> {
        tree(self.child.id())
    }

    /// Lets it end in order, where dropping it kills it.
    ///
    /// # Errors
    /// Nobody can wait for it.
    pub fn finish(mut self) -> io::Result<()> {
        signal(self.child.id(), Signal::TERM);
        self.child.wait().map(drop)
    }

    fn await_requests(&mut self, site: &Site, begun: Instant) -> Result<(), SiteError> {
        let looks = Look::each(self, site)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| SiteError::Start { program: "tokio".into(), source })?;
        let until = Instant::now() + START_WITHIN;
        for (number, look) in looks.iter().enumerate() {
            while let Err(what) = runtime.block_on(look.took()) {
                let ended = self.child.try_wait().ok().flatten();
                if ended.is_some() || Instant::now() > until {
                    let what = ended.map_or(what, |status| format!("it ended ({status})"));
                    return Err(SiteError::Silent { kind: self.kind, what, said: self.said() });
                }
                thread::sleep(LOOK_EVERY);
            }
            self.cold_start = begun.elapsed();
            if number == 0 {
                self.first_answer = self.cold_start;
            }
        }
        // HAProxy and nginx go on with warnings where something will not be as it was meant.
        let said = self.said();
        match said.contains("[WARNING]") || said.contains("[warn]") {
            true => Err(SiteError::Warned { kind: self.kind, said }),
            false => Ok(()),
        }
    }

    fn kill(&mut self) {
        // Of one that has ended and been waited for, the number may be another's by now.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // The first is the parent of the others, which would start them again.
        for pid in self.processes() {
            signal(pid, Signal::KILL);
        }
        // It has ended, or ends now.
        let _ = self.child.wait();
    }

    fn said(&self) -> String {
        // nginx has a log of its own.
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        read(SAID) + &read("error.log")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How long it may take until requests come through: Envoy and debug builds read millions of rows slowly.
const START_WITHIN: Duration = Duration::from_secs(120);

/// Between two tries. Starts and reloads are no more precise; what is refused costs tens of microseconds of the load's
/// processor, and what is answered some hundred.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The standard output: the access log of HAProxy.
const ACCESS: &str = "access.log";

/// The standard error output.
const SAID: &str = "said.log";

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn log(folder: &Path, name: &str) -> io::Result<File> {
    File::create(folder.join(name))
}
