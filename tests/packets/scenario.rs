//! The faults, what must be said of each, and how one of them goes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use loadtest::load::LoadReport;

use crate::fault::Fault;
use crate::network::{address, endpoint};
use crate::said::{Look, Said, look};
use crate::world::{CELLS, World, zone_name};

/// A fault, and what must be said of it.
struct Scenario {
    name: &'static str,
    fault: Fault,
    expected: Expected,
}

/// Who is sick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Nobody,
    Zone(u8),
    Path,
    /// The endpoint of this number in this zone.
    Endpoint(u8, u8),
}

/// The endpoint that dies.
const DEAD: (u8, u8) = (2, 3);
const DEAD_ADDRESS: Ipv4Addr = address(DEAD.0, DEAD.1);

const SCENARIOS: [Scenario; 8] = [
    Scenario { name: "no fault", fault: Fault::None, expected: Expected::Nobody },
    Scenario {
        name: "a zone loses 20 %",
        fault: Fault::Zone { zone: 1, percent: 20 },
        expected: Expected::Zone(1),
    },
    Scenario {
        name: "a zone loses 50 %",
        fault: Fault::Zone { zone: 1, percent: 50 },
        expected: Expected::Zone(1),
    },
    Scenario { name: "all lose 20 %", fault: Fault::Egress { percent: 20 }, expected: Expected::Path },
    Scenario { name: "all lose 50 %", fault: Fault::Egress { percent: 50 }, expected: Expected::Path },
    Scenario {
        name: "an endpoint refuses",
        fault: Fault::Refused(DEAD_ADDRESS),
        expected: Expected::Endpoint(DEAD.0, DEAD.1),
    },
    Scenario {
        name: "an endpoint is silent",
        fault: Fault::Silent(DEAD_ADDRESS),
        expected: Expected::Endpoint(DEAD.0, DEAD.1),
    },
    Scenario { name: "a zone's way is full", fault: Fault::Full { zone: 1 }, expected: Expected::Zone(1) },
];

/// How long there is no fault: half as long again as the detector needs for a baseline (30 seconds). The first half of
/// it is also how long a cellgate that was never there before lets only a part of the requests through.
const LEARNS: Duration = Duration::from_secs(45);

/// A verdict that is not there by then is not coming. Where none is to come, it is waited for as long.
const WITHIN: Duration = Duration::from_secs(90);

/// How long a fault goes on once it is known: what is wrong about what is done shows in a few looks.
const GOES_ON: Duration = Duration::from_secs(15);

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(250);

/// All that happened in one part of a scenario.
#[derive(Default)]
struct Seen {
    /// Whether there was what was looked for.
    enough: bool,
    /// What was said, when first, and on what.
    said: BTreeMap<Said, (Duration, String)>,
    /// Who was taken out, by zone and address, and when.
    ejected: BTreeMap<(String, String), Duration>,
    /// Addresses of those of them on whose zone, or on everything, a verdict stood before and after.
    ejected_while_frozen: BTreeSet<String>,
}

