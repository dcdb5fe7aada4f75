//! For whom an answer is: for people or for programs. Each command that says something has this, or a choice of its own that
//! has JSON in it; the test below walks all of them.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{print_line, print_problems};
use crate::config::Problem;
use crate::reload;
use crate::reload::outcome::ProblemView;

/// For people or for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// For whom an answer is.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Form {
    /// How to print it
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// The same as --output json
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl Form {
    pub(super) fn is_json(self) -> bool {
        self.json || self.output == Output::Json
    }
    /// Tells all problems that something has: to people on standard error, to programs as one object on standard output.
    pub(super) fn tell(self, problems: &[Problem]) -> anyhow::Result<()> {
        if self.is_json() {
            return print_line(&as_value(problems).to_string());
        }
        print_problems(problems);
        Ok(())
    }
}

/// Problems as every command tells them.
pub(super) fn as_value(problems: &[Problem]) -> Value {
    told(reload::views(problems))
}

/// A problem that is of no file, in the same shape.
pub(super) fn one(what: &str) -> Value {
    told(vec![ProblemView { what: what.to_owned(), ..ProblemView::default() }])
}

fn told(problems: Vec<ProblemView>) -> Value {
    let view = |of: ProblemView| {
        json!({
            "file": of.file, "line": of.line, "column": of.column, "path": of.path,
            "what": of.what, "expected": of.expected, "hint": of.hint, "code": of.code,
        })
    };
    json!({ "ok": false, "problems": problems.into_iter().map(view).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::super::Cli;

    /// What has no JSON, and why.
    const WITHOUT: &[(&str, &str)] = &[
        ("cellgate serve", "it answers nobody; what it says is its log"),
        ("cellgate schema", "its answer is JSON by itself"),
        ("cellgate completions", "a script for a shell"),
        ("cellgate help", "a text for people"),
    ];

    fn has_json(command: &Command) -> bool {
        let output = command.get_arguments().find(|of| of.get_long() == Some("output"));
        let output = output.filter(|of| of.get_short() == Some('o'));
        output.is_some_and(|of| of.get_possible_values().iter().any(|value| value.get_name() == "json"))
    }

    /// What is wrong with a command and those below it. One that only leads to others says nothing by itself.
    fn complaints(path: &str, command: &Command, without: &mut Vec<(&str, &str)>) -> Vec<String> {
        let before = without.len();
        without.retain(|(name, _)| *name != path);
        let is_listed = without.len() < before;
        let mut complaints = Vec::new();
        match (has_json(command), is_listed) {
            (true, true) => complaints.push(format!("{path} has --output json: take it out of the list")),
            (false, false) if !command.is_subcommand_required_set() => {
                complaints.push(format!("{path} has no --output json (-o json)"));
            }
            _ => {}
        }
        for below in command.get_subcommands() {
            let path = format!("{path} {}", below.get_name());
            complaints.extend(self::complaints(&path, below, without));
        }
        complaints
    }

    #[test]
    fn every_command_has_json_or_a_reason_why_not() {
        let mut without = WITHOUT.to_vec();
        let complaints = complaints("cellgate", &Cli::command(), &mut without);
        assert!(complaints.is_empty(), "{complaints:#?}");
        assert!(without.is_empty(), "there are no such commands: {without:?}");
    }

    #[test]
    fn a_command_without_json_or_with_a_needless_reason_is_found() {
        let json = || clap::Arg::new("output").long("output").short('o').value_parser(["text", "json"]);
        let tree = Command::new("a")
            .subcommand_required(true)
            .subcommand(Command::new("b"))
            .subcommand(Command::new("c").arg(json()))
            .subcommand(Command::new("d").arg(json().value_parser(["text"])).subcommand(Command::new("e")));
        let mut without = vec![("a c", "none"), ("a d e", "none")];
        let found = complaints("a", &tree, &mut without);
        assert_eq!(
            found,
            [
                "a b has no --output json (-o json)",
                "a c has --output json: take it out of the list",
                "a d has no --output json (-o json)",
            ]
        );
        assert!(without.is_empty());
    }
}
