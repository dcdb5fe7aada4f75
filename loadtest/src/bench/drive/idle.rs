//! Connections that do nothing: what they cost is read by whoever watches the proxy meanwhile.

use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Driven;
use super::http1::Gets;
use super::load::{Load, Worker};
use super::turns::Turn;

/// Connections that are opened at once: a proxy's queue of new ones is a thousand long, and each handshake is work.
const OPENERS: usize = 64;

/// Files that this process has open beside connections, with room to spare.
const OTHER_FILES: usize = 100;

/// Buffer of each connection: the answer to one request fits, and ten thousand of them are 40 MB.
const READ_BYTES: usize = 4 * 1024;

impl Load {
    /// Opens connections, asks once on each, holds them for `duration`, and asks once more.
    pub(super) async fn hold(
        self: Rc<Self>,
        wanted: usize,
        duration: Duration,
        on_begin: impl FnOnce(),
        on_end: impl FnOnce(),
    ) -> Driven {
        let allowed = files_max().saturating_sub(OTHER_FILES);
        if allowed < wanted {
            self.remark(format!("{allowed} connections instead of {wanted}: more files may not be open"));
        }
        let connections = (0..wanted.min(allowed)).map(|_| Gets::with(READ_BYTES, false)).collect();
        on_begin();
        let begun = Instant::now();
        let held = self.asked(connections, true).await;
        sleep(duration).await;
        let elapsed = begun.elapsed();
        on_end();
        let requests = held.len() as u64;
        self.asked(held, false).await;
        self.driven_of(requests, elapsed)
    }

    /// Asks once on each connection; those that were answered.
    async fn asked(self: &Rc<Self>, connections: Vec<Gets>, measured: bool) -> Vec<Gets> {
        let mut shares: Vec<Vec<Gets>> = (0..OPENERS).map(|_| Vec::new()).collect();
        for (number, connection) in connections.into_iter().enumerate() {
            shares[number % OPENERS].push(connection);
        }
        let mut asking = JoinSet::new();
        for share in shares {
            asking.spawn_local(self.clone().asked_in_turn(share, measured));
        }
        let mut answered = Vec::new();
        while let Some(share) = asking.join_next().await {
            // Nobody ends these tasks.
            answered.extend(share.unwrap_or_default());
        }
        answered
    }

    async fn asked_in_turn(self: Rc<Self>, share: Vec<Gets>, measured: bool) -> Vec<Gets> {
        let mut answered = Vec::with_capacity(share.len());
        for mut connection in share {
            let turn = Turn { moment: Instant::now(), measured };
            // What was open and is no more is not opened again: that it ended is what is to be seen.
            let opened = if measured { connection.open(&self).await } else { Ok(()) };
            let result = match opened {
                Ok(()) => connection.ask(&self).await,
                Err(fault) => Err(fault),
            };
            let good = result.is_ok();
            self.settle(turn, result);
            if good {
                answered.push(connection);
            }
        }
        answered
    }
}

/// How many files this process may have open, after it has asked for as many as there may be.
fn files_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Where the system refuses, what it gave stays.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_ok();
    let most = if raised { limit.maximum } else { limit.current };
    most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
}
