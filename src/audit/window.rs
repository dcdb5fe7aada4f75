//! A window of the books: what all threads have counted in some seconds, added up under names instead of positions. Bounded
//! in keys and names, and in how many credentials and networks of an account have rows of their own; what is beyond is
//! counted for its account all the same. Sealed, it is a [`Frame`]. Requests on cell hosts come in as sums by account.

use std::collections::hash_map::Entry;

use crate::policy::credential::Fingerprint;
use crate::policy::ids::{AccountId, Label};
use crate::policy::snapshot::Snapshot;

use super::accounts::Accounts;
use super::cell_use::CellUse;
use super::frame::{Frame, Gap, Harm, Minute, Renamed, UnknownClient};
use super::heavy::{HeavyHitters, Seen};
use super::key::{Credential, Key, Subject, token_name};
use super::map::Map;
use super::met::{About, Hits};
use super::minute::{Ends, LostCall};
use super::names::{Name, Names};
use super::places::Places;
use super::rows::{Counts, Hours, RowKey, Rows};
use super::sheets::{Page, Sheet, Tally};
use super::told::Told;

/// Different keys with detail of one window: 20,000 accounts with six integrations each. At 200 bytes a key, 26 MB.
const MAX_DETAILS: usize = 128 * 1024;

/// Different learned credentials of one window; at 32 bytes each, 4 MB. More are counted without telling which.
const MAX_LEARNED: usize = 128 * 1024;

/// Different accounts on cell hosts of one window; at 32 bytes each, 4 MB. There are so many only where the disk takes no
/// window for a while; what is beyond them is left out of the weights.
const MAX_ON_CELL_HOSTS: usize = 128 * 1024;

/// Different accounts, credentials, cells and classes to which something went wrong, of one window. At 100 bytes each, 6 MB.
/// Beyond them, it is only known how many requests it were.
const MAX_HARMED: usize = 64 * 1024;

/// Calls of one window that may have to be made again, below a kilobyte each. What is beyond is told as a gap.
const MAX_LOST: usize = 16 * 1024;

/// Different credentials of one window while keys rotate, at 40 bytes each: as many as rows with detail.
const MAX_RENAMED: usize = 64 * 1024;

/// Programs of one window that `clients.yaml` does not know, as many as of a day; at 100 bytes each, 100 KB.
const MAX_UNKNOWN_CLIENTS: usize = 1024;

/// Legacy requests of some seconds.
#[derive(Debug)]
pub(super) struct Window {
    /// Unix seconds.
    pub started_at: i64,
    rows: Map<RowKey, Counts>,
    details: usize,
    accounts: Map<AccountId, AccountFacts>,
    learned: Map<(i64, Option<Fingerprint>), u64>,
    on_cell_hosts: Map<(i64, AccountId), u64>,
    without_detail: u64,
    minutes: Map<MinuteKey, Ends>,
    harmed: Map<HarmKey, Ends>,
    lost: Vec<LostCall>,
    lost_beyond: u64,
    /// As many as there are accounts in the table, for each window of a brownout.
    met: Map<About, Hits>,
    /// The name of a credential under the key before, by account and newest name.
    renamed: Map<(AccountId, Name), Name>,
    unknown_clients: HeavyHitters,
    names: Names,
    /// Names of credentials to which something went wrong, and of those whose key rotates.
    credentials: Names,
    max_details: usize,
}

/// Minute (since the Unix epoch), whether on legacy hosts, cell, endpoint class.
type MinuteKey = (i64, bool, Name, Name);

/// The same with subject and credential.
type HarmKey = (MinuteKey, Subject, Name);

/// What the account table says, by the newest generation that knew the account: requests of older ones may end later.
#[derive(Debug)]
struct AccountFacts {
    generation: u64,
    prefix: Option<Box<str>>,
    cell: Label,
}

impl Window {
    /// An empty window.
    pub fn new(started_at: i64) -> Self {
        Self::with_room(started_at, MAX_DETAILS)
    }

    fn with_room(started_at: i64, max_details: usize) -> Self {
        Self {
            started_at,
            rows: Map::default(),
            details: 0,
            accounts: Map::default(),
            learned: Map::default(),
            on_cell_hosts: Map::default(),
            without_detail: 0,
            minutes: Map::default(),
            harmed: Map::default(),
            lost: Vec::new(),
            lost_beyond: 0,
            met: Map::default(),
            renamed: Map::default(),
            unknown_clients: HeavyHitters::new(MAX_UNKNOWN_CLIENTS),
            names: Names::default(),
            credentials: Names::default(),
            max_details,
        }
    }

