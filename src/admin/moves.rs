//! `/moves`: what this process knows of the accounts that move. `cellgate move advance` reads it and writes the next
//! state only when every replica says so.

use serde::Serialize;

use crate::handover::lineage::Lineage;
use crate::policy::holding::{ReportedMove, reported};
use crate::policy::ids::CellIndex;
use crate::policy::snapshot::Snapshot;
use crate::reload::outcome::StagedReport;

/// Most moves of one answer: as many as anybody has on their way at once, some hundred bytes each. Who finds an account
/// missing must take it as not reported.
pub(super) const MOST: usize = 10_000;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct MovesView {
    /// Which process says it: two addresses may lead to one.
    process: String,
    /// Process ids of those that it has followed and that have not ended. What they have under way is not counted here.
    predecessors: Vec<u32>,
    generation: u64,
    hash: String,
    /// What comes in force in steps: its moves are in force already, for everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<String>,
    moves: Vec<AccountMoveView>,
}

/// One, with whose it is.
#[derive(Debug, Serialize)]
struct AccountMoveView {
    account: String,
    #[serde(flatten)]
    of: MoveView,
}

/// One, where it is said elsewhere whose it is.
#[derive(Debug, Serialize)]
pub(super) struct MoveView {
    from: Option<String>,
    to: Option<String>,
    state: &'static str,
    epoch: u32,
    writes_at_old_cell: u32,
    waiting: u32,
}

impl MovesView {
    /// Of a snapshot that was pinned before: the counts are read now, in that order. `None` where a successor may serve
    /// already: only that one can say what comes next.
    pub fn new(live: &Snapshot, staged: Option<&StagedReport>, lineage: &Lineage) -> Option<Self> {
        let beside = staged.filter(|staged| staged.beside == live.generation);
        let candidate = beside.map(|staged| staged.hash.to_string());
        let moves = reported(live, MOST).into_iter().map(|one| AccountMoveView::new(live, one)).collect();
        let (process, predecessors) = (lineage.process().to_owned(), lineage.draining());
        // Last: see `handover::lineage`.
        let speaks = !lineage.gives_way();
        let (generation, hash) = (live.generation.0, live.hash.to_string());
        speaks.then_some(Self { process, predecessors, generation, hash, candidate, moves })
    }
}

impl AccountMoveView {
    fn new(live: &Snapshot, one: ReportedMove) -> Self {
        Self { account: one.account.to_string(), of: MoveView::new(live, one) }
    }
}

impl MoveView {
    /// As the snapshot has it, with what is under way now.
    pub fn new(live: &Snapshot, one: ReportedMove) -> Self {
        Self {
            from: cell_name(live, one.of.from),
            to: cell_name(live, one.of.to),
            state: one.of.state.as_str(),
            epoch: one.of.epoch,
            writes_at_old_cell: one.writes_at_old_cell,
            waiting: one.waiting,
        }
    }
}

/// Of a cell that moves come from or go to; `None` where that is nowhere.
pub(super) fn cell_name(live: &Snapshot, cell: Option<CellIndex>) -> Option<String> {
    cell.map(|cell| live.cell(cell).name.to_string())
}
