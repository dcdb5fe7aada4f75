//! Compiled tables as bytes and as a file: used where they are of these files, and never where they are not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use cellgate::compiled_file::{self, FILE_NAME, PREVIOUS_FILE_NAME};
use cellgate::config::compiled::{Compiled, MAGIC};
use cellgate::config::{self, Config, Sources};
use cellgate::load;
use cellgate::policy::hex::hex;
use cellgate::policy::ids::CellIndex;

use crate::running::Folder;
use crate::snapshot::{Row, account, account_table, example};

/// 2026-11-20T00:00:00Z.
const NOW: i64 = 1_795_132_800;

fn of_the_example(hash: &str) -> Compiled {
    Compiled { hash: hash.into(), ..Compiled::of(&example().build()) }
}

fn row_in(cell: usize) -> Row {
    let cell = CellIndex(u16::try_from(cell).unwrap());
    Row { id: account(1), prefixes: Vec::new(), cell, redirect_browsers: false, schedule: None }
}

fn folder() -> (Folder, Sources) {
    let folder = Folder::example(&std::collections::BTreeMap::new());
    let sources = load::load(&folder.path("config"));
    (folder, sources)
}

fn parsed(sources: &Sources, compiled: &Compiled) -> Config {
    config::parse_all_with(sources, Some(compiled), NOW).unwrap().1
}

#[test]
fn any_changed_or_missing_byte_is_noticed() {
    let whole = of_the_example("abc").to_pieces().concat();
    assert!(Compiled::from_bytes(whole.clone()).is_ok());
    for position in 0..whole.len() {
        let mut altered = whole.clone();
        altered[position] ^= 1;
        assert!(Compiled::from_bytes(altered).is_err(), "byte {position}");
        assert!(Compiled::from_bytes(whole[..position].to_vec()).is_err(), "cut at {position}");
    }
    assert!(Compiled::from_bytes([&*whole, b"x"].concat()).is_err());
}

#[test]
fn a_file_with_its_digest_is_still_looked_at() {
    let whole = of_the_example("abc").to_pieces().concat();
    let end = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let header = &whole[end..][..whole[end..].iter().position(|byte| *byte == b'\n').unwrap()];
    let header = std::str::from_utf8(header).unwrap();
    let parts = &whole[end + header.len() + 1..];
    let read = |header: &str, parts: &[u8]| {
        let rest = [header.as_bytes(), b"\n", parts].concat();
        let sealed = format!("{MAGIC} {}\n", hex(digest(&SHA256, &rest)));
        Compiled::from_bytes([sealed.as_bytes(), &rest].concat()).map(|_| ()).err()
    };
    assert_eq!(read(header, parts), None);
    let version = concat!("\"cellgate\":\"", env!("CARGO_PKG_VERSION"));
    assert_eq!(header.matches(version).count(), 1);
    let older = header.replace(version, "\"cellgate\":\"0.0.9");
    assert!(read(&older, parts).unwrap().contains("another version"));
    assert!(read(header, &parts[1..]).unwrap().contains("cut short"));
    assert!(read(header, &[parts, b"x"].concat()).unwrap().contains("goes on"));
    let huge = header.replace("\"parts\":[", "\"parts\":[18446744073709551615");
    assert!(read(&huge, parts).is_some());
    // The first id is zero, which is none.
    let mut unsound = parts.to_vec();
    unsound[..8].fill(0);
    assert!(read(header, &unsound).unwrap().contains("account table is not sound"));
    // The last part is an index of credentials, and names a row that is not there.
    let mut unsound = parts.to_vec();
    let last = unsound.len() - 4..;
    unsound[last].fill(0xff);
    assert!(read(header, &unsound).unwrap().contains("not sound"));
}

#[test]
fn tables_are_used_for_the_files_that_they_are_of() {
    let (_folder, sources) = folder();
    let hash = config::hash(&sources);
    let rows = |config: &Config| config.accounts.len();
    let (_, from_files) = config::parse_all(&sources, NOW).unwrap();
    let accounts = account_table(&[row_in(0)]);
    let others = Compiled { accounts, ..of_the_example(&hash) };
    assert_ne!(others.accounts.len(), rows(&from_files));
    // A wrong table under the right hash shows that it is this one which is used.
    let used = parsed(&sources, &others);
    assert_eq!((rows(&used), &*used.hash), (others.accounts.len(), &*hash));
    assert_eq!(used.environments.parts(), others.environments.parts());
    assert_eq!(used.identify.credentials.table.parts(), others.credentials.parts());
    let of_other_files = Compiled { hash: "other".into(), ..others };
    assert_eq!(rows(&parsed(&sources, &of_other_files)), rows(&from_files));
}

#[test]
fn a_table_that_names_a_cell_that_is_not_there_is_not_used() {
    let (_folder, sources) = folder();
    let (_, from_files) = config::parse_all(&sources, NOW).unwrap();
    let cells = from_files.cells.len();
    let accounts = account_table(&[row_in(cells)]);
    let unsound = Compiled { accounts, ..of_the_example(&config::hash(&sources)) };
    assert_eq!(parsed(&sources, &unsound).accounts.len(), from_files.accounts.len());
}

#[test]
fn the_last_two_are_kept_and_only_their_owner_can_read_them() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (of_the_example("first"), of_the_example("second"));
    compiled_file::save(dir.path(), &first).unwrap();
    let mode = fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    compiled_file::save(dir.path(), &second).unwrap();
    // The same again does not push out the one before.
    compiled_file::save(dir.path(), &second).unwrap();
    for tables in [&first, &second] {
        let read = compiled_file::load(dir.path(), &tables.hash).unwrap();
        assert_eq!(read.to_pieces(), tables.to_pieces());
    }
    assert!(compiled_file::load(dir.path(), "third").is_none());
    damage(&dir.path().join(FILE_NAME));
    assert!(compiled_file::load(dir.path(), "second").is_none());
    assert!(compiled_file::load(dir.path(), "first").is_some());
    // What is damaged is written anew, and what was before it may be damaged as well.
    compiled_file::save(dir.path(), &second).unwrap();
    assert!(compiled_file::load(dir.path(), "second").is_some());
    assert!(compiled_file::load(dir.path(), "first").is_some());
    damage(&dir.path().join(PREVIOUS_FILE_NAME));
    assert!(compiled_file::load(dir.path(), "first").is_none());
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}
