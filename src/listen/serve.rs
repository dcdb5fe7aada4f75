//! The accept loop: takes connections from a listening socket until the drain closes it, and gives
//! each to a task of its own. Nothing that a client or the kernel does ends the loop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::bind::Bound;
use super::connection::Handler;
use super::drain::{Phase, Shutdown};
use super::handshake::{Arrival, Entrance};
use super::limits::{ConnectionCounts, ConnectionGuard, TotalPermit};
use super::observe::{AcceptFailure, Observer, Refusal};
use super::tls::TlsSettings;

/// Pause after a failure that the next `accept` would meet again. Descriptors come back when
/// connections end, so sooner would only burn the processor that they need to end on.
const BACK_OFF: Duration = Duration::from_millis(100);

/// What all listeners of a process share.
#[derive(Clone, Debug)]
pub struct Shell {
    /// Certificates and sessions; asked only on TLS listeners.
    pub tls: Arc<TlsSettings>,
    /// The connection limits.
    pub counts: Arc<ConnectionCounts>,
    /// Who is told.
    pub observer: Arc<dyn Observer>,
    /// The drain.
    pub shutdown: Shutdown,
}

impl Bound {
    /// Accepts until the drain stops it; then takes what the kernel has already completed, and closes
    /// the socket. Connections live on in tasks of their own. Holds a drain token meanwhile.
    pub async fn serve<H: Handler>(self, handler: Arc<H>, shell: Shell) {
        let token = shell.shutdown.token();
        let mut shutdown = shell.shutdown.clone();
        let door = Door { entrance: Arc::new(Entrance::new(self.spec, shell)), handler };
        accept_until(&self.listener, shutdown.reached(Phase::Closed), &door).await;
        drop(self.listener);
        drop(token);
    }
}

/// Where accepted sockets come from: the kernel, or a test.
trait Accept {
    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

/// Where accepted sockets go: a task each, or a test's list.
trait Admit {
    /// Takes a connection that has just been accepted.
    fn admit(&self, stream: TcpStream, peer: SocketAddr);

    /// Is told about a failure of `accept`.
    fn failed(&self, kind: AcceptFailure, error: &io::Error);
}

#[derive(Debug)]
struct Door<H> {
    entrance: Arc<Entrance>,
    handler: Arc<H>,
}

impl Accept for TcpListener {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

impl<H: Handler> Admit for Door<H> {
    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let entrance = &self.entrance;
        let total = match entrance.shell.counts.admit() {
            Ok(permit) => permit,
            Err(reason) => return entrance.refuse(peer, reason),
        };
        let arrival = Arrival { stream, peer, at: Instant::now() };
        if let Err(reason) = self.spawn(arrival, total) {
            entrance.refuse(peer, reason);
        }
    }

    fn failed(&self, kind: AcceptFailure, error: &io::Error) {
        self.entrance.accept_failed(kind, error);
    }
}

impl<H: Handler> Door<H> {
    fn spawn(&self, arrival: Arrival, total: TotalPermit) -> Result<(), Refusal> {
        let shell = &self.entrance.shell;
        // With PROXY protocol the source is known only later; without, an excess costs no task.
        let source = match self.entrance.spec.proxy_protocol {
            None => Some(shell.counts.admit_source(arrival.peer.ip())?),
            Some(_) => None,
        };
        let spec = Arc::clone(&self.entrance.spec);
        let mut guard =
            ConnectionGuard::new(spec, Arc::clone(&shell.observer), total, shell.shutdown.token());
        if let Some(source) = source {
            guard.hold(source);
        }
        let (entrance, handler) = (Arc::clone(&self.entrance), Arc::clone(&self.handler));
        let mut shutdown = shell.shutdown.clone();
        tokio::spawn(async move {
            let life = async {
                // Boxed: what the handshake needs is given back before the connection's long life.
                if let Some(connection) = Box::pin(entrance.enter(arrival, guard)).await {
                    handler.handle(connection).await;
                }
            };
            tokio::select! {
                () = life => {}
                () = shutdown.reached(Phase::Killed) => {}
            }
        });
        Ok(())
    }
}

async fn accept_until(source: &impl Accept, closed: impl Future<Output = ()>, door: &impl Admit) {
    let mut closed = pin!(closed);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut closed => break,
            accepted = source.accept() => accepted,
        };
        if let Some(pause) = take(accepted, door) {
            tokio::select! {
                () = &mut closed => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
    empty_queue(source, door).await;
}

/// Takes the connections that the kernel has completed already: closing the socket would reset them,
/// although their clients may have sent a request.
async fn empty_queue(source: &impl Accept, door: &impl Admit) {
    loop {
        let mut accept = pin!(source.accept());
        // The task's budget would report "nothing there" while there is.
        let ready = tokio::task::unconstrained(std::future::poll_fn(|context| {
            Poll::Ready(match accept.as_mut().poll(context) {
                Poll::Ready(accepted) => Some(accepted),
                Poll::Pending => None,
            })
        }));
        let Some(accepted) = ready.await else { return };
        if take(accepted, door).is_some() {
            return;
        }
    }
}

/// Passes one result of `accept` on; says how long to pause, where pausing is due.
fn take(accepted: io::Result<(TcpStream, SocketAddr)>, door: &impl Admit) -> Option<Duration> {
    match accepted {
        Ok((stream, peer)) => {
            door.admit(stream, peer);
            None
        }
        Err(error) => {
            let kind = classify(&error);
            door.failed(kind, &error);
            (kind != AcceptFailure::Aborted).then_some(BACK_OFF)
        }
    }
}

/// Linux reports errors of the new connection itself through `accept` (accept(2), "Error handling").
fn classify(error: &io::Error) -> AcceptFailure {
    match error.raw_os_error() {
        Some(errno::EMFILE) => AcceptFailure::ProcessDescriptors,
        Some(errno::ENFILE) => AcceptFailure::SystemDescriptors,
        Some(errno::ENOBUFS | errno::ENOMEM) => AcceptFailure::Memory,
        Some(code) if errno::OF_THE_CONNECTION.contains(&code) => AcceptFailure::Aborted,
        Some(_) | None => AcceptFailure::Other,
    }
}

/// Linux' error numbers, the same on x86-64 and AArch64; `std` has no names for most of them.
mod errno {
    pub(super) const ENFILE: i32 = 23;
    pub(super) const EMFILE: i32 = 24;
    pub(super) const ENOMEM: i32 = 12;
    pub(super) const ENOBUFS: i32 = 105;
    /// EPERM (a firewall rule), ENONET, EPROTO, ENOPROTOOPT, EOPNOTSUPP, ENETDOWN, ENETUNREACH,
    /// ECONNABORTED, ETIMEDOUT, EHOSTDOWN, EHOSTUNREACH: the next connection may be well.
    pub(super) const OF_THE_CONNECTION: [i32; 11] = [1, 64, 71, 92, 95, 100, 101, 103, 110, 112, 113];
}
