//! What the processes of a contestant use, as Linux tells in /proc: processor time, memory, system calls.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Processor time of a number of processes, of all their threads and of children, also those that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// In user space.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

/// Memory of a number of processes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident, what they share counted once for each.
    pub resident: u64,
    /// Resident, what they share counted once.
    pub proportional: u64,
}

impl Used {
    /// By these processes since each began. One that is gone counts nothing.
    pub fn by(pids: &[u32]) -> Self {
        pids.iter().filter_map(|pid| stat(*pid)).fold(Self::default(), |sum, stat| Self {
            user: sum.user + stat.used.user,
            system: sum.system + stat.used.system,
        })
    }

    /// Since an earlier look at the same processes.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

impl Memory {
    /// Of these processes now. One that is gone counts nothing.
    pub fn of(pids: &[u32]) -> Self {
        pids.iter().fold(Self::default(), |sum, pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            Self {
                resident: sum.resident + kib(&text, "Rss:") * 1_024,
                proportional: sum.proportional + kib(&text, "Pss:") * 1_024,
            }
        })
    }
}

/// Resident memory of these processes now, in bytes, as [`Memory::resident`] has it. Takes microseconds where
/// [`Memory::of`] walks over all pages.
pub fn resident(pids: &[u32]) -> u64 {
    let statm = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/statm")).ok();
    let pages: u64 = pids.iter().filter_map(statm).filter_map(|line| resident_pages(&line)).sum();
    pages * rustix::param::page_size() as u64
}

/// A process and all below it, the process itself first.
pub fn tree(root: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, stat(pid)?.parent))).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

/// Sends a signal to a process that we have started. One that is gone needs none.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}

/// Counts system calls of processes until it is told to stop.
#[must_use = "the counting ends when this is dropped"]
#[derive(Debug)]
pub struct Counting {
    strace: Child,
    /// What it says, open to its end: nobody to read that would end it.
    _said: Option<BufReader<ChildStderr>>,
}

impl Counting {
    /// Attaches strace to all threads of these processes; returns when it counts. They are many times slower meanwhile.
    pub fn begin(pids: &[u32], table: &Path) -> io::Result<Self> {
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-o"]).arg(table);
        for pid in pids {
            command.arg("-p").arg(pid.to_string());
        }
        let mut strace = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut said = strace.stderr.take().map(BufReader::new);
        let lines = said.iter_mut().flat_map(BufRead::lines).map_while(Result::ok);
        // It says so of each process.
        let attached = lines.filter(|line| line.contains("attached")).take(pids.len()).count();
        let counting = Self { strace, _said: said };
        match attached == pids.len() {
            true => Ok(counting),
            false => Err(io::Error::other("strace does not attach; it needs to be allowed to (ptrace)")),
        }
    }

    /// Ends it: how many calls there were.
    pub fn end(mut self, table: &Path) -> io::Result<u64> {
        signal(self.strace.id(), Signal::INT);
        self.strace.wait()?;
        Ok(total_calls(&fs::read_to_string(table)?))
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        // It has ended, or is ended now.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// What a line of /proc/PID/stat says.
struct Stat {
    parent: u32,
    used: Used,
}

fn stat(pid: u32) -> Option<Stat> {
    parsed(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, rustix::param::clock_ticks_per_second())
}

/// Fields as proc_pid_stat(5) numbers them; the second, a name in brackets, may hold anything.
fn parsed(line: &str, ticks_a_second: u64) -> Option<Stat> {
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let time = |number| Some(Duration::from_micros(field(number)? * 1_000_000 / ticks_a_second));
    // Children that have ended and been waited for are in 16 and 17: those of a reload end within the window.
    let used = Used { user: time(14)? + time(16)?, system: time(15)? + time(17)? };
    Some(Stat { parent: field(4)?.try_into().ok()?, used })
}

/// The second field as proc_pid_statm(5) has it.
fn resident_pages(line: &str) -> Option<u64> {
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn kib(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The last line of strace's table: `100.00    0.001234           1      4321        12 total`.
fn total_calls(table: &str) -> u64 {
    let line = table.lines().rev().find(|line| line.trim_end().ends_with("total"));
    line.and_then(|line| line.split_ascii_whitespace().nth(3)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_moves_no_field() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194304 1 0 0 0 250 50 10 5 20 0 1 0 100 0 0";
        let stat = parsed(line, 100).unwrap();
        assert_eq!(stat.parent, 7);
        assert_eq!(stat.used.user, Duration::from_millis(2_500 + 100), "and of children that have ended");
        assert_eq!(stat.used.system, Duration::from_millis(500 + 50));
        assert!(parsed("42 (gone", 100).is_none());
    }

    #[test]
    fn a_child_is_in_the_tree_of_this_process_and_has_memory() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let found = tree(std::process::id());
        let memory = Memory::of(&found);
        signal(child.id(), Signal::KILL);
        child.wait().unwrap();
        assert_eq!(found[0], std::process::id());
        assert!(found.contains(&child.id()), "{found:?}");
        assert!(memory.resident > 1 << 20 && memory.proportional <= memory.resident, "{memory:?}");
    }

    #[test]
    fn resident_memory_is_in_bytes_and_not_in_pages() {
        assert_eq!(resident_pages("5000 321 100 20 0 400 0"), Some(321));
        assert_eq!(resident_pages(""), None);
        let own = resident(&[std::process::id()]);
        assert!((1 << 20..1 << 40).contains(&own), "{own}");
    }

    #[test]
    fn strace_says_how_many_calls_there_were() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     \u{20}60.00    0.000600           1       600           sendto\n\
                     100.00    0.001000           1      1000        12 total\n";
        assert_eq!(total_calls(table), 1_000);
        assert_eq!(total_calls(""), 0);
    }
}
