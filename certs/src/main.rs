//! `devcerts DIR`: keeps the folder of development certificates that the demo needs complete and
//! fresh. Running it again changes nothing until something is missing or about to expire.
// What it did is this program's result, read by a person.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod folder;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use folder::refresh;

/// Exit code of a wrong command line, after `sysexits.h` (EX_USAGE).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (Some(folder), None) = (args.next().map(PathBuf::from), args.next()) else {
        eprintln!("devcerts: expected one argument, the folder to write to; try: devcerts certs/dev");
        return ExitCode::from(USAGE);
    };
    match refresh(&folder, SystemTime::now()) {
        Ok(steps) => {
            for step in steps {
                println!("{step}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("devcerts: {error:#}");
            ExitCode::FAILURE
        }
    }
}
