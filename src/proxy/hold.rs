//! Before a request is sent to a cell: what is planned for it answers, a write is counted, and a request whose account is moving waits. What either
//! means is `policy::holding`'s to say.
//!
//! **Count first, look second.** A write is counted at its cell ([`Writes`](crate::policy::writes::Writes)) and then
//! looks whether the newest snapshot still wants it there; if not, it has sent nothing, is not counted any more, and
//! is decided again. Whoever asks this process (`GET /moves`) pins a snapshot first and reads counts second. So once
//! it has said "generation G, which holds account A, and no writes of A at cell C", that stays true:
//!
//! - Counting and reading the count take the same lock, so one comes before the other.
//! - Where the count was first, the reader has seen it: it would not have said "no writes".
//! - Where the reader was first, all that it had seen happened before the write was counted, and so before the write
//!   looks: it looks at G or at a newer one, and turns round.
//!
//! Were it the other way round, a write could look at the snapshot before G, be overtaken by the swap and by the
//! reader, be counted then, and reach the old cell after somebody was told that it takes no more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::downstream::Downstream;
use super::hang_up::hung_up;
use super::record::Ended;
use super::request::Request;
use super::service::Service;
use crate::live::{Live, Replacements};
use crate::policy::brownout::Planned;
use crate::policy::decide::Verdict;
use crate::policy::holding::{self, Waiter};
use crate::policy::ids::{AccountId, CellIndex};
use crate::policy::refusal::Refusal;
use crate::policy::snapshot::Snapshot;
use crate::policy::writes::WriteGuard;
use crate::telemetry::labels::Held;

/// What comes of a request that has been decided about.
pub(super) enum Placed {
    /// It goes on as decided; a write is counted as long as the guard lives.
    Here(Option<WriteGuard>),
    /// It is to be decided again, under the newest snapshot and wholly by it: the one exception to pinning.
    Again,
    /// It is answered with this; nothing of it was sent.
    Refused(Refusal),
    /// Nobody is left to answer.
    ClientGone,
}

impl Service {
    /// Counts a write, or waits where the account is moving. `ended.held` is how long it has waited before.
    pub(super) async fn place(
        &self,
        snapshot: &Arc<Snapshot>,
        request: &Request,
        down: &mut Downstream,
        ended: &mut Ended,
    ) -> Placed {
        if request.secure.is_some() {
            // It is sent elsewhere by us, whatever was decided.
            return Placed::Here(None);
        }
        if let Some(refusal) = request.planned.and_then(Planned::refusal) {
            return Placed::Refused(refusal);
        }
        if let (Verdict::Hold { cell }, Some(account)) = (&request.decision.verdict, request.decision.account)
        {
            // Boxed: few requests wait, and none should have room for it.
            let (outcome, placed) =
                Box::pin(self.hold(snapshot, (account, *cell), request.decision.writes, down, ended)).await;
            self.telemetry().metrics.moves.held(outcome);
            return placed;
        }
        if let Some(held) = self.held_by_lever(snapshot, request) {
            return Box::pin(self.hold_by_lever(held, snapshot, down, ended)).await;
        }
        match request.decision.write() {
            None => Placed::Here(None),
            Some((account, cell)) => match begin(self.live(), snapshot, account, cell) {
                Some(guard) => Placed::Here(Some(guard)),
                None => Placed::Again,
            },
        }
    }

    async fn hold(
        &self,
        snapshot: &Arc<Snapshot>,
        (account, cell): (AccountId, CellIndex),
        writes: bool,
        down: &mut Downstream,
        ended: &mut Ended,
    ) -> (Held, Placed) {
        let rules = &snapshot.moves.rules;
        let before = ended.held.unwrap_or_default();
        let Some(patience) = holding::patience(rules, before) else {
            return (Held::RefusedBudget, Placed::Refused(Refusal::AccountMoving));
        };
        let Some(slot) = snapshot.cell(cell).load.waiting.try_begin(Some(account), rules) else {
            return (Held::RefusedSlots, Placed::Refused(Refusal::AccountMoving));
        };
        let since = Instant::now();
        let waited = self.wait(account, writes, patience, slot, down).await;
        ended.held = Some(before + since.elapsed());
        waited
    }

    /// Waits until the newest snapshot holds the request no more, for so long at most. The slot is free when this
    /// returns, and when it is dropped.
    async fn wait(
        &self,
        account: AccountId,
        writes: bool,
        patience: Duration,
        _slot: Waiter,
        down: &mut Downstream,
    ) -> (Held, Placed) {
        let replacements = self.live().replacements();
        tokio::select! {
            biased;
            () = released(self.live(), replacements, account, writes) => (Held::Released, Placed::Again),
            () = self.cutting() => (Held::Drain, Placed::Refused(Refusal::Drain)),
            () = hung_up(down) => (Held::ClientGone, Placed::ClientGone),
            () = tokio::time::sleep(patience) => {
                (Held::RefusedBudget, Placed::Refused(Refusal::AccountMoving))
            }
        }
    }
}

