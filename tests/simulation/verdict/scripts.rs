//! What happens, and what must be said of it.

use cellgate::policy::protection::verdict::{Doubt, Sick, Verdict};
use fastrand::Rng;

use super::faults::{What, Whom};
use super::network::{CELLS, Layout, ZONES, cell_name, log_uniform, place, zone_name};

/// A scenario: what happens, and what stands at its end.
pub struct Script {
    pub name: &'static str,
    pub layout: Layout,
    pub faults: Vec<(Whom, What)>,
    pub expect: Vec<Verdict>,
}

/// One endpoint of each cell in each zone.
const SINGLE: Layout = Layout { endpoints: 1, ..Layout::USUAL };

/// Two endpoints in the last zone, of two cells.
const FEW: Layout = Layout { endpoints: 1, cells_in_last_zone: 2, ..Layout::USUAL };

/// Twice the noise, in the morning, when load grows fastest.
const MORNING: Layout = Layout { noise: 2.0, begins: 5 * 3_600, ..Layout::USUAL };

/// All of them, with places and sizes drawn anew.
pub fn all(rng: &mut Rng) -> Vec<Script> {
    let mut all = zones(rng);
    all.extend(endpoints(rng));
    all.extend(cells(rng));
    all.extend(paths(rng));
    all.extend(peace(rng));
    all.extend(both(rng));
    all
}

fn script(name: &'static str, layout: Layout, faults: &[(Whom, What)], expect: &[Verdict]) -> Script {
    Script { name, layout, faults: faults.to_vec(), expect: expect.to_vec() }
}

fn zone_verdict(zone: usize) -> Verdict {
    Verdict::Zone(zone_name(zone))
}

fn zones(rng: &mut Rng) -> Vec<Script> {
    let whats = [
        ("zone +20 ms", What::Delay(0.02)),
        ("zone +20..100 ms", What::Delay(log_uniform(rng, 0.02, 0.1))),
        ("zone +300 ms", What::Delay(0.3)),
        ("zone loses 5 %", What::Loss(0.05)),
        ("zone loses 10..30 %", What::Loss(log_uniform(rng, 0.1, 0.3))),
        ("zone loses 50 %", What::Loss(0.5)),
        ("zone congested", What::Congestion(log_uniform(rng, 0.01, 0.05), log_uniform(rng, 0.02, 0.1))),
        ("zone loses on part of flows", What::PartialLoss(0.3 + 0.4 * rng.f64(), 0.3)),
    ];
    let mut all: Vec<Script> = whats
        .iter()
        .map(|(name, what)| {
            let zone = rng.usize(0..ZONES);
            script(name, Layout::USUAL, &[(Whom::Zone(zone), *what)], &[zone_verdict(zone)])
        })
        .collect();
    let zone = rng.usize(0..ZONES);
    let delay = What::Delay(log_uniform(rng, 0.02, 0.1));
    all.push(script("zone of 12", SINGLE, &[(Whom::Zone(zone), delay)], &[zone_verdict(zone)]));
    let doubt = Verdict::Ambiguous(Doubt::Zone(zone_name(zone)));
    all.push(script("half of a zone", Layout::USUAL, &[(Whom::HalfOfZone(zone), delay)], &[doubt]));
    let doubt = Verdict::Ambiguous(Doubt::Zone(zone_name(ZONES - 1)));
    all.push(script("zone of 2", FEW, &[(Whom::Zone(ZONES - 1), delay)], &[doubt]));
    all
}

fn endpoints(rng: &mut Rng) -> Vec<Script> {
    let slow = What::Slow(log_uniform(rng, 4.0, 10.0));
    let whats = [("endpoint dead", What::Dead), ("endpoint refuses", What::Refuses), ("endpoint slow", slow)];
    let place_of = |rng: &mut Rng| (rng.usize(0..CELLS), rng.usize(0..ZONES), rng.usize(0..2));
    let of = |(name, what): &(&'static str, What)| {
        let (cell, zone, number) = place_of(rng);
        let expect = Verdict::Endpoint(place(cell, zone, number));
        script(name, Layout::USUAL, &[(Whom::Endpoint(cell, zone, number), *what)], &[expect])
    };
    let mut all: Vec<Script> = whats.iter().map(of).collect();
    let (cell, zone, number) = place_of(rng);
    let pauses = (Whom::Endpoint(cell, zone, number), What::Collects(0.5 + rng.f64()));
    all.push(script("endpoint collects garbage", Layout::USUAL, &[pauses], &[]));
    all
}

