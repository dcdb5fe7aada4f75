//! Whether a port of the loopback address can be had, and who has it. Linux tells in /proc.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

/// State 0A of /proc/net/tcp: listening (include/net/tcp_states.h).
const LISTENING: &str = "0A";

/// Who has a port: a description, or none if it is free.
pub fn taken(port: u16) -> Option<String> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Some(holder(port).unwrap_or_else(|| "a process of another user".to_owned()))
        }
        Err(error) => Some(format!("nobody, but this machine does not give it out ({error})")),
    }
}

/// Name and process id of the listener on a port, as far as this user may see it.
fn holder(port: u16) -> Option<String> {
    let sockets: Vec<String> =
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().flat_map(|table| listeners(table, port)).collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        // Other users' processes do not let us look.
        let Ok(open) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = open
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()));
        if holds {
            let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", command.trim()));
        }
    }
    None
}

/// The sockets that listen on a port, as links in /proc/PID/fd name them.
fn listeners(table: &str, port: u16) -> Vec<String> {
    let rows = fs::read_to_string(table).unwrap_or_default();
    let of = |row: &str| {
        let columns: Vec<&str> = row.split_whitespace().collect();
        let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
        let (_, local_port) = local.rsplit_once(':')?;
        let matches = *state == LISTENING && u16::from_str_radix(local_port, 16) == Ok(port);
        matches.then(|| format!("socket:[{inode}]"))
    };
    rows.lines().filter_map(of).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let who = taken(port).unwrap();
        assert!(who.contains(&format!("(process {})", std::process::id())), "{who}");
        drop(listener);
        assert_eq!(taken(port), None);
    }
}
