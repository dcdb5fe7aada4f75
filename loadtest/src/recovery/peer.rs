//! What stands before the cell: nothing, nginx, HAProxy or cellgate, each with a configuration as a careful engineer
//! would write it. The files are in `loadtest/peers`; here they are filled in, checked, and run.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::str::FromStr;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::attempt::{End, attempt};
use super::herd::{ACCOUNTS, FIRST_ACCOUNT, request};
use crate::place::free_address;
use crate::tied::tied_to_us;

/// One way to stand before the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arm {
    /// Who stands there.
    pub kind: Kind,
    /// How many requests may be at the cell at once.
    pub limit: Concurrency,
}

/// Who stands before the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody: clients connect to the cell.
    Bare,
    /// nginx, the open one.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// cellgate.
    Cellgate,
}

/// Where the limit of concurrency comes from. It decides more than anything else in these files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// Somebody has loaded the cell until it broke, and stays well below that.
    Measured,
    /// Somebody has taken what the cell does in a second: generous, and as good as any number that nobody has tried.
    Guessed,
}

impl Arm {
    /// All that there are, in the order in which they run.
    pub const ALL: [Self; 7] = [
        Self::BARE,
        Self::of(Kind::Nginx, Concurrency::Measured),
        Self::of(Kind::Nginx, Concurrency::Guessed),
        Self::of(Kind::Haproxy, Concurrency::Measured),
        Self::of(Kind::Haproxy, Concurrency::Guessed),
        Self::of(Kind::Cellgate, Concurrency::Measured),
        Self::of(Kind::Cellgate, Concurrency::Guessed),
    ];

    /// The cell alone.
    pub const BARE: Self = Self::of(Kind::Bare, Concurrency::Guessed);

    const fn of(kind: Kind, limit: Concurrency) -> Self {
        Self { kind, limit }
    }

    /// Its name, on the command line and of its files.
    pub const fn as_str(self) -> &'static str {
        match (self.kind, self.limit) {
            (Kind::Bare, _) => "bare",
            (Kind::Nginx, Concurrency::Measured) => "nginx",
            (Kind::Nginx, Concurrency::Guessed) => "nginx-guessed",
            (Kind::Haproxy, Concurrency::Measured) => "haproxy",
            (Kind::Haproxy, Concurrency::Guessed) => "haproxy-guessed",
            (Kind::Cellgate, Concurrency::Measured) => "cellgate",
            (Kind::Cellgate, Concurrency::Guessed) => "cellgate-guessed",
        }
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Arm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|arm| arm.as_str() == text);
        found.ok_or_else(|| format!("expected one of: {}", names()))
    }
}

/// Where an arm runs, and what it is told.
#[derive(Clone, Debug)]
pub struct Site {
    /// A folder of its own.
    pub folder: PathBuf,
    /// Where the cell listens.
    pub cell: SocketAddr,
    /// The declared capacity of the cell, in requests a second.
    pub declared_rps: u32,
    /// The program of cellgate.
    pub cellgate: PathBuf,
}

