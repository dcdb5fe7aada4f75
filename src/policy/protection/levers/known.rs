//! Whether what a lever names is there: a lever that names nothing does nothing, and at three in the morning nobody notices.

use super::{Held, Lever, Levers, Place, Shed};
use crate::policy::ids::Label;
use crate::policy::snapshot::{Cell, Snapshot};

/// A name that nothing has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} {name}; expected one of: {}", listed(.known))]
pub struct Unknown {
    /// What it would be the name of.
    pub what: &'static str,
    /// The name.
    pub name: String,
    /// What there is.
    pub known: Vec<String>,
}

/// Most names of a message: two lines of a terminal.
const MAX_LISTED: usize = 16;

impl Lever {
    /// Whether all that it names is part of what serves. Accounts are not looked up: one without a row has requests, too.
    ///
    /// # Errors
    /// The first name that is not.
    pub fn is_known(&self, live: &Snapshot) -> Result<(), Unknown> {
        match self {
            Self::Cap { cell, .. }
            | Self::Ramp { cell, .. }
            | Self::Hold { whose: Held::Cell(cell), .. }
            | Self::Drain(Place::Cell(cell)) => find(live, cell).map(drop),
            Self::Drain(Place::Group { cell, zone }) => zone_of([find(live, cell)?], zone),
            Self::Drain(Place::Zone(zone)) | Self::Evacuate { zone } => zone_of(&live.cells, zone),
            Self::Drain(Place::Endpoint(address)) => {
                let endpoints = || live.cells.iter().flat_map(Cell::endpoints);
                let known = || endpoints().map(|endpoint| endpoint.address.to_string()).collect();
                let is_there = endpoints().any(|endpoint| endpoint.address == *address);
                there(is_there, "endpoint", &address.to_string(), known)
            }
            Self::Shed(shed) => shed.is_known(live),
            Self::Policy { cell, .. } | Self::Operators { cell, .. } => {
                cell.as_ref().map_or(Ok(()), |cell| find(live, cell).map(drop))
            }
            Self::Brownout { id } => id.as_ref().map_or(Ok(()), |id| {
                let all = || live.brownouts.all.iter().map(|brownout| &brownout.id);
                let known = || all().map(ToString::to_string).collect();
                there(all().any(|known| known == id), "brownout", id.as_str(), known)
            }),
            Self::Hold { whose: Held::Account(_), .. } => Ok(()),
        }
    }
}

impl Shed {
    fn is_known(&self, live: &Snapshot) -> Result<(), Unknown> {
        self.cell.as_ref().map_or(Ok(()), |cell| find(live, cell).map(drop))?;
        if let Some(client) = &self.client {
            let known = || live.clients.iter().map(|family| family.name.to_string()).collect();
            let is_there = live.clients.iter().any(|family| family.name == *client);
            there(is_there, "client family", client, known)?;
        }
        if let Some(class) = &self.class {
            let known = || live.endpoint_classes.names().map(ToString::to_string).collect();
            let is_there = live.endpoint_classes.names().any(|name| name == class);
            there(is_there, "endpoint class", class.as_str(), known)?;
        }
        Ok(())
    }
}

/// Names of the cells that levers have left without an endpoint: their requests are refused. Whoever drains the only zone has
/// perhaps not meant that.
pub fn bare_cells(levers: &Levers, live: &Snapshot) -> Vec<String> {
    live.cells.iter().filter(|cell| is_bare(levers, cell)).map(|cell| cell.name.to_string()).collect()
}

/// Whether levers have left a cell without an endpoint.
pub fn is_bare(levers: &Levers, cell: &Cell) -> bool {
    cell.groups.iter().all(|group| {
        let drained = |address| levers.drained(cell.name.as_str(), group.zone.as_str(), address).is_some();
        group.endpoints.iter().all(|endpoint| drained(&endpoint.address))
    })
}

fn find<'s>(live: &'s Snapshot, name: &Label) -> Result<&'s Cell, Unknown> {
    let found = live.cells.iter().find(|cell| cell.name == *name);
    let known = || live.cells.iter().map(|cell| cell.name.to_string()).collect();
    found.ok_or_else(|| Unknown { what: "cell", name: name.to_string(), known: known() })
}

fn zone_of<'s>(cells: impl IntoIterator<Item = &'s Cell>, zone: &Label) -> Result<(), Unknown> {
    let mut known: Vec<String> = Vec::new();
    for group in cells.into_iter().flat_map(|cell| &cell.groups) {
        if group.zone == *zone {
            return Ok(());
        }
        known.push(group.zone.to_string());
    }
    known.sort();
    known.dedup();
    Err(Unknown { what: "zone", name: zone.to_string(), known })
}

fn there(
    is_there: bool,
    what: &'static str,
    name: &str,
    known: impl FnOnce() -> Vec<String>,
) -> Result<(), Unknown> {
    if is_there { Ok(()) } else { Err(Unknown { what, name: name.to_owned(), known: known() }) }
}

fn listed(known: &[String]) -> String {
    let more = known.len().saturating_sub(MAX_LISTED);
    let mut text = known[..known.len() - more].join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    if text.is_empty() { "none, for there is none".to_owned() } else { text }
}
