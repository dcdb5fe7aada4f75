//! What a key does: a plain function from what is looked at to what is looked at then. No key changes anything in cellgate.

use std::time::SystemTime;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::commands::Target;
use super::draw::cursor;
use super::page::{Page, PageLine, page};
use super::view::{Over, Screen, Top};

/// Longest filter: that of a label, which names of cells are.
const LONGEST_FILTER: usize = 63;

/// Lines that PgUp and PgDn turn.
const PAGE: usize = 10;

/// What is to be done besides drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Stay,
    /// Draw everything anew: somebody else has written on the terminal.
    Anew,
    Suspend,
    Quit,
}

/// Takes a key on a terminal of this width.
pub fn press(top: &mut Top, key: KeyEvent, width: usize, now: SystemTime) -> Act {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Act::Quit,
            KeyCode::Char('z') => Act::Suspend,
            KeyCode::Char('l') => Act::Anew,
            _ => Act::Stay,
        };
    }
    if top.view.is_typing {
        type_filter(top, key.code);
        return Act::Stay;
    }
    let view = &mut top.view;
    match key.code {
        KeyCode::Char('q') => return Act::Quit,
        KeyCode::Char('r') => return Act::Anew,
        KeyCode::Char(digit @ '1'..='6') => {
            view.turn_to(Screen::ALL[digit as usize - '1' as usize]);
        }
        KeyCode::Char('?') => view.lay_over(Over::Help),
        KeyCode::Char('p') => view.paused = if view.paused.is_some() { None } else { Some(now) },
        KeyCode::Char('s') => view.sort = view.sort.next(),
        KeyCode::Char('/') => {
            view.turn_to(Screen::Cells);
            view.is_typing = true;
        }
        KeyCode::Esc | KeyCode::Backspace | KeyCode::Left | KeyCode::Char('h') => back(top),
        KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => open(top, width),
        KeyCode::Char('c') => say_commands(top, width),
        code => move_cursor(top, code, width),
    }
    Act::Stay
}

fn type_filter(top: &mut Top, code: KeyCode) {
    let view = &mut top.view;
    match code {
        KeyCode::Enter => view.is_typing = false,
        KeyCode::Esc => {
            view.is_typing = false;
            view.filter.clear();
        }
        KeyCode::Backspace => {
            view.filter.pop();
        }
        KeyCode::Char(c) if view.filter.len() < LONGEST_FILTER && c.is_ascii_graphic() => view.filter.push(c),
        _ => {}
    }
}

/// One step back, until there is nothing to go back from.
fn back(top: &mut Top) {
    let view = &mut top.view;
    if view.over.take().is_some() {
        return;
    }
    view.cursor = 0;
    if view.open.take().is_none() {
        if view.screen == Screen::Cells {
            view.filter.clear();
        }
        view.screen = Screen::Cells;
    }
}

/// Opens the cell of the cursor, wherever it is.
fn open(top: &mut Top, width: usize) {
    if top.view.over.is_some() || top.view.open.is_some() {
        return;
    }
    if let Some(Target::Cell(name)) = selected(top, &page(top, width)) {
        top.view.selected = Some(name.clone());
        top.view.turn_to(Screen::Cells);
        top.view.open = Some(name);
    }
}

fn say_commands(top: &mut Top, width: usize) {
    if top.view.over.is_some() {
        return;
    }
    if let Some(target) = selected(top, &page(top, width)) {
        top.view.lay_over(Over::Commands(target));
    }
}

/// What the line of the cursor is about. Where it is about nothing: of an opened cell the cell, elsewhere what is next.
fn selected(top: &Top, page: &Page) -> Option<Target> {
    let at = cursor(top, page);
    let target = |line: &PageLine| line.target.clone();
    let here = page.lines.get(at).and_then(target);
    let next = || page.lines.iter().skip(at).find_map(target);
    let before = || page.lines.iter().take(at).rev().find_map(target);
    here.or_else(|| top.view.open.clone().map(Target::Cell)).or_else(next).or_else(before)
}

