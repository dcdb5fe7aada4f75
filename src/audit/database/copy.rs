//! Rows on their way into a table: copied into a temporary one, and merged with what is there.

use bytes::BytesMut;
use postgres::Transaction;
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::super::store::to_i64;
use super::DatabaseError;

/// Adds numbers up by a key.
pub(super) fn sum<'a>(
    transaction: &mut Transaction<'_>,
    table: &str,
    key: &[&str],
    sums: &[&str],
    rows: impl Iterator<Item = Vec<Value<'a>>>,
) -> Result<(), DatabaseError> {
    merge(transaction, table, &[key, sums].concat(), key, &added(sums), rows)
}

/// What of such a merge is added up.
pub(super) fn added(sums: &[&str]) -> String {
    sums.iter().map(|sum| format!("{sum} = of.{sum} + excluded.{sum}")).collect::<Vec<_>>().join(", ")
}

/// Inserts rows, and where one of this key is there, does what `on_conflict` says. In the order of the key: whoever writes
/// the same rows at the same time waits for the same one first.
pub(super) fn merge<'a>(
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
pub(super) fn stage<'a>(
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

/// Copies rows into a table in which there are none of the same key.
pub(super) fn append<'a>(
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
pub(super) enum Value<'a> {
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

/// A count, or an id.
pub(super) fn count(many: u64) -> Value<'static> {
    Value::Int(to_i64(many))
}
