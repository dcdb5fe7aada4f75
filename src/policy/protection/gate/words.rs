//! What is said at a gate: who asks, and what the answer is.

use std::time::Duration;

use super::super::priority::Priority;
use super::super::queue::{Place, QueueRules};

/// What a gate lets in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateRules {
    /// All that a cell may have at once, tunnels, streams and long polls among them.
    pub total: u32,
    /// What the limit of ordinary requests is at first, and at most.
    pub declared: u32,
    /// How long anybody waits.
    pub queue: QueueRules,
    /// As many may wait as the cell serves in this time: who comes later is refused at once instead of after waiting.
    pub room: Duration,
}

/// At twice the load three quarters of the room are taken, which is a wait of 15 ms, [`QueueRules::target`]. With 15
/// ms, chance alone refuses twice as many of a small cell at 70 % load.
const ROOM: Duration = Duration::from_millis(20);

impl GateRules {
    /// For a cell of which so much is declared; long-lived requests may be as many again.
    pub fn of(declared: u32) -> Self {
        let queue = QueueRules::default();
        Self { total: declared.saturating_mul(2), declared, queue, room: ROOM }
    }
}

/// The hash of an account that nobody knows.
pub const NOBODY: u64 = 0;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Its class.
    pub priority: Priority,
    /// An even hash of its account, or [`NOBODY`].
    pub account_hash: u64,
    /// What is left until its deadline.
    pub left: Option<Duration>,
    /// Even over 0..2^64, and another for each request.
    pub random: u64,
}

/// What it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A permit, which [`Gate::end`] gives back.
    Go,
    /// Its payload waits, and comes out of [`Gate::end`] or [`Gate::step`].
    Wait(Place),
    /// No.
    Refused {
        /// Why not.
        why: Refused,
        /// When to come again.
        retry_after_secs: u32,
    },
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its account asks for far more than others do.
    Share,
    /// Others of its class or of one above it wait already.
    Priority,
    /// Nobody more can wait, or it gave way to another.
    Full,
    /// It has waited too long.
    Waited,
    /// The cell has all it may have, long-lived requests included.
    Total,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Share, Self::Priority, Self::Full, Self::Waited, Self::Total];

    /// Name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Priority => "priority",
            Self::Full => "full",
            Self::Waited => "waited",
            Self::Total => "total",
        }
    }
}

/// Who need not wait any longer.
#[derive(Debug)]
#[must_use = "who is in it waits for an answer"]
pub struct Woken<T> {
    /// They have a permit each.
    pub go: Vec<T>,
    /// They are refused.
    pub refused: Vec<(T, Refused)>,
}
