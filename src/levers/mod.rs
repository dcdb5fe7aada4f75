//! The thread that keeps the levers: it writes down what an operator asks for and then puts it up for requests to read, and
//! looks each second whose time is over.
//!
//! On a thread of its own, beside the task that reloads: a lever is answered while a million rows are compiled or written,
//! and while every thread of the data plane is busy. Its one neighbour is the audit trail, which it has together with
//! that task ([`Journal`]), a line at a time.
//!
//! What levers do is [`policy::protection::levers`](crate::policy::protection::levers)' business.

pub mod handle;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::config::time::show_moment;
use crate::levers_file;
use crate::policy::access::Asker;
use crate::policy::code::Code;
use crate::policy::protection::levers::board::LeverBoard;
use crate::policy::protection::levers::known::bare_cells;
use crate::policy::protection::levers::{Lever, LeverId, Levers, Pulled, PulledOrReplaced};
use crate::policy::snapshot::Snapshot;
use crate::readiness::{NoteReady, Readiness, Reason};
use crate::reload::journal::{Journal, LeverLine};
use crate::state_file::Ownership;
use crate::telemetry::wall_time::unix_seconds;
use handle::{Done, LeverHandle, LeverInbox, LeverRequest, Message, NotDone, Wish};

/// How often it is looked whose time is over: a lever may hold so much longer than it says.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Levers that `/readyz` names: who wants all of them asks for them.
const NOTED: usize = 8;

/// Gives what serves.
pub type Serving = Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync>;

/// The one writer of the levers.
pub struct Keeper {
    board: Arc<LeverBoard>,
    journal: Journal,
    state: Arc<Ownership>,
    state_dir: PathBuf,
    live: Serving,
    readiness: Arc<Readiness>,
    note: Option<NoteReady>,
}

/// The running thread. It ends when this is dropped.
#[derive(Debug)]
pub struct LeverThread {
    handle: LeverHandle,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Puts up what the state folder has, before the first request. Those whose time was over meanwhile end now.
    pub fn begin(
        board: Arc<LeverBoard>,
        journal: Journal,
        (state, state_dir): (Arc<Ownership>, PathBuf),
        live: Serving,
        readiness: Arc<Readiness>,
        now: i64,
    ) -> Self {
        let mut this = Self { board, journal, state, state_dir, live, readiness, note: None };
        match levers_file::load(&this.state_dir) {
            Ok(levers) => {
                this.put_up(levers);
                this.expire(now);
            }
            Err(error) => {
                let told = format!("{} is not believed: {error}; no lever is pulled", levers_file::FILE_NAME);
                tracing::error!(code = %Code::LeversLost, state_dir = %this.state_dir.display(), told, "THE LEVERS ARE LOST");
                let (trigger, by) = ("start", Some("cellgate"));
                let line = LeverLine { trigger, caller: None, outcome: "lost", by, reason: "", told: &told };
                let _ = this.state.write_beside(|| this.write_down(line, now));
            }
        }
        for pulled in this.board.table().iter() {
            tracing::warn!(lever = %pulled.id, told = told(pulled), "this lever is pulled still");
        }
        this
    }

