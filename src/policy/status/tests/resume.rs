//! Restarts in virtual time: what is said goes on, what is too old does not, and nothing stays open that was told.

use super::super::resume::{
    CHANGES_FOR_S, Existing, NotTaken, Resumed, STANDS_FOR_S, Saved, TELL_WITHIN_S, Untold,
};
use super::*;

fn existing(cells: &[&str], surfaces: &[&str]) -> Existing {
    let names = |all: &[&str]| all.iter().map(|name| label(name)).collect();
    Existing { cells: names(cells), surfaces: names(surfaces) }
}

fn all() -> Existing {
    existing(&["us1"], &["app", "metadata"])
}

impl World {
    /// What is put down now; the last change is not known to have been told.
    fn saved(&self) -> Saved {
        let untold =
            self.changes.iter().rev().take(1).map(|change| Untold { id: "1".into(), change: change.clone() });
        Saved {
            at: self.now,
            cells: self.board.saved(),
            changes: self.changes.iter().rev().cloned().collect(),
            untold: untold.collect(),
        }
    }

    /// Another process goes on after so many seconds; it has counted nothing yet. What it was given besides the board.
    fn restart(&mut self, after: i64, existing: &Existing) -> Resumed {
        let saved = self.saved();
        self.now += after;
        let mut resumed = saved.resume(existing, self.now);
        self.board = std::mem::take(&mut resumed.board);
        self.changes.clear();
        self.seconds = Default::default();
        resumed
    }
}

/// One whose `app` is down for a while.
fn dead() -> World {
    let mut world = World::new();
    world.run(30, WELL).until(DEAD, ["degraded", "down", "operating"]);
    world.run(60, DEAD);
    world
}

#[test]
fn a_restart_goes_on_with_what_was_said_and_nothing_is_told_twice() {
    for after in [0, 2, STANDS_FOR_S] {
        let mut world = dead();
        let (before, told) = (world.standing(), world.changes.clone());
        let resumed = world.restart(after, &all());
        assert_eq!(world.standing(), before, "before anybody has looked");
        assert_eq!((resumed.not_taken, resumed.closed.len()), (None, 0));
        assert!(resumed.changes.iter().eq(told.iter().rev()), "{:?}", resumed.changes);
        world.run(60, DEAD);
        assert_eq!((world.standing(), world.changes.len()), (before, 0), "{after}");
        // What was down comes back as if nothing had been.
        assert!(world.until(WELL, ["recovering", "recovering", "operating"]) <= 10);
        world.until(WELL, ["operating"; 3]);
        let of_app = world.changes.iter().filter(|change| change.surface == Some(label("app")));
        assert_eq!(of_app.map(|change| change.from.as_str()).collect::<Vec<_>>(), ["down", "recovering"]);
    }
}

#[test]
fn what_was_said_holds_while_nobody_asks_after_a_restart_and_what_an_operator_said_does_not() {
    let mut world = dead();
    world.restart(5, &all());
    world.run(40, SILENT);
    assert_eq!(world.states()[1], "down");
    assert!(world.until(SILENT, ["operating"; 3]) < 60);
    // A lever that was released while nobody looked.
    let mut world = World::new();
    world.run(20, WELL);
    world.cell.is_held = true;
    world.run(1, SILENT);
    world.restart(5, &all());
    assert_eq!(world.states(), ["held"; 3]);
    world.run(1, SILENT);
    assert_eq!(world.states(), ["held"; 3], "and one that is pulled still");
    world.restart(5, &all());
    world.cell.is_held = false;
    world.run(1, SILENT);
    assert_eq!(world.states(), ["operating"; 3]);
}

#[test]
fn a_slow_cell_and_a_ramp_are_said_on() {
    let mut world = World::new();
    world.cell.is_slow = true;
    world.run(10, WELL);
    let since = world.standing().whole.since;
    world.restart(3, &all());
    world.run(30, WELL);
    assert_eq!((world.states()[0], world.standing().whole.since), ("degraded", since));
    let mut world = World::new();
    (world.cell.phase, world.cell.ramp_percent) = (Phase::Ramping, Some(40));
    world.run(5, WELL);
    let before = world.standing();
    world.restart(3, &all());
    assert_eq!(world.standing(), before);
    assert_eq!(before.tiles[0].1.state, State::Recovering(Some(40)));
}

