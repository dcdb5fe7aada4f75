//! Traffic and a network for the verdict, second by second: what a proxy would read off its counters for each endpoint.
//! Written from what networks, kernels and applications do, before there was a detector to read it.
//!
//! A round trip is correlated in time, per endpoint, per zone and per way out, with microbursts and short blips of a
//! whole zone. An answer's time is log-normal, correlated per cell, follows the day, and is measured on few requests.
//! Applications are deployed, collect garbage, and have integrations that fail by themselves.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use cellgate::policy::ids::Label;
use cellgate::policy::protection::verdict::signals::{Kernel, Place, ProcessSignals, Segments, Signals};
use fastrand::Rng;

use super::faults::{Fault, Weather};

pub const CELLS: usize = 12;
pub const ZONES: usize = 3;

/// A day.
pub const DAY: u64 = 86_400;

/// What the proxy waits for a connection.
const CONNECT_TIMEOUT: f64 = 3.0;

/// What it waits for an answer.
const ANSWER_TIMEOUT: u64 = 30;

/// The smallest retransmission timeout of Linux.
const LEAST_RTO: f64 = 0.2;

/// Endpoints that are dead have lost their requests by now, whatever the verdict: their health was judged.
const EJECTED_AFTER: u64 = 6;

/// An active check makes a connection so often, in seconds.
const CHECK_EVERY: f64 = 5.0;

/// Spread of one answer's time, in ln.
const ANSWER_SPREAD: f64 = 0.7;

/// What a fleet is, and how restless.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    /// Endpoints of each cell in each zone.
    pub endpoints: usize,
    /// Only so many cells have endpoints in the last zone.
    pub cells_in_last_zone: usize,
    /// All correlated noise is multiplied with it.
    pub noise: f64,
    /// Where in the day it begins, in seconds.
    pub begins: u64,
}

impl Layout {
    pub const USUAL: Self = Self { endpoints: 2, cells_in_last_zone: CELLS, noise: 1.0, begins: 0 };
}

/// Noise that remembers: first order, with the standard deviation it has at rest.
#[derive(Clone, Debug)]
struct Drift {
    value: f64,
    memory: f64,
    spread: f64,
}

#[derive(Clone, Debug)]
pub struct Endpoint {
    pub place: Place,
    pub cell: usize,
    pub zone: usize,
    round_trip: f64,
    /// What the kernel has smoothed.
    smoothed: f64,
    way: Drift,
    app: Drift,
    /// The application's own speed against that of its cell.
    speed: f64,
    /// Requests that have no answer.
    pending: u32,
    /// Seconds for which it still is being restarted.
    restarting: u64,
    /// How much slower it is after a restart; goes to 0.
    cold: f64,
    /// When it was last down for a restart.
    down: Option<u64>,
}

#[derive(Clone, Debug)]
struct Cell {
    rate: f64,
    answer: f64,
    drift: Drift,
    load: Drift,
    /// Share of answers that are 5xx by somebody's own doing, and for how long.
    own_failures: (f64, u64),
}

#[derive(Clone, Debug)]
pub struct Network {
    pub endpoints: Vec<Endpoint>,
    pub faults: Vec<Fault>,
    pub second: u64,
    cells: Vec<Cell>,
    zones: Vec<Drift>,
    /// A zone (or with `ZONES` all of them) has a blip of so many seconds' delay until then.
    blip: (usize, f64, u64),
    out: Drift,
    layout: Layout,
    rng: Rng,
}

