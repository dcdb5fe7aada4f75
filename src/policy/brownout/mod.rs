//! Brownouts: planned, announced refusals of legacy traffic, and what comes after the sunset. Whether a request meets one
//! follows from the snapshot, the request, the time and what operators have cancelled, and from nothing else: every replica
//! says the same, and an account gets the same answer on every request.
//!
//! How a refusal of one reads is [`notice`]'s matter; which windows would reach whom, [`brownout_plan`](super::brownout_plan)'s.

pub mod notice;
pub mod status;
mod windows;

use super::accounts::ScheduleIndex;
use super::canary::{Salt, Share, has_account};
use super::decide::{Decision, Verdict};
use super::facts::RequestFacts;
use super::hosts::Role;
use super::ids::{AccountId, Label, SurfaceIndex};
use super::refusal::Refusal;
use super::snapshot::Snapshot;

pub use windows::{Overlap, Window, Windows};

/// Longest window, in seconds: a day. A lever lasts as long at most, so that one that is pulled in a window outlasts it.
pub const LONGEST_WINDOW_S: i64 = 24 * 3_600;

/// Longest Retry-After, in seconds, before it is spread: an hour. Some libraries sleep for as long as they are told, with all that they hold.
pub const MAX_RETRY_AFTER_S: u32 = 3_600;

/// The position of a brownout in [`Brownouts::all`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BrownoutIndex(pub u16);

/// What a brownout does to the requests that it is about. In the order of strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BrownoutMode {
    /// It counts them and changes nothing.
    Observe,
    /// 503 with Retry-After: libraries that retry absorb it, and leave a warning in a log.
    Soft,
    /// 410, which nobody retries.
    Hard,
}

/// One brownout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brownout {
    /// Unique name, as answers, logs and metrics have it. Also decides who is in the share.
    pub id: Label,
    /// What it does.
    pub mode: BrownoutMode,
    /// When it is in force.
    pub windows: Windows,
    /// Which part of the accounts.
    pub share: Share,
    /// Only these, in order; empty for all.
    pub accounts: Box<[AccountId]>,
    /// Only hosts and accounts of these schedules; empty for all.
    pub schedules: Box<[ScheduleIndex]>,
    /// Only these surfaces; empty for all.
    pub surfaces: Box<[SurfaceIndex]>,
    /// Only these endpoint classes; empty for all.
    pub classes: Box<[Label]>,
    /// Requests that name no account, too.
    pub no_account: bool,
    /// Whoever wrote it says that it is meant to meet all accounts.
    pub everybody: bool,
}

/// An account that brownouts leave alone for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    /// Which.
    pub account: AccountId,
    /// Until when, in seconds since the Unix epoch.
    pub until: i64,
    /// Why, for those who read the configuration and the audit trail.
    pub reason: Box<str>,
    /// Only these brownouts; empty for all.
    pub brownouts: Box<[BrownoutIndex]>,
}

/// All brownouts of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brownouts {
    /// In the order of the file; [`BrownoutIndex`] counts in it.
    pub all: Vec<Brownout>,
    /// By account.
    exemptions: Vec<Exemption>,
    /// Paths that are always served, with all below them: health checks.
    pub exceptions: Vec<Box<str>>,
}

/// What is done with an address once its sunset has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AfterSunset {
    /// It is served as before: a date alone breaks nobody.
    #[default]
    Keep,
    /// Requests that name an account are refused with 410.
    Refuse,
    /// Everything is refused with 410.
    Gone,
}

/// What is planned for a request in place of the answer of its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// A brownout.
    Brownout {
        /// Which.
        index: BrownoutIndex,
        /// What it does.
        mode: BrownoutMode,
        /// End of its window, in seconds since the Unix epoch.
        until: i64,
    },
    /// The sunset has passed.
    Sunset {
        /// For everything, and not for this account alone.
        gone: bool,
    },
}

