//! `cellgate move --accounts FILE --to CELL`: announces moves. Says what that changes and whether the target can bear it.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::form::Form;
use super::super::{OK, now, print, print_line, span};
use super::replicas::{self, Declared, Named};
use super::{Folder, Stop, listed, writing};
use crate::app::requests_of;
use crate::config::headroom::{Headroom, headroom};
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
    #[command(flatten)]
    pub(super) form: Form,
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
        moving::announce(&sources, &config, (&name, &accounts), to, now()).map_err(Stop::Against)?;
    let boot = config::parse_boot(&sources).map_err(Stop::Folder)?;
    let state_dir = args.state_dir.as_ref().unwrap_or(&boot.state_dir);
    let requests = requests_of(state_dir, SystemTime::now());
    let capacity = capacity((args, &replicas), &config, &accounts, to, requests.as_deref())?;
    let plan = Plan::between(&boot.guards, &config, &changed.config, requests);
    let folder = args.place.path().display().to_string();
    let next = format!("cellgate move advance --accounts {name} --config {folder} {}", args.replicas.again());
    if args.form.is_json() {
        args.place.write(&sources, &changed)?;
        let told = json!({
            "outcome": "announced", "folder": folder, "hash": changed.config.hash, "written": changed.files,
            "to": to, "accounts": accounts.len(), "plan": plan.view(), "capacity": capacity.to_json(), "next": next,
        });
        print_line(&told.to_string())?;
        return Ok(OK.into());
    }
    // Before it is written, so that whoever cannot write has read it.
    print(format!("{}\n{capacity}{}\n", plan.to_text(), capacity.insisted()).as_bytes())?;
    args.place.write(&sources, &changed)?;
    let approval = match plan.verdict() {
        Verdict::Refused => " A guard would refuse it: have it approved (docs/approvals.md).",
        Verdict::Nothing | Verdict::Changes => "",
    };
    let files = changed.files.join(", ");
    print_line(&format!("\nWritten: {files}.{approval} Review it, deploy {folder}, and go on with: {next}"))?;
    Ok(OK.into())
}

/// What the target can bear.
struct Capacity {
    headroom: Headroom,
    /// Why replicas' load is not known, where they were asked for it.
    unknown: Option<String>,
}

impl Capacity {
    /// What whoever insists is told.
    fn insisted(&self) -> &'static str {
        match self.headroom.is_exceeded() {
            true => "\n  More than is left without its largest zone: --over-capacity lets it through.",
            false => "",
        }
    }

    fn to_json(&self) -> Value {
        let Headroom { cell, declared, without_largest_zone, present, movers } = &self.headroom;
        json!({
            "cell": cell, "declared_rps": declared, "without_largest_zone_rps": without_largest_zone,
            "present_rps": present, "movers_rps": movers, "is_exceeded": self.headroom.is_exceeded(),
            "unknown": self.unknown,
        })
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.headroom)?;
        self.unknown.as_ref().map_or(Ok(()), |why| write!(f, "\n  ({why})"))
    }
}

/// What the target can bear; refused where it cannot, and nobody insists.
fn capacity(
    (args, replicas): (&Announce, &[Named]),
    config: &Config,
    accounts: &[Listed],
    to: &str,
    requests: Option<&[(crate::policy::ids::AccountId, u64)]>,
) -> Result<Capacity, Stop> {
    let Some(cell) = config.cells.iter().find(|cell| cell.name.as_str() == to) else {
        return Err(Stop::Refused(format!("there is no cell {to}")));
    };
    // Where one is asked twice, another one's load is missing.
    replicas::reported(replicas)?;
    let (rates, unknown) = match replicas {
        [] => (None, None),
        some => match replicas::load(some, args.measure) {
            Ok(rates) => (Some(rates), None),
            Err(why) => (None, Some(why)),
        },
    };
    let movers: Vec<_> = accounts.iter().map(|of| of.account).collect();
    let headroom = headroom(config, cell, &movers, rates.as_ref(), requests);
    let capacity = Capacity { headroom, unknown };
    if capacity.headroom.is_exceeded() && !args.over_capacity {
        return Err(Stop::Refused(format!(
            "{capacity}\nWith its largest zone gone, {to} could not bear these accounts beside its present load. Give \
             it capacity, move fewer, or say --over-capacity."
        )));
    }
    Ok(capacity)
}
