//! Another table, in place of the one in use while requests come: until when it is in force, and what memory that takes.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::look::Look;
use super::{Kind, LOOK_EVERY, Running, START_WITHIN, Site, SiteError, files};
use crate::bench::usage::{resident, signal, tree};
use crate::place::private_folder;

impl Kind {
    /// What makes it read its tables again; nothing where that takes a new start.
    pub const fn reload_signal(self) -> Option<Signal> {
        match self {
            Self::Cellgate | Self::Nginx => Some(Signal::HUP),
            Self::Haproxy => Some(Signal::USR2),
            Self::Envoy | Self::Relay | Self::Floor => None,
        }
    }
}

impl Running {
    /// Writes the other edition of the table beside the one in use, where the program does not look, and waits until the
    /// program would hear the signal.
    ///
    /// # Errors
    /// It cannot be written, or the program does not get so far.
    pub fn ready(&mut self, site: &Site) -> Result<Ready, SiteError> {
        let edition = self.edition.other();
        let next = self.folder.join("next");
        let written =
            private_folder(&next).and_then(|()| files::write_tables(self.kind, site.table, edition, &next));
        let prepare = |source| SiteError::Prepare { kind: self.kind, folder: self.folder.clone(), source };
        written.map_err(prepare)?;
        self.await_ears()?;
        self.edition = edition;
        self.pids = self.processes();
        Ok(Ready {
            kind: self.kind,
            next,
            config: self.folder.join("config"),
            root: self.child.id(),
            look: Look::at(edition, self, site),
        })
    }

    /// HAProxy's first process begins anew each time that it has started one that serves; a signal shortly before is lost.
    fn await_ears(&self) -> Result<(), SiteError> {
        let until = Instant::now() + START_WITHIN;
        let path = format!("/proc/{}/environ", self.child.id());
        while self.kind == Kind::Haproxy && !fs::read(&path).is_ok_and(|all| has_variable(&all, WAITS)) {
            if Instant::now() > until {
                let source = io::Error::other("its first process does not wait for signals");
                return Err(SiteError::Reload { kind: self.kind, source, said: self.said() });
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Waits until the other table is in force; ends the watching.
    ///
    /// # Errors
    /// It is not in force, and it is late.
    pub fn reloaded(&mut self, reloading: Reloading) -> Result<Reloaded, SiteError> {
        let reloaded = reloading.end();
        self.pids = self.processes();
        reloaded.map_err(|source| SiteError::Reload { kind: self.kind, source, said: self.said() })
    }
}

/// Another table that lies ready.
#[must_use = "the table in use stays until this is begun"]
pub struct Ready {
    kind: Kind,
    next: PathBuf,
    config: PathBuf,
    /// The process that is told.
    root: u32,
    look: Look,
}

/// A table that comes in force, watched.
#[must_use = "nobody learns when it is in force"]
pub struct Reloading {
    /// Dropped when the window is over.
    window: SyncSender<()>,
    thread: JoinHandle<io::Result<Reloaded>>,
}

/// What a reload was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// From the signal until the first answer as the other table has it, on a new connection.
    pub to_effect: Duration,
    /// The most resident memory of all processes that was seen, in bytes.
    pub peak: u64,
}

impl Ready {
    /// Puts the table in place and tells the program, in a thread of its own that watches from then on.
    pub fn begin(self) -> Reloading {
        // Nothing is ever sent.
        let (window, is_over) = sync_channel(0);
        let over = move |wait| !matches!(is_over.recv_timeout(wait), Err(RecvTimeoutError::Timeout));
        Reloading { window, thread: thread::spawn(move || self.watch(over)) }
    }

    /// `over` waits so long for the end of the window, and says whether it has come.
    fn watch(self, over: impl Fn(Duration) -> bool) -> io::Result<Reloaded> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        files::replace_tables(self.kind, &self.next, &self.config)?;
        let begun = Instant::now();
        if let Some(told) = self.kind.reload_signal() {
            signal(self.root, told);
        }
        let (mut to_effect, mut peak, mut weighed) = (None, 0, None);
        let mut window_over = false;
        loop {
            if to_effect.is_none() {
                match runtime.block_on(self.looked()) {
                    Ok(()) => to_effect = Some(begun.elapsed()),
                    Err(what) if begun.elapsed() > START_WITHIN => return Err(io::Error::other(what)),
                    Err(_) => {}
                }
            }
            if weighed.is_none_or(|at: Instant| at.elapsed() >= WEIGH_EVERY) {
                peak = peak.max(resident(&tree(self.root)));
                weighed = Some(Instant::now());
            }
            let wait = if to_effect.is_none() { LOOK_EVERY } else { WEIGH_EVERY };
            match (window_over, to_effect) {
                (true, Some(to_effect)) => return Ok(Reloaded { to_effect, peak }),
                (true, None) => thread::sleep(wait),
                (false, _) => window_over = over(wait),
            }
        }
    }

    async fn looked(&self) -> Result<(), String> {
        timeout(LOOK_MAX, self.look.took())
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {LOOK_MAX:?}")))
    }
}

impl Reloading {
    fn end(self) -> io::Result<Reloaded> {
        drop(self.window);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that watched has failed")))
    }
}

/// What HAProxy's first process gives itself when it has nothing more to do than to wait.
const WAITS: &str = "HAPROXY_MWORKER_WAIT_ONLY";

/// Whether a process was begun with this variable, whatever its value; `all` as proc_pid_environ(5) has them.
fn has_variable(all: &[u8], name: &str) -> bool {
    let named =
        |entry: &[u8]| entry.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='));
    all.split(|byte| *byte == 0).any(named)
}

/// For one look: what is not answered by then was lost, and the next may be answered.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Between two looks at the memory. Each reads a file of every process of the machine, a millisecond or two of the
/// processor that the load needs; tables are read for longer than this.
const WEIGH_EVERY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let all = b"PATH=/bin\0HAPROXY_MWORKER_WAIT_ONLY=1\0HAPROXY_MWORKER=1\0";
        assert!(has_variable(all, WAITS) && has_variable(all, "PATH"));
        assert!(!has_variable(all, "HAPROXY") && !has_variable(all, "bin") && !has_variable(b"", WAITS));
    }
}
