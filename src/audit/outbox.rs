//! Frames on their way from counting to a store: in the spool, or, where there is none, one of them in memory. What a store
//! has not taken stays; what could be kept nowhere is given back, and its window stays open.

use std::path::PathBuf;

use super::frame::{Frame, Gap};
use super::spool::{READERS, Reader, Spool, SpoolError, Spools};
use crate::policy::code::Code;

/// Bytes of frames, as they lie in the spool, that are read together: unpacked and with what was learned and lost, some ten
/// times as many are in memory.
const MOST_PACKED: usize = 4 << 20;

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
    /// Whether frames go to the database of a fleet, too.
    ships: bool,
    spools: Option<Spools>,
    memory: Option<Memory>,
    readers: [Progress; READERS],
    /// Unix seconds: when spools are taken or looked for the next time.
    look_at: i64,
    /// Whether there was no spool the last time, so that the process log hears of changes only.
    without: bool,
    /// Frames that the database was not there to take, until it was too late.
    given_up: u64,
}

/// The frame that is in no spool, and who has taken it.
#[derive(Debug)]
struct Memory {
    frame: Frame,
    taken: [bool; READERS],
}

/// How far a reader is.
#[derive(Debug, Default)]
struct Progress {
    /// Where the frames that it asked for last are.
    asked: Option<Lies>,
    /// Frames that could not be read any more.
    unreadable: Vec<Gap>,
    /// Unix seconds: where the last window that it has taken ended.
    taken_until: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lies {
    /// In one of the spools that were left.
    Left(usize),
    Own,
    Memory,
}

impl Outbox {
    /// For spools in a folder. `ships` where frames go to the database of a fleet, too.
    pub fn new(folder: PathBuf, spool_bytes: u64, ships: bool) -> Self {
        Self {
            folder,
            spool_bytes,
            ships,
            spools: None,
            memory: None,
            readers: Default::default(),
            look_at: i64::MIN,
            without: false,
            given_up: 0,
        }
    }

    /// Keeps a frame until all have taken it; false when it can be kept nowhere. `now` in Unix seconds.
    pub fn put(&mut self, frame: Frame, now: i64) -> bool {
        self.look_around(now);
        let spooled = match (&mut self.spools, frame.encode()) {
            (Some(spools), Ok(bytes)) => {
                let (spooled, given_up) = append(&mut spools.own, &bytes);
                self.give_up(given_up);
                spooled
            }
            (None, _) | (_, Err(_)) => Err(SpoolError::Full),
        };
        match spooled {
            Ok(()) => return true,
            Err(SpoolError::Full) if self.spools.is_some() => return false,
            Err(SpoolError::Io(error)) => {
                tracing::error!(code = %Code::SpoolUnwritable, folder = %self.folder.display(), %error, "the spool of the books cannot be written");
            }
            Err(_) => {}
        }
        // What the files have is not held for a database that is away.
        let room = self.memory.as_ref().is_none_or(|memory| memory.taken[Reader::Files as usize]);
        if room {
            self.give_up(usize::from(self.memory.is_some()));
            self.memory = Some(Memory { frame, taken: [false, !self.ships] });
        }
        room
    }

    /// The oldest frame that waits for the files, to be told of with [`taken`](Self::taken) once it is in them.
    #[cfg(test)]
    pub fn first(&mut self, now: i64) -> Option<Frame> {
        self.some(Reader::Files, 1, now).pop()
    }

    /// The oldest frames of one writer that wait for a reader, at most so many.
    pub fn some(&mut self, reader: Reader, most: usize, now: i64) -> Vec<Frame> {
        self.look_around(now);
        let Some((first, lies)) = self.oldest(reader, now) else { return Vec::new() };
        self.readers[reader as usize].asked = Some(lies);
        let mut frames = vec![first];
        let spools = self.spools.as_ref();
        let spool = match lies {
            Lies::Left(at) => spools.and_then(|spools| spools.left.get(at)),
            Lies::Own => spools.map(|spools| &spools.own),
            Lies::Memory => None,
        };
        let mut packed = 0;
        while let Some(spool) = spool.filter(|_| frames.len() < most) {
            // One that cannot be read is found again when it is the oldest.
            let Some(bytes) = spool.peek(reader, frames.len()).ok().flatten() else { break };
            packed += bytes.len();
            match Frame::decode(&bytes) {
                Ok(next) if self.follows(&next, &frames[0], reader) && packed <= MOST_PACKED => {
                    frames.push(next)
                }
                _ => break,
            }
        }
        frames[0].gaps.extend(self.readers[reader as usize].unreadable.iter().cloned());
        frames
    }

