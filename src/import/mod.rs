//! From the map of another proxy to an account table: which accounts it leads where, and every line that says something
//! else, with the reason. Plain functions on text; files are read by whoever calls.
//!
//! Nothing is guessed. A line is taken over only where it leads *all* requests of an account to one place, as a row of the
//! account table does; what leads a part of them, or more than one account, is left and said.

mod answered;
pub mod envoy;
pub mod haproxy;
mod key;
pub mod list;
pub mod nginx;
mod reach;
mod spelling;
mod table;
mod tree;

pub use key::{HostPattern, PathTemplate, Shapes};
pub use reach::Reach;
pub use table::{Conflict, Contradiction, Joined, Known, Table, csv, join, table};

use std::fmt;
use std::sync::Arc;

use reach::{Naming, Unnamed};

use crate::policy::ids::{AccountId, Label};
use crate::policy::line::is_deceptive;

/// Largest map: two million lines of 32 bytes, several times what anybody keeps in one.
pub const MAX_MAP_BYTES: u64 = 64 * 1024 * 1024;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
}

/// By what a map names an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Named {
    /// Its id.
    Account(AccountId),
    /// One of its prefixes.
    Prefix(Label),
}

/// One account's way in the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Whose.
    pub named: Named,
    /// Where it leads, in the words of the map.
    pub target: String,
    /// Where that stands.
    pub place: Place,
}

/// What was not taken over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// Where it stands.
    pub place: Place,
    /// What stands there, cut short.
    pub what: String,
    /// Why, and what to do.
    pub why: String,
    /// Whom it may lead all the same.
    pub reach: Reach,
}

/// What a map says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Ways of accounts, in the order of the file.
    pub ways: Vec<Way>,
    /// Where all go whom no line names: what it would be left with, and the target.
    pub otherwise: Vec<(Left, String)>,
    /// Everything else.
    pub left: Vec<Left>,
}

/// The text is no map of this kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct NotRead {
    /// Where.
    pub place: Place,
    /// Why, and what to do.
    pub why: String,
}

impl Read {
    fn leave(&mut self, place: &Place, what: &str, why: impl Into<Unnamed>) {
        let Unnamed { why, reach } = why.into();
        self.left.push(Left { place: place.clone(), what: short(what), why, reach });
    }

    /// A line that leads whoever has none of their own.
    fn otherwise(&mut self, place: &Place, what: &str, target: &str) {
        let why = "where accounts go that no line names; cellgate refuses those. With --ids FILE, --rest CELL gives them a row";
        // Whom else it leads is all that it says.
        let reach = Reach::NOBODY;
        let left = Left { place: place.clone(), what: short(what), why: why.to_owned(), reach };
        self.otherwise.push((left, target.to_owned()));
    }

    /// One line of a map: what its key names leads to `target`, or it is left.
    fn take(&mut self, place: &Place, key: &str, named: Naming, target: &str) {
        match named {
            Ok(named) => self.ways.extend(named.into_iter().map(|named| Way {
                named,
                target: target.to_owned(),
                place: place.clone(),
            })),
            Err(why) => self.leave(place, key, why),
        }
    }
}

impl Place {
    fn new(file: &Arc<str>, line: usize) -> Self {
        Self { file: file.clone(), line: u32::try_from(line).unwrap_or(u32::MAX) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "account {id}"),
            Self::Prefix(label) => write!(f, "prefix {label}"),
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.what, self.why)
    }
}

/// Longest piece of a foreign line that is shown, in characters: regular expressions of several screens exist.
const MAX_SHOWN: usize = 80;

fn short(text: &str) -> String {
    let shown = |c: char| if is_deceptive(c) { c.escape_default().collect() } else { c.to_string() };
    let text: String = text.chars().map(shown).collect();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
