//! Legacy requests as the threads that serve them count them: each thread on a sheet of its own, which nobody else touches
//! but who collects all sheets once a second. A request costs a lock that nobody else wants and a look-up; no thread waits
//! for another one, and nothing is queued.
//!
//! Whose a request is, is counted exactly, however many there are: there are no more such keys than rows in the account
//! table. What else is told of it has so much room on a sheet; beyond it, only whose it is is told, and that is counted.

use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use thread_local::ThreadLocal;

use crate::policy::apart::Apart;
use crate::policy::credential::Fingerprint;
use crate::policy::decide::Decision;
use crate::policy::hosts::Role;
use crate::policy::ids::AccountId;
use crate::policy::path::template;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::event::RequestEvent;
use crate::telemetry::labels::{CLASSES, class_slot};
use crate::telemetry::wall_time::unix_seconds;

use super::agents::Agents;
use super::heavy::{HeavyHitters, Seen};
use super::key::{Credential, Key, Place, SHOWN, Subject};
use super::map::Map;
use super::met::{Hits, Met};
use super::minute::{Ends, Lost, LostCall};

/// Different keys with detail on one sheet, which is one second of one thread; at 130 bytes each, 8 MB.
const MAX_DETAILS: usize = 64 * 1024;

/// Different learned credentials on one sheet; at 32 bytes each, 2 MB. More are counted without telling which.
const MAX_LEARNED: usize = 64 * 1024;

/// Different accounts, credentials, cells and classes on cell hosts to which something went wrong, on one sheet; at 100
/// bytes each, 1.6 MB. In an incident this is what grows; beyond it, only how many is counted.
const MAX_HARMED: usize = 16 * 1024;

/// Calls on one sheet that may have to be made again, below a kilobyte each.
const MAX_LOST: usize = 4 * 1024;

/// Programs on one sheet that `clients.yaml` does not know. A name beyond them looks at all places, which takes some 100 ns; at
/// 100 bytes each, 13 KB.
const MAX_UNKNOWN_CLIENTS: usize = 128;

/// Counted for whoever gives itself no name.
const NO_NAME: &str = "-";

/// All sheets.
#[derive(Debug)]
pub(super) struct Sheets {
    sheets: ThreadLocal<Apart<Mutex<Sheet>>>,
    max_details: usize,
    closed: AtomicBool,
}

/// What one thread has counted since it was collected.
#[derive(Debug)]
pub(super) struct Sheet {
    /// By generation: keys are positions in its lists.
    pub pages: Vec<Page>,
    /// Requests that a learned credential placed, by day (since the Unix epoch) and credential; `None` counts those
    /// of a day that did not fit.
    pub learned: Map<(i64, Option<Fingerprint>), u64>,
    /// Requests that are counted without detail.
    pub without_detail: u64,
    /// Calls that may have to be made again, and how many more there were.
    pub lost: (Vec<LostCall>, u64),
    /// Programs on legacy hosts that `clients.yaml` does not know.
    unknown_clients: HeavyHitters,
    /// Requests of programs that give themselves no name: they are many, and need no place to be counted in.
    nameless: u64,
    /// Stays when the rest is collected.
    agents: Agents,
    /// Keys that it had when it was collected the last time: as many will come again.
    expected: usize,
    details: usize,
}

impl Default for Sheet {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            learned: Map::default(),
            without_detail: 0,
            lost: (Vec::new(), 0),
            unknown_clients: HeavyHitters::new(MAX_UNKNOWN_CLIENTS),
            nameless: 0,
            agents: Agents::default(),
            expected: 0,
            details: 0,
        }
    }
}

/// What was counted under one generation.
#[derive(Debug)]
pub(super) struct Page {
    pub snapshot: Arc<Snapshot>,
    /// Requests on legacy hosts.
    pub counts: Map<Key, Tally>,
    /// Requests on cell hosts: how a minute went for a cell and an endpoint class.
    pub on_cell_hosts: Map<(i64, Place, Place), Ends>,
    /// Those of them to which something went wrong.
    pub harmed: Map<Harmed, Ends>,
    /// Requests for which a brownout was planned.
    pub met: Map<Met, Hits>,
    /// What credentials of accounts were called under the key before, while keys rotate. No more than there are keys with
    /// detail and accounts that were harmed.
    pub called_before: Map<(AccountId, Credential), [u8; SHOWN]>,
}

