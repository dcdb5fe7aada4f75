//! What the admin plane prints: views of other modules' values, made for reading. Nothing here is read
//! back, and no secret has a field.

use std::fmt;
use std::time::SystemTime;

use serde::Serialize;

use super::candidate::CandidateView;
use crate::policy::accounts::Account;
use crate::policy::brownout::status;
use crate::policy::protection::levers::Levers;
use crate::policy::snapshot::Snapshot;
use crate::policy::validity::{Stage, endings};
use crate::readiness::{Readiness, Reason};
use crate::reload::outcome::{Objection, ProblemView, ReloadOutcome, ReloadReport, StagedReport};
use crate::telemetry::wall_time::{Seconds, from_unix_seconds, unix_seconds};

/// Something went wrong with a call: what, and what to do next.
#[derive(Debug, Serialize)]
pub(super) struct Trouble {
    pub error: &'static str,
    pub what: String,
    pub next: String,
}

/// `/readyz`.
#[derive(Debug, Serialize)]
pub(super) struct ReadyView {
    pub ready: bool,
    generation: u64,
    reasons: Vec<ReasonView>,
    /// Who says so: for a moment of an upgrade both processes answer at one door.
    pid: u32,
}

#[derive(Debug, Serialize)]
struct ReasonView {
    reason: &'static str,
    blocks: bool,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<u64>,
    /// The detail for whoever may call any door, where its own may name an account.
    #[serde(skip)]
    for_everybody: Option<String>,
}

/// `/config`.
#[derive(Debug, Serialize)]
pub(super) struct ConfigView {
    generation: u64,
    hash: String,
    loaded_at: String,
    accounts: usize,
    cells: usize,
    last_reload: ReportView,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<CandidateView>,
}

#[derive(Debug, Serialize)]
struct ReportView {
    at: String,
    trigger: &'static str,
    #[serde(flatten)]
    outcome: OutcomeView,
}

