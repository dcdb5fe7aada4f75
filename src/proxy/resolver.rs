//! Names of cell endpoints to addresses: asked in the background, all addresses kept, the last good
//! answer served for as long as there is no newer one. A request waits only for a name's first answer.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::policy::code::Code;
use hickory_resolver::TokioResolver;
use tokio::time::Instant;

/// Shortest time between two questions for a name: a zero TTL must not make every request a query.
const MIN_TTL: Duration = Duration::from_secs(1);

/// Longest time an answer is taken as fresh: a record with a day's TTL is still followed within this.
const MAX_TTL: Duration = Duration::from_secs(300);

/// How soon a failed question is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// One answer: every address and how long it holds.
pub type Answer = io::Result<(Vec<IpAddr>, Duration)>;

/// Where answers come from; the other implementation is the tests'.
pub trait Lookup: Send + Sync + 'static {
    /// All addresses of a name.
    fn lookup(&self, name: Box<str>) -> Pin<Box<dyn Future<Output = Answer> + Send>>;
}

/// Remembers answers.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

struct Shared {
    lookup: Box<dyn Lookup>,
    names: Mutex<HashMap<Box<str>, Name>>,
    /// Rotates the first address, so that all of a name's addresses are used.
    turn: std::sync::atomic::AtomicUsize,
}

struct Name {
    addresses: Arc<[IpAddr]>,
    ask_again: Instant,
}

/// The system's resolver configuration, asked through hickory: asynchronous and with TTLs, which
/// getaddrinfo has not.
struct System(TokioResolver);

impl Resolver {
    /// Over the system's configuration (`/etc/resolv.conf`).
    ///
    /// # Errors
    /// The configuration cannot be read.
    pub fn system() -> io::Result<Self> {
        let resolver =
            TokioResolver::builder_tokio().map_err(io::Error::other)?.build().map_err(io::Error::other)?;
        Ok(Self::new(Box::new(System(resolver))))
    }

    /// Over any source of answers.
    pub fn new(lookup: Box<dyn Lookup>) -> Self {
        let turn = std::sync::atomic::AtomicUsize::new(0);
        Self(Arc::new(Shared { lookup, names: Mutex::default(), turn }))
    }

    /// Every address of a name, in rotating order; never empty. Asks only when the name is new; an old
    /// answer is refreshed behind the request's back.
    ///
    /// # Errors
    /// The name is new and has no answer.
    pub async fn addresses(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let known = {
            let mut names = lock(&self.0.names);
            names.get_mut(name).map(|known| {
                let stale = known.ask_again <= Instant::now();
                if stale {
                    // One question at a time: the next request sees a later date.
                    known.ask_again = Instant::now() + RETRY_AFTER;
                }
                (Arc::clone(&known.addresses), stale)
            })
        };
        let addresses = match known {
            Some((addresses, stale)) => {
                if stale {
                    self.refresh(name.into());
                }
                addresses
            }
            None => self.ask(name.into()).await?,
        };
        let turn = self.0.turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % addresses.len();
        let rotated = addresses.iter().skip(turn).chain(addresses.iter().take(turn));
        Ok(rotated.map(|address| SocketAddr::new(*address, port)).collect())
    }

    fn refresh(&self, name: Box<str>) {
        let resolver = self.clone();
        tokio::spawn(async move {
            if let Err(error) = resolver.ask(name.clone()).await {
                tracing::warn!(code = %Code::NameNotRefreshed, %name, %error, "name of a cell endpoint not refreshed; the last good answer serves");
            }
        });
    }

    async fn ask(&self, name: Box<str>) -> io::Result<Arc<[IpAddr]>> {
        let (addresses, ttl) = self.0.lookup.lookup(name.clone()).await?;
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the answer has no address"));
        }
        let addresses: Arc<[IpAddr]> = addresses.into();
        let ask_again = Instant::now() + ttl.clamp(MIN_TTL, MAX_TTL);
        lock(&self.0.names).insert(name, Name { addresses: Arc::clone(&addresses), ask_again });
        Ok(addresses)
    }
}

impl Lookup for System {
    fn lookup(&self, name: Box<str>) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let resolver = self.0.clone();
        Box::pin(async move {
            let answer = resolver.lookup_ip(&*name).await.map_err(io::Error::other)?;
            let ttl = answer.valid_until().saturating_duration_since(std::time::Instant::now());
            Ok((answer.iter().collect(), ttl))
        })
    }
}

fn lock(names: &Mutex<HashMap<Box<str>, Name>>) -> MutexGuard<'_, HashMap<Box<str>, Name>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    type Script = Arc<Mutex<VecDeque<Answer>>>;

    struct Scripted(Script);

    impl Lookup for Scripted {
        fn lookup(&self, _: Box<str>) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
            let answer = self.0.lock().unwrap().pop_front();
            Box::pin(async move { answer.unwrap_or_else(|| Err(io::Error::other("no more answers"))) })
        }
    }

    fn resolver(answers: Vec<Answer>) -> (Resolver, Script) {
        let script: Script = Arc::new(Mutex::new(answers.into()));
        (Resolver::new(Box::new(Scripted(Arc::clone(&script)))), script)
    }

    fn answer(last: &[u8], ttl: u64) -> Answer {
        let addresses = last.iter().map(|byte| IpAddr::from([127, 0, 0, *byte])).collect();
        Ok((addresses, Duration::from_secs(ttl)))
    }

    #[tokio::test(start_paused = true)]
    async fn all_addresses_are_used_in_turn() {
        let (resolver, _) = resolver(vec![answer(&[1, 2], 60)]);
        let first = resolver.addresses("cell", 80).await.unwrap();
        let second = resolver.addresses("cell", 80).await.unwrap();
        assert_eq!(first.len(), 2);
        assert_ne!(first[0], second[0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_answer_serves_while_the_name_cannot_be_asked() {
        let failed = Err(io::Error::other("down"));
        let (resolver, script) = resolver(vec![answer(&[1], 10), failed, answer(&[2], 10)]);
        let ask = || async { resolver.addresses("cell", 80).await.unwrap()[0].ip() };
        assert_eq!(ask().await, IpAddr::from([127, 0, 0, 1]));
        tokio::time::advance(Duration::from_secs(11)).await;
        // This request gets the old answer and starts the question, which fails.
        assert_eq!(ask().await, IpAddr::from([127, 0, 0, 1]));
        tokio::task::yield_now().await;
        assert_eq!(script.lock().unwrap().len(), 1);
        assert_eq!(ask().await, IpAddr::from([127, 0, 0, 1]));
        tokio::time::advance(RETRY_AFTER).await;
        assert_eq!(ask().await, IpAddr::from([127, 0, 0, 1]));
        tokio::task::yield_now().await;
        assert_eq!(ask().await, IpAddr::from([127, 0, 0, 2]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_name_without_an_answer_is_an_error() {
        let (resolver, _) = resolver(vec![answer(&[], 10)]);
        assert!(resolver.addresses("cell", 80).await.is_err());
    }
}
