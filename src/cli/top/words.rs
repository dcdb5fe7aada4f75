//! Numbers, lines and little pictures as text of a known width. What a terminal cannot show is replaced at the end
//! ([`super::view::plain`]); here everything may be drawn.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::rows::Trouble;

/// Eighths of a line's height.
pub const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Left out.
pub const MORE: char = '…';

/// A style that says more than its colour: it stands beside a mark or a word, always.
pub fn style(trouble: Trouble) -> Style {
    match trouble {
        Trouble::None => Style::new(),
        Trouble::Some => Style::new().fg(Color::Yellow),
        Trouble::Much => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}

/// What is read second.
pub fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// What is read first.
pub fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// Two characters.
pub const fn mark(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::None => "  ",
        Trouble::Some => "! ",
        Trouble::Much => "!!",
    }
}

/// As a terminal counts it.
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// As much of it as has room, with a mark where something is left out.
pub fn fit(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let (mut kept, mut taken) = (String::new(), 0);
    for c in text.chars() {
        taken += width(c.encode_utf8(&mut [0; 4]));
        if taken + 1 > room {
            break;
        }
        kept.push(c);
    }
    if room > 0 {
        kept.push(MORE);
    }
    kept
}

/// Exactly so wide.
pub fn left(text: &str, room: usize) -> String {
    let text = fit(text, room);
    let missing = room - width(&text);
    text + &" ".repeat(missing)
}

/// The same at the right end.
pub fn right(text: &str, room: usize) -> String {
    let text = fit(text, room);
    " ".repeat(room - width(&text)) + &text
}

/// In lines, broken between words; all but the first begin with these many spaces.
pub fn wrap(text: &str, room: usize, indent: usize) -> Vec<String> {
    // A word that is longer than the line is cut: what is narrower than this is no terminal.
    let room = room.max(indent + 10);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is a first line");
        let is_first = last.trim().is_empty();
        if !is_first && width(last) + 1 + width(word) > room {
            lines.push(" ".repeat(indent) + &fit(word, room - indent));
        } else {
            if !is_first || last.is_empty() && word.is_empty() {
                last.push(' ');
            }
            last.push_str(&fit(word, room));
        }
    }
    lines
}

/// Of a rate: `0`, `0.4`, `123`, `12.3k`.
pub fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".to_owned(),
        low if low < 9.95 => format!("{low:.1}"),
        usual if usual < 9_999.5 => format!("{usual:.0}"),
        high => format!("{:.1}k", high / 1e3),
    }
}

/// Of a count: `9999`, `12k`.
pub fn count(number: u64) -> String {
    if number < 10_000 { number.to_string() } else { format!("{}k", number / 1_000) }
}

/// Milliseconds: `0.8`, `340`; `-` where there are none.
pub fn ms(time: Option<f64>) -> String {
    match time {
        None => "-".to_owned(),
        Some(short) if short < 9.95 => format!("{short:.1}"),
        Some(long) => format!("{long:.0}"),
    }
}

/// How much of it is taken.
pub fn bar(part: f64, room: usize) -> String {
    let full = (part.clamp(0.0, 1.0) * room as f64).ceil() as usize;
    "█".repeat(full) + &"░".repeat(room - full)
}

/// The last minute, a column for as many seconds as it takes, the newest at the right; the highest of them is full height.
pub fn sparkline(seconds: &[u64], room: usize) -> String {
    const MINUTE: usize = 60;
    let padding = MINUTE.saturating_sub(seconds.len());
    let second = |at: usize| if at < padding { 0 } else { seconds.get(at - padding).copied().unwrap_or(0) };
    let columns = room.min(MINUTE);
    let peak = |column: usize| {
        let span = column * MINUTE / columns..(column + 1) * MINUTE / columns;
        span.map(second).max().unwrap_or(0)
    };
    let peaks: Vec<u64> = (0..columns).map(peak).collect();
    let highest = peaks.iter().copied().max().unwrap_or(0);
    let glyph = |peak: u64| match peak {
        0 => ' ',
        peak => EIGHTHS[((peak * 8).div_ceil(highest) - 1) as usize],
    };
    peaks.into_iter().map(glyph).collect()
}

/// The time of a day, of RFC 3339: `03:12:45Z`.
pub fn clock(moment: &str) -> String {
    let time = moment.split_once('T').map_or(moment, |(_, time)| time);
    time.split_once('.').map_or_else(|| time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

/// A line of one piece.
pub fn line(text: impl Into<String>, style: Style) -> Line<'static> {
    Line::from(Span::styled(text.into(), style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_width_that_they_are_given() {
        for (text, expect) in
            [("", "     "), ("us1", "us1  "), ("us1-a", "us1-a"), ("us1-ab", "us1-…"), ("東京都", "東京…")]
        {
            assert_eq!(left(text, 5), expect);
        }
        assert_eq!(right("us1", 5), "  us1");
        assert_eq!(fit("us1", 0), "");
        let wrapped = wrap("one two three four", 12, 2);
        assert_eq!(wrapped, ["one two", "  three four"]);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.04, 9.94, 123.4, 12_345.0].map(rate), ["0", "0.0", "9.9", "123", "12.3k"]);
        assert_eq!([0, 9_999, 12_999].map(count), ["0", "9999", "12k"]);
        assert_eq!([None, Some(0.84), Some(340.4)].map(ms), ["-", "0.8", "340"]);
        assert_eq!(clock("2026-11-22T03:12:45.123Z"), "03:12:45Z");
        assert_eq!(clock("2026-11-22T03:12:45Z"), "03:12:45Z");
    }

    #[test]
    fn a_bar_shows_the_first_permit_and_a_sparkline_the_shortest_burst() {
        assert_eq!(
            [0.0, 0.01, 0.5, 1.0, 7.0].map(|part| bar(part, 4)),
            ["░░░░", "█░░░", "██░░", "████", "████"]
        );
        let mut seconds = [0; 60];
        (seconds[0], seconds[31], seconds[59]) = (8, 1, 4);
        assert_eq!(sparkline(&seconds, 6), "█  ▁ ▄");
        assert_eq!(sparkline(&[1, 1], 6), "     █", "what was before the start is nothing");
        assert_eq!(sparkline(&[], 6), "      ");
        assert_eq!(sparkline(&[5; 60], 100).chars().count(), 60);
    }
}
