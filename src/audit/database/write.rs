//! One transaction of a shipment: which windows are not in yet, and adding them up with what is there.

use std::collections::BTreeSet;

use postgres::{Client, Transaction};

use super::super::frame::{Frame, Integration};
use super::super::heavy::{HeavyHitters, Seen};
use super::super::minute::LOST_CALL_COLUMNS;
use super::super::month::Month;
use super::super::store::{
    KEEP_CELL_USE_DAYS, KEEP_DAYS, KEEP_LEARNED_DAYS, MAX_UNKNOWN_CLIENTS, months_of, to_i64,
};
use super::DatabaseError;
use super::batch::{Batch, Counts, MinuteKey, Rows};
use super::copy::{Value, added, append, count, merge, stage, sum};

/// Adds windows of one writer, those only that are not in; how many these were.
pub(in super::super) fn write(client: &mut Client, frames: &[Frame]) -> Result<usize, DatabaseError> {
    let Some(writer) = frames.first().map(|frame| frame.writer.clone()) else { return Ok(0) };
    debug_assert!(frames.iter().all(|frame| frame.writer == writer));
    begin_months(client, frames)?;
    let mut transaction = client.transaction()?;
    let numbers: Vec<i64> = frames.iter().map(|frame| frame.number).collect();
    // The row is locked until the commit: of two that ship the same windows the second finds them there.
    transaction.execute(
        "INSERT INTO cellgate.writers AS of (writer, ended_at) VALUES ($1, $2)
         ON CONFLICT (writer) DO UPDATE SET ended_at = greatest(of.ended_at, excluded.ended_at)",
        &[&writer, &frames.iter().map(|frame| frame.ended_at).max()],
    )?;
    let known = transaction.query(
        "SELECT number FROM cellgate.writers, unnest($2::int8[]) AS number WHERE writer = $1 AND windows @> number",
        &[&writer, &numbers],
    )?;
    let known: Vec<i64> = known.iter().map(|row| row.get(0)).collect();
    let mut new: Vec<Frame> = frames.iter().filter(|frame| !known.contains(&frame.number)).cloned().collect();
    if new.is_empty() {
        return Ok(0);
    }
    for row in transaction.query("SELECT account, forgotten_at FROM cellgate.forgotten", &[])? {
        let (account, at): (i64, i64) = (row.get(0), row.get(1));
        let before = new.iter_mut().filter(|frame| frame.started_at < at);
        before.for_each(|frame| frame.forget(account.unsigned_abs()));
    }
    let batch = Batch::of(&new.iter().collect::<Vec<_>>());
    for (month, rows) in &batch.months {
        use_month(&mut transaction, *month)?;
        add_rows(&mut transaction, rows, &writer, &batch.replica)?;
    }
    // Last, since it is for one replica at a time: whoever has come to it waits for nobody any more.
    for (month, rows) in batch.months.iter().filter(|(_, rows)| !rows.unknown_clients.is_empty()) {
        use_month(&mut transaction, *month)?;
        add_unknown_clients(&mut transaction, rows)?;
    }
    let new_numbers: Vec<i64> = new.iter().map(|frame| frame.number).collect();
    transaction.execute(
        "UPDATE cellgate.writers SET windows = windows +
             (SELECT range_agg(int8range(number, number + 1)) FROM unnest($2::int8[]) AS number)
         WHERE writer = $1",
        &[&writer, &new_numbers],
    )?;
    transaction.commit()?;
    Ok(new.len())
}

