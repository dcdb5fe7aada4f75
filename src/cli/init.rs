//! `cellgate init`: a configuration to start with, in a new folder, from a list of accounts and cells.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use super::form::Form;
use super::import::{PATHS, listed, text};
use super::{OK, USAGE, complain, now, print_line};
use crate::config;
use crate::import::PathTemplate;
use crate::init::{self, NewCell, Starting};
use crate::policy::code::Code;
use crate::policy::ids::Label;

/// Write a configuration to start with, from a list of accounts and cells.
///
/// The folder that it writes is good as it stands: `cellgate check` says so. Read the comments in it, and change what they ask
/// for. The list of accounts has rows of id, prefix and cell (12345,acme,cell-2), with or without a first line that names them.
///
/// Exit codes: 0 written, 1 it cannot be written, 64 wrong arguments or lists (nothing is written).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The list of accounts; `cellgate import` makes one of another proxy's map
    #[arg(long, value_name = "FILE")]
    accounts: PathBuf,
    /// A cell: its name, the domain of its accounts' addresses, and where it listens; may be given several times
    #[arg(long = "cell", value_name = "NAME=DOMAIN,ADDRESS:PORT")]
    cells: Vec<NewCell>,
    /// A list of cells, as rows of name, domain and addresses
    #[arg(long = "cells", value_name = "FILE", conflicts_with = "cells", required_unless_present = "cells")]
    cells_file: Option<PathBuf>,
    /// The cell that is the old shared environment
    #[arg(long, value_name = "NAME")]
    shared: Option<String>,
    /// A deprecated address, whose requests say elsewhere whose they are; may be given several times
    #[arg(long = "legacy-host", value_name = "HOST", value_parser = host)]
    legacy_hosts: Vec<String>,
    /// Paths that carry an account's id; may be given several times
    #[arg(long = "path", value_name = "TEMPLATE", default_values = PATHS)]
    paths: Vec<PathTemplate>,
    /// The configuration folder: one that does not exist, or is empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    form: Form,
}

fn host(text: &str) -> Result<String, &'static str> {
    let host = text.to_ascii_lowercase();
    let sound = host.contains('.') && host.split('.').all(|label| Label::check(label).is_ok());
    sound.then_some(host).ok_or("expected a host name without scheme and port, such as cloud.example.com")
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let starting = match starting(args) {
        Ok(starting) => starting,
        Err(problems) => {
            complain(&problems.join("\n"));
            complain(&format!("Nothing was written. [{}]", Code::NoNewFolder));
            return Ok(USAGE.into());
        }
    };
    let files = starting.files();
    if let Err(problems) = config::parse_all(&init::sources(&args.out, &files), now()) {
        args.form.tell(&problems)?;
        complain(
            "These are lines of what would be written; what is wrong in them came from --cell, --cells or --accounts.",
        );
        return Ok(USAGE.into());
    }
    write(&args.out, &files).with_context(|| format!("writing {}", args.out.display()))?;
    print_line(&match args.form.is_json() {
        true => report(args, &starting, &files).to_string(),
        false => told(args, &starting, &files),
    })?;
    Ok(OK.into())
}

fn starting(args: &Args) -> Result<Starting, Vec<String>> {
    let taken = fs::symlink_metadata(&args.out).is_ok();
    let empty = fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_none());
    if taken && !empty {
        let out = args.out.display();
        return Err(vec![format!(
            "cellgate: {out} is there already, and not empty; name a folder that does not exist"
        )]);
    }
    let cells = match &args.cells_file {
        Some(path) => init::cells(&path.display().to_string(), &text(path).map_err(|why| vec![why])?)?,
        None => args.cells.clone(),
    };
    let names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
    if let Some(shared) = args.shared.as_deref().filter(|shared| !names.contains(shared)) {
        return Err(vec![format!("cellgate: --shared {shared}: the cells are {}", names.join(", "))]);
    }
    let listed = listed(&args.accounts, &names)?;
    let accounts = init::placed(&args.accounts.display().to_string(), listed, &cells)?;
    let (shared, legacy_hosts, paths) = (args.shared.clone(), args.legacy_hosts.clone(), args.paths.clone());
    Ok(Starting { cells, shared, accounts, legacy_hosts, paths, now: now() })
}

/// Whole or not at all, but for a folder that was there.
fn write(out: &Path, files: &BTreeMap<&'static str, String>) -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(out)?;
    let written = files.iter().try_for_each(|(name, text)| write_new(&out.join(name), text));
    if written.is_err() {
        for name in files.keys() {
            // It was not there before; what cannot be removed is said by the error.
            let _ = fs::remove_file(out.join(name));
        }
    }
    written
}

/// Writes a file that is not there, which others may read and nobody else may change.
pub(super) fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    let mut file = file.with_context(|| format!("writing {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))
}

fn told(args: &Args, starting: &Starting, files: &BTreeMap<&'static str, String>) -> String {
    let out = args.out.display();
    let names: Vec<&str> = files.keys().copied().collect();
    let (cells, accounts) = (starting.cells.len(), starting.accounts.len());
    format!(
        "Wrote {} into {out}: {cells} cells, {accounts} accounts. Lines with CHANGE are waiting for you.\nNext:\n  \
         cellgate check --config {out}\n  cellgate serve --config {out} --bootstrap\n  {}",
        names.join(", "),
        first_request(starting)
    )
}

/// The same for programs.
fn report(args: &Args, starting: &Starting, files: &BTreeMap<&'static str, String>) -> serde_json::Value {
    let files: Vec<&str> = files.keys().copied().collect();
    let (cells, accounts) = (starting.cells.len(), starting.accounts.len());
    serde_json::json!({ "folder": args.out, "files": files, "cells": cells, "accounts": accounts })
}

/// For another terminal.
fn first_request(starting: &Starting) -> String {
    let domain = |cell: &str| starting.cells.iter().find(|one| one.name == cell).map(|one| &one.domain);
    let with_prefix =
        starting.accounts.iter().find_map(|(one, cell)| Some((one.prefixes.first()?, domain(cell)?)));
    let host = match (with_prefix, starting.legacy_hosts.first()) {
        (Some((prefix, domain)), _) => {
            return format!("curl -i http://127.0.0.1:8080/ -H 'Host: {prefix}.{domain}'");
        }
        (None, Some(host)) => host,
        (None, None) => "PREFIX.DOMAIN",
    };
    let path = starting.paths.first().map(ToString::to_string).unwrap_or_default();
    let id = starting.accounts.first().map(|(one, _)| one.id.to_string()).unwrap_or_default();
    let path = path.replace("{account}", &id);
    format!("curl -i http://127.0.0.1:8080{path}/ -H 'Host: {host}' -H \"Authorization: Bearer $TOKEN\"")
}