impl Network {
    pub fn new(seed: u64, layout: Layout) -> Self {
        let mut rng = Rng::with_seed(seed);
        let noise = layout.noise;
        let cells = (0..CELLS).map(|_| Cell {
            // Requests a second of each endpoint: most cells are small, a few are large.
            rate: log_uniform(&mut rng, 0.5, 60.0),
            answer: log_uniform(&mut rng, 0.03, 0.3),
            drift: Drift::new(0.98, 0.12 * noise),
            load: Drift::new(0.995, 0.25 * noise),
            own_failures: (0.0, 0),
        });
        let cells = cells.collect();
        let mut endpoints = Vec::new();
        for cell in 0..CELLS {
            // Some cells are in networks of their own, behind a peering.
            let peering = if cell % 3 == 2 { log_uniform(&mut rng, 1e-3, 8e-3) } else { 0.0 };
            let zones = if cell < layout.cells_in_last_zone { ZONES } else { ZONES - 1 };
            for zone in 0..zones {
                let zone_away = [0.3e-3, 0.7e-3, 1.1e-3][zone];
                for number in 0..layout.endpoints {
                    endpoints.push(Endpoint {
                        place: place(cell, zone, number),
                        cell,
                        zone,
                        round_trip: (zone_away + peering) * log_uniform(&mut rng, 0.8, 1.3),
                        smoothed: zone_away + peering,
                        way: Drift::new(0.95, 0.08 * noise),
                        app: Drift::new(0.9, 0.1 * noise),
                        speed: log_uniform(&mut rng, 0.9, 1.1),
                        pending: 0,
                        restarting: 0,
                        cold: 0.0,
                        down: None,
                    });
                }
            }
        }
        Self {
            endpoints,
            faults: Vec::new(),
            second: 0,
            cells,
            zones: vec![Drift::new(0.97, 0.06 * noise); ZONES],
            blip: (0, 0.0, 0),
            out: Drift::new(0.97, 0.04 * noise),
            layout,
            rng,
        }
    }

    /// Lets a second pass.
    pub fn step(&mut self) -> (Vec<Signals>, ProcessSignals) {
        self.second += 1;
        self.drift();
        let stall = Weather::stall(&self.faults, self.second, &mut self.rng);
        let mut signals = Vec::with_capacity(self.endpoints.len());
        for index in 0..self.endpoints.len() {
            let weather = Weather::of(&self.faults, &self.endpoints[index], self.second, stall.workers);
            signals.push(self.endpoint(index, &weather));
        }
        let late = stall.judge - 1e-3 * self.rng.f64().max(1e-9).ln();
        // Other work of the machine makes the task late now and then.
        let late = if self.rng.f64() < 1e-3 { late + 0.05 * self.rng.f64() } else { late };
        let cpu = Some(if stall.workers > 0.0 { 0.97 } else { 0.3 });
        (signals, ProcessSignals { late: seconds(late), cpu })
    }

    /// What comes is drawn anew, from what has been.
    pub fn reseed(&mut self, seed: u64) {
        self.rng.seed(seed);
    }

    /// Whether a deployment has restarted this endpoint so lately: then it has been down, and may be called so.
    pub fn was_down(&self, place: &Place, within: u64) -> bool {
        let down = |endpoint: &Endpoint| endpoint.down.is_some_and(|down| self.second - down <= within);
        self.endpoints.iter().any(|endpoint| endpoint.place == *place && down(endpoint))
    }

    /// How busy the day is now, around 1.
    fn day(&self) -> f64 {
        let of_day = (self.layout.begins + self.second) % DAY;
        1.0 - 0.6 * (TAU * of_day as f64 / DAY as f64).cos()
    }

    fn drift(&mut self) {
        let rng = &mut self.rng;
        self.out.step(rng);
        self.zones.iter_mut().for_each(|zone| zone.step(rng));
        // A link flaps, a route moves: every hour or so, for one to three seconds.
        if rng.f64() < 1.0 / 3_600.0 {
            self.blip = (rng.usize(0..=ZONES), log_uniform(rng, 2e-3, 10e-3), self.second + rng.u64(1..=3));
        }
        for (index, cell) in self.cells.iter_mut().enumerate() {
            cell.drift.step(rng);
            cell.load.step(rng);
            if self.second >= cell.own_failures.1 {
                // Somebody's integration fails for a minute or some, every few hours in each cell.
                let begins = rng.f64() < 1.0 / 14_400.0;
                let until = self.second + rng.u64(20..180);
                cell.own_failures = if begins { (0.02 + 0.06 * rng.f64(), until) } else { (0.0, 0) };
            }
            // A deployment every three hours or so: another speed, and one endpoint after the other restarts.
            if rng.f64() < 1.0 / 10_800.0 {
                cell.answer = (cell.answer * (0.2 * gauss(rng)).exp()).clamp(0.02, 0.5);
                for (turn, endpoint) in self.endpoints.iter_mut().filter(|e| e.cell == index).enumerate() {
                    endpoint.restarting = 5 + 30 * turn as u64;
                }
            }
        }
    }

