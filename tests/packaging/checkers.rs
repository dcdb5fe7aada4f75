//! The programs that read what is shipped.

#![allow(clippy::panic)] // Ends a test with words.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::python::checkers_python;

/// A program that one of the packages of `requirements.txt` has brought along.
pub fn checker(name: &str) -> Command {
    Command::new(checkers_python().with_file_name(name))
}

/// The real one.
pub fn helm() -> Command {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    let helm = HELM.get_or_init(|| {
        let helm = checkers_python().with_file_name("helm");
        if !helm.exists() {
            let script = crate::path("tests/packaging/helm.py");
            passes(Command::new(checkers_python()).arg(script).arg(helm.parent().unwrap()));
        }
        helm
    });
    let mut command = Command::new(helm);
    // It keeps nothing of ours, and reads nothing of whoever runs the tests.
    for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(folder, crate::path("target/helm"));
    }
    command.env_remove("KUBECONFIG");
    command
}

/// Runs it, and gives what it has printed.
#[track_caller]
pub fn passes(command: &mut Command) -> String {
    let output = ended(command);
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs it, and gives what it has against what it was shown.
#[track_caller]
pub fn objects(command: &mut Command) -> String {
    let output = ended(command);
    assert!(!output.status.success(), "{command:?} has nothing against it");
    said(&output)
}

pub fn ended(command: &mut Command) -> Output {
    let output = command.output();
    output.unwrap_or_else(|error| panic!("{command:?}: {error}; `scripts/setup test` installs it"))
}

/// On both streams.
pub fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// A copy with one word changed, for a checker that must see it.
pub fn with(file: &str, from: &str, to: &str, name: &str) -> (tempfile::TempDir, PathBuf) {
    let text = crate::read(file);
    assert!(text.contains(from), "{file} has {from}");
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join(name);
    std::fs::write(&copy, text.replacen(from, to, 1)).unwrap();
    (folder, copy)
}
