//! Which process this is, which ones it has followed, and whether it is about to give way: what whoever asks it about its
//! moves must know besides, since a process counts what it has under way itself and nothing else.
//!
//! **A life line** is a socket pair on which nothing is ever said. A process that hands over keeps one end until it ends,
//! however it ends; its successor, and theirs in turn, see that by the other end.
//!
//! **Giving way.** A process says so before it looks a last time at what it holds, tells its successor, and lets it
//! serve. An answer is worth something only where this has not been said when it was finished: then all that it claims is
//! among what the successor is told.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use super::message::{Kind, Offered};

/// Most life lines that are passed on: a descriptor each, and those of the listeners must fit beside them. Every process
/// ends within its `drain.deadline`, so that this many upgrades fall into one only by mistake.
const MOST: usize = 128;

/// A process among those that have served, or will.
#[derive(Debug)]
pub struct Lineage {
    process: Box<str>,
    predecessors: Vec<Predecessor>,
    gives_way: AtomicBool,
}

/// A process that has handed over, and perhaps drains.
#[derive(Debug)]
pub struct Predecessor {
    pid: u32,
    line: UnixStream,
}

/// A process's own end of its life line: it ends with it.
#[derive(Debug)]
#[must_use = "whoever drops it is taken for ended"]
pub struct LifeLine {
    _end: UnixStream,
}

/// For as long as this lives, or for good, the process answers for nothing.
#[derive(Debug)]
#[must_use = "it is taken back as soon as this is dropped"]
pub struct GivingWay<'a>(Option<&'a AtomicBool>);

impl Lineage {
    /// A process with this random number.
    pub fn new(process: u64, predecessors: Vec<Predecessor>) -> Self {
        Self { process: format!("{process:016x}").into(), predecessors, gives_way: AtomicBool::new(false) }
    }

    /// Which process this is: no other one says the same.
    pub fn process(&self) -> &str {
        &self.process
    }

    /// Process ids of those that have not ended.
    pub fn draining(&self) -> Vec<u32> {
        self.predecessors.iter().filter(|one| !one.has_ended()).map(|one| one.pid).collect()
    }

    /// Whether a successor may serve already. Where not, whatever this thread has seen before is seen by whoever has
    /// called [`give_way`](Self::give_way) and looks after that.
    pub fn gives_way(&self) -> bool {
        // With the other one: one of both comes first.
        fence(Ordering::SeqCst);
        self.gives_way.load(Ordering::SeqCst)
    }

    /// From here on a successor may serve.
    pub fn give_way(&self) -> GivingWay<'_> {
        self.gives_way.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        GivingWay(Some(&self.gives_way))
    }

    /// What a successor is to be given: the life lines of those that have not ended, and one of this process.
    ///
    /// # Errors
    /// No descriptor is left, or too many processes drain.
    pub fn to_offer(&self) -> io::Result<(LifeLine, Vec<(Offered, OwnedFd)>)> {
        let (ours, theirs) = UnixStream::pair()?;
        let others = self.predecessors.iter().filter(|one| !one.has_ended());
        let others = others.map(|one| Ok((one.pid, one.line.try_clone()?)));
        let mut all: Vec<(u32, UnixStream)> = others.collect::<io::Result<_>>()?;
        all.push((std::process::id(), theirs));
        if all.len() > MOST {
            let drain = all.len() - 1;
            return Err(io::Error::other(format!("{drain} earlier processes have not ended: wait for them")));
        }
        let offer = |(pid, line): (u32, UnixStream)| {
            let (name, configured) = (pid.to_string(), String::new());
            (Offered { kind: Kind::LifeLine, name, configured }, OwnedFd::from(line))
        };
        Ok((LifeLine { _end: ours }, all.into_iter().map(offer).collect()))
    }
}

impl Predecessor {
    /// Of what was offered.
    ///
    /// # Errors
    /// It is no life line.
    pub fn new(offered: &Offered, line: OwnedFd) -> io::Result<Self> {
        let line = UnixStream::from(line);
        line.set_nonblocking(true)?;
        let pid = offered.name.parse().map_err(|_| io::Error::other("a life line of nobody"))?;
        Ok(Self { pid, line })
    }

    fn has_ended(&self) -> bool {
        match (&self.line).read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

impl GivingWay<'_> {
    /// The successor serves.
    pub fn for_good(mut self) {
        self.0 = None;
    }
}

impl Drop for GivingWay<'_> {
    fn drop(&mut self) {
        if let Some(gives_way) = self.0 {
            gives_way.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn taken(offered: Vec<(Offered, OwnedFd)>) -> Vec<Predecessor> {
        offered.into_iter().map(|(offered, line)| Predecessor::new(&offered, line).unwrap()).collect()
    }

    #[test]
    fn a_successor_sees_who_drains_also_those_before_its_predecessor() {
        let first = Lineage::new(1, Vec::new());
        let (life, offered) = first.to_offer().unwrap();
        let second = Lineage::new(2, taken(offered));
        let us = std::process::id();
        assert_eq!((second.process(), second.draining()), ("0000000000000002", vec![us]));
        let (other_life, offered) = second.to_offer().unwrap();
        let third = Lineage::new(3, taken(offered));
        assert_eq!(third.draining(), [us, us]);
        drop((second, other_life));
        assert_eq!(third.draining(), [us], "the second has ended before the first");
        drop(life);
        assert_eq!(third.draining(), [] as [u32; 0]);
        assert_eq!(third.to_offer().unwrap().1.len(), 1, "who has ended is not passed on");
    }

    #[test]
    fn who_gives_way_answers_again_where_it_came_to_nothing() {
        let one = Lineage::new(1, Vec::new());
        let giving_way = one.give_way();
        assert!(one.gives_way());
        drop(giving_way);
        assert!(!one.gives_way());
        one.give_way().for_good();
        assert!(one.gives_way());
    }
}
