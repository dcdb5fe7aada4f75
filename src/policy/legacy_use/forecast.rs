//! When the last account will be gone, if the next weeks are like the last ones. It follows a trend and knows of no plans:
//! a brownout that is announced for next week is not in it.
//!
//! The middle is a Theil-Sen line, which one odd week does not move, on the numbers or on their logarithms, whichever
//! foretells the weeks it was not shown better. The band is of made-up futures that are put together from the differences
//! between the last weeks.

use crate::policy::columns::hash_number;

/// Accounts that were seen in the seven days that end with this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Days since the Unix epoch.
    pub day: i64,
    /// Each counted once. The books must be there for all seven days.
    pub accounts: u64,
}

/// What can be said of the time to come.
#[derive(Clone, Debug, PartialEq)]
pub enum Forecast {
    /// Nothing: there are only so many weeks to go by, of [`LEAST_WEEKS`].
    TooEarly(usize),
    /// This.
    Known(Outlook),
}

/// What is to be expected if the next weeks are like the last ones. Accounts and weeks are not whole numbers here.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// The day of the last point, from which it is counted.
    pub today: i64,
    /// Accounts on that day.
    pub accounts: u64,
    /// What the trend is a line on.
    pub scale: Scale,
    /// Accounts more each week at present; negative where they get fewer.
    pub pace_weekly: f64,
    /// The same, needed from now on so that nobody is left at the sunset; nothing where that is past or not known.
    pub required_weekly: Option<f64>,
    /// At the sunset, where that is still to come and within [`HORIZON_WEEKS`].
    pub at_sunset: Option<Band>,
    /// When nobody is left.
    pub zero: ZeroDay,
    /// Each week from today to [`HORIZON_WEEKS`] later, or to that in which nobody is left for sure.
    pub weeks: Vec<Band>,
}

/// On what the trend is a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// So many fewer each week.
    Linear,
    /// Such a part fewer each week.
    Logarithmic,
}

/// Accounts on one day; four of five made-up futures lie between `low` and `high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// Days since the Unix epoch.
    pub day: i64,
    /// By the trend.
    pub expected: f64,
    /// One future in ten has fewer.
    pub low: f64,
    /// One in ten has more.
    pub high: f64,
}

/// The day from which on nobody comes, in days since the Unix epoch; nothing where that is not within
/// [`HORIZON_WEEKS`]: never, at this pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZeroDay {
    /// By the trend.
    pub expected: Option<i64>,
    /// One future in ten is there before.
    pub earliest: Option<i64>,
    /// One in ten is not there yet.
    pub latest: Option<i64>,
}

/// Weeks of data below which nothing is said: the trend takes six, and the band the differences of two more.
pub const LEAST_WEEKS: usize = 8;

/// Three years: nobody believes a trend of six weeks any further.
pub const HORIZON_WEEKS: usize = 156;

/// Weekly points of the trend. Older ones are from before what is being done now.
const FITTED: usize = 6;

/// Made-up futures. With so many a second seed moves the edges of the band by a tenth of its width at most.
const FUTURES: usize = 600;

/// Fewer than half an account is nobody. Logarithms need such an end.
const NOBODY: f64 = 0.5;

const WEEK: i64 = 7;

/// Foretells from one point a day or a week, in order. `sunset_day` is in days since the Unix epoch; `seed` is any number, and
/// the same one gives the same answer.
pub fn forecast(points: &[Point], sunset_day: Option<i64>, seed: u64) -> Forecast {
    let weekly = weekly(points);
    let (Some(last), true) = (points.last(), weekly.len() >= LEAST_WEEKS) else {
        return Forecast::TooEarly(weekly.len());
    };
    let recent = &weekly[weekly.len() - LEAST_WEEKS..];
    let (scale, line) = trend(&recent[LEAST_WEEKS - FITTED..]);
    let futures = Futures::new(scale, line, recent, seed);
    let band = |weeks: f64, day: i64| Band {
        day,
        expected: scale.accounts(line.at(weeks)),
        low: futures.part(weeks, 0.1),
        high: futures.part(weeks, 0.9),
    };
    let to_come = sunset_day.filter(|sunset| *sunset > last.day);
    let until_sunset = to_come.map(|sunset| (sunset - last.day) as f64 / WEEK as f64);
    let is_near = |weeks: &f64| *weeks <= HORIZON_WEEKS as f64;
    let mut weeks = Vec::new();
    for week in 0..=HORIZON_WEEKS {
        weeks.push(band(week as f64, last.day + week as i64 * WEEK));
        if weeks.last().is_some_and(|band| band.expected <= 0.0 && band.high <= 0.0) {
            break;
        }
    }
    Forecast::Known(Outlook {
        today: last.day,
        accounts: last.accounts,
        scale,
        pace_weekly: scale.pace(line),
        required_weekly: until_sunset.map(|weeks| -(last.accounts as f64) / weeks),
        at_sunset: until_sunset.filter(is_near).zip(to_come).map(|(weeks, day)| band(weeks, day)),
        zero: futures.zero(last.day, scale.zero_at(line)),
        weeks,
    })
}