    /// Answers on a thread of its own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut self, handle: LeverHandle, inbox: LeverInbox) -> std::io::Result<LeverThread> {
        let run = move || self.run(&inbox);
        let thread = std::thread::Builder::new().name("levers".into()).spawn(run)?;
        Ok(LeverThread { handle, thread: Some(thread) })
    }

    fn run(&mut self, inbox: &LeverInbox) {
        let mut next_look = Instant::now() + LOOK_EVERY;
        loop {
            match inbox.wishes.recv_timeout(next_look.saturating_duration_since(Instant::now())) {
                Ok(Message::Wish(LeverRequest { wish, reply })) => {
                    let answer = self.answer(wish, unix_seconds(SystemTime::now()));
                    // A caller who has gone away does not want the answer.
                    let _ = reply.send(answer);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if next_look <= Instant::now() {
                next_look = Instant::now() + LOOK_EVERY;
                self.look(unix_seconds(SystemTime::now()));
            }
        }
    }

    /// Does what is asked at `now` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// Nothing has changed.
    pub fn answer(&mut self, wish: Wish, now: i64) -> Result<Done, NotDone> {
        match wish {
            Wish::Pull { words, by, reason, lasts } => {
                let lever = Lever::parse(&words)?;
                lever.is_known(&(self.live)())?;
                let (mut levers, live) = (self.current(), (self.live)());
                let before = bare_cells(&levers, &live);
                let claimed = claimed(&by)?;
                let done = levers.pull(lever, (&by.to_string(), &reason), lasts, now)?;
                let PulledOrReplaced { pulled, replaced } = &done;
                let told = match replaced {
                    Some(replaced) => format!("{}, in place of {}", told(pulled), told(replaced)),
                    None => told(pulled),
                };
                let (Pulled { id, by: shown, reason, .. }, caller) = (pulled, Some(&*by.caller));
                let line = LeverLine {
                    trigger: "admin",
                    caller,
                    outcome: "pulled",
                    by: claimed,
                    reason,
                    told: &told,
                };
                let mut bare = bare_cells(&levers, &live);
                bare.retain(|cell| !before.contains(cell));
                self.change(levers, line, now)?;
                tracing::warn!(lever = %id, by = shown, reason, told, ?bare, "a lever is pulled");
                Ok(Done::Pulled { done, bare })
            }
            Wish::Release { id, by, reason } => {
                self.release(id, &by, reason.as_deref(), now).map(Done::Released)
            }
        }
    }

    fn release(&mut self, id: LeverId, by: &Asker, why: Option<&str>, now: i64) -> Result<Pulled, NotDone> {
        let mut levers = self.current();
        let pulled = levers.release(id)?;
        let (caller, claimed) = (Some(&*by.caller), claimed(by)?);
        let why = why.map(Levers::reason_of).transpose()?.unwrap_or_default();
        let told = told(&pulled);
        let line = LeverLine {
            trigger: "admin",
            caller,
            outcome: "released",
            by: claimed,
            reason: why,
            told: &told,
        };
        self.change(levers, line, now)?;
        tracing::warn!(lever = %id, %by, why, told, "a lever is released");
        Ok(pulled)
    }

    /// Ends those whose time is over. A process that another one follows has what that one has put down.
    pub fn look(&mut self, now: i64) {
        if self.state.is_ours() {
            self.expire(now);
        } else if let Ok(mut levers) = levers_file::load(&self.state_dir) {
            let _ = levers.expire(now);
            if !levers.iter().eq(self.board.table().iter()) {
                self.put_up(levers);
            }
        }
    }

    /// What is over ends also where that cannot be written down: nobody has said that it goes on.
    fn expire(&mut self, now: i64) {
        let mut levers = self.current();
        let over = levers.expire(now);
        if over.is_empty() {
            return;
        }
        self.put_up(levers.clone());
        let write = || {
            for pulled in &over {
                let told = told(pulled);
                tracing::warn!(lever = %pulled.id, told, "the time of this lever is over: what is configured holds again");
                let Pulled { by, reason, .. } = pulled;
                let asker = Asker::parse(by);
                let caller = asker.as_ref().map(|asker| &*asker.caller);
                // Before callers were known there was a name alone, which nobody had checked.
                let by = asker.as_ref().map_or(Some(&**by), |asker| asker.claimed.as_deref());
                let line = LeverLine { trigger: "time", caller, outcome: "over", by, reason, told: &told };
                if let Err(error) = self.write_down(line, now) {
                    tracing::error!(code = %Code::TrailGap, %error, lever = %pulled.id, "the end of this lever is not in the audit trail");
                }
            }
            if let Err(error) = levers_file::save(&self.state_dir, &levers) {
                // Its time is over after a restart, too.
                tracing::warn!(%error, "the state folder has levers whose time is over");
            }
        };
        let _ = self.state.write_beside(write);
    }

    /// Into the audit trail first, then into the state folder, then in force.
    fn change(&mut self, levers: Levers, line: LeverLine<'_>, now: i64) -> Result<(), NotDone> {
        let write = || {
            self.write_down(line, now)?;
            levers_file::save(&self.state_dir, &levers).map_err(|error| {
                let what = format!("it cannot be put down: {error}");
                // The line before says that it came about.
                let told = format!("{}: not {}, for {what}", line.told, line.outcome);
                let taken_back = LeverLine { outcome: "failed", told: &told, ..line };
                if let Err(error) = self.write_down(taken_back, now) {
                    tracing::error!(code = %Code::TrailGap, %error, told, "the audit trail has a lever that did not come about");
                }
                NotDone::Unwritten(what)
            })
        };
        self.state.write_beside(write).unwrap_or(Err(NotDone::Elsewhere))?;
        self.put_up(levers);
        Ok(())
    }

    fn write_down(&self, line: LeverLine<'_>, now: i64) -> Result<(), NotDone> {
        let written = self.journal.lever(line, now);
        written.map(drop).map_err(|objection| NotDone::Unwritten(objection.what))
    }

    fn current(&self) -> Levers {
        (*self.board.table()).clone()
    }

    fn put_up(&mut self, levers: Levers) {
        let (count, noted) = (levers.iter().count(), levers.iter().take(NOTED).map(told));
        let mut told = noted.collect::<Vec<_>>().join("; ");
        if count > NOTED {
            told.push_str(&format!("; and {} more", count - NOTED));
        }
        self.board.put_up(levers);
        self.note = (count > 0).then(|| self.readiness.note(Reason::Levers { told }));
    }
}

/// Whom a caller names, as it is written down.
fn claimed(by: &Asker) -> Result<Option<&str>, NotDone> {
    Ok(by.claimed.as_deref().map(Levers::name_of).transpose()?)
}

/// `lever 3 (shed 50% cell us1) until 2026-11-22T12:00:00Z`.
fn told(pulled: &Pulled) -> String {
    format!("lever {} ({}) until {}", pulled.id, pulled.lever, show_moment(pulled.until))
}

impl Drop for LeverThread {
    fn drop(&mut self) {
        // One that has ended takes no message.
        let _ = self.handle.wishes.send(Message::End);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(code = %Code::Panicked, "the thread of the levers ended with a panic; report it with the log of before");
        }
    }
}

#[cfg(test)]
mod tests;