/// Deletes what is too old, as the files of a folder do; nothing where another replica is at it.
pub(in super::super) fn prune(client: &mut Client, now: i64) -> Result<(), DatabaseError> {
    let today = now.div_euclid(86_400);
    let mut transaction = client.transaction()?;
    let free = transaction.query_one("SELECT pg_try_advisory_xact_lock(hashtext('cellgate.prune'))", &[])?;
    if !free.get::<_, bool>(0) {
        return Ok(());
    }
    let oldest = Month::of_day(today - KEEP_DAYS).to_string();
    for row in
        transaction.query("DELETE FROM cellgate.months WHERE month < $1 RETURNING month", &[&oldest])?
    {
        if let Some(month) = Month::of_name(row.get(0)) {
            transaction.batch_execute(&format!("DROP SCHEMA {} CASCADE", schema(month)))?;
        }
    }
    let before = now - KEEP_DAYS * 86_400;
    transaction.execute("DELETE FROM cellgate.writers WHERE ended_at < $1", &[&before])?;
    transaction.execute("DELETE FROM cellgate.forgotten WHERE forgotten_at < $1", &[&before])?;
    transaction
        .execute("DELETE FROM cellgate.learned_use WHERE day < $1", &[&(today - KEEP_LEARNED_DAYS)])?;
    transaction.execute("DELETE FROM cellgate.cell_use WHERE day < $1", &[&(today - KEEP_CELL_USE_DAYS)])?;
    transaction.commit()?;
    Ok(())
}

/// The schema that a month's tables are in.
pub(in super::super) fn schema(month: Month) -> String {
    format!("cellgate_{}", month.to_string().replace('-', "_"))
}

/// Makes the tables of months that are new, each in a transaction of its own: who makes tables must hold nothing that others wait
/// for.
fn begin_months(client: &mut Client, frames: &[Frame]) -> Result<(), DatabaseError> {
    let months: BTreeSet<Month> = frames.iter().flat_map(months_of).collect();
    for month in months {
        let name = month.to_string();
        if client.query("SELECT FROM cellgate.months WHERE month = $1", &[&name])?.is_empty() {
            client.execute("SELECT cellgate.add_month($1)", &[&name])?;
        }
    }
    Ok(())
}

fn use_month(transaction: &mut Transaction<'_>, month: Month) -> Result<(), DatabaseError> {
    Ok(transaction.batch_execute(&format!("SET LOCAL search_path TO {}", schema(month)))?)
}

fn add_rows(
    transaction: &mut Transaction<'_>,
    rows: &Rows,
    writer: &str,
    replica: &str,
) -> Result<(), DatabaseError> {
    add_coverage(transaction, rows, writer, replica)?;
    add_integrations(transaction, rows)?;
    add_uses(transaction, rows)?;
    add_days(transaction, rows)?;
    add_minutes(transaction, rows)?;
    add_brownouts(transaction, rows)?;
    add_names(transaction, rows)?;
    add_facts(transaction, rows, writer)
}