fn move_cursor(top: &mut Top, code: KeyCode, width: usize) {
    let page = page(top, width);
    let (at, last) = (cursor(top, &page), page.lines.len().saturating_sub(1));
    let to = match code {
        KeyCode::Down | KeyCode::Char('j') => at + 1,
        KeyCode::Up | KeyCode::Char('k') => at.saturating_sub(1),
        KeyCode::PageDown | KeyCode::Char(' ') => at + PAGE,
        KeyCode::PageUp => at.saturating_sub(PAGE),
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => last,
        _ => return,
    };
    let to = to.min(last);
    if top.view.over.is_some() {
        top.view.scroll = to;
    } else if top.view.is_list() {
        if let Some(Target::Cell(name)) = page.lines.get(to).and_then(|line| line.target.clone()) {
            top.view.selected = Some(name);
        }
    } else {
        top.view.cursor = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::sample;

    const WIDTH: usize = 80;

    fn pressed(top: &mut Top, keys: &str) -> Act {
        let mut last = Act::Stay;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                key => KeyCode::Char(key),
            };
            last = press(top, KeyEvent::from(code), WIDTH, SystemTime::UNIX_EPOCH);
        }
        last
    }

    #[test]
    fn the_cursor_stays_with_its_cell_when_others_change_places() {
        let mut top = sample::top(sample::bad_day());
        pressed(&mut top, "jj");
        let selected = top.view.selected.clone();
        assert!(selected.is_some());
        let before = cursor(&top, &page(&top, WIDTH));
        pressed(&mut top, "s");
        assert_eq!(top.view.selected, selected);
        assert_ne!(cursor(&top, &page(&top, WIDTH)), before, "by name it stands elsewhere");
        pressed(&mut top, "\n");
        assert_eq!(top.view.open, selected);
        pressed(&mut top, "\u{1b}");
        assert!(top.view.is_list());
    }

    #[test]
    fn a_filter_is_typed_and_taken_back_and_keys_are_letters_meanwhile() {
        let mut top = sample::top(sample::bad_day());
        assert_eq!(pressed(&mut top, "3/us1q\u{8}"), Act::Stay);
        assert_eq!((top.view.screen, &*top.view.filter), (Screen::Cells, "us1"));
        pressed(&mut top, "\n");
        assert_eq!(page(&top, WIDTH).lines.len(), 1);
        pressed(&mut top, "\u{1b}");
        assert_eq!(page(&top, WIDTH).lines.len(), 4);
        pressed(&mut top, &format!("/{}", "x".repeat(1_000)));
        assert_eq!(top.view.filter.len(), LONGEST_FILTER);
    }

    #[test]
    fn a_command_is_about_the_line_of_the_cursor_or_else_about_the_cell() {
        let mut top = sample::top(sample::bad_day());
        pressed(&mut top, "/us1\n\n");
        let lines = page(&top, WIDTH).lines.len();
        let mut seen = Vec::new();
        for _ in 0..lines {
            pressed(&mut top, "c");
            let Some(Over::Commands(target)) = top.view.over.clone() else {
                unreachable!("a line without commands")
            };
            let kind = match target {
                Target::Cell(_) => "cell",
                Target::Group { .. } => "group",
                Target::Endpoint { .. } => "endpoint",
                other => unreachable!("{other:?} is not of a cell"),
            };
            if seen.last() != Some(&kind) {
                seen.push(kind);
            }
            pressed(&mut top, "\u{1b}j");
        }
        assert_eq!(seen, ["cell", "group", "endpoint", "group", "endpoint", "cell"]);
    }

    #[test]
    fn nothing_that_is_pressed_leads_out_of_the_page_or_into_a_panic() {
        let keys = "123456jkGg \n\u{1b}?/scprlh\u{8}x";
        let keys: Vec<char> = keys.chars().collect();
        for document in [sample::good_day(), sample::bad_day()] {
            let mut top = sample::top(document);
            // Every sequence of three.
            for number in 0..keys.len().pow(3) {
                let key = keys[number / [1, keys.len(), keys.len().pow(2)][number % 3] % keys.len()];
                pressed(&mut top, &key.to_string());
                let page = page(&top, WIDTH);
                assert!(cursor(&top, &page) < page.lines.len());
            }
        }
    }

    #[test]
    fn pause_goes_on_and_control_keys_end_stop_and_draw_anew() {
        let mut top = sample::top(sample::good_day());
        pressed(&mut top, "p");
        assert!(top.view.paused.is_some());
        pressed(&mut top, "p");
        assert!(top.view.paused.is_none());
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        let mut act = |c| press(&mut top, control(c), WIDTH, SystemTime::UNIX_EPOCH);
        assert_eq!(['c', 'z', 'l', 'x'].map(&mut act), [Act::Quit, Act::Suspend, Act::Anew, Act::Stay]);
        assert_eq!(pressed(&mut top, "q"), Act::Quit);
    }
}
