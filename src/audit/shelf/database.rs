//! The database of a fleet, open for reading.

use std::cell::RefCell;

use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::Type;

use super::super::database::{DatabaseError, DatabaseSettings, connect_to_read, schema};
use super::super::month::Month;
use super::{Reading, Row};

/// All months of a database.
pub(in super::super) struct Database {
    /// Asked one question at a time.
    client: RefCell<Client>,
    months: Vec<Month>,
}

impl Database {
    /// Connects and begins the transaction in which all is read.
    pub fn open(settings: &DatabaseSettings) -> Result<Self, DatabaseError> {
        let mut client = connect_to_read(settings)?;
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        let months = client.query("SELECT month FROM cellgate.months ORDER BY month", &[])?;
        let months: Vec<_> = months.iter().filter_map(|row| Month::of_name(row.get(0))).collect();
        if months.is_empty() {
            return Err(DatabaseError::Empty);
        }
        Ok(Self { client: RefCell::new(client), months })
    }

    /// See [`Shelf::each`](super::Shelf::each).
    pub fn each(
        &self,
        since: Option<Month>,
        query: &str,
        params: &[Option<i64>],
        row: &mut dyn FnMut(Month, &Row<'_>) -> Reading<()>,
    ) -> Reading<()> {
        let mut client = self.client.borrow_mut();
        let types = vec![Type::INT8; params.len()];
        let query = translated(query);
        for month in self.months.iter().filter(|month| Some(**month) >= since) {
            client.batch_execute(&format!("SET LOCAL search_path TO {}", schema(*month)))?;
            let statement = client.prepare_typed(&query, &types)?;
            let mut rows = client.query_raw(&statement, params)?;
            while let Some(of) = rows.next()? {
                row(*month, &Row::Database(&of))?;
            }
        }
        Ok(())
    }
}

/// What the two kinds of SQL write differently. No text of a query has a question mark in it, and `CROSS JOIN` is how SQLite is
/// told the order in which to look.
pub(in super::super) fn translated(query: &str) -> String {
    query.replace('?', "$").replace("CROSS JOIN", "JOIN")
}