/// To whom something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Harmed {
    /// Minutes since the Unix epoch.
    pub minute: i64,
    pub subject: Subject,
    pub cell: Place,
    pub class: Place,
    pub credential: Credential,
}

/// The counts of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    /// By status class.
    pub statuses: [u64; CLASSES.len()],
    /// How many could have changed something.
    pub writes: u64,
    /// How many cellgate has answered itself.
    pub refused: u64,
    /// Unix seconds.
    pub first_seen: i64,
    /// Unix seconds.
    pub last_seen: i64,
    /// The position of the path template of one of them.
    pub template: Option<usize>,
    /// How they ended.
    pub ends: Ends,
}

impl Default for Sheets {
    fn default() -> Self {
        Self::with_room(MAX_DETAILS)
    }
}

impl Sheets {
    fn with_room(max_details: usize) -> Self {
        Self { sheets: ThreadLocal::new(), max_details, closed: AtomicBool::new(false) }
    }

    /// Counts the end of a request. On a cell host only how its minute went, and to whom something went wrong.
    /// False where nothing is counted any more.
    pub fn count(&self, event: &RequestEvent) -> bool {
        let Some((decision, role)) =
            event.decision.as_ref().and_then(|decision| Some((decision, decision.role?)))
        else {
            return true;
        };
        let sheet = self.sheets.get_or_default();
        // Counting cannot panic half way; and a panicked thread's counts are as good as any.
        let sheet = &mut *sheet.lock().unwrap_or_else(PoisonError::into_inner);
        // Below the lock: who has closed collects each sheet once more, and finds what came before.
        if self.closed.load(Ordering::Relaxed) {
            return false;
        }
        match role {
            Role::Legacy => sheet.add(event, decision, Key::of(event, decision), self.max_details),
            Role::Cell => sheet.add_on_cell_host(event, decision),
        }
        if let Some((met, hits)) = Met::of(event, decision) {
            page(&mut sheet.pages, &event.snapshot, sheet.expected).met.entry(met).or_default().add(hits);
        }
        if let Some(lost) = Lost::of(event, decision) {
            sheet.add_lost(LostCall::new(event, decision, lost));
        }
        true
    }

    /// Has nothing counted any more. Whoever calls collects once more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Takes what all threads have counted.
    pub fn collect(&self, mut each: impl FnMut(Sheet)) {
        for sheet in &self.sheets {
            let mut sheet = sheet.lock().unwrap_or_else(PoisonError::into_inner);
            let agents = std::mem::take(&mut sheet.agents);
            let expected = sheet.pages.last().map_or(0, |page| page.counts.len());
            let taken = std::mem::replace(&mut *sheet, Sheet { agents, expected, ..Sheet::default() });
            drop(sheet);
            if !taken.pages.is_empty() {
                each(taken);
            }
        }
    }
}

impl Sheet {
    /// Programs on legacy hosts that `clients.yaml` does not know, by the names that they give themselves.
    pub fn unknown_clients(&self) -> impl Iterator<Item = (&str, Seen)> {
        let nameless = (NO_NAME, Seen { count: self.nameless, too_many: 0 });
        self.unknown_clients.iter().chain((self.nameless > 0).then_some(nameless))
    }

    fn add(&mut self, event: &RequestEvent, decision: &Decision, key: Key, max_details: usize) {
        let at = unix_seconds(event.started);
        self.add_learned(decision, key.subject, at);
        self.add_unknown_client(event, decision);
        let room = self.details < max_details;
        let page = page(&mut self.pages, &event.snapshot, self.expected);
        match page.counts.entry(key) {
            Entry::Occupied(entry) => entry.into_mut().add(event, decision, at),
            Entry::Vacant(entry) if room => {
                self.details += 1;
                entry.insert(Tally::new(event, at)).add(event, decision, at);
                page.note_name(key.subject, key.detail.credential, decision);
            }
            Entry::Vacant(_) => {
                self.without_detail += 1;
                let tally = page.counts.entry(key.without_detail()).or_insert_with(|| Tally::new(event, at));
                tally.add(event, decision, at);
            }
        }
    }

