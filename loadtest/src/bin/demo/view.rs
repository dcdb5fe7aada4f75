//! The live view: from numbers to lines of text. What a terminal makes of them is `screen`'s matter.

use std::time::Duration;

use crate::place::CELLS;
use crate::tally::{Counts, Outage, Phase, RECENT, SHARED, Tally};

/// How a piece of text is shown where that can be seen; nothing is said by it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// To be read first.
    Strong,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// To be read last.
    Quiet,
}

/// One line, in pieces.
pub type Row = Vec<(Tone, String)>;

/// What is shown.
#[derive(Debug)]
pub struct Shown<'a> {
    /// The numbers.
    pub tally: &'a Tally,
    /// Since the start of the traffic.
    pub now: Duration,
    /// What a key has just done.
    pub note: &'a str,
}

/// The whole view, at most `columns` wide and `rows` high.
pub fn view(shown: &Shown<'_>, columns: usize, rows: usize) -> Vec<Row> {
    let mut view = heading();
    view.extend(CELLS.iter().enumerate().map(|(cell, (name, _))| row(shown, cell, name)));
    view.push(Vec::new());
    view.extend(legacy(shown));
    view.push(Vec::new());
    view.extend(story(shown));
    view.push(Vec::new());
    if !shown.note.is_empty() {
        view.extend(shown.note.lines().map(|line| plain(&format!("  {line}"))));
        view.push(Vec::new());
    }
    // The keys must be seen on every terminal.
    let keys = keys(is_dead(shown));
    view.truncate(rows.saturating_sub(keys.len()));
    view.extend(keys);
    view.into_iter().map(|row| cut(row, columns)).collect()
}

fn heading() -> Vec<Row> {
    let columns = format!(
        "{:<9}{:>12}{:>12}{:>10}{:>12}{:>12}",
        "CELL", "REQUESTS/S", "FAILED NOW", "SLOWEST", "REQUESTS", "FAILED"
    );
    vec![
        vec![(Tone::Strong, "cellgate: requests of real clients on their way to four cells".to_owned())],
        plain("Every account lives in one cell; most of its programs call the old address."),
        Vec::new(),
        vec![(Tone::Quiet, columns)],
    ]
}

fn row(shown: &Shown<'_>, cell: usize, name: &str) -> Row {
    let (requests, failed, slowest) = shown.tally.recent(cell, shown.now);
    let window = RECENT.min(shown.now).as_secs_f64().max(1.0);
    let rate = requests as f64 / window;
    let counts = shown.tally.counts(cell);
    let (failed_now, ms) = (share(failed, requests), slowest.as_millis());
    let tone = if failed > 0 { Tone::Bad } else { Tone::Plain };
    let mut row = vec![
        (tone, format!("{name:<9}")),
        (Tone::Plain, format!("{rate:>12.1}")),
        (tone, format!("{failed_now:>12}")),
        (Tone::Plain, format!("{:>10}{:>12}", format!("{ms} ms"), counts.requests)),
        (Tone::Plain, format!("{:>12}", counts.failed)),
    ];
    if cell == SHARED && is_dead(shown) {
        row.push((Tone::Bad, "  DEAD".to_owned()));
    }
    row
}

fn legacy(shown: &Shown<'_>) -> Vec<Row> {
    let (all, legacy) = shown.tally.legacy();
    vec![plain(&format!(
        "Legacy share: {} of {all} requests (the old address is cloud.getdbt.com).",
        share(legacy, all)
    ))]
}

/// What happens, for somebody who has never heard of cells.
fn story(shown: &Shown<'_>) -> Vec<Row> {
    let Some(outage) = shown.tally.outage() else {
        return vec![
            plain("\"shared\" is the environment that all accounts came from. On 9 April 2026"),
            plain("one like it was down for 69 minutes. Accounts that had long left it went down"),
            plain("too, because the old address led through it. Press k to kill it here."),
        ];
    };
    let (own, others) = outage.effect(shown.tally);
    let good = if others.failed == 0 { Tone::Good } else { Tone::Bad };
    let counted = |counts: &Counts| format!("{:>6} requests, {:>6} failed", counts.requests, counts.failed);
    let mut story = vec![how_it_stands(shown, outage)];
    if outage.phase(shown.now) == Phase::Back {
        // These numbers stand still from now on.
        story.push(plain("While it was out:"));
    }
    story.extend([
        plain(&format!("  its own accounts: {}, {}", counted(&own), told(outage))),
        vec![(good, format!("  everybody else:   {}", counted(&others)))],
        plain(&format!(
            "  {} of everybody else's came over the old address: it leads through no cell.",
            others.legacy
        )),
    ]);
    story.extend(others_now(shown));
    story
}

