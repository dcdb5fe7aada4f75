//! What is on trial, as gauges.

use metrics::Gauge;

use super::families;
use super::registry::Registry;

/// Meters of a candidate.
#[derive(Debug)]
pub struct CandidateMeters {
    share: Gauge,
    step: Gauge,
}

impl CandidateMeters {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            share: registry.gauge(&families::CANDIDATE_SHARE, &[]),
            step: registry.gauge(&families::CANDIDATE_STEP, &[]),
        }
    }

    /// Shows its share, of 1, and its step, from 1; `None` where there is none.
    pub fn stands(&self, standing: Option<(f64, usize)>) {
        let (share, step) = standing.unwrap_or_default();
        self.share.set(share);
        self.step.set(step as f64);
    }
}
