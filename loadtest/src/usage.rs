//! Reading a program's command line with this project's exit codes. For the programs of this member only.

use std::process::ExitCode;

use clap::Parser;

/// Exit code of a wrong command line, after `sysexits.h` (EX_USAGE).
pub const USAGE: u8 = 64;

/// The arguments, or the code to exit with after help or the problem has been printed.
pub fn parsed<A: Parser>() -> Result<A, ExitCode> {
    A::try_parse().map_err(|error| {
        // A terminal that cannot be written to leaves nobody to tell.
        let _ = error.print();
        match error.exit_code() {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(USAGE),
        }
    })
}
