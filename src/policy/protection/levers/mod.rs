//! Levers for the worst day: what an operator says of load, for a limited time and with a reason, over the head of what is
//! configured and judged. Of each there is one form in words ([`Lever::parse`], [`Display`](std::fmt::Display)), which
//! commands, the state folder and the audit trail have in common.
//!
//! Plain data and plain answers. Who may pull one, where it is written down and when it is looked whether its time is over is
//! [`crate::levers`]'s business.

mod answers;
pub mod board;
mod felt;
pub mod known;
pub mod pass;
mod table;
mod words;

use std::num::NonZeroU32;
use std::time::Duration;

pub use answers::{Caps, Of, RequestOf, Reserved};
pub use felt::{felt, modes};
pub use pass::OperatorPass;
pub use table::{Levers, PulledOrReplaced, Refused};
pub use words::{ALL_BROWNOUTS, WordsError, in_quotes};

use super::policies::Policy;
use crate::policy::brownout::LONGEST_WINDOW_S;
use crate::policy::guard::Mode;
use crate::policy::ids::{AccountId, Label};
use crate::policy::snapshot::EndpointAddress;

/// Most levers at once. Whoever has pulled more than a page of them has lost sight of them; and each is looked at by each
/// request while it is pulled.
pub const MOST: usize = 64;

/// Shortest time: that of a rehearsal.
pub const SHORTEST: Duration = Duration::from_secs(1);

/// Longest time: a day. What is to last longer belongs into the configuration, where it is reviewed.
pub const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// How long a lever is pulled where nobody says: as long as it takes to wake somebody who knows more.
pub const DEFAULT_TIME: Duration = Duration::from_secs(30 * 60);

/// The same of a hold. A request is held for some seconds at most (`HoldRules::budget`) and refused then, so that a hold
/// that is forgotten is an outage: it outlasts the failover of a database, and little more.
pub const DEFAULT_HOLD: Duration = Duration::from_secs(60);

// Of a brownout it is the longest time: no window is longer, and one that was ended must not come back in the night.
const _: () = assert!(LONGEST.as_secs() == LONGEST_WINDOW_S as u64);

/// Characters of a reason: less is none, more is for the report afterwards.
pub const REASON: std::ops::RangeInclusive<usize> = 3..=200;

/// The number of a lever, counted from 1 over restarts and upgrades: none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeverId(pub u32);

/// What an operator can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lever {
    /// A cell takes no more than this, whatever its configuration and its own limit say. Never raises either.
    Cap {
        /// Its name.
        cell: Label,
        /// How much.
        most: Most,
    },
    /// A part of some requests is refused at once.
    Shed(Shed),
    /// New requests go elsewhere, or are refused where there is no elsewhere; those under way end as they would.
    Drain(Place),
    /// As [`Drain`](Self::Drain) of a zone in all cells, and what is open there for long (WebSockets, streams) is asked to go
    /// too: the zone is about to be lost.
    Evacuate {
        /// Its name.
        zone: Label,
    },
    /// The rate at which a cell that comes back is asked stays at this, in place of what its ramp has come to.
    Ramp {
        /// Its name.
        cell: Label,
        /// Requests a second.
        rps: NonZeroU32,
    },
    /// New requests wait, as those of an account that moves do and within the same budget and places
    /// ([`HoldRules`](crate::policy::moves::HoldRules)), and are sent when it is released.
    Hold {
        /// Whose.
        whose: Held,
        /// Reads go on.
        writes_only: bool,
    },
    /// A policy is in this mode, whatever its configuration says.
    Policy {
        /// Which.
        policy: Policy,
        /// How.
        mode: Mode,
        /// For this cell alone; `None` is all of them.
        cell: Option<Label>,
    },
    /// Requests that carry the operators' pass get permits that nobody else can take.
    Operators {
        /// How many at once.
        permits: NonZeroU32,
        /// In this cell alone; `None` is in each.
        cell: Option<Label>,
        /// By what they are known.
        pass: OperatorPass,
    },
    /// A brownout is over before its time.
    Brownout {
        /// Its id; `None` is all of them.
        id: Option<Label>,
    },
}

/// How much a cell takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Most {
    /// Requests at once.
    InFlight(NonZeroU32),
    /// Requests a second.
    Rps(NonZeroU32),
}

/// Which requests are refused: those of which all is true that is said here. Something is always said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shed {
    /// How many of a hundred, 1 to 100.
    pub percent: u8,
    /// Of this cell.
    pub cell: Option<Label>,
    /// Of this account.
    pub account: Option<AccountId>,
    /// Of this client family of `clients.yaml`.
    pub client: Option<Box<str>>,
    /// Of this endpoint class.
    pub class: Option<Label>,
}

