//! `/live` and `/live/events`: everything that is live, in one answer; once, or as a stream of one document a second.
//!
//! A document is made once for all who listen, and none while nobody does. Who reads slowly gets the newest and misses some: no
//! document waits for anybody. docs/console.md says what is in it, field by field.

mod document;
mod parts;
mod traffic;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, routing::get};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::AdminState;
use super::access::Asking;
use super::listen::Patience;
use super::routes::{Rows, trouble};
use crate::policy::access::Door;
use document::Document;

/// Most who listen at once on a door: half of the places that it has for connections, so that nobody who leaves pages open
/// keeps out a probe or a lever, and nobody at one door whoever comes by another.
const MOST_LISTENERS: usize = 32;

/// What is live is judged once a second; more often says nothing new.
const EVERY: Duration = Duration::from_secs(1);

/// What a browser that lost the stream waits by itself, in milliseconds: the console has a longer and longer wait of its own.
const PREAMBLE: &str = "retry: 2000\n\n";

/// Makes documents, and knows who listens.
pub struct LiveDesk {
    frames: watch::Sender<Frame>,
    /// In the order of [`Door::ALL`].
    places: [Arc<Semaphore>; Door::ALL.len()],
    state: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    /// Documents that this process has made.
    made: u64,
    is_making: bool,
    kept: Option<(Instant, Bytes)>,
}

/// What listeners wait for.
#[derive(Clone)]
enum Frame {
    /// Nothing yet.
    None,
    /// A document, as an event.
    Made(Bytes),
    /// The admin plane ends.
    Closed,
}

impl Default for LiveDesk {
    fn default() -> Self {
        let places = Door::ALL.map(|_| Arc::new(Semaphore::new(MOST_LISTENERS)));
        Self { frames: watch::channel(Frame::None).0, places, state: Mutex::default() }
    }
}

impl LiveDesk {
    /// Ends all streams, now and for good: the admin plane ends.
    pub(super) fn close(&self) {
        self.frames.send_replace(Frame::Closed);
    }

    /// The document of now; the one before where that is not a second old.
    fn document(&self, admin: &AdminState) -> Bytes {
        let kept = self.state().kept.clone().filter(|(at, _)| at.elapsed() < EVERY);
        kept.map_or_else(|| self.make(admin).1, |(_, json)| json)
    }

    /// With its number.
    fn make(&self, admin: &AdminState) -> (u64, Bytes) {
        let mut state = self.state();
        state.made += 1;
        let document = Document::new(admin, state.made, SystemTime::now());
        let json = serde_json::to_vec(&document).expect("views have names as keys");
        let json = Bytes::from(json);
        state.kept = Some((Instant::now(), json.clone()));
        (state.made, json)
    }

    /// A place among those who listen at a door, and the frames; `None` where there is none.
    fn listen(
        self: &Arc<Self>,
        door: Door,
        admin: &AdminState,
    ) -> Option<(OwnedSemaphorePermit, watch::Receiver<Frame>)> {
        let at = Door::ALL.iter().position(|one| *one == door)?;
        let place = Arc::clone(&self.places[at]).try_acquire_owned().ok()?;
        let mut state = self.state();
        let mut frames = self.frames.subscribe();
        if !state.is_making {
            state.is_making = true;
            tokio::spawn(Arc::clone(self).keep_making(admin.clone()));
        }
        drop(state);
        // What was made last is for them, too.
        frames.mark_changed();
        Some((place, frames))
    }

    /// A document a second, for as long as anybody listens.
    async fn keep_making(self: Arc<Self>, admin: AdminState) {
        let mut seconds = tokio::time::interval(EVERY);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            if self.nobody_listens() {
                return;
            }
            let frame = Frame::Made(self.event(&admin));
            let is_open = self.frames.send_if_modified(|last| {
                let is_open = !matches!(last, Frame::Closed);
                if is_open {
                    *last = frame;
                }
                is_open
            });
            if !is_open {
                return;
            }
        }
    }

    /// Looked at under the lock under which listeners look whether somebody makes documents: one of both comes first.
    fn nobody_listens(&self) -> bool {
        let mut state = self.state();
        let nobody = self.places.iter().all(|places| places.available_permits() == MOST_LISTENERS);
        if nobody {
            state.is_making = false;
            // Who comes in an hour must not be given this one.
            self.frames.send_if_modified(|last| {
                if let Frame::Made(_) = last {
                    *last = Frame::None;
                }
                false
            });
        }
        nobody
    }

    fn event(&self, admin: &AdminState) -> Bytes {
        let (number, json) = self.make(admin);
        [format!("id: {number}\nevent: live\ndata: ").as_bytes(), &json, b"\n\n"].concat().into()
    }

    fn state(&self) -> MutexGuard<'_, Desk> {
        // Nothing that holds it panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for LiveDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LiveDesk")
    }
}

