//! The burn-down as a drawing: accounts of the trailing seven days, what is foretold, what is needed, the sunset and the
//! brownouts. Once for screens and once for phones, whose letters would be too small in the other.

use std::fmt::Write as _;

use crate::policy::legacy_use::DAY;
use crate::policy::legacy_use::forecast::{Band, Forecast, Outlook};

use super::super::fleet::{BrownoutMode, Fleet};
use super::super::headline::{day_date, weekly};
use super::text::{Text, minute_text, number};

/// Days of the past: more than a year is a line without a slope.
const PAST_DAYS: i64 = 400;

/// Least and most days of the future: without any there is no forecast to see, with too many nothing else.
const FUTURE_DAYS: std::ops::RangeInclusive<i64> = 28..=196;

/// Days behind the sunset or the end, so that their lines do not stand in the frame.
const MARGIN_DAYS: i64 = 7;

/// Lines across.
const STEPS: f64 = 4.0;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How large the drawing is; its letters have the size of the page's where it is as wide as that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Wide,
    Narrow,
}

/// The drawing, or nothing where there are less than two days to draw.
pub(super) fn burn_down(fleet: &Fleet, size: Size) -> Option<String> {
    let past: Vec<(i64, u64)> = past(fleet);
    let (first, last) = (past.first()?.0, past.last()?.0);
    let outlook = match &fleet.forecast {
        Forecast::Known(outlook) if first < last => Some(outlook),
        _ if first < last => None,
        _ => return None,
    };
    let sunset = fleet.sunset_at.map(|sunset| sunset.div_euclid(DAY));
    let frame = Frame::new(size, (first, last), most(&past, outlook), future(last, sunset, outlook));
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg class=\"{}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">",
        if size == Size::Wide { "wide" } else { "narrow" },
        frame.width,
        frame.height,
        Text(&described(fleet, &past)),
    );
    svg.push_str(&frame.grid());
    if let Some(outlook) = outlook {
        svg.push_str(&frame.band(&outlook.weeks));
    }
    svg.push_str(&frame.past(&past));
    if let Some(outlook) = outlook {
        svg.push_str(&frame.forecast(outlook));
        if let Some(sunset) = sunset.filter(|_| outlook.required_weekly.is_some()) {
            let (from, to) = (frame.at(outlook.today, outlook.accounts as f64), frame.at(sunset, 0.0));
            let _ = write!(svg, "<path class=\"need\" d=\"M{from}L{to}\"/>");
        }
    }
    if let Some(sunset) = sunset {
        svg.push_str(&frame.sunset(sunset));
    }
    svg.push_str(&frame.brownouts(fleet));
    svg.push_str(&frame.today(*past.last()?));
    svg.push_str("</svg>");
    Some(svg)
}

/// Requests of each day as columns, without letters, so that it fits any width; nothing where there are none.
pub(super) fn requests(fleet: &Fleet) -> Option<String> {
    columns(&fleet.days.iter().map(|day| (day.day, day.requests)).collect::<Vec<_>>())
}

/// The same of any days, in order, with their requests.
pub(super) fn columns(days: &[(i64, u64)]) -> Option<String> {
    let last = days.last()?.0;
    let days: Vec<_> = days.iter().filter(|(day, _)| last - day <= PAST_DAYS).collect();
    let (first, most) = (days.first()?.0, days.iter().max_by_key(|(_, requests)| *requests)?);
    let mut path = String::new();
    for (day, requests) in days.iter().filter(|(_, requests)| *requests > 0) {
        let high = *requests as f64 / most.1 as f64 * COLUMN_HEIGHT;
        let _ = write!(path, "M{} {COLUMN_HEIGHT}v-{high:.1}h3V{COLUMN_HEIGHT}z", (day - first) * 4);
    }
    let width = (last - first + 1) * 4;
    let most = format!("most on {}: {}", day_date(most.0), number(most.1));
    (!path.is_empty()).then(|| {
        format!(
            "<figure><svg class=\"days\" viewBox=\"0 0 {width} {COLUMN_HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"Requests of each day; {most}\"><path class=\"col\" d=\"{path}\"/></svg><figcaption class=\"ends\">\
             <span>{}</span><span>{most}</span><span>{}</span></figcaption></figure>",
            day_date(first),
            day_date(last)
        )
    })
}

