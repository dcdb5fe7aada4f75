//! A Rust file as the tidy checks see it: its text, and its code without comments, texts and tests, on
//! the same lines. Not a parser: it knows where comments, literals and braces end, and no more.

use std::path::Path;

/// One file of the repository.
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    /// As it stands on disk.
    pub text: String,
    /// Blanks in place of comments and of what stands in quotes.
    pub code: String,
    /// The same without what is only compiled for tests; empty where the whole file is.
    pub production: String,
    /// Lines that are not a test's: comments and blank lines count.
    pub lines: usize,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// From 1.
    pub line: usize,
    /// From `fn` to the closing brace.
    pub lines: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let (production, test_lines) = without_tests(&code);
        let lines = text.lines().count() - test_lines;
        Self { path: path.into(), text: text.into(), code, production, lines }
    }

    /// Every path of the production code that begins with `root::`, without `root`. A `use` tree is
    /// taken apart: `crate::{a, b::{c, d}}` is `a`, `b::c` and `b::d`.
    pub fn paths(&self, root: &str) -> Vec<Vec<String>> {
        let tokens = tokens(&self.production);
        let mut paths = Vec::new();
        for (at, pair) in tokens.windows(2).enumerate() {
            let inside = at > 0 && tokens[at - 1] == "::";
            if pair[0] == root && pair[1] == "::" && !inside {
                tree(&tokens[at + 2..], &[], &mut paths);
            }
        }
        paths
    }

    /// The words of the production code: names and keywords, and `name!` for macros.
    pub fn words(&self) -> Vec<&str> {
        tokens(&self.production)
    }

    /// The functions of the production code.
    pub fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        let code = &self.production;
        for (at, _) in code.match_indices("fn ") {
            let whole = at == 0 || !is_word(code.as_bytes()[at - 1]);
            let name: String =
                code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            // `fn (` is a type.
            if !whole || name.is_empty() {
                continue;
            }
            let Some(end) = end_of_item(code, at) else { continue };
            // A function of a trait without a body.
            if code.as_bytes()[end - 1] == b';' {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            functions.push(Function { name, line, lines: code[at..end].matches('\n').count() + 1 });
        }
        functions
    }

    /// Files that this one declares for tests only, by the path they must have.
    pub fn test_modules(&self) -> Vec<String> {
        let folder = match self.path.strip_suffix("/mod.rs").or(self.path.strip_suffix("/main.rs")) {
            Some(folder) => folder,
            None => self.path.strip_suffix("/lib.rs").unwrap_or(self.path.trim_end_matches(".rs")),
        };
        let items = self.code.split("#[cfg(test)]").skip(1);
        let declared = items.filter_map(|rest| {
            let (head, _) = rest.split_once(';')?;
            let name = head.trim().rsplit_once("mod ")?.1;
            (!head.contains('{')).then(|| format!("{folder}/{name}.rs"))
        });
        declared.collect()
    }
}

/// All Rust files below some folders, those that are tests as a whole marked as such.
pub fn rust_files(root: &Path, folders: &[&str]) -> Vec<Source> {
    let mut files: Vec<Source> = Vec::new();
    for path in files_below(root, folders) {
        if path.ends_with(".rs") {
            let text = std::fs::read_to_string(root.join(&path)).unwrap();
            files.push(Source::new(&path, &text));
        }
    }
    let tests: Vec<String> = files.iter().flat_map(Source::test_modules).collect();
    for file in files.iter_mut().filter(|file| tests.contains(&file.path)) {
        file.production.clear();
        file.lines = 0;
    }
    files
}

/// Every file below some folders (or the file itself), sorted, from the root, without what is built.
pub fn files_below(root: &Path, folders: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<String> = folders.iter().map(|folder| (*folder).to_owned()).collect();
    while let Some(path) = open.pop() {
        let here = root.join(&path);
        if here.is_file() {
            found.push(path);
            continue;
        }
        let Ok(entries) = std::fs::read_dir(&here) else { continue };
        for entry in entries {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            if !MADE.contains(&name.as_str()) && !MADE.contains(&below.as_str()) {
                open.push(below);
            }
        }
    }
    found.sort();
    found
}

/// What is made and not written, by name or by path.
const MADE: [&str; 9] = [
    ".git",
    "target",
    "state",
    "node_modules",
    "__pycache__",
    ".venv",
    "certs/dev",
    "fuzz/corpus",
    "fuzz/artifacts",
];