/// The answer to `POST /reload`, and a part of `/config`.
#[derive(Debug, Default, Serialize)]
pub(super) struct OutcomeView {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ProblemLine>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    objections: Vec<ObjectionLine>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

/// An override that was taken, and what became of the files.
#[derive(Debug, Serialize)]
pub(super) struct TakenView {
    pub told: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
    #[serde(flatten)]
    pub files: OutcomeView,
}

#[derive(Debug, Serialize)]
struct ProblemLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

#[derive(Debug, Serialize)]
struct ObjectionLine {
    guard: String,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

/// `/accounts/{id}`.
#[derive(Debug, Serialize)]
pub(super) struct AccountView {
    generation: u64,
    account: u64,
    prefixes: Vec<String>,
    cell: String,
    redirect_browsers: bool,
}

impl ReadyView {
    /// At `now`: the reasons in force, certificates and lists whose time is over or soon will be, and brownouts.
    pub fn new(readiness: &Readiness, live: &Snapshot, levers: &Levers, now: SystemTime) -> Self {
        let standing = readiness.reasons(now);
        let mut reasons: Vec<ReasonView> = Vec::with_capacity(standing.len());
        for one in &standing {
            let (detail, written) = explain(&one.reason, now);
            reasons.push(ReasonView {
                reason: one.reason.as_str(),
                blocks: one.blocks,
                detail,
                age_seconds: written.map(|since| age(now, since)),
                for_everybody: for_everybody(&one.reason),
            });
        }
        let unix = unix_seconds(now);
        for ending in endings(live) {
            let Some(stage) = ending.stage(live, unix) else { continue };
            let end = from_unix_seconds(ending.until);
            reasons.push(ReasonView {
                reason: ending.reason(stage),
                blocks: false,
                detail: format!("{} (Its time ends at {}.)", ending.said(stage), Seconds(end)),
                age_seconds: (stage == Stage::Over).then(|| age(now, end)),
                for_everybody: None,
            });
        }
        for detail in status::notes(live, unix, |id| levers.cancels(id).is_some()) {
            let (reason, blocks, age_seconds, for_everybody) = ("brownout", false, None, None);
            reasons.push(ReasonView { reason, blocks, detail, age_seconds, for_everybody });
        }
        // From the same look: an answer must not say ready and give a blocking reason.
        let ready = !standing.iter().any(|one| one.blocks);
        Self { ready, generation: live.generation.0, reasons, pid: std::process::id() }
    }
}

impl ReadyView {
    /// For whoever may call any door: what may name an account is told without words of the operator or of the files.
    pub fn without_accounts(mut self) -> Self {
        for reason in &mut self.reasons {
            if let Some(detail) = reason.for_everybody.take() {
                reason.detail = detail;
            }
        }
        self
    }
}

fn for_everybody(reason: &Reason) -> Option<String> {
    match reason {
        Reason::Levers { .. } => Some("Levers are pulled; they are listed under levers.".to_owned()),
        Reason::Rejected { at, place, .. } => Some(rejected(*at, place)),
        _ => None,
    }
}

fn rejected(at: SystemTime, cause: &str) -> String {
    format!(
        "The reload at {} was rejected: {cause}. What served before serves. `cellgate check` lists every problem: correct them and \
         reload.",
        Seconds(at)
    )
}

/// What is said of a start that nothing could be compared with.
const BOOTSTRAPPED: &str = "This process was started with --bootstrap: no last good configuration showed what its \
                            configuration may have lost. The next start compares with this one.";

/// What is said of a protection that is left in observe.
const ONLY_WATCHED: &str = "What should protect cells only watches";

fn explain(reason: &Reason, now: SystemTime) -> (String, Option<SystemTime>) {
    match reason {
        Reason::Starting => ("The configuration is being loaded and listeners are being bound.".into(), None),
        Reason::Draining => ("The process is ending: requests in flight are being finished.".into(), None),
        Reason::LastGood { written, cause, .. } => {
            let detail = format!(
                "The configuration files cannot be used: {cause}. The last good configuration, written \
                 at {}, is served. Correct that and reload.",
                Seconds(*written)
            );
            (detail, Some(*written))
        }
        Reason::Bootstrapped => (BOOTSTRAPPED.into(), None),
        Reason::BreakGlass { told } => (format!("An operator has broken the glass: {told}."), None),
        Reason::Observing { told } => (format!("{ONLY_WATCHED}: {told}. Set the mode to enforce."), None),
        Reason::Levers { told } => (format!("Levers are pulled: {told}. `cellgate levers` says why."), None),
        Reason::Staged { generation, hash } => {
            let detail = format!(
                "Generation {generation} ({hash}) comes in force in steps: /config shows its share. To stop it, put the \
                 files back; to skip the steps, POST /reload with {{\"at_once\": true}}."
            );
            (detail, None)
        }
        Reason::RolledBack { hash, cause } => {
            let detail = format!(
                "The configuration files ({hash}) were tried and rolled back: {cause}. What served before serves. Correct \
                 the files; or try them again: POST /reload with {{\"again\": true}}."
            );
            (detail, None)
        }
        Reason::Kept { told } => {
            let detail = format!(
                "The configuration files are not served: {told}. What served before serves. The files are looked at when \
                 that is over, or after `cellgate break-glass end`."
            );
            (detail, None)
        }
        Reason::Refused { guards } if guards == crate::reload::outcome::BREAK_GLASS => {
            let detail = "The last reload was kept out by an operator's override: /config says whose. What served before \
                          serves. The files are looked at when that is over, or after `cellgate break-glass end`.";
            (detail.into(), None)
        }
        Reason::Refused { guards } => {
            let detail = format!(
                "The last reload was refused ({guards}): /config says why. What served before serves. Correct the files, or \
                 have the change approved, and reload."
            );
            (detail, None)
        }
        Reason::Rejected { at, cause, .. } => (rejected(*at, cause), Some(*at)),
        Reason::Unwritten { what } => (unwritten(what), None),
        Reason::FewDescriptors { most, needed, connections } => {
            (few_descriptors(*most, *needed, *connections), None)
        }
        Reason::LastGoodTooOld { written, max_age } => {
            let (at, age, most) = (Seconds(*written), Span(age(now, *written)), Span(max_age.as_secs()));
            let detail = format!(
                "The last good configuration was written at {at}, {age} ago; max_last_good_age in boot.yaml allows {most}. \
                 Correct the files and reload; or raise max_last_good_age, or take it out, and restart."
            );
            (detail, Some(*written))
        }
    }
}

fn unwritten(what: &str) -> String {
    format!(
        "The state folder is not written: {what}. Make it writable again (df, mount and ls -l say why it is not), or where too \
         many files are open, raise LimitNOFILE and restart; then reload."
    )
}

fn few_descriptors(most: u64, needed: u64, connections: u32) -> String {
    format!(
        "This process may have {most} files open, and {connections} connections (limits.connections) may need {needed}: where \
         all are taken, nobody is answered. Raise the hard limit (LimitNOFILE of the unit, nofile of the container), or lower \
         limits.connections, and restart."
    )
}

/// Seconds in the two largest units that say anything: `8d 3h`, `3h 20m`, `45s`.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units =
            [("d", self.0 / 86_400), ("h", self.0 / 3_600 % 24), ("m", self.0 / 60 % 60), ("s", self.0 % 60)];
        let first = units.iter().position(|(_, count)| *count > 0).unwrap_or(units.len() - 1);
        let mut shown = units[first..].iter().take(2).filter(|(_, count)| *count > 0).peekable();
        if shown.peek().is_none() {
            return f.write_str("0s");
        }
        for (at, (unit, count)) in shown.enumerate() {
            let space = if at > 0 { " " } else { "" };
            write!(f, "{space}{count}{unit}")?;
        }
        Ok(())
    }
}

