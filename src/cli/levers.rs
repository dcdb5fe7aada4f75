//! The levers for the worst day as commands: `cap`, `shed`, `drain`, `evacuate`, `ramp`, `hold`, `policy`; `levers` says what is
//! pulled, `release` ends one. Each is said in the words in which it is listed and written into the audit trail.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::admin_door::AdminDoor;
use super::admin_socket::{Answer, Door, ask_door};
use super::audit::plain;
use super::break_glass::Who;
use super::form::Form;
use super::steps::span as left;
use super::{FAILED, OK, USAGE, complain, print, print_line, span};
use crate::config::time::show_duration;
use crate::policy::hex::hex;
use crate::policy::protection::levers::{
    LONGEST, Lever, LeverKind, OperatorPass, SHORTEST, WordsError, in_quotes, pass,
};

/// Longer than the admin plane lets a caller wait.
const WITHIN: Duration = Duration::from_secs(12);

/// What any lever is told besides its words.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 it is pulled, 1 it is not, 64 wrong words. `cellgate levers` lists what is pulled, `cellgate release` \
                        ends it before its time."
)]
pub struct Pull {
    /// What it does, in the words of the usage line
    #[arg(value_name = "WORDS", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    why: Why,
}

/// Why, for how long, and who says so.
#[derive(Debug, clap::Args)]
pub(super) struct Why {
    /// Why, for those who read the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How long, up to 24h; 30m where it is not given, a hold 1m, the end of a brownout 24h. It ends by itself
    #[arg(long = "for", value_name = "TIME", value_parser = length)]
    lasts: Option<Duration>,
    #[command(flatten)]
    who: Who,
}

/// Say which levers are pulled, by whom, why, and what is left of their time.
///
/// Exit codes: 0 none is pulled, 1 nobody answers, 2 some are.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    admin: AdminDoor,
    #[command(flatten)]
    form: Form,
}

/// Release a lever before its time.
///
/// Exit codes: 0 it is released, 1 it is not.
#[derive(Debug, clap::Args)]
pub struct Release {
    /// Its number, or what it does in the words it was pulled with; both stand in `cellgate levers`. The pass of a lever for
    /// operators may be left out
    #[arg(value_name = "NUMBER|WORDS", required = true)]
    words: Vec<String>,
    /// Why, for those who read the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    who: Who,
}

/// Reserve permits for operators' own requests, which carry a pass.
///
/// The pass is drawn here, if the file is not there, and cellgate is told its digest alone. For several replicas use the same file.
#[derive(Debug, clap::Args)]
pub(super) struct Traffic {
    /// How many of their requests may be in flight at once, in each cell
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    permits: u32,
    /// In this cell alone
    #[arg(long, value_name = "CELL")]
    cell: Option<String>,
    /// Where the pass is, or is put: a line for `curl -H @FILE`
    #[arg(long, value_name = "FILE")]
    pass: PathBuf,
    #[command(flatten)]
    why: Why,
}

/// Some are pulled.
const SOME: u8 = 2;

/// What one lever may last.
fn length(text: &str) -> Result<Duration, String> {
    let lasts = span(text)?;
    let fits = (SHORTEST..=LONGEST).contains(&lasts);
    let [shortest, longest] = [SHORTEST, LONGEST].map(show_duration);
    fits.then_some(lasts)
        .ok_or_else(|| format!("it would last {}; expected {shortest} to {longest}", show_duration(lasts)))
}

pub fn pull(kind: LeverKind, args: &Pull) -> anyhow::Result<ExitCode> {
    let words = format!("{} {}", kind.as_str(), one_line(&args.words));
    match Lever::parse(&words) {
        Ok(lever) => ask_for(&lever, &args.why),
        Err(error) => {
            complain(&format!("cellgate: {error}\n  in: {words}\n  see cellgate {} --help", kind.as_str()));
            Ok(USAGE.into())
        }
    }
}

pub(super) fn traffic(args: &Traffic) -> anyhow::Result<ExitCode> {
    let pass = pass_of(&args.pass)?;
    let cell = args.cell.as_ref().map_or_else(String::new, |cell| format!(" cell {}", in_quotes(cell)));
    let words = format!("operators permits {} pass {pass}{cell}", args.permits);
    let lever = Lever::parse(&words).map_err(|error| anyhow!("{error}"))?;
    let code = ask_for(&lever, &args.why)?;
    if code == ExitCode::from(OK) && !args.why.who.form.is_json() {
        print_line(&format!("  requests with the pass: curl -H @{} https://...", args.pass.display()))?;
    }
    Ok(code)
}

