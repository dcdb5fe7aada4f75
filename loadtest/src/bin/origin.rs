//! `origin`: the cells of the benchmark, in one process.
// The line that says where it listens is for people and scripts alike.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::future::pending;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use loadtest::bench::origin;
use loadtest::usage::parsed;

/// The cells of the benchmark: cell-0 on the first address, cell-1 on the second, and so on. Prints the real addresses in
/// one line and serves until it is ended by a signal.
#[derive(Parser)]
#[command(name = "origin")]
struct Args {
    /// Where the next cell listens; port 0 takes a free one (repeatable)
    #[arg(long, value_name = "ADDRESS:PORT", required = true)]
    listen: Vec<SocketAddr>,
}

fn main() -> ExitCode {
    let args: Args = match parsed() {
        Ok(args) => args,
        Err(code) => return code,
    };
    match origin::serve(&args.listen, tell, pending()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("origin: listening on {:?}: {error}", args.listen);
            ExitCode::FAILURE
        }
    }
}

fn tell(addresses: &[SocketAddr]) {
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    println!("{}", addresses.join(" "));
}
