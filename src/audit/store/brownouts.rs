//! Writes whom brownouts have met into the file of its month.

use rusqlite::{Transaction, params};

use super::super::frame::Frame;
use super::super::month::Month;
use super::file::to_i64;

/// Writes what a frame has of this month.
pub(super) fn write(transaction: &Transaction<'_>, frame: &Frame, month: Month) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO brownout_use (brownout, started_at, ended_at, mode, day, account, requests, writes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (brownout, started_at, ended_at, mode, day, account) DO UPDATE SET
             requests = requests + excluded.requests, writes = writes + excluded.writes",
    )?;
    for line in frame.brownouts.iter().filter(|line| Month::of_day(line.day) == month) {
        let [account, requests, writes] = [line.account, line.requests, line.writes].map(to_i64);
        upsert.execute(params![
            line.brownout,
            line.started_at,
            line.ended_at,
            line.mode,
            line.day,
            account,
            requests,
            writes
        ])?;
    }
    Ok(())
}
