//! What is asked of each cell in a rehearsal: a part of what is declared, or what the operator says.

use std::fmt;

use crate::policy::ids::Label;
use crate::policy::snapshot::{Cell, Snapshot};

/// What is asked of the cells of a snapshot, by position.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    /// Requests a second; 0 where a cell is not rehearsed.
    pub rps: Vec<f64>,
    /// Cells that cannot be rehearsed.
    pub unknown: Vec<Undeclared>,
}

/// A cell of which nobody knows what it bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undeclared {
    /// Its name.
    pub cell: Label,
    /// Zones of its groups without `capacity_rps`.
    pub zones: Vec<Label>,
}

impl Demand {
    /// So much of what is declared, of 1; `said` are requests a second of cells by name, which come first.
    ///
    /// # Errors
    /// The name of a cell that is not there, in words.
    pub fn of(snapshot: &Snapshot, load: f64, said: &[(String, f64)]) -> Result<Self, String> {
        let is_there = |name: &String| snapshot.cells.iter().any(|cell| cell.name.as_str() == name);
        if let Some((name, _)) = said.iter().find(|(name, _)| !is_there(name)) {
            let known: Vec<&str> = snapshot.cells.iter().map(|cell| cell.name.as_str()).collect();
            return Err(format!("--demand: there is no cell {name}; expected one of {}", known.join(", ")));
        }
        let mut demand = Self { rps: Vec::new(), unknown: Vec::new() };
        for cell in &snapshot.cells {
            let zones: Vec<Label> = cell
                .groups
                .iter()
                .filter(|group| group.capacity_rps.is_none())
                .map(|group| group.zone.clone())
                .collect();
            let by_name = said.iter().rev().find(|(name, _)| cell.name.as_str() == name);
            let rps = by_name.map_or(load * declared(cell), |(_, rps)| *rps);
            demand.rps.push(if zones.is_empty() { rps } else { 0.0 });
            if !zones.is_empty() {
                demand.unknown.push(Undeclared { cell: cell.name.clone(), zones });
            }
        }
        Ok(demand)
    }

    /// The same, where only this cell is asked about.
    #[must_use]
    pub fn of_which_unknown(mut self, only: &str) -> Self {
        self.unknown.retain(|one| one.cell.as_str() == only);
        self
    }
}

/// What the groups that serve in normal times are declared to bear.
pub fn declared(cell: &Cell) -> f64 {
    let first = cell.groups.iter().map(|group| group.priority).min();
    let serving = cell.groups.iter().filter(|group| Some(group.priority) == first);
    serving.filter_map(|group| group.capacity_rps).map(f64::from).sum()
}

impl fmt::Display for Undeclared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zones: Vec<&str> = self.zones.iter().map(Label::as_str).collect();
        write!(
            f,
            "cell {}: nobody knows what its groups in {} bear, and without capacity_rps nothing is moved to them; add it \
             (cellgate.yaml, cells[].groups[].capacity_rps): the requests a second that each group was measured to \
             answer cold, and a tenth less",
            self.cell,
            zones.join(", ")
        )
    }
}
