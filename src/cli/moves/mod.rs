//! `cellgate move`: accounts on their way to another cell, as changes of files that people review and deploy. What is
//! written and when it may be is decided in `config`; this reads, asks, writes and says.

mod advance;
mod announce;
pub(super) mod replicas;
mod told;
mod writing;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::form::Form;
use super::plan::REFUSED;
use super::{ConfigFolder, OK, USAGE, complain, form, now, print_line};
use crate::config::files::moves_file;
use crate::config::moving::{self, Changed, Listed};
use crate::config::{self, Config, Problem, Sources};
use crate::load;
use crate::policy::code::Code;

/// Something is still to do or to wait for.
const WAITING: u8 = 2;

/// Move accounts to another cell: announce it, and carry it on with `advance`.
///
/// Nothing that runs is changed. Files in the configuration folder are, and whoever deploys them deploys a state of
/// the move: prepare, holding, flipped (docs/moves.md). Exit codes: 0 done, 2 waiting, 3 refused (nothing was
/// written), 64 wrong arguments or a folder with problems.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    announce: announce::Announce,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the next state of moves, where every replica allows it
    Advance(advance::Args),
    /// Take moves back that are not flipped
    Abort(Abort),
    /// Say how far moves are, and what they wait for
    Status(advance::Status),
}

/// Take moves back that are not flipped: their accounts stay where they are.
///
/// Exit codes: 0 written, 3 refused (nothing was written), 64 wrong arguments or a folder with problems.
#[derive(Debug, clap::Args)]
struct Abort {
    /// Accounts to take back, an id or a prefix a line
    #[arg(long, value_name = "FILE")]
    accounts: PathBuf,
    #[command(flatten)]
    place: Folder,
    #[command(flatten)]
    form: Form,
}

/// The configuration folder that is changed.
#[derive(Debug, clap::Args)]
struct Folder {
    #[command(flatten)]
    config: ConfigFolder,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (form, ended) = match &args.action {
        None => (args.announce.form, announce::run(&args.announce)),
        Some(Action::Advance(args)) => (args.form, advance::run(args)),
        Some(Action::Abort(args)) => (args.form, abort(args)),
        Some(Action::Status(args)) => (args.form, advance::status(args)),
    };
    match ended {
        Ok(code) => Ok(code),
        Err(Stop::Problems(problems) | Stop::Folder(problems)) => {
            form.tell(&problems)?;
            Ok(USAGE.into())
        }
        Err(Stop::Busy(why)) => Err(anyhow::anyhow!(why)),
        Err(Stop::Against(problems)) if form.is_json() => {
            form.tell(&problems)?;
            Ok(REFUSED.into())
        }
        Err(Stop::Against(problems)) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            refused(form, &lines.join("\n"))
        }
        Err(Stop::Refused(why)) => refused(form, &why),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Says what stands against it, in lines.
fn refused(form: Form, why: &str) -> anyhow::Result<ExitCode> {
    match form.is_json() {
        true => print_line(&form::one(why).to_string())?,
        false => complain(&format!("{why}\nRefused. Nothing was written.")),
    }
    Ok(REFUSED.into())
}

/// Why a command ended before its end.
enum Stop {
    /// The command line, or a file that it names, has problems.
    Problems(Vec<Problem>),
    /// The configuration folder has problems: perhaps somebody is changing it.
    Folder(Vec<Problem>),
    /// Somebody else is changing the configuration folder. Nothing was written.
    Busy(String),
    /// These stand against it.
    Against(Vec<Problem>),
    /// Something that is no problem of a file stands against it, in lines.
    Refused(String),
    /// Files or the terminal.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl Folder {
    fn path(&self) -> &Path {
        &self.config.folder
    }

    /// Reads it. A table of moves that is named and not there yet is an empty one.
    fn read(&self) -> Result<(Sources, Config), Stop> {
        let place = self.config.place();
        let mut sources = load::load(place);
        let table = moves_file(sources.routing.as_deref().unwrap_or_default());
        if let Some(table) = table.filter(|table| config::files::stays_inside(table)) {
            let path = self.path().join(&table);
            if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
                sources.files.insert(table.into(), Ok(moving::empty_table()));
            }
        }
        let config = config::parse_for_deciding(&sources, now()).map_err(Stop::Folder)?;
        Ok((sources, config))
    }

    fn write(&self, before: &Sources, changed: &Changed) -> Result<(), Stop> {
        writing::write(self.path(), before, changed)
    }
}

/// The accounts of a file.
fn listed(path: &Path, config: &Config) -> Result<Vec<Listed>, Stop> {
    let name = path.display().to_string();
    let text = load::bounded(path, MAX_LIST_BYTES).map_err(|unreadable| {
        let what = format!("the file {}", unreadable.what);
        Stop::Problems(vec![Problem::in_file(Code::FileNotRead, &name, what, unreadable.expected)])
    })?;
    moving::listed(&name, &text, config).map_err(Stop::Problems)
}

/// A million ids of twenty digits, and a comment for each.
const MAX_LIST_BYTES: u64 = 64 * 1024 * 1024;

fn abort(args: &Abort) -> Result<ExitCode, Stop> {
    let _lock = writing::lock(args.place.path())?;
    let (sources, config) = args.place.read()?;
    let accounts = listed(&args.accounts, &config)?;
    let name = args.accounts.display().to_string();
    let changed = moving::take_back(&sources, &config, (&name, &accounts), now()).map_err(Stop::Against)?;
    args.place.write(&sources, &changed)?;
    let diff = config::diff(&config, &changed.config).to_string();
    let folder = args.place.path().display();
    if args.form.is_json() {
        let accounts: Vec<u64> = accounts.iter().map(|of| of.account.value()).collect();
        let told = json!({
            "outcome": "aborted", "folder": folder.to_string(), "hash": changed.config.hash, "written": changed.files,
            "accounts": accounts, "changes": diff.split("; ").collect::<Vec<_>>(),
        });
        print_line(&told.to_string())?;
    } else {
        print_line(&format!(
            "{diff}\nWritten: {}. Deploy {folder}: what is held goes on to the old cell as soon as a replica has it.",
            changed.files.join(", "),
        ))?;
    }
    Ok(OK.into())
}
