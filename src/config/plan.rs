//! A plan: what a configuration would change, and what guards have against it, before anybody lets it serve.
//! Data and its texts; who compares what with what is `start`'s and `reload`'s.

mod digest;
mod make;
mod text;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::diff::brownouts::CohortChange;
use super::diff::moves::Noted;
use super::diff::rows::RowChanges;
use super::diff::{Changes, Diff, Traffic};
use super::guard::{Guard, Objection};
use super::settings::SettingChange;

pub use digest::digest_of;
pub use make::{Boots, By, Requests};
pub use text::{code_span, covered};

/// Settings that a plan lists: more than anybody changes by hand at once, and less than hides an objection.
const SETTINGS_SHOWN: usize = 100;

/// As a state: moves that are no longer there.
const TAKEN_BACK: &str = "taken_back";

/// What stands in place of a hash where nothing served before.
pub const NO_BASE: &str = "none";

/// From what serves to what is offered.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The replicas that it is for, where approvals name them.
    pub fleet: Option<Box<str>>,
    /// Configuration hash of what serves, or [`NO_BASE`].
    pub base: Box<str>,
    /// Configuration hash of what is offered.
    pub candidate: Box<str>,
    /// What changes.
    pub diff: Diff,
    /// Fields of `boot.yaml` that differ: they need a restart.
    pub boot: Vec<String>,
    /// Which traffic it concerns, where the books can say.
    pub traffic: Option<Traffic>,
    /// What guards have against it, those first that refuse.
    pub objections: Vec<Objection>,
}

/// How a plan ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The files are what serves.
    Nothing,
    /// Something changes, and no guard refuses it.
    Changes,
    /// A guard refuses it.
    Refused,
}

/// The plan as an object. Fields only ever get added.
#[derive(Debug, Serialize)]
pub struct PlanView<'a> {
    version: u8,
    verdict: &'static str,
    digest: String,
    fleet: Option<&'a str>,
    #[serde(flatten)]
    content: Content<'a>,
    restart: &'a [String],
    traffic: Option<TrafficView>,
    objections: Vec<ObjectionView<'a>>,
}

/// What the digest is of: it follows from the two configurations alone, so that everybody who compares them gets the
/// same one, on whatever day and with whatever books.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<'a> {
    base: Cow<'a, str>,
    candidate: Cow<'a, str>,
    cells: ChangesView<'a>,
    hosts: ChangesView<'a>,
    trust: ChangesView<'a>,
    listeners_removed: Cow<'a, [Box<str>]>,
    accounts: Accounts<'a>,
    /// Left out where there are none, so that a plan without moves keeps the digest it always had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    moves: Vec<MoveView<'a>>,
    /// Left out where no row differs, for the same reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environments: Option<RowsView<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credentials: Option<RowsView<'a>>,
    dates: Vec<String>,
    /// Left out where nobody enters or leaves one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    brownouts: Vec<CohortView<'a>>,
    /// Sunsets that accounts were promised. Left out where none changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extensions: Option<NotedView<'a>>,
    /// Whatever else is written differently. Left out where nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    settings: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangesView<'a> {
    added: Cow<'a, [Box<str>]>,
    removed: Cow<'a, [Box<str>]>,
    changed: Cow<'a, [Box<str>]>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accounts<'a> {
    before: usize,
    after: usize,
    added: Vec<InCell<'a>>,
    removed: Vec<InCell<'a>>,
    moved: Vec<Movement<'a>>,
    changed: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InCell<'a> {
    cell: Cow<'a, str>,
    accounts: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Movement<'a> {
    from: Cow<'a, str>,
    to: Cow<'a, str>,
    accounts: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveView<'a> {
    from: Cow<'a, str>,
    to: Cow<'a, str>,
    /// `taken_back`, or a state.
    state: Cow<'a, str>,
    accounts: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CohortView<'a> {
    brownout: Cow<'a, str>,
    enter: usize,
    leave: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowsView<'a> {
    before: usize,
    after: usize,
    added: NotedView<'a>,
    removed: NotedView<'a>,
    repointed: NotedView<'a>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NotedView<'a> {
    rows: usize,
    /// A few of them.
    first: Cow<'a, [String]>,
}

#[derive(Debug, Serialize)]
struct TrafficView {
    requests: u64,
    concerned: u64,
}

#[derive(Debug, Serialize)]
struct ObjectionView<'a> {
    guard: &'static str,
    mode: &'static str,
    what: &'a str,
    hint: &'static str,
}

impl Plan {
    /// SHA-256 of what changes, lower-case hex: what people approve.
    pub fn digest(&self) -> String {
        digest_of(&serde_json::to_value(self.content()).expect("text and numbers always serialise"))
    }

    /// Whether a reload could bring all of it about: it changes nothing of `boot.yaml`.
    pub fn is_reloadable(&self) -> bool {
        self.boot.is_empty() && self.diff.listeners_removed.is_empty()
    }

