//! Commands of a page: the lines of its `console` blocks that begin with `$`, and what it shows below each.

/// A line to paste.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// As it stands there, without `$` and without the number that it exits with.
    pub line: String,
    /// What it exits with.
    pub exits: i32,
    /// What is shown below it.
    pub shown: Vec<String>,
}

/// All of a page, from top to bottom.
pub fn of(text: &str) -> Vec<Command> {
    let mut found: Vec<Command> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let fence = line.trim();
        if let Some(kind) = fence.strip_prefix("```") {
            inside = !inside && kind == "console";
        } else if inside {
            take(line.trim_end(), &mut found);
        }
    }
    found
}

fn take(line: &str, found: &mut Vec<Command>) {
    if let Some(command) = line.trim_start().strip_prefix("$ ") {
        found.push(one(command));
    } else if let Some(last) = found.last_mut() {
        if last.shown.is_empty() && last.line.ends_with('\\') {
            last.line = format!("{} {}", last.line.trim_end_matches('\\').trim_end(), line.trim());
        } else if !line.trim().is_empty() {
            last.shown.push(line.trim().to_owned());
        }
    }
}

fn one(command: &str) -> Command {
    let exits =
        command.split_once("# exits ").map(|(_, after)| after.chars().take_while(char::is_ascii_digit));
    let exits =
        exits.map_or(0, |digits| digits.collect::<String>().parse().expect("a number after `# exits`"));
    Command { line: command.trim().to_owned(), exits, shown: Vec::new() }
}

/// The first shown line that is not in what came, in its order; numbers, dates and digests may be others.
/// `...` stands for any lines, and at the end of one for the rest of it.
pub fn missing<'a>(shown: &'a [String], came: &str) -> Option<&'a str> {
    let mut rest = came.lines().map(plain);
    shown.iter().map(String::as_str).filter(|line| *line != "...").find(|line| {
        let wanted = plain(line);
        let found = match wanted.strip_suffix("...") {
            Some(beginning) => rest.any(|line| line.starts_with(beginning.trim_end())),
            None => rest.any(|line| line == wanted),
        };
        !found
    })
}

/// Words between single spaces, with `#` for what differs from day to day.
fn plain(line: &str) -> String {
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// As HTTP writes a day (RFC 9110 section 5.6.7).
const DAYS: [&str; 19] = [
    "Mon,", "Tue,", "Wed,", "Thu,", "Fri,", "Sat,", "Sun,", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul",
    "Aug", "Sep", "Oct", "Nov", "Dec",
];

fn word(word: &str) -> String {
    if DAYS.contains(&word) {
        return "#".to_owned();
    }
    let is_digest = |part: &str| part.len() >= 12 && part.chars().all(|char| char.is_ascii_hexdigit());
    let parts = word.split_inclusive(|char: char| !char.is_ascii_alphanumeric());
    let parts = parts.map(|part| {
        let bare = part.trim_end_matches(|char: char| !char.is_ascii_alphanumeric());
        if is_digest(bare) { part.replace(bare, "#") } else { part.to_owned() }
    });
    let mut plain = String::new();
    for char in parts.collect::<String>().chars() {
        match char {
            '0'..='9' if plain.ends_with('#') => {}
            '0'..='9' => plain.push('#'),
            other => plain.push(other),
        }
    }
    plain
}

#[test]
fn commands_are_read_with_what_is_shown_below_them() {
    let page = "text\n```console\n$ a b   # exits 2: why\none\n\ntwo\n$ c \\\n  d\n```\n```yaml\n$ no\n```\n";
    let found = of(page);
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].exits, found[0].shown.len()), (2, 2));
    assert_eq!((found[1].line.as_str(), found[1].exits), ("c d", 0));
}

#[test]
fn what_is_shown_is_looked_for_line_by_line() {
    let shown = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    let came = "lever 17 is pulled until 2026-11-23T03:00:00Z\nelse\n  to end it: 0123456789abcdef0123 x y\n";
    let good = shown(&[
        "lever 1 is pulled until 2025-01-01T00:00:00Z",
        "...",
        "to end it: aaaaaaaaaaaaaaaaaaaa x y",
    ]);
    assert_eq!(missing(&good, came), None);
    assert_eq!(missing(&shown(&["lever 1 is ..."]), came), None);
    assert_eq!(missing(&shown(&["else", "lever 1 is ..."]), came), Some("lever 1 is ..."));
    assert_eq!(missing(&shown(&["lever 1 is released"]), came), Some("lever 1 is released"));
}
