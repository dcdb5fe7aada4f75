//! `map` blocks of nginx: `map $host $backend { acme.us1.dbt.com cell-2; ~^/api/v2/accounts/12345(/|$) cell-2; }`.

use std::sync::Arc;

use super::answered::{Answered, Line};
use super::key::Shapes;
use super::reach::{Naming, Unnamed};
use super::{Named, NotRead, Place, Read};

/// Deepest chain of `include`; nginx itself has no limit, and people have two.
const MAX_INCLUDES: usize = 5;

/// Gives the text of a file that is included.
pub type Include<'a> = &'a mut dyn FnMut(&str) -> Result<String, String>;

/// Reads the map whose result is `variable` (`$backend`), or the only one.
///
/// # Errors
/// The text is no configuration of nginx, has no map, or several and none is asked for.
pub fn read(
    file: &str,
    text: &str,
    variable: Option<&str>,
    shapes: &Shapes,
    include: Include<'_>,
) -> Result<Read, NotRead> {
    let file: Arc<str> = file.into();
    let statements = statements(&file, text)?;
    let maps: Vec<usize> = (0..statements.len()).filter(|at| statements[*at].is_map()).collect();
    let is_asked = |at: &&usize| variable.is_none_or(|asked| statements[**at].words[2] == asked);
    let not_read = |line: usize, why: String| NotRead { place: Place::new(&file, line), why };
    let known = || {
        let named = |at: &usize| format!("{} in line {}", statements[*at].words[2], statements[*at].line);
        maps.iter().map(named).collect::<Vec<_>>().join(", ")
    };
    match maps.iter().filter(is_asked).collect::<Vec<_>>()[..] {
        [at] => match Source::of(&statements[*at].words[1]) {
            Some(source) => Ok(block(&statements[at + 1..], source, shapes, include)),
            None => Err(not_read(statements[*at].line, MIXED.to_owned())),
        },
        [] if maps.is_empty() => {
            Err(not_read(1, "there is no map block; name the file that has it".to_owned()))
        }
        [] => Err(not_read(1, format!("there is no such map; there are {}", known()))),
        _ => Err(not_read(1, format!("there are several maps; choose one with --map: {}", known()))),
    }
}

/// What is between two of `;`, `{` and `}`.
struct Statement {
    line: usize,
    words: Vec<String>,
    end: char,
    file: Arc<str>,
}

impl Statement {
    fn is_map(&self) -> bool {
        self.end == '{' && self.words.len() == 3 && self.words[0] == "map"
    }
}

fn block(statements: &[Statement], source: Source, shapes: &Shapes, include: Include<'_>) -> Read {
    let mut map = Map {
        source,
        shapes,
        read: Read::default(),
        hostnames: false,
        patterns: Vec::new(),
        expressions: Vec::new(),
        missing: None,
    };
    map.lines(statements, include, 0);
    map.expressions();
    map.read
}

/// What the keys of a map are held against.
enum Source {
    Host,
    Path,
    Bare,
}

impl Source {
    /// `None` where it is made of several: no account can be read from it.
    fn of(text: &str) -> Option<Self> {
        match text {
            "$host" | "$http_host" | "$server_name" | "$ssl_server_name" | "$ssl_preread_server_name" => {
                Some(Self::Host)
            }
            "$uri" | "$request_uri" | "$document_uri" => Some(Self::Path),
            _ if text.matches('$').count() == 1 && text.starts_with('$') => Some(Self::Bare),
            _ => None,
        }
    }
}

struct Map<'a> {
    source: Source,
    shapes: &'a Shapes,
    read: Read,
    /// `hostnames` stands in it: patterns of hosts are patterns.
    hostnames: bool,
    /// Patterns of hosts, which nginx asks before any regular expression.
    patterns: Vec<(Place, String)>,
    /// Regular expressions with their targets, which it asks last, in this order.
    expressions: Vec<(Place, String, String)>,
    /// The first include whose lines nobody knows: one of them may answer before any expression.
    missing: Option<Place>,
}

