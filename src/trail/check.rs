//! Whether the lines of the trail follow each other. Told the files one after another, oldest first; finds the first
//! place where the chain breaks, and says what was expected there.

use super::line::{Event, Head, Line, NOTHING_BEFORE, NotALine, Torn, may_be_torn};

/// A place where the chain breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// The file, as it was named.
    pub file: String,
    /// Its line, from 1.
    pub line: u64,
    /// What is wrong, for people.
    pub what: String,
    /// What would have been right.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

/// What was found out about a trail.
#[derive(Debug, Default)]
pub struct Checked {
    /// Whole lines.
    pub lines: u64,
    /// Number of the first.
    pub first: Option<u64>,
    /// The last.
    pub head: Option<Head>,
    /// Its time.
    pub last_at: Option<String>,
    /// The first place where the chain breaks.
    pub broken: Option<Break>,
    /// How many such places there are.
    pub breaks: u64,
    /// Whether a line after the last such place says that there is one.
    pub told: bool,
    /// Torn lines that a later line accounts for, as `file:line`.
    pub torn: Vec<String>,
    /// What stands behind the last whole line and is none.
    pub rest: Option<Rest>,
    /// Whether the last file ends without a line feed.
    pub lacks_feed: bool,
    /// Whether a digest that was asked for is that of a line.
    pub contains: bool,
}

/// Bytes at the end of the last file that are no line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Where they begin, as `file:line`.
    pub place: String,
    /// Whether they are the beginning of a line and no more: what a process leaves that dies while it writes.
    pub is_torn: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Takes files, oldest first.
#[derive(Debug, Default)]
pub struct Checker {
    checked: Checked,
    /// Bytes since the last whole line.
    gap: Option<Gap>,
    /// The first line's file.
    first_file: Option<String>,
    dropped_to: u64,
    wanted: Option<String>,
}

#[derive(Debug)]
struct Gap {
    file: String,
    line: u64,
    bytes: Vec<u8>,
    why: NotALine,
    is_torn: bool,
}

impl Checker {
    /// Also looks for the line with this digest.
    pub fn looking_for(sha256: Option<String>) -> Self {
        Self { wanted: sha256, ..Self::default() }
    }

