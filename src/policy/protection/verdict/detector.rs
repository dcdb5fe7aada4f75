//! The state between seconds: what is usual for each endpoint, which findings have held for long enough, which verdicts
//! stand.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::super::super::ids::Label;
use super::super::super::moment::Moment;
use super::effects::Verdicts;
use super::endpoint::{Endpoint, Row, SavedEndpoint};
use super::said::{Evidence, Verdict};
use super::signals::{Place, ProcessSignals, Signals};
use super::tree::{Finding, Process, judge, present};

/// A verdict stands so long after it was found last: a network that comes and goes is sick.
pub const CLEARS_AFTER: Duration = Duration::from_secs(60);

/// An endpoint that has left the configuration is remembered so long: a reload may be taken back.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// Of so many verdicts that stand and are not found, the strongest, it is said what is there now: nobody reads more, and each
/// costs a look at all endpoints.
const MOST_PRESENT: usize = 20;

/// More endpoints than this are not looked at: ten times what a router of cells has, and 20 MB.
const MOST_ENDPOINTS: usize = 20_000;

/// Where the task that judges wakes later than this, what was measured on our clock in that second is not learned
/// from, nor held against anybody. A busy machine does it now and then.
const AWAKE: Duration = Duration::from_millis(20);

/// Later than this is a pause that clients feel; so many of them among so many seconds are this proxy being sick.
const ASLEEP: Duration = Duration::from_millis(100);
const PAUSES: usize = 3;
const AMONG: usize = 20;

/// A verdict that was said or taken back.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// About whom.
    pub verdict: Verdict,
    /// Whether it was said, or taken back.
    pub said: bool,
    /// When.
    pub at: Moment,
    /// By what it was said, or by what it was found last.
    pub evidence: Evidence,
}

/// A verdict that stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Who is sick.
    pub verdict: Verdict,
    /// When it was said.
    pub since: Moment,
    /// When it was found last.
    pub found: Moment,
    /// By what it was found last.
    pub evidence: Evidence,
    /// What is there now, where it was not found in the last second.
    pub present: Option<Evidence>,
}

/// Tells who is sick, once a second. Bounded by the number of endpoints, and a second costs in proportion to it.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    endpoints: Vec<Endpoint>,
    index: HashMap<Place, usize>,
    cells: HashMap<Label, usize>,
    zones: HashMap<Label, usize>,
    /// The first second.
    begun: Option<Moment>,
    /// What was saved of endpoints that have not been seen since.
    saved: HashMap<Place, SavedEndpoint>,
    /// How late the last seconds were.
    late: VecDeque<Duration>,
    /// Findings of the second before, and in how many in a row.
    streaks: HashMap<Verdict, u32>,
    verdicts: Verdicts,
    changes: Vec<Change>,
}

impl Detector {
    /// One that goes on with what was usual before a restart. It has no verdicts: what is still wrong is found again
    /// in seconds, because outages were not learned.
    pub fn restored(saved: impl IntoIterator<Item = SavedEndpoint>) -> Self {
        let saved = saved.into_iter().take(MOST_ENDPOINTS).map(|saved| (saved.place.clone(), saved));
        Self { saved: saved.collect(), ..Self::default() }
    }

    /// What a restart must not forget.
    pub fn saved(&self) -> Vec<SavedEndpoint> {
        let unseen = self.saved.values().cloned();
        self.endpoints.iter().map(Endpoint::saved).chain(unseen).collect()
    }

