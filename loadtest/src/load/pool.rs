//! The lines of a load: kept between requests per host, the way an HTTP client library keeps them. An h1 line
//! serves one request at a time; h2 lines are shared in turn.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::cell::behaviour::lock;
use crate::client::{Client, Http, Line, SendError};

pub(super) struct Pool {
    client: Client,
    h2_connections: usize,
    h1: Mutex<HashMap<String, Vec<Kept>>>,
    h2: Mutex<HashMap<String, Arc<Shelf>>>,
    opened: AtomicU64,
}

/// A line and whether it has ever answered.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) line: Line,
    answered: Arc<AtomicBool>,
    used: Arc<AtomicBool>,
    /// Where it stands on its shelf (h2).
    slot: usize,
}

/// The h2 lines of one host.
struct Shelf {
    /// Locked while a line is opened, so that many requests at once open one line and not one each.
    slots: Vec<tokio::sync::Mutex<Option<Kept>>>,
    turn: AtomicUsize,
}

impl Kept {
    /// Whether it has answered nothing yet.
    pub(super) fn is_new(&self) -> bool {
        !self.answered.load(Ordering::Relaxed)
    }

    /// Whether a request is the first on it. Over h2 others may follow before it is answered.
    pub(super) fn is_first(&self) -> bool {
        !self.used.swap(true, Ordering::Relaxed)
    }

    pub(super) fn has_answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }
}

impl Pool {
    pub(super) fn new(client: Client, h2_connections: usize) -> Self {
        Self {
            client,
            h2_connections: h2_connections.max(1),
            h1: Mutex::default(),
            h2: Mutex::default(),
            opened: AtomicU64::new(0),
        }
    }

    /// Connections opened so far.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// A line for one request, kept or new.
    pub(super) async fn take(&self, host: &str) -> Result<Kept, SendError> {
        if self.client.http() == Http::H2 {
            return self.take_h2(host).await;
        }
        while let Some(kept) = self.kept_h1(host) {
            if !kept.line.is_closed() {
                return Ok(kept);
            }
        }
        self.open(host, 0).await
    }

    /// Gives an h1 line back after a whole answer.
    pub(super) fn give_back(&self, host: &str, kept: Kept) {
        if self.client.http() == Http::H1 && !kept.line.is_closed() {
            let mut h1 = lock(&self.h1);
            h1.entry(host.to_owned()).or_default().push(kept);
        }
    }

    /// Another line, for a request that a kept one could not serve. Over h2 it takes the place of the one that
    /// failed, if nobody has seen to that yet.
    pub(super) async fn replace(&self, host: &str, failed: Kept) -> Result<Kept, SendError> {
        if self.client.http() == Http::H1 {
            drop(failed);
            return self.open(host, 0).await;
        }
        let shelf = self.shelf(host);
        let same = |kept: &Kept| Arc::ptr_eq(&kept.answered, &failed.answered);
        let mut slot = shelf.slots[failed.slot].lock().await;
        if let Some(kept) = slot.as_ref().filter(|kept| !same(kept)) {
            return Ok(kept.clone());
        }
        *slot = None;
        let kept = self.open(host, failed.slot).await?;
        *slot = Some(kept.clone());
        Ok(kept)
    }

    fn kept_h1(&self, host: &str) -> Option<Kept> {
        lock(&self.h1).get_mut(host)?.pop()
    }

    async fn take_h2(&self, host: &str) -> Result<Kept, SendError> {
        let shelf = self.shelf(host);
        let turn = shelf.turn.fetch_add(1, Ordering::Relaxed) % shelf.slots.len();
        let mut slot = shelf.slots[turn].lock().await;
        if let Some(kept) = slot.as_ref().filter(|kept| !kept.line.is_closed()) {
            return Ok(kept.clone());
        }
        let kept = self.open(host, turn).await?;
        *slot = Some(kept.clone());
        Ok(kept)
    }

    fn shelf(&self, host: &str) -> Arc<Shelf> {
        let mut h2 = lock(&self.h2);
        let shelf = h2.entry(host.to_owned()).or_insert_with(|| {
            let slots = (0..self.h2_connections).map(|_| tokio::sync::Mutex::new(None));
            Arc::new(Shelf { slots: slots.collect(), turn: AtomicUsize::new(0) })
        });
        shelf.clone()
    }

    async fn open(&self, host: &str, slot: usize) -> Result<Kept, SendError> {
        let line = self.client.open(host).await?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Kept { line, answered: Arc::default(), used: Arc::default(), slot })
    }
}
