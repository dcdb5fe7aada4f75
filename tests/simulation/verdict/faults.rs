//! What can go wrong, and what that does to one endpoint in one second.

use fastrand::Rng;

use super::network::Endpoint;

/// Whom a fault meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Whom {
    All,
    Zone(usize),
    /// Every second endpoint of a zone.
    HalfOfZone(usize),
    Cell(usize),
    /// By its place in the list.
    Endpoint(usize, usize, usize),
}

/// What it does to them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// Seconds more on the way.
    Delay(f64),
    /// Share of packets lost, each way.
    Loss(f64),
    /// Both at once, as a congested gateway does.
    Congestion(f64, f64),
    /// Only a share of the flows meet the lossy link (ECMP hashes them): share, loss.
    PartialLoss(f64, f64),
    /// The host is gone: packets vanish.
    Dead,
    /// The process is gone: connections are refused.
    Refuses,
    /// There is no way to it, all connections end.
    Unreachable,
    /// Answers so many times slower.
    Slow(f64),
    /// Share of requests failed by the application.
    Fails(f64),
    /// Share of requests answered 502 to 504.
    Gateway(f64),
    /// Takes everything, answers nothing.
    Hangs,
    /// The application stops for so long, every few seconds.
    Collects(f64),
    /// So many times the requests. No fault.
    Burst(f64),
    /// This process sleeps so long, every few seconds, all of it.
    Stalls(f64),
    /// The threads that serve requests do, that which judges does not.
    WorkersStall(f64),
}

#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub whom: Whom,
    pub what: What,
    /// First second of it, and first without.
    pub from: u64,
    pub until: u64,
}

/// What all faults together do to one endpoint.
#[derive(Clone, Debug)]
pub struct Weather {
    pub delay: f64,
    pub loss: f64,
    pub dead_for: Option<u64>,
    pub unreachable_for: Option<u64>,
    pub refuses: bool,
    pub slow: f64,
    pub slow_for: Option<u64>,
    pub failing: f64,
    pub gateway: bool,
    pub silent: bool,
    pub silent_for: Option<u64>,
    pub pause: f64,
    pub burst: f64,
    /// How long the threads of this process that serve have slept in this second.
    pub stall: f64,
}

/// How long this process has slept in a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stall {
    pub workers: f64,
    pub judge: f64,
}

impl Weather {
    pub fn stall(faults: &[Fault], second: u64, rng: &mut Rng) -> Stall {
        let mut stall = Stall::default();
        for fault in faults.iter().filter(|fault| fault.holds(second)) {
            match fault.what {
                // One second in three.
                What::Stalls(length) if rng.u8(0..3) == 0 => stall = Stall { workers: length, judge: length },
                // Threads that have too much to do have it all the time.
                What::WorkersStall(length) => stall.workers = length * (0.5 + rng.f64()),
                _ => {}
            }
        }
        stall
    }

    pub fn of(faults: &[Fault], endpoint: &Endpoint, second: u64, stall: f64) -> Self {
        let mut weather = Self { stall, ..Self::fair() };
        for fault in faults.iter().filter(|fault| fault.holds(second) && fault.meets(endpoint)) {
            weather.add(fault.what, second - fault.from);
        }
        weather
    }

    fn fair() -> Self {
        Self {
            delay: 0.0,
            loss: 0.0,
            dead_for: None,
            unreachable_for: None,
            refuses: false,
            slow: 1.0,
            slow_for: None,
            failing: 0.0,
            gateway: false,
            silent: false,
            silent_for: None,
            pause: 0.0,
            burst: 1.0,
            stall: 0.0,
        }
    }

    fn add(&mut self, what: What, passed: u64) {
        match what {
            What::Delay(delay) => self.delay += delay,
            What::Loss(loss) => self.loss = self.loss.max(loss),
            What::Congestion(delay, loss) => {
                self.delay += delay;
                self.loss = self.loss.max(loss);
            }
            What::PartialLoss(share, loss) => self.loss = self.loss.max(share * loss),
            What::Dead => self.dead_for = Some(passed),
            What::Refuses => self.refuses = true,
            What::Unreachable => {
                self.unreachable_for = Some(passed);
                self.silent = true;
                self.silent_for = Some(passed);
            }
            What::Slow(factor) => {
                self.slow = factor;
                self.slow_for = Some(passed);
            }
            What::Fails(share) => self.failing = share,
            What::Gateway(share) => {
                self.failing = share;
                self.gateway = true;
            }
            What::Hangs => {
                self.silent = true;
                self.silent_for = Some(passed);
            }
            What::Collects(pause) if passed.is_multiple_of(20) => self.pause = pause,
            What::Burst(times) => self.burst = times,
            What::Collects(_) | What::Stalls(_) | What::WorkersStall(_) => {}
        }
    }

    /// How long something that this process measured on its own clock had to wait for the process.
    pub fn stalled(&self, rng: &mut Rng) -> f64 {
        if self.stall > 0.0 { self.stall * rng.f64() } else { 0.0 }
    }
}

impl Fault {
    fn holds(&self, second: u64) -> bool {
        (self.from..self.until).contains(&second)
    }

    fn meets(&self, endpoint: &Endpoint) -> bool {
        match self.whom {
            Whom::All => true,
            Whom::Zone(zone) => endpoint.zone == zone,
            Whom::HalfOfZone(zone) => endpoint.zone == zone && endpoint.place.endpoint.ends_with("10:443"),
            Whom::Cell(cell) => endpoint.cell == cell,
            Whom::Endpoint(cell, zone, number) => endpoint.place == super::network::place(cell, zone, number),
        }
    }
}