/// The last point of each week, counted back from the last one; weeks before it and its accounts.
fn weekly(points: &[Point]) -> Vec<(f64, f64)> {
    let Some(last) = points.last() else { return Vec::new() };
    let mut weekly: Vec<(i64, f64, f64)> = Vec::new();
    for point in points {
        let ago = last.day - point.day;
        let (week, at) = (ago.div_euclid(WEEK), (-ago as f64 / WEEK as f64, point.accounts as f64));
        match weekly.last_mut().filter(|(known, ..)| *known == week) {
            Some(known) => *known = (week, at.0, at.1),
            None => weekly.push((week, at.0, at.1)),
        }
    }
    weekly.into_iter().map(|(_, weeks, accounts)| (weeks, accounts)).collect()
}

/// The scale that foretells each point better from the others, and the line on it.
fn trend(points: &[(f64, f64)]) -> (Scale, Line) {
    let [linear, logarithmic] = [Scale::Linear, Scale::Logarithmic].map(|scale| {
        let on_scale: Vec<_> = points.iter().map(|(x, y)| (*x, scale.value(*y))).collect();
        let left_out = |out: usize| {
            let mut others = on_scale.clone();
            others.remove(out);
            (scale.accounts(Line::through(&others).at(points[out].0)) - points[out].1).abs()
        };
        let error: f64 = (0..points.len()).map(left_out).sum();
        (error, scale, Line::through(&on_scale))
    });
    let better = if logarithmic.0 < linear.0 { logarithmic } else { linear };
    (better.1, better.2)
}

impl Scale {
    fn value(self, accounts: f64) -> f64 {
        match self {
            Self::Linear => accounts,
            Self::Logarithmic => accounts.max(NOBODY).ln(),
        }
    }

    fn accounts(self, value: f64) -> f64 {
        let accounts = match self {
            Self::Linear => value,
            Self::Logarithmic => value.exp(),
        };
        if accounts <= NOBODY { 0.0 } else { accounts }
    }

    /// Accounts more in the week that begins now.
    fn pace(self, line: Line) -> f64 {
        match self {
            Self::Linear => line.slope,
            Self::Logarithmic => line.level.exp() * line.slope.exp_m1(),
        }
    }

    /// In how many weeks nobody is left.
    fn zero_at(self, line: Line) -> Option<f64> {
        let above = line.level - self.value(NOBODY);
        match () {
            () if above <= 0.0 => Some(0.0),
            () if line.slope < 0.0 => Some(-above / line.slope),
            () => None,
        }
    }
}

/// A straight line; its level is that of now, its slope that of a week.
#[derive(Clone, Copy)]
struct Line {
    level: f64,
    slope: f64,
}

impl Line {
    /// Theil-Sen: the middle one of all slopes between two points, and of all levels with it.
    fn through(points: &[(f64, f64)]) -> Self {
        let pairs = points
            .iter()
            .enumerate()
            .flat_map(|(at, from)| points[at + 1..].iter().map(move |to| (to.1 - from.1) / (to.0 - from.0)));
        let slope = median(pairs.collect());
        Self { level: median(points.iter().map(|(x, y)| y - slope * x).collect()), slope }
    }

    fn at(self, weeks: f64) -> f64 {
        self.level + self.slope * weeks
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[middle] } else { f64::midpoint(numbers[middle - 1], numbers[middle]) }
}

/// Made-up futures: accounts by week, each.
struct Futures(Vec<Vec<f64>>);

impl Futures {
    /// Each future draws with replacement from the differences, and takes its steps from what it drew: so the pace itself
    /// is as doubtful as a handful of weeks makes it, and each week goes its own way besides.
    fn new(scale: Scale, line: Line, recent: &[(f64, f64)], seed: u64) -> Self {
        let differences = differences(scale, line, recent);
        let mut random = Random(seed);
        let future = |_| {
            let drawn: Vec<f64> = differences.iter().map(|_| random.one_of(&differences)).collect();
            let (mut value, mut accounts) = (line.level, vec![scale.accounts(line.level)]);
            for _ in 0..HORIZON_WEEKS {
                value += random.one_of(&drawn);
                let is_over = accounts.last().is_some_and(|last| *last <= 0.0);
                // Who has left does not come back by chance.
                accounts.push(if is_over { 0.0 } else { scale.accounts(value) });
            }
            accounts
        };
        Self((0..FUTURES).map(future).collect())
    }

