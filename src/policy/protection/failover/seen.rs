//! What a failover is told of groups, and what it says of them.

use super::super::super::moment::Moment;

/// A group as it is configured, and as health sees it now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// Groups with the lowest number serve in normal times; the others stand by.
    pub priority: u8,
    /// Requests a second that it is declared to bear when all of its endpoints are well, for all replicas together.
    pub capacity: Option<f64>,
    /// Configured endpoints.
    pub endpoints: u32,
    /// Those that may be used now.
    pub usable: u32,
    /// An operator has taken some of them away: their word needs no time to be believed, and none when they take it back.
    pub is_drained: bool,
    /// It is left because its zone is sick, and answers all the same: what no other has room for stays there.
    pub answers: bool,
}

/// What a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All that is its own.
    Serving,
    /// Less, because endpoints are gone.
    Lost,
    /// Less, because it comes back step by step.
    Returning,
}

impl Standing {
    /// Name in metrics and on the status page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Lost => "lost",
            Self::Returning => "returning",
        }
    }
}

/// A group has changed its standing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// Position of the group.
    pub group: usize,
    /// Before.
    pub from: Standing,
    /// Since now.
    pub to: Standing,
    /// When.
    pub at: Moment,
    /// The part of its endpoints that counts as healthy from now on.
    pub healthy: f64,
}

/// The numbers behind what was decided of a group; rates are this replica's, in requests a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupEvidence {
    /// See there.
    pub standing: Standing,
    /// This replica's part of the declared capacity.
    pub capacity: Option<f64>,
    /// The part of its endpoints that counts as healthy.
    pub healthy: f64,
    /// Its share of the cell in normal times.
    pub share: f64,
    /// The part of its own that it serves.
    pub kept: f64,
    /// What it has of its own.
    pub own_load: f64,
    /// What it could take of others.
    pub room: f64,
    /// What it may take of others by now.
    pub allowed: f64,
    /// What it is given of others.
    pub assigned: f64,
}

/// The numbers behind a [`Failover`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Requests a second at this replica, by class.
    pub demand: [f64; 4],
    /// Of them, those whose group is lost.
    pub need: f64,
    /// Of those, the ones for which there is no room.
    pub shed: f64,
    /// Nothing is moved, because the path is suspected and not the cell.
    pub frozen: bool,
    /// By position.
    pub groups: Vec<GroupEvidence>,
}

impl Group {
    /// The part of its endpoints that may be used now.
    pub(super) fn healthy(&self) -> f64 {
        f64::from(self.usable.min(self.endpoints)) / f64::from(self.endpoints.max(1))
    }
}
