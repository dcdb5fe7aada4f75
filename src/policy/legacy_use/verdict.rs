//! What becomes of somebody on a legacy host: whether they are there, leave, are quiet, or can be cut. "Nobody has come" is
//! worth as much as the time for which somebody has looked, and no more than the longest silence that was seen before.

use super::activity::{Activity, Cadence, Day};
use super::coverage::Coverage;
pub use super::reasons::Reason;
use super::{DAY, HOUR};

/// What is said of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Comes as it always has.
    Active,
    /// Had been gone for so long that it could have been cut, and is back.
    Returned,
    /// Comes, but far less than it did.
    Fading,
    /// Has not come for longer than usual, and not for long enough.
    Quiet,
    /// Has not come for long enough, and the books are complete for that time.
    Ready,
    /// Has not come for long enough, but the books are not complete for that time.
    Unknown,
    /// Lives in the shared environment: it has no other address to go to, and is not to be cut whatever it does.
    NotMigrated,
    /// Is refused on purpose.
    Cut,
}

/// Somebody, as the books have them.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Each of their integrations by itself: who comes once a month is not to be hidden by who comes each minute.
    pub integrations: &'a [Activity],
    /// Unix seconds.
    pub last_seen: i64,
    /// Since when they are refused on purpose, in Unix seconds.
    pub cut_at: Option<i64>,
    /// Whether they have an address of their own to go to.
    pub is_migrated: bool,
}

/// What is said of somebody, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// In one word.
    pub verdict: Verdict,
    /// The numbers behind it, in the order in which they are to be told.
    pub reasons: Vec<Reason>,
    /// How often they come, all integrations together.
    pub cadence: Option<Cadence>,
    /// Days of silence after which they can be ready.
    pub window_days: i64,
    /// From when on they can be ready if nobody comes any more and the books stay complete, in Unix seconds; nothing where
    /// they are ready or cut, or have nowhere to go.
    pub ready_at: Option<i64>,
}

/// A day more than the 35 from the last Friday of a month to that of the next: clocks are set back, and jobs start late.
const LEAST_WINDOW: i64 = 36;

/// Longer than a quarter; who comes less often cannot be waited for.
pub const LONGEST_WINDOW: i64 = 100;

/// Silences get longer: twice the longest that was seen is needed before the next counts.
const GAPS: i64 = 2;

/// Of a window the books must be complete for so much: of 36 days all but 52 minutes, which are some restarts.
pub const LEAST_COVERAGE: f64 = 0.999;

/// Seconds of silence before anybody can be said to be gone: whoever comes each day may miss one.
pub const LEAST_ACTIVE: i64 = 2 * DAY;

/// Who leaves does so within weeks; before that it was another time of the year.
const USUAL_DAYS: i64 = 56;

/// One part in so many of what it was is little.
const FADED: u64 = 5;

/// Who was refused on purpose and came within this still knocks.
const KNOCKS: i64 = 7 * DAY;

impl Verdict {
    /// Name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Returned => "RETURNED",
            Self::Fading => "FADING",
            Self::Quiet => "QUIET",
            Self::Ready => "READY",
            Self::Unknown => "UNKNOWN",
            Self::NotMigrated => "NOT-MIGRATED",
            Self::Cut => "CUT",
        }
    }
}

impl Judgement {
    /// Whether they have not come for longer than usual.
    pub fn is_gone(&self) -> bool {
        let silent = self.reasons.iter().find_map(|reason| match reason {
            Reason::LastSeen(silent) => Some(*silent),
            _ => None,
        });
        silent.is_some_and(|silent| silent >= active_for(self.cadence))
    }
}

/// Judges somebody who was seen at least once, at `now` (Unix seconds).
pub fn judge(subject: &Subject<'_>, coverage: &Coverage, now: i64) -> Judgement {
    judge_together(subject, &Activity::of_all(subject.integrations), coverage, now)
}