pub(super) fn ask_for(lever: &Lever, why: &Why) -> anyhow::Result<ExitCode> {
    let Why { reason, lasts, who } = why;
    let seconds = lasts.map(|lasts| lasts.as_secs());
    let body = json!({ "lever": lever.to_string(), "reason": reason, "by": who.name(), "seconds": seconds });
    let answer = ask_door(&who.admin.door()?, "POST /levers", &body.to_string(), WITHIN)?;
    let Some(pulled) = done(&answer) else { return Ok(FAILED.into()) };
    if who.form.is_json() {
        print_line(&pulled.to_string())?;
        return Ok(OK.into());
    }
    print_line(&format!(
        "lever {} is pulled until {} ({} left): {}",
        pulled["id"],
        word(&pulled["until"]),
        left(pulled["seconds_left"].as_u64().unwrap_or(0)),
        word(&pulled["lever"]),
    ))?;
    if pulled["replaced"].is_object() {
        let (id, lever) = (&pulled["replaced"]["id"], word(&pulled["replaced"]["lever"]));
        print_line(&format!("  in place of lever {id}: {lever}"))?;
    }
    let bare = pulled["cells_without_endpoint"].as_array().into_iter().flatten();
    let bare: Vec<String> = bare.map(word).collect();
    if !bare.is_empty() {
        print_line(&format!("  NO ENDPOINT IS LEFT in {}: their requests are refused", bare.join(", ")))?;
    }
    print_line(&format!("  to end it before: cellgate release {}", pulled["id"]))?;
    Ok(OK.into())
}

pub fn release(args: &Release) -> anyhow::Result<ExitCode> {
    let Release { words, reason, who } = args;
    let door = who.admin.door()?;
    let id = match which(words) {
        Ok(Which::Number(id)) => u64::from(id),
        Ok(Which::Words(words)) => match numbered(&door, &words)? {
            Some(id) => id,
            None => return Ok(FAILED.into()),
        },
        Err(error) => {
            complain(&format!("cellgate: {error}\n  in: {}\n  see cellgate levers", one_line(words)));
            return Ok(USAGE.into());
        }
    };
    let body = json!({ "by": who.name(), "reason": reason }).to_string();
    let answer = ask_door(&door, &format!("DELETE /levers/{id}"), &body, WITHIN)?;
    let Some(released) = done(&answer) else { return Ok(FAILED.into()) };
    print_line(&match who.form.is_json() {
        true => released.to_string(),
        false => format!("lever {id} is released: {}", word(&released["lever"])),
    })?;
    Ok(OK.into())
}

pub fn list(args: &List) -> anyhow::Result<ExitCode> {
    let levers = all_pulled(&args.admin.door()?)?;
    if args.form.is_json() {
        print_line(&json!({ "levers": levers }).to_string())?;
    } else if levers.is_empty() {
        print_line("No lever is pulled.")?;
    } else {
        print(as_text(&levers).as_bytes())?;
    }
    Ok(if levers.is_empty() { OK } else { SOME }.into())
}

/// How somebody says which lever they mean.
enum Which {
    Number(u32),
    /// As the list has them: of two that are pulled no words are the same, since the second takes the place of the first.
    Words(String),
}

fn which(words: &[String]) -> Result<Which, WordsError> {
    if let [one] = words
        && let Ok(number) = one.parse()
    {
        return Ok(Which::Number(number));
    }
    let words = one_line(words);
    match Lever::parse(&words) {
        Ok(lever) => Ok(Which::Words(lever.to_string())),
        Err(_) if words.starts_with(LeverKind::Operators.as_str()) => Ok(Which::Words(words)),
        Err(error) => Err(error),
    }
}

/// The number of the lever with these words; where none is pulled, that is said.
fn numbered(door: &Door, words: &str) -> anyhow::Result<Option<u64>> {
    let levers = all_pulled(door)?;
    let is_named = |lever: &&Value| {
        let pulled = lever["lever"].as_str().unwrap_or_default();
        pulled == words || without_pass(pulled) == words
    };
    let id = levers.iter().find(is_named).and_then(|lever| lever["id"].as_u64());
    if id.is_none() {
        complain(&format!(
            "cellgate: no lever with these words is pulled: {}. Next: see cellgate levers for what is pulled.",
            plain(words)
        ));
    }
    Ok(id)
}

