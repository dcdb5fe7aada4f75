//! The spool: frames that a store of the books has not taken yet, in a file whose space was taken beforehand. A full disk
//! cannot stop it, and what is in it survives the process. There may be two such stores, and each takes all frames.
//!
//! The file has segments of equal size. Frames are appended to one segment; when each of its frames was taken by both, it is
//! overwritten with zeros and free again, so that at rest the file knows nothing. A segment carries a number that counts up
//! each time one is begun; the checksum of a frame is over that number too, so nothing of an earlier use is ever read.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

/// Segments of a spool: one is written while the others wait for a store.
const SEGMENTS: u64 = 8;

/// Least size: a segment of it takes a frame of some 20,000 rows.
pub const LEAST_BYTES: u64 = 4 * 1024 * 1024;

/// What a segment begins with, before its number.
const SEGMENT_MAGIC: u64 = u64::from_be_bytes(*b"cellgate");

/// Magic and number.
const SEGMENT_HEAD: u64 = 16;

/// Length and checksum.
const FRAME_HEAD: u64 = 8;

/// Accounts are in it: for its owner only.
const FILE_MODE: u32 = 0o600;

/// Spools of one folder: one for each process that runs there, and some that crashed ones have left.
const MOST_SPOOLS: u32 = 8;

/// Who takes frames out of a spool, each of them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// The files of the folder.
    Files,
    /// The database of a fleet, where there is one.
    Database,
}

/// As many as there can be.
pub(super) const READERS: usize = 2;

/// An open spool, which no other process has.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    path: PathBuf,
    segment_bytes: u64,
    /// The number of the segment that was begun last.
    number: u64,
    /// The segment that is written, where in it the next frame goes, and its number.
    writing: Option<(u64, u64, u64)>,
    /// Frames that not all readers have taken, oldest first.
    waiting: VecDeque<Place>,
    /// How many of the first of them each reader has taken.
    taken: [usize; READERS],
    /// Whether a database takes frames, too.
    ships: bool,
}

/// Where a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    segment: u64,
    /// Of the segment.
    number: u64,
    /// Of its head, from the beginning of the file.
    offset: u64,
    length: u32,
}

/// Why a frame is not in the spool.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpoolError {
    /// A store has taken nothing for too long.
    #[error("the spool is full")]
    Full,
    #[error("a frame of {0} bytes is larger than a segment of the spool")]
    TooLarge(usize),
    #[error("a frame in the spool is damaged")]
    Damaged,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// All spools of a folder that no running process has: one to write, others that were left with frames in them.
#[derive(Debug)]
pub(super) struct Spools {
    pub own: Spool,
    pub left: Vec<Spool>,
}

impl Spools {
    /// Takes the spools of a folder. Where none is free, makes one of about `bytes`. `ships` where a database takes frames, too.
    ///
    /// # Errors
    /// The folder cannot be written, or the disk has no room for it.
    pub fn take(folder: &Path, bytes: u64, ships: bool) -> io::Result<Self> {
        let mut left = Self::left(folder, ships);
        let fits = |spool: &Spool| spool.segment_bytes == segment_bytes(bytes);
        let own = match left.iter().position(fits) {
            Some(at) => left.remove(at),
            None => {
                let free = paths(folder).find(|path| !path.exists());
                let path =
                    free.ok_or_else(|| io::Error::other("eight other spools are in use in this folder"))?;
                Spool::create(&path, bytes, ships)?
            }
        };
        Ok(Self { own, left })
    }

    /// The spools of a folder that no running process has. What cannot be opened is left alone.
    pub fn left(folder: &Path, ships: bool) -> Vec<Spool> {
        paths(folder).filter_map(|path| Spool::open(&path, ships).ok().flatten()).collect()
    }
}

fn paths(folder: &Path) -> impl Iterator<Item = PathBuf> {
    (1..=MOST_SPOOLS).map(|number| folder.join(format!("spool-{number}.frames")))
}