#[test]
fn what_is_too_old_is_closed_and_its_changes_are_told_on() {
    let mut world = dead();
    let old = STANDS_FOR_S + 1;
    let resumed = world.restart(old, &all());
    assert_eq!(resumed.not_taken, Some(NotTaken::Old(old)));
    let reason = resumed.not_taken.unwrap().to_string();
    assert!(reason.contains("901 s") && reason.contains("900 s"), "{reason}");
    assert!(world.board.standing(std::slice::from_ref(&world.cell)).is_empty(), "begins anew");
    let closed: Vec<_> = resumed
        .closed
        .iter()
        .map(|change| (change.surface.as_ref().map(Label::as_str), change.from.as_str(), change.to.as_str()))
        .collect();
    assert_eq!(closed, [(Some("app"), "down", "operating"), (None, "degraded", "operating")]);
    assert!(resumed.closed.iter().all(|change| change.at == world.now));
    assert_eq!((resumed.changes.len(), resumed.untold.len(), resumed.never_told), (2, 1, 0));
    world.run(1, WELL);
    assert_eq!(world.standing().tiles[0].1.since, world.now);
}

#[test]
fn changes_are_told_for_a_month_and_to_a_webhook_for_a_day() {
    for (after, expect) in [
        // The last look was a minute after the last change.
        (TELL_WITHIN_S - 70, (2, 1, 0)),
        (TELL_WITHIN_S + 1, (2, 0, 1)),
        (CHANGES_FOR_S - 70, (2, 0, 1)),
        (CHANGES_FOR_S + 1, (0, 0, 1)),
    ] {
        let resumed = dead().restart(after, &all());
        assert_eq!((resumed.changes.len(), resumed.untold.len(), resumed.never_told), expect, "{after}");
    }
}

#[test]
fn a_clock_that_was_set_back_makes_no_time_that_is_to_come() {
    let mut world = dead();
    // To before it began: by a little it may be a clock that was set right.
    let resumed = world.restart(-STANDS_FOR_S, &all());
    assert_eq!(resumed.not_taken, None);
    assert_eq!(world.states(), ["degraded", "down", "operating"]);
    let standing = world.standing();
    let sinces = standing.tiles.iter().map(|(_, tile)| tile.since).chain([standing.whole.since]);
    assert!(sinces.into_iter().all(|since| since == world.now), "{standing:?}");
    let untold = resumed.untold.iter().map(|one| &one.change);
    assert!(resumed.changes.iter().chain(untold).all(|change| change.at == world.now), "{resumed:?}");
    assert_eq!((resumed.changes.len(), resumed.untold.len()), (2, 1));
    // By more nobody knows when anything was.
    let mut world = dead();
    let resumed = world.restart(-STANDS_FOR_S - 1, &all());
    assert_eq!(resumed.not_taken, Some(NotTaken::Ahead(901)));
    assert_eq!(resumed.closed.len(), 2);
    let resumed = dead().restart(-100 * STANDS_FOR_S, &all());
    assert_eq!((resumed.changes.len(), resumed.untold.len(), resumed.never_told), (0, 0, 1));
}

#[test]
fn what_is_no_more_is_dropped() {
    let (mut without_app, mut without_cell) = (dead(), dead());
    let resumed = without_app.restart(1, &existing(&["us1"], &["metadata"]));
    without_app.cell.tiles.remove(0);
    let standing = without_app.standing();
    assert_eq!((standing.tiles.len(), standing.tiles[0].0.as_str()), (1, "metadata"));
    assert!(resumed.changes.iter().all(|change| change.surface.is_none()), "{resumed:?}");
    let resumed = without_cell.restart(1, &existing(&["us2"], &["app", "metadata"]));
    assert!(without_cell.board.saved().is_empty());
    assert_eq!((resumed.changes.len(), resumed.untold.len(), resumed.never_told), (0, 0, 1));
    // Of what is no more nothing is closed either.
    let resumed = dead().restart(STANDS_FOR_S + 1, &existing(&["us2"], &["app", "metadata"]));
    assert_eq!(resumed.closed.len(), 0);
}

#[test]
fn a_turn_and_what_is_to_be_told_are_news_and_how_far_a_ramp_is_is_none() {
    let mut world = World::new();
    world.cell.phase = Phase::Ramping;
    world.run(5, WELL);
    let before = world.saved();
    world.cell.ramp_percent = Some(40);
    world.run(1, WELL);
    assert_ne!(world.saved().cells, before.cells);
    assert!(world.saved().tells_the_same(&before));
    assert!(!before.tells_the_same(&Saved { untold: Vec::new(), ..before.clone() }));
    world.cell.phase = Phase::Down;
    world.run(1, second(0, 0, 20));
    assert!(!world.saved().tells_the_same(&before));
}