/// Both routes.
pub(super) fn rows(rows: Rows) -> Rows {
    rows.row("GET", "/live", get(once)).row("GET", "/live/events", get(events))
}

/// `GET /live`.
async fn once(State(admin): State<AdminState>) -> Response {
    let desk = Arc::clone(&admin.console.live);
    ([(CONTENT_TYPE, "application/json")], desk.document(&admin)).into_response()
}

/// `GET /live/events`.
async fn events(
    State(admin): State<AdminState>,
    Extension(patience): Extension<Patience>,
    Extension(asking): Extension<Asking>,
) -> Response {
    let desk = Arc::clone(&admin.console.live);
    let Some((place, frames)) = desk.listen(asking.door(), &admin) else {
        let what =
            format!("{MOST_LISTENERS} others listen at this door already, and there are no more places.");
        let next = "Close a console that nobody looks at, or ask /live once.";
        let mut response = trouble(StatusCode::SERVICE_UNAVAILABLE, "too_many_listeners", what, next);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        return response;
    };
    let preamble = stream::once(async { Bytes::from_static(PREAMBLE.as_bytes()) });
    let live = stream::unfold((frames, place), move |(mut frames, place)| {
        let patience = patience.clone();
        async move {
            loop {
                frames.changed().await.ok()?;
                let frame = frames.borrow_and_update().clone();
                match frame {
                    Frame::None => {}
                    Frame::Made(event) => {
                        // Only who reads asks for the next one.
                        patience.begin_again();
                        return Some((event, (frames, place)));
                    }
                    Frame::Closed => return None,
                }
            }
        }
    });
    let body = Body::from_stream(preamble.chain(live).map(Ok::<_, Infallible>));
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::admin::tests::state;
    use crate::telemetry::fixture;

    /// Of the next frame that comes.
    async fn number(frames: &mut watch::Receiver<Frame>) -> u64 {
        loop {
            frames.changed().await.unwrap();
            if let Frame::Made(event) = &*frames.borrow_and_update() {
                let text = std::str::from_utf8(event).unwrap();
                return text.strip_prefix("id: ").unwrap().split('\n').next().unwrap().parse().unwrap();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_polls_gets_the_same_document_for_a_second() {
        let admin = state(fixture::snapshot(1));
        let desk = Arc::clone(&admin.console.live);
        let first = desk.document(&admin);
        tokio::time::advance(EVERY / 2).await;
        assert_eq!(desk.document(&admin), first);
        tokio::time::advance(EVERY / 2).await;
        assert_ne!(desk.document(&admin), first);
        assert_eq!(desk.state().made, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_made_while_nobody_listens() {
        let admin = state(fixture::snapshot(1));
        let desk = Arc::clone(&admin.console.live);
        let made = || desk.state().made;
        tokio::time::sleep(EVERY * 1_000).await;
        assert_eq!(made(), 0);
        let (place, mut frames) = desk.listen(Door::Socket, &admin).unwrap();
        let (other_place, mut other) = desk.listen(Door::Tls, &admin).unwrap();
        for expect in 1..=5 {
            assert_eq!((number(&mut frames).await, number(&mut other).await), (expect, expect));
        }
        drop(place);
        tokio::time::sleep(EVERY * 10).await;
        let last = made();
        assert!((14..=16).contains(&last), "one still listens: {last}");
        drop(other_place);
        tokio::time::sleep(EVERY * 1_000).await;
        assert!(made() <= last + 1, "{} after {last}", made());
        let last = made();
        let (_place, mut frames) = desk.listen(Door::Socket, &admin).unwrap();
        assert_eq!(number(&mut frames).await, last + 1, "and not the one of long ago");
    }
}
