//! What `devcerts` takes for a folder, and what it does not.

#![allow(clippy::unwrap_used)]

use std::process::Command;

#[test]
fn an_option_is_no_folder() {
    for (argument, code) in [("--help", 0), ("-h", 0), ("--hepl", 64), ("-", 64)] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_devcerts"));
        let output = command.arg(argument).current_dir(&dir).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{argument}");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0, "{argument}");
        let said = if code == 0 { output.stdout } else { output.stderr };
        assert!(String::from_utf8(said).unwrap().contains("devcerts"), "{argument}");
    }
}
