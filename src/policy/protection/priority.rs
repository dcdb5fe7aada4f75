//! Classes of requests, by what is lost when one is refused. Routes are put into them by `endpoint_classes` of the
//! configuration, never by what a client says of itself.

/// How much a request matters; the first is refused last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Heartbeats, run control, callbacks: a lost one cancels work that is healthy (the incident of 9 April 2026).
    Critical,
    /// Somebody waits in front of a screen.
    Interactive,
    /// Programs, which repeat what is refused.
    #[default]
    Api,
    /// Polls, exports, everything that can be done later.
    Bulk,
}

impl Priority {
    /// All of them, the one that is refused last first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::Interactive, Self::Api, Self::Bulk];

    /// Name in the configuration, in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Interactive => "interactive",
            Self::Api => "api",
            Self::Bulk => "bulk",
        }
    }
}
