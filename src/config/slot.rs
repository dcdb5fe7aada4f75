//! Taking raw values one by one: each knows its place, reports what is wrong with it, and lets the
//! reading go on, so that one pass finds every mistake.
//!
//! A value that could not be taken is `None` (or its default) *and* in the report; whoever makes the
//! whole refuses it when the report is not empty, so no half-read configuration ever leaves this room.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::problem::{Problem, Report, did_you_mean, one_of, quoted};
use super::raw::{Field, Key, Keys, Outline, Shape, Shown};
use super::scan::Places;
use super::time::{parse_duration, show_duration};
use crate::policy::code::Code;
use crate::policy::ids::Label;
use crate::policy::line::is_line;

/// Most unknown keys of one mapping that are reported one by one: more is not a slip but another file.
const MAX_UNKNOWN_KEYS: usize = 50;

/// A file that is being read.
#[derive(Debug)]
pub struct Document<'a> {
    /// Its name, relative to the configuration folder.
    pub file: &'a str,
    /// Where its values stand.
    pub places: Places,
    /// Where its problems go.
    pub report: &'a Report,
}

/// A place in a document.
#[derive(Clone, Debug)]
pub struct At<'a> {
    document: &'a Document<'a>,
    path: String,
}

/// A raw value and its place.
#[derive(Debug)]
pub struct Slot<'a, T> {
    /// Where it stands, or would stand.
    pub at: At<'a>,
    field: Field<T>,
}

impl<'a> At<'a> {
    /// The top of a document.
    pub fn root(document: &'a Document<'a>) -> Self {
        Self { document, path: String::new() }
    }

    /// The value under a key.
    pub fn key(&self, key: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { document: self.document, path: format!("{}{dot}{key}", self.path) }
    }

    /// An item of the list here.
    pub fn index(&self, index: usize) -> Self {
        Self { document: self.document, path: format!("{}[{index}]", self.path) }
    }

    /// Pairs a value with this place.
    pub fn slot<T>(self, field: Field<T>) -> Slot<'a, T> {
        Slot { at: self, field }
    }

    /// Where problems go.
    pub fn report(&self) -> &'a Report {
        self.document.report
    }

    /// The line of this place, for problems that name another one.
    pub fn line(&self) -> u32 {
        self.place().map_or(0, |(line, _)| line)
    }

    /// Reports a problem here.
    pub fn refuse(&self, code: Code, what: impl Into<String>, expected: impl Into<String>) {
        self.refuse_with(code, what, expected, None);
    }

    /// Reports a problem here, with a guess or a next step.
    pub fn refuse_with(
        &self,
        code: Code,
        what: impl Into<String>,
        expected: impl Into<String>,
        hint: Option<String>,
    ) {
        let problem =
            Problem::in_file(code, self.document.file, what, expected).at_path(&self.path).with_hint(hint);
        self.document.report.push(match self.place() {
            Some((line, column)) => problem.at_column(line, column),
            None => problem,
        });
    }

    /// Opens a mapping that stands here: reports its unknown keys and hands it on.
    pub fn open<T: Keys>(&self, mut mapping: T) -> T {
        let names = || T::KEYS.iter().map(|key| key.name);
        let expected = one_of(names());
        let unknown = mapping.take_unknown();
        for key in unknown.iter().take(MAX_UNKNOWN_KEYS) {
            let what = format!("unknown key {}", quoted(key));
            self.key(key).refuse_with(Code::UnknownKey, what, expected.as_str(), did_you_mean(key, names()));
        }
        if unknown.len() > MAX_UNKNOWN_KEYS {
            self.refuse(Code::UnknownKey, format!("{} unknown keys in all", unknown.len()), expected);
        }
        mapping
    }

    /// This place, or the nearest one around it that stands in the file.
    fn place(&self) -> Option<(u32, u32)> {
        let mut path = self.path.as_str();
        loop {
            if let Some(place) = self.document.places.find(path) {
                return Some(place);
            }
            if path.is_empty() {
                return None;
            }
            path = &path[..path.rfind(['.', '[']).unwrap_or(0)];
        }
    }
}

impl<'a, T: Shape> Slot<'a, T> {
    /// The value, which must be there.
    pub fn required(self) -> Option<T> {
        let expected = kind(&T::OUTLINE);
        self.expect(Code::WrongKind, &expected).value_or_missing(&expected)
    }

    /// The value, where there is one.
    pub fn optional(self) -> Option<T> {
        let expected = kind(&T::OUTLINE);
        self.expect(Code::WrongKind, &expected).given()
    }

    /// The value or its default.
    pub fn or(self, default: T) -> T {
        self.optional().unwrap_or(default)
    }
}

impl<'a, T> Slot<'a, T> {
    /// Whether the key is there at all, with whatever value.
    pub fn is_there(&self) -> bool {
        !matches!(self.field, Field::Missing)
    }

    /// The value as it stands, without reporting anything.
    pub fn peek(&self) -> Option<&T> {
        match &self.field {
            Field::Given(value) => Some(value),
            Field::Missing | Field::Bad(_) | Field::Reported => None,
        }
    }

    /// Reports a value of the wrong kind.
    fn expect(self, code: Code, expected: &str) -> Self {
        let Field::Bad(found) = &self.field else { return self };
        self.at.refuse(code, format!("found {found}"), expected);
        Self { at: self.at, field: Field::Reported }
    }

    fn given(self) -> Option<T> {
        match self.field {
            Field::Given(value) => Some(value),
            Field::Missing | Field::Bad(_) | Field::Reported => None,
        }
    }

