//! Each change of the public status as a webhook (Standard Webhooks), sent by a thread of its own: a receiver that is slow or
//! away holds up nobody. What it does not get is told in the log; `status.json` says how it stands.
//!
//! What waits is known until the receiver has it or it is given up, so that the next process can go on with it.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::Notify;

use crate::authorities::client_config;
use crate::load;
use crate::policy::code::Code;
use crate::policy::status::Change;
use crate::policy::status::resume::Untold;
use crate::telemetry::wall_time::unix_seconds;
use crate::webhooks::{Courier, Message, Secret, Target, send};

use super::names::CalledNames;
use super::view::ChangeView;

/// Changes that wait for the receiver: all tiles of twenty cells, twice. Beyond them only how many is told.
const WAITING: usize = 256;

/// How long what is being sent may take when the process is to rest: a receiver that is there answers within it. What it has
/// not taken by then the next process sends, by the same id.
const REST_WITHIN: Duration = Duration::from_secs(1);

/// Where to, and signed with what.
#[derive(Clone, Debug)]
pub struct Post {
    /// The receiver.
    pub target: Arc<Target>,
    /// The file with the secret, read anew each time, so that it can be changed.
    pub secret_file: PathBuf,
    /// Authorities in place of those of the system.
    pub ca_file: Option<PathBuf>,
}

/// The keeper's end.
#[derive(Debug)]
pub(super) struct Notifier {
    outbox: Arc<Outbox>,
    /// In the ids, so that no two processes make the same one.
    process: u64,
    number: u64,
}

/// A change with the words in which it is told.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    untold: Untold,
    message: Message,
}

/// What waits, shared with the thread that sends.
#[derive(Debug, Default)]
struct Outbox {
    inside: Mutex<Inside>,
    /// Something of it has changed, for the thread that sends; and that it has come to rest, for the keeper.
    changed: Notify,
    rests: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    /// The oldest first.
    letters: VecDeque<Letter>,
    mode: Mode,
    is_sending: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Sending,
    Resting,
    Ended,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: &'a str,
    data: &'a ChangeView,
}

impl Notifier {
    /// Begins to send; `process` is random.
    pub(super) fn start(post: Post, process: u64) -> io::Result<Self> {
        let outbox = Arc::<Outbox>::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let theirs = Arc::clone(&outbox);
        let run = move || runtime.block_on(carry(&post, &theirs));
        std::thread::Builder::new().name("status-webhook".into()).spawn(run)?;
        Ok(Self { outbox, process, number: 0 })
    }

    /// Makes a change ready to be told; `None` where what it is about is gone.
    pub(super) fn letter(&mut self, change: &Change, names: &CalledNames) -> Option<Letter> {
        self.number += 1;
        let id = format!("status_{:016x}_{}", self.process, self.number);
        letter(Untold { id: id.into(), change: change.clone() }, names)
    }

    /// What the process before may not have told.
    pub(super) fn go_on_with(&self, untold: Vec<Untold>, names: &CalledNames) {
        self.offer(untold.into_iter().filter_map(|one| letter(one, names)).collect());
    }

    /// Has them told, and says of how many nobody will hear.
    pub(super) fn offer(&self, letters: Vec<Letter>) {
        let mut inside = self.outbox.lock();
        let room = WAITING.saturating_sub(inside.letters.len());
        let changes = letters.len().saturating_sub(room);
        inside.letters.extend(letters.into_iter().take(room));
        drop(inside);
        self.outbox.changed.notify_one();
        if changes > 0 {
            tracing::warn!(code = %Code::StatusNotTold, changes, "changes of the status were not told to the webhook: too many wait for it");
        }
    }

    /// What is not known to have been told, these last ones with it.
    pub(super) fn untold(&self, new: &[Letter]) -> Vec<Untold> {
        self.outbox.lock().letters.iter().chain(new).map(|letter| letter.untold.clone()).collect()
    }

