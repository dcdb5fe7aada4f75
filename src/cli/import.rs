//! `cellgate import`: the map of another proxy as a table of accounts, and every line that is not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;
use serde_json::json;

use super::form::Form;
use super::{OK, USAGE, complain, print, print_line};
use crate::config::problem::did_you_mean;
use crate::import::list::{self, Listed};
use crate::import::{
    HostPattern, Joined, Known, Left, MAX_MAP_BYTES, PathTemplate, Read, Shapes, envoy, haproxy, join, nginx,
    table,
};
use crate::load;
use crate::policy::code::Code;

/// Some lines of the map are not in the table.
const LEFT: u8 = 2;

/// Most lines of one reason that are told one by one; the others are counted.
const MOST_TOLD: usize = 20;

/// Where ids stand in paths unless somebody says otherwise.
pub(super) const PATHS: [&str; 2] = ["/api/v2/accounts/{account}", "/api/v3/accounts/{account}"];

/// Turn the map of another proxy into a table of accounts.
///
/// A line is taken over where it leads all requests of an account to one backend. Everything else is said, with its line and
/// why, and is not in the table. Nothing but FILE, what it includes and --ids is read; nothing that runs is changed.
///
/// Exit codes: 0 every line is in the table, 2 the table is written and some lines are not in it, 64 wrong arguments, a file
/// that is no such map or of which nothing can be taken over, or lines that contradict each other (nothing is written).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose map it is: `map` blocks of nginx, a map file of HAProxy, or a route configuration of Envoy
    #[arg(value_enum)]
    kind: Kind,
    /// The file
    file: PathBuf,
    /// nginx: the variable that the map sets, where the file has several maps
    #[arg(long, value_name = "$VARIABLE")]
    map: Option<String>,
    /// Hosts whose first label is an account's prefix, such as '{prefix}.us1.dbt.com'; may be given several times
    #[arg(long = "host", value_name = "PATTERN")]
    hosts: Vec<HostPattern>,
    /// Paths that carry an account's id; may be given several times
    #[arg(long = "path", value_name = "TEMPLATE", default_values = PATHS)]
    paths: Vec<PathTemplate>,
    /// The cell that a backend of the map is; without it, a backend's name is its cell's
    #[arg(long = "cell", value_name = "BACKEND=CELL", value_parser = renamed)]
    cells: Vec<(String, String)>,
    /// A list of all accounts, as rows of id and prefixes: where the map names accounts by their prefix
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
    /// The cell of accounts of --ids that the map does not name, as its default has it. Accounts that a line may lead which is
    /// not taken over get no row
    #[arg(long, value_name = "CELL", requires = "ids")]
    rest: Option<String>,
    /// Where to write the table: a file that does not exist; the standard output without it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

/// Whose map.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// `map $host $backend { ... }`, or over $uri, $http_...
    Nginx,
    /// A map file: a key and a value a line
    Haproxy,
    /// A route configuration (RDS, listener or bootstrap), YAML or JSON
    EnvoyMap,
}

fn renamed(text: &str) -> Result<(String, String), &'static str> {
    let pair = text.rsplit_once('=').filter(|(backend, cell)| !backend.is_empty() && !cell.is_empty());
    pair.map(|(backend, cell)| (backend.to_owned(), cell.to_owned())).ok_or("expected BACKEND=CELL")
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.form.is_json() && args.out.is_none() {
        complain("cellgate: the table would stand before the JSON; name a file for it with --out");
        return Ok(USAGE.into());
    }
    if let Some(out) = args.out.as_deref().filter(|out| out.exists()) {
        complain(&format!(
            "cellgate: {} is there already; name a file that does not exist. Nothing was written. [{}]",
            out.display(),
            Code::NoNewFolder
        ));
        return Ok(USAGE.into());
    }
    let joined = match joined(args) {
        Ok(joined) => joined,
        Err(problems) => {
            complain(&problems.join("\n"));
            complain(&format!("Nothing was written. [{}]", Code::MapNotRead));
            return Ok(USAGE.into());
        }
    };
    if joined.rows.is_empty() {
        if args.form.is_json() {
            print_line(&report(&joined).to_string())?;
        }
        complain(&left(&joined.left).join("\n"));
        complain(&format!("No account can be taken over. Nothing was written. [{}]", Code::MapNotRead));
        return Ok(USAGE.into());
    }
    match &args.out {
        Some(out) => super::init::write_new(out, &joined.csv())?,
        None => print(joined.csv().as_bytes())?,
    }
    if args.form.is_json() {
        print_line(&report(&joined).to_string())?;
    } else {
        complain(&told(args, &joined));
    }
    Ok(if joined.left.is_empty() { OK } else { LEFT }.into())
}

fn joined(args: &Args) -> Result<Joined, Vec<String>> {
    let text = text(&args.file).map_err(|why| vec![why])?;
    let read = read(args, &text).map_err(|why| vec![format!("cellgate: {why}")])?;
    if read.ways.is_empty() && read.left.is_empty() && read.otherwise.is_empty() {
        return Err(vec![format!("cellgate: {}: the map has no lines", args.file.display())]);
    }
    let cells: BTreeMap<String, String> = args.cells.iter().cloned().collect();
    let unused = unused(&cells, &read);
    if !unused.is_empty() {
        return Err(unused);
    }
    let ids = args
        .ids
        .as_deref()
        .map(|path| listed(path, &[]).map(|listed| (listed, path.display().to_string())))
        .transpose()?;
    let known = Known {
        ids: ids.as_ref().map(|(listed, file)| (listed.as_slice(), file.as_str())),
        rest: args.rest.as_deref(),
    };
    join(table(read, &cells).map_err(said)?, known).map_err(said)
}

