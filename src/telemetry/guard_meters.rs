//! What the guards of the configuration do, and what they have had against changes.

use metrics::{Counter, Gauge};

use super::families;
use super::registry::Registry;
use crate::policy::guard::{Guard, Mode};

/// Meters of guards.
#[derive(Debug)]
pub struct GuardMeters {
    /// By guard in the order of [`Guard::ALL`]: observed, enforced.
    objections: Vec<[Counter; 2]>,
    modes: Vec<Gauge>,
    accounts_limit: Gauge,
    break_glass: Gauge,
}

impl GuardMeters {
    pub(super) fn new(registry: &Registry) -> Self {
        let counter = |guard: &Guard, mode: Mode| {
            let labels = [("guard", guard.as_str()), ("mode", mode.as_str())];
            registry.counter(&families::GUARD_OBJECTIONS, &labels)
        };
        let objections =
            Guard::ALL.iter().map(|guard| [counter(guard, Mode::Observe), counter(guard, Mode::Enforce)]);
        let mode = |guard: &Guard| registry.gauge(&families::GUARD_MODE, &[("guard", guard.as_str())]);
        Self {
            objections: objections.collect(),
            modes: Guard::ALL.iter().map(mode).collect(),
            accounts_limit: registry.gauge(&families::ACCOUNTS_LIMIT, &[]),
            break_glass: registry.gauge(&families::BREAK_GLASS, &[]),
        }
    }

    /// Counts what a guard has against a change.
    pub fn objected(&self, guard: Guard, mode: Mode) {
        let position = Guard::ALL.iter().position(|other| *other == guard);
        if let Some(counters) = position.and_then(|position| self.objections.get(position)) {
            counters[usize::from(mode == Mode::Enforce)].increment(1);
        }
    }

    /// Says until when an operator has broken the glass, in seconds since the Unix epoch.
    pub fn break_glass(&self, until: Option<i64>) {
        self.break_glass.set(until.unwrap_or(0) as f64);
    }

    /// Shows what the guards do, and how many rows the account table may have.
    pub fn in_force(&self, mode: impl Fn(Guard) -> Mode, accounts_limit: u32) {
        for (guard, gauge) in Guard::ALL.iter().zip(&self.modes) {
            gauge.set(f64::from(mode(*guard) as u8));
        }
        self.accounts_limit.set(f64::from(accounts_limit));
    }
}
