//! One HTTP/1 connection: reads each request head itself, raw, under a total deadline, and hands it to
//! the engine only after `policy::gate` has found it unambiguous.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use pingora::protocols::Stream;
use pingora::protocols::http::v1::server::HttpSession;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::downstream::{Downstream, Source};
use super::request::Peer;
use super::service::Service;
use super::wire::Wire;
use crate::listen::drain::Phase;
use crate::policy::gate::{ChunkReader, Framing, Head, HeadReader, HeadStatus};
use crate::policy::refusal::{BadRequest, Refusal};

/// Most bytes of a head that are read at once, by way of the stack; most heads fit.
const HEAD_PIECE: usize = 4 * 1024;

/// How long a client that is still sending may go on after an early answer, so that our close does not
/// become a reset that destroys the answer (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// How many bytes it may go on for.
const LINGER_BYTES: usize = 1024 * 1024;

/// Serves one connection to its end.
pub async fn serve(service: &Service, peer: Arc<Peer>, wire: Wire) {
    let mut connection = Some(Ready { stream: Box::new(wire), buffered: BytesMut::new() });
    let born = Instant::now();
    let limits = service.limits();
    let mut served = 0u32;
    while let Some(mut ready) = connection.take() {
        let last =
            served + 1 >= limits.requests_per_connection || born.elapsed() >= limits.connection_lifetime;
        let read = read_head(service, &mut ready, served == 0).await;
        // Boxed: a connection lives longer than its requests, and should not hold room for one meanwhile.
        connection = Box::pin(one_request(service, &peer, ready, read, last)).await;
        served = served.saturating_add(1);
    }
}

/// A connection between two requests.
struct Ready {
    stream: Stream,
    /// What the client has sent of its next request already.
    buffered: BytesMut,
}

async fn one_request(
    service: &Service,
    peer: &Arc<Peer>,
    mut ready: Ready,
    read: HeadRead,
    last: bool,
) -> Option<Ready> {
    // Pinned when the head is complete: a connection that was idle over a reload serves the new one.
    let pinned = service.pin_both();
    let head = match read {
        HeadRead::Complete(head) => head,
        HeadRead::Closed => return None,
        HeadRead::Refused(refusal) => {
            let reply = service.refuse_unread(peer, pinned.stable, refusal);
            return say_and_close(ready.stream, &reply).await;
        }
    };
    let absolute = head.authority(&ready.buffered).map(str::to_owned);
    let target = head.origin_target(&ready.buffered).into_owned();
    let wire = wire_of(&ready.stream)?;
    if head.framing == Framing::Chunked {
        let mut chunks = ChunkReader::default();
        if let Err(broken) = chunks.read(&ready.buffered[head.len..]) {
            let reply = service.refuse_unread(peer, pinned.stable, broken.into());
            return say_and_close(ready.stream, &reply).await;
        }
        wire.judge(chunks);
    }
    let mut session = Box::new(HttpSession::new(ready.stream));
    // Empty lines before a request are allowed and mean nothing (RFC 9112 section 2.2).
    let _ = ready.buffered.split_to(head.skipped);
    session.set_pipelined_prefix(ready.buffered);
    session.set_pipelining_enabled(true);
    // Every deadline is the forward loop's.
    session.set_read_timeout(None);
    session.set_total_drain_timeout(Some(LINGER));
    match session.read_request().await {
        Ok(Some(_)) => {}
        // The gate and the engine disagree: refuse, so that only what both read alike is forwarded.
        Ok(None) | Err(_) => {
            // Of an absolute target the engine compares the authority with Host; the gate does later.
            let reason = if absolute.is_some() { BadRequest::HostMismatch } else { BadRequest::HeaderLine };
            let reply = service.refuse_unread(peer, pinned.stable, reason.into());
            return say_and_close(session.into_inner(), &reply).await;
        }
    }
    if absolute.is_some() && session.req_header_mut().set_raw_path(target.as_bytes()).is_err()
        || session.req_header().raw_path() != target.as_bytes()
    {
        // What the engine would forward is not what was read.
        let reply = service.refuse_unread(peer, pinned.stable, BadRequest::RequestLine.into());
        return say_and_close(session.into_inner(), &reply).await;
    }
    if last || service.is_draining() {
        session.set_server_keepalive(None);
    }
    let mut down = Downstream::h1(session, wire);
    service.exchange(peer, pinned, &mut down, absolute.as_deref()).await;
    after(down).await
}

