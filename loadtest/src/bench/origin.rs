//! The cells of the benchmark in one process and one thread: what they answer costs as little as can be, because
//! they share a CPU with the load and must not be what a proxy waits for.
//!
//! HTTP/1.1 is read by a loop of its own; HTTP/2 without TLS is known by its preface. Everything says which cell answered
//! (`X-Cell`). They check nothing: that a request came to the cell of its account is seen by whoever asked.
//!
//! | asked | the answer |
//! |---|---|
//! | `GET /bytes/N` | N bytes, 64 MiB at most |
//! | an upgrade to `websocket` | every message, as it came |
//! | over HTTP/2, content type `application/grpc` | the message, as it came, and `grpc-status: 0` |
//! | anything else | JSON of about 120 bytes; with a body `X-Received`, how many bytes of it came |
//!
//! A simulated cell that says what reached it, and misbehaves, is [`crate::cell`].

mod http1;
mod http2;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

use super::table::{CELL_HEADER, Table};

/// Serves one cell on each address, in this thread, until `end`; calls `ready` with the real addresses when all of them
/// listen.
///
/// # Errors
/// An address cannot be listened on.
pub fn serve(
    addresses: &[SocketAddr],
    ready: impl FnOnce(&[SocketAddr]),
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let filling: Rc<[u8]> = vec![b'x'; FILLING_BYTES].into();
        let mut bound = Vec::with_capacity(addresses.len());
        for (cell, address) in (0..=u16::MAX).zip(addresses) {
            let listener = TcpListener::bind(address).await?;
            bound.push(listener.local_addr()?);
            spawn_local(accept(listener, Rc::new(Answers::of(cell, filling.clone()))));
        }
        ready(&bound);
        end.await;
        Ok(())
    })
}

/// After an accept that failed: who has no file descriptor left has none a microsecond later.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

async fn accept(listener: TcpListener, answers: Rc<Answers>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(spawn_local(converse(stream, answers.clone()))),
            Err(_) => tokio::time::sleep(AFTER_FAILURE).await,
        }
    }
}

async fn converse(stream: TcpStream, answers: Rc<Answers>) {
    let mut first = [0; 4];
    // However a connection ends, the proxy at its other end sees it, and so does whoever waits behind that.
    let _ = stream.set_nodelay(true);
    let _ = match stream.peek(&mut first).await {
        // The preface (RFC 9113 section 3.4) comes in one piece: it is the first that a client sends, and 24 bytes.
        Ok(_) if first == *b"PRI " => http2::converse(stream, answers).await.map_err(io::Error::other),
        Ok(_) => http1::converse(stream, &answers).await,
        Err(error) => Err(error),
    };
}

/// What one cell says, made once.
struct Answers {
    /// Its name.
    cell: String,
    /// A whole answer in HTTP/1.1.
    usual: Vec<u8>,
    /// How much of it is the head.
    usual_head_bytes: usize,
    /// What it sends where many bytes are asked for; all cells have one in common.
    filling: Rc<[u8]>,
}

/// The answer of most requests: as long as a row of an API.
const BODY: &str = r#"{"status":{"code":200,"is_success":true},"data":[{"id":70403103,"name":"nightly","state":1}],"extra":{"count":1}}"#;

/// Sent in one call where there is room: as much as a large answer of the benchmark has.
const FILLING_BYTES: usize = 1024 * 1024;

impl Answers {
    fn of(cell: u16, filling: Rc<[u8]>) -> Self {
        let cell = Table::cell_name(cell);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{CELL_HEADER}: {cell}\r\n\r\n",
            BODY.len()
        );
        Self {
            cell,
            usual: [head.as_bytes(), BODY.as_bytes()].concat(),
            usual_head_bytes: head.len(),
            filling,
        }
    }
}
