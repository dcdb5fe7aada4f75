//! All that is remembered of one endpoint, and what it comes to in this second.

use std::time::Duration;

use super::super::super::moment::Moment;
use super::baseline::{Kind, Usual};
use super::series::{Counted, Shares, State, Timed};
use super::signals::{Place, Signals};

/// Times of the network: a deviation is at least 5 % or 2 ms, and what matters twice as long and 5 ms, or 15 ms:
/// microbursts do less. A new round trip is the new normal after twelve hours: the incident of 4 February 2026 took
/// two, and a moved endpoint can be acknowledged.
const NETWORK: Kind = Kind {
    floor_share: 0.05,
    floor: Duration::from_millis(2),
    matters_share: 1.0,
    matters: Duration::from_millis(5),
    matters_always: Duration::from_millis(15),
    full: 4,
    patience: Duration::from_secs(12 * 3_600),
};

/// Times of the application: a deviation is at least 70 % or 5 ms. Applications are a third slower after a deployment
/// or in the afternoon, which is half a deviation and adds up to nothing. What matters is more than twice as long, and
/// 10 ms. Six hours are longer than anybody leaves a cell like that.
const APPLICATION: Kind = Kind {
    floor_share: 0.7,
    floor: Duration::from_millis(5),
    matters_share: 1.2,
    matters: Duration::from_millis(10),
    matters_always: Duration::from_secs(60),
    full: 16,
    patience: Duration::from_secs(6 * 3_600),
};

/// Retransmitted segments: between 0.2 % and 1 % is what good paths have; five times that, and at least a point, is
/// not.
const RETRANSMITTED: Shares = Shares { least: 0.002, most: 0.01, times: 5.0, more: 0.01, matters: 0.01 };

/// Connections that get no reply: one in a hundred is bad luck.
const UNREACHABLE: Shares = Shares { least: 0.01, most: 0.05, times: 5.0, more: 0.25, matters: 0.2 };

/// Failed requests. The sum grows where more than about a tenth fails: an account whose integration fails is no sick
/// cell, and what fails a tenth of everything is not well, however long it has done so.
const FAILED: Shares = Shares { least: 0.005, most: 0.05, times: 3.0, more: 0.4, matters: 0.15 };

/// What fails a third of everything is down: no integration of a single account does that to an endpoint.
const DOWN: f64 = 0.3;

/// Over how many seconds the rate of requests is averaged, against which those that wait are held.
const RATE_SECS: f64 = 10.0;

/// An endpoint over time.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Which.
    pub place: Place,
    /// Its cell and zone, numbered.
    pub cell: usize,
    /// `None` where the configuration says no zone.
    pub zone: Option<usize>,
    /// When it was last in the configuration.
    pub seen: Moment,
    round_trip: Timed,
    connect: Timed,
    tls: Timed,
    first_byte: Timed,
    wait: Timed,
    retransmitted: Counted,
    unreachable: Counted,
    failed: Counted,
    rate: f64,
}

/// What an endpoint is like at present.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Which.
    pub place: &'a Place,
    /// Its cell and zone, numbered.
    pub cell: usize,
    /// `None` where the configuration says no zone.
    pub zone: Option<usize>,
    /// Round trip as the kernel sees it: on no clock of ours.
    pub round_trip: State,
    /// Retransmissions, and connections that got no reply.
    pub lost: State,
    /// Time to connect: of the network, on our clock.
    pub connect: State,
    /// First byte, TLS, and requests that wait: of the application, on our clock.
    pub answer: State,
    /// Requests that failed.
    pub failed: State,
    /// Present against usual: the kernel's round trip, the first byte.
    pub times: [f64; 2],
    /// Present shares: retransmitted, unreachable, failed.
    pub shares: [f64; 3],
}

/// What a restart must not forget of an endpoint: a restart in the middle of an outage would learn the outage.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedEndpoint {
    /// Which.
    pub place: Place,
    /// Kernel's round trip, connect, TLS, first byte, waiting.
    pub times: [Usual; 5],
    /// Retransmitted, unreachable, failed.
    pub shares: [f64; 3],
}