    /// So many accounts at that time are not exceeded in this part (of 1) of all futures.
    fn part(&self, weeks: f64, part: f64) -> f64 {
        let at = |future: &Vec<f64>| {
            let (week, beyond) = (weeks as usize, weeks.fract());
            let next = future.get(week + 1).copied().unwrap_or(future[week]);
            future[week] + (next - future[week]) * beyond
        };
        let mut accounts: Vec<f64> = self.0.iter().map(at).collect();
        accounts.sort_unstable_by(f64::total_cmp);
        accounts[rank(part)]
    }

    fn zero(&self, today: i64, expected_weeks: Option<f64>) -> ZeroDay {
        let never = HORIZON_WEEKS + 1;
        let zero = |future: &Vec<f64>| future.iter().position(|accounts| *accounts <= 0.0).unwrap_or(never);
        let mut zeros: Vec<usize> = self.0.iter().map(zero).collect();
        zeros.sort_unstable();
        let day = |week: usize| (week < never).then(|| today + week as i64 * WEEK);
        let expected = expected_weeks.filter(|weeks| *weeks <= HORIZON_WEEKS as f64);
        ZeroDay {
            expected: expected.map(|weeks| today + (weeks * WEEK as f64).ceil() as i64),
            earliest: day(zeros[rank(0.1)]),
            latest: day(zeros[rank(0.9)]),
        }
    }
}

/// What each week differed from the one before, moved so that the trend is their mean, and widened as one does for the
/// deviation of a few.
fn differences(scale: Scale, line: Line, recent: &[(f64, f64)]) -> Vec<f64> {
    let step =
        |pair: &[(f64, f64)]| (scale.value(pair[1].1) - scale.value(pair[0].1)) / (pair[1].0 - pair[0].0);
    let steps: Vec<f64> = recent.windows(2).map(step).collect();
    let many = steps.len() as f64;
    let mean = steps.iter().sum::<f64>() / many;
    let wider = (many / (many - 1.0)).sqrt();
    steps.into_iter().map(|step| line.slope + (step - mean) * wider).collect()
}

fn rank(part: f64) -> usize {
    (part * (FUTURES - 1) as f64).round() as usize
}

