//! What is wrong with a configuration, as values: one [`Problem`] a mistake, all of them at once.
//!
//! A problem never repeats a secret: keys and certificates are named by file, never by content, and
//! quoted text is cut short.

use crate::policy::code::Code;
use crate::policy::line::is_deceptive;
use std::cell::{Cell, RefCell};
use std::fmt;

/// Most problems that are told. A table of a million rows can be wrong in every row, and nobody reads more
/// than this; reading ends where it makes sense to.
pub const MAX_PROBLEMS: usize = 500;

/// Longest piece of foreign text that a problem quotes, in characters: enough to recognise a line, too
/// short to hold a token.
const MAX_QUOTED: usize = 48;

/// Longest part of a problem that is shown, in characters; the longest of ours has about 150.
const MAX_PART: usize = 400;

/// One mistake in one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, relative to the configuration folder.
    pub file: Box<str>,
    /// Line, from 1; `None` where the whole file is meant.
    pub line: Option<u32>,
    /// Column, from 1; `None` in tables.
    pub column: Option<u32>,
    /// The path of the value (`cells[1].protocol`) or the column of a table; may be empty.
    pub path: Box<str>,
    /// What is wrong: `found "http3"`.
    pub what: Box<str>,
    /// What would be right: `http1, http2 or auto`.
    pub expected: Box<str>,
    /// A guess at what was meant, or the next step.
    pub hint: Option<Box<str>>,
    /// Which kind of mistake it is; `cellgate help` explains each. Last, so that problems are in the order of the file.
    pub code: Code,
}

impl Problem {
    /// A problem with a whole file.
    pub fn in_file(code: Code, file: &str, what: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: None,
            column: None,
            path: "".into(),
            what: what.into().into(),
            expected: expected.into().into(),
            hint: None,
            code,
        }
    }

    /// The same problem at a line.
    #[must_use]
    pub fn at_line(self, line: u32) -> Self {
        Self { line: Some(line), ..self }
    }

    /// The same problem at a line and column.
    #[must_use]
    pub fn at_column(self, line: u32, column: u32) -> Self {
        Self { line: Some(line), column: Some(column), ..self }
    }

    /// The same problem with the path of the value.
    #[must_use]
    pub fn at_path(self, path: &str) -> Self {
        Self { path: path.into(), ..self }
    }

    /// The same problem with a guess or a next step.
    #[must_use]
    pub fn with_hint(self, hint: Option<String>) -> Self {
        Self { hint: hint.map(Into::into), ..self }
    }
}

impl Problem {
    /// Without line breaks and other control characters: paths are made of keys, and keys are foreign.
    fn on_one_line(self) -> Self {
        let Self { file, line, column, path, what, expected, hint, code } = self;
        let (file, path) = (one_line(file), one_line(path));
        let (what, expected, hint) = (one_line(what), one_line(expected), hint.map(one_line));
        Self { file, line, column, path, what, expected, hint, code }
    }
}

/// Without control characters, and not longer than a part of a line for people.
pub(super) fn one_line(text: Box<str>) -> Box<str> {
    if text.len() <= MAX_PART && !text.contains(is_deceptive) {
        return text;
    }
    let mut line = String::new();
    for (position, c) in text.chars().enumerate() {
        match c {
            _ if position == MAX_PART => {
                line.push('…');
                break;
            }
            _ if is_deceptive(c) => line.extend(c.escape_default()),
            _ => line.push(c),
        }
    }
    line.into()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; expected {}", self.what, self.expected)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        write!(f, " [{}]", self.code)
    }
}

/// Collects problems while a configuration is read; everything that reads shares one.
#[derive(Debug, Default)]
pub struct Report {
    problems: RefCell<Vec<Problem>>,
    overflowing: Cell<bool>,
}

