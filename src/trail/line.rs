//! One line of the audit trail: what it says, how it is written, how it is read back. A line is a JSON object
//! whose last field, `sha256`, is the digest of the bytes before it; `prev` is that of the line before.
//! Whether lines follow each other is [`check`](super::check)'s business.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::config::time::show_moment;
use crate::policy::hex::hex;

/// What the first line of a chain has in place of a line before it.
pub const NOTHING_BEFORE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Longest text of a field. The counts of a difference come first; single rows of a million that move need no
/// second home.
const MAX_TEXT: usize = 16 * 1024;

/// Most people and most reasons of a line: hundreds of problems are corrected from the files, not from here.
const MAX_LISTED: usize = 32;

/// Longest item of a list: a problem with its path, what was expected and a hint.
const MAX_ITEM: usize = 512;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A process has begun to serve.
    Start,
    /// A reload is about to swap. Without its outcome, the process died in between.
    Intent,
    /// A reload has ended.
    Outcome,
    /// An operator takes the responsibility, or gives it back (`docs/approvals.md`).
    Override,
    /// An operator keeps or restores what served before.
    Rollback,
    /// What becomes of a lever (`docs/levers.md`).
    Lever,
    /// A call of the admin plane that has no line of another kind (`docs/access.md`).
    Call,
    /// The file before this line ends within a line: whoever wrote it died, or the disk was full.
    Torn,
    /// The lines before this one are not what was written.
    Broken,
    /// The oldest lines were removed, because there is a bound.
    Dropped,
    /// What a later version of cellgate writes. Never written.
    #[serde(other)]
    Unknown,
}

/// A configuration that serves, served or is to serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Number of the generation, counted from 1 in each process.
    pub generation: u64,
    /// The configuration hash, lower-case hex.
    pub hash: String,
}

/// Bytes that are no line and stand before a line that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Torn {
    /// How many, with the line feed that ends them.
    pub bytes: u64,
    /// Their SHA-256, lower-case hex. Not `sha256`: a line cut behind that would look like a whole one.
    pub digest: String,
}

/// What a line says, beside its place in the chain. What does not apply is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it is about.
    pub event: Event,
    /// What set it off: `signal`, `admin`, `file_change`, `start`; of a lever `time`, where nobody asked; of a call its door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// Who has asked for it on the admin plane, and how that is known: `token:alice`, `certificate:...`, `unix:root`. Checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Who has approved it: keys and names that were checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<String>,
    /// The author that the configuration names: what approvals go by, and signatures cover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// People that somebody names, checked by nobody. Lines of earlier versions have approvers and authors here, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub who: Vec<String>,
    /// In their words, what it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Version>,
    /// What is to serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Version>,
    /// Of an outcome: the configuration hash of what was offered, where that is not what serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// Digest of the plan, where one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// What changes, in counts and names; of a lever its number and words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<String>,
    /// How a reload has ended, or what became of a lever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Problems, objections, fields: whatever explains the line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// With [`Event::Rollback`]: the number of what is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<u64>,
    /// With [`Event::Torn`] and [`Event::Broken`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn: Option<Torn>,
    /// With [`Event::Dropped`]: the last line that was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_to: Option<u64>,
}

/// The place of a line in the chain: its number, and the digest that the next line repeats. Of the last line it is the
/// head: whoever keeps it elsewhere can later tell whether the trail still holds that line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Counts up by one, over all files and processes, from 1.
    pub seq: u64,
    /// Lower-case hex.
    pub sha256: String,
}

/// A line that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its own place.
    pub head: Head,
    /// The digest of the line before it, as it says.
    pub prev: String,
    /// When, as RFC 3339.
    pub at: String,
    /// The rest.
    pub record: Record,
}

/// Why bytes are no line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotALine {
    /// They do not end as a line does.
    NoSeal,
    /// Their digest is another than they say.
    Digest {
        /// What it is.
        computed: String,
        /// What stands there.
        stated: String,
    },
    /// Their digest is right, and they are nothing that cellgate writes.
    Foreign,
}

