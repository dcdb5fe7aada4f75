//! How many files this process may have open at once. Each client and each connection to a cell is one; where there is
//! none left, nobody is answered, and nothing is written either.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Beside connections: listeners, files of the state folder, logs, the admin doors, checks of endpoints.
const OTHERS: u64 = 200;

/// Open files that this process may have; `None` where nothing limits it.
pub type Most = Option<u64>;

/// Raises what this process may have to what the system lets it have: the lower limit is for programs that use
/// `select`, and 1,024 nearly everywhere.
///
/// # Errors
/// The system does not let it, with the limit that stays.
pub fn raise() -> Result<Most, (Most, io::Error)> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(limit.maximum);
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => Ok(limit.maximum),
        Err(error) => Err((limit.current, error.into())),
    }
}

/// Open files that so many connections of clients need: each may have one to a cell.
pub const fn needed(connections: u32) -> u64 {
    connections as u64 * 2 + OTHERS
}

/// How many there are, where that is less than so many connections of clients need.
pub fn too_few(most: Most, connections: u32) -> Option<u64> {
    most.filter(|most| *most < needed(connections))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_of_a_client_may_need_one_to_a_cell() {
        assert_eq!(needed(20_000), 40_200);
        assert_eq!(too_few(Some(40_199), 20_000), Some(40_199));
        assert_eq!(too_few(Some(40_200), 20_000), None);
        assert_eq!(too_few(None, u32::MAX), None);
    }
}
