//! Whether a cell can bear more accounts: what it has declared, what it has to do now, and what would come. What is not
//! known is said to be unknown, and stops nobody.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::policy::ids::AccountId;
use crate::policy::snapshot::Cell;

use super::routing::Config;

/// A cell's capacity against its load, in requests per second.
#[derive(Clone, Debug, PartialEq)]
pub struct Headroom {
    /// Name of the cell.
    pub cell: Box<str>,
    /// Declared by all its groups together; `None` where one declares nothing.
    pub declared: Option<u64>,
    /// The same without its largest zone: what is left on the day that one is gone.
    pub without_largest_zone: Option<u64>,
    /// What it serves now, over all replicas.
    pub present: Option<f64>,
    /// What those who come make of their own cells' load, by the books.
    pub movers: Option<f64>,
}

/// Requests of each cell so far, as one replica counts them.
pub type Counted = BTreeMap<Box<str>, f64>;

/// A series of `/metrics` with the requests of a cell.
const SERIES: &str = "cellgate_requests_total{";

/// Below so many requests in the books, a share says who was awake, not who makes the load.
const LEAST_REQUESTS: u64 = super::guard::default::LEAST_TRAFFIC;

/// The requests of each cell on a page of metrics. What is not one of ours is passed over.
pub fn counted(metrics: &str) -> Counted {
    let mut counted = Counted::new();
    for line in metrics.lines() {
        let Some((labels, value)) = line.strip_prefix(SERIES).and_then(|rest| rest.split_once("} ")) else {
            continue;
        };
        let cell = labels.split(',').find_map(|label| label.strip_prefix("cell=\"")?.strip_suffix('"'));
        // A time may follow the value.
        let value = value.split(' ').next().and_then(|value| value.parse::<f64>().ok());
        if let Some((cell, value)) = cell.zip(value.filter(|value| value.is_finite() && *value >= 0.0)) {
            *counted.entry(cell.into()).or_default() += value;
        }
    }
    counted
}

/// Requests per second of each cell between two pages of one replica. `None` where it began anew between them.
pub fn rates(before: &Counted, after: &Counted, apart: Duration) -> Option<Counted> {
    let seconds = apart.as_secs_f64();
    let anew = before.iter().any(|(cell, count)| after.get(cell).is_none_or(|now| now < count));
    (seconds > 0.0 && !anew).then(|| {
        let so_far = |cell: &str| before.get(cell).copied().unwrap_or(0.0);
        after.iter().map(|(cell, now)| (cell.clone(), (now - so_far(cell)) / seconds)).collect()
    })
}

/// The headroom of a cell. `rates` are the requests per second of each cell over all replicas, and `requests` what the
/// books have of each account, where they can say.
pub fn headroom(
    config: &Config,
    to: &Cell,
    movers: &[AccountId],
    rates: Option<&Counted>,
    requests: Option<&[(AccountId, u64)]>,
) -> Headroom {
    let (declared, without_largest_zone) = capacity(to);
    let present = rates.map(|rates| rates.get(to.name.as_str()).copied().unwrap_or(0.0));
    let movers = rates.zip(requests).and_then(|(rates, requests)| share(config, movers, rates, requests));
    Headroom { cell: to.name.as_str().into(), declared, without_largest_zone, present, movers }
}

/// In all, and without the largest zone.
fn capacity(cell: &Cell) -> (Option<u64>, Option<u64>) {
    let mut zones: BTreeMap<&str, u64> = BTreeMap::new();
    for group in &cell.groups {
        let Some(rps) = group.capacity_rps else { return (None, None) };
        *zones.entry(group.zone.as_str()).or_default() += u64::from(rps);
    }
    let all: u64 = zones.values().sum();
    (Some(all), Some(all - zones.values().max().copied().unwrap_or(0)))
}

/// The load that these accounts make: of each cell's load, what they make of its requests in the books.
fn share(
    config: &Config,
    movers: &[AccountId],
    rates: &Counted,
    requests: &[(AccountId, u64)],
) -> Option<f64> {
    if requests.iter().map(|(_, count)| count).sum::<u64>() < LEAST_REQUESTS {
        return None;
    }
    // All and theirs, by cell.
    let mut by_cell: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let moving: std::collections::HashSet<&AccountId> = movers.iter().collect();
    for (account, count) in requests {
        let Some(row) = config.accounts.by_id(*account) else { continue };
        let (all, theirs) = by_cell.entry(config.cells[usize::from(row.cell.0)].name.as_str()).or_default();
        *all += count;
        *theirs += if moving.contains(account) { *count } else { 0 };
    }
    let load = by_cell.iter().filter(|(_, (all, _))| *all > 0).map(|(cell, (all, theirs))| {
        rates.get(*cell).copied().unwrap_or(0.0) * (*theirs as f64) / (*all as f64)
    });
    Some(load.sum())
}

impl Headroom {
    /// Whether what is known of the load is more than what is left without the largest zone.
    pub fn is_exceeded(&self) -> bool {
        let load = self.present.unwrap_or(0.0) + self.movers.unwrap_or(0.0);
        self.present.is_some() && self.without_largest_zone.is_some_and(|left| load > left as f64)
    }
}

impl fmt::Display for Headroom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rps = |value: Option<f64>, otherwise: &str| {
            value.map_or_else(|| otherwise.to_owned(), |value| format!("{value:.1} rps"))
        };
        let capacity = |value: Option<u64>| {
            value.map_or_else(
                || "unknown (a group declares no capacity_rps)".to_owned(),
                |value| format!("{value} rps"),
            )
        };
        writeln!(f, "Capacity of {}:", self.cell)?;
        writeln!(f, "  declared              {}", capacity(self.declared))?;
        writeln!(f, "  without largest zone  {}", capacity(self.without_largest_zone))?;
        writeln!(
            f,
            "  present load          {}",
            rps(self.present, "unknown (not every replica has told it)")
        )?;
        let no_books = "unknown (no load, or too little in the books)";
        write!(f, "  these accounts        {}", rps(self.movers, no_books))
    }
}
