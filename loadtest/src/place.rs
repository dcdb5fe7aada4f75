//! Where a program that we start may listen and write.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

/// A port below those that the system gives to clients, for programs that can be given no open socket. Not twice the
/// same in a process, for tests run beside each other.
pub fn free_address() -> io::Result<SocketAddr> {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = FIRST_PORT + u16::try_from(std::process::id() % 5_000).unwrap_or_default();
    loop {
        let port = first.saturating_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        if port > LAST_PORT {
            return Err(io::Error::other(format!("no port from {first} to {LAST_PORT} is free")));
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
}

/// Makes a folder that only its owner can read, as cellgate asks for its own.
pub fn private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Where to look for a port: above what the other tests take.
const FIRST_PORT: u16 = 21_000;

/// The last of them.
const LAST_PORT: u16 = 30_000;
