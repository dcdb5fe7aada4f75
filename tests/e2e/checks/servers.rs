//! Servers that are checked: nginx, grpcio, and one that does what it is told.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::python::python;
use crate::running::{LOOK, PATIENCE};

/// An nginx whose `/healthz` is 200, or 503 while it is told to be down.
pub struct Nginx {
    child: Child,
    folder: tempfile::TempDir,
    pub addr: SocketAddr,
}

const NGINX: &str = r#"
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log warn;
events { worker_connections 1024; }
http {
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
    log_format seen '$connection $connection_requests $request_method $request_uri $server_protocol $http_host $http_user_agent';
    access_log access.log seen;
    server {
        listen ADDRESS;
        location = /healthz {
            if (-f FOLDER/down) { return 503; }
            return 200 "well";
        }
        location / { return 404; }
    }
}
"#;

impl Nginx {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for port in ports() {
            let addr = SocketAddr::from(([127, 0, 0, 1], port));
            let text = NGINX.replace("ADDRESS", &addr.to_string());
            let text = text.replace("FOLDER", folder.path().to_str().unwrap());
            std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
            let mut command = Command::new("nginx");
            command.arg("-p").arg(folder.path()).args(["-c", "nginx.conf", "-e", "error.log"]);
            let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
            let mut child = child.expect("nginx is there: `make test` installs it");
            if listens(&mut child, addr) {
                return Self { child, folder, addr };
            }
        }
        unreachable!("nginx finds no port")
    }

    pub fn is_down(&self, down: bool) {
        let file = self.folder.path().join("down");
        if down { std::fs::write(file, "").unwrap() } else { std::fs::remove_file(file).unwrap() }
    }

    /// A line for each request: connection, its number on it, method, target, version, host, user agent.
    pub fn seen(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it only when it is asked.
        let asked = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        if !asked.is_ok_and(|asked| asked.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Ports below those that the system gives to clients: nginx cannot be given an open socket or port 0. Above those where other
/// tests of this process look for one, of which some want nobody to listen there.
fn ports() -> impl Iterator<Item = u16> {
    let first = 30_001 + u16::try_from(std::process::id() % 1_900).unwrap();
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..32_000).filter(free).take(5)
}

/// Whether it comes up; it ends where the port is taken after all.
fn listens(child: &mut Child, addr: SocketAddr) -> bool {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end && child.try_wait().unwrap().is_none() {
        if TcpStream::connect(addr).is_ok() {
            return child.try_wait().unwrap().is_none();
        }
        std::thread::sleep(LOOK);
    }
    false
}

/// A server of Python's grpcio with its own health service.
pub struct GrpcHealth {
    child: Child,
    input: ChildStdin,
    pub addr: SocketAddr,
}

impl GrpcHealth {
    pub fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/checks/health.py");
        let mut command = Command::new(python());
        command.arg("-B").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], line.trim().parse().unwrap()));
        Self { input: child.stdin.take().unwrap(), child, addr }
    }

    /// `SERVING`, `NOT_SERVING`.
    pub fn set(&mut self, service: &str, status: &str) {
        writeln!(self.input, "{service}={status}").unwrap();
    }
}

impl Drop for GrpcHealth {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads what comes and says one thing, or nothing. Listens on all of the machine's own addresses.
pub struct Scripted {
    pub port: u16,
    counts: Arc<[AtomicUsize; 2]>,
    task: JoinHandle<()>,
}

impl Scripted {
    /// Says this after the first bytes, and then closes; says nothing and holds the line where there is nothing to say.
    pub fn start(runtime: &Runtime, says: Option<&'static [u8]>) -> Self {
        let listener = runtime.block_on(tokio::net::TcpListener::bind("0.0.0.0:0")).unwrap();
        let (port, counts) = (listener.local_addr().unwrap().port(), Arc::default());
        let counted: Arc<[AtomicUsize; 2]> = Arc::clone(&counts);
        let task = runtime.spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let counts = Arc::clone(&counted);
                counts[0].fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while tcp.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                        if let Some(says) = says {
                            let _ = tcp.write_all(says).await;
                            break;
                        }
                    }
                    counts[1].fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { port, counts, task }
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.counts[0].load(Ordering::SeqCst)
    }

    /// Connections now.
    pub fn open(&self) -> usize {
        // First those that are over: one that comes and goes between the two would make them more than there were.
        let over = self.counts[1].load(Ordering::SeqCst);
        self.accepted() - over
    }

    /// Nobody listens there any more.
    pub fn close(self) {
        self.task.abort();
    }
}
