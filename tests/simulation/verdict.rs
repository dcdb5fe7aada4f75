//! Sick cell or sick network: traffic and a network that produce what a proxy would see, faults scripted into them,
//! and what the detector must say of each.

mod faults;
mod network;
mod scripts;

use std::collections::BTreeMap;
use std::time::Duration;

use cellgate::policy::moment::Moment;
use cellgate::policy::protection::verdict::signals::{Segments, Signals};
use cellgate::policy::protection::verdict::{Detector, Held, Verdict};
use fastrand::Rng;
use faults::{Fault, What, Whom};
use network::{DAY, Layout, Network};
use scripts::Script;

/// Worlds of an ordinary run, in each of which all scripts are played: 245 scenarios.
const WORLDS: u64 = 7;

/// The same of a long one.
const WORLDS_LONG: u64 = 40;

/// Seconds that the detector has seen of peace before something happens.
const BEFORE: u64 = 1_200;

/// How long a fault lasts.
const LASTS: u64 = 60;

/// A verdict about an endpoint stands for a minute after it was down, and a sum takes half a minute to fall.
const REMEMBERED: u64 = 120;

/// A network, and what has watched it.
#[derive(Clone)]
struct Watched {
    network: Network,
    detector: Detector,
}

impl Watched {
    fn new(seed: u64, layout: Layout) -> Self {
        let mut watched = Self { network: Network::new(seed, layout), detector: Detector::default() };
        (0..BEFORE).for_each(|_| watched.step());
        watched
    }

    fn step(&mut self) {
        let (signals, process) = self.network.step();
        let now = Moment::START + Duration::from_secs(self.network.second);
        self.detector.step(&signals, process, now);
    }

    /// What stands, but for endpoints that really have been down.
    fn said(&self) -> Vec<Verdict> {
        let held = self.detector.verdicts().held().iter().map(|held| held.verdict.clone());
        let was_down = |verdict: &Verdict| match verdict {
            Verdict::Endpoint(place) => self.network.was_down(place, REMEMBERED),
            _ => false,
        };
        held.filter(|verdict| !was_down(verdict)).collect()
    }
}

/// How a scenario went.
struct Played {
    right: bool,
    /// Seconds from the beginning of the fault until all that is expected stood.
    after: Option<u64>,
    said: String,
    /// What stood at the end, with its evidence.
    why: Vec<String>,
}

fn play(script: &Script, mut watched: Watched) -> Played {
    let from = watched.network.second + 10;
    let until = from + LASTS;
    let fault = |(whom, what): &(Whom, What)| Fault { whom: *whom, what: *what, from, until };
    watched.network.faults = script.faults.iter().map(fault).collect();
    let (mut after, mut wrong) = (None, Vec::new());
    while watched.network.second < until - 1 {
        watched.step();
        let said = watched.said();
        let all = script.expect.iter().all(|verdict| said.contains(verdict));
        if all && !script.expect.is_empty() && watched.network.second >= from {
            after = after.or(Some(watched.network.second + 1 - from));
        }
        wrong.extend(said.into_iter().filter(|verdict| is_wide(verdict) && !script.expect.contains(verdict)));
    }
    let mut said = watched.said();
    said.sort();
    let mut expect = script.expect.clone();
    expect.sort();
    let kinds = |verdicts: &[Verdict]| {
        let kinds: Vec<&str> = verdicts.iter().map(Verdict::as_str).collect();
        if kinds.is_empty() { "clear".to_owned() } else { kinds.join(" + ") }
    };
    wrong.dedup();
    let before = if wrong.is_empty() { String::new() } else { format!(", wrong before: {}", kinds(&wrong)) };
    let elsewhere = if kinds(&said) == kinds(&expect) && said != expect { " elsewhere" } else { "" };
    let held = watched.detector.verdicts().held();
    let since = |held: &Held| held.since.since(Moment::START).as_secs() as i64 - from as i64;
    let why = |held: &Held| format!("\n    {:+} s {}: {}", since(held), held.verdict, held.evidence);
    Played {
        why: held.iter().filter(|held| !expect.contains(&held.verdict)).map(why).collect(),
        right: said == expect && wrong.is_empty(),
        after,
        said: format!("{}{elsewhere}{before}", kinds(&said)),
    }
}

/// Verdicts that move load or freeze everything: a wrong one is an outage of our own making.
fn is_wide(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Proxy | Verdict::Path | Verdict::Zone(_))
}

