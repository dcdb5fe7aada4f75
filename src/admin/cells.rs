//! `/cells`: every cell with its live load, how it stands, and who is sick.

use serde::Serialize;

use super::standing::{StandingView, VerdictView};
use crate::policy::protection::judge::{CellReport, Report};
use crate::policy::protection::observing::Alarm;
use crate::policy::snapshot::{Cell, CellProtocol, Snapshot};

/// `/cells`.
#[derive(Debug, Serialize)]
pub(super) struct CellsView {
    generation: u64,
    cells: Vec<CellView>,
    /// Who is sick, the strongest first.
    verdicts: Vec<VerdictView>,
    /// Why somebody should look at verdicts that nobody heeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict_observe_alarm: Option<&'static str>,
    /// For how long one would have been heeded at most, where that was a minute or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict_would_act_s: Option<u64>,
}

/// One cell.
#[derive(Debug, Serialize)]
pub(super) struct CellView {
    name: String,
    shared: bool,
    domain: String,
    protocol: &'static str,
    tls: bool,
    in_flight: u32,
    max_in_flight: u32,
    groups: Vec<GroupView>,
    /// How it stands, once somebody has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<StandingView>,
}

#[derive(Debug, Serialize)]
struct GroupView {
    zone: String,
    priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity_rps: Option<u32>,
    endpoints: Vec<String>,
}

impl CellsView {
    /// Every cell of the snapshot with its live load, and how it stands.
    pub fn new(live: &Snapshot, report: &Report) -> Self {
        let verdicts = report.verdicts.iter().map(VerdictView::new).collect();
        Self {
            generation: live.generation.0,
            cells: CellView::all(live, report),
            verdicts,
            verdict_observe_alarm: report.alarm.map(Alarm::as_str),
            verdict_would_act_s: report.would_act.map(|acted| acted.as_secs()),
        }
    }
}

impl CellView {
    /// Each with its live load, and how it stands.
    pub fn all(live: &Snapshot, report: &Report) -> Vec<Self> {
        let standing = |cell: &Cell| report.cells.iter().find(|seen| seen.cell == cell.name);
        live.cells.iter().map(|cell| Self::new(cell, standing(cell))).collect()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn new(cell: &Cell, standing: Option<&CellReport>) -> Self {
        let groups = cell.groups.iter().map(|group| GroupView {
            zone: group.zone.to_string(),
            priority: group.priority,
            capacity_rps: group.capacity_rps,
            endpoints: group.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect(),
        });
        Self {
            name: cell.name.to_string(),
            shared: cell.shared,
            domain: cell.domain.to_string(),
            protocol: match cell.protocol {
                CellProtocol::Http1 => "http1",
                CellProtocol::Http2 => "http2",
                CellProtocol::Auto => "auto",
            },
            tls: cell.tls.is_some(),
            in_flight: cell.load.in_flight(),
            max_in_flight: cell.max_in_flight,
            groups: groups.collect(),
            standing: standing.map(StandingView::new),
        }
    }
}
