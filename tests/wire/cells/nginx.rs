//! A cell of nginx, which writes what it read into its access log, normalised path included.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use super::Read;

/// A running nginx. Ended when it is dropped.
pub struct Nginx {
    child: Child,
    folder: tempfile::TempDir,
    pub addr: SocketAddr,
}

const CONFIGURATION: &str = r#"
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
    log_format lab escape=json '{"cell":"nginx","id":"$http_x_request_id","account":"$http_x_cellgate_account",'
        '"method":"$request_method","target":"$request_uri","path":"$uri","host":"$http_host",'
        '"header":"$http_x_account","status":$status}';
    access_log access.log lab;
    server {
        listen ADDRESS;
        keepalive_requests 1000000;
        keepalive_timeout 120s;
        client_max_body_size 0;
        large_client_header_buffers 8 64k;
        location / {
            return 200 "[cell=nginx id=$http_x_request_id target=$request_uri]";
        }
    }
}
"#;

/// Starts one.
pub fn start() -> Nginx {
    let folder = tempfile::tempdir().unwrap();
    for port in ports() {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let text = CONFIGURATION.replace("ADDRESS", &addr.to_string());
        std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).args(["-c", "nginx.conf", "-e", "error.log"]);
        let mut child = match command.stdin(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => child,
            Err(error) => panic!("nginx: {error}; `make test` installs it"),
        };
        if listens(&mut child, addr) {
            return Nginx { child, folder, addr };
        }
    }
    panic!("nginx does not start: {}", read(folder.path(), "error.log"))
}

/// Ports below those that the system gives to clients: nginx cannot be given an open socket or port 0. Each is given
/// once: where two labs begin at once, the second would find the first one's nginx at its own port.
fn ports() -> impl Iterator<Item = u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 12_000 + u16::try_from(std::process::id() % 7_000).unwrap();
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let ports = std::iter::repeat_with(move || first + NEXT.fetch_add(1, Ordering::Relaxed));
    ports.take_while(|port| *port < 20_000).filter(free).take(5)
}

/// Whether it comes up; it ends where the port is taken after all.
fn listens(child: &mut Child, addr: SocketAddr) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end && child.try_wait().unwrap().is_none() {
        if TcpStream::connect(addr).is_ok() {
            return child.try_wait().unwrap().is_none();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn read(folder: &Path, name: &str) -> String {
    // It escapes control bytes only.
    String::from_utf8_lossy(&std::fs::read(folder.join(name)).unwrap_or_default()).into_owned()
}

impl Nginx {
    /// What it read so far.
    pub fn reads(&self) -> Vec<Read> {
        let text = read(self.folder.path(), "access.log");
        text.lines().filter_map(line).collect()
    }

    /// Has it end what it does, of which nobody sends it more, and waits for that: then it has written down all that it
    /// read. It may wait itself for the request of a connection that has none; not so long is waited for it.
    pub fn finish(&mut self, within: Duration) {
        let end = Instant::now() + within;
        if self.signal("QUIT") {
            while Instant::now() < end && self.child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn signal(&self, name: &str) -> bool {
        let told = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        told.is_ok_and(|told| told.success())
    }
}

/// One line of the log. A connection that was opened and closed, as the start looks for it, has none.
fn line(text: &str) -> Option<Read> {
    let line: serde_json::Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    let refused = line["status"].as_u64().is_some_and(|status| status != 200);
    let read: Read = serde_json::from_value(line).unwrap();
    Some(Read { refused: refused && read.id.is_empty(), ..read })
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It has ended already, or is ended now.
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        if self.signal("TERM") {
            let _ = self.child.wait();
        } else {
            let _ = self.child.kill();
        }
    }
}
