//! `cellgate help`: of a command, of a code, or of a name that logs and metrics have. And which code an error has that
//! ends a command, by its type: whoever makes it knows of no command line.

use std::process::ExitCode;

use clap::CommandFactory;

use super::{Cli, OK, USAGE, complain, print};
use crate::admin::AdminError;
use crate::audit::shelf::ReportError;
use crate::config::problem::did_you_mean;
use crate::handover::UpgradeError;
use crate::history::HistoryError;
use crate::last_good::LastGoodError;
use crate::listen::bind::BindError;
use crate::policy::code::{Code, Explanation};
use crate::start::CannotStart;
use crate::state_lock::StateLockError;
use crate::trail::TrailError;

/// Say what a command does, what the code of an error means, or what the reason of a refusal does.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cellgate help serve\n  cellgate help move advance\n  cellgate help E0421\n  \
                        cellgate help unmapped_account"
)]
pub struct Args {
    /// A command, a code such as E0121, or a name as logs and metrics have it
    #[arg(value_name = "COMMAND|CODE|REASON")]
    words: Vec<String>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut all = Cli::command();
    all.build();
    let (text, is_found) = match args.words.as_slice() {
        [] => (all.render_long_help().to_string(), true),
        [word] if let Some(number) = Code::digits(printed(word)) => {
            let (text, is_found) = of_number(number);
            // 404, and not E404.
            let is_status = (400..600).contains(&number) && word.starts_with(|c: char| c.is_ascii_digit());
            (if is_found && is_status { text + &of_status(number) } else { text }, is_found)
        }
        words => of_words(&mut all, words),
    };
    if is_found {
        print(text.as_bytes())?;
        return Ok(OK.into());
    }
    complain(text.trim_end());
    Ok(USAGE.into())
}

/// A code without the brackets in which problems have it.
fn printed(word: &str) -> &str {
    word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word)
}

/// A number that is further from every code is no slip of the finger.
const NEAR: u16 = 9;

/// What is said of a number, and whether there is such a code.
fn of_number(number: u16) -> (String, bool) {
    match Code::of_number(number) {
        Some(code) => (said(code), true),
        None => {
            let near = Code::nearest(number);
            if near.number().abs_diff(number) > NEAR {
                return (
                    format!("cellgate: there is no code E{number:04}; docs/errors.md lists them all"),
                    false,
                );
            }
            let title = near.explanation().title;
            (format!("cellgate: there is no code E{number:04}; the nearest is {near}: {title}"), false)
        }
    }
}

/// What is said to whoever may mean a status of HTTP.
fn of_status(status: u16) -> String {
    format!(
        "\nThe status {status} of HTTP is another thing: beside it the access log has the reason, and `cellgate help REASON` explains that.\n"
    )
}

/// The same of a command, or a name.
fn of_words(all: &mut clap::Command, words: &[String]) -> (String, bool) {
    let code = match words {
        [name] => Code::named(&name.to_ascii_lowercase().replace('-', "_")),
        _ => None,
    };
    let mut commands: Vec<String> =
        all.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let path = words.iter().try_fold(all, |command, word| command.find_subcommand_mut(word));
    match (path, code) {
        (Some(command), None) => (command.render_long_help().to_string(), true),
        (Some(command), Some(code)) => {
            let help = command.render_long_help();
            (
                format!("{help}\nAs a name in logs and metrics it is another thing: cellgate help {code}\n"),
                true,
            )
        }
        (None, Some(code)) => (said(code), true),
        (None, None) => {
            commands.extend(Code::ALL.iter().filter_map(|code| code.explanation().name).map(str::to_owned));
            let words = words.join(" ");
            let guess = did_you_mean(&words, commands.iter().map(String::as_str));
            let guess = guess.map_or_else(String::new, |guess| format!(" ({guess})"));
            let text = format!(
                "cellgate: there is no command, code or reason {words:?}{guess}; `cellgate --help` lists the commands, \
                 docs/errors.md the codes"
            );
            (text, false)
        }
    }
}

fn said(code: Code) -> String {
    let explanation = code.explanation();
    let Explanation { name, title, .. } = &explanation;
    let name = name.map_or_else(String::new, |name| format!(" ({name})"));
    format!("{code}{name}: {title}\n\n{}\n", explanation.plain().trim_end())
}

/// Nobody answered at an admin door.
#[derive(Debug, thiserror::Error)]
#[error("asking {door}: is cellgate running{}?", if *.is_here { ", and as this user" } else { " there" })]
pub(super) struct Unanswered {
    /// What was asked.
    pub door: String,
    /// Whether that is the socket of this machine.
    pub is_here: bool,
}

/// What has ended a command, in words, with its code.
pub(super) fn told(error: &anyhow::Error) -> String {
    let code = code_of(error).map_or_else(String::new, |code| format!(" [{code}]"));
    format!("cellgate: {error:#}{code}")
}