fn add_coverage(
    transaction: &mut Transaction<'_>,
    rows: &Rows,
    writer: &str,
    replica: &str,
) -> Result<(), DatabaseError> {
    let [from, to] = [|span: &(i64, i64)| span.0, |span: &(i64, i64)| span.1]
        .map(|side| rows.covered.iter().map(side).collect::<Vec<i64>>());
    // A window with a late request of a month before covers nothing of it.
    if from.is_empty() {
        return Ok(());
    }
    transaction.execute(
        "INSERT INTO coverage AS of (writer, replica, started_at, ended_at, closed, covered)
         SELECT $1, $2, min(start), max(\"end\"), $3, coalesce(range_agg(int8range(start, \"end\")), '{}')
         FROM unnest($4::int8[], $5::int8[]) AS span (start, \"end\")
         ON CONFLICT (writer) DO UPDATE SET
             started_at = least(of.started_at, excluded.started_at),
             ended_at = greatest(of.ended_at, excluded.ended_at),
             closed = greatest(of.closed, excluded.closed), covered = of.covered + excluded.covered",
        &[&writer, &replica, &i64::from(rows.closed), &from, &to],
    )?;
    Ok(())
}

/// What an integration is told by.
const KEY: [&str; 7] = ["subject", "account", "client", "surface", "class", "credential", "network"];

fn key(of: &Integration) -> Vec<Value<'_>> {
    vec![
        Value::Text(&of.subject),
        count(of.account),
        Value::Text(&of.client),
        Value::Text(&of.surface),
        Value::Text(&of.class),
        Value::Text(&of.credential),
        Value::Text(&of.network),
    ]
}

fn add_integrations(transaction: &mut Transaction<'_>, rows: &Rows) -> Result<(), DatabaseError> {
    let columns = [&KEY[..], &["template", "first_seen", "last_seen", "days"]].concat();
    let values = rows.integrations.iter().map(|(of, seen)| {
        let mut row = key(of);
        row.extend([
            Value::Text(&seen.template),
            Value::Int(seen.first_seen),
            Value::Int(seen.last_seen),
            Value::Days(seen.days.to_numbers().to_vec()),
        ]);
        row
    });
    let on_conflict = "template = least(of.template, excluded.template),
         first_seen = least(of.first_seen, excluded.first_seen), last_seen = greatest(of.last_seen, excluded.last_seen),
         days = cellgate.add_days(of.days, excluded.days)";
    merge(transaction, "integrations", &columns, &KEY, on_conflict, values)
}

fn add_uses(transaction: &mut Transaction<'_>, rows: &Rows) -> Result<(), DatabaseError> {
    let sums = ["status_1xx", "status_2xx", "status_3xx", "status_4xx", "status_5xx", "writes", "refused"]
        .map(str::to_owned);
    let sums: Vec<String> = sums.into_iter().chain((0..24).map(|hour| format!("h{hour:02}"))).collect();
    let sums: Vec<&str> = sums.iter().map(String::as_str).collect();
    let columns = [&KEY[..], &["day"], &sums].concat();
    let values = rows.uses.iter().map(|((of, day), counts)| {
        let Counts { sums, hours } = counts;
        let mut row = key(of);
        row.push(Value::Int(*day));
        row.extend(sums.iter().chain(hours).map(|sum| count(*sum)));
        row
    });
    if !stage(transaction, "integrations, use_by_day", &columns, values)? {
        return Ok(());
    }
    let (key, sums_list) = (KEY.join(", "), sums.join(", "));
    transaction.batch_execute(&format!(
        "INSERT INTO use_by_day AS of (day, integration, {sums_list})
         SELECT staged.day, id, {sums_list} FROM pg_temp.staged JOIN integrations USING ({key}) ORDER BY staged.day, id
         ON CONFLICT (integration, day) DO UPDATE SET {};
         DROP TABLE pg_temp.staged",
        added(&sums)
    ))?;
    Ok(())
}

/// What is kept by day.
fn add_days(transaction: &mut Transaction<'_>, rows: &Rows) -> Result<(), DatabaseError> {
    let values = rows.learned.iter();
    let values = values
        .map(|((day, fingerprint), many)| vec![Value::Int(*day), Value::Text(fingerprint), count(*many)]);
    sum(transaction, "learned_use", &["day", "fingerprint"], &["requests"], values)?;
    let values = rows.on_cell_hosts.iter();
    let values = values.map(|((day, account), many)| vec![Value::Int(*day), count(*account), count(*many)]);
    sum(transaction, "cell_use", &["day", "account"], &["requests"], values)
}

fn add_minutes(transaction: &mut Transaction<'_>, rows: &Rows) -> Result<(), DatabaseError> {
    fn minute(key: &MinuteKey) -> Vec<Value<'_>> {
        vec![Value::Int(key.0), Value::Int(key.1.into()), Value::Text(&key.2), Value::Text(&key.3)]
    }
    let values = rows.minutes.iter().map(|(key, ends)| {
        let mut row = minute(key);
        row.extend([ends.requests, ends.failed, ends.late[0], ends.late[1]].map(count));
        row
    });
    let keys = ["minute", "legacy", "cell", "class"];
    sum(transaction, "minutes", &keys, &["requests", "failed", "late_2m", "late_5m"], values)?;
    let values = rows.harmed.iter().map(|((key, account, credential), ends)| {
        let mut row = minute(key);
        row.extend([count(*account), Value::Text(credential)]);
        row.extend([ends.failed, ends.late[0], ends.late[1]].map(count));
        row
    });
    let keys = [&keys[..], &["account", "credential"]].concat();
    sum(transaction, "harmed", &keys, &["failed", "late_2m", "late_5m"], values)
}

fn add_brownouts(transaction: &mut Transaction<'_>, rows: &Rows) -> Result<(), DatabaseError> {
    let values = rows.brownouts.iter().map(|(line, (requests, writes))| {
        vec![
            Value::Text(&line.brownout),
            Value::Int(line.started_at),
            Value::Int(line.ended_at),
            Value::Text(&line.mode),
            Value::Int(line.day),
            count(line.account),
            count(*requests),
            count(*writes),
        ]
    });
    let keys = ["brownout", "started_at", "ended_at", "mode", "day", "account"];
    sum(transaction, "brownout_use", &keys, &["requests", "writes"], values)
}

