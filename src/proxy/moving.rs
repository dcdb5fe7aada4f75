//! What becomes of what is under way when an account moves: tunnels and streams end politely as soon as its writes
//! are held, and writes that go on are cut after a while. One task follows the snapshots and tells the writes
//! concerned ([`Call`]); exchanges wait here for what they are told, or for the end of the process.
//!
//! Reads are left alone, whatever `moves.reads` says: what a read that has begun shows was true when it began.

use std::collections::HashMap;
use std::future::{Future, pending, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::broken::Broken;
use super::service::Service;
use crate::listen::drain::Phase;
use crate::listen::lookout::Lookout;
use crate::live::Live;
use crate::policy::holding;
use crate::policy::ids::{AccountId, CellIndex, Label};
use crate::policy::moves::MoveState;
use crate::policy::refusal::Refusal;
use crate::policy::snapshot::Snapshot;
use crate::policy::writes::{Call, WriteGuard};

/// A gRPC call whose answer has begun and lasts for longer is a stream, and not one message with its trailers: those
/// come together, and a second is enough for the largest.
const STREAM_AFTER: Duration = Duration::from_secs(1);

/// Why an exchange under way must end now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutOff {
    /// The process ends.
    Drain,
    /// Its account moves.
    Moved,
}

impl CutOff {
    /// What its client is told where nothing was answered yet.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::Drain => Refusal::Drain,
            Self::Moved => Refusal::CutByMove,
        }
    }

    /// The same where an answer has begun.
    pub(super) fn broken(self) -> Broken {
        match self {
            Self::Drain => Broken::Drain,
            Self::Moved => Broken::Moved,
        }
    }
}

/// Returns when an exchange must be cut.
pub(super) async fn cut_off(service: &Service, lookout: &mut Lookout, write: Option<&WriteGuard>) -> CutOff {
    tokio::select! {
        biased;
        () = called(write, Call::Cut) => {
            service.telemetry().metrics.moves.cut_write();
            CutOff::Moved
        }
        () = lookout.reached(Phase::Cutting) => CutOff::Drain,
    }
}

/// Returns when a gRPC call, whose answer begins now, turns out to be a stream and should end: because its account moves,
/// or because an operator evacuates its zone, as at the end of the process.
pub(super) async fn stream_over(service: &Service, write: Option<&WriteGuard>, zone: &Label) -> CutOff {
    let begun = Instant::now();
    let why = tokio::select! {
        () = called(write, Call::Leave) => CutOff::Moved,
        () = service.evacuation.leave(&service.levers, zone, fastrand::f32()) => CutOff::Drain,
    };
    tokio::time::sleep_until(begun + STREAM_AFTER).await;
    if why == CutOff::Moved {
        service.telemetry().metrics.moves.closed_tunnel();
    }
    why
}

/// Returns when a tunnel should say goodbye: when its account moves, or, at its `share` of the time, at the end of the
/// process and where its zone is evacuated.
pub(super) fn goodbye(
    service: &Service,
    write: Option<Arc<WriteGuard>>,
    zone: &Label,
    share: f32,
) -> impl Future<Output = ()> + Send + 'static {
    let (shutdown, metrics) = (service.shutdown(), Arc::clone(&service.telemetry().metrics));
    let evacuated = service.evacuation.leave(&service.levers, zone, share);
    async move {
        tokio::select! {
            () = shutdown.goodbye(share) => {}
            () = evacuated => {}
            () = called(write.as_deref(), Call::Leave) => metrics.moves.closed_tunnel(),
        }
    }
}

async fn called(write: Option<&WriteGuard>, at_least: Call) {
    match write {
        Some(write) => poll_fn(|cx| write.poll_called(cx, at_least)).await,
        None => pending().await,
    }
}

/// Tells the writes of accounts that move, as long as the process lives.
pub(super) async fn follow(live: Arc<Live>) {
    let mut replacements = live.replacements();
    let mut held = HeldSince::default();
    loop {
        let now = Instant::now();
        let next = held.tell(&live.pin(), now);
        tokio::select! {
            () = replacements.next() => {}
            () = sleep_until(next) => {}
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => pending().await,
    }
}

/// Since when this process holds the writes of an account in this move of it, by epoch.
#[derive(Debug, Default)]
struct HeldSince(HashMap<(AccountId, u32), Instant>);

impl HeldSince {
    /// Tells all that there is to tell at `now`, and says when there will be more.
    fn tell(&mut self, snapshot: &Snapshot, now: Instant) -> Option<Instant> {
        let moves = &snapshot.moves;
        let holding = || moves.table.open().filter(|(_, of)| of.state == MoveState::Holding);
        let before = std::mem::take(&mut self.0);
        let since = |key| (key, before.get(&key).copied().unwrap_or(now));
        self.0 = holding().map(|(account, of)| since((*account, of.epoch))).collect();
        for (cell, index) in snapshot.cells.iter().zip(0..) {
            for account in cell.load.writes.accounts() {
                // Of a move that is taken back no row may be left: then, too, they are told that they stay.
                let of = moves.table.find(account);
                let since = of.and_then(|of| self.0.get(&(account, of.epoch)));
                let held_for = since.map_or(Duration::ZERO, |since| now - *since);
                let call = holding::call(snapshot, account, CellIndex(index), held_for);
                cell.load.writes.call(account, call);
            }
        }
        self.0.values().map(|since| *since + moves.rules.drain).filter(|end| *end > now).min()
    }
}
