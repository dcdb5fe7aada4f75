//! The last minute by cell and surface: plain numbers, a second apart. Tiles are known by name, so that a reload begins
//! nothing anew; one without requests for a minute is gone.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::policy::columns::hash_number;
use crate::policy::facts::Upgrade;
use crate::policy::moment::Moment;
use crate::policy::protection::histogram::Latencies;
use crate::policy::protection::shed::Shed;
use crate::policy::refusal::Refusal;
use crate::telemetry::event::RequestEvent;

use super::answer::Answer;

/// Seconds that are kept: what a person means by "just now". At 200 cells with 8 surfaces and traffic on all of them they
/// are some 20 MB, of which latencies are the most.
pub const KEPT_SECONDS: usize = 60;

/// What counts as this moment: the shortest time in which a tile of one request a second has said something ten times.
pub(super) const SHORT: Duration = Duration::from_secs(10);

/// What counts as now: long enough that a second without a request is no silence.
const NOW: Duration = Duration::from_secs(3);

/// All that is kept of a minute.
const LONG: Duration = Duration::from_secs(KEPT_SECONDS as u64);

/// A cell and a surface, as their configuration names them; `none` where a request had none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileName {
    /// The cell.
    pub cell: Box<str>,
    /// The surface.
    pub surface: Box<str>,
}

/// The last minute of one tile.
#[derive(Clone, Debug)]
pub struct TilePulse {
    /// Whose.
    pub name: TileName,
    /// Of three seconds.
    pub now: Window,
    /// Of ten.
    pub short: Window,
    /// Of sixty.
    pub long: Window,
    /// Requests of each second, the newest last.
    pub requests: Vec<u32>,
    /// Those of them that the cell has failed or could not be asked for, likewise.
    pub failed: Vec<u32>,
    /// Those that clients saw go wrong, but by their own doing or a move, likewise.
    pub went_wrong: Vec<u32>,
}

/// Counts of some seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// How long it was.
    pub lasted: Duration,
    /// In the order of [`Answer::ALL`].
    pub answers: [u64; Answer::ALL.len()],
    /// Those of [`Answer::OnPurpose`] that a lever has refused, which nobody has announced.
    pub by_lever: u64,
    /// How long those that were served waited for their first byte; without tunnels.
    pub latencies: Latencies,
    /// Accounts that asked, a bit each, by hash, of 64.
    pub asking: u64,
    /// Accounts that the cell has failed or a lever has refused, likewise.
    pub failing: u64,
}

/// What was counted of one tile, on one sheet.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub answers: [u32; Answer::ALL.len()],
    pub by_lever: u32,
    pub latencies: Latencies,
    pub asking: u64,
    pub failing: u64,
}

/// See the file.
#[derive(Debug, Default)]
pub(super) struct Seconds {
    /// Ends of the seconds that are kept, the newest last, and the beginning of the first.
    ends: VecDeque<Moment>,
    /// How many there were before the first that is kept.
    before: u64,
    tiles: BTreeMap<TileName, VecDeque<Second>>,
}

/// One second of one tile.
#[derive(Debug)]
struct Second {
    /// Counted from the first of all.
    number: u64,
    answers: [u32; Answer::ALL.len()],
    by_lever: u32,
    /// Buckets that have some, and how many: a second has few.
    latencies: Vec<(u8, u32)>,
    asking: u64,
    failing: u64,
}

impl Tally {
    /// Counts one request.
    pub fn count(&mut self, event: &RequestEvent, answer: Answer) {
        self.answers[answer as usize] += 1;
        let account = event.decision.as_ref().and_then(|decision| decision.account);
        let place = 1 << (account.map_or(0, |account| hash_number(account.value())) % 64);
        self.asking |= place;
        let is_by_lever = event.refusal == Some(Refusal::Shed(Shed::Operator));
        self.by_lever += u32::from(is_by_lever);
        self.failing |= if answer == Answer::Failed || is_by_lever { place } else { 0 };
        if answer == Answer::Served && event.upgrade == Upgrade::None && event.timings.held.is_none() {
            self.latencies.record(event.timings.first_byte.unwrap_or(event.timings.total));
        }
    }

    /// All of them.
    pub fn requests(&self) -> u32 {
        self.answers.iter().sum()
    }
}

impl Window {
    /// How many ended so.
    pub fn count(&self, answer: Answer) -> u64 {
        self.answers[answer as usize]
    }

    /// All of them.
    pub fn requests(&self) -> u64 {
        self.answers.iter().sum()
    }

    /// So many as requests a second.
    pub fn per_second(&self, count: u64) -> f64 {
        // The first look of all is at no time; nobody was counted then.
        count as f64 / self.lasted.as_secs_f64().max(1e-3)
    }