    fn value_or_missing(self, expected: &str) -> Option<T> {
        if let Field::Missing = self.field {
            self.at.refuse(Code::Missing, "missing", expected);
        }
        self.given()
    }
}

impl<'a, T: Shown> Slot<'a, T> {
    /// Makes something of the value, or reports it as not being `expected`.
    pub fn parse<U>(
        self,
        code: Code,
        expected: impl Into<String>,
        read: impl FnOnce(T) -> Option<U>,
    ) -> Parsed<'a, U>
    where
        T: Clone,
    {
        let expected = expected.into();
        let slot = self.expect(code, &expected);
        let field = match slot.field {
            Field::Given(value) => match read(value.clone()) {
                Some(read) => Field::Given(read),
                None => {
                    slot.at.refuse(code, format!("found {}", value.shown()), expected.as_str());
                    Field::Reported
                }
            },
            Field::Missing => Field::Missing,
            Field::Bad(_) | Field::Reported => Field::Reported,
        };
        Parsed { slot: Slot { at: slot.at, field }, expected }
    }
}

/// A value that has been made something of.
#[derive(Debug)]
pub struct Parsed<'a, T> {
    slot: Slot<'a, T>,
    expected: String,
}

impl<T> Parsed<'_, T> {
    /// The value, which must be there.
    pub fn required(self) -> Option<T> {
        self.slot.value_or_missing(&self.expected)
    }

    /// The value, where there is one.
    pub fn optional(self) -> Option<T> {
        self.slot.given()
    }

    /// The value or its default.
    pub fn or(self, default: T) -> T {
        self.slot.given().unwrap_or(default)
    }
}

impl<'a> Slot<'a, String> {
    /// One of a few words.
    pub fn word<T: Copy>(self, words: &[(&str, T)]) -> Parsed<'a, T> {
        let names = words.iter().map(|(name, _)| *name);
        self.parse(Code::NotAWord, one_of(names), |text| {
            words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
        })
    }

    /// A lower-case DNS label.
    pub fn label(self) -> Parsed<'a, Label> {
        let field = match self.field {
            Field::Bad(found) if !found.is_empty() && found.bytes().all(|byte| byte.is_ascii_digit()) => {
                Field::Bad(format!("{found}, a number without quotes"))
            }
            field => field,
        };
        Slot { at: self.at, field }.parse(Code::Label, LABEL, |text| Label::parse(&text).ok())
    }

    /// A time span such as `10s`, within bounds.
    pub fn duration(self, bounds: RangeInclusive<Duration>) -> Parsed<'a, Duration> {
        let (first, last) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
        self.parse(
            Code::TimeSpan,
            format!("a time such as 500ms, 10s or 5m, from {first} to {last}"),
            |text| parse_duration(&text).filter(|span| bounds.contains(span)),
        )
    }
}

impl<'a> Slot<'a, u64> {
    /// A number within bounds.
    pub fn number<T>(self, bounds: RangeInclusive<T>) -> Parsed<'a, T>
    where
        T: TryFrom<u64> + PartialOrd + Display,
    {
        let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        self.parse(Code::Number, expected, |number| {
            T::try_from(number).ok().filter(|number| bounds.contains(number))
        })
    }
}

impl<'a, T: Shape> Slot<'a, Vec<Field<T>>> {
    /// The items, each with its place; none when the key is missing.
    pub fn items(self) -> Vec<Slot<'a, T>> {
        let at = self.at.clone();
        let items = self.optional().unwrap_or_default();
        items.into_iter().enumerate().map(|(index, field)| at.index(index).slot(field)).collect()
    }

    /// The items, of which there must be at least one and at most so many.
    pub fn some_items(self, most: usize) -> Vec<Slot<'a, T>> {
        let (at, there) = (self.at.clone(), self.is_there());
        let bad = matches!(self.field, Field::Bad(_) | Field::Reported);
        let items = self.items();
        if items.is_empty() && !bad {
            let (code, what) =
                if there { (Code::EmptyList, "the list is empty") } else { (Code::Missing, "missing") };
            at.refuse(code, what, "a list with at least one item");
        }
        at.at_most(items, most)
    }
}

impl At<'_> {
    /// The items, of which there may be at most so many.
    pub fn at_most<T>(&self, mut items: Vec<T>, most: usize) -> Vec<T> {
        if items.len() > most {
            self.refuse(
                Code::LongList,
                format!("the list has {} items", items.len()),
                format!("at most {most}"),
            );
            items.truncate(most);
        }
        items
    }
}

/// What a label is, for problems.
pub const LABEL: &str = "a label of a-z, 0-9 and inner hyphens, at most 63 characters";

/// Text for people: one line of at most so many bytes that is not empty, without the blanks around it.
pub(super) fn short_line(text: &str, most: usize) -> Option<Box<str>> {
    let fits = !text.trim().is_empty() && text.len() <= most && is_line(text);
    fits.then(|| text.trim().into())
}

/// What stands where this does, for problems.
fn kind(outline: &Outline) -> String {
    match outline {
        Outline::Leaf(name) => (*name).to_owned(),
        Outline::List(_) => "a list".to_owned(),
        Outline::Mapping(keys) => format!("a mapping with the keys {}", names(keys)),
        Outline::WordOr(word, keys) => format!("{word}, or a mapping with the key {}", names(keys)),
    }
}

fn names(keys: &[Key]) -> String {
    keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
}
