//! The accept loop: takes connections from a listening socket until the drain closes it, and gives
//! each to a task of its own. Nothing that a client or the kernel does ends the loop.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
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

    /// A connection that waits, or `WouldBlock`.
    fn queued(&self) -> io::Result<(TcpStream, SocketAddr)>;
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

    fn queued(&self) -> io::Result<(TcpStream, SocketAddr)> {
        // Of the kernel: the runtime knows only what it has been told until now.
        let listener = std::net::TcpListener::from(self.as_fd().try_clone_to_owned()?);
        let (stream, peer) = listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok((TcpStream::from_std(stream)?, peer))
    }
}

impl<H: Handler> Admit for Door<H> {
    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let entrance = &self.entrance;
        let total = match entrance.shell.counts.admit() {
            Ok(permit) => permit,
            Err(reason) => return entrance.refuse(peer, reason),
        };
        if let Err(reason) = self.spawn(stream, peer, total) {
            entrance.refuse(peer, reason);
        }
    }

    fn failed(&self, kind: AcceptFailure, error: &io::Error) {
        self.entrance.accept_failed(kind, error);
    }
}

impl<H: Handler> Door<H> {
    fn spawn(&self, stream: TcpStream, peer: SocketAddr, total: TotalPermit) -> Result<(), Refusal> {
        let shell = &self.entrance.shell;
        let handshake = match self.entrance.spec.shakes_hands() {
            true => Some(shell.counts.admit_handshake()?),
            false => None,
        };
        // With PROXY protocol the source is known only later; without, an excess costs no task.
        let source = match self.entrance.spec.proxy_protocol {
            None => Some(shell.counts.admit_source(peer.ip())?),
            Some(_) => None,
        };
        let arrival = Arrival { stream, peer, at: Instant::now(), handshake };
        let spec = Arc::clone(&self.entrance.spec);
        let mut guard =
            ConnectionGuard::new(spec, Arc::clone(&shell.observer), total, shell.shutdown.token());
        if let Some(source) = source {
            guard.hold(source);
        }
        let (entrance, handler) = (Arc::clone(&self.entrance), Arc::clone(&self.handler));
        let mut shutdown = shell.shutdown.clone();
        // Boxed, and out here: what the handshake needs, its arguments too, is given back before the
        // connection's long life.
        let entering = Box::pin(async move { entrance.enter(arrival, guard).await });
        tokio::spawn(async move {
            let life = async move {
                if let Some(connection) = entering.await {
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
    empty_queue(source, door);
}

/// Takes the connections that the kernel has completed already: closing the socket would reset them,
/// although their clients may have sent a request.
fn empty_queue(source: &impl Accept, door: &impl Admit) {
    loop {
        let queued = source.queued();
        let none = queued.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        if none || take(queued, door).is_some() {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;
    use crate::listen::bind::bind;
    use crate::listen::connection::{Connection, Wire};
    use crate::listen::drain::{Drain, Drained};
    use crate::listen::spec::{Alpn, ConnectionLimits, ListenerSpec, Protocol};
    use crate::listen::testing::{LOOPBACK, Served, World, ample, echo, patiently, refused, spec};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn world(limits: ConnectionLimits) -> World {
        World::new(&[&["cloud.getdbt.com"]], limits)
    }

    fn loopback(protocol: Protocol) -> ListenerSpec {
        spec(LOOPBACK, protocol)
    }

    async fn connected(served: &mut Served) -> TcpStream {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        patiently("an echo", echo(&mut stream)).await;
        served.facts.recv().await.unwrap();
        stream
    }

    /// Waits until the server has closed without a word.
    async fn closed(mut stream: TcpStream) {
        let mut answer = Vec::new();
        let _ = patiently("the end", stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"");
    }

    #[tokio::test]
    async fn the_total_limit_closes_the_excess_and_frees_with_the_first_to_go() {
        let limits = ConnectionLimits { total: 2, ..ample() };
        let world = world(limits);
        // Two listeners share the total.
        let (mut one, mut other) = (world.serve(Protocol::Http), world.serve(Protocol::H2c));
        let (first, _second) = (connected(&mut one).await, connected(&mut other).await);
        closed(TcpStream::connect(one.address).await.unwrap()).await;
        patiently("the refusal", world.recorder.until("refused total_limit", 1)).await;
        drop(first);
        patiently("the close", world.recorder.until("closed", 1)).await;
        let _third = connected(&mut one).await;
        assert_eq!((world.counts.total(), world.recorder.count("opened")), (2, 3));
    }

    #[tokio::test]
    async fn handshakes_in_progress_are_limited_and_those_that_are_over_do_not_count() {
        let world = world(ConnectionLimits { handshakes: 1, ..ample() });
        let (tls, mut plain) = (world.serve_tls(), world.serve(Protocol::Http));
        let client = world.any_client();
        let mut first = tls.connect("cloud.getdbt.com", &client).await.unwrap();
        patiently("an echo", echo(&mut first)).await;
        // The first is through; this one says nothing.
        let silent = TcpStream::connect(tls.address).await.unwrap();
        patiently("the silent one", world.recorder.until("opened", 2)).await;
        closed(TcpStream::connect(tls.address).await.unwrap()).await;
        patiently("the refusal", world.recorder.until("refused handshake_limit", 1)).await;
        // HTTP without TLS has no handshake.
        let _plain = connected(&mut plain).await;
        patiently("an echo", echo(&mut first)).await;
        drop(silent);
        patiently("the close", world.recorder.until("closed", 1)).await;
        let mut next = tls.connect("cloud.getdbt.com", &client).await.unwrap();
        patiently("an echo", echo(&mut next)).await;
        assert_eq!(world.counts.handshakes(), 0);
    }

    #[tokio::test]
    async fn the_source_limit_spares_other_sources_and_exempt_ones() {
        let limits =
            ConnectionLimits { per_source: 1, exempt: vec!["127.0.0.9/32".parse().unwrap()], ..ample() };
        let world = world(limits);
        let mut served = world.serve(Protocol::Http);
        let _first = connected(&mut served).await;
        closed(TcpStream::connect(served.address).await.unwrap()).await;
        assert_eq!(world.recorder.count("refused source_limit"), 1);
        for (source, times) in [([127, 0, 0, 2], 1), ([127, 0, 0, 9], 3)] {
            for _ in 0..times {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.bind((source, 0).into()).unwrap();
                let mut stream = socket.connect(served.address).await.unwrap();
                echo(&mut stream).await;
                assert_eq!(served.facts.recv().await.unwrap().client(), std::net::IpAddr::from(source));
                // Keeps it open to the end of the test.
                std::mem::forget(stream);
            }
        }
        assert_eq!(world.recorder.count("refused source_limit"), 1);
    }

    #[tokio::test]
    async fn facts_say_what_the_listener_says() {
        let world = world(ample());
        let mut spec = loopback(Protocol::Http);
        spec.forwarded_scheme = Some(crate::policy::facts::Scheme::Https);
        spec.redirect_to_https = Some(8443);
        for (spec, scheme, wire) in [
            (spec, "https", Wire::Http1),
            (loopback(Protocol::Http), "http", Wire::Http1),
            (loopback(Protocol::H2c), "http", Wire::Http2),
        ] {
            let redirect = spec.redirect_to_https;
            let mut served = world.serve_as(spec);
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            echo(&mut stream).await;
            let facts = served.facts.recv().await.unwrap();
            assert_eq!((facts.scheme.as_str(), facts.wire), (scheme, wire));
            assert_eq!(facts.listener.redirect_to_https, redirect);
            assert!(facts.fd > 2 && facts.tls.is_none() && facts.for_policy().certificate_names.is_none());
        }
    }

    #[tokio::test]
    async fn a_thousand_connections_leave_nothing_behind() {
        let world = world(ample());
        let plain = world.serve(Protocol::Http);
        let tls = world.serve(Protocol::Https(Alpn::H2AndHttp1));
        let client = Arc::new(world.any_client());
        for wave in 0..25 {
            let tasks: Vec<_> = (0..40)
                .map(|n| {
                    let (plain, tls, client) = (plain.address, tls.address, Arc::clone(&client));
                    tokio::spawn(async move {
                        match n % 4 {
                            0 => echo(&mut TcpStream::connect(plain).await.unwrap()).await,
                            1 => drop(TcpStream::connect(plain).await.unwrap()),
                            2 => {
                                let mut stream = TcpStream::connect(tls).await.unwrap();
                                stream.write_all(&[0x16, 3, 1, 2]).await.unwrap();
                            }
                            _ => {
                                let stream = TcpStream::connect(tls).await.unwrap();
                                let name = if n == 3 { "www.example.com" } else { "cloud.getdbt.com" };
                                let _ = crate::listen::testing::shake(stream, name, &client).await;
                            }
                        }
                    })
                })
                .collect();
            for task in tasks {
                patiently("a connection", task).await.unwrap();
            }
            patiently("the closes", world.recorder.until("closed", (wave + 1) * 40)).await;
        }
        assert_eq!((world.recorder.count("opened"), world.recorder.count("closed")), (1_000, 1_000));
        assert_eq!((world.counts.total(), world.counts.sources()), (0, 0));
        // One token for each listener.
        assert_eq!(world.drain.held(), 2);
        assert_eq!(patiently("the drain", world.drain.finish(Duration::from_secs(30))).await, Drained::Clean);
    }

    #[tokio::test]
    async fn a_drain_serves_what_is_queued_closes_the_port_and_waits_for_the_last() {
        let world = world(ample());
        let bound = bind(loopback(Protocol::Http)).unwrap();
        let address = bound.local_addr();
        // Completed by the kernel, seen by nobody yet.
        let mut queued = Vec::new();
        for _ in 0..300 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"ping").await.unwrap();
            queued.push(stream);
        }
        world.drain.stop_accepting();
        let (sender, _facts) = tokio::sync::mpsc::unbounded_channel();
        let handler = Arc::new(crate::listen::testing::Echo(sender));
        patiently("the loop's end", bound.serve(handler, world.shell.clone())).await;
        refused(address).await;
        for stream in &mut queued {
            let mut back = [0; 4];
            patiently("an echo", stream.read_exact(&mut back)).await.unwrap();
        }
        assert_eq!(world.drain.held(), 300);
        let last = queued.pop();
        drop(queued);
        patiently("the others", world.recorder.until("closed", 299)).await;
        let draining = world.drain.finish(Duration::from_secs(30));
        let leave = async { drop(last) };
        let (drained, ()) = patiently("the drain", async { tokio::join!(draining, leave) }).await;
        assert_eq!(drained, Drained::Clean);
    }

    #[tokio::test]
    async fn who_comes_at_the_last_moment_is_served_also_where_the_runtime_has_not_heard_of_it() {
        let world = world(ample());
        let mut served = world.serve(Protocol::Http);
        // Now the loop waits to be told of more.
        let _first = connected(&mut served).await;
        // Nothing of the runtime runs between the two.
        let mut last = std::net::TcpStream::connect(served.address).unwrap();
        std::io::Write::write_all(&mut last, b"ping").unwrap();
        world.drain.stop_accepting();
        patiently("the loop's end", served.ended).await.unwrap();
        last.set_nonblocking(true).unwrap();
        let mut back = [0; 4];
        let mut last = TcpStream::from_std(last).unwrap();
        patiently("an echo", last.read_exact(&mut back)).await.unwrap();
    }

    #[tokio::test]
    async fn draining_goes_on_accepting_until_told_to_stop() {
        let world = world(ample());
        let mut served = world.serve(Protocol::Http);
        world.drain.begin();
        drop(connected(&mut served).await);
        world.drain.stop_accepting();
        patiently("the loop's end", served.ended).await.unwrap();
    }

    /// Never ends by itself, and says when it is dropped.
    struct Stuck(tokio::sync::mpsc::UnboundedSender<&'static str>);

    impl Handler for Stuck {
        async fn handle(&self, connection: Connection) {
            struct Note(tokio::sync::mpsc::UnboundedSender<&'static str>);
            impl Drop for Note {
                fn drop(&mut self) {
                    let _ = self.0.send("dropped");
                }
            }
            let _note = Note(self.0.clone());
            let _ = self.0.send("began");
            let _connection = connection;
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn a_kill_drops_handlers_and_handshakes() {
        let world = world(ample());
        let (sender, mut notes) = tokio::sync::mpsc::unbounded_channel();
        let plain = bind(loopback(Protocol::Http)).unwrap();
        let address = plain.local_addr();
        let plain = tokio::spawn(plain.serve(Arc::new(Stuck(sender)), world.shell.clone()));
        let tls = world.serve(Protocol::Https(Alpn::H2AndHttp1));
        let stuck = TcpStream::connect(address).await.unwrap();
        let silent = TcpStream::connect(tls.address).await.unwrap();
        assert_eq!(notes.recv().await, Some("began"));
        patiently("both", world.recorder.until("opened", 2)).await;
        world.drain.stop_accepting();
        for listener in [plain, tls.ended] {
            patiently("the loop's end", listener).await.unwrap();
        }
        assert_eq!(world.drain.finish(Duration::ZERO).await, Drained::Cut(2));
        assert_eq!(notes.recv().await, Some("dropped"));
        closed(stuck).await;
        closed(silent).await;
        assert_eq!((world.drain.held(), world.counts.total()), (0, 0));
    }

    /// A panic ends one connection; its guard still counts it out.
    struct Panics;

    impl Handler for Panics {
        async fn handle(&self, connection: Connection) {
            let _connection = connection;
            unreachable!("a handler with a bug");
        }
    }

    #[tokio::test]
    async fn a_panic_in_a_handler_ends_one_connection() {
        let world = world(ample());
        let bound = bind(loopback(Protocol::Http)).unwrap();
        let address = bound.local_addr();
        tokio::spawn(bound.serve(Arc::new(Panics), world.shell.clone()));
        for times in 1..=3 {
            closed(TcpStream::connect(address).await.unwrap()).await;
            patiently("the close", world.recorder.until("closed", times)).await;
        }
        assert_eq!(world.counts.total(), 0);
    }

    /// Fails with these errors, then with `then` for ever, or waits where there is none.
    struct Failing {
        codes: Mutex<VecDeque<i32>>,
        then: Option<i32>,
    }

    impl Accept for Failing {
        async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            let next = self.codes.lock().unwrap().pop_front().or(self.then);
            match next {
                Some(code) => Err(io::Error::from_raw_os_error(code)),
                None => std::future::pending().await,
            }
        }

        fn queued(&self) -> io::Result<(TcpStream, SocketAddr)> {
            let next = self.codes.lock().unwrap().pop_front().or(self.then);
            Err(next.map_or(ErrorKind::WouldBlock.into(), io::Error::from_raw_os_error))
        }
    }

    /// Writes down what it is told.
    #[derive(Default)]
    struct Noting(Mutex<Vec<AcceptFailure>>);

    impl Admit for Noting {
        fn admit(&self, _: TcpStream, _: SocketAddr) {}

        fn failed(&self, kind: AcceptFailure, _: &io::Error) {
            self.0.lock().unwrap().push(kind);
        }
    }

    async fn run_for(seconds: u64, source: Failing) -> Vec<AcceptFailure> {
        let (drain, mut shutdown) = Drain::new();
        let door = Noting::default();
        let stop = async {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            drain.stop_accepting();
        };
        let started = Instant::now();
        tokio::join!(accept_until(&source, shutdown.reached(Phase::Closed), &door), stop);
        assert_eq!(started.elapsed(), Duration::from_secs(seconds), "the loop ends when it is told to");
        door.0.into_inner().unwrap()
    }

    #[test]
    fn the_error_numbers_are_those_of_this_system() {
        let names = [
            (errno::EMFILE, "Too many open files"),
            (errno::ENFILE, "Too many open files in system"),
            (errno::ENOMEM, "Cannot allocate memory"),
            (errno::ENOBUFS, "No buffer space available"),
            (errno::OF_THE_CONNECTION[7], "Software caused connection abort"),
            (errno::OF_THE_CONNECTION[2], "Protocol error"),
        ];
        for (code, name) in names {
            assert_eq!(io::Error::from_raw_os_error(code).to_string(), format!("{name} (os error {code})"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn out_of_descriptors_backs_off_and_is_counted() {
        let failures = run_for(10, Failing { codes: Mutex::default(), then: Some(errno::EMFILE) }).await;
        // Ten a second, and perhaps one more when the queue is emptied at the end.
        assert!((99..=102).contains(&failures.len()), "{}", failures.len());
        assert!(failures.iter().all(|kind| *kind == AcceptFailure::ProcessDescriptors));
    }

    #[tokio::test(start_paused = true)]
    async fn no_error_ends_the_loop_and_only_lasting_ones_pause_it() {
        use AcceptFailure::{Aborted, Memory, Other, SystemDescriptors};
        let codes = [errno::ENFILE, 103, 71, errno::ENOBUFS, errno::ENOMEM, 22, 9, 113];
        let failures = run_for(1, Failing { codes: Mutex::new(codes.into()), then: None }).await;
        assert_eq!(failures, [SystemDescriptors, Aborted, Aborted, Memory, Memory, Other, Other, Aborted]);
    }
}
