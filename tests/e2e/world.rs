//! What every test here stands in: simulated cells, a cellgate before them, and a runtime for clients.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cellgate::state_lock;
use loadtest::cell::{CellOptions, RunningCell};
use tokio::runtime::Runtime;

use crate::running::{Edge, Folder, eventually};

/// The cells of the example configuration.
pub const CELLS: [&str; 4] = ["cell-1", "cell-2", "cell-3", "shared"];

/// The service token of the request shapes, which the example's table knows as account 12345's.
pub const TOKEN_12345: &str = "dbtc_FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1";

/// The personal token of the request shapes, account 70403103966603's.
pub const TOKEN_AB123: &str = "dbtu_FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0";

/// A token that no table knows.
pub fn token(number: u64) -> String {
    format!("dbtc_{number:040}")
}

/// Cells and a cellgate before them.
pub struct World {
    /// Ends first: what it still sends must find its cells.
    pub edge: Edge,
    /// By name.
    pub cells: BTreeMap<String, RunningCell>,
    runtime: Runtime,
}

impl World {
    /// The example configuration and its four cells.
    pub fn example() -> Self {
        Self::prepared(|_| {})
    }

    /// The same, with changes to the folder before the start.
    pub fn prepared(prepare: impl FnOnce(&Folder)) -> Self {
        Self::with_cells(CELLS.map(CellOptions::named).to_vec(), prepare)
    }

    /// With cells of one's own making, under the names of the example.
    pub fn with_cells(cells: Vec<CellOptions>, prepare: impl FnOnce(&Folder)) -> Self {
        let runtime = runtime();
        let cells = start_cells(&runtime, cells);
        let folder = Folder::example(&addresses(&cells));
        prepare(&folder);
        Self { edge: Edge::start(folder), cells, runtime }
    }

    /// Of parts made one by one.
    pub fn of(edge: Edge, cells: BTreeMap<String, RunningCell>, runtime: Runtime) -> Self {
        Self { edge, cells, runtime }
    }

    /// A cell.
    pub fn cell(&self, name: &str) -> &RunningCell {
        &self.cells[name]
    }

    /// Runs clients.
    pub fn block_on<T>(&self, clients: impl Future<Output = T>) -> T {
        self.runtime.block_on(clients)
    }

    /// Runs a client beside the test.
    pub fn spawn<T: Send + 'static>(
        &self,
        client: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(client)
    }

    /// Ends cellgate in order and starts it again on the same folder, with other ports.
    pub fn restart(self) -> Self {
        self.restart_with(|_| {})
    }

    /// The same with changes to the folder while it is down.
    pub fn restart_with(self, change: impl FnOnce(&Folder)) -> Self {
        let Self { edge, cells, runtime } = self;
        let change = |folder: &Folder| {
            until_free(folder);
            change(folder);
        };
        Self { edge: edge.restart_with(change), cells, runtime }
    }
}

/// Waits until nobody has the state folder: a child that another test starts when cellgate lets go of its lock has
/// that, too, until it is another program.
fn until_free(folder: &Folder) {
    let Ok(lock) = File::open(folder.path("state").join(state_lock::FILE_NAME)) else { return };
    eventually("the state folder to be free", || lock.try_lock().ok());
    // Closing it is not enough, for the same reason.
    lock.unlock().unwrap();
}

/// A runtime for clients and cells: two threads, as many as the smallest machine has cores.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Starts cells, by name.
pub fn start_cells(runtime: &Runtime, cells: Vec<CellOptions>) -> BTreeMap<String, RunningCell> {
    let start = |options: CellOptions| {
        let cell = runtime.block_on(RunningCell::start(options)).unwrap();
        (cell.name().to_owned(), cell)
    };
    cells.into_iter().map(start).collect()
}

/// Where they are.
pub fn addresses(cells: &BTreeMap<String, RunningCell>) -> BTreeMap<String, std::net::SocketAddr> {
    cells.iter().map(|(name, cell)| (name.clone(), cell.addr())).collect()
}

/// Held by tests that make load: two at once would measure each other.
pub fn load_lane() -> MutexGuard<'static, ()> {
    static LANE: Mutex<()> = Mutex::new(());
    // A test that failed under load says nothing about the next one.
    LANE.lock().unwrap_or_else(PoisonError::into_inner)
}
