//! What is on trial, for `/config`. Made for reading, as all views.

use std::time::SystemTime;

use serde::Serialize;

use super::views::age;
use crate::reload::outcome::{CellReport, Counted, StagedReport};
use crate::telemetry::wall_time::Seconds;

/// What is on trial.
#[derive(Debug, Serialize)]
pub(super) struct CandidateView {
    generation: u64,
    hash: String,
    /// Absent while it waits for the first replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<String>,
    step: usize,
    steps: usize,
    since: String,
    step_ends: String,
    seconds_left: u64,
    requests: u64,
    failed: u64,
    cells: Vec<CandidateCellView>,
}

#[derive(Debug, Serialize)]
struct CandidateCellView {
    cell: String,
    with: CountedView,
    without: CountedView,
}

#[derive(Debug, Serialize)]
struct CountedView {
    requests: u64,
    failed: u64,
    denied: u64,
}

impl CandidateView {
    /// Of what the reload task says of it.
    pub fn new(staged: &StagedReport) -> Self {
        Self {
            generation: staged.generation.0,
            hash: staged.hash.to_string(),
            share: staged.share.clone(),
            step: staged.step,
            steps: staged.steps,
            since: Seconds(staged.since).to_string(),
            step_ends: Seconds(staged.ends).to_string(),
            seconds_left: age(staged.ends, SystemTime::now()),
            requests: staged.requests,
            failed: staged.failed,
            cells: staged.cells.iter().map(CandidateCellView::new).collect(),
        }
    }
}

impl CandidateCellView {
    fn new(report: &CellReport) -> Self {
        let counted = |Counted { requests, failed, denied }| CountedView { requests, failed, denied };
        let (with, without) = (counted(report.with), counted(report.without));
        Self { cell: report.cell.to_string(), with, without }
    }
}