/// Why an arm does not run.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// A file of its configuration could not be written, or no port be had.
    #[error("preparing {arm} in {}", folder.display())]
    Prepare {
        /// The arm.
        arm: Arm,
        /// Its folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program could not be started.
    #[error("starting {program}; scripts/setup test installs nginx and haproxy, cargo build makes cellgate")]
    Start {
        /// Its name.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The program does not accept its configuration.
    #[error("{arm} does not accept its configuration:\n{said}")]
    Refused {
        /// The arm.
        arm: Arm,
        /// What it said.
        said: String,
    },
    /// No request came through in time.
    #[error("no request comes through {arm}; it said:\n{said}")]
    Silent {
        /// The arm.
        arm: Arm,
        /// What it said.
        said: String,
    },
}

/// A proxy that runs until this is dropped.
#[must_use = "the proxy ends when this is dropped"]
#[derive(Debug)]
pub struct RunningPeer {
    /// Where clients connect: the cell itself where there is no proxy.
    pub address: SocketAddr,
    child: Option<Child>,
}

impl RunningPeer {
    /// Writes the configuration, starts the program, and waits until one request has come through to the cell.
    pub async fn start(arm: Arm, site: &Site) -> Result<Self, PeerError> {
        let prepared = Prepared::new(arm, site)?;
        let child = match prepared.run() {
            None => None,
            Some(mut command) => Some(spawned(&mut command, arm.kind, site)?),
        };
        let running = Self { address: prepared.address, child };
        let until = Instant::now() + START_WITHIN;
        while Instant::now() < until {
            let asked = attempt(running.address, request(FIRST_ACCOUNT).as_bytes(), LOOK_WITHIN).await;
            if asked.end == End::Good {
                return Ok(running);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(PeerError::Silent { arm, said: fs::read_to_string(site.folder.join(LOG)).unwrap_or_default() })
    }

    /// Ends it, and returns when it has ended.
    pub async fn stop(mut self) {
        if let Some(child) = &mut self.child {
            // It has ended by itself, or is ended now.
            let _ = child.kill().await;
        }
    }
}

/// Asks the program whether it accepts the configuration; starts nothing. Nothing is asked where there is no proxy.
pub async fn check(arm: Arm, site: &Site) -> Result<(), PeerError> {
    let prepared = Prepared::new(arm, site)?;
    let Some(mut command) = prepared.check() else { return Ok(()) };
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } =
        command.output().await.map_err(|source| PeerError::Start { program, source })?;
    let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    // HAProxy accepts with warnings what will not work as it was meant.
    match status.success() && !said.contains("[WARNING]") {
        true => Ok(()),
        false => Err(PeerError::Refused { arm, said }),
    }
}

/// How long it may take until a request comes through; HAProxy's slow start and a debug build are slow.
const START_WITHIN: Duration = Duration::from_secs(30);

/// How long one such request may take.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// Between two such requests.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a program says goes here.
const LOG: &str = "said.log";

/// The part of a second's work that may be at the cell at once, where it was [`Concurrency::Measured`]: half of what it
/// bears before it thrashes.
const MEASURED_SHARE: f64 = 0.2;

/// A written configuration.
struct Prepared {
    kind: Kind,
    folder: PathBuf,
    address: SocketAddr,
    cellgate: PathBuf,
}

impl Prepared {
    fn new(arm: Arm, site: &Site) -> Result<Self, PeerError> {
        let prepare = || {
            fs::create_dir_all(site.folder.join("config"))?;
            let address = if arm.kind == Kind::Bare { site.cell } else { free_address()? };
            for (name, text) in files(arm.kind) {
                fs::write(site.folder.join("config").join(name), filled(&text, arm, site, address))?;
            }
            Ok(address)
        };
        let address =
            prepare().map_err(|source| PeerError::Prepare { arm, folder: site.folder.clone(), source })?;
        let (folder, cellgate) = (site.folder.clone(), site.cellgate.clone());
        Ok(Self { kind: arm.kind, folder, address, cellgate })
    }

    fn run(&self) -> Option<Command> {
        self.command(
            tied_to_us,
            // In one process, so that nothing is left when it is killed.
            &["-g", "daemon off; master_process off;"],
            &["-db"],
            &["serve", "--bootstrap"],
        )
    }

    fn check(&self) -> Option<Command> {
        self.command(|program| Command::new(program), &["-t"], &["-c"], &["check"])
    }

    fn command(
        &self,
        begin: fn(&Path) -> Command,
        nginx: &[&str],
        haproxy: &[&str],
        cellgate: &[&str],
    ) -> Option<Command> {
        let config = self.folder.join("config");
        let mut command;
        match self.kind {
            Kind::Bare => return None,
            Kind::Nginx => {
                command = begin(Path::new("nginx"));
                command.arg("-p").arg(&self.folder).args(["-e", "error.log", "-c"]);
                command.arg(config.join("nginx.conf")).args(nginx);
            }
            Kind::Haproxy => {
                command = begin(Path::new("haproxy"));
                command.args(haproxy).arg("-f").arg(config.join("haproxy.cfg"));
            }
            Kind::Cellgate => {
                command = begin(&self.cellgate);
                command.args(cellgate).arg("--config").arg(config);
            }
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        Some(command)
    }
}

fn spawned(command: &mut Command, kind: Kind, site: &Site) -> Result<Child, PeerError> {
    let program = format!("{kind:?}").to_lowercase();
    let mut spawn = || {
        let log = fs::File::create(site.folder.join(LOG))?;
        command.stdout(log.try_clone()?).stderr(log).spawn()
    };
    spawn().map_err(|source| PeerError::Start { program, source })
}

/// The files of a configuration, by name.
fn files(kind: Kind) -> Vec<(&'static str, String)> {
    match kind {
        Kind::Bare => Vec::new(),
        Kind::Nginx => vec![("nginx.conf", include_str!("../../peers/nginx.conf").to_owned())],
        Kind::Haproxy => vec![("haproxy.cfg", include_str!("../../peers/haproxy.cfg").to_owned())],
        Kind::Cellgate => {
            let rows = (FIRST_ACCOUNT..FIRST_ACCOUNT + ACCOUNTS).map(|id| format!("{id},a{id},cell\n"));
            vec![
                ("boot.yaml", include_str!("../../peers/cellgate/boot.yaml").to_owned()),
                ("cellgate.yaml", include_str!("../../peers/cellgate/cellgate.yaml").to_owned()),
                ("accounts.csv", format!("account,prefixes,cell\n{}", rows.collect::<String>())),
            ]
        }
    }
}

fn filled(text: &str, arm: Arm, site: &Site, address: SocketAddr) -> String {
    let a_second = site.declared_rps;
    let limit = match arm.limit {
        Concurrency::Measured => (f64::from(a_second) * MEASURED_SHARE) as u32,
        Concurrency::Guessed => a_second,
    };
    // Comments name them too, and are filled in with the rest.
    text.replace("@LISTEN@", &address.to_string())
        .replace("@CELL@", &site.cell.to_string())
        .replace("@LIMIT@", &limit.max(1).to_string())
        .replace("@QUEUE@", &a_second.to_string())
        .replace("@CAPACITY@", &a_second.to_string())
}