fn cells(rng: &mut Rng) -> Vec<Script> {
    let whats = [
        ("cell slow", What::Slow(log_uniform(rng, 3.0, 6.0)), Sick::Application),
        ("cell very slow", What::Slow(log_uniform(rng, 6.0, 20.0)), Sick::Application),
        ("cell fails", What::Fails(0.2 + 0.6 * rng.f64()), Sick::Application),
        ("cell's gateway fails", What::Gateway(0.3 + 0.7 * rng.f64()), Sick::Application),
        ("cell hangs", What::Hangs, Sick::Application),
        ("cell refuses", What::Refuses, Sick::Application),
        ("cell unreachable", What::Unreachable, Sick::Network),
    ];
    let of = |(name, what, sick): &(&'static str, What, Sick)| {
        let cell = rng.usize(0..CELLS);
        script(name, Layout::USUAL, &[(Whom::Cell(cell), *what)], &[Verdict::Cell(cell_name(cell), *sick)])
    };
    whats.iter().map(of).collect()
}

fn paths(rng: &mut Rng) -> Vec<Script> {
    let stall = log_uniform(rng, 0.2, 2.0);
    let whats = [
        ("egress +20..200 ms", What::Delay(log_uniform(rng, 0.02, 0.2)), Verdict::Path),
        ("egress loses 5 %", What::Loss(0.05), Verdict::Path),
        ("egress loses 10..50 %", What::Loss(log_uniform(rng, 0.1, 0.5)), Verdict::Path),
        ("proxy stalls", What::Stalls(stall), Verdict::Proxy),
        ("proxy's workers stall", What::WorkersStall(stall / 2.0), Verdict::Proxy),
        ("shared database slow", What::Slow(log_uniform(rng, 3.0, 10.0)), Verdict::Ambiguous(Doubt::Shared)),
    ];
    let of = |(name, what, expect): &(&'static str, What, Verdict)| {
        script(name, Layout::USUAL, &[(Whom::All, *what)], std::slice::from_ref(expect))
    };
    whats.iter().map(of).collect()
}

fn peace(rng: &mut Rng) -> Vec<Script> {
    let cell = Whom::Cell(rng.usize(0..CELLS));
    vec![
        script("peace", Layout::USUAL, &[], &[]),
        script("a noisy morning", MORNING, &[], &[]),
        script("five times the load", Layout::USUAL, &[(Whom::All, What::Burst(5.0))], &[]),
        script("five times the load of a cell", Layout::USUAL, &[(cell, What::Burst(5.0))], &[]),
    ]
}

fn both(rng: &mut Rng) -> Vec<Script> {
    let (cell, zone) = (rng.usize(0..CELLS), rng.usize(0..ZONES));
    let (other_cell, other_zone) = ((cell + 1 + rng.usize(0..CELLS - 1)) % CELLS, (zone + 1) % ZONES);
    let application = Verdict::Cell(cell_name(cell), Sick::Application);
    let dead = (Whom::Endpoint(other_cell, other_zone, 1), What::Dead);
    let endpoint = Verdict::Endpoint(place(other_cell, other_zone, 1));
    let slow = (Whom::Cell(cell), What::Slow(5.0));
    let fails = (Whom::Cell(cell), What::Fails(0.5));
    let delay = (Whom::Zone(zone), What::Delay(0.05));
    let loss = (Whom::Zone(zone), What::Loss(0.2));
    let sick_zone = zone_verdict(zone);
    vec![
        script(
            "slow cell, dead endpoint",
            Layout::USUAL,
            &[slow, dead],
            &[application.clone(), endpoint.clone()],
        ),
        script("slow zone, failing cell", Layout::USUAL, &[delay, fails], &[sick_zone.clone(), application]),
        script("losing zone, dead endpoint", Layout::USUAL, &[loss, dead], &[sick_zone, endpoint]),
    ]
}
