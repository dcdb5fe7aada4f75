//! `moves` of `cellgate.yaml`: the table of moves, and what holding may cost.

use std::time::Duration;

use super::Sources;
use super::names::Names;
use super::problem::Report;
use super::raw;
use super::slot::Slot;
use super::tables::{KnownAccounts, moves_csv};
use crate::policy::code::Code;
use crate::policy::moves::{HeldReads, HoldRules, Moves};

/// Shorter holds no write that meets a reload; longer than [`HoldRules::LONGEST_BUDGET`] clients do not wait.
const SHORTEST_BUDGET: Duration = Duration::from_millis(100);

/// Below a second ordinary writes are cut; an hour of holding is an outage.
const DRAINS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);

/// Each waiting request has a connection and a head in memory, some tens of kilobytes.
const MOST_WAITING: u32 = 100_000;

pub(super) fn read(
    slot: Slot<'_, raw::Moves>,
    sources: &Sources,
    cells: &Names,
    accounts: &KnownAccounts,
    report: &Report,
) -> Moves {
    let at = slot.at.clone();
    let Some(raw) = slot.optional() else { return Moves::default() };
    let mut raw = at.open(raw);
    let default = HoldRules::default();
    let rules = HoldRules {
        budget: raw.budget(&at).duration(SHORTEST_BUDGET..=HoldRules::LONGEST_BUDGET).or(default.budget),
        reads: raw
            .reads(&at)
            .word(&[("old_cell", HeldReads::OldCell), ("wait", HeldReads::Wait)])
            .or(default.reads),
        drain: raw.drain(&at).duration(DRAINS).or(default.drain),
        waiting_per_account: raw
            .waiting_per_account(&at)
            .number(1..=MOST_WAITING)
            .or(default.waiting_per_account),
        waiting_per_cell: raw.waiting_per_cell(&at).number(1..=MOST_WAITING).or(default.waiting_per_cell),
    };
    if rules.waiting_per_cell < rules.waiting_per_account {
        at.key("waiting_per_cell").refuse(
            Code::WaitingPerCell,
            format!("{} is less than one account may have", rules.waiting_per_cell),
            format!("at least waiting_per_account, which is {}", rules.waiting_per_account),
        );
    }
    let file = raw.file(&at);
    let file_at = file.at.clone();
    let Some(path) = file.required() else { return Moves { rules, ..Moves::default() } };
    if !path.ends_with(".csv") {
        file_at.refuse(Code::TableFileKind, "the file is no known kind of table", "a file that ends in .csv");
        return Moves { rules, ..Moves::default() };
    }
    let text = sources.table(&file_at, &path);
    let table = text.map(|text| moves_csv(&path, text, cells, accounts, report)).unwrap_or_default();
    Moves { table, rules }
}
