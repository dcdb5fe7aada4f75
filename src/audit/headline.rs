//! How a legacy host stands, in a few sentences and as the lines above the table: what the page, the Markdown and the
//! terminal begin with. Plain text; what is printed into something else is made harmless there.

use std::fmt::Write as _;

use crate::policy::legacy_use::DAY;
use crate::policy::legacy_use::forecast::{Forecast, HORIZON_WEEKS, LEAST_WEEKS, Outlook};
use crate::policy::legacy_use::verdict::Verdict;

use super::fleet::{Fleet, FleetDay, State, VERDICTS};
use super::render::{percent, rfc3339};

/// Weeks in the curve of the terminal: a quarter.
const SHOWN_WEEKS: usize = 13;

/// Accounts by name in one line of the terminal.
const NAMED: usize = 5;

/// The levels of a curve that is made of letters.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The first words that are said of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headline {
    /// In one word.
    pub state: State,
    /// Who is left.
    pub who: String,
    /// Until when, and how fast.
    pub when: String,
    /// Why "nobody" cannot be believed, where that is so.
    pub doubt: Option<String>,
}

/// What is to be said first.
pub fn headline(fleet: &Fleet) -> Headline {
    Headline { state: fleet.state(), who: who(fleet), when: when(fleet), doubt: doubt(fleet) }
}

impl State {
    /// For a badge.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zero => "Zero",
            Self::OnPace => "On pace",
            Self::OffPace => "Too slow",
            Self::PastSunset => "Past the sunset",
            Self::TooEarly => "Too early to say",
            Self::NoSunset => "No sunset",
        }
    }

    /// Beside the word, for whoever sees no colour.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Zero => "✓",
            Self::OnPace => "●",
            Self::OffPace | Self::PastSunset => "▲",
            Self::TooEarly | Self::NoSunset => "○",
        }
    }
}

/// Lines above a table in the terminal.
pub fn lines(fleet: &Fleet) -> String {
    let mut text = format!("LEGACY HOST {}", hosts(fleet));
    if let Some(since) = fleet.deprecated_since {
        let _ = write!(text, "   deprecated {}", date(since));
    }
    if let Some(sunset) = fleet.sunset_at {
        let _ = write!(text, "   SUNSET {} ({})", date(sunset), from_now(sunset, fleet.generated_at));
    }
    let _ = writeln!(text, "   coverage {} ({} d)", exact_percent(fleet.coverage.share), fleet.coverage.days);
    let mut counts: Vec<String> = VERDICTS.iter().map(|verdict| count(fleet, *verdict)).collect();
    counts.push(format!("UNATTRIBUTED {}", percent(fleet.unattributed, fleet.requests)));
    counts.push(format!("NEW this week {}", fleet.new_accounts.len()));
    let _ = writeln!(text, "{}", counts.join("   "));
    let weeks = weekly(&fleet.days);
    let curve = sparkline(&weeks[weeks.len().saturating_sub(SHOWN_WEEKS)..]);
    let _ = writeln!(text, "accounts/7d  {curve}   {}", outlook(fleet));
    if !fleet.returned.is_empty() {
        let _ = writeln!(text, "! Came back after READY: {}", named(&fleet.returned));
    }
    text
}

/// A curve of letters, one for each number. What is there is never shown as nothing.
pub fn sparkline(numbers: &[u64]) -> String {
    let most = numbers.iter().copied().max().unwrap_or(0);
    let level = |number: &u64| match u128::from(*number) {
        0 => LEVELS[0],
        number => LEVELS[(number * 7).div_ceil(u128::from(most)) as usize],
    };
    numbers.iter().map(level).collect()
}

/// A moment's date: `2026-11-01`, in UTC.
pub(super) fn date(seconds: i64) -> String {
    let mut text = rfc3339(seconds);
    text.truncate("2026-11-01".len());
    text
}

/// A day's date.
pub(super) fn day_date(day: i64) -> String {
    date(day.saturating_mul(DAY))
}

/// How long ago, or how far off, in days.
pub(super) fn from_now(then: i64, now: i64) -> String {
    match then.div_euclid(DAY) - now.div_euclid(DAY) {
        0 => "today".to_owned(),
        days @ ..0 => format!("{} ago", days_long(-days)),
        days => format!("in {}", days_long(days)),
    }
}

/// Rounded down: what is not all is never told as all.
pub(super) fn exact_percent(share: f64) -> String {
    format!("{:.2} %", (share * 10_000.0).floor() / 100.0)
}

/// Accounts a week, as finely as is worth it.
pub(super) fn pace(weekly: f64) -> String {
    let text = if weekly.abs() < 9.95 { format!("{weekly:.1}") } else { format!("{weekly:.0}") };
    if text == "-0.0" { "0.0".to_owned() } else { text }
}

/// `1 account`, `2 accounts`.
pub(super) fn accounts(many: u64) -> String {
    format!("{many} {}", if many == 1 { "account" } else { "accounts" })
}

