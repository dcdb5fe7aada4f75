//! The database of a fleet, PostgreSQL 14 or later: connecting to it and keeping its schema up to date. What is written is
//! `batch`'s and `write`'s matter, when it is written `shipper`'s; reports read it through the shelf.

mod batch;
mod copy;
mod retire;
pub(super) mod shipper;
mod write;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use postgres::config::{Host, SslMode};
use postgres::{Client, Config, Transaction};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::authorities::{AuthoritiesError, client_config};

pub use retire::{Retired, retire};
pub use shipper::Shipping;
pub(super) use write::{prune, schema, write};

/// Each entry takes the schema one version further. Append only: databases in the field have the rest.
const MIGRATIONS: [&str; 1] = [include_str!("schema_1.sql")];

/// A database in the same region answers in milliseconds.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long bytes may be under way unacknowledged: a database that was cut off is given up before the next shipment is due.
const SILENCE: Duration = Duration::from_secs(30);

/// Longest statement of a shipment: one of a whole spool takes seconds. One that hangs on somebody's lock ends here.
const STATEMENT_MS: u64 = 120_000;

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// A file with a connection string of PostgreSQL, as a URL or as `key=value` pairs. It may hold a password, so not everybody
    /// may be able to read it; and it is read anew for each connection.
    pub connection_file: PathBuf,
    /// Certificates in PEM that sign the database's; `None` for those that this machine trusts.
    pub ca_file: Option<PathBuf>,
}

/// Why the database could not be used. None of these holds the connection string.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file with the connection string.
    #[error("{0} cannot be read: {1}")]
    File(PathBuf, #[source] io::Error),
    /// There may be a password in it. Its group may read it: that is how secrets are mounted.
    #[error("{0} has mode {1:04o}, so that everybody can read it: chmod o-rwx {0}")]
    Open(PathBuf, u32),
    /// What stands in it.
    #[error(
        "{0} has no connection string of PostgreSQL in it, such as host=db.example.com dbname=cellgate user=cellgate: {1}"
    )]
    ConnectionString(PathBuf, String),
    /// Whose certificate to believe.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// A later edition made the tables.
    #[error(
        "the database has schema version {found} of the books and this cellgate knows up to {known}: use the newer cellgate"
    )]
    Newer {
        /// Version of the database.
        found: i64,
        /// Latest that is known.
        known: usize,
    },
    /// Nobody has written to it.
    #[error(
        "the database has no books: check that a proxy with books.database in its boot.yaml has been started"
    )]
    Empty,
    /// Everything that PostgreSQL says.
    #[error("PostgreSQL: {}", told(.0))]
    Postgres(#[from] postgres::Error),
}

/// With what the server said of it, which the library has one level deeper.
fn told(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

/// Connects for shipping, and makes or migrates the tables.
pub(super) fn connect_to_write(settings: &DatabaseSettings) -> Result<Client, DatabaseError> {
    let mut client = connect(settings)?;
    client.batch_execute(&format!("SET statement_timeout = {STATEMENT_MS}"))?;
    if version(&mut client)? != Some(MIGRATIONS.len()) {
        migrate(&mut client)?;
    }
    Ok(client)
}

/// Connects for reading.
pub(super) fn connect_to_read(settings: &DatabaseSettings) -> Result<Client, DatabaseError> {
    let mut client = connect(settings)?;
    match version(&mut client)? {
        Some(_) => Ok(client),
        None => Err(DatabaseError::Empty),
    }
}

fn connect(settings: &DatabaseSettings) -> Result<Client, DatabaseError> {
    let file = &settings.connection_file;
    let unreadable = |error| DatabaseError::File(file.clone(), error);
    let mode = fs::metadata(file).map_err(unreadable)?.permissions().mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(DatabaseError::Open(file.clone(), mode));
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    let mut config = Config::from_str(text.trim())
        .map_err(|error| DatabaseError::ConnectionString(file.clone(), told(&error)))?;
    config.application_name("cellgate").connect_timeout(CONNECT_PATIENCE).tcp_user_timeout(SILENCE);
    // The library falls back to plain text where nothing is said; a password and accounts are in it.
    if config.get_ssl_mode() == SslMode::Prefer && !config.get_hosts().iter().all(is_this_machine) {
        config.ssl_mode(SslMode::Require);
    }
    Ok(config.connect(MakeRustlsConnect::new(client_config(settings.ca_file.as_deref())?))?)
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|at| at.is_loopback())
        }
    }
}

/// Version of the schema; `None` where there is none yet.
fn version(client: &mut impl postgres::GenericClient) -> Result<Option<usize>, DatabaseError> {
    // Not to_regclass, which may remember from before this connection has waited for another one's migration.
    let query = "SELECT FROM pg_tables WHERE schemaname = 'cellgate' AND tablename = 'schema_version'";
    if client.query(query, &[])?.is_empty() {
        return Ok(None);
    }
    let found: i64 = client.query_one("SELECT max(version) FROM cellgate.schema_version", &[])?.get(0);
    match usize::try_from(found) {
        Ok(found) if found <= MIGRATIONS.len() => Ok(Some(found)),
        _ => Err(DatabaseError::Newer { found, known: MIGRATIONS.len() }),
    }
}

fn migrate(client: &mut Client) -> Result<(), DatabaseError> {
    let mut transaction: Transaction<'_> = client.transaction()?;
    // All replicas of a new fleet begin at once.
    transaction.batch_execute("SELECT pg_advisory_xact_lock(hashtext('cellgate.schema_version'))")?;
    let found = match version(&mut transaction)? {
        Some(found) => found,
        None => {
            transaction.batch_execute(
                "CREATE SCHEMA IF NOT EXISTS cellgate;
                 CREATE TABLE cellgate.schema_version (
                     version int8 PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
            )?;
            0
        }
    };
    for (migration, version) in MIGRATIONS.iter().zip(1i64..).skip(found) {
        transaction.batch_execute(migration)?;
        transaction.execute("INSERT INTO cellgate.schema_version (version) VALUES ($1)", &[&version])?;
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
