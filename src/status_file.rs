//! What the status page has said, in the state folder: a restart and an upgrade must not forget since when a surface is down, nor
//! what a webhook has not heard of. Reads and writes; what of it is believed is decided in
//! [`policy::status::resume`](crate::policy::status::resume).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::policy::ids::Label;
use crate::policy::status::resume::{Saved, SavedCell, SavedTile, Untold};
use crate::policy::status::{Change, Standing, State};
use crate::state_file;

/// Name of the file in the state folder.
pub const FILE_NAME: &str = "status.cellgate";

/// First word of the file; the number is the version of the format.
const MAGIC: &str = "cellgate-status 1";

/// Largest file that is read back: 1,000 cells with 64 surfaces of 200 bytes each, and some hundred changes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Table {
    at: i64,
    cells: Vec<CellRow>,
    changes: Vec<ChangeRow>,
    untold: Vec<UntoldRow>,
}

#[derive(Serialize, Deserialize)]
struct CellRow {
    cell: String,
    slow: bool,
    #[serde(flatten)]
    whole: StandingRow,
    tiles: Vec<TileRow>,
}

#[derive(Serialize, Deserialize)]
struct TileRow {
    surface: String,
    told: bool,
    #[serde(flatten)]
    standing: StandingRow,
}

#[derive(Serialize, Deserialize)]
struct StandingRow {
    state: StateRow,
    since: i64,
    quiet: bool,
}

/// The word, and how far a ramp is.
#[derive(Serialize, Deserialize)]
struct StateRow(String, Option<u8>);

#[derive(Serialize, Deserialize)]
struct ChangeRow {
    cell: String,
    surface: Option<String>,
    from: StateRow,
    to: StateRow,
    at: i64,
}

#[derive(Serialize, Deserialize)]
struct UntoldRow {
    id: String,
    change: ChangeRow,
}