/// The hosts, as one reads them.
pub(super) fn hosts(fleet: &Fleet) -> String {
    match fleet.hosts.as_slice() {
        [] => "the legacy hosts".to_owned(),
        [one] => one.clone(),
        // The others are variants of it, such as one for each product.
        [first, others @ ..] => format!("{first} and {} more", others.len()),
    }
}

fn who(fleet: &Fleet) -> String {
    let (hosts, coming, waiting) = (hosts(fleet), fleet.coming(), fleet.waiting());
    if fleet.state() == State::Zero {
        return format!("Nobody is left on {hosts}: {} can be cut, or are.", accounts(fleet.known()));
    }
    let come = if coming == 1 { "comes" } else { "come" };
    let shared = match fleet.not_migrated() {
        0 => String::new(),
        shared => format!(
            " {} not migrated yet.",
            if shared == 1 { "1 is".to_owned() } else { format!("{shared} are") }
        ),
    };
    let who = match waiting {
        0 => format!("{} still {come} to {hosts}.", accounts(coming)),
        waiting => {
            format!("{} still {come} to {hosts}, and {waiting} more cannot be cut yet.", accounts(coming))
        }
    };
    who + &shared
}

fn when(fleet: &Fleet) -> String {
    let mut sentences = Vec::new();
    let now = fleet.generated_at;
    if let Some(sunset) = fleet.sunset_at {
        let verb = if sunset <= now { "was" } else { "is" };
        sentences.push(format!("The sunset {verb} on {} ({}).", date(sunset), from_now(sunset, now)));
    }
    match (&fleet.forecast, fleet.state()) {
        (_, State::Zero) => {}
        (Forecast::TooEarly(weeks), _) => sentences.push(format!(
            "It is too early to say when nobody will be left: that takes {LEAST_WEEKS} weeks of books, and there are \
             {weeks}."
        )),
        (Forecast::Known(outlook), _) => {
            sentences.push(paces(outlook));
            sentences.push(zero(outlook, fleet.sunset_at));
        }
    }
    sentences.join(" ")
}

fn paces(outlook: &Outlook) -> String {
    let now = match outlook.pace_weekly {
        weekly if weekly <= -0.05 => format!("Their number falls by {} a week", pace(-weekly)),
        weekly if weekly >= 0.05 => format!("Their number grows by {} a week", pace(weekly)),
        _ => "Their number stays the same".to_owned(),
    };
    match outlook.required_weekly {
        Some(required) => format!("{now}, and must fall by {} a week.", pace(-required)),
        None => format!("{now}."),
    }
}

fn zero(outlook: &Outlook, sunset_at: Option<i64>) -> String {
    let Some(day) = outlook.zero.expected else {
        return format!("At this pace it takes more than {} years, or never ends.", HORIZON_WEEKS / 52);
    };
    let late = match sunset_at.map(|sunset| day - sunset.div_euclid(DAY)) {
        Some(days @ 1..) => format!(", {} after the sunset", days_long(days)),
        _ => String::new(),
    };
    format!("At this pace nobody is left about {}{late} ({}).", day_date(day), band(outlook))
}

/// Between which days four of five futures have nobody left.
fn band(outlook: &Outlook) -> String {
    let day = |day: Option<i64>| day.map_or_else(|| "never".to_owned(), day_date);
    format!("80 %: {} to {}", day(outlook.zero.earliest), day(outlook.zero.latest))
}

fn doubt(fleet: &Fleet) -> Option<String> {
    let share = exact_percent(fleet.coverage.share);
    (!fleet.is_complete()).then(|| {
        format!(
            "The books are complete for {share} of {} days only: who is not in them may have come all the same.",
            fleet.coverage.days
        )
    })
}

fn count(fleet: &Fleet, verdict: Verdict) -> String {
    let count = fleet.verdicts.get(&verdict).copied().unwrap_or_default();
    let text = format!("{} {}", verdict.as_str(), count.now);
    match count.week_ago {
        Some(before) if before > count.now => format!("{text} ▼{}", before - count.now),
        Some(before) if before < count.now => format!("{text} ▲{}", count.now - before),
        _ => text,
    }
}

/// Accounts of trailing weeks, one number a week, the last of today.
pub(super) fn weekly(days: &[FleetDay]) -> Vec<u64> {
    let known: Vec<u64> = days.iter().filter_map(|day| day.accounts_7d).collect();
    let mut weeks: Vec<u64> = known.iter().rev().step_by(7).copied().collect();
    weeks.reverse();
    weeks
}

fn outlook(fleet: &Fleet) -> String {
    let outlook = match &fleet.forecast {
        Forecast::TooEarly(weeks) => return format!("too early to say: {weeks} weeks of {LEAST_WEEKS}"),
        Forecast::Known(outlook) => outlook,
    };
    let mut text = format!("pace {}/wk", pace(outlook.pace_weekly));
    if let Some(required) = outlook.required_weekly {
        let _ = write!(text, ", need {}/wk", pace(required));
    }
    match outlook.zero.expected {
        Some(day) => {
            let _ = write!(text, " -> zero about {} ({})", day_date(day), band(outlook));
        }
        None => text.push_str(" -> never at this pace"),
    }
    text
}

