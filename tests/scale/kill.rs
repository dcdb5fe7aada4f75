//! A process that is killed while it reloads leaves the old table or the new one, whole, at every moment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cellgate::{compiled_file, last_good};
use fastrand::Rng;

use crate::process::Process;
use crate::running::{Folder, eventually};
use crate::world::{break_files, folder, mend_files, state_files, whole_in};
use crate::{is_long, text};

/// Enough that each step of a reload takes its time.
const COUNT: u64 = 3_000;

/// How often; a thousand is what the issue asks for.
fn kills() -> usize {
    if is_long() { 1_000 } else { 30 }
}

const CELLS: [&str; 2] = ["cell-1", "cell-3"];

#[test]
fn a_reload_that_is_killed_leaves_the_old_table_or_the_new_one() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let folder = folder(COUNT, CELLS[0], &BTreeMap::new());
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    let mut now = 0;
    let mut span = reload_time(&folder);
    for round in 0..kills() {
        let mut process = Process::start(&folder);
        assert_eq!(whole_in(&folder, COUNT), CELLS[now], "round {round}: the files are good");
        let next = 1 - now;
        let log = folder.path("state/audit.jsonl");
        let lines = || std::fs::metadata(&log).map_or(0, |file| file.len());
        // Before the file: who watches it may reload it whole before the signal comes, which then changes nothing.
        let before = lines();
        folder.write("config/accounts.csv", &text::table(COUNT, CELLS[next]));
        process.signal("HUP");
        // The moment is what is tried here: any of the whole reload, or any of its end, where files are replaced.
        if rng.bool() {
            std::thread::sleep(rng.u32(0..=1_000) * span / 1_000);
        } else {
            eventually("the intent", || (lines() > before).then_some(()));
            std::thread::sleep(Duration::from_micros(rng.u64(0..60_000)));
        }
        process.signal("KILL");
        process.ended();
        *found.entry(state(&folder, next)).or_default() += 1;
        if rng.bool() {
            // The files are worth nothing: what was kept must be.
            break_files(&folder);
            let process = Process::start(&folder);
            let serves = whole_in(&folder, COUNT);
            assert!(CELLS.contains(&&*serves), "round {round}: {serves}");
            drop(process);
            mend_files(&folder);
        }
        now = next;
        // As the machine is at the moment.
        if round % 50 == 49 {
            span = reload_time(&folder);
            now = 0;
        }
    }
    println!("{} kills within {span:?} of a reload; the state folder had", kills());
    found.iter().for_each(|(state, times)| println!("  {times:4} times {state}"));
    assert_eq!(found.values().sum::<usize>(), kills());
}

/// How long a reload takes from the signal to the last file, and a little more. Leaves the table of the first cell.
fn reload_time(folder: &Folder) -> Duration {
    let set = |cell| folder.write("config/accounts.csv", &text::table(COUNT, cell));
    set(CELLS[1]);
    let process = Process::start(folder);
    set(CELLS[0]);
    let begun = Instant::now();
    process.signal("HUP");
    process.line("the reload", |line| line["fields"]["message"] == "configuration applied");
    begun.elapsed() * 3 / 2
}

/// What lies in the state folder: each file that is there must be whole.
fn state(folder: &Folder, next: usize) -> String {
    let state_dir = folder.path("state");
    let kept = last_good::load(&state_dir).unwrap();
    let of = |cell| text::table(COUNT, cell).into_bytes();
    let files = CELLS.iter().position(|cell| kept.files["accounts.csv"] == of(cell)).unwrap();
    let tables = compiled_file::load(&state_dir, &kept.hash);
    if let Some(tables) = &tables {
        let cells = tables.accounts.iter().skip(text::NAMED.len()).map(|account| usize::from(account.cell.0));
        let expected = [0, 2][files];
        assert_eq!(tables.accounts.len() as u64, COUNT + text::NAMED.len() as u64);
        assert!(cells.into_iter().all(|cell| cell == expected));
    }
    let parts = state_files(folder)
        .map(|path| path.with_file_name(format!("{}.part", path.file_name().unwrap().to_str().unwrap())));
    let written = parts.iter().filter(|path| path.exists()).count();
    format!(
        "the {} files, {} tables of them, {written} half-written",
        if files == next { "new" } else { "old" },
        if tables.is_some() { "the" } else { "no" },
    )
}