/// The code of what has ended a command; `None` of what says all by itself.
fn code_of(error: &anyhow::Error) -> Option<Code> {
    if error.downcast_ref::<Unanswered>().is_some() {
        return Some(Code::NobodyAnswers);
    }
    error.chain().find_map(|cause| {
        let state_lock = |error: &StateLockError| match error {
            StateLockError::InUse { .. } => Code::StateLocked,
            StateLockError::Io { .. } => Code::StateCannotBeLocked,
        };
        let last_good = |error: &LastGoodError| match error {
            LastGoodError::Absent(_) => Code::NoLastGood,
            LastGoodError::Io { .. } => Code::LastGoodUnreadable,
            LastGoodError::Damaged { .. } => Code::LastGoodDamaged,
        };
        // What is passed on as it is says nothing of itself further down.
        let history = |error: &HistoryError| match error {
            HistoryError::Absent { .. } => Some(Code::NoSuchNumber),
            HistoryError::Io { .. } | HistoryError::Trail(_) => Some(Code::TrailUnwritable),
            HistoryError::Damaged(error) => Some(last_good(error)),
        };
        None.or_else(|| cause.downcast_ref::<BindError>().map(|_| Code::CannotListen))
            .or_else(|| cause.downcast_ref().map(state_lock))
            .or_else(|| cause.downcast_ref::<CannotStart>().map(|_| Code::NothingToServe))
            .or_else(|| cause.downcast_ref().and_then(admin))
            .or_else(|| cause.downcast_ref().map(last_good))
            .or_else(|| cause.downcast_ref().and_then(history))
            .or_else(|| cause.downcast_ref::<TrailError>().map(|_| Code::TrailUnwritable))
            .or_else(|| cause.downcast_ref::<UpgradeError>().map(|_| Code::NotUpgraded))
            .or_else(|| cause.downcast_ref::<ReportError>().map(|_| Code::BooksUnreadable))
    })
}

fn admin(error: &AdminError) -> Option<Code> {
    match error {
        AdminError::NotLoopback(_) => Some(Code::LoopbackAddress),
        AdminError::Port(..) | AdminError::Status(..) => Some(Code::AdminAddress),
        AdminError::SocketInUse(_) | AdminError::NotASocket(_) | AdminError::Socket(..) => {
            Some(Code::AdminSocket)
        }
        AdminError::Thread(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_code_of_an_error_is_found_below_what_stands_around_it() {
        let lock = StateLockError::InUse { folder: "/x".into(), process: None };
        let wrapped = Err::<(), _>(lock).context("starting").context("again").unwrap_err();
        assert_eq!(code_of(&wrapped), Some(Code::StateLocked));
        let unanswered = std::io::Error::other("gone");
        let nobody = Unanswered { door: "a.sock".to_owned(), is_here: true };
        let unanswered = Err::<(), _>(unanswered).context(nobody).context("again");
        assert_eq!(code_of(&unanswered.unwrap_err()), Some(Code::NobodyAnswers));
        let folder = std::path::Path::new("/nowhere/at/all");
        let history =
            Err::<(), _>(crate::history::history(folder).unwrap_err()).context("again").unwrap_err();
        assert_eq!(code_of(&history), Some(Code::TrailUnwritable));
        assert_eq!(code_of(&anyhow::anyhow!("something")), None);
    }

    #[test]
    fn words_lead_to_commands_codes_and_names_and_near_misses_are_guessed() {
        let help = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let mut all = Cli::command();
            all.build();
            of_words(&mut all, &words)
        };
        let (text, is_found) = help(&["serve"]);
        assert!(is_found && text.contains("Usage: cellgate serve"), "{text}");
        let (text, is_found) = help(&["move", "advance"]);
        assert!(is_found && text.contains("Usage: cellgate move advance"), "{text}");
        let (text, is_found) = help(&["unmapped_account"]);
        assert!(
            is_found && text.starts_with("E0414 (unmapped_account): An account without a row\n"),
            "{text}"
        );
        for word in ["UNMAPPED_ACCOUNT", "unmapped-account"] {
            let (text, is_found) = help(&[word]);
            assert!(is_found && text.starts_with("E0414 (unmapped_account)"), "{word}: {text}");
        }
        let (text, is_found) = help(&["drain"]);
        assert!(is_found && text.contains("cellgate help E0439"), "{text}");
        let (text, is_found) = help(&["unmaped_account"]);
        assert!(!is_found && text.contains("did you mean \"unmapped_account\"?"), "{text}");
        let (text, is_found) = help(&["sreve"]);
        assert!(!is_found && text.contains("did you mean \"serve\"?"), "{text}");
    }

    #[test]
    fn a_number_without_a_code_leads_to_the_nearest() {
        let (text, is_found) = of_number(142);
        assert!(!is_found && text.contains("there is no code E0142; the nearest is E0141: "), "{text}");
        for number in [4, 550, 999] {
            let (text, is_found) = of_number(number);
            assert!(!is_found && text.ends_with("docs/errors.md lists them all"), "{text}");
        }
        assert_eq!(["[E0101]", "E0101", "[E0101"].map(printed), ["E0101", "E0101", "[E0101"]);
        assert!(of_status(404).contains("The status 404 of HTTP is another thing"));
        let (text, is_found) = of_number(121);
        assert!(
            is_found && text.contains("Wrong, in boot.yaml:\n\n    worker: 2\n\nMended, in boot.yaml:"),
            "{text}"
        );
    }
}