fn said<E: ToString>(problems: Vec<E>) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn read(args: &Args, map: &str) -> anyhow::Result<Read> {
    let shapes = Shapes { hosts: args.hosts.clone(), paths: args.paths.clone() };
    let file = args.file.display().to_string();
    Ok(match args.kind {
        Kind::Nginx => {
            // As nginx has it where the file lies in its own folder.
            let folder = args.file.parent().unwrap_or(Path::new("")).to_owned();
            let mut include = |name: &str| plain(&folder.join(name));
            nginx::read(&file, map, args.map.as_deref(), &shapes, &mut include)?
        }
        _ if args.map.is_some() => bail!("--map is for nginx; the other maps have no variable"),
        Kind::Haproxy => haproxy::read(&file, map, &shapes)?,
        Kind::EnvoyMap => envoy::read(&file, map, &shapes)?,
    })
}

/// A name that no line leads to is a typing mistake, and its accounts would be left.
fn unused(cells: &BTreeMap<String, String>, read: &Read) -> Vec<String> {
    let defaults = read.otherwise.iter().map(|(_, target)| target.as_str());
    let targets: BTreeSet<&str> = read.ways.iter().map(|way| way.target.as_str()).chain(defaults).collect();
    let unused = cells.keys().filter(|backend| !targets.contains(backend.as_str()));
    unused
        .map(|backend| {
            let hint = did_you_mean(backend, targets.iter().copied())
                .map_or(String::new(), |hint| format!(" ({hint})"));
            format!("cellgate: --cell {backend}=...: no line of an account leads to {backend:?}{hint}")
        })
        .collect()
}

/// A list whose rows may name these cells.
pub(super) fn listed(path: &Path, cells: &[&str]) -> Result<Vec<Listed>, Vec<String>> {
    let text = text(path).map_err(|why| vec![why])?;
    list::read(&path.display().to_string(), &text, cells)
}

/// A bounded file as text, or what is said of it.
pub(super) fn text(path: &Path) -> Result<String, String> {
    plain(path).map_err(|why| format!("cellgate: {why}"))
}

fn plain(path: &Path) -> Result<String, String> {
    let bytes = load::bounded(path, MAX_MAP_BYTES)
        .map_err(|error| format!("{} {}; expected {}", path.display(), error.what, error.expected))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("{}: byte {at} is not UTF-8; expected text in UTF-8", path.display())
    })
}

/// What is in the table, what is not, and what to do next.
fn told(args: &Args, joined: &Joined) -> String {
    let mut lines = left(&joined.left);
    let cells = joined.cells();
    let shares: Vec<String> = cells.iter().map(|(cell, accounts)| format!("{cell} {accounts}")).collect();
    let left = match joined.left.len() {
        0 => "every line is in the table".to_owned(),
        1 => format!("1 line is not in the table, see above [{}]", Code::LineNotTakenOver),
        more => format!("{more} lines are not in the table, see above [{}]", Code::LineNotTakenOver),
    };
    let accounts = joined.rows.len();
    lines.extend((joined.without_rest > 0).then(|| {
        let held = joined.without_rest;
        format!(
            "{held} accounts of --ids got no row by --rest, because lines above may lead them elsewhere: give them rows by hand."
        )
    }));
    lines.push(format!(
        "{accounts} accounts ({}); {left}.",
        if shares.is_empty() { "none".to_owned() } else { shares.join(", ") }
    ));
    if let Some(out) = args.out.as_deref().filter(|_| accounts > 0) {
        let cells: Vec<String> =
            cells.keys().map(|cell| format!(" --cell {cell}=DOMAIN,ADDRESS:PORT")).collect();
        lines.push(format!(
            "Next, with the domain and the addresses of each cell:\n  cellgate init --accounts {}{} --legacy-host HOST --out config",
            out.display(),
            cells.concat()
        ));
    }
    lines.join("\n")
}

/// The same for programs, with every line that was left.
fn report(joined: &Joined) -> serde_json::Value {
    let left = joined.left.iter().map(|one| {
        let (file, line) = (&one.place.file, one.place.line);
        json!({ "file": **file, "line": line, "what": one.what, "why": one.why, "code": Code::LineNotTakenOver.to_string() })
    });
    json!({ "accounts": joined.rows.len(), "cells": joined.cells(), "not_taken_over": left.collect::<Vec<_>>() })
}

/// Lines by their reason, the first of each one by one.
fn left(left: &[Left]) -> Vec<String> {
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lines = Vec::new();
    for one in left {
        let count = told.entry(one.why.as_str()).or_default();
        *count += 1;
        if *count <= MOST_TOLD {
            lines.push(format!("not taken over: {one}"));
        }
    }
    let more = told.iter().filter(|(_, count)| **count > MOST_TOLD);
    lines.extend(more.map(|(why, count)| format!("not taken over: {} lines more: {why}", count - MOST_TOLD)));
    lines
}
