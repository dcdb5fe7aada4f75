//! Who looks: once a second, on a thread of its own, so that neither a data plane at its limit nor a slow admin call makes the
//! status late. Prints anew where there is something new to say, and every few seconds that there is not.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde::Serialize;

use crate::policy::code::Code;
use crate::policy::hex::hex;
use crate::policy::protection::levers::board::LeverBoard;
use crate::policy::snapshot::Snapshot;
use crate::policy::status::measures;
use crate::policy::status::resume::{Resumed, Saved};
use crate::policy::status::{Board, Change};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::wall_time::unix_seconds;

use super::StatusSettings;
use super::desk::{Edition, Printed, StatusDesk};
use super::memory::Memory;
use super::names::{CalledNames, PublicNames};
use super::notify::{Letter, Notifier, Post};
use super::page;
use super::publish::Publisher;
use super::seen::seen;
use super::view::{ChangeView, OperatorsView, StatusView, Told};

/// How often it looks: what the machine counts in.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How old what is printed becomes where nothing changes, in seconds: whoever reads it knows that it is no older.
const PRINT_EVERY_S: i64 = 15;

/// Changes that are told: what happened lately, on a page that people read.
const TOLD_CHANGES: usize = 20;

/// How long whoever hands over waits for it to rest: what it sends and writes takes some seconds at worst, and a folder that
/// hangs must hang nobody else.
const REST_WITHIN: Duration = Duration::from_secs(3);

/// Changes in one event; a reader who wants more has the JSON.
const EVENT_CHANGES: usize = 20;

/// Characters of an entity tag: no two printings of a day share 64 bits.
const TAG_DIGITS: usize = 16;

/// What is looked at.
#[derive(Clone)]
pub struct Watched {
    /// What serves.
    pub live: Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync>,
    /// What operators have pulled.
    pub levers: Arc<LeverBoard>,
    /// What was counted and judged.
    pub metrics: Arc<Metrics>,
}

/// See the file.
pub struct Keeper {
    watched: Watched,
    settings: StatusSettings,
    desk: Arc<StatusDesk>,
    board: Board,
    changes: VecDeque<Change>,
    /// What the process before has said and this one does not, for the next look.
    closed: Vec<Change>,
    last: Option<(i64, StatusView, StatusView)>,
    publisher: Option<Publisher>,
    notifier: Option<Notifier>,
    memory: Memory,
}

/// A running one; it ends when this is dropped, and what it has said is kept.
#[derive(Debug)]
pub struct StatusThread {
    words: Option<SyncSender<Word>>,
    thread: Option<JoinHandle<()>>,
}

/// What it is told. That there is nobody who tells is the end.
#[derive(Debug)]
enum Word {
    /// To keep what it has said and say nothing more; answered when that is done.
    Rest(SyncSender<()>),
    /// That it goes on.
    GoOn,
}

/// It says nothing, for as long as this lives or for good.
#[derive(Debug)]
#[must_use = "it goes on as soon as this is dropped"]
pub struct Resting<'a> {
    words: Option<&'a SyncSender<Word>>,
}

/// What an event says.
#[derive(Serialize)]
struct EventView<'a> {
    state: &'a str,
    summary: &'a str,
    as_of: &'a str,
    /// What has changed with it, the newest first.
    changes: &'a [ChangeView],
}

