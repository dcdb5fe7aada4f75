//! The Pythons of the virtual environments in `target/`: that of the end-to-end tests, and that of the programs which
//! try what is shipped.

#![allow(dead_code)]
#![allow(clippy::panic)] // Ends a test with words.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// That with the packages of `tests/e2e/requirements.txt`.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| environment("tests/e2e/requirements.txt", "target/venv", &[]))
}

/// That with the packages of `tests/packaging/requirements.txt`, which lists all that is installed.
pub fn checkers_python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        environment("tests/packaging/requirements.txt", "target/venv-packaging", &["--no-deps"])
    })
}

/// Makes the environment when it is not there or is not what is asked for. `scripts/setup test` does the same.
fn environment(wanted: &str, venv: &str, options: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (wanted, venv) = (root.join(wanted), root.join(venv));
    let python = venv.join("bin/python");
    let installed = fs::read(venv.join("installed.txt")).ok();
    if installed != Some(fs::read(&wanted).unwrap()) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        let mut pip = Command::new(&python);
        // One try of each address: a registry that is away is said soon.
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "--retries", "1", "install"]);
        run(pip.args(["--only-binary", ":all:"]).args(options).arg("-r").arg(&wanted));
        fs::copy(&wanted, venv.join("installed.txt")).unwrap();
    }
    python
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; `make test` installs it"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}