/// What was put down; `None` without the file.
///
/// # Errors
/// It is not believed: it cannot be read, was changed or cut, or is of another version.
pub fn load(state_dir: &Path) -> io::Result<Option<Saved>> {
    let mut bytes = Vec::new();
    match File::open(state_dir.join(FILE_NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?.take(MAX_BYTES).read_to_end(&mut bytes)?,
    };
    let rest = state_file::unsealed(MAGIC, &bytes).map_err(io::Error::other)?;
    let Table { at, cells, changes, untold } = serde_json::from_slice(rest).map_err(io::Error::other)?;
    // A row that makes no sense is a row less.
    Ok(Some(Saved {
        at,
        cells: cells.into_iter().filter_map(cell).collect(),
        changes: changes.into_iter().filter_map(change).collect(),
        untold: untold.into_iter().filter_map(self::untold).collect(),
    }))
}

/// Puts it down.
///
/// # Errors
/// The state folder cannot be written; what was there before is still there.
pub fn save(state_dir: &Path, saved: &Saved) -> io::Result<()> {
    let Saved { at, cells, changes, untold } = saved;
    let table = Table {
        at: *at,
        cells: cells.iter().map(cell_row).collect(),
        changes: changes.iter().map(change_row).collect(),
        untold: untold
            .iter()
            .map(|one| UntoldRow { id: one.id.to_string(), change: change_row(&one.change) })
            .collect(),
    };
    let text = serde_json::to_vec(&table).expect("words and numbers are JSON");
    state_file::replace(state_dir, FILE_NAME, &state_file::sealed(MAGIC, &text))
}

fn cell_row(saved: &SavedCell) -> CellRow {
    let tile = |tile: &SavedTile| TileRow {
        surface: tile.surface.to_string(),
        told: tile.is_told,
        standing: standing_row(&tile.standing),
    };
    CellRow {
        cell: saved.cell.to_string(),
        slow: saved.is_slow,
        whole: standing_row(&saved.whole),
        tiles: saved.tiles.iter().map(tile).collect(),
    }
}

fn standing_row(standing: &Standing) -> StandingRow {
    let Standing { state, since, is_quiet } = *standing;
    StandingRow { state: state_row(state), since, quiet: is_quiet }
}

fn state_row(state: State) -> StateRow {
    let percent = if let State::Recovering(percent) = state { percent } else { None };
    StateRow(state.as_str().into(), percent)
}

fn change_row(change: &Change) -> ChangeRow {
    let Change { cell, surface, from, to, at } = change;
    ChangeRow {
        cell: cell.to_string(),
        surface: surface.as_ref().map(ToString::to_string),
        from: state_row(*from),
        to: state_row(*to),
        at: *at,
    }
}

fn cell(row: CellRow) -> Option<SavedCell> {
    let tile = |row: TileRow| {
        let surface = Label::parse(&row.surface).ok()?;
        Some(SavedTile { surface, standing: standing(&row.standing)?, is_told: row.told })
    };
    Some(SavedCell {
        cell: Label::parse(&row.cell).ok()?,
        whole: standing(&row.whole)?,
        is_slow: row.slow,
        tiles: row.tiles.into_iter().filter_map(tile).collect(),
    })
}

fn standing(row: &StandingRow) -> Option<Standing> {
    Some(Standing { state: state(&row.state)?, since: row.since, is_quiet: row.quiet })
}

fn state(StateRow(word, percent): &StateRow) -> Option<State> {
    let all = [State::Operating, State::Recovering(*percent), State::Held, State::Degraded, State::Down];
    all.into_iter().find(|state| state.as_str() == word)
}

fn change(row: ChangeRow) -> Option<Change> {
    Some(Change {
        cell: Label::parse(&row.cell).ok()?,
        surface: row.surface.map(|surface| Label::parse(&surface)).transpose().ok()?,
        from: state(&row.from)?,
        to: state(&row.to)?,
        at: row.at,
    })
}

fn untold(row: UntoldRow) -> Option<Untold> {
    Some(Untold { id: row.id.into(), change: change(row.change)? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::test_snapshot::label;

    /// Each state once, and all that there is to keep.
    fn saved() -> Saved {
        let states =
            [State::Operating, State::Recovering(Some(40)), State::Held, State::Degraded, State::Down];
        let tile = |(at, state): (i64, State)| SavedTile {
            surface: label(&format!("s{at}")),
            standing: Standing { state, since: 1_000 + at, is_quiet: at == 0 },
            is_told: at == 4,
        };
        let change = |surface: Option<&str>| Change {
            cell: label("us1"),
            surface: surface.map(label),
            from: State::Recovering(None),
            to: State::Down,
            at: 1_004,
        };
        let whole = Standing { state: State::Degraded, since: 1_001, is_quiet: false };
        let tiles = (0..).zip(states).map(tile).collect();
        Saved {
            at: 1_060,
            cells: vec![SavedCell { cell: label("us1"), whole, is_slow: true, tiles }],
            changes: vec![change(None), change(Some("s4"))],
            untold: vec![Untold { id: "status_1".into(), change: change(None) }],
        }
    }

    #[test]
    fn what_was_put_down_is_read_back_and_a_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        save(dir.path(), &saved()).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(saved()));
        let path = dir.path().join(FILE_NAME);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            assert!(load(dir.path()).is_err(), "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(load(dir.path()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_largest_table_fits() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = saved();
        let name = |kind: char, at: usize| label(&format!("{kind}{at:0>62}"));
        let mut tile = all.cells[0].tiles[1].clone();
        tile.standing.since = i64::from(u32::MAX);
        let cell = |at| SavedCell {
            cell: name('c', at),
            tiles: (0..64).map(|at| SavedTile { surface: name('s', at), ..tile.clone() }).collect(),
            ..all.cells[0].clone()
        };
        all.cells = (0..1_000).map(cell).collect();
        save(dir.path(), &all).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(all));
    }
}
