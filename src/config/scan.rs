//! The first look at a YAML file: cheap, bounded, and before any other parser sees the text. It refuses
//! what no configuration needs and what makes parsers slow or disagree, and it remembers where each
//! value stands, so that later problems can name line and column.
//!
//! It builds no values; [`raw`](super::raw) does. serde_yaml alone needs 18 seconds for 200 KB of `[`
//! and says nothing about a key that stands twice in a deeper reader.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::old_reading::old_reading;
use super::problem::{Problem, Report, quoted};
use crate::policy::code::Code;

/// Largest YAML file. People write these by hand; a table that outgrows this belongs into CSV.
pub const MAX_YAML_BYTES: usize = 1024 * 1024;

/// Deepest nesting. The deepest value of ours has 6 levels; serde_yaml itself gives up at 128.
pub const MAX_DEPTH: usize = 32;

/// Most values in a file. [`MAX_YAML_BYTES`] of honest configuration has about 60,000.
pub const MAX_NODES: usize = 200_000;

/// Longest single text. The longest honest ones are URLs and paths, which other programs cut at 8 KiB.
pub const MAX_SCALAR_BYTES: usize = 8 * 1024;

/// Where each value of a file stands, by its path: `cells[2].groups[0].endpoints[1]`, the whole document by the
/// empty one. A value in a mapping stands where its key does.
#[derive(Debug, Default)]
pub struct Places(HashMap<Box<str>, (u32, u32)>);

impl Places {
    /// Line and column, from 1.
    pub fn find(&self, path: &str) -> Option<(u32, u32)> {
        self.0.get(path).copied()
    }
}

/// Looks a file over. `None` means that it must not be parsed; the reasons are in `report`, as are
/// smaller problems of files that can be parsed.
pub fn scan<'t>(file: &str, bytes: &'t [u8], report: &Report) -> Option<(&'t str, Places)> {
    let text = text(file, bytes, report)?;
    let mut scan = Scan {
        file,
        report,
        places: Places::default(),
        frames: Vec::new(),
        path: String::new(),
        nodes: 0,
        fit: true,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let go_on = match event {
            Ok((event, span)) => scan.event(event, span),
            Err(error) => scan.unreadable(&error),
        };
        if !go_on || report.is_full() {
            return None;
        }
    }
    if scan.nodes == 0 {
        report.push(empty(file));
        return None;
    }
    scan.fit.then_some((text, scan.places))
}

struct Scan<'a> {
    file: &'a str,
    report: &'a Report,
    places: Places,
    frames: Vec<Frame>,
    path: String,
    nodes: usize,
    fit: bool,
}

/// One open mapping or list.
struct Frame {
    /// Length of its own path.
    path_len: usize,
    inside: Inside,
}

enum Inside {
    /// Keys seen so far with their lines; `key_next` tells whether a key or its value comes next.
    Mapping { keys: HashMap<Box<str>, u32>, key_next: bool },
    /// Items seen so far.
    List(usize),
}

