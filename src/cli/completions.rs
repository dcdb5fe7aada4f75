//! `cellgate completions`: what a shell needs to complete commands and options.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, OK, print};

/// Print the completions of a shell.
///
/// bash: cellgate completions bash > /usr/share/bash-completion/completions/cellgate
/// zsh:  cellgate completions zsh > /usr/share/zsh/site-functions/_cellgate
/// fish: cellgate completions fish > /usr/share/fish/vendor_completions.d/cellgate.fish
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cellgate", &mut script);
    print(&script)?;
    Ok(OK.into())
}