impl Endpoint {
    /// One that nothing is known of, or what was saved.
    pub fn new(
        place: Place,
        cell: usize,
        zone: Option<usize>,
        saved: Option<&SavedEndpoint>,
        now: Moment,
    ) -> Self {
        let [round_trip, connect, tls, first_byte, wait] = saved.map(|saved| saved.times).unwrap_or_default();
        let [retransmitted, unreachable, failed] = saved.map(|saved| saved.shares).unwrap_or_default();
        Self {
            place,
            cell,
            zone,
            seen: now,
            round_trip: Timed::restored(round_trip),
            connect: Timed::restored(connect),
            tls: Timed::restored(tls),
            first_byte: Timed::restored(first_byte),
            wait: Timed::restored(wait),
            retransmitted: Counted::restored(retransmitted),
            unreachable: Counted::restored(unreachable),
            failed: Counted::restored(failed),
            rate: 0.0,
        }
    }

    /// For a restart.
    pub fn saved(&self) -> SavedEndpoint {
        let times = [&self.round_trip, &self.connect, &self.tls, &self.first_byte, &self.wait];
        let shares = [&self.retransmitted, &self.unreachable, &self.failed];
        SavedEndpoint {
            place: self.place.clone(),
            times: times.map(Timed::usual),
            shares: shares.map(Counted::usual),
        }
    }

    /// Takes in a second. `awake` says that this process did not sleep in it: what was measured on our clock while it
    /// did says how long it slept. `settles` is as in [`Timed::step`].
    pub fn step(&mut self, signals: &Signals, awake: bool, settles: bool, now: Moment) {
        self.seen = now;
        let kernel = signals.kernel;
        self.round_trip.step(kernel.map(|k| k.rtt), kernel.map_or(0, |k| k.samples), &NETWORK, settles, now);
        let segments = signals.segments;
        self.retransmitted.step(segments.retransmitted, segments.sent, &RETRANSMITTED, now);
        let failures = signals.failures;
        self.unreachable.step(failures.unreachable, signals.connects, &UNREACHABLE, now);
        self.failed.step(failures.of_endpoint(), signals.ended.max(failures.refused), &FAILED, now);
        self.rate += (f64::from(signals.started) - self.rate) / RATE_SECS;
        if awake {
            self.connect.step(signals.connect_time, signals.connects, &NETWORK, settles, now);
            self.tls.step(signals.tls_time, signals.connects, &APPLICATION, settles, now);
            self.first_byte.step(signals.first_byte, signals.answers, &APPLICATION, settles, now);
            self.wait.step(self.waited(signals), APPLICATION.full, &APPLICATION, settles, now);
        }
    }

    /// How long those that wait will have waited, by Little's law: how many there are over how many come in a second.
    /// One more of each, so that it exists for quiet endpoints and moves little there.
    fn waited(&self, signals: &Signals) -> Option<Duration> {
        if signals.started + signals.ended + signals.waiting == 0 {
            return None;
        }
        // A burst has begun before its average is known, and must not look like a queue.
        let rate = self.rate.max(f64::from(signals.started));
        Some(Duration::from_secs_f64((f64::from(signals.waiting) + 1.0) / (rate + 1.0)))
    }

    /// What it comes to.
    pub fn row(&self, now: Moment) -> Row<'_> {
        let times = [&self.first_byte, &self.wait, &self.tls].map(|time| time.state(&APPLICATION, now));
        Row {
            place: &self.place,
            cell: self.cell,
            zone: self.zone,
            round_trip: self.round_trip.state(&NETWORK, now),
            lost: self
                .retransmitted
                .state(&RETRANSMITTED, now)
                .max(self.unreachable.state(&UNREACHABLE, now)),
            connect: self.connect.state(&NETWORK, now),
            answer: times.into_iter().max().unwrap_or_default(),
            failed: self.failed.state(&FAILED, now),
            times: [self.round_trip.factor(), self.first_byte.factor()],
            shares: [self.retransmitted.present(), self.unreachable.present(), self.failed.present()],
        }
    }
}

impl Row<'_> {
    /// Its way: everything about packets. What only our own clock says is left out where that is not to be `trusted`.
    pub fn network(&self, trusted: bool) -> State {
        let connect = if trusted { self.connect } else { State::Unknown };
        self.round_trip.max(self.lost).max(connect)
    }

    /// Whether so much of what is asked of it fails that it needs no other witness.
    pub fn is_down(&self) -> bool {
        let [_, unreachable, failed] = self.shares;
        unreachable.max(failed) >= DOWN
    }

    /// Its application.
    pub fn application(&self, trusted: bool) -> State {
        let answer = if trusted { self.answer } else { State::Unknown };
        self.failed.max(answer)
    }
}
