//! The cells of the lab: HTTP parsers that have nothing in common, each of which says what it read.

mod hyper;
pub mod nginx;
pub mod python;
mod raw;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};

/// What a cell read as one request.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Read {
    /// Name of the cell.
    pub cell: String,
    /// X-Request-Id; empty where there was none.
    pub id: String,
    /// X-Cellgate-Account; empty where there was none.
    pub account: String,
    pub method: String,
    /// The target as it came.
    pub target: String,
    /// The path as this server decodes and normalises it.
    pub path: String,
    pub host: String,
    /// X-Account, by which cellgate may route too.
    pub header: String,
    /// The server refused it by itself, mostly before it had read who it was from.
    pub refused: bool,
    /// What was not canonical, where the bytes were looked at.
    pub faults: Vec<String>,
}

/// What all cells have read; those in this process write into it as they read.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<Vec<Read>>>);

impl Book {
    fn note(&self, read: Read) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(read);
    }

    /// What was noted so far.
    pub fn reads(&self) -> Vec<Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Starts the cell that looks at every byte.
pub async fn raw(book: &Book) -> SocketAddr {
    serve(book, raw::connection).await
}

/// Starts a hyper server.
pub async fn hyper(book: &Book) -> SocketAddr {
    serve(book, hyper::connection).await
}

async fn serve<F>(book: &Book, connection: fn(TcpStream, Book) -> F) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let book = book.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, book.clone()));
        }
    });
    address
}

/// The body of every answer: whose it is, for those who wait for their own.
fn answer(cell: &str, id: &str, target: &str) -> String {
    format!("[cell={cell} id={id} target={target}]")
}
