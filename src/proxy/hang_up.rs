//! Notices that a client has gone while nothing is read from it: for requests that wait before anything of them was
//! sent, bodies unread.

use std::future::{pending, poll_fn};
use std::io;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::downstream::{Downstream, Source};

/// Returns when the client of a request to which nothing has been answered has closed its connection, or the half that
/// it speaks on, or has reset its stream. A client that has ended its half of an HTTP/1 connection counts as gone, here
/// as everywhere.
pub(super) async fn hung_up(down: &mut Downstream) {
    if let Source::H2(_) = down.source {
        // The error says why, which is nobody's business any more.
        let _ = poll_fn(|cx| down.source.poll_gone(cx)).await;
        return;
    }
    match socket(down) {
        Some(socket) => closed(&socket).await,
        // Without a descriptor for it nothing is noticed before the wait is over.
        None => pending().await,
    }
}

/// The socket of an HTTP/1 connection under a descriptor of its own: what is learned here about its readiness is not
/// lost to whoever reads the connection later, and the bytes stay in it.
fn socket(down: &mut Downstream) -> Option<TcpStream> {
    let Source::H1(session) = &mut down.source else { return None };
    TcpStream::from_std(session.wire().second_descriptor()?.into()).ok()
}

async fn closed(socket: &TcpStream) {
    loop {
        match socket.ready(Interest::READABLE).await {
            Ok(ready) if ready.is_read_closed() => return,
            // More of its body has come, which stays where it is; the next news is told again.
            Ok(_) => {
                let unread = || Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock));
                let _ = socket.try_io(Interest::READABLE, unread);
            }
            // The runtime ends.
            Err(_) => pending().await,
        }
    }
}
