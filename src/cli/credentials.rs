//! `cellgate credentials`: what replicas have learned becomes the table that ships with the configuration, so that
//! a replica which has learned nothing knows what the others know. Fingerprints only; no token is ever seen.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::admin_socket::ask;
use super::form::Form;
use super::{ConfigFolder, OK, USAGE, complain, now, print, print_line};
use crate::config::credential_table::{self, Input, LeftOut, Merged, Reason, Scope};
use crate::{learned_file, load};

/// A million entries are written in a second or two.
const WITHIN: Duration = Duration::from_secs(20);

/// Most of a file that is read: twenty million rows, twice what a table may have.
const MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Make the table of known credentials from what replicas have learned.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print what a replica has learned, as a table
    Export(Export),
    /// Merge exports of many replicas into the table of the configuration
    Merge(Merge),
}

/// Print what a replica has learned, as a table: fingerprints and accounts, never tokens.
///
/// Credentials that were seen with two accounts stand in it as comments, which keep them out of what it is
/// merged into. Exit codes: 0 printed (also when nothing was learned), 1 it cannot be read, 64 wrong arguments.
#[derive(Debug, clap::Args)]
struct Export {
    /// The replica's state folder, as last written there (every 30 seconds, and at the end of the process)
    #[arg(long, value_name = "DIR", default_value = "state", conflicts_with = "socket")]
    state_dir: PathBuf,
    /// The admin socket of the replica, which knows the last 30 seconds too
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

/// Merge exports of many replicas into the table of the configuration.
///
/// What people wrote in it stays as it is; what replicas have learned comes behind it, sorted. A credential of
/// two accounts, an account without a row and a key that the configuration does not have are left out, and each
/// is said on standard error. Exit codes: 0 merged, 1 a file cannot be read or written, 64 wrong arguments, or a
/// configuration or a table with mistakes in it; then nothing is written.
#[derive(Debug, clap::Args)]
struct Merge {
    /// Exports
    #[arg(value_name = "FILE", required = true)]
    exports: Vec<PathBuf>,
    /// The present table; the result takes its place, unless --out names another
    #[arg(long, value_name = "FILE", required_unless_present = "out")]
    into: Option<PathBuf>,
    /// Write the result here, and leave the present table as it is
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFolder,
    #[command(flatten)]
    form: Form,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Export(args) => export(args),
        Command::Merge(args) => merge(args),
    }
}

fn export(args: &Export) -> anyhow::Result<ExitCode> {
    let (bytes, place) = match &args.socket {
        Some(socket) => (of_process(socket)?, socket.clone()),
        None => {
            let path = args.state_dir.join(learned_file::FILE_NAME);
            (read(&path).context("nothing was learned there yet, or --state-dir names another folder")?, path)
        }
    };
    let learned = learned_file::parse(&bytes)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("learned credentials of {} cannot be used", place.display()))?;
    let export = credential_table::export(&learned, u64::try_from(now()).unwrap_or(0));
    if args.form.is_json() {
        print_line(&serde_json::to_string(&Exported::from(&export)).context("writing JSON")?)?;
        return Ok(OK.into());
    }
    print(export.text.as_bytes())?;
    let of_key = |(key, entries): (&String, &usize)| format!("{entries} credentials of key {key}");
    let rows: Vec<String> = export.by_key.iter().map(of_key).collect();
    complain(&format!(
        "{}; left out: {} ambiguous (as comments), {} that nothing has confirmed for too long.",
        if rows.is_empty() { "no credentials".to_owned() } else { rows.join(", ") },
        export.ambiguous.len(),
        export.expired
    ));
    Ok(OK.into())
}

/// An export for programs. `merge` reads the table.
#[derive(Serialize)]
struct Exported<'a> {
    credentials: Vec<Credential<'a>>,
    /// Kept out of what it is merged into.
    ambiguous: Vec<Credential<'a>>,
    /// How many nothing has confirmed for too long; they are left out.
    expired: usize,
}

#[derive(Serialize)]
struct Credential<'a> {
    key_id: &'a str,
    fingerprint: String,
    /// Nobody's, of one that is ambiguous.
    account: Option<u64>,
}

