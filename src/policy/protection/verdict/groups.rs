//! Endpoints counted by how they are: in all, by cell, by zone.

use super::endpoint::Row;
use super::said::Evidence;
use super::series::State;

/// Share up to which the others are well: one zone has a dead endpoint of its own now and then.
pub const FEW: f64 = 0.2;

/// The same with those that lean, of which peace has some.
pub const FEW_LEANING: f64 = 0.35;

/// Fewer endpoints are no zone: two that fail at once are two that fail at once.
pub const LEAST_OF_ZONE: u32 = 3;

/// Endpoints of one group, by how they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Sick.
    pub certain: u32,
    /// Likely sick.
    pub leaning: u32,
    /// As usual.
    pub fine: u32,
}

impl Tally {
    /// Counts one more.
    pub const fn add(&mut self, state: State) {
        match state {
            State::Bad => self.certain += 1,
            State::Leaning => self.leaning += 1,
            State::Fine => self.fine += 1,
            State::Unknown => {}
        }
    }

    /// Sick or likely so.
    pub const fn sick(&self) -> u32 {
        self.certain + self.leaning
    }

    /// All of which something was heard lately.
    pub const fn heard(&self) -> u32 {
        self.sick() + self.fine
    }

    /// Of those heard of, so many are sick or likely so.
    pub fn share(&self) -> f64 {
        f64::from(self.sick()) / f64::from(self.heard().max(1))
    }

    /// Of those heard of, so many are sick.
    pub fn share_certain(&self) -> f64 {
        f64::from(self.certain) / f64::from(self.heard().max(1))
    }

    /// Whether there are enough, and few of them sick.
    pub fn is_well(&self) -> bool {
        self.heard() >= LEAST_OF_ZONE && self.share_certain() <= FEW && self.share() <= FEW_LEANING
    }
}

/// All together.
pub fn total(states: &[State]) -> Tally {
    states.iter().fold(Tally::default(), |mut tally, state| {
        tally.add(*state);
        tally
    })
}

/// By group, for as many groups as there are.
pub fn by(
    rows: &[Row<'_>],
    states: &[State],
    groups: usize,
    group: impl Fn(&Row<'_>) -> Option<usize>,
) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); groups];
    for (row, state) in rows.iter().zip(states) {
        if let Some(group) = group(row) {
            tallies[group].add(*state);
        }
    }
    tallies
}

/// How many cells and zones those belong to that are sick for certain.
pub struct Span {
    /// How many cells.
    pub cells: u32,
    /// How many zones.
    pub zones: u32,
}

impl Span {
    /// Of those that are in.
    pub fn of(
        rows: &[Row<'_>],
        states: &[State],
        cells: usize,
        zones: usize,
        is_in: impl Fn(&Row<'_>) -> bool,
    ) -> Self {
        let (mut in_cells, mut in_zones) = (vec![false; cells], vec![false; zones]);
        for (row, _) in rows.iter().zip(states).filter(|(row, state)| **state == State::Bad && is_in(row)) {
            in_cells[row.cell] = true;
            if let Some(zone) = row.zone.and_then(|zone| in_zones.get_mut(zone)) {
                *zone = true;
            }
        }
        let count = |which: &[bool]| which.iter().filter(|is| **is).count() as u32;
        Self { cells: count(&in_cells), zones: count(&in_zones) }
    }
}

/// What speaks for those that are in being sick, beside the others.
pub fn evidence(
    rows: &[Row<'_>],
    states: &[State],
    cells: usize,
    is_in: impl Fn(&Row<'_>) -> bool,
    chance: f64,
) -> Evidence {
    let (mut inside, mut others) = (Tally::default(), Tally::default());
    let (mut times, mut shares) = ([0.0; 2], [0.0; 3]);
    for (row, state) in rows.iter().zip(states) {
        let tally = if is_in(row) { &mut inside } else { &mut others };
        tally.add(*state);
        if is_in(row) && *state >= State::Leaning {
            times.iter_mut().zip(row.times).for_each(|(sum, factor)| *sum += factor.ln());
            shares.iter_mut().zip(row.shares).for_each(|(sum, share)| *sum += share);
        }
    }
    let sick = f64::from(inside.sick().max(1));
    Evidence {
        sick: (inside.certain, inside.leaning),
        heard: inside.heard(),
        cells: Span::of(rows, states, cells, 0, |row| is_in(row)).cells,
        others: (others.sick(), others.heard()),
        chance,
        times: times.map(|sum| (sum / sick).exp()),
        shares: shares.map(|sum| sum / sick),
        late_ms: 0,
    }
}