impl Keeper {
    /// One that has not looked yet, and has read nothing of what another has said.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn new(
        watched: Watched,
        settings: StatusSettings,
        desk: Arc<StatusDesk>,
        post: Option<Post>,
        memory: Memory,
    ) -> io::Result<Self> {
        let publisher = settings.folder.clone().map(Publisher::start).transpose()?;
        let notifier = post.map(|post| Notifier::start(post, fastrand::u64(..))).transpose()?;
        let (board, changes, closed) = (Board::default(), VecDeque::new(), Vec::new());
        let last = None;
        Ok(Self { watched, settings, desk, board, changes, closed, last, publisher, notifier, memory })
    }

    /// Goes on with what the process before has said, and looks as long as the thread that is given back lives.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(mut self) -> io::Result<StatusThread> {
        // A word to rest, and that it is taken back.
        let (words, heard) = sync_channel(2);
        let run = move || self.run(&heard);
        let thread = std::thread::Builder::new().name("status".into()).spawn(run)?;
        Ok(StatusThread { words: Some(words), thread: Some(thread) })
    }

    fn run(&mut self, words: &Receiver<Word>) {
        self.recall(unix_seconds(SystemTime::now()));
        loop {
            self.look(unix_seconds(SystemTime::now()));
            match words.recv_timeout(LOOK_EVERY) {
                Err(RecvTimeoutError::Timeout) | Ok(Word::GoOn) => {}
                Err(RecvTimeoutError::Disconnected) => return self.rest(),
                Ok(Word::Rest(rested)) => {
                    self.rest();
                    // Who has not waited for it goes on without.
                    let _ = rested.try_send(());
                    // For good, where nobody is there to say another word.
                    if words.recv().is_err() {
                        return;
                    }
                    if let Some(notifier) = &self.notifier {
                        notifier.go_on();
                    }
                }
            }
        }
    }

    /// Takes over what the process before has said; before the first look.
    pub(super) fn recall(&mut self, now: i64) {
        let snapshot = (self.watched.live)();
        let Resumed { board, changes, closed, untold, never_told, .. } = self.memory.recall(&snapshot, now);
        (self.board, self.changes, self.closed) = (board, changes.into(), closed);
        self.changes.truncate(TOLD_CHANGES);
        let Some(notifier) = &self.notifier else { return };
        if never_told > 0 {
            tracing::warn!(code = %Code::StatusNotTold, changes = never_told, "changes that the process before has not told are too old, or of what is no more");
        }
        notifier.go_on_with(untold, &self.settings.names.of(&snapshot));
    }

    /// Sends nothing more, and keeps what was said until now.
    fn rest(&mut self) {
        if let Some(notifier) = &self.notifier {
            notifier.rest();
        }
        let saved = self.saved(unix_seconds(SystemTime::now()), &[]);
        self.memory.put_down(saved);
    }

    /// What the next process goes on with.
    fn saved(&self, now: i64, new: &[Letter]) -> Saved {
        Saved {
            at: now,
            cells: self.board.saved(),
            changes: self.changes.iter().cloned().collect(),
            untold: self.notifier.as_ref().map(|notifier| notifier.untold(new)).unwrap_or_default(),
        }
    }

    /// Looks once; `now` is in seconds since the Unix epoch.
    pub fn look(&mut self, now: i64) {
        let (snapshot, levers) = ((self.watched.live)(), self.watched.levers.table());
        let (report, pulse) = (self.watched.metrics.standing.last(), self.watched.metrics.pulse.tiles());
        let (seen, measures) = seen(&snapshot, &report, &levers, &pulse);
        let mut changed = std::mem::take(&mut self.closed);
        changed.extend(self.board.look(&seen, now));
        let public = self.settings.names.of(&snapshot);
        let letters = self.letters(&changed, &public);
        let new = changed.len();
        changed.into_iter().for_each(|change| self.changes.push_front(change));
        self.changes.truncate(TOLD_CHANGES);
        let cells = self.board.standing(&seen);
        let planned = measures::planned(&snapshot, &levers, now);
        let view = |names: &CalledNames, operators| {
            StatusView::new(Told {
                title: &self.settings.title,
                names,
                cells: &cells,
                measures: &measures,
                planned: &planned,
                changes: &mut self.changes.iter(),
                operators,
                now,
            })
        };
        let verdicts = report.verdicts.iter().map(|held| format!("{}: {}", held.verdict, held.evidence));
        let pulled = levers.iter().map(|pulled| pulled.lever.to_string()).collect();
        let operators = OperatorsView::new(&snapshot, verdicts.collect(), pulled);
        let own = PublicNames { internal: true, ..PublicNames::default() }.of(&snapshot);
        self.print(now, view(&public, None), view(&own, Some(operators)), new);
        // Before anybody is told: what was sent and is not known to have been, another process would say as its own.
        self.memory.keep(self.saved(now, &letters));
        if let Some(notifier) = self.notifier.as_ref().filter(|_| !letters.is_empty()) {
            notifier.offer(letters);
        }
    }

    /// Says in the log what has changed, and makes it ready to be told.
    fn letters(&mut self, changes: &[Change], names: &CalledNames) -> Vec<Letter> {
        for change in changes {
            tracing::info!(
                cell = %change.cell,
                surface = change.surface.as_ref().map_or("", |surface| surface.as_str()),
                from = change.from.as_str(),
                to = change.to.as_str(),
                "the status has changed"
            );
        }
        let Some(notifier) = &mut self.notifier else { return Vec::new() };
        changes.iter().filter_map(|change| notifier.letter(change, names)).collect()
    }

    /// Prints both editions, unless they would say what is said already, and not long ago.
    fn print(&mut self, now: i64, public: StatusView, operators: StatusView, new: usize) {
        let is_news = self.last.as_ref().is_none_or(|(at, last, own)| {
            let is_old = !(0..PRINT_EVERY_S).contains(&now.saturating_sub(*at));
            is_old || !last.says_the_same(&public) || !own.says_the_same(&operators)
        });
        if !is_news {
            return;
        }
        let (edition, own) = (edition(&public, new, true), self::edition(&operators, new, true));
        if let Some(publisher) = &self.publisher {
            // What is served by others has nobody there who could tell of what is new.
            let page = Bytes::from(page::page(&public, false));
            publisher.offer(page, edition.json.bytes.clone());
        }
        self.desk.put(edition, own);
        self.last = Some((now, public, operators));
    }
}