    /// So much of those that were served took no longer, to an eighth: 0.5 is the median. `None` where none was.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let rank = (self.latencies.count() as f64 * part).ceil().max(1.0);
        // A count of requests of a minute fits.
        self.latencies.at_rank(rank as u64).map(|(from, to)| (from + to) / 2)
    }

    fn add(&mut self, second: &Second) {
        for (sum, count) in self.answers.iter_mut().zip(second.answers) {
            *sum += u64::from(count);
        }
        self.by_lever += u64::from(second.by_lever);
        self.asking |= second.asking;
        self.failing |= second.failing;
        second
            .latencies
            .iter()
            .for_each(|(bucket, count)| self.latencies.add_in(usize::from(*bucket), *count));
    }
}

impl Seconds {
    /// A second ends; what is added now is its.
    pub fn begin(&mut self, now: Moment) {
        if self.ends.is_empty() {
            // What was counted before the first look: of a second, as nobody knows better.
            self.ends.push_back(Moment::from_nanos(now.nanos().saturating_sub(1_000_000_000)));
        }
        self.ends.push_back(now);
        if self.ends.len() > KEPT_SECONDS + 1 {
            self.ends.pop_front();
            self.before += 1;
        }
    }

    /// Adds what a thread has counted in the second that has just ended.
    pub fn add(&mut self, cell: &str, surface: &str, tally: &Tally) {
        let number = self.newest();
        let seconds = self.tiles.entry(TileName { cell: cell.into(), surface: surface.into() }).or_default();
        match seconds.back_mut().filter(|second| second.number == number) {
            Some(second) => second.add(tally),
            None => seconds.push_back(Second::new(number, tally)),
        }
    }

    /// Drops what is older than a minute.
    pub fn forget(&mut self) {
        let first = self.before + 1;
        self.tiles.retain(|_, seconds| {
            while seconds.front().is_some_and(|second| second.number < first) {
                seconds.pop_front();
            }
            !seconds.is_empty()
        });
    }

    /// When the last one ended.
    pub fn as_of(&self) -> Option<Moment> {
        self.ends.back().copied()
    }

    /// All tiles, by name.
    pub fn tiles(&self) -> Vec<TilePulse> {
        self.tiles.iter().map(|(name, seconds)| self.tile(name, seconds)).collect()
    }

    fn tile(&self, name: &TileName, seconds: &VecDeque<Second>) -> TilePulse {
        let length = self.ends.len().saturating_sub(1);
        let [mut requests, mut failed, mut went_wrong] = [(); 3].map(|()| vec![0; length]);
        for second in seconds {
            // Those before the first are forgotten.
            let at = usize::try_from(second.number - self.before - 1).unwrap_or(usize::MAX);
            if at < length {
                let sum = |kinds: &[Answer]| kinds.iter().map(|kind| second.answers[*kind as usize]).sum();
                requests[at] = second.answers.iter().sum();
                failed[at] = sum(&[Answer::Failed, Answer::Down]);
                went_wrong[at] = sum(&[Answer::Failed, Answer::Down, Answer::NoRoom, Answer::OnPurpose]);
            }
        }
        let [now, short, long] = [NOW, SHORT, LONG].map(|length| self.window(seconds, length));
        TilePulse { name: name.clone(), now, short, long, requests, failed, went_wrong }
    }

    /// The seconds that ended within so long of the last one.
    fn window(&self, seconds: &VecDeque<Second>, length: Duration) -> Window {
        let Some(last) = self.as_of() else { return Window::default() };
        let starts = self.ends.iter().take_while(|end| last.since(**end) >= length).count();
        let first = starts.saturating_sub(1);
        let lasted = self.ends.get(first).map_or(Duration::ZERO, |start| last.since(*start));
        let mut window = Window { lasted, ..Window::default() };
        let number = self.before + 1 + first as u64;
        seconds.iter().filter(|second| second.number >= number).for_each(|second| window.add(second));
        window
    }

    fn newest(&self) -> u64 {
        self.before + self.ends.len() as u64 - 1
    }
}

impl Second {
    fn new(number: u64, tally: &Tally) -> Self {
        let counted = |(bucket, count): (usize, u32)| Some((u8::try_from(bucket).ok()?, count));
        let latencies = tally.latencies.counted().filter_map(counted).collect();
        let Tally { answers, by_lever, asking, failing, .. } = *tally;
        Self { number, answers, by_lever, latencies, asking, failing }
    }

    fn add(&mut self, tally: &Tally) {
        for (sum, count) in self.answers.iter_mut().zip(tally.answers) {
            *sum = sum.saturating_add(count);
        }
        self.by_lever = self.by_lever.saturating_add(tally.by_lever);
        let mut all = tally.latencies.clone();
        self.latencies.iter().for_each(|(bucket, count)| all.add_in(usize::from(*bucket), *count));
        self.latencies = Self::new(self.number, &Tally { latencies: all, ..Tally::default() }).latencies;
        self.asking |= tally.asking;
        self.failing |= tally.failing;
    }
}
