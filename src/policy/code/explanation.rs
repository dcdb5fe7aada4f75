//! What each code means: sections of the Markdown files beside this one, and the page that is made of them. A section
//! begins with `## E0121: title`, or ``## E0413 `no_account`: title`` where logs and metrics have a name for it; its
//! examples are fenced blocks with a file's name and `wrong` or `mended` behind the language.

use super::Code;

/// The rooms: what stands above its codes on the page, and their sections.
const ROOMS: [(&str, &str); 8] = [
    ("Files, YAML and values", include_str!("e01_files.md")),
    ("Sections of the configuration", include_str!("e02_sections.md")),
    ("Tables", include_str!("e03_tables.md")),
    ("Refusals of requests", include_str!("e04_refusals.md")),
    ("Guards and approvals", include_str!("e05_guards.md")),
    ("Starts, the state folder and upgrades", include_str!("e06_starts.md")),
    ("What a running process says in its log", include_str!("e07_running.md")),
    ("Commands", include_str!("e08_commands.md")),
];

/// The configuration that the examples change: each names whole top-level keys that stand in place of these.
pub const BASE: [(&str, &str); 3] = [
    ("boot.yaml", include_str!("base_boot.yaml")),
    ("cellgate.yaml", include_str!("base_cellgate.yaml")),
    ("accounts.csv", include_str!("base_accounts.csv")),
];

/// What a code means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What it has in logs, metrics and reports as a name.
    pub name: Option<&'static str>,
    /// One line.
    pub title: &'static str,
    /// What it means and how it is mended, in Markdown, with the examples.
    pub text: &'static str,
}

/// A piece of configuration in an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// The file that it is a part of.
    pub file: &'static str,
    /// Whether it is the mistake; else it is what stands there when it is mended.
    pub is_wrong: bool,
    /// The piece.
    pub text: &'static str,
}

impl Code {
    /// What it means.
    pub fn explanation(self) -> Explanation {
        let (head, text) = self.section().expect("a test holds that each code has a section");
        let (name, title) = head.split_once(':').expect("a test holds that each section has a title");
        let name = name.trim().strip_prefix('`').and_then(|name| name.strip_suffix('`'));
        Explanation { name, title: title.trim(), text: text.trim() }
    }

    /// Its heading behind the number, and what stands below it.
    fn section(self) -> Option<(&'static str, &'static str)> {
        let room = usize::from(self.number() / 100).checked_sub(1)?;
        let head = format!("## {self}");
        let (_, text) = ROOMS.get(room)?;
        let begin = text
            .match_indices(&head)
            .map(|(at, _)| at)
            .find(|at| text[..*at].ends_with(['\n']) || *at == 0)?;
        let rest = &text[begin + head.len()..];
        let section = rest.split("\n## E").next()?;
        section.split_once('\n')
    }
}

impl Explanation {
    /// The pieces of configuration in it.
    pub fn examples(&self) -> Vec<Example> {
        let mut blocks = self.text.split("```").skip(1).step_by(2);
        std::iter::from_fn(|| blocks.next()).filter_map(example).collect()
    }

    /// For a terminal: examples set in, and what they are said above them.
    pub fn plain(&self) -> String {
        let part = |(at, part): (usize, &'static str)| match example(part).filter(|_| at % 2 == 1) {
            Some(Example { file, is_wrong, text }) => {
                let which = if is_wrong { "Wrong" } else { "Mended" };
                let lines: Vec<String> = text.lines().map(|line| format!("    {line}")).collect();
                format!("{which}, in {file}:\n\n{}", lines.join("\n"))
            }
            None => part.trim().to_owned(),
        };
        let parts: Vec<String> = self.text.split("```").enumerate().map(part).collect();
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
    }
}

/// A fenced block, where it is an example: its first line is the language, a file and which of both it is.
fn example(block: &'static str) -> Option<Example> {
    let (info, text) = block.split_once('\n')?;
    let mut words = info.split(' ').skip(1);
    let (file, which) = (words.next()?, words.next()?);
    Some(Example { file, is_wrong: which == "wrong", text })
}

/// `docs/errors.md`.
pub fn page() -> String {
    let mut page = String::from(
        "# Errors\n\n\
         Made from the code by `UPDATE_REFERENCE=1 cargo test --test config codes`; do not edit.\n\n\
         Problems of the configuration, objections of guards, and what else an operator acts on have a code at their end. \
         `cellgate help E0121` says in a terminal what stands here of one, and so does the reason of a refusal, as metrics and \
         the access log have it (`cellgate help unmapped_account`), or the name of a guard. A code keeps its meaning for ever; \
         the words of a message may change. In JSON it is `code`.\n\n",
    );
    page.push_str("The examples are changes of this configuration: what they name stands in place of the same key here.\n\n");
    for (file, text) in BASE {
        let language = if file.ends_with(".csv") { "csv" } else { "yaml" };
        page.push_str(&format!("`{file}`:\n\n```{language}\n{text}```\n\n"));
    }
    for (room, (title, _)) in (1..).zip(ROOMS) {
        page.push_str(&format!("# E{room:02}: {title}\n\n"));
        for code in Code::ALL.iter().filter(|code| code.number() / 100 == room) {
            let Explanation { name, title, text } = code.explanation();
            let name = name.map_or_else(String::new, |name| format!(" `{name}`"));
            page.push_str(&format!("## {code}{name}: {title}\n\n{text}\n\n"));
        }
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_has_one_section_and_each_section_a_code() {
        let mut sections = BTreeSet::new();
        for (room, (_, text)) in (1..).zip(ROOMS) {
            for line in text.lines().filter(|line| line.starts_with("## ")) {
                let number = line.get(4..8).and_then(|digits| digits.parse::<u16>().ok()).unwrap_or_default();
                assert_eq!(number / 100, room, "{line} stands in another room");
                assert!(sections.insert(number), "{line} stands twice");
            }
        }
        let codes: BTreeSet<u16> = Code::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(codes.symmetric_difference(&sections).collect::<Vec<_>>(), Vec::<&u16>::new());
        for code in Code::ALL {
            let Explanation { title, text, .. } = code.explanation();
            assert!(title.len() > 8 && !title.ends_with('.') && text.len() > 40, "{code}: {title}");
            assert_eq!(text.matches("```").count() % 2, 0, "{code} has a block without an end");
        }
    }

    #[test]
    fn names_of_codes_stand_once() {
        let names: Vec<_> = Code::ALL.iter().filter_map(|code| code.explanation().name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(names.len() > 60, "{names:?}");
    }
}
