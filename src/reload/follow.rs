//! A predecessor that drains. The state folder is its successor's, and so is the word on what serves: what the successor has
//! saved as last good comes in force here too, whole, and nothing else does. A trial beside its successor's would be one
//! that nobody looks at.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::Reloader;
use super::outcome::{ReloadInbox, ReloadOutcome, Trigger};
use super::retired::Retired;
use super::staged::LOOK_EVERY;
use crate::config::{self, Sources};
use crate::load::Place;
use crate::policy::snapshot::Snapshot;
use crate::start::Base;
use crate::{last_good, quiet, start};

/// What there is to follow.
enum Found {
    /// What serves here.
    Same,
    /// Something else.
    Other(Arc<Snapshot>, Sources),
    /// Nothing that may serve here.
    Unusable { hash: Box<str>, why: String },
}

impl Reloader {
    /// Whether another process has the state folder by now. A trial that goes wrong waits for no disk to hear it.
    pub(super) fn is_predecessor(&self) -> bool {
        !self.state.is_ours()
    }

    /// Returns when it is to be looked what the successor serves; never while there is none. The successor writes where
    /// nobody watches, so this goes by the clock.
    pub(super) async fn successor_due(&self) {
        if self.is_predecessor() {
            tokio::time::sleep(LOOK_EVERY).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Serves what the successor has saved as last good, where that is something else.
    pub(super) async fn follow(
        &mut self,
        trigger: Trigger,
        inbox: &ReloadInbox,
        retired: &mut Retired,
    ) -> ReloadOutcome {
        self.withdraw("another process serves by now", retired);
        self.report(inbox);
        let (place, state_dir, live) = (self.place.clone(), self.boot.state_dir.clone(), self.live.pin());
        let not_again = self.not_followed.clone();
        let found = quiet::run(move || look(&place, &state_dir, &live, not_again.as_deref())).await;
        match found {
            Some(Found::Other(next, sources)) => {
                let hash = next.hash.clone();
                let outcome = self.put_in_force(next, sources, None, retired).await;
                if matches!(outcome, ReloadOutcome::Applied { .. }) {
                    tracing::info!(%hash, "what the successor serves is in force here too");
                }
                self.tell(trigger, outcome.clone(), SystemTime::now(), inbox);
                outcome
            }
            Some(Found::Unusable { hash, why }) => {
                tracing::warn!(%hash, why, "what the successor serves is not followed");
                self.not_followed = Some(hash);
                ReloadOutcome::Unchanged
            }
            Some(Found::Same) | None => ReloadOutcome::Unchanged,
        }
    }
}

fn look(place: &Place, state_dir: &Path, live: &Snapshot, not_again: Option<&str>) -> Found {
    // The list of its files says which it is, and is short.
    let hash = match last_good::about(&state_dir.join(last_good::FILE_NAME)) {
        Ok((_, hash)) if *hash == *live.hash || Some(&*hash) == not_again => return Found::Same,
        Ok((_, hash)) => hash.into_boxed_str(),
        // It is being replaced, or is damaged, which its owner says.
        Err(_) => return Found::Same,
    };
    match start::base(place, state_dir, None) {
        Err(error) => Found::Unusable { hash, why: error.to_string() },
        Ok((Base { config, .. }, _)) if config.hash != hash => Found::Same,
        Ok((Base { config, .. }, (sources, _))) => {
            let backwards = config::diff(live, &config).moves.backwards;
            if backwards.count > 0 {
                let why = format!("{} accounts would go back: {backwards}", backwards.count);
                return Found::Unusable { hash, why };
            }
            Found::Other(Arc::new(config::compile(config, Some(live))), sources)
        }
    }
}