/// The same, by whoever has all integrations together, too.
pub fn judge_together(subject: &Subject<'_>, all: &Activity, coverage: &Coverage, now: i64) -> Judgement {
    let gap = longest_gap(subject.integrations, all, i64::MAX);
    let watch = Watch { coverage, window: window(gap), usual_hours: all.usual_hours(), now };
    let silent = now - subject.last_seen;
    let cadence = all.cadence();
    let mut reasons = vec![Reason::LastSeen(silent)];
    let is_there = silent < active_for(cadence);
    reasons.extend(cadence.map(if is_there { Reason::Comes } else { Reason::Came }));
    let verdict = if let Some(cut_at) = subject.cut_at {
        reasons.push(Reason::Cut(now - cut_at));
        let knocks = subject.last_seen > cut_at && silent < KNOCKS;
        reasons.extend(knocks.then_some(Reason::Knocks));
        Verdict::Cut
    } else if !subject.is_migrated {
        reasons.push(Reason::NotMigrated);
        Verdict::NotMigrated
    } else if is_there {
        while_there(subject, all, &watch, cadence, &mut reasons)
    } else {
        reasons.extend(returned(subject.integrations, all, &watch));
        reasons.push(Reason::Window { days: watch.window, gap });
        while_silent(silent, &watch, &mut reasons)
    };
    let is_over = matches!(verdict, Verdict::Ready | Verdict::NotMigrated | Verdict::Cut);
    let ready_at = (!is_over).then(|| watch.ready_at(subject.last_seen));
    Judgement { verdict, reasons, cadence, window_days: watch.window, ready_at }
}

fn while_silent(silent: i64, watch: &Watch<'_>, reasons: &mut Vec<Reason>) -> Verdict {
    if silent < watch.window * DAY {
        return Verdict::Quiet;
    }
    let Some(blocked) = watch.blocked(watch.now) else {
        reasons.push(watch.covered());
        return Verdict::Ready;
    };
    reasons.push(blocked);
    if let Reason::Coverage(_) = blocked {
        reasons.extend(watch.worst());
    }
    Verdict::Unknown
}

fn while_there(
    subject: &Subject<'_>,
    all: &Activity,
    watch: &Watch<'_>,
    cadence: Option<Cadence>,
    reasons: &mut Vec<Reason>,
) -> Verdict {
    if let Some(returned) = returned(subject.integrations, all, watch) {
        reasons.push(returned);
        return Verdict::Returned;
    }
    match faded(all, cadence, watch) {
        Some(faded) => {
            reasons.push(faded);
            Verdict::Fading
        }
        None => Verdict::Active,
    }
}

/// Days of silence that are needed, where the longest so far was of so many.
fn window(gap: i64) -> i64 {
    (gap * GAPS).clamp(LEAST_WINDOW, LONGEST_WINDOW)
}

/// Of each integration, and of all together: who changes the program comes no more often by that.
fn longest_gap(integrations: &[Activity], all: &Activity, until: i64) -> i64 {
    let of_all = all.longest_gap_days(until);
    integrations.iter().map(|one| one.longest_gap_days(until)).fold(of_all, i64::max)
}

/// Half a period late is not gone.
fn active_for(cadence: Option<Cadence>) -> i64 {
    let period = cadence.map_or(1, Cadence::period_days);
    (period * DAY * 3 / 2).max(LEAST_ACTIVE)
}

/// The last return after a silence in which it could have been cut, if that is no longer ago than such a silence lasts.
fn returned(integrations: &[Activity], all: &Activity, watch: &Watch<'_>) -> Option<Reason> {
    let today = watch.now.div_euclid(DAY);
    let came_back = |pair: &&[Day]| {
        let (gone, back) = (pair[0].day, pair[1].day);
        // Nearly all gaps are shorter than any window, and the next line looks at all of them.
        if back - gone < LEAST_WINDOW {
            return false;
        }
        let window = window(longest_gap(integrations, all, gone));
        let then = Watch { window, ..*watch };
        // Of the day of its return nothing more is known than that it came.
        back - gone >= window && then.blocked(back * DAY).is_none()
    };
    let last = all.days().windows(2).rev().find(came_back)?;
    let days_ago = today - last[1].day;
    (days_ago < LEAST_WINDOW).then(|| Reason::Returned { after: last[1].day - last[0].day, days_ago })
}

