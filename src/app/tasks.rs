//! What runs beside the requests on the data plane's runtime: closing idle connections, keeping learned
//! credentials, warning of what ends.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Shared;
use crate::learned_file;
use crate::listen::drain::{Phase, Shutdown};
use crate::live::Live;
use crate::policy::code::Code;
use crate::policy::learned::LearnedTable;
use crate::policy::snapshot::EndpointKey;
use crate::policy::validity::{Ending, Stage, endings};
use crate::prober;
use crate::proxy::connect::Connector;
use crate::standing::Standing;
use crate::state_file::Ownership;
use crate::telemetry::labels::LearnedState;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::wall_time::{Seconds, from_unix_seconds, unix_seconds};

/// How often idle connections to cells are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often learned credentials are written, when there are new ones.
const SAVE_LEARNED_EVERY: Duration = Duration::from_secs(30);

/// How often it is looked whether something has ended, and how long after it was said it is said again.
const LOOK_AT_ENDINGS_EVERY: Duration = Duration::from_secs(60);
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(86_400);

/// Judges cells. The process does not end before it is written down how they stand.
pub(super) fn judge_cells(
    shared: &Shared,
    mut shutdown: Shutdown,
) -> impl Future<Output = ()> + Send + use<> {
    let last = shutdown.token();
    let stopping = async move {
        shutdown.reached(Phase::Closed).await;
        last
    };
    let standing = Standing {
        live: Arc::clone(&shared.live),
        levers: Arc::clone(&shared.levers),
        clock: shared.clock,
        metrics: Arc::clone(&shared.metrics),
        readiness: Arc::clone(&shared.readiness),
        state: (shared.boot.state_dir.clone(), Arc::clone(&shared.state)),
    };
    standing.judge(stopping)
}

/// Warns of certificates and lists whose time is over or soon will be: when they come into force, and then
/// once a day.
pub(super) async fn warn_of_endings(live: Arc<Live>) {
    let mut turns = tokio::time::interval(LOOK_AT_ENDINGS_EVERY);
    let mut said: HashMap<Ending, (Stage, Instant)> = HashMap::new();
    loop {
        turns.tick().await;
        let snapshot = live.pin();
        let now = unix_seconds(SystemTime::now());
        let endings = endings(&snapshot);
        said.retain(|ending, (_, at)| at.elapsed() < SAY_AGAIN_AFTER && endings.contains(ending));
        for ending in endings {
            let Some(stage) = ending.stage(&snapshot, now) else { continue };
            if said.get(&ending).is_some_and(|(before, _)| *before == stage) {
                continue;
            }
            let until = Seconds(from_unix_seconds(ending.until));
            tracing::warn!(code = %Code::TimeIsEnding, reason = ending.reason(stage), %until, "{}", ending.said(stage));
            said.insert(ending, (stage, Instant::now()));
        }
    }
}

/// Asks endpoints whether they are well.
pub(super) fn check_endpoints(
    connector: &Arc<Connector>,
    shared: &Shared,
) -> impl Future<Output = ()> + Send + use<> {
    prober::run(Arc::clone(connector), Arc::clone(&shared.live), Arc::clone(&shared.metrics), shared.clock)
}

/// Closes connections to cells that have been idle for too long, or whose endpoint is gone.
pub(super) async fn sweep(connector: Arc<Connector>, live: Arc<Live>) {
    let mut turns = tokio::time::interval(SWEEP_EVERY);
    loop {
        turns.tick().await;
        let pinned = live.pin_both();
        // A refused candidate's connections have no owner any more.
        let candidate = pinned.candidate.iter().flat_map(|candidate| &candidate.snapshot.cells);
        let keep_alive = |key: &EndpointKey| {
            let mut cells = pinned.stable.cells.iter().chain(candidate.clone());
            let owner = cells.find(|cell| cell.endpoints().any(|endpoint| endpoint.key == *key));
            owner.map(|cell| cell.timeouts.keep_alive)
        };
        connector.pool().sweep(keep_alive);
    }
}

/// Forgets learned credentials that nothing has confirmed, counts the rest, and writes them down.
pub(super) async fn keep_learned(
    learned: Arc<LearnedTable>,
    live: Arc<Live>,
    (state_dir, state): (PathBuf, Arc<Ownership>),
    metrics: Arc<Metrics>,
) {
    let mut turns = tokio::time::interval(SAVE_LEARNED_EVERY);
    let mut saved = learned.epoch();
    loop {
        turns.tick().await;
        let evicted = learned.expire(u64::try_from(unix_seconds(SystemTime::now())).unwrap_or(0));
        metrics.learned_evicted(evicted as u64);
        let (routable, ambiguous) = learned.counts();
        metrics.learned_credentials(LearnedState::Routable, routable);
        metrics.learned_credentials(LearnedState::Ambiguous, ambiguous);
        // Before it is read: what comes meanwhile is written the next time.
        let epoch = learned.epoch();
        if epoch == saved {
            continue;
        }
        let (learned, snapshot) = (Arc::clone(&learned), live.pin());
        let (state_dir, state) = (state_dir.clone(), Arc::clone(&state));
        let save = move || state.write(|| learned_file::save(&state_dir, &learned, &snapshot));
        match tokio::task::spawn_blocking(save).await {
            Ok(Some(Ok(()))) => saved = epoch,
            Ok(Some(Err(error))) => {
                tracing::warn!(%error, "learned credentials not saved; they serve from memory, and are saved when they can be");
            }
            // The folder may be taken back from a successor that fails; the panic hook has said a panic.
            Ok(None) | Err(_) => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::policy::credential::Fingerprint;
    use crate::test_snapshot::{SnapshotBuilder, account};

    #[tokio::test(start_paused = true)]
    async fn credentials_that_could_not_be_saved_are_saved_when_they_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("state");
        let learned = Arc::<LearnedTable>::default();
        let snapshot = SnapshotBuilder::new().credentials().build();
        let bounds = snapshot.identify.credentials.learning.unwrap();
        let live = Arc::new(Live::new(Arc::new(snapshot)));
        let state = (state_dir.clone(), Arc::default());
        tokio::spawn(keep_learned(Arc::clone(&learned), live, state, Arc::new(Metrics::new())));
        // The clock stands while a save is under way: whoever sleeps longer than a turn finds it done.
        let a_turn = || tokio::time::sleep(SAVE_LEARNED_EVERY);
        tokio::time::sleep(SAVE_LEARNED_EVERY / 2).await;
        let now = u64::try_from(unix_seconds(SystemTime::now())).unwrap();
        learned.teach(Fingerprint([1; 16]), "k1", account(1), &bounds, now);
        a_turn().await;
        assert!(!state_dir.exists(), "there is no folder to save them in");
        std::fs::create_dir(&state_dir).unwrap();
        a_turn().await;
        let saved = std::fs::read(state_dir.join(learned_file::FILE_NAME)).unwrap();
        assert_eq!(learned_file::parse(&saved).unwrap().entries.len(), 1);
    }
}