/// splitmix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn one_of(&mut self, numbers: &[f64]) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        numbers[(hash_number(self.0) % numbers.len() as u64) as usize]
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    const TODAY: i64 = 20_777;

    /// One point a week, the last one today.
    fn weeks(accounts: impl IntoIterator<Item = f64>) -> Vec<Point> {
        let accounts: Vec<u64> = accounts.into_iter().map(|accounts| accounts.round() as u64).collect();
        let first = TODAY - (accounts.len() as i64 - 1) * WEEK;
        let point = |(week, accounts)| Point { day: first + week as i64 * WEEK, accounts };
        accounts.into_iter().enumerate().map(point).collect()
    }

    fn known(points: &[Point], sunset: Option<i64>) -> Outlook {
        match forecast(points, sunset, 7) {
            Forecast::Known(outlook) => outlook,
            early => panic!("{early:?}"),
        }
    }

    #[test]
    fn a_straight_line_goes_on() {
        let line = weeks((0..10).map(|week| 400.0 - 20.0 * f64::from(week)));
        let outlook = known(&line, Some(TODAY + 5 * WEEK));
        assert_eq!((outlook.scale, outlook.accounts), (Scale::Linear, 220));
        assert!((outlook.pace_weekly + 20.0).abs() < 1e-9, "{outlook:?}");
        assert!((outlook.required_weekly.unwrap_or_default() + 44.0).abs() < 1e-9);
        let day = Some(TODAY + 11 * WEEK);
        assert_eq!(outlook.zero, ZeroDay { expected: day, earliest: day, latest: day });
        let at_sunset = outlook.at_sunset.map(|band| [band.low, band.expected, band.high].map(f64::round));
        assert_eq!(at_sunset, Some([120.0; 3]));
        assert_eq!(outlook.weeks.len(), 12);
    }

    #[test]
    fn a_part_of_those_who_are_left_goes_each_week() {
        let decay = weeks((0..12).map(|week| 8_000.0 * 0.8_f64.powi(week)));
        let outlook = known(&decay, Some(TODAY - 19));
        assert_eq!((outlook.scale, outlook.accounts), (Scale::Logarithmic, 687));
        assert!((outlook.pace_weekly + 137.4).abs() < 0.5, "{}", outlook.pace_weekly);
        // 687 x 0.8^n is half an account after 32 to 33 weeks.
        let in_weeks = outlook.zero.expected.map(|day| (day - TODAY) / WEEK);
        assert_eq!(in_weeks, Some(32));
        assert_eq!((outlook.required_weekly, outlook.at_sunset), (None, None), "the sunset is past");
    }

    #[test]
    fn what_does_not_fall_is_never_zero() {
        for (name, curve) in [
            ("flat", weeks([300.0; 9])),
            ("growing", weeks((0..9).map(|week| 300.0 + 15.0 * f64::from(week)))),
        ] {
            let outlook = known(&curve, Some(TODAY + 70));
            assert_eq!(outlook.zero, ZeroDay { expected: None, earliest: None, latest: None }, "{name}");
            assert!(outlook.pace_weekly >= 0.0 && outlook.weeks.len() == HORIZON_WEEKS + 1, "{name}");
            assert!(outlook.at_sunset.is_some_and(|band| band.low >= 300.0), "{name}");
        }
        let gone = known(&weeks([90.0, 60.0, 30.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]), None);
        assert_eq!((gone.accounts, gone.zero.expected), (0, Some(TODAY)));
    }

    #[test]
    fn one_odd_week_moves_nothing() {
        let mut curve = weeks((0..10).map(|week| 400.0 - 20.0 * f64::from(week)));
        curve[7].accounts = 900;
        let outlook = known(&curve, None);
        assert!((outlook.pace_weekly + 20.0).abs() < 6.0, "{}", outlook.pace_weekly);
        let zero = outlook.zero;
        assert!(zero.earliest < zero.expected, "{zero:?}");
        assert!(zero.latest.is_none_or(|latest| Some(latest) > zero.expected), "{zero:?}");
    }

    #[test]
    fn eight_weeks_are_needed_and_days_are_as_good_as_weeks() {
        let curve = weeks((0..7).map(|week| 400.0 - f64::from(week)));
        assert_eq!(forecast(&curve, None, 1), Forecast::TooEarly(7));
        assert_eq!(forecast(&[], None, 1), Forecast::TooEarly(0));
        let daily: Vec<Point> = (0..=70)
            .map(|day| Point { day: TODAY - 70 + day, accounts: u64::try_from(700 - day * 3).unwrap_or(0) })
            .collect();
        let every_seventh: Vec<Point> = daily.iter().step_by(7).copied().collect();
        assert_eq!(known(&daily, Some(TODAY + 90)), known(&every_seventh, Some(TODAY + 90)));
        // Of a week without points nothing is made up.
        let with_hole: Vec<Point> =
            daily.iter().filter(|point| !(TODAY - 30..TODAY - 20).contains(&point.day)).copied().collect();
        assert!((known(&with_hole, None).pace_weekly + 21.0).abs() < 1e-9);
        assert_eq!(forecast(&with_hole[20..], None, 1), Forecast::TooEarly(7));
    }

    #[test]
    fn the_same_seed_says_the_same() {
        let curve = weeks([500.0, 470.0, 466.0, 420.0, 404.0, 391.0, 350.0, 344.0, 300.0]);
        let ask = |seed| forecast(&curve, Some(TODAY + 40), seed);
        assert_eq!(ask(3), ask(3));
        assert_ne!(ask(3), ask(4));
    }

    /// Half of the noise is of each week by itself, as holidays are, and half stays, as customers who have left do.
    #[test]
    fn the_band_has_the_truth_in_it_four_times_of_five() {
        const AHEAD: usize = 8;
        let (mut inside, seeds) = (0, 120);
        for seed in 0..seeds {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut noise = |width: f64| (0..12).map(|_| random.f64() - 0.5).sum::<f64>() * width;
            let mut level = 1_500.0;
            let all: Vec<f64> = (0..14 + AHEAD)
                .map(|_| {
                    level += noise(12.0) - 25.0;
                    level + noise(12.0)
                })
                .collect();
            let points = weeks(all[..14].iter().copied());
            let truth = all[13 + AHEAD];
            let outlook = match forecast(&points, Some(TODAY + AHEAD as i64 * WEEK), seed) {
                Forecast::Known(outlook) => outlook,
                early => panic!("{early:?}"),
            };
            inside +=
                usize::from(outlook.at_sunset.is_some_and(|band| band.low <= truth && truth <= band.high));
        }
        let share = inside as f64 / seeds as f64;
        assert!((0.65..0.95).contains(&share), "the band holds in {share} of {seeds} cases");
    }
}
