//! `cellgate books`: what is done to the books by hand.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::json;

use super::books_source::BooksSource;
use super::form::Form;
use super::report::parse_account;
use super::{OK, complain, print_line};
use crate::audit::database::{DatabaseSettings, Retired, retire};
use crate::audit::forget::{Known, forget};
use crate::policy::calendar::show_moment;
use crate::policy::ids::AccountId;
use crate::telemetry::wall_time::unix_seconds;

/// Something is known, and was not deleted.
const KNOWN: u8 = 2;

/// Delete what the books know of an account, or say that a replica of a fleet is gone
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Forget(Forget),
    Retire(Retire),
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
    /// Where the books stand.
    #[command(flatten)]
    books: BooksSource,
    /// Delete it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    form: Form,
}

/// Say of a replica of a fleet that it is gone for good: a machine that was lost with its disk.
///
/// Until then the books of the fleet are not complete since it was heard of last, and no account can be READY. Exit codes: 0
/// done, 1 the database cannot be written, 2 no such replica or it was heard of in the last two hours, 64 wrong arguments.
#[derive(Debug, clap::Args)]
struct Retire {
    /// Its name, as reports have it
    #[arg(value_name = "REPLICA")]
    replica: String,
    /// A file with a connection string of PostgreSQL, as books.database of boot.yaml names it
    #[arg(long, value_name = "FILE")]
    database: PathBuf,
    /// Certificates in PEM that sign the database's; those that this machine trusts where nothing is said
    #[arg(long, value_name = "FILE")]
    database_ca: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Forget(args) => forget_account(args),
        Command::Retire(args) => retire_replica(args),
    }
}

fn retire_replica(args: &Retire) -> anyhow::Result<ExitCode> {
    let settings =
        DatabaseSettings { connection_file: args.database.clone(), ca_file: args.database_ca.clone() };
    let now = unix_seconds(SystemTime::now());
    let replica = &args.replica;
    let retired = retire(&settings, replica, now)?;
    let runs = if let Retired::Runs(runs) = &retired { i64::try_from(*runs).unwrap_or(i64::MAX) } else { 0 };
    let (said, code) = match retired {
        Retired::Runs(1) => (format!("{replica} has ended with its last books: 1 run."), OK),
        Retired::Runs(runs) => (format!("{replica} has ended with its last books: {runs} runs."), OK),
        Retired::HeardOf(at) => {
            let at = show_moment(at);
            (format!("{replica} was heard of at {at}, less than two hours ago: nothing is changed."), KNOWN)
        }
        Retired::Unknown => (format!("No run of a replica named {replica} is open."), KNOWN),
    };
    print_line(&match args.form.is_json() {
        true => {
            json!({ "replica": replica, "is_retired": code == OK, "runs": runs, "told": said }).to_string()
        }
        false => said,
    })?;
    Ok(code.into())
}

fn forget_account(args: &Forget) -> anyhow::Result<ExitCode> {
    let Forget { account, books, yes, form } = args;
    let Known { rows, aside } = forget(books.source(), *account, *yes)?;
    let id = account.value();
    if form.is_json() {
        let aside: Vec<String> = aside.iter().map(|path| path.display().to_string()).collect();
        let told =
            json!({ "account": id, "rows": rows, "deleted": rows > 0 && *yes, "damaged_files": aside });
        print_line(&told.to_string())?;
        return Ok(if rows > 0 && !yes { KNOWN } else { OK }.into());
    }
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
