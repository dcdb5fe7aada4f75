//! Lists whose first match answers: what was left in front of a line may take its requests, and then the line means nothing.

use super::key::Shapes;
use super::reach::{Naming, Unnamed};
use super::{Place, Read};

/// A list while it is read.
#[derive(Debug, Default)]
pub(super) struct Answered {
    left: Vec<(Place, Option<regex::bytes::Regex>)>,
}

impl Answered {
    /// Takes a line by its path, unless something in front of it answers.
    pub(super) fn take(&mut self, read: &mut Read, line: &Line<'_>, shapes: &Shapes) {
        let compiled = || {
            let mut builder = regex::bytes::RegexBuilder::new(line.expression);
            builder.unicode(false).case_insensitive(line.ignores_case).build().ok()
        };
        let Ok(accounts) = &line.named else {
            self.left.push((line.place.clone(), compiled()));
            return read.take(line.place, line.shown, line.named.clone(), line.target);
        };
        let first = self.left.iter().find(|(_, before)| {
            before.as_ref().is_none_or(|before| {
                let mut samples = accounts.iter().flat_map(|named| shapes.samples(named));
                samples.any(|sample| before.is_match(sample.as_bytes()))
            })
        });
        let why = first.map(|(place, before)| match before {
            Some(_) => format!("line {} stands before it and matches some of its paths", place.line),
            None => format!(
                "line {} stands before it, is not understood here, and may match its paths",
                place.line
            ),
        });
        match why {
            Some(why) => read.leave(line.place, line.shown, Unnamed::only(accounts.clone(), why)),
            None => read.take(line.place, line.shown, line.named.clone(), line.target),
        }
    }
}

/// One line of such a list.
pub(super) struct Line<'a> {
    pub(super) place: &'a Place,
    /// As it is shown to people.
    pub(super) shown: &'a str,
    /// As a regular expression.
    pub(super) expression: &'a str,
    pub(super) ignores_case: bool,
    pub(super) named: Naming,
    pub(super) target: &'a str,
}
