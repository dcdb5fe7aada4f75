//! A running cellgate is replaced by the program that stands in its place: nothing is refused, nothing fails, what
//! is open stays open, and a new program that cannot serve changes nothing.

mod failed;
mod load;
mod moves;
mod state;
mod systemd;
mod tunnels;

use std::process::{Command, Output};

use serde_json::Value;

use crate::process::Process;
use crate::running::{Folder, eventually};

/// Processes that serve one after the other on one folder. Whatever is left of them is killed at the end.
pub struct Line {
    /// The first; its log is everybody's.
    pub first: Process,
    /// The process ids of its successors.
    pub successors: Vec<u32>,
}

impl Line {
    /// Starts the first process.
    pub fn start(folder: &Folder) -> Self {
        Self::of(Process::start(folder))
    }

    /// With a first process that runs.
    pub fn of(first: Process) -> Self {
        Self { first, successors: Vec::new() }
    }

    /// Upgrades as an operator does; returns when the new process serves.
    pub fn upgrade(&mut self, folder: &Folder) -> u32 {
        let said = ask(folder);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        self.another(folder)
    }

    /// The process that a change of the last one's making has started, waited for.
    pub fn another(&mut self, folder: &Folder) -> u32 {
        let count = self.successors.len();
        let pids = eventually("the word that another process serves", || {
            let pids: Vec<u64> = messages(&self.first, "upgraded: the new process serves, this one drains")
                .iter()
                .map(|line| line["fields"]["pid"].as_u64().unwrap())
                .collect();
            (pids.len() > count).then_some(pids)
        });
        let pid = u32::try_from(*pids.last().unwrap()).unwrap();
        assert!(!self.successors.contains(&pid) && folder.path("state/admin.sock").exists());
        self.successors.push(pid);
        pid
    }

    /// Sends a signal to the last successor.
    pub fn signal(&self, name: &str) {
        signal(*self.successors.last().unwrap(), name);
    }

    /// Waits until nobody is left but the last successor.
    pub fn drained(&mut self) {
        let code = self.first.ended().code();
        assert_eq!(code, Some(0), "the first process drained");
        for pid in self.successors.iter().rev().skip(1) {
            eventually("a successor to have drained", || gone(*pid).then_some(()));
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for line in messages(&self.first, "upgrading: a new process has been started") {
            let pid = line["fields"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            if let Some(pid) = pid.filter(|pid| !gone(*pid)) {
                signal(pid, "KILL");
            }
        }
    }
}

/// Runs `cellgate upgrade`.
pub fn ask(folder: &Folder) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.args(["upgrade", "--socket"]).arg(folder.path("state/admin.sock")).output().unwrap()
}

/// Lines of the log with this message.
pub fn messages(process: &Process, message: &str) -> Vec<Value> {
    process.log().into_iter().filter(|line| line["fields"]["message"] == message).collect()
}

fn signal(pid: u32, name: &str) {
    // It may have ended just now.
    let _ = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
}

/// Whether a process has ended; one that nobody has waited for is a zombie.
pub fn gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // pid (name) state
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}