/// Height of the highest column, in units of the drawing.
const COLUMN_HEIGHT: f64 = 48.0;

/// For whoever does not see it.
fn described(fleet: &Fleet, past: &[(i64, u64)]) -> String {
    let weeks = weekly(&fleet.days);
    let (first, last) = (past[0], past[past.len() - 1]);
    format!(
        "Accounts seen in seven days: {} on {}, {} on {}, over {} weeks",
        first.1,
        day_date(first.0),
        last.1,
        day_date(last.0),
        weeks.len()
    )
}

fn past(fleet: &Fleet) -> Vec<(i64, u64)> {
    let known: Vec<_> = fleet.days.iter().filter_map(|day| Some((day.day, day.accounts_7d?))).collect();
    let last = known.last().map_or(0, |last| last.0);
    known.into_iter().filter(|(day, _)| last - day <= PAST_DAYS).collect()
}

/// The last day that is drawn.
fn future(last: i64, sunset: Option<i64>, outlook: Option<&Outlook>) -> i64 {
    let zero = outlook.and_then(|outlook| outlook.zero.latest.or(outlook.zero.expected));
    let wanted = sunset.max(zero).map_or(0, |day| day + MARGIN_DAYS - last);
    last + wanted.clamp(*FUTURE_DAYS.start(), *FUTURE_DAYS.end())
}

/// The highest that is drawn: a band may leave the drawing by a quarter, and no further.
fn most(past: &[(i64, u64)], outlook: Option<&Outlook>) -> f64 {
    let seen = past.iter().map(|(_, accounts)| *accounts).max().unwrap_or(0).max(1) as f64;
    let high = outlook.iter().flat_map(|outlook| &outlook.weeks).map(|band| band.high).fold(0.0, f64::max);
    seen.max(high.min(seen * 1.25))
}

/// Where things are.
struct Frame {
    width: f64,
    height: f64,
    /// Days at the edges.
    days: (i64, i64),
    /// Accounts between two lines across.
    step: f64,
    /// Lines across above the lowest.
    steps: f64,
    is_narrow: bool,
}

/// Room for numbers on the left, and for letters above and below, in units of the drawing.
const LEFT: f64 = 44.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 24.0;

/// Width of the name of a month.
const MONTH: f64 = 28.0;

impl Frame {
    fn new(size: Size, (first, _): (i64, i64), most: f64, end: i64) -> Self {
        let (width, height) = if size == Size::Wide { (1040.0, 320.0) } else { (360.0, 250.0) };
        let step = step(most / STEPS);
        let is_narrow = size == Size::Narrow;
        Self { width, height, days: (first, end), step, steps: (most / step).ceil(), is_narrow }
    }

    fn x(&self, day: i64) -> f64 {
        let (first, end) = self.days;
        LEFT + (day - first) as f64 / (end - first) as f64 * (self.width - LEFT - RIGHT)
    }

    fn y(&self, accounts: f64) -> f64 {
        let part = (accounts / (self.step * self.steps)).clamp(0.0, 1.0);
        self.floor() - part * (self.floor() - TOP)
    }

    fn floor(&self) -> f64 {
        self.height - BOTTOM
    }

    /// A point; tenths are finer than a screen's.
    fn at(&self, day: i64, accounts: f64) -> String {
        format!("{:.1} {:.1}", self.x(day), self.y(accounts))
    }

    fn line(&self, points: impl Iterator<Item = (i64, f64)>) -> String {
        let (first, end) = self.days;
        let inside = points.filter(|(day, _)| (first..=end).contains(day));
        inside.map(|(day, accounts)| self.at(day, accounts)).collect::<Vec<_>>().join("L")
    }