impl Scan<'_> {
    /// Takes one event; false ends the scan.
    fn event(&mut self, event: Event<'_>, span: Span) -> bool {
        let place = (to_u32(span.start.line()), to_u32(span.start.col() + 1));
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => true,
            Event::DocumentStart(_) if self.nodes > 0 => self.refuse(
                Code::SecondDocument,
                place,
                "a second document begins".to_owned(),
                "one document in a file",
            ),
            Event::DocumentStart(_) => true,
            Event::Alias(_) => {
                self.spoil(
                    Code::AnchorOrTag,
                    place,
                    "found an alias (*name)",
                    "the value itself, written out",
                );
                self.node(place)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.decoration(place, anchor, tag.is_some());
                self.scalar(place, &text, style)
            }
            Event::SequenceStart(anchor, tag) => {
                self.decoration(place, anchor, tag.is_some());
                self.open(place, Inside::List(0))
            }
            Event::MappingStart(anchor, tag) => {
                self.decoration(place, anchor, tag.is_some());
                self.open(place, Inside::Mapping { keys: HashMap::new(), key_next: true })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.frames.pop();
                true
            }
        }
    }

    /// Reports text that is no YAML.
    fn unreadable(&mut self, error: &ScanError) -> bool {
        let place = (to_u32(error.marker().line()), to_u32(error.marker().col() + 1));
        // The parser looks ahead, so that its own limit can be reached before ours.
        if error.info().contains("recursion limit") {
            return self.too_deep(place);
        }
        self.refuse(
            Code::NotYaml,
            place,
            format!("not readable as YAML: {}", error.info()),
            "well-formed YAML",
        )
    }

    fn too_deep(&mut self, place: (u32, u32)) -> bool {
        self.refuse(
            Code::TooDeep,
            place,
            "nested too deeply".to_owned(),
            &format!("at most {MAX_DEPTH} levels"),
        )
    }

    /// Reports something that does not keep the rest of the file from being read.
    fn note(&self, code: Code, place: (u32, u32), what: String, expected: &str) {
        let problem = Problem::in_file(code, self.file, what, expected);
        self.report.push(problem.at_column(place.0, place.1).at_path(&self.path));
    }

    /// Reports something because of which the file is not parsed, and goes on scanning.
    fn spoil(&mut self, code: Code, place: (u32, u32), what: &str, expected: &str) {
        self.fit = false;
        self.note(code, place, what.to_owned(), expected);
    }

    /// Reports something that ends the scan.
    fn refuse(&mut self, code: Code, place: (u32, u32), what: String, expected: &str) -> bool {
        self.fit = false;
        self.note(code, place, what, expected);
        false
    }

    fn decoration(&mut self, place: (u32, u32), anchor: usize, tag: bool) {
        if anchor != 0 {
            self.spoil(
                Code::AnchorOrTag,
                place,
                "found an anchor (&name)",
                "the value without an anchor, repeated where needed",
            );
        }
        if tag {
            self.spoil(
                Code::AnchorOrTag,
                place,
                "found a tag (!name)",
                "a plain value; types follow from the key",
            );
        }
    }

    /// Counts a value and enters its place; false when there are too many.
    fn node(&mut self, place: (u32, u32)) -> bool {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return self.refuse(
                Code::TooManyValues,
                place,
                "too many values".to_owned(),
                &format!("at most {MAX_NODES} in a file"),
            );
        }
        match self.frames.last_mut() {
            None => {
                self.path.clear();
                self.places.0.insert("".into(), place);
            }
            Some(Frame { path_len, inside: Inside::List(next) }) => {
                self.path.truncate(*path_len);
                self.path.push_str(&format!("[{next}]"));
                *next += 1;
                self.places.0.insert(self.path.as_str().into(), place);
            }
            // The path ends in the key already, and the place is the key's.
            Some(Frame { inside: Inside::Mapping { key_next, .. }, .. }) => *key_next = true,
        }
        true
    }

    fn open(&mut self, place: (u32, u32), inside: Inside) -> bool {
        if let Some(Frame { inside: Inside::Mapping { key_next: true, .. }, .. }) = self.frames.last() {
            return self.refuse(
                Code::KeyIsNoText,
                place,
                "found a mapping or list as a key".to_owned(),
                "a plain key",
            );
        }
        if self.frames.len() == MAX_DEPTH {
            return self.too_deep(place);
        }
        let go_on = self.node(place);
        self.frames.push(Frame { path_len: self.path.len(), inside });
        go_on
    }

    fn scalar(&mut self, place: (u32, u32), text: &str, style: ScalarStyle) -> bool {
        if text.len() > MAX_SCALAR_BYTES {
            let expected = format!("at most {MAX_SCALAR_BYTES} bytes");
            return self.refuse(
                Code::LongText,
                place,
                format!("found a text of {} bytes", text.len()),
                &expected,
            );
        }
        if let Some(Frame { inside: Inside::Mapping { key_next: true, .. }, .. }) = self.frames.last() {
            return self.key(place, text);
        }
        let go_on = self.node(place);
        if style == ScalarStyle::Plain
            && let Some(reading) = old_reading(text)
        {
            let what = format!("found {text} without quotes, which YAML 1.1 reads as {reading}");
            self.note(Code::TwoReadings, place, what, "true, false, a decimal number, or text in quotes");
        }
        go_on
    }

    fn key(&mut self, place: (u32, u32), text: &str) -> bool {
        let Some(Frame { path_len, inside: Inside::Mapping { keys, key_next } }) = self.frames.last_mut()
        else {
            return true;
        };
        *key_next = false;
        self.path.truncate(*path_len);
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(text);
        match keys.entry(text.into()) {
            Entry::Occupied(first) => {
                let what = format!("key {} stands twice, first in line {}", quoted(text), first.get());
                self.note(Code::KeyTwice, place, what, "each key once");
            }
            Entry::Vacant(entry) => {
                entry.insert(place.0);
                self.places.0.insert(self.path.as_str().into(), place);
            }
        }
        if text == "<<" {
            self.spoil(
                Code::AnchorOrTag,
                place,
                "found a merge key (<<)",
                "the keys themselves, written out",
            );
        }
        true
    }
}

/// The bytes as text, unless size, encoding or control characters forbid it.
fn text<'t>(file: &str, bytes: &'t [u8], report: &Report) -> Option<&'t str> {
    if bytes.len() > MAX_YAML_BYTES {
        let what = format!("the file has {} bytes", bytes.len());
        let hint = Some("large tables can be CSV".to_owned());
        let expected = format!("at most {MAX_YAML_BYTES}");
        report.push(Problem::in_file(Code::LargeFile, file, what, expected).with_hint(hint));
        return None;
    }
    // Some editors begin a file with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let problem_at = |code: Code, offset: usize, what: String, expected: &str| {
        let (line, column) = place_of(bytes, offset);
        report.push(Problem::in_file(code, file, what, expected).at_column(line, column));
    };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            problem_at(
                Code::NotUtf8,
                error.valid_up_to(),
                "found bytes that are not UTF-8".to_owned(),
                "a text file in UTF-8",
            );
            return None;
        }
    };
    if text.trim().is_empty() {
        report.push(empty(file));
        return None;
    }
    let forbidden = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if let Some((offset, c)) = text.char_indices().find(|(_, c)| forbidden(*c)) {
        problem_at(
            Code::ControlCharacter,
            offset,
            format!("found the control character U+{:04X}", u32::from(c)),
            "plain text",
        );
        return None;
    }
    if let Some(offset) = tab_in_indentation(text) {
        problem_at(Code::Tab, offset, "found a tab in the indentation".to_owned(), "spaces");
        return None;
    }
    Some(text)
}

fn empty(file: &str) -> Problem {
    Problem::in_file(Code::EmptyFile, file, "the file is empty", "a mapping that begins with `version: 1`")
        .with_hint(Some("if it should not be empty, it was truncated on its way here".to_owned()))
}

fn tab_in_indentation(text: &str) -> Option<usize> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..indentation].find('\t') {
            return Some(offset + tab);
        }
        offset += line.len();
    }
    None
}

fn place_of(bytes: &[u8], offset: usize) -> (u32, u32) {
    let before = &bytes[..offset];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    (to_u32(line), to_u32(column))
}

/// Lines and columns of a file below [`MAX_YAML_BYTES`] fit.
fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
