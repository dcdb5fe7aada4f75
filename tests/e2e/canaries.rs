//! Canaries: a word that is nowhere else, another one in each field that a client or a cell can fill, through a real process
//! that is as talkative as it can be; and then a look at everything that the process has said, kept or reports. What is found
//! is a leak, or stands in `SHOWN` with its reason.
//!
//! Core dumps cannot be searched: there are none.

#![allow(clippy::print_stdout)] // What a machine cannot show is said.

mod search;
mod traffic;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use loadtest::cell::Behaviour;
use rusqlite::Connection;

use crate::books::metric;
use crate::process::Process;
use crate::raw_http;
use crate::running::{Folder, PATIENCE, eventually};
use crate::traces::{Collector, traced};
use crate::world::{addresses, runtime, start_cells};
use search::{Found, Place, search};

/// What may be seen where, and why.
const SHOWN: [(Place, &str, &str); 13] = [
    (
        Place::AccessLog,
        "path",
        "where a request went, without its query; what looks like a credential is covered",
    ),
    (Place::AccessLog, "host", "which address somebody typed wrong; the same is covered in it"),
    (
        Place::AccessLog,
        "requestid",
        "made to be found by client, cell and log; it is no other when it looks like a credential",
    ),
    (
        Place::State,
        "path",
        "a call that may have to be made again is kept with its path, covered like that of the log",
    ),
    (Place::State, "requestid", "and is found at client and cell by this"),
    (Place::Spans, "path", "as in the access log"),
    (Place::Spans, "host", "as in the access log"),
    (Place::Spans, "requestid", "as in the access log"),
    (Place::Report, "path", "the list of such calls"),
    (Place::Report, "requestid", "the list of such calls"),
    (Place::Admin, "path", "recent refusals, where accounts may be seen; covered like that of the log"),
    (Place::Admin, "host", "the same"),
    (Place::Admin, "requestid", "the same"),
];

