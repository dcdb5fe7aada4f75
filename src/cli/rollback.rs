//! `cellgate rollback`: an older configuration as a folder to review and deploy, with every account left where it is.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};

use super::audit::{Source, plain};
use super::form::Form;
use super::history::{read, sources};
use super::{OK, now, print, print_line};
use crate::config::files::stays_inside;
use crate::config::rollback::RolledBack;
use crate::config::{self, BOOT_FILE, ROUTING_FILE, Sources};
use crate::history::{NOTE_FILE, Note};
use crate::last_good;

/// Write an older configuration into a new folder, with every account in the cell where it is now.
///
/// Nothing that runs is changed. Read the folder, and deploy it like any other change: the guards judge it. Account
/// moves are never taken back, because that would send writes backwards: whoever moved since stays, and so does whoever
/// came since. Keys in the configuration folder are written too, readable by you alone.
///
/// Exit codes: 0 written, 1 cannot be done (nothing is written), 64 wrong arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of the configuration, as `cellgate history` lists it
    #[arg(long, value_name = "N")]
    to: u64,
    /// Where to write it: a folder that does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    form: Form,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let state_dir = &args.source.state_dir;
    let (older, _) = sources(state_dir, args.to)?;
    let (live, _) = read(&state_dir.join(last_good::FILE_NAME))?;
    let rolled_back = config::rollback(&older, &live, now())
        .with_context(|| format!("going back to {}: nothing was written", args.to))?;
    let note = Note {
        hash: rolled_back.hash.to_string(),
        who: std::env::var("USER").ok().filter(|user| !user.is_empty()),
        why: args.reason.clone(),
        restores: Some(args.to),
    };
    write(&args.out, &rolled_back.sources, &note)?;
    if args.form.is_json() {
        print_line(&as_value(args, &rolled_back).to_string())?;
    } else {
        print(told(args, &rolled_back).as_bytes())?;
    }
    Ok(OK.into())
}

fn as_value(args: &Args, rolled_back: &RolledBack) -> serde_json::Value {
    let (kept, changes) = (rolled_back.kept.to_string(), rolled_back.diff.to_string());
    serde_json::json!({
        "number": args.to, "out": args.out, "hash": rolled_back.hash, "kept": kept.lines().collect::<Vec<_>>(),
        "changes": changes.split("; ").collect::<Vec<_>>(),
    })
}

fn told(args: &Args, rolled_back: &RolledBack) -> String {
    let out = args.out.display();
    let kept = rolled_back.kept.to_string();
    let kept = if kept.is_empty() {
        "nothing had to be kept: no account has moved or come since".to_owned()
    } else {
        kept
    };
    let lines = kept.lines().map(|line| format!("  {}\n", plain(line))).collect::<String>();
    let changes = plain(&rolled_back.diff.to_string());
    let changes = changes.split("; ").map(|line| format!("  {line}\n")).collect::<String>();
    format!(
        "Number {} was written to {out} (hash {}).\n{lines}Against what serves now:\n{changes}Nothing that runs has changed. \
         Compare {out} with the configuration folder (diff -r), and deploy it like any other change.\n",
        args.to,
        &rolled_back.hash[..12],
    )
}

/// Writes what lies in a configuration folder. Where it cannot be finished, nothing of it stays.
fn write(out: &Path, sources: &Sources, note: &Note) -> anyhow::Result<()> {
    ensure!(
        fs::symlink_metadata(out).is_err(),
        "{} is there already: name a folder that does not exist, so that nothing of it is mixed in",
        out.display()
    );
    let written = write_all(out, sources, note).with_context(|| format!("writing {}", out.display()));
    if written.is_err() {
        // The folder is ours and half of a configuration; what cannot be removed is said by the error.
        let _ = fs::remove_dir_all(out);
    }
    written
}

fn write_all(out: &Path, sources: &Sources, note: &Note) -> anyhow::Result<()> {
    // There are keys in it.
    let mut folders = DirBuilder::new();
    folders.recursive(true).mode(0o700);
    folders.create(out)?;
    let named = [(BOOT_FILE, &sources.boot), (ROUTING_FILE, &sources.routing)];
    let files = sources.files.iter().map(|(path, text)| (&**path, text));
    for (path, text) in named.into_iter().chain(files).filter(|(path, _)| stays_inside(path)) {
        let Ok(text) = text else { continue };
        let to = out.join(path);
        folders.create(to.parent().unwrap_or(out))?;
        write_new(&to, text)?;
    }
    let mut note = serde_json::to_vec_pretty(note)?;
    note.push(b'\n');
    write_new(&out.join(NOTE_FILE), &note)
}

fn write_new(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text).with_context(|| path.display().to_string())
}
