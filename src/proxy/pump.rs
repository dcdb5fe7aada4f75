//! The forward loop of one exchange: request body up, response down, both at once, each held back by
//! the other side's sink and by nothing else.
//!
//! One task, no channel, no spawn. `step` looks at everything that can move and returns the first
//! thing that did; the caller acts on it. Every poll it makes can be dropped and made again without
//! losing a byte.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::broken::Broken;
use super::downstream::Downstream;
use super::pieces::{Behind, Pieces};
pub use super::progress::Progress;
use super::progress::{Request, Response};
use super::response::strip;
use super::tunnel::Tunnel;
use super::upstream::{Event, Upstream};
use crate::policy::cell_failure::Silence;
use crate::policy::endpoint_class::ExchangeTimes;
use crate::policy::forwarding;
use crate::policy::gate;

/// Silence of a cell whose client has ended its half of a tunnel: enough for the closing handshake of a
/// WebSocket (RFC 6455 section 7.1.1 lets a client give up at any time), too little for a client that is
/// gone to occupy the cell.
const HALF_CLOSED: Duration = Duration::from_secs(10);

/// Time limits of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long each silence may last.
    pub times: ExchangeTimes,
    /// When the whole must be over; a tunnel may go on.
    pub until: Option<Instant>,
}

/// The state of one exchange between a client and a cell.
pub struct Pump<'a> {
    down: &'a mut Downstream,
    up: &'a mut Upstream,
    limits: Limits,
    progress: Progress,
    /// Something has moved since the deadline was set.
    moved: bool,
    /// Who is looked at first alternates, so that neither direction can starve the other.
    response_first: bool,
    /// For a WebSocket: when and how to say goodbye.
    tunnel: Option<Tunnel>,
    /// Who is told when the client is behind, once a body comes.
    pieces: Option<&'a Pieces>,
    behind: Option<Behind<'a>>,
}

/// One of the two directions, looked at in turn.
type PollStep<'a> = fn(&mut Pump<'a>, &mut Context<'_>) -> Poll<Result<Step, Broken>>;

enum Step {
    RequestBody(Option<Bytes>),
    Response(Event),
    Moved,
    /// A tunnel is to end.
    Goodbye,
    Finished,
}

impl<'a> Pump<'a> {
    /// For an exchange whose request head has been sent.
    pub fn new(down: &'a mut Downstream, up: &'a mut Upstream, limits: Limits, progress: Progress) -> Self {
        let (moved, response_first, tunnel) = (true, false, None);
        Self { down, up, limits, progress, moved, response_first, tunnel, pieces: None, behind: None }
    }

    /// Says goodbye in this tunnel in time, should it outlive the process.
    pub fn say_goodbye(mut self, tunnel: Tunnel) -> Self {
        self.tunnel = Some(tunnel);
        self
    }

    /// How far it is now, for the next pump or for what happens to the connections.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Moves the request body up and 1xx heads down until the cell's final head is there.
    ///
    /// # Errors
    /// [`Broken`]; the client has not been sent a final head.
    pub async fn head(&mut self) -> Result<(Box<Parts>, bool), Broken> {
        let (mut interim, mut interim_bytes) = (0, 0);
        loop {
            match self.step().await? {
                Step::RequestBody(chunk) => self.request_body(chunk)?,
                Step::Response(Event::Informational(mut head)) => {
                    interim += 1;
                    interim_bytes += gate::size(&head.headers);
                    if interim > gate::INTERIM_ANSWERS || interim_bytes > gate::ANSWER_BYTES {
                        return Err(Broken::Cell(pingora::Error::explain(
                            pingora::ErrorType::InvalidHTTPHeader,
                            "1xx answers without end",
                        )));
                    }
                    strip(false, &mut head);
                    self.down.inform(&head);
                }
                Step::Response(Event::Head { head, end }) => {
                    self.progress.response = match head.status {
                        StatusCode::SWITCHING_PROTOCOLS => Response::Tunnel,
                        _ if end => Response::Done,
                        _ => Response::Body,
                    };
                    return Ok((head, end));
                }
                Step::Response(Event::Body(_) | Event::End(_)) | Step::Finished => {
                    unreachable!("a body is polled only after its head")
                }
                Step::Moved | Step::Goodbye => {}
            }
            self.moved = true;
        }
    }