fn is_long() -> bool {
    std::env::var("CELLGATE_TEST_LONG").is_ok_and(|value| value == "1")
}

#[test]
fn scripted_faults_are_told_apart() {
    let worlds = if is_long() { WORLDS_LONG } else { WORLDS };
    // As for the other simulations: one seed, to look at.
    let one: Option<u64> = std::env::var("CELLGATE_SIM_SEED").ok().map(|text| text.parse().unwrap());
    let seeds = one.map_or(0..worlds, |seed| seed..seed + 1);
    let mut table: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    let (mut times, mut right, mut all, mut wrong) = (Vec::new(), 0, 0, Vec::new());
    let mut by_script: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for seed in seeds {
        let mut rng = Rng::with_seed(1_000 + seed);
        let mut warm: Vec<(Layout, Watched)> = Vec::new();
        for (number, script) in scripts::all(&mut rng).iter().enumerate() {
            let known = warm.iter().position(|(layout, _)| *layout == script.layout);
            let known = known.unwrap_or_else(|| {
                let begins = (script.layout.begins + seed * DAY / worlds) % DAY;
                warm.push((script.layout, Watched::new(seed, Layout { begins, ..script.layout })));
                warm.len() - 1
            });
            let mut watched = warm[known].1.clone();
            watched.network.reseed(seed * 1_000 + number as u64);
            let played = play(script, watched);
            all += 1;
            right += usize::from(played.right);
            if !played.right {
                let why = played.why.concat();
                wrong.push(format!("seed {seed}: {}: {} {:?}{why}", script.name, played.said, script.faults));
            }
            *table.entry(script.name).or_default().entry(played.said).or_default() += 1;
            if !script.expect.is_empty() {
                // What was never found counts as late.
                let after = played.after.unwrap_or(u64::MAX);
                times.push(after);
                by_script.entry(script.name).or_default().push(after);
            }
        }
    }
    for (script, said) in &table {
        let times = by_script.get_mut(script).map(|times| (quantile(times, 0.5), quantile(times, 0.95)));
        eprintln!("{script:32} {times:?} {said:?}");
    }
    eprintln!("{}", wrong.join("\n"));
    let (median, p95) = (quantile(&mut times, 0.5), quantile(&mut times, 0.95));
    eprintln!("{right} of {all} right, median {median} s, 95 % within {p95} s");
    if one.is_some() {
        return;
    }
    assert!(all >= 200, "only {all} scenarios");
    assert!(right as f64 >= 0.95 * all as f64, "{right} of {all}");
    assert!(median <= 10 && p95 <= 20, "median {median} s, p95 {p95} s");
}

/// While it lasts and until it is taken back it means to others what it should, and its end looks like nothing else.
#[test]
fn what_is_over_is_taken_back_and_nothing_is_said_on_the_way() {
    let faults = [
        (Whom::All, What::Delay(0.05), Verdict::Path),
        (Whom::All, What::Loss(0.2), Verdict::Path),
        (Whom::All, What::WorkersStall(0.4), Verdict::Proxy),
        (Whom::Zone(1), What::Delay(0.05), Verdict::Zone(network::zone_name(1))),
        (Whom::Zone(1), What::Loss(0.2), Verdict::Zone(network::zone_name(1))),
    ];
    for seed in 0..2 {
        let warm = Watched::new(500 + seed, Layout::USUAL);
        for (whom, what, expect) in &faults {
            let mut watched = warm.clone();
            let from = watched.network.second + 10;
            let until = from + LASTS;
            watched.network.faults = vec![Fault { whom: *whom, what: *what, from, until }];
            let mut last = None;
            while watched.network.second < until + CLEARED {
                watched.step();
                let said = watched.said();
                let here = format!(
                    "seed {seed}, {whom:?} {what:?}, second {}: {said:?}",
                    watched.network.second as i64 - from as i64
                );
                assert!(!said.iter().any(|verdict| is_wide(verdict) && verdict != expect), "{here}");
                if said.contains(expect) {
                    last = Some(watched.network.second);
                    means(&watched, expect, &here);
                }
            }
            let last = last.expect("it is found");
            assert!(
                (until + 50..until + CLEARED).contains(&last),
                "{whom:?} {what:?}: {last}, over at {until}"
            );
        }
    }
}

/// A minute after it was found last, and what was summed up has gone by half a minute after the end.
const CLEARED: u64 = 120;

