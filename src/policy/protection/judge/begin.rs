//! What is known of a cell when it is looked at first.

use super::SavedCell;

/// See the file.
pub(super) enum Begin {
    /// Nothing.
    Cold,
    /// It has been well for long.
    Warm,
    /// What a process before this has saved.
    Saved(Box<SavedCell>),
}

impl Begin {
    /// Whether it has been well for long, and what was saved.
    pub(super) fn parts(self) -> (bool, Option<SavedCell>) {
        match self {
            Self::Cold => (false, None),
            Self::Warm => (true, None),
            Self::Saved(saved) => (false, Some(*saved)),
        }
    }
}
