//! Clients in virtual time: what they ask for, and when they come again.

use std::time::Duration;

use fastrand::Rng;

use crate::policy::ids::AccountId;
use crate::policy::protection::priority::Priority;

/// Of a hundred requests, how many are of each class: heartbeats are few, people and programs are most.
pub const MIX: [u32; 4] = [5, 45, 40, 10];

/// Accounts of a cell. A few of them ask for much: the first of them for a thirtieth of all.
const ACCOUNTS: u64 = 1_000;

/// Refusals that a client takes before it leaves.
const PATIENCE: u32 = 3;

/// Somebody who wants something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub priority: Priority,
    pub account: AccountId,
    /// Whether it comes again when it is told to, and no sooner.
    honours: bool,
    /// Its request may be sent twice.
    pub repeatable: bool,
    /// Answers that it still wants.
    pub left: u32,
    /// Refusals that it still takes; who waits for a cell that is down never leaves.
    patience: u32,
    /// It has not been refused yet.
    pub is_new: bool,
}

impl Client {
    /// Anybody who comes to a cell, by its position.
    pub fn any(cell: usize, honours: f64, rng: &mut Rng) -> Self {
        let drawn = rng.u32(..100);
        let mut until = 0;
        let class = MIX.iter().position(|part| {
            until += part;
            drawn < until
        });
        // Truncates to a whole account.
        let number = (rng.f64().powi(2) * ACCOUNTS as f64) as u64;
        let account = cell as u64 * ACCOUNTS + number + 1;
        Self {
            priority: Priority::ALL[class.unwrap_or_default()],
            account: AccountId::from_value(account).expect("a small number above 0 is an account"),
            honours: rng.f64() < honours,
            repeatable: rng.bool(),
            left: 1,
            patience: PATIENCE,
            is_new: true,
        }
    }

    /// One of a crowd that waits until it has so many answers.
    pub fn waiting(self, left: u32) -> Self {
        Self { left, patience: u32::MAX, is_new: false, ..self }
    }

    /// How long until it comes again after a refusal; `None` once it has lost its patience.
    pub fn again(&mut self, retry_after_secs: Option<u32>, rng: &mut Rng) -> Option<Duration> {
        self.patience = self.patience.checked_sub(1)?;
        self.is_new = false;
        let least = retry_after_secs.filter(|_| self.honours).map_or(0.5, f64::from);
        Some(Duration::from_secs_f64(least + rng.f64()))
    }

    /// How long until it wants the next answer; `None` if it has all.
    pub fn next(&mut self, rng: &mut Rng) -> Option<Duration> {
        self.left = self.left.saturating_sub(1);
        (self.left > 0).then(|| Duration::from_secs_f64(0.5 + rng.f64()))
    }
}

/// How long until the next of those who come by chance, at so many a second.
pub(super) fn by_chance(rate: f64, rng: &mut Rng) -> Duration {
    Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / rate)
}
