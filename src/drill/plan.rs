//! What of a configuration is simulated at once, so that a rehearsal takes seconds: cells that are alike once, few of
//! the replicas, and where a whole replica is too much, a smaller one. Said with every report.

use std::num::NonZeroU32;

use super::demand::Demand;
use crate::policy::admit::Bound;
use crate::policy::snapshot::{Cell, Snapshot};

/// Requests a second that are simulated, in all replicas together: a minute of an unoptimised build simulates some
/// hundred thousand.
const MOST_RPS: f64 = 500.0;

/// Replicas that are simulated at most: with four it shows what it costs that they know nothing of each other.
const MOST_REPLICAS: u32 = 4;

/// A replica that asks a cell for no more than this is never made smaller: what comes unevenly would be refused in the
/// small, where all of it has room.
const WHOLE_RPS: f64 = 300.0;

/// In a smaller replica a bound is not less than this: a part of it goes with a ramp, and a part of few permits is none.
const LEAST_BOUND: f64 = 50.0;

/// And by so many standard deviations more than its part: in the small, more than the mean comes together by chance.
const DEVIATIONS: f64 = 4.0;

/// Cells that are simulated beside one that is lost: they are to notice nothing, and three show that as well as thirty.
const NEIGHBOURS: usize = 3;

/// Who is refused comes again: so many times its demand asks a cell that is lost.
const REPEATS: f64 = 4.0;

/// Cells that are rehearsed together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Their positions in the configuration; the one that is lost first.
    pub cells: Vec<usize>,
    /// Replicas that are simulated,
    pub replicas: u32,
    /// of so many: as configured, or more and smaller ones.
    pub of: u32,
    /// How many are configured.
    pub configured: u32,
}

/// Cells that differ in nothing but their names and addresses; the first stands for all.
pub type Alike = Vec<usize>;

impl Batch {
    /// One of this demand and these many times as much at the worst, of all cells.
    fn new(cells: Vec<usize>, asked: f64, largest: f64, configured: u32) -> Self {
        let all = f64::from(configured);
        // At least one replica, which is made smaller only as far as its largest cell is large.
        let smaller = (asked / all / MOST_RPS).clamp(1.0, (largest / all / WHOLE_RPS).max(1.0));
        // Truncates to whole replicas.
        let fit = (MOST_RPS * all / asked.max(1.0)) as u32;
        let replicas = fit.clamp(1, MOST_REPLICAS.min(configured));
        Self { cells, replicas, of: (all * smaller).ceil() as u32, configured }
    }

    /// The snapshot of one simulated replica: of these cells, with what bounds its requests made smaller as it is.
    pub fn cut(&self, snapshot: &mut Snapshot) {
        let mut cells: Vec<Option<Cell>> =
            std::mem::take(&mut snapshot.cells).into_iter().map(Some).collect();
        snapshot.cells = self.cells.iter().filter_map(|at| cells.get_mut(*at)?.take()).collect();
        snapshot.protection.replicas = NonZeroU32::new(self.of).unwrap_or(NonZeroU32::MIN);
        for cell in &mut snapshot.cells {
            cell.max_in_flight = self.bound(cell.max_in_flight);
            for group in &mut cell.groups {
                group.requests = Bound::new(self.bound(group.requests.most));
                let connections =
                    group.endpoints.first().map(|one| Bound::new(self.bound(one.connections.most)));
                for (endpoint, bound) in group.endpoints.iter_mut().zip(std::iter::repeat(connections)) {
                    endpoint.connections = bound.unwrap_or_else(|| endpoint.connections.clone());
                }
            }
        }
    }

    /// What is left of a bound of a replica in a smaller one.
    pub fn bound(&self, most: u32) -> u32 {
        let part = f64::from(most) * f64::from(self.configured) / f64::from(self.of.max(1));
        if self.of <= self.configured {
            return most;
        }
        // Truncates to whole permits.
        most.min((part + DEVIATIONS * part.sqrt()).max(LEAST_BOUND) as u32)
    }

    /// What is asked of these cells.
    pub fn demand(&self, demand: &Demand) -> Vec<f64> {
        self.cells.iter().map(|at| demand.rps[*at]).collect()
    }

    /// How many times what was simulated all of it is.
    pub fn scale(&self) -> f64 {
        f64::from(self.of) / f64::from(self.replicas)
    }
}

/// For the loss of a cell, which is asked so many times its demand while it is gone.
pub fn of_cell(snapshot: &Snapshot, demand: &Demand, lost: usize, crowd: f64) -> Batch {
    let mut others = by_demand(demand);
    others.retain(|at| *at != lost);
    others.truncate(NEIGHBOURS);
    let others_ask: f64 = others.iter().map(|at| demand.rps[*at]).sum();
    let asked = demand.rps[lost] * crowd.max(REPEATS) + others_ask;
    let cells = std::iter::once(lost).chain(others).collect();
    // A rate that grows from 1 % needs no large cell to be one: any part of it will do.
    Batch::new(cells, asked, f64::INFINITY, snapshot.protection.replicas.get())
}

