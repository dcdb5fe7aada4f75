//! One transaction of a shipment: which windows are not in yet, and adding them up with what is there.

use bytes::BytesMut;
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Transaction};

use super::super::frame::{Frame, Integration};
use super::super::month::Month;
use super::super::store::{KEEP_CELL_USE_DAYS, KEEP_DAYS, KEEP_LEARNED_DAYS, to_i64};
use super::DatabaseError;
use super::batch::{Batch, Counts, MinuteKey, Rows};

/// Adds windows of one writer, those only that are not in; how many these were.
pub(in super::super) fn write(client: &mut Client, frames: &[Frame]) -> Result<usize, DatabaseError> {
    let Some(writer) = frames.first().map(|frame| frame.writer.clone()) else { return Ok(0) };
    debug_assert!(frames.iter().all(|frame| frame.writer == writer));
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
    let new: Vec<&Frame> = frames.iter().filter(|frame| !known.contains(&frame.number)).collect();
    if new.is_empty() {
        return Ok(0);
    }
    let batch = Batch::of(&new);
    for (month, rows) in &batch.months {
        add_month(&mut transaction, *month, rows, &writer, &batch.replica)?;
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

fn add_month(
    transaction: &mut Transaction<'_>,
    month: Month,
    rows: &Rows,
    writer: &str,
    replica: &str,
) -> Result<(), DatabaseError> {
    let name = month.to_string();
    if transaction.query("SELECT FROM cellgate.months WHERE month = $1", &[&name])?.is_empty() {
        transaction.execute("SELECT cellgate.add_month($1)", &[&name])?;
    }
    transaction.batch_execute(&format!("SET LOCAL search_path TO {}", schema(month)))?;
    add_coverage(transaction, rows, writer, replica)?;
    add_integrations(transaction, rows)?;
    add_uses(transaction, rows)?;
    add_days(transaction, rows)?;
    add_minutes(transaction, rows)?;
    add_brownouts(transaction, rows)?;
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
    let columns = [
        "at",
        "account",
        "method",
        "path",
        "request_id",
        "outcome",
        "status",
        "refusal",
        "cell",
        "class",
        "credential",
    ];
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
    append(transaction, "lost_calls", &columns, values)
}

/// Adds numbers up by a key.
fn sum<'a>(
    transaction: &mut Transaction<'_>,
    table: &str,
    key: &[&str],
    sums: &[&str],
    rows: impl Iterator<Item = Vec<Value<'a>>>,
) -> Result<(), DatabaseError> {
    merge(transaction, table, &[key, sums].concat(), key, &added(sums), rows)
}

fn added(sums: &[&str]) -> String {
    sums.iter().map(|sum| format!("{sum} = of.{sum} + excluded.{sum}")).collect::<Vec<_>>().join(", ")
}

/// Inserts rows, and where one of this key is there, does what `on_conflict` says. In the order of the key: whoever writes
/// the same rows at the same time waits for the same one first.
fn merge<'a>(
    transaction: &mut Transaction<'_>,
    table: &str,
    columns: &[&str],
    key: &[&str],
    on_conflict: &str,
    rows: impl Iterator<Item = Vec<Value<'a>>>,
) -> Result<(), DatabaseError> {
    if !stage(transaction, table, columns, rows)? {
        return Ok(());
    }
    let (columns, key) = (columns.join(", "), key.join(", "));
    transaction.batch_execute(&format!(
        "INSERT INTO {table} AS of ({columns}) SELECT {columns} FROM pg_temp.staged ORDER BY {key}
         ON CONFLICT ({key}) DO UPDATE SET {on_conflict};
         DROP TABLE pg_temp.staged"
    ))?;
    Ok(())
}

/// Copies rows into a temporary table with columns of these tables; false where there are none.
fn stage<'a>(
    transaction: &mut Transaction<'_>,
    tables: &str,
    columns: &[&str],
    rows: impl Iterator<Item = Vec<Value<'a>>>,
) -> Result<bool, DatabaseError> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(false);
    }
    let columns = columns.join(", ");
    transaction.batch_execute(&format!(
        "CREATE TEMPORARY TABLE staged ON COMMIT DROP AS SELECT {columns} FROM {tables} WITH NO DATA"
    ))?;
    copy(transaction, &format!("pg_temp.staged ({columns})"), rows)?;
    Ok(true)
}

fn append<'a>(
    transaction: &mut Transaction<'_>,
    table: &str,
    columns: &[&str],
    rows: impl Iterator<Item = Vec<Value<'a>>>,
) -> Result<(), DatabaseError> {
    copy(transaction, &format!("{table} ({})", columns.join(", ")), rows)
}

fn copy<'a>(
    transaction: &mut Transaction<'_>,
    into: &str,
    rows: impl Iterator<Item = Vec<Value<'a>>>,
) -> Result<(), DatabaseError> {
    let mut rows = rows.peekable();
    let Some(first) = rows.peek() else { return Ok(()) };
    let types: Vec<Type> = first.iter().map(Value::kind).collect();
    let writer = transaction.copy_in(&format!("COPY {into} FROM STDIN BINARY"))?;
    let mut writer = BinaryCopyInWriter::new(writer, &types);
    for row in rows {
        writer.write_raw(row.iter())?;
    }
    writer.finish()?;
    Ok(())
}

/// One value of a row.
#[derive(Clone, Debug)]
enum Value<'a> {
    Int(i64),
    IntIfAny(Option<i64>),
    Text(&'a str),
    TextIfAny(Option<&'a str>),
    Days(Vec<i64>),
}

impl Value<'_> {
    const fn kind(&self) -> Type {
        match self {
            Self::Int(_) | Self::IntIfAny(_) => Type::INT8,
            Self::Text(_) | Self::TextIfAny(_) => Type::TEXT,
            Self::Days(_) => Type::INT8_ARRAY,
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Int(value) => value.to_sql(kind, out),
            Self::IntIfAny(value) => value.to_sql(kind, out),
            Self::Text(value) => value.to_sql(kind, out),
            Self::TextIfAny(value) => value.to_sql(kind, out),
            Self::Days(value) => value.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        [Type::INT8, Type::TEXT, Type::INT8_ARRAY].contains(kind)
    }

    to_sql_checked!();
}

fn count(many: u64) -> Value<'static> {
    Value::Int(to_i64(many))
}
