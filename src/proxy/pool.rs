//! Idle connections to cells, by endpoint key. The key holds everything that decides whom TLS trusts
//! (cell, address, name, roots, client certificate), so two cells can never share a connection.
//!
//! Why not pingora's pool: its key leaves out the roots (a peer with the wrong CA got a
//! connection that another CA had authenticated), it spawns a task per idle connection, and its
//! HTTP/2 pool opens a connection per cold request.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pingora::connectors::http::v2::ConnectionRef;
use tokio::time::Instant;

use super::wire::Wire;
use super::wire_h2::H2WireHandle;
use crate::policy::apart::Apart;
use crate::policy::snapshot::EndpointKey;

/// Most idle HTTP/1 connections kept per endpoint: above the in-flight peak that one replica sees of
/// one endpoint in the benchmark (256), so that a burst does not reconnect.
const IDLE_PER_ENDPOINT: usize = 512;

/// Tables that endpoints are spread over, each with its lock: several times the endpoints of ten cells with two zones,
/// so that requests that go to different endpoints seldom wait for each other.
const SHARDS: usize = 64;

/// Idle connections of all endpoints.
pub struct Pool {
    shards: [Apart<Mutex<Endpoints>>; SHARDS],
    /// Chooses the shard of an endpoint.
    hasher: ahash::RandomState,
}

type Endpoints = HashMap<EndpointKey, Endpoint, ahash::RandomState>;

#[derive(Default)]
struct Endpoint {
    /// Newest last, so that the rest can age and go.
    h1: VecDeque<Idle>,
    h2: Vec<Shared>,
    /// Held while an HTTP/2 connection is made, so that a burst makes one.
    connecting: Arc<tokio::sync::Mutex<()>>,
}

struct Idle {
    wire: Box<Wire>,
    since: Instant,
    /// It was made to be ready, and has carried nothing.
    unused: bool,
}

/// An HTTP/2 connection; it stays here while streams are open on it.
struct Shared {
    connection: ConnectionRef,
    wire: H2WireHandle,
    /// Since when a sweep has found no stream on it.
    idle_since: Option<Instant>,
}

impl Shared {
    fn is_usable(&self) -> bool {
        !self.connection.is_closed() && !self.connection.is_shutting_down()
    }

    fn is_idle_for(&mut self, limit: Duration) -> bool {
        if !self.connection.is_idle() {
            self.idle_since = None;
            return false;
        }
        self.idle_since.get_or_insert_with(Instant::now).elapsed() >= limit
    }
}

impl Endpoint {
    /// Moves to `closed` what has been idle for `limit`, and what the cell has closed meanwhile: nobody
    /// may ask for it for long, and each holds a descriptor.
    fn sweep(&mut self, limit: Duration, closed: &mut Vec<Idle>) {
        for _ in 0..self.h1.len() {
            let Some(mut idle) = self.h1.pop_front() else { break };
            // No system call but for a connection that something has happened on.
            if idle.since.elapsed() < limit && idle.wire.is_quiet() {
                self.h1.push_back(idle);
            } else {
                closed.push(idle);
            }
        }
        self.h2.retain_mut(|shared| shared.is_usable() && !shared.is_idle_for(limit));
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Apart::default()), hasher: ahash::RandomState::default() }
    }
}

impl Pool {
    /// The freshest idle HTTP/1 connection that is still quiet and was used within `within`.
    pub fn take(&self, key: &EndpointKey, within: Duration) -> Option<Box<Wire>> {
        loop {
            let mut idle = {
                let mut endpoints = self.endpoints(key);
                let h1 = &mut endpoints.get_mut(key)?.h1;
                if h1.back()?.since.elapsed() >= within {
                    // The others are older still; they stay for requests that may use them.
                    return None;
                }
                h1.pop_back()?
            };
            // Probed outside the lock: a probe is a system call.
            if idle.wire.is_quiet() {
                return Some(idle.wire);
            }
        }
    }

    /// Keeps an HTTP/1 connection for the next request.
    pub fn put(&self, key: &EndpointKey, wire: Box<Wire>) {
        let idle = Idle { wire, since: Instant::now(), unused: false };
        let mut endpoints = self.endpoints(key);
        let h1 = &mut of(&mut endpoints, key).h1;
        // Those that were made ahead come without a look at the number.
        let too_many = (h1.len() + 1).saturating_sub(IDLE_PER_ENDPOINT);
        let oldest: Vec<Idle> = h1.drain(..too_many).collect();
        h1.push_back(idle);
        drop(endpoints);
        // Closing is a system call too.
        drop(oldest);
    }

