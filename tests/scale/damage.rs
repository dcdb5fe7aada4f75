//! What is wrong with a file of the state folder costs time and nothing else: a start finds the right table.

use std::fs;
use std::path::Path;

use crate::process::Process;
use crate::running::Folder;
use crate::world::{break_files, folder, mend_files, state_files, whole_in};

const COUNT: u64 = 300;

/// A way in which a file is not what was written.
type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 6] = [
    ("a flipped bit at the end", |path| change(path, |bytes| *bytes.last_mut().unwrap() ^= 1)),
    ("a flipped bit in the middle", |path| {
        change(path, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        })
    }),
    ("cut in half", |path| change(path, |bytes| bytes.truncate(bytes.len() / 2))),
    ("empty", |path| change(path, Vec::clear)),
    ("of an older version", |path| {
        change(path, |bytes| {
            let version = bytes.iter().position(|byte| *byte == b'1').unwrap();
            bytes[version] = b'0';
        })
    }),
    ("gone", |path| fs::remove_file(path).unwrap()),
];

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Starts, looks whose table serves, and ends.
fn serves(folder: &Folder) -> String {
    let mut process = Process::start(folder);
    let cell = whole_in(folder, COUNT);
    process.signal("TERM");
    process.ended();
    cell
}

/// A folder whose state has the table of `cell-1` and, before it, that of `cell-3`.
fn with_two_generations() -> Folder {
    let folder = folder(COUNT, "cell-3", &Default::default());
    assert_eq!(serves(&folder), "cell-3");
    folder.write("config/accounts.csv", &crate::text::table(COUNT, "cell-1"));
    assert_eq!(serves(&folder), "cell-1");
    assert!(state_files(&folder).iter().all(|path| path.is_file()));
    folder
}

#[test]
fn damaged_compiled_tables_are_not_served() {
    let folder = with_two_generations();
    let [tables, before, ..] = state_files(&folder);
    let sound = [fs::read(&tables).unwrap(), fs::read(&before).unwrap()];
    for (what, damage) in DAMAGES {
        // The last alone; then both.
        for paths in [&[&tables][..], &[&tables, &before]] {
            fs::write(&tables, &sound[0]).unwrap();
            fs::write(&before, &sound[1]).unwrap();
            paths.iter().for_each(|path| damage(path));
            assert_eq!(serves(&folder), "cell-1", "{what}");
            assert_eq!(fs::read(&tables).unwrap(), sound[0], "{what}: it is written anew");
        }
    }
}

#[test]
fn a_damaged_last_good_configuration_gives_way_to_the_one_before() {
    let folder = with_two_generations();
    let [_, _, last_good, _] = state_files(&folder);
    let sound = fs::read(&last_good).unwrap();
    break_files(&folder);
    assert_eq!(serves(&folder), "cell-1");
    for (what, damage) in DAMAGES {
        fs::write(&last_good, &sound).unwrap();
        damage(&last_good);
        assert_eq!(serves(&folder), "cell-3", "{what}");
    }
    // The files come first, whatever lies in the state folder.
    mend_files(&folder);
    assert_eq!(serves(&folder), "cell-1");
}