/// Each scenario, one after the other; one that fails keeps none of the others from its turn.
pub fn run_all() {
    let only = std::env::var("CELLGATE_TEST_PACKETS").unwrap_or_default();
    let chosen = SCENARIOS.iter().filter(|scenario| scenario.name.contains(&only));
    let complaints: Vec<String> = chosen.flat_map(run).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn run(scenario: &Scenario) -> Vec<String> {
    let world = World::start();
    let load = world.load();
    let mut last = look(&world);
    let calm = watch(&world, &mut last, LEARNS, |_| false);
    let before = world.end(load);

    let load = world.load();
    let standing = scenario.fault.begin(&world.network, &world.edge, &world.zones);
    let began = Instant::now();
    let found = watch(&world, &mut last, WITHIN, |look| scenario.expected.is_found_by(look));
    let after = watch(&world, &mut last, GOES_ON, |_| false);
    let (lasted, hit) = (began.elapsed(), standing.hit());
    load.stop();
    drop(standing);
    let with_fault = world.end(load);

    println!(
        "{}: {hit} packets lost or refused in {:.0} s; {:?} expected",
        scenario.name,
        lasted.as_secs_f64(),
        scenario.expected
    );
    println!("  before: {}", calm.told());
    println!("  with the fault: {}", found.told());
    println!("  and then: {}", after.told());
    println!("  requests before: {}", requests(&before));
    println!("  requests with the fault: {}", requests(&with_fault));
    scenario
        .judge(&calm, &found, &after)
        .into_iter()
        .map(|what| format!("{}: {what}", scenario.name))
        .collect()
}

impl Scenario {
    fn judge(&self, calm: &Seen, found: &Seen, after: &Seen) -> Vec<String> {
        let mut complaints = Vec::new();
        let wrong_in_peace = calm.said.keys().filter(|said| Expected::Nobody.is_contradicted_by(said));
        complaints.extend(wrong_in_peace.map(|said| format!("before the fault it said {said}")));
        if self.expected != Expected::Nobody && !found.enough {
            complaints.push(format!("it did not find {:?} within {WITHIN:?}", self.expected));
        }
        for seen in [found, after] {
            let wrong = seen.said.keys().filter(|said| self.expected.is_contradicted_by(said));
            complaints.extend(wrong.map(|said| format!("it said {said}")));
            let frozen = seen.ejected_while_frozen.iter();
            complaints
                .extend(frozen.map(|who| format!("{who} was ejected under a verdict about its zone or all")));
        }
        let wrongly = |(_, who): &&(String, String)| match self.expected {
            Expected::Nobody => true,
            Expected::Endpoint(zone, number) => *who != endpoint(zone, number).to_string(),
            // Before anything is said of it, whoever fails most may be out.
            Expected::Zone(_) | Expected::Path => false,
        };
        let ejected = calm
            .ejected
            .keys()
            .chain([found, after].into_iter().flat_map(|seen| seen.ejected.keys()).filter(wrongly));
        complaints.extend(ejected.map(|(_, who)| format!("{who} was ejected, and is well")));
        complaints
    }
}

impl Expected {
    /// An endpoint alone is the business of health first: one that is out is asked so little that a verdict on it may
    /// take a minute.
    fn is_found_by(self, look: &Look) -> bool {
        let is_out = match self {
            Self::Endpoint(zone, number) => look.is_out(endpoint(zone, number)),
            Self::Nobody | Self::Zone(_) | Self::Path => false,
        };
        is_out || look.says(|said| self.is_said_by(said))
    }

    fn is_said_by(self, said: &Said) -> bool {
        match self {
            Self::Nobody => false,
            Self::Zone(zone) => said.kind == "zone" && said.text == format!("zone {}", zone_name(zone)),
            Self::Path => said.kind == "path",
            Self::Endpoint(zone, number) => said.is_of_endpoint(endpoint(zone, number)),
        }
    }

    /// Doubts contradict nothing, nor does what a busy machine does to a process that is not optimised: it sleeps, and
    /// cells are slow. All of it is printed.
    fn is_contradicted_by(self, said: &Said) -> bool {
        match said.kind.as_str() {
            "zone" | "path" => !self.is_said_by(said),
            "cell_network" => true,
            // Of a sick zone they may be said first.
            "endpoint" => match self {
                Self::Zone(zone) => !(1..=CELLS).any(|number| said.is_of_endpoint(endpoint(zone, number))),
                Self::Path => false,
                Self::Nobody | Self::Endpoint(..) => !self.is_said_by(said),
            },
            _ => false,
        }
    }
}

/// Looks until it is `enough`, or the time is over. `last` is the look before.
fn watch(world: &World, last: &mut Look, time: Duration, enough: impl Fn(&Look) -> bool) -> Seen {
    let began = Instant::now();
    let mut seen = Seen::default();
    while began.elapsed() < time {
        std::thread::sleep(EVERY);
        let now = look(world);
        for (said, evidence) in &now.verdicts {
            seen.said.entry(said.clone()).or_insert_with(|| (began.elapsed(), evidence.clone()));
        }
        for (zone, address) in now.out.difference(&last.out) {
            seen.ejected.entry((zone.clone(), address.clone())).or_insert_with(|| began.elapsed());
            if last.freezes(zone) && now.freezes(zone) {
                seen.ejected_while_frozen.insert(address.clone());
            }
        }
        seen.enough = enough(&now);
        *last = now;
        if seen.enough {
            break;
        }
    }
    seen
}

impl Seen {
    fn told(&self) -> String {
        let after = |at: &Duration| format!("after {:.1} s", at.as_secs_f64());
        let said = self.said.iter().map(|(said, (at, evidence))| format!("{said} {}: {evidence}", after(at)));
        let out = self.ejected.iter().map(|((_, who), at)| format!("{who} taken out {}", after(at)));
        let all: Vec<String> = said.chain(out).collect();
        if all.is_empty() { "nothing".to_owned() } else { all.join("; ") }
    }
}

fn requests(report: &LoadReport) -> String {
    let mut text = format!("{} of {} failed", failed(report), report.all.sent);
    for (kind, count) in &report.all.failures {
        text.push_str(&format!(", {kind:?} {count}"));
    }
    if let Some(first) = report.samples.first() {
        text.push_str(&format!("; the first after {} ms: {}", first.due_ms, first.detail));
    }
    text
}

fn failed(report: &LoadReport) -> u64 {
    report.all.failed() + report.all.refused()
}
