//! The screens beside the cells: levers and what else somebody has begun, reloads, what was refused and failed, what has changed,
//! and why, in full.

use super::changes::{short, span};
use super::commands::{Target, commands as offered};
use super::document::{Document, Window};
use super::fleet::{Answers, Fleet};
use super::page::{Page, PageLine, whose};
use super::paste::in_lines;
use super::rows::Trouble;
use super::view::Top;
use super::words::{self, bold, clock, left, right};
use crate::telemetry::wall_time::Seconds;

/// What people have pulled and begun: levers, brownouts, a trial, moves.
pub fn levers(fleet: &Fleet, width: usize) -> Page {
    let mut page = Page::default();
    page.title("levers");
    for (replica, document) in fleet.shown() {
        for lever in &document.levers {
            let target = Target::Lever { replica: replica.name.clone(), id: lever.id };
            let words = format!(
                "{}{}: {}, {} left (until {})",
                whose(fleet, &replica.name),
                lever.id,
                lever.lever,
                span(lever.seconds_left),
                clock(&lever.until)
            );
            page.text(Trouble::Some, &words, Some(&target), width);
            let who = format!(
                "by {} at {}: {}; requests that felt it: {}",
                lever.by,
                clock(&lever.since),
                lever.reason,
                lever.requests
            );
            page.text(Trouble::None, &who, Some(&target), width);
        }
    }
    none(&mut page, "No lever is pulled.", width);
    page.title("brownouts");
    each(fleet, &mut page, width, brownouts);
    none(&mut page, "None is in force or will be.", width);
    page.title("on trial");
    each(fleet, &mut page, width, trial);
    none(&mut page, "Nothing is on trial.", width);
    page.title("moves");
    each(fleet, &mut page, width, moves);
    none(&mut page, "No account is on its way.", width);
    page
}

/// One of a list of things, with whom it is said by.
type Said = (Trouble, String, Option<Target>);

fn each(fleet: &Fleet, page: &mut Page, width: usize, of: fn(&Document) -> Vec<Said>) {
    for (replica, document) in fleet.shown() {
        for (trouble, words, target) in of(document) {
            let words = format!("{}{words}", whose(fleet, &replica.name));
            page.text(trouble, &words, target.as_ref(), width);
        }
    }
}

fn brownouts(document: &Document) -> Vec<Said> {
    let said = document.brownouts.iter().map(|one| {
        let times = |what: &str, times: &Option<super::document::Times>| {
            times
                .as_ref()
                .map(|times| format!(", {what} {} to {}", times.start, times.end))
                .unwrap_or_default()
        };
        let now = match (one.in_force, one.cancelled) {
            (true, _) => "in force",
            (_, true) => "cancelled",
            _ => "to come",
        };
        let words = format!(
            "{}: {now}, {}, {} of its requests{}{}",
            one.id,
            one.mode,
            one.share,
            times("now", &one.window),
            times("next", &one.next)
        );
        let trouble = if one.in_force { Trouble::Some } else { Trouble::None };
        (trouble, words, Some(Target::Brownout(one.id.to_string())))
    });
    said.collect()
}

fn trial(document: &Document) -> Vec<Said> {
    let said = document.candidate.iter().map(|one| {
        let share = one.share.as_deref().map_or_else(
            || "waits for the first replicas".to_owned(),
            |share| format!("step {} of {}, {share} of the accounts", one.step, one.steps),
        );
        let words = format!(
            "generation {} ({}): {share}, {} left; {} requests, {} failed. `cellgate steps` compares cells",
            one.generation,
            short(&one.hash),
            span(one.seconds_left),
            one.requests,
            one.failed
        );
        (Trouble::Some, words, Some(Target::Reload))
    });
    said.collect()
}

