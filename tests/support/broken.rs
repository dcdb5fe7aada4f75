//! Valid configurations broken on purpose, each in one or a few places and in the ways that people and programs
//! break them: a key gone, renamed or standing twice, a value of another kind, from another place or out of bounds,
//! a row with a field too few, a line lost, a file cut short. From a seed, so that a run can be had again.
#![allow(dead_code)]

use cellgate::config::{FileText, Sources};
use fastrand::Rng;
use serde_yaml::{Mapping, Value};

/// The same configuration with something wrong in one file: which one, and in what way. It may be sound still.
pub fn broken(good: &Sources, rng: &mut Rng) -> (Sources, String) {
    let mut sources = good.clone();
    let mut names: Vec<Box<str>> = sources.files.keys().cloned().collect();
    // Most of what can be wrong is in the routing configuration.
    names.extend(
        ["boot.yaml", "boot.yaml", "cellgate.yaml", "cellgate.yaml", "cellgate.yaml", "cellgate.yaml"]
            .map(Into::into),
    );
    let name = names[rng.usize(..names.len())].clone();
    let text = file(&mut sources, &name);
    let before = text.clone().unwrap();
    let (after, how) = match name.rsplit('.').next() {
        Some("yaml") if rng.u8(..4) > 0 => tree(&before, rng),
        Some("csv") if rng.u8(..4) > 0 => rows(&before, rng),
        _ => lines(&before, rng),
    };
    *text = Ok(after);
    (sources, format!("{name}: {how}"))
}

/// The text of a file of a configuration.
pub fn file<'s>(sources: &'s mut Sources, name: &str) -> &'s mut FileText {
    match name {
        "boot.yaml" => &mut sources.boot,
        "cellgate.yaml" => &mut sources.routing,
        other => sources.files.get_mut(other).unwrap(),
    }
}

/// A few values of a YAML file, or their keys.
fn tree(text: &[u8], rng: &mut Rng) -> (Vec<u8>, String) {
    let mut root: Value = serde_yaml::from_slice(text).unwrap();
    let mut how = Vec::new();
    for _ in 0..1 << rng.u8(..3) {
        how.push(one_value(&mut root, rng));
    }
    (serde_yaml::to_string(&root).unwrap().into_bytes(), how.join(", "))
}

fn one_value(root: &mut Value, rng: &mut Rng) -> String {
    let count = values(root);
    let (from, to) = (rng.usize(..count), rng.usize(..count));
    let donor = nth(root, &mut from.clone()).unwrap().clone();
    let value = nth(root, &mut to.clone()).unwrap();
    let how = match rng.u8(..10) {
        0 => "emptied",
        1 => "of another place",
        2 => "in a list",
        3 => "in a mapping",
        4 => "a key lost",
        5 => "a key misspelt",
        6 => "a key too many",
        7 => "an item twice or lost",
        _ => "of another kind",
    };
    *value = match how {
        "emptied" => match value {
            Value::Sequence(_) => Value::Sequence(Vec::new()),
            Value::Mapping(_) => Value::Mapping(Mapping::new()),
            _ => Value::Null,
        },
        "of another place" => donor,
        "in a list" => Value::Sequence(vec![value.clone()]),
        "in a mapping" => Value::Mapping([("name".into(), value.clone())].into_iter().collect()),
        "of another kind" => strange(rng),
        _ => changed(value, how, rng),
    };
    format!("value {to} {how}")
}

/// A mapping or list with one key or item more, less or other; anything else a little longer.
fn changed(value: &Value, how: &str, rng: &mut Rng) -> Value {
    match value {
        Value::Mapping(mapping) if !mapping.is_empty() => {
            let mut pairs: Vec<(Value, Value)> = mapping.clone().into_iter().collect();
            let at = rng.usize(..pairs.len());
            match how {
                "a key lost" => drop(pairs.remove(at)),
                "a key too many" => pairs.push(("colour".into(), strange(rng))),
                _ => pairs[at].0 = format!("{}x", pairs[at].0.as_str().unwrap_or_default()).into(),
            }
            Value::Mapping(pairs.into_iter().collect())
        }
        Value::Sequence(items) if !items.is_empty() => {
            let mut items = items.clone();
            let at = rng.usize(..items.len());
            if rng.bool() {
                items.push(items[at].clone())
            } else {
                drop(items.remove(at))
            }
            Value::Sequence(items)
        }
        Value::String(text) => format!("{text}{}", ["x", ".", " ", "1", "/"][rng.usize(..5)]).into(),
        other => Value::Sequence(vec![other.clone(), other.clone()]),
    }
}

