//! What parts that only watch would have done, each request counted where it would have felt it: by part and act, and
//! refusals by their reason as well.

use std::sync::atomic::{AtomicU64, Ordering};

use super::policies::Policy;
use super::shed::Shed;

/// What a part does to a request, or to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A request is refused.
    Refused,
    /// A request goes to another endpoint, or to another group.
    Elsewhere,
    /// A request waits for a permit.
    Queued,
    /// An endpoint is left out.
    Ejected,
}

/// The counters of one cell.
#[derive(Debug)]
pub struct Would {
    acts: [[AtomicU64; Act::ALL.len()]; Policy::ALL.len()],
    refused: [AtomicU64; Shed::ALL.len()],
}

/// What they say. Plain numbers since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WouldHave {
    acts: [[u64; Act::ALL.len()]; Policy::ALL.len()],
    /// Refusals, by [`Shed::ALL`].
    pub refused: [u64; Shed::ALL.len()],
}

impl Default for Would {
    fn default() -> Self {
        Self {
            acts: [const { [const { AtomicU64::new(0) }; Act::ALL.len()] }; Policy::ALL.len()],
            refused: [const { AtomicU64::new(0) }; Shed::ALL.len()],
        }
    }
}

impl Would {
    /// This part would have done this.
    pub fn act(&self, policy: Policy, act: Act) {
        self.acts[policy as usize][act as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// This part would have refused a request for this reason.
    pub fn refuse(&self, policy: Policy, why: Shed) {
        self.act(policy, Act::Refused);
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All of it.
    pub fn have(&self) -> WouldHave {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WouldHave {
            acts: self.acts.each_ref().map(|acts| acts.each_ref().map(load)),
            refused: self.refused.each_ref().map(load),
        }
    }
}

impl WouldHave {
    /// Adds refusals of a part that counts for itself.
    pub fn add_refused(&mut self, policy: Policy, why: Shed, many: u64) {
        self.acts[policy as usize][Act::Refused as usize] += many;
        self.refused[why as usize] += many;
    }

    /// How often a part would have done something.
    pub fn of(&self, policy: Policy, act: Act) -> u64 {
        self.acts[policy as usize][act as usize]
    }

    /// How often any of them would have done anything.
    pub fn total(&self) -> u64 {
        self.acts.iter().flatten().sum()
    }

    /// Whatever any of them would have done, with how often.
    pub fn each(&self) -> impl Iterator<Item = (Policy, Act, u64)> {
        let acts = move |policy| Act::ALL.into_iter().map(move |act| (policy, act, self.of(policy, act)));
        Policy::ALL.into_iter().flat_map(acts).filter(|(.., count)| *count > 0)
    }
}

impl Act {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Elsewhere, Self::Queued, Self::Ejected];

    /// Label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Elsewhere => "elsewhere",
            Self::Queued => "queued",
            Self::Ejected => "ejected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_counted_by_part_and_by_reason_and_once_in_all() {
        let would = Would::default();
        would.refuse(Policy::Bulkhead, Shed::GroupFull);
        would.act(Policy::Health, Act::Ejected);
        would.act(Policy::Health, Act::Ejected);
        let mut have = would.have();
        have.add_refused(Policy::Limit, Shed::QueueFull, 3);
        assert_eq!(have.refused[Shed::GroupFull as usize], 1);
        assert_eq!(have.refused[Shed::QueueFull as usize], 3);
        let each: Vec<_> = have.each().collect();
        let expect = [
            (Policy::Bulkhead, Act::Refused, 1),
            (Policy::Health, Act::Ejected, 2),
            (Policy::Limit, Act::Refused, 3),
        ];
        assert_eq!((each.as_slice(), have.total()), (&expect[..], 6));
    }
}
