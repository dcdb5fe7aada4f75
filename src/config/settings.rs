//! What a file says, by path: `cells[cell-1].groups[#1].endpoints`, and the text of its value. For telling people what a change
//! changes, also where nothing else has a name for it: path rules, limits, ranges of ids, deadlines.
//!
//! Decides nothing: what values mean is read elsewhere, and two spellings of one value are two texts here.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

use super::files::Sources;
use super::problem::one_line;
use super::raw::{self, Tree};
use crate::policy::hex::hex;

/// Every value of the files that people write by hand. Tables have their own words.
pub type Settings = BTreeMap<Box<str>, Box<str>>;

/// By what an item of a list is recognised, wherever it stands; the first that it has.
const NAMES: [&str; 7] = ["name", "pattern", "id", "prefix", "path", "zone", "account"];

/// Between the items of a list.
const BETWEEN: &str = ", ";

/// Behind the path of a list whose items are known by name: their order, in which the first that fits may count.
const ORDER: &str = "[]";

/// Lists whose order says nothing.
const UNORDERED: [&str; 8] =
    ["surfaces", "hosts", "schedules", "cells", "certificates", "brownouts", "exemptions", "extensions"];

/// What stands where nothing is set.
const NOT_SET: &str = "(not set)";

/// Hex digits by which contents of files are told apart, as of other hashes that people compare.
const CONTENT_DIGITS: usize = 12;

/// One value that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// Where it stands.
    pub path: Box<str>,
    /// What stood there.
    pub before: Option<Box<str>>,
    /// What stands there.
    pub after: Option<Box<str>>,
}

/// Takes in everything under `path`, but for the keys of `beside`.
pub fn take_in(settings: &mut Settings, path: &str, tree: &Tree, beside: &[&str]) {
    match tree {
        Tree::Mapping(entries) => {
            for (key, value) in entries {
                let key = word(key);
                if !beside.contains(&&*key) {
                    let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                    take_in(settings, &path, value, &[]);
                }
            }
        }
        Tree::List(items) if items.iter().any(|item| matches!(item, Tree::Mapping(_) | Tree::List(_))) => {
            let names: Vec<Option<String>> = items.iter().map(name).collect();
            let mut times: HashMap<&str, usize> = HashMap::new();
            for name in names.iter().flatten() {
                *times.entry(name).or_default() += 1;
            }
            for (position, (item, name)) in items.iter().zip(&names).enumerate() {
                // One of two that are called alike is told by its place, which no name looks like.
                let known = name.as_deref().filter(|name| times[name] == 1 && !name.starts_with('#'));
                let item_path = match known {
                    Some(name) => format!("{path}[{name}]"),
                    None => format!("{path}[#{}]", position + 1),
                };
                take_in(settings, &item_path, item, &[]);
            }
            let order: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
            if !order.is_empty() && !UNORDERED.contains(&path) {
                settings.insert(format!("{path}{ORDER}").into(), order.join(BETWEEN).into());
            }
        }
        Tree::List(items) => {
            let items: Vec<String> = items.iter().map(word).collect();
            settings.insert(path.into(), format!("[{}]", items.join(BETWEEN)).into());
        }
        plain => {
            settings.insert(path.into(), word(plain).into());
        }
    }
}

/// What keys and certificates hold, as the beginning of a digest: another key under the same name is another key.
pub fn contents<'s>(
    raw: &raw::Routing,
    sources: &'s Sources,
) -> impl Iterator<Item = (Box<str>, Box<str>)> + 's {
    let mut tables = Vec::new();
    for table in [&raw.accounts, &raw.environments, &raw.clients] {
        table.look(|table| table.file.look(|file| tables.push(file.clone())));
    }
    raw.moves.look(|moves| moves.file.look(|file| tables.push(file.clone())));
    raw.identify.look(|identify| {
        identify.credentials.look(|credentials| credentials.table.look(|file| tables.push(file.clone())));
    });
    let files = sources.files.iter().filter(move |(name, _)| tables.iter().all(|table| **table != ***name));
    files.filter_map(|(name, text)| {
        let digest = hex(digest(&SHA256, text.as_ref().ok()?));
        Some((format!("{name} (content)").into(), digest[..CONTENT_DIGITS].into()))
    })
}

/// What differs, in the order of the paths.
pub fn changes(before: &Settings, after: &Settings) -> Vec<SettingChange> {
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    let mut paths: Vec<&str> = gone.chain(after.keys()).map(|path| &**path).collect();
    paths.sort_unstable();
    let change = |path: &str| {
        let (before, after) = (before.get(path).map(Box::as_ref), after.get(path).map(Box::as_ref));
        (before != after).then(|| SettingChange {
            path: path.into(),
            before: before.map(Into::into),
            after: after.map(Into::into),
        })
    };
    paths.into_iter().filter_map(change).collect()
}

impl SettingChange {
    /// Whether it is part of one of these items of a list, which come or go whole.
    pub fn is_in(&self, list: &str, names: &[Box<str>]) -> bool {
        let item = self.path.strip_prefix(list).and_then(|rest| rest.strip_prefix('['));
        item.is_some_and(|item| {
            names.iter().any(|name| item.strip_prefix(&**name).is_some_and(|rest| rest.starts_with(']')))
        })
    }
}

impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Box<str>>| one_line(value.clone().unwrap_or(NOT_SET.into()));
        if let Some(list) = self.path.strip_suffix(ORDER) {
            let (place, before, after) = reordered(self.before.as_deref(), self.after.as_deref());
            let (list, before, after) = (one_line(list.into()), one_line(before), one_line(after));
            return write!(f, "{list}, in their order from #{place} on: {before} -> {after}");
        }
        let (path, before, after) = (one_line(self.path.clone()), shown(&self.before), shown(&self.after));
        write!(f, "{path}: {before} -> {after}")?;
        if before == after {
            f.write_str(" (they differ further on)")?;
        }
        Ok(())
    }
}

