//! A connection for each request: handshakes, full or resumed.

use rustls::client::Resumption;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;

use super::Order;
use super::answer::Fault;
use super::ask::Ask;
use super::http1::Words;
use super::line::Line;
use super::load::{Answered, Load, Worker, connector};
use crate::bench::incoming::HEAD_BYTES_MAX;

/// Workers whose connections have nothing to do with each other.
pub(super) fn full(count: usize) -> Vec<Handshakes> {
    (0..count).map(|_| Handshakes::of(Vec::new())).collect()
}

/// Workers that are so many clients together; none where the door has no TLS.
pub(super) fn resuming(order: &Order, clients: usize) -> Option<Vec<Handshakes>> {
    // Each has a client at least.
    let count = order.pace.connections().min(clients);
    let mut workers: Vec<_> = (0..count).map(|_| Handshakes::of(Vec::new())).collect();
    for client in 0..clients {
        let tls = connector(order, Resumption::in_memory_sessions(SERVERS))?;
        workers[client % count].clients.push(Client { tls, ask: None });
    }
    Some(workers)
}

/// Each client talks to one server: its account's, or the legacy host.
const SERVERS: usize = 1;

/// Connects, asks and closes.
pub(super) struct Handshakes {
    words: Words,
    /// With sessions: they take turns. Empty where nobody has one.
    clients: Vec<Client>,
    next: usize,
    legacy: bool,
}

/// Whoever keeps a session.
struct Client {
    tls: TlsConnector,
    /// The same each time, since a session is of one server name; none before the first.
    ask: Option<Ask>,
}

impl Handshakes {
    fn of(clients: Vec<Client>) -> Self {
        Self { words: Words::with(HEAD_BYTES_MAX), clients, next: 0, legacy: false }
    }

    fn pick(&mut self, load: &Load) -> Ask {
        self.legacy = !self.legacy;
        load.pick(self.legacy)
    }

    /// From connecting to closing.
    async fn once(&mut self, load: &Load, ask: Ask, client: Option<usize>) -> Result<Answered, Fault> {
        self.words.outgoing.clear();
        ask.write_host(load.table, &mut self.words.outgoing);
        // Letters, digits and dots.
        let server = String::from_utf8_lossy(&self.words.outgoing).into_owned();
        let mut line = match client {
            None => load.connect(&server).await?,
            Some(client) => Line::open(load.door.address, Some(&self.clients[client].tls), &server).await?,
        };
        let resumed = line.resumed();
        self.words.incoming.clear();
        self.words.exchange(&mut line, load, ask, None).await?;
        // With a close_notify where there is TLS. That the other end has closed already is no failure of the request.
        let _ = line.shutdown().await;
        Ok(Answered { resumed })
    }
}

impl Worker for Handshakes {
    /// The first handshake of each client, from which it has its session.
    async fn open(&mut self, load: &Load) -> Result<(), Fault> {
        // Those who have asked come first: nothing is left to do once the last has.
        if self.clients.last().is_none_or(|client| client.ask.is_some()) {
            return Ok(());
        }
        for client in 0..self.clients.len() {
            let ask = self.pick(load);
            self.clients[client].ask = Some(ask);
            self.once(load, ask, Some(client)).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, load: &Load) -> Result<Answered, Fault> {
        if self.clients.is_empty() {
            let ask = self.pick(load);
            return self.once(load, ask, None).await;
        }
        let client = self.next % self.clients.len();
        self.next = client + 1;
        let ask = self.clients[client].ask.ok_or_else(|| Fault::lost("the client has no session"))?;
        self.once(load, ask, Some(client)).await
    }
}
