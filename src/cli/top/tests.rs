//! The pictures, as golden text: at usual sizes and at one that is too small, on an ordinary day and on a bad one.

use std::time::{Duration, SystemTime};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::commands::Target;
use super::document::Document;
use super::draw::{self, Look};
use super::fleet::Fleet;
use super::sample::{self, now};
use super::view::{Over, Screen, Top, View};
use crate::cli::admin_socket::Door;

const FULL: Look = Look { has_utf8: true, has_colour: true };

fn terminal(top: &Top, at: SystemTime, look: Look, (width, height): (u16, u16)) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory can be drawn on");
    let drawn = terminal.draw(|frame| draw::draw(top, at, look, frame.area(), frame.buffer_mut()));
    drawn.expect("memory can be drawn on");
    terminal
}

fn drawn(top: &Top, size: (u16, u16)) -> String {
    draw::as_text(terminal(top, now(), FULL, size).backend().buffer())
}

fn golden(name: &str, picture: String) {
    insta::with_settings!({ snapshot_path => "golden", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, picture);
    });
}

fn on(document: Document, change: impl FnOnce(&mut View)) -> Top {
    let mut top = sample::top(document);
    change(&mut top.view);
    top
}

#[test]
fn cells_of_an_ordinary_day_and_of_a_bad_one() {
    for size in [(80, 24), (120, 40), (40, 10)] {
        let (width, height) = size;
        golden(&format!("good_{width}x{height}"), drawn(&sample::top(sample::good_day()), size));
        golden(&format!("bad_{width}x{height}"), drawn(&sample::top(sample::bad_day()), size));
    }
}

#[test]
fn an_opened_cell_says_everything_of_it() {
    for (name, cell) in [("full", "us1"), ("ramping", "us2"), ("dead", "shared")] {
        let top = on(sample::bad_day(), |view| view.open = Some(cell.to_owned()));
        golden(&format!("cell_{name}_100x40"), drawn(&top, (100, 40)));
    }
    let gone = on(sample::bad_day(), |view| view.open = Some("nowhere".to_owned()));
    assert!(drawn(&gone, (80, 24)).contains("Cell nowhere is gone"), "{}", drawn(&gone, (80, 24)));
}

#[test]
fn the_other_screens_of_a_bad_day() {
    for screen in Screen::ALL.into_iter().skip(1) {
        let mut top = on(sample::bad_day(), |view| view.screen = screen);
        let at = now() + Duration::from_secs(60);
        top.fleet.hear(0, Ok(sample::good_day()), at);
        top.fleet.hear(0, Ok(sample::bad_day()), at);
        golden(&format!("screen_{}_80x24", screen.as_str()), drawn(&top, (80, 24)));
    }
    for (name, over) in [("help", Over::Help), ("commands", Over::Commands(Target::Cell("us2".into())))] {
        let top = on(sample::bad_day(), |view| view.over = Some(over));
        golden(&format!("screen_{name}_80x24"), drawn(&top, (80, 24)));
    }
}

#[test]
fn numbers_that_are_old_say_so() {
    let mut top = sample::top(sample::good_day());
    top.fleet.hear(0, Err("Connection refused (os error 111). Has cellgate ended?".into()), now());
    let later = now() + Duration::from_secs(75);
    let picture = draw::as_text(terminal(&top, later, FULL, (80, 24)).backend().buffer());
    golden("stale_80x24", picture);
}

#[test]
fn who_never_answered_is_told_what_to_do() {
    let mut fleet = Fleet::new([("state/admin.sock".into(), Door::Unix("state/admin.sock".into()))]);
    let top = Top { fleet: Fleet::new([("a".into(), Door::Unix("a".into()))]), view: View::default() };
    assert!(drawn(&top, (80, 24)).contains("ASKING"));
    fleet.hear(
        0,
        Err("Permission denied (os error 13). It is not yours: sudo -u '#990' cellgate top --socket PATH"
            .into()),
        now(),
    );
    let top = Top { fleet, view: View::default() };
    golden("never_80x24", drawn(&top, (80, 24)));
}

#[test]
fn several_replicas_are_one_table_and_each_is_named_where_it_matters() {
    let door = |name: &str| (name.into(), Door::Unix(format!("/run/{name}.sock").into()));
    let mut fleet = Fleet::new(["edge-a", "edge-b", "edge-c"].map(door));
    fleet.hear(0, Ok(sample::good_day()), now());
    fleet.hear(1, Ok(sample::bad_day()), now());
    fleet.hear(2, Err("nothing within 2000 ms".into()), now());
    let mut top = Top { fleet, view: View::default() };
    golden("fleet_120x40", drawn(&top, (120, 40)));
    top.view.open = Some("us2".into());
    golden("fleet_cell_120x60", drawn(&top, (120, 60)));
}

#[test]
fn a_page_for_a_ticket_has_all_lines_and_no_keys() {
    let top = on(sample::bad_day(), |view| view.is_printed = true);
    golden("printed_120", draw::text(&top, now(), FULL, 120));
}

#[test]
fn a_terminal_without_utf8_is_sent_ascii_alone() {
    let look = Look { has_utf8: false, ..FULL };
    for document in [sample::good_day(), sample::bad_day()] {
        let mut top = sample::top(document);
        for screen in Screen::ALL {
            top.view.screen = screen;
            let picture = draw::as_text(terminal(&top, now(), look, (120, 40)).backend().buffer());
            assert!(picture.is_ascii(), "{picture}");
        }
    }
    let top = sample::top(sample::bad_day());
    golden("ascii_120x40", draw::as_text(terminal(&top, now(), look, (120, 40)).backend().buffer()));
}

#[test]
fn nothing_is_said_by_colour_alone() {
    let top = sample::top(sample::bad_day());
    let look = Look { has_colour: false, ..FULL };
    let (with, without) = (terminal(&top, now(), FULL, (120, 40)), terminal(&top, now(), look, (120, 40)));
    let (with, without) = (with.backend().buffer(), without.backend().buffer());
    let is_coloured = |buffer: &ratatui::buffer::Buffer| {
        buffer.content.iter().any(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset))
    };
    assert!(is_coloured(with) && !is_coloured(without));
    assert_eq!(draw::as_text(with), draw::as_text(without));
    // Each line that has a colour has a mark, or a word that says it.
    for y in 0..with.area.height {
        let line: String = (0..with.area.width).map(|x| with[(x, y)].symbol()).collect();
        let has_colour = (0..with.area.width).any(|x| with[(x, y)].fg != Color::Reset);
        let says = ["!", "NOT READY", "failed"].iter().any(|word| line.contains(word));
        assert!(!has_colour || says, "{line}");
    }
}

#[test]
fn every_size_can_be_drawn() {
    let mut top = sample::top(sample::bad_day());
    for width in [0, 1, 2, 5, 13, 39, 61, 79, 250] {
        for height in [0, 1, 2, 3, 5, 9, 15, 60] {
            for screen in Screen::ALL {
                top.view.screen = screen;
                drawn(&top, (width, height));
            }
            top.view.screen = Screen::Cells;
            for open in [Some("us1".to_owned()), None] {
                top.view.open = open;
                top.view.is_typing = !top.view.is_typing;
                drawn(&top, (width, height));
            }
        }
    }
}