fn add_names(transaction: &mut Transaction<'_>, rows: &Rows) -> Result<(), DatabaseError> {
    let values = rows.renamed.iter();
    let values =
        values.map(|of| vec![count(of.account), Value::Text(&of.credential), Value::Text(&of.before)]);
    let key = ["account", "credential", "before"];
    merge(transaction, "credential_names", &key, &key, "before = excluded.before", values)
}

/// A day has so many programs and no more, as in a file: those that are there and those that come are counted anew in as many
/// places. One replica at a time does that.
fn add_unknown_clients(transaction: &mut Transaction<'_>, rows: &Rows) -> Result<(), DatabaseError> {
    let days: BTreeSet<i64> = rows.unknown_clients.keys().map(|(day, _)| *day).collect();
    transaction.batch_execute("SELECT pg_advisory_xact_lock(hashtext('cellgate.unknown_clients'))")?;
    for day in days {
        let mut places = HeavyHitters::new(MAX_UNKNOWN_CLIENTS as usize);
        let query = "DELETE FROM unknown_clients WHERE day = $1 RETURNING product, requests, too_many";
        let mut known: Vec<(String, i64, i64)> = transaction
            .query(query, &[&day])?
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2)))
            .collect();
        // The most frequent first: they have their places before others look for one.
        known.sort_by_key(|(product, requests, _)| (std::cmp::Reverse(*requests), product.clone()));
        for (product, requests, too_many) in &known {
            let seen = Seen { count: requests.unsigned_abs(), too_many: too_many.unsigned_abs() };
            places.add(product, seen);
        }
        let new = rows.unknown_clients.iter().filter(|((of, _), _)| *of == day);
        new.for_each(|((_, product), seen)| places.add(product, *seen));
        let values = places.iter().map(|(product, seen)| {
            vec![Value::Int(day), Value::Text(product), count(seen.count), count(seen.too_many)]
        });
        append(transaction, "unknown_clients", &["day", "product", "requests", "too_many"], values)?;
    }
    Ok(())
}

/// What is not added up.
fn add_facts(transaction: &mut Transaction<'_>, rows: &Rows, writer: &str) -> Result<(), DatabaseError> {
    let values = rows.accounts.iter().map(|(account, (seen_at, cell, prefix))| {
        vec![count(*account), Value::TextIfAny(prefix.as_deref()), Value::Text(cell), Value::Int(*seen_at)]
    });
    let newer = "prefix = excluded.prefix, cell = excluded.cell, seen_at = excluded.seen_at
         WHERE (excluded.seen_at, excluded.cell, coalesce(excluded.prefix, ''))
             > (of.seen_at, of.cell, coalesce(of.prefix, ''))";
    merge(transaction, "accounts", &["account", "prefix", "cell", "seen_at"], &["account"], newer, values)?;
    let values = rows.gaps.iter().map(|gap| {
        vec![
            Value::Text(writer),
            Value::IntIfAny(gap.started_at),
            Value::Int(gap.ended_at),
            Value::Text(&gap.reason),
            Value::IntIfAny(gap.requests.map(to_i64)),
            Value::TextIfAny(gap.note.as_deref()),
        ]
    });
    let columns = ["writer", "started_at", "ended_at", "reason", "requests", "note"];
    append(transaction, "recorded_gaps", &columns, values)?;
    let values = rows.lost.iter().map(|call| {
        vec![
            Value::Int(call.at),
            count(call.account),
            Value::Text(&call.method),
            Value::Text(&call.path),
            Value::Text(&call.request_id),
            Value::Text(&call.outcome),
            Value::Int(call.status.into()),
            Value::TextIfAny(call.refusal.as_deref()),
            Value::Text(&call.cell),
            Value::Text(&call.class),
            Value::Text(&call.credential),
        ]
    });
    append(transaction, "lost_calls", &LOST_CALL_COLUMNS, values)
}