/// What no key of ours wants, or few do.
fn strange(rng: &mut Rng) -> Value {
    let texts = [
        "",
        "x y",
        "-",
        "..",
        "é",
        "no",
        "~",
        "{prefix}",
        "10.0.0.1/8",
        "2026-13-01T00:00:00Z",
        "dbtc_FAKE",
        "a\nb",
    ];
    match rng.u8(..9) {
        0 => Value::Null,
        1 => Value::Bool(rng.bool()),
        2 => Value::from(u64::MAX),
        3 => Value::from(-1),
        4 => Value::from(0),
        5 => Value::from(1.5),
        6 => Value::from(rng.u32(..100_000)),
        7 => Value::from("x".repeat(rng.usize(..300))),
        _ => Value::from(texts[rng.usize(..texts.len())]),
    }
}

/// How many values there are, the whole included.
fn values(value: &Value) -> usize {
    1 + match value {
        Value::Sequence(items) => items.iter().map(values).sum(),
        Value::Mapping(pairs) => pairs.values().map(values).sum(),
        _ => 0,
    }
}

/// The value of this number, counted from 0, the whole first.
fn nth<'v>(value: &'v mut Value, number: &mut usize) -> Option<&'v mut Value> {
    if *number == 0 {
        return Some(value);
    }
    *number -= 1;
    match value {
        Value::Sequence(items) => items.iter_mut().find_map(|item| nth(item, number)),
        Value::Mapping(pairs) => pairs.values_mut().find_map(|item| nth(item, number)),
        _ => None,
    }
}

/// A few fields of a table, or whole rows.
fn rows(text: &[u8], rng: &mut Rng) -> (Vec<u8>, String) {
    let mut lines: Vec<String> =
        String::from_utf8(text.to_vec()).unwrap().lines().map(str::to_owned).collect();
    let mut how = Vec::new();
    for _ in 0..1 << rng.u8(..3) {
        let at = rng.usize(..lines.len());
        let other = lines[rng.usize(..lines.len())].clone();
        let mut fields: Vec<String> = lines[at].split(',').map(str::to_owned).collect();
        let field = rng.usize(..fields.len());
        let what = match rng.u8(..10) {
            0 => "a field lost",
            1 => "a field too many",
            2 => "another row's field",
            3 => "a quote opened",
            4 => "a row twice",
            5 => "a row lost",
            _ => "a strange field",
        };
        match what {
            "a field lost" => drop(fields.remove(field)),
            "a field too many" => fields.insert(field, "x".to_owned()),
            "another row's field" => {
                fields[field] = other.split(',').nth(field).unwrap_or_default().to_owned()
            }
            "a quote opened" => fields[field].insert(0, '"'),
            "a row twice" => lines.push(other),
            "a strange field" => {
                let strange = [
                    "",
                    "0",
                    "-1",
                    "007",
                    "18446744073709551616",
                    "x y",
                    "Ab",
                    "\u{1}",
                    "é",
                    "yes",
                    "cell-9",
                    "zz",
                ];
                fields[field] = strange[rng.usize(..strange.len())].to_owned();
            }
            _ => {}
        }
        let lost = what == "a row lost" && lines.len() > 1;
        if lost {
            drop(lines.remove(at))
        } else {
            lines[at] = fields.join(",")
        }
        how.push(format!("line {} {what}", at + 1));
    }
    ((lines.join("\n") + "\n").into_bytes(), how.join(", "))
}

/// Any file as text: lines lost, doubled, moved in, cut off, and bytes that are no text.
fn lines(text: &[u8], rng: &mut Rng) -> (Vec<u8>, String) {
    let mut lines: Vec<Vec<u8>> = text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.is_empty() {
        return (b"x".to_vec(), "no longer empty".to_owned());
    }
    let at = rng.usize(..lines.len());
    let inside = rng.usize(..lines[at].len());
    let how = match rng.u8(..8) {
        0 => "lost",
        1 => "twice",
        2 => "moved in",
        3 => "with a NUL",
        4 => "not UTF-8",
        5 => "with a tab",
        _ => "cut short",
    };
    match how {
        "lost" => drop(lines.remove(at)),
        "twice" => lines.insert(at, lines[at].clone()),
        "moved in" => drop(lines[at].splice(0..0, *b"   ")),
        "with a NUL" => lines[at].insert(inside, 0),
        "not UTF-8" => lines[at].insert(inside, 0xff),
        "with a tab" => lines[at].insert(0, b'\t'),
        _ => {
            lines[at].truncate(inside);
            lines.truncate(at + 1);
        }
    }
    (lines.concat(), format!("line {} {how}", at + 1))
}