    /// Whether this guard refuses it.
    pub fn refuses(&self, guard: Guard) -> bool {
        self.objections.iter().any(|objection| objection.guard == guard && objection.refuses())
    }

    /// How it ends.
    pub fn verdict(&self) -> Verdict {
        if self.objections.iter().any(Objection::refuses) {
            Verdict::Refused
        } else if self.base == self.candidate && self.boot.is_empty() {
            Verdict::Nothing
        } else {
            Verdict::Changes
        }
    }

    /// For programs.
    pub fn view(&self) -> PlanView<'_> {
        PlanView {
            version: 1,
            verdict: self.verdict().as_str(),
            digest: self.digest(),
            fleet: self.fleet.as_deref(),
            content: self.content(),
            restart: &self.boot,
            traffic: self
                .traffic
                .map(|Traffic { total, concerned }| TrafficView { requests: total, concerned }),
            objections: self.objections.iter().map(ObjectionView::from).collect(),
        }
    }

    fn content(&self) -> Content<'_> {
        let diff = &self.diff;
        Content {
            base: (&*self.base).into(),
            candidate: (&*self.candidate).into(),
            cells: (&diff.cells).into(),
            hosts: (&diff.hosts).into(),
            trust: (&diff.assets).into(),
            listeners_removed: (&*diff.listeners_removed).into(),
            accounts: Accounts {
                before: diff.rows.before,
                after: diff.rows.after,
                added: diff.accounts_added.iter().map(InCell::from).collect(),
                removed: diff.accounts_removed.iter().map(InCell::from).collect(),
                moved: diff.accounts_moved.iter().map(Movement::from).collect(),
                changed: diff.accounts_changed,
            },
            moves: moves(diff),
            environments: rows(&diff.environments),
            credentials: rows(&diff.credentials),
            dates: diff.dates.iter().map(ToString::to_string).collect(),
            brownouts: diff.brownouts.cohorts.iter().map(CohortView::from).collect(),
            extensions: Some(noted(&diff.brownouts.promises)).filter(|promises| promises.rows > 0),
            settings: settings(&diff.settings),
        }
    }
}

fn moves(diff: &Diff) -> Vec<MoveView<'_>> {
    let new = diff.moves.by_state.iter();
    let new = new.map(|((from, to, state), accounts)| MoveView {
        from: (&**from).into(),
        to: (&**to).into(),
        state: state.as_str().into(),
        accounts: *accounts,
    });
    let back = diff.moves.taken_back.iter();
    let back = back.map(|((from, to), accounts)| MoveView {
        from: (&**from).into(),
        to: (&**to).into(),
        state: TAKEN_BACK.into(),
        accounts: *accounts,
    });
    new.chain(back).collect()
}

/// A line each, of the first so many; the hash of what is offered covers them all.
fn settings(changes: &[SettingChange]) -> Vec<String> {
    let more = changes.len().saturating_sub(SETTINGS_SHOWN);
    let rest = (more > 0).then(|| format!("and {more} more"));
    changes.iter().take(SETTINGS_SHOWN).map(ToString::to_string).chain(rest).collect()
}

fn noted(noted: &Noted) -> NotedView<'_> {
    NotedView { rows: noted.count, first: (&*noted.first).into() }
}

fn rows(changes: &RowChanges) -> Option<RowsView<'_>> {
    let RowChanges { rows, added, removed, repointed, .. } = changes;
    (!changes.is_empty()).then(|| RowsView {
        before: rows.before,
        after: rows.after,
        added: noted(added),
        removed: noted(removed),
        repointed: noted(repointed),
    })
}

impl Verdict {
    /// As it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Changes => "changes",
            Self::Refused => "refused",
        }
    }
}

impl<'a> From<&'a Changes> for ChangesView<'a> {
    fn from(changes: &'a Changes) -> Self {
        let Changes { added, removed, changed } = changes;
        Self { added: (&**added).into(), removed: (&**removed).into(), changed: (&**changed).into() }
    }
}

impl<'a> From<(&'a Box<str>, &usize)> for InCell<'a> {
    fn from((cell, accounts): (&'a Box<str>, &usize)) -> Self {
        Self { cell: (&**cell).into(), accounts: *accounts }
    }
}

impl<'a> From<(&'a (Box<str>, Box<str>), &usize)> for Movement<'a> {
    fn from(((from, to), accounts): (&'a (Box<str>, Box<str>), &usize)) -> Self {
        Self { from: (&**from).into(), to: (&**to).into(), accounts: *accounts }
    }
}

impl<'a> From<&'a CohortChange> for CohortView<'a> {
    fn from(CohortChange { id, enter, leave }: &'a CohortChange) -> Self {
        Self { brownout: (&**id).into(), enter: *enter, leave: *leave }
    }
}

impl<'a> From<&'a Objection> for ObjectionView<'a> {
    fn from(objection: &'a Objection) -> Self {
        let Objection { guard, mode, what } = objection;
        Self { guard: guard.as_str(), mode: mode.as_str(), what, hint: guard.hint() }
    }
}
