//! What a simulated cell answers to one request: behaviour first, then credentials, then what the request
//! asks for itself, else a description of what arrived.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRAILER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use tokio::time::Instant;

use super::Shared;
use super::behaviour::Admission;
use super::control::Control;
use super::seen::{BodySeen, Seen, pairs};
use super::serve::{Connection, Order};
use super::{grpc, websocket};
use crate::body::{self, AnyBody, BodyError, Checksum};

/// The response header that names the cell.
pub const CELL_HEADER: &str = "x-cell";

/// Answers one request.
pub(crate) async fn answer(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<AnyBody>, BodyError> {
    let cell = connection.cell.clone();
    let _in_flight = cell.counters.request();
    let mut seen = connection.see(&request);
    let control = match Control::of(request.headers()) {
        Ok(control) => control,
        Err(error) => {
            let text = format!("{error}\n");
            return Ok(cell.told(StatusCode::BAD_REQUEST, text));
        }
    };
    match cell.switch.admit().await {
        Admission::Serve => {}
        Admission::Answer(status, text) => return Ok(cell.told(status, text)),
        Admission::Hang => return Ok(hanging(&cell)),
        Admission::Abort => return Err(BodyError::BrokenOff),
    }
    if let Some(workers) = &cell.workers
        && !workers.serve(&seen.target).await
    {
        return Ok(cell.told(StatusCode::SERVICE_UNAVAILABLE, "the queue is full\n".to_owned()));
    }
    if let Some(refusal) = cell.authenticate(&mut seen) {
        cell.remember(seen);
        return Ok(refusal);
    }
    informational(&connection, &control);
    tokio::time::sleep(control.delay).await;
    if control.abort {
        return Err(BodyError::BrokenOff);
    }
    let dressing = control.clone();
    let h2 = seen.version == HTTP_2;
    let mut response = dispatch(cell, request, control, seen).await?;
    if let Some(order) = order(&dressing, h2) {
        connection.order.send_replace(order);
    }
    dress(&mut response, dressing);
    Ok(response)
}

/// The `Debug` of [`http::Version::HTTP_2`], which is what [`Seen::version`] holds.
const HTTP_2: &str = "HTTP/2.0";

async fn dispatch(
    cell: Arc<Shared>,
    request: Request<Incoming>,
    control: Control,
    seen: Seen,
) -> Result<Response<AnyBody>, BodyError> {
    if websocket::asked_for(&request) {
        let describes = seen.clone();
        cell.remember(seen);
        return Ok(websocket::accept(cell, request, describes));
    }
    if grpc::asked_for(&request) {
        cell.remember(seen);
        return Ok(grpc::answer(cell, request, control).await);
    }
    if control.echo {
        cell.remember(seen);
        return Ok(echo(&cell, request));
    }
    let head = request.method() == Method::HEAD;
    let seen = match (control.early, control.early_close) {
        (_, true) => seen,
        (true, _) => {
            let rest = request.into_body();
            cell.tasks.spawn(async move { read(rest).await.map_or((), drop) });
            seen
        }
        _ => read_into(seen, request.into_body()).await?,
    };
    cell.remember(seen.clone());
    Ok(normal(&cell, &control, &seen, head))
}

impl Shared {
    /// A response that names this cell.
    pub(crate) fn response(&self, status: StatusCode, body: AnyBody) -> Response<AnyBody> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response.headers_mut().insert(CELL_HEADER, self.name_value.clone());
        response
    }

    /// A short text for a person.
    pub(crate) fn told(&self, status: StatusCode, text: String) -> Response<AnyBody> {
        let mut response = self.response(status, body::full(text));
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        response
    }

    /// Notes the account of a known credential, a token or a session's cookie; answers an unknown one the way dbt's API does.
    fn authenticate(&self, seen: &mut Seen) -> Option<Response<AnyBody>> {
        let tokens = self.tokens.as_ref()?;
        let token = seen.header("authorization").and_then(|value| value.split_once(' '));
        let session = || seen.header("cookie").and_then(|cookie| cookie.strip_prefix("sessionid="));
        let token = token.map(|(_scheme, token)| token.trim()).or_else(session);
        let account = token.and_then(|token| tokens.get(token));
        if let Some(account) = account {
            seen.authenticated = Some(account.clone());
            return None;
        }
        let mut response = self.response(StatusCode::UNAUTHORIZED, body::full(INVALID_TOKEN));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        Some(response)
    }
}

/// What dbt's API answers to any credential problem, and to an account that it does not host.
const INVALID_TOKEN: &str =
    r#"{"status":{"code":401,"is_success":false,"user_message":"Invalid token."},"data":null}"#;

fn order(control: &Control, h2: bool) -> Option<Order> {
    if let Some(after) = control.hangup {
        return Some(Order::HangUp(Instant::now() + after));
    }
    // On h1 the header says it, and the library acts on the header.
    (control.close && h2).then_some(Order::GoAway)
}

/// Sends what may come before the answer (RFC 9110 section 15.2); the library cannot, so only h1 can.
fn informational(connection: &Connection, control: &Control) {
    let Some(tap) = &connection.tap else { return };
    for status in &control.info {
        let (reason, link) = match status {
            100 => ("Continue", ""),
            103 => ("Early Hints", "link: </sim.css>; rel=preload; as=style\r\n"),
            _ => ("Informational", ""),
        };
        tap.inject(format!("HTTP/1.1 {status} {reason}\r\n{link}\r\n").as_bytes());
    }
}