    /// Takes in a second of all endpoints that are in the configuration, each once, and says who is sick.
    pub fn step(&mut self, signals: &[Signals], process: ProcessSignals, now: Moment) -> &Verdicts {
        self.late.push_back(process.late);
        if self.late.len() > AMONG {
            self.late.pop_front();
        }
        let awake = process.late < AWAKE;
        let settles = !self.verdicts.is_wide();
        for signals in signals {
            if let Some(index) = self.known(&signals.place, now) {
                self.endpoints[index].step(signals, awake, settles, now);
            }
        }
        self.forget(now);
        let rows: Vec<Row<'_>> =
            self.endpoints.iter().filter(|e| e.seen == now).map(|endpoint| endpoint.row(now)).collect();
        let (process, cells) = (self.process(), self.cells.len());
        let findings = judge(&rows, cells, self.zones.len(), process);
        let is_left = |held: &&mut Held| !findings.iter().any(|finding| finding.verdict == held.verdict);
        for held in self.verdicts.held.iter_mut().filter(is_left).take(MOST_PRESENT) {
            held.present = Some(present(&rows, cells, process, &held.verdict));
        }
        self.changes.clear();
        self.say(findings, now);
        self.take_back(now);
        self.verdicts.zones = self.zones.len();
        &self.verdicts
    }

    /// What stands.
    pub const fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// What the last step has said and taken back, for the log.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// How many endpoints are remembered.
    pub const fn remembered(&self) -> usize {
        self.endpoints.len()
    }

    fn known(&mut self, place: &Place, now: Moment) -> Option<usize> {
        if let Some(index) = self.index.get(place) {
            return Some(*index);
        }
        if self.endpoints.len() >= MOST_ENDPOINTS {
            return None;
        }
        let cell = number(&mut self.cells, &place.cell);
        let zone = place.zone.as_ref().map(|zone| number(&mut self.zones, zone));
        let saved = self.saved.remove(place);
        self.endpoints.push(Endpoint::new(place.clone(), cell, zone, saved.as_ref(), now));
        self.index.insert(place.clone(), self.endpoints.len() - 1);
        Some(self.endpoints.len() - 1)
    }

    /// Forgets endpoints that have been gone for long, and numbers the others anew.
    fn forget(&mut self, now: Moment) {
        let begun = *self.begun.get_or_insert(now);
        if now.since(begun) > FORGOTTEN_AFTER {
            self.saved.clear();
        }
        let gone = |endpoint: &Endpoint| now.since(endpoint.seen) > FORGOTTEN_AFTER;
        if !self.endpoints.iter().any(gone) {
            return;
        }
        self.endpoints.retain(|endpoint| !gone(endpoint));
        self.index.clear();
        self.cells.clear();
        self.zones.clear();
        for (index, endpoint) in self.endpoints.iter_mut().enumerate() {
            endpoint.cell = number(&mut self.cells, &endpoint.place.cell);
            endpoint.zone = endpoint.place.zone.as_ref().map(|zone| number(&mut self.zones, zone));
            self.index.insert(endpoint.place.clone(), index);
        }
    }

