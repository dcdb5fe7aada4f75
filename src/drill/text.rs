//! A report for people, at most 80 columns wide: what an operator reads at night, in this order: whether it holds, what
//! happened, who lost how much.

use std::fmt::{self, Write};

use super::books::Counts;
use super::report::{CellReport, Line, Report};
use super::scenario::{BREAKS_AT, MENDED_AT, Scenario};
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
        let lasts = (MENDED_AT - BREAKS_AT).as_secs();
        let what = match &self.scenario {
            Scenario::CellLoss { .. } => {
                format!("all of cell {} refuses for {lasts} s and comes back cold", self.what)
            }
            Scenario::ZoneLoss { .. } => format!("all of zone {} is silent for {lasts} s", self.what),
            Scenario::Recovery { .. } => {
                format!(
                    "cell {} refuses for {lasts} s, comes back cold, and ten times its demand waits",
                    self.what
                )
            }
        };
        wrapped(f, "", &format!("== {}: {what}", self.scenario.as_str()))?;
        writeln!(f)?;
        for cell in self.cells.iter().filter(|cell| cell.is_hit) {
            let (holds, why) = &cell.verdict;
            wrapped(f, "", &format!("{}: {why}", self.says(*holds, cell)))?;
        }
        for cell in self.cells.iter().filter(|cell| !cell.is_hit && !cell.verdict.0) {
            wrapped(f, "", &format!("{}: {}", self.says(false, cell), cell.verdict.1))?;
        }
        self.timeline(f)?;
        for cell in self.cells.iter().filter(|cell| cell.is_hit) {
            writeln!(f)?;
            table(f, cell)?;
            groups(f, cell)?;
            curve(f, cell)?;
        }
        self.neighbours(f)
    }
}

impl Report {
    fn says(&self, holds: bool, cell: &CellReport) -> String {
        let name = match self.scenario {
            Scenario::ZoneLoss { .. } => "N-1",
            Scenario::CellLoss { .. } => "cell-loss",
            Scenario::Recovery { .. } => "recovery",
        };
        let verb = if holds { "holds" } else { "does NOT hold" };
        match self.scenario {
            Scenario::ZoneLoss { .. } => format!("{name} {verb} for cell {}", cell.cell),
            _ => format!("{name} {verb}"),
        }
    }

    fn timeline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nSeconds since the fault, and what was decided (first replica):")?;
        let news: Vec<&Line> = self.timeline.iter().filter(|line| line.is_news).collect();
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

    fn neighbours(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others: Vec<&CellReport> = self.cells.iter().filter(|cell| !cell.is_hit).collect();
        if others.is_empty() {
            return Ok(());
        }
        let asked: u64 = others.iter().flat_map(|cell| &cell.all).map(|counts| counts.asked).sum();
        let extra: u64 = others.iter().map(|cell| cell.extra_lost()).sum();
        let names: Vec<String> = others
            .iter()
            .filter(|cell| cell.extra_lost() > 0)
            .map(|cell| format!("{} {}", cell.cell, cell.extra_lost()))
            .collect();
        let mut said = format!(
            "Neighbours: {} cells asked {asked} requests, and lost {extra} more than usual",
            others.len()
        );
        if !names.is_empty() {
            let _ = write!(said, " ({})", names.join(", "));
        }
        writeln!(f)?;
        wrapped(f, "", &format!("{said}."))
    }
}

fn table(f: &mut fmt::Formatter<'_>, cell: &CellReport) -> fmt::Result {
    wrapped(
        f,
        "",
        &format!("Cell {}, {:.0} rps, from the fault to the end, repeats included:", cell.cell, cell.demand),
    )?;
    writeln!(
        f,
        "  {:<12}{:>9}{:>9}{:>9}{:>9}  shed by reason",
        "class", "asked", "served", "shed", "failed"
    )?;
    for (priority, counts) in Priority::ALL.into_iter().zip(&cell.all) {
        let Counts { asked, served, failed, .. } = *counts;
        let begin =
            format!("  {:<12}{asked:>9}{served:>9}{:>9}{failed:>9}  ", priority.as_str(), counts.shed_all());
        let why: Vec<String> = Shed::ALL
            .into_iter()
            .filter(|why| counts.shed[*why as usize] > 0)
            .map(|why| format!("{} {}", why.label(), counts.shed[why as usize]))
            .collect();
        let first = why.first().map_or("", String::as_str);
        writeln!(f, "{}", format!("{begin}{first}").trim_end())?;
        for more in why.iter().skip(1) {
            writeln!(f, "{:width$}{more}", "", width = begin.len())?;
        }
    }
    Ok(())
}

fn groups(f: &mut fmt::Formatter<'_>, cell: &CellReport) -> fmt::Result {
    for group in cell.groups.iter().filter(|group| !group.is_lost) {
        let part = group.most_rps / group.capacity_rps.max(1.0) * 100.0;
        let role = if group.stands_by { "Standby group" } else { "Group" };
        wrapped(
            f,
            "  ",
            &format!(
                "{role} {}: {:.0} requests in its busiest second, of {:.0} declared ({part:.0} %).",
                group.zone, group.most_rps, group.capacity_rps
            ),
        )?;
    }
    let full = match cell.full_after {
        Some(after) if after > 0.0 => {
            format!("All that was asked again {after:.0} s after the end of the fault.")
        }
        Some(_) => "Never limited by a ramp.".to_owned(),
        None => "Still limited by its ramp at the end.".to_owned(),
    };
    wrapped(f, "  ", &full)
}

fn curve(f: &mut fmt::Formatter<'_>, cell: &CellReport) -> fmt::Result {
    for (name, which) in [("asked", 0), ("served", 1)] {
        let mean =
            |points: &[[f64; 4]]| points.iter().map(|point| point[which]).sum::<f64>() / points.len() as f64;
        let figures: Vec<String> =
            cell.curve.chunks_exact(STEP).map(|points| format!("{:.0}", mean(points))).collect();
        wrapped(
            f,
            &format!("  {name:<7}"),
            &format!("a second, each {STEP} s from the beginning: {}", figures.join(" ")),
        )?;
    }
    Ok(())
}

/// Words in lines of at most [`COLUMNS`], the first of which begins with `begin`, and the others under it.
pub(super) fn wrapped(f: &mut impl Write, begin: &str, text: &str) -> fmt::Result {
    let mut line = begin.to_owned();
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            writeln!(f, "{}", line.trim_end())?;
            line = " ".repeat(begin.chars().count());
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    writeln!(f, "{}", line.trim_end())
}
