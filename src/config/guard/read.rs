//! `guards` of `boot.yaml`, from text to [`Guards`].

use super::super::raw::{self, Field};
use super::super::slot::{At, Slot};
use super::{Allowance, Guards, Mode, TableSize, TrafficShare, default};
use crate::policy::ids::Label;

/// Most protected cells: as many as there may be cells.
const MAX_PROTECTED: usize = super::super::cells::MAX_CELLS;

/// Reads the guards.
pub(in super::super) fn read(raw: raw::Guards, at: &At<'_>) -> Guards {
    let mut raw = at.open(raw);
    let all = mode(raw.mode(at), Mode::Enforce);
    let baseline = guarded(raw.baseline(at), all);
    let removal = guarded(raw.removal(at), all);
    let (protected, protected_cells) = protected(raw.protected_cells(at), all);
    Guards {
        baseline,
        removal,
        protected,
        protected_cells,
        accounts_removed: allowance(raw.accounts_removed(at), all),
        accounts_moved: allowance(raw.accounts_moved(at), all),
        table_size: table_size(raw.table_size(at), all),
        traffic: traffic(raw.traffic(at), all),
        capacity: guarded(raw.capacity(at), all),
        weakened: guarded(raw.weakened(at), all),
    }
}

fn mode(slot: Slot<'_, String>, otherwise: Mode) -> Mode {
    let words = [Mode::Off, Mode::Observe, Mode::Enforce].map(|mode| (mode.as_str(), mode));
    slot.word(&words).or(otherwise)
}

fn guarded(slot: Slot<'_, raw::Guarded>, all: Mode) -> Mode {
    let at = slot.at.clone();
    mode(at.open(slot.or(raw::Guarded::default())).mode(&at), all)
}

fn protected(slot: Slot<'_, raw::ProtectedCells>, all: Mode) -> (Mode, Vec<Label>) {
    let at = slot.at.clone();
    let mut raw = at.open(slot.or(raw::ProtectedCells::default()));
    let mode = mode(raw.mode(&at), all);
    (mode, names(raw.names(&at)))
}

fn names(slot: Slot<'_, Vec<Field<String>>>) -> Vec<Label> {
    let at = slot.at.clone();
    let names = at.at_most(slot.items(), MAX_PROTECTED).into_iter();
    let mut names: Vec<Label> = names.filter_map(|name| name.label().required()).collect();
    names.sort();
    names.dedup();
    names
}

fn allowance(slot: Slot<'_, raw::Allowance>, all: Mode) -> Allowance {
    let at = slot.at.clone();
    let mut raw = at.open(slot.or(raw::Allowance::default()));
    Allowance {
        mode: mode(raw.mode(&at), all),
        most: raw.most(&at).number(0..=u32::MAX).or(default::MOST_ACCOUNTS),
        percent: raw.percent(&at).number(0..=100).or(default::PERCENT_OF_ACCOUNTS),
        free: raw.free(&at).number(0..=u32::MAX).or(default::FREE_ACCOUNTS),
    }
}

fn table_size(slot: Slot<'_, raw::TableSize>, all: Mode) -> TableSize {
    let at = slot.at.clone();
    let mut raw = at.open(slot.or(raw::TableSize::default()));
    TableSize {
        mode: mode(raw.mode(&at), all),
        rows: raw.rows(&at).number(1..=u32::MAX).or(default::ROWS),
        growth_percent: raw.growth_percent(&at).number(0..=u32::MAX).or(default::GROWTH_PERCENT),
    }
}

fn traffic(slot: Slot<'_, raw::TrafficShare>, all: Mode) -> TrafficShare {
    let at = slot.at.clone();
    let mut raw = at.open(slot.or(raw::TrafficShare::default()));
    TrafficShare {
        mode: mode(raw.mode(&at), all),
        percent: raw.percent(&at).number(0..=100).or(default::PERCENT_OF_TRAFFIC),
        at_least: raw.at_least(&at).number(0..=u64::MAX).or(default::LEAST_TRAFFIC),
    }
}
