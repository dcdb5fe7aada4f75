//! A report for people, at most 80 columns wide: what an operator reads at night, in this order: whether it holds and
//! why not, what happened, who lost how much.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use super::books::{Counts, Second};
use super::finding::total;
use super::report::{CellReport, Line, Report, lost_share};
use super::scenario::{BREAKS_AT, SETTLED_AFTER, Scenario};
use crate::policy::protection::priority::Priority;
use crate::policy::protection::shed::Shed;

/// Columns of a terminal that nobody has made wider.
const COLUMNS: usize = 80;

/// Lines of a timeline; JSON has all.
const LINES: usize = 24;

/// Seconds that one figure of a curve stands for.
const STEP: usize = 10;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasts = (self.scenario.mended_at().saturating_sub(BREAKS_AT)).as_secs();
        let what = &self.what;
        let what = match &self.scenario {
            Scenario::CellLoss { .. } => {
                format!("all endpoints of cell {what} refuse for {lasts} s, and come back cold")
            }
            Scenario::ZoneLoss { .. } => {
                format!("all endpoints of zone {what} are silent for {lasts} s, in all cells (N-1)")
            }
            Scenario::Recovery { .. } => format!(
                "all endpoints of cell {what} refuse for {lasts} s, and come back cold, while ten times the demand waits"
            ),
        };
        wrapped(f, "", &format!("== {}: {what}", self.scenario.as_str()))?;
        for cell in self.cells.iter().filter(|cell| cell.is_hit || !cell.finding.holds) {
            finding(f, cell)?;
        }
        if let Some(cell) = self.worst() {
            let of_many = self.cells.iter().filter(|cell| cell.is_hit).count() > 1;
            writeln!(f)?;
            if of_many {
                wrapped(
                    f,
                    "",
                    &format!("Cell {} in detail (of others: --cell NAME, or -o json).", cell.cell),
                )?;
            }
            self.detail(f, cell)?;
        }
        self.neighbours(f)
    }
}

impl Report {
    fn detail(&self, f: &mut fmt::Formatter<'_>, cell: &CellReport) -> fmt::Result {
        wrapped(f, "", "Decided, in seconds since the fault and in the words of the log (of one replica):")?;
        timeline(f, &cell.timeline)?;
        writeln!(f)?;
        let name = &cell.cell;
        wrapped(
            f,
            "",
            &format!(
                "Requests to {name}, of {:.0} rps, from the fault to the end; who was refused came again:",
                cell.demand
            ),
        )?;
        table(f, &cell.all)?;
        writeln!(f)?;
        reasons(f, &cell.all)?;
        self.summary(f, cell)?;
        curve(f, cell)
    }

    fn summary(&self, f: &mut fmt::Formatter<'_>, cell: &CellReport) -> fmt::Result {
        if matches!(self.scenario, Scenario::ZoneLoss { .. }) {
            let share = |of: &Second| format!("{:.1} %", 100.0 * lost_share(of, None));
            let (moving, settled) = (share(&cell.moving), share(&cell.settled));
            wrapped(
                f,
                "  ",
                &format!(
                    "Of new requests {moving} were not served in the first {} s, and {settled} after that until the zone \
                     was back.",
                    SETTLED_AFTER.as_secs()
                ),
            )?;
        }
        for group in cell.groups.iter().filter(|group| !group.is_lost) {
            let role = if group.stands_by { "standby group" } else { "group" };
            wrapped(
                f,
                "  ",
                &format!(
                    "Most that {role} {} got in a second: {:.0} requests, {:.0} of them moved to it; it declares {:.0}.",
                    group.zone, group.most_rps, group.moved_rps, group.capacity_rps
                ),
            )?;
        }
        let after = match cell.well_after {
            _ if matches!(self.scenario, Scenario::ZoneLoss { .. }) => return Ok(()),
            Some(after) => format!("All that was asked was served {after:.0} s after the end of the fault."),
            None => "At the end not all that was asked was served.".to_owned(),
        };
        wrapped(f, "  ", &after)
    }

    fn neighbours(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others: Vec<&CellReport> = self.cells.iter().filter(|cell| !cell.is_hit).collect();
        if others.is_empty() {
            return Ok(());
        }
        let asked: u64 = others.iter().map(|cell| total(&cell.all).asked).sum();
        let extra: u64 = others.iter().map(|cell| cell.extra_lost()).sum();
        let names: Vec<&str> = others.iter().map(|cell| cell.cell.as_str()).collect();
        writeln!(f)?;
        let said = format!(
            "Cells that lost nothing ({}) were asked {asked} requests; {extra} more than usual were not served.",
            names.join(", ")
        );
        wrapped(f, "", &said)
    }
}

