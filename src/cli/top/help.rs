//! What the keys do and the columns mean.

use super::page::{Page, PageLine};
use super::words::{bold, left};
use ratatui::text::{Line, Span};

const KEYS: [(&str, &str); 12] = [
    ("1 to 6", "cells, levers, reloads, refused, events, why"),
    ("up, down, j, k", "one line; PgUp, PgDn, Home, End more"),
    ("Enter", "open the cell"),
    ("Esc", "back"),
    ("/", "only cells that have this in their name"),
    ("s", "sort cells by trouble, name, rps, failed, refused, p95, permits"),
    ("c", "the command for what is selected, to be pasted"),
    ("p", "pause, and go on"),
    ("r", "draw everything anew"),
    ("?", "this"),
    ("Ctrl-Z", "stop; fg goes on"),
    ("q, Ctrl-C", "end"),
];

const COLUMNS: [(&str, &str); 10] = [
    ("!! and !", "somebody should look now, and soon; Enter says why"),
    ("PHASE", "full, down, probing, or coming back (ramp) with what is let through of its capacity"),
    ("RPS", "requests a second that ended, of the last 10 s; so are FAIL and REFU"),
    ("FAIL", "failed by the cell: 5xx, no connection, no answer, cut"),
    ("REFU", "refused by cellgate: cell down, no room, a lever or brownout, a move, this process"),
    ("P50ms", "half of all first bytes came within so many milliseconds"),
    ("P95/USUAL", "the same of 95 %, and what is usual, in milliseconds"),
    ("PERMITS", "ordinary requests at once, and how many may be"),
    ("WAIT", "requests that wait for a permit"),
    ("UP", "endpoints that are up, of all"),
];

/// All of it.
pub fn page(width: usize) -> Page {
    let mut page = Page::default();
    let mut list = |title: &str, rows: &[(&str, &str)]| {
        page.title(title);
        for (what, words) in rows {
            for (at, part) in super::words::wrap(words, width.saturating_sub(21), 0).into_iter().enumerate() {
                let what = if at == 0 { what } else { "" };
                let what = Span::styled(format!("  {} ", left(what, 15)), bold());
                page.lines.push(PageLine::of(Line::from(vec![what, Span::raw(part)])));
            }
        }
    };
    list("keys", &KEYS);
    list("columns", &COLUMNS);
    page
}
