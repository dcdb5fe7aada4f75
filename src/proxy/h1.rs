//! One HTTP/1 connection: reads each request head itself, raw, under a total deadline, and forwards it only after
//! `policy::gate` has found it unambiguous.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::time::Instant;

use super::deadline::Deadline;
use super::downstream::{Downstream, Source};
use super::head::RequestHead;
use super::http1::server::Session;
use super::reply::Reply;
use super::request::Peer;
use super::service::Service;
use super::wire::{PIECE, Wire};
use crate::listen::drain::Phase;
use crate::listen::lookout::Lookout;
use crate::policy::gate::{ChunkReader, Framing, Head, HeadReader, HeadStatus};
use crate::policy::refusal::Refusal;

/// How long a client that is still sending may go on after an early answer, so that our close does not
/// become a reset that destroys the answer (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// How many bytes it may go on for.
const LINGER_BYTES: usize = 1024 * 1024;

/// Of which so many are read at a time.
const LINGER_PIECE: usize = 16 * 1024;

/// Serves one connection to its end.
pub async fn serve(service: &Service, peer: Arc<Peer>, wire: Box<Wire>) {
    let mut connection = Some(Ready::new(service, wire));
    let born = Instant::now();
    let limits = service.limits();
    let mut served = 0u32;
    while let Some(mut ready) = connection.take() {
        let now = Instant::now();
        let last = served + 1 >= limits.requests_per_connection || now - born >= limits.connection_lifetime;
        let read = read_head(service, &mut ready, now, served == 0).await;
        // Boxed: a connection lives longer than its requests, and should not hold room for one meanwhile.
        connection = Box::pin(one_request(service, &peer, ready, read, last)).await;
        served = served.saturating_add(1);
    }
}

/// A connection between two requests.
struct Ready {
    wire: Box<Wire>,
    /// What the client has sent of its next request already.
    buffered: BytesMut,
    waiting: Waiting,
}

/// What a connection waits for beside its client. Kept from request to request: to arm a timer and to take it down for
/// each costs more than to leave it.
struct Waiting {
    /// For the first byte of a request, or the last of its head.
    head: Deadline,
    /// For something to move during an exchange.
    exchange: Deadline,
    /// For the process to be so far on its way out.
    phase: Phase,
    lookout: Box<Lookout>,
}

impl Ready {
    fn new(service: &Service, wire: Box<Wire>) -> Self {
        let (head, exchange) = (Deadline::default(), Deadline::default());
        let lookout = Box::new(Lookout::new(service.shutdown()));
        let waiting = Waiting { head, exchange, phase: Phase::Closed, lookout };
        Self { wire, buffered: BytesMut::new(), waiting }
    }

    /// The first of all that it waits for; `may_leave` where the end of the process is one.
    fn poll(&mut self, cx: &mut Context<'_>, may_leave: bool) -> Poll<Waited> {
        // While nothing has come there is no buffer, and then one that fits: most connections are idle most of the
        // time, and a head is held as long as its request.
        if let Poll::Ready(read) = self.wire.poll_read(cx, &mut self.buffered, PIECE) {
            return Poll::Ready(Waited::Read(read));
        }
        if may_leave && self.waiting.lookout.poll(cx, self.waiting.phase).is_ready() {
            return Poll::Ready(Waited::Leave);
        }
        self.waiting.head.poll(cx).map(|()| Waited::Late)
    }
}

enum Waited {
    Read(io::Result<usize>),
    Leave,
    Late,
}

async fn one_request(
    service: &Service,
    peer: &Arc<Peer>,
    ready: Ready,
    read: HeadRead,
    last: bool,
) -> Option<Ready> {
    // Pinned when the head is complete: a connection that was idle over a reload serves the new one.
    let pinned = service.pin_both();
    let Ready { wire, mut buffered, waiting } = ready;
    let Waiting { head: patience, exchange, phase, mut lookout } = waiting;
    let read = match read {
        HeadRead::Complete(head) => begin(&head, &mut buffered).map(|request| (head.framing, request)),
        HeadRead::Closed => return None,
        HeadRead::Refused(refusal) => Err(refusal),
    };
    let (framing, request) = match read {
        Ok(read) => read,
        Err(refusal) => {
            let reply = service.refuse_unread(peer, pinned.stable, refusal);
            return say_and_close(wire, &reply).await;
        }
    };
    let mut session = Box::new(Session::new(wire, buffered, request, framing));
    if last || service.is_draining() {
        session.close();
    }
    let mut down = Downstream::h1(session, exchange);
    service.exchange(peer, pinned, &mut down, &mut lookout).await;
    let (wire, buffered, exchange) = after(down).await?;
    Some(Ready { wire, buffered, waiting: Waiting { head: patience, exchange, phase, lookout } })
}