    /// Takes the next file, and gives each whole line of it to `each`.
    pub fn file(&mut self, file: &str, bytes: &[u8], mut each: impl FnMut(&Line)) {
        // Only the last line of all may be one that nothing accounts for.
        self.close_gap();
        self.first_file.get_or_insert_with(|| file.to_owned());
        for (number, piece) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
            match Line::read(piece.strip_suffix(b"\n").unwrap_or(piece)) {
                Ok(line) => {
                    self.line(file, number, &line);
                    each(&line);
                }
                Err(why) => self.not_a_line(file, number, piece, why),
            }
        }
        self.checked.lacks_feed = bytes.last().is_some_and(|byte| *byte != b'\n');
    }

    /// The answer. `whole` says that all files of the trail were given, so that what is missing at its beginning is
    /// missing.
    pub fn finish(mut self, whole: bool) -> Checked {
        if let Some(Gap { file, line, bytes, is_torn, .. }) = &self.gap {
            let (place, is_torn) = (format!("{file}:{line}"), *is_torn);
            self.checked.rest = Some(Rest { place, is_torn, bytes: bytes.clone() });
            if !is_torn {
                self.close_gap();
            }
        }
        if let (true, Some(first), Some(file)) = (whole, self.checked.first, self.first_file.take())
            && first > self.dropped_to.saturating_add(1)
        {
            let missing = Break {
                file,
                line: 1,
                what: format!(
                    "lines {} to {} are missing, and no line says that they were dropped",
                    self.dropped_to + 1,
                    first - 1
                ),
                expected: format!("line {} of the trail", self.dropped_to + 1),
                found: format!("line {first}"),
            };
            self.checked.breaks += 1;
            // It comes before any other place.
            self.checked.broken = Some(missing);
        }
        self.checked
    }

    fn line(&mut self, file: &str, number: u64, line: &Line) {
        self.account_for_gap(line);
        let expected = self.checked.head.as_ref();
        let seq = expected.map_or(line.head.seq, |head| head.seq.saturating_add(1));
        let prev = match expected {
            Some(head) => &head.sha256,
            None if line.head.seq == 1 => NOTHING_BEFORE,
            // What stood before the first line is not here.
            None => &line.prev,
        };
        let wrong = if line.head.seq != seq {
            let what = match line.head.seq > seq {
                true if line.head.seq == seq + 1 => format!("line {seq} of the trail is missing"),
                true => format!("lines {seq} to {} of the trail are missing", line.head.seq - 1),
                false => "a line stands twice or out of order".to_owned(),
            };
            Some((what, format!("line {seq} of the trail (seq)"), format!("line {}", line.head.seq)))
        } else if line.prev != *prev {
            let what = "the line before this one is not the one that was there when this was written";
            let (expected, found) = (format!("prev {prev}"), format!("prev {}", line.prev));
            Some((what.to_owned(), expected, found))
        } else {
            None
        };
        if let Some((what, expected, found)) = wrong {
            self.broken(Break { file: file.to_owned(), line: number, what, expected, found });
        }
        let checked = &mut self.checked;
        checked.lines += 1;
        checked.first.get_or_insert(line.head.seq);
        checked.last_at = Some(line.at.clone());
        checked.told |= line.record.event == Event::Broken;
        checked.contains |= self.wanted.as_ref() == Some(&line.head.sha256);
        checked.head = Some(line.head.clone());
        if let Some(to) = line.record.dropped_to {
            self.dropped_to = self.dropped_to.max(to);
        }
    }

    fn not_a_line(&mut self, file: &str, number: u64, piece: &[u8], why: NotALine) {
        let text = piece.strip_suffix(b"\n").unwrap_or(piece);
        let is_torn = may_be_torn(text);
        match &mut self.gap {
            Some(gap) => {
                gap.bytes.extend_from_slice(piece);
                gap.is_torn &= is_torn;
            }
            None => {
                let (file, bytes) = (file.to_owned(), piece.to_vec());
                self.gap = Some(Gap { file, line: number, bytes, why, is_torn });
            }
        }
    }

    /// A line after bytes that are none says of which they are, or they are a break.
    fn account_for_gap(&mut self, line: &Line) {
        let Some(gap) = &self.gap else { return };
        let told = line.record.event == Event::Torn && line.record.torn == Some(Torn::of(&gap.bytes));
        if told {
            self.checked.torn.push(format!("{}:{}", gap.file, gap.line));
            self.gap = None;
        } else {
            self.close_gap();
        }
    }

    /// What was no line is a break.
    fn close_gap(&mut self) {
        let Some(Gap { file, line, why, bytes, .. }) = self.gap.take() else { return };
        let (expected, found) = match &why {
            NotALine::Digest { computed, stated } => {
                (format!("sha256 {stated}, as the line says"), format!("sha256 {computed} of its bytes"))
            }
            NotALine::NoSeal | NotALine::Foreign => {
                ("a line of JSON that ends with its sha256".to_owned(), excerpt(&bytes))
            }
        };
        self.broken(Break { file, line, what: format!("this line was changed: {why}"), expected, found });
    }

    fn broken(&mut self, broken: Break) {
        self.checked.breaks += 1;
        self.checked.told = false;
        self.checked.broken.get_or_insert(broken);
    }
}

/// The beginning of bytes that are no line, harmless on a terminal.
fn excerpt(bytes: &[u8]) -> String {
    /// Enough to recognise it.
    const SHOWN: usize = 60;
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let shown = &first[..first.len().min(SHOWN)];
    let dots = if shown.len() < first.len() { "..." } else { "" };
    format!("\"{}{dots}\" ({} bytes)", shown.escape_ascii(), bytes.len())
}
