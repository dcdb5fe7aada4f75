//! A window of the books in memory: legacy requests added up by what a report tells apart. Bounded in
//! keys and names; what does not fit is counted in one overflow row of its hour and never lost. Requests on cell hosts
//! come in as sums by account, and are none of those.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::policy::credential::Fingerprint;
use crate::policy::decide::Decision;
use crate::policy::hosts::Role;
use crate::policy::ids::{AccountId, Label};
use crate::policy::path::template;
use crate::policy::refusal::Refusal;
use crate::policy::snapshot::{PathTemplate, Segment, Snapshot};
use crate::telemetry::event::RequestEvent;
use crate::telemetry::labels::{CLASSES, NONE, UNKNOWN_CLIENT, class_slot};
use crate::telemetry::wall_time::unix_seconds;

use super::cell_use::CellUse;

/// Different keys of one window: 10,000 accounts that each use three clients on two surfaces. At 100
/// bytes a key, 7 MB.
const MAX_KEYS: usize = 64 * 1024;

/// Different names of cells, surfaces, clients and path templates of one window. They come from the
/// configuration, where some hundred are many; the bound is for a window that stays open through very
/// many reloads because the disk does not take it.
const MAX_NAMES: usize = 4 * 1024;

/// Different learned credentials of one window; at 32 bytes each, 4 MB. More are counted without telling which.
const MAX_LEARNED: usize = 128 * 1024;

/// Different accounts on cell hosts of one window; at 32 bytes each, 4 MB. There are so many only where the disk takes no
/// window for a while; what is beyond them is left out of the weights.
const MAX_ON_CELL_HOSTS: usize = 128 * 1024;

/// What stands for a path that no template matches.
pub(super) const OTHER_ENDPOINT: &str = "other";

/// Whom requests are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Subject {
    /// An account with a row in the table.
    Account(AccountId),
    /// Nothing named an account.
    Unattributed,
    /// Ids without a row. One bucket: clients can make up as many ids as they like.
    Unmapped,
    /// What did not fit into its window in detail.
    Overflow,
}

/// One row of a window. Names are positions in [`Window::names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Hours since the Unix epoch.
    pub hour: i64,
    pub subject: Subject,
    pub client: Name,
    pub surface: Name,
    pub cell: Name,
}

/// A position in [`Window::names`].
pub(super) type Name = u16;

/// The counts of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    /// By status class.
    pub statuses: [u64; CLASSES.len()],
    /// Unix seconds.
    pub first_seen: i64,
    /// Unix seconds.
    pub last_seen: i64,
    /// The path template of one of the requests.
    pub endpoint: Name,
}

/// What the report shows of an account beside its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccountFacts {
    /// Of the generation that knew this: requests of older ones may end later.
    pub generation: u64,
    pub prefix: Option<Label>,
    pub cell: Label,
}

/// Legacy requests of some seconds.
#[derive(Debug)]
pub(super) struct Window {
    /// Unix seconds.
    pub started_at: i64,
    pub counts: HashMap<Key, Tally>,
    pub accounts: HashMap<AccountId, AccountFacts>,
    /// Requests that a learned credential placed, by day (since the Unix epoch) and credential; `None` counts
    /// those of a day that did not fit.
    pub learned: HashMap<(i64, Option<Fingerprint>), u64>,
    /// Requests on cell hosts, by day (since the Unix epoch) and account.
    pub on_cell_hosts: HashMap<(i64, AccountId), u64>,
    /// Legacy requests counted, overflow included.
    pub requests: u64,
    /// Requests without detail.
    pub overflow: u64,
    names: Names,
    max_keys: usize,
}

/// Each name once.
#[derive(Debug, Default)]
struct Names {
    texts: Vec<Arc<str>>,
    positions: HashMap<Arc<str>, Name>,
}

impl Window {
    /// An empty window.
    pub fn new(started_at: i64) -> Self {
        Self::with_room(started_at, MAX_KEYS)
    }

    fn with_room(started_at: i64, max_keys: usize) -> Self {
        Self {
            started_at,
            counts: HashMap::new(),
            accounts: HashMap::new(),
            learned: HashMap::new(),
            on_cell_hosts: HashMap::new(),
            requests: 0,
            overflow: 0,
            names: Names::default(),
            max_keys,
        }
    }

    /// The text of a name.
    pub fn name(&self, name: Name) -> &str {
        self.names.texts.get(usize::from(name)).map_or(NONE, |text| text)
    }

