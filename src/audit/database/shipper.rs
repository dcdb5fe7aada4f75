//! The thread that takes frames from the outbox to the database of a fleet. It delays nobody: what it cannot write waits in the
//! spool.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use postgres::Client;

use super::super::books::Shared;
use super::super::frame::Frame;
use super::super::spool::Reader;
use super::{DatabaseError, DatabaseSettings, connect_to_write, prune, write};
use crate::policy::code::Code;
use crate::telemetry::metrics::ShipmentMeters;
use crate::telemetry::wall_time::unix_seconds;

/// Frames of one transaction: ten minutes of windows. What came in a day away goes in some 140 transactions.
const MOST_FRAMES: usize = 64;

/// Shortest pause after a failure; doubles up to the interval of shipments.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A run is known to the database within so long after its start, since one that dies before would be missed by nobody.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(5);

/// How often old months are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// How a replica ships.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipping {
    /// To where.
    pub to: DatabaseSettings,
    /// How often.
    pub every: Duration,
    /// How long after the first shipment, which is soon after the start, for the second: another time for each replica, so that
    /// not all of a fleet ship together.
    pub phase: Duration,
}

/// The thread.
pub(in super::super) struct Shipper {
    shipping: Shipping,
    shared: Arc<Shared>,
    meters: ShipmentMeters,
    /// Whether the last attempt failed, so that the process log hears of changes only.
    failing: bool,
    pruned_at: Option<Instant>,
}

impl Shipper {
    pub const fn new(shipping: Shipping, shared: Arc<Shared>, meters: ShipmentMeters) -> Self {
        Self { shipping, shared, meters, failing: false, pruned_at: None }
    }

    /// Ships until the books end, and what waits then once more.
    pub fn run(mut self) {
        let Shipping { every, phase, .. } = self.shipping;
        let mut wait = phase.min(ANNOUNCED_WITHIN.mul_f64(phase.as_secs_f64() / every.as_secs_f64()));
        // After that first shipment, the replicas of a fleet that begin together ship at different moments.
        let (mut pause, mut next) = (FIRST_PAUSE, phase);
        loop {
            let due = Instant::now() + wait;
            while !self.shared.ending.load(Ordering::Acquire)
                && let Some(left) = due.checked_duration_since(Instant::now())
            {
                std::thread::park_timeout(left);
            }
            let ending = self.shared.ending.load(Ordering::Acquire);
            wait = match self.ship() {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    std::mem::replace(&mut next, every)
                }
                Err(error) => {
                    self.failed(&error);
                    let failed = pause;
                    pause = (pause * 2).min(every.max(FIRST_PAUSE));
                    // Replicas that the same database turns away do not come back together.
                    failed.mul_f64(0.5 + phase.as_secs_f64() / every.as_secs_f64())
                }
            };
            if ending {
                return self.ended();
            }
        }
    }

    /// All that waits. A connection is opened for it, and closed behind it.
    pub fn ship(&mut self) -> Result<(), DatabaseError> {
        let mut client: Option<Client> = None;
        loop {
            let now = unix_seconds(SystemTime::now());
            let mut outbox = self.shared.outbox();
            let frames = outbox.some(Reader::Database, MOST_FRAMES, now);
            let given_up = outbox.given_up();
            drop(outbox);
            if given_up > 0 {
                self.meters.given_up.increment(given_up);
                tracing::error!(code = %Code::FleetDatabaseGap,
                    windows = given_up,
                    "the database of the fleet was away for longer than the spool holds: it will miss these windows, and \
                     reports say so. The books of this replica have them"
                );
            }
            if frames.is_empty() {
                return Ok(());
            }
            let client = match &mut client {
                Some(client) => client,
                none => none.insert(connect_to_write(&self.shipping.to)?),
            };
            write(client, &frames)?;
            self.shipped(&frames);
            if self.pruned_at.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
                self.pruned_at = Some(Instant::now());
                prune(client, now)?;
            }
        }
    }

    fn shipped(&mut self, frames: &[Frame]) {
        let mut outbox = self.shared.outbox();
        outbox.all_taken(Reader::Database, frames);
        self.meters.waiting.set(outbox.len(Reader::Database) as f64);
        drop(outbox);
        self.meters.shipped.increment(frames.len() as u64);
        self.meters.last_shipment.set(frames.iter().map(|frame| frame.ended_at).max().unwrap_or(0) as f64);
        if std::mem::replace(&mut self.failing, false) {
            tracing::info!("the database of the fleet takes the books again");
        }
    }

    fn failed(&mut self, error: &DatabaseError) {
        self.meters.failed.increment(1);
        self.meters.waiting.set(self.shared.outbox().len(Reader::Database) as f64);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(code = %Code::FleetDatabaseAway,
                %error,
                "the database of the fleet does not take the books; they wait in the spool of this replica and are tried \
                 again. Check books.database of boot.yaml"
            );
        }
    }

    fn ended(&self) {
        let windows = self.shared.outbox().len(Reader::Database);
        if windows > 0 {
            tracing::warn!(
                windows,
                "windows of the books stay in the spool until a process in this folder ships them to the database"
            );
        }
    }
}