/// What is drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address, in all cells that have it.
    Endpoint(EndpointAddress),
    /// What a cell has in a zone.
    Group {
        /// The cell.
        cell: Label,
        /// The zone.
        zone: Label,
    },
    /// What all cells have in a zone.
    Zone(Label),
    /// A cell: its requests are refused.
    Cell(Label),
}

/// Whose requests wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Those of an account.
    Account(AccountId),
    /// Those of all accounts of a cell.
    Cell(Label),
}

/// A lever that is, or was, pulled. Times are seconds since the Unix epoch, for a restart must not prolong it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Its number.
    pub id: LeverId,
    /// What it does.
    pub lever: Lever,
    /// Who says so.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: i64,
    /// Until when.
    pub until: i64,
}

/// The kinds of levers, as metrics have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeverKind {
    /// [`Lever::Cap`].
    Cap,
    /// [`Lever::Shed`].
    Shed,
    /// [`Lever::Drain`].
    Drain,
    /// [`Lever::Evacuate`].
    Evacuate,
    /// [`Lever::Ramp`].
    Ramp,
    /// [`Lever::Hold`].
    Hold,
    /// [`Lever::Policy`].
    Policy,
    /// [`Lever::Operators`].
    Operators,
    /// [`Lever::Brownout`].
    Brownout,
}

impl LeverKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Cap,
        Self::Shed,
        Self::Drain,
        Self::Evacuate,
        Self::Ramp,
        Self::Hold,
        Self::Policy,
        Self::Operators,
        Self::Brownout,
    ];

    /// First word of its form, and its label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cap => "cap",
            Self::Shed => "shed",
            Self::Drain => "drain",
            Self::Evacuate => "evacuate",
            Self::Ramp => "ramp",
            Self::Hold => "hold",
            Self::Policy => "policy",
            Self::Operators => "operators",
            Self::Brownout => "brownout",
        }
    }
}

impl Lever {
    /// Which kind it is.
    pub const fn kind(&self) -> LeverKind {
        match self {
            Self::Cap { .. } => LeverKind::Cap,
            Self::Shed(_) => LeverKind::Shed,
            Self::Drain(_) => LeverKind::Drain,
            Self::Evacuate { .. } => LeverKind::Evacuate,
            Self::Ramp { .. } => LeverKind::Ramp,
            Self::Hold { .. } => LeverKind::Hold,
            Self::Policy { .. } => LeverKind::Policy,
            Self::Operators { .. } => LeverKind::Operators,
            Self::Brownout { .. } => LeverKind::Brownout,
        }
    }

    /// The account that it is about, where it is about one.
    pub const fn account(&self) -> Option<AccountId> {
        match self {
            Self::Shed(shed) => shed.account,
            Self::Hold { whose: Held::Account(account), .. } => Some(*account),
            _ => None,
        }
    }

    /// How long it is pulled where nobody says.
    pub const fn default_time(&self) -> Duration {
        match self {
            Self::Hold { .. } => DEFAULT_HOLD,
            Self::Brownout { .. } => LONGEST,
            _ => DEFAULT_TIME,
        }
    }

    /// Whether it says something about the same as the other one, and so takes its place: whoever caps a cell at 300 after 200
    /// means 300.
    pub fn replaces(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cap { cell: a, most: x }, Self::Cap { cell: b, most: y }) => {
                a == b && std::mem::discriminant(x) == std::mem::discriminant(y)
            }
            (Self::Shed(a), Self::Shed(b)) => a.is_of_the_same(b),
            (Self::Ramp { cell: a, .. }, Self::Ramp { cell: b, .. }) => a == b,
            (Self::Hold { whose: a, .. }, Self::Hold { whose: b, .. }) => a == b,
            (Self::Policy { policy: p, cell: a, .. }, Self::Policy { policy: q, cell: b, .. }) => {
                p == q && a == b
            }
            (Self::Operators { cell: a, .. }, Self::Operators { cell: b, .. }) => a == b,
            (Self::Drain(_) | Self::Evacuate { .. } | Self::Brownout { .. }, _) => self == other,
            _ => false,
        }
    }
}

impl Shed {
    fn is_of_the_same(&self, other: &Self) -> bool {
        Self { percent: other.percent, ..self.clone() } == *other
    }
}

impl Pulled {
    /// Whether its time is not over.
    pub const fn holds(&self, now: i64) -> bool {
        now < self.until
    }
}

impl std::fmt::Display for LeverId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
