//! The processes of a demonstration: started together, ended together, also when this one is killed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use loadtest::tied::tied_to_us;
use tokio::process::{Child, Command};

/// How long a process that was asked to end may take: more than cellgate's drain deadline of 20 s.
const END_WITHIN: Duration = Duration::from_secs(25);

/// All processes, in the order of their start.
#[derive(Debug, Default)]
pub struct Processes {
    running: Vec<Process>,
}

#[derive(Debug)]
struct Process {
    name: String,
    child: Child,
}

impl Processes {
    /// Starts a program; what it says goes to `log`. Returns its process id.
    pub fn start(&mut self, name: &str, program: &Path, args: &[String], log: &Path) -> Result<u32> {
        let out = new_log(log)?;
        let err = out.try_clone().context("opening a log file twice")?;
        let mut command = tied_to_us(program);
        command.args(args).stdin(Stdio::null()).stdout(out).stderr(err);
        // A group of its own: Ctrl-C is for this process, which then ends the others in order.
        command.process_group(0).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let id = child.id().context("a process that was just started should have an id")?;
        self.running.push(Process { name: name.to_owned(), child });
        Ok(id)
    }

    /// Names of those that have ended since the last call, and how.
    pub fn ended(&mut self) -> Result<Vec<(String, ExitStatus)>> {
        let mut ended = Vec::new();
        for process in &mut self.running {
            let status = process.child.try_wait().with_context(|| format!("looking at {}", process.name))?;
            ended.extend(status.map(|status| (process.name.clone(), status)));
        }
        self.running.retain(|process| !ended.iter().any(|(name, _)| *name == process.name));
        Ok(ended)
    }

    /// Kills one at once, as `kill -9` does; false if it is not among those that run.
    pub async fn kill_one(&mut self, name: &str) -> Result<bool> {
        let Some(at) = self.running.iter().position(|process| process.name == name) else { return Ok(false) };
        let mut process = self.running.remove(at);
        process.child.kill().await.with_context(|| format!("killing {name}"))?;
        Ok(true)
    }

    /// Asks all to end, the last one first, and waits for each: cellgate finishes its requests while its
    /// cells are still there.
    pub async fn stop(&mut self) {
        while let Some(process) = self.running.last_mut() {
            if let Some(id) = process.child.id() {
                // A process that has just ended cannot be told any more, and need not.
                let _ = Command::new("sh").args(["-c", &format!("kill -TERM {id}")]).status().await;
                let _ = tokio::time::timeout(END_WITHIN, process.child.wait()).await;
            }
            self.kill_last().await;
        }
    }

    /// Ends all that are left at once.
    pub async fn kill(&mut self) {
        while !self.running.is_empty() {
            self.kill_last().await;
        }
    }

    async fn kill_last(&mut self) {
        if let Some(mut process) = self.running.pop() {
            // Fails for a process that has ended, which is what is wanted.
            let _ = process.child.kill().await;
        }
    }
}

fn new_log(path: &Path) -> Result<File> {
    // Like the access log, it may have client addresses in it.
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o640);
    options.open(path).with_context(|| format!("opening {}", path.display()))
}