    fn endpoint(&mut self, index: usize, weather: &Weather) -> Signals {
        let day = self.day();
        let Self { endpoints, cells, zones, out, rng, second, blip, .. } = self;
        let (endpoint, second) = (&mut endpoints[index], *second);
        let cell = &cells[endpoint.cell];
        endpoint.way.step(rng);
        endpoint.app.step(rng);
        let restarts = endpoint.restart();
        if restarts {
            endpoint.down = Some(second);
        }
        let refusing = restarts || weather.refuses;
        let noise = endpoint.way.value + zones[endpoint.zone].value + out.value;
        let blipped = second < blip.2 && (blip.0 == ZONES || blip.0 == endpoint.zone);
        let mut round_trip = endpoint.round_trip * noise.exp() + if blipped { blip.1 } else { 0.0 };
        if weather.delay > 0.0 {
            round_trip += weather.delay * (0.2 * gauss(rng)).exp();
        }
        if rng.f64() < 3e-3 {
            // A queue in front of somebody fills and empties.
            round_trip *= log_uniform(rng, 2.0, 10.0);
        }
        let load = day * cell.load.value.exp() * weather.burst;
        let ejected = weather.dead_for.is_some_and(|for_seconds| for_seconds >= EJECTED_AFTER);
        let rate = if ejected { 0.0 } else { cell.rate * load };
        let asked = Asked {
            started: poisson(rng, rate),
            checks: u32::from(rng.f64() < 1.0 / CHECK_EVERY),
            round_trip,
            // Twice the usual load is a third slower, five times two thirds; at night a sixth quicker.
            answer: cell.answer
                * endpoint.speed
                * (cell.drift.value + endpoint.app.value + endpoint.cold).exp()
                * (1.0 + 0.25 * load.max(0.1).ln()).max(0.6)
                * weather.slow,
            failing: (0.003 + cell.own_failures.0).max(weather.failing),
            refusing,
        };
        endpoint.second(asked, weather, rng)
    }
}

/// What is asked of an endpoint in a second, and how it is.
struct Asked {
    started: u32,
    checks: u32,
    round_trip: f64,
    answer: f64,
    failing: f64,
    refusing: bool,
}

impl Endpoint {
    /// Whether it is down for its restart just now.
    fn restart(&mut self) -> bool {
        let down = (1..=4).contains(&self.restarting);
        if self.restarting > 0 {
            self.restarting -= 1;
            if self.restarting == 0 {
                // Caches are empty: twice as slow, for half a minute.
                self.cold = 0.7;
            }
        }
        self.cold *= 0.95;
        down
    }

    fn second(&mut self, asked: Asked, weather: &Weather, rng: &mut Rng) -> Signals {
        let mut signals = Signals::quiet(self.place.clone());
        let silent = weather.silent || weather.dead_for.is_some();
        signals.started = asked.started;
        self.pending = (self.pending + asked.started).min(5_000);
        self.connections(&asked, weather, rng, &mut signals);
        if asked.refusing {
            // Nobody listens: requests fail when their connection does.
            signals.failures.reset = self.pending.saturating_sub(asked.started);
            signals.ended = self.pending;
            self.pending = 0;
        } else if silent {
            let waited = weather.dead_for.or(weather.silent_for).unwrap_or(0);
            if waited >= ANSWER_TIMEOUT || (weather.dead_for.is_some() && waited >= 4) {
                // What waited for a connection has failed with it.
                let ended = self.pending.min(asked.started.max(1));
                signals.failures.timeout = if waited >= ANSWER_TIMEOUT { ended } else { 0 };
                signals.ended = ended;
                self.pending -= ended;
            }
        } else {
            self.answers(&asked, weather, rng, &mut signals);
        }
        self.kernel(&asked, weather, rng, &mut signals);
        signals.waiting = self.pending;
        signals
    }