    /// Counts an event, where it is one of a legacy host; false when it had to be counted without its
    /// detail.
    pub fn count(&mut self, event: &RequestEvent) -> bool {
        let Some(decision) = event.decision.as_ref().filter(|d| d.role == Some(Role::Legacy)) else {
            return true;
        };
        self.requests += 1;
        let at = unix_seconds(event.started);
        self.count_learned(event, decision, at);
        let added = self.add(event, decision, at).is_some();
        if !added {
            self.overflow += 1;
            let key =
                Key { hour: at.div_euclid(3600), subject: Subject::Overflow, client: 0, surface: 0, cell: 0 };
            // One key an hour, so that it needs no bound of its own.
            let tally = self.counts.entry(key).or_insert_with(|| Tally::new(at, 0));
            tally.add(event.status, at);
        }
        added
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

    /// Counts what a process that has learned nothing could not have placed.
    fn count_learned(&mut self, event: &RequestEvent, decision: &Decision, at: i64) {
        let placed = matches!(subject(event, decision), Subject::Account(_));
        let Some(fingerprint) = decision.placed_by().filter(|_| placed) else { return };
        let day = at.div_euclid(86_400);
        let known = Some(fingerprint);
        let fits = self.learned.len() < MAX_LEARNED || self.learned.contains_key(&(day, known));
        *self.learned.entry((day, known.filter(|_| fits))).or_default() += 1;
    }

    /// `None` when keys or names are used up.
    fn add(&mut self, event: &RequestEvent, decision: &Decision, at: i64) -> Option<()> {
        let snapshot = &event.snapshot;
        let subject = subject(event, decision);
        let surface = decision.surface.and_then(|s| snapshot.surfaces.get(usize::from(s.0)));
        let client = decision.client.and_then(|c| snapshot.clients.get(usize::from(c)));
        let cell = event.cell().and_then(|cell| snapshot.cells.get(usize::from(cell.0)));
        // Name 0 is `none`, which overflow rows and every absent name share.
        self.names.position(NONE)?;
        let key = Key {
            hour: at.div_euclid(3600),
            subject,
            client: self.names.position(client.map_or(UNKNOWN_CLIENT, |family| &family.name))?,
            surface: self.names.position(surface.map_or(NONE, |surface| surface.name.as_str()))?,
            cell: self.names.position(cell.map_or(NONE, |cell| cell.name.as_str()))?,
        };
        let room = self.counts.len() < self.max_keys;
        match self.counts.entry(key) {
            Entry::Occupied(mut entry) => entry.get_mut().add(event.status, at),
            Entry::Vacant(_) if !room => return None,
            Entry::Vacant(entry) => {
                let endpoint = self.names.position(&endpoint(&event.path, &snapshot.identify.paths))?;
                entry.insert(Tally::new(at, endpoint)).add(event.status, at);
            }
        }
        if let Subject::Account(id) = subject {
            self.note(id, snapshot);
        }
        Some(())
    }

    /// Keeps what the newest generation says of the account: it may move, and back, within one window.
    fn note(&mut self, id: AccountId, snapshot: &Snapshot) {
        let generation = snapshot.generation.0;
        if self.accounts.get(&id).is_some_and(|facts| facts.generation >= generation) {
            return;
        }
        if let Some(row) = snapshot.accounts.by_id(id) {
            let prefix = row.prefixes.first().and_then(|prefix| Label::parse(prefix).ok());
            let cell = snapshot.cell(row.cell).name.clone();
            self.accounts.insert(id, AccountFacts { generation, prefix, cell });
        }
    }
}

impl Tally {
    const fn new(at: i64, endpoint: Name) -> Self {
        Self { statuses: [0; CLASSES.len()], first_seen: at, last_seen: at, endpoint }
    }

