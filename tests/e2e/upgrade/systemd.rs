//! systemd, played: it opens the sockets, hands them over by name, and listens to what the service says.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use loadtest::cell::CellOptions;

use super::Line;
use crate::process::Process;
use crate::raw_http;
use crate::running::{Folder, PATIENCE, eventually};
use crate::world::{CELLS, addresses, runtime, start_cells};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: ab123.us1.dbt.com\r\nConnection: close\r\n\r\n";

/// `LISTEN_PID` is known only in the process itself; the sockets come as its standard input and output.
const HAND_OVER: &str = "exec 3<&0 4<&1 0</dev/null 1>/dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"";

/// The service manager.
struct Manager {
    notify: UnixDatagram,
    sockets: [TcpListener; 2],
}

impl Manager {
    fn new(folder: &Folder) -> Self {
        let notify = UnixDatagram::bind(folder.path("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        let sockets = ["127.0.0.1:0"; 2].map(|address| TcpListener::bind(address).unwrap());
        Self { notify, sockets }
    }

    /// Starts the service with its sockets under these names.
    fn start(&self, folder: &Folder, names: &str) -> Process {
        let [first, second] =
            self.sockets.each_ref().map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
        let mut command = Command::new("sh");
        command.args(["-c", HAND_OVER, env!("CARGO_BIN_EXE_cellgate")]);
        command
            .env("LISTEN_FDS", "2")
            .env("LISTEN_FDNAMES", names)
            .env("NOTIFY_SOCKET", folder.path("notify"));
        command.stdin(Stdio::from(first)).stdout(Stdio::from(second));
        Process::spawn_as(folder, command)
    }

    /// What the service says next.
    fn hears(&self) -> Vec<String> {
        let mut said = [0; 4096];
        let count = self.notify.recv(&mut said).unwrap();
        String::from_utf8_lossy(&said[..count]).lines().map(str::to_owned).collect()
    }

    /// It begins with these words.
    #[track_caller]
    fn expects(&self, words: &[&str]) -> Vec<String> {
        let said = self.hears();
        let fits =
            said.len() >= words.len() && said.iter().zip(words).all(|(said, word)| said.starts_with(word));
        assert!(fits, "{words:?}, and it said {said:?}");
        said
    }
}

#[test]
fn systemd_hands_sockets_over_by_name_and_is_told_everything() {
    let runtime = runtime();
    let cells = start_cells(&runtime, CELLS.map(CellOptions::named).to_vec());
    let folder = Folder::example(&addresses(&cells));
    let manager = Manager::new(&folder);
    let http = manager.sockets[1].local_addr().unwrap();
    let asks = || raw_http::ask(&mut raw_http::tcp(http), REQUEST).unwrap().status;
    // In another order than in the configuration, which has a listener more.
    let first = manager.start(&folder, "https:http");
    manager.expects(&["READY=1", "STATUS=serving: generation 1"]);
    let mut line = Line::of(first);
    assert_eq!((line.first.addr("http"), asks()), (http, 200));
    assert_eq!(line.first.addr("https"), manager.sockets[0].local_addr().unwrap());
    assert_ne!(line.first.addr("h2c").port(), 0, "a listener that systemd has no socket for makes its own");

    line.first.signal("HUP");
    let said = manager.expects(&["RELOADING=1", "MONOTONIC_USEC="]);
    assert!(said[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0, "{said:?}");
    manager.expects(&["READY=1", "STATUS=serving: generation 1"]);
    folder.write("config/clients.yaml", "nonsense: [");
    line.first.signal("HUP");
    // A file event may come first, before the signal or behind it; it is told without being asked for.
    while manager.hears()[0] != "RELOADING=1" {}
    let said = loop {
        let said = manager.hears();
        if said[0] == "READY=1" {
            break said;
        }
    };
    assert!(said[1].ends_with("last reload: rejected"), "{said:?}");

    line.first.signal("USR2");
    let pid = line.another(&folder);
    let own = format!("MAINPID={pid}");
    while manager.hears()[0] != own {}
    manager.expects(&["READY=1", "STATUS=serving: started on the LAST GOOD configuration"]);
    line.drained();
    assert_eq!(asks(), 200, "the same socket");
    line.signal("TERM");
    while manager.hears()[0] != "STOPPING=1" {}
    eventually("the service to end", || super::gone(pid).then_some(()));
    assert!(
        std::net::TcpStream::connect(http).is_ok(),
        "the socket is systemd's, and waits for the next start"
    );
}

#[test]
fn a_socket_that_no_listener_is_called_after_is_an_error_with_a_way_out() {
    let folder = Folder::example(&std::collections::BTreeMap::new());
    let manager = Manager::new(&folder);
    let mut process = manager.start(&folder, "http:cellgate.socket");
    assert_eq!(process.ended().code(), Some(1));
    let said = std::fs::read_to_string(folder.path("log/stderr.jsonl")).unwrap();
    for part in ["\"cellgate.socket\"", "FileDescriptorName=", "http, https, h2c"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}