fn finding(f: &mut fmt::Formatter<'_>, cell: &CellReport) -> fmt::Result {
    let verb = if cell.finding.holds { "holds" } else { "does NOT hold" };
    let like = match &cell.like[..] {
        [] => String::new(),
        [one] => format!(" (and {one}, which is like it)"),
        many => {
            let names: Vec<&str> = many.iter().map(|name| name.as_str()).collect();
            format!(" (and {} that are like it: {})", many.len(), names.join(", "))
        }
    };
    wrapped(f, "  ", &format!("{verb} for cell {}{like}: {}", cell.cell, cell.finding.why))?;
    match &cell.finding.advice {
        Some(advice) => wrapped(f, "    -> ", advice),
        None => Ok(()),
    }
}

fn timeline(f: &mut fmt::Formatter<'_>, lines: &[Line]) -> fmt::Result {
    let news: Vec<&Line> = lines.iter().filter(|line| line.is_news).collect();
    if news.is_empty() {
        writeln!(f, "  nothing")?;
    }
    for Line { at, what, .. } in news.iter().take(LINES) {
        let begin = format!("{at:>7.1}  ");
        wrapped(f, &begin, what)?;
    }
    let more = news.len().saturating_sub(LINES);
    if more > 0 {
        writeln!(f, "         and {more} more (-o json has all, and all probes)")?;
    }
    Ok(())
}

fn table(f: &mut fmt::Formatter<'_>, second: &Second) -> fmt::Result {
    writeln!(f, "  {:<12}{:>9}{:>9}{:>9}{:>9}", "class", "asked", "served", "refused", "failed")?;
    for (priority, counts) in Priority::ALL.into_iter().zip(second) {
        let Counts { asked, served, failed, .. } = *counts;
        writeln!(f, "  {:<12}{asked:>9}{served:>9}{:>9}{failed:>9}", priority.as_str(), counts.shed_all())?;
    }
    Ok(())
}

/// Refused, by reason and class, and what the reasons say.
fn reasons(f: &mut fmt::Formatter<'_>, second: &Second) -> fmt::Result {
    let all = total(second);
    let found: BTreeSet<Shed> = Shed::ALL.into_iter().filter(|why| all.shed[*why as usize] > 0).collect();
    if found.is_empty() {
        return wrapped(f, "  ", "Nothing was refused here.");
    }
    let names = Priority::ALL.map(Priority::as_str);
    writeln!(f, "  {:<22}{:>10}{:>13}{:>9}{:>9}", "refused because", names[0], names[1], names[2], names[3])?;
    for why in &found {
        let [critical, interactive, api, bulk] = second.map(|counts| counts.shed[*why as usize]);
        writeln!(f, "  {:<22}{critical:>10}{interactive:>13}{api:>9}{bulk:>9}", why.label())?;
    }
    for why in found {
        wrapped(f, "  ", &format!("{}: {}.", why.label(), meaning(why)))?;
    }
    Ok(())
}

/// What a reason says of the configuration; `docs/standing.md` has the same.
const fn meaning(why: Shed) -> &'static str {
    match why {
        Shed::ProcessFull => "all of limits.requests is taken",
        Shed::CellFull => "the cell has as many requests as max_in_flight or share_percent let it",
        Shed::GroupFull => "the group has as many requests as its max_in_flight lets it",
        Shed::LowPriority => "the cell is nearly full, and this mattered less",
        Shed::QueueFull => "all permits are taken, and so is the queue for them",
        Shed::WaitedTooLong => "no permit came free in 100 ms",
        Shed::Recovering => "the cell comes back, and this was more than its rate of the moment",
        Shed::NoHeadroom => {
            "its zone is lost or on its way back, and the others have declared no room for it"
        }
        Shed::CellDown => {
            "the endpoints of its zone are out, and its load is not moved (yet); or all of the cell is, but for probes"
        }
        Shed::Operator => "an operator's word",
    }
}

fn curve(f: &mut fmt::Formatter<'_>, cell: &CellReport) -> fmt::Result {
    let begins = BREAKS_AT.as_secs();
    writeln!(f, "  Requests a second, of each {STEP} s; the fault begins after {begins} s:")?;
    for (name, which) in [("asked", 0), ("served", 1)] {
        let mean =
            |points: &[[f64; 4]]| points.iter().map(|point| point[which]).sum::<f64>() / points.len() as f64;
        let figures: Vec<String> =
            cell.curve.chunks_exact(STEP).map(|points| format!("{:.0}", mean(points))).collect();
        wrapped(f, &format!("    {name:<7}"), &figures.join(" "))?;
    }
    Ok(())
}

/// Words in lines of at most [`COLUMNS`], the first of which begins with `begin`, and the others under it. A percent
/// sign stays with its number.
///
/// # Errors
/// Those of `f`.
pub fn wrapped(f: &mut impl Write, begin: &str, text: &str) -> fmt::Result {
    let mut line = begin.to_owned();
    let mut is_empty = true;
    let text = text.replace(" %", "\u{a0}%");
    for word in text.split(' ').map(|word| word.replace('\u{a0}', " ")) {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            writeln!(f, "{}", line.trim_end())?;
            line = " ".repeat(begin.chars().count());
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(&word);
        is_empty = false;
    }
    writeln!(f, "{}", line.trim_end())
}