/// Nobody remembers the digest of a pass.
fn without_pass(words: &str) -> String {
    match words.split_once(" pass ") {
        Some((before, after)) if words.starts_with(LeverKind::Operators.as_str()) => {
            let rest = after.split_once(' ').map_or_else(String::new, |(_, rest)| format!(" {rest}"));
            format!("{before}{rest}")
        }
        _ => words.to_owned(),
    }
}

fn all_pulled(door: &Door) -> anyhow::Result<Vec<Value>> {
    let answer = ask_door(door, "GET /levers", "", WITHIN)?;
    let mut said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    match said["levers"].take() {
        Value::Array(levers) if answer.is_ok => Ok(levers),
        _ => bail!("{door} does not answer as cellgate does: {}", word(&said["what"])),
    }
}

fn one_line(words: &[String]) -> String {
    words.iter().map(|word| in_quotes(word)).collect::<Vec<_>>().join(" ")
}

fn as_text(levers: &[Value]) -> String {
    let rows = levers.iter().map(|lever| {
        format!(
            "{:>4}  {}\n      {} left, until {}; requests that felt it: {}\n      by {:?} at {}: {:?}\n",
            lever["id"].as_u64().unwrap_or(0),
            word(&lever["lever"]),
            left(lever["seconds_left"].as_u64().unwrap_or(0)),
            word(&lever["until"]),
            lever["requests"].as_u64().unwrap_or(0),
            word(&lever["by"]),
            word(&lever["since"]),
            word(&lever["reason"]),
        )
    });
    rows.collect()
}

/// What has come about; where nothing has, it is told why.
fn done(answer: &Answer) -> Option<Value> {
    let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    if !answer.is_ok || !said["id"].is_u64() {
        complain(&format!("cellgate: {} Next: {}", word(&said["what"]), word(&said["next"])));
        return None;
    }
    Some(said)
}

/// The digest of the pass in a file; one is drawn where there is no file.
fn pass_of(path: &Path) -> anyhow::Result<OperatorPass> {
    let name = || format!("the pass in {}", path.display());
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut random = [0; pass::PASS_LEN / 2];
            aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow!("the system gives no random numbers"))?;
            let line = format!("{}: {}\n", pass::HEADER, hex(random));
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            file.and_then(|mut file| file.write_all(line.as_bytes())).with_context(name)?;
            line
        }
        text => text.with_context(name)?,
    };
    let pass = text.trim_end().strip_prefix(pass::HEADER).and_then(|rest| rest.strip_prefix(": "));
    let pass = pass.filter(|pass| OperatorPass::is_pass(pass.as_bytes()));
    ensure!(
        pass.is_some(),
        "{} is not one: expected a line `{}: ` and 64 hex digits; name another file, and one is drawn",
        path.display(),
        pass::HEADER
    );
    let digest = digest(&SHA256, pass.unwrap_or_default().as_bytes());
    Ok(OperatorPass::of_digest(digest.as_ref().try_into().context("a SHA-256 has 32 bytes")?))
}

/// What a foreign answer says, fit for a terminal.
fn word(value: &Value) -> String {
    plain(value.as_str().unwrap_or("?"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_list_has_all_of_each_lever_and_no_control_characters() {
        let levers = [json!({
            "id": 7, "lever": "shed 50% cell us1", "by": "ann", "reason": "us1 \u{1b}[2Jburns", "requests": 12,
            "since": "2026-11-22T03:00:00Z", "until": "2026-11-22T03:30:00Z", "seconds_left": 250,
        })];
        let expect = "   7  shed 50% cell us1
      4m 10s left, until 2026-11-22T03:30:00Z; requests that felt it: 12
      by \"ann\" at 2026-11-22T03:00:00Z: \"us1  [2Jburns\"
";
        assert_eq!(as_text(&levers), expect);
    }

    #[test]
    fn a_pass_is_drawn_once_and_nobody_else_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pass");
        let drawn = pass_of(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(pass_of(&path).unwrap(), drawn, "the same again");
        let text = std::fs::read_to_string(&path).unwrap();
        let digits = text.trim_end().split_once(": ").unwrap().1;
        assert_eq!(drawn.to_string(), hex(digest(&SHA256, digits.as_bytes())));
        assert_ne!(pass_of(&folder.path().join("other")).unwrap(), drawn);
        for wrong in ["", "x-cellgate-operator-pass: short", &text.to_uppercase(), &format!("Host: {digits}")]
        {
            std::fs::write(&path, wrong).unwrap();
            let error = pass_of(&path).unwrap_err().to_string();
            assert!(error.contains("64 hex digits"), "{wrong:?}: {error}");
        }
    }
}