/// Where two orders of names begin to differ, from 1, and what stands there in each, without what is the same at the end.
fn reordered(before: Option<&str>, after: Option<&str>) -> (usize, Box<str>, Box<str>) {
    fn items(order: Option<&str>) -> Vec<&str> {
        order.map(|order| order.split(BETWEEN).collect()).unwrap_or_default()
    }
    let (before, after) = (items(before), items(after));
    let same = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
    let (before, after) = (&before[same..], &after[same..]);
    let end = before.iter().rev().zip(after.iter().rev()).take_while(|(one, other)| one == other).count();
    let told = |items: &[&str]| match &items[..items.len() - end] {
        [] => "nothing".into(),
        items => items.join(BETWEEN).into(),
    };
    (same + 1, told(before), told(after))
}

fn name(item: &Tree) -> Option<String> {
    let Tree::Mapping(entries) = item else { return None };
    let named =
        |wanted: &str| entries.iter().find(|(key, _)| matches!(key, Tree::Text(key) if key == wanted));
    NAMES.iter().find_map(|wanted| named(wanted)).map(|(_, value)| word(value))
}

/// A plain value; text as it is.
fn word(tree: &Tree) -> String {
    match tree {
        Tree::Text(text) => text.clone(),
        other => other.describe(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(text: &str) -> Settings {
        let mut settings = Settings::new();
        take_in(&mut settings, "", &raw::parse(text).unwrap(), &["version"]);
        settings
    }

    fn between(before: &str, after: &str) -> Vec<String> {
        changes(&of(before), &of(after)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_differs_is_told_by_where_it_stands() {
        let before = "version: 1
limits: { head_bytes: 65536 }
cells:
  - { name: cell-1, groups: [{ endpoints: [127.0.0.1:1, 127.0.0.1:2] }] }
  - { name: cell-2, seal: { id: k1 } }
";
        let after = "# Spelt otherwise, and in another order.
version: 2
cells:
  - name: cell-2
    seal: { id: k1, file: x }
  - name: cell-1
    groups:
      - endpoints: [127.0.0.1:1]
";
        assert_eq!(
            between(before, after),
            [
                "cells[cell-1].groups[#1].endpoints: [127.0.0.1:1, 127.0.0.1:2] -> [127.0.0.1:1]",
                "cells[cell-2].seal.file: (not set) -> x",
                "limits.head_bytes: 65536 -> (not set)",
            ]
        );
        assert!(between(before, before).is_empty());
    }

    #[test]
    fn items_that_are_called_alike_are_told_by_their_place() {
        let both =
            |second: &str| format!("hosts: [{{ pattern: a, role: cell }}, {{ pattern: a, role: {second} }}]");
        assert_eq!(between(&both("cell"), &both("legacy")), ["hosts[#2].role: cell -> legacy"]);
        let paths = |list: &str| format!("paths: [{list}]");
        let (a, b, c) = ("{ path: /a }", "{ path: /b }", "{ path: /c }");
        let between = |before: &[&str], after: &[&str]| {
            let told = between(&paths(&before.join(",")), &paths(&after.join(",")));
            told.into_iter().filter(|told| told.contains("order")).collect::<Vec<_>>()
        };
        let told = "paths, in their order from #";
        assert_eq!(between(&[a, b, c], &[b, a, c]), [format!("{told}1 on: /a, /b -> /b, /a")]);
        // The first that fits counts, so that it matters where a new one stands.
        assert_eq!(between(&[a, b], &[c, a, b]), [format!("{told}1 on: nothing -> /c")]);
        assert_eq!(between(&[a, b], &[a, b, c]), [format!("{told}3 on: nothing -> /c")]);
        assert_eq!(between(&[a, b, c], &[a, c]), [format!("{told}2 on: /b -> nothing")]);
        assert!(between(&[a, b], &[a, b]).is_empty());
    }

    #[test]
    fn a_name_that_looks_like_a_place_hides_nothing() {
        let shapes = |min: u8| {
            format!(
                "shapes: [{{ prefix: d, min: {min} }}, {{ prefix: d, min: 9 }}, {{ prefix: '#1', min: 3 }}]"
            )
        };
        assert_eq!(between(&shapes(1), &shapes(2)), ["shapes[#1].min: 1 -> 2"]);
        assert_eq!(between("paths: [[a], [b]]", "paths: [[a], [c]]"), ["paths[#2]: [b] -> [c]"]);
    }

    #[test]
    fn long_and_strange_text_is_cut_and_harmless() {
        let long = |end: &str| format!("guide: \"{}{end}\\n\"", "x".repeat(1_000));
        let told = between(&long("a"), &long("b"));
        assert!(told[0].ends_with(" (they differ further on)"), "{told:?}");
        assert!(told[0].len() < 1_000 && !told[0].contains(char::is_control), "{told:?}");
        assert_eq!(between("a: \"x\\u001b[2J\"", "a: y"), ["a: x\\u{1b}[2J -> y"]);
    }

    #[test]
    fn an_item_that_comes_or_goes_whole_is_known() {
        let change = |path: &str| SettingChange { path: path.into(), before: None, after: Some("x".into()) };
        let names = ["cell-1".into(), "{prefix}.us1.dbt.com".into()];
        assert!(change("cells[cell-1].domain").is_in("cells", &names));
        assert!(change("cells[{prefix}.us1.dbt.com].role").is_in("cells", &names));
        assert!(!change("cells[cell-10].domain").is_in("cells", &names));
        assert!(!change("hosts[cell-1].domain").is_in("cells", &names));
    }
}