impl Spool {
    /// `None` where another process has it.
    fn open(path: &Path, ships: bool) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
        let segment_bytes = file.metadata()?.len() / SEGMENTS;
        let mut spool = Self {
            file,
            path: path.to_owned(),
            segment_bytes,
            number: 0,
            writing: None,
            waiting: VecDeque::new(),
            taken: [0; READERS],
            ships,
        };
        spool.scan()?;
        Ok(Some(spool))
    }

    fn create(path: &Path, bytes: u64, ships: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
        file.try_lock().map_err(io::Error::from)?;
        let segment_bytes = segment_bytes(bytes);
        if let Err(error) = fallocate(&file, FallocateFlags::empty(), 0, segment_bytes * SEGMENTS) {
            // A file that has not its space would be taken for one that has.
            let _ = std::fs::remove_file(path);
            return Err(error.into());
        }
        file.sync_all()?;
        let path = path.to_owned();
        let (waiting, taken) = (VecDeque::new(), [0; READERS]);
        Ok(Self { file, path, segment_bytes, number: 0, writing: None, waiting, taken, ships })
    }

    /// Appends a frame. When this returns, it is on the disk.
    ///
    /// # Errors
    /// There is no room, or the file cannot be written; then it is not in.
    pub fn append(&mut self, frame: &[u8]) -> Result<(), SpoolError> {
        let length = u32::try_from(frame.len()).map_err(|_| SpoolError::TooLarge(frame.len()))?;
        let bytes = FRAME_HEAD + u64::from(length);
        if bytes > self.segment_bytes.saturating_sub(SEGMENT_HEAD) {
            return Err(SpoolError::TooLarge(frame.len()));
        }
        let fits = self.writing.filter(|(_, at, _)| at + bytes <= self.segment_bytes);
        let (segment, at, number) = match fits {
            Some(writing) => writing,
            None => self.begin_segment()?,
        };
        let offset = segment * self.segment_bytes + at;
        let place = Place { segment, number, offset, length };
        let mut record = Vec::with_capacity(frame.len() + FRAME_HEAD as usize);
        record.extend_from_slice(&length.to_be_bytes());
        record.extend_from_slice(&checksum(number, frame).to_be_bytes());
        record.extend_from_slice(frame);
        self.file.write_all_at(&record, offset)?;
        self.file.sync_data()?;
        self.writing = Some((segment, at + bytes, number));
        self.waiting.push_back(place);
        Ok(())
    }

    /// Of the frames that wait for a reader, the one that is `ahead` of others older than it.
    ///
    /// # Errors
    /// It cannot be read any more.
    pub fn peek(&self, reader: Reader, ahead: usize) -> Result<Option<Vec<u8>>, SpoolError> {
        let Some(place) = self.waiting.get(self.taken[reader as usize] + ahead) else { return Ok(None) };
        self.read(place).and_then(|frame| frame.ok_or(SpoolError::Damaged)).map(Some)
    }

    /// A reader has taken the oldest frame that waited for it. What all have taken is forgotten; what cannot be overwritten now is
    /// overwritten with the next segment.
    pub fn taken(&mut self, reader: Reader) {
        self.taken[reader as usize] += 1;
        let by_all = |taken: &[usize; READERS], ships| if ships { taken[0].min(taken[1]) } else { taken[0] };
        while by_all(&self.taken, self.ships) > 0 {
            self.taken.iter_mut().for_each(|taken| *taken = taken.saturating_sub(1));
            self.forget_first();
        }
    }

    /// Gives up, for the database, the oldest segment, where the files have taken all of it; how many frames that are. So a
    /// database that is away is in nobody's way.
    pub fn give_up(&mut self) -> usize {
        let [by_files, by_database] = self.taken;
        let Some(first) = self.waiting.front().filter(|_| self.ships) else { return 0 };
        let of_segment = self.waiting.iter().take_while(|place| place.segment == first.segment).count();
        let lost = of_segment.saturating_sub(by_database);
        if by_files < of_segment {
            return 0;
        }
        (0..lost).for_each(|_| self.taken(Reader::Database));
        lost
    }

    /// How many frames wait for a reader.
    pub fn len(&self, reader: Reader) -> usize {
        self.waiting.len() - self.taken[reader as usize].min(self.waiting.len())
    }

    /// Whether what waits for the files is in half of the segments, or more.
    pub fn is_filling(&self) -> bool {
        let mut segments: Vec<u64> =
            self.waiting.iter().skip(self.taken[Reader::Files as usize]).map(|place| place.segment).collect();
        segments.dedup();
        segments.len() as u64 >= SEGMENTS / 2
    }

    /// Whether nothing waits for anybody.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn forget_first(&mut self) {
        let Some(taken) = self.waiting.pop_front() else { return };
        if self.waiting.iter().all(|place| place.segment != taken.segment) {
            let _ = self.wipe(taken.segment, taken.offset + FRAME_HEAD + u64::from(taken.length));
            if self.writing.is_some_and(|(segment, ..)| segment == taken.segment) {
                self.writing = None;
            }
        }
    }

    /// Deletes it, with all that waits.
    pub fn delete(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    /// Finds a segment in which nothing waits, and gives it the next number.
    fn begin_segment(&mut self) -> Result<(u64, u64, u64), SpoolError> {
        let is_free = |segment: &u64| self.waiting.iter().all(|place| place.segment != *segment);
        let segment = (0..SEGMENTS).find(is_free).ok_or(SpoolError::Full)?;
        self.number += 1;
        let mut head = [0; SEGMENT_HEAD as usize];
        head[..8].copy_from_slice(&SEGMENT_MAGIC.to_be_bytes());
        head[8..].copy_from_slice(&self.number.to_be_bytes());
        self.file.write_all_at(&head, segment * self.segment_bytes)?;
        Ok((segment, SEGMENT_HEAD, self.number))
    }

    /// Finds the frames that an earlier process has left.
    fn scan(&mut self) -> io::Result<()> {
        let mut found = Vec::new();
        for segment in 0..SEGMENTS {
            let start = segment * self.segment_bytes;
            let Some(number) = self.segment_number(start)? else { continue };
            self.number = self.number.max(number);
            let mut offset = start + SEGMENT_HEAD;
            while let Some((place, is_whole)) = self.frame_at(segment, number, offset)? {
                offset += FRAME_HEAD + u64::from(place.length);
                // A damaged one is stepped over by its length: the hole is seen where the windows of its writer are one short.
                found.extend(is_whole.then_some(place));
            }
        }
        found.sort_by_key(|place| (place.number, place.offset));
        self.waiting = found.into();
        Ok(())
    }

    fn segment_number(&self, start: u64) -> io::Result<Option<u64>> {
        let mut head = [0; SEGMENT_HEAD as usize];
        if self.segment_bytes < SEGMENT_HEAD {
            return Ok(None);
        }
        self.file.read_exact_at(&mut head, start)?;
        let [magic, number] = [&head[..8], &head[8..]]
            .map(|bytes| u64::from_be_bytes(bytes.try_into().expect("half of 16 bytes")));
        Ok((magic == SEGMENT_MAGIC).then_some(number))
    }

    /// What may be a frame and begins here, and whether it is whole; `None` where none can be.
    fn frame_at(&self, segment: u64, number: u64, offset: u64) -> io::Result<Option<(Place, bool)>> {
        let end = (segment + 1) * self.segment_bytes;
        if offset + FRAME_HEAD > end {
            return Ok(None);
        }
        let mut head = [0; 4];
        self.file.read_exact_at(&mut head, offset)?;
        let place = Place { segment, number, offset, length: u32::from_be_bytes(head) };
        if place.length == 0 || offset + FRAME_HEAD + u64::from(place.length) > end {
            return Ok(None);
        }
        match self.read(&place) {
            Ok(frame) => Ok(Some((place, frame.is_some()))),
            Err(SpoolError::Io(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// `None` where its checksum is wrong.
    fn read(&self, place: &Place) -> Result<Option<Vec<u8>>, SpoolError> {
        let mut record = vec![0; FRAME_HEAD as usize + place.length as usize];
        self.file.read_exact_at(&mut record, place.offset)?;
        let frame = record.split_off(FRAME_HEAD as usize);
        let sum = u32::from_be_bytes(record[4..].try_into().expect("half of eight bytes"));
        Ok((sum == checksum(place.number, &frame)).then_some(frame))
    }

    /// Zeros from the beginning of a segment to `end`. The file keeps its space.
    fn wipe(&self, segment: u64, end: u64) -> io::Result<()> {
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        let mut offset = segment * self.segment_bytes;
        while offset < end {
            let bytes = usize::try_from(end - offset).unwrap_or(ZEROS.len()).min(ZEROS.len());
            self.file.write_all_at(&ZEROS[..bytes], offset)?;
            offset += bytes as u64;
        }
        Ok(())
    }
}

fn segment_bytes(bytes: u64) -> u64 {
    // Whole pages, so that a torn one belongs to one segment only.
    (bytes.max(LEAST_BYTES) / SEGMENTS).next_multiple_of(4096)
}

fn checksum(number: u64, frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(frame);
    hasher.finalize()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    /// As the end of a process does. To close the file is not enough: a child that another test starts at this moment
    /// has it, too, until it is another program.
    pub fn let_go(spool: Spool) {
        spool.file.unlock().unwrap();
    }

    /// Takes everything that waits.
    fn drain(spool: &mut Spool) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(frame) = spool.peek(Reader::Files, 0).unwrap() {
            frames.push(frame);
            spool.taken(Reader::Files);
        }
        frames
    }

    fn take(folder: &Path) -> Spools {
        Spools::take(folder, LEAST_BYTES, false).unwrap()
    }

    fn frame(number: usize, bytes: usize) -> Vec<u8> {
        let mut frame = vec![u8::try_from(number % 251).unwrap(); bytes];
        frame[0] = 0xff;
        frame
    }

    #[test]
    fn what_was_appended_and_not_taken_is_there_after_a_crash_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = take(folder.path()).own;
        (1..=40).for_each(|number| spool.append(&frame(number, number * 4_000)).unwrap());
        let number = |frame: &[u8]| frame[1];
        // A segment is forgotten as a whole: what was taken of the last one comes again, and counts once by its name.
        for (taken, at_least) in [(0, 1), (3, 1), (33, 17)] {
            for expect in 1..=taken {
                assert_eq!(number(&spool.peek(Reader::Files, 0).unwrap().unwrap()), expect);
                spool.taken(Reader::Files);
            }
            spool = take_again(spool, folder.path());
            let again = number(&spool.peek(Reader::Files, 0).unwrap().unwrap());
            assert!((at_least..=taken + 1).contains(&again), "{again} after {taken}");
        }
        let rest: Vec<u8> = drain(&mut spool).iter().map(|frame| number(frame)).collect();
        assert!(rest.ends_with(&[34, 35, 36, 37, 38, 39, 40]), "{rest:?}");
        assert_eq!(take_again(spool, folder.path()).len(Reader::Files), 0);
    }

    fn take_again(spool: Spool, folder: &Path) -> Spool {
        let_go(spool);
        take(folder).own
    }

    #[test]
    fn a_full_spool_says_so_and_takes_frames_again_when_a_store_does() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = take(folder.path()).own;
        let size = std::fs::metadata(&spool.path).unwrap().len();
        for round in 0..3 {
            let mut many = 0;
            while spool.append(&frame(many, 100_000)).is_ok() {
                many += 1;
            }
            assert_eq!(many, 40, "five in each of eight segments");
            assert!(matches!(spool.append(b"more"), Ok(())), "a small one fits behind the last");
            assert!(matches!(spool.append(&frame(1, 100_000)), Err(SpoolError::Full)), "round {round}");
            assert_eq!(drain(&mut spool).len(), 41);
        }
        assert_eq!(std::fs::metadata(&spool.path).unwrap().len(), size, "it never grows");
        assert!(matches!(spool.append(&frame(1, 600_000)), Err(SpoolError::TooLarge(600_000))));
    }

    #[test]
    fn at_rest_it_knows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = take(folder.path()).own;
        spool.append(b"account 7").unwrap();
        spool.append(b"account 8").unwrap();
        drain(&mut spool);
        let bytes = std::fs::read(&spool.path).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&spool.path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_torn_frame_is_none_and_those_before_it_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = take(folder.path()).own;
        for number in 1..=3 {
            spool.append(&frame(number, 1_000)).unwrap();
        }
        let last = *spool.waiting.back().unwrap();
        for offset in [0, 4, FRAME_HEAD + 999] {
            let mut byte = [0];
            spool.file.read_exact_at(&mut byte, last.offset + offset).unwrap();
            spool.file.write_all_at(&[byte[0] ^ 0x40], last.offset + offset).unwrap();
            spool = take_again(spool, folder.path());
            assert_eq!(spool.len(Reader::Files), 2, "byte {offset}");
            spool.file.write_all_at(&byte, last.offset + offset).unwrap();
            spool = take_again(spool, folder.path());
            assert_eq!(spool.len(Reader::Files), 3);
        }
        spool.file.write_all_at(&[1], last.offset + 500).unwrap();
        spool.taken(Reader::Files);
        spool.taken(Reader::Files);
        assert!(matches!(spool.peek(Reader::Files, 0), Err(SpoolError::Damaged)));
    }

    #[test]
    fn frames_behind_a_damaged_one_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = take(folder.path()).own;
        for number in 1..=5 {
            spool.append(&frame(number, 1_000)).unwrap();
        }
        for damaged in [1, 3] {
            let place = spool.waiting[damaged];
            spool.file.write_all_at(b"damage", place.offset + FRAME_HEAD + 500).unwrap();
        }
        spool = take_again(spool, folder.path());
        assert_eq!(drain(&mut spool), [frame(1, 1_000), frame(3, 1_000), frame(5, 1_000)]);
        assert_eq!(take_again(spool, folder.path()).len(Reader::Files), 0);
    }

    #[test]
    fn frames_of_an_earlier_use_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = take(folder.path()).own;
        for number in 1..=3 {
            spool.append(&frame(number, 1_000)).unwrap();
        }
        let old = std::fs::read(&spool.path).unwrap();
        drain(&mut spool);
        spool.append(&frame(9, 1_000)).unwrap();
        // As if zeros had not reached the disk.
        spool.file.write_all_at(&old[2_000..4_000], 2_000).unwrap();
        spool = take_again(spool, folder.path());
        assert_eq!(drain(&mut spool), [frame(9, 1_000)]);
    }

    #[test]
    fn two_processes_have_two_spools_and_what_one_leaves_the_next_takes() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = take(folder.path()).own;
        first.append(b"of the first").unwrap();
        let mut second = take(folder.path());
        assert!(second.left.is_empty());
        assert_ne!(first.path, second.own.path);
        second.own.append(b"of the second").unwrap();
        let (second, gone) = (second.own, first.path.clone());
        [first, second].into_iter().for_each(let_go);
        let mut third = take(folder.path());
        assert_eq!(drain(&mut third.own), [b"of the first"]);
        assert_eq!(third.left.len(), 1);
        assert_eq!(drain(&mut third.left[0]), [b"of the second"]);
        third.left.remove(0).delete().unwrap();
        assert_eq!((third.own.path, take(folder.path()).left.len()), (gone, 0));
    }

    #[test]
    fn a_file_that_is_no_spool_is_none_of_ours_to_lose_counts_over() {
        let folder = tempfile::tempdir().unwrap();
        for (number, text) in [(1, ""), (2, "rubbish"), (3, &*"rubbish".repeat(1_000_000))] {
            std::fs::write(folder.path().join(format!("spool-{number}.frames")), text).unwrap();
        }
        let mut spools = take(folder.path());
        assert!(spools.left.iter_mut().all(|spool| drain(spool).is_empty()));
        spools.own.append(b"one").unwrap();
        assert_eq!(drain(&mut spools.own).len(), 1);
    }

    #[test]
    fn what_both_have_taken_is_forgotten_and_a_database_that_is_away_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spools::take(folder.path(), LEAST_BYTES, true).unwrap().own;
        let mut many = 0;
        while spool.append(&frame(many, 100_000)).is_ok() {
            many += 1;
        }
        assert_eq!((spool.len(Reader::Files), spool.len(Reader::Database)), (40, 40));
        assert_eq!(spool.give_up(), 0, "the files have not taken them");
        (0..7).for_each(|_| spool.taken(Reader::Files));
        spool.taken(Reader::Database);
        let next = |spool: &Spool, reader, ahead| spool.peek(reader, ahead).unwrap().unwrap()[1];
        assert_eq!((next(&spool, Reader::Files, 0), next(&spool, Reader::Database, 0)), (7, 1));
        assert_eq!(next(&spool, Reader::Database, 2), 3);
        assert!(spool.append(&frame(41, 100_000)).is_err(), "four of the first five wait for the database");
        assert_eq!(spool.give_up(), 4);
        assert_eq!((next(&spool, Reader::Files, 0), next(&spool, Reader::Database, 0)), (7, 5));
        spool.append(&frame(41, 100_000)).unwrap();
        assert_eq!(spool.give_up(), 0, "of the second segment the files have two");
        // After a crash both are offered what they had taken of segments that are not free.
        spool = Spools::take(
            {
                let_go(spool);
                folder.path()
            },
            LEAST_BYTES,
            true,
        )
        .unwrap()
        .own;
        assert_eq!((next(&spool, Reader::Files, 0), next(&spool, Reader::Database, 0)), (5, 5));
        for reader in [Reader::Files, Reader::Database] {
            assert!(!spool.is_empty());
            (0..36).for_each(|_| spool.taken(reader));
        }
        assert!(spool.is_empty() && spool.peek(Reader::Database, 0).unwrap().is_none());
    }
}