impl Report {
    /// Adds a problem; after [`MAX_PROBLEMS`] it only remembers that there are more.
    pub fn push(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() < MAX_PROBLEMS {
            problems.push(problem.on_one_line());
        } else {
            self.overflowing.set(true);
        }
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// How many problems are kept so far.
    pub fn len(&self) -> usize {
        self.problems.borrow().len()
    }

    /// Whether what comes now is not told any more, so that looking for it is in vain.
    pub fn is_full(&self) -> bool {
        self.overflowing.get()
    }

    /// All problems by file, line and column.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort();
        problems.dedup();
        if self.overflowing.get() {
            let what = format!("there are more than {MAX_PROBLEMS} problems");
            problems.push(Problem::in_file(
                Code::TooManyProblems,
                "(all files)",
                what,
                "those above mended first",
            ));
        }
        problems
    }
}

/// Foreign text in quotes, with control characters escaped, cut at a harmless length.
pub fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_QUOTED).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// `did you mean "http2"?`, where one of the candidates is close to what was written.
pub fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let letters = written.chars().count();
    // A third of them may be wrong: `protcol` finds `protocol`, `x` does not find `ca`.
    let most = (letters / 3).max(1);
    // Distance is quadratic in length; nothing longer than a DNS name is a slip of the fingers.
    if written.len() > 253 {
        return None;
    }
    let written = written.to_lowercase();
    candidates
        .into_iter()
        // They differ by no less than their lengths do.
        .filter(|candidate| candidate.chars().count().abs_diff(letters) <= most)
        .map(|candidate| (strsim::osa_distance(&written, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= most && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| format!("did you mean {}?", quoted(candidate)))
}

/// `a, b or c`.
pub fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.as_slice() {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_one_line() {
        let problem =
            Problem::in_file(Code::NotAWord, "cellgate.yaml", "found \"http3\"", "http1, http2 or auto");
        let line = problem.at_column(14, 5).at_path("cells[1].protocol");
        assert_eq!(
            line.to_string(),
            "cellgate.yaml:14:5: cells[1].protocol: found \"http3\"; expected http1, http2 or auto [E0126]"
        );
        let hinted = line.with_hint(did_you_mean("http3", ["http1", "http2", "auto"]));
        assert!(hinted.to_string().ends_with("(did you mean \"http1\"?) [E0126]"), "{hinted}");
    }

    #[test]
    fn guesses_are_close_or_absent() {
        let keys = ["protocol", "endpoints", "ca", "priority"];
        let check = |written: &str, expect: Option<&str>| {
            let expect = expect.map(|word| format!("did you mean \"{word}\"?"));
            assert_eq!(did_you_mean(written, keys), expect, "{written:?}");
        };
        check("protcol", Some("protocol"));
        check("Protocol", Some("protocol"));
        check("endpoint", Some("endpoints"));
        check("pirority", Some("priority"));
        check("x", None);
        check("colour", None);
        check(&"p".repeat(100_000), None);
    }

    #[test]
    fn quoted_text_is_short_and_harmless() {
        assert_eq!(quoted("a\n\u{1b}[2J"), r#""a\n\u{1b}[2J""#);
        assert!(quoted(&"s3cret".repeat(100)).chars().count() < 60);
    }

    #[test]
    fn a_problem_stays_on_its_line() {
        let report = Report::default();
        let problem = Problem::in_file(Code::UnknownKey, "a\nb.csv", "unknown\tkey", "x".repeat(1_000))
            .at_path("a\u{1b}[2J");
        report.push(problem);
        let line = report.into_problems()[0].to_string();
        assert!(line.starts_with("a\\nb.csv: a\\u{1b}[2J: unknown\\tkey; expected xxx"), "{line}");
        assert!(!line.contains(char::is_control) && line.len() < 500, "{line}");
    }

    #[test]
    fn a_flood_of_problems_ends() {
        let report = Report::default();
        for line in 0..(MAX_PROBLEMS as u32 + 7) {
            report.push(Problem::in_file(Code::Label, "accounts.csv", "bad", "good").at_line(line));
        }
        let problems = report.into_problems();
        assert_eq!(problems.len(), MAX_PROBLEMS + 1);
        assert_eq!(&*problems[MAX_PROBLEMS].what, "there are more than 500 problems");
    }
}
