//! A simulated cell: an HTTP server that says exactly what reached it, and misbehaves on command.
//!
//! Started inside a test ([`RunningCell::start`]) or as the `simcell` program. It stands for one cell's one
//! endpoint; it is no load balancer, stores nothing, and its answers mean nothing beyond what they describe.
//! What the whole cell does is [`Behaviour`]; what one request asks for is the header
//! [`x-sim`](control); gRPC is described in [`grpc`], WebSockets in [`websocket`].

pub mod admin;
mod answer;
pub mod behaviour;
pub mod control;
mod counters;
pub mod grpc;
pub mod seen;
mod serve;
mod tap;
pub mod websocket;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use http::HeaderValue;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use answer::CELL_HEADER;
pub use behaviour::{Above, Behaviour, Capacity, Limit};
pub use counters::Counts;
pub use seen::{BodySeen, Seen, TlsSeen};

use crate::recovery::workers::Workers;
use crate::tls::{ServerTls, TlsError};
use behaviour::{Switch, lock};
use counters::Counters;
use serve::{Door, Tasks, Wire};

/// How a simulated cell is set up; what may change while it runs is [`Behaviour`].
#[derive(Clone)]
pub struct CellOptions {
    /// Its name, in every answer as [`CELL_HEADER`].
    pub name: String,
    /// Where it listens; port 0 takes a free one. Without `tls` it speaks h1 there, with it h2 and h1 by ALPN.
    pub listen: SocketAddr,
    /// Where it also listens for h2 without TLS (prior knowledge), if anywhere.
    pub h2c_listen: Option<SocketAddr>,
    /// TLS on `listen`.
    pub tls: Option<ServerTls>,
    /// Credentials that it knows: token to account. With any, a request without one of them gets dbt's 401.
    pub tokens: Option<HashMap<String, String>>,
    /// Streams that an h2 client may have open at once on a connection.
    pub h2_streams_max: u32,
    /// Decides which requests [`Behaviour::FailRatio`] hits.
    pub seed: u64,
    /// Who does the work. With them a request is answered when they have served it, after [`Behaviour`] has let it
    /// through; without them, at once.
    pub workers: Option<Workers>,
}

impl CellOptions {
    /// A cell without TLS on a free loopback port.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            h2c_listen: None,
            tls: None,
            tokens: None,
            // The usual setting of servers: nginx 128, hyper 200, envoy 1024.
            h2_streams_max: 200,
            seed: 1,
            workers: None,
        }
    }

    /// Also listens for h2 without TLS, on a free loopback port.
    pub fn with_h2c(mut self) -> Self {
        self.h2c_listen = Some((Ipv4Addr::LOCALHOST, 0).into());
        self
    }

    /// Speaks TLS on its main port.
    pub fn with_tls(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Knows `token` as one of `account`, and from now on refuses all that it does not know.
    pub fn with_token(mut self, token: &str, account: &str) -> Self {
        let tokens = self.tokens.get_or_insert_default();
        tokens.insert(token.to_owned(), account.to_owned());
        self
    }
}

/// A cell that runs until it is stopped or dropped.
#[must_use = "the cell stops when this is dropped"]
pub struct RunningCell {
    shared: Arc<Shared>,
    address: SocketAddr,
    h2c_address: Option<SocketAddr>,
    listeners: Vec<Listener>,
}

/// Why a cell did not start.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// Its address could not be had.
    #[error("cell {cell}: listening on {address}")]
    Listen {
        /// The cell's name.
        cell: String,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Its certificate, key or client authority is no good.
    #[error("cell {cell}: setting up TLS")]
    Tls {
        /// The cell's name.
        cell: String,
        /// What is wrong with it.
        source: TlsError,
    },
    /// Its name cannot stand in a response header.
    #[error("cell name {0:?}: expected visible ASCII, since it is sent as the header {CELL_HEADER}")]
    Name(String),
}

