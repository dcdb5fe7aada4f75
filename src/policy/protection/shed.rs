//! Why a request is refused to keep its cell standing. Nothing of it was sent, and it may be repeated after the time
//! that it is told.

/// The closed list of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shed {
    /// Every permit of the process is taken.
    ProcessFull,
    /// Every permit of the cell is taken.
    CellFull,
    /// Every permit of the group that the request belongs to is taken.
    GroupFull,
    /// The cell is so full that only what matters more gets in.
    LowPriority,
    /// The cell is full, and so is its queue.
    QueueFull,
    /// It has waited in the queue for as long as is worth waiting.
    WaitedTooLong,
    /// The cell comes back, takes more than probes by now, and gets no more than it can bear.
    Recovering,
    /// The part of the cell that the request belongs to is gone, and the others have declared no room for it.
    NoHeadroom,
    /// Nothing of the cell can be used, as far as is known: only probes go to it, if any.
    CellDown,
    /// An operator's word.
    Operator,
}

impl Shed {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ProcessFull,
        Self::CellFull,
        Self::GroupFull,
        Self::LowPriority,
        Self::QueueFull,
        Self::WaitedTooLong,
        Self::Recovering,
        Self::NoHeadroom,
        Self::CellDown,
        Self::Operator,
    ];

    /// Metric label and `refusal` of the access log.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ProcessFull => "process_full",
            Self::CellFull => "cell_full",
            Self::GroupFull => "group_full",
            Self::LowPriority => "shed_low_priority",
            Self::QueueFull => "shed_queue_full",
            Self::WaitedTooLong => "shed_waited_too_long",
            Self::Recovering => "shed_recovering",
            Self::NoHeadroom => "shed_no_headroom",
            Self::CellDown => "cell_down",
            Self::Operator => "shed_operator",
        }
    }

    /// The `error` parameter of `Proxy-Status` (RFC 9209 section 2.3).
    pub const fn proxy_error(self) -> &'static str {
        match self {
            Self::ProcessFull
            | Self::CellFull
            | Self::GroupFull
            | Self::LowPriority
            | Self::QueueFull
            | Self::WaitedTooLong => "connection_limit_reached",
            Self::Recovering | Self::NoHeadroom | Self::CellDown | Self::Operator => {
                "destination_unavailable"
            }
        }
    }

    /// One sentence for the client. Names no cell and no account.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::ProcessFull => {
                "Too many requests are under way here. Nothing was sent to the account's environment: repeat the \
                 request after the time in Retry-After."
            }
            Self::CellFull | Self::GroupFull | Self::LowPriority | Self::QueueFull | Self::WaitedTooLong => {
                "The account's environment has more to do than it can. Nothing was sent to it: repeat the request \
                 after the time in Retry-After."
            }
            Self::Recovering => {
                "The account's environment is coming back and takes a limited number of requests. Nothing was sent to \
                 it: repeat the request after the time in Retry-After."
            }
            Self::NoHeadroom | Self::CellDown => {
                "The account's environment, or a part of it, is not available. Nothing was sent to it: repeat the \
                 request after the time in Retry-After."
            }
            Self::Operator => {
                "An operator has limited requests to the account's environment. Nothing was sent to it: repeat the \
                 request after the time in Retry-After."
            }
        }
    }
}