fn hanging(cell: &Shared) -> Response<AnyBody> {
    cell.response(StatusCode::OK, body::frames(stream::pending()))
}

fn echo(cell: &Shared, request: Request<Incoming>) -> Response<AnyBody> {
    let (head, body) = request.into_parts();
    let length = head.headers.get(CONTENT_LENGTH).cloned();
    let body = body.map_err(BodyError::from).boxed_unsync();
    let mut response = cell.response(StatusCode::OK, body);
    for (name, value) in [
        (CONTENT_TYPE, head.headers.get(CONTENT_TYPE).cloned()),
        (CONTENT_LENGTH, length),
        (TRAILER, head.headers.get(TRAILER).cloned()),
    ] {
        if let Some(value) = value {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Reads a body to its end without keeping it.
async fn read(mut body: Incoming) -> Result<(BodySeen, HeaderMap), hyper::Error> {
    let (mut bytes, mut sum, mut trailers) = (0, Checksum::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                bytes += data.len() as u64;
                sum.add(&data);
            }
            Err(other) => trailers.extend(other.into_trailers().unwrap_or_default()),
        }
    }
    let sha256 = sum.hex();
    Ok((BodySeen { bytes, sha256 }, trailers))
}

/// A client that goes away within its request gets no answer.
async fn read_into(mut seen: Seen, body: Incoming) -> Result<Seen, BodyError> {
    let (body, trailers) = read(body).await?;
    seen.body = Some(body);
    seen.trailers = pairs(&trailers);
    Ok(seen)
}

fn normal(cell: &Shared, control: &Control, seen: &Seen, head: bool) -> Response<AnyBody> {
    let status = control.status.unwrap_or(StatusCode::OK);
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return cell.response(status, body::empty());
    }
    let (kind, length, pieces) = content(control, seen);
    let length = length.filter(|_| !control.chunked && !control.trailers);
    let frames = ended(pieces, control);
    let body = match (head, control.hang) {
        (true, _) => body::empty(),
        (_, true) => body::frames(stream::pending()),
        _ => body::frames(frames),
    };
    let mut response = cell.response(status, body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if control.trailers {
        headers.insert(TRAILER, HeaderValue::from_static("x-sim-trailer, x-sim-sha256"));
    }
    response
}

/// The HTTP library throws away what it has not written when a body fails; a pause makes it write.
const FLUSH: Duration = Duration::from_millis(10);

type Pieces = stream::BoxStream<'static, Bytes>;

/// Media type, length if known beforehand, and bytes of a normal answer.
fn content(control: &Control, seen: &Seen) -> (&'static str, Option<u64>, Pieces) {
    if let Some(events) = control.sse {
        return ("text/event-stream", None, sse(events, control.every).boxed());
    }
    if let Some(total) = control.body {
        let piece = control.piece.unwrap_or(body::PIECE);
        let pieces = body::pattern_pieces(total, piece, control.every);
        return ("application/octet-stream", Some(total), pieces.boxed());
    }
    let mut json = serde_json::to_vec_pretty(seen).expect("strings and numbers are always JSON");
    json.push(b'\n');
    let length = json.len() as u64;
    let whole = stream::iter([Bytes::from(json)]);
    ("application/json", Some(length), whole.boxed())
}

fn sse(events: u32, every: Duration) -> impl Stream<Item = Bytes> + Send {
    stream::iter(0..events).then(move |number| async move {
        if number > 0 {
            tokio::time::sleep(every).await;
        }
        Bytes::from(format!("id: {number}\ndata: event {number}\n\n"))
    })
}

/// The frames of an answer: cut off where asked, else with trailers where asked.
fn ended(
    pieces: Pieces,
    control: &Control,
) -> impl Stream<Item = Result<Frame<Bytes>, BodyError>> + Send + use<> {
    let (cut, trailers) = (control.cut, control.trailers);
    let state = (pieces, 0u64, Some(Checksum::new()));
    stream::unfold(state, move |(mut pieces, sent, sum)| async move {
        let mut sum = sum?;
        if cut.is_some_and(|cut| sent >= cut) {
            tokio::time::sleep(FLUSH).await;
            return Some((Err(BodyError::BrokenOff), (pieces, sent, None)));
        }
        let Some(mut piece) = pieces.next().await else {
            let last = trailers.then(|| last(sum))?;
            return Some((Ok(Frame::trailers(last)), (pieces, sent, None)));
        };
        if let Some(left) = cut.map(|cut| cut - sent) {
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        sum.add(&piece);
        let sent = sent + piece.len() as u64;
        Some((Ok(Frame::data(piece)), (pieces, sent, Some(sum))))
    })
}

fn last(sum: Checksum) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sim-trailer", HeaderValue::from_static("last"));
    let sum = HeaderValue::from_str(&sum.hex()).expect("hexadecimal digits are a header value");
    trailers.insert("x-sim-sha256", sum);
    trailers
}

/// What a request may ask for in the head of any answer.
fn dress(response: &mut Response<AnyBody>, control: Control) {
    if let Some(status) = control.status {
        *response.status_mut() = status;
    }
    let headers = response.headers_mut();
    if control.pad > 0 {
        let pad = "p".repeat(control.pad);
        let pad = HeaderValue::from_str(&pad).expect("letters are a header value");
        headers.insert("x-pad", pad);
    }
    if control.close || control.early_close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    for (name, value) in control.set {
        headers.append(name, value);
    }
}
