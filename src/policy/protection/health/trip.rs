//! What takes an endpoint out, of what requests see of it: five rules on one set of numbers. Two of them look at runs,
//! which find what is dead within a few requests; two at shares, for a run never comes where every second request
//! fails; one at latency. Whether it may be taken out is not asked here.
//!
//! Nothing here is a standard deviation over endpoints: among n of them the furthest outlier has at most sqrt(n - 1),
//! so that Envoy's 1.9 never fires below five. Medians and ratios work with two.

use std::time::Duration;

use super::transition::Reason;

/// Thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct TripRules {
    /// So many attempts in a row without an answer; more where failures are usual.
    pub local_run: u32,
    /// So many answers of a gateway in a row; more where failures are usual.
    pub gateway_run: u32,
    /// Of at least so many requests in ten seconds...
    pub failing_requests: u64,
    /// ... this share has failed, whatever the siblings do.
    pub failing_share: f64,
    /// Of at least so many requests in ten seconds...
    pub worse_requests: u64,
    /// ... this share has failed...
    pub worse_share: f64,
    /// ... and it is so many times the share of the siblings...
    pub worse_factor: f64,
    /// ... and so much more.
    pub worse_margin: f64,
    /// The median of three seconds is so many times that of the siblings...
    pub slow_factor: f64,
    /// ... and at least so much more...
    pub slow_margin: Duration,
    /// ... and so many times what is usual for this endpoint.
    pub slow_over_usual: f64,
    /// So many accounts must have failed, where an account may be the cause.
    pub accounts: u32,
}

/// Envoy's, Finagle's and HAProxy's order of magnitude. A dead process is out after five requests.
const LOCAL_RUN: u32 = 5;

/// Twice that: behind a gateway are several, and one that restarts answers 502 for a moment.
const GATEWAY_RUN: u32 = 10;

/// A share of fewer is chance: ten of twenty happen once in 100,000 where a tenth fails.
const FAILING_REQUESTS: u64 = 20;

/// Every second one: a client that repeats once still fails every fourth time.
const FAILING_SHARE: f64 = 0.5;

/// What is compared with others needs more.
const WORSE_REQUESTS: u64 = 50;

/// Below a fifth a retry hides it, and an ejection costs more than it saves.
const WORSE_SHARE: f64 = 0.2;

/// Three times, and five of a hundred for siblings that fail next to never.
const WORSE_FACTOR: f64 = 3.0;

/// See there.
const WORSE_MARGIN: f64 = 0.05;

/// What is half as fast as its siblings, for nobody asks it for other things than them.
const SLOW_FACTOR: f64 = 2.0;

/// What people feel, and what no collection of garbage on an idle endpoint makes of 2 ms.
const SLOW_MARGIN: Duration = Duration::from_millis(50);

/// An endpoint in a farther zone is always slower, and no less well for it.
const SLOW_OVER_USUAL: f64 = 3.0;

/// One is its own doing, two may be the same customer's.
const ACCOUNTS: u32 = 3;

/// A run is none if chance makes it as often as this. At a thousand requests a second once in four months.
const CHANCE: f64 = 1e-10;

/// A share is taken of at least so many, so that one failure of two is no sign that failures are usual.
const LEAST_COMPARED: u64 = 20;

/// However usual failures are, a run of 219 is one.
const MOST_USUAL: f64 = 0.9;

/// How sure it must be that an endpoint fails more often than its siblings, in standard deviations of the difference:
/// it is asked ten times a second.
const DEVIATIONS: f64 = 4.0;

impl Default for TripRules {
    fn default() -> Self {
        Self {
            local_run: LOCAL_RUN,
            gateway_run: GATEWAY_RUN,
            failing_requests: FAILING_REQUESTS,
            failing_share: FAILING_SHARE,
            worse_requests: WORSE_REQUESTS,
            worse_share: WORSE_SHARE,
            worse_factor: WORSE_FACTOR,
            worse_margin: WORSE_MARGIN,
            slow_factor: SLOW_FACTOR,
            slow_margin: SLOW_MARGIN,
            slow_over_usual: SLOW_OVER_USUAL,
            accounts: ACCOUNTS,
        }
    }
}

/// All numbers that a decision about an endpoint is made from. Requests are those of the last ten seconds, latencies
/// those of the last three; of an endpoint that is out they are as they were when it went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Requests, without failures that were set aside.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Failures that may be one account's own doing.
    pub set_aside: u64,
    /// Failing accounts, by hash, of 64 at most; without those that found no connection.
    pub accounts: u32,
    /// Attempts in a row without an answer.
    pub local_run: u32,
    /// Attempts in a row without a connection.
    pub unconnected_run: u32,
    /// Answers of a gateway in a row.
    pub gateway_run: u32,
    /// Accounts that these runs are made of, by hash.
    pub run_accounts: u32,
    /// The median time to the first byte, at least.
    pub median: Option<Duration>,
    /// What it usually is here, over an hour.
    pub usual_median: Option<Duration>,
    /// The others of the cell.
    pub siblings: Siblings,
    /// Active checks that failed in a row.
    pub checks_failed: u32,
    /// Active checks that passed in a row.
    pub checks_passed: u32,
}