impl RunningCell {
    /// Binds and starts on the current runtime; it answers when this returns.
    pub async fn start(options: CellOptions) -> Result<Self, CellError> {
        let name_value =
            HeaderValue::from_str(&options.name).map_err(|_| CellError::Name(options.name.clone()))?;
        let wire = match &options.tls {
            None => Wire::H1,
            Some(tls) => Wire::Tls(
                tls.acceptor(&["h2", "http/1.1"])
                    .map_err(|source| CellError::Tls { cell: options.name.clone(), source })?,
            ),
        };
        let shared = Arc::new(Shared {
            name: options.name,
            name_value,
            tokens: options.tokens,
            h2_streams_max: options.h2_streams_max,
            switch: Switch::new(options.seed),
            workers: options.workers,
            counters: Counters::default(),
            tasks: Tasks::default(),
            seen: Mutex::default(),
        });
        let (first, address) = Listener::start(&shared, options.listen, wire)?;
        let mut listeners = vec![first];
        let mut h2c_address = None;
        if let Some(wanted) = options.h2c_listen {
            let (second, address) = Listener::start(&shared, wanted, Wire::H2c)?;
            listeners.push(second);
            h2c_address = Some(address);
        }
        Ok(Self { shared, address, h2c_address, listeners })
    }

    /// The real address of its main port.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The real address of its h2c port, if it was asked for one.
    pub fn h2c_addr(&self) -> Option<SocketAddr> {
        self.h2c_address
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What it does now.
    pub fn behaviour(&self) -> Behaviour {
        self.shared.switch.now().behaviour.clone()
    }

    /// Makes it behave otherwise, on all requests that come from now on. When this returns, listeners are
    /// closed or open and connections dropped as the behaviour says. An error means that its port could not be
    /// had again, which is held meanwhile, so it should not happen.
    pub async fn behave(&self, behaviour: Behaviour) -> io::Result<()> {
        let kill = behaviour == Behaviour::Killed;
        let number = self.shared.switch.set(behaviour);
        for listener in &self.listeners {
            listener.follows(number).await?;
        }
        if kill {
            self.shared.tasks.end_all().await;
        }
        Ok(())
    }

    /// What it has counted so far.
    pub fn counts(&self) -> Counts {
        self.shared.counters.counts()
    }

    /// Requests that have reached it, those answered by a [`Behaviour`] included.
    pub fn requests(&self) -> u64 {
        self.counts().requests
    }

    /// Connections that it has accepted.
    pub fn connections(&self) -> u64 {
        self.counts().connections
    }

    /// The last requests, oldest first, at most [`SEEN_MAX`]; those answered by a [`Behaviour`] are not among them.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).iter().cloned().collect()
    }

    /// Forgets what [`RunningCell::seen`] would return.
    pub fn forget(&self) {
        lock(&self.shared.seen).clear();
    }

    /// Stops it; when this returns its port is free and its connections are closed. Dropping it does the same
    /// without waiting.
    pub async fn stop(mut self) {
        for listener in std::mem::take(&mut self.listeners) {
            listener.task.abort();
            // Aborted is what it should be.
            let _ = listener.task.await;
        }
        self.shared.tasks.end_all().await;
    }
}

impl Drop for RunningCell {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.task.abort();
        }
        self.shared.tasks.close();
    }
}

/// How many requests a cell remembers: enough for any test's assertions, a few MB at most.
pub const SEEN_MAX: usize = 1024;

/// What listeners, connections and requests of one cell have in common.
pub(crate) struct Shared {
    name: String,
    name_value: HeaderValue,
    tokens: Option<HashMap<String, String>>,
    h2_streams_max: u32,
    switch: Switch,
    workers: Option<Workers>,
    counters: Counters,
    tasks: Tasks,
    seen: Mutex<VecDeque<Seen>>,
}

impl Shared {
    fn remember(&self, request: Seen) {
        let mut seen = lock(&self.seen);
        if seen.len() == SEEN_MAX {
            seen.pop_front();
        }
        seen.push_back(request);
    }
}

struct Listener {
    task: JoinHandle<()>,
    applied: watch::Receiver<Result<u64, String>>,
}

impl Listener {
    fn start(shared: &Arc<Shared>, wanted: SocketAddr, wire: Wire) -> Result<(Self, SocketAddr), CellError> {
        let (door, address) = Door::open(wanted).map_err(|source| CellError::Listen {
            cell: shared.name.clone(),
            address: wanted,
            source,
        })?;
        let (tell, applied) = watch::channel(Ok(0));
        let task = tokio::spawn(serve::run(door, address, wire, shared.clone(), tell));
        Ok((Self { task, applied }, address))
    }

    /// Returns when it has followed change `number`.
    async fn follows(&self, number: u64) -> io::Result<()> {
        let mut applied = self.applied.clone();
        let followed = |state: &Result<u64, String>| state.as_ref().map_or(true, |n| *n >= number);
        let state = applied.wait_for(followed).await;
        match state.as_deref() {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(problem)) => Err(io::Error::other(problem.clone())),
            Err(_) => Err(io::Error::other("the listener has ended")),
        }
    }
}