fn edition(view: &StatusView, new: usize, is_live: bool) -> Edition {
    let changes = &view.changes[..view.changes.len().min(new).min(EVENT_CHANGES)];
    let event = EventView { state: view.state, summary: &view.summary, as_of: &view.as_of, changes };
    let json = serde_json::to_vec_pretty(view).expect("texts and numbers are JSON");
    let json = printed([json, b"\n".to_vec()].concat());
    // One line of JSON is one line of data.
    let data = serde_json::to_string(&event).expect("texts are JSON");
    let id = json.tag.trim_matches('"');
    let event = Bytes::from(format!("event: status\nid: {id}\ndata: {data}\n\n"));
    Edition { page: printed(page::page(view, is_live).into_bytes()), json, event }
}

fn printed(bytes: Vec<u8>) -> Printed {
    let tag = hex(digest(&SHA256, &bytes).as_ref());
    Printed { tag: format!("\"{}\"", &tag[..TAG_DIGITS]).into(), bytes: bytes.into() }
}

impl StatusThread {
    /// Has it keep what it has said and say nothing more, so that a successor reads it and says the rest. What is being sent
    /// gets a second for it.
    pub fn rest(&self) -> Resting<'_> {
        let (rested, rests) = sync_channel(1);
        let words = self.words.as_ref().filter(|words| words.try_send(Word::Rest(rested)).is_ok());
        if words.is_some() && rests.recv_timeout(REST_WITHIN).is_err() {
            tracing::warn!(
                "what the status page says was not kept in time; another process may say it again"
            );
        }
        Resting { words }
    }
}

impl Resting<'_> {
    /// A successor says the rest.
    pub fn for_good(mut self) {
        self.words = None;
    }
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        if let Some(words) = self.words {
            // A thread that is gone has said so.
            let _ = words.try_send(Word::GoOn);
        }
    }
}