#[derive(Serialize, Deserialize)]
struct Body {
    seq: u64,
    prev: String,
    at: String,
    #[serde(flatten)]
    record: Record,
}

const START: &[u8] = b"{\"seq\":";
const SEAL: &[u8] = b",\"sha256\":\"";
const END: &[u8] = b"\"}";

/// Hex digits of a SHA-256.
const DIGITS: usize = 64;

impl Record {
    /// About `event`, and nothing else said.
    pub fn new(event: Event) -> Self {
        Self {
            event,
            trigger: None,
            caller: None,
            approved_by: Vec::new(),
            author: None,
            who: Vec::new(),
            why: None,
            from: None,
            to: None,
            candidate: None,
            plan: None,
            changes: None,
            outcome: None,
            reasons: Vec::new(),
            restores: None,
            torn: None,
            dropped_to: None,
        }
    }

    /// With every text and list cut to its bound.
    fn bounded(mut self) -> Self {
        for text in
            [&mut self.caller, &mut self.author, &mut self.why, &mut self.changes].into_iter().flatten()
        {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
        }
        for list in [&mut self.approved_by, &mut self.who, &mut self.reasons] {
            let more = list.len().saturating_sub(MAX_LISTED);
            list.truncate(MAX_LISTED);
            for item in &mut *list {
                item.truncate(item.floor_char_boundary(MAX_ITEM));
            }
            if more > 0 {
                list.push(format!("and {more} more"));
            }
        }
        self
    }
}

impl Line {
    /// Writes the line that follows `before`: its place, and its bytes with the line feed.
    pub fn write(before: Option<&Head>, at: i64, record: Record) -> (Head, Vec<u8>) {
        let seq = before.map_or(1, |head| head.seq.saturating_add(1));
        let prev = before.map_or(NOTHING_BEFORE, |head| &head.sha256).to_owned();
        let body = Body { seq, prev, at: show_moment(at), record: record.bounded() };
        let mut bytes = serde_json::to_vec(&body).expect("texts and numbers always serialise");
        let brace = bytes.pop();
        debug_assert_eq!(brace, Some(b'}'));
        let sha256 = sha256(&bytes);
        for piece in [SEAL, sha256.as_bytes(), END, b"\n"] {
            bytes.extend_from_slice(piece);
        }
        (Head { seq, sha256 }, bytes)
    }

    /// Reads a line, without its line feed.
    ///
    /// # Errors
    /// It is none.
    pub fn read(bytes: &[u8]) -> Result<Self, NotALine> {
        let (body, stated) = unseal(bytes).ok_or(NotALine::NoSeal)?;
        let computed = sha256(body);
        if computed != stated {
            return Err(NotALine::Digest { computed, stated: stated.to_owned() });
        }
        let object = [body, b"}"].concat();
        let body: Body = serde_json::from_slice(&object).map_err(|_| NotALine::Foreign)?;
        let Body { seq, prev, at, record } = body;
        Ok(Self { head: Head { seq, sha256: computed }, prev, at, record })
    }

    /// As JSON, with its digest.
    pub fn to_json(&self) -> serde_json::Value {
        let body = Body {
            seq: self.head.seq,
            prev: self.prev.clone(),
            at: self.at.clone(),
            record: self.record.clone(),
        };
        let mut json = serde_json::to_value(body).expect("texts and numbers always serialise");
        json["sha256"] = self.head.sha256.as_str().into();
        json
    }
}

impl Torn {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, digest: sha256(bytes) }
    }
}

/// Whether bytes are how a line begins and not how one ends: what is left of it when its writer dies. A whole object without
/// its digest is no beginning of a line, whose last brace stands behind that.
pub fn may_be_torn(bytes: &[u8]) -> bool {
    unseal(bytes).is_none()
        && (bytes.starts_with(START) || START.starts_with(bytes))
        && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_err()
}

