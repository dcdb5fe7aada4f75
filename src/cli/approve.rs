//! `cellgate approve`: signs a plan with an SSH key. Writes the statement, lets `ssh-keygen` sign it, and puts both into
//! one file; says in words what is signed before it is. Reads no configuration: it runs where the key is.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use clap::ArgGroup;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::audit::plain;
use super::form::Form;
use super::{OK, complain, now, print, print_line, span};
use crate::approval::file::{EXTENSION, FOLDER};
use crate::approval::statement::{DIGEST, FLEET, parse_base, show_base};
use crate::approval::{Approval, Digest, FleetId, MAX_AGE_SECONDS, NAMESPACE, Nonce, Statement};
use crate::config::plan::{covered, digest_of};
use crate::config::problem::quoted;
use crate::config::time::{show_duration, show_moment};

/// Approve a plan with an SSH key.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("what").required(true).args(["plan", "plan_digest", "join"]))]
pub struct Args {
    /// The plan, as JSON of `cellgate plan`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["candidate", "base", "fleet"])]
    plan: Option<PathBuf>,
    /// Digest of the plan, where the file is elsewhere
    #[arg(long, value_name = "DIGEST", requires_all = ["candidate", "base", "fleet"])]
    plan_digest: Option<String>,
    /// Content hash of the configuration that may begin to serve
    #[arg(long, value_name = "HASH", requires = "plan_digest")]
    candidate: Option<String>,
    /// Content hash of the configuration that serves now; none for a start from nothing
    #[arg(long, value_name = "HASH", requires = "plan_digest")]
    base: Option<String>,
    /// The fleet that the change goes to
    #[arg(long, value_name = "NAME", requires = "plan_digest")]
    fleet: Option<String>,
    /// Key to sign with: a private key, or a public one whose private half an agent or a token has
    #[arg(long, value_name = "FILE", required_unless_present_any = ["print_statement", "join"])]
    key: Option<PathBuf>,
    /// For how long the approval counts, at most 7d
    #[arg(long, value_name = "SPAN", default_value = "24h", conflicts_with = "join", value_parser = lifetime)]
    expires: i64,
    /// The approval's file [default: a name of its own in the current folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the statement and sign nothing: for a key that is on another machine
    #[arg(long, conflicts_with_all = ["key", "join", "out"])]
    print_statement: bool,
    /// Put together a statement and the signature that was made of it elsewhere
    #[arg(long, num_args = 2, value_names = ["STATEMENT", "SIGNATURE"], conflicts_with = "key")]
    join: Option<Vec<PathBuf>>,
    #[command(flatten)]
    form: Form,
}

/// Longest file that is read here: a plan that lists a change of a million accounts has its counts, not its rows.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let now = now();
    // Before anybody has typed a passphrase or touched a token for nothing.
    if let Some(out) = &args.out {
        check_out(out)?;
    }
    if let Some([statement, signature]) = args.join.as_deref() {
        let (text, signature) = (read(statement)?, read(signature)?);
        let statement = Statement::parse(&text)
            .with_context(|| format!("{} is no statement of cellgate approve", statement.display()))?;
        complain(&in_words(&statement, now));
        complain(NOT_SHOWN);
        let told = as_value(&statement, None);
        return finish(
            (&text, &signature),
            OutFile::create(&statement, args.out.as_deref())?,
            args.form,
            told,
        );
    }
    let (statement, plan) = args.statement(now)?;
    complain(&in_words(&statement, now));
    match &plan {
        None => complain(NOT_SHOWN),
        Some(plan) => show(plan),
    }
    let (text, told) = (statement.text(), as_value(&statement, plan.as_ref()));
    match &args.key {
        None if args.form.is_json() => {
            print_line(&told.to_string())?;
            Ok(OK.into())
        }
        None => {
            complain(&format!(
                "\nSign exactly the text that follows where the key is, and put both together here:\n  \
                 ssh-keygen -Y sign -n {NAMESPACE} -f KEY STATEMENT\n  \
                 cellgate approve --join STATEMENT STATEMENT.sig\n"
            ));
            print(text.as_bytes())?;
            Ok(OK.into())
        }
        Some(key) => {
            complain(&format!("\nSigning with {} (a hardware key waits to be touched).", key.display()));
            let file = OutFile::create(&statement, args.out.as_deref())?;
            finish((&text, &sign(key, &text)?), file, args.form, told)
        }
    }
}

fn check_out(out: &Path) -> anyhow::Result<()> {
    let name = out.display();
    ensure!(
        out.extension().is_some_and(|end| end == EXTENSION),
        "--out {name}: no replica reads it there; expected a name that ends with .{EXTENSION}"
    );
    ensure!(fs::symlink_metadata(out).is_err(), "--out {name}: it is there already; name another file");
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    ensure!(folder.is_none_or(Path::is_dir), "--out {name}: there is no such folder; make it first");
    Ok(())
}