    fn grid(&self) -> String {
        let mut svg = String::new();
        for step in 0..=self.steps as usize {
            let accounts = step as f64 * self.step;
            let y = self.y(accounts);
            let class = if step == 0 { "axis" } else { "grid" };
            let _ = write!(
                svg,
                "<path class=\"{class}\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"num\" x=\"{}\" y=\"{:.1}\">{}</text>",
                self.width - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                number(accounts as u64)
            );
        }
        let mut months = months(self.days);
        // So many names fit beside each other.
        let fit = if self.is_narrow { 5 } else { 14 };
        let every = months.len().div_ceil(fit).max(1);
        months.retain(|(day, month, _)| month % every == 0 && self.x(*day) + MONTH < self.width);
        for (day, month, year) in months {
            let (x, y) = (self.x(day), self.floor());
            let name = MONTHS[month % 12];
            let year = if month % 12 < every { format!(" {year}") } else { String::new() };
            let _ = write!(
                svg,
                "<path class=\"axis\" d=\"M{x:.1} {y:.1}v4\"/><text x=\"{x:.1}\" y=\"{:.1}\">{name}{year}</text>",
                y + 17.0
            );
        }
        svg
    }

    /// In pieces where the books have nothing for longer than a week.
    fn past(&self, past: &[(i64, u64)]) -> String {
        let (mut area, mut seen, floor) = (String::new(), String::new(), self.floor());
        for piece in past.chunk_by(|before, after| after.0 - before.0 <= 7) {
            let line = self.line(piece.iter().map(|(day, accounts)| (*day, *accounts as f64)));
            let (from, to) = (self.x(piece[0].0), self.x(piece[piece.len() - 1].0));
            let _ = write!(area, "M{from:.1} {floor:.1}L{line}L{to:.1} {floor:.1}z");
            let _ = write!(seen, "M{line}");
        }
        format!("<path class=\"area\" d=\"{area}\"/><path class=\"seen\" d=\"{seen}\"/>")
    }

    fn band(&self, weeks: &[Band]) -> String {
        let high = self.line(weeks.iter().map(|band| (band.day, band.high)));
        let low = self.line(weeks.iter().rev().map(|band| (band.day, band.low)));
        format!("<path class=\"band\" d=\"M{high}L{low}z\"/>")
    }

    fn forecast(&self, outlook: &Outlook) -> String {
        let line = self.line(outlook.weeks.iter().map(|band| (band.day, band.expected)));
        format!("<path class=\"next\" d=\"M{line}\"/>")
    }

    fn sunset(&self, day: i64) -> String {
        if !(self.days.0..=self.days.1).contains(&day) {
            return String::new();
        }
        let x = self.x(day);
        let (anchor, dx) = if x > self.width / 2.0 { ("end", -6.0) } else { ("start", 6.0) };
        format!(
            "<path class=\"sunset\" d=\"M{x:.1} {:.1}V{:.1}\"/><text class=\"sun\" text-anchor=\"{anchor}\" x=\"{:.1}\" \
             y=\"12\">sunset {}</text>",
            4.0,
            self.floor(),
            x + dx,
            day_date(day)
        )
    }

    /// Filled where clients were refused, empty where it was only counted.
    fn brownouts(&self, fleet: &Fleet) -> String {
        let mut svg = String::new();
        for brownout in &fleet.brownouts {
            let day = brownout.started_at.div_euclid(DAY);
            if !(self.days.0..=self.days.1).contains(&day) {
                continue;
            }
            let class = if brownout.mode == BrownoutMode::Observe { "tick none" } else { "tick" };
            let _ = write!(
                svg,
                "<path class=\"{class}\" d=\"M{:.1} {:.1}l-5 9h10z\"><title>{}: {}, {} UTC</title></path>",
                self.x(day),
                self.floor() - 10.0,
                Text(&brownout.id),
                brownout.mode_told(),
                minute_text(brownout.started_at)
            );
        }
        svg
    }