/// What no dead cell explains.
fn others_now(shown: &Shown<'_>) -> Option<Row> {
    let of = |cell| shown.tally.recent(cell, shown.now);
    let (requests, failed) =
        (0..SHARED).map(of).fold((0, 0), |(all, bad), (requests, failed, _)| (all + requests, bad + failed));
    let text =
        || format!("Now {} of everybody else's fail too: look at the logs (s).", share(failed, requests));
    (failed > 0).then(|| vec![(Tone::Bad, text())])
}

fn how_it_stands(shown: &Shown<'_>, outage: &Outage) -> Row {
    let seconds = outage.lasted(shown.now).as_secs();
    match outage.phase(shown.now) {
        Phase::Dead => {
            vec![(Tone::Bad, format!("The shared cell is DEAD, for {seconds} s (its process was killed)."))]
        }
        Phase::Restarted(since) => vec![(
            Tone::Strong,
            format!(
                "Its process runs again, for {} s. cellgate tries it with a few requests first.",
                since.as_secs()
            ),
        )],
        Phase::Back => vec![back(shown, seconds)],
    }
}

/// It has answered; what it does now is another question.
fn back(shown: &Shown<'_>, seconds: u64) -> (Tone, String) {
    let (requests, failed, _) = shown.tally.recent(SHARED, shown.now);
    let part = share(failed, requests);
    if failed == 0 {
        (Tone::Good, format!("The shared cell answers again. It was out for {seconds} s."))
    } else if failed == requests {
        (Tone::Bad, format!("It answered after {seconds} s, and now none of its {requests} last requests."))
    } else if failed == shown.tally.recently_told_to_wait(SHARED, shown.now) {
        let text = format!(
            "It answers after {seconds} s, and is asked a little more each second: {part} must wait."
        );
        (Tone::Strong, text)
    } else {
        (Tone::Bad, format!("It answers after {seconds} s, and {part} of its requests fail now."))
    }
}

/// What the clients of a dead cell hear.
fn told(outage: &Outage) -> String {
    match outage.retry_after() {
        Some(secs) if secs.start() == secs.end() => format!("Retry-After {} s", secs.start()),
        Some(secs) => format!("Retry-After {} to {} s", secs.start(), secs.end()),
        None => "told at once".to_owned(),
    }
}

fn is_dead(shown: &Shown<'_>) -> bool {
    shown.tally.outage().is_some_and(|outage| outage.phase(shown.now) == Phase::Dead)
}

fn keys(is_shared_dead: bool) -> Vec<Row> {
    let kill = if is_shared_dead { "start the shared cell again" } else { "kill the shared cell" };
    let key = |key: &str, says: &str| [(Tone::Strong, key.to_owned()), (Tone::Plain, format!(" {says}   "))];
    vec![
        [key("k", kill), key("r", "report"), key("d", "try to delete a cell")].concat(),
        [key("s", "pages"), key("l", "lines to paste"), key("q", "quit")].concat(),
    ]
}

/// A share in whole per cent; never 0 % of what is there, and never 100 % where something is missing.
fn share(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    let percent = (part * 100 / whole).clamp(1, 100);
    format!("{percent} %")
}

fn plain(text: &str) -> Row {
    vec![(Tone::Plain, text.to_owned())]
}

