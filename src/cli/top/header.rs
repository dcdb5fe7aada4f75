//! The lines above every screen: who says it, whether it is ready, what happens in all, and what should be known before
//! anything else.

use std::time::SystemTime;

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::changes::{short, span};
use super::document::Document;
use super::fleet::{Answers, Fleet, Replica, elapsed};
use super::page::whose;
use super::rows::{Trouble, totals};
use super::view::Top;
use super::words::{self, bold, clock, dim, fit, mark, rate, style};
use crate::telemetry::wall_time::Seconds;

/// What has a line of its own, and need not be said as a reason too.
pub const SAID_BELOW: [&str; 3] = ["levers", "staged", "brownout"];

/// Replicas that have a line of their own; the others are counted.
const MOST_REPLICAS: usize = 4;

/// The lines, at most so many notes among them.
pub fn lines(top: &Top, now: SystemTime, width: usize, most_notes: usize) -> Vec<Line<'static>> {
    let fleet = &top.fleet;
    let mut lines = vec![first(top, now, width), second(fleet)];
    if fleet.is_many() {
        lines.extend(replicas(fleet, now, most_notes.clamp(1, MOST_REPLICAS)));
    }
    let mut notes = notes(fleet, now);
    // The worst first; of two that are as bad, the one that was said first.
    notes.sort_by_key(|(trouble, _)| std::cmp::Reverse(*trouble));
    let hidden = match notes.len() {
        // Room for one is room for the worst, and not for saying that there are others.
        all if most_notes == 1 => all.saturating_sub(1),
        all if all > most_notes => all + 1 - most_notes,
        _ => 0,
    };
    notes.truncate(notes.len() - hidden);
    for (trouble, words) in notes {
        let words = fit(&words, width.saturating_sub(3));
        let marked = Span::styled(format!("{} ", mark(trouble)), style(trouble));
        lines.push(Line::from(vec![marked, Span::styled(words, style(trouble))]));
    }
    if hidden > 0 && most_notes > 1 {
        lines.push(words::line(format!("   {hidden} more: keys 2 and 6"), dim()));
    }
    lines
}

fn first(top: &Top, now: SystemTime, width: usize) -> Line<'static> {
    let said = match &top.fleet.replicas[..] {
        [one] => {
            let name = one.name.to_string();
            let serves = one.last.as_ref().map_or_else(String::new, |last| format!("{}  ", serving(last)));
            format!("cellgate  {serves}{name}")
        }
        many => format!("cellgate  {} replicas", many.len()),
    };
    let clock = match top.view.paused {
        Some(since) => format!("PAUSED {}", span(elapsed(since, now).as_secs())),
        None => clock(&Seconds(now).to_string()),
    };
    let room = width.saturating_sub(words::width(&clock) + 1);
    Line::from(vec![
        Span::styled(words::left(&said, room), bold()),
        Span::raw(" "),
        Span::styled(clock, bold()),
    ])
}

fn serving(document: &Document) -> String {
    let Document { generation, hash, serves_for_s, .. } = document;
    format!("generation {generation} ({}) for {}", short(hash), span(*serves_for_s))
}

fn second(fleet: &Fleet) -> Line<'static> {
    let mut spans = vec![ready(fleet), Span::raw("  ")];
    let now = totals(fleet);
    let part = |name: &str, part: f64, is_bad: bool| {
        let style = if is_bad && part > 0.0 { style(Trouble::Some) } else { Style::new() };
        Span::styled(format!("  {name} {}/s {:.1}%", rate(part), now.percent(part)), style)
    };
    spans.push(Span::styled(format!("{} rps", rate(now.rps)), bold()));
    spans.push(part("failed", now.failed, true));
    spans.push(part("refused", now.refused, true));
    spans.push(part("by clients", now.by_client, false));
    Line::from(spans)
}

fn ready(fleet: &Fleet) -> Span<'static> {
    if fleet.is_stale() {
        return Span::styled("NO ANSWER", style(Trouble::Much));
    }
    let all = fleet.shown().count();
    let ready = fleet.shown().filter(|(_, document)| document.ready).count();
    match (ready, all, fleet.is_many()) {
        (_, 0, _) => Span::styled("ASKING", dim()),
        (1, 1, false) => Span::styled("READY", bold()),
        (_, _, false) => Span::styled("NOT READY", style(Trouble::Much)),
        _ => {
            let is_whole = ready == fleet.replicas.len();
            let style = if is_whole { bold() } else { style(Trouble::Much) };
            Span::styled(format!("READY {ready} of {}", fleet.replicas.len()), style)
        }
    }
}

