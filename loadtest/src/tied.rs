//! Starting a program that does not outlive this one.

use std::path::{Path, PathBuf};

use tokio::process::Command;

/// A command that the kernel ends when we are gone, however that came about. Without util-linux's setpriv,
/// one that outlives us if we are killed with -9.
pub fn tied_to_us(program: &Path) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("setpriv")).find(|file| file.is_file());
    match found {
        Some(setpriv) => {
            let mut command = Command::new::<PathBuf>(setpriv);
            command.args(["--pdeathsig", "TERM", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}
