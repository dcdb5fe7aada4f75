//! One surface of one cell from look to look. It turns bad after three looks that say so, and is called well again after
//! twenty, so that what fails now and then stays one incident; what health or an operator says is taken at once, for it was
//! weighed there.

use super::super::protection::ramp::Phase;
use super::level::Level;
use super::{CellSeen, Standing, State, TileSeen};

/// Looks in a row that must say that it is worse: one bad second is in three windows of three seconds, and passed over; what
/// lasts is said within ten.
const WORSE_AFTER: u32 = 4;

/// In so many of ten seconds something must go wrong that goes wrong now and then.
const NOW_AND_THEN: u32 = 3;

/// Looks in a row that must say that it is better, before it is said that it recovers.
const BETTER_AFTER: u32 = 3;

/// Looks in a row without trouble before it is over: two windows of ten seconds.
const OVER_AFTER: u32 = 20;

/// Looks without enough requests after which what they said before says nothing any more.
const FORGOTTEN_AFTER: u32 = 60;

/// What a look says of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// This, by the word of an operator or of health.
    Told(State),
    /// This much goes wrong: in the last three seconds, and in the last ten; `None` where there were few.
    Counted(Option<Level>, Option<Level>),
}

/// See the file.
#[derive(Debug)]
pub(super) struct Stand {
    standing: Standing,
    /// Looks in a row that said the same way: worse, or better.
    worse: u32,
    better: u32,
    /// Looks in a row with few requests.
    quiet: u32,
    /// It is not requests that have said what is said.
    is_told: bool,
}

impl Heard {
    pub(super) fn of(cell: &CellSeen, tile: &TileSeen) -> Self {
        let recent = tile.recent.level();
        let is_single = tile.bad_seconds < NOW_AND_THEN;
        let lately = tile.lately.level().map(|level| if is_single { Level::Well } else { level });
        match cell.phase {
            _ if cell.is_drained => Self::Told(State::Down),
            // Who has waited for as long as it may is refused, and does not wait any more.
            _ if cell.is_held => Self::Told(match tile.lately.level_by_levers() {
                Some(Level::Most) => State::Down,
                Some(Level::Some) => State::Degraded,
                Some(Level::Well) | None => State::Held,
            }),
            Phase::Full => Self::Counted(recent, lately),
            // A surface that is served all the same is served.
            Phase::Down if recent == Some(Level::Well) => Self::Counted(recent, lately),
            Phase::Down => Self::Told(State::Down),
            Phase::Probing if tile.recent.served == 0 && tile.recent.all() > 0 => Self::Told(State::Down),
            // What the ramp refuses is how it recovers; what the cell fails is not.
            Phase::Probing | Phase::Ramping => Self::Told(match tile.recent.level_of_asked() {
                Some(Level::Some | Level::Most) => State::Degraded,
                Some(Level::Well) | None => State::Recovering(cell.ramp_percent),
            }),
        }
    }
}

impl Stand {
    /// Well, as far as anybody knows.
    pub(super) const fn new(now: i64) -> Self {
        let standing = Standing { state: State::Operating, since: now, is_quiet: true };
        Self { standing, worse: 0, better: 0, quiet: 0, is_told: false }
    }

    /// As another process has left it; how many looks have said something else, that one has not told.
    pub(super) const fn restored(standing: Standing, is_told: bool) -> Self {
        Self { standing, worse: 0, better: 0, quiet: 0, is_told }
    }

    pub(super) const fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether it is health or an operator who has said it.
    pub(super) const fn is_told(&self) -> bool {
        self.is_told
    }

    /// Looks; what was said before, where that is not said any more.
    pub(super) fn look(&mut self, heard: &Heard, now: i64) -> Option<State> {
        let from = self.standing.state;
        let to = match *heard {
            Heard::Told(state) => {
                (self.worse, self.better, self.is_told) = (0, 0, true);
                state
            }
            Heard::Counted(recent, lately) => {
                self.is_told &= lately.is_none();
                self.counted(recent, lately)
            }
        };
        self.standing.state = to;
        if from.is_same(to) {
            return None;
        }
        (self.standing.since, self.worse, self.better) = (now, 0, 0);
        Some(from)
    }

    fn counted(&mut self, recent: Option<Level>, lately: Option<Level>) -> State {
        self.hear_silence(lately);
        let state = self.standing.state;
        let wanted = match state {
            State::Operating => level(recent.max(lately)),
            // What was ten seconds ago is why it is what it is; what is now says where it goes.
            _ => match (recent, lately) {
                (None, None) if self.says_still() => state,
                (None, None) => State::Operating,
                (Some(now), _) | (None, Some(now)) => level(Some(now)),
            },
        };
        let is_over = wanted == State::Operating;
        if wanted > state {
            (self.worse, self.better) = (self.worse + 1, 0);
        } else if wanted < state {
            (self.worse, self.better) = (0, self.better + 1);
        } else {
            (self.worse, self.better) = (0, 0);
        }
        match state {
            _ if self.worse >= WORSE_AFTER => wanted,
            State::Recovering(_) if self.better >= OVER_AFTER => State::Operating,
            // How far a ramp was says nothing once it is over.
            State::Recovering(_) => State::Recovering(None),
            State::Held if is_over => State::Operating,
            State::Degraded | State::Down if self.better >= BETTER_AFTER => {
                if is_over {
                    State::Recovering(None)
                } else {
                    wanted
                }
            }
            _ => state,
        }
    }

    /// Whether what requests have said holds while there are few of them.
    fn says_still(&self) -> bool {
        let is_over = matches!(self.standing.state, State::Recovering(_));
        !self.is_told && !is_over && self.quiet < FORGOTTEN_AFTER
    }

    /// Few requests are said at once where nothing is known, and else once there were few for long: nobody wants to see it
    /// come and go.
    fn hear_silence(&mut self, lately: Option<Level>) {
        self.quiet = if lately.is_some() { 0 } else { self.quiet.saturating_add(1) };
        if self.quiet == 0 || self.quiet >= FORGOTTEN_AFTER {
            self.standing.is_quiet = self.quiet > 0;
        }
    }
}

const fn level(level: Option<Level>) -> State {
    match level {
        None | Some(Level::Well) => State::Operating,
        Some(Level::Some) => State::Degraded,
        Some(Level::Most) => State::Down,
    }
}
