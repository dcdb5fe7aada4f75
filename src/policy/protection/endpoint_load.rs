//! The live counters of one endpoint: what requests tell of it, and what they are told of it. Shared by all snapshots
//! that have the endpoint.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::ids::AccountId;
use super::health::checks::CheckEnd;
use super::health::{AttemptEnd, Entry, Watch};
use super::verdict::counters::{Counters, Failure, Waiting};

/// See the file.
#[derive(Debug, Default)]
pub struct EndpointLoad {
    /// For health: who may ask it, and how that ended.
    pub watch: Arc<Watch>,
    /// For the detector: how long things took, and how they failed.
    pub counters: Arc<Counters>,
    /// Active checks that have ended and that nobody has looked at.
    checks: Mutex<Vec<CheckEnd>>,
    /// By how much longer than configured a connection may take; 0 where nobody has said.
    patience: AtomicU32,
}

/// No verdict has anybody wait longer for a connection: three lost SYNs are sent again in 7 s (RFC 6298: 1, 2 and 4 s).
const MOST_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Most checks between two looks. More than one is a look that came late; nobody needs more than decide.
const MOST_CHECKS: usize = 16;

/// One attempt at an endpoint. Dropped without an end (the client went away) it says nothing of the endpoint.
#[derive(Debug)]
#[must_use]
pub struct Attempt<'a> {
    load: &'a EndpointLoad,
    entry: Entry,
    account: Option<AccountId>,
}

/// One that has a connection and waits for its answer.
#[derive(Debug)]
#[must_use]
pub struct Asked<'a> {
    attempt: Attempt<'a>,
    waiting: Waiting<'a>,
}

impl EndpointLoad {
    /// An active check has ended.
    pub fn checked(&self, end: CheckEnd) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        if checks.len() < MOST_CHECKS {
            checks.push(end);
        }
    }

    /// The checks that have ended since the last time, in order.
    pub fn take_checks(&self) -> Vec<CheckEnd> {
        std::mem::take(&mut *self.checks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A connection to it may take so many times as long as configured from now on.
    pub fn be_patient(&self, factor: u32) {
        self.patience.store(factor, Ordering::Relaxed);
    }

    /// How long a connection to it may take.
    pub fn connect_timeout(&self, configured: Duration) -> Duration {
        let factor = self.patience.load(Ordering::Relaxed).max(1);
        (configured * factor).min(MOST_CONNECT_TIMEOUT.max(configured))
    }

    /// Enters the endpoint for an account; `None` where health does not let it in.
    pub fn enter(&self, account: Option<AccountId>) -> Option<Attempt<'_>> {
        self.watch.enter().map(|entry| Attempt { load: self, entry, account })
    }

    /// Goes to it although health does not let requests in: as its probe, or, where all of the cell is `forced` open, as
    /// one of many.
    pub fn enter_closed(&self, account: Option<AccountId>, forced: bool) -> Option<Attempt<'_>> {
        let entry = match self.watch.claim() {
            Some(probe) => Entry::Probe(probe),
            None if forced => Entry::Ordinary(self.watch.ticket()),
            None => return None,
        };
        Some(Attempt { load: self, entry, account })
    }
}

impl<'a> Attempt<'a> {
    /// There was no connection.
    pub fn unconnected(self, failure: Failure) {
        self.load.counters.not_connected(failure);
        self.entry.ended(&self.load.watch, AttemptEnd::Unconnected, None, self.account);
    }

    /// There is one.
    pub fn asked(self) -> Asked<'a> {
        let waiting = self.load.counters.begin();
        Asked { attempt: self, waiting }
    }
}

impl Asked<'_> {
    /// The counters, to sample sockets.
    pub fn counters(&self) -> &Counters {
        &self.attempt.load.counters
    }

    /// An answer has begun; `first_byte` is how long it took, where that says something.
    pub fn answered(self, end: AttemptEnd, first_byte: Option<Duration>) {
        let failure = match end {
            AttemptEnd::Gateway => Some(Failure::Gateway),
            AttemptEnd::AppError => Some(Failure::App),
            _ => None,
        };
        self.waiting.answered(first_byte, failure);
        let Attempt { load, entry, account } = self.attempt;
        entry.ended(&load.watch, end, first_byte, account);
    }

    /// There will be none: it broke off or is silent for too long.
    pub fn broken(self, failure: Failure) {
        self.waiting.failed(failure);
        let Attempt { load, entry, account } = self.attempt;
        entry.ended(&load.watch, AttemptEnd::Broken, None, account);
    }
}
