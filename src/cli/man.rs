//! `cellgate man`: a manual page of each command, made of what `--help` says.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

use super::form::Form;
use super::{Cli, OK, print_line};

/// Write the manual pages: cellgate.1 and one of each command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write them; the folder is made where it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    form: Form,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let out = || args.out.display().to_string();
    fs::create_dir_all(&args.out).with_context(out)?;
    clap_mangen::generate_to(Cli::command(), &args.out).with_context(out)?;
    let pages = fs::read_dir(&args.out).with_context(out)?.count();
    print_line(&match args.form.is_json() {
        true => serde_json::json!({ "folder": out(), "pages": pages }).to_string(),
        false => format!("{}: {pages} pages; read one with man {0}/cellgate.1", out()),
    })?;
    Ok(OK.into())
}
