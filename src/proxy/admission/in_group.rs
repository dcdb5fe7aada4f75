//! A place in the group that a request is sent to: of all, and of ordinary ones as its limiter says.

use super::Admitted;
use crate::policy::admit::Lent;
use crate::policy::guard::Mode;
use crate::policy::protection::group_load::GroupPermit;
use crate::policy::protection::policies::Policy;
use crate::policy::protection::shed::Shed;
use crate::policy::snapshot::Cell;

/// What a request holds of the group that it is sent to.
#[must_use = "dropping it gives the permits back"]
pub struct InGroup<'a> {
    /// Of all; one that is not bounded goes also without.
    _all: Option<Lent<'a>>,
    /// Of ordinary ones, where the group has a limiter.
    _ordinary: Option<GroupPermit>,
}

impl Admitted<'_> {
    /// A permit of a group, where it has one for this request.
    pub fn enter_group<'c>(&self, cell: &'c Cell, at: usize) -> Option<InGroup<'c>> {
        let group = cell.groups.get(at)?;
        let all = self.group_permit(cell, at).ok()?;
        // A cell's only group takes what the cell takes.
        if cell.groups.len() < 2 || self.is_reserved() || self.ask.long_lived {
            return Some(InGroup { _all: all, _ordinary: None });
        }
        let is_limited = self.modes.of(Policy::Limit) == Mode::Enforce;
        let is_short = self.standing.has_few_left(is_limited);
        let ordinary = group.load.try_take(self.pass.priority, is_short);
        if ordinary.is_none() {
            if is_limited {
                return None;
            }
            if self.pass().would_come() {
                self.would_refuse(Policy::Limit, Shed::GroupFull);
            }
        }
        Some(InGroup { _all: all, _ordinary: ordinary })
    }

    /// Another group than this one, which is full, and a permit of it.
    pub fn overflow<'c>(&self, cell: &'c Cell, full: usize) -> Option<(usize, InGroup<'c>)> {
        let takes = |other| self.enter_group(cell, other);
        self.standing.overflow(self.clock.now(), &self.pass, full, takes)
    }
}
