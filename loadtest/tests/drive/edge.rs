//! A proxy that does nothing but answer as one would, or otherwise where a test wants it; and a script of bytes.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use devcerts::{Authority, Usage};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use loadtest::bench::drive::Door;
use loadtest::bench::table::{CELL_HEADER, DOMAIN, LEGACY_HOST, Table};
use loadtest::raw::{RawCell, RawScript};
use loadtest::tls::{ClientTls, ServerTls};
use rustls::server::NoServerSessionStorage;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;

pub type Reply = Response<Full<Bytes>>;

/// What becomes of the answer to request number so many (from 0); none ends the connection or the stream.
pub type Spoil = fn(u64, Reply) -> Option<Reply>;

/// What the edge has seen.
#[derive(Default)]
pub struct Seen {
    pub requests: AtomicU64,
    pub legacy: AtomicU64,
    /// Connections so far, and those open now.
    pub connections: AtomicUsize,
    pub open: AtomicUsize,
    /// How often each account was asked about.
    pub accounts: Mutex<HashMap<u64, u64>>,
}

/// An edge that ends with the test.
pub struct Edge {
    pub door: Door,
    pub seen: Arc<Seen>,
    _runtime: Runtime,
}

/// With TLS or without, and whether sessions are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Plain,
    Tls,
    TlsWithoutSessions,
}

impl Edge {
    pub fn right(table: Table, security: Security) -> Self {
        Self::start(table, security, |_, reply| Some(reply))
    }

    pub fn start(table: Table, security: Security, spoil: Spoil) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (acceptor, tls) = match security {
            Security::Plain => (None, None),
            _ => {
                let (acceptor, connector) = trusted(security == Security::Tls);
                (Some(acceptor), Some(connector))
            }
        };
        runtime.spawn(accept(listener, acceptor, table, spoil, seen.clone()));
        Self { door: Door { address, tls }, seen, _runtime: runtime }
    }
}

/// A server with a certificate for all hosts of the benchmark, and a client that trusts it.
fn trusted(sessions: bool) -> (TlsAcceptor, Arc<rustls::ClientConfig>) {
    let (server, client) = pair();
    let mut config = server.acceptor(&["h2", "http/1.1"]).unwrap().config().as_ref().clone();
    if !sessions {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    (TlsAcceptor::from(Arc::new(config)), client)
}

/// A certificate for all hosts of the benchmark, and a client that trusts it.
pub fn pair() -> (ServerTls, Arc<rustls::ClientConfig>) {
    let authority = Authority::new("bench").unwrap();
    let names = [LEGACY_HOST, &format!("*.{DOMAIN}")];
    let pair = authority.issue(&names, Usage::Server).unwrap();
    let server = ServerTls { cert_pem: pair.cert_pem, key_pem: pair.key_pem, client_ca_pem: None };
    let client = ClientTls::trusting(authority.ca_pem()).connector(&[]).unwrap().config().clone();
    (server, client)
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    table: Table,
    spoil: Spoil,
    seen: Arc<Seen>,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, seen) = (acceptor.clone(), seen.clone());
        tokio::spawn(async move {
            seen.connections.fetch_add(1, Ordering::SeqCst);
            seen.open.fetch_add(1, Ordering::SeqCst);
            match acceptor {
                None => serve(stream, table, spoil, &seen).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, table, spoil, &seen).await;
                    }
                }
            }
            seen.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    table: Table,
    spoil: Spoil,
    seen: &Arc<Seen>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let reply = spoil(seen.requests.fetch_add(1, Ordering::SeqCst), answer(&request, table, seen));
        async move { reply.ok_or_else(|| io::Error::other("this one is not answered")) }
    });
    // Clients come and go as the test wants it.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// What a proxy before the right cell would answer.
fn answer(request: &Request<Incoming>, table: Table, seen: &Seen) -> Reply {
    let host = request.uri().host().map(str::to_owned);
    let host = host.unwrap_or_else(|| request.headers()["host"].to_str().unwrap().to_owned());
    let legacy = host == LEGACY_HOST;
    let named = request.uri().path().split('/').nth(4).and_then(|id| id.parse().ok());
    let id: u64 = match host.strip_suffix(&format!(".{DOMAIN}")) {
        None => named.unwrap(),
        Some(prefix) => u64::from_str_radix(&prefix[2..], 36).unwrap(),
    };
    assert_eq!(named, Some(id), "{host} {}", request.uri());
    *seen.accounts.lock().unwrap().entry(id).or_default() += 1;
    let account = u32::try_from(id - table.id(0)).unwrap();
    assert!(account < table.accounts && request.headers().contains_key("authorization"));
    let mut reply = Response::new(Full::from("{}"));
    let cell = HeaderValue::from_str(&Table::cell_name(table.cell(account))).unwrap();
    reply.headers_mut().insert(CELL_HEADER, cell);
    if legacy {
        seen.legacy.fetch_add(1, Ordering::SeqCst);
        reply.headers_mut().insert("deprecation", HeaderValue::from_static("@1735689600"));
    }
    reply
}

/// A server that plays scripts, in a runtime of its own.
pub struct Script {
    pub door: Door,
    _cell: RawCell,
    _runtime: Runtime,
}

impl Script {
    pub fn start(script: RawScript) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let cell = runtime.block_on(RawCell::start([script])).unwrap();
        Self { door: door(cell.addr()), _cell: cell, _runtime: runtime }
    }
}

/// A door without TLS.
pub fn door(address: SocketAddr) -> Door {
    Door { address, tls: None }
}
