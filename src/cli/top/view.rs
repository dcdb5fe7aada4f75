//! What somebody looks at: which screen, which line, what is left out. Plain data.

use std::time::SystemTime;

use super::commands::Target;
use super::fleet::Fleet;
use super::rows::Sort;

/// Everything that is drawn.
#[derive(Debug)]
pub struct Top {
    pub fleet: Fleet,
    pub view: View,
}

/// See the file.
#[derive(Debug, Default)]
pub struct View {
    pub screen: Screen,
    /// The cell that is opened, on the screen of cells.
    pub open: Option<String>,
    /// What lies over the screen.
    pub over: Option<Over>,
    /// The cell of the cursor: it stays there while others change places.
    pub selected: Option<String>,
    /// The line of the cursor where it is not in the list of cells.
    pub cursor: usize,
    /// The first line that is seen of what lies over the screen.
    pub scroll: usize,
    /// What the name of a cell has in it.
    pub filter: String,
    /// What is typed is the filter.
    pub is_typing: bool,
    pub sort: Sort,
    /// Nobody is asked since then.
    pub paused: Option<SystemTime>,
    /// On paper, so to say: all lines, and no keys.
    pub is_printed: bool,
}

/// A page of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Screen {
    #[default]
    Cells,
    Levers,
    Reloads,
    Refused,
    Events,
    Why,
}

/// For as long as somebody reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    Help,
    Commands(Target),
}

impl Screen {
    /// In the order of their keys, 1 and so on.
    pub const ALL: [Self; 6] =
        [Self::Cells, Self::Levers, Self::Reloads, Self::Refused, Self::Events, Self::Why];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cells => "cells",
            Self::Levers => "levers",
            Self::Reloads => "reloads",
            Self::Refused => "refused",
            Self::Events => "events",
            Self::Why => "why",
        }
    }
}

impl View {
    /// Goes to a screen, to its beginning.
    pub fn turn_to(&mut self, screen: Screen) {
        (self.screen, self.cursor) = (screen, 0);
        (self.open, self.over, self.is_typing) = (None, None, false);
    }

    /// Lays something over the screen.
    pub fn lay_over(&mut self, over: Over) {
        (self.over, self.scroll) = (Some(over), 0);
    }

    /// The list of cells is what is seen.
    pub fn is_list(&self) -> bool {
        self.screen == Screen::Cells && self.open.is_none() && self.over.is_none()
    }
}
