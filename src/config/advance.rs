//! When the next state of a move may be published: what each replica says, against the table of moves of a folder
//! (`docs/decisions/0014-moves.md`). Plain functions; asking and writing are `cli`'s.
//!
//! A replica that is not asked, or says nothing that can be believed, holds everything up: nobody knows what it writes.

mod answer;

use std::collections::HashMap;
use std::fmt;

use super::routing::Config;
use crate::policy::ids::{AccountId, CellIndex};
use crate::policy::moves::{Move, MoveState};

pub use answer::{NotAnAnswer, Reported, ReportedMove};

/// The newest move of an account as a folder has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whose.
    pub account: AccountId,
    /// Name of the old cell.
    pub from: Box<str>,
    /// Name of the new cell.
    pub to: Box<str>,
    /// How far it is.
    pub state: MoveState,
    /// Which move of the account it is.
    pub epoch: u32,
}

/// A declared replica and what it says now.
#[derive(Clone, Debug)]
pub struct Replica {
    /// As whoever declared it calls it.
    pub name: Box<str>,
    /// Its answer, or why there is none.
    pub said: Result<Reported, Box<str>>,
}

/// What may become of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This state may be published.
    Publish(MoveState),
    /// Not yet.
    Wait(Vec<Waiting>),
    /// It is at its end.
    Done,
}

/// Which replica a move waits for, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The replica; empty where none was declared.
    pub replica: Box<str>,
    /// Why.
    pub reason: Reason,
}

/// Why a move waits for a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is nobody to ask.
    NoReplica,
    /// It did not answer, or nothing that can be believed.
    Silent(Box<str>),
    /// It serves other files.
    OtherFiles {
        /// Hash of what it serves.
        has: Box<str>,
        /// Hash of the folder.
        not: Box<str>,
    },
    /// Processes that it has followed in an upgrade have not ended; what they have under way it does not count.
    Predecessors(Vec<u32>),
    /// It serves these files and does not name the move.
    Unnamed(AccountId),
    /// It serves these files and says something else of the move.
    Contradicts(AccountId),
    /// Writes are under way at the old cell.
    Writes {
        /// Whose.
        account: AccountId,
        /// How many.
        count: u64,
        /// Where.
        cell: Box<str>,
    },
}

/// What may become of each of these moves: of a folder with this configuration hash, by what every replica says.
///
/// `prepare` may be followed when every replica has these files, and `holding` when besides none has a write of the
/// account under way at the old cell. Before either, those that it has followed in an upgrade must have ended: they count
/// their writes by themselves, and waiting costs nobody anything as long as nothing is held. What a replica says of its files and of its writes must come from one answer: it
/// counts a write first and looks at its newest files then, so that both together stay true.
pub fn advance(hash: &str, moves: &[Standing], replicas: &[Replica]) -> Vec<Next> {
    let next = |of: &Standing| match of.state {
        MoveState::Flipped => Next::Done,
        _ if replicas.is_empty() => {
            Next::Wait(vec![Waiting { replica: "".into(), reason: Reason::NoReplica }])
        }
        state => {
            let waits = replicas.iter().filter_map(|replica| {
                let reason = reason(hash, of, replica)?;
                Some(Waiting { replica: replica.name.clone(), reason })
            });
            let waits: Vec<Waiting> = waits.collect();
            match state {
                _ if !waits.is_empty() => Next::Wait(waits),
                MoveState::Prepare => Next::Publish(MoveState::Holding),
                MoveState::Holding | MoveState::Flipped => Next::Publish(MoveState::Flipped),
            }
        }
    };
    moves.iter().map(next).collect()
}

/// Two replicas that are one and the same process: there is another one that nobody asks.
pub fn same_process(replicas: &[Replica]) -> Option<(&str, &str)> {
    let mut seen = HashMap::new();
    replicas.iter().find_map(|replica| {
        let said = replica.said.as_ref().ok()?;
        Some((seen.insert(&said.process, &*replica.name)?, &*replica.name))
    })
}