/// Everything at once: what one part says of another is what leaks.
#[test]
fn nothing_that_a_client_or_a_cell_sends_is_seen_but_where_it_must() {
    let runtime = runtime();
    let cells = start_cells(&runtime, traffic::cells());
    runtime.block_on(cells["cell-3"].behave(Behaviour::BlackHole)).unwrap();
    let folder = Folder::example(&addresses(&cells));
    traffic::configure(&folder);
    let mut collector = Collector::start("takes", &[]);
    let endpoint = format!("endpoint: 'http://127.0.0.1:{}'", collector.port);
    traced(&folder, &format!("{endpoint}, ratio: 100%, headers_file: keys/collector.headers"));
    let key = search::canary("collectorkey");
    folder.write_secret("config/keys/collector.headers", &format!("api-key: {key}\n"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.env("CELLGATE_LOG", "trace").stdin(Stdio::null()).stdout(Stdio::null());
    let mut process = Process::spawn_as(&folder, command);
    process.line("a line that says it serves", |line| line["fields"]["message"] == "serving");
    let month = eventually("books", || months(&folder).pop());
    let lock = Connection::open(month).unwrap();
    lock.busy_timeout(PATIENCE).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut statuses = traffic::send(&process, &folder);
    traffic::begin_brownout(&folder);
    raw_http::admin(&folder.path("state/admin.sock"), "POST", "/reload");
    statuses.extend(traffic::send(&process, &folder));
    for status in [200, 400, 401, 404, 405, 410, 414, 431, 502, 504] {
        assert!(statuses.contains(&status), "{status} is among {statuses:?}");
    }

    // While the files can take nothing, everything is in the spool.
    let until = waiting(&process) + 3.0;
    eventually("windows to wait", || (waiting(&process) >= until).then_some(()));
    let mut found = search::folder(&folder.path("state"));
    assert!(found.frames > 0, "frames of the spool were unpacked");
    drop(lock);
    eventually("the books to be written", || (waiting(&process) == 0.0).then_some(()));
    found.add(search::folder(&folder.path("state")));
    for page in search::pages() {
        let (loopback, socket) = (process.admin(), folder.path("state/admin.sock"));
        found.add(search(Place::Admin, &page, &raw_http::page(loopback, &page).body));
        found.add(search(Place::Admin, &page, &raw_http::admin(&socket, "GET", &page).body));
    }
    traffic::call_admin(&process, &folder);
    found.add(search::reports(&folder));
    process.signal("TERM");
    process.ended();
    found.add(search::folder(&folder.path("state")));
    for mut span in collector.all() {
        // The collector is the one who gets this, and nobody else.
        assert_eq!(span.as_object_mut().unwrap().remove("key"), Some(key.clone().into()));
        found.add(search(Place::Spans, "a span", span.to_string().as_bytes()));
    }
    found.add(search::file(Place::AccessLog, &folder.path("log/access.log")));
    found.add(search::file(Place::ProcessLog, &folder.path("log/stderr.jsonl")));
    judge(&found);
}

/// Whether a program that is ended like this leaves a core, where the system allows each its own.
fn leaves_core(folder: &Folder, wanted: Option<&str>) -> bool {
    let mut command = Command::new("prlimit");
    command.args(["--core=unlimited", env!("CARGO_BIN_EXE_cellgate")]);
    command.envs(wanted.map(|wanted| ("CELLGATE_CORE_DUMPS", wanted)));
    // Where the pattern of the system is a name, the core would lie here.
    command.current_dir(folder.path("")).stdin(Stdio::null()).stdout(Stdio::null());
    let mut process = Process::spawn_as(folder, command);
    process.line("a line that says it serves", |line| line["fields"]["message"] == "serving");
    process.signal("ABRT");
    let ended = process.ended();
    assert_eq!(ended.signal(), Some(6), "{ended}");
    ended.core_dumped()
}

#[test]
fn a_crash_leaves_no_core_but_where_somebody_asked_for_it() {
    let folder = Folder::example(&std::collections::BTreeMap::new());
    assert!(!leaves_core(&folder, None));
    assert!(!leaves_core(&folder, Some("")));
    let asked = leaves_core(&folder, Some("1"));
    let says = |process: &str| process.contains("a crash leaves a core dump");
    assert!(says(&folder.read("log/stderr.jsonl")));
    if !asked {
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        println!("NOT SEEN: this machine makes no cores at all (core_pattern {pattern:?})");
    }
}

/// Everything was looked at; what was found is what may be shown, and that was found.
fn judge(found: &Found) {
    let places =
        [Place::AccessLog, Place::ProcessLog, Place::State, Place::Admin, Place::Report, Place::Spans];
    for place in places {
        assert!(found.looked_at.get(&place).is_some_and(|many| *many > 0), "{place:?}");
    }
    let is_shown =
        |place: Place, field: &str| SHOWN.iter().any(|(of, shown, _)| *of == place && *shown == field);
    let leaks = found.canaries.iter().filter(|((place, field), _)| !is_shown(*place, field));
    let leaks: String = leaks.map(|(what, around)| format!("{what:?} in {around}\n\n")).collect();
    assert!(leaks.is_empty(), "\n{leaks}");
    for (place, field, why) in SHOWN {
        let seen = found.canaries.contains_key(&(place, field.to_owned()));
        // Of the refusals of one reason only a few a second are kept: which ones is chance.
        let is_chance = place == Place::Admin;
        assert!(seen || is_chance, "{field} is not in {place:?} any more ({why}): strike it out here");
    }
}

/// Files of the books.
fn months(folder: &Folder) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder.path("state")).unwrap().map(|entry| entry.unwrap().path());
    let is_month = |path: &PathBuf| path.extension().is_some_and(|end| end == "sqlite");
    files.filter(is_month).collect()
}

/// Windows that no file has taken yet.
fn waiting(process: &Process) -> f64 {
    metric(process, "cellgate_books_waiting_windows")
}
