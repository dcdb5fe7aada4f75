//! `cellgate brownout plan`: when a brownout would reach whom, and what it would hit.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::books_source::BooksSource;
use super::brownout::moment;
use super::form::Form;
use super::{OK, now, print, print_line, span};
use crate::audit::week::{self, WEEKS};
use crate::config::time::show_moment;
use crate::policy::brownout::LONGEST_WINDOW_S;
use crate::policy::brownout_plan::{Activity, Candidate, Habit, Wanted, next_to, rank, unnoticed};

/// Windows that are shown: whoever is content with none of them asks for other days.
const SHOWN: usize = 10;

/// Days that are looked at where nothing else is said.
const DAYS: i64 = 7;

/// Say which window would reach most accounts and hit fewest writes, and who would not notice it.
///
/// By the books of the last four whole weeks: what an account did at an hour of the week, it is taken to do again. Writes of
/// an hour are estimated from those of its day. Changes nothing; a brownout is written in cellgate.yaml.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long it is to last, a day at most
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = length)]
    length: Duration,
    /// The first moment at which it may begin, such as 2026-11-24T00:00:00Z; now where nothing is said
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<i64>,
    /// When it must be over; seven days later where nothing is said
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<i64>,
    /// No window that would hit more writes than this
    #[arg(long, value_name = "NUMBER")]
    most_writes: Option<u64>,
    /// Where the books stand.
    #[command(flatten)]
    books: BooksSource,
    #[command(flatten)]
    form: Form,
}

/// A longer one could not be written: see [`LONGEST_WINDOW_S`].
fn length(text: &str) -> Result<Duration, String> {
    let length = span(text)?;
    if length > Duration::from_secs(LONGEST_WINDOW_S.unsigned_abs()) {
        return Err("a window lasts a day at most, so that a lever that cancels it outlasts it; plan several, or write \
                    `after_sunset` for what is to end for good"
            .to_owned());
    }
    Ok(length)
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let now = now();
    let from = args.from.unwrap_or(now);
    let until = args.to.unwrap_or(from + DAYS * 86_400);
    let length_s = i64::try_from(args.length.as_secs()).unwrap_or(i64::MAX);
    let wanted = Wanted { from, until, length_s, weeks: WEEKS, most_writes: args.most_writes };
    if until <= from || length_s > until - from || length_s == 0 {
        bail!("no window of that length fits between --from and --to")
    }
    let activities = week::read(args.books.source(), now)?;
    let found = Found::new(&activities, &wanted);
    match args.form.is_json() {
        true => print_line(&found.to_json().to_string())?,
        false => print(found.to_string().as_bytes())?,
    }
    Ok(OK.into())
}

/// Windows, the best first, and whom the first of them does not reach.
struct Found {
    /// Accounts that came in these weeks.
    accounts: usize,
    windows: Vec<Candidate>,
    /// Accounts that do not notice the first window, by when they come: in words, and as a name.
    missed: BTreeMap<(&'static str, &'static str), usize>,
    /// A window to add, and how many of those it reaches.
    second: Option<(Candidate, usize)>,
}

impl Found {
    fn new(activities: &[Activity], wanted: &Wanted) -> Self {
        // Where nobody came, no window is better than another.
        let windows = if activities.is_empty() { Vec::new() } else { rank(activities, wanted) };
        let missed = |windows: &[Candidate]| unnoticed(activities, windows);
        let mut found = Self { accounts: activities.len(), windows, missed: BTreeMap::new(), second: None };
        let Some(&best) = found.windows.first() else { return found };
        let of_best = missed(&[best]);
        for one in &of_best {
            *found.missed.entry(habit(one.habit)).or_default() += 1;
        }
        if !of_best.is_empty() {
            let second = next_to(activities, &[best], wanted);
            found.second = second.map(|second| (second, of_best.len() - missed(&[best, second]).len()));
        }
        found
    }