/// Puts blanks in the place of comments and of everything in quotes; lines stay where they are.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match &bytes[at..] {
            [b'/', b'/', ..] => at + text[at..].find('\n').unwrap_or(text.len() - at),
            [b'/', b'*', ..] => end_of_comment(bytes, at),
            [b'"', ..] => end_of_text(bytes, at),
            [b'\'', ..] => end_of_char(bytes, at),
            [b'r', ..] if at == 0 || !is_word(bytes[at - 1]) || bytes[at - 1] == b'b' => end_of_raw(text, at),
            _ => at,
        };
        if end == at {
            // The rest of a character that is longer than a byte only stands in comments and texts.
            code.push(if bytes[at].is_ascii() { char::from(bytes[at]) } else { '?' });
            at += 1;
        } else {
            code.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

fn end_of_comment(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn end_of_text(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A character in quotes; `start` itself where the quote begins a lifetime.
fn end_of_char(bytes: &[u8], start: usize) -> usize {
    let rest = &bytes[start + 1..];
    let longest = 12; // '\u{10ffff}'
    let close = match rest {
        [b'\\', _, after @ ..] => after.iter().take(longest).position(|byte| *byte == b'\'').map(|at| at + 2),
        // One character of UTF-8 has at most four bytes; a lifetime has no quote so near, unless another
        // lifetime follows, and that one's quote stands behind a byte that is no letter.
        [first, ..] => {
            let len = match first {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            (rest.get(len) == Some(&b'\'')).then_some(len)
        }
        [] => None,
    };
    close.map_or(start, |close| start + 1 + close + 1)
}

/// `r"..."` and `r#"..."#`; `start` itself where it is none.
fn end_of_raw(text: &str, start: usize) -> usize {
    let after = &text[start + 1..];
    let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
    if after.as_bytes().get(hashes) != Some(&b'"') {
        return start;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let body = start + 1 + hashes + 1;
    text[body..].find(&close).map_or(text.len(), |found| body + found + close.len())
}

/// Puts blanks in the place of every item behind `#[cfg(test)]`; says how many lines that were.
fn without_tests(code: &str) -> (String, usize) {
    const TEST: &str = "#[cfg(test)]";
    let mut production = code.to_owned();
    let mut lines = 0;
    let mut from = 0;
    while let Some(found) = production[from..].find(TEST) {
        let start = from + found;
        let end = end_of_item(&production, start + TEST.len()).unwrap_or(production.len());
        let blanks: String =
            production[start..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        lines += blanks.matches('\n').count() + 1;
        production.replace_range(start..end, &blanks);
        from = end;
    }
    (production, lines)
}

/// Behind the `;` or the closing brace with which the item ends that begins at `start`.
fn end_of_item(code: &str, start: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' => depth -= 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b';' if depth == 0 => return Some(at + 1),
            _ => {}
        }
    }
    None
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Names, `name!`, `::`, and every other sign for itself.
fn tokens(code: &str) -> Vec<&str> {
    let bytes = code.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let len = match rest {
            [first, ..] if is_word(*first) => {
                let word = rest.iter().take_while(|byte| is_word(**byte)).count();
                let is_macro = rest.get(word) == Some(&b'!') && rest.get(word + 1) != Some(&b'=');
                word + usize::from(is_macro)
            }
            [b':', b':', ..] => 2,
            _ => 1,
        };
        if !rest[0].is_ascii_whitespace() {
            tokens.push(&code[at..at + len]);
        }
        at += len;
    }
    tokens
}

/// Takes one `use` tree apart; says how many tokens it had.
fn tree(tokens: &[&str], before: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let Some(first) = tokens.first() else { return 0 };
    if *first == "{" {
        let mut at = 1;
        while let Some(token) = tokens.get(at) {
            at += match *token {
                "}" => return at + 1,
                "," => 1,
                _ => tree(&tokens[at..], before, paths).max(1),
            };
        }
        return at;
    }
    let mut path = before.to_vec();
    path.push((*first).to_owned());
    if tokens.get(1) == Some(&"::")
        && tokens.get(2).is_some_and(|next| *next == "{" || is_word(next.as_bytes()[0]))
    {
        return 2 + tree(&tokens[2..], &path, paths);
    }
    let renamed = if tokens.get(1) == Some(&"as") { 2 } else { 0 };
    paths.push(path);
    1 + renamed
}

#[test]
fn comments_texts_and_tests_are_no_code() {
    let text = r##"//! crate::a
use crate::{b, c::{d, e as f}}; // crate::g
/* crate::h /* nested */ crate::i */
fn long<'a>(x: &'a str, y: [u8; 2]) -> char {
    let quoted = "crate::j \" crate::k"; let raw = r#"crate::l " {"#;
    let brace = '{'; let quote = '\''; let ö = 'ö'; crate::m::n();
    'x'
}
trait T { fn none(&self); }
#[cfg(test)]
mod tests {
    fn f() { crate::o::p() }
}
fn after(f: fn(u8)) { }
"##;
    let source = Source::new("src/x.rs", text);
    let paths: Vec<String> = source.paths("crate").iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["b", "c::d", "c::e", "m::n"]);
    let functions: Vec<_> = source.functions().into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    assert_eq!(functions, [("long".to_owned(), 4, 5), ("after".to_owned(), 14, 1)]);
    assert_eq!(source.lines, 10);
    assert_eq!(source.text.lines().count(), source.code.lines().count());
}

#[test]
fn modules_for_tests_are_known_by_their_path() {
    let of = |path: &str| Source::new(path, "#[cfg(test)]\npub(crate) mod fixture;\nmod b;").test_modules();
    assert_eq!(of("src/a/mod.rs"), ["src/a/fixture.rs"]);
    assert_eq!(of("src/a.rs"), ["src/a/fixture.rs"]);
    assert_eq!(of("src/lib.rs"), ["src/fixture.rs"]);
}