/// Takes a head that the gate has read off what has come. What of its body has come with it must have one reading too.
fn begin(head: &Head, buffered: &mut BytesMut) -> Result<RequestHead, Refusal> {
    if head.framing == Framing::Chunked {
        ChunkReader::default().read(&buffered[head.len..])?;
    }
    let raw: Bytes = if head.len == buffered.len() {
        std::mem::take(buffered).freeze()
    } else {
        buffered.split_to(head.len).freeze()
    };
    Ok(RequestHead::http1(head, &raw)?)
}

/// What remains of the connection after an exchange.
async fn after(mut down: Downstream) -> Option<(Box<Wire>, BytesMut, Deadline)> {
    if down.broken_off {
        return None;
    }
    let unread = !down.request_done();
    let Source::H1(session) = down.source else { return None };
    let keep_alive = session.will_keep_alive();
    let (wire, buffered) = session.into_parts();
    if unread || !keep_alive {
        linger(wire, unread).await;
        return None;
    }
    // The room of one that is empty goes.
    let buffered = if buffered.is_empty() { BytesMut::new() } else { buffered };
    Some((wire, buffered, down.deadline))
}

enum HeadRead {
    Complete(Head),
    Closed,
    Refused(Refusal),
}

/// Reads until the gate has a whole head. Silence between requests ends the connection without a word;
/// a head that has begun must be complete within the head deadline, in total.
async fn read_head(service: &Service, ready: &mut Ready, now: Instant, first: bool) -> HeadRead {
    let times = service.limits();
    let limits = service.head_limits();
    let mut reader = HeadReader::default();
    let between = if first { times.head_timeout } else { times.keep_alive_timeout };
    let mut deadline = now + if ready.buffered.is_empty() { between } else { times.head_timeout };
    ready.waiting.phase = if first { Phase::Closed } else { Phase::Draining };
    let mut leaving = false;
    loop {
        match reader.read(&ready.buffered, &limits) {
            Ok(HeadStatus::Complete(head)) => return HeadRead::Complete(head),
            Ok(HeadStatus::Partial) => {}
            Err(refusal) => return HeadRead::Refused(refusal),
        }
        let begun = !ready.buffered.is_empty();
        ready.waiting.head.set(deadline);
        match std::future::poll_fn(|cx| ready.poll(cx, !begun && !leaving)).await {
            Waited::Read(Ok(0) | Err(_)) => return HeadRead::Closed,
            Waited::Read(Ok(_)) if !begun => deadline = Instant::now() + times.head_timeout,
            Waited::Read(Ok(_)) => {}
            Waited::Leave if service.shutdown().is_handed_over() && ready.waiting.phase < Phase::Ending => {
                // A close could cross its next request on the way; it has the time that it always has.
                ready.waiting.phase = Phase::Ending;
            }
            Waited::Leave if !first => return HeadRead::Closed,
            Waited::Leave => {
                // Its request may be under way; a client that sends none must not hold up the end.
                leaving = true;
                deadline = deadline.min(Instant::now() + LINGER);
            }
            Waited::Late if begun => return HeadRead::Refused(Refusal::ClientTimeout),
            Waited::Late => return HeadRead::Closed,
        }
    }
}

async fn say_and_close(mut wire: Box<Wire>, reply: &Reply) -> Option<Ready> {
    wire.text().put_slice(&reply.to_closing_bytes());
    // Whoever sends malformed requests and does not read the answer misses nothing, and is not waited for.
    linger(wire, true).await;
    None
}

/// Closes our half, then lets the client finish for a bounded while.
async fn linger(mut wire: Box<Wire>, sending: bool) {
    let close = async {
        if wire.shutdown().await.is_err() || !sending {
            return;
        }
        let (mut sink, mut total) = (BytesMut::new(), 0);
        while total < LINGER_BYTES {
            sink.clear();
            match wire.read(&mut sink, LINGER_PIECE).await {
                Ok(0) | Err(_) => return,
                Ok(read) => total += read,
            }
        }
    };
    // Either it is closed or the time is up: both end here.
    let _ = tokio::time::timeout(LINGER, close).await;
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    /// Bytes of the future that a function gives.
    fn bytes<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_has_room_for_waiting_and_none_for_a_request() {
        let room = bytes::<&'static Service, _, _, _>(serve);
        assert!(room <= 1024, "{room} bytes in each connection");
    }
}
