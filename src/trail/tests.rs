//! What is written and what is found out, over files as they are after accidents and after hands.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use super::*;

const AT: i64 = 1_795_132_800;

fn reload(number: u64) -> Record {
    let to = Some(Version { generation: number, hash: format!("{number:064x}") });
    Record { to, changes: Some("1 accounts moved from a to b".to_owned()), ..Record::new(Event::Intent) }
}

/// A folder with a chain of five lines.
fn five() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut trail = Trail::new(dir.path());
    for number in 1..=5 {
        assert_eq!(trail.append(AT, reload(number)).unwrap().seq, number);
    }
    dir
}

fn lines(dir: &Path) -> Vec<String> {
    let text = fs::read(dir.join(FILE_NAME)).unwrap();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

fn rewrite(dir: &Path, lines: &[String]) {
    fs::write(dir.join(FILE_NAME), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

fn verify(dir: &Path) -> Checked {
    check(&files::all(dir).unwrap(), Checker::default(), true, |_| {}).unwrap()
}

/// What follows when a new process goes on with it: its first lines.
fn go_on(dir: &Path) -> Vec<Line> {
    let before = verify(dir).lines;
    let mut all = Vec::new();
    Trail::new(dir).append(AT, Record::new(Event::Start)).unwrap();
    check(&files::all(dir).unwrap(), Checker::default(), true, |line| all.push(line.clone())).unwrap();
    all.split_off(usize::try_from(before).unwrap())
}

fn events(lines: &[Line]) -> Vec<Event> {
    lines.iter().map(|line| line.record.event).collect()
}

#[test]
fn a_chain_is_whole_and_goes_on_over_processes() {
    let dir = five();
    assert_eq!(events(&go_on(dir.path())), [Event::Start]);
    let checked = verify(dir.path());
    assert_eq!((checked.lines, checked.breaks, checked.broken, checked.rest), (6, 0, None, None));
    assert_eq!(checked.head.unwrap().seq, 6);
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn whatever_is_done_to_lines_is_found_where_it_was_done() {
    type Hand = fn(&mut Vec<String>);
    let cases: [(&str, Hand, u64, &str); 7] = [
        ("a changed byte", |lines| lines[2] = lines[2].replace("moved", "Moved"), 3, "this line was changed"),
        (
            "a changed digest",
            |lines| lines[2] = lines[2].replacen("\"sha256\":\"", "\"sha256\":\"0", 1),
            3,
            "changed",
        ),
        ("a removed line", |lines| drop(lines.remove(2)), 3, "line 3 of the trail is missing"),
        ("two removed lines", |lines| drop(lines.drain(1..3)), 2, "lines 2 to 3 of the trail are missing"),
        ("the first line removed", |lines| drop(lines.remove(0)), 1, "lines 1 to 1 are missing"),
        ("two lines in another order", |lines| lines.swap(1, 2), 2, "line 2 of the trail is missing"),
        ("a line twice", |lines| lines.insert(3, lines[2].clone()), 4, "twice or out of order"),
    ];
    for (what, hand, at, said) in cases {
        let dir = five();
        let mut all = lines(dir.path());
        hand(&mut all);
        rewrite(dir.path(), &all);
        let found = verify(dir.path()).broken.unwrap_or_else(|| unreachable!("{what} was not found"));
        assert_eq!(found.line, at, "{what}: {found:?}");
        assert!(found.what.contains(said), "{what}: {found:?}");
        assert!(found.file.ends_with(FILE_NAME) && !found.expected.is_empty() && !found.found.is_empty());
        // A missing beginning is not seen from the end, which is all that a start reads.
        if what != "the first line removed" {
            let after = go_on(dir.path());
            assert_eq!(events(&after), [Event::Broken, Event::Start], "{what}");
            let told = &after[0].record.reasons[0];
            assert!(told.contains(&format!("{FILE_NAME}:{at}: ")), "{what}: {told}");
            assert_eq!(events(&go_on(dir.path())), [Event::Start], "{what} is said once");
            assert_eq!(verify(dir.path()).broken.unwrap().line, at, "{what} is not healed by being said");
        }
    }
}

#[test]
fn a_line_that_was_written_anew_does_not_fit_the_next() {
    let dir = five();
    let mut all = lines(dir.path());
    let before = Line::read(all[1].as_bytes()).unwrap().head;
    let (_, forged) = Line::write(Some(&before), AT, reload(99));
    all[2] = String::from_utf8(forged).unwrap().trim_end().to_owned();
    rewrite(dir.path(), &all);
    let found = verify(dir.path()).broken.unwrap();
    assert_eq!(found.line, 4);
    assert!(found.what.contains("not the one that was there"), "{found:?}");
}

#[test]
fn a_cut_tail_is_known_to_whoever_kept_the_head_and_to_the_process_that_wrote_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut trail = Trail::new(dir.path());
    let heads: Vec<Head> = (1..=5).map(|number| trail.append(AT, reload(number)).unwrap()).collect();
    let mut all = lines(dir.path());
    all.truncate(3);
    rewrite(dir.path(), &all);
    assert_eq!(verify(dir.path()).broken, None, "nothing in the file shows it");
    let files = files::all(dir.path()).unwrap();
    let has = |head: &Head| {
        check(&files, Checker::looking_for(Some(head.sha256.clone())), true, |_| {}).unwrap().contains
    };
    assert!(has(&heads[2]) && !has(&heads[4]));
    assert_eq!(trail.append(AT, reload(6)).unwrap().seq, 7);
    let found = verify(dir.path()).broken.unwrap();
    assert_eq!((found.line, &*found.what), (4, "lines 4 to 5 of the trail are missing"));
    let told = Line::read(lines(dir.path())[3].as_bytes()).unwrap();
    assert_eq!((told.head.seq, told.record.event), (6, Event::Broken));
    assert!(told.record.reasons[0].contains(&heads[4].sha256), "{told:?}");
}

#[test]
fn a_trail_that_vanishes_under_a_process_is_said_in_the_next() {
    let dir = five();
    let mut trail = Trail::new(dir.path());
    trail.append(AT, reload(6)).unwrap();
    fs::remove_file(dir.path().join(FILE_NAME)).unwrap();
    assert_eq!(trail.append(AT, reload(7)).unwrap().seq, 8);
    let found = verify(dir.path()).broken.unwrap();
    assert_eq!(
        (found.line, &*found.what),
        (1, "lines 1 to 6 are missing, and no line says that they were dropped")
    );
}

#[test]
fn a_line_cut_anywhere_is_kept_noted_and_chained_over() {
    let whole = fs::read(five().path().join(FILE_NAME)).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in last + 1..whole.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), &whole[..end]).unwrap();
        let checked = verify(dir.path());
        assert_eq!(checked.broken, None, "cut at {end}");
        let after = go_on(dir.path());
        if end == whole.len() - 1 {
            assert_eq!(events(&after), [Event::Start], "only the line feed is missing");
        } else {
            assert!(checked.rest.unwrap().is_torn, "cut at {end}");
            assert_eq!(events(&after), [Event::Torn, Event::Start], "cut at {end}");
        }
        let checked = verify(dir.path());
        assert_eq!((checked.broken, checked.rest), (None, None), "cut at {end}");
        assert!(fs::read(dir.path().join(FILE_NAME)).unwrap().starts_with(&whole[..end]), "kept");
        // And what was kept is held by the chain as well.
        if end > last + 1 && end < whole.len() - 1 {
            let mut bytes = fs::read(dir.path().join(FILE_NAME)).unwrap();
            bytes[last] ^= 1;
            fs::write(dir.path().join(FILE_NAME), bytes).unwrap();
            assert_eq!(verify(dir.path()).broken.unwrap().line, 5, "cut at {end}");
        }
    }
}

