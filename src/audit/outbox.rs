//! Frames on their way from counting to a store: in the spool, or, where there is none, one of them in memory. What a store
//! has not taken stays; what could be kept nowhere is given back, and its window stays open.

use std::path::PathBuf;

use super::frame::{Frame, Gap};
use super::spool::{Spool, SpoolError, Spools};

/// How long a spool that could not be had is not asked for again (seconds): a disk that has room again is noticed within
/// half a minute.
const TRY_AGAIN: i64 = 30;

/// How often spools are looked for that a process has left behind which ended without writing all of it (seconds).
const LOOK_AROUND: i64 = 3_600;

/// What is on its way.
#[derive(Debug)]
pub(super) struct Outbox {
    folder: PathBuf,
    spool_bytes: u64,
    spools: Option<Spools>,
    memory: Option<Frame>,
    /// Where the frame that was asked for last is.
    asked: Option<Lies>,
    /// Frames that could not be read any more.
    unreadable: Vec<Gap>,
    /// Unix seconds: when spools are taken or looked for the next time.
    look_at: i64,
    /// Unix seconds: where the last window that a store has taken ended.
    taken_until: Option<i64>,
    /// Whether there was no spool the last time, so that the process log hears of changes only.
    without: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lies {
    Left,
    Own,
    Memory,
}

impl Outbox {
    /// For spools in a folder.
    pub fn new(folder: PathBuf, spool_bytes: u64) -> Self {
        Self {
            folder,
            spool_bytes,
            spools: None,
            memory: None,
            asked: None,
            unreadable: Vec::new(),
            look_at: i64::MIN,
            taken_until: None,
            without: false,
        }
    }

    /// Keeps a frame until a store has taken it; false when it can be kept nowhere. `now` in Unix seconds.
    pub fn put(&mut self, frame: Frame, now: i64) -> bool {
        self.look_around(now);
        let spooled = match (&mut self.spools, frame.encode()) {
            (Some(spools), Ok(bytes)) => spools.own.append(&bytes),
            (None, _) | (_, Err(_)) => Err(SpoolError::Full),
        };
        match spooled {
            Ok(()) => return true,
            Err(SpoolError::Full) if self.spools.is_some() => return false,
            Err(SpoolError::Io(error)) => {
                tracing::error!(folder = %self.folder.display(), %error, "the spool of the books cannot be written");
            }
            Err(_) => {}
        }
        let room = self.memory.is_none();
        if room {
            self.memory = Some(frame);
        }
        room
    }

    /// The oldest frame, to be told of with [`taken`](Self::taken) once it is in a store.
    pub fn first(&mut self, now: i64) -> Option<Frame> {
        self.look_around(now);
        let mut frame = self.oldest(now)?;
        frame.gaps.extend(self.unreadable.iter().cloned());
        Some(frame)
    }

    /// The frame that was asked for is in a store.
    pub fn taken(&mut self, frame: &Frame) {
        self.unreadable.clear();
        self.taken_until = Some(frame.ended_at);
        match (self.asked.take(), &mut self.spools) {
            (Some(Lies::Memory), _) => self.memory = None,
            (Some(Lies::Own), Some(spools)) => spools.own.taken(),
            (Some(Lies::Left), Some(spools)) => {
                if let Some(left) = spools.left.first_mut() {
                    left.taken();
                }
            }
            (_, None) | (None, _) => {}
        }
    }

    /// How many frames wait.
    pub fn len(&self) -> usize {
        let spools = self.spools.iter().flat_map(|spools| spools.left.iter().chain([&spools.own]));
        spools.map(Spool::len).sum::<usize>() + usize::from(self.memory.is_some())
    }

    /// What would be lost if the process ended now.
    pub fn in_memory(&self) -> Option<&Frame> {
        self.memory.as_ref()
    }

    fn oldest(&mut self, now: i64) -> Option<Frame> {
        if let Some(spools) = &mut self.spools {
            while let Some(left) = spools.left.first_mut() {
                if let Some(frame) = readable(left, &mut self.unreadable, self.taken_until, now) {
                    self.asked = Some(Lies::Left);
                    return Some(frame);
                }
                if let Err(error) = spools.left.remove(0).delete() {
                    tracing::warn!(%error, "a spool of the books that is empty cannot be deleted");
                }
            }
        }
        let own = self.spools.as_mut();
        let own =
            own.and_then(|spools| readable(&mut spools.own, &mut self.unreadable, self.taken_until, now));
        let memory = self.memory.as_ref();
        // A store knows a writer's windows by the last one: they come in order.
        let memory_first = match (&own, memory) {
            (Some(own), Some(memory)) => memory.writer == own.writer && memory.number < own.number,
            (own, _) => own.is_none(),
        };
        self.asked = Some(if memory_first { Lies::Memory } else { Lies::Own });
        if memory_first { memory.cloned() } else { own }
    }

