//! Connections to the cells that accounts are about to move to, ready before the first request is: one for each
//! endpoint and each protocol that the cell speaks. In the background, and never in the way of a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant as Clock};

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connect::{ConnectError, Connector, late};
use super::forward::FRESH;
use crate::listen::log_budget::LogBudget;
use crate::live::Live;
use crate::policy::ids::CellIndex;
use crate::policy::moves::MoveState;
use crate::policy::snapshot::{Cell, CellProtocol, Endpoint, EndpointKey, Snapshot};
use crate::telemetry::labels::Connect;
use crate::telemetry::metrics::Metrics;

/// While writes are held, a flip may come at any moment, and what was held are writes: they take connections that are
/// younger than [`FRESH`]. Looked at so often, renewed at half its age, there is one.
const LOOK: Duration = Duration::from_millis(250);

/// Until then any connection that the cell still keeps will do.
const LOOK_WHILE_PREPARING: Duration = Duration::from_secs(1);

/// How long an endpoint that took no connection is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Connections made at once, handshakes included: a fraction of what a cell sees at any restart of its clients.
const AT_ONCE: usize = 16;

/// A connection that is to be there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wanted {
    endpoint: EndpointKey,
    h2: bool,
}

/// Keeps connections ready, as long as the process lives.
pub(super) async fn keep_ready(live: Arc<Live>, connector: Arc<Connector>, metrics: Arc<Metrics>) {
    let mut replacements = live.replacements();
    let mut failed = HashMap::new();
    let log = LogBudget::default();
    loop {
        let snapshot = live.pin();
        let targets = targets(&snapshot);
        failed.retain(|_, at: &mut Instant| at.elapsed() < AFTER_FAILURE);
        for (wanted, error) in round(&snapshot, &targets, &connector, &failed, &metrics).await {
            if let Some(left_out) = log.spend(Clock::now()) {
                let (endpoint, error) = (&wanted.endpoint.0, &error as &dyn std::error::Error);
                tracing::warn!(%endpoint, error, left_out, "no connection to a cell that accounts move to");
            }
            failed.insert(wanted, Instant::now());
        }
        let again = match targets.iter().map(|(_, state)| *state).max() {
            None => Duration::MAX,
            Some(MoveState::Holding) => LOOK,
            Some(MoveState::Prepare | MoveState::Flipped) => LOOK_WHILE_PREPARING,
        };
        tokio::select! {
            () = replacements.next() => {}
            () = tokio::time::sleep(again) => {}
        }
    }
}

/// The cells that accounts are about to move to, and how far the first of them is.
fn targets(snapshot: &Snapshot) -> Vec<(CellIndex, MoveState)> {
    let mut targets: HashMap<CellIndex, MoveState> = HashMap::new();
    for (_, of) in snapshot.moves.table.open() {
        if let Some(to) = of.to {
            let state = targets.entry(to).or_insert(of.state);
            *state = of.state.max(*state);
        }
    }
    targets.into_iter().collect()
}

/// Makes what is missing, so many at once; what could not be made.
async fn round(
    snapshot: &Arc<Snapshot>,
    targets: &[(CellIndex, MoveState)],
    connector: &Arc<Connector>,
    failed: &HashMap<Wanted, Instant>,
    metrics: &Metrics,
) -> Vec<(Wanted, ConnectError)> {
    let mut missing = missing(snapshot, targets, connector, failed).into_iter();
    let (mut making, mut errors) = (JoinSet::new(), Vec::new());
    loop {
        while making.len() < AT_ONCE
            && let Some((index, endpoint, h2)) = missing.next()
        {
            let (snapshot, connector) = (Arc::clone(snapshot), Arc::clone(connector));
            making.spawn(async move {
                let made = connector.make_ready(snapshot.cell(index), &endpoint, h2).await;
                (Wanted { endpoint: endpoint.key, h2 }, made)
            });
        }
        match making.join_next().await {
            None => return errors,
            Some(Ok((_, Ok(())))) => metrics.moves.warmed(Connect::Connected),
            Some(Ok((wanted, Err(error)))) => {
                metrics.moves.warmed(error.label());
                errors.push((wanted, error));
            }
            // A panic is counted by its hook.
            Some(Err(_)) => {}
        }
    }
}

fn missing(
    snapshot: &Snapshot,
    targets: &[(CellIndex, MoveState)],
    connector: &Connector,
    failed: &HashMap<Wanted, Instant>,
) -> Vec<(CellIndex, Endpoint, bool)> {
    let mut missing = Vec::new();
    for (index, state) in targets {
        let cell = snapshot.cell(*index);
        let within = match state {
            MoveState::Holding => FRESH / 2,
            MoveState::Prepare | MoveState::Flipped => cell.timeouts.keep_alive,
        };
        for endpoint in cell.endpoints() {
            let is_missing = |h2: &bool| {
                let wanted = Wanted { endpoint: endpoint.key.clone(), h2: *h2 };
                !failed.contains_key(&wanted) && !connector.pool().is_ready(&endpoint.key, *h2, within)
            };
            let protocols = protocols(cell.protocol).iter().copied().filter(is_missing);
            missing.extend(protocols.map(|h2| (*index, endpoint.clone(), h2)));
        }
    }
    missing
}

const fn protocols(cell: CellProtocol) -> &'static [bool] {
    match cell {
        CellProtocol::Http1 => &[false],
        CellProtocol::Http2 => &[true],
        CellProtocol::Auto => &[false, true],
    }
}

impl Connector {
    /// Has a connection in the pool that no request has used.
    async fn make_ready(&self, cell: &Cell, endpoint: &Endpoint, h2: bool) -> Result<(), ConnectError> {
        let limit = cell.timeouts.connect;
        let resolving = AtomicBool::new(false);
        let making = async {
            if !h2 {
                let (wire, _) = self.h1_connection(cell, endpoint, false, &resolving).await?;
                self.pool().put_unused(&endpoint.key, wire);
                return Ok(());
            }
            let connecting = self.pool().connecting(&endpoint.key);
            let _one_at_a_time = connecting.lock().await;
            if !self.pool().is_ready(&endpoint.key, true, Duration::MAX) {
                let (connection, wire, _) = self.h2_connection(cell, endpoint, false, &resolving).await?;
                self.pool().share(&endpoint.key, connection, wire);
            }
            Ok(())
        };
        let made = tokio::time::timeout(limit, making).await;
        made.unwrap_or_else(|_| Err(late(endpoint, &resolving, limit)))
    }
}
