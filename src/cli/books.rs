//! `cellgate books`: what is done to the books by hand.

use std::path::PathBuf;
use std::process::ExitCode;

use super::report::parse_account;
use super::{OK, complain, print_line};
use crate::audit::forget::{Known, forget};
use crate::policy::ids::AccountId;

/// Something is known, and was not deleted.
const KNOWN: u8 = 2;

/// Delete what the books know of an account
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Forget(Forget),
}

/// Delete what the books know of an account, for good; without --yes, say what that is.
///
/// Works while the proxy runs. What was counted in the last ten seconds is written afterwards, and whoever still comes is
/// counted anew. The access log and the audit trail are not touched. Exit codes: 0 deleted or nothing known, 1 the books
/// cannot be read or written, 2 something is known and --yes was not given, 64 wrong arguments.
#[derive(Debug, clap::Args)]
struct Forget {
    /// Its id
    #[arg(value_name = "ACCOUNT", value_parser = parse_account)]
    account: AccountId,
    /// The proxy's state folder
    #[arg(long, value_name = "DIR", default_value = "state")]
    state_dir: PathBuf,
    /// Delete it
    #[arg(long)]
    yes: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Command::Forget(Forget { account, state_dir, yes }) = &args.command;
    let Known { rows, aside } = forget(state_dir, *account, *yes)?;
    let id = account.value();
    print_line(&match (rows, yes) {
        (0, _) => format!("The books know nothing of account {id}."),
        (rows, true) => format!("Account {id} is forgotten: {rows} rows are deleted."),
        (rows, false) => format!("The books know account {id} from {rows} rows; --yes deletes them."),
    })?;
    for path in aside {
        complain(&format!("{} is damaged and may know it too; delete it by hand", path.display()));
    }
    Ok(if rows > 0 && !yes { KNOWN } else { OK }.into())
}