fn replicas(fleet: &Fleet, now: SystemTime, most: usize) -> Vec<Line<'static>> {
    // Those that have something to say first.
    let mut all: Vec<(Trouble, String)> =
        fleet.replicas.iter().map(|replica| of_replica(replica, now)).collect();
    all.sort_by_key(|(trouble, _)| std::cmp::Reverse(*trouble));
    let hidden = if all.len() > most { all.len() + 1 - most } else { 0 };
    all.truncate(all.len() - hidden);
    let line = |(trouble, words)| words::line(format!("{} {words}", mark(trouble)), style(trouble));
    let mut lines: Vec<Line> = all.into_iter().map(line).collect();
    if hidden > 0 {
        lines.push(words::line(format!("   {hidden} more replicas"), dim()));
    }
    lines
}

fn of_replica(replica: &Replica, now: SystemTime) -> (Trouble, String) {
    let name = &replica.name;
    match (&replica.answers, &replica.last) {
        (Answers::NotYet, _) | (Answers::Yes, None) => (Trouble::None, format!("{name}: asking")),
        (Answers::Yes, Some(last)) => {
            let (trouble, ready) =
                if last.ready { (Trouble::None, "ready") } else { (Trouble::Much, "NOT READY") };
            (trouble, format!("{name}: {ready}, {}", serving(last)))
        }
        (Answers::No { .. }, _) => (Trouble::Much, format!("{name}: {}", away(&replica.answers, now))),
    }
}

/// Since when it does not answer, and why.
fn away(answers: &Answers, now: SystemTime) -> String {
    match answers {
        Answers::No { heard, since, why } => {
            let for_s = span(elapsed(*since, now).as_secs());
            match heard {
                Some(heard) => {
                    let heard = clock(&Seconds(*heard).to_string());
                    format!("no answer for {for_s} (numbers are of {heard}): {why}")
                }
                None => format!("it has never answered, for {for_s}: {why}"),
            }
        }
        Answers::NotYet | Answers::Yes => String::new(),
    }
}

/// What should be known before anything else.
fn notes(fleet: &Fleet, now: SystemTime) -> Vec<(Trouble, String)> {
    let mut notes = Vec::new();
    if let [one] = &fleet.replicas[..]
        && matches!(one.answers, Answers::No { .. })
    {
        notes.push((Trouble::Much, away(&one.answers, now)));
    }
    for (replica, document) in fleet.shown() {
        let said = of_document(document);
        let whose = whose(fleet, &replica.name);
        notes.extend(said.into_iter().map(|(trouble, words)| (trouble, format!("{whose}{words}"))));
    }
    notes
}

fn of_document(document: &Document) -> Vec<(Trouble, String)> {
    let mut notes = Vec::new();
    for reason in document.reasons.iter().filter(|one| !SAID_BELOW.contains(&&*one.reason)) {
        let trouble = if reason.blocks { Trouble::Much } else { Trouble::Some };
        notes.push((trouble, format!("{}: {}", reason.reason, reason.detail)));
    }
    for verdict in &document.verdicts {
        notes.push((Trouble::Much, format!("sick: {}", verdict.words())));
    }
    for lever in &document.levers {
        let words = format!(
            "lever {}: {}, {} left, by {}: {}",
            lever.id,
            lever.lever,
            span(lever.seconds_left),
            lever.by,
            lever.reason
        );
        notes.push((Trouble::Some, words));
    }
    for brownout in document.brownouts.iter().filter(|one| one.in_force) {
        let until = brownout.window.as_ref().map(|window| format!(" until {}", clock(&window.end)));
        let words = format!(
            "brownout {} ({}): {} of its requests{}",
            brownout.id,
            brownout.mode,
            brownout.share,
            until.unwrap_or_default()
        );
        notes.push((Trouble::Some, words));
    }
    if let Some(one) = &document.candidate {
        let share = one.share.as_deref().unwrap_or("nothing yet");
        let left = span(one.seconds_left);
        let words = format!(
            "on trial: generation {}, step {} of {}: {share}, {left} left",
            one.generation, one.step, one.steps
        );
        notes.push((Trouble::Some, words));
    }
    let waiting: u64 = document.moves.iter().map(|one| one.waiting).sum();
    let accounts: u64 = document.moves.iter().map(|one| one.accounts).sum();
    if accounts > 0 {
        notes.push((
            Trouble::Some,
            format!("moves: {accounts} accounts are on their way, {waiting} requests wait"),
        ));
    }
    notes
}
