//! `cellgate break-glass`: what one operator on the machine decides alone, for a limited time and with a reason.

use std::process::ExitCode;
use std::time::Duration;

use crate::approval::break_glass::{LONGEST, SHORTEST};
use crate::config::time::show_duration;
use crate::reload::outcome::ProblemView;

use super::admin_door::AdminDoor;
use super::admin_socket::{Answer, ask_door};
use super::form::Form;
use super::levers::{Traffic, traffic};
use super::{FAILED, OK, complain, print_line, span};

/// Longer than the admin plane lets a reload take.
const WITHIN: Duration = Duration::from_secs(70);

/// Keep what serves whatever the files say, or let what has served here before serve again although guards object.
///
/// For whoever is awake alone. It lasts as long as --for says, is written into the audit trail first, and shows on
/// /readyz, in the metrics and in the log. It never lifts an objection about a protected cell, and never takes an account
/// back to where it was: that needs approvals.
///
/// Exit codes: 0 it is in force (or ended), 1 it is not, 3 it is, and the files are still refused.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Serve on what serves, whatever the files say
    Keep(Begin),
    /// Let what has served here before serve again
    Restore(Begin),
    /// End it before its time; the files are looked at anew
    End(End),
    Traffic(Traffic),
}

#[derive(Debug, clap::Args)]
struct Begin {
    /// Why, for those who read the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How long: 1m to 4h
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = length)]
    lasts: Duration,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, clap::Args)]
struct End {
    /// Why, for those who read the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    who: Who,
}

/// Who says so, and to which process.
#[derive(Debug, clap::Args)]
pub(super) struct Who {
    /// On whose behalf; the user that runs this, or runs sudo, where it is not given. cellgate knows by itself who asks
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    pub(super) admin: AdminDoor,
    #[command(flatten)]
    pub(super) form: Form,
}

/// What one may decide alone.
fn length(text: &str) -> Result<Duration, String> {
    let lasts = span(text)?;
    let fits = (SHORTEST..=LONGEST).contains(&lasts);
    fits.then_some(lasts).ok_or_else(|| {
        format!(
            "it would last {}; expected {} to {}",
            show_duration(lasts),
            show_duration(SHORTEST),
            show_duration(LONGEST)
        )
    })
}

/// It is in force, and what the files say is still refused.
const REFUSED: u8 = 3;

impl Who {
    /// A claim beside what the process knows: behind sudo, or a user that several people share, it says more.
    pub(super) fn name(&self) -> Option<String> {
        let user = |variable| std::env::var(variable).ok().filter(|user| !user.is_empty());
        self.name.clone().or_else(|| user("SUDO_USER")).or_else(|| user("USER"))
    }
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (begin, aim) = match &args.what {
        What::Keep(begin) => (begin, "keep"),
        What::Restore(begin) => (begin, "restore"),
        What::End(End { reason, who }) => {
            let body = serde_json::json!({ "by": who.name(), "reason": reason }).to_string();
            let answer = ask_door(&who.admin.door()?, "DELETE /break-glass", &body, WITHIN)?;
            return told(&answer, "the override is over", (false, who.form.is_json()));
        }
        What::Traffic(args) => return traffic(args),
    };
    let Begin { reason, lasts, who } = begin;
    let body =
        serde_json::json!({ "aim": aim, "reason": reason, "by": who.name(), "seconds": lasts.as_secs() });
    let answer = ask_door(&who.admin.door()?, "POST /break-glass", &body.to_string(), WITHIN)?;
    told(&answer, &format!("the override to {aim} is in force"), (aim == "keep", who.form.is_json()))
}

/// `keeps`: that the files are refused is what was asked for.
fn told(answer: &Answer, done: &str, (keeps, as_json): (bool, bool)) -> anyhow::Result<ExitCode> {
    let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    if !answer.is_ok {
        complain(&format!("cellgate: {} {}", text(&said["what"]), text(&said["next"])));
        return Ok(FAILED.into());
    }
    let outcome = text(&said["outcome"]);
    let refused = !keeps && !["unchanged", "applied", "staged"].contains(&&*outcome);
    let code = if refused { REFUSED } else { OK };
    if as_json {
        print_line(answer.body.trim())?;
        return Ok(code.into());
    }
    print_line(&format!("{done}; the files: {outcome}"))?;
    if let Some(replaced) = said["replaced"].as_str() {
        print_line(&format!("it stands in place of: {replaced}"))?;
    }
    let list = |name: &str| said[name].as_array().cloned().unwrap_or_default();
    for one in list("objections") {
        print_line(&format!("  {}: {}", text(&one["guard"]), text(&one["what"])))?;
    }
    for one in list("problems") {
        let problem: ProblemView = serde_json::from_value(one).unwrap_or_default();
        print_line(&format!("  {problem}"))?;
    }
    for reason in list("reasons") {
        print_line(&format!("  {}", text(&reason)))?;
    }
    if let Some(hint) = said["hint"].as_str() {
        print_line(&format!("  next: {hint}"))?;
    }
    Ok(code.into())
}
