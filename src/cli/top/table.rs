//! The list of cells: which columns have room, and what stands in them.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::commands::Target;
use super::page::{Page, PageLine};
use super::rows::{Row, Trouble, rows};
use super::view::Top;
use super::words::{self, bar, bold, count, dim, left, mark, ms, rate, right, sparkline, style};

/// The mark of the cursor, the mark of trouble, and a space.
const MARGIN: usize = 4;

/// Names are cut at this: what is longer leaves no room for anything.
const LONGEST_NAME: usize = 24;

/// On a narrow terminal at this.
const LONGEST_NAME_NARROW: usize = 12;
const NARROW: usize = 100;

/// Less of a minute than this shows nothing.
const LEAST_SPARKLINE: usize = 5;

/// A second each.
const MOST_SPARKLINE: usize = 60;

/// Width of a bar of permits.
const BAR: usize = 6;

#[derive(Clone, Copy)]
enum Column {
    Name,
    Phase,
    Rate,
    Failed,
    Refused,
    P50,
    P95,
    Permits,
    Bar,
    Waiting,
    Up,
    Minute,
}

impl Column {
    /// From left to right.
    const ALL: [Self; 12] = [
        Self::Name,
        Self::Phase,
        Self::Rate,
        Self::Failed,
        Self::Refused,
        Self::P50,
        Self::P95,
        Self::Permits,
        Self::Bar,
        Self::Waiting,
        Self::Up,
        Self::Minute,
    ];

    /// Who stays longest where there is little room.
    const BY_WORTH: [Self; 12] = [
        Self::Name,
        Self::Phase,
        Self::Rate,
        Self::Failed,
        Self::Refused,
        Self::Permits,
        Self::Up,
        Self::P95,
        Self::Waiting,
        Self::Minute,
        Self::Bar,
        Self::P50,
    ];

    const fn head(self) -> &'static str {
        match self {
            Self::Name => "CELL",
            Self::Phase => "PHASE",
            Self::Rate => "RPS",
            Self::Failed => "FAIL",
            Self::Refused => "REFU",
            Self::P50 => "P50ms",
            Self::P95 => "P95/USUAL",
            Self::Permits => "PERMITS",
            Self::Bar => "",
            Self::Waiting => "WAIT",
            Self::Up => "UP",
            Self::Minute => "MINUTE",
        }
    }

    /// Of the longest that stands in it; of a name it is told.
    const fn width(self, name: usize) -> usize {
        match self {
            Self::Name => name,
            Self::Phase => 9,
            Self::Rate => 6,
            Self::Failed | Self::Refused | Self::P50 | Self::Up => 5,
            Self::P95 | Self::Permits => 9,
            Self::Bar => BAR,
            Self::Waiting => 4,
            Self::Minute => LEAST_SPARKLINE,
        }
    }

    /// What stands in it, and how that is for a reader.
    fn text(self, row: &Row, width: usize) -> (String, Style) {
        let plain = |text: String| (right(&text, width), Style::new());
        let warned = |text: String, trouble: Trouble| (right(&text, width), style(trouble));
        let some = |is: bool| if is { Trouble::Some } else { Trouble::None };
        match self {
            Self::Name => (left(row.name, width), bold()),
            Self::Phase => (left(&phase(row), width), style(phase_trouble(row.phase))),
            Self::Rate => plain(rate(row.now.rps)),
            Self::Failed => warned(rate(row.now.failed), some(row.now.failed > 0.0)),
            Self::Refused => warned(rate(row.now.refused), some(row.now.refused > 0.0)),
            Self::P50 => plain(ms(row.p50_ms)),
            Self::P95 => plain(match (row.p95_ms, row.usual_p95_ms) {
                (None, None) => "-".to_owned(),
                (now, usual) => format!("{}/{}", ms(now), ms(usual)),
            }),
            Self::Permits => plain(format!("{}/{}", count(row.in_flight), count(row.limit))),
            Self::Bar => (bar(row.taken(), width), some_style(row.taken() >= 0.8)),
            Self::Waiting => warned(count(row.queued), some(row.queued > 0)),
            Self::Up => {
                let trouble = if row.up == 0 { Trouble::Much } else { some(row.up < row.endpoints) };
                warned(format!("{}/{}", row.up, row.endpoints), trouble)
            }
            Self::Minute => (left(&sparkline(&row.seconds, width), width), Style::new()),
        }
    }
}

/// `full`, `ramp 40%`.
pub fn phase(row: &Row) -> String {
    match (row.phase, row.ramp_percent) {
        ("ramping", Some(percent)) => format!("ramp {percent}%"),
        ("", _) => "-".to_owned(),
        (phase, _) => phase.to_owned(),
    }
}

/// How bad a phase is.
pub fn phase_trouble(phase: &str) -> Trouble {
    match phase {
        "full" | "" => Trouble::None,
        "down" => Trouble::Much,
        _ => Trouble::Some,
    }
}

/// All cells, in lines of this width.
pub fn page(top: &Top, width: usize) -> Page {
    let rows = rows(&top.fleet, &top.view.filter, top.view.sort);
    let columns = columns(&rows, width);
    let head = columns.iter().map(|(column, width)| match column {
        Column::Name | Column::Phase | Column::Minute => left(column.head(), *width),
        _ => right(column.head(), *width),
    });
    let head = " ".repeat(MARGIN) + &head.collect::<Vec<_>>().join(" ");
    let lines = rows
        .iter()
        .map(|row| PageLine { line: line(row, &columns), target: Some(Target::Cell(row.name.to_owned())) });
    let mut lines: Vec<PageLine> = lines.collect();
    if lines.is_empty() {
        lines.push(PageLine::of(words::line(empty(top), dim())));
    }
    Page { heading: Some(words::line(head, dim())), lines }
}

fn empty(top: &Top) -> String {
    match top.view.filter.as_str() {
        "" => "    There is no cell.".to_owned(),
        filter => format!("    No cell has {filter:?} in its name. Esc shows all."),
    }
}

fn line(row: &Row, columns: &[(Column, usize)]) -> Line<'static> {
    // The cursor's place is kept free: whoever draws knows where it is.
    let mut spans = vec![Span::raw(" "), Span::styled(mark(row.trouble), style(row.trouble)), Span::raw(" ")];
    for (at, (column, width)) in columns.iter().enumerate() {
        if at > 0 {
            spans.push(Span::raw(" "));
        }
        let (text, style) = column.text(row, *width);
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}

/// Those that have room, from left to right, and how wide each is.
fn columns(rows: &[Row], width: usize) -> Vec<(Column, usize)> {
    let most = if width < NARROW { LONGEST_NAME_NARROW } else { LONGEST_NAME };
    let name = rows.iter().map(|row| words::width(row.name)).max().unwrap_or(0).clamp(4, most);
    let mut left = width.saturating_sub(MARGIN);
    let mut kept = [false; Column::ALL.len()];
    for column in Column::BY_WORTH {
        let wants = column.width(name) + 1;
        if wants <= left + 1 {
            kept[column as usize] = true;
            left = left.saturating_sub(wants);
        } else if matches!(column, Column::Name | Column::Phase | Column::Rate) {
            break;
        }
    }
    let columns = Column::ALL.into_iter().filter(|column| kept[*column as usize]);
    let wide = |column| match column {
        Column::Minute => (LEAST_SPARKLINE + left).min(MOST_SPARKLINE),
        _ => column.width(name),
    };
    columns.map(|column| (column, wide(column))).collect()
}

fn some_style(is: bool) -> Style {
    style(if is { Trouble::Some } else { Trouble::None })
}
