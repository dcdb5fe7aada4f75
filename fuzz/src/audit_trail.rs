//! Bytes as a file of the audit trail.

use aws_lc_rs::digest::{SHA256, digest};
use cellgate::policy::hex::hex;
use cellgate::trail::check::{Checked, Checker};
use cellgate::trail::line::NOTHING_BEFORE;
use cellgate::trail::{Event, Line, Record};

/// A chain that is found whole counts up by one, goes on with the line that we would write, and is another one or
/// broken with any byte changed. By chance no digest fits, so each line is tried with its own too, and with that of the
/// line before it where it says `PREV`. Returns whether there is a chain.
pub fn audit_trail(data: &[u8]) -> bool {
    for bytes in [data.to_vec(), sealed(data)] {
        let (checked, numbers) = check(&bytes);
        assert_eq!(checked.lines, numbers.len() as u64);
        assert_eq!(checked.broken.is_some(), checked.breaks > 0);
        if checked.broken.is_none() && checked.head.is_some() {
            whole(&bytes, &checked, &numbers);
            return true;
        }
    }
    false
}

fn check(bytes: &[u8]) -> (Checked, Vec<u64>) {
    let mut numbers = Vec::new();
    let mut checker = Checker::default();
    checker.file("audit.jsonl", bytes, |line| numbers.push(line.head.seq));
    (checker.finish(false), numbers)
}

fn whole(bytes: &[u8], checked: &Checked, numbers: &[u64]) {
    assert!(numbers.windows(2).all(|two| two[1] == two[0].saturating_add(1)), "{numbers:?}");
    assert_eq!(checked.head.as_ref().map(|head| head.seq), numbers.last().copied());
    assert!(checked.rest.as_ref().is_none_or(|rest| rest.is_torn && bytes.ends_with(&rest.bytes)));
    if checked.rest.is_none() && numbers.last() < Some(&u64::MAX) {
        let (head, line) = Line::write(checked.head.as_ref(), 0, Record::new(Event::Start));
        let feed: &[u8] = if checked.lacks_feed { b"\n" } else { b"" };
        let (longer, _) = check(&[bytes, feed, &line].concat());
        assert!(longer.broken.is_none() && longer.head == Some(head), "{:?}", longer.broken);
    }
    // Any byte, chosen by the input alone.
    let at = digest(&SHA256, bytes)
        .as_ref()
        .iter()
        .fold(0, |at, byte| (at * 256 + usize::from(*byte)) % bytes.len());
    let mut altered = bytes.to_vec();
    altered[at] ^= 1;
    let (altered, _) = check(&altered);
    let same = altered.broken.is_none() && altered.head == checked.head && altered.rest == checked.rest;
    assert!(!same, "a changed byte at {at}");
}

/// Each line with its digest at its end, and that of the one before where it asks for it.
fn sealed(data: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    let mut prev = NOTHING_BEFORE.to_owned();
    for line in data.split(|byte| *byte == b'\n') {
        let body = match line.windows(4).position(|four| four == b"PREV") {
            Some(at) => [&line[..at], prev.as_bytes(), &line[at + 4..]].concat(),
            None => line.to_vec(),
        };
        prev = hex(digest(&SHA256, &body));
        sealed.extend_from_slice(&body);
        sealed.extend_from_slice(format!(",\"sha256\":\"{prev}\"}}\n").as_bytes());
    }
    sealed
}
