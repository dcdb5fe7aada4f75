//! What each cell and surface answers, second by second: live numbers for the status page, the console and `top`. Each thread
//! counts on a sheet of its own, which nobody else touches but who collects all sheets once a second; no thread waits for
//! another one. The last minute is kept, and a few of the last requests that were refused or have failed.
//!
//! Not here: what is made of the numbers. That a cell is down is `policy::status`'s to say.

mod answer;
mod failures;
mod seconds;

use std::sync::{Arc, Mutex, PoisonError};

use thread_local::ThreadLocal;

use crate::policy::apart::Apart;
use crate::policy::moment::Moment;
use crate::policy::snapshot::Snapshot;

use super::event::RequestEvent;
use super::labels::NONE;

pub use answer::Answer;
pub use failures::{KEPT_FAILURES, SeenFailure};
pub use seconds::{KEPT_SECONDS, TileName, TilePulse, Window};

use failures::Failures;
use seconds::{Seconds, Tally};

/// The live numbers of one process.
#[derive(Debug, Default)]
pub struct Pulse {
    sheets: ThreadLocal<Apart<Mutex<Sheet>>>,
    seconds: Mutex<Kept>,
    failures: Failures,
}

/// What is known of the last minute, and an empty sheet to take the place of one that is collected: so that no thread has
/// to allocate after its first seconds.
#[derive(Debug, Default)]
struct Kept {
    seconds: Seconds,
    spare: Sheet,
}

/// What one thread has counted since it was collected, by generation: keys are positions in its lists.
#[derive(Debug, Default)]
struct Sheet(Vec<Page>);

/// What was counted under one generation. More than one is there only while requests end that began before a reload.
#[derive(Debug)]
struct Page {
    snapshot: Arc<Snapshot>,
    /// By cell (last: none), then surface (last: none). Made at the first request: of 200 cells with 8 surfaces few have
    /// any in a second.
    tiles: Vec<Option<Box<Tally>>>,
}

impl Pulse {
    /// Counts the end of a request. Costs a lock that nobody else wants; one that was refused or has failed is also kept, as
    /// far as [`Failures`] lets it.
    pub(super) fn count(&self, event: &RequestEvent) {
        let answer = Answer::of(event);
        let sheet = self.sheets.get_or_default();
        // Counting cannot panic half way; and a panicked thread's counts are as good as any.
        sheet.lock().unwrap_or_else(PoisonError::into_inner).count(event, answer);
        if answer.is_worth_keeping() {
            self.failures.offer(event, answer);
        }
    }

    /// Ends a second: what was counted since the last call is that of one, however long it was.
    pub fn tick(&self, now: Moment) {
        self.failures.next_second();
        let mut kept = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { seconds, spare } = &mut *kept;
        seconds.begin(now);
        for sheet in &self.sheets {
            std::mem::swap(&mut *sheet.lock().unwrap_or_else(PoisonError::into_inner), spare);
            spare.drain(|snapshot, place, tally| {
                let (cell, surface) = names(snapshot, place);
                seconds.add(cell, surface, tally);
            });
        }
        seconds.forget();
    }

    /// The last minute of each cell and surface that had a request in it, by name, as of the last [`tick`](Self::tick).
    pub fn tiles(&self) -> Vec<TilePulse> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner).seconds.tiles()
    }

    /// When the last second ended; `None` before the first.
    pub fn as_of(&self) -> Option<Moment> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner).seconds.as_of()
    }

    /// Requests that were refused or have failed, the newest first: at most [`KEPT_FAILURES`], and of each reason a few a
    /// second.
    pub fn failures(&self) -> Vec<SeenFailure> {
        self.failures.newest_first()
    }
}

impl Sheet {
    fn count(&mut self, event: &RequestEvent, answer: Answer) {
        let page = self.page(&event.snapshot);
        let place = place(event);
        let Some(tile) = page.tiles.get_mut(place) else { return };
        tile.get_or_insert_default().count(event, answer);
    }

    fn page(&mut self, snapshot: &Arc<Snapshot>) -> &mut Page {
        let pages = &mut self.0;
        let at = pages.iter().position(|page| Arc::ptr_eq(&page.snapshot, snapshot)).unwrap_or_else(|| {
            let places = (snapshot.cells.len() + 1) * (snapshot.surfaces.len() + 1);
            let tiles = std::iter::repeat_with(|| None).take(places).collect();
            pages.push(Page { snapshot: Arc::clone(snapshot), tiles });
            pages.len() - 1
        });
        &mut pages[at]
    }

    /// Hands out what was counted and is empty then. A page that nobody has counted on goes, and its snapshot with it.
    fn drain(&mut self, mut each: impl FnMut(&Snapshot, usize, &Tally)) {
        self.0.retain_mut(|page| {
            let mut counted = false;
            for (place, tile) in page.tiles.iter_mut().enumerate() {
                if let Some(tally) = tile.as_deref_mut().filter(|tally| tally.requests() > 0) {
                    each(&page.snapshot, place, tally);
                    *tally = Tally::default();
                    counted = true;
                }
            }
            counted
        });
    }
}

/// The position of a request's tile. One that was refused counts for the cell that its account lives in, where it has one.
fn place(event: &RequestEvent) -> usize {
    let (cells, surfaces) = (event.snapshot.cells.len(), event.snapshot.surfaces.len());
    let own = || event.snapshot.accounts.by_id(event.decision.as_ref()?.account?).map(|row| row.cell);
    let cell = event.cell().or_else(own).map_or(cells, |cell| usize::from(cell.0).min(cells));
    let surface = event.decision.as_ref().and_then(|decision| decision.surface);
    let surface = surface.map_or(surfaces, |surface| usize::from(surface.0).min(surfaces));
    cell * (surfaces + 1) + surface
}

fn names(snapshot: &Snapshot, place: usize) -> (&str, &str) {
    let surfaces = snapshot.surfaces.len() + 1;
    let cell = snapshot.cells.get(place / surfaces).map_or(NONE, |cell| cell.name.as_str());
    let surface = snapshot.surfaces.get(place % surfaces).map_or(NONE, |surface| surface.name.as_str());
    (cell, surface)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
