//! Active checks: when one is due, and what its answer means. The connection of its own, the request on it and the
//! limit in time are a shell's; a check never uses a connection of requests, for a pool that is full is no sign of
//! health.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::super::moment::Moment;
use super::HealthRules;

/// Often enough that three failures are a quarter of a minute, seldom enough that 500 endpoints and ten replicas
/// are a thousand checks a second.
const INTERVAL: Duration = Duration::from_secs(5);

/// An endpoint that cannot say in a second that it is well is not.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Each wait is so much shorter or longer, so that replicas that began together do not go on together.
const JITTER: f64 = 0.2;

/// Everything below 400 but for informational ones: HAProxy's and Kubernetes' idea of a passing check.
pub const HTTP_PASSES: RangeInclusive<u16> = 200..=399;

/// Most bytes of a service's name in a gRPC check, so that its length is one byte of protobuf.
pub const MOST_SERVICE: usize = 127;

/// The checks of a cell's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// How an endpoint is checked, and how often.
    pub rules: CheckRules,
    /// For [`HealthRules::fall`]: so many in a row must fail for it to be down.
    pub fall: u32,
    /// For [`HealthRules::rise`]: and so many pass for it to be up.
    pub rise: u32,
}

/// How an endpoint is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRules {
    /// From the beginning of one check to that of the next, on average.
    pub interval: Duration,
    /// For all of it: connection, TLS, request and answer.
    pub timeout: Duration,
    /// What is asked.
    pub kind: CheckKind,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// A connection, with TLS where the endpoint has it.
    Tcp,
    /// `GET` of a path.
    Http {
        /// Path and query.
        path: String,
        /// Statuses of an endpoint that is well.
        passes: Vec<RangeInclusive<u16>>,
    },
    /// `grpc.health.v1.Health/Check` (the gRPC health checking protocol).
    Grpc {
        /// Name of the service; the empty one is the server as a whole.
        service: String,
    },
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckAnswer {
    /// No connection.
    Unconnected,
    /// The connection was there, and broke, or what came was no answer.
    Broken,
    /// Not in time.
    TimedOut,
    /// A connection, and nothing was asked.
    Connected,
    /// A status of HTTP. Of a gRPC check: there was no gRPC in it.
    Status(u16),
    /// `grpc-status` was 0, and this the number of `ServingStatus` in the message.
    Serving(u8),
    /// `grpc-status` was not 0.
    GrpcStatus(u32),
}

/// Whether an endpoint has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckEnd {
    /// It is well.
    Passed,
    /// No connection.
    Unconnected,
    /// No answer.
    Broken,
    /// Not in time.
    TimedOut,
    /// Another status than those of an endpoint that is well.
    Status,
    /// It says of itself that it does not serve, or does not know the service.
    NotServing,
    /// An answer to another question than the one of this check.
    Unexpected,
}

/// `SERVING` of `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING: u8 = 1;

impl Default for Check {
    fn default() -> Self {
        let HealthRules { fall, rise, .. } = HealthRules::default();
        Self { rules: CheckRules::default(), fall, rise }
    }
}

impl Default for CheckRules {
    fn default() -> Self {
        Self { interval: INTERVAL, timeout: TIMEOUT, kind: CheckKind::Tcp }
    }
}

impl CheckKind {
    /// `GET path`, passed with any status of 200 to 399.
    pub fn http(path: impl Into<String>) -> Self {
        Self::Http { path: path.into(), passes: vec![HTTP_PASSES] }
    }

