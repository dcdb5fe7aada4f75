//! A page of lines with a cursor: what all screens are made of.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::commands::Target;
use super::fleet::Fleet;
use super::rows::Trouble;
use super::view::{Over, Screen, Top};
use super::words::{self, bold, dim, mark, style, wrap};
use super::{detail, help, screens, table};

/// See the file.
#[derive(Debug, Default)]
pub struct Page {
    /// Stays where it is.
    pub heading: Option<Line<'static>>,
    pub lines: Vec<PageLine>,
}

/// One line, and what it is about.
#[derive(Debug)]
pub struct PageLine {
    pub line: Line<'static>,
    pub target: Option<Target>,
}

impl PageLine {
    /// About nothing.
    pub fn of(line: Line<'static>) -> Self {
        Self { line, target: None }
    }
}

/// What is seen, in lines of this width.
pub fn page(top: &Top, width: usize) -> Page {
    match (&top.view.over, top.view.screen, &top.view.open) {
        (Some(Over::Help), ..) => help::page(width),
        (Some(Over::Commands(target)), ..) => screens::commands(top, target, width),
        (None, Screen::Cells, Some(cell)) => detail::page(top, cell, width),
        (None, Screen::Cells, None) if top.fleet.shown().next().is_none() => {
            screens::nobody(&top.fleet, width)
        }
        (None, Screen::Cells, None) => table::page(top, width),
        (None, Screen::Levers, _) => screens::levers(&top.fleet, width),
        (None, Screen::Reloads, _) => screens::reloads(&top.fleet, width),
        (None, Screen::Refused, _) => screens::refused(&top.fleet, width),
        (None, Screen::Events, _) => screens::events(&top.fleet, width),
        (None, Screen::Why, _) => screens::why(&top.fleet, width),
    }
}

impl Page {
    /// A heading among the lines.
    pub fn title(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.blank();
        }
        self.lines.push(PageLine::of(words::line(format!(" {text}"), bold())));
    }

    pub fn blank(&mut self) {
        self.lines.push(PageLine::of(Line::default()));
    }

    /// Text with its mark, in as many lines as it takes; the first is about something.
    pub fn text(&mut self, trouble: Trouble, text: &str, target: Option<&Target>, width: usize) {
        for (at, part) in wrap(text, width.saturating_sub(5), 2).into_iter().enumerate() {
            let mark = if at == 0 { mark(trouble) } else { "  " };
            let line = Line::from(vec![Span::styled(format!(" {mark} "), style(trouble)), Span::raw(part)]);
            self.lines.push(PageLine { line, target: target.cloned() });
        }
    }

    /// What is read second.
    pub fn note(&mut self, text: &str, width: usize) {
        for part in wrap(text, width.saturating_sub(5), 2) {
            self.lines.push(PageLine::of(words::line(format!("    {part}"), dim())));
        }
    }

    /// A line of a table, made to measure.
    pub fn row(&mut self, trouble: Trouble, text: String, target: Option<Target>) {
        let marked = Span::styled(format!(" {} ", mark(trouble)), style(trouble));
        let line = Line::from(vec![marked, Span::styled(text, Style::new())]);
        self.lines.push(PageLine { line, target });
    }
}

/// The name of a replica before what it says, where there are several.
pub fn whose(fleet: &Fleet, name: &str) -> String {
    if fleet.is_many() { format!("{name}: ") } else { String::new() }
}
