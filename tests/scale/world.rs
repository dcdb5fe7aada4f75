//! A cellgate process with a large table, and what it says of it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use cellgate::{compiled_file, last_good};
use serde_json::Value;

use crate::process::Process;
use crate::running::Folder;
use crate::{raw_http, text};

/// The example with a large table in place of its own; all of it lives in `cell`.
pub fn folder(count: u64, cell: &str, cells: &BTreeMap<String, SocketAddr>) -> Folder {
    let folder = Folder::example(cells);
    // The whole table moves at once here.
    folder.edit("config/boot.yaml", "guards: {", "guards: { mode: 'off',");
    folder.write("config/accounts.csv", &text::table(count, cell));
    folder
}

/// Makes the files bad, so that a start falls back.
pub fn break_files(folder: &Folder) {
    folder.edit("config/cellgate.yaml", "surfaces:\n", "surfaces: [\n");
}

/// Makes them good again.
pub fn mend_files(folder: &Folder) {
    folder.edit("config/cellgate.yaml", "surfaces: [\n", "surfaces:\n");
}

/// The cell in which all the large table's accounts live; fails where they are not all there or not all in one.
pub fn whole_in(folder: &Folder, count: u64) -> String {
    let page = |path: &str| raw_http::admin(&folder.path("state/admin.sock"), "GET", path).json();
    let config = page("/config");
    assert_eq!(config["accounts"], count + text::NAMED.len() as u64, "{config}");
    let cell_of = |id: u64| -> Value { page(&format!("/accounts/{id}"))["cell"].clone() };
    // The first, the last and some between: where tables are torn, they are torn between rows or between columns.
    let cells: Vec<Value> = (0..=7).map(|eighth| cell_of(text::id((count - 1) * eighth / 7))).collect();
    assert!(cells.iter().all(|cell| *cell == cells[0]), "{cells:?}");
    for (id, _, cell) in text::NAMED {
        assert_eq!(cell_of(id), cell);
    }
    cells[0].as_str().unwrap().to_owned()
}

/// Files of the state folder that hold tables or what they are made of.
pub fn state_files(folder: &Folder) -> [PathBuf; 4] {
    [
        compiled_file::FILE_NAME,
        compiled_file::PREVIOUS_FILE_NAME,
        last_good::FILE_NAME,
        last_good::PREVIOUS_FILE_NAME,
    ]
    .map(|name| folder.path("state").join(name))
}

/// A number from `/proc/PID/status`, in bytes.
pub fn memory(process: &Process, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}
