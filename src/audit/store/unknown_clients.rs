//! Writes which programs were seen that nobody knows: a day has so many rows and no more, and whoever finds no place takes that of the
//! one that was seen least ([`heavy`](super::super::heavy) says what is true of it then).

use rusqlite::{OptionalExtension, Transaction, params};

use super::super::frame::Frame;
use super::file::to_i64;

/// Programs of one day. A program with a thousandth of the requests of all unknown ones has a place.
pub(in super::super) const MAX_UNKNOWN_CLIENTS: u32 = 1024;

/// Writes those of a frame, all of the day in which it ended.
pub(super) fn write(transaction: &Transaction<'_>, frame: &Frame) -> rusqlite::Result<()> {
    let day = frame.ended_at.div_euclid(86_400);
    for of in &frame.unknown_clients {
        let known = transaction
            .prepare_cached(
                "UPDATE unknown_clients SET requests = requests + ?3, too_many = too_many + ?4
                 WHERE day = ?1 AND product = ?2",
            )?
            .execute(params![day, of.product, to_i64(of.requests), to_i64(of.too_many)])?;
        if known == 0 {
            let before = make_room(transaction, day)?;
            transaction
                .prepare_cached(
                    "INSERT INTO unknown_clients (day, product, requests, too_many) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![
                    day,
                    of.product,
                    before + to_i64(of.requests),
                    before + to_i64(of.too_many)
                ])?;
        }
    }
    Ok(())
}

/// Takes the place of the one that was seen least where there is none free; how often that was.
fn make_room(transaction: &Transaction<'_>, day: i64) -> rusqlite::Result<i64> {
    let rows: u32 = transaction
        .prepare_cached("SELECT count(*) FROM unknown_clients WHERE day = ?1")?
        .query_row([day], |row| row.get(0))?;
    if rows < MAX_UNKNOWN_CLIENTS {
        return Ok(0);
    }
    let least: Option<(String, i64)> = transaction
        .prepare_cached(
            "SELECT product, requests FROM unknown_clients WHERE day = ?1 ORDER BY requests, product LIMIT 1",
        )?
        .query_row([day], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((product, requests)) = least else { return Ok(0) };
    transaction
        .prepare_cached("DELETE FROM unknown_clients WHERE day = ?1 AND product = ?2")?
        .execute(params![day, product])?;
    Ok(requests)
}