impl<'a> From<&'a credential_table::Export> for Exported<'a> {
    fn from(export: &'a credential_table::Export) -> Self {
        let known = export.rows.iter().map(|row| Credential {
            key_id: &row.key_id,
            fingerprint: row.fingerprint.to_string(),
            account: Some(row.account.value()),
        });
        let ambiguous = export.ambiguous.iter().map(|(fingerprint, key_id)| Credential {
            key_id,
            fingerprint: fingerprint.to_string(),
            account: None,
        });
        Self { credentials: known.collect(), ambiguous: ambiguous.collect(), expired: export.expired }
    }
}

fn of_process(socket: &Path) -> anyhow::Result<Vec<u8>> {
    let answer = ask(socket, "GET /credentials", WITHIN)?;
    if answer.is_ok {
        return Ok(answer.body.into_bytes());
    }
    let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let words = ["what", "next"].map(|field| said[field].as_str().unwrap_or_default());
    anyhow::bail!("{}", words.join(" ").trim().to_owned())
}

fn merge(args: &Merge) -> anyhow::Result<ExitCode> {
    let scope = match Scope::read(load::load(args.config.place()), now()) {
        Ok(scope) => scope,
        Err(problems) => {
            args.form.tell(&problems)?;
            return Ok(USAGE.into());
        }
    };
    let present = args.into.as_ref().filter(|path| path.exists()).map(|path| named(path)).transpose()?;
    let exports = args.exports.iter().map(|path| named(path)).collect::<anyhow::Result<Vec<_>>>()?;
    fn input((name, text): &(String, Vec<u8>)) -> Input<'_> {
        Input { name, text }
    }
    let inputs: Vec<Input<'_>> = exports.iter().map(input).collect();
    let merged = match credential_table::merge(present.as_ref().map(input), &inputs, &scope) {
        Ok(merged) => merged,
        Err(problems) => {
            args.form.tell(&problems)?;
            return Ok(USAGE.into());
        }
    };
    let target = args.out.as_ref().or(args.into.as_ref()).expect("clap asks for one of the two");
    let changes = read_where_there(target)?.is_none_or(|before| before != merged.text.as_bytes());
    if changes {
        write(target, &merged.text).with_context(|| format!("writing {}", target.display()))?;
    }
    report(args.form, target, &merged, changes)?;
    Ok(OK.into())
}

fn report(form: Form, target: &Path, merged: &Merged, changes: bool) -> anyhow::Result<()> {
    let count = |reason| merged.left_out.iter().filter(|out| out.reason == reason).count();
    let reasons = [Reason::Ambiguous, Reason::NoAccount, Reason::UnknownKey];
    if form.is_json() {
        let view = |out: &LeftOut| {
            serde_json::json!({
                "key_id": out.key_id, "fingerprint": out.fingerprint.to_string(),
                "reason": out.reason.as_str(), "places": out.places,
            })
        };
        let left_out: Vec<_> = merged.left_out.iter().map(view).collect();
        let told = serde_json::json!({
            "file": target.display().to_string(), "changed": changes, "added": merged.added, "kept": merged.kept,
            "duplicates": merged.duplicates, "left_out": left_out,
        });
        return print_line(&told.to_string());
    }
    let [ambiguous, no_account, unknown_key] = reasons.map(count);
    print_line(&format!(
        "{}: {}{} added, {} kept; dropped: {} duplicates, {ambiguous} ambiguous, {no_account} without an account, \
         {unknown_key} of an unknown key.",
        target.display(),
        if changes { "" } else { "unchanged; " },
        merged.added,
        merged.kept,
        merged.duplicates
    ))?;
    if !merged.left_out.is_empty() {
        complain(&merged.left_out.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
    Ok(())
}

/// A file with the name by which it was given.
fn named(path: &Path) -> anyhow::Result<(String, Vec<u8>)> {
    Ok((path.display().to_string(), read(path)?))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = || format!("reading {}", path.display());
    anyhow::ensure!(
        path.metadata().with_context(name)?.is_file(),
        "{} is no ordinary file; expected one",
        path.display()
    );
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).with_context(name)?;
    anyhow::ensure!(
        bytes.len() as u64 <= MAX_BYTES,
        "{} has more than {MAX_BYTES} bytes; expected a table",
        path.display()
    );
    Ok(bytes)
}

fn read_where_there(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    if path.exists() { read(path).map(Some) } else { Ok(None) }
}

/// Replaces a file in one step, with the permissions that it had: a process that watches the folder never sees
/// half of it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut part = path.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&part)?;
    if let Ok(before) = path.metadata() {
        file.set_permissions(before.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, &path)
}
