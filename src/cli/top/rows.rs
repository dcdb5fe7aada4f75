//! A cell as a row: what all replicas that are shown say of it, added up, and how much trouble it is in. Decides nothing that
//! anybody acts on: it sorts a list for a person.

use std::collections::BTreeMap;

use super::document::{Cell, Document, Standing, Traffic, Window};
use super::fleet::Fleet;

/// How a request was refused by cellgate, for the sake of the cell or because somebody wants it so; what clients have sent is not
/// among it.
pub const REFUSED: [&str; 5] = ["down", "no_room", "on_purpose", "moving", "ours"];

/// How much of a cell's requests fails before somebody should look: one in a hundred is more than any service promises.
const FAILING: f64 = 0.01;

/// And before nothing else matters: who retries will notice, and does so.
const BROKEN: f64 = 0.05;

/// Fewer failures in ten seconds are no share of anything.
const LEAST_FAILED: u64 = 3;

/// A part of its permits from which the next wave finds none.
const NEARLY_FULL: f64 = 0.8;

/// First bytes that take twice as long as usual, and so much longer that a person would feel it.
const SLOWER: f64 = 2.0;
const FELT_MS: f64 = 50.0;

/// How much trouble a cell is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    #[default]
    None,
    Some,
    Much,
}

/// One cell.
#[derive(Clone, Debug, Default)]
pub struct Row<'a> {
    pub name: &'a str,
    /// By the name of the replica.
    pub seen: Vec<(&'a str, &'a Cell)>,
    pub phase: &'a str,
    /// What is let through of what it has room for, where both are known.
    pub ramp_percent: Option<u64>,
    pub now: Rates,
    /// Of the replica where they are worst: latencies cannot be added up.
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub usual_p95_ms: Option<f64>,
    pub in_flight: u64,
    pub limit: u64,
    pub queued: u64,
    pub queue_room: u64,
    /// Endpoints that are asked, where fewest are.
    pub up: usize,
    pub endpoints: usize,
    /// Requests of each second of the last minute, the newest last.
    pub seconds: Vec<u64>,
    pub trouble: Trouble,
    /// In words, the worst first.
    pub why: Vec<(Trouble, String)>,
}

/// What happens in a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub rps: f64,
    pub failed: f64,
    pub refused: f64,
    pub by_client: f64,
}

/// By what rows are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Trouble,
    Name,
    Rate,
    Failed,
    Refused,
    Latency,
    Permits,
}

impl Sort {
    const ALL: [Self; 7] =
        [Self::Trouble, Self::Name, Self::Rate, Self::Failed, Self::Refused, Self::Latency, Self::Permits];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Name => "name",
            Self::Rate => "rps",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Latency => "p95",
            Self::Permits => "permits",
        }
    }

    /// The next one, and after the last the first.
    pub fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }
}

impl Rates {
    pub fn of(window: &Window) -> Self {
        Self {
            rps: window.rps(),
            failed: window.per_second(&["failed"]),
            refused: window.per_second(&REFUSED),
            by_client: window.per_second(&["by_client"]),
        }
    }

    pub fn add(&mut self, other: Self) {
        self.rps += other.rps;
        self.failed += other.failed;
        self.refused += other.refused;
        self.by_client += other.by_client;
    }

    /// A part of all, in per cent.
    pub fn percent(&self, part: f64) -> f64 {
        if self.rps > 0.0 { part / self.rps * 100.0 } else { 0.0 }
    }
}

/// Everything that is answered now, of requests without a cell too.
pub fn totals(fleet: &Fleet) -> Rates {
    let mut sum = Rates::default();
    for (_, document) in fleet.shown() {
        let traffic = document.cells.iter().filter_map(|cell| cell.traffic.as_ref()).chain(&document.no_cell);
        traffic.for_each(|traffic| sum.add(Rates::of(&traffic.last_10s)));
    }
    sum
}

