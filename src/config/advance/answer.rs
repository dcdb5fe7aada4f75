//! What a replica answers to `GET /moves`. It comes from another process, perhaps of another version, perhaps through a
//! tunnel that leads elsewhere: what is not whole and plain is no answer.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Standing;
use crate::config::moving::FORGOTTEN;
use crate::policy::ids::AccountId;

/// What a replica serves, and which of its moves are on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Which process it is, and no other one.
    pub process: Box<str>,
    /// Process ids of those that it has followed in an upgrade and that have not ended.
    pub predecessors: Vec<u32>,
    /// Configuration hash of what it serves.
    pub hash: Box<str>,
    /// That of what comes in force there in steps: its moves are in force already.
    pub candidate: Option<Box<str>>,
    /// Its moves that are not flipped.
    pub moves: BTreeMap<AccountId, ReportedMove>,
}

/// What it says of one move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedMove {
    /// The move.
    pub of: Standing,
    /// Writes of the account that are under way at the old cell, over all generations.
    pub writes_at_old_cell: u64,
    /// Requests that are held.
    pub waiting: u64,
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAnswer {
    /// No JSON of this shape.
    #[error("its answer is not what GET /moves of this version says ({0})")]
    Shape(String),
    /// It does not say which process it is.
    #[error("its answer names no process")]
    Process,
    /// The hash is none.
    #[error("its answer names no configuration hash")]
    Hash,
    /// An account, a state or an epoch is none.
    #[error("its answer has a move that cannot be read: {0}")]
    Move(String),
    /// One account has two.
    #[error("its answer has two moves of account {0}")]
    Twice(AccountId),
}

/// Digits of a SHA-256 in hex.
const HASH_DIGITS: usize = 64;

/// Digits of a process's number in hex.
const PROCESS_DIGITS: usize = 16;

/// Longest piece of a foreign answer that is repeated, in characters.
const QUOTED: usize = 32;

#[derive(Deserialize)]
struct Page {
    process: String,
    predecessors: Vec<u32>,
    hash: String,
    #[serde(default)]
    candidate: Option<String>,
    moves: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    account: String,
    /// Of a finished move a cell that is no more has no name.
    from: Option<String>,
    to: Option<String>,
    state: String,
    epoch: u32,
    writes_at_old_cell: u64,
    waiting: u64,
}

impl Reported {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`NotAnAnswer`].
    pub fn parse(body: &[u8]) -> Result<Self, NotAnAnswer> {
        let page: Page = serde_json::from_slice(body).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            NotAnAnswer::Shape(place)
        })?;
        if !is_hex(&page.process, PROCESS_DIGITS) {
            return Err(NotAnAnswer::Process);
        }
        let is_hash = |hash: &str| is_hex(hash, HASH_DIGITS);
        if !is_hash(&page.hash) || page.candidate.as_deref().is_some_and(|hash| !is_hash(hash)) {
            return Err(NotAnAnswer::Hash);
        }
        let mut moves = BTreeMap::new();
        for row in page.moves {
            let unreadable = |text: &str| {
                NotAnAnswer::Move(text.chars().flat_map(char::escape_default).take(QUOTED).collect())
            };
            let account = AccountId::parse(row.account.as_bytes()).map_err(|_| unreadable(&row.account))?;
            let state =
                super::super::tables::MOVE_STATES.into_iter().find(|state| state.as_str() == row.state);
            let state = state.ok_or_else(|| unreadable(&row.state))?;
            if row.epoch == 0 {
                return Err(unreadable("epoch 0"));
            }
            let Row { epoch, writes_at_old_cell, waiting, .. } = row;
            let [from, to] = [row.from, row.to].map(|cell| cell.as_deref().unwrap_or(FORGOTTEN).into());
            let of = Standing { account, from, to, state, epoch };
            if moves.insert(account, ReportedMove { of, writes_at_old_cell, waiting }).is_some() {
                return Err(NotAnAnswer::Twice(account));
            }
        }
        let Page { process, predecessors, hash, candidate, .. } = page;
        let (process, hash, candidate) = (process.into(), hash.into(), candidate.map(Into::into));
        Ok(Self { process, predecessors, hash, candidate, moves })
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