    /// Name in the configuration.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http { .. } => "http",
            Self::Grpc { .. } => "grpc",
        }
    }

    /// What an answer means.
    pub fn judge(&self, answer: CheckAnswer) -> CheckEnd {
        let passed_if = |passed: bool, otherwise| if passed { CheckEnd::Passed } else { otherwise };
        match (self, answer) {
            (_, CheckAnswer::Unconnected) => CheckEnd::Unconnected,
            (_, CheckAnswer::Broken) => CheckEnd::Broken,
            (_, CheckAnswer::TimedOut) => CheckEnd::TimedOut,
            (Self::Tcp, CheckAnswer::Connected) => CheckEnd::Passed,
            (Self::Http { passes, .. }, CheckAnswer::Status(status)) => {
                passed_if(passes.iter().any(|range| range.contains(&status)), CheckEnd::Status)
            }
            (Self::Grpc { .. }, CheckAnswer::Serving(serving)) => {
                passed_if(serving == SERVING, CheckEnd::NotServing)
            }
            (Self::Grpc { .. }, CheckAnswer::GrpcStatus(_)) => CheckEnd::NotServing,
            (Self::Grpc { .. }, CheckAnswer::Status(_)) => CheckEnd::Status,
            (Self::Tcp | Self::Http { .. } | Self::Grpc { .. }, _) => CheckEnd::Unexpected,
        }
    }
}

impl CheckEnd {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Passed,
        Self::Unconnected,
        Self::Broken,
        Self::TimedOut,
        Self::Status,
        Self::NotServing,
        Self::Unexpected,
    ];

    /// Whether it is well.
    pub const fn has_passed(self) -> bool {
        matches!(self, Self::Passed)
    }

    /// Label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Unconnected => "unconnected",
            Self::Broken => "broken",
            Self::TimedOut => "timed_out",
            Self::Status => "status",
            Self::NotServing => "not_serving",
            Self::Unexpected => "unexpected",
        }
    }
}

/// When the checks of one endpoint are due: one at a time, the first somewhere in the first interval, so that a
/// thousand endpoints that a reload brings are not checked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckSchedule {
    next: Moment,
    in_flight: bool,
}

impl CheckSchedule {
    /// From `now` on; `random` is of 0 to 1.
    pub fn new(now: Moment, interval: Duration, random: f64) -> Self {
        Self { next: now + interval.mul_f64(random.clamp(0.0, 1.0)), in_flight: false }
    }

    /// When the next one may begin; one that is in flight is waited for.
    pub const fn next(&self) -> Moment {
        self.next
    }

    /// Whether a check would begin now.
    pub fn is_due(&self, now: Moment) -> bool {
        !self.in_flight && now >= self.next
    }

    /// Begins a check if one is due. Time that was missed (a machine that slept) is not made up for.
    pub fn begin(&mut self, now: Moment, interval: Duration, random: f64) -> bool {
        if !self.is_due(now) {
            return false;
        }
        self.in_flight = true;
        let spread = JITTER * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        self.next = now + interval.mul_f64(1.0 + spread);
        true
    }

    /// The check has ended, or its task has.
    pub const fn end(&mut self) {
        self.in_flight = false;
    }

    /// The interval is another one from now on: the next check is somewhere in the first of it, or where it was if that
    /// is sooner.
    pub fn paced(&mut self, now: Moment, interval: Duration, random: f64) {
        self.next = self.next.min(Self::new(now, interval, random).next);
    }