/// What an endpoint is compared with: the other endpoints of its cell that are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Siblings {
    /// Requests of all of them in ten seconds, without what was set aside.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// The median of their median times to the first byte, at most.
    pub median: Option<Duration>,
}

/// One endpoint, as its siblings see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Whether it is in; others are compared with nobody who is out.
    pub is_up: bool,
    /// Requests of ten seconds, without what was set aside.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Its median time to the first byte over three seconds, at most.
    pub median: Option<Duration>,
}

impl Siblings {
    /// Of all endpoints of a cell but one.
    pub fn of(endpoints: &[Summary], but: usize) -> Self {
        let others = endpoints.iter().enumerate().filter(|(at, other)| *at != but && other.is_up);
        let mut siblings = Self::default();
        let mut medians = Vec::new();
        for (_, other) in others {
            siblings.requests += other.requests;
            siblings.failed += other.failed;
            medians.extend(other.median);
        }
        medians.sort_unstable();
        // Of an even number the middle lies between two.
        let middle = |medians: &[Duration]| {
            Some((*medians.get((medians.len() - 1) / 2)? + *medians.get(medians.len() / 2)?) / 2)
        };
        siblings.median = if medians.is_empty() { None } else { middle(&medians) };
        siblings
    }
}

/// What speaks for taking the endpoint out.
pub fn judge(seen: &Evidence, rules: &TripRules) -> Option<Reason> {
    let usual = usual_share(seen);
    let several = seen.run_accounts >= rules.accounts;
    let local = long_enough(rules.local_run, usual);
    if seen.unconnected_run >= local || seen.local_run >= local && several {
        return Some(Reason::LocalRun);
    }
    if seen.gateway_run >= long_enough(rules.gateway_run, usual) && several {
        return Some(Reason::GatewayRun);
    }
    if seen.requests >= rules.failing_requests && share(seen.failed, seen.requests) >= rules.failing_share {
        return Some(Reason::FailureShare);
    }
    if fails_more(seen, rules) {
        return Some(Reason::WorseThanSiblings);
    }
    slow_limit(seen, rules).filter(|limit| seen.median > Some(*limit)).map(|_| Reason::SlowerThanSiblings)
}

/// Beyond which median an endpoint is slow; `None` where there is nothing to compare it with.
pub(super) fn slow_limit(seen: &Evidence, rules: &TripRules) -> Option<Duration> {
    let siblings = seen.siblings.median?;
    let usual = seen.usual_median?;
    let limits = [
        siblings.mul_f64(rules.slow_factor),
        siblings + rules.slow_margin,
        usual.mul_f64(rules.slow_over_usual),
    ];
    limits.into_iter().max()
}

/// How many in a row are no chance, where this share fails anyway. Where a tenth does, five in a row come every 111,110
/// requests (every two minutes at a thousand a second), and ten come every four months.
fn long_enough(run: u32, usual: f64) -> u32 {
    match usual.clamp(0.0, MOST_USUAL) {
        0.0 => run,
        usual => run.max((CHANCE.ln() / usual.ln()).round() as u32),
    }
}

/// Which share fails anyway: here before the runs began, or at the siblings.
fn usual_share(seen: &Evidence) -> f64 {
    let of_runs = u64::from(seen.local_run) + u64::from(seen.gateway_run);
    let failed = (seen.failed + seen.set_aside).saturating_sub(of_runs);
    let requests = (seen.requests + seen.set_aside).saturating_sub(of_runs);
    let here = share(failed, requests.max(LEAST_COMPARED));
    here.max(share(seen.siblings.failed, seen.siblings.requests.max(LEAST_COMPARED)))
}

fn fails_more(seen: &Evidence, rules: &TripRules) -> bool {
    if seen.requests < rules.worse_requests || seen.siblings.requests < LEAST_COMPARED {
        return false;
    }
    let here = share(seen.failed, seen.requests);
    let there = share(seen.siblings.failed, seen.siblings.requests);
    here >= rules.worse_share
        && here >= rules.worse_factor * there + rules.worse_margin
        && here - there >= DEVIATIONS * deviation(seen)
}