fn moves(document: &Document) -> Vec<Said> {
    let said = document.moves.iter().map(|one| {
        let cell = |cell: &Option<super::document::Word>| cell.as_deref().unwrap_or("nowhere").to_owned();
        let words = format!(
            "{} to {}, {}: {} accounts, {} writes at the old cell, {} requests wait",
            cell(&one.from),
            cell(&one.to),
            one.state,
            one.accounts,
            one.writes_at_old_cell,
            one.waiting
        );
        (if one.waiting > 0 { Trouble::Some } else { Trouble::None }, words, None)
    });
    said.collect()
}

/// The last reloads, the newest first.
pub fn reloads(fleet: &Fleet, width: usize) -> Page {
    let mut page = Page::default();
    for (replica, document) in fleet.shown() {
        let serves = format!(
            "{}generation {} ({}) serves for {}",
            whose(fleet, &replica.name),
            document.generation,
            short(&document.hash),
            span(document.serves_for_s)
        );
        page.title(&serves);
        for reload in &document.reloads {
            let mut words = format!("{}  {} by {}", clock(&reload.at), reload.outcome, reload.trigger);
            if let Some(generation) = reload.generation {
                words.push_str(&format!(", generation {generation}"));
            }
            if let Some(hash) = &reload.hash {
                words.push_str(&format!(", offered {}", short(hash)));
            }
            if reload.problems > 0 {
                words.push_str(&format!(", {} problems", reload.problems));
            }
            if !reload.guards.is_empty() {
                let guards: Vec<&str> = reload.guards.iter().map(|guard| &**guard).collect();
                words.push_str(&format!(", guards that object: {}", guards.join(", ")));
            }
            let trouble = match &*reload.outcome {
                "applied" | "unchanged" => Trouble::None,
                "staged" => Trouble::Some,
                _ => Trouble::Much,
            };
            page.text(trouble, &words, Some(&Target::Reload), width);
        }
    }
    page.note("c says how to see every problem of the last one, and who put what in force.", width);
    page
}

/// What was not served in the last minute, by cell, surface and how it ended.
pub fn refused(fleet: &Fleet, width: usize) -> Page {
    const WAYS: [(&str, &str); 7] = [
        ("failed", "FAILED"),
        ("down", "DOWN"),
        ("no_room", "NOROOM"),
        ("on_purpose", "PURPOSE"),
        ("moving", "MOVING"),
        ("by_client", "CLIENT"),
        ("ours", "OURS"),
    ];
    let wide = width.saturating_sub(5 + WAYS.len() * 8).clamp(12, 40);
    let heads = WAYS.map(|(_, head)| right(head, 8)).concat();
    let heading = words::line("    ".to_owned() + &left("LAST MINUTE", wide) + &heads, words::dim());
    let mut page = Page { heading: Some(heading), ..Page::default() };
    let mut row = |name: &str, window: &Window, target: Option<Target>| {
        let counts = WAYS.map(|(how, _)| window.count(how));
        if counts.iter().sum::<u64>() > 0 {
            let trouble = if counts[0] > 0 { Trouble::Much } else { Trouble::Some };
            let trouble =
                if counts[..5].iter().sum::<u64>() + counts[6] == 0 { Trouble::None } else { trouble };
            let counts = counts.map(|count| right(&words::count(count), 8)).concat();
            page.row(trouble, left(name, wide) + &counts, target);
        }
    };
    for (replica, document) in fleet.shown() {
        let whose = whose(fleet, &replica.name);
        for cell in &document.cells {
            for surface in cell.traffic.iter().flat_map(|traffic| &traffic.surfaces) {
                let name = format!("{whose}{} {}", cell.name, surface.surface);
                row(&name, &surface.last_60s, Some(Target::Cell(cell.name.to_string())));
            }
        }
        for surface in document.no_cell.iter().flat_map(|traffic| &traffic.surfaces) {
            row(&format!("{whose}no cell known, {}", surface.surface), &surface.last_60s, None);
        }
    }
    none(&mut page, "Everything was served.", width);
    page.blank();
    for words in [
        "FAILED: 5xx of the cell, no connection, no answer in time, or one that was cut. DOWN: nothing of the cell can be used. NOROOM: the \
         cell or this process is full. PURPOSE: a brownout, the sunset or a lever. MOVING: its account moves. CLIENT: what the client sent, \
         or it went away. OURS: this process stops, or has a defect.",
        "Single requests and accounts are not here: the access log has them (reason, account, cell).",
    ] {
        page.note(words, width);
    }
    page
}

