//! `/status`, `/status.json` and `/status/events`: what lies ready on the status desk, for browsers, programs and caches. The same
//! on the admin doors, for operators, and on the public door, which has nothing else.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Extension, Router};
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::body::Frame;
use tokio::sync::mpsc;

use crate::status::desk::{Edition, Printed, Reader, StatusDesk};

use super::places::Mark;
use super::routes::Rows;

/// For so long a cache may give the same again: half of how soon a change is to be seen.
const CACHE: &str = "public, max-age=5";

/// How long one reader of events is told of them; then it calls again, as browsers do by themselves. On the admin doors it is
/// below the life of a connection there.
const PUBLIC_LIFE: Duration = Duration::from_secs(600);
const ADMIN_LIFE: Duration = Duration::from_secs(60);

/// Readers of events at once on an admin door, each with a connection: a quarter of the door's. On the public door its places
/// say how many, by address.
const ADMIN_READERS: usize = 16;

/// When a browser comes back after its stream has ended, in milliseconds.
const COME_BACK: &str = "retry: 3000\n\n";

/// When a reader who finds no place may ask again, in seconds: it can load the page meanwhile.
const FULL_RETRY_S: &str = "30";

/// What a path on an admin door has.
const PATHS: [&str; 3] = ["/status", "/status.json", "/status/events"];

/// Where editions come from, and who is being told.
#[derive(Clone)]
struct Stand {
    desk: Arc<StatusDesk>,
    reader: Reader,
    life: Duration,
    most: usize,
    readers: Arc<AtomicUsize>,
}

/// The routes of the public door.
pub(super) fn public(desk: &Arc<StatusDesk>) -> Router {
    let stand = Stand::new(desk, Reader::Everybody, (PUBLIC_LIFE, usize::MAX));
    let each = answers().into_iter();
    let routes = each.fold(Router::new(), |routes, (path, answer)| routes.route(path, answer));
    let routes = routes.route("/", get(page));
    let routes =
        routes.fallback(|| async { (StatusCode::NOT_FOUND, "There is nothing here but /status.\n") });
    routes.layer(middleware::map_response(harden)).with_state(stand)
}

/// The same on an admin door.
pub(super) fn rows(rows: Rows, desk: &Arc<StatusDesk>) -> Rows {
    let stand = Stand::new(desk, Reader::Operators, (ADMIN_LIFE, ADMIN_READERS));
    let each = answers().into_iter();
    each.fold(rows, |rows, (path, answer)| rows.row("GET", path, answer.with_state(stand.clone())))
}

fn answers() -> [(&'static str, MethodRouter<Stand>); 3] {
    let [path_of_page, path_of_json, path_of_events] = PATHS;
    [(path_of_page, get(page)), (path_of_json, get(json)), (path_of_events, get(events))]
}

async fn harden(mut response: Response) -> Response {
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
        // It is public, and a dashboard elsewhere may read it.
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn page(State(stand): State<Stand>, headers: HeaderMap) -> Response {
    let policy = HeaderValue::try_from(stand.desk.policy()).ok();
    let mut response = printed(&stand.last().page, "text/html; charset=utf-8", &headers);
    if let Some(policy) = policy {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

async fn json(State(stand): State<Stand>, headers: HeaderMap) -> Response {
    printed(&stand.last().json, "application/json", &headers)
}

/// What is printed, or that the caller has it.
fn printed(printed: &Printed, kind: &'static str, asked: &HeaderMap) -> Response {
    let Ok(tag) = HeaderValue::try_from(&*printed.tag).map_err(drop) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if printed.bytes.is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], "The status is being made.\n")
            .into_response();
    }
    let headers = [(ETAG, tag), (CACHE_CONTROL, HeaderValue::from_static(CACHE))];
    if has(asked, &printed.tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(CONTENT_TYPE, kind)], printed.bytes.clone()).into_response()
}

/// Whether `If-None-Match` names it (RFC 9110 section 13.1.2: a weak comparison).
fn has(asked: &HeaderMap, tag: &str) -> bool {
    let values = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

async fn events(State(stand): State<Stand>, mark: Option<Extension<Mark>>) -> Response {
    let stays = mark.is_none_or(|Extension(mark)| mark.settle());
    let Some(place) = Place::take(&stand).filter(|_| stays) else {
        let full = "As many as may be are told of events already: load /status.json now and then.\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, FULL_RETRY_S)], full).into_response();
    };
    // One on its way and one that waits: whoever reads slowly gets the newest.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(tell(stand, place, sender));
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    (headers, Body::new(Events(receiver))).into_response()
}

/// Tells a reader of each edition until it goes or its time is over.
async fn tell(stand: Stand, place: Place, reader: mpsc::Sender<Bytes>) {
    tokio::select! {
        _ = tokio::time::timeout(stand.life, tell_each(&stand, &reader)) => {}
        () = reader.closed() => {}
    }
    drop(place);
}

/// The error is that the reader has gone, or nobody prints any more.
async fn tell_each(stand: &Stand, reader: &mpsc::Sender<Bytes>) -> Result<(), ()> {
    let mut editions = stand.desk.follow(stand.reader);
    reader.send(Bytes::from_static(COME_BACK.as_bytes())).await.map_err(drop)?;
    loop {
        let event = editions.borrow_and_update().event.clone();
        if !event.is_empty() {
            reader.send(event).await.map_err(drop)?;
        }
        editions.changed().await.map_err(drop)?;
    }
}

impl Stand {
    fn new(desk: &Arc<StatusDesk>, reader: Reader, (life, most): (Duration, usize)) -> Self {
        Self { desk: Arc::clone(desk), reader, life, most, readers: Arc::default() }
    }

    fn last(&self) -> Arc<Edition> {
        self.desk.last(self.reader)
    }
}

/// The place of a reader of events, until it is dropped.
#[must_use]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(stand: &Stand) -> Option<Self> {
        let room = |taken: usize| (taken < stand.most).then_some(taken + 1);
        stand.readers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Self(Arc::clone(&stand.readers)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a stream of events.
struct Events(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_has_it_is_told_so() {
        let has =
            |value: &str| has(&HeaderMap::from_iter([(IF_NONE_MATCH, value.parse().unwrap())]), "\"a1\"");
        for value in ["\"a1\"", "W/\"a1\"", "\"x\", \"a1\"", "*"] {
            assert!(has(value), "{value}");
        }
        for value in ["\"a2\"", "a1", "", "\"a1"] {
            assert!(!has(value), "{value}");
        }
    }

    #[test]
    fn readers_of_events_are_bounded_and_give_their_place_back() {
        let desk = StatusDesk::new(String::new());
        let stand = Stand::new(&desk, Reader::Everybody, (PUBLIC_LIFE, 2));
        let places = [Place::take(&stand), Place::take(&stand)];
        assert!(places.iter().all(Option::is_some) && Place::take(&stand).is_none());
        drop(places);
        assert!(Place::take(&stand).is_some());
    }
}