    /// For programs, with every window.
    fn to_json(&self) -> Value {
        let window = |of: &Candidate| {
            json!({
                "start": show_moment(of.start), "end": show_moment(of.end), "accounts": of.reached,
                "requests": of.requests, "writes": of.writes,
            })
        };
        let missed =
            |((_, habit), accounts): (&(&str, &str), &usize)| json!({ "habit": habit, "accounts": accounts });
        let second = self.second.as_ref().map(|(of, more)| {
            let mut second = window(of);
            second["more_accounts"] = json!(more);
            second
        });
        json!({
            "accounts": self.accounts, "weeks": WEEKS, "windows": self.windows.iter().map(window).collect::<Vec<_>>(),
            "missed_by_first": self.missed.iter().map(missed).collect::<Vec<_>>(), "second": second,
        })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accounts, windows, missed, second } = self;
        if *accounts == 0 {
            return writeln!(f, "Nobody came in the last {WEEKS} whole weeks, as far as the books know.");
        }
        if windows.is_empty() {
            return f.write_str(
                "Each window would hit more writes than that; look at more days, or allow more.\n",
            );
        }
        writeln!(f, "Of {accounts} accounts of the last {WEEKS} weeks, a window reaches (UTC):\n")?;
        let heads = ["FROM", "TO", "ACCOUNTS", "REQUESTS", "WRITES"];
        let [from, to, reached, requests, writes] = heads;
        writeln!(f, "{from:<20}   {to:<20}   {reached:>8}   {requests:>8}   {writes:>6}")?;
        for Candidate { start, end, reached, requests, writes } in windows.iter().take(SHOWN) {
            let (start, end) = (show_moment(*start), show_moment(*end));
            writeln!(f, "{start:<20}   {end:<20}   {reached:>8}   {requests:>8}   {writes:>6}")?;
        }
        if missed.is_empty() {
            return f.write_str("\nThe first one reaches everybody.\n");
        }
        let habits: Vec<String> = missed.iter().map(|((words, _), many)| format!("{many} {words}")).collect();
        let all: usize = missed.values().sum();
        writeln!(f, "\nThe first one is not noticed by {all}: {}.", habits.join(", "))?;
        if let Some((second, more)) = second {
            writeln!(f, "A second one from {} reaches {more} of them.", show_moment(second.start))?;
        }
        Ok(())
    }
}

/// In words, and as a name for programs.
const fn habit(of: Habit) -> (&'static str, &'static str) {
    match of {
        Habit::Nights => ("come at night only", "nights"),
        Habit::Weekends => ("come on weekends only", "weekends"),
        Habit::Rarely { .. } => ("come in one or two hours of the week", "rarely"),
        Habit::Otherwise { .. } => ("come at other times", "otherwise"),
        Habit::Never => ("have not come lately", "never"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::policy::brownout_plan::{HOURS, hour_of_week};
    use crate::policy::ids::AccountId;

    fn text(activities: &[Activity], wanted: &Wanted) -> String {
        Found::new(activities, wanted).to_string()
    }

    #[test]
    fn a_window_of_more_than_a_day_is_refused_and_told_why() {
        assert_eq!(length("24h"), Ok(Duration::from_secs(86_400)));
        assert!(length("25h").unwrap_err().starts_with("a window lasts a day at most"));
        assert!(length("0s").is_err());
    }

    #[test]
    fn a_plan_says_who_is_reached_and_who_needs_a_second_window() {
        let from = 1_795_392_000;
        let at = |id: u64, hours: &[usize]| {
            let mut requests = [0; HOURS];
            hours.iter().for_each(|hour| requests[(hour_of_week(from) + hour) % HOURS] = 8);
            Activity { account: AccountId::from_value(id).unwrap(), requests, writes: requests }
        };
        let wanted = Wanted { from, until: from + 86_400, length_s: 3_600, weeks: 4, most_writes: None };
        let activities = [at(1, &[9, 10, 11]), at(2, &[10, 15, 16]), at(3, &[2])];
        let told = text(&activities, &wanted);
        assert!(told.starts_with("Of 3 accounts of the last 4 weeks, a window reaches (UTC):"), "{told}");
        let first = format!(
            "{}   {}          2          4        4",
            show_moment(from + 36_000),
            show_moment(from + 39_600)
        );
        assert_eq!(told.lines().nth(3), Some(first.as_str()), "{told}");
        assert!(told.contains("is not noticed by 1: 1 come in one or two hours of the week."), "{told}");
        assert!(
            told.contains(&format!("A second one from {} reaches 1 of them.", show_moment(from + 7_200))),
            "{told}"
        );
        let told = Found::new(&activities, &wanted).to_json();
        assert_eq!((&told["accounts"], told["windows"].as_array().unwrap().len()), (&json!(3), 24));
        assert_eq!((&told["windows"][0]["accounts"], &told["windows"][0]["writes"]), (&json!(2), &json!(4)));
        assert_eq!(told["missed_by_first"], json!([{ "habit": "rarely", "accounts": 1 }]));
        let second = show_moment(from + 7_200);
        assert_eq!((&told["second"]["start"], &told["second"]["more_accounts"]), (&json!(second), &json!(1)));
        assert_eq!(Found::new(&[], &wanted).to_json()["windows"], json!([]));
        assert!(text(&activities[..1], &wanted).contains("reaches everybody"));
        assert!(text(&[], &wanted).starts_with("Nobody came"));
        let none = Wanted { most_writes: Some(0), ..wanted };
        let only_busy: Vec<_> = [at(1, &(0..24).collect::<Vec<_>>())].into();
        assert!(text(&only_busy, &none).starts_with("Each window"));
    }
}
