//! One group through time: how much of it counts as healthy, and how far its own load is back.

use super::super::super::moment::Moment;
use super::{FailoverRules, Group, Standing};

#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) healthy: Option<f64>,
    /// Since when health has been another, and the nearest to the known that it was since.
    pub(super) differs: Option<(Moment, f64)>,
    /// An operator has taken some of it away, and all that is left has not been seen since.
    pub(super) drained: bool,
    /// It was left though it answers, and is not back yet.
    pub(super) answers: bool,
    /// How much of what its health allows it has got back.
    pub(super) back: f64,
    /// Whether it has been away, and more asks for it than it bears: those who waited. Its own is a rate until
    /// they are served.
    pub(super) limited: bool,
    pub(super) back_grown: Moment,
    pub(super) allowed: f64,
    pub(super) allowed_grown: Option<Moment>,
    pub(super) assigned: f64,
    pub(super) own_load: f64,
    pub(super) standing: Standing,
}

impl State {
    /// `others` says whether another group can serve anything.
    pub(super) fn observe(&mut self, group: &Group, rules: &FailoverRules, others: bool, now: Moment) {
        let seen = group.healthy();
        let known = *self.healthy.get_or_insert(seen);
        self.drained |= group.is_drained;
        self.answers = group.answers || self.answers && group.usable > 0;
        if seen == known {
            self.differs = None;
            self.drained = group.is_drained;
        } else {
            let (since, nearest) = match self.differs {
                Some((since, nearest)) if (nearest < known) == (seen < known) => (since, nearest),
                _ => (now, seen),
            };
            let nearest = if seen < known { nearest.max(seen) } else { nearest.min(seen) };
            self.differs = Some((since, nearest));
            let wait = if seen < known { rules.out_after } else { rules.back_after };
            if self.drained || now.since(since) >= wait {
                self.healthy = Some(nearest);
                self.differs = None;
                // What it serves stays what it was; the rest comes by steps.
                self.back = if nearest > 0.0 { (self.back * known / nearest).min(1.0) } else { 0.0 };
                self.back_grown = now;
                if self.drained && seen > known {
                    // By steps as ever, and at once where nobody else is there to serve meanwhile.
                    self.back = if others { self.back.max(rules.growth) } else { 1.0 };
                }
                self.limited |= self.back < 1.0;
            }
        }
        if self.healthy > Some(0.0) && self.back < 1.0 && now.since(self.back_grown) >= rules.growth_period {
            let back = self.back + rules.growth;
            // Ten times a tenth is a little less than all.
            self.back = if back > 1.0 - 1e-9 { 1.0 } else { back };
            self.back_grown = now;
        }
    }

    /// Which part of its own a group serves.
    pub(super) fn kept(&self, own: f64, capacity: Option<f64>) -> f64 {
        let healthy = self.healthy.unwrap_or_default();
        if healthy <= 0.0 {
            return 0.0;
        }
        let Some(capacity) = capacity else { return self.back };
        // What it was not able to bear when all were well is not a matter of failover.
        let bears = (healthy * capacity).max(healthy * own);
        let bears = if self.limited { bears.min(healthy * capacity * self.back) } else { bears };
        if own > bears { bears / own } else { 1.0 }
    }

    /// Ends what was for those who waited, when no more asks for it than it bears.
    pub(super) fn settle(&mut self, own: f64, capacity: Option<f64>) {
        let bears = capacity.map_or(f64::INFINITY, |capacity| capacity * self.healthy.unwrap_or_default());
        self.limited &= self.back < 1.0 || own > bears;
    }

    /// Whether it takes what no other has room for.
    pub(super) fn takes_the_rest(&self) -> bool {
        self.answers && self.now_stands() != Standing::Serving
    }

    pub(super) fn now_stands(&self) -> Standing {
        match self.healthy {
            Some(healthy) if healthy < 1.0 => Standing::Lost,
            _ if self.limited => Standing::Returning,
            _ => Standing::Serving,
        }
    }
}