/// What is planned for a request at `now`, in seconds since the Unix epoch; `decision` is what was decided about it, and
/// `is_cancelled` says what operators have ended before its time. Of several brownouts the strongest counts.
pub fn planned(
    snapshot: &Snapshot,
    facts: &RequestFacts<'_>,
    decision: &Decision,
    now: i64,
    is_cancelled: impl Fn(&Label) -> bool,
) -> Option<Planned> {
    // A preflight has none: a browser would hide a refusal of it from its script.
    let index = decision.schedule.filter(|_| decision.role == Some(Role::Legacy))?;
    let schedule = snapshot.schedule(index);
    let is_over = now >= schedule.sunset_at && schedule.after_sunset != AfterSunset::Keep;
    if snapshot.brownouts.all.is_empty() && !is_over {
        return None;
    }
    if snapshot.brownouts.exceptions.iter().any(|path| is_at_or_below(facts.path(), path)) {
        return None;
    }
    let sunset = is_over.then(|| after(schedule.after_sunset, decision)).flatten();
    sunset.or_else(|| {
        // Who has begun to sign in must be able to end it.
        let is_served = matches!(decision.verdict, Verdict::Forward { .. } | Verdict::Hold { .. });
        let is_callback = snapshot.redirect_exceptions.iter().any(|start| facts.path().starts_with(&**start));
        let met = Met { index, surface: decision.surface?, account: decision.account };
        let in_force = || strongest(snapshot, &met, facts.target, now, is_cancelled);
        if is_served && !is_callback { in_force() } else { None }
    })
}

/// Whether a path is this one, or below it: `/healthz/live` is below `/healthz`, and `/healthzz` is another one.
fn is_at_or_below(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || of.ends_with('/') || rest.starts_with('/'))
}

/// What of a request brownouts ask for.
struct Met {
    index: ScheduleIndex,
    surface: SurfaceIndex,
    account: Option<AccountId>,
}

fn after(what: AfterSunset, decision: &Decision) -> Option<Planned> {
    use Refusal::{CredentialRequired, NoAccount, UnmappedAccount};
    let is_served = matches!(decision.verdict, Verdict::Forward { .. } | Verdict::Hold { .. });
    match what {
        AfterSunset::Keep => None,
        AfterSunset::Refuse => {
            (is_served && decision.account.is_some()).then_some(Planned::Sunset { gone: false })
        }
        // Whom nothing serves any more is told so, and not to send a credential. What is malformed stays that.
        AfterSunset::Gone => {
            let lacks =
                matches!(decision.verdict, Verdict::Refuse(CredentialRequired | NoAccount | UnmappedAccount));
            (is_served || lacks).then_some(Planned::Sunset { gone: true })
        }
    }
}

fn strongest(
    snapshot: &Snapshot,
    met: &Met,
    target: &str,
    now: i64,
    is_cancelled: impl Fn(&Label) -> bool,
) -> Option<Planned> {
    let brownouts = &snapshot.brownouts;
    let mut strongest: Option<(BrownoutIndex, BrownoutMode, i64)> = None;
    for (index, brownout) in brownouts.indexed() {
        let Some(window) = brownout.windows.at(now) else { continue };
        let is_weaker = strongest.is_some_and(|(_, mode, _)| brownout.mode <= mode);
        if is_weaker || !brownout.is_about(met) || !brownout.has_class_of(snapshot, target) {
            continue;
        }
        let is_exempt = met.account.is_some_and(|account| brownouts.is_exempt(account, index, now));
        if !is_exempt && !is_cancelled(&brownout.id) {
            strongest = Some((index, brownout.mode, window.end));
        }
    }
    strongest.map(|(index, mode, until)| Planned::Brownout { index, mode, until })
}

impl Brownout {
    /// Whether an account is in the cohort, exemptions apart. The same on every replica, and a larger share has all that a
    /// smaller one has.
    pub fn has(&self, account: AccountId) -> bool {
        let listed = self.accounts.is_empty() || self.accounts.binary_search(&account).is_ok();
        listed && has_account(self.share, Salt::of(self.id.as_str()), account)
    }

