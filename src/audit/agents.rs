//! What programs call themselves, as a thread has read it before: reading a User-Agent takes several times as long as knowing
//! it again, and those of one connection are mostly one.

use std::sync::{Arc, Weak};

use super::map::Map;
use crate::policy::client::product;
use crate::policy::snapshot::Snapshot;

/// User-Agents of one thread. Most fleets have fewer; who makes up more pays for reading each. At 300 bytes each, 20 KB.
const MOST: usize = 64;

/// Names by User-Agent, as the rules of one snapshot have them.
#[derive(Debug, Default)]
pub(super) struct Agents {
    /// Holds no table in memory.
    of: Weak<Snapshot>,
    products: Map<Box<str>, Option<Box<str>>>,
}

impl Agents {
    /// See [`product`].
    pub fn product(&mut self, snapshot: &Arc<Snapshot>, agent: &str) -> Option<&str> {
        if !std::ptr::eq(self.of.as_ptr(), Arc::as_ptr(snapshot)) {
            (self.of, self.products) = (Arc::downgrade(snapshot), Map::default());
        }
        if !self.products.contains_key(agent) {
            if self.products.len() >= MOST {
                self.products.clear();
            }
            let name = product(&snapshot.identify.credentials, agent);
            self.products.insert(agent.into(), name.map(Into::into));
        }
        self.products.get(agent)?.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::fixture::snapshot;

    #[test]
    fn what_is_known_again_is_what_would_be_read_and_no_more_are_kept_than_fit() {
        let mut agents = Agents::default();
        for snapshot in [snapshot(1), snapshot(2)] {
            for number in 0..1_000 {
                for agent in ["acme-sync/2.1 (of-a-customer)", "user:secret", &format!("program-{number}/1")]
                {
                    let read = product(&snapshot.identify.credentials, agent);
                    assert_eq!(agents.product(&snapshot, agent), read, "{agent}");
                    assert_eq!(agents.product(&snapshot, agent), read, "{agent} again");
                }
                assert!(agents.products.len() <= MOST);
            }
        }
    }
}
