//! What a replica answers to `GET /moves`. It comes from another process, perhaps of another version, perhaps through a
//! tunnel that leads elsewhere: what is not whole and plain is no answer.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::policy::ids::AccountId;
use crate::policy::moves::MoveState;

/// What a replica serves, and which of its moves are on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Number of what it serves; its own count.
    pub generation: u64,
    /// Configuration hash of what it serves.
    pub hash: Box<str>,
    /// Its moves that are not flipped.
    pub moves: BTreeMap<AccountId, ReportedMove>,
}

/// What it says of one move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedMove {
    /// Name of the old cell.
    pub from: Box<str>,
    /// Name of the new cell.
    pub to: Box<str>,
    /// How far it is.
    pub state: MoveState,
    /// Which move of the account it is.
    pub epoch: u32,
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

/// Longest piece of a foreign answer that is repeated, in characters.
const QUOTED: usize = 32;

#[derive(Deserialize)]
struct Page {
    generation: u64,
    hash: String,
    moves: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    account: String,
    from: String,
    to: String,
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
        let is_hash = page.hash.len() == HASH_DIGITS
            && page.hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hash {
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
            let Row { from, to, epoch, writes_at_old_cell, waiting, .. } = row;
            let (from, to) = (from.into(), to.into());
            let of = ReportedMove { from, to, state, epoch, writes_at_old_cell, waiting };
            if moves.insert(account, of).is_some() {
                return Err(NotAnAnswer::Twice(account));
            }
        }
        Ok(Self { generation: page.generation, hash: page.hash.into(), moves })
    }
}
