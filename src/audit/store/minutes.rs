//! Writes how minutes went, and what was lost in them, into the file of their month.

use rusqlite::{Transaction, params};

use super::super::frame::Frame;
use super::super::month::Month;
use super::file::to_i64;

/// Writes what a frame has of this month.
pub(super) fn write(transaction: &Transaction<'_>, frame: &Frame, month: Month) -> rusqlite::Result<()> {
    let is_of = |minute: i64| Month::of_day(minute.div_euclid(24 * 60)) == month;
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO minutes (minute, legacy, cell, class, requests, failed, late_2m, late_5m)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (minute, legacy, cell, class) DO UPDATE SET
             requests = requests + excluded.requests, failed = failed + excluded.failed,
             late_2m = late_2m + excluded.late_2m, late_5m = late_5m + excluded.late_5m",
    )?;
    for of in frame.minutes.iter().filter(|of| is_of(of.minute)) {
        let [requests, failed, late, later] =
            [of.ends.requests, of.ends.failed, of.ends.late[0], of.ends.late[1]].map(to_i64);
        upsert.execute(params![of.minute, of.legacy, of.cell, of.class, requests, failed, late, later])?;
    }
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO harmed (minute, legacy, cell, class, account, credential, failed, late_2m, late_5m)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (minute, legacy, cell, class, account, credential) DO UPDATE SET
             failed = failed + excluded.failed,
             late_2m = late_2m + excluded.late_2m, late_5m = late_5m + excluded.late_5m",
    )?;
    for harm in frame.harmed.iter().filter(|harm| is_of(harm.of.minute)) {
        let of = &harm.of;
        let [account, failed, late, later] =
            [harm.account, of.ends.failed, of.ends.late[0], of.ends.late[1]].map(to_i64);
        let values =
            params![of.minute, of.legacy, of.cell, of.class, account, harm.credential, failed, late, later];
        upsert.execute(values)?;
    }
    let mut insert = transaction.prepare_cached(
        "INSERT INTO lost_calls (at, account, method, path, request_id, outcome, status, refusal, cell, class, credential)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for call in frame.lost.iter().filter(|call| Month::of(call.at) == month) {
        insert.execute(params![
            call.at,
            to_i64(call.account),
            call.method,
            call.path,
            call.request_id,
            call.outcome,
            call.status,
            call.refusal,
            call.cell,
            call.class,
            call.credential
        ])?;
    }
    Ok(())
}
