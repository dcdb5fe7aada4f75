//! The Python of the virtual environment in `target/venv`, with the packages of `tests/e2e/requirements.txt`.

#![allow(dead_code)]
#![allow(clippy::panic)] // Ends a test with words.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Makes the environment when it is not there or is not what is asked for.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (wanted, venv) = (root.join("tests/e2e/requirements.txt"), root.join("target/venv"));
        let python = venv.join("bin/python");
        let installed = fs::read(venv.join("installed.txt")).ok();
        if installed != Some(fs::read(&wanted).unwrap()) {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
            let mut pip = Command::new(&python);
            // One try of each address: a registry that is away is said soon.
            pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "--retries", "1", "install"]);
            run(pip.args(["--only-binary", ":all:", "-r"]).arg(&wanted));
            fs::copy(&wanted, venv.join("installed.txt")).unwrap();
        }
        python
    })
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; `make test` installs it"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}
