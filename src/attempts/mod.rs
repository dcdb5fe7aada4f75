//! The thread that writes into the audit trail what callers of the admin plane have tried: what was refused, what failed before it
//! began, and what leaves no line of its own. So many lines and no more, so that nobody can fill the trail, or push out of it
//! what others have done.
//!
//! On a thread of its own: the admin plane answers while a disk hangs.

pub mod handle;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::policy::access::Door;
use crate::policy::access::rate::{Allowance, LINES};
use crate::policy::code::Code;
use crate::reload::journal::{CallLine, Journal};
use crate::state_file::Ownership;
use crate::telemetry::wall_time::unix_seconds;
use handle::{Attempt, AttemptHandle, AttemptInbox, Ended, Message};

/// How often it is looked whether what was left out may be told.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Callers of whom something is remembered: twice as many as there can be tokens.
const MOST_CALLERS: usize = 2_000;

/// The one writer.
#[derive(Debug)]
pub struct Scribe {
    journal: Journal,
    state: Arc<Ownership>,
    told: HashMap<(Option<Box<str>>, Door), Told>,
}

/// What was told of a caller lately.
#[derive(Debug, Default)]
struct Told {
    allowance: Allowance,
    /// What was not.
    left_out: u64,
}

/// The running thread. It ends when this is dropped.
#[derive(Debug)]
pub struct AttemptThread {
    handle: AttemptHandle,
    thread: Option<JoinHandle<()>>,
}

impl Scribe {
    /// Writes where the task that reloads does.
    pub fn new(journal: Journal, state: Arc<Ownership>) -> Self {
        Self { journal, state, told: HashMap::new() }
    }

    /// Writes on a thread of its own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut self, handle: AttemptHandle, inbox: AttemptInbox) -> std::io::Result<AttemptThread> {
        let run = move || {
            let mut next_look = Instant::now() + LOOK_EVERY;
            loop {
                let message =
                    inbox.messages.recv_timeout(next_look.saturating_duration_since(Instant::now()));
                let (now, wall) = (Instant::now(), unix_seconds(SystemTime::now()));
                let lost = inbox.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::error!(code = %Code::TrailGap, lost, "so many calls of the admin plane are not in the audit trail");
                }
                match message {
                    Ok(Message::Attempt(attempt, reply)) => {
                        self.take(attempt, now, wall);
                        // Whoever no longer waits does not need it.
                        let _ = reply.map(|reply| reply.send(()));
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
                }
                // Also while calls come without end.
                if next_look <= now {
                    next_look = now + LOOK_EVERY;
                    self.look(now, wall);
                }
            }
        };
        let thread = std::thread::Builder::new().name("attempts".into()).spawn(run)?;
        Ok(AttemptThread { handle, thread: Some(thread) })
    }

    /// Writes one down, or counts it.
    pub fn take(&mut self, attempt: Attempt, now: Instant, wall: i64) {
        let known = self.told.contains_key(&(attempt.caller.clone(), attempt.door));
        if !known && self.told.len() >= MOST_CALLERS {
            self.told.retain(|_, told| told.left_out > 0 || !told.allowance.is_full(now));
        }
        let told = self.told.entry((attempt.caller.clone(), attempt.door)).or_default();
        // What is done is never left out: it is bounded by how often it may be asked for.
        if attempt.ended != Ended::Asked && told.allowance.spend(LINES, now).is_err() {
            told.left_out += 1;
            return;
        }
        // Those were no such calls: the next line about one of them, or a look, counts them.
        let is_asked = attempt.ended == Ended::Asked;
        let left_out = if is_asked { 0 } else { std::mem::take(&mut told.left_out) };
        self.write(&attempt, left_out, wall);
    }

    /// Tells what was left out, where there is room for it by now.
    pub fn look(&mut self, now: Instant, wall: i64) {
        let waiting = self.told.iter_mut().filter(|(_, told)| told.left_out > 0);
        let due = waiting.filter_map(|((caller, door), told)| {
            told.allowance.spend(LINES, now).ok()?;
            Some((caller.clone(), *door, std::mem::take(&mut told.left_out)))
        });
        for (caller, door, left_out) in due.collect::<Vec<_>>() {
            let what = "calls that were to change something".to_owned();
            let attempt = Attempt { caller, door, what, ended: Ended::Refused, why: "too_many_lines" };
            self.write(&attempt, left_out, wall);
        }
        let _ = self.state.write_beside(|| self.journal.tell_left_out(now, wall));
    }

    fn write(&self, attempt: &Attempt, left_out: u64, wall: i64) {
        let Attempt { caller, door, what, ended, why } = attempt;
        let mut reasons = vec![(*why).to_owned()];
        if left_out > 0 {
            reasons.push(format!(
                "calls of this caller before that were refused or failed and have no line: {left_out}"
            ));
        }
        let (caller, door, ended) = (caller.as_deref(), door.as_str(), ended.as_str());
        tracing::warn!(caller, door, what, ended, ?reasons, "a call of the admin plane");
        let line = CallLine { caller, door, what, outcome: ended, reasons };
        if let Some(Err(objection)) = self.state.write_beside(|| self.journal.call(line, wall)) {
            tracing::error!(code = %Code::TrailGap, reason = objection.what, "this call is not in the audit trail");
        }
    }
}