    /// An empty one after this one, with room for as many rows: most have as many as the one before.
    pub fn next(&self, started_at: i64) -> Self {
        Self {
            rows: Map::with_capacity_and_hasher(self.rows.len(), Default::default()),
            accounts: Map::with_capacity_and_hasher(self.accounts.len(), Default::default()),
            ..Self::new(started_at)
        }
    }

    /// Adds what a thread has counted; says how many requests of it are counted without their detail.
    pub fn add(&mut self, sheet: Sheet, told: &mut Told) -> u64 {
        let before = self.without_detail;
        self.without_detail += sheet.without_detail;
        let room = MAX_LOST.saturating_sub(self.lost.len());
        sheet.unknown_clients().for_each(|(product, seen)| self.unknown_clients.add(product, seen));
        let (lost, beyond) = sheet.lost;
        self.lost_beyond += beyond + lost.len().saturating_sub(room) as u64;
        self.lost.extend(lost.into_iter().take(room));
        for page in &sheet.pages {
            let mut places = Places::default();
            self.add_on_cell_hosts(page, &mut places);
            for (met, hits) in &page.met {
                if let Some(about) = met.about(&page.snapshot) {
                    self.met.entry(about).or_default().add(*hits);
                }
            }
            self.add_renamed(page);
            for (key, tally) in &page.counts {
                self.add_tally(page, &mut places, *key, tally, told);
                if let Subject::Account(id) = key.subject {
                    self.note(id, &page.snapshot);
                }
            }
        }
        for ((day, fingerprint), requests) in sheet.learned {
            let fits = self.learned.len() < MAX_LEARNED || self.learned.contains_key(&(day, fingerprint));
            *self.learned.entry((day, fingerprint.filter(|_| fits))).or_default() += requests;
        }
        self.without_detail - before
    }

    /// Takes over what was counted on cell hosts until `at` (Unix seconds); says how many requests are left out.
    pub fn count_on_cell_hosts(&mut self, cell_use: &CellUse, at: i64) -> u64 {
        let day = at.div_euclid(86_400);
        let mut left_out = 0;
        let beyond = cell_use.turn(|account, requests| {
            let room = self.on_cell_hosts.len() < MAX_ON_CELL_HOSTS;
            match self.on_cell_hosts.entry((day, account)) {
                Entry::Occupied(mut entry) => *entry.get_mut() += requests,
                Entry::Vacant(_) if !room => left_out += requests,
                Entry::Vacant(entry) => {
                    entry.insert(requests);
                }
            }
        });
        left_out + beyond
    }