    /// Begins nothing more until it goes on, and lets what is under way end, within a second or so.
    pub(super) fn rest(&self) {
        let mut inside = self.outbox.lock();
        inside.mode = Mode::Resting;
        self.outbox.changed.notify_one();
        while inside.is_sending {
            inside = self.outbox.rests.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// After a rest.
    pub(super) fn go_on(&self) {
        self.outbox.lock().mode = Mode::Sending;
        self.outbox.changed.notify_one();
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.outbox.lock().mode = Mode::Ended;
        self.outbox.changed.notify_one();
    }
}

fn letter(untold: Untold, names: &CalledNames) -> Option<Letter> {
    let view = ChangeView::new(&untold.change, names)?;
    let body = Body { kind: "status.changed", timestamp: &view.at, data: &view };
    let surface = view.surface.as_ref().map_or("", |surface| &surface.name);
    let message = Message {
        id: untold.id.to_string(),
        about: format!("{} {surface} is {}", view.cell.name, view.to),
        body: serde_json::to_string(&body).expect("texts are JSON"),
    };
    Some(Letter { untold, message })
}

/// What the thread that sends does next.
enum Next {
    Send(Vec<Message>),
    Wait,
    End,
}

impl Outbox {
    /// A poisoned lock means that another holder panicked between two whole changes.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Next {
        let mut inside = self.lock();
        match inside.mode {
            Mode::Ended => Next::End,
            Mode::Sending if !inside.letters.is_empty() => {
                inside.is_sending = true;
                Next::Send(inside.letters.iter().map(|letter| letter.message.clone()).collect())
            }
            Mode::Sending | Mode::Resting => Next::Wait,
        }
    }

    /// It has been told, or said in the log that it was not.
    fn settle(&self, is_it: impl Fn(&str) -> bool) {
        self.lock().letters.retain(|letter| !is_it(&letter.untold.id));
    }

    fn sent(&self) {
        self.lock().is_sending = false;
        self.rests.notify_all();
    }

    /// Comes when what is under way is to be left where it is.
    async fn called_off(&self) {
        while self.lock().mode == Mode::Sending {
            self.changed.notified().await;
        }
        tokio::time::sleep(REST_WITHIN).await;
    }
}

/// Sends what waits, as long as there is a keeper.
async fn carry(post: &Post, outbox: &Arc<Outbox>) {
    loop {
        match outbox.next() {
            Next::End => return,
            Next::Wait => outbox.changed.notified().await,
            Next::Send(messages) => {
                let _sending = SendingEnds(outbox);
                tokio::select! {
                    () = deliver(post, outbox, messages) => {}
                    () = outbox.called_off() => {}
                }
            }
        }
    }
}

/// Nothing is sent any more, also where that panicked: nobody waits for it for ever.
struct SendingEnds<'a>(&'a Outbox);

impl Drop for SendingEnds<'_> {
    fn drop(&mut self) {
        self.0.sent();
    }
}

async fn deliver(post: &Post, outbox: &Arc<Outbox>, messages: Vec<Message>) {
    let name = post.target.to_string();
    let ids: Vec<String> = messages.iter().map(|message| message.id.clone()).collect();
    match courier(post, outbox) {
        Err(error) => {
            let changes = messages.len();
            tracing::warn!(code = %Code::StatusNotTold, webhook = name, changes, error, "changes of the status were not sent");
        }
        Ok(courier) => {
            let came = send(courier, messages.into_iter()).await;
            if let Some(stopped) = came.stopped {
                tracing::warn!(code = %Code::StatusNotTold, webhook = name, unsent = came.unsent, stopped, "changes of the status were not sent");
            }
        }
    }
    outbox.settle(|id| ids.iter().any(|sent| sent == id));
}

fn courier(post: &Post, outbox: &Arc<Outbox>) -> Result<Courier, String> {
    let name = post.target.to_string();
    let tls = client_config(post.ca_file.as_deref()).map_err(|error| error.to_string())?;
    let (accepting, failing) = (Arc::clone(outbox), Arc::clone(outbox));
    Ok(Courier {
        target: Arc::clone(&post.target),
        secrets: vec![secret(&post.secret_file)?],
        tls: Arc::new(tls),
        now: || unix_seconds(SystemTime::now()),
        random: fastrand::f64,
        accepted: Box::new(move |id| accepting.settle(|one| one == id)),
        failed: Box::new(move |failure| {
            let (about, why, id) = (&failure.about, &failure.why, &failure.id);
            tracing::warn!(code = %Code::StatusNotTold, webhook = name, about, why, id, "a change of the status was not taken");
            failing.settle(|one| one == id);
        }),
    })
}

/// The secret in a file.
///
/// # Errors
/// It cannot be read, others can, or it is none.
pub(super) fn secret(path: &Path) -> Result<Secret, String> {
    let text = load::secret(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Secret::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

impl Post {
    /// Looks whether it could send.
    ///
    /// # Errors
    /// The files cannot be used.
    pub fn check(&self) -> Result<(), String> {
        courier(self, &Arc::default()).map(drop)
    }
}