    fn add_on_cell_host(&mut self, event: &RequestEvent, decision: &Decision) {
        let (minute, ends) = (unix_seconds(event.started).div_euclid(60), Ends::of(event));
        let (cell, class) = (Place::of_cell(event), Place::of_class(event));
        let page = page(&mut self.pages, &event.snapshot, self.expected);
        page.on_cell_hosts.entry((minute, cell, class)).or_default().add(&ends);
        if ends.is_harm() {
            let (subject, credential) =
                (Subject::of(event, decision), Credential::of(event.status, decision));
            let harmed = Harmed { minute, subject, cell, class, credential };
            if page.harmed.len() < MAX_HARMED || page.harmed.contains_key(&harmed) {
                page.harmed.entry(harmed).or_default().add(&ends);
                page.note_name(subject, credential, decision);
            }
        }
    }

    fn add_unknown_client(&mut self, event: &RequestEvent, decision: &Decision) {
        if decision.client.is_none() {
            let agent = event.user_agent.as_deref();
            match agent.and_then(|agent| self.agents.product(&event.snapshot, agent)) {
                Some(product) => self.unknown_clients.add(product, Seen { count: 1, too_many: 0 }),
                None => self.nameless += 1,
            }
        }
    }

    fn add_lost(&mut self, call: LostCall) {
        let (calls, beyond) = &mut self.lost;
        if calls.len() < MAX_LOST {
            calls.push(call);
        } else {
            *beyond += 1;
        }
    }

    /// Counts what a process that has learned nothing could not have placed.
    fn add_learned(&mut self, decision: &Decision, subject: Subject, at: i64) {
        let placed = matches!(subject, Subject::Account(_));
        let Some(fingerprint) = decision.placed_by().filter(|_| placed) else { return };
        let day = at.div_euclid(86_400);
        let known = Some(fingerprint);
        let fits = self.learned.len() < MAX_LEARNED || self.learned.contains_key(&(day, known));
        *self.learned.entry((day, known.filter(|_| fits))).or_default() += 1;
    }
}

impl Page {
    /// Keeps what a credential was called before: a report then knows both names as one.
    fn note_name(&mut self, subject: Subject, credential: Credential, decision: &Decision) {
        if let (Subject::Account(account), Credential::Token(_)) = (subject, credential)
            && let Some(before) = Credential::before(decision)
        {
            self.called_before.insert((account, credential), before);
        }
    }
}

/// The page of a generation. There is more than one only while requests end that began before a reload.
fn page<'a>(pages: &'a mut Vec<Page>, snapshot: &Arc<Snapshot>, expected: usize) -> &'a mut Page {
    let at = pages.iter().position(|page| Arc::ptr_eq(&page.snapshot, snapshot)).unwrap_or_else(|| {
        pages.push(Page {
            snapshot: Arc::clone(snapshot),
            counts: Map::with_capacity_and_hasher(expected, Default::default()),
            on_cell_hosts: Map::default(),
            harmed: Map::default(),
            met: Map::default(),
            called_before: Map::default(),
        });
        pages.len() - 1
    });
    &mut pages[at]
}

impl Tally {
    fn new(event: &RequestEvent, at: i64) -> Self {
        let templates = &event.snapshot.identify.paths;
        let found = template(templates, &event.path);
        let position = found.and_then(|found| templates.iter().position(|one| std::ptr::eq(one, found)));
        Self {
            statuses: [0; CLASSES.len()],
            writes: 0,
            refused: 0,
            first_seen: at,
            last_seen: at,
            template: position,
            ends: Ends::default(),
        }
    }

    fn add(&mut self, event: &RequestEvent, decision: &Decision, at: i64) {
        self.statuses[class_slot(event.status)] += 1;
        self.writes += u64::from(decision.writes);
        self.refused += u64::from(event.refusal.is_some());
        self.ends.add(&Ends::of(event));
        self.first_seen = self.first_seen.min(at);
        self.last_seen = self.last_seen.max(at);
    }

