//! What requests read of a failover: which group is an account's own, who of it is moved, where to, and how
//! much of that may go. Plain numbers in atomics; a request that sees half of an update is not refused for that: it goes
//! to its account's own group, as all did before.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use super::super::super::moment::Moment;
use super::super::cut::Cut;
use super::super::pace::Pace;
use super::super::priority::Priority;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// To the group that its account belongs to in normal times, by position.
    Own(usize),
    /// To another, because its own is lost or on its way back.
    Moved(usize),
    /// There is no room for it.
    Shed,
}

/// One for each cell; made anew when its groups change.
#[derive(Debug)]
pub struct Published {
    pub(super) lanes: Box<[Lane]>,
    /// Odd while an update is written; another number after each.
    turn: AtomicU64,
    /// Requests that asked, by class.
    pub(super) offered: [AtomicU64; 4],
    /// Requests that found their group full.
    pub(super) full_count: AtomicU64,
}

/// One group.
#[derive(Debug)]
pub(super) struct Lane {
    /// Accounts below it, of 2^32, and not below that of the lane before, have their own group here.
    pub(super) home_end: AtomicU64,
    /// Of those, so many of 2^32 stay here.
    pub(super) kept: AtomicU64,
    /// Of those that do not, the ones for which there is no other room stay as well.
    pub(super) takes_the_rest: AtomicBool,
    /// What may come of its own, while it is on its way back.
    pub(super) own: Pace,
    /// Of the moved, those that come here or to a lane before, as a [`Cut`].
    pub(super) cut: AtomicU64,
    /// What may come of the moved.
    pub(super) moved: Pace,
    /// What may come from groups that are full.
    pub(super) overflow: Pace,
    /// What may come of all. The own takes of it without being asked.
    pub(super) total: Pace,
    /// Requests that went here from its own.
    pub(super) own_count: AtomicU64,
    /// Requests that would have come here moved, let through or not.
    pub(super) asked_count: AtomicU64,
    /// Those let through.
    pub(super) moved_count: AtomicU64,
    /// Requests that came from groups that are full.
    pub(super) overflow_count: AtomicU64,
}

/// All of what is counted in parts of 2^32.
pub(super) const WHOLE: u64 = 1 << 32;

impl Published {
    /// Everything goes to the first of so many groups until something is decided.
    pub fn new(groups: usize) -> Self {
        let lane = |_| Lane {
            home_end: AtomicU64::new(WHOLE),
            kept: AtomicU64::new(WHOLE),
            takes_the_rest: AtomicBool::new(false),
            own: Pace::unlimited(),
            cut: AtomicU64::new(Cut::NONE.bits()),
            moved: Pace::closed(),
            overflow: Pace::closed(),
            total: Pace::unlimited(),
            own_count: AtomicU64::new(0),
            asked_count: AtomicU64::new(0),
            moved_count: AtomicU64::new(0),
            overflow_count: AtomicU64::new(0),
        };
        Self {
            lanes: (0..groups).map(lane).collect(),
            turn: AtomicU64::new(0),
            offered: [const { AtomicU64::new(0) }; 4],
            full_count: AtomicU64::new(0),
        }
    }

    /// An update of the lanes, until this is dropped. One at a time.
    pub(super) fn update(&self) -> Update<'_> {
        self.turn.fetch_add(1, Ordering::AcqRel);
        // What is written of the lanes stays behind it, as what is read stays before the second look.
        fence(Ordering::Release);
        Update(&self.turn)
    }

    /// The number of the update that all lanes are of; none while one is written.
    fn turn(&self) -> Option<u64> {
        Some(self.turn.load(Ordering::Acquire)).filter(|turn| turn.is_multiple_of(2))
    }
}

/// See [`Published::update`].
#[must_use]
pub(super) struct Update<'a>(&'a AtomicU64);

impl Drop for Update<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// Where a request goes. `account` is a hash that is the same in all replicas; who has none is placed by
/// `ticket`, which is drawn for the request.
pub fn choose_group(
    published: &Published,
    ticket: u64,
    account: Option<u64>,
    priority: Priority,
    now: Moment,
) -> Chosen {
    count(&published.offered[priority as usize]);
    let turn = published.turn();
    let key = account.unwrap_or(ticket);
    let place = mixed(key, 1);
    let below = |lane: &Lane| u64::from(place) < lane.home_end.load(Ordering::Relaxed);
    let Some(home) = published.lanes.iter().position(below) else { return Chosen::Shed };
    let lane = &published.lanes[home];
    let stays = u64::from(mixed(key, 2)) < lane.kept.load(Ordering::Relaxed);
    if stays && lane.own.try_take(now, priority) {
        lane.total.charge(now);
        count(&lane.own_count);
        return Chosen::Own(home);
    }
    let chosen = moved(published, mixed(key, 3), priority, now);
    // What was read before an update and what was read after it may say no together, and neither would alone.
    let is_torn = || {
        // What was read of the lanes stays before what is read now (Boehm, "Can seqlocks get along", 2012).
        fence(Ordering::Acquire);
        turn.is_none() || published.turn() != turn
    };
    if chosen == Chosen::Shed && (lane.takes_the_rest.load(Ordering::Relaxed) || is_torn()) {
        lane.total.charge(now);
        count(&lane.own_count);
        return Chosen::Own(home);
    }
    chosen
}

fn moved(published: &Published, rank: u32, priority: Priority, now: Moment) -> Chosen {
    let holds = |lane: &Lane| Cut::from_bits(lane.cut.load(Ordering::Relaxed)).holds(priority, rank);
    let Some(index) = published.lanes.iter().position(holds) else { return Chosen::Shed };
    let lane = &published.lanes[index];
    count(&lane.asked_count);
    if !lane.moved.try_take(now, priority) || !lane.total.try_take(now, priority) {
        return Chosen::Shed;
    }
    count(&lane.moved_count);
    Chosen::Moved(index)
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One of several numbers of a key that say nothing of each other (the finalizer of `SplitMix64`, Steele and
/// others 2014).
fn mixed(key: u64, which: u64) -> u32 {
    let mut bits = key.wrapping_add(which.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_an_update_refuses_nobody() {
        let published = Published::new(2);
        let choose = || choose_group(&published, 7, None, Priority::Api, Moment::START);
        assert_eq!(choose(), Chosen::Own(0));
        let update = published.update();
        published.lanes[0].kept.store(0, Ordering::Relaxed);
        assert_eq!(choose(), Chosen::Own(0), "where else it may go is not written yet");
        drop(update);
        assert_eq!(choose(), Chosen::Shed, "nobody has room for it");
        let update = published.update();
        published.lanes[1].cut.store(Cut::ALL.bits(), Ordering::Relaxed);
        published.lanes[1].moved.set(f64::INFINITY, std::time::Duration::ZERO, Moment::START);
        assert_eq!(choose(), Chosen::Moved(1), "what is there already counts");
        drop(update);
        assert_eq!(choose(), Chosen::Moved(1));
    }
}
