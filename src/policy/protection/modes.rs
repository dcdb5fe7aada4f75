//! What each part does to requests of a cell: nothing, watch, or act. What nobody has said is to act, so a new cell is
//! protected from its first request on.

use super::super::guard::Mode;
use super::policies::Policy;

/// A mode for each [`Policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes([Mode; Policy::ALL.len()]);

impl Default for Modes {
    fn default() -> Self {
        Self([Mode::Enforce; Policy::ALL.len()])
    }
}

impl Modes {
    /// Of one part.
    pub const fn of(&self, policy: Policy) -> Mode {
        self.0[policy as usize]
    }

    /// With another mode for one part.
    #[must_use]
    pub const fn with(mut self, policy: Policy, mode: Mode) -> Self {
        self.0[policy as usize] = mode;
        self
    }

    /// The parts that only watch.
    pub fn observed(&self) -> impl Iterator<Item = Policy> {
        Policy::ALL.into_iter().filter(|policy| self.of(*policy) == Mode::Observe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_says_nothing_is_protected() {
        let modes = Modes::default();
        assert!(Policy::ALL.iter().all(|policy| modes.of(*policy) == Mode::Enforce));
        let modes = modes.with(Policy::Queue, Mode::Observe).with(Policy::Verdict, Mode::Off);
        for policy in Policy::ALL {
            let expect = match policy {
                Policy::Queue => Mode::Observe,
                Policy::Verdict => Mode::Off,
                _ => Mode::Enforce,
            };
            assert_eq!(modes.of(policy), expect, "{}", policy.as_str());
        }
        assert_eq!(modes.observed().collect::<Vec<_>>(), [Policy::Queue]);
    }
}
