//! The cells that are Python servers: see `servers.py`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Read;
use crate::python;

/// A running server. Ended when it is dropped.
pub struct Server {
    child: Child,
    folder: tempfile::TempDir,
    pub addr: SocketAddr,
}

/// Starts one: `asgi` or `wsgi`.
pub fn start(kind: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/cells/servers.py");
    let mut command = Command::new(python::python());
    command.arg("-B").arg(script).arg(kind).arg(folder.path().join("records"));
    // Its standard input ends with us, and it ends with that.
    let errors = std::fs::File::create(folder.path().join("errors")).unwrap();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port: u16 = line.trim().parse().unwrap_or_else(|_| panic!("{kind} does not start: {line:?}"));
    Server { child, folder, addr: SocketAddr::from(([127, 0, 0, 1], port)) }
}

impl Server {
    /// What it read so far.
    pub fn reads(&self) -> Vec<Read> {
        let text = std::fs::read_to_string(self.folder.path().join("records")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
