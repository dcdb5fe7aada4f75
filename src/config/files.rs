//! The files of a configuration as they were read, and which further files the routing configuration
//! names. Reads none of them: [`load`](crate::load) does.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::problem::{Report, quoted};
use super::raw::{self, Field, Shape};
use super::scan::scan;
use super::slot::At;
use crate::policy::code::Code;
use crate::policy::hex::hex;

/// What cannot be swapped.
pub const BOOT_FILE: &str = "boot.yaml";

/// What a reload can change.
pub const ROUTING_FILE: &str = "cellgate.yaml";

/// Everything that was read from a configuration folder.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The folder; relative paths in `cellgate.yaml` are joined to it.
    pub folder: PathBuf,
    /// Where `boot.yaml` is, if not in the folder; relative paths in it are joined to its own folder.
    pub boot_file: Option<PathBuf>,
    /// [`BOOT_FILE`].
    pub boot: FileText,
    /// [`ROUTING_FILE`].
    pub routing: FileText,
    /// Every file that [`referenced_files`] names, under the path it is named by.
    pub files: BTreeMap<Box<str>, FileText>,
}

/// The bytes of a file, or why there are none.
pub type FileText = Result<Vec<u8>, Unreadable>;

/// Why a file was not read. Becomes a problem where the file is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// What is wrong, without the path: `cannot be read: permission denied`.
    pub what: String,
    /// What would be right.
    pub expected: String,
}

/// A file that the routing configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The path as written: relative to the configuration folder, or absolute.
    pub path: Box<str>,
    /// What it is, which decides how it is guarded.
    pub kind: FileKind,
}

/// What a referenced file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A table of ours: inside the configuration folder.
    Table,
    /// Certificates: anywhere.
    Certificate,
    /// A private key or a secret key: anywhere, and readable by nobody else unless that is allowed.
    Secret {
        /// The configuration accepts that its group or others can read it.
        allow_readable: bool,
    },
}

/// The files that a routing configuration names, each once. Of a text that cannot be read it names
/// none; [`parse`](super::parse) will say why.
pub fn referenced_files(routing: &[u8]) -> Vec<Reference> {
    let unheard = Report::default();
    let parsed = scan(ROUTING_FILE, routing, &unheard).and_then(|(text, _)| raw::parse(text).ok());
    let Some(Ok(routing)) = parsed.map(raw::Routing::read) else {
        return Vec::new();
    };
    let mut references = Vec::new();
    for table in [&routing.accounts, &routing.environments, &routing.clients] {
        table.look(|table| refer(&mut references, &table.file, FileKind::Table));
    }
    routing.moves.look(|moves| refer(&mut references, &moves.file, FileKind::Table));
    for certificate in routing.certificates.each() {
        refer(&mut references, &certificate.cert, FileKind::Certificate);
        refer(&mut references, &certificate.key, secret(&certificate.allow_readable));
        refer(&mut references, &certificate.ocsp, FileKind::Certificate);
    }
    routing.tls.look(|tls| {
        for key in tls.ticket_keys.each() {
            refer(&mut references, &key.file, secret(&key.allow_readable));
        }
    });
    for host in routing.hosts.each() {
        host.client_certificate.look(|asked| {
            refer(&mut references, &asked.ca, FileKind::Certificate);
            refer(&mut references, &asked.crl, FileKind::Certificate);
        });
    }
    for cell in routing.cells.each() {
        cell.tls.look(|tls| {
            refer(&mut references, &tls.ca, FileKind::Certificate);
            refer(&mut references, &tls.crl, FileKind::Certificate);
            refer(&mut references, &tls.client_cert, FileKind::Certificate);
            refer(&mut references, &tls.client_key, secret(&tls.allow_readable));
        });
        cell.seal.look(|seal| refer(&mut references, &seal.key_file, secret(&seal.allow_readable)));
    }
    routing.identify.look(|identify| {
        identify.routing_cookie.look(|cookie| {
            for key in cookie.keys.each() {
                refer(&mut references, &key.file, secret(&key.allow_readable));
            }
        });
        identify.credentials.look(|credentials| {
            for key in credentials.keys.each() {
                refer(&mut references, &key.file, secret(&key.allow_readable));
            }
            refer(&mut references, &credentials.table, FileKind::Table);
        });
    });
    references
}

/// The file that a routing configuration names for its accounts; `None` of a text that cannot be read.
pub(super) fn accounts_file(routing: &[u8]) -> Option<String> {
    let (text, _) = scan(ROUTING_FILE, routing, &Report::default())?;
    let Ok(Ok(routing)) = raw::parse(text).map(raw::Routing::read) else { return None };
    let Field::Given(table) = routing.accounts else { return None };
    let Field::Given(file) = table.file else { return None };
    Some(file)
}

/// The file that a routing configuration names for its moves; `None` of one that has none or cannot be read.
pub fn moves_file(routing: &[u8]) -> Option<String> {
    let (text, _) = scan(ROUTING_FILE, routing, &Report::default())?;
    let Ok(Ok(routing)) = raw::parse(text).map(raw::Routing::read) else { return None };
    let Field::Given(moves) = routing.moves else { return None };
    let Field::Given(file) = moves.file else { return None };
    Some(file)
}