#[test]
fn accidents_on_the_way_back_are_accidents_too() {
    // Cut within a line, and then within the lines that say so, at every byte.
    let dir = five();
    let path = dir.path().join(FILE_NAME);
    let whole = fs::read(&path).unwrap();
    let cut = whole.len() - 30;
    fs::write(&path, &whole[..cut]).unwrap();
    go_on(dir.path());
    let told = fs::read(&path).unwrap();
    for end in cut + 1..told.len() {
        fs::write(&path, &told[..end]).unwrap();
        go_on(dir.path());
        let checked = verify(dir.path());
        assert_eq!((checked.broken, checked.rest), (None, None), "cut at {end}");
    }
}

#[test]
fn a_full_file_is_followed_by_the_next_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut trail = Trail::new(dir.path()).with_bounds(1_000, 3);
    for number in 1..=100 {
        trail.append(AT, reload(number)).unwrap();
    }
    let files = files::all(dir.path()).unwrap();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() < 2_000);
    }
    let checked = verify(dir.path());
    assert_eq!(checked.broken, None);
    assert!(checked.first.unwrap() > 80);
    // A process that comes later goes on, and what is taken away by hand is missed.
    assert_eq!(events(&go_on(dir.path())), [Event::Start]);
    for (removed, said) in [(0, "no line says that they were dropped"), (1, "of the trail are missing")] {
        let kept = fs::read(&files[removed]).unwrap();
        fs::remove_file(&files[removed]).unwrap();
        let found = verify(dir.path()).broken.unwrap();
        assert!(found.what.contains(said), "{found:?}");
        fs::write(&files[removed], kept).unwrap();
    }
    assert_eq!(verify(dir.path()).broken, None);
}