/// For the loss of a zone: all cells that can be rehearsed, those alike once.
pub fn of_zone(snapshot: &Snapshot, demand: &Demand, first: usize) -> Vec<(Batch, Vec<Alike>)> {
    let configured = snapshot.protection.replicas.get();
    let mut left = alike(snapshot, demand, first);
    let mut batches = Vec::new();
    while !left.is_empty() {
        let largest = demand.rps[left[0][0]];
        let per_replica = largest / f64::from(configured);
        let (mut asked, mut many) = (0.0, 0);
        // Of a large and a small cell the small one would be made too small.
        let fits = |rps: f64| per_replica <= WHOLE_RPS || rps * 2.0 >= largest;
        for group in &left {
            let rps = demand.rps[group[0]];
            let cost = (rps / f64::from(configured)).min(WHOLE_RPS);
            if many > 0 && (asked + cost > MOST_RPS || !fits(rps)) {
                break;
            }
            (asked, many) = (asked + cost, many + 1);
        }
        let these: Vec<Alike> = left.drain(..many).collect();
        let cells: Vec<usize> = these.iter().map(|group| group[0]).collect();
        let all = cells.iter().map(|at| demand.rps[*at]).sum();
        batches.push((Batch::new(cells, all, largest, configured), these));
    }
    batches
}

/// The cells that are asked most come first, and of those that are alike, `first`.
fn alike(snapshot: &Snapshot, demand: &Demand, first: usize) -> Vec<Alike> {
    let mut found: Vec<(String, Alike)> = Vec::new();
    let mut order = by_demand(demand);
    order.sort_by_key(|at| (demand.rps[*at] < demand.rps[first], *at != first));
    for at in order {
        let shape = shape(&snapshot.cells[at], demand.rps[at]);
        match found.iter_mut().find(|(known, _)| *known == shape) {
            Some((_, group)) => group.push(at),
            None => found.push((shape, vec![at])),
        }
    }
    let mut groups: Vec<Alike> = found.into_iter().map(|(_, group)| group).collect();
    groups.sort_by(|a, b| demand.rps[b[0]].total_cmp(&demand.rps[a[0]]));
    groups
}

/// Cells that are asked for something, the one that is asked most first.
fn by_demand(demand: &Demand) -> Vec<usize> {
    let mut order: Vec<usize> = (0..demand.rps.len()).filter(|at| demand.rps[*at] > 0.0).collect();
    order.sort_by(|a, b| demand.rps[*b].total_cmp(&demand.rps[*a]).then(a.cmp(b)));
    order
}

/// All that a rehearsal reads of a cell, but for names.
fn shape(cell: &Cell, rps: f64) -> String {
    let groups: Vec<_> = cell
        .groups
        .iter()
        .map(|group| {
            let connections = group.endpoints.first().map(|one| one.connections.most);
            let endpoints = group.endpoints.len();
            (&group.zone, group.priority, group.capacity_rps, group.requests.most, endpoints, connections)
        })
        .collect();
    let Cell { max_in_flight, share_percent, protection, timeouts, .. } = cell;
    format!(
        "{groups:?} {rps} {max_in_flight} {share_percent} {protection:?} {:?} {:?}",
        timeouts.connect, timeouts.response_head
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many cells of two groups, which are asked so much; every third one has other bounds.
    fn cells(rps: &[f64], replicas: u32) -> (Snapshot, Demand) {
        let mut snapshot = crate::test_snapshot::example().build();
        let cell = |at: usize| {
            let like = crate::test_snapshot::example().build().cells.swap_remove(0);
            Cell { max_in_flight: 100 + at as u32 % 3, ..like }
        };
        snapshot.cells = (0..rps.len()).map(cell).collect();
        snapshot.protection.replicas = NonZeroU32::new(replicas).expect("not 0");
        (snapshot, Demand { rps: rps.to_vec(), unknown: Vec::new() })
    }

    #[test]
    fn cells_that_are_alike_are_simulated_once_and_each_stands_for_somebody() {
        let (snapshot, demand) = cells(&[90.0; 30], 3);
        let batches = of_zone(&snapshot, &demand, 4);
        assert_eq!(batches.len(), 1);
        let (batch, alike) = &batches[0];
        assert_eq!(batch.cells.len(), 3);
        assert!(batch.cells.contains(&4), "the one that is asked about stands for those like it: {batch:?}");
        let mut all = alike.concat();
        all.sort_unstable();
        assert_eq!(all, (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_simulated_is_bounded_and_replicas_of_small_cells_stay_whole() {
        let ramp: Vec<f64> = (1..=30).map(|at| f64::from(at) * 100.0).collect();
        for (rps, replicas) in [(vec![60.0; 3], 8), (ramp, 3), (vec![1e6], 2), (vec![1e6, 50.0], 2)] {
            let (snapshot, demand) = cells(&rps, replicas);
            for (batch, _) in of_zone(&snapshot, &demand, 0) {
                let asked: Vec<f64> = batch.demand(&demand).iter().map(|rps| rps / batch.scale()).collect();
                let sum: f64 = asked.iter().sum();
                assert!(sum <= MOST_RPS + WHOLE_RPS, "{sum} of {batch:?}");
                let largest = batch.demand(&demand).into_iter().fold(0.0, f64::max) / f64::from(replicas);
                let is_whole = batch.of == replicas;
                assert!(is_whole || largest > WHOLE_RPS, "{largest} at a replica: {batch:?}");
            }
            let batch = of_cell(&snapshot, &demand, 0, 10.0);
            assert!(batch.cells.len() <= 1 + NEIGHBOURS && batch.cells[0] == 0, "{batch:?}");
            assert!(demand.rps[0] * 10.0 / batch.scale() <= MOST_RPS + 1.0, "{batch:?}");
        }
    }

    #[test]
    fn a_smaller_replica_has_smaller_bounds_and_a_whole_one_its_own() {
        let batch = Batch { cells: vec![0], replicas: 1, of: 30, configured: 3 };
        assert_eq!([10, 100, 10_000].map(|most| batch.bound(most)), [10, 50, 1_126]);
        assert_eq!(Batch { of: 3, ..batch }.bound(10_000), 10_000);
    }
}
