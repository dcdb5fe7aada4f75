//! In virtual time, a look a second: what turns, how soon, and what does not.

mod resume;

use std::collections::VecDeque;

use super::*;

fn label(name: &str) -> Label {
    Label::parse(name).unwrap()
}

/// Requests of one second: served, failed, refused. Many accounts ask, and all of them fail that can.
const fn second(served: u64, failed: u64, refused: u64) -> Counts {
    Counts {
        served,
        failed,
        refused,
        by_lever: 0,
        asking: 0xffff,
        failing: if failed > 0 { 0xff } else { 0 },
    }
}

const WELL: Counts = second(20, 0, 0);
const DEAD: Counts = second(0, 20, 0);
const SILENT: Counts = Counts { served: 0, failed: 0, refused: 0, by_lever: 0, asking: 0, failing: 0 };

/// Of twenty of each of many accounts so many are refused by a lever.
const fn levered(by_lever: u64) -> Counts {
    Counts { served: 20 - by_lever, by_lever, failing: 0xff, ..WELL }
}

/// A cell with `app` and `metadata`, and what was counted of each in the last ten seconds.
struct World {
    board: Board,
    now: i64,
    seconds: [VecDeque<Counts>; 2],
    cell: CellSeen,
    changes: Vec<Change>,
}

const BEGIN: i64 = 1_795_168_800;

impl World {
    fn new() -> Self {
        let tile = |name| TileSeen { surface: label(name), recent: SILENT, lately: SILENT, bad_seconds: 0 };
        let cell = CellSeen {
            cell: label("us1"),
            phase: Phase::Full,
            ramp_percent: None,
            is_held: false,
            is_drained: false,
            is_checked: true,
            is_slow: false,
            tiles: vec![tile("app"), tile("metadata")],
        };
        Self { board: Board::default(), now: BEGIN, seconds: Default::default(), cell, changes: Vec::new() }
    }

    /// So many seconds, each with this on `app`, and with traffic that is well on the other surface.
    fn run(&mut self, seconds: u32, app: Counts) -> &mut Self {
        (0..seconds).for_each(|_| self.second(app, WELL));
        self
    }

    fn second(&mut self, app: Counts, metadata: Counts) {
        self.now += 1;
        for (kept, came) in self.seconds.iter_mut().zip([app, metadata]) {
            kept.push_back(came);
            while kept.len() > 10 {
                kept.pop_front();
            }
        }
        for (tile, kept) in self.cell.tiles.iter_mut().zip(&self.seconds) {
            tile.lately = sum(kept.iter());
            tile.recent = sum(kept.iter().rev().take(3));
            tile.bad_seconds =
                kept.iter().filter(|second| second.failed + second.refused + second.by_lever > 0).count()
                    as u32;
        }
        self.changes.extend(self.board.look(std::slice::from_ref(&self.cell), self.now));
    }

    fn standing(&self) -> CellStanding {
        self.board.standing(std::slice::from_ref(&self.cell)).remove(0)
    }

    fn states(&self) -> [&'static str; 3] {
        let standing = self.standing();
        [standing.whole.state, standing.tiles[0].1.state, standing.tiles[1].1.state].map(State::as_str)
    }

    /// Runs until the whole and `app` and `metadata` stand so; after how many seconds.
    fn until(&mut self, app: Counts, expect: [&str; 3]) -> u32 {
        let mut seconds = 0;
        while self.states() != expect {
            assert!(seconds < 300, "never {expect:?}, but {:?}", self.states());
            self.run(1, app);
            seconds += 1;
        }
        seconds
    }
}

fn sum<'a>(all: impl Iterator<Item = &'a Counts>) -> Counts {
    all.fold(SILENT, |sum, one| Counts {
        served: sum.served + one.served,
        failed: sum.failed + one.failed,
        refused: sum.refused + one.refused,
        by_lever: sum.by_lever + one.by_lever,
        asking: sum.asking | one.asking,
        failing: sum.failing | one.failing,
    })
}

#[test]
fn a_surface_that_fails_turns_alone_within_ten_seconds_and_comes_back_by_recovering() {
    let mut world = World::new();
    world.run(30, WELL);
    assert_eq!((world.states(), world.changes.len()), (["operating"; 3], 0));
    assert!(world.until(DEAD, ["degraded", "down", "operating"]) <= 10);
    let since = world.standing().tiles[0].1.since;
    world.run(60, DEAD);
    assert_eq!(world.standing().tiles[0].1.since, since, "one incident");
    assert!(world.until(WELL, ["recovering", "recovering", "operating"]) <= 10);
    let over = world.until(WELL, ["operating"; 3]);
    assert!((15..=40).contains(&over), "{over}");
    let of_app = world.changes.iter().filter(|change| change.surface == Some(label("app")));
    let said: Vec<&str> = of_app.map(|change| change.to.as_str()).collect();
    assert_eq!(said, ["down", "recovering", "operating"]);
    assert!(world.changes.iter().all(|change| change.surface != Some(label("metadata"))));
}

