//! From what is known and looked at to the cells of a terminal. A plain function: the same values are the same picture.

use std::time::SystemTime;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};
use ratatui::text::{Line, Span};

use super::header;
use super::page::{Page, page};
use super::view::{Over, Screen, Top};
use super::words::{self, EIGHTHS, MORE, bold, dim, left};

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub has_utf8: bool,
    pub has_colour: bool,
}

/// From here on everything has room.
const SMALL: (u16, u16) = (60, 14);

/// One note in so many lines of a terminal, above the list of cells; above what is read line by line it is one in more.
const LINES_A_NOTE: usize = 5;
const LINES_A_NOTE_ELSEWHERE: usize = 12;

/// Lines that notes may have on a printed page: whoever reads it later cannot press a key.
const PRINTED_NOTES: usize = 50;

/// Draws everything.
pub fn draw(top: &Top, now: SystemTime, look: Look, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    let is_small = !top.view.is_printed && (area.width < SMALL.0 || area.height < SMALL.1);
    let page = page(top, width);
    let mut lines = above(top, now, (width, area.height.into()), is_small);
    lines.extend(page.heading.clone());
    let has_keys = top.view.is_typing || !top.view.is_printed && !is_small;
    let room = usize::from(area.height).saturating_sub(lines.len() + usize::from(has_keys));
    for (y, line) in (area.y..area.bottom()).zip(&lines) {
        buffer.set_line(area.x, y, line, area.width);
    }
    let y = area.bottom() - room as u16 - u16::from(has_keys && area.height > 0);
    let below = body(top, &page, Rect { y, height: room as u16, ..area }, buffer);
    if has_keys && area.height > 0 {
        buffer.set_line(area.x, area.bottom() - 1, &last(top, below, width), area.width);
    }
    plain(buffer, look);
}

/// As text without anything else, for tickets and pipes: all lines, as wide as it is told.
pub fn text(top: &Top, now: SystemTime, look: Look, width: u16) -> String {
    let wide = usize::from(width);
    let lines = above(top, now, (wide, usize::MAX), false).len();
    let page = page(top, wide);
    let height = lines + page.lines.len() + usize::from(page.heading.is_some());
    let area = Rect::new(0, 0, width, u16::try_from(height).unwrap_or(u16::MAX));
    let mut buffer = Buffer::empty(area);
    draw(top, now, look, area, &mut buffer);
    as_text(&buffer)
}

/// The characters of it, a line each.
pub fn as_text(buffer: &Buffer) -> String {
    let Rect { width, height, .. } = buffer.area;
    let mut text = String::new();
    for y in 0..height {
        let (mut line, mut x) = (String::new(), 0);
        while x < width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            // A wide character has two places.
            x += words::width(symbol).max(1) as u16;
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The lines above the page.
fn above(top: &Top, now: SystemTime, (width, height): (usize, usize), is_small: bool) -> Vec<Line<'static>> {
    let most = match (top.view.is_printed, is_small) {
        (true, _) => PRINTED_NOTES,
        (_, true) => 1,
        _ if top.view.is_list() => height / LINES_A_NOTE,
        _ => height / LINES_A_NOTE_ELSEWHERE,
    };
    let mut lines = header::lines(top, now, width, most);
    if is_small {
        let said = format!("{width}x{height} is small: 80x24 shows more");
        lines.push(words::line(left(&said, width), dim()));
    } else if !top.view.is_printed {
        lines.push(tabs(top));
    } else {
        lines.push(Line::default());
    }
    lines
}

/// Which screens there are, and what is on each.
fn tabs(top: &Top) -> Line<'static> {
    let mut spans = Vec::new();
    for (at, screen) in Screen::ALL.into_iter().enumerate() {
        let sum = |of: fn(&super::document::Document) -> usize| {
            top.fleet.shown().map(|(_, document)| of(document)).sum()
        };
        let count: usize = match screen {
            Screen::Levers => sum(|document| document.levers.len()),
            Screen::Events => top.fleet.events.len(),
            Screen::Why => sum(|document| document.reasons.len() + document.verdicts.len()),
            Screen::Cells | Screen::Reloads | Screen::Refused => 0,
        };
        let count = if count > 0 { format!("({count})") } else { String::new() };
        let name = format!("{} {}{count}", at + 1, screen.as_str());
        let is_here = screen == top.view.screen && top.view.over.is_none();
        let (name, style) = match is_here {
            true => (format!("[{name}]"), bold()),
            false => (format!(" {name} "), dim()),
        };
        spans.push(Span::styled(name, style));
    }
    if top.view.is_list() {
        let filter = match &*top.view.filter {
            "" => String::new(),
            filter => format!(", with {filter}"),
        };
        spans.push(Span::styled(format!(" by {}{filter}", top.view.sort.as_str()), dim()));
    }
    Line::from(spans)
}

