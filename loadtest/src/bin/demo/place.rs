//! Where a demonstration happens: its folders, its programs, its ports.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::lock::Lock;

/// The simulated cells and the ports that `config/cellgate.yaml` gives them.
pub const CELLS: [(&str, u16); 4] = [("cell-1", 7101), ("cell-2", 7102), ("cell-3", 7103), ("shared", 7104)];

/// The ports that `config/boot.yaml` gives to cellgate, and what for.
pub const EDGE_PORTS: [(&str, u16); 4] = [("HTTP", 8080), ("HTTPS", 8443), ("h2c", 8082), ("admin", 9900)];

/// The example configuration, from the folder of the repository.
const EXAMPLE: &str = "config";

/// What cellgate writes, from the folder of a copy.
const STATE: &str = "state";

/// Where a demonstration happens.
#[derive(Debug)]
pub struct Place {
    /// The configuration folder.
    pub config: PathBuf,
    /// What cellgate writes, and the logs of all processes.
    pub state: PathBuf,
    /// The authority of the certificates that cellgate presents.
    pub ca: PathBuf,
    /// Ports are free ones and not those of the example.
    pub free_ports: bool,
    /// Where cellgate and simcell are: beside this program.
    programs: PathBuf,
    /// Nobody else works here.
    _lock: Lock,
}

impl Place {
    /// The repository itself.
    pub fn example() -> Result<Self> {
        let state = PathBuf::from("state");
        let place = Self {
            _lock: locked(&state, "take a folder of your own: make run DEMO=--free-ports")?,
            config: EXAMPLE.into(),
            state,
            ca: "certs/dev/ca.pem".into(),
            free_ports: false,
            programs: programs()?,
        };
        place.prepared()
    }

    /// A copy of the configuration in a folder, with the certificates of the repository.
    pub fn copied(root: &Path) -> Result<Self> {
        let lock =
            locked(&root.join(STATE), "take another folder: make run DEMO=--free-ports=target/demo-2")?;
        let certs = root.join("certs/dev");
        fs::create_dir_all(&certs).with_context(|| format!("making {}", certs.display()))?;
        copy_files(Path::new("certs/dev"), &certs)?;
        Self::in_folder(root, lock)
    }

    /// A copy of the configuration in a folder that has certificates already.
    pub fn apart(root: &Path) -> Result<Self> {
        Self::in_folder(root, locked(&root.join(STATE), "take another folder")?)
    }

    /// Writes what the lock is for.
    fn in_folder(root: &Path, lock: Lock) -> Result<Self> {
        let config = root.join(EXAMPLE);
        for folder in ["", "keys"] {
            let (from, to) = (Path::new(EXAMPLE).join(folder), config.join(folder));
            fs::create_dir_all(&to).with_context(|| format!("making {}", to.display()))?;
            copy_files(&from, &to)?;
        }
        let place = Self {
            _lock: lock,
            config,
            state: root.join(STATE),
            ca: root.join("certs/dev/ca.pem"),
            free_ports: true,
            programs: programs()?,
        };
        place.prepared()
    }

    /// A program of the workspace.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Where a process writes what it has to say.
    pub fn log(&self, name: &str) -> PathBuf {
        self.state.join(format!("{name}.log"))
    }

    /// Replaces an address in a file of a copied configuration; it must stand there once.
    pub fn move_address(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let path = self.config.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        ensure!(
            text.matches(from).count() == 1,
            "{} should have {from} once: the demo expects it there (loadtest/src/bin/demo/place.rs)",
            path.display()
        );
        fs::write(&path, text.replace(from, to)).with_context(|| format!("writing {}", path.display()))
    }

    fn prepared(self) -> Result<Self> {
        ensure!(self.ca.is_file(), "{} is missing; make it with: make certs", self.ca.display());
        for program in ["cellgate", "simcell"] {
            let path = self.program(program);
            ensure!(path.is_file(), "{} is missing; build it with: cargo build --workspace", path.display());
        }
        Ok(self)
    }
}

#[cfg(test)]
impl Place {
    /// A folder in which nothing is.
    pub fn empty(root: &Path) -> Result<Self> {
        let lock = Lock::take(root, "")?;
        let (config, state, ca) = (root.join(EXAMPLE), root.to_owned(), root.join("ca.pem"));
        Ok(Self { config, state, ca, free_ports: true, programs: root.to_owned(), _lock: lock })
    }
}

/// Makes sure that nobody else works with a state folder, which it makes where it is not there, before anything is written.
fn locked(state: &Path, elsewhere: &str) -> Result<Lock> {
    ensure!(
        Path::new(EXAMPLE).join("boot.yaml").is_file(),
        "there is no {EXAMPLE}/boot.yaml here; start this in the folder of the repository (make run does)"
    );
    make_private(state)?;
    Lock::take(state, elsewhere)
}

fn programs() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding the folder of this program")?;
    let folder = own.parent().context("finding the folder of this program")?;
    // Shown to people, who like it short.
    let here = std::env::current_dir().context("finding the current folder")?;
    Ok(folder.strip_prefix(here).unwrap_or(folder).to_owned())
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let path = entry.with_context(|| format!("reading {}", from.display()))?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            fs::copy(&path, to.join(name)).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}

/// As cellgate makes it: nobody else may read or write there.
fn make_private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("making {}", folder.display()))
}