    /// Whether it should end before its time: of those that come in the next second half find a place.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= self.max_details / 2
    }

    /// All of it as a frame of a writer.
    pub fn frame(&self, writer: &str, number: i64, ended_at: i64) -> Frame {
        let mut frame = Frame::new(writer, number, self.started_at, ended_at);
        frame.uses = Rows::of(self.names.all(), self.rows.iter().map(|(key, counts)| (*key, counts)));
        let mut accounts: Vec<_> = self.accounts.iter().collect();
        accounts.sort_unstable_by_key(|(id, _)| **id);
        frame.accounts = Accounts::of(accounts.into_iter().map(|(id, facts)| (id.value(), facts.told())));
        let learned = |((day, fingerprint), requests): (&(i64, Option<Fingerprint>), &u64)| {
            (*day, fingerprint.map_or_else(String::new, |fingerprint| fingerprint.to_string()), *requests)
        };
        frame.learned = self.learned.iter().map(learned).collect();
        frame.learned.sort_unstable();
        let on_cell_hosts = self.on_cell_hosts.iter();
        frame.on_cell_hosts =
            on_cell_hosts.map(|((day, id), requests)| (*day, id.value(), *requests)).collect();
        frame.on_cell_hosts.sort_unstable();
        frame.brownouts = self.met.iter().map(|(about, hits)| about.line(*hits)).collect();
        frame.brownouts.sort_unstable();
        self.frame_minutes(&mut frame);
        for (reason, requests) in [("detail", self.without_detail), ("lost_calls", self.lost_beyond)] {
            if requests > 0 {
                let (reason, started_at) = (reason.to_owned(), Some(self.started_at));
                frame.gaps.push(Gap { reason, started_at, ended_at, requests: Some(requests), note: None });
            }
        }
        frame
    }

    fn frame_minutes(&self, frame: &mut Frame) {
        let name = |name: Name| self.names.text(name).to_owned();
        let credential_name = |name: Name| self.credentials.text(name).to_owned();
        let minute = |((minute, legacy, cell, class), ends): (&MinuteKey, &Ends)| Minute {
            minute: *minute,
            legacy: *legacy,
            cell: name(*cell),
            class: name(*class),
            ends: *ends,
        };
        frame.minutes = self.minutes.iter().map(minute).collect();
        frame.minutes.sort_unstable_by(|a, b| a.key().cmp(&b.key()));
        let harm = |((of, subject, credential), ends): (&HarmKey, &Ends)| Harm {
            of: minute((of, ends)),
            account: subject.account(),
            credential: credential_name(*credential),
        };
        frame.harmed = self.harmed.iter().map(harm).collect();
        frame.harmed.sort_unstable_by(|a, b| {
            (a.of.key(), a.account, &a.credential).cmp(&(b.of.key(), b.account, &b.credential))
        });
        let renamed = |((account, credential), before): (&(AccountId, Name), &Name)| Renamed {
            account: account.value(),
            credential: credential_name(*credential),
            before: credential_name(*before),
        };
        frame.renamed = self.renamed.iter().map(renamed).collect();
        frame.renamed.sort_unstable();
        frame.unknown_clients = self.unknown_clients.iter().map(unknown_client).collect();
        frame.unknown_clients.sort_unstable();
        frame.lost.clone_from(&self.lost);
        frame.lost.sort_unstable_by(|a, b| (a.at, &a.request_id).cmp(&(b.at, &b.request_id)));
    }

    fn add_tally(&mut self, page: &Page, places: &mut Places, mut key: Key, tally: &Tally, told: &mut Told) {
        let hour = key.minute.div_euclid(60);
        self.add_minute(page, places, &key, tally);
        let beyond = key.without_detail();
        let before = called_before(page, &key);
        let mut told_apart = key == beyond || !told.limit(&mut key, before, hour.div_euclid(24));
        let (names, snapshot) = (&mut self.names, &page.snapshot);
        let mut row_key = places.row_key(names, snapshot, &key);
        let template = places.template(names, snapshot, tally.template);
        let room = self.details < self.max_details;
        if !room && key != beyond && !self.rows.contains_key(&row_key) {
            told_apart = false;
            row_key = places.row_key(names, snapshot, &beyond);
        }
        if !told_apart {
            self.without_detail += tally.requests();
        }
        let hour = u8::try_from(hour.rem_euclid(24)).expect("below 24");
        match self.rows.entry(row_key) {
            Entry::Occupied(row) => add(row.into_mut(), tally, hour),
            Entry::Vacant(place) => {
                self.details += usize::from(room);
                add(place.insert(no_counts(template, tally)), tally, hour);
            }
        }
    }

    /// How a minute went, for requests on legacy hosts.
    fn add_minute(&mut self, page: &Page, places: &mut Places, key: &Key, tally: &Tally) {
        let (cell, class) =
            places.cell_and_class(&mut self.names, &page.snapshot, key.cell, key.detail.class);
        let of = (key.minute, true, cell, class);
        self.minutes.entry(of).or_default().add(&tally.ends);
        if tally.ends.is_harm() {
            self.add_harm(page, of, key.subject, key.detail.credential, &tally.ends);
        }
    }

    /// Beyond the bound, a credential has two names in reports.
    fn add_renamed(&mut self, page: &Page) {
        for ((account, credential), before) in &page.called_before {
            if self.renamed.len() < MAX_RENAMED {
                let name = self.credentials.position(&credential.name(&page.snapshot));
                let before = self.credentials.position(&token_name(&page.snapshot, 1, *before));
                self.renamed.insert((*account, name), before);
            }
        }
    }

    fn add_on_cell_hosts(&mut self, page: &Page, places: &mut Places) {
        let (names, snapshot) = (&mut self.names, &page.snapshot);
        for ((minute, cell, class), ends) in &page.on_cell_hosts {
            let (cell, class) = places.cell_and_class(names, snapshot, *cell, *class);
            self.minutes.entry((*minute, false, cell, class)).or_default().add(ends);
        }
        for (harmed, ends) in &page.harmed {
            let (cell, class) = places.cell_and_class(&mut self.names, snapshot, harmed.cell, harmed.class);
            let of = (harmed.minute, false, cell, class);
            self.add_harm(page, of, harmed.subject, harmed.credential, ends);
        }
    }

    fn add_harm(
        &mut self,
        page: &Page,
        of: MinuteKey,
        subject: Subject,
        credential: Credential,
        ends: &Ends,
    ) {
        let harmed = (of, subject, self.credentials.position(&credential.name(&page.snapshot)));
        if self.harmed.len() < MAX_HARMED || self.harmed.contains_key(&harmed) {
            // Only what went wrong: how many went well stands in the minute.
            let wrong = Ends { requests: 0, ..*ends };
            self.harmed.entry(harmed).or_default().add(&wrong);
        }
    }

    /// Keeps what the newest generation says of the account: it may move, and back, within one window.
    fn note(&mut self, id: AccountId, snapshot: &Snapshot) {
        let generation = snapshot.generation.0;
        if self.accounts.get(&id).is_some_and(|facts| facts.generation >= generation) {
            return;
        }
        if let Some(row) = snapshot.accounts.by_id(id) {
            let prefix = row.prefixes.first().map(Into::into);
            let cell = snapshot.cell(row.cell).name.clone();
            self.accounts.insert(id, AccountFacts { generation, prefix, cell });
        }
    }
}