    fn add(&mut self, status: u16, at: i64) {
        self.statuses[class_slot(status)] += 1;
        self.first_seen = self.first_seen.min(at);
        self.last_seen = self.last_seen.max(at);
    }
}

impl Names {
    fn position(&mut self, text: &str) -> Option<Name> {
        if let Some(position) = self.positions.get(text) {
            return Some(*position);
        }
        if self.texts.len() >= MAX_NAMES {
            return None;
        }
        let position = Name::try_from(self.texts.len()).expect("MAX_NAMES is below 2^16");
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.positions.insert(text, position);
        Some(position)
    }
}

fn subject(event: &RequestEvent, decision: &Decision) -> Subject {
    let snapshot = &event.snapshot;
    match decision.account {
        None => Subject::Unattributed,
        // Whoever walks ids without a credential must not make accounts look busy on the legacy host.
        Some(_) if event.refusal == Some(Refusal::CredentialRequired) => Subject::Unattributed,
        Some(id) if snapshot.accounts.by_id(id).is_some() => Subject::Account(id),
        Some(_) => Subject::Unmapped,
    }
}

/// The template that the router saw in the path.
fn endpoint(path: &str, templates: &[PathTemplate]) -> String {
    let found = template(templates, path);
    found.map_or_else(|| OTHER_ENDPOINT.to_owned(), |template| written(&template.segments))
}

/// As in the configuration, so that an endpoint of a report can be found there.
fn written(segments: &[Segment]) -> String {
    segments.iter().fold(String::new(), |mut text, segment| {
        text.push('/');
        text.push_str(match segment {
            Segment::Literal(literal) => literal,
            Segment::Account => "{account}",
            Segment::Entity => "{entity}",
            Segment::Any => "*",
        });
        text
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::decide::{Source, Verdict};
    use crate::policy::ids::Generation;
    use crate::telemetry::fixture::{legacy_event, snapshot};
    use crate::test_snapshot::account;

    /// Subject, client, surface, cell, endpoint and statuses of every row, sorted.
    fn rows(window: &Window) -> Vec<String> {
        let mut rows: Vec<String> = window
            .counts
            .iter()
            .map(|(key, tally)| {
                format!(
                    "{:?} {} {} {} {} {:?}",
                    key.subject,
                    window.name(key.client),
                    window.name(key.surface),
                    window.name(key.cell),
                    window.name(tally.endpoint),
                    tally.statuses
                )
            })
            .collect();
        rows.sort();
        rows
    }

    #[test]
    fn requests_add_up_by_account_client_surface_and_cell() {
        let snapshot = snapshot(1);
        let mut window = Window::new(0);
        let count = |window: &mut Window, change: &dyn Fn(&mut RequestEvent)| {
            let mut event = legacy_event(&snapshot);
            change(&mut event);
            assert!(window.count(&event));
        };
        count(&mut window, &|_| {});
        count(&mut window, &|event| event.status = 404);
        count(&mut window, &|event| event.path = "/elsewhere".into());
        count(&mut window, &|event| event.decision.as_mut().unwrap().client = None);
        count(&mut window, &|event| {
            let decision = event.decision.as_mut().unwrap();
            decision.account = None;
            decision.source = Source::None;
            decision.client = Some(1);
            decision.verdict = Verdict::Refuse(Refusal::NoAccount);
            event.status = 404;
            event.path = "/".into();
        });
        for id in [77, 78, 79] {
            count(&mut window, &|event| {
                let decision = event.decision.as_mut().unwrap();
                decision.account = Some(account(id));
                decision.verdict = Verdict::Refuse(Refusal::UnmappedAccount);
                event.status = 404;
            });
        }
        // Neither a cell host nor an unreadable head is legacy use.
        count(&mut window, &|event| event.decision.as_mut().unwrap().role = Some(Role::Cell));
        count(&mut window, &|event| event.decision = None);
        assert_eq!(
            rows(&window),
            [
                "Account(AccountId(1)) airflow app us1 /api/v2/accounts/{account}/jobs [0, 2, 0, 1, 0]",
                "Account(AccountId(1)) unknown app us1 /api/v2/accounts/{account}/jobs [0, 1, 0, 0, 0]",
                "Unattributed curl app none other [0, 0, 0, 1, 0]",
                "Unmapped airflow app none /api/v2/accounts/{account}/jobs [0, 0, 0, 3, 0]",
            ]
        );
        assert_eq!((window.requests, window.overflow), (8, 0));
        let facts = &window.accounts[&account(1)];
        assert_eq!((facts.prefix.as_ref().unwrap().as_str(), facts.cell.as_str()), ("ab123", "us1"));
        assert_eq!(window.accounts.len(), 1);
    }

    #[test]
    fn an_account_that_moves_and_returns_is_shown_where_the_newest_generation_has_it() {
        let of_generation = |generation, cell: &str| {
            let mut snapshot = Arc::into_inner(snapshot(1)).unwrap();
            snapshot.generation = Generation(generation);
            snapshot.cells[0].name = Label::parse(cell).unwrap();
            Arc::new(snapshot)
        };
        let snapshots = [(1, "us1"), (2, "us2"), (3, "us1"), (2, "us2")];
        let mut window = Window::new(0);
        let mut seen = Vec::new();
        for (generation, cell) in snapshots {
            assert!(window.count(&legacy_event(&of_generation(generation, cell))));
            seen.push(window.accounts[&account(1)].cell.to_string());
        }
        assert_eq!(seen, ["us1", "us2", "us1", "us1"], "the last began before the account came back");
        assert_eq!(window.counts.len(), 2, "counts stay with the cells that served");
    }

    #[test]
    fn walking_ids_without_a_credential_makes_no_account_look_busy() {
        let mut window = Window::new(0);
        let mut event = legacy_event(&snapshot(1));
        event.refusal = Some(Refusal::CredentialRequired);
        event.status = 401;
        assert!(window.count(&event));
        assert!(rows(&window)[0].starts_with("Unattributed "), "{:?}", rows(&window));
    }

    #[test]
    fn hours_and_first_and_last_seen_follow_the_start_of_the_request() {
        let snapshot = snapshot(1);
        let mut window = Window::new(0);
        let start = unix_seconds(legacy_event(&snapshot).started);
        for seconds in [30, 5, 3599, 3600] {
            let mut event = legacy_event(&snapshot);
            event.started += Duration::from_secs(seconds);
            window.count(&event);
        }
        let mut seen: Vec<_> =
            window.counts.iter().map(|(key, t)| (key.hour, t.first_seen, t.last_seen)).collect();
        seen.sort_unstable();
        let hour = start / 3600;
        assert_eq!(seen, [(hour, start + 5, start + 3599), (hour + 1, start + 3600, start + 3600)]);
    }

    #[test]
    fn what_does_not_fit_is_counted_without_detail() {
        let snapshot = snapshot(1);
        let mut window = Window::with_room(0, 2);
        let mut fitted = Vec::new();
        for client in [Some(0), Some(1), None, Some(0), None] {
            let mut event = legacy_event(&snapshot);
            event.decision.as_mut().unwrap().client = client;
            fitted.push(window.count(&event));
        }
        assert_eq!(fitted, [true, true, false, true, false]);
        assert_eq!((window.requests, window.overflow), (5, 2));
        assert_eq!(
            rows(&window),
            [
                "Account(AccountId(1)) airflow app us1 /api/v2/accounts/{account}/jobs [0, 2, 0, 0, 0]",
                "Account(AccountId(1)) curl app us1 /api/v2/accounts/{account}/jobs [0, 1, 0, 0, 0]",
                "Overflow none none none none [0, 2, 0, 0, 0]",
            ]
        );
    }

    #[test]
    fn what_only_a_learned_credential_placed_is_counted_by_day_and_credential() {
        let snapshot = snapshot(1);
        let mut window = Window::new(0);
        let mut count = |change: &dyn Fn(&mut RequestEvent, &mut Decision)| {
            let mut event = legacy_event(&snapshot);
            let mut decision = event.decision.take().unwrap();
            decision.source = Source::Credential;
            decision.learned = Some(Fingerprint([7; 16]));
            decision.credential_known = true;
            change(&mut event, &mut decision);
            event.decision = Some(decision);
            window.count(&event);
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
        let mut learned: Vec<_> =
            window.learned.iter().map(|((day, f), n)| (*day, f.unwrap().0[0], *n)).collect();
        learned.sort_unstable();
        let day = unix_seconds(legacy_event(&snapshot).started) / 86_400;
        assert_eq!(learned, [(day, 7, 2), (day, 8, 1), (day + 1, 7, 1)]);
    }

    #[test]
    fn names_are_bounded() {
        let mut names = Names::default();
        for number in 0..MAX_NAMES {
            assert!(names.position(&number.to_string()).is_some());
        }
        assert_eq!(names.position("one more"), None);
        assert_eq!(names.position("0"), Some(0));
    }

    #[test]
    fn the_first_matching_template_names_the_endpoint() {
        let snapshot = snapshot(1);
        let free = vec![Segment::Literal("x".into()), Segment::Any, Segment::Entity];
        let free = PathTemplate { segments: free, authenticated: false };
        let templates = [snapshot.identify.paths.as_slice(), &[free]].concat();
        for (path, expect) in [
            ("/x/y/7", "/x/*/{entity}"),
            ("/api/v2/accounts/007/jobs", OTHER_ENDPOINT),
            ("/api/v2/accounts/1/jobs/7/", "/api/v2/accounts/{account}/jobs"),
            ("/api/v2/accounts/1/jobs", "/api/v2/accounts/{account}/jobs"),
            ("/api/v2/accounts/1/runs/", "/api/v2/accounts/{account}"),
            ("/api/v2/accounts/1", "/api/v2/accounts/{account}"),
            ("/api/v2/accounts/x/jobs", OTHER_ENDPOINT),
            ("/api/v2/accounts//jobs", OTHER_ENDPOINT),
            ("/api/v2/accounts", OTHER_ENDPOINT),
            ("/", OTHER_ENDPOINT),
            ("", OTHER_ENDPOINT),
            ("*", OTHER_ENDPOINT),
        ] {
            assert_eq!(endpoint(path, &templates), expect, "{path}");
        }
    }
}
