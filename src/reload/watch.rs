//! Tells when something in the configuration folder has changed. Knows nothing of what is in it: the
//! reload compares content, so a false alarm costs a read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};

/// Without events (a network file system has none) the folder is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The first look: what has changed between the reading of the folder and the beginning of the watching came
/// without an event.
const FIRST_LOOK: Duration = Duration::from_secs(1);

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
        let first = Instant::now() + if look_at_once { Duration::ZERO } else { FIRST_LOOK };
        let mut fallback = interval_at(first, LOOK_EVERY);
        fallback.set_missed_tick_behavior(MissedTickBehavior::Delay);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_changed_before_the_watching_began_is_looked_for_soon() {
        for (look_at_once, expect) in [(true, Duration::ZERO), (false, FIRST_LOOK)] {
            let begun = Instant::now();
            let mut watch = Watch::folders(&[], Path::new("."), look_at_once);
            watch.changed().await;
            assert_eq!(begun.elapsed(), expect, "at once: {look_at_once}");
            let begun = Instant::now();
            watch.changed().await;
            assert_eq!(begun.elapsed(), LOOK_EVERY);
        }
    }
}