#[test]
fn what_cannot_be_written_is_an_error_and_the_chain_goes_on_after_it() {
    let dir = five();
    let path = dir.path().join(FILE_NAME);
    let aside = dir.path().join("aside");
    let mut trail = Trail::new(dir.path());
    trail.append(AT, reload(6)).unwrap();
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap();
    for _ in 0..2 {
        let TrailError::Io { path: named, .. } = trail.append(AT, reload(7)).unwrap_err();
        assert_eq!(named, path);
    }
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink(&aside, &path).unwrap();
    assert!(trail.append(AT, reload(7)).is_err(), "a link leads elsewhere");
    fs::remove_file(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    assert_eq!(trail.append(AT, reload(7)).unwrap().seq, 7);
    let checked = verify(dir.path());
    assert_eq!((checked.lines, checked.broken), (7, None));
}

#[test]
fn what_another_process_has_written_meanwhile_is_continued() {
    let dir = five();
    let mut first = Trail::new(dir.path());
    first.append(AT, reload(6)).unwrap();
    // A successor that serves for a moment and fails.
    Trail::new(dir.path()).append(AT, Record::new(Event::Start)).unwrap();
    assert_eq!(first.append(AT, reload(8)).unwrap().seq, 8);
    assert_eq!(verify(dir.path()).broken, None);
}

#[test]
fn garbage_is_said_and_nothing_of_it_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    fs::write(&path, b"{\"at\":1,\"event\":\"intent\"}\n\x1b[2J").unwrap();
    let after = go_on(dir.path());
    assert_eq!(events(&after), [Event::Broken, Event::Start], "nothing in it is of ours");
    assert!(fs::read(&path).unwrap().starts_with(b"{\"at\":1"));
    assert!(dir.path().join("audit-000001.jsonl").symlink_metadata().is_err());
}

#[test]
fn whoever_looks_sees_once_that_the_file_is_another() {
    let dir = five();
    let mut trail = Trail::new(dir.path());
    assert!(trail.look().is_none(), "nothing to compare with");
    trail.append(AT, reload(6)).unwrap();
    assert!(trail.look().is_none());
    let all = lines(dir.path());
    rewrite(dir.path(), &all[..3]);
    let found = trail.look().unwrap().unwrap();
    assert_eq!((found.head.unwrap().seq, found.last_at.as_deref()), (3, Some("2026-11-20T00:00:00Z")));
    assert!(trail.look().is_none(), "that was said");
    fs::remove_file(dir.path().join(FILE_NAME)).unwrap();
    assert_eq!(trail.look().unwrap().unwrap().head, None);
    trail.append(AT, reload(7)).unwrap();
    assert!(trail.look().is_none());
}

#[test]
fn a_whole_object_without_its_digest_is_no_line_that_is_being_written() {
    for forged in [r#"{"seq":6,"event":"override","reasons":["forged"]}"#, r#"{"seq":6}"#] {
        for end in ["", "\n"] {
            let dir = five();
            let mut text = fs::read(dir.path().join(FILE_NAME)).unwrap();
            text.extend_from_slice(format!("{forged}{end}").as_bytes());
            fs::write(dir.path().join(FILE_NAME), text).unwrap();
            assert_eq!(verify(dir.path()).breaks, 1, "{forged}{end:?}");
        }
    }
}

#[test]
fn a_trail_of_before_there_were_more_fields_is_whole_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let old = include_bytes!("../../tests/golden/audit_trail_before_approved_by.jsonl");
    fs::write(dir.path().join(FILE_NAME), old).unwrap();
    assert_eq!(events(&go_on(dir.path())), [Event::Start]);
    let mut records = Vec::new();
    let checked = check(&files::all(dir.path()).unwrap(), Checker::default(), true, |line| {
        records.push(line.record.clone());
    })
    .unwrap();
    assert_eq!((checked.lines, checked.breaks, checked.broken, checked.rest), (4, 0, None, None));
    let intent = &records[1];
    assert_eq!(
        (intent.who.as_slice(), intent.why.as_deref()),
        (&["ann".to_owned()][..], Some("cell-2 is slow"))
    );
    assert!(intent.approved_by.is_empty() && intent.candidate.is_none() && intent.plan.is_none());
}
