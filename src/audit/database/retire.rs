//! Says of a replica that it is gone for good, where it could not say so itself: a machine that was lost with its disk.

use std::collections::BTreeSet;

use super::super::verdicts::QUIET_FOR;
use super::{DatabaseError, DatabaseSettings, connect_to_write};

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retired {
    /// So many of its runs are taken to have ended where their books do.
    Runs(usize),
    /// It was heard of at this moment (Unix seconds), which is less than two hours ago: nothing was changed.
    HeardOf(i64),
    /// No run of this name is open.
    Unknown,
}

/// Takes the runs of a replica to have ended where their books do. `now` in Unix seconds.
///
/// # Errors
/// The database cannot be written.
pub fn retire(settings: &DatabaseSettings, replica: &str, now: i64) -> Result<Retired, DatabaseError> {
    let mut client = connect_to_write(settings)?;
    let mut transaction = client.transaction()?;
    let query = "SELECT max(ended_at) FROM cellgate.coverage WHERE replica = $1 AND closed = 0";
    let Some(last) = transaction.query_one(query, &[&replica])?.get::<_, Option<i64>>(0) else {
        return Ok(Retired::Unknown);
    };
    if now - last < QUIET_FOR {
        return Ok(Retired::HeardOf(last));
    }
    // A run has a row in each of its months.
    let update = "UPDATE cellgate.coverage SET closed = 1 WHERE replica = $1 AND closed = 0 RETURNING writer";
    let rows = transaction.query(update, &[&replica])?;
    let runs: BTreeSet<&str> = rows.iter().map(|row| row.get(0)).collect();
    transaction.commit()?;
    Ok(Retired::Runs(runs.len()))
}