/// The credential table's path and the ids of the fingerprint keys, as a routing configuration has them.
pub(super) fn credential_names(routing: &[u8]) -> (Option<String>, Vec<String>) {
    let unheard = Report::default();
    let parsed = scan(ROUTING_FILE, routing, &unheard).and_then(|(text, _)| raw::parse(text).ok());
    let Some(Ok(routing)) = parsed.map(raw::Routing::read) else { return Default::default() };
    let (mut path, mut keys) = (None, Vec::new());
    routing.identify.look(|identify| {
        identify.credentials.look(|credentials| {
            credentials.table.look(|table| path = Some(table.clone()));
            credentials.keys.each().for_each(|key| key.id.look(|id| keys.push(id.clone())));
        });
    });
    (path, keys)
}

/// SHA-256 over names and bytes of the routing configuration and all files it names, lower-case hex.
/// `boot.yaml` is not in it: replicas may listen on different addresses and route alike.
pub fn hash(sources: &Sources) -> Box<str> {
    hash_of(sources.routing.as_deref().unwrap_or_default(), &sources.files)
}

fn hash_of<'s>(routing: &[u8], files: impl IntoIterator<Item = (&'s Box<str>, &'s FileText)>) -> Box<str> {
    let mut context = Context::new(&SHA256);
    // Lengths come first, so that no other split of the same bytes gives the same digest.
    let mut add = |name: &str, bytes: &[u8]| {
        for part in [name.as_bytes(), bytes] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
    };
    add(ROUTING_FILE, routing);
    for (name, text) in files {
        add(name, text.as_deref().unwrap_or_default());
    }
    hex(context.finish()).into()
}

/// The same over `routing` in place of the routing configuration, and all files that it names but these tables.
pub(super) fn hash_beside(tables: &[String], routing: &str, sources: &Sources) -> Box<str> {
    let files = sources.files.iter().filter(|(name, _)| tables.iter().all(|table| **table != ***name));
    hash_of(routing.as_bytes(), files)
}

/// Whether a path may be repeated in a problem: it ends as the name of a file does. Of anything else,
/// somebody may have written a secret in its place.
fn is_shown(path: &str) -> bool {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| (1..=MAX_EXTENSION).contains(&extension.len()))
}

/// `yaml`; what stands behind the dots of tokens is longer.
const MAX_EXTENSION: usize = 4;

impl Sources {
    /// Where `boot.yaml` is, and the folder that relative paths in it are joined to.
    pub(super) fn boot_place(&self) -> (PathBuf, PathBuf) {
        match &self.boot_file {
            Some(file) => (file.clone(), file.parent().unwrap_or(Path::new("")).to_owned()),
            None => (self.folder.join(BOOT_FILE), self.folder.clone()),
        }
    }

    /// The bytes of a referenced file; reports at `at` why there are none.
    pub(super) fn file(&self, at: &At<'_>, path: &str) -> Option<&[u8]> {
        match self.files.get(path) {
            Some(Ok(bytes)) => Some(bytes),
            Some(Err(unreadable)) => {
                let tried = is_shown(path).then(|| format!("tried {}", self.folder.join(path).display()));
                at.refuse_with(
                    Code::FileNotRead,
                    format!("the file {}", unreadable.what),
                    unreadable.expected.as_str(),
                    tried,
                );
                None
            }
            None => {
                at.refuse(Code::FileNotRead, "the file was not read", "a file in the configuration folder");
                None
            }
        }
    }

    /// The bytes of a table, which must lie in the configuration folder.
    pub(super) fn table(&self, at: &At<'_>, path: &str) -> Option<&[u8]> {
        if !stays_inside(path) {
            at.refuse(
                Code::OutsideTheFolder,
                format!("{} leaves the configuration folder", quoted(path)),
                "a relative path without \"..\"",
            );
            return None;
        }
        self.file(at, path)
    }
}

/// Whether a path names something below the folder it is joined to.
pub fn stays_inside(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn refer(references: &mut Vec<Reference>, path: &Field<String>, kind: FileKind) {
    let Field::Given(path) = path else { return };
    match references.iter_mut().find(|reference| *reference.path == **path) {
        // Named twice: the stricter wish counts.
        Some(Reference { kind: known @ FileKind::Secret { .. }, .. }) => {
            if let FileKind::Secret { allow_readable: false } = kind {
                *known = kind;
            }
        }
        Some(known) => {
            if let FileKind::Secret { .. } = kind {
                known.kind = kind;
            }
        }
        None => references.push(Reference { path: path.as_str().into(), kind }),
    }
}

fn secret(allow_readable: &Field<bool>) -> FileKind {
    FileKind::Secret { allow_readable: *allow_readable == Field::Given(true) }
}

impl<T> Field<T> {
    /// Looks at the value where there is one.
    pub(super) fn look(&self, look: impl FnOnce(&T)) {
        if let Field::Given(value) = self {
            look(value);
        }
    }
}

impl<T> Field<Vec<Field<T>>> {
    /// The items of the right kind.
    fn each(&self) -> impl Iterator<Item = &T> {
        let items = if let Field::Given(items) = self { items.as_slice() } else { &[] };
        items.iter().filter_map(|item| if let Field::Given(item) = item { Some(item) } else { None })
    }
}
