//! Requests that an operator holds: they wait as those of an account that moves do, within the same budget and the same
//! places, and are decided again when the lever is released or over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::downstream::Downstream;
use super::hang_up::hung_up;
use super::hold::Placed;
use super::record::Ended;
use super::request::Request;
use super::service::Service;
use crate::policy::decide::Verdict;
use crate::policy::holding;
use crate::policy::ids::{AccountId, CellIndex};
use crate::policy::protection::shed::Shed;
use crate::policy::refusal::Refusal;
use crate::policy::snapshot::Snapshot;

/// How often it is looked whether the lever is still pulled. Nobody tells: who waits is few, and requests pay for no bell.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A request that is held.
#[derive(Clone, Copy)]
pub(super) struct HeldRequest {
    cell: CellIndex,
    account: Option<AccountId>,
    writes: bool,
}

impl Service {
    /// What is known of a request that an operator holds, where one does.
    pub(super) fn held_by_lever(&self, snapshot: &Snapshot, request: &Request) -> Option<HeldRequest> {
        let Verdict::Forward { cell, .. } = request.decision.verdict else { return None };
        let held = HeldRequest { cell, account: request.decision.account, writes: request.decision.writes };
        let levers = self.levers.read()?;
        let by = levers.holds(snapshot.cell(cell).name.as_str(), held.account, held.writes)?;
        levers.touch(by);
        Some(held)
    }

    /// Waits until nobody holds the request any more, for as long as it may.
    pub(super) async fn hold_by_lever(
        &self,
        held: HeldRequest,
        snapshot: &Arc<Snapshot>,
        down: &mut Downstream,
        ended: &mut Ended,
    ) -> Placed {
        let rules = &snapshot.moves.rules;
        let refused = || Placed::Refused(Refusal::Shed(Shed::Operator));
        let before = ended.held.unwrap_or_default();
        let Some(patience) = holding::patience(rules, before) else { return refused() };
        // Free again when this returns, and when it is dropped.
        let Some(_slot) = snapshot.cell(held.cell).load.waiting.try_begin(held.account, rules) else {
            return refused();
        };
        let since = Instant::now();
        let placed = tokio::select! {
            biased;
            () = self.released(held, snapshot) => Placed::Again,
            () = self.cutting() => Placed::Refused(Refusal::Drain),
            () = hung_up(down) => Placed::ClientGone,
            () = tokio::time::sleep(patience) => refused(),
        };
        ended.held = Some(before + since.elapsed());
        placed
    }

    async fn released(&self, held: HeldRequest, snapshot: &Snapshot) {
        let name = snapshot.cell(held.cell).name.as_str();
        let is_held = || {
            self.levers.read().is_some_and(|levers| levers.holds(name, held.account, held.writes).is_some())
        };
        while is_held() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