/// What a verdict means for each endpoint.
fn means(watched: &Watched, verdict: &Verdict, here: &str) {
    let verdicts = watched.detector.verdicts();
    for endpoint in &watched.network.endpoints {
        let place = &endpoint.place;
        let zone = place.zone.clone().unwrap();
        let everywhere = matches!(verdict, Verdict::Path | Verdict::Proxy);
        let in_it = everywhere || *verdict == Verdict::Zone(zone.clone());
        assert_eq!(verdicts.freezes(place), in_it, "{here}");
        assert!(!everywhere || !verdicts.retries_allowed(&place.cell), "{here}");
        assert_eq!(verdicts.evacuate(&zone), in_it && !everywhere, "{here}");
    }
}

#[test]
fn a_clean_day_has_no_sick_zone_and_no_sick_path() {
    let seconds = if is_long() { DAY } else { 4 * 3_600 };
    let mut watched = Watched {
        // From the night into the morning, where the day is steepest.
        network: Network::new(77, Layout { begins: 4 * 3_600, ..Layout::USUAL }),
        detector: Detector::default(),
    };
    let mut said: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..seconds {
        watched.step();
        for change in watched.detector.changes().iter().filter(|change| change.said) {
            *said.entry(change.verdict.as_str()).or_default() += 1;
            let down = match &change.verdict {
                Verdict::Endpoint(place) => watched.network.was_down(place, REMEMBERED),
                _ => false,
            };
            *said.entry("was_down").or_default() += usize::from(down);
            assert!(
                !is_wide(&change.verdict),
                "seed 77, second {}: {}: {}",
                watched.network.second,
                change.verdict,
                change.evidence
            );
        }
    }
    eprintln!("{seconds} s: {said:?}");
}

fn quantile(times: &mut [u64], share: f64) -> u64 {
    times.sort_unstable();
    times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1]
}

/// A model that does not show its faults would prove nothing of a detector.
#[test]
fn faults_are_seen_in_what_is_measured_and_elsewhere_nothing() {
    let fault = |what, whom| Fault { whom, what, from: 300, until: 400 };
    let mean =
        |what: What, of: &dyn Fn(&network::Endpoint) -> bool, value: &dyn Fn(&Signals) -> Option<f64>| {
            let mut network = Network::new(1, Layout::USUAL);
            network.faults.push(fault(what, Whom::Zone(1)));
            let (mut before, mut during) = (Mean::default(), Mean::default());
            for second in 1..400 {
                let (signals, _) = network.step();
                let into = if second < 300 { &mut before } else { &mut during };
                for (signals, endpoint) in signals.iter().zip(&network.endpoints) {
                    if of(endpoint) {
                        into.add(value(signals));
                    }
                }
            }
            (before.value(), during.value())
        };
    let inside = |endpoint: &network::Endpoint| endpoint.zone == 1;
    let outside = |endpoint: &network::Endpoint| endpoint.zone != 1;
    let rtt = |signals: &Signals| signals.kernel.map(|kernel| kernel.rtt.as_secs_f64());
    let retransmitted = |signals: &Signals| {
        let Segments { sent, retransmitted } = signals.segments;
        (sent > 0).then(|| f64::from(retransmitted) / f64::from(sent))
    };
    let (before, during) = mean(What::Delay(0.02), &inside, &rtt);
    assert!(before < 0.01 && (0.018..0.03).contains(&(during - before)), "{before} {during}");
    let (before, during) = mean(What::Delay(0.02), &outside, &rtt);
    assert!((during / before - 1.0).abs() < 0.2, "{before} {during}");
    let (before, during) = mean(What::Loss(0.05), &inside, &retransmitted);
    assert!(before < 0.003 && (0.02..0.05).contains(&during), "{before} {during}");
    let (before, during) = mean(What::Loss(0.05), &outside, &retransmitted);
    assert!(before < 0.003 && during < 0.003, "{before} {during}");
    let first_byte = |signals: &Signals| signals.first_byte.map(|time| time.as_secs_f64());
    let (before, during) = mean(What::Slow(4.0), &inside, &first_byte);
    assert!((2.0..5.0).contains(&(during / before)), "{before} {during}");
}

#[derive(Default)]
struct Mean(f64, f64);

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.0 += value;
            self.1 += 1.0;
        }
    }

    fn value(&self) -> f64 {
        self.0 / self.1.max(1.0)
    }
}