    /// New connections: a few for requests, one now and then for a check.
    fn connections(&self, asked: &Asked, weather: &Weather, rng: &mut Rng, signals: &mut Signals) {
        let unpooled = asked.refusing || weather.dead_for.or(weather.unreachable_for).is_some_and(|s| s >= 2);
        let share = if unpooled { 1.0 } else { 0.05 };
        let tried = (poisson(rng, f64::from(asked.started) * share) + asked.checks).min(200);
        signals.connects = tried;
        let lost = 1.0 - (1.0 - weather.loss) * (1.0 - weather.loss);
        let mut times = Vec::new();
        for _ in 0..tried {
            if asked.refusing {
                signals.failures.refused += 1;
            } else if weather.unreachable_for.is_some() || weather.dead_for.is_some() {
                signals.failures.unreachable += 1;
            } else {
                let mut waited = 0.0;
                let mut again = 1.0;
                while waited < CONNECT_TIMEOUT && lost > 0.0 && rng.f64() < lost {
                    waited += again;
                    again *= 2.0;
                }
                if waited >= CONNECT_TIMEOUT {
                    signals.failures.unreachable += 1;
                } else {
                    let stalled = weather.stalled(rng);
                    times.push(waited + stalled + asked.round_trip * (0.15 * gauss(rng)).exp() + 0.1e-3);
                }
            }
        }
        signals.connect_time = median(&mut times).map(seconds);
        if let Some(connect) = signals.connect_time {
            // One round trip more (TLS 1.3), and some work on both sides.
            let work = 0.8e-3 * (0.3 * gauss(rng)).exp() + weather.stalled(rng);
            signals.tls_time = Some(seconds(connect.as_secs_f64().min(asked.round_trip * 2.0) + work));
        }
    }

    fn answers(&mut self, asked: &Asked, weather: &Weather, rng: &mut Rng, signals: &mut Signals) {
        let collects = rng.f64() < 1.0 / 1_200.0;
        let pause = weather.pause.max(if collects { 0.2 + 1.3 * rng.f64() } else { 0.0 });
        let takes = asked.answer + asked.round_trip + pause;
        // Of those that waited, so many still do; of those that came within the second, so many (M/M/∞, which has
        // Little's law).
        let still = (-1.0 / takes).exp();
        let waited = self.pending.saturating_sub(asked.started);
        let left = binomial(rng, waited, still) + binomial(rng, self.pending - waited, takes * (1.0 - still));
        let answers = self.pending - left;
        self.pending = left;
        signals.answers = answers;
        signals.ended = answers;
        let failed = binomial(rng, answers, asked.failing);
        let gateway = if weather.gateway { failed } else { binomial(rng, failed, 0.1) };
        signals.failures.gateway = gateway;
        signals.failures.app = failed - gateway;
        signals.failures.reset = binomial(rng, answers - failed, 1e-4 + 0.02 * weather.loss);
        signals.failures.timeout = binomial(rng, answers - failed - signals.failures.reset, 1e-4);
        signals.first_byte = self.first_byte(asked, weather, answers, pause, rng).map(seconds);
    }

    /// The median over the answers: of each where packets are lost, by its distribution where not.
    fn first_byte(
        &self,
        asked: &Asked,
        weather: &Weather,
        answers: u32,
        pause: f64,
        rng: &mut Rng,
    ) -> Option<f64> {
        if answers == 0 {
            return None;
        }
        // What has an answer by now was not asked before the fault began.
        let most = weather.slow_for.map_or(f64::INFINITY, |seconds| seconds as f64 + 1.0);
        if weather.loss == 0.0 {
            let spread = ANSWER_SPREAD * 1.25 / f64::from(answers).sqrt();
            let stalled = weather.stalled(rng);
            return Some(
                (asked.answer * (spread * gauss(rng)).exp()).min(most) + asked.round_trip + pause + stalled,
            );
        }
        let lost = 1.0 - (1.0 - weather.loss) * (1.0 - weather.loss);
        let mut times: Vec<f64> = (0..answers.min(15))
            .map(|_| {
                let mut waited = 0.0;
                let mut again = LEAST_RTO + asked.round_trip;
                while waited < 20.0 && rng.f64() < lost {
                    waited += again;
                    again *= 2.0;
                }
                waited + asked.answer * (ANSWER_SPREAD * gauss(rng)).exp() + asked.round_trip
            })
            .collect();
        median(&mut times).map(|time| time + pause)
    }