impl Drop for StatusThread {
    fn drop(&mut self) {
        drop(self.words.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the status thread ended with a panic; report it with the log of before");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::moment::Moment;
    use crate::status::desk::Reader;
    use crate::status_file;
    use crate::telemetry::fixture::{count, legacy_event, snapshot};

    const NOW: i64 = 1_795_168_800;

    /// One that keeps what it says in this folder.
    fn keeper(metrics: &Arc<Metrics>, desk: &Arc<StatusDesk>, folder: &Path) -> Keeper {
        let live = snapshot(1);
        let watched = Watched {
            live: Arc::new(move || Arc::clone(&live)),
            levers: Arc::default(),
            metrics: Arc::clone(metrics),
        };
        let memory = Memory::new(folder.to_owned(), Arc::default());
        Keeper::new(watched, StatusSettings::default(), Arc::clone(desk), None, memory).unwrap()
    }

    /// Ten seconds in which each request of its one tile fails, from this one on.
    fn fail(keeper: &mut Keeper, metrics: &Arc<Metrics>, from: i64) {
        let snapshot = snapshot(1);
        for second in from..from + 10 {
            for _ in 0..20 {
                let mut event = legacy_event(&snapshot);
                event.status = 500;
                count(metrics, &event);
            }
            metrics.pulse.tick(Moment::at(Duration::from_secs(u64::try_from(second).unwrap())));
            keeper.look(NOW + second);
        }
    }

    fn own_json(desk: &StatusDesk) -> serde_json::Value {
        serde_json::from_slice(&desk.last(Reader::Operators).json.bytes).unwrap()
    }

    #[test]
    fn a_process_that_starts_says_since_when_and_what_was_before_and_a_damaged_file_costs_only_that() {
        let folder = tempfile::tempdir().unwrap();
        let (metrics, desk) = (Arc::new(Metrics::new()), StatusDesk::new(page::policy()));
        let mut first = keeper(&metrics, &desk, folder.path());
        first.recall(NOW);
        fail(&mut first, &metrics, 0);
        let before = own_json(&desk);
        assert_eq!(before["cells"][0]["state"], "degraded");
        // It was killed: nobody has put anything down at its end.
        drop(first);
        let quiet = Arc::new(Metrics::new());
        let mut next = keeper(&quiet, &desk, folder.path());
        next.recall(NOW + 40);
        next.look(NOW + 40);
        let after = own_json(&desk);
        assert_eq!((&after["cells"], &after["changes"]), (&before["cells"], &before["changes"]));
        std::fs::write(folder.path().join(status_file::FILE_NAME), "cellgate-status 1\n{}").unwrap();
        let mut third = keeper(&quiet, &desk, folder.path());
        third.recall(NOW + 50);
        third.look(NOW + 50);
        let anew = own_json(&desk);
        assert_eq!(
            (&anew["cells"][0]["state"], &anew["changes"]),
            (&"operating".into(), &Vec::<u8>::new().into())
        );
        // What is damaged is replaced.
        assert!(status_file::load(folder.path()).unwrap().is_some());
    }

    #[test]
    fn what_does_not_change_is_put_down_each_minute_and_what_changes_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (metrics, desk) = (Arc::new(Metrics::new()), StatusDesk::new(page::policy()));
        let mut keeper = keeper(&metrics, &desk, folder.path());
        let at = || status_file::load(folder.path()).unwrap().unwrap().at - NOW;
        let mut kept = Vec::new();
        // The clock is set back by a minute in between.
        for second in (0..=150).chain(90..=120) {
            keeper.look(NOW + second);
            kept.push(at());
        }
        kept.dedup();
        assert_eq!(kept, [0, 60, 120, 90], "few requests are said to be few from the start on");
        fail(&mut keeper, &metrics, 121);
        assert!((121..131).contains(&at()), "{}", at());
    }

    #[test]
    fn what_says_nothing_new_is_printed_again_every_fifteen_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let (metrics, desk) = (Arc::new(Metrics::new()), StatusDesk::new(page::policy()));
        let mut keeper = keeper(&metrics, &desk, folder.path());
        let mut tags = Vec::new();
        for second in 0..=31 {
            keeper.look(NOW + second);
            tags.push(desk.last(Reader::Everybody).json.tag.clone());
        }
        tags.dedup();
        assert_eq!(tags.len(), 3, "{tags:?}");
    }

    #[test]
    fn failures_turn_a_tile_and_its_event_tells_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let (metrics, desk) = (Arc::new(Metrics::new()), StatusDesk::new(page::policy()));
        let mut keeper = keeper(&metrics, &desk, folder.path());
        let (snapshot, mut told) = (snapshot(1), Vec::new());
        for second in 0..20 {
            for _ in 0..20 {
                let mut event = legacy_event(&snapshot);
                event.status = 500;
                count(&metrics, &event);
            }
            metrics.pulse.tick(Moment::at(Duration::from_secs(u64::try_from(second).unwrap())));
            keeper.look(NOW + second);
            let event = desk.last(Reader::Everybody).event.clone();
            let data = std::str::from_utf8(&event).unwrap().split_once("data: ").unwrap().1.to_owned();
            told.push(serde_json::from_str::<serde_json::Value>(&data).unwrap());
        }
        told.dedup();
        let turns: Vec<_> = told
            .iter()
            .flat_map(|event| event["changes"].as_array().unwrap())
            .map(|one| &one["to"])
            .collect();
        assert_eq!(turns, ["degraded", "down"], "the cell, and before it its surface: {told:?}");
        let page = String::from_utf8(desk.last(Reader::Everybody).page.bytes.to_vec()).unwrap();
        for internal in ["us1", ">app<", "cloud.getdbt.com", "ab123", "us1.internal"] {
            assert!(!page.contains(internal), "{internal} in {page}");
        }
        let own = String::from_utf8(desk.last(Reader::Operators).page.bytes.to_vec()).unwrap();
        assert!(own.contains("us1") && own.contains(">app<"), "{own}");
    }
}