#[test]
fn what_fails_in_part_is_degraded_and_what_fails_once_is_nothing() {
    let mut world = World::new();
    world.run(20, WELL).run(1, second(10, 10, 0)).run(20, WELL);
    assert_eq!((world.states(), world.changes.len()), (["operating"; 3], 0), "one bad second of many");
    world.run(40, second(99, 1, 0));
    assert_eq!(world.changes.len(), 0, "one in a hundred");
    assert!(world.until(second(18, 2, 0), ["degraded", "degraded", "operating"]) <= 10);
}

#[test]
fn what_comes_and_goes_is_one_incident() {
    let mut world = World::new();
    world.run(20, WELL);
    for _ in 0..30 {
        world.run(2, DEAD).run(4, WELL);
    }
    let said: Vec<&str> = world
        .changes
        .iter()
        .filter(|change| change.surface.is_some())
        .map(|change| change.to.as_str())
        .collect();
    assert!(!said.contains(&"operating"), "{said:?}");
    assert!(world.states()[1] != "operating");
    // The same state is never said twice in a row, and over is over once.
    world.until(WELL, ["operating"; 3]);
    let overs =
        world.changes.iter().filter(|change| change.surface.is_some() && change.to == State::Operating);
    assert_eq!(overs.count(), 1);
}

#[test]
fn one_account_s_own_trouble_is_not_the_surface_s() {
    let one = Counts { served: 10, failed: 10, refused: 0, by_lever: 0, asking: 0b1011, failing: 0b1 };
    let mut world = World::new();
    world.run(30, one);
    assert_eq!(world.states(), ["operating"; 3]);
    // Of two who ask, one is half.
    let of_two = Counts { asking: 0b11, ..one };
    world.until(of_two, ["degraded", "down", "operating"]);
}

#[test]
fn few_requests_are_said_to_be_few_and_health_speaks() {
    let mut world = World::new();
    assert!(world.board.standing(std::slice::from_ref(&world.cell)).is_empty(), "nobody has looked");
    (0..70).for_each(|_| world.second(SILENT, SILENT));
    let standing = world.standing();
    assert_eq!(world.states(), ["operating"; 3]);
    assert!(standing.whole.is_quiet && standing.tiles[0].1.is_quiet);
    world.cell.phase = Phase::Down;
    world.second(SILENT, SILENT);
    assert_eq!(world.states(), ["down"; 3], "the word of health is taken at once");
    (world.cell.phase, world.cell.ramp_percent) = (Phase::Ramping, Some(25));
    world.second(SILENT, SILENT);
    assert_eq!(world.standing().whole.state, State::Recovering(Some(25)));
    world.cell.phase = Phase::Full;
    (0..30).for_each(|_| world.second(SILENT, SILENT));
    assert_eq!(world.states(), ["operating"; 3]);
    world.run(1, WELL);
    assert!(!world.standing().tiles[0].1.is_quiet);
    // Requests that have failed say something still when nobody dares to ask any more.
    world.until(DEAD, ["degraded", "down", "operating"]);
    world.run(40, SILENT);
    assert_eq!(world.states()[1], "down");
    assert!(world.until(SILENT, ["operating"; 3]) < 60);
}

#[test]
fn what_a_ramp_refuses_is_recovery_and_what_the_cell_fails_is_not() {
    let mut world = World::new();
    world.run(20, WELL);
    world.cell.phase = Phase::Down;
    world.run(5, second(0, 0, 20));
    assert_eq!(world.states()[1], "down");
    world.cell.phase = Phase::Probing;
    world.run(1, second(0, 0, 20));
    assert_eq!(world.states()[1], "down", "nobody was answered yet");
    assert_eq!(world.until(second(1, 0, 19), ["recovering", "recovering", "recovering"]), 1);
    (world.cell.phase, world.cell.ramp_percent) = (Phase::Ramping, Some(40));
    world.run(5, second(8, 0, 12));
    assert_eq!(world.standing().tiles[0].1.state, State::Recovering(Some(40)));
    assert_eq!(world.standing().whole.state, State::Recovering(Some(40)));
    world.run(3, second(4, 4, 12));
    assert_eq!(world.states()[1], "degraded");
}

