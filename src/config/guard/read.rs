//! `guards` of `boot.yaml`, from text to [`Guards`].

use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::super::raw::{self, Field};
use super::super::slot::{At, Slot};
use super::{Allowance, Approvals, Guards, Mode, TableSize, TrafficShare, default, never_off};
use crate::policy::code::Code;
use crate::policy::ids::Label;

/// Most protected cells: as many as there may be cells.
const MAX_PROTECTED: usize = super::super::cells::MAX_CELLS;

/// More people are not awake at once.
const MAX_NEEDED: u8 = 16;

/// Below a minute nobody has signed, beyond a month nobody remembers.
const APPROVAL_AGES: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(31 * 86_400);

/// Reads the guards.
/// `folder` is the one that `boot.yaml` lies in, and `pushed` the configuration folder.
pub(in super::super) fn read(raw: raw::Guards, at: &At<'_>, folder: &Path, pushed: &Path) -> Guards {
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
        rows_removed: allowance(raw.rows_removed(at), all),
        rows_repointed: repointed(raw.rows_repointed(at), all),
        table_size: table_size(raw.table_size(at), all),
        traffic: traffic(raw.traffic(at), all),
        capacity: guarded(raw.capacity(at), all),
        hold: guarded(raw.hold(at), all),
        epoch: watched(raw.epoch(at), all),
        weakened: guarded(raw.weakened(at), all),
        mixed: guarded(raw.mixed(at), all),
        brownouts: guarded(raw.brownouts(at), all),
        // Not a key of guards: who reads the whole file knows.
        steps: false,
        approvals: approvals(raw.approvals(at), folder, pushed),
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

fn watched(slot: Slot<'_, raw::Watched>, all: Mode) -> Mode {
    let at = slot.at.clone();
    let words = [Mode::Observe, Mode::Enforce].map(|mode| (mode.as_str(), mode));
    at.open(slot.or(raw::Watched::default())).mode(&at).word(&words).or(never_off(all))
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

fn approvals(slot: Slot<'_, raw::Approvals>, folder: &Path, pushed: &Path) -> Option<Approvals> {
    let at = slot.at.clone();
    let mut raw = at.open(slot.optional()?);
    let fleet = raw.fleet(&at).label().required();
    let signers = raw.allowed_signers(&at);
    let signers_at = signers.at.clone();
    let signers =
        signers.parse(Code::FilePath, "a path, absolute or relative to the folder of boot.yaml", |path| {
            (!path.is_empty() && !path.contains('\0')).then(|| plain(&folder.join(path)))
        });
    let allowed_signers = signers.required();
    if allowed_signers.as_ref().is_some_and(|path| path.starts_with(plain(pushed))) {
        let what =
            "the file lies in the configuration folder, so that one push could change who may approve it";
        signers_at.refuse(Code::SignersInTheFolder, what, "a file outside of it");
    }
    let needed = raw.needed(&at).number(1..=MAX_NEEDED).or(default::APPROVALS_NEEDED);
    let max_age = raw.max_age(&at).duration(APPROVAL_AGES).or(default::APPROVAL_MAX_AGE);
    Some(Approvals { fleet: fleet?, allowed_signers: allowed_signers?, needed, max_age })
}

/// Without `.` and `..`, as it is written: what links lead to is nobody's guess here.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
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

fn repointed(slot: Slot<'_, raw::RowsRepointed>, all: Mode) -> Allowance {
    let at = slot.at.clone();
    let mut raw = at.open(slot.or(raw::RowsRepointed::default()));
    Allowance {
        mode: mode(raw.mode(&at), all),
        most: raw.most(&at).number(0..=u32::MAX).or(default::MOST_REPOINTED),
        percent: raw.percent(&at).number(0..=100).or(default::PERCENT_OF_ACCOUNTS),
        free: raw.free(&at).number(0..=u32::MAX).or(default::FREE_REPOINTED),
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