    /// An endpoint that is out and whose time is over: the next check is its probe, and due within a tenth of the
    /// interval.
    pub fn hurry(&mut self, now: Moment, interval: Duration, random: f64) {
        self.next = self.next.min(now + interval.mul_f64(random.clamp(0.0, 1.0) / 10.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_passes_only_the_check_that_it_answers() {
        let (tcp, http) = (CheckKind::Tcp, CheckKind::http("/healthz"));
        let strict = CheckKind::Http { path: "/".into(), passes: vec![200..=200, 429..=429] };
        let grpc = CheckKind::Grpc { service: String::new() };
        let table = [
            (&tcp, CheckAnswer::Connected, CheckEnd::Passed),
            (&tcp, CheckAnswer::Unconnected, CheckEnd::Unconnected),
            (&tcp, CheckAnswer::TimedOut, CheckEnd::TimedOut),
            (&tcp, CheckAnswer::Status(200), CheckEnd::Unexpected),
            (&http, CheckAnswer::Status(200), CheckEnd::Passed),
            (&http, CheckAnswer::Status(399), CheckEnd::Passed),
            (&http, CheckAnswer::Status(400), CheckEnd::Status),
            (&http, CheckAnswer::Status(101), CheckEnd::Status),
            (&http, CheckAnswer::Status(503), CheckEnd::Status),
            (&http, CheckAnswer::Connected, CheckEnd::Unexpected),
            (&http, CheckAnswer::Serving(1), CheckEnd::Unexpected),
            (&http, CheckAnswer::Broken, CheckEnd::Broken),
            (&strict, CheckAnswer::Status(204), CheckEnd::Status),
            (&strict, CheckAnswer::Status(429), CheckEnd::Passed),
            (&grpc, CheckAnswer::Serving(0), CheckEnd::NotServing),
            (&grpc, CheckAnswer::Serving(1), CheckEnd::Passed),
            (&grpc, CheckAnswer::Serving(2), CheckEnd::NotServing),
            (&grpc, CheckAnswer::Serving(3), CheckEnd::NotServing),
            (&grpc, CheckAnswer::GrpcStatus(5), CheckEnd::NotServing),
            (&grpc, CheckAnswer::GrpcStatus(12), CheckEnd::NotServing),
            (&grpc, CheckAnswer::Status(200), CheckEnd::Status),
            (&grpc, CheckAnswer::Connected, CheckEnd::Unexpected),
        ];
        for (kind, answer, expect) in table {
            assert_eq!(kind.judge(answer), expect, "{kind:?} {answer:?}");
        }
    }

    #[test]
    fn a_thousand_endpoints_are_checked_evenly_and_each_one_at_a_time() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut schedules: Vec<_> =
            (0..1_000).map(|_| CheckSchedule::new(Moment::START, INTERVAL, rng.f64())).collect();
        let mut by_second = [0u32; 60];
        for look in 0..600u64 {
            let now = Moment::START + Duration::from_millis(100 * look);
            for schedule in &mut schedules {
                if schedule.begin(now, INTERVAL, rng.f64()) {
                    assert!(!schedule.begin(now + INTERVAL * 9, INTERVAL, 0.0), "one is in flight");
                    schedule.end();
                    by_second[usize::try_from(look / 10).unwrap_or(0)] += 1;
                }
            }
        }
        assert!(by_second.iter().all(|count| (140..260).contains(count)), "200 a second: {by_second:?}");
    }

    #[test]
    fn what_was_missed_is_not_made_up_for_and_a_probe_is_soon() {
        let mut schedule = CheckSchedule::new(Moment::START, INTERVAL, 1.0);
        assert!(!schedule.begin(Moment::START, INTERVAL, 0.5));
        let late = Moment::START + Duration::from_secs(600);
        assert!(schedule.begin(late, INTERVAL, 0.5));
        schedule.end();
        assert!(!schedule.begin(late, INTERVAL, 0.5));
        assert_eq!(schedule.next(), late + INTERVAL);
        schedule.hurry(late, INTERVAL, 1.0);
        assert_eq!(schedule.next(), late + INTERVAL / 10);
        schedule.hurry(late + INTERVAL, INTERVAL, 1.0);
        assert_eq!(schedule.next(), late + INTERVAL / 10, "never later");
    }

    #[test]
    fn a_shorter_interval_does_not_wait_for_the_end_of_the_longer_one() {
        let long = Duration::from_secs(300);
        let mut schedule = CheckSchedule::new(Moment::START, long, 1.0);
        schedule.paced(Moment::START, INTERVAL, 0.5);
        assert_eq!(schedule.next(), Moment::START + INTERVAL / 2);
        schedule.paced(Moment::START, long, 0.5);
        assert_eq!(schedule.next(), Moment::START + INTERVAL / 2, "never later");
    }
}
