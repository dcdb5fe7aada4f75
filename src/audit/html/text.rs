//! Texts, numbers and times as HTML. Whatever traffic made up goes through [`Text`].

use std::fmt::{self, Write as _};

use crate::policy::html::reference;
use crate::telemetry::wall_time::{Seconds, from_unix_seconds};

use super::super::foreign::shown;
use super::super::render::age;

/// Characters of a name: a user agent is shown as far as it says something.
const LONGEST_NAME: usize = 120;

/// Characters of a sentence that somebody wrote; what to change is of no use without its end.
const LONGEST_SENTENCE: usize = 1_000;

/// Between groups of three digits: narrow, and no place to break a line.
const THIN_SPACE: char = '\u{202f}';

/// A name in HTML, in an element or in an attribute with quotes. Cut at a length that a table bears; what is invisible or
/// turns the direction of reading is shown as a replacement character.
#[derive(Clone, Copy)]
pub(super) struct Text<'a>(pub &'a str);

/// The same for what people wrote.
#[derive(Clone, Copy)]
pub(super) struct Sentence<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, self.0, LONGEST_NAME)
    }
}

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, self.0, LONGEST_SENTENCE)
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str, longest: usize) -> fmt::Result {
    for character in shown(text, longest) {
        match reference(character) {
            Some(reference) => f.write_str(reference)?,
            None => f.write_char(character)?,
        }
    }
    Ok(())
}

/// Nothing is a dash.
pub(super) fn or_dash(text: Option<&str>) -> Text<'_> {
    Text(text.unwrap_or("–"))
}

/// A number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(THIN_SPACE);
        }
        text.push(digit);
    }
    text
}

/// How long ago, with the moment itself behind it.
pub(super) fn ago(now: i64, then: i64) -> String {
    let moment = moment(then);
    format!("<time datetime=\"{moment}\" title=\"{moment}\">{}</time>", age(now, then))
}

/// A moment to the minute.
pub(super) fn minute(at: i64) -> String {
    let moment = moment(at);
    format!("<time datetime=\"{moment}\">{}</time>", minute_text(at))
}

/// The same without an element, for drawings.
pub(super) fn minute_text(at: i64) -> String {
    let moment = moment(at);
    format!("{} {}", &moment[..10], &moment[11..16])
}

fn moment(at: i64) -> String {
    Seconds(from_unix_seconds(at)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text_wherever_it_stands() {
        for (text, expect) in [
            ("a b", "a b"),
            ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
            ("\" onmouseover='x'&", "&quot; onmouseover=&#39;x&#39;&amp;"),
            ("a\u{202e}b\nc\0", "a\u{fffd}b\u{fffd}c\u{fffd}"),
        ] {
            assert_eq!(Text(text).to_string(), expect);
        }
        let long = "é".repeat(2_000);
        assert_eq!(Text(&long).to_string().chars().count(), LONGEST_NAME + 1);
        assert_eq!(Sentence(&long).to_string().chars().count(), LONGEST_SENTENCE + 1);
    }

    #[test]
    fn thousands_are_apart() {
        for (given, expect) in
            [(0, "0"), (999, "999"), (1_000, "1 000"), (41_802, "41 802"), (1_234_567, "1 234 567")]
        {
            assert_eq!(number(given).replace(THIN_SPACE, " "), expect);
        }
    }
}