    /// After the caller has sent the head: moves both bodies to their ends. `pieces` says how much of the answer
    /// may come at a time.
    ///
    /// # Errors
    /// [`Broken`]; the client has been sent a head, so the response must be broken off.
    pub async fn body(&mut self, pieces: &'a Pieces) -> Result<(), Broken> {
        if self.progress.response == Response::Tunnel {
            self.up.become_tunnel();
            self.progress.request = Request::Open;
        }
        self.moved = true;
        self.pieces = Some(pieces);
        loop {
            match self.step().await? {
                Step::RequestBody(None) if self.progress.response == Response::Tunnel => {
                    self.progress.request = Request::Done;
                    self.up.end_tunnel();
                }
                Step::RequestBody(chunk) => self.request_body(chunk)?,
                Step::Response(Event::Body(chunk)) => {
                    let chunk = match &mut self.tunnel {
                        Some(tunnel) => tunnel.toward_client(chunk),
                        None => chunk,
                    };
                    self.down.body(chunk);
                    // Over HTTP/2 the last part says that it is.
                    if self.progress.response == Response::Body && self.up.is_over() {
                        self.response_end(None)?;
                    }
                }
                Step::Response(Event::End(trailers)) => self.response_end(trailers)?,
                Step::Response(Event::Head { .. } | Event::Informational(_)) => {
                    unreachable!("a head is polled only before the body")
                }
                Step::Goodbye => self.goodbye()?,
                Step::Moved => {}
                Step::Finished => return Ok(()),
            }
            self.moved = true;
        }
    }

    /// Whatever is not in the middle of a frame is told now, the rest when its frame ends.
    fn goodbye(&mut self) -> Result<(), Broken> {
        let Some(tunnel) = &mut self.tunnel else { return Ok(()) };
        let (client, cell) = tunnel.leave();
        if let Some(close) = client {
            self.down.body(close);
        }
        match cell {
            Some(close) if self.progress.request == Request::Open => self.send_up(Some(close)),
            Some(_) | None => Ok(()),
        }
    }

    fn request_body(&mut self, chunk: Option<Bytes>) -> Result<(), Broken> {
        match (chunk, &mut self.tunnel) {
            (Some(chunk), Some(tunnel)) => match tunnel.toward_cell(chunk) {
                none if none.is_empty() => Ok(()),
                chunk => self.send_up(Some(chunk)),
            },
            (chunk, _) => {
                let ends = chunk.is_some()
                    && self.progress.response != Response::Tunnel
                    && self.down.nothing_to_send();
                self.send_up(chunk)?;
                if ends { self.send_up(None) } else { Ok(()) }
            }
        }
    }

    fn send_up(&mut self, chunk: Option<Bytes>) -> Result<(), Broken> {
        let Some(chunk) = chunk else {
            self.progress.request = Request::Done;
            return match self.up.finish() {
                Err(error) if self.progress.response == Response::Tunnel => Err(Broken::Cell(error)),
                Err(_) => {
                    self.abandon_request();
                    Ok(())
                }
                Ok(()) => Ok(()),
            };
        };
        self.up.body(chunk);
        Ok(())
    }

    /// The cell has closed its reading side. It may have answered before: the answer decides.
    fn abandon_request(&mut self) {
        self.progress.request = Request::Abandoned;
        self.up.abandon_request();
    }

    fn response_end(&mut self, mut trailers: Option<HeaderMap>) -> Result<(), Broken> {
        if let Some(trailers) = &mut trailers {
            forwarding::trailing(trailers);
        }
        if self.progress.response == Response::Tunnel {
            self.progress.request = Request::Done;
        }
        self.progress.response = Response::Done;
        self.down.finish(trailers).map_err(|_| Broken::ClientGone)
    }

