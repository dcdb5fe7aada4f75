//! What the admin plane says of calls that the trail has no other line of. Nothing here writes anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::policy::access::Door;
use crate::policy::code::Code;

/// Lines that wait for the disk. What comes while so many wait is counted and left out.
const QUEUED: usize = 64;

/// How long whoever asks for an upgrade waits for its line: a disk that hangs is a reason to upgrade, perhaps.
const PATIENCE: Duration = Duration::from_secs(2);

/// A call that was to change something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Who; `None` where they could not say.
    pub caller: Option<Box<str>>,
    /// By which way.
    pub door: Door,
    /// What it was: `POST /reload`.
    pub what: String,
    /// What becomes of it.
    pub ended: Ended,
    /// Why, by the name that the answer has.
    pub why: &'static str,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is about to be done.
    Asked,
    /// The caller may not.
    Refused,
    /// The caller may, and it cannot be done.
    Failed,
}

#[derive(Debug)]
pub(super) enum Message {
    Attempt(Attempt, Option<oneshot::Sender<()>>),
    End,
}

/// Says it.
#[derive(Clone, Debug)]
pub struct AttemptHandle {
    pub(super) messages: SyncSender<Message>,
    /// What found no room, since the thread has last looked.
    lost: Arc<AtomicU64>,
}

/// The thread's own end of an [`AttemptHandle`].
#[derive(Debug)]
pub struct AttemptInbox {
    pub(super) messages: Receiver<Message>,
    pub(super) lost: Arc<AtomicU64>,
}

/// A connected pair.
pub fn handles() -> (AttemptHandle, AttemptInbox) {
    let (sender, receiver) = sync_channel(QUEUED);
    let lost = Arc::<AtomicU64>::default();
    (AttemptHandle { messages: sender, lost: Arc::clone(&lost) }, AttemptInbox { messages: receiver, lost })
}

impl AttemptHandle {
    /// Has it written down, if there is room for it, and waits for nothing.
    pub fn tell(&self, attempt: Attempt) {
        let is_lost = self.messages.try_send(Message::Attempt(attempt, None)).is_err();
        // One line, however many there are: the thread says how many.
        if is_lost && self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                code = %Code::TrailGap,
                "calls of the admin plane are not written into the audit trail: the disk is slow, or the process ends"
            );
        }
    }

    /// The same, and waits for a while until it is there.
    pub async fn tell_first(&self, attempt: Attempt) {
        let (reply, written) = oneshot::channel();
        let sent = self.messages.try_send(Message::Attempt(attempt, Some(reply))).is_ok();
        if !sent || !matches!(tokio::time::timeout(PATIENCE, written).await, Ok(Ok(()))) {
            tracing::error!(code = %Code::TrailGap, "this call is done before it is in the audit trail, or without being there");
        }
    }
}

impl Ended {
    /// As the audit trail has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}
