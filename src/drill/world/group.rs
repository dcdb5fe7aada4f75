//! A group of a cell as all replicas meet it: its model, and what has happened to its endpoints.

use super::super::model::Model;
use super::super::scenario::Fault;
use crate::policy::moment::Moment;

/// A group of a cell, for all replicas.
pub(super) struct Group {
    pub model: Model,
    /// By endpoint.
    pub faults: Vec<Option<Fault>>,
    /// When its next news is planned.
    pub planned: Option<Moment>,
    /// It thrashed when it was looked at last.
    pub thrashed: bool,
}

impl Group {
    pub fn new(model: Model, endpoints: usize) -> Self {
        Self { model, faults: vec![None; endpoints], planned: None, thrashed: false }
    }

    /// Something happens to an endpoint. The group's workers are its endpoints' in equal parts.
    pub fn set_fault(&mut self, endpoint: usize, fault: Option<Fault>, now: Moment) {
        let before = std::mem::replace(&mut self.faults[endpoint], fault);
        let well = self.faults.iter().filter(|fault| fault.is_none()).count();
        let is_lost = well == 0;
        match (fault, before) {
            (Some(Fault::Refuses), _) if is_lost => self.model.set_down(now, true),
            (Some(_), _) if is_lost => self.model.set_slow(now, 0.0),
            (None, Some(Fault::Refuses)) if well == 1 => self.model.restart(now),
            (None, Some(_)) if well == 1 => self.model.set_slow(now, 1.0),
            _ => {}
        }
        if !is_lost {
            self.model.set_at_work(now, (self.model.workers() * well).div_ceil(self.faults.len()));
        }
    }
}
