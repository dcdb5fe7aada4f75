//! Windows as they are written, in local time or with an offset, once or each week: made into seconds here, so that requests
//! compare numbers. A local time that a day does not have, or has twice, is a problem and not a guess.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use super::super::raw::{self, Field};
use super::super::slot::{At, Slot};
use super::super::time::{parse_moment, parse_moment_with_offset, show_moment};
use crate::policy::brownout::{LONGEST_WINDOW_S, Overlap, Window, Windows};
use crate::policy::code::Code;

/// Most windows of one brownout, repetitions counted: each day of half a year.
const MAX_WINDOWS: usize = 200;

/// A second is for rehearsals.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(LONGEST_WINDOW_S.unsigned_abs());

const DAY_S: i64 = 86_400;

const WITH_OFFSET: &str =
    "a moment such as 2026-11-24T14:00:00Z or 2026-11-24T09:00:00-05:00; or name a zone";
const LOCAL: &str = "local time such as 2026-11-24T09:00, for there is a zone";

/// Reads the windows of one brownout. `None` only together with a report.
pub(super) fn read(slot: Slot<'_, Vec<Field<raw::BrownoutWindow>>>) -> Option<Windows> {
    let at = slot.at.clone();
    let slots = slot.some_items(MAX_WINDOWS);
    let count = slots.len();
    let read: Vec<Vec<Window>> = slots.into_iter().filter_map(window).collect();
    let (whole, all) = (read.len() == count, read.concat());
    if all.len() > MAX_WINDOWS {
        at.refuse(
            Code::TooManyWindows,
            format!("{} windows with their repetitions", all.len()),
            format!("at most {MAX_WINDOWS}"),
        );
        return None;
    }
    match Windows::new(all) {
        Ok(windows) => Some(windows).filter(|_| whole),
        Err(Overlap(first, second)) => {
            let (from, until) = (show_moment(second.start), show_moment(first.end));
            at.refuse(
                Code::WindowsOverlap,
                format!("one window begins at {from} and another ends at {until}"),
                "windows apart",
            );
            None
        }
    }
}

fn window(slot: Slot<'_, raw::BrownoutWindow>) -> Option<Vec<Window>> {
    let at = slot.at.clone();
    let mut raw = at.open(slot.required()?);
    let zone = raw.zone(&at);
    let (is_zoned, zone) =
        (zone.is_there(), zone.parse(Code::TimeZone, "a time zone such as America/New_York or UTC", zone_of));
    let zone = zone.optional();
    let lasts = raw.lasts(&at).duration(SHORTEST..=LONGEST).required();
    let every = raw.every(&at).word(&[("day", DAY_S), ("week", 7 * DAY_S)]).optional();
    let expected = if is_zoned { LOCAL } else { WITH_OFFSET };
    let clock = |text: String| on_the_clock(&text, is_zoned);
    let start = raw.start(&at).parse(Code::Moment, expected, clock).required();
    let until = raw.until(&at).parse(Code::Moment, expected, clock).optional();
    if is_zoned && zone.is_none() {
        return None;
    }
    let step = match (every, until) {
        (None, None) => None,
        (Some(step), Some(until)) => Some((step, until)),
        (Some(_), None) => {
            at.key("until").refuse(
                Code::RepeatWithoutEnd,
                "missing",
                "a moment after which it is not repeated",
            );
            return None;
        }
        (None, Some(_)) => {
            at.key("until").refuse(Code::EndWithoutRepeat, "nothing is repeated", "no until, or every: week");
            return None;
        }
    };
    let lasts = i64::try_from(lasts?.as_secs()).ok()?;
    let starts = starts(&at, start?, step)?;
    starts
        .into_iter()
        .map(|start| in_zone(&at, start, zone.as_ref()))
        .map(|start| start.map(|start| Window { start, end: start + lasts }))
        .collect()
}

/// All beginnings, on the clock.
fn starts(at: &At<'_>, start: i64, step: Option<(i64, i64)>) -> Option<Vec<i64>> {
    let Some((step, until)) = step else { return Some(vec![start]) };
    if until < start {
        at.key("until").refuse(Code::RepeatEndsBefore, "it is before start", "start or later");
        return None;
    }
    let count = usize::try_from((until - start) / step + 1).unwrap_or(usize::MAX);
    if count > MAX_WINDOWS {
        at.key("until").refuse(
            Code::TooManyWindows,
            format!("that makes {count} windows"),
            format!("at most {MAX_WINDOWS}"),
        );
        return None;
    }
    Some((0..).map(|times| start + times * step).take(count).collect())
}

/// What a clock shows, as seconds: in UTC where there is no zone, else as if the clock were one of UTC.
fn on_the_clock(text: &str, is_zoned: bool) -> Option<i64> {
    match (is_zoned, text.len()) {
        (false, _) => parse_moment_with_offset(text),
        (true, 16) => parse_moment(&format!("{text}:00Z")),
        (true, 19) => parse_moment(&format!("{text}Z")),
        (true, _) => None,
    }
}

fn zone_of(name: String) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(&name).ok()
}

/// The moment at which clocks of a zone show this.
fn in_zone(at: &At<'_>, clock: i64, zone: Option<&TimeZone>) -> Option<i64> {
    let Some(zone) = zone else { return Some(clock) };
    let shown = Timestamp::from_second(clock).ok()?.to_zoned(TimeZone::UTC).datetime();
    let moment = zone.to_ambiguous_timestamp(shown);
    let wrong = match moment.offset() {
        AmbiguousOffset::Unambiguous { .. } => return Some(moment.unambiguous().ok()?.as_second()),
        AmbiguousOffset::Gap { .. } => "is on no clock there, for they go forward",
        AmbiguousOffset::Fold { .. } => "is on the clocks twice there, for they go back",
    };
    let shown = show_moment(clock);
    let what = format!("{} {wrong}", shown.trim_end_matches('Z'));
    at.key("start").refuse(Code::HourNotOnTheClock, what, "another hour, or a moment with an offset");
    None
}