/// The replicas that do not serve these files: until there is none, the last change has not arrived.
pub fn lagging(hash: &str, replicas: &[Replica]) -> Vec<Waiting> {
    let lagging = replicas.iter().filter_map(|replica| {
        let reason = match &replica.said {
            Err(why) => Reason::Silent(why.clone()),
            Ok(said) => other_files(hash, said)?,
        };
        Some(Waiting { replica: replica.name.clone(), reason })
    });
    lagging.collect()
}

/// The newest move of an account in a configuration.
pub fn standing(config: &Config, account: AccountId) -> Option<Standing> {
    config.moves.table.find(account).map(|of| named(config, account, of))
}

/// The moves that are on their way in a configuration, in the order of their table.
pub fn open(config: &Config) -> Vec<Standing> {
    config.moves.table.open().map(|(account, of)| named(config, *account, of)).collect()
}

fn named(config: &Config, account: AccountId, of: &Move) -> Standing {
    let name = |cell: Option<CellIndex>| {
        cell.map_or(super::moving::FORGOTTEN, |cell| config.cells[usize::from(cell.0)].name.as_str())
    };
    let (from, to) = (name(of.from).into(), name(of.to).into());
    Standing { account, from, to, state: of.state, epoch: of.epoch }
}

/// Why this move waits for this replica; `None` where it does not.
fn reason(hash: &str, of: &Standing, replica: &Replica) -> Option<Reason> {
    let said = match &replica.said {
        Err(why) => return Some(Reason::Silent(why.clone())),
        Ok(said) => said,
    };
    if let Some(other) = other_files(hash, said) {
        return Some(other);
    }
    if !said.predecessors.is_empty() {
        return Some(Reason::Predecessors(said.predecessors.clone()));
    }
    let account = of.account;
    let Some(named) = said.moves.get(&account) else {
        return (of.state == MoveState::Holding).then_some(Reason::Unnamed(account));
    };
    if named.of != *of {
        return Some(Reason::Contradicts(account));
    }
    let (count, cell) = (named.writes_at_old_cell, of.from.clone());
    (of.state == MoveState::Holding && count > 0).then_some(Reason::Writes { account, count, cell })
}

fn other_files(hash: &str, said: &Reported) -> Option<Reason> {
    let has = *said.hash == *hash || said.candidate.as_deref() == Some(hash);
    (!has).then(|| Reason::OtherFiles { has: said.hash.clone(), not: hash.into() })
}

impl Reason {
    /// Its name for programs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NoReplica => "no_replica",
            Self::Silent(_) => "silent",
            Self::OtherFiles { .. } => "other_files",
            Self::Predecessors(_) => "predecessors",
            Self::Unnamed(_) => "unnamed",
            Self::Contradicts(_) => "contradicts",
            Self::Writes { .. } => "writes",
        }
    }
}

/// Hex digits of a hash that people compare.
const SHORT: usize = 12;

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replica, reason } = self;
        let short = |hash: &str| hash.get(..SHORT).unwrap_or(hash).to_owned();
        match reason {
            Reason::NoReplica => f.write_str("no replica was named: --replica NAME=ADDRESS for each of them"),
            Reason::Silent(why) => write!(f, "replica {replica} did not answer: {why}"),
            Reason::OtherFiles { has, not } => {
                write!(f, "replica {replica} has {}…, not {}…", short(has), short(not))
            }
            Reason::Predecessors(processes) => {
                let processes: Vec<String> = processes.iter().map(ToString::to_string).collect();
                let (which, has) = match processes.len() {
                    1 => ("predecessor (process", "has"),
                    _ => ("predecessors (processes", "have"),
                };
                write!(f, "replica {replica}: its {which} {}) {has} not ended", processes.join(", "))
            }
            Reason::Unnamed(account) => {
                write!(f, "replica {replica} has these files and says nothing of account {account}")
            }
            Reason::Contradicts(account) => {
                write!(f, "replica {replica} has these files and says something else of account {account}")
            }
            Reason::Writes { account, count: 1, cell } => {
                write!(f, "replica {replica} has 1 write of account {account} at {cell}")
            }
            Reason::Writes { account, count, cell } => {
                write!(f, "replica {replica} has {count} writes of account {account} at {cell}")
            }
        }
    }
}