    /// All of them.
    pub fn requests(&self) -> u64 {
        self.statuses.iter().sum()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use super::*;
    use crate::policy::decide::Source;
    use crate::policy::refusal::Refusal;
    use crate::telemetry::fixture::{legacy_event, snapshot, wait_until};
    use crate::test_snapshot::account;

    /// Requests by account, and how many of them without detail.
    fn collected(sheets: &Sheets) -> (BTreeMap<u64, u64>, u64) {
        let (mut accounts, mut without_detail) = (BTreeMap::new(), 0);
        sheets.collect(|sheet| {
            for (key, tally) in sheet.pages.iter().flat_map(|page| &page.counts) {
                *accounts.entry(key.subject.account()).or_default() += tally.requests();
            }
            without_detail += sheet.without_detail;
        });
        (accounts, without_detail)
    }

    #[test]
    fn what_threads_count_is_collected_once_and_exactly() {
        const EACH: u64 = 20_000;
        let (sheets, snapshot) = (Sheets::default(), snapshot(1));
        let mut sums = BTreeMap::<u64, u64>::new();
        let mut add = |found: BTreeMap<u64, u64>| {
            found.into_iter().for_each(|(account, requests)| *sums.entry(account).or_default() += requests);
        };
        std::thread::scope(|scope| {
            let counting: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let one = legacy_event(&snapshot);
                        let mut two = legacy_event(&snapshot);
                        two.decision.as_mut().unwrap().account = Some(account(2));
                        assert!((0..EACH).all(|n| sheets.count(if n % 4 == 0 { &two } else { &one })));
                    })
                })
                .collect();
            while counting.iter().any(|thread| !thread.is_finished()) {
                add(collected(&sheets).0);
            }
        });
        add(collected(&sheets).0);
        assert_eq!(sums, BTreeMap::from([(1, 4 * EACH * 3 / 4), (2, 4 * EACH / 4)]));
        assert_eq!(collected(&sheets).0, BTreeMap::new());
    }

    /// Whether a thread of ours sleeps.
    fn sleeps(thread: &Path) -> bool {
        let stat = std::fs::read_to_string(Path::new("/proc").join(thread).join("stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('S')
    }

    #[test]
    fn who_waits_for_its_sheet_while_the_sheets_are_closed_knows_that_it_counts_nothing() {
        let (sheets, snapshot) = (Sheets::default(), snapshot(1));
        let (event, is_counting) = (legacy_event(&snapshot), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let (say, hear) = sync_channel(1);
            let (go, wait) = sync_channel(1);
            let (sheets, event, is_counting) = (&sheets, &event, &is_counting);
            let counting = scope.spawn(move || {
                assert!(sheets.count(event), "its sheet is there from here on");
                say.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
                wait.recv().unwrap();
                is_counting.store(true, Ordering::Release);
                sheets.count(event)
            });
            let thread = hear.recv().unwrap();
            // As whoever collects for the last time.
            let sheet = sheets.sheets.iter().next().unwrap().lock().unwrap();
            go.send(()).unwrap();
            wait_until(|| is_counting.load(Ordering::Acquire) && sleeps(&thread));
            sheets.close();
            drop(sheet);
            assert!(!counting.join().unwrap());
        });
        assert_eq!(collected(&sheets).0, BTreeMap::from([(1, 1)]));
    }

    #[test]
    fn accounts_stay_exact_when_there_is_too_much_to_tell_apart() {
        let (sheets, snapshot) = (Sheets::with_room(3), snapshot(1));
        let mut event = legacy_event(&snapshot);
        for network in 0..100u8 {
            event.client_ip = [10, 0, network, 1].into();
            event.decision.as_mut().unwrap().account = Some(account(1 + u64::from(network % 2)));
            sheets.count(&event);
        }
        assert_eq!(collected(&sheets), (BTreeMap::from([(1, 50), (2, 50)]), 97));
    }

    #[test]
    fn generations_have_pages_of_their_own() {
        let sheets = Sheets::default();
        let (first, second) = (snapshot(1), snapshot(2));
        for snapshot in [&first, &second, &first] {
            sheets.count(&legacy_event(snapshot));
        }
        let mut pages = Vec::new();
        sheets.collect(|sheet| {
            let sum = |page: &Page| page.counts.values().map(Tally::requests).sum::<u64>();
            pages.extend(sheet.pages.iter().map(|page| (page.snapshot.generation.0, sum(page))));
        });
        assert_eq!(pages, [(1, 2), (2, 1)]);
    }

    #[test]
    fn a_tally_has_statuses_writes_refusals_and_times() {
        let (sheets, snapshot) = (Sheets::default(), snapshot(1));
        let start = unix_seconds(legacy_event(&snapshot).started);
        for (seconds, status, writes, refusal) in
            [(30, 200, true, None), (5, 503, false, Some(Refusal::Internal)), (59, 302, true, None)]
        {
            let mut event = legacy_event(&snapshot);
            event.started += Duration::from_secs(seconds);
            (event.status, event.refusal) = (status, refusal);
            event.decision.as_mut().unwrap().writes = writes;
            sheets.count(&event);
        }
        let mut tallies = Vec::new();
        sheets.collect(|sheet| tallies.extend(sheet.pages[0].counts.values().copied()));
        let expect = Tally {
            statuses: [0, 1, 1, 0, 1],
            writes: 2,
            refused: 1,
            first_seen: start + 5,
            last_seen: start + 59,
            template: Some(0),
            ends: Ends { requests: 3, failed: 1, late: [0, 0] },
        };
        assert_eq!(tallies, [expect]);
    }

    #[test]
    fn neither_a_cell_host_nor_an_unreadable_head_is_legacy_use() {
        let (sheets, snapshot) = (Sheets::default(), snapshot(1));
        let mut event = legacy_event(&snapshot);
        event.decision.as_mut().unwrap().role = Some(Role::Cell);
        sheets.count(&event);
        event.decision = None;
        sheets.count(&event);
        assert_eq!(collected(&sheets), (BTreeMap::new(), 0));
    }

    #[test]
    fn programs_that_nobody_knows_are_counted_by_name_in_so_many_places() {
        let (sheets, snapshot) = (Sheets::default(), snapshot(1));
        let mut event = legacy_event(&snapshot);
        let mut count = |client, agent: String| {
            event.decision.as_mut().unwrap().client = client;
            event.user_agent = Some(agent.into());
            sheets.count(&event);
        };
        count(Some(0), "known/1".into());
        for number in 0..20_000u32 {
            let word: String =
                number.to_string().bytes().map(|digit| char::from(digit + b'q' - b'0')).collect();
            count(None, format!("{word}/1"));
            if number % 10 == 0 {
                count(None, "acme-sync/2.1 (secret)".into());
                count(None, "user:secret".into());
            }
        }
        let mut found = Vec::new();
        sheets.collect(|sheet| {
            found.extend(sheet.unknown_clients().map(|(name, seen)| (name.to_owned(), seen)));
        });
        assert_eq!(found.len(), MAX_UNKNOWN_CLIENTS + 1);
        for name in ["acme-sync", NO_NAME] {
            let (_, seen) = found.iter().find(|(found, _)| found == name).unwrap();
            assert!(seen.count >= 2_000 && seen.count - seen.too_many <= 2_000, "{seen:?}");
        }
        assert!(found.iter().all(|(name, _)| name != "known" && !name.contains("secret")));
    }

    #[test]
    fn what_only_a_learned_credential_placed_is_counted_by_day_and_credential() {
        let (sheets, snapshot) = (Sheets::default(), snapshot(1));
        let count = |change: &dyn Fn(&mut RequestEvent, &mut Decision)| {
            let mut event = legacy_event(&snapshot);
            let mut decision = event.decision.take().unwrap();
            decision.source = Source::Credential;
            decision.learned = Some(Fingerprint([7; 16]));
            decision.credential_known = true;
            change(&mut event, &mut decision);
            event.decision = Some(decision);
            sheets.count(&event);
        };
        count(&|_, _| {});
        count(&|_, decision| decision.source = Source::Cookie);
        count(&|_, decision| decision.learned = Some(Fingerprint([8; 16])));
        count(&|event, _| event.started += Duration::from_secs(86_400));
        // A table knows it; the path names the account; it is nobody's; the account has no row.
        count(&|_, decision| decision.learned = None);
        count(&|_, decision| decision.source = Source::Path);
        count(&|_, decision| decision.credential_known = false);
        count(&|_, decision| decision.account = Some(account(77)));
        let mut learned = Vec::new();
        sheets.collect(|sheet| {
            learned.extend(sheet.learned.iter().map(|((day, f), n)| (*day, f.unwrap().0[0], *n)))
        });
        learned.sort_unstable();
        let day = unix_seconds(legacy_event(&snapshot).started) / 86_400;
        assert_eq!(learned, [(day, 7, 2), (day, 8, 1), (day + 1, 7, 1)]);
    }
}