impl Drop for AttemptThread {
    fn drop(&mut self) {
        // One that has ended takes no message.
        let _ = self.handle.messages.send(Message::End);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(code = %Code::Panicked, "the thread of attempts ended with a panic; report it with the log of before");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;
    use crate::trail::{Event, FILE_NAME, Line, Record};

    const NOW: i64 = 1_795_132_800;

    fn attempt(caller: Option<&str>, ended: Ended) -> Attempt {
        let what = "POST /reload".to_owned();
        Attempt { caller: caller.map(Into::into), door: Door::Tls, what, ended, why: "role_missing" }
    }

    #[test]
    fn nobody_fills_the_trail_and_what_is_left_out_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path(), Metrics::new().trail(), Arc::default());
        let mut scribe = Scribe::new(journal, Arc::default());
        let lines = || -> Vec<Record> {
            let text = std::fs::read_to_string(dir.path().join(FILE_NAME)).unwrap_or_default();
            text.lines().map(|line| Line::read(line.as_bytes()).unwrap().record).collect()
        };
        let begin = Instant::now();
        for _ in 0..1_000 {
            scribe.take(attempt(None, Ended::Refused), begin, NOW);
        }
        assert_eq!(lines().len(), 20);
        scribe.take(attempt(Some("token:ann"), Ended::Refused), begin, NOW);
        assert_eq!(lines().len(), 21, "what nobody known does pushes nobody else out");
        scribe.look(begin + Duration::from_secs(599), NOW + 599);
        assert_eq!(lines().len(), 21);
        scribe.look(begin + Duration::from_secs(600), NOW + 600);
        let all = lines();
        let last = all.last().unwrap();
        assert_eq!((all.len(), last.event, &last.caller), (22, Event::Call, &None));
        assert_eq!(
            last.reasons,
            [
                "too_many_lines",
                "calls of this caller before that were refused or failed and have no line: 980"
            ]
        );
        for _ in 0..50 {
            scribe.take(attempt(Some("token:ann"), Ended::Asked), begin, NOW);
        }
        assert_eq!(lines().len(), 72, "what is done is always told");
        assert_eq!(lines()[71].caller.as_deref(), Some("token:ann"));
        for _ in 0..20 {
            scribe.take(attempt(Some("token:ann"), Ended::Failed), begin, NOW);
        }
        scribe.take(attempt(Some("token:ann"), Ended::Asked), begin, NOW);
        assert_eq!(lines().last().unwrap().reasons, ["role_missing"], "it says nothing of other calls");
        scribe.look(begin + Duration::from_secs(600), NOW + 600);
        assert_eq!(
            lines().last().unwrap().reasons,
            ["too_many_lines", "calls of this caller before that were refused or failed and have no line: 1"]
        );
    }
}
