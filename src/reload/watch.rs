//! Tells when something in the configuration folder has changed. Knows nothing of what is in it: the
//! reload compares content, so a false alarm costs a read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// Without events (a network file system has none) the folder is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Watched folders.
pub struct Watch {
    events: mpsc::Receiver<()>,
    fallback: tokio::time::Interval,
    /// Ends the watching when dropped; `None` when the system offers no events.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches folders and everything below them, less what cellgate itself writes in `state_dir`. The first
    /// change is now, when the watching begins some time after the folders were read: `look_at_once`.
    pub fn folders(folders: &[PathBuf], state_dir: &Path, look_at_once: bool) -> Self {
        // One place: a second event before the first is taken says nothing new.
        let (sender, events) = mpsc::channel(1);
        let state_dir = state_dir.canonicalize().unwrap_or_else(|_| state_dir.to_owned());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let matters = |event: notify::Event| {
                !matches!(event.kind, EventKind::Access(_))
                    && !event.paths.iter().all(|path| path.starts_with(&state_dir))
            };
            if event.is_ok_and(matters) {
                let _ = sender.try_send(());
            }
        });
        let watched = watcher.and_then(|mut watcher| {
            for folder in folders {
                let real = folder.canonicalize().map_err(notify::Error::io)?;
                watcher.watch(&real, RecursiveMode::Recursive)?;
            }
            Ok(watcher)
        });
        let watcher = watched.inspect_err(|error| {
            tracing::warn!(?folders, %error, every = ?LOOK_EVERY, "no file events; looking from time to time");
        });
        let mut fallback = interval(LOOK_EVERY);
        fallback.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is now, and a start has just read everything.
        if !look_at_once {
            fallback.reset();
        }
        Self { events, fallback, _watcher: watcher.ok() }
    }

    /// Returns when something may have changed.
    pub async fn changed(&mut self) {
        tokio::select! {
            Some(()) = self.events.recv() => {}
            _ = self.fallback.tick() => {}
        }
    }

    /// Returns when nothing has changed for `quiet`, or after `at_most`.
    pub async fn settled(&mut self, quiet: Duration, at_most: Duration) {
        let end = Instant::now() + at_most;
        loop {
            let until = (Instant::now() + quiet).min(end);
            match timeout_at(until, self.events.recv()).await {
                Ok(Some(())) if Instant::now() < end => {}
                _ => return,
            }
        }
    }
}