impl AccountFacts {
    fn told(&self) -> (&str, Option<&str>) {
        (self.cell.as_str(), self.prefix.as_deref())
    }
}

/// Of nobody yet.
fn no_counts(template: Name, tally: &Tally) -> Counts {
    let Tally { first_seen, last_seen, .. } = *tally;
    let (statuses, hours) = (Default::default(), Hours::One(0, 0));
    Counts { template, statuses, writes: 0, refused: 0, hours, first_seen, last_seen }
}

fn add(row: &mut Counts, tally: &Tally, hour: u8) {
    row.statuses.iter_mut().zip(tally.statuses).for_each(|(sum, more)| *sum += more);
    row.writes += tally.writes;
    row.refused += tally.refused;
    row.hours.add(hour, tally.requests());
    row.first_seen = row.first_seen.min(tally.first_seen);
    row.last_seen = row.last_seen.max(tally.last_seen);
}

fn unknown_client((product, seen): (&str, Seen)) -> UnknownClient {
    UnknownClient { product: product.to_owned(), requests: seen.count, too_many: seen.too_many }
}

/// What the credential of a key was called until keys rotated.
fn called_before(page: &Page, key: &Key) -> Option<Credential> {
    let Subject::Account(account) = key.subject else { return None };
    // Keys rotate now and then.
    if page.called_before.is_empty() {
        return None;
    }
    page.called_before.get(&(account, key.detail.credential)).map(|before| Credential::Token(*before))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::frame::{Integration, Use};
    use super::super::names::written;
    use super::super::sheets::Sheets;
    use super::*;
    use crate::policy::credential::FingerprintKey;
    use crate::policy::decide::{Source, Verdict};
    use crate::policy::ids::Generation;
    use crate::policy::refusal::Refusal;
    use crate::policy::snapshot::{PathTemplate, Segment};
    use crate::telemetry::event::RequestEvent;
    use crate::telemetry::fixture::{legacy_event, snapshot};
    use crate::telemetry::wall_time::unix_seconds;
    use crate::test_snapshot::account;

    /// A window of these requests.
    pub fn window(started_at: i64, events: &[RequestEvent]) -> Window {
        let mut window = Window::new(started_at);
        add(&mut window, &mut Told::default(), events);
        window
    }

    fn add(window: &mut Window, told: &mut Told, events: &[RequestEvent]) -> u64 {
        let (sheets, mut without_detail) = (Sheets::default(), 0);
        assert!(events.iter().all(|event| sheets.count(event)));
        sheets.collect(|sheet| without_detail += window.add(sheet, told));
        without_detail
    }

    /// So many requests, each changed like this.
    type Changed<'a> = (usize, &'a dyn Fn(&mut RequestEvent));

    fn events(changes: &[Changed<'_>]) -> Vec<RequestEvent> {
        let snapshot = snapshot(1);
        let many = |(times, change): &Changed<'_>| {
            let one = |_| {
                let mut event = legacy_event(&snapshot);
                change(&mut event);
                event
            };
            (0..*times).map(one).collect::<Vec<_>>()
        };
        changes.iter().flat_map(many).collect()
    }

    /// Subject, dimensions, template and statuses of every row.
    fn rows(window: &Window) -> Vec<String> {
        let row = |row: &Use| {
            let of = &row.integration;
            format!(
                "{} {} {} {} {} {} {} {} {:?}",
                of.subject,
                of.account,
                of.client,
                of.surface,
                of.class,
                of.credential,
                of.network,
                row.template,
                row.statuses
            )
        };
        window.frame("a", 1, window.started_at + 10).uses.uses().map(|of| row(&of)).collect()
    }

    #[test]
    fn requests_add_up_by_what_a_human_must_change() {
        let all = events(&[
            (1, &|_| {}),
            (1, &|event| event.status = 404),
            (1, &|event| event.path = "/elsewhere".into()),
            (1, &|event| event.decision.as_mut().unwrap().client = None),
            (1, &|event| event.client_ip = [203, 0, 113, 7].into()),
            (1, &|event| {
                let decision = event.decision.as_mut().unwrap();
                decision.fingerprint = Some(Fingerprint([0xab; 16]));
                decision.credential_sent = true;
            }),
            (1, &|event| {
                let decision = event.decision.as_mut().unwrap();
                decision.account = None;
                decision.source = Source::None;
                decision.client = Some(1);
                decision.verdict = Verdict::Refuse(Refusal::NoAccount);
                event.status = 404;
                event.path = "/".into();
            }),
            (3, &|event| {
                let decision = event.decision.as_mut().unwrap();
                decision.account = Some(account(77));
                decision.verdict = Verdict::Refuse(Refusal::UnmappedAccount);
                event.status = 404;
            }),
        ]);
        let window = window(0, &all);
        assert_eq!(
            rows(&window),
            [
                "account 1 airflow app none :abababababab 192.0.2.0/24 /api/v2/accounts/{account}/jobs [0, 1, 0, 0, 0]",
                "account 1 airflow app none none 192.0.2.0/24 /api/v2/accounts/{account}/jobs [0, 2, 0, 1, 0]",
                "account 1 airflow app none none 203.0.113.0/24 /api/v2/accounts/{account}/jobs [0, 1, 0, 0, 0]",
                "account 1 unknown app none none 192.0.2.0/24 /api/v2/accounts/{account}/jobs [0, 1, 0, 0, 0]",
                "unattributed 0 curl app none none 192.0.2.0/24 other [0, 0, 0, 1, 0]",
                "unmapped 0 airflow app none none 192.0.2.0/24 /api/v2/accounts/{account}/jobs [0, 0, 0, 3, 0]",
            ]
        );
        let frame = window.frame("a", 1, 10);
        let accounts: Vec<_> = frame.accounts.iter().collect();
        assert_eq!((frame.requests(), accounts), (10, vec![(1, ("us1", Some("ab123")))]));
        assert_eq!(frame.gaps, []);
    }

    #[test]
    fn an_account_that_moves_and_returns_is_shown_where_the_newest_generation_has_it() {
        let of_generation = |generation, cell: &str| {
            let mut snapshot = Arc::into_inner(snapshot(1)).unwrap();
            snapshot.generation = Generation(generation);
            snapshot.cells[0].name = Label::parse(cell).unwrap();
            Arc::new(snapshot)
        };
        let mut window = Window::new(0);
        let mut seen = Vec::new();
        for (generation, cell) in [(1, "us1"), (2, "us2"), (3, "us1"), (2, "us2")] {
            add(&mut window, &mut Told::default(), &[legacy_event(&of_generation(generation, cell))]);
            seen.push(window.accounts[&account(1)].cell.to_string());
        }
        assert_eq!(seen, ["us1", "us2", "us1", "us1"], "the last began before the account came back");
    }

    #[test]
    fn days_have_hours_and_first_and_last_seen_follow_the_start_of_the_request() {
        let start = unix_seconds(legacy_event(&snapshot(1)).started);
        let at = |seconds| move |event: &mut RequestEvent| event.started += Duration::from_secs(seconds);
        let all = events(&[(1, &at(30)), (2, &at(5)), (1, &at(3_600)), (1, &at(86_400))]);
        let frame = window(start, &all).frame("a", 1, start + 10);
        let seen: Vec<_> =
            frame.uses.uses().map(|row| (row.day, row.hours, row.first_seen, row.last_seen)).collect();
        let day = start / 86_400;
        assert_eq!(
            seen,
            [
                (day, vec![(10, 3), (11, 1)], start + 5, start + 3_600),
                (day + 1, vec![(10, 1)], start + 86_400, start + 86_400)
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_counted_for_its_account() {
        let mut window = Window::with_room(0, 2);
        let client =
            |client| move |event: &mut RequestEvent| event.decision.as_mut().unwrap().client = client;
        let mut told = Told::default();
        for (change, without_detail) in [(Some(0), 0), (Some(1), 0), (None, 1), (Some(0), 0), (None, 1)] {
            assert_eq!(
                add(&mut window, &mut told, &events(&[(1, &client(change))])),
                without_detail,
                "{change:?}"
            );
        }
        assert_eq!(
            rows(&window),
            [
                "account 1 airflow app none none 192.0.2.0/24 /api/v2/accounts/{account}/jobs [0, 2, 0, 0, 0]",
                "account 1 curl app none none 192.0.2.0/24 /api/v2/accounts/{account}/jobs [0, 1, 0, 0, 0]",
                "account 1 other other other other other /api/v2/accounts/{account}/jobs [0, 2, 0, 0, 0]",
            ]
        );
        let gap = &window.frame("a", 1, 10).gaps[0];
        assert_eq!((gap.reason.as_str(), gap.requests), ("detail", Some(2)));
    }

    #[test]
    fn an_account_has_so_many_credentials_and_networks_a_day() {
        let token = |n: u8| {
            move |event: &mut RequestEvent| {
                event.client_ip = [10, 0, n, 1].into();
                event.started += Duration::from_secs(if n >= 100 { 86_400 } else { 0 });
                let decision = event.decision.as_mut().unwrap();
                decision.fingerprint = Some(Fingerprint([n; 16]));
                decision.credential_sent = true;
            }
        };
        let (mut window, mut told) = (Window::new(0), Told::default());
        let mut add = |n: u8| add(&mut window, &mut told, &events(&[(1, &token(n))]));
        let beyond: Vec<_> = (0..40).filter(|n| add(*n) == 1).collect();
        assert_eq!(beyond, (16..40).collect::<Vec<_>>(), "networks are beyond first");
        // Who was told already still is, and the next day has room again.
        assert_eq!((add(3), add(39), add(100)), (0, 1, 0));
        let frame = window.frame("a", 1, 10);
        let different = |of: &dyn Fn(&Integration) -> &str| {
            let mut found: Vec<_> = frame.uses.uses().map(|row| of(&row.integration).to_owned()).collect();
            found.sort();
            found.dedup();
            found.len()
        };
        assert_eq!(different(&|of| &of.credential), 32 + 1 + 1, "and `other`, and that of the next day");
        assert_eq!(different(&|of| &of.network), 16 + 1 + 1);
        assert_eq!(frame.requests(), 43);
    }

    #[test]
    fn while_keys_rotate_a_credential_is_noted_with_both_names_and_takes_one_place_of_its_account() {
        let key = |id: &str| FingerprintKey {
            id: id.into(),
            key: Arc::new(aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, id.as_bytes())),
        };
        let rotating = |keys: &[&str]| {
            let mut snapshot = Arc::into_inner(snapshot(1)).unwrap();
            snapshot.identify.credentials.keys = keys.iter().map(|id| key(id)).collect();
            Arc::new(snapshot)
        };
        let of = |snapshot: &Arc<Snapshot>, now: u8, before: Option<u8>| {
            let mut event = legacy_event(snapshot);
            let decision = event.decision.as_mut().unwrap();
            (decision.fingerprint, decision.credential_sent) = (Some(Fingerprint([now; 16])), true);
            decision.fingerprint_before = before.map(|before| Fingerprint([before; 16]));
            event
        };
        let (mut window, mut told) = (Window::new(0), Told::default());
        let (before, rotated) = (rotating(&["k1"]), rotating(&["k2", "k1"]));
        // As many as have a place on a day; each of them comes again under the new key.
        let first: Vec<_> = (0..32).map(|n| of(&before, n, None)).collect();
        let again: Vec<_> = (0..32).map(|n| of(&rotated, 100 + n, Some(n))).collect();
        assert_eq!(add(&mut window, &mut told, &first) + add(&mut window, &mut told, &again), 0);
        let frame = window.frame("a", 1, 10);
        assert_eq!(frame.renamed.len(), 32);
        let [credential, before] = ["k2:646464646464", "k1:000000000000"].map(str::to_owned);
        assert_eq!(frame.renamed[0], Renamed { account: 1, credential, before });
        assert_eq!(frame.uses.uses().count(), 64);
    }

    #[test]
    fn a_template_is_written_as_in_the_configuration() {
        let segments = vec![Segment::Literal("x".into()), Segment::Any, Segment::Entity, Segment::Account];
        let template = PathTemplate { segments, authenticated: false };
        assert_eq!(written(&template), "/x/*/{entity}/{account}");
    }
}