    /// Takes spools where there are none, and those that others have left.
    fn look_around(&mut self, now: i64) {
        if now < self.look_at {
            return;
        }
        match &mut self.spools {
            Some(spools) => {
                self.look_at = now.saturating_add(LOOK_AROUND);
                spools.left.extend(Spools::left(&self.folder));
            }
            None => match Spools::take(&self.folder, self.spool_bytes) {
                Ok(spools) => {
                    self.look_at = now.saturating_add(LOOK_AROUND);
                    self.spools = Some(spools);
                    if std::mem::replace(&mut self.without, false) {
                        tracing::info!("the books have a spool again");
                    }
                }
                Err(error) => {
                    self.look_at = now.saturating_add(TRY_AGAIN);
                    if !std::mem::replace(&mut self.without, true) {
                        tracing::warn!(
                            folder = %self.folder.display(), %error,
                            "the books have no spool: what is counted while their files cannot be written is kept \
                             in memory only. Tried again"
                        );
                    }
                }
            },
        }
    }
}

/// The oldest frame of a spool that can be read. What cannot is told as a gap, and forgotten.
fn readable(spool: &mut Spool, unreadable: &mut Vec<Gap>, since: Option<i64>, now: i64) -> Option<Frame> {
    loop {
        let why = match spool.first() {
            Ok(None) => return None,
            Ok(Some(bytes)) => match Frame::decode(&bytes) {
                Ok(frame) => return Some(frame),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        tracing::error!(why, "a window of the books in the spool cannot be read any more; a gap says so");
        let reason = "spool".to_owned();
        unreadable.push(Gap { reason, started_at: since, ended_at: now, requests: None, note: Some(why) });
        spool.taken();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::super::frame::tests::{NOON, frame, uses};
    use super::super::report::{Question, read};
    use super::super::spool::LEAST_BYTES;
    use super::super::store::Store;
    use super::*;

    fn outbox(folder: &Path) -> Outbox {
        Outbox::new(folder.to_owned(), LEAST_BYTES)
    }

    fn numbers(outbox: &mut Outbox) -> Vec<(String, i64)> {
        let mut found = Vec::new();
        while let Some(frame) = outbox.first(NOON) {
            outbox.taken(&frame);
            found.push((frame.writer, frame.number));
        }
        found
    }

    #[test]
    fn what_a_killed_process_has_left_comes_first_and_its_spool_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (mut killed, mut running) = (outbox(folder.path()), outbox(folder.path()));
        for number in 1..=2 {
            assert!(killed.put(frame("killed", number, vec![uses(1, "curl", 1)]), NOON));
            assert!(running.put(frame("running", number, vec![]), NOON));
        }
        drop(killed);
        assert_eq!(running.len(), 2);
        assert_eq!(numbers(&mut running), [("running".into(), 1), ("running".into(), 2)]);
        assert!(running.put(frame("running", 3, vec![]), NOON + LOOK_AROUND));
        let expect = [("killed".into(), 1), ("killed".into(), 2), ("running".into(), 3)];
        assert_eq!(numbers(&mut running), expect);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn without_a_spool_one_frame_is_kept_and_the_next_given_back_until_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("state");
        let mut outbox = outbox(&missing);
        assert!(outbox.put(frame("a", 1, vec![]), NOON));
        assert!(!outbox.put(frame("a", 2, vec![]), NOON));
        assert_eq!((outbox.len(), outbox.in_memory().unwrap().number), (1, 1));
        std::fs::create_dir(&missing).unwrap();
        assert!(!outbox.put(frame("a", 2, vec![]), NOON + TRY_AGAIN - 1));
        assert!(outbox.put(frame("a", 2, vec![]), NOON + TRY_AGAIN));
        assert_eq!(
            numbers(&mut outbox),
            [("a".into(), 1), ("a".into(), 2)],
            "in order, though one is in memory"
        );
    }

    #[test]
    fn what_is_found_damaged_at_the_start_is_a_gap_and_what_stands_behind_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut killed = outbox(folder.path());
        for number in 1..=3 {
            assert!(killed.put(frame("a", number, vec![uses(1, "curl", 1)]), NOON));
        }
        drop(killed);
        let path = folder.path().join("spool-1.frames");
        let mut bytes = std::fs::read(&path).unwrap();
        let length = usize::try_from(u32::from_be_bytes(bytes[16..20].try_into().unwrap())).unwrap();
        bytes[16 + 8 + length + 8 + 5] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (mut outbox, mut store) = (outbox(folder.path()), Store::new(folder.path()));
        while let Some(frame) = outbox.first(NOON + 40) {
            store.write(&frame, NOON + 40).unwrap();
            outbox.taken(&frame);
        }
        let report = read(folder.path(), Question { now: NOON + 40, ..Question::default() }).unwrap();
        assert_eq!(report.requests(), 2, "the first and the third");
        let gaps: Vec<_> = report.gaps.iter().map(|gap| (&*gap.reason, gap.ended_at)).collect();
        assert_eq!(gaps, [("spool", NOON + 20)]);
    }

    #[test]
    fn what_cannot_be_read_any_more_is_a_gap_of_the_next_window() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = outbox(folder.path());
        for number in 1..=3 {
            assert!(outbox.put(frame("a", number, vec![uses(1, "curl", 1)]), NOON));
        }
        let first = outbox.first(NOON).unwrap();
        outbox.taken(&first);
        // The second frame lies behind the first, which is as long.
        let path = folder.path().join("spool-1.frames");
        let mut bytes = std::fs::read(&path).unwrap();
        let length = usize::try_from(u32::from_be_bytes(bytes[16..20].try_into().unwrap())).unwrap();
        bytes[16 + 8 + length + 8 + 5] ^= 1;
        std::os::unix::fs::FileExt::write_all_at(
            &std::fs::OpenOptions::new().write(true).open(&path).unwrap(),
            &bytes,
            0,
        )
        .unwrap();
        for _ in 0..2 {
            let third = outbox.first(NOON + 40).unwrap();
            assert_eq!((third.number, third.gaps.len()), (3, 1), "also where it is asked for again");
            assert_eq!((third.gaps[0].started_at, third.gaps[0].ended_at), (Some(first.ended_at), NOON + 40));
        }
        let third = outbox.first(NOON).unwrap();
        outbox.taken(&third);
        assert_eq!(outbox.first(NOON), None);
    }
}
