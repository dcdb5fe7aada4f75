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

/// And are well again from then on: the fault lasts a minute, in which moved load has grown as far as it will.
pub const MENDED_AT: Duration = Duration::from_secs(90);

/// A cell must be full again after so long.
pub const FULL_AFTER: Duration = Duration::from_secs(150);

/// And it is watched for so much longer: a second collapse comes when all are back.
const WATCHED: Duration = Duration::from_secs(30);

/// Ten times the demand: those who come anyhow, and nine times as many.
const CROWD: f64 = 9.0;

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
                script.lose(found, cell, group, fault);
            }
        }
        if let Self::Recovery { cell } = self {
            script.deeds.push((BREAKS_AT, Deed::Crowd { cell: *cell, times: CROWD, answers: ANSWERS }));
        }
        script.lasts = MENDED_AT + FULL_AFTER + WATCHED;
        script
    }
}

impl Script {
    /// Loses a group from [`BREAKS_AT`] to [`MENDED_AT`].
    pub fn lose(&mut self, found: &Cell, cell: usize, group: usize, fault: Fault) {
        for endpoint in 0..found.groups[group].endpoints.len() {
            self.deeds.push((BREAKS_AT, Deed::Break { cell, group, endpoint, fault }));
            self.deeds.push((MENDED_AT, Deed::Mend { cell, group, endpoint }));
        }
    }
}