/// Every cell whose name has this in it, sorted.
pub fn rows<'a>(fleet: &'a Fleet, filter: &str, sort: Sort) -> Vec<Row<'a>> {
    let mut by_name: BTreeMap<&str, Row<'a>> = BTreeMap::new();
    for (replica, document) in fleet.shown() {
        for cell in document.cells.iter().filter(|cell| cell.name.contains(filter)) {
            let row = by_name.entry(&cell.name).or_insert_with(|| Row { name: &cell.name, ..Row::default() });
            row.add(&replica.name, cell, document);
        }
    }
    let mut rows: Vec<Row> = by_name.into_values().collect();
    rows.iter_mut().for_each(Row::judge);
    let most = |of: fn(&Row) -> f64| move |a: &Row, b: &Row| of(b).total_cmp(&of(a));
    // They are in the order of names, and stay so where nothing else tells them apart.
    match sort {
        Sort::Name => {}
        Sort::Trouble => rows.sort_by_key(|row| std::cmp::Reverse(row.trouble)),
        Sort::Rate => rows.sort_by(most(|row| row.now.rps)),
        Sort::Failed => rows.sort_by(most(|row| row.now.failed)),
        Sort::Refused => rows.sort_by(most(|row| row.now.refused)),
        Sort::Latency => rows.sort_by(most(|row| row.p95_ms.unwrap_or(0.0))),
        Sort::Permits => rows.sort_by(most(|row| row.taken())),
    }
    rows
}

impl<'a> Row<'a> {
    /// The part of its permits that is taken.
    pub fn taken(&self) -> f64 {
        if self.limit == 0 { 0.0 } else { self.in_flight as f64 / self.limit as f64 }
    }

    fn add(&mut self, replica: &'a str, cell: &'a Cell, document: &'a Document) {
        self.seen.push((replica, cell));
        if let Some(traffic) = &cell.traffic {
            self.add_traffic(traffic);
        }
        match &cell.standing {
            Some(standing) => self.add_standing(standing),
            None => {
                self.in_flight += cell.in_flight;
                self.limit += cell.max_in_flight;
                self.endpoints =
                    self.endpoints.max(cell.groups.iter().map(|group| group.endpoints.len()).sum());
                self.up = self.endpoints;
            }
        }
        let named = document.verdicts.iter().filter(|one| names(&one.verdict, &cell.name));
        let verdicts = named.map(|one| (Trouble::Much, format!("it is sick: {}", one.evidence)));
        let pulled = document.levers.iter().filter(|one| names(&one.lever, &cell.name));
        let levers = pulled.map(|one| (Trouble::Some, format!("lever {}: {}", one.id, one.lever)));
        for why in verdicts.chain(levers) {
            if !self.why.contains(&why) {
                self.why.push(why);
            }
        }
    }

    fn add_traffic(&mut self, traffic: &Traffic) {
        let now = &traffic.last_10s;
        self.now.add(Rates::of(now));
        self.p50_ms = larger(self.p50_ms, now.p50_ms);
        self.p95_ms = larger(self.p95_ms, now.p95_ms);
        self.seconds.resize(self.seconds.len().max(traffic.requests.len()), 0);
        let newest_first = self.seconds.iter_mut().rev().zip(traffic.requests.iter().rev());
        newest_first.for_each(|(sum, count)| *sum += count);
        if now.count("failed") >= LEAST_FAILED {
            let share = now.count("failed") as f64 / now.requests() as f64;
            let trouble = if share >= BROKEN { Trouble::Much } else { Trouble::Some };
            if share >= FAILING {
                self.why.push((trouble, format!("{:.0} % of its requests fail", share * 100.0)));
            }
        }
        for (how, words) in [
            ("down", "requests are refused: nothing of it can be used"),
            ("no_room", "requests are refused: there is no room"),
        ] {
            if now.count(how) > 0 {
                self.why.push((Trouble::Some, words.to_owned()));
            }
        }
    }