    fn process(&self) -> Process {
        let most = self.late.iter().max().copied().unwrap_or_default();
        Process {
            sleeps: self.late.iter().filter(|late| **late >= ASLEEP).count() >= PAUSES,
            trusted: !self.verdicts.stands(&Verdict::Proxy),
            late_ms: u64::try_from(most.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn say(&mut self, findings: Vec<Finding>, now: Moment) {
        let before = std::mem::take(&mut self.streaks);
        for Finding { verdict, evidence, hold } in findings {
            let streak = before.get(&verdict).map_or(1, |streak| streak.saturating_add(1));
            if let Some(held) = self.verdicts.held.iter_mut().find(|held| held.verdict == verdict) {
                (held.found, held.evidence, held.present) = (now, evidence, None);
            } else if streak >= hold && !self.verdicts.held.iter().any(|held| held.verdict.covers(&verdict)) {
                self.changes.push(Change {
                    verdict: verdict.clone(),
                    said: true,
                    at: now,
                    evidence: evidence.clone(),
                });
                let (since, found, present) = (now, now, None);
                self.verdicts.held.push(Held { verdict: verdict.clone(), since, found, evidence, present });
            }
            self.streaks.insert(verdict, streak);
        }
        self.verdicts.held.sort_by(|a, b| a.verdict.cmp(&b.verdict));
    }

    /// Takes back what was not found for a minute, and what a stronger verdict that was said later covers.
    fn take_back(&mut self, now: Moment) {
        let all = self.verdicts.held.clone();
        let covered = |held: &Held| {
            all.iter().any(|other| {
                let later = other.since >= held.since;
                later && (other.verdict.covers(&held.verdict) || other.verdict.contradicts(&held.verdict))
            })
        };
        let changes = &mut self.changes;
        self.verdicts.held.retain(|held| {
            let stays = now.since(held.found) < CLEARS_AFTER && !covered(held);
            if !stays {
                let Held { verdict, evidence, .. } = held.clone();
                changes.push(Change { verdict, said: false, at: now, evidence });
            }
            stays
        });
    }
}

fn number(numbers: &mut HashMap<Label, usize>, label: &Label) -> usize {
    if let Some(number) = numbers.get(label) {
        return *number;
    }
    let next = numbers.len();
    numbers.insert(label.clone(), next);
    next
}

#[cfg(test)]
mod tests {
    use super::super::said::Sick;
    use super::super::signals::{Kernel, Segments};
    use super::*;

    /// Six cells with an endpoint in each of three zones, without noise.
    #[derive(Clone, Default)]
    struct Fleet {
        detector: Detector,
        second: u64,
    }

    fn place(cell: usize, zone: usize) -> Place {
        let label = |text: String| Label::parse(&text).expect("a label");
        Place {
            cell: label(format!("cell-{cell}")),
            zone: Some(label(format!("zone-{zone}"))),
            endpoint: format!("10.{zone}.{cell}.1:443").into(),
        }
    }

    fn usual(cell: usize, zone: usize) -> Signals {
        let mut signals = Signals::quiet(place(cell, zone));
        (signals.started, signals.ended, signals.answers, signals.waiting) = (10, 10, 10, 1);
        signals.connects = 1;
        signals.connect_time = Some(Duration::from_millis(2));
        signals.tls_time = Some(Duration::from_millis(3));
        signals.kernel = Some(Kernel { rtt: Duration::from_millis(1), samples: 4 });
        signals.segments = Segments { sent: 60, retransmitted: 0 };
        signals.first_byte = Some(Duration::from_millis(100));
        signals
    }

    impl Fleet {
        fn run(&mut self, seconds: u64, like: impl Fn(usize, usize, &mut Signals)) -> &mut Self {
            self.run_late(seconds, Duration::ZERO, like)
        }

        fn run_late(
            &mut self,
            seconds: u64,
            late: Duration,
            like: impl Fn(usize, usize, &mut Signals),
        ) -> &mut Self {
            for _ in 0..seconds {
                self.second += 1;
                let mut all = Vec::new();
                for (cell, zone) in (0..6).flat_map(|cell| (0..3).map(move |zone| (cell, zone))) {
                    let mut signals = usual(cell, zone);
                    like(cell, zone, &mut signals);
                    all.push(signals);
                }
                let process = ProcessSignals { late, cpu: None };
                self.detector.step(&all, process, Moment::START + Duration::from_secs(self.second));
            }
            self
        }

        fn said(&self) -> Vec<Verdict> {
            self.detector.verdicts().held().iter().map(|held| held.verdict.clone()).collect()
        }
    }

    fn zone_away(_: usize, zone: usize, signals: &mut Signals) {
        if zone == 1 {
            signals.kernel = Some(Kernel { rtt: Duration::from_millis(60), samples: 4 });
        }
    }

    fn cell_slow(cell: usize, _: usize, signals: &mut Signals) {
        if cell == 2 {
            signals.first_byte = Some(Duration::from_millis(600));
        }
    }

    fn peace(_: usize, _: usize, _: &mut Signals) {}

    fn zone() -> Verdict {
        Verdict::Zone(Label::parse("zone-1").expect("a label"))
    }

    #[test]
    fn a_verdict_is_said_when_it_has_held_and_stands_for_a_minute_after() {
        let mut fleet = Fleet::default();
        fleet.run(300, peace);
        assert_eq!(fleet.run(4, zone_away).said(), [], "4 s of 4 deviations are certain, and found once");
        assert_eq!(fleet.run(2, zone_away).said(), [zone()]);
        assert_eq!(fleet.run(60, peace).said(), [zone()]);
        assert_eq!(fleet.run(60, peace).said(), []);
    }

    #[test]
    fn a_verdict_that_stands_without_its_reason_says_what_is_there_now() {
        let mut fleet = Fleet::default();
        fleet.run(300, peace).run(40, zone_away);
        assert_eq!(fleet.detector.verdicts().held()[0].present, None, "it is as was found");
        fleet.run(55, peace);
        let held = fleet.detector.verdicts().held()[0].clone();
        let sick = |evidence: &Evidence| (evidence.sick, evidence.heard);
        assert_eq!(sick(&held.evidence), ((6, 0), 6), "when it was found last");
        assert_eq!(held.present.as_ref().map(sick), Some(((0, 0), 6)), "{held:?}");
        let now = Moment::START + Duration::from_secs(fleet.second);
        let last = now.since(held.found);
        assert!(!last.is_zero() && last < CLEARS_AFTER, "{last:?}");
    }

    #[test]
    fn evidence_is_a_sentence() {
        let mut fleet = Fleet::default();
        fleet.run(300, peace).run(40, zone_away);
        let evidence = fleet.detector.verdicts().held()[0].evidence.to_string();
        assert_eq!(
            evidence,
            "6 of 6 endpoints over 6 cells: round trip x 57.5; 0 of 12 others (chance 5e-5)"
        );
    }

    #[test]
    fn a_restart_in_an_outage_knows_what_was_usual() {
        let mut fleet = Fleet::default();
        fleet.run(300, peace).run(3_600, zone_away);
        let saved = fleet.detector.saved();
        let mut blind = Fleet::default();
        assert_eq!(blind.run(600, zone_away).said(), [], "who knows no better learns the outage");
        let mut restored = Fleet { detector: Detector::restored(saved), second: 0 };
        assert_eq!(restored.run(10, zone_away).said(), [zone()]);
    }

    #[test]
    fn an_outage_of_hours_is_not_learned() {
        let mut fleet = Fleet::default();
        fleet.run(300, peace).run(4 * 3_600, cell_slow);
        let slow = Verdict::Cell(Label::parse("cell-2").expect("a label"), Sick::Application);
        assert_eq!(fleet.said(), [slow]);
    }

    #[test]
    fn what_is_measured_while_this_process_sleeps_blames_nobody() {
        let slow = |_: usize, _: usize, signals: &mut Signals| {
            signals.connect_time = Some(Duration::from_millis(400));
            signals.first_byte = Some(Duration::from_millis(600));
        };
        let late = Duration::from_millis(450);
        let mut fleet = Fleet::default();
        assert_eq!(fleet.run(300, peace).run_late(2, late, slow).said(), [], "twice is no verdict");
        assert_eq!(fleet.run_late(1, late, slow).said(), [Verdict::Proxy]);
        // While that stands, what only our clock says is nobody's fault either.
        let zone_late = |_: usize, zone: usize, signals: &mut Signals| {
            signals.connect_time = Some(Duration::from_millis(if zone == 1 { 400 } else { 2 }));
        };
        assert_eq!(fleet.run(50, zone_late).said(), [Verdict::Proxy]);
        assert_eq!(fleet.run(120, peace).said(), []);
        // A busy machine is no sick proxy, and what is late by it is nobody's fault.
        assert_eq!(fleet.run_late(120, Duration::from_millis(50), slow).said(), []);
    }

    #[test]
    fn endpoints_come_and_go_and_are_remembered_for_an_hour() {
        let mut detector = Detector::default();
        let mut most = 0;
        for second in 0..5_000_u64 {
            let cell = second as usize / 100;
            let now = Moment::START + Duration::from_secs(second);
            detector.step(&[usual(cell, 0)], ProcessSignals::default(), now);
            most = most.max(detector.remembered());
        }
        assert_eq!((most, detector.remembered()), (37, 37), "one more each 100 s");
        assert!(detector.cells.len() <= 37 && detector.index.len() == 37);
    }
}
