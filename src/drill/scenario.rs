//! What is done to cells in a rehearsal, and when.

use std::time::Duration;

use crate::policy::snapshot::{Cell, Snapshot};

/// What is rehearsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// All endpoints of one cell refuse, and come back with cold caches.
    CellLoss {
        /// Its position.
        cell: usize,
    },
    /// All endpoints of one zone fall silent, in all cells.
    ZoneLoss {
        /// Its name.
        zone: Box<str>,
    },
    /// As the loss of a cell, and ten times its demand waits for it.
    Recovery {
        /// Its position.
        cell: usize,
    },
}

/// How an endpoint is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It refuses connections at once: no process is there.
    Refuses,
    /// Nothing answers, not even a SYN: no network, or no machine.
    Silent,
    /// It takes connections and requests, and never answers: a black hole.
    Swallows,
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// An endpoint is lost.
    Break {
        /// Position of the cell.
        cell: usize,
        /// Of its group.
        group: usize,
        /// Of the endpoint in that.
        endpoint: usize,
        /// How.
        fault: Fault,
    },
    /// It is back. A group that refused comes back with cold caches.
    Mend {
        /// Position of the cell.
        cell: usize,
        /// Of its group.
        group: usize,
        /// Of the endpoint in that.
        endpoint: usize,
    },
    /// A crowd asks each second, until it has its answers.
    Crowd {
        /// Position of the cell.
        cell: usize,
        /// How many times the usual demand that is.
        times: f64,
        /// Answers that each wants.
        answers: u32,
    },
    /// The busiest seconds are looked for from here on.
    ForgetPeaks,
}

/// All that is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// When what, since the beginning.
    pub deeds: Vec<(Duration, Deed)>,
    /// How long it lasts.
    pub lasts: Duration,
}

/// Things are well until then: the judge has seen what is usual.
pub const BREAKS_AT: Duration = Duration::from_secs(30);

/// A cell is lost for so long: its endpoints are out by then, and looked for each minute.
const CELL_IS_LOST: Duration = Duration::from_secs(60);

/// A zone is lost for so long: a minute until load has moved as far as it will ([`SETTLED_AFTER`]), and half a minute
/// of that.
const ZONE_IS_LOST: Duration = Duration::from_secs(90);

/// So long after the loss of a zone its load has moved: 5 s until connections to it have failed, 3 s until a group
/// counts as lost, and ten steps of 5 s to what a group bears.
pub const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// A cell must get all that is asked so long after its fault has ended: up to 40 s until it is found to be back, 110 s
/// from 1 % of its capacity to all of it, twice 45 s for half of that and up again, and a minute until those who waited are
/// served beside those who come: they were told when to come, so most of them are still there.
pub const WELL_AFTER: Duration = Duration::from_secs(300);

/// And it is watched for so much longer: a second collapse comes when all are back. A zone that is back is watched for
/// no longer than this: it gets its load back after minutes, by steps.
const WATCHED: Duration = Duration::from_secs(30);

/// Ten times the demand: those who come anyhow, and nine times as many.
pub const CROWD: f64 = 9.0;

/// Answers that each of a crowd wants: what a page asks for.
const ANSWERS: u32 = 3;

impl Scenario {
    /// Name on the command line and in JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::CellLoss { .. } => "cell-loss",
            Self::ZoneLoss { .. } => "zone-loss",
            Self::Recovery { .. } => "recovery",
        }
    }

    /// When the fault ends.
    pub const fn mended_at(&self) -> Duration {
        BREAKS_AT.saturating_add(match self {
            Self::ZoneLoss { .. } => ZONE_IS_LOST,
            Self::CellLoss { .. } | Self::Recovery { .. } => CELL_IS_LOST,
        })
    }

    /// Whether this endpoint is lost in it.
    pub fn loses(&self, snapshot: &Snapshot, cell: usize, group: usize) -> bool {
        match self {
            Self::CellLoss { cell: lost } | Self::Recovery { cell: lost } => *lost == cell,
            Self::ZoneLoss { zone } => snapshot.cells[cell].groups[group].zone.as_str() == &**zone,
        }
    }

    /// What is done in it.
    pub fn script(&self, snapshot: &Snapshot) -> Script {
        let fault = match self {
            Self::ZoneLoss { .. } => Fault::Silent,
            Self::CellLoss { .. } | Self::Recovery { .. } => Fault::Refuses,
        };
        let mut script = Script { deeds: vec![(BREAKS_AT, Deed::ForgetPeaks)], lasts: Duration::ZERO };
        for (cell, found) in snapshot.cells.iter().enumerate() {
            for (group, _) in
                found.groups.iter().enumerate().filter(|(at, _)| self.loses(snapshot, cell, *at))
            {
                script.lose(found, [cell, group], fault, self.mended_at());
            }
        }
        if let Self::Recovery { cell } = self {
            script.deeds.push((BREAKS_AT, Deed::Crowd { cell: *cell, times: CROWD, answers: ANSWERS }));
        }
        let returns = if matches!(self, Self::ZoneLoss { .. }) { Duration::ZERO } else { WELL_AFTER };
        script.lasts = self.mended_at() + returns + WATCHED;
        script
    }
}

impl Script {
    /// Loses a group of a cell from [`BREAKS_AT`] until it is mended.
    pub fn lose(&mut self, found: &Cell, [cell, group]: [usize; 2], fault: Fault, mended_at: Duration) {
        for endpoint in 0..found.groups[group].endpoints.len() {
            self.deeds.push((BREAKS_AT, Deed::Break { cell, group, endpoint, fault }));
            self.deeds.push((mended_at, Deed::Mend { cell, group, endpoint }));
        }
    }
}