fn named(ids: &[u64]) -> String {
    let mut names: Vec<String> = ids.iter().take(NAMED).map(ToString::to_string).collect();
    if ids.len() > NAMED {
        names.push(format!("{} more", ids.len() - NAMED));
    }
    names.join(", ")
}

fn days_long(days: i64) -> String {
    format!("{days} {}", if days == 1 { "day" } else { "days" })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::fleet::Count;
    use super::super::made_up::{NOW, made_up};
    use super::*;
    use crate::policy::legacy_use::forecast::{Point, forecast};

    /// Ten weeks of twenty accounts less, and a sunset in five.
    fn falling() -> Fleet {
        let mut fleet = made_up(0);
        let today = NOW.div_euclid(DAY);
        let points: Vec<Point> = (0..=63)
            .map(|day| Point { day: today - 63 + day, accounts: (400 - day / 7 * 20) as u64 })
            .collect();
        fleet.days = points
            .iter()
            .map(|point| FleetDay { day: point.day, accounts_7d: Some(point.accounts), requests: 0 })
            .collect();
        fleet.sunset_at = Some((today + 35) * DAY);
        fleet.forecast = forecast(&points, Some(today + 35), 1);
        let count = |now, week_ago| Count { now, week_ago: Some(week_ago) };
        fleet.verdicts = BTreeMap::from([
            (Verdict::Active, count(212, 243)),
            (Verdict::Fading, count(8, 8)),
            (Verdict::Quiet, count(390, 371)),
            (Verdict::Ready, Count { now: 6_104, week_ago: None }),
        ]);
        (fleet.requests, fleet.unattributed) = (268_304, 1_031);
        fleet.returned = (1..=7).collect();
        fleet
    }

    #[test]
    fn the_terminal_begins_with_what_matters() {
        assert_eq!(
            lines(&falling()),
            "\
LEGACY HOST cloud.getdbt.com   deprecated 2026-02-01   SUNSET 2026-12-25 (in 35 days)   coverage 99.98 % (196 d)
ACTIVE 212 ▼31   RETURNED 0   FADING 8   UNKNOWN 0   QUIET 390 ▲19   NOT-MIGRATED 0   READY 6104   CUT 0   UNATTRIBUTED <1%   NEW this week 0
accounts/7d  ███▇▇▇▆▆▆▅   pace -20/wk, need -44/wk -> zero about 2027-02-05 (80 %: 2027-02-05 to 2027-02-05)
! Came back after READY: 1, 2, 3, 4, 5, 2 more
"
        );
    }

    #[test]
    fn the_first_sentences_say_who_and_when() {
        let check = |change: &dyn Fn(&mut Fleet), who: &str, when: &str| {
            let mut fleet = falling();
            change(&mut fleet);
            let said = headline(&fleet);
            assert_eq!((&*said.who, &*said.when), (who, when));
        };
        let many = "220 accounts still come to cloud.getdbt.com, and 390 more cannot be cut yet.";
        check(
            &|_| {},
            many,
            "The sunset is on 2026-12-25 (in 35 days). Their number falls by 20 a week, and must fall by 44 \
             a week. At this pace nobody is left about 2027-02-05, 42 days after the sunset (80 %: 2027-02-05 to 2027-02-05).",
        );
        check(
            &|fleet| (fleet.forecast, fleet.sunset_at) = (Forecast::TooEarly(5), Some(NOW - DAY)),
            many,
            "The sunset was on 2026-11-19 (1 day ago). It is too early to say when nobody will be left: that takes 8 weeks \
             of books, and there are 5.",
        );
        check(
            &|fleet| {
                let point = |day| Point { day, accounts: 300 };
                fleet.forecast = forecast(&(20_000..20_090).map(point).collect::<Vec<_>>(), None, 1);
                fleet.sunset_at = None;
                fleet.verdicts = BTreeMap::from([(Verdict::Active, Count { now: 1, week_ago: None })]);
                fleet.hosts.clear();
            },
            "1 account still comes to the legacy hosts.",
            "Their number stays the same. At this pace it takes more than 3 years, or never ends.",
        );
        check(
            &|fleet| {
                fleet.verdicts.retain(|verdict, _| *verdict == Verdict::Ready);
                fleet.unattributed = 0;
            },
            "Nobody is left on cloud.getdbt.com: 6104 accounts can be cut, or are.",
            "The sunset is on 2026-12-25 (in 35 days).",
        );
    }

    #[test]
    fn books_with_holes_cannot_say_nobody() {
        let mut fleet = falling();
        assert_eq!(headline(&fleet).doubt, None);
        fleet.coverage.share = 0.998_99;
        let doubt = headline(&fleet).doubt.unwrap_or_default();
        assert!(doubt.contains("99.89 % of 196 days only"), "{doubt}");
    }

    #[test]
    fn a_curve_shows_what_is_there() {
        for (numbers, expect) in [
            (&[][..], ""),
            (&[0, 0], "▁▁"),
            (&[0, 1, 500, 1_000], "▁▂▅█"),
            (&[u64::MAX, 1, u64::MAX / 2], "█▂▅"),
        ] {
            assert_eq!(sparkline(numbers), expect);
        }
    }
}