pub(super) fn age(now: SystemTime, since: SystemTime) -> u64 {
    now.duration_since(since).map_or(0, |age| age.as_secs())
}

impl ConfigView {
    /// What is in force and how the last reload ended.
    pub fn new(live: &Snapshot, report: &ReloadReport, staged: Option<&StagedReport>) -> Self {
        Self {
            generation: live.generation.0,
            hash: live.hash.to_string(),
            loaded_at: Seconds(report.loaded_at).to_string(),
            accounts: live.accounts.len(),
            cells: live.cells.len(),
            last_reload: ReportView {
                at: Seconds(report.at).to_string(),
                trigger: report.trigger.as_str(),
                outcome: OutcomeView::new(&report.outcome),
            },
            candidate: staged.map(CandidateView::new),
        }
    }
}

/// What whoever meets a configuration that was rolled back can do.
const AFTER_ROLLBACK: &str =
    "correct the files, or try them again on purpose: POST /reload with {\"again\": true}";

impl OutcomeView {
    /// The outcome with everything that it carries.
    pub fn new(outcome: &ReloadOutcome) -> Self {
        let mut view = Self { outcome: outcome.label().as_str(), ..Self::default() };
        if let Some(pushed) = outcome.pushed() {
            view.hash = Some(pushed.hash.to_string());
            view.plan.clone_from(&pushed.plan);
        }
        match outcome {
            ReloadOutcome::Unchanged => {}
            ReloadOutcome::Rejected(problems) => {
                view.problems = problems.iter().map(ProblemLine::new).collect();
            }
            ReloadOutcome::Refused(objections, _) => {
                view.objections = objections.iter().map(ObjectionLine::new).collect();
            }
            ReloadOutcome::NeedsRestart(fields) => view.fields.clone_from(fields),
            ReloadOutcome::Applied { generation } | ReloadOutcome::Staged { generation, .. } => {
                view.generation = Some(generation.0);
            }
            ReloadOutcome::RolledBack { reasons, .. } => {
                view.reasons.clone_from(reasons);
                view.hint = Some(AFTER_ROLLBACK);
            }
        }
        view
    }
}

impl ProblemLine {
    fn new(problem: &ProblemView) -> Self {
        let ProblemView { file, line, column, path, what, expected, hint, code } = problem.clone();
        Self { file, line, column, path, what, expected, hint, code }
    }
}

impl ObjectionLine {
    fn new(objection: &Objection) -> Self {
        let code = objection.code().map(|code| code.to_string());
        let Objection { guard, what, hint } = objection.clone();
        Self { guard, what, hint, code }
    }
}

impl AccountView {
    /// A row of the account table.
    pub fn new(live: &Snapshot, account: Account<'_>) -> Self {
        Self {
            generation: live.generation.0,
            account: account.id.value(),
            prefixes: account.prefixes.map(ToString::to_string).collect(),
            cell: live.cell(account.cell).name.to_string(),
            redirect_browsers: account.redirect_browsers,
        }
    }
}