/// Why there is nothing to show, in full.
pub fn nobody(fleet: &Fleet, width: usize) -> Page {
    let mut page = Page::default();
    silent(fleet, &mut page, width);
    page.note("It is asked again and again. q ends this.", width);
    page
}

fn silent(fleet: &Fleet, page: &mut Page, width: usize) {
    for replica in &fleet.replicas {
        match &replica.answers {
            Answers::No { why, .. } => {
                page.text(Trouble::Much, &format!("{}: {why}", replica.name), None, width);
            }
            Answers::NotYet => page.note(&format!("{}: asking", replica.name), width),
            Answers::Yes => {}
        }
    }
}

/// What has changed since this program runs, the newest first.
pub fn events(fleet: &Fleet, width: usize) -> Page {
    let mut page = Page::default();
    for event in &fleet.events {
        let whose = event.replica.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        let words = format!("{}  {whose}{}", clock(&Seconds(event.at).to_string()), event.what);
        page.text(if event.is_bad { Trouble::Much } else { Trouble::None }, &words, None, width);
    }
    none(&mut page, "Nothing has changed since this runs.", width);
    page
}

/// Readiness and verdicts, in full.
pub fn why(fleet: &Fleet, width: usize) -> Page {
    let mut page = Page::default();
    if fleet.replicas.iter().any(|replica| matches!(replica.answers, Answers::No { .. })) {
        page.title("who does not answer");
        silent(fleet, &mut page, width);
    }
    for (replica, document) in fleet.shown() {
        let ready = if document.ready { "ready" } else { "NOT READY" };
        page.title(&format!("{}{ready}", whose(fleet, &replica.name)));
        for reason in &document.reasons {
            let trouble = if reason.blocks { Trouble::Much } else { Trouble::Some };
            page.text(trouble, &format!("{}: {}", reason.reason, reason.detail), None, width);
        }
        none(&mut page, "There is nothing else to say.", width);
        page.title(&format!("{}who is sick", whose(fleet, &replica.name)));
        for verdict in &document.verdicts {
            page.text(Trouble::Much, &verdict.words(), None, width);
        }
        if let Some(alarm) = &document.verdict_observe_alarm {
            page.text(
                Trouble::Some,
                &format!("verdicts are only watched, and should be looked at: {alarm}"),
                None,
                width,
            );
        }
        none(&mut page, "Nobody.", width);
    }
    none(&mut page, "Nobody has answered yet.", width);
    page
}

/// What can be said about something, to be pasted into a shell.
pub fn commands(top: &Top, target: &Target, width: usize) -> Page {
    let mut page = Page::default();
    let all = offered(target, &top.fleet);
    if all.iter().any(|command| command.words.ends_with(' ')) {
        page.note(
            "Paste one into a shell. Levers end at --reason: type why, in quotes, and perhaps --for 10m. Nothing is done here.",
            width,
        );
    } else {
        page.note("Paste one into a shell. Nothing is done here.", width);
    }
    for command in all {
        page.blank();
        page.note(&format!("# {}", command.what), width);
        // From the first column: a mouse takes it as it is.
        for line in in_lines(&command.words, width) {
            page.lines.push(PageLine::of(words::line(line, bold())));
        }
    }
    page
}

/// Says so where nothing follows the last title.
fn none(page: &mut Page, words: &str, width: usize) {
    let is_bare = page.lines.last().is_none_or(|last| {
        let styled =
            last.line.style.patch(last.line.spans.first().map(|span| span.style).unwrap_or_default());
        styled == bold()
    });
    if is_bare {
        page.note(words, width);
    }
}