/// Where only hashes are there to be shown.
const NOT_SHOWN: &str = "What it changes is not shown here: --plan FILE shows it.";

/// What is signed, and what the file says beside that. Made by whoever made the file: of the second anything may have been
/// left out or put in.
fn show(plan: &Plan) {
    complain("It changes, from what serves and as the digest covers it:");
    plan.covered.iter().for_each(|line| complain(&format!("  {}", plain(line))));
    complain(if plan.objections.is_empty() {
        "The file names no guard that objects. That is not signed, and proves nothing: cellgate plan says it anew."
    } else {
        "What guards have against it, as the file says; not signed, cellgate plan says it anew:"
    });
    for Objection { guard, mode, what } in &plan.objections {
        complain(&plain(&format!("  {guard} ({mode}): {what}")));
    }
}

/// What `cellgate plan` says of itself; the rest is for readers.
#[derive(Deserialize)]
struct Plan {
    version: u32,
    fleet: String,
    digest: String,
    base: Option<String>,
    candidate: String,
    #[serde(default)]
    objections: Vec<Objection>,
    /// What the digest is of, in words.
    #[serde(skip)]
    covered: Vec<String>,
}

/// What a guard has against it: why it needs somebody's word.
#[derive(Deserialize, Serialize)]
struct Objection {
    guard: String,
    mode: String,
    what: String,
}

/// The version of the plan that is known here.
const PLAN_VERSION: u32 = 1;

impl Args {
    fn statement(&self, now: i64) -> anyhow::Result<(Statement, Option<Plan>)> {
        let mut nonce = [0; 16];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| anyhow!("the system gives no random numbers"))?;
        let said = |value: &Option<String>| value.clone().unwrap_or_default();
        let (source, plan) = match &self.plan {
            Some(path) => (path.display().to_string(), read_plan(path)?),
            None => {
                let (digest, candidate) = (said(&self.plan_digest), said(&self.candidate));
                let (fleet, base) = (said(&self.fleet), self.base.clone());
                (
                    "the command line".to_owned(),
                    Plan {
                        version: PLAN_VERSION,
                        fleet,
                        digest,
                        base,
                        candidate,
                        objections: Vec::new(),
                        covered: Vec::new(),
                    },
                )
            }
        };
        let wrong = |what: &str, found: &str, expected: &str| {
            anyhow!("{source}: the {what} is {}; expected {expected}", quoted(found))
        };
        let base = plan.base.as_deref().map_or(Some(None), parse_base);
        let statement = Statement {
            fleet: FleetId::parse(&plan.fleet).ok_or_else(|| wrong("fleet", &plan.fleet, FLEET))?,
            plan: Digest::parse(&plan.digest)
                .ok_or_else(|| wrong("digest of the plan", &plan.digest, DIGEST))?,
            candidate: Digest::parse(&plan.candidate)
                .ok_or_else(|| wrong("candidate", &plan.candidate, DIGEST))?,
            base: base.ok_or_else(|| {
                wrong("base", plan.base.as_deref().unwrap_or_default(), &format!("{DIGEST}, or none"))
            })?,
            nonce: Nonce(nonce),
            expires: now.saturating_add(self.expires),
        };
        Ok((statement, self.plan.is_some().then_some(plan)))
    }
}

fn read_plan(path: &Path) -> anyhow::Result<Plan> {
    let no_plan =
        || format!("{} is no plan; expected what cellgate plan has written as JSON", path.display());
    let content: Value = serde_json::from_str(&read(path)?).with_context(no_plan)?;
    ensure!(
        content.get("fleet").is_none_or(|fleet| !fleet.is_null()),
        "{} was made without a fleet, for which approvals are given: add approvals (fleet, allowed_signers) to guards in boot.yaml, and \
         make the plan anew",
        path.display()
    );
    let mut plan = Plan::deserialize(&content).with_context(no_plan)?;
    ensure!(
        plan.version == PLAN_VERSION,
        "{} is a plan of version {}; this cellgate knows version {PLAN_VERSION}: take the cellgate that made it",
        path.display(),
        plan.version
    );
    let digest = digest_of(&content);
    ensure!(
        digest == plan.digest,
        "{}: its digest is {}, and that of what stands in it is {digest}: somebody has changed it; make the plan anew",
        path.display(),
        quoted(&plan.digest)
    );
    plan.covered = covered(&content);
    Ok(plan)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let context = || format!("reading {}", path.display());
    let length = fs::metadata(path).with_context(context)?.len();
    ensure!(
        length <= MAX_FILE_BYTES,
        "{} has {length} bytes; expected at most {MAX_FILE_BYTES}",
        path.display()
    );
    fs::read_to_string(path).with_context(context)
}