/// What remains of the connection after an exchange.
async fn after(mut down: Downstream) -> Option<Ready> {
    if down.broken_off {
        return None;
    }
    let unread = !down.request_done();
    let Source::H1(session) = down.source else { return None };
    if unread || !session.will_keepalive() {
        linger(session.into_inner(), unread).await;
        return None;
    }
    let (stream, buffered) = session.reuse().await.ok().flatten()?.into_parts();
    Some(Ready { stream, buffered: buffered.unwrap_or_default() })
}

enum HeadRead {
    Complete(Head),
    Closed,
    Refused(Refusal),
}

/// Reads until the gate has a whole head. Silence between requests ends the connection without a word;
/// a head that has begun must be complete within the head deadline, in total.
async fn read_head(service: &Service, ready: &mut Ready, first: bool) -> HeadRead {
    let times = service.limits();
    let limits = service.pin().limits;
    let mut reader = HeadReader::default();
    let mut shutdown = service.shutdown();
    let between = if first { times.head_timeout } else { times.keep_alive_timeout };
    let mut deadline = Instant::now() + if ready.buffered.is_empty() { between } else { times.head_timeout };
    let mut leave = if first { Phase::Closed } else { Phase::Draining };
    let mut leaving = false;
    loop {
        match reader.read(&ready.buffered, &limits) {
            Ok(HeadStatus::Complete(head)) => return HeadRead::Complete(head),
            Ok(HeadStatus::Partial) => {}
            Err(refusal) => return HeadRead::Refused(refusal),
        }
        let begun = !ready.buffered.is_empty();
        let Ready { stream, buffered } = &mut *ready;
        let more = std::future::poll_fn(|context| poll_more(stream, buffered, context));
        let read = tokio::select! {
            biased;
            read = tokio::time::timeout_at(deadline, more) => read,
            () = shutdown.reached(leave), if !begun && !leaving => {
                if shutdown.is_handed_over() && leave < Phase::Ending {
                    // A close could cross its next request on the way; it has the time that it always has.
                    leave = Phase::Ending;
                    continue;
                }
                if !first {
                    return HeadRead::Closed;
                }
                // Its request may be under way; a client that sends none must not hold up the end.
                leaving = true;
                deadline = deadline.min(Instant::now() + LINGER);
                continue;
            }
        };
        match read {
            Ok(Ok(0)) | Ok(Err(_)) => return HeadRead::Closed,
            Ok(Ok(_)) if !begun => deadline = Instant::now() + times.head_timeout,
            Ok(Ok(_)) => {}
            Err(_) if begun => return HeadRead::Refused(Refusal::ClientTimeout),
            Err(_) => return HeadRead::Closed,
        }
    }
}

/// Reads on. While nothing has come there is no buffer, and then one that fits: most connections are idle most of the
/// time, and a head is held as long as its request.
fn poll_more(
    stream: &mut Stream,
    buffered: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut room = [MaybeUninit::uninit(); HEAD_PIECE];
    let mut piece = ReadBuf::uninit(&mut room);
    ready!(Pin::new(stream).poll_read(context, &mut piece))?;
    buffered.extend_from_slice(piece.filled());
    Poll::Ready(Ok(piece.filled().len()))
}

async fn say_and_close(mut stream: Stream, reply: &super::reply::Reply) -> Option<Ready> {
    let said = async {
        stream.write_all(&reply.to_closing_bytes()).await?;
        stream.flush().await
    };
    // Whoever sends malformed requests and does not read the answer misses nothing.
    if said.await.is_ok() {
        linger(stream, true).await;
    }
    None
}

/// Closes our half, then lets the client finish for a bounded while.
async fn linger(mut stream: Stream, sending: bool) {
    let close = async {
        if stream.shutdown().await.is_err() || !sending {
            return;
        }
        let mut sink = vec![0u8; 16 * 1024];
        let mut total = 0;
        while total < LINGER_BYTES {
            match stream.read(&mut sink).await {
                Ok(0) | Err(_) => return,
                Ok(read) => total += read,
            }
        }
    };
    // Either it is closed or the time is up: both end here.
    let _ = tokio::time::timeout(LINGER, close).await;
}

fn wire_of(stream: &Stream) -> Option<super::wire::WireHandle> {
    stream.as_any().downcast_ref::<Wire>().map(Wire::handle)
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
