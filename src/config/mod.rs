//! The first floor: the configuration, from text to what `policy` decides with.
//!
//! [`Sources`] (bytes, read by `load`) become [`Boot`] and [`Config`], or *all* their problems; and
//! [`compile`] makes of a `Config` the next snapshot and cannot fail. No file, no clock and no environment
//! is read here: the moment is an argument.

pub mod access;
pub mod advance;
pub mod apply;
mod assets;
pub mod boot;
pub mod brownouts;
pub mod cells;
mod client_certificate;
mod clients;
mod compile;
pub mod compiled;
mod coverage;
pub mod credential_table;
pub mod diff;
mod endpoint_classes;
pub mod files;
pub mod guard;
pub mod headroom;
mod hosts;
pub mod http2;
pub mod identify;
mod moves;
mod moves_alone;
pub mod moving;
mod names;
mod networks;
mod ocsp;
mod old_reading;
pub mod plan;
pub mod problem;
pub mod protection;
mod raw;
pub mod reference;
mod revocation;
pub mod rollback;
mod routing;
mod routing_cookie;
pub mod scan;
pub mod schema;
pub mod secret;
pub mod settings;
mod slot;
mod state_dir;
mod table_files;
mod tables;
mod tickets;
pub mod time;
mod tls;

pub use boot::{Boot, changes as boot_changes};
pub use compile::compile;
pub use diff::{Diff, Traffic, View, diff, weigh};
pub use files::{
    BOOT_FILE, FileKind, FileText, ROUTING_FILE, Reference, Sources, Unreadable, hash, referenced_files,
};
pub use hosts::HostEntry;
pub use moves_alone::{CannotPart, MovesAlone, Whereabouts, moves_alone};
pub use problem::Problem;
pub use rollback::rollback;
pub use routing::{Change, Config};
pub use tables::RESERVED_PREFIXES;

use compiled::Compiled;
use names::Names;
use problem::Report;
use raw::{Shape, Tree};
use scan::Places;
use settings::Settings;
use slot::{At, Document, Slot};
use tables::{Lookup, accounts_csv};

use crate::policy::accounts::AccountTable;
use crate::policy::code::Code;

/// Keys of the routing configuration that settle nothing.
const BESIDE_SETTINGS: [&str; 1] = ["version"];

/// Reads `boot.yaml`.
pub fn parse_boot(sources: &Sources) -> Result<Boot, Vec<Problem>> {
    let report = Report::default();
    let boot = boot_of(sources, &report);
    finish(boot, report)
}

/// Reads the routing configuration. `boot` says which listeners it must serve (`None`: nothing is checked
/// against listeners); `now`, in seconds since the Unix epoch, is when certificates must be valid.
pub fn parse(sources: &Sources, boot: Option<&Boot>, now: i64) -> Result<Config, Vec<Problem>> {
    let report = Report::default();
    let config = routing_of(sources, boot, None, now, &report);
    finish(config, report)
}

/// Reads both, and reports the problems of both.
pub fn parse_all(sources: &Sources, now: i64) -> Result<(Boot, Config), Vec<Problem>> {
    parse_all_with(sources, None, now)
}

/// The same, and takes the large tables from `compiled` where that was made of these files.
pub fn parse_all_with(
    sources: &Sources,
    compiled: Option<&Compiled>,
    now: i64,
) -> Result<(Boot, Config), Vec<Problem>> {
    let report = Report::default();
    let boot = boot_of(sources, &report);
    let config = routing_of(sources, boot.as_ref(), compiled, now, &report);
    finish(boot.zip(config), report)
}

/// Reads the routing configuration for deciding only: certificates and keys for TLS and for sealing play
/// no part in a decision, and whoever explains one may not be allowed to read them, or not have them.
pub fn parse_for_deciding(sources: &Sources, now: i64) -> Result<Config, Vec<Problem>> {
    parse_as_far_as(sources, now, |_| true)
}

/// Reads the routing configuration without what plays no part in a decision, and without those problems that do
/// not matter.
fn parse_as_far_as(
    sources: &Sources,
    now: i64,
    matters: impl Fn(&Problem) -> bool,
) -> Result<Config, Vec<Problem>> {
    let report = Report::default();
    let config = routing_of(sources, None, None, now, &report);
    let decides = |problem: &Problem| {
        let in_cell = |part: &str| problem.path.starts_with("cells[") && problem.path.contains(part);
        let of_host = problem.path.starts_with("hosts[") && problem.path.contains("].client_certificate");
        let ours = problem.path.starts_with("certificates") || problem.path.starts_with("tls.");
        !(ours || of_host || in_cell("].tls") || in_cell("].seal"))
    };
    let problems = report.into_problems().into_iter();
    let problems: Vec<Problem> = problems.filter(|problem| decides(problem) && matters(problem)).collect();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        Some(_) | None => Err(problems),
    }
}

