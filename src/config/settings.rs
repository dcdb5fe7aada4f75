//! What a file says, by path: `cells[cell-1].groups[0].endpoints`, and the text of its value. For telling people what a change
//! changes, also where nothing else has a name for it: path rules, limits, ranges of ids, deadlines.
//!
//! Decides nothing: what values mean is read elsewhere, and two spellings of one value are two texts here.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::problem::one_line;
use super::raw::Tree;

/// Every value of the files that people write by hand. Tables have their own words.
pub type Settings = BTreeMap<Box<str>, Box<str>>;

/// By what an item of a list is recognised, wherever it stands; the first that it has.
const NAMES: [&str; 6] = ["name", "pattern", "id", "prefix", "path", "zone"];

/// Between the items of a list.
const BETWEEN: &str = ", ";

/// Behind the path of a list whose items are known by name: their order, in which the first that fits may count.
const ORDER: &str = "[]";

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
                // One of two that are called alike is told by its place.
                let item_path = match name.as_deref().filter(|name| times[name] == 1) {
                    Some(name) => format!("{path}[{name}]"),
                    None => format!("{path}[{position}]"),
                };
                take_in(settings, &item_path, item, &[]);
            }
            let order: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
            if order.len() > 1 {
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

/// What differs, in the order of the paths.
pub fn changes(before: &Settings, after: &Settings) -> Vec<SettingChange> {
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    let mut paths: Vec<&str> = gone.chain(after.keys()).map(|path| &**path).collect();
    paths.sort_unstable();
    let change = |path: &str| {
        let (before, after) = (before.get(path).map(Box::as_ref), after.get(path).map(Box::as_ref));
        let tells = before != after && (!path.ends_with(ORDER) || is_reordered(before, after));
        tells.then(|| SettingChange {
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
        let shown = |value: &Option<Box<str>>| match value {
            Some(value) => one_line(value.clone()),
            None => "not set".into(),
        };
        let (path, before, after) = (one_line(self.path.clone()), shown(&self.before), shown(&self.after));
        write!(f, "{path}: {before} -> {after}")?;
        if before == after {
            f.write_str(" (they differ further on)")?;
        }
        Ok(())
    }
}

/// Whether the same items stand in another order. Others than before are told by themselves.
fn is_reordered(before: Option<&str>, after: Option<&str>) -> bool {
    let items = |order: Option<&str>| {
        let mut items: Vec<String> = order.unwrap_or_default().split(BETWEEN).map(str::to_owned).collect();
        items.sort_unstable();
        items
    };
    items(before) == items(after)
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
    use super::super::raw;
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
                "cells[]: cell-1, cell-2 -> cell-2, cell-1",
                "cells[cell-1].groups[0].endpoints: [127.0.0.1:1, 127.0.0.1:2] -> [127.0.0.1:1]",
                "cells[cell-2].seal.file: not set -> x",
                "limits.head_bytes: 65536 -> not set",
            ]
        );
        assert!(between(before, before).is_empty());
    }

    #[test]
    fn items_that_are_called_alike_are_told_by_their_place() {
        let both =
            |second: &str| format!("hosts: [{{ pattern: a, role: cell }}, {{ pattern: a, role: {second} }}]");
        assert_eq!(between(&both("cell"), &both("legacy")), ["hosts[1].role: cell -> legacy"]);
        let paths = |list: &str| format!("paths: [{list}]");
        let (a, b) = ("{ path: /a }", "{ path: /b }");
        assert_eq!(
            between(&paths(&[a, b].join(",")), &paths(&[b, a].join(","))),
            ["paths[]: /a, /b -> /b, /a"],
            "of which the first counts"
        );
        assert_eq!(
            between(&paths(a), &paths(&[b, a].join(","))),
            ["paths[/b].path: not set -> /b"],
            "which says enough"
        );
        assert_eq!(between("paths: [[a], [b]]", "paths: [[a], [c]]"), ["paths[1]: [b] -> [c]"]);
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