fn cut(row: Row, columns: usize) -> Row {
    let mut left = columns;
    row.into_iter()
        .map(|(tone, text)| {
            let text: String = text.chars().take(left).collect();
            left -= text.chars().count();
            (tone, text)
        })
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Ended;

    fn text(shown: &Shown<'_>, columns: usize, rows: usize) -> String {
        let line = |row: Row| row.into_iter().map(|(_, text)| text).collect::<String>().trim_end().to_owned();
        view(shown, columns, rows).into_iter().map(|row| line(row) + "\n").collect()
    }

    /// Ten seconds of ten requests a second, the shared cell dead from the fifth on, and back at the end.
    fn tally(back: bool) -> Tally {
        let mut tally = Tally::default();
        for n in 0..100_u64 {
            if n == 50 {
                tally.shared_died(Duration::from_secs(5));
            }
            let cell = (n % 4) as usize; // Below four.
            let failed = cell == SHARED && n >= 50;
            let (at, took) = (Duration::from_millis(n * 100), Duration::from_millis(n % 7));
            let retry_after = failed.then_some(1 + n % 3);
            tally.add(Ended { at, took, cell, legacy: n % 5 > 0, failed, retry_after });
        }
        if back {
            let (at, took) = (Duration::from_secs(10), Duration::from_millis(3));
            tally.add(Ended { at, took, cell: SHARED, legacy: true, failed: false, retry_after: None });
        }
        tally
    }

    #[test]
    fn before_the_death_it_says_what_to_press_and_why() {
        let tally = Tally::default();
        let shown = Shown { tally: &tally, now: Duration::ZERO, note: "" };
        assert_eq!(text(&shown, 80, 24), include_str!("golden/before.txt"));
        assert_eq!(text(&shown, 80, 24), text(&shown, 200, 24), "nothing is cut off");
    }

    #[test]
    fn while_it_is_dead_its_accounts_fail_and_the_others_do_not() {
        let tally = tally(false);
        let shown = Shown { tally: &tally, now: Duration::from_secs(10), note: "" };
        assert_eq!(text(&shown, 80, 24), include_str!("golden/dead.txt"));
        assert_eq!(text(&shown, 80, 24), text(&shown, 200, 24), "nothing is cut off");
    }

    #[test]
    fn afterwards_it_says_what_the_outage_did() {
        let tally = tally(true);
        let shown = Shown { tally: &tally, now: Duration::from_secs(12), note: "A note.\nOf two lines." };
        assert_eq!(text(&shown, 80, 24), include_str!("golden/back.txt"));
        assert_eq!(text(&shown, 80, 24), text(&shown, 200, 24), "nothing is cut off");
    }

    #[test]
    fn a_restarted_cell_is_said_to_be_tried_before_it_is_asked() {
        let mut tally = tally(false);
        tally.shared_restarted(Duration::from_secs(8));
        let shown = Shown { tally: &tally, now: Duration::from_secs(10), note: "" };
        let text = text(&shown, 80, 24);
        assert!(
            text.contains("runs again, for 2 s. cellgate tries it with a few requests first.\n"),
            "{text}"
        );
        assert!(text.contains("k kill the shared cell") && !text.contains("DEAD"), "{text}");
    }

    #[test]
    fn what_is_broken_afterwards_is_not_called_recovery() {
        let mut tally = tally(true);
        for n in 0..40_u64 {
            let (at, took) = (Duration::from_millis(15_000 + n * 100), Duration::from_millis(3));
            // A proxy without a cell says 502, and does not say when to come again.
            let cell = (n % 4) as usize; // Below four.
            tally.add(Ended { at, took, cell, legacy: true, failed: true, retry_after: None });
        }
        let shown = Shown { tally: &tally, now: Duration::from_secs(19), note: "" };
        let text = text(&shown, 80, 24);
        assert!(text.contains("It answered after 5 s, and now none of its 10 last requests."), "{text}");
        assert!(text.contains("Now 100 % of everybody else's fail too"), "{text}");
        assert!(text.contains("While it was out:\n") && !text.contains("must wait"), "{text}");
    }

    #[test]
    fn no_terminal_is_too_small_for_the_keys() {
        let tally = tally(false);
        let shown = Shown { tally: &tally, now: Duration::from_secs(10), note: "A note." };
        for (columns, rows) in [(80, 24), (120, 40), (40, 10), (20, 3), (5, 2), (1, 1), (0, 0)] {
            let text = text(&shown, columns, rows);
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{columns}x{rows}:\n{text}");
            assert!(text.lines().count() <= rows.max(2), "{columns}x{rows}:\n{text}");
            if columns >= 40 {
                assert!(text.contains("k start the shared cell again") && text.contains("q quit"), "{text}");
            }
        }
    }
}