/// Much less in the last days than it usually was, where it comes often enough for that to be said and the books are
/// complete for these days.
fn faded(all: &Activity, cadence: Option<Cadence>, watch: &Watch<'_>) -> Option<Reason> {
    let (today, period) = (watch.now.div_euclid(DAY), cadence?.period_days());
    if period > 7 {
        return None;
    }
    let days = (period * 2).max(7);
    let block = |back: i64| all.requests(today - (back + 1) * days..today - back * days);
    let mut before: Vec<u64> = (1..USUAL_DAYS / days).map(block).collect();
    before.sort_unstable();
    // The middle one: one busy week is not what it usually was.
    let (last, usual) = (block(0), before[before.len() / 2]);
    let is_known = watch.coverage.share((today - days) * DAY, today * DAY) >= LEAST_COVERAGE;
    let is_less = last.saturating_mul(FADED) <= usual && usual > 0;
    (is_known && is_less).then_some(Reason::Less { last, usual, days })
}

/// What is known of the time in which nobody came.
#[derive(Clone, Copy)]
struct Watch<'a> {
    coverage: &'a Coverage,
    /// In days.
    window: i64,
    usual_hours: u32,
    now: i64,
}

impl Watch<'_> {
    /// Why a silence that ends at this moment says nothing. What is still to come will be in the books.
    fn blocked(&self, at: i64) -> Option<Reason> {
        let (from, to) = (at.saturating_sub(self.window * DAY), at.min(self.now));
        let long = (self.window * DAY) as f64;
        let missing = (1.0 - self.coverage.share(from, to)) * (to - from).max(0) as f64;
        if missing > (1.0 - LEAST_COVERAGE) * long {
            return Some(Reason::Coverage(1.0 - missing / long));
        }
        let hole = self.coverage.holes(from, to).find(|hole| self.is_at_usual_hours(*hole))?;
        Some(Reason::Hole { long: hole.1 - hole.0, ago: self.now - hole.1 })
    }

    fn covered(&self) -> Reason {
        Reason::Coverage(self.coverage.share(self.now - self.window * DAY, self.now))
    }

    /// The longest time that is missing.
    fn worst(&self) -> Option<Reason> {
        let holes = self.coverage.holes(self.now - self.window * DAY, self.now);
        let (start, end) = holes.max_by_key(|(start, end)| end - start)?;
        Some(Reason::Missing { long: end - start, ago: self.now - end })
    }

    /// Whether somebody could have come unseen: the books miss more than an hour, at a time of day at which they come.
    fn is_at_usual_hours(&self, (start, end): (i64, i64)) -> bool {
        let is_usual = |hour: i64| self.usual_hours & 1 << hour.rem_euclid(24) != 0;
        end - start > HOUR && (start.div_euclid(HOUR)..=(end - 1).div_euclid(HOUR)).any(is_usual)
    }

    /// The first moment from now on at which a silence since `last_seen` is long enough and the books complete for it. What is
    /// missing moves out of the window and nothing comes in, so who is not blocked at a moment is not later, either.
    fn ready_at(&self, last_seen: i64) -> i64 {
        let long = self.window * DAY;
        let mut early = last_seen.saturating_add(long).max(self.now);
        let mut late = early.saturating_add(long);
        if self.blocked(early).is_none() {
            return early;
        }
        while late - early > 1 {
            let middle = early + (late - early) / 2;
            if self.blocked(middle).is_none() { late = middle } else { early = middle }
        }
        late
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Days since the Unix epoch.
    const TODAY: i64 = 20_777;

    /// Complete since long ago.
    fn complete() -> Coverage {
        Coverage::new(vec![(0, (TODAY + 1) * DAY)], Vec::new())
    }

    /// Seen at nine on days that lie so many days back, so often each.
    fn seen(days_ago: impl IntoIterator<Item = i64>, requests: u64) -> Activity {
        let mut activity = Activity::default();
        days_ago.into_iter().for_each(|ago| activity.add((TODAY - ago) * 24 + 9, requests));
        activity
    }

    fn at_noon(integrations: &[Activity], coverage: &Coverage) -> Judgement {
        let last = integrations.iter().filter_map(|one| one.days().last()).map(|day| day.day).max().unwrap();
        let subject =
            Subject { integrations, last_seen: last * DAY + 9 * HOUR, cut_at: None, is_migrated: true };
        judge(&subject, coverage, TODAY * DAY + 12 * HOUR)
    }

    fn told(judgement: &Judgement) -> String {
        judgement.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn each_verdict_has_its_reasons() {
        let hole = |days_ago: i64, hours: std::ops::Range<i64>| {
            let from = (TODAY - days_ago) * DAY;
            Coverage::new(
                vec![(0, (TODAY + 1) * DAY)],
                vec![(from + hours.start * HOUR, from + hours.end * HOUR)],
            )
        };
        let monthly = || seen([172, 141, 111, 80], 5);
        for (activity, coverage, verdict, reasons) in [
            (seen(0..30, 5), complete(), Verdict::Active, "last seen 3 h ago; comes daily"),
            (
                Activity::of_all([&seen(0..7, 1), &seen(7..40, 100)]),
                complete(),
                Verdict::Fading,
                "last seen 3 h ago; comes daily; 106 requests in the last 7 days, usually 700",
            ),
            (
                seen([0, 1, 60, 61], 5),
                complete(),
                Verdict::Returned,
                "last seen 3 h ago; comes daily; came back 1 d ago after 59 d, when it could have been cut",
            ),
            (
                seen([30, 31, 32], 5),
                complete(),
                Verdict::Quiet,
                "last seen 30 d ago; came daily; ready after 36 d of silence, longer than any month",
            ),
            (
                seen([40, 41, 42], 5),
                complete(),
                Verdict::Ready,
                "last seen 40 d ago; came daily; ready after 36 d of silence, longer than any month; \
                 the books are complete for 100.00 % of that time",
            ),
            (
                monthly(),
                complete(),
                Verdict::Ready,
                "last seen 80 d ago; came monthly; ready after 62 d of silence, twice the longest until now (31 d); \
                 the books are complete for 100.00 % of that time",
            ),
            (
                seen([40, 41, 42], 5),
                hole(10, 3..5),
                Verdict::Unknown,
                "last seen 40 d ago; came daily; ready after 36 d of silence, longer than any month; \
                 the books are complete for 99.76 % of that time; at worst 2 h until 10 d ago are missing",
            ),
            // A minute more than an hour is little of two months, but it was when it comes.
            (
                monthly(),
                Coverage::new(
                    vec![(0, TODAY * DAY - 15 * HOUR), (TODAY * DAY - 14 * HOUR + 60, (TODAY + 1) * DAY)],
                    Vec::new(),
                ),
                Verdict::Unknown,
                "last seen 80 d ago; came monthly; ready after 62 d of silence, twice the longest until now (31 d); \
                 the books miss 61 min until 25 h ago, at a time of day at which it comes",
            ),
        ] {
            let judgement = at_noon(&[activity], &coverage);
            assert_eq!((judgement.verdict, told(&judgement).as_str()), (verdict, reasons));
        }
    }

    #[test]
    fn who_is_cut_is_cut_whoever_knocks() {
        let integrations = [seen(0..9, 5)];
        for (cut_at, expect) in [
            (
                TODAY * DAY,
                "last seen 3 h ago; comes daily; refused for good: its sunset was 12 h ago; still knocks",
            ),
            (
                TODAY * DAY + 10 * HOUR,
                "last seen 3 h ago; comes daily; refused for good: its sunset was 2 h ago",
            ),
        ] {
            let last_seen = TODAY * DAY + 9 * HOUR;
            let cut_at = Some(cut_at);
            let subject = Subject { integrations: &integrations, last_seen, cut_at, is_migrated: false };
            let judgement = judge(&subject, &complete(), TODAY * DAY + 12 * HOUR);
            assert_eq!((judgement.verdict, told(&judgement).as_str()), (Verdict::Cut, expect));
            assert_eq!(judgement.ready_at, None);
        }
    }

    #[test]
    fn who_lives_in_the_shared_environment_has_nothing_to_change_however_long_it_is_silent() {
        for (integrations, expect) in [
            (
                [seen(0..9, 5)],
                "last seen 3 h ago; comes daily; lives in the shared environment, with no other address",
            ),
            (
                [seen(70..80, 5)],
                "last seen 70 d ago; came daily; lives in the shared environment, with no other address",
            ),
        ] {
            let last_seen = integrations[0].days().last().unwrap().day * DAY + 9 * HOUR;
            let subject =
                Subject { integrations: &integrations, last_seen, cut_at: None, is_migrated: false };
            let judgement = judge(&subject, &complete(), TODAY * DAY + 12 * HOUR);
            assert_eq!((judgement.verdict, told(&judgement).as_str()), (Verdict::NotMigrated, expect));
            assert_eq!((judgement.ready_at, judgement.is_gone()), (None, expect.contains("70 d")));
        }
    }

    #[test]
    fn who_comes_each_minute_does_not_hide_who_comes_each_second_month() {
        let busy = seen(45..150, 1_000);
        assert_eq!(at_noon(std::slice::from_ref(&busy), &complete()).verdict, Verdict::Ready);
        let rare = seen([46, 107], 1);
        let judgement = at_noon(&[busy, rare], &complete());
        assert_eq!((judgement.verdict, judgement.window_days), (Verdict::Quiet, 100));
    }

    #[test]
    fn who_changes_the_program_comes_no_more_often_by_that() {
        let programs = [seen([174], 1), seen([129], 1), seen([84], 1), seen([39], 1)];
        let judgement = at_noon(&programs, &complete());
        assert_eq!((judgement.verdict, judgement.window_days), (Verdict::Quiet, 90));
    }

    #[test]
    fn who_could_not_be_counted_does_not_fade_and_a_busy_week_is_not_usual() {
        let unseen =
            Coverage::new(vec![(0, (TODAY - 7) * DAY), (TODAY * DAY, (TODAY + 1) * DAY)], Vec::new());
        let there = Activity::of_all([&seen([0], 9), &seen(8..60, 100)]);
        assert_eq!(at_noon(std::slice::from_ref(&there), &complete()).verdict, Verdict::Fading);
        assert_eq!(at_noon(&[there], &unseen).verdict, Verdict::Active);
        let busy_once = Activity::of_all([&seen(0..60, 100), &seen([30], 90_000)]);
        assert_eq!(at_noon(&[busy_once], &complete()).verdict, Verdict::Active);
    }

    #[test]
    fn it_is_told_when_it_can_be_ready() {
        let noon = TODAY * DAY + 12 * HOUR;
        let at = |judgement: &Judgement| judgement.ready_at.map(|at| (at - noon) / HOUR);
        // Since nine, 36 days.
        assert_eq!(at(&at_noon(&[seen(0..9, 5)], &complete())), Some(36 * 24 - 3));
        assert_eq!(at(&at_noon(&[seen([30, 31], 5)], &complete())), Some(6 * 24 - 3));
        assert_eq!(at(&at_noon(&[seen([40, 41], 5)], &complete())), None);
        // The books begin ten days ago.
        let young = Coverage::new(vec![((TODAY - 10) * DAY, (TODAY + 1) * DAY)], Vec::new());
        let judgement = at_noon(&[seen([40, 41], 5)], &young);
        assert_eq!((judgement.verdict, at(&judgement)), (Verdict::Unknown, Some(26 * 24 - 12 - 1)));
    }
}
