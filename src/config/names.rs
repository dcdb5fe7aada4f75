//! Names that one part of the configuration gives and others use, and the grammar of DNS names and URLs.

use std::collections::HashMap;

use super::problem::{did_you_mean, quoted};
use super::raw::Field;
use super::slot::{At, Slot};
use crate::policy::code::Code;
use crate::policy::ids::Label;

/// The names that a list gives to its items, in its order.
#[derive(Debug)]
pub(super) struct Names {
    kind: &'static str,
    names: Vec<String>,
    /// Where each name stands first: a million rows ask for one of a thousand cells.
    places: HashMap<String, usize>,
}

impl Names {
    /// These, in this order.
    pub(super) fn given(kind: &'static str, names: &[&str]) -> Self {
        Self::new(kind, names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// The names that a list's items have under `key`; reports those that stand twice. An item without a readable name keeps its
    /// place, so that what points at its neighbours still does.
    pub(super) fn of<T>(
        kind: &'static str,
        key: &str,
        items: &[Slot<'_, T>],
        name: impl Fn(&T) -> &Field<String>,
    ) -> Self {
        let mut names: Vec<String> = Vec::with_capacity(items.len());
        for item in items {
            let Some(Field::Given(written)) = item.peek().map(&name) else {
                names.push(String::new());
                continue;
            };
            if let Some(first) = names.iter().position(|name| name == written) {
                let what =
                    format!("the {kind} {} is already in line {}", quoted(written), items[first].at.line());
                item.at.key(key).refuse(Code::NameTwice, what, format!("a {key} of its own"));
            }
            names.push(written.clone());
        }
        Self::new(kind, names)
    }

    fn new(kind: &'static str, names: Vec<String>) -> Self {
        let mut places = HashMap::with_capacity(names.len());
        for (place, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            places.entry(name.clone()).or_insert(place);
        }
        Self { kind, names, places }
    }

    /// The position of a name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// What is wrong with a name that is not found: what, expected, hint.
    pub(super) fn unknown(&self, name: &str) -> (String, String, Option<String>) {
        let what = format!("there is no {} {}", self.kind, quoted(name));
        let hint = did_you_mean(name, self.names.iter().map(String::as_str));
        (what, format!("the name of a {}", self.kind), hint)
    }

    /// The position of a name, or a report at its place.
    pub(super) fn resolve(&self, at: &At<'_>, name: &str) -> Option<usize> {
        let found = self.find(name);
        if found.is_none() {
            let (what, expected, hint) = self.unknown(name);
            at.refuse_with(Code::NoSuchName, what, expected, hint);
        }
        found
    }

    /// All names, in the order of the file.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

/// A lower-case DNS name of labels, without a trailing dot; RFC 1035 section 2.3.4 bounds its length.
pub(super) fn dns_name(text: &str) -> Option<Box<str>> {
    let labels = text.split('.').all(|label| Label::parse(label).is_ok());
    (labels && text.len() <= 253).then(|| text.into())
}

/// What a DNS name is, for problems.
pub(super) const DNS_NAME: &str = "a DNS name in lower case, such as us1.dbt.com";

/// An absolute http or https URL that can stand in a Link header and in JSON as it is.
pub(super) fn url(text: &str) -> Option<Box<str>> {
    let harmless = |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"' | b'\\');
    let uri: http::Uri = text.parse().ok()?;
    let web =
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    (web && text.bytes().all(harmless)).then(|| text.into())
}

/// What a URL is, for problems.
pub(super) const URL: &str = "an absolute http or https URL";
