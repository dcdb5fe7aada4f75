//! Where a demonstration happens: its folders, its programs, its ports.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The simulated cells and the ports that `config/cellgate.yaml` gives them.
pub const CELLS: [(&str, u16); 4] = [("cell-1", 7101), ("cell-2", 7102), ("cell-3", 7103), ("shared", 7104)];

/// The ports that `config/boot.yaml` gives to cellgate, and what for.
pub const EDGE_PORTS: [(&str, u16); 4] = [("HTTP", 8080), ("HTTPS", 8443), ("h2c", 8082), ("admin", 9900)];

/// The example configuration, from the folder of the repository.
const EXAMPLE: &str = "config";

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
}

impl Place {
    /// The repository itself.
    pub fn example() -> Result<Self> {
        let place = Self {
            config: EXAMPLE.into(),
            state: "state".into(),
            ca: "certs/dev/ca.pem".into(),
            free_ports: false,
            programs: programs()?,
        };
        place.prepared()
    }

    /// A copy of the configuration under `target/`, with the certificates of the repository.
    pub fn copied() -> Result<Self> {
        let root = Path::new("target/demo");
        let certs = root.join("certs/dev");
        fs::create_dir_all(&certs).with_context(|| format!("making {}", certs.display()))?;
        copy_files(Path::new("certs/dev"), &certs)?;
        Self::apart(root)
    }

    /// A copy of the configuration in a folder that has certificates already.
    pub fn apart(root: &Path) -> Result<Self> {
        let config = root.join(EXAMPLE);
        for folder in ["", "keys"] {
            let (from, to) = (Path::new(EXAMPLE).join(folder), config.join(folder));
            fs::create_dir_all(&to).with_context(|| format!("making {}", to.display()))?;
            copy_files(&from, &to)?;
        }
        let place = Self {
            config,
            state: root.join("state"),
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
        ensure!(
            self.config.join("boot.yaml").is_file(),
            "there is no {}/boot.yaml here; start this in the folder of the repository (make run does)",
            self.config.display()
        );
        ensure!(self.ca.is_file(), "{} is missing; make it with: make certs", self.ca.display());
        for program in ["cellgate", "simcell"] {
            let path = self.program(program);
            ensure!(path.is_file(), "{} is missing; build it with: cargo build --workspace", path.display());
        }
        make_private(&self.state)?;
        Ok(self)
    }
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