    fn add_standing(&mut self, standing: &'a Standing) {
        if self.phase.is_empty() || badness(&standing.phase) > badness(self.phase) {
            self.phase = &standing.phase;
            let part = standing.admitted_rps.zip(standing.ramp.capacity_rps.filter(|most| *most > 0.0));
            // A float that does not fit becomes the nearest that does.
            self.ramp_percent = part.map(|(admitted, most)| (admitted / most * 100.0).min(999.0) as u64);
        }
        self.usual_p95_ms = larger(self.usual_p95_ms, standing.usual_p95_ms);
        self.in_flight += standing.in_flight;
        self.limit += standing.limit;
        self.queued += standing.queued;
        self.queue_room += standing.queue_room;
        let all = || standing.groups.iter().flat_map(|group| &group.endpoints);
        let (up, endpoints) = (all().filter(|one| &*one.state == "up").count(), all().count());
        let fewest = self.seen.len() == 1 || up * self.endpoints < self.up * endpoints;
        if fewest {
            (self.up, self.endpoints) = (up, endpoints);
        }
        let mut say = |trouble, words: String| self.why.push((trouble, words));
        if &*standing.panic != "calm" {
            say(Trouble::Much, format!("panic {}: most endpoints are out", standing.panic));
        }
        if standing.failover_frozen {
            say(Trouble::Some, "nothing is moved to other groups: the way there is suspected".to_owned());
        }
        if standing.no_headroom_rps > 0.0 {
            let words =
                format!("{:.0} requests a second of lost groups have no room", standing.no_headroom_rps);
            say(Trouble::Much, words);
        }
        if let Some(alarm) = &standing.observe_alarm {
            say(Trouble::Some, format!("what only watches should be looked at ({alarm})"));
        }
        for group in &standing.groups {
            if group.standing.as_deref() == Some("lost") {
                say(Trouble::Much, format!("group {} is lost", group.zone));
            }
        }
    }

    /// What is known once all have been added.
    fn judge(&mut self) {
        let said = std::mem::take(&mut self.why);
        let mut say = |trouble, words: String| self.why.push((trouble, words));
        match self.phase {
            "full" | "" => {}
            "down" => say(Trouble::Much, "it is down".to_owned()),
            phase => say(Trouble::Some, format!("it comes back ({phase})")),
        }
        match self.endpoints - self.up {
            0 => {}
            out if self.up == 0 => say(Trouble::Much, format!("none of {out} endpoints is up")),
            out => say(Trouble::Some, format!("{out} of {} endpoints out", self.endpoints)),
        }
        if self.queued > 0 {
            say(Trouble::Some, format!("{} requests wait for a permit", self.queued));
        }
        if self.limit > 0 && self.in_flight as f64 >= self.limit as f64 * NEARLY_FULL {
            say(Trouble::Some, format!("{} of {} permits are taken", self.in_flight, self.limit));
        }
        if let (Some(p95), Some(usual)) = (self.p95_ms, self.usual_p95_ms)
            && p95 >= usual * SLOWER
            && p95 - usual >= FELT_MS
        {
            say(Trouble::Some, format!("p95 is {p95:.0} ms, usually {usual:.0} ms"));
        }
        self.why.extend(said);
        self.why.sort_by_key(|(trouble, _)| std::cmp::Reverse(*trouble));
        let mut told: Vec<(Trouble, String)> = Vec::new();
        for why in std::mem::take(&mut self.why) {
            if !told.contains(&why) {
                told.push(why);
            }
        }
        self.trouble = told.first().map_or(Trouble::None, |(trouble, _)| *trouble);
        self.why = told;
    }
}

/// Which phase is shown of several.
fn badness(phase: &str) -> usize {
    ["full", "ramping", "probing", "down"].iter().position(|known| *known == phase).unwrap_or(0)
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    [a, b].into_iter().flatten().max_by(f64::total_cmp)
}

/// Whether a verdict or a lever is about this cell: its name stands there as a word.
fn names(said: &str, cell: &str) -> bool {
    let word = |c: char| c.is_whitespace() || matches!(c, ',' | ':' | '(' | ')');
    said.contains("cell") && said.split(word).any(|part| part == cell)
}