/// Reads the text of `accounts.csv` alone, as in a configuration that has these cells and schedules, no hosts and
/// no surfaces.
pub fn parse_accounts(text: &[u8], cells: &[&str], schedules: &[&str]) -> Result<AccountTable, Vec<Problem>> {
    let report = Report::default();
    let reserved = RESERVED_PREFIXES.map(|label| (label.to_owned(), "a reserved label")).into();
    let (cells, schedules) = (Names::given("cell", cells), Names::given("schedule", schedules));
    let lookup = Lookup { cells: &cells, schedules: &schedules, reserved: &reserved };
    let accounts = accounts_csv("accounts.csv", text, &lookup, &report).whole();
    finish(accounts, report)
}

/// Only what left no problem behind is a value.
fn finish<T>(value: Option<T>, report: Report) -> Result<T, Vec<Problem>> {
    if report.is_empty() {
        Ok(value.expect("what could not be read was reported"))
    } else {
        Err(report.into_problems())
    }
}

/// What whoever has no configuration there does next.
const ANOTHER_FOLDER: &str = "--config DIR names another folder, and `cellgate init` writes a new one";

fn boot_of(sources: &Sources, report: &Report) -> Option<Boot> {
    let (file, folder) = sources.boot_place();
    let named = if sources.boot_file.is_some() { "--boot names another file" } else { ANOTHER_FOLDER };
    let text = text(BOOT_FILE, &sources.boot, &format!("tried {}; {named}", file.display()), report)?;
    let (document, raw) = document(BOOT_FILE, text, report)?;
    Some(boot::read(raw, &At::root(&document), &folder, &sources.folder))
}

fn routing_of(
    sources: &Sources,
    boot: Option<&Boot>,
    compiled: Option<&Compiled>,
    now: i64,
    report: &Report,
) -> Option<Config> {
    let file = sources.folder.join(ROUTING_FILE);
    let tried = format!("tried {}; {ANOTHER_FOLDER}", file.display());
    let (places, tree) = tree(ROUTING_FILE, text(ROUTING_FILE, &sources.routing, &tried, report)?, report)?;
    let mut settings = Settings::new();
    settings::take_in(&mut settings, "", &tree, &BESIDE_SETTINGS);
    let (document, raw) = typed(ROUTING_FILE, places, tree, report)?;
    settings.extend(settings::contents(&raw, sources));
    routing::read(raw, &At::root(&document), sources, routing::Beside { boot, compiled, settings, now })
}

fn text<'s>(file: &str, text: &'s FileText, tried: &str, report: &Report) -> Option<&'s [u8]> {
    match text {
        Ok(text) => Some(text),
        Err(unreadable) => {
            let what = format!("the file {}", unreadable.what);
            let problem = Problem::in_file(Code::FileNotRead, file, what, unreadable.expected.as_str());
            report.push(problem.with_hint(Some(tried.to_owned())));
            None
        }
    }
}

/// A YAML file, and where its values stand.
fn tree(file: &str, bytes: &[u8], report: &Report) -> Option<(Places, Tree)> {
    let (text, places) = scan::scan(file, bytes, report)?;
    match raw::parse(text) {
        Ok(tree) => Some((places, tree)),
        Err((place, what)) => {
            let problem = Problem::in_file(
                Code::NotYaml,
                file,
                format!("not readable as YAML: {what}"),
                "well-formed YAML",
            );
            report.push(match place {
                Some((line, column)) => problem.at_column(line, column),
                None => problem,
            });
            None
        }
    }
}

/// A YAML file as raw values with their places.
fn document<'a, T: Shape>(file: &'a str, bytes: &[u8], report: &'a Report) -> Option<(Document<'a>, T)> {
    let (places, tree) = tree(file, bytes, report)?;
    typed(file, places, tree, report)
}

/// What such a file holds, as raw values.
fn typed<'a, T: Shape>(
    file: &'a str,
    places: Places,
    tree: Tree,
    report: &'a Report,
) -> Option<(Document<'a>, T)> {
    match T::read(tree) {
        Ok(raw) => Some((Document { file, places, report }, raw)),
        Err(found) => {
            let problem = Problem::in_file(
                Code::NotAMapping,
                file,
                format!("found {found}"),
                "a mapping that begins with `version: 1`",
            );
            let (line, column) = places.find("").unwrap_or((1, 1));
            report.push(problem.at_column(line, column));
            None
        }
    }
}

/// The only version of every format so far. What has another one never serves.
fn version(slot: Slot<'_, u64>) {
    slot.parse(Code::Version, "1, the only version of this format", |version| (version == 1).then_some(()))
        .required();
}
