//! The door for other machines: TLS 1.3, then the same requests. Whoever says nothing is gone before long; and who has shown no
//! token and no certificate that counts has a part of the places alone, and gives way to the next one.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::access::{AccessView, Peer};
use super::listen::{CONNECTION_DEADLINE, MAX_CONNECTIONS, Times, accepted, answer, opened};
use super::places::{Bounds, Place, Places};
use crate::policy::access::certificate::names;

/// For the handshake and the head of the request together: two round trips of a slow link, of which one packet is lost and sent
/// again after a second. A lost place costs a caller who is slower one more try; a silent one costs everybody.
const SILENCE_DEADLINE: Duration = Duration::from_secs(3);

/// The places of this door.
pub(super) const BOUNDS: Bounds = Bounds {
    most: MAX_CONNECTIONS as usize,
    // Half: the other half is there for those who are known, whoever else comes.
    newcomers: MAX_CONNECTIONS as usize / 2,
    settled: MAX_CONNECTIONS as usize,
    // A quarter: a browser opens six, and an office behind one address has two or three of them.
    each: 16,
    // A browser opens six at once.
    each_newcomers: 8,
};

/// Serves as long as the admin plane does.
pub(super) async fn serve(
    listener: Option<TcpListener>,
    (router, access): &(Router, AccessView),
    places: &Arc<Places>,
) -> Infallible {
    let listener = listener.map(tokio::net::TcpListener::from_std);
    let Some(listener) = opened(listener) else { return std::future::pending().await };
    loop {
        let (stream, from) = accepted(&listener).await;
        // Closed where its files cannot be used, which is in the log.
        if access.borrow().tls.is_none() {
            continue;
        }
        // And where an address has its share already.
        let Some(mut place) = places.take(from.ip()).await else { continue };
        let Some(config) = access.borrow().tls.clone() else { continue };
        let served = serve_one(stream, config, router.clone(), access.clone(), &place);
        tokio::spawn(async move {
            tokio::select! {
                () = served => {}
                () = place.is_lost() => {}
            }
        });
    }
}

fn serve_one(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    router: Router,
    access: AccessView,
    place: &Place,
) -> impl Future<Output = ()> + Send + use<> {
    let (mark, silent_until) = (place.mark(), Instant::now() + SILENCE_DEADLINE);
    async move {
        let handshake = TlsAcceptor::from(config).accept(stream);
        // Whoever cannot or does not shake hands is gone; rustls has told them why.
        let Ok(Ok(stream)) = tokio::time::timeout_at(silent_until, handshake).await else { return };
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(|chain| chain.first());
        let names = shown.map(|own| names(own)).unwrap_or_default();
        if access.borrow().by_certificate(&names).is_some() {
            mark.settle();
        }
        let router = router.layer(Extension(Peer::Tls { names: names.into() })).layer(Extension(mark));
        let head = silent_until.saturating_duration_since(Instant::now());
        answer(stream, router, Times { head, whole: CONNECTION_DEADLINE }).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn four_addresses_without_a_credential_do_not_close_the_door() {
        let places = Places::new(BOUNDS);
        let take = |address: &str| places.take(address.parse().unwrap()).now_or_never().flatten();
        let flood = || (0..MAX_CONNECTIONS).map(|at| take(&format!("127.0.9.{}", at % 4 + 1)).unwrap());
        let mut connections: Vec<_> = flood().collect();
        let mut operators: Vec<_> = (0..4).map(|at| take(&format!("192.0.2.{at}")).unwrap()).collect();
        // While they shake hands, and after they have shown a token.
        connections.extend(flood());
        assert!(operators.iter().all(|place| place.mark().settle()));
        connections.extend(flood());
        assert!(operators.iter_mut().all(|place| place.is_lost().now_or_never().is_none()));
        let here = connections.iter_mut().filter_map(|place| place.is_lost().now_or_never().xor(Some(())));
        assert_eq!(here.count(), BOUNDS.newcomers);
    }
}