    async fn step(&mut self) -> Result<Step, Broken> {
        std::future::poll_fn(|cx| self.poll_step(cx)).await
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Broken>> {
        if let Poll::Ready(step) = self.poll_at_hand(cx) {
            return Poll::Ready(step);
        }
        if let Poll::Ready(moved) = self.poll_sinks(cx) {
            return Poll::Ready(moved);
        }
        if self.progress.response == Response::Done && self.down.is_clear() {
            return Poll::Ready(Ok(Step::Finished));
        }
        if self.is_clear()
            && let Some(tunnel) = &mut self.tunnel
            && tunnel.poll_goodbye(cx).is_ready()
        {
            return Poll::Ready(Ok(Step::Goodbye));
        }
        self.response_first = !self.response_first;
        let polls: [PollStep<'a>; 2] = if self.response_first {
            [Self::poll_response, Self::poll_request]
        } else {
            [Self::poll_request, Self::poll_response]
        };
        for poll in polls {
            if let Poll::Ready(step) = poll(self, cx) {
                return Poll::Ready(step);
            }
        }
        if std::mem::take(&mut self.moved) {
            self.down.deadline.set(self.deadline());
        }
        self.down.deadline.poll(cx).map(|()| Err(self.who_is_slow()))
    }

    /// What is there already leaves with what is about to: a head with its body, in one write.
    fn poll_at_hand(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Broken>> {
        let answering = matches!(self.progress.response, Response::Head | Response::Body);
        if self.progress.request == Request::Open
            && answering
            && self.up.is_gathering()
            && self.down.has_body_at_hand()
        {
            self.poll_request_body(cx)
        } else if answering && self.down.is_gathering() && self.up.has_at_hand() {
            self.poll_answer(cx)
        } else {
            Poll::Pending
        }
    }

    /// Whether both sides take another chunk.
    fn is_clear(&self) -> bool {
        self.down.is_clear() && self.up.is_clear()
    }

    fn poll_sinks(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Broken>> {
        if !self.down.is_clear() {
            if let Poll::Ready(cleared) = self.down.poll_clear(cx) {
                self.behind = None;
                return Poll::Ready(cleared.map(|()| Step::Moved).map_err(|_| Broken::ClientGone));
            }
            self.behind = self.behind.take().or_else(|| self.pieces.map(Pieces::behind));
        }
        if !self.up.is_clear()
            && let Poll::Ready(cleared) = self.up.poll_clear(cx)
        {
            return match cleared {
                Ok(()) => Poll::Ready(Ok(Step::Moved)),
                Err(_) => {
                    self.abandon_request();
                    Poll::Ready(Ok(Step::Moved))
                }
            };
        }
        Poll::Pending
    }

    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Broken>> {
        match self.progress.response {
            Response::Head => self.poll_answer(cx),
            Response::Body | Response::Tunnel if self.down.is_clear() => self.poll_answer(cx),
            Response::Body | Response::Tunnel | Response::Done => Poll::Pending,
        }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Broken>> {
        let event = match self.progress.response {
            Response::Head => self.up.poll_head(cx),
            Response::Body | Response::Tunnel | Response::Done => {
                // Now, and not when it began to wait: others may have fallen behind meanwhile.
                if let Some(pieces) = self.pieces {
                    self.up.take_at_most(pieces.size());
                }
                self.up.poll_body(cx)
            }
        };
        event.map(|event| event.map(Step::Response).map_err(Broken::Cell))
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Broken>> {
        if self.down.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Broken::ClientGone));
        }
        match self.progress.request {
            Request::Open if self.up.is_clear() => self.poll_request_body(cx),
            // Nobody reads what comes of it now.
            Request::Open | Request::Abandoned => self.down.poll_left(cx).map(|()| Err(Broken::ClientGone)),
            // The client has ended its half, which is all that its side of the connection can say.
            Request::Done if self.progress.response == Response::Tunnel => Poll::Pending,
            Request::Done => self.down.source.poll_gone(cx).map(|_| Err(Broken::ClientGone)),
        }
    }

    fn poll_request_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Broken>> {
        self.down.poll_body(cx).map(|chunk| chunk.map(Step::RequestBody).map_err(Broken::of_client))
    }

    /// When something must have moved.
    fn deadline(&self) -> Instant {
        let times = &self.limits.times;
        let limit = match self.progress.response {
            Response::Head if self.progress.request == Request::Open && self.up.is_clear() => {
                times.client_body
            }
            Response::Head => times.response_head,
            Response::Tunnel if self.progress.request == Request::Done => HALF_CLOSED,
            _ if !self.down.is_clear() => times.client_stall,
            Response::Body | Response::Done => times.idle,
            Response::Tunnel => times.tunnel_idle,
        };
        match self.progress.response {
            Response::Tunnel => Instant::now() + limit,
            Response::Head | Response::Body | Response::Done => self.limits.at_most(limit),
        }
    }

    fn who_is_slow(&self) -> Broken {
        if !self.down.is_clear() {
            return Broken::ClientStalled;
        }
        let owes_body = self.progress.request == Request::Open && self.up.is_clear();
        match self.progress.response {
            Response::Head if owes_body => Broken::ClientSlow,
            Response::Head | Response::Body | Response::Done | Response::Tunnel => {
                Broken::CellSlow(self.silence())
            }
        }
    }

    /// What the cell has not done in time.
    fn silence(&self) -> Silence {
        match self.limits.until {
            Some(until) if until <= Instant::now() => Silence::Whole,
            Some(_) | None if !self.up.is_clear() => Silence::Unread,
            Some(_) | None => Silence::Unanswered,
        }
    }
}

impl Limits {
    /// In so long, and not after the end of the whole.
    fn at_most(&self, limit: Duration) -> Instant {
        let end = Instant::now() + limit;
        self.until.map_or(end, |until| end.min(until))
    }
}