    /// The frame that the files asked for is in them.
    #[cfg(test)]
    pub fn taken(&mut self, frame: &Frame) {
        self.all_taken(Reader::Files, std::slice::from_ref(frame));
    }

    /// The frames that a reader asked for last are where they belong.
    pub fn all_taken(&mut self, reader: Reader, frames: &[Frame]) {
        let progress = &mut self.readers[reader as usize];
        progress.unreadable.clear();
        progress.taken_until = frames.last().map(|frame| frame.ended_at);
        let spool = match (progress.asked.take(), &mut self.spools) {
            (Some(Lies::Own), Some(spools)) => Some(&mut spools.own),
            (Some(Lies::Left(at)), Some(spools)) => spools.left.get_mut(at),
            (Some(Lies::Memory), _) => {
                self.memory.iter_mut().for_each(|memory| memory.taken[reader as usize] = true);
                self.memory.take_if(|memory| memory.taken == [true; READERS]);
                None
            }
            (_, None) | (None, _) => None,
        };
        if let Some(spool) = spool {
            frames.iter().for_each(|_| spool.taken(reader));
        }
    }

    /// How many frames wait for a reader.
    pub fn len(&self, reader: Reader) -> usize {
        let spools = self.spools.iter().flat_map(|spools| spools.left.iter().chain([&spools.own]));
        let in_memory = self.memory.as_ref().is_some_and(|memory| !memory.taken[reader as usize]);
        spools.map(|spool| spool.len(reader)).sum::<usize>() + usize::from(in_memory)
    }

    /// Whether half of the room for what waits for the files is used, and there should be no more of it than need be.
    pub fn is_filling(&self) -> bool {
        self.in_memory().is_some() || self.spools.as_ref().is_none_or(|spools| spools.own.is_filling())
    }

    /// What the files would lose if the process ended now.
    pub fn in_memory(&self) -> Option<&Frame> {
        let memory = self.memory.as_ref().filter(|memory| !memory.taken[Reader::Files as usize]);
        memory.map(|memory| &memory.frame)
    }

    /// How many frames the database will never get since this was asked last.
    pub fn given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    /// So many frames will not come to the database. Those that it asked for last may be among them, and do not lie where they
    /// lay: what it has taken meanwhile comes again, and counts once by its number.
    fn give_up(&mut self, frames: usize) {
        if frames > 0 {
            self.given_up += frames as u64;
            self.readers[Reader::Database as usize].asked = None;
        }
    }

    /// Whether a frame of a spool goes with those of a writer that come before it: not where one stands between them in
    /// memory, for the files know a writer's windows by the last one.
    fn follows(&self, next: &Frame, first: &Frame, reader: Reader) -> bool {
        let between = self.memory.as_ref().is_some_and(|Memory { frame, taken }| {
            !taken[reader as usize] && frame.writer == next.writer && frame.number < next.number
        });
        next.writer == first.writer && !between
    }

    fn oldest(&mut self, reader: Reader, now: i64) -> Option<(Frame, Lies)> {
        let progress = &mut self.readers[reader as usize];
        let mut own = None;
        if let Some(spools) = &mut self.spools {
            for (at, left) in spools.left.iter_mut().enumerate() {
                if let Some(frame) = readable(left, reader, progress, now) {
                    return Some((frame, Lies::Left(at)));
                }
            }
            own = readable(&mut spools.own, reader, progress, now);
        }
        let memory = self.memory.as_ref().filter(|memory| !memory.taken[reader as usize]);
        // The files know a writer's windows by the last one: they come in order.
        match (own, memory) {
            (Some(own), Some(Memory { frame, .. }))
                if frame.writer == own.writer && frame.number < own.number =>
            {
                Some((frame.clone(), Lies::Memory))
            }
            (Some(own), _) => Some((own, Lies::Own)),
            (None, memory) => memory.map(|memory| (memory.frame.clone(), Lies::Memory)),
        }
    }