    /// Whether it fails jobs of every account at once: ten per cent are a mistake that one apologises for, and `share` left
    /// out, or `hard` in place of `soft`, is easily written. A part of the surfaces or classes is every account all the same.
    pub fn is_hard_for_everybody(&self) -> bool {
        self.mode == BrownoutMode::Hard && self.share == Share::percent(100) && self.accounts.is_empty()
    }

    fn is_about(&self, met: &Met) -> bool {
        let is_one = |few: &[SurfaceIndex]| few.is_empty() || few.contains(&met.surface);
        is_one(&self.surfaces)
            && (self.schedules.is_empty() || self.schedules.contains(&met.index))
            && met.account.map_or(self.no_account, |account| self.has(account))
    }

    fn has_class_of(&self, snapshot: &Snapshot, target: &str) -> bool {
        self.classes.is_empty()
            || snapshot.endpoint_classes.of(target).name().is_some_and(|name| self.classes.contains(name))
    }
}

impl Brownouts {
    /// Of these; `exceptions` are paths.
    pub fn new(all: Vec<Brownout>, mut exemptions: Vec<Exemption>, exceptions: Vec<Box<str>>) -> Self {
        exemptions.sort_by_key(|exemption| exemption.account);
        Self { all, exemptions, exceptions }
    }

    /// Whether a brownout leaves an account alone at `now`.
    pub fn is_exempt(&self, account: AccountId, brownout: BrownoutIndex, now: i64) -> bool {
        self.of(account).any(|exemption| exemption.names(brownout) && now < exemption.until)
    }

    /// What an account is exempt from, also where that is over.
    pub fn of(&self, account: AccountId) -> impl Iterator<Item = &Exemption> {
        let first = self.exemptions.partition_point(|exemption| exemption.account < account);
        self.exemptions[first..].iter().take_while(move |exemption| exemption.account == account)
    }

    /// All exemptions, by account.
    pub fn exemptions(&self) -> &[Exemption] {
        &self.exemptions
    }

    /// Each with its position.
    pub fn indexed(&self) -> impl Iterator<Item = (BrownoutIndex, &Brownout)> {
        (0..).map(BrownoutIndex).zip(&self.all)
    }

    /// The one at a position that these have made.
    pub fn at(&self, index: BrownoutIndex) -> &Brownout {
        &self.all[usize::from(index.0)]
    }
}

impl Exemption {
    /// Whether it is from this brownout.
    pub fn names(&self, brownout: BrownoutIndex) -> bool {
        self.brownouts.is_empty() || self.brownouts.contains(&brownout)
    }
}

impl Planned {
    /// What the request is answered with; `None` where it is only counted.
    pub const fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Brownout { mode: BrownoutMode::Observe, .. } => None,
            Self::Brownout { mode: BrownoutMode::Soft, .. } => Some(Refusal::BrownoutSoft),
            Self::Brownout { mode: BrownoutMode::Hard, .. } => Some(Refusal::BrownoutHard),
            Self::Sunset { gone: false } => Some(Refusal::Sunset),
            Self::Sunset { gone: true } => Some(Refusal::Gone),
        }
    }

    /// When a client that is refused may come again, in seconds from `now`: the end of the window and a little of chance,
    /// for all who wait for it would come at once. `None` where coming again is no cure. `random` is uniform over its range.
    pub fn retry_after_s(self, now: i64, random: u32) -> Option<u32> {
        let Self::Brownout { mode: BrownoutMode::Soft, until, .. } = self else { return None };
        let left = u32::try_from(until.saturating_sub(now)).unwrap_or(0).clamp(1, MAX_RETRY_AFTER_S);
        Some(left + random % (left / 10 + 1))
    }
}

impl BrownoutMode {
    /// All of them, in the order of strength.
    pub const ALL: [Self; 3] = [Self::Observe, Self::Soft, Self::Hard];

    /// Of what [`as_str`](Self::as_str) says.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }

    /// As it is written, and its label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Soft => "soft",
            Self::Hard => "hard",
        }
    }
}

impl AfterSunset {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Refuse => "refuse",
            Self::Gone => "gone",
        }
    }
}

#[cfg(test)]
mod tests;
