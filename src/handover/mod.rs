//! How one cellgate hands its listening sockets to the next: what the two say to each other, and the wire
//! that carries it. `docs/decisions/0008-upgrade.md` has the reasons.
//!
//! The running process starts its successor with one end of a socket pair as standard input and offers its
//! sockets. Who takes which, and when, is for `app` to say; nothing here listens, serves or starts anything.

pub mod lineage;
pub mod message;
pub mod wire;

use tokio::sync::{mpsc, oneshot};

/// Environment variable that tells a successor whose it is: the process id of its parent, so that a value that
/// was passed on by accident means nothing.
pub const PREDECESSOR: &str = "CELLGATE_PREDECESSOR";

/// How an upgrade ended for whoever asked for it.
pub type Outcome = Result<Successor, UpgradeError>;

/// The process that serves now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Successor {
    /// Its process id.
    pub pid: u32,
}

/// Why the running process goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// The end of the first process of a container is the container's end.
    #[error(
        "this is the first process of its container, whose end would end all others: replace the container \
         instead"
    )]
    FirstProcess,
    /// One at a time.
    #[error("an upgrade is under way already: wait for its end")]
    UnderWay,
    /// There is no such program, or it may not be run.
    #[error("cannot start {program}: {reason}; put the program where this process was started from")]
    NotStarted {
        /// As this process was started.
        program: String,
        /// What the system says.
        reason: String,
    },
    /// The new process said why it cannot serve.
    #[error("the new process cannot serve: {0}")]
    Refused(String),
    /// The new process was gone without a word: a crash, or another program.
    #[error("the new process was gone before it was ready ({0}); its last words are in the log")]
    Gone(String),
    /// It took too long.
    #[error(
        "the new process was not ready within {} s and was ended; see drain.upgrade_timeout in boot.yaml",
        .0.as_secs_f32()
    )]
    TooSlow(std::time::Duration),
    /// The two do not understand each other, or the socket pair failed.
    #[error("talking to the new process failed: {0}")]
    Talk(String),
}

/// Someone's wish for an upgrade; where the answer goes. A caller who has gone away stops nothing.
pub type UpgradeRequest = oneshot::Sender<Outcome>;

/// What the admin plane holds: it can ask.
pub type UpgradeHandle = mpsc::Sender<UpgradeRequest>;

/// Wishes that wait: one is acted on, and whoever asks meanwhile is told so.
pub const QUEUED_REQUESTS: usize = 4;