    /// Takes spools where there are none, and those that others have left; lets go those that are empty.
    fn look_around(&mut self, now: i64) {
        self.delete_empty();
        if now < self.look_at {
            return;
        }
        match &mut self.spools {
            Some(spools) => {
                self.look_at = now.saturating_add(LOOK_AROUND);
                spools.left.extend(Spools::left(&self.folder, self.ships));
            }
            None => match Spools::take(&self.folder, self.spool_bytes, self.ships) {
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
                        tracing::warn!(code = %Code::SpoolUnwritable,
                            folder = %self.folder.display(), %error,
                            "the books have no spool: what is counted while their files cannot be written is kept \
                             in memory only. Tried again"
                        );
                    }
                }
            },
        }
    }

    fn delete_empty(&mut self) {
        // Somebody has asked for frames of one of them by its place.
        let Some(spools) = &mut self.spools else { return };
        if self.readers.iter().any(|progress| matches!(progress.asked, Some(Lies::Left(_)))) {
            return;
        }
        for empty in spools.left.extract_if(.., |spool| spool.is_empty()) {
            if let Err(error) = empty.delete() {
                tracing::warn!(%error, "a spool of the books that is empty cannot be deleted");
            }
        }
    }
}

/// Appends, and where only a database that is away is in the way, lets it go without its oldest frames: how many.
fn append(spool: &mut Spool, frame: &[u8]) -> (Result<(), SpoolError>, usize) {
    match spool.append(frame) {
        Err(SpoolError::Full) => match spool.give_up() {
            0 => (Err(SpoolError::Full), 0),
            given_up => (spool.append(frame), given_up),
        },
        other => (other, 0),
    }
}

