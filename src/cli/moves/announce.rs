//! `cellgate move --accounts FILE --to CELL`: announces moves. Says what that changes and whether the target can bear it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use super::super::{OK, now, print, span};
use super::replicas::{self, Declared, Named};
use super::{Folder, Stop, listed, writing};
use crate::app::requests_of;
use crate::config::headroom::headroom;
use crate::config::moving::{self, Listed};
use crate::config::plan::{Plan, Verdict};
use crate::config::{self, Config};

#[derive(Debug, clap::Args)]
pub(super) struct Announce {
    /// Accounts to move, an id or a prefix a line; # begins a comment
    #[arg(long, value_name = "FILE", required = true)]
    accounts: Option<PathBuf>,
    /// The cell that they go to
    #[arg(long, value_name = "CELL", required = true)]
    to: Option<String>,
    #[command(flatten)]
    place: Folder,
    #[command(flatten)]
    replicas: Declared,
    /// State folder whose books say what these accounts make of the load [default: that of boot.yaml]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Time over which the replicas' load is measured
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = span)]
    measure: Duration,
    /// Announce them even if the target could not bear them with its largest zone gone
    #[arg(long)]
    over_capacity: bool,
}

pub(super) fn run(args: &Announce) -> Result<ExitCode, Stop> {
    let (Some(file), Some(to)) = (&args.accounts, &args.to) else {
        return Err(Stop::Refused("--accounts FILE and --to CELL say what is to be moved where".to_owned()));
    };
    let replicas = args.replicas.all()?;
    let _lock = writing::lock(args.place.path())?;
    let (sources, config) = args.place.read()?;
    let accounts = listed(file, &config)?;
    let name = file.display().to_string();
    let changed =
        moving::announce(&sources, &config, (&name, &accounts), to, now()).map_err(Stop::refused)?;
    let boot = config::parse_boot(&sources).map_err(Stop::Folder)?;
    let state_dir = args.state_dir.as_ref().unwrap_or(&boot.state_dir);
    let requests = requests_of(state_dir, SystemTime::now());
    let capacity = capacity((args, &replicas), &config, &accounts, to, requests.as_deref())?;
    let plan = Plan::between(&boot.guards, &config, &changed.config, requests);
    print(format!("{}\n{capacity}\n", plan.to_text()).as_bytes())?;
    args.place.write(&sources, &changed)?;
    let approval = match plan.verdict() {
        Verdict::Refused => " A guard would refuse it: have it approved (docs/approvals.md).",
        Verdict::Nothing | Verdict::Changes => "",
    };
    let folder = args.place.path().display();
    print(
        format!(
            "\nWritten: {}.{approval} Review it, deploy {folder}, and go on with: cellgate move advance --accounts {name} \
             --config {folder} {}\n",
            changed.files.join(", "),
            args.replicas.again()
        )
        .as_bytes(),
    )?;
    Ok(OK.into())
}

/// What the target can bear, in words; refused where it cannot.
fn capacity(
    (args, replicas): (&Announce, &[Named]),
    config: &Config,
    accounts: &[Listed],
    to: &str,
    requests: Option<&[(crate::policy::ids::AccountId, u64)]>,
) -> Result<String, Stop> {
    let Some(cell) = config.cells.iter().find(|cell| cell.name.as_str() == to) else {
        return Err(Stop::Refused(format!("there is no cell {to}")));
    };
    // Where one is asked twice, another one's load is missing.
    replicas::reported(replicas)?;
    let (rates, mut note) = match replicas {
        [] => (None, String::new()),
        some => match replicas::load(some, args.measure) {
            Ok(rates) => (Some(rates), String::new()),
            Err(why) => (None, format!("\n  ({why})")),
        },
    };
    let movers: Vec<_> = accounts.iter().map(|of| of.account).collect();
    let headroom = headroom(config, cell, &movers, rates.as_ref(), requests);
    if headroom.is_exceeded() && !args.over_capacity {
        return Err(Stop::Refused(format!(
            "{headroom}{note}\nWith its largest zone gone, {to} could not bear these accounts beside its present load. Give \
             it capacity, move fewer, or say --over-capacity."
        )));
    }
    if headroom.is_exceeded() {
        note.push_str("\n  More than is left without its largest zone: --over-capacity lets it through.");
    }
    Ok(format!("{headroom}{note}"))
}
