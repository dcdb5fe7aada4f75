//! A rehearsal: everything until the end of a script, and what was written down.

use super::books::Books;
use super::scenario::Script;
use super::world::{Setup, World};

/// Rehearses. The same setup and script give the same books. There is a snapshot at least.
pub fn run(setup: &Setup<'_>, script: &Script) -> Books {
    World::new(*setup, script).run()
}