/// The oldest frame of a spool that can be read. What cannot is told as a gap, and forgotten.
fn readable(spool: &mut Spool, reader: Reader, progress: &mut Progress, now: i64) -> Option<Frame> {
    loop {
        let why = match spool.peek(reader, 0) {
            Ok(None) => return None,
            Ok(Some(bytes)) => match Frame::decode(&bytes) {
                Ok(frame) => return Some(frame),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        tracing::error!(code = %Code::SpoolUnreadable, why, "a window of the books in the spool cannot be read any more; a gap says so");
        let (reason, started_at) = ("spool".to_owned(), progress.taken_until);
        progress.unreadable.push(Gap { reason, started_at, ended_at: now, requests: None, note: Some(why) });
        spool.taken(reader);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use std::path::Path;

    use super::super::frame::tests::{NOON, frame, uses};
    use super::super::report::{Question, read};
    use super::super::spool::{self, LEAST_BYTES};
    use super::super::store::Store;
    use super::*;

    /// As when its process is killed.
    pub fn kill(outbox: &mut Outbox) {
        if let Some(Spools { own, left }) = outbox.spools.take() {
            left.into_iter().chain([own]).for_each(spool::tests::let_go);
        }
    }

    fn outbox(folder: &Path) -> Outbox {
        Outbox::new(folder.to_owned(), LEAST_BYTES, false)
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
        kill(&mut killed);
        assert_eq!(running.len(Reader::Files), 2);
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
        assert_eq!((outbox.len(Reader::Files), outbox.in_memory().unwrap().number), (1, 1));
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
    fn a_frame_in_memory_keeps_its_place_among_many() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = outbox(folder.path());
        assert!(outbox.put(frame("a", 1, vec![]), NOON));
        // As one that fits no segment of the spool.
        outbox.memory = Some(Memory { frame: frame("a", 2, vec![]), taken: [false, true] });
        assert!(outbox.put(frame("a", 3, vec![]), NOON) && outbox.put(frame("a", 4, vec![]), NOON));
        let mut together = Vec::new();
        loop {
            let frames = outbox.some(Reader::Files, 64, NOON);
            if frames.is_empty() {
                break;
            }
            outbox.all_taken(Reader::Files, &frames);
            together.push(frames.iter().map(|frame| frame.number).collect::<Vec<_>>());
        }
        assert_eq!(together, [vec![1], vec![2], vec![3, 4]]);
    }

    #[test]
    fn what_is_found_damaged_at_the_start_is_a_gap_and_what_stands_behind_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut killed = outbox(folder.path());
        for number in 1..=3 {
            assert!(killed.put(frame("a", number, vec![uses(1, "curl", 1)]), NOON));
        }
        kill(&mut killed);
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

    /// A window of some hundred kilobytes, which packing does not make smaller.
    fn large(number: i64) -> Frame {
        let mut rng = fastrand::Rng::with_seed(number.unsigned_abs());
        let mut of = uses(1, "curl", 1);
        of.template = (0..200_000).map(|_| rng.alphanumeric()).collect();
        frame("a", number, vec![of])
    }

    #[test]
    fn a_database_that_is_away_for_too_long_misses_windows_and_delays_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::new(folder.path().to_owned(), LEAST_BYTES, true);
        let away = 60;
        for number in 1..=away {
            assert!(outbox.put(large(number), NOON), "window {number}");
            let taken = outbox.first(NOON).unwrap();
            assert_eq!(taken.number, number);
            outbox.taken(&taken);
        }
        let (waiting, missed) = (outbox.len(Reader::Database), outbox.given_up());
        assert!(missed > 0 && outbox.given_up() == 0, "told once");
        assert_eq!(waiting as u64 + missed, away as u64);
        let mut shipped = Vec::new();
        loop {
            let frames = outbox.some(Reader::Database, 7, NOON);
            assert!(frames.len() <= 7);
            if frames.is_empty() {
                break;
            }
            // A shipment that fails is tried again with the same.
            assert_eq!(outbox.some(Reader::Database, 7, NOON), frames);
            outbox.all_taken(Reader::Database, &frames);
            shipped.extend(frames.iter().map(|frame| frame.number));
        }
        assert_eq!(shipped, (missed as i64 + 1..=away).collect::<Vec<_>>());
    }

    /// Ships all that waits: the numbers of the windows.
    fn ship(outbox: &mut Outbox) -> Vec<i64> {
        let mut shipped = Vec::new();
        loop {
            let frames = outbox.some(Reader::Database, 64, NOON);
            if frames.is_empty() {
                return shipped;
            }
            outbox.all_taken(Reader::Database, &frames);
            shipped.extend(frames.iter().map(|frame| frame.number));
        }
    }

    #[test]
    fn windows_that_are_given_up_while_the_database_takes_them_cost_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::new(folder.path().to_owned(), LEAST_BYTES, true);
        let mut number = 0;
        let mut count = |outbox: &mut Outbox| {
            number += 1;
            assert!(outbox.put(large(number), NOON), "window {number}");
            let taken = outbox.first(NOON).unwrap();
            outbox.taken(&taken);
            number
        };
        for _ in 0..10 {
            count(&mut outbox);
        }
        let under_way = outbox.some(Reader::Database, 7, NOON);
        assert_eq!(under_way.len(), 7);
        let (missed, last) = loop {
            let last = count(&mut outbox);
            match outbox.given_up() {
                0 => {}
                missed => break (missed as i64, last),
            }
        };
        assert!(missed < 7, "some of those that are under way: {missed}");
        outbox.all_taken(Reader::Database, &under_way);
        assert_eq!(ship(&mut outbox), (missed + 1..=last).collect::<Vec<_>>());
    }

    #[test]
    fn a_window_in_memory_that_comes_while_the_database_takes_the_one_before_is_shipped() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::new(folder.path().join("missing"), LEAST_BYTES, true);
        assert!(outbox.put(frame("a", 1, vec![]), NOON));
        let first = outbox.first(NOON).unwrap();
        outbox.taken(&first);
        let under_way = outbox.some(Reader::Database, 64, NOON);
        assert!(outbox.put(frame("a", 2, vec![]), NOON));
        assert_eq!((under_way.len(), outbox.given_up()), (1, 1));
        outbox.all_taken(Reader::Database, &under_way);
        assert_eq!(ship(&mut outbox), [2]);
    }

    #[test]
    fn what_only_one_of_two_has_taken_comes_again_to_both_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let start = || Outbox::new(folder.path().to_owned(), LEAST_BYTES, true);
        let mut killed = start();
        for number in 1..=3 {
            assert!(killed.put(frame("killed", number, vec![]), NOON));
            let first = killed.first(NOON).unwrap();
            killed.taken(&first);
        }
        kill(&mut killed);
        let mut next = start();
        assert!(next.put(frame("next", 1, vec![]), NOON));
        // Of one writer at a time.
        let numbers = |frames: &[Frame]| {
            frames.iter().map(|frame| (frame.writer.clone(), frame.number)).collect::<Vec<_>>()
        };
        let killed = (1..=3).map(|number| ("killed".to_owned(), number)).collect::<Vec<_>>();
        let frames = next.some(Reader::Database, 64, NOON);
        assert_eq!(numbers(&frames), killed);
        next.all_taken(Reader::Database, &frames);
        let frames = next.some(Reader::Database, 64, NOON);
        assert_eq!(numbers(&frames), [("next".to_owned(), 1)]);
        next.all_taken(Reader::Database, &frames);
        let expect = [killed, vec![("next".to_owned(), 1)]].concat();
        let mut files = Vec::new();
        while let Some(frame) = next.first(NOON) {
            next.taken(&frame);
            files.push((frame.writer, frame.number));
        }
        assert_eq!(files, expect);
        assert_eq!((next.len(Reader::Files), next.len(Reader::Database)), (0, 0));
    }
}