    fn kernel(&mut self, asked: &Asked, weather: &Weather, rng: &mut Rng, signals: &mut Signals) {
        let gone = weather.dead_for.is_some() || weather.unreachable_for.is_some() || asked.refusing;
        let sockets = if gone { 0 } else { signals.started.min(4).max(asked.checks) };
        // Of what we send a third carries data, and is sent again when it or its answer is lost.
        let sent = 3 * (signals.started + signals.answers) + 4 * signals.connects;
        // A refusal is an answer: nothing is sent again.
        let lost = if gone && !asked.refusing { 1.0 } else { (2.0 * weather.loss).min(0.9) };
        let mut again = binomial(rng, sent, lost / 3.0 + 5e-4);
        if rng.f64() < 1e-3 && sent > 0 {
            again += rng.u32(1..=4);
        }
        signals.segments = Segments { sent: sent + again, retransmitted: again };
        if sockets == 0 {
            return;
        }
        // RFC 6298: an eighth of each new sample.
        let kept = 0.875_f64.powi((signals.started + 2 * signals.connects).min(50) as i32);
        self.smoothed = self.smoothed * kept + asked.round_trip * (1.0 - kept);
        let spread = 0.15 / f64::from(sockets).sqrt();
        let rtt = self.smoothed * (spread * gauss(rng)).exp();
        signals.kernel = Some(Kernel { rtt: seconds(rtt), samples: sockets });
    }
}

impl Drift {
    fn new(memory: f64, spread: f64) -> Self {
        Self { value: 0.0, memory, spread }
    }

    fn step(&mut self, rng: &mut Rng) {
        let fresh = self.spread * (1.0 - self.memory * self.memory).sqrt();
        self.value = self.value * self.memory + fresh * gauss(rng);
    }
}

pub fn label(text: &str) -> Label {
    Label::parse(text).unwrap()
}

pub fn zone_name(zone: usize) -> Label {
    label(&format!("use1-az{}", zone + 1))
}

pub fn cell_name(cell: usize) -> Label {
    label(&format!("cell-{:02}", cell + 1))
}

pub fn place(cell: usize, zone: usize, number: usize) -> Place {
    let endpoint: Arc<str> = format!("10.{}.{}.{}:443", zone + 1, cell + 1, number + 10).into();
    Place { cell: cell_name(cell), zone: Some(zone_name(zone)), endpoint }
}

pub fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.max(0.0))
}

pub fn log_uniform(rng: &mut Rng, low: f64, high: f64) -> f64 {
    (low.ln() + rng.f64() * (high / low).ln()).exp()
}

/// Box and Muller.
fn gauss(rng: &mut Rng) -> f64 {
    (-2.0 * rng.f64().max(1e-12).ln()).sqrt() * (TAU * rng.f64()).cos()
}

fn poisson(rng: &mut Rng, mean: f64) -> u32 {
    if mean > 20.0 {
        return (mean + mean.sqrt() * gauss(rng)).round().max(0.0) as u32;
    }
    let (least, mut product, mut count) = ((-mean).exp(), rng.f64(), 0);
    while product > least {
        product *= rng.f64();
        count += 1;
    }
    count
}

fn binomial(rng: &mut Rng, of: u32, share: f64) -> u32 {
    let mean = f64::from(of) * share;
    if of <= 16 {
        return (0..of).filter(|_| rng.f64() < share).count() as u32;
    }
    if mean < 10.0 {
        return poisson(rng, mean).min(of);
    }
    let spread = (mean * (1.0 - share)).max(0.0).sqrt();
    (mean + spread * gauss(rng)).round().clamp(0.0, f64::from(of)) as u32
}

fn median(times: &mut [f64]) -> Option<f64> {
    times.sort_by(f64::total_cmp);
    times.get(times.len().saturating_sub(1) / 2).copied()
}
