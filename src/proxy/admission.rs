//! Before a request is forwarded: permits of the process and of its cell, or the reason why not. What it may have is
//! `policy`'s to say.

use super::service::Service;
use crate::policy::admit::Permit;
use crate::policy::protection::bulkhead;
use crate::policy::protection::shed::Shed;
use crate::policy::refusal::Refusal;
use crate::policy::snapshot::Cell;

/// What a request holds as long as it is in flight.
#[must_use = "dropping it gives the permits back"]
pub(super) struct Admitted {
    _process: Permit,
    _cell: Permit,
}

impl Service {
    /// Admits a request to a cell.
    pub(super) fn admit(&self, cell: &Cell) -> Result<Admitted, Refusal> {
        let most = bulkhead::most_of_cell(self.requests.most, cell.share_percent, cell.max_in_flight);
        // The cell first: one that is full may not use up what the others have, not even for a moment.
        let cell = cell.load.try_acquire(most).ok_or(Refusal::CellFull)?;
        let process = self.requests.try_take().ok_or(Refusal::Shed(Shed::ProcessFull))?;
        Ok(Admitted { _process: process, _cell: cell })
    }
}
