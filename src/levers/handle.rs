//! What the admin plane and the thread that keeps the levers say to each other. Whoever has a handle can ask and look; nothing
//! here pulls anything.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::policy::access::Asker;
use crate::policy::protection::levers::board::LeverBoard;
use crate::policy::protection::levers::known::Unknown;
use crate::policy::protection::levers::{LeverId, Levers, Pulled, PulledOrReplaced, Refused, WordsError};

/// Wishes that wait: an operator types one at a time, and one takes as long as a disk takes to write three times.
const QUEUED: usize = 16;

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To pull a lever.
    Pull {
        /// Which, in words.
        words: String,
        /// Who says so.
        by: Asker,
        /// Why.
        reason: String,
        /// For how long; `None` is what its kind has.
        lasts: Option<Duration>,
    },
    /// To release one before its time.
    Release {
        /// Which.
        id: LeverId,
        /// Who says so.
        by: Asker,
        /// Why, where they say.
        reason: Option<String>,
    },
}

/// What has come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A lever is pulled.
    Pulled {
        /// It, and what it has replaced.
        done: PulledOrReplaced,
        /// Cells that it has left without an endpoint.
        bare: Vec<String>,
    },
    /// A lever is released.
    Released(Pulled),
}

/// Why nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// No such lever can be thought of.
    #[error("these are no words of a lever: {0}")]
    Words(#[from] WordsError),
    /// It names what is not there.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// It cannot be pulled, or is not.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The audit trail, or the state folder, does not take it.
    #[error("{0}")]
    Unwritten(String),
    /// A successor has the state folder.
    #[error("another process has the state folder by now, or is about to")]
    Elsewhere,
}

/// A wish, and where the answer goes. A caller who has gone away does not stop it.
#[derive(Debug)]
pub struct LeverRequest {
    pub(super) wish: Wish,
    pub(super) reply: oneshot::Sender<Result<Done, NotDone>>,
}

#[derive(Debug)]
pub(super) enum Message {
    Wish(LeverRequest),
    End,
}

/// Asks and looks.
#[derive(Clone, Debug)]
pub struct LeverHandle {
    pub(super) wishes: SyncSender<Message>,
    board: Arc<LeverBoard>,
}

/// The thread's own end of a [`LeverHandle`].
#[derive(Debug)]
pub struct LeverInbox {
    pub(super) wishes: Receiver<Message>,
}

/// A connected pair about this board.
pub fn handles(board: Arc<LeverBoard>) -> (LeverHandle, LeverInbox) {
    let (sender, receiver) = sync_channel(QUEUED);
    (LeverHandle { wishes: sender, board }, LeverInbox { wishes: receiver })
}

impl LeverHandle {
    /// Asks, and gives where the answer will be. `None` where the process is ending or others are asking.
    pub fn ask(&self, wish: Wish) -> Option<oneshot::Receiver<Result<Done, NotDone>>> {
        let (reply, answer) = oneshot::channel();
        self.wishes.try_send(Message::Wish(LeverRequest { wish, reply })).ok()?;
        Some(answer)
    }

    /// What is pulled now.
    pub fn pulled(&self) -> Arc<Levers> {
        self.board.table()
    }
}

impl NotDone {
    /// What to do about it.
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Words(_) => "see docs/levers.md, or the --help of the command",
            Self::Unknown(_) => "see /cells and the configuration for what there is",
            Self::Refused(Refused::NotPulled(_)) => "see cellgate levers for what is pulled",
            Self::Refused(Refused::Full) => {
                "see cellgate levers for what is pulled, and release what is over"
            }
            Self::Refused(Refused::Time(_)) => {
                "ask for a time within that; what is to last longer belongs into the configuration"
            }
            Self::Refused(Refused::Reason(_)) => "say in some words why, for whoever sees it in the night",
            Self::Refused(Refused::Name(_)) => {
                "name who wants it in \"by\", or leave that out: who asks is known"
            }
            Self::Refused(Refused::Token(_)) => {
                "leave the token out, and revoke it where others may have seen it"
            }
            Self::Refused(Refused::NotALine(_)) => "write it without line breaks, tabs and escapes",
            Self::Unwritten(_) => {
                "make the state folder writable again (df, mount and ls -l say why it is not), and ask again"
            }
            Self::Elsewhere => "ask again: the process that serves will answer",
        }
    }
}