    /// Keeps an HTTP/1 connection that has carried nothing yet, in place of older ones of this kind.
    pub fn put_unused(&self, key: &EndpointKey, wire: Box<Wire>) {
        let idle = Idle { wire, since: Instant::now(), unused: true };
        let mut endpoints = self.endpoints(key);
        let h1 = &mut of(&mut endpoints, key).h1;
        let (older, mut kept): (VecDeque<_>, VecDeque<_>) = h1.drain(..).partition(|idle| idle.unused);
        kept.push_back(idle);
        *h1 = kept;
        drop(endpoints);
        // Closing is a system call too.
        drop(older);
    }

    /// Whether a request that needs a connection used, or made, within `within` would find one.
    pub fn is_ready(&self, key: &EndpointKey, h2: bool, within: Duration) -> bool {
        let mut endpoints = self.endpoints(key);
        let Some(endpoint) = endpoints.get_mut(key) else { return false };
        if h2 {
            return endpoint.h2.iter().any(|one| one.is_usable() && one.connection.can_accept_streams(1));
        }
        let freshest = endpoint.h1.back_mut();
        // No system call but for a connection that something has happened on.
        freshest.is_some_and(|idle| idle.since.elapsed() < within && idle.wire.is_quiet())
    }

    /// An HTTP/2 connection that may take another stream, and its wire.
    pub fn shared(&self, key: &EndpointKey) -> Option<(ConnectionRef, H2WireHandle)> {
        let mut endpoints = self.endpoints(key);
        let h2 = &mut endpoints.get_mut(key)?.h2;
        h2.retain(Shared::is_usable);
        let free = h2.iter_mut().find(|shared| shared.connection.can_accept_streams(1))?;
        free.idle_since = None;
        Some((free.connection.clone(), free.wire.clone()))
    }

    /// Adds an HTTP/2 connection.
    pub fn share(&self, key: &EndpointKey, connection: ConnectionRef, wire: H2WireHandle) {
        let shared = Shared { connection, wire, idle_since: None };
        of(&mut self.endpoints(key), key).h2.push(shared);
    }

    /// The lock that makes one HTTP/2 connection at a time to an endpoint.
    pub fn connecting(&self, key: &EndpointKey) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&of(&mut self.endpoints(key), key).connecting)
    }

    /// Closes what has been idle for longer than its endpoint's `keep_alive` says and what the cell has
    /// closed; endpoints that `keep_alive` does not know (a reload removed them) go whole. Called once a
    /// second.
    pub fn sweep(&self, keep_alive: impl Fn(&EndpointKey) -> Option<Duration>) {
        let mut closed = Vec::new();
        for shard in &self.shards {
            lock(shard).retain(|key, endpoint| {
                let Some(limit) = keep_alive(key) else {
                    closed.extend(endpoint.h1.drain(..));
                    return endpoint.h2.iter().any(|shared| !shared.connection.is_idle());
                };
                endpoint.sweep(limit, &mut closed);
                true
            });
        }
        drop(closed);
    }

    /// Closes the oldest idle HTTP/1 connection of an endpoint, where it has one. (One of HTTP/2 would go when its task
    /// ends, which is too late for whoever needs its place now.)
    pub fn close_oldest(&self, key: &EndpointKey) -> bool {
        let oldest = self.endpoints(key).get_mut(key).and_then(|endpoint| endpoint.h1.pop_front());
        // Closing is a system call, so it is done outside of the lock.
        oldest.is_some()
    }

    /// How many idle HTTP/1 connections an endpoint has.
    pub fn idle(&self, key: &EndpointKey) -> usize {
        self.endpoints(key).get(key).map_or(0, |endpoint| endpoint.h1.len())
    }

    /// The shard of an endpoint.
    fn endpoints(&self, key: &EndpointKey) -> MutexGuard<'_, Endpoints> {
        // The remainder is below a number of places.
        lock(&self.shards[(self.hasher.hash_one(key) % SHARDS as u64) as usize])
    }
}

/// A poisoned lock means that another holder panicked between two whole operations.
fn lock(endpoints: &Mutex<Endpoints>) -> MutexGuard<'_, Endpoints> {
    endpoints.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What there is of an endpoint. Its key is copied for the first connection alone: each copy is counted, by all threads