/// Of the difference of both shares, if it were one share (the two-proportion z-test).
fn deviation(seen: &Evidence) -> f64 {
    let all = share(seen.failed + seen.siblings.failed, seen.requests + seen.siblings.requests);
    (all * (1.0 - all) * (1.0 / seen.requests as f64 + 1.0 / seen.siblings.requests as f64)).sqrt()
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Of a busy endpoint that is well, as are its siblings.
    fn well() -> Evidence {
        Evidence {
            requests: 1_000,
            median: Some(40 * MS),
            usual_median: Some(40 * MS),
            siblings: Siblings { requests: 2_000, failed: 0, median: Some(40 * MS) },
            ..Evidence::default()
        }
    }

    fn siblings(requests: u64, failed: u64) -> Siblings {
        Siblings { requests, failed, ..well().siblings }
    }

    fn check(seen: Evidence, expect: Option<Reason>) {
        assert_eq!(judge(&seen, &TripRules::default()), expect, "{seen:?}");
    }

    #[test]
    fn a_run_is_as_long_as_failures_are_usual() {
        let local = |run, unconnected_run, run_accounts| Evidence {
            failed: u64::from(run),
            local_run: run,
            unconnected_run,
            run_accounts,
            ..well()
        };
        let trips = Some(Reason::LocalRun);
        check(local(4, 4, 0), None);
        check(local(5, 5, 0), trips);
        check(local(5, 4, 2), None);
        check(local(5, 0, 3), trips);
        check(Evidence { failed: 0, set_aside: 500, ..local(500, 0, 2) }, None);
        // Where a tenth fails, here or at the siblings, ten.
        for (run, expect) in [(9, None), (10, trips)] {
            check(Evidence { failed: 100 + u64::from(run), ..local(run, run, 0) }, expect);
            check(Evidence { siblings: siblings(2_000, 200), ..local(run, run, 0) }, expect);
        }
        // One of two is no sign that failures are usual.
        check(Evidence { requests: 7, failed: 6, siblings: siblings(2, 1), ..local(5, 5, 0) }, None);
        check(Evidence { requests: 9, failed: 9, siblings: siblings(2, 1), ..local(8, 8, 0) }, trips);
        let gateway =
            |run, run_accounts| Evidence { failed: u64::from(run), gateway_run: run, run_accounts, ..well() };
        check(gateway(9, 9), None);
        check(gateway(10, 2), None);
        check(gateway(10, 3), Some(Reason::GatewayRun));
        check(Evidence { siblings: siblings(2_000, 600), ..gateway(18, 9) }, None);
        check(Evidence { siblings: siblings(2_000, 600), ..gateway(19, 9) }, Some(Reason::GatewayRun));
    }

    #[test]
    fn a_share_is_of_enough_and_above_that_of_the_siblings() {
        let seen = |requests, failed| Evidence { requests, failed, ..well() };
        let half = Some(Reason::FailureShare);
        let worse = Some(Reason::WorseThanSiblings);
        let table = [
            (seen(19, 19), None),
            (seen(20, 10), half),
            (seen(49, 24), None),
            (seen(50, 24), worse),
            (seen(1_000, 499), worse),
            (seen(1_000, 200), worse),
            (seen(1_000, 199), None),
            (Evidence { siblings: siblings(2_000, 100), ..seen(1_000, 201) }, worse),
            (Evidence { siblings: siblings(2_000, 102), ..seen(1_000, 201) }, None),
            // All fail alike: a half is too much whoever else has it.
            (Evidence { siblings: siblings(2_000, 1_000), ..seen(1_000, 499) }, None),
            (Evidence { siblings: siblings(2_000, 1_000), ..seen(1_000, 500) }, half),
            // Nobody to compare it with, or hardly.
            (Evidence { siblings: siblings(0, 0), ..seen(1_000, 400) }, None),
            (Evidence { siblings: siblings(19, 0), ..seen(1_000, 400) }, None),
            (Evidence { siblings: siblings(20, 0), ..seen(50, 10) }, None),
            (Evidence { siblings: siblings(100, 0), ..seen(50, 10) }, worse),
            (Evidence { siblings: siblings(100, 3), ..seen(50, 10) }, None),
        ];
        for (seen, expect) in table {
            check(seen, expect);
        }
    }

    #[test]
    fn slow_is_slower_than_the_siblings_and_than_before() {
        let seen = |median: u32, usual: Option<u32>, siblings: Option<u32>| Evidence {
            median: Some(median * MS),
            usual_median: usual.map(|millis| millis * MS),
            siblings: Siblings { median: siblings.map(|millis| millis * MS), ..well().siblings },
            ..well()
        };
        let slow = Some(Reason::SlowerThanSiblings);
        let table = [
            (seen(121, Some(40), Some(40)), slow),
            (seen(120, Some(40), Some(40)), None),
            (seen(121, Some(41), Some(40)), None),
            (seen(121, Some(40), Some(61)), None),
            (seen(52, Some(1), Some(2)), None),
            (seen(53, Some(1), Some(2)), slow),
            (seen(9_000, None, Some(2)), None),
            (seen(9_000, Some(2), None), None),
        ];
        for (seen, expect) in table {
            check(seen, expect);
        }
        check(Evidence { median: None, ..well() }, None);
    }

    #[test]
    fn siblings_are_those_that_are_in_and_their_median_is_the_middle_one() {
        let of =
            |is_up, failed, millis: u32| Summary { is_up, requests: 100, failed, median: Some(millis * MS) };
        let all = [of(true, 1, 10), of(true, 2, 20), of(false, 99, 5_000), of(true, 3, 60)];
        let check = |but, requests, failed, millis: u32| {
            assert_eq!(
                Siblings::of(&all, but),
                Siblings { requests, failed, median: Some(millis * MS) },
                "{but}"
            );
        };
        check(0, 200, 5, 40);
        check(2, 300, 6, 20);
        assert_eq!(Siblings::of(&all[..1], 0), Siblings::default());
    }
}