/// For how long, in seconds.
fn lifetime(text: &str) -> Result<i64, String> {
    let seconds = i64::try_from(span(text)?.as_secs()).ok();
    seconds
        .filter(|seconds| (1..=MAX_AGE_SECONDS).contains(seconds))
        .ok_or_else(|| "expected at least 1s and at most 7d".to_owned())
}

fn in_words(statement: &Statement, now: i64) -> String {
    let Statement { fleet, plan, candidate, base, nonce: _, expires } = statement;
    let from = match base {
        Some(_) => format!("from   {}  (serves now)", show_base(*base)),
        None => "from   nothing: no configuration serves now".to_owned(),
    };
    // In whole minutes: nobody plans by the second.
    let minutes = expires.saturating_sub(now).max(0) / 60;
    let left = show_duration(Duration::from_secs(minutes.unsigned_abs() * 60));
    let left = match minutes {
        0 if *expires > now => "in less than a minute".to_owned(),
        0 => "which is now or has passed".to_owned(),
        _ => format!("{left} from now"),
    };
    format!(
        "You approve one change of the fleet {fleet}, and nothing else:\n  plan   {plan}\n  {from}\n  to     {candidate}\n\
         Each replica takes it once, until {} ({left}).",
        show_moment(*expires)
    )
}

/// The same for programs, and the text that is signed. What it changes, and what guards have against it, is there where a plan
/// was read.
fn as_value(statement: &Statement, plan: Option<&Plan>) -> Value {
    let Statement { fleet, plan: digest, candidate, base, nonce, expires } = statement;
    json!({
        "fleet": fleet.to_string(), "plan": digest.to_string(), "base": show_base(*base),
        "candidate": candidate.to_string(), "nonce": nonce.to_string(), "expires": show_moment(*expires),
        "changes": plan.map(|plan| &plan.covered), "objections": plan.map(|plan| &plan.objections),
        "namespace": NAMESPACE, "statement": statement.text(), "signed_by": null, "approval": null,
    })
}

/// What `ssh-keygen` prints for a text. It asks for a passphrase on the terminal, if it must.
fn sign(key: &Path, text: &str) -> anyhow::Result<String> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.context(
        "starting ssh-keygen (package openssh-client); where there is none, use --print-statement, sign elsewhere, and \
         --join",
    )?;
    // It may end without reading, and has said why then.
    let _ = child.stdin.take().expect("standard input is piped").write_all(text.as_bytes());
    let output = child.wait_with_output().context("waiting for ssh-keygen")?;
    if !output.status.success() {
        bail!("ssh-keygen has not signed with {} ({}); its words are above", key.display(), output.status);
    }
    String::from_utf8(output.stdout).context("reading the signature of ssh-keygen")
}

/// Puts text and signature together, in a file. `told` is what programs are told of it.
fn finish(
    (text, signature): (&str, &str),
    out: OutFile,
    form: Form,
    mut told: Value,
) -> anyhow::Result<ExitCode> {
    let approval =
        Approval::join(text, signature).map_err(|refusal| anyhow!("no replica would count it: {refusal}"))?;
    let key = Approval::parse(approval.as_bytes())?.fingerprint();
    let path = out.write(approval.as_bytes())?;
    if form.is_json() {
        (told["signed_by"], told["approval"]) = (key.into(), path.display().to_string().into());
        print_line(&told.to_string())?;
        return Ok(OK.into());
    }
    complain(&format!("Signed by {key}. Put the file into {FOLDER}/ of the configuration folder."));
    print_line(&path.display().to_string())?;
    Ok(OK.into())
}

/// The approval's file, made before anybody is asked for a key: a signature is not lost because it cannot be put down.
/// Removed again where nothing is written.
struct OutFile {
    path: PathBuf,
    file: Option<File>,
}

impl OutFile {
    fn create(statement: &Statement, out: Option<&Path>) -> anyhow::Result<Self> {
        let name = |digits: String| digits[..12].to_owned();
        let own = || {
            let (plan, nonce) = (name(statement.plan.to_string()), name(statement.nonce.to_string()));
            PathBuf::from(format!("{plan}-{nonce}.{EXTENSION}"))
        };
        let path = out.map_or_else(own, Path::to_owned);
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("making {}; --out names another file", path.display()))?;
        Ok(Self { path, file: Some(file) })
    }

    fn write(mut self, approval: &[u8]) -> anyhow::Result<PathBuf> {
        let file = self.file.as_mut().expect("it is written once");
        let written = file.write_all(approval);
        written.with_context(|| format!("writing {}; --out names another file", self.path.display()))?;
        self.file = None;
        Ok(std::mem::take(&mut self.path))
    }
}

impl Drop for OutFile {
    fn drop(&mut self) {
        if self.file.take().is_some()
            // Empty, and an error is being told already.
            && let Err(error) = fs::remove_file(&self.path)
        {
            complain(&format!("cellgate: {} is left behind: {error}", self.path.display()));
        }
    }
}