impl Map<'_> {
    /// Up to the end of the block.
    fn lines(&mut self, statements: &[Statement], include: Include<'_>, depth: usize) {
        for statement in statements {
            match (&statement.words[..], statement.end) {
                ([], '}') => return,
                ([key, target], ';') if key == "include" => self.include(statement, target, include, depth),
                ([key], ';') if key == "hostnames" => self.hostnames = true,
                ([key], ';') if key == "volatile" => {}
                ([key, target], ';') => self.line(statement, key, target),
                _ => {
                    let place = Place::new(&statement.file, statement.line);
                    self.read.leave(
                        &place,
                        &statement.words.join(" "),
                        "no line of a map: a key, a value and a ; are",
                    );
                }
            }
        }
    }

    fn include(&mut self, statement: &Statement, name: &str, include: Include<'_>, depth: usize) {
        let place = Place::new(&statement.file, statement.line);
        let inner = if depth == MAX_INCLUDES {
            Err(format!("more than {MAX_INCLUDES} files include each other"))
        } else if name.contains(['*', '?', '[']) {
            Err("a pattern of names is not followed; import those files too".to_owned())
        } else {
            let parsed = |text: String| statements(&name.into(), &text).map_err(|error| error.to_string());
            include(name).and_then(parsed)
        };
        match inner {
            Ok(inner) => self.lines(&inner, include, depth + 1),
            Err(why) => {
                self.read.leave(&place, &format!("include {name}"), why);
                self.missing.get_or_insert(place);
            }
        }
    }

    fn line(&mut self, statement: &Statement, key: &str, target: &str) {
        let place = Place::new(&statement.file, statement.line);
        let shown = format!("{key} {target}");
        if key == "default" {
            return self.read.otherwise(&place, &shown, target);
        }
        if let Some(expression) = key.strip_prefix('~') {
            return self.expressions.push((place, expression.to_owned(), target.to_owned()));
        }
        if self.hostnames && (key.starts_with(['*', '.']) || key.ends_with('*')) {
            self.patterns.push((place.clone(), key.to_ascii_lowercase()));
        }
        let named = constant(target, self.text(key.strip_prefix('\\').unwrap_or(key)));
        self.read.take(&place, &shown, named, target);
    }

    /// After all other lines.
    fn expressions(&mut self) {
        let mut answered = Answered::default();
        for (place, expression, target) in std::mem::take(&mut self.expressions) {
            let shown = format!("~{expression} {target}");
            let ignores_case = expression.starts_with('*');
            let expression = expression.strip_prefix('*').unwrap_or(&expression);
            let named = self.expression(expression, ignores_case).and_then(|named| self.unmatched(named));
            let named = constant(&target, named);
            let line =
                Line { place: &place, shown: &shown, expression, ignores_case, named, target: &target };
            answered.take(&mut self.read, &line, self.shapes);
        }
    }

    /// What no pattern of hosts takes first.
    fn unmatched(&self, named: Vec<Named>) -> Naming {
        if let Some(place) = &self.missing {
            let why = format!("the include in line {} is missing, and may answer before it", place.line);
            return Err(Unnamed::only(named, why));
        }
        let takes = |pattern: &str, host: &str| match pattern.strip_suffix('*') {
            Some(beginning) => host.starts_with(beginning),
            None => format!(".{host}").ends_with(pattern.strip_prefix('*').unwrap_or(pattern)),
        };
        let is_host = matches!(self.source, Source::Host);
        for (place, pattern) in self.patterns.iter().filter(|_| is_host) {
            if named.iter().flat_map(|named| self.shapes.samples(named)).any(|host| takes(pattern, &host)) {
                let why = format!("nginx asks the pattern in line {} before it", place.line);
                return Err(Unnamed::only(named, why));
            }
        }
        Ok(named)
    }

    fn expression(&self, expression: &str, ignores_case: bool) -> Naming {
        match self.source {
            Source::Host => self.shapes.host_expression(expression),
            Source::Path => self.shapes.path_expression(expression, ignores_case),
            Source::Bare => Err("a regular expression over a value; write its ids out, one a line".into()),
        }
    }

    /// A whole value, in any case of its letters.
    fn text(&self, key: &str) -> Naming {
        let key = key.to_ascii_lowercase();
        match self.source {
            // Without `hostnames` it is no pattern, and no host either.
            Source::Host if key.starts_with(['*', '.']) || key.ends_with('*') => {
                Err(Shapes::host_pattern(&key))
            }
            Source::Host => self.shapes.host(&key),
            Source::Path => Err(self.shapes.one_path(&key)),
            Source::Bare => Shapes::bare(&key),
        }
    }
}

