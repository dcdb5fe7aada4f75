//! What a process that starts goes on with of what the one before has said: how each tile stood and since when, what has changed,
//! and which changes a webhook may not have heard of. Nothing else of it is believed: the first seconds decide how it goes on.

use std::collections::BTreeSet;
use std::fmt;

use super::super::ids::Label;
use super::tile::Stand;
use super::{Board, CellBoard, Change, Slow, Standing, State};

/// How it stood when it was put down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// When somebody looked last, in seconds since the Unix epoch.
    pub at: i64,
    /// Each cell that was looked at.
    pub cells: Vec<SavedCell>,
    /// The newest first.
    pub changes: Vec<Change>,
    /// What was to be told, the oldest first, and is not known to have been.
    pub untold: Vec<Untold>,
}

/// How one cell stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedCell {
    /// Its name.
    pub cell: Label,
    /// As a whole.
    pub whole: Standing,
    /// It was called slow.
    pub is_slow: bool,
    /// Its surfaces.
    pub tiles: Vec<SavedTile>,
}

/// How one of its surfaces stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedTile {
    /// Its name.
    pub surface: Label,
    /// What was said.
    pub standing: Standing,
    /// It was health or an operator who said it, and not requests.
    pub is_told: bool,
}

/// A change that somebody waits to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    /// Of the message: the same each time it is sent, so that its receiver knows it again.
    pub id: Box<str>,
    /// What it says.
    pub change: Change,
}

/// What serves now: of anything else there is nothing to say.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// Names of cells.
    pub cells: BTreeSet<Label>,
    /// Names of surfaces; each cell has all of them.
    pub surfaces: BTreeSet<Label>,
}

/// What a process goes on with.
#[derive(Debug, Default)]
pub struct Resumed {
    /// Stands as it stood; empty where that is not taken.
    pub board: Board,
    /// What has changed before, the newest first.
    pub changes: Vec<Change>,
    /// What was said and is not said any more, for it is not taken: nothing stays open that somebody was told of.
    pub closed: Vec<Change>,
    /// What is still to be told, the oldest first.
    pub untold: Vec<Untold>,
    /// Of how many changes nobody will hear: they are too old, or of something that is no more.
    pub never_told: usize,
    /// Why it is not taken how it stood.
    pub not_taken: Option<NotTaken>,
}

/// Why it is not taken how it stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// Nobody has looked for so many seconds.
    Old(i64),
    /// It is from so many seconds ahead: the clock was set back, and how old it is nobody knows.
    Ahead(i64),
}

/// Longest time without anybody who looks, in seconds, after which what was said still holds: a machine that starts anew or a
/// container that is put elsewhere takes some minutes. What is down after longer may have been well in between.
pub const STANDS_FOR_S: i64 = 15 * 60;

/// How long changes are told, in seconds: a month, what people ask about when they ask about an incident.
pub const CHANGES_FOR_S: i64 = 30 * 86_400;

/// How late a change is still told to a webhook, in seconds: whoever hears of it after a day has read it elsewhere.
pub const TELL_WITHIN_S: i64 = 86_400;

impl Saved {
    /// Whether it tells nothing that the other one does not: each turn of a tile is a change. How far a ramp is and where few ask
    /// moves all the time, and is worth no flush of a disk.
    pub fn tells_the_same(&self, other: &Self) -> bool {
        (&self.changes, &self.untold) == (&other.changes, &other.untold)
    }

    /// What a process goes on with that starts at `now`, in seconds since the Unix epoch. No time that comes of it is later.
    pub fn resume(self, existing: &Existing, now: i64) -> Resumed {
        let age = now.saturating_sub(self.at);
        let not_taken = if age > STANDS_FOR_S {
            Some(NotTaken::Old(age))
        } else if age < -STANDS_FOR_S {
            Some(NotTaken::Ahead(age.saturating_neg()))
        } else {
            None
        };
        let mut cells = self.cells;
        cells.retain(|cell| existing.cells.contains(&cell.cell));
        for cell in &mut cells {
            cell.tiles.retain(|tile| existing.surfaces.contains(&tile.surface));
        }
        let all_untold = self.untold.len();
        let lasts = |change: Change, seconds| existing.known(change, seconds, now);
        let untold: Vec<Untold> = self
            .untold
            .into_iter()
            .filter_map(|one| Some(Untold { change: lasts(one.change, TELL_WITHIN_S)?, ..one }))
            .collect();
        let changes = self.changes.into_iter().filter_map(|one| lasts(one, CHANGES_FOR_S)).collect();
        let never_told = all_untold - untold.len();
        let (board, closed) = match not_taken {
            None => (Board::restored(cells, now), Vec::new()),
            Some(_) => (Board::default(), cells.iter().flat_map(|cell| cell.closed(now)).collect()),
        };
        Resumed { board, changes, closed, untold, never_told, not_taken }
    }
}

impl SavedCell {
    /// That nothing of it is said any more, its surfaces first.
    fn closed(&self, now: i64) -> impl Iterator<Item = Change> {
        let tiles = self.tiles.iter().map(|tile| (Some(tile.surface.clone()), tile.standing.state));
        let said = tiles.chain([(None, self.whole.state)]).filter(|(_, from)| *from != State::Operating);
        said.map(move |(surface, from)| Change {
            cell: self.cell.clone(),
            surface,
            from,
            to: State::Operating,
            at: now,
        })
    }
}

impl Existing {
    /// A change of what there is, and not older than that. One from ahead was, as far as anybody knows, just now, where it may be
    /// a clock that was set right; from further ahead nobody knows when it was.
    fn known(&self, change: Change, seconds: i64, now: i64) -> Option<Change> {
        let exists = self.cells.contains(&change.cell)
            && change.surface.as_ref().is_none_or(|surface| self.surfaces.contains(surface));
        let is_recent = (-STANDS_FOR_S..=seconds).contains(&now.saturating_sub(change.at));
        (exists && is_recent).then(|| Change { at: change.at.min(now), ..change })
    }
}

impl Board {
    /// What a restart must not forget of it: the cells, as they stand now.
    pub fn saved(&self) -> Vec<SavedCell> {
        let tile = |(surface, stand): (&Label, &Stand)| SavedTile {
            surface: surface.clone(),
            standing: stand.standing(),
            is_told: stand.is_told(),
        };
        let cell = |(name, board): (&Label, &CellBoard)| SavedCell {
            cell: name.clone(),
            whole: board.whole,
            is_slow: board.slow.is_said,
            tiles: board.tiles.iter().map(tile).collect(),
        };
        self.cells.iter().map(cell).collect()
    }

    fn restored(saved: Vec<SavedCell>, now: i64) -> Self {
        let cell = |saved: SavedCell| {
            let tile =
                |tile: SavedTile| (tile.surface, Stand::restored(tile.standing.until(now), tile.is_told));
            let board = CellBoard {
                whole: saved.whole.until(now),
                slow: Slow { is_said: saved.is_slow, against: 0 },
                tiles: saved.tiles.into_iter().map(tile).collect(),
            };
            (saved.cell, board)
        };
        Self { cells: saved.into_iter().map(cell).collect() }
    }
}

impl Standing {
    /// Nothing is said since a time that is to come.
    fn until(self, now: i64) -> Self {
        Self { since: self.since.min(now), ..self }
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Old(age) => write!(
                f,
                "nobody has looked for {age} s, and after more than {STANDS_FOR_S} s nobody knows what was in between"
            ),
            Self::Ahead(by) => write!(
                f,
                "it was put down {by} s from now, so that the clock was set back and nobody knows how old it is"
            ),
        }
    }
}