/// in one number.
fn of<'a>(endpoints: &'a mut Endpoints, key: &EndpointKey) -> &'a mut Endpoint {
    if !endpoints.contains_key(key) {
        endpoints.insert(key.clone(), Endpoint::default());
    }
    endpoints.get_mut(key).expect("it was put there where it was not")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn key(text: &str) -> EndpointKey {
        EndpointKey(text.into())
    }

    fn connection() -> (Box<Wire>, DuplexStream) {
        let (near, far) = duplex(64);
        (Wire::new(near, 0), far)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn endpoints_never_share() {
        let pool = Pool::default();
        let (wire, _far) = connection();
        pool.put(&key("cell-1|127.0.0.1:1|ca=a"), wire);
        assert!(pool.take(&key("cell-1|127.0.0.1:1|ca=b"), LONG).is_none());
        assert!(pool.take(&key("cell-1|127.0.0.1:1|ca=a"), LONG).is_some());
    }

    #[tokio::test]
    async fn a_connection_that_spoke_or_closed_is_not_used_again() {
        let pool = Pool::default();
        let (wire, mut far) = connection();
        pool.put(&key("a"), wire);
        far.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        assert!(pool.take(&key("a"), LONG).is_none());
        let (wire, far) = connection();
        pool.put(&key("a"), wire);
        drop(far);
        assert!(pool.take(&key("a"), LONG).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_idle_too_long_is_closed() {
        let pool = Pool::default();
        let (wire, _far) = connection();
        pool.put(&key("a"), wire);
        tokio::time::advance(Duration::from_secs(59)).await;
        pool.sweep(|_| Some(LONG));
        assert_eq!(pool.idle(&key("a")), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        pool.sweep(|_| Some(LONG));
        assert_eq!(pool.idle(&key("a")), 0);
    }

    #[tokio::test]
    async fn what_the_cell_has_closed_is_closed_here_too() {
        let pool = Pool::default();
        let (left, _stays) = connection();
        pool.put(&key("a"), left);
        let (wire, mut far) = connection();
        pool.put(&key("a"), wire);
        far.shutdown().await.unwrap();
        pool.sweep(|_| Some(LONG));
        assert_eq!(pool.idle(&key("a")), 1);
        assert_eq!(tokio::io::AsyncReadExt::read(&mut far, &mut [0]).await.unwrap(), 0);
    }

    async fn http2() -> (ConnectionRef, H2WireHandle, tokio::task::JoinHandle<()>) {
        use pingora::connectors::http::v2::{H2HandshakeSettings, handshake};
        let (near, far) = duplex(4096);
        let server = tokio::spawn(async move {
            let mut server = h2::server::handshake(far).await.unwrap();
            while server.accept().await.is_some() {}
        });
        let mut settings = H2HandshakeSettings::new();
        settings.max_streams = 10;
        let wire = super::super::wire_h2::H2Wire::new(near, 0);
        let handle = wire.handle();
        (handshake(Box::new(wire), settings).await.unwrap(), handle, server)
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_connection_that_is_idle_too_long_is_closed() {
        let pool = Pool::default();
        let (connection, wire, server) = http2().await;
        let stream = connection.spawn_stream().await.unwrap();
        pool.share(&key("a"), connection, wire);
        tokio::time::advance(LONG * 2).await;
        pool.sweep(|_| Some(LONG));
        assert!(pool.shared(&key("a")).is_some(), "a stream is open on it");
        drop(stream);
        pool.sweep(|_| Some(LONG));
        tokio::time::advance(LONG / 2).await;
        pool.sweep(|_| Some(LONG));
        assert!(pool.shared(&key("a")).is_some(), "idle since the sweep before");
        pool.sweep(|_| Some(LONG));
        tokio::time::advance(LONG).await;
        pool.sweep(|_| Some(LONG));
        assert!(pool.shared(&key("a")).is_none());
        server.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_ask_for_a_fresher_connection_than_another() {
        let pool = Pool::default();
        let (wire, _far) = connection();
        pool.put(&key("a"), wire);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(pool.take(&key("a"), Duration::from_secs(1)).is_none());
        assert!(pool.take(&key("a"), LONG).is_some());
    }

    #[tokio::test]
    async fn of_many_endpoints_each_finds_its_own_and_none_is_left_out_of_a_sweep() {
        let pool = Pool::default();
        let keys: Vec<_> = (0..200).map(|number| key(&number.to_string())).collect();
        let far: Vec<_> = keys
            .iter()
            .map(|key| {
                let (wire, far) = connection();
                pool.put(key, wire);
                far
            })
            .collect();
        assert!(keys.iter().all(|key| pool.idle(key) == 1));
        assert!(keys.iter().step_by(2).all(|key| pool.take(key, LONG).is_some()));
        assert_eq!(keys.iter().map(|key| pool.idle(key)).sum::<usize>(), 100);
        pool.sweep(|_| None);
        assert_eq!(keys.iter().map(|key| pool.idle(key)).sum::<usize>(), 0);
        drop(far);
    }

    #[tokio::test]
    async fn endpoints_that_a_reload_removed_are_closed() {
        let pool = Pool::default();
        let (wire, _far) = connection();
        pool.put(&key("a"), wire);
        pool.sweep(|_| None);
        assert_eq!(pool.idle(&key("a")), 0);
    }
}
