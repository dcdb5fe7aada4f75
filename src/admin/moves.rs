//! `/moves`: what this process knows of the accounts that move. `cellgate move advance` reads it and writes the next
//! state only when every replica says so.

use serde::Serialize;

use crate::policy::holding::{ReportedMove, reported};
use crate::policy::ids::CellIndex;
use crate::policy::snapshot::Snapshot;

/// Most moves of one answer: as many as anybody has on their way at once, some hundred bytes each. Who finds an account
/// missing must take it as not reported.
const MOST: usize = 10_000;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct MovesView {
    generation: u64,
    hash: String,
    moves: Vec<MoveView>,
}

#[derive(Debug, Serialize)]
struct MoveView {
    account: String,
    from: Option<String>,
    to: Option<String>,
    state: &'static str,
    epoch: u32,
    writes_at_old_cell: u32,
    waiting: u32,
}

impl MovesView {
    /// Of a snapshot that was pinned before: the counts are read now, in that order.
    pub fn new(live: &Snapshot) -> Self {
        let moves = reported(live, MOST).into_iter().map(|one| MoveView::new(live, one)).collect();
        Self { generation: live.generation.0, hash: live.hash.to_string(), moves }
    }
}

impl MoveView {
    fn new(live: &Snapshot, one: ReportedMove) -> Self {
        let name = |cell: Option<CellIndex>| cell.map(|cell| live.cell(cell).name.to_string());
        Self {
            account: one.account.to_string(),
            from: name(one.of.from),
            to: name(one.of.to),
            state: one.of.state.as_str(),
            epoch: one.of.epoch,
            writes_at_old_cell: one.writes_at_old_cell,
            waiting: one.waiting,
        }
    }
}