#[test]
fn what_operators_say_is_said_at_once() {
    let mut world = World::new();
    world.run(20, WELL);
    world.cell.is_held = true;
    world.run(1, SILENT);
    assert_eq!(world.states(), ["held"; 3]);
    world.cell.is_held = false;
    world.run(1, WELL);
    assert_eq!(world.states(), ["operating"; 3]);
    world.cell.is_drained = true;
    world.run(1, second(0, 0, 20));
    assert_eq!(world.states(), ["down"; 3]);
    world.cell.is_drained = false;
    world.run(4, WELL);
    assert_eq!(world.states()[1], "recovering");
}

#[test]
fn what_a_lever_refuses_is_felt_and_turns_its_surface() {
    let mut world = World::new();
    world.run(20, WELL);
    assert!(world.until(levered(2), ["degraded", "degraded", "operating"]) <= 10);
    assert!(world.until(levered(18), ["degraded", "down", "operating"]) <= 10);
    assert!(world.until(WELL, ["recovering", "recovering", "operating"]) <= 10);
    // Also while a ramp brings the cell back, whose own refusals are none.
    let mut world = World::new();
    (world.cell.phase, world.cell.ramp_percent) = (Phase::Ramping, Some(40));
    world.run(5, second(8, 0, 12));
    assert_eq!(world.states()[1], "recovering");
    world.run(3, levered(10));
    assert_eq!(world.states()[1], "degraded");
}

#[test]
fn one_account_that_a_lever_refuses_turns_nothing_for_the_others() {
    let one = Counts { served: 10, by_lever: 10, asking: 0b1011, failing: 0b1, ..SILENT };
    let mut world = World::new();
    world.run(30, one);
    assert_eq!(world.states(), ["operating"; 3]);
}

#[test]
fn requests_that_a_hold_has_refused_do_not_wait() {
    let mut world = World::new();
    // What failed before is why it is held.
    world.run(20, DEAD);
    world.cell.is_held = true;
    world.run(5, SILENT);
    assert_eq!(world.states(), ["held"; 3]);
    world.until(levered(20), ["degraded", "down", "held"]);
    (0..10).for_each(|_| world.second(levered(20), levered(20)));
    assert_eq!(world.states(), ["down"; 3]);
    world.run(15, SILENT);
    assert_eq!(world.states(), ["held"; 3]);
}

#[test]
fn where_few_ask_it_is_said_what_speaks_instead() {
    let basis = |world: &World| {
        let standing = world.standing();
        let of_tiles = standing.tiles.iter().map(|(_, tile)| standing.basis(tile).as_str());
        [standing.basis(&standing.whole).as_str()].into_iter().chain(of_tiles).collect::<Vec<_>>()
    };
    let mut world = World::new();
    (0..70).for_each(|_| world.second(SILENT, SILENT));
    assert_eq!(basis(&world), ["health"; 3]);
    world.cell.is_checked = false;
    assert_eq!(basis(&world), ["nothing"; 3]);
    world.run(1, WELL);
    assert_eq!(basis(&world), ["requests"; 3]);
    (0..70).for_each(|_| world.second(SILENT, WELL));
    assert_eq!(basis(&world), ["requests", "nothing", "requests"]);
    world.cell.is_drained = true;
    world.second(SILENT, WELL);
    assert_eq!(basis(&world), ["operators"; 3]);
}

#[test]
fn a_slow_cell_is_degraded_though_each_surface_answers() {
    let mut world = World::new();
    world.cell.is_slow = true;
    world.run(4, WELL);
    assert_eq!(world.states(), ["operating"; 3]);
    world.run(1, WELL);
    assert_eq!(world.states(), ["degraded", "operating", "operating"]);
    assert!(world.standing().is_slow);
    world.cell.is_slow = false;
    assert!((15..=25).contains(&world.until(WELL, ["operating"; 3])));
}

#[test]
fn a_cell_or_surface_that_is_gone_is_forgotten() {
    let mut world = World::new();
    world.run(1, WELL).until(DEAD, ["degraded", "down", "operating"]);
    world.cell.tiles.remove(0);
    world.seconds.swap(0, 1);
    world.run(1, WELL);
    assert_eq!(world.standing().tiles.len(), 1);
    assert_eq!(world.standing().whole.state, State::Operating);
    assert!(world.board.look(&[], world.now).is_empty());
    assert!(world.board.standing(std::slice::from_ref(&world.cell)).is_empty());
}
