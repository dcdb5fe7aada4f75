//! Active checks, where a cell has them: each replica asks each endpoint once an interval, as `prober` does.

use std::time::Duration;

use super::super::scenario::Fault;
use super::{Event, World};
use crate::policy::protection::health::checks::{CheckEnd, CheckKind, CheckRules};
use crate::policy::snapshot::{Cell, Endpoint};

/// An endpoint that is to be probed is checked within this part of the interval.
const HURRY: f64 = 0.1;

impl World<'_> {
    /// The first ones are somewhere in the first interval.
    pub(super) fn plan_checks(&mut self) {
        for replica in 0..self.replicas.len() {
            let cells = &self.replicas[replica].snapshot.cells;
            for (at, cell) in cells.iter().enumerate() {
                let Some(rules) = cell.protection.checks() else { continue };
                for (group, found) in cell.groups.iter().enumerate() {
                    for endpoint in 0..found.endpoints.len() {
                        let wait = rules.interval.mul_f64(self.rng.f64());
                        self.plan(wait, Event::Check(replica, [at, group, endpoint]));
                    }
                }
            }
        }
    }

    pub(super) fn check(&mut self, replica: usize, place: [usize; 3]) {
        let Some((rules, ..)) = self.checks_of(replica, place) else { return };
        let takes =
            if self.check_end(rules, place) == CheckEnd::TimedOut { rules.timeout } else { Duration::ZERO };
        self.plan(takes, Event::Checked(replica, place));
    }

    pub(super) fn checked(&mut self, replica: usize, place: [usize; 3]) {
        let Some((rules, endpoint)) = self.checks_of(replica, place) else { return };
        endpoint.load.checked(self.check_end(rules, place));
        let hurries = endpoint.load.watch.wants_check();
        let part = if hurries { HURRY } else { 0.8 + 0.4 * self.rng.f64() };
        self.plan(rules.interval.mul_f64(part), Event::Check(replica, place));
    }

    fn check_end(&self, rules: &CheckRules, [cell, group, endpoint]: [usize; 3]) -> CheckEnd {
        match (self.groups[cell][group].faults[endpoint], &rules.kind) {
            (None, _) | (Some(Fault::Swallows), CheckKind::Tcp) => CheckEnd::Passed,
            (Some(Fault::Refuses), _) => CheckEnd::Unconnected,
            (Some(Fault::Silent | Fault::Swallows), _) => CheckEnd::TimedOut,
        }
    }
}

impl<'a> World<'a> {
    fn checks_of(
        &self,
        replica: usize,
        [cell, group, endpoint]: [usize; 3],
    ) -> Option<(&'a CheckRules, &'a Endpoint)> {
        let snapshot = self.replicas[replica].snapshot;
        let cell: &'a Cell = &snapshot.cells[cell];
        Some((cell.protection.checks()?, &cell.groups[group].endpoints[endpoint]))
    }
}
