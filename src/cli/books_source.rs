//! Where a command reads the books: in the state folder of one replica, or in the database of a fleet.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::audit::database::DatabaseSettings;
use crate::audit::shelf::Source;

/// Where the books stand.
#[derive(clap::Args, Clone, Debug)]
pub struct BooksSource {
    /// The proxy's state folder
    #[arg(long, value_name = "DIR", default_value = "state", conflicts_with = "database")]
    state_dir: PathBuf,
    /// In place of it the books of a fleet: a file with a connection string of PostgreSQL, as books.database of boot.yaml names it
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// Certificates in PEM that sign the database's; those that this machine trusts where nothing is said
    #[arg(long, value_name = "FILE", requires = "database")]
    database_ca: Option<PathBuf>,
}

impl BooksSource {
    /// For the functions of `audit`.
    pub fn source(&self) -> Source<'_> {
        match self.settings() {
            Some(settings) => Source::Database(Cow::Owned(settings)),
            None => self.state_dir.as_path().into(),
        }
    }

    /// The state folder, where it is one: it has more than books.
    pub fn state_dir(&self) -> Option<&Path> {
        self.database.is_none().then_some(&*self.state_dir)
    }

    /// Of the database, where it is one.
    pub fn settings(&self) -> Option<DatabaseSettings> {
        let ca_file = self.database_ca.clone();
        self.database.clone().map(|connection_file| DatabaseSettings { connection_file, ca_file })
    }
}