/// What a line names whose target is a word and no variable.
fn constant(target: &str, named: Naming) -> Naming {
    match target.contains('$') {
        true => Err(Unnamed::instead(named, "its value is made of variables; a row names one cell")),
        false => named,
    }
}

const MIXED: &str = "the map is over several variables at once; import one over a host, a path or an id";

/// The text as words. Comments are gone.
fn statements(file: &Arc<str>, text: &str) -> Result<Vec<Statement>, NotRead> {
    let mut statements = Vec::new();
    let mut open = Statement { line: 0, words: Vec::new(), end: ';', file: file.clone() };
    let mut chars = text.chars().peekable();
    let mut line = 1;
    while let Some(c) = chars.next() {
        match c {
            '\n' => line += 1,
            _ if c.is_whitespace() => {}
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            ';' | '{' | '}' => {
                open.end = c;
                open.line = if open.words.is_empty() { line } else { open.line };
                let next = Statement { line, words: Vec::new(), end: ';', file: file.clone() };
                statements.push(std::mem::replace(&mut open, next));
            }
            _ => {
                if open.words.is_empty() {
                    open.line = line;
                }
                let began = line;
                let Some(word) = word(c, &mut chars, &mut line) else {
                    let why = "a quote is opened and never closed".to_owned();
                    return Err(NotRead { place: Place::new(file, began), why });
                };
                open.words.push(word);
            }
        }
    }
    if !open.words.is_empty() {
        let why = "the file ends in the middle of a line: a ; or { is missing".to_owned();
        return Err(NotRead { place: Place::new(file, open.line), why });
    }
    Ok(statements)
}

type Chars<'t> = std::iter::Peekable<std::str::Chars<'t>>;

/// One word that begins with `first`, as nginx reads it; `None` where its quote is not closed.
fn word(first: char, chars: &mut Chars<'_>, line: &mut usize) -> Option<String> {
    let mut word = String::new();
    if matches!(first, '"' | '\'') {
        loop {
            match chars.next()? {
                c if c == first => return Some(word),
                c => push(&mut word, c, chars, line),
            }
        }
    }
    push(&mut word, first, chars, line);
    while let Some(c) = chars.peek().copied() {
        if c.is_whitespace() || c == ';' || c == '{' && !word.ends_with('$') {
            break;
        }
        chars.next();
        push(&mut word, c, chars, line);
    }
    Some(word)
}

/// A backslash goes before quotes and itself, is a control character before t, r and n, and stays before all else, which it
/// keeps from ending the word.
fn push(word: &mut String, c: char, chars: &mut Chars<'_>, line: &mut usize) {
    *line += usize::from(c == '\n');
    if c != '\\' {
        return word.push(c);
    }
    match chars.next() {
        Some(next @ ('"' | '\'' | '\\')) => word.push(next),
        Some('t') => word.push('\t'),
        Some('r') => word.push('\r'),
        Some('n') => word.push('\n'),
        Some(next) => {
            *line += usize::from(next == '\n');
            word.extend(['\\', next]);
        }
        None => word.push('\\'),
    }
}