/// The keys that do something here.
fn keys(top: &Top) -> &'static str {
    match (&top.view.over, top.view.is_list()) {
        (Some(Over::Help | Over::Commands(_)), _) => "Esc back  q quit",
        (None, true) => "1-6 screens  Enter open  / find  s sort  p pause  c command  ? help  q quit",
        (None, false) => "1-6 screens  Esc back  p pause  c command  ? help  q quit",
    }
}

/// The last line: what is typed, or the keys that do something here, and how many lines are not seen.
fn last(top: &Top, below: usize, width: usize) -> Line<'static> {
    if top.view.is_typing {
        return words::line(left(&format!("/{}_", top.view.filter), width), bold());
    }
    let below = if below > 0 { format!(" {below} below") } else { String::new() };
    let keys = left(keys(top), width.saturating_sub(words::width(&below)));
    Line::from(vec![Span::styled(keys, dim()), Span::styled(below, bold())])
}

/// The lines of a page around its cursor; how many there are below.
fn body(top: &Top, page: &Page, area: Rect, buffer: &mut Buffer) -> usize {
    let (cursor, room) = (cursor(top, page), usize::from(area.height));
    let from = match (top.view.is_printed, &top.view.over) {
        (true, _) => 0,
        // There the cursor is the first line that is seen.
        (false, Some(_)) => cursor.min(page.lines.len().saturating_sub(room)),
        (false, None) => (cursor + 1).saturating_sub(room),
    };
    let seen = page.lines.iter().enumerate().skip(from).take(room);
    for ((at, line), y) in seen.zip(area.y..) {
        buffer.set_line(area.x, y, &line.line, area.width);
        let has_cursor = at == cursor && !top.view.is_printed && top.view.over.is_none();
        if has_cursor && area.width > 0 {
            buffer[(area.x, y)].set_symbol(">");
            buffer.set_style(Rect { y, height: 1, ..area }, Modifier::REVERSED);
        }
    }
    page.lines.len().saturating_sub(from + room)
}

/// The line of the cursor.
pub fn cursor(top: &Top, page: &Page) -> usize {
    let last = page.lines.len().saturating_sub(1);
    if top.view.over.is_some() {
        return top.view.scroll.min(last);
    }
    if !top.view.is_list() {
        return top.view.cursor.min(last);
    }
    let is_selected = |name: &str| top.view.selected.as_deref() == Some(name);
    let at = page.lines.iter().position(|line| match &line.target {
        Some(super::commands::Target::Cell(name)) => is_selected(name),
        _ => false,
    });
    at.unwrap_or(0)
}

/// Replaces what the terminal cannot show.
fn plain(buffer: &mut Buffer, look: Look) {
    for cell in &mut buffer.content {
        if !look.has_colour {
            cell.set_fg(Color::Reset).set_bg(Color::Reset);
        }
        if !look.has_utf8 && !cell.symbol().is_ascii() {
            let symbol = ascii(cell.symbol());
            cell.set_symbol(symbol);
        }
    }
}

/// The same in ASCII.
fn ascii(symbol: &str) -> &'static str {
    /// As heights.
    const LEVELS: [&str; 8] = [".", ".", ":", "-", "=", "+", "*", "#"];
    let mut characters = symbol.chars();
    match characters.next() {
        Some(MORE) => "~",
        Some('░') => ".",
        Some(c) => EIGHTHS.iter().position(|eighth| *eighth == c).map_or("?", |at| LEVELS[at]),
        None => " ",
    }
}
