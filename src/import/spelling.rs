//! What a regular expression matches, spelled out: the few texts that it is made of, with marks where anything may stand.
//! Expressions of maps are alternatives of ids and hosts, and so have few; one with too many is left.

use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// Anything, also nothing.
pub(super) const ANY: char = '\u{0}';
/// Something, but not just anything: `[^/]+`, `.`, `\d{5,}`.
pub(super) const SOME: char = '\u{3}';
/// Nothing follows.
pub(super) const END: char = '\u{1}';
/// What follows, if anything, continues no id: `\b`.
pub(super) const BOUNDARY: char = '\u{2}';

/// Most spellings of one expression: a line of a map that names more accounts is a table of its own.
const MAX_SPELLINGS: usize = 1_000;

/// Most members of a class, such as `[23]`, that are spelled out; larger ones are [`SOME`].
const MAX_CLASS: usize = 12;

/// Most times that something is spelled out in a row, such as `(a)?`.
const MAX_REPEATS: u32 = 2;

/// Every text that the expression matches. What it does not tie to the beginning begins with [`ANY`].
pub(super) fn spellings(expression: &str, ignores_case: bool) -> Result<Vec<String>, String> {
    // Of an expression in lower case, `\D` would be `\d`.
    let lower = expression.to_ascii_lowercase();
    let same_in_lower_case =
        !expression.contains("\\D") && !expression.contains("\\W") && !expression.contains("\\S");
    if ignores_case && !same_in_lower_case {
        return Err("a class such as \\D in an expression that ignores case".to_owned());
    }
    let expression = if ignores_case { &lower } else { expression };
    if expression.contains([ANY, SOME, END, BOUNDARY]) {
        return Err("control characters in a regular expression".to_owned());
    }
    let mut parser = regex_syntax::ParserBuilder::new();
    let parsed = parser.unicode(false).utf8(false).nest_limit(64).build().parse(expression);
    let parsed = parsed.map_err(|error| {
        let first =
            error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("a regular expression that is not understood here ({first})")
    })?;
    let mut spelled = vec![Spelled { anchored: false, text: String::new() }];
    extend(&mut spelled, &parsed)?;
    Ok(spelled.into_iter().map(Spelled::text).collect())
}

/// One text while it is spelled.
#[derive(Clone)]
struct Spelled {
    anchored: bool,
    text: String,
}

impl Spelled {
    fn text(self) -> String {
        if self.anchored || self.text.starts_with(ANY) { self.text } else { format!("{ANY}{}", self.text) }
    }

    fn push(&mut self, c: char) {
        // Two in a row say no more than one.
        if !(matches!(c, ANY | SOME) && self.text.ends_with(c)) {
            self.text.push(c);
        }
    }
}

fn extend(spelled: &mut Vec<Spelled>, hir: &Hir) -> Result<(), String> {
    match hir.kind() {
        HirKind::Empty => {}
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).map_err(|_| "bytes that are not UTF-8".to_owned())?;
            spelled.iter_mut().for_each(|one| one.text.push_str(text));
        }
        HirKind::Class(class) => each(spelled, &members(class))?,
        HirKind::Look(Look::Start) if spelled.iter().all(|one| one.text.is_empty()) => {
            spelled.iter_mut().for_each(|one| one.anchored = true);
        }
        HirKind::Look(Look::End) => spelled.iter_mut().for_each(|one| one.push(END)),
        HirKind::Look(Look::WordAscii | Look::WordEndAscii) => {
            spelled.iter_mut().for_each(|one| one.push(BOUNDARY));
        }
        HirKind::Look(_) => return Err("a regular expression with an anchor in its middle".to_owned()),
        HirKind::Capture(capture) => extend(spelled, &capture.sub)?,
        HirKind::Concat(parts) => {
            for part in parts {
                extend(spelled, part)?;
            }
        }
        HirKind::Alternation(choices) => choose(spelled, choices.iter().map(|choice| vec![choice]))?,
        HirKind::Repetition(repeated) => match repeated.max {
            Some(most) if most <= MAX_REPEATS => {
                let times = (repeated.min..=most).map(|times| vec![&*repeated.sub; times as usize]);
                choose(spelled, times)?;
            }
            None if repeated.min == 0 && is_anything(&repeated.sub) => {
                spelled.iter_mut().for_each(|one| one.push(ANY));
            }
            _ => spelled.iter_mut().for_each(|one| one.push(SOME)),
        },
    }
    Ok(())
}

/// Continues every text in each of these ways.
fn choose<'h>(spelled: &mut Vec<Spelled>, ways: impl Iterator<Item = Vec<&'h Hir>>) -> Result<(), String> {
    let before = std::mem::take(spelled);
    for way in ways {
        let mut continued = before.clone();
        for part in way {
            extend(&mut continued, part)?;
        }
        spelled.append(&mut continued);
        few(spelled)?;
    }
    Ok(())
}

fn each(spelled: &mut Vec<Spelled>, members: &[char]) -> Result<(), String> {
    if members.is_empty() {
        spelled.iter_mut().for_each(|one| one.push(SOME));
        return Ok(());
    }
    let with = |one: &Spelled, member: &char| {
        let mut one = one.clone();
        one.text.push(*member);
        one
    };
    *spelled = spelled.iter().flat_map(|one| members.iter().map(|member| with(one, member))).collect();
    few(spelled)
}

/// `.`, with or without line ends.
fn is_anything(hir: &Hir) -> bool {
    let HirKind::Class(Class::Bytes(bytes)) = hir.kind() else { return false };
    let count: usize = bytes.ranges().iter().map(regex_syntax::hir::ClassBytesRange::len).sum();
    count >= 255
}

/// The members of a small class; none of a large one.
fn members(class: &Class) -> Vec<char> {
    let Class::Bytes(bytes) = class else { return Vec::new() };
    let members = || bytes.ranges().iter().flat_map(|range| range.start()..=range.end());
    let small = members().take(MAX_CLASS + 1).count() <= MAX_CLASS;
    if small && members().all(|byte| byte.is_ascii_graphic()) {
        members().map(char::from).collect()
    } else {
        Vec::new()
    }
}

fn few(spelled: &[Spelled]) -> Result<(), String> {
    match spelled.len() <= MAX_SPELLINGS {
        true => Ok(()),
        false => Err(format!("a regular expression with more than {MAX_SPELLINGS} spellings")),
    }
}