    fn today(&self, (day, accounts): (i64, u64)) -> String {
        let (x, y) = (self.x(day), self.y(accounts as f64));
        format!(
            "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/><text class=\"now\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 7.0,
            y - 7.0,
            number(accounts)
        )
    }
}

/// The next round number: 1, 2 or 5 and zeros, at least 1.
fn step(least: f64) -> f64 {
    let ten = 10.0_f64.powf(least.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|part| part * ten).into_iter().find(|step| *step >= least).unwrap_or(10.0 * ten)
}

/// First days of months, with the month since the year 0 and the year.
fn months((first, end): (i64, i64)) -> Vec<(i64, usize, String)> {
    let mut months = Vec::new();
    for day in first..=end {
        let date = day_date(day);
        let Some((year, month)) = date.strip_suffix("-01").and_then(|month| month.split_once('-')) else {
            continue;
        };
        let (Ok(years), Ok(in_year)) = (year.parse::<usize>(), month.parse::<usize>()) else { continue };
        months.push((day, years * 12 + in_year - 1, year.to_owned()));
    }
    months
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::made_up::made_up;
    use super::*;

    #[test]
    fn lines_across_are_at_round_numbers() {
        for (least, expect) in [(0.2, 1.0), (1.1, 2.0), (3.0, 5.0), (53.0, 100.0), (20_001.0, 50_000.0)] {
            assert!((step(least) - expect).abs() < 1e-9, "{least}");
        }
    }

    #[test]
    fn everything_that_is_known_is_drawn_and_nothing_else() {
        let mut fleet = made_up(200);
        let parts =
            ["class=\"area\"", "class=\"next\"", "class=\"band\"", "class=\"need\"", "class=\"sunset\""];
        let drawing = burn_down(&fleet, Size::Wide).unwrap();
        for part in parts {
            assert!(drawing.contains(part), "{part}");
        }
        assert_eq!(drawing.matches("class=\"tick").count(), 3);
        assert!(!drawing.contains("NaN") && !drawing.contains("inf"), "{drawing}");
        fleet.forecast = Forecast::TooEarly(3);
        fleet.sunset_at = None;
        fleet.brownouts.clear();
        let drawing = burn_down(&fleet, Size::Narrow).unwrap();
        for part in &parts[1..] {
            assert!(!drawing.contains(part), "{part}");
        }
        fleet.days.truncate(8);
        assert_eq!(burn_down(&fleet, Size::Wide), None, "one day is no curve");
    }

    #[test]
    fn no_line_is_drawn_over_weeks_that_nobody_has_counted() {
        let mut fleet = made_up(200);
        let seen = |fleet: &Fleet| {
            let drawing = burn_down(fleet, Size::Wide).unwrap();
            let line = drawing.split_once("class=\"seen\" d=\"").unwrap().1;
            line.split_once('"').unwrap().0.matches('M').count()
        };
        assert_eq!(seen(&fleet), 1);
        for day in &mut fleet.days[60..80] {
            day.accounts_7d = None;
        }
        assert_eq!(seen(&fleet), 2);
    }

    #[test]
    fn each_day_is_a_column() {
        let mut fleet = made_up(200);
        let columns = requests(&fleet).unwrap();
        assert_eq!(columns.matches("h3V48z").count(), fleet.days.len());
        fleet.days.iter_mut().for_each(|day| day.requests = 0);
        assert_eq!(requests(&fleet), None);
    }

    #[test]
    fn a_sunset_that_is_past_or_far_away_does_not_tear_the_drawing() {
        let mut fleet = made_up(200);
        for sunset_at in [0, fleet.generated_at - 20 * DAY, fleet.generated_at + 4_000 * DAY] {
            fleet.sunset_at = Some(sunset_at);
            let drawing = burn_down(&fleet, Size::Wide).unwrap();
            assert!(drawing.len() < 20_000 && !drawing.contains("NaN"), "{sunset_at}");
        }
    }
}