impl Event {
    /// As it stands in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Override => "override",
            Self::Rollback => "rollback",
            Self::Lever => "lever",
            Self::Call => "call",
            Self::Torn => "torn",
            Self::Broken => "broken",
            Self::Dropped => "dropped",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for NotALine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSeal => f.write_str("it does not end with its digest"),
            Self::Digest { .. } => f.write_str("its bytes do not have the digest that it states"),
            Self::Foreign => f.write_str("its digest is right and cellgate did not write it"),
        }
    }
}

/// What the digest is of, and the digest.
fn unseal(bytes: &[u8]) -> Option<(&[u8], &str)> {
    let bytes = bytes.strip_suffix(END)?;
    let (bytes, digits) = bytes.split_at_checked(bytes.len().checked_sub(DIGITS)?)?;
    let body = bytes.strip_suffix(SEAL)?;
    let digits = std::str::from_utf8(digits).ok()?;
    digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some((body, digits))
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_any_other_byte_is_noticed() {
        let mut record = Record::new(Event::Intent);
        record.why = Some("because of \"quotes\",\n line feeds and ümlauts".to_owned());
        record.to = Some(Version { generation: 2, hash: "ab".to_owned() });
        let before = Head { seq: 7, sha256: sha256(b"x") };
        let (head, bytes) = Line::write(Some(&before), 1_795_132_800, record.clone());
        let (feed, line) = bytes.split_last().unwrap();
        assert_eq!(*feed, b'\n');
        let read = Line::read(line).unwrap();
        assert_eq!((read.head.seq, &read.head, &read.prev), (8, &head, &before.sha256));
        assert_eq!((read.at.as_str(), read.record), ("2026-11-20T00:00:00Z", record));
        assert!(!may_be_torn(line) && !may_be_torn(b"{\"at\":1"));
        for position in 0..line.len() {
            let mut altered = line.to_vec();
            altered[position] ^= 1;
            assert!(Line::read(&altered).is_err(), "byte {position}");
            assert!(Line::read(&line[..position]).is_err(), "cut at {position}");
            assert!(may_be_torn(&line[..position]), "cut at {position}");
        }
    }

    #[test]
    fn what_a_later_version_says_is_still_a_link_of_the_chain() {
        let body = format!(
            r#"{{"seq":1,"prev":"{NOTHING_BEFORE}","at":"2030-01-01T00:00:00Z","event":"canary","share":3"#
        );
        let line = format!("{body},\"sha256\":\"{}\"}}", sha256(body.as_bytes()));
        assert_eq!(Line::read(line.as_bytes()).unwrap().record.event, Event::Unknown);
    }

    #[test]
    fn texts_and_lists_have_a_bound() {
        let mut record = Record::new(Event::Outcome);
        record.changes = Some("ä".repeat(MAX_TEXT));
        record.reasons = vec!["\u{1}".repeat(10_000); 1_000];
        let (_, bytes) = Line::write(None, 0, record);
        let read = Line::read(&bytes[..bytes.len() - 1]).unwrap().record;
        assert_eq!(read.reasons.last().unwrap(), "and 968 more");
        assert_eq!(read.changes.unwrap().len(), MAX_TEXT);
        assert!((bytes.len() as u64) < crate::trail::MAX_LINE_BYTES, "{}", bytes.len());
    }

    #[test]
    fn every_event_is_written_as_it_is_called() {
        let all = [
            Event::Start,
            Event::Intent,
            Event::Outcome,
            Event::Override,
            Event::Rollback,
            Event::Lever,
            Event::Call,
            Event::Torn,
            Event::Broken,
            Event::Dropped,
        ];
        for event in all {
            let (_, bytes) = Line::write(None, 0, Record::new(event));
            let line = Line::read(&bytes[..bytes.len() - 1]).unwrap();
            assert_eq!((line.record.event, &line.to_json()["event"]), (event, &event.as_str().into()));
        }
    }
}
