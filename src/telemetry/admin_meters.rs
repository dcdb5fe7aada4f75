//! The metric handles of the admin plane: calls that were refused. What is refused and why is
//! [`policy::access`](crate::policy::access)'s.

use metrics::Counter;

use super::families;
use super::registry::Registry;
use crate::policy::access::{Denied, Door};

/// Handles of calls that were refused.
#[derive(Clone, Debug)]
pub struct AdminMeters {
    /// By door in the order of [`Door::ALL`], by reason in that of [`Denied::ALL`].
    refused: Vec<Vec<Counter>>,
}

impl AdminMeters {
    pub(super) fn new(registry: &Registry) -> Self {
        let counter = |door: Door, denied: Denied| {
            let labels = [("door", door.as_str()), ("reason", denied.name())];
            registry.counter(&families::ADMIN_REFUSED, &labels)
        };
        let of_door = |door: Door| Denied::ALL.iter().map(|denied| counter(door, *denied)).collect();
        Self { refused: Door::ALL.into_iter().map(of_door).collect() }
    }

    /// Counts a call.
    pub fn refused(&self, door: Door, denied: Denied) {
        let position = Door::ALL.iter().position(|other| *other == door);
        let of_door = position.and_then(|position| self.refused.get(position));
        if let Some(counter) = of_door.and_then(|of_door| of_door.get(denied.slot())) {
            counter.increment(1);
        }
    }
}
