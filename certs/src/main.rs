//! `devcerts DIR`: keeps the folder of development certificates that the demo needs complete and
//! fresh. Running it again changes nothing until something is missing or about to expire.
// What it did is this program's result, read by a person.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod folder;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use folder::refresh;

/// Exit code of a wrong command line, after `sysexits.h` (EX_USAGE).
const USAGE: u8 = 64;

/// What `--help` says.
const HELP: &str = "devcerts DIR: keeps the development certificates in DIR complete and fresh.

Makes DIR, an authority (ca.pem) and certificates for the hosts of the example configuration where they are
missing or about to expire, and says what became of each.";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let folder = match (args.next(), args.next()) {
        (Some(option), None) if option == "--help" || option == "-h" => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        // A folder of such a name can be given as ./-name.
        (Some(folder), None) if !folder.as_encoded_bytes().starts_with(b"-") => PathBuf::from(folder),
        _ => {
            eprintln!("devcerts: expected one argument, the folder to write to; try: devcerts certs/dev");
            return ExitCode::from(USAGE);
        }
    };
    match refresh(&folder, SystemTime::now()) {
        Ok(steps) => {
            let said: String = steps.into_iter().map(|step| format!("{step}\n")).collect();
            // A reader that has gone away has seen enough; the folder is complete.
            let _ = std::io::stdout().write_all(said.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("devcerts: {error:#}");
            ExitCode::FAILURE
        }
    }
}
