//! The parts that keep cells standing, by name: each can be turned off, watched or enforced by itself.

/// A part that can refuse or move requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// Permits of a cell and of its groups, of which no neighbour can take any.
    Bulkhead,
    /// Which endpoints are well, and who is left out.
    Health,
    /// How many requests at once a cell takes, learned from its answers.
    Limit,
    /// Places to wait in where no permit is free.
    Queue,
    /// Load that has lost its group goes to others, within a rate.
    Failover,
    /// A cell comes back at a rate that grows.
    Recovery,
    /// Whether it is the cell that is sick or the path to it.
    Verdict,
}

impl Policy {
    /// All of them, in the order in which they are judged.
    pub const ALL: [Self; 7] = [
        Self::Bulkhead,
        Self::Health,
        Self::Limit,
        Self::Queue,
        Self::Failover,
        Self::Recovery,
        Self::Verdict,
    ];

    /// Name in the configuration, in commands, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bulkhead => "bulkhead",
            Self::Health => "health",
            Self::Limit => "limit",
            Self::Queue => "queue",
            Self::Failover => "failover",
            Self::Recovery => "recovery",
            Self::Verdict => "verdict",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == name)
    }
}
