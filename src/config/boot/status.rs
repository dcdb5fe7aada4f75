//! `status` of `boot.yaml`: where people outside see how the service stands, and under which names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::web_address::{is_private, without_password};
use super::{PATH, default, path_in};
use crate::config::problem::did_you_mean;
use crate::config::raw;
use crate::config::slot::{At, Slot};
use crate::policy::code::Code;
use crate::policy::line::is_line;
use crate::policy::snapshot::Snapshot;

/// Where and how it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The heading of the page.
    pub title: String,
    /// The public door.
    pub address: Option<SocketAddr>,
    /// A folder for page and JSON.
    pub publish: Option<PathBuf>,
    /// Who is told of each change.
    pub webhook: Option<StatusWebhook>,
    /// What has no public name is shown by its own.
    pub internal_names: bool,
    /// How cells are called, by their own names.
    pub cells: BTreeMap<String, String>,
    /// How surfaces are called.
    pub surfaces: BTreeMap<String, String>,
}

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusWebhook {
    /// The address, which may hold what only the receiver is to know.
    pub url: String,
    /// The file with the secret.
    pub secret_file: PathBuf,
    /// Authorities in place of those of the system.
    pub ca_file: Option<PathBuf>,
}

/// Longest title and public name, in characters: they stand in one line of a telephone, or two.
const MAX_NAME: usize = 60;

/// Most names of one list: more than a configuration has cells.
const MAX_NAMES: usize = 9_000;

/// `folder` is the one that the file lies in.
pub(super) fn read(raw: raw::Status, at: &At<'_>, folder: &Path) -> Status {
    let mut raw = at.open(raw);
    let address = raw
        .address(at)
        .parse(Code::AddressAndPort, "an address and port such as 0.0.0.0:8090 or \"[::]:8090\"", |text| {
            text.parse().ok()
        })
        .optional();
    let publish_at = at.key("publish");
    let publish = raw.publish(at).optional().and_then(|raw| {
        publish_at
            .open(raw)
            .folder(&publish_at)
            .parse(Code::FilePath, PATH, |path| path_in(folder, &path))
            .required()
    });
    let webhook_at = at.key("webhook");
    let webhook = raw.webhook(at).optional().and_then(|raw| webhook(raw, &webhook_at, folder));
    Status {
        title: raw.title(at).parse(Code::Text, NAME, name).or(default::STATUS_TITLE.to_owned()),
        address,
        publish,
        webhook,
        internal_names: raw.internal_names(at).or(false),
        cells: names(raw.cells(at)),
        surfaces: names(raw.surfaces(at)),
    }
}

/// What a name is, for problems.
const NAME: &str = "one line of 1 to 60 characters";

fn name(text: String) -> Option<String> {
    let says = is_line(&text) && !text.trim().is_empty();
    (says && text.chars().count() <= MAX_NAME).then(|| text.trim().to_owned())
}

fn webhook(raw: raw::StatusWebhook, at: &At<'_>, folder: &Path) -> Option<StatusWebhook> {
    let mut raw = at.open(raw);
    let expected = "an address such as https://hooks.example.com/cellgate, without a name and a password";
    let url = raw
        .url(at)
        .parse(Code::Url, expected, |text| without_password(&text).map(|uri| (text, uri)))
        .required();
    if url.as_ref().is_some_and(|(_, uri)| !is_private(uri)) {
        at.key("url").refuse(
            Code::SecretOverHttp,
            "everybody on the way to the receiver could read what it is told over http",
            "https, or a receiver on this machine",
        );
    }
    let url = url.map(|(text, _)| text);
    let secret_file =
        raw.secret_file(at).parse(Code::FilePath, PATH, |path| path_in(folder, &path)).required();
    let ca_file = raw.ca_file(at).parse(Code::FilePath, PATH, |path| path_in(folder, &path)).optional();
    Some(StatusWebhook { url: url?, secret_file: secret_file?, ca_file })
}

/// No two are called the same: nobody could tell them apart.
fn names(slot: Slot<'_, Vec<raw::Field<raw::StatusName>>>) -> BTreeMap<String, String> {
    let mut names = BTreeMap::<String, String>::new();
    if !slot.is_there() {
        return names;
    }
    for slot in slot.some_items(MAX_NAMES) {
        let at = slot.at.clone();
        let Some(raw) = slot.required() else { continue };
        let mut raw = at.open(raw);
        let (own, public) =
            (raw.name(&at).label().required(), raw.shown_as(&at).parse(Code::Text, NAME, name).required());
        let (Some(own), Some(public)) = (own, public) else { continue };
        if names.values().any(|other| *other == public) {
            at.key("shown_as").refuse(
                Code::NameTwice,
                format!("two are called {public:?}"),
                "a name of its own",
            );
        }
        if names.insert(own.to_string(), public).is_some() {
            at.key("name").refuse(Code::NameTwice, format!("{own} has two public names"), "one");
        }
    }
    names
}

impl Status {
    /// What it says of cells and surfaces that the configuration has not: without any effect, as a rule a slip of the fingers.
    pub fn remarks(&self, snapshot: &Snapshot) -> Vec<String> {
        let cells: Vec<&str> = snapshot.cells.iter().map(|cell| cell.name.as_str()).collect();
        let surfaces: Vec<&str> = snapshot.surfaces.iter().map(|surface| surface.name.as_str()).collect();
        let mut remarks = unknown("status.cells", "cell", &self.cells, &cells);
        remarks.extend(unknown("status.surfaces", "surface", &self.surfaces, &surfaces));
        remarks
    }
}

fn unknown(key: &str, kind: &str, named: &BTreeMap<String, String>, known: &[&str]) -> Vec<String> {
    let unknown = named.keys().filter(|name| !known.contains(&name.as_str()));
    unknown
        .map(|name| {
            let guess = did_you_mean(name, known.iter().copied());
            let guess = guess.map_or_else(String::new, |guess| format!(" ({guess})"));
            format!("{key} names {name}, and no {kind} is called that{guess}")
        })
        .collect()
}

pub(super) fn note_changes(before: &Status, after: &Status, note: &mut impl FnMut(bool, &str)) {
    note(before.title != after.title, "status.title");
    note(before.address != after.address, "status.address");
    note(before.publish != after.publish, "status.publish");
    note(before.webhook != after.webhook, "status.webhook");
    note(before.internal_names != after.internal_names, "status.internal_names");
    note(before.cells != after.cells, "status.cells");
    note(before.surfaces != after.surfaces, "status.surfaces");
}