/// Counts a write that `pinned` sends to `cell`; `None` where the newest snapshot does not want it there.
fn begin(live: &Live, pinned: &Arc<Snapshot>, account: AccountId, cell: CellIndex) -> Option<WriteGuard> {
    let guard = pinned.cell(cell).load.writes.begin(account);
    // Not before: see above. A candidate has the moves of what serves, and is gone as soon as those change.
    if live.is_newest(pinned) || live.is_candidate(pinned) {
        return Some(guard);
    }
    holding::still_goes(pinned, &live.pin(), account, cell).then_some(guard)
}

async fn released(live: &Live, mut replacements: Replacements, account: AccountId, writes: bool) {
    // The rules of a candidate may be others, and it is the one that would decide again.
    let is_held = || {
        let now = live.pin_both();
        let candidate = now.candidate.as_ref().map(|candidate| &candidate.snapshot);
        [Some(&now.stable), candidate].into_iter().flatten().any(|one| holding::holds(one, account, writes))
    };
    while is_held() {
        replacements.next().await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)] // Swaps as `reload` does.
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::policy::ids::Generation;
    use crate::policy::moves::{Move, MoveState, MoveTable};
    use crate::test_snapshot::{SnapshotBuilder, account};

    const OLD: CellIndex = CellIndex(0);
    const NEW: CellIndex = CellIndex(1);

    /// Account 1 in the old cell, or the new one once it is flipped; counters as in `before`.
    fn snapshot(generation: u64, state: Option<MoveState>, before: Option<&Snapshot>) -> Arc<Snapshot> {
        let home = if state == Some(MoveState::Flipped) { "us1" } else { "mt" };
        let cells = SnapshotBuilder::new().cell("mt", "us1.dbt.com").cell("us1", "us1.dbt.com");
        let mut made = cells.account(1, home, &["ab123"]).build();
        made.generation = Generation(generation);
        for (cell, before) in made.cells.iter_mut().zip(before.iter().flat_map(|before| &before.cells)) {
            cell.load = Arc::clone(&before.load);
        }
        let of = |state| (account(1), Move { from: Some(OLD), to: Some(NEW), state, epoch: 1 });
        made.moves.table = MoveTable::new(state.map(of).into_iter().collect());
        Arc::new(made)
    }

    #[test]
    fn a_write_looks_after_it_was_counted() {
        let first = snapshot(1, None, None);
        for (state, goes_on) in [
            (None, true),
            (Some(MoveState::Prepare), true),
            (Some(MoveState::Holding), false),
            (Some(MoveState::Flipped), false),
        ] {
            let live = Live::new(Arc::clone(&first));
            let newest = snapshot(2, state, Some(&first));
            live.replace(Arc::clone(&newest));
            let begun = begin(&live, &first, account(1), OLD);
            assert_eq!(first.cells[0].load.writes.in_flight(account(1)), u32::from(goes_on), "{state:?}");
            match begun {
                Some(_) => assert!(goes_on, "{state:?}"),
                None => assert!(!goes_on, "{state:?}"),
            }
        }
    }

    /// Writers pin, dawdle and begin, while the snapshot is replaced by one that holds; whoever is told then that no
    /// write is under way says so. No write may be on its way to the cell after that.
    #[test]
    fn no_writes_under_a_generation_that_holds_stays_true() {
        let first = snapshot(1, Some(MoveState::Prepare), None);
        let writes = Arc::clone(&first.cells[0].load.writes);
        let (begun, late) = (AtomicUsize::new(0), AtomicUsize::new(0));
        for round in 0..4_000 {
            let live = Live::new(Arc::clone(&first));
            let holding = snapshot(2, Some(MoveState::Holding), Some(&first));
            let closed = AtomicBool::new(false);
            let before = begun.load(Ordering::Relaxed);
            std::thread::scope(|scope| {
                let writers = [0, 1, 2].map(|writer| {
                    let (live, closed, begun, late) = (&live, &closed, &begun, &late);
                    scope.spawn(move || {
                        for _ in 0..4 {
                            let pinned = live.pin();
                            for _ in 0..(round + writer) % 5 {
                                std::thread::yield_now();
                            }
                            if pinned.generation == Generation(2) {
                                return;
                            }
                            let Some(_guard) = begin(live, &pinned, account(1), OLD) else { return };
                            begun.fetch_add(1, Ordering::Relaxed);
                            // The moment in which its first byte would leave.
                            late.fetch_add(usize::from(closed.load(Ordering::SeqCst)), Ordering::Relaxed);
                        }
                    })
                });
                // On a busy machine all writers may start too late to begin: in every other round one has begun.
                let waits =
                    || begun.load(Ordering::Relaxed) == before && writers.iter().any(|of| !of.is_finished());
                while round % 2 == 0 && waits() {
                    std::thread::yield_now();
                }
                for _ in 0..round % 7 {
                    std::thread::yield_now();
                }
                live.replace(holding);
                let report = || holding::reported(&live.pin(), 10)[0].writes_at_old_cell;
                while report() > 0 {
                    std::thread::yield_now();
                }
                closed.store(true, Ordering::SeqCst);
            });
        }
        assert!(begun.load(Ordering::Relaxed) > 1_000, "there was something to be late");
        assert_eq!(late.load(Ordering::Relaxed), 0);
        assert_eq!(writes.in_flight(account(1)), 0);
    }
}
