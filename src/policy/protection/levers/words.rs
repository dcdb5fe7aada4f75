//! A lever in words: one line, of which [`Lever::parse`] reads what [`Display`](fmt::Display) writes. A word with a space, a
//! quote or a backslash in it stands in double quotes.

use std::fmt;
use std::num::NonZeroU32;

use super::{Held, Lever, LeverKind, Most, OperatorPass, Place, Policy, Shed};
use crate::policy::guard::Mode;
use crate::policy::ids::{AccountId, Label};
use crate::policy::line::is_deceptive;
use crate::policy::snapshot::EndpointAddress;

/// Most bytes of the line: the longest client family, quoted, and some names.
const MAX_BYTES: usize = 1_024;

/// Longest name of a client family (`clients.yaml`).
const MAX_CLIENT: usize = 256;

/// Why words are no lever: what stands there, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found}; expected {expected}")]
pub struct WordsError {
    /// What stands there.
    pub found: String,
    /// What could stand there.
    pub expected: String,
}

const MODES: [Mode; 3] = [Mode::Off, Mode::Observe, Mode::Enforce];

impl Lever {
    /// Reads the words.
    ///
    /// # Errors
    /// They are no lever, or more than one.
    pub fn parse(text: &str) -> Result<Self, WordsError> {
        let mut words = Words::new(text)?;
        let kinds = LeverKind::ALL.map(LeverKind::as_str);
        let kind = words.one_of("the name of a lever", &kinds)?;
        let lever = match LeverKind::ALL[kind] {
            LeverKind::Cap => cap(&mut words)?,
            LeverKind::Shed => Self::Shed(shed(&mut words)?),
            LeverKind::Drain => Self::Drain(place(&mut words)?),
            LeverKind::Evacuate => {
                words.keyword("zone")?;
                Self::Evacuate { zone: words.label("the name of a zone")? }
            }
            LeverKind::Ramp => {
                words.keyword("set")?;
                words.keyword("cell")?;
                let cell = words.label(CELL)?;
                words.keyword("rps")?;
                Self::Ramp { cell, rps: words.number("requests a second")? }
            }
            LeverKind::Hold => hold(&mut words)?,
            LeverKind::Policy => policy(&mut words)?,
            LeverKind::Operators => operators(&mut words)?,
            LeverKind::Brownout => {
                words.keyword("cancel")?;
                let id = words.label("the id of a brownout, or all")?;
                Self::Brownout { id: Some(id).filter(|id| id.as_str() != ALL_BROWNOUTS) }
            }
        };
        words.end()?;
        Ok(lever)
    }
}

/// In place of the id of one; no brownout has it for an id.
pub const ALL_BROWNOUTS: &str = "all";

const CELL: &str = "the name of a cell";

fn cap(words: &mut Words) -> Result<Lever, WordsError> {
    words.keyword("cell")?;
    let cell = words.label(CELL)?;
    let most = match words.one_of("how it is counted", &["in_flight", "rps"])? {
        0 => Most::InFlight(words.number("requests at once")?),
        _ => Most::Rps(words.number("requests a second")?),
    };
    Ok(Lever::Cap { cell, most })
}

fn shed(words: &mut Words) -> Result<Shed, WordsError> {
    let percent = words.parsed("a share from 1% to 100%", |word| {
        let digits = word.strip_suffix('%').unwrap_or(word);
        plain(digits)?.parse().ok().filter(|percent| (1..=100).contains(percent))
    })?;
    let mut shed = Shed { percent, cell: None, account: None, client: None, class: None };
    const CONDITIONS: [&str; 4] = ["cell", "account", "client", "class"];
    while !words.is_over() {
        let condition = words.one_of("a condition", &CONDITIONS)?;
        let again = match condition {
            0 => shed.cell.replace(words.label(CELL)?).is_some(),
            1 => shed.account.replace(words.account()?).is_some(),
            2 => shed.client.replace(words.client()?).is_some(),
            _ => shed.class.replace(words.label("the name of an endpoint class")?).is_some(),
        };
        if again {
            let found = format!("{} stands twice", CONDITIONS[condition]);
            return Err(WordsError { found, expected: "each condition once".to_owned() });
        }
    }
    if shed.cell.is_none() && shed.account.is_none() && shed.client.is_none() && shed.class.is_none() {
        let found = "it would shed everything".to_owned();
        return Err(WordsError {
            found,
            expected: "at least one of cell, account, client, class".to_owned(),
        });
    }
    Ok(shed)
}

fn place(words: &mut Words) -> Result<Place, WordsError> {
    Ok(match words.one_of("what is drained", &["endpoint", "group", "zone", "cell"])? {
        0 => Place::Endpoint(words.parsed("the address of an endpoint, such as 10.0.0.7:8080", address)?),
        1 => Place::Group { cell: words.label(CELL)?, zone: words.label("the zone of the group")? },
        2 => Place::Zone(words.label("the name of a zone")?),
        _ => Place::Cell(words.label(CELL)?),
    })
}

fn hold(words: &mut Words) -> Result<Lever, WordsError> {
    let whose = match words.one_of("whose requests wait", &["account", "cell"])? {
        0 => Held::Account(words.account()?),
        _ => Held::Cell(words.label(CELL)?),
    };
    let writes_only = !words.is_over();
    if writes_only {
        words.keyword("writes")?;
    }
    Ok(Lever::Hold { whose, writes_only })
}

fn policy(words: &mut Words) -> Result<Lever, WordsError> {
    words.keyword("set")?;
    let policy = Policy::ALL[words.one_of("the name of a policy", &Policy::ALL.map(Policy::as_str))?];
    let mode = MODES[words.one_of("a mode", &MODES.map(Mode::as_str))?];
    Ok(Lever::Policy { policy, mode, cell: words.of_a_cell()? })
}

fn operators(words: &mut Words) -> Result<Lever, WordsError> {
    words.keyword("permits")?;
    let permits = words.number("requests at once")?;
    words.keyword("pass")?;
    let pass = words.parsed("the SHA-256 of a pass, 64 hex digits", OperatorPass::parse)?;
    Ok(Lever::Operators { permits, pass, cell: words.of_a_cell()? })
}

/// As the configuration reads one; whether a cell has it is found out from what serves.
fn address(text: &str) -> Option<EndpointAddress> {
    if let Ok(address) = text.parse() {
        return Some(EndpointAddress::Socket(address));
    }
    let (name, port) = text.rsplit_once(':')?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!name.is_empty() && name.bytes().all(is_name))
        .then(|| EndpointAddress::Name(name.to_ascii_lowercase().into(), port))
}

/// Digits alone: `+5` and `050` are slips of the fingers.
fn plain(digits: &str) -> Option<&str> {
    (!digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

/// The words that are left.
struct Words(std::vec::IntoIter<String>);

impl Words {
    fn new(text: &str) -> Result<Self, WordsError> {
        let wrong = |found: String, expected: &str| WordsError { found, expected: expected.to_owned() };
        if text.len() > MAX_BYTES {
            return Err(wrong(format!("it has {} bytes", text.len()), &format!("at most {MAX_BYTES}")));
        }
        if let Some(char) = text.chars().find(|char| is_deceptive(*char)) {
            return Err(wrong(format!("it has the character {char:?} in it"), "one line of text"));
        }
        let (mut words, mut chars) = (Vec::new(), text.chars().peekable());
        loop {
            while chars.next_if_eq(&' ').is_some() {}
            let Some(first) = chars.next() else { return Ok(Self(words.into_iter())) };
            let mut word = String::new();
            if first != '"' {
                word.push(first);
                while let Some(char) = chars.next_if(|char| *char != ' ') {
                    word.push(char);
                }
                words.push(word);
                continue;
            }
            loop {
                let char = match chars.next() {
                    Some('\\') => chars.next(),
                    Some('"') => break,
                    char => char,
                };
                word.push(
                    char.ok_or_else(|| wrong(format!("the quote before {word:?} is open"), "its end"))?,
                );
            }
            words.push(word);
        }
    }

    fn is_over(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    /// A word of which something can be made.
    fn parsed<T>(&mut self, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, WordsError> {
        let word = self.0.next();
        let found =
            || word.as_ref().map_or_else(|| "it ends here".to_owned(), |word| format!("found {word:?}"));
        let value = word.as_deref().and_then(read);
        value.ok_or_else(|| WordsError { found: found(), expected: expected.to_owned() })
    }

    /// The position of a word among these.
    fn one_of(&mut self, what: &str, all: &[&str]) -> Result<usize, WordsError> {
        let expected = format!("{what}: {}", all.join(", "));
        self.parsed(&expected, |word| all.iter().position(|known| *known == word))
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), WordsError> {
        self.parsed(&format!("the word {keyword}"), |word| (word == keyword).then_some(()))
    }

    fn label(&mut self, expected: &str) -> Result<Label, WordsError> {
        self.parsed(expected, |word| Label::parse(word).ok())
    }

    fn account(&mut self) -> Result<AccountId, WordsError> {
        self.parsed("the number of an account", |word| AccountId::parse(word.as_bytes()).ok())
    }

    fn client(&mut self) -> Result<Box<str>, WordsError> {
        self.parsed("the name of a client family", |word| {
            (1..=MAX_CLIENT).contains(&word.len()).then(|| word.into())
        })
    }

    fn number(&mut self, of: &str) -> Result<NonZeroU32, WordsError> {
        self.parsed(&format!("a whole number of {of}, from 1"), |word| plain(word)?.parse().ok())
    }

    /// `cell NAME` at the end, or nothing.
    fn of_a_cell(&mut self) -> Result<Option<Label>, WordsError> {
        if self.is_over() {
            return Ok(None);
        }
        self.keyword("cell")?;
        self.label(CELL).map(Some)
    }

    fn end(&mut self) -> Result<(), WordsError> {
        match self.0.next() {
            None => Ok(()),
            Some(word) => {
                let found = format!("found {word:?} after the end");
                Err(WordsError { found, expected: "nothing more".to_owned() })
            }
        }
    }
}

impl fmt::Display for Lever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().as_str())?;
        match self {
            Self::Cap { cell, most: Most::InFlight(most) } => write!(f, " cell {cell} in_flight {most}"),
            Self::Cap { cell, most: Most::Rps(most) } => write!(f, " cell {cell} rps {most}"),
            Self::Shed(shed) => shed.fmt(f),
            Self::Drain(Place::Endpoint(address)) => write!(f, " endpoint {address}"),
            Self::Drain(Place::Group { cell, zone }) => write!(f, " group {cell} {zone}"),
            Self::Drain(Place::Zone(zone)) | Self::Evacuate { zone } => write!(f, " zone {zone}"),
            Self::Drain(Place::Cell(cell)) => write!(f, " cell {cell}"),
            Self::Ramp { cell, rps } => write!(f, " set cell {cell} rps {rps}"),
            Self::Hold { whose, writes_only } => {
                match whose {
                    Held::Account(account) => write!(f, " account {account}")?,
                    Held::Cell(cell) => write!(f, " cell {cell}")?,
                }
                f.write_str(if *writes_only { " writes" } else { "" })
            }
            Self::Policy { policy, mode, cell } => {
                write!(f, " set {} {}", policy.as_str(), mode.as_str())?;
                cell.as_ref().map_or(Ok(()), |cell| write!(f, " cell {cell}"))
            }
            Self::Brownout { id } => {
                write!(f, " cancel {}", id.as_ref().map_or(ALL_BROWNOUTS, |id| id.as_str()))
            }
            Self::Operators { permits, cell, pass } => {
                write!(f, " permits {permits} pass {pass}")?;
                cell.as_ref().map_or(Ok(()), |cell| write!(f, " cell {cell}"))
            }
        }
    }
}

/// What follows the word `shed`.
impl fmt::Display for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { percent, cell, account, client, class } = self;
        write!(f, " {percent}%")?;
        cell.as_ref().map_or(Ok(()), |cell| write!(f, " cell {cell}"))?;
        account.as_ref().map_or(Ok(()), |account| write!(f, " account {account}"))?;
        client.as_ref().map_or(Ok(()), |client| write!(f, " client {}", in_quotes(client)))?;
        class.as_ref().map_or(Ok(()), |class| write!(f, " class {class}"))
    }
}

/// A word as it is read back: in quotes where it needs them.
pub fn in_quotes(text: &str) -> String {
    if !text.is_empty() && !text.contains([' ', '"', '\\']) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DIGEST: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn what_is_read_is_written_in_the_same_words() {
        let pass = format!("operators permits 20 pass {DIGEST}");
        let of_cell = format!("{pass} cell us1");
        for words in [
            "cap cell us1 in_flight 200",
            "cap cell us1 rps 4294967295",
            "shed 50% cell us1",
            "shed 1% account 12345",
            "shed 100% client terraform-provider-dbtcloud",
            "shed 30% cell us1 account 9223372036854775807 client curl class exports",
            r#"shed 30% client "a b \\ \" c" class exports"#,
            "drain endpoint 10.0.0.7:8080",
            "drain endpoint [::1]:8080",
            "drain endpoint cell-1.internal:443",
            "drain group us1 az-a",
            "drain zone az-a",
            "drain cell us1",
            "evacuate zone az-a",
            "ramp set cell us1 rps 100",
            "hold account 12345",
            "hold cell us1 writes",
            "policy set limit observe",
            "policy set failover off cell us1",
            "brownout cancel bo-2026-11-24",
            "brownout cancel all",
            &pass,
            &of_cell,
        ] {
            assert_eq!(Lever::parse(words).map(|lever| lever.to_string()).as_deref(), Ok(words));
        }
        // Order, spaces and quotes are free; what is written has one form.
        let free = Lever::parse("  shed  50   client \"curl\" cell us1 ").unwrap();
        assert_eq!(free.to_string(), "shed 50% cell us1 client curl");
    }

    #[test]
    fn what_is_wrong_is_said_with_what_was_expected() {
        let check = |words: &str, expect: &str| {
            let error = Lever::parse(words).map(|lever| lever.to_string()).unwrap_err().to_string();
            assert_eq!(error, expect, "{words:?}");
        };
        let kinds =
            "the name of a lever: cap, shed, drain, evacuate, ramp, hold, policy, operators, brownout";
        check("", &format!("it ends here; expected {kinds}"));
        check("shedd 50%", &format!("found \"shedd\"; expected {kinds}"));
        check("cap us1", "found \"us1\"; expected the word cell");
        check("cap cell US1", "found \"US1\"; expected the name of a cell");
        check("cap cell us1 200", "found \"200\"; expected how it is counted: in_flight, rps");
        for number in ["0", "-1", "+5", "05", "4294967296", "1.5", ""] {
            let found =
                if number.is_empty() { "it ends here".to_owned() } else { format!("found {number:?}") };
            let expect = format!("{found}; expected a whole number of requests a second, from 1");
            check(&format!("cap cell us1 rps {number}"), &expect);
        }
        for share in ["0%", "101%", "5.5%", "%", "050%", "+5%"] {
            check(
                &format!("shed {share} cell us1"),
                &format!("found {share:?}; expected a share from 1% to 100%"),
            );
        }
        check("shed 50%", "it would shed everything; expected at least one of cell, account, client, class");
        check("shed 5% cell a cell b", "cell stands twice; expected each condition once");
        check("shed 5% zone a", "found \"zone\"; expected a condition: cell, account, client, class");
        check("shed 5% account 0", "found \"0\"; expected the number of an account");
        check("shed 5% client \"\"", "found \"\"; expected the name of a client family");
        check("shed 5% client \"a", "the quote before \"a\" is open; expected its end");
        let client = "c".repeat(257);
        check(
            &format!("shed 5% client {client}"),
            &format!("found {client:?}; expected the name of a client family"),
        );
        let address = "the address of an endpoint, such as 10.0.0.7:8080";
        for wrong in ["10.0.0.7", "10.0.0.7:0x", "a b:80", ":80", "a:0"] {
            let word = in_quotes(wrong);
            check(&format!("drain endpoint {word}"), &format!("found {wrong:?}; expected {address}"));
        }
        check("drain", "it ends here; expected what is drained: endpoint, group, zone, cell");
        check("drain group us1", "it ends here; expected the zone of the group");
        check("evacuate cell us1", "found \"cell\"; expected the word zone");
        check("ramp cell us1 rps 1", "found \"cell\"; expected the word set");
        check("hold account 1 reads", "found \"reads\"; expected the word writes");
        check(
            "policy set lmit off",
            "found \"lmit\"; expected the name of a policy: bulkhead, health, limit, queue, failover, recovery, verdict",
        );
        check("policy set limit on", "found \"on\"; expected a mode: off, observe, enforce");
        check(
            "operators permits 1 pass secret",
            "found \"secret\"; expected the SHA-256 of a pass, 64 hex digits",
        );
        check("brownout bo-1", "found \"bo-1\"; expected the word cancel");
        check("brownout cancel", "it ends here; expected the id of a brownout, or all");
        check("drain cell us1 now", "found \"now\" after the end; expected nothing more");
        check("drain cell us1\n", "it has the character '\\n' in it; expected one line of text");
        check(&"x".repeat(1_025), "it has 1025 bytes; expected at most 1024");
    }

    #[test]
    fn no_words_are_two_levers_and_none_panic() {
        let operators = format!("operators permits 5 pass {DIGEST}");
        let begins = ["", "cap cell", "shed 50%", "drain", "ramp set cell", "hold", "policy set", &operators];
        let pieces = [
            "cap",
            "shed",
            "drain",
            "evacuate",
            "ramp",
            "hold",
            "policy",
            "operators",
            "cell",
            "us1",
            "zone",
            "set",
            "rps",
            "in_flight",
            "50%",
            "7",
            "account",
            "client",
            "class",
            "group",
            "endpoint",
            "a:1",
            "limit",
            "off",
            "permits",
            "pass",
            DIGEST,
            "writes",
            "\"",
            "\\",
            "\"a b\"",
            "ä",
        ];
        let seed = 20_261_122;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut read = 0;
        for round in 0..200_000 {
            let mut words = vec![begins[random.usize(..begins.len())]];
            words.extend((0..random.usize(..7)).map(|_| pieces[random.usize(..pieces.len())]));
            let Ok(lever) = Lever::parse(&words.join(" ")) else { continue };
            read += 1;
            let again = Lever::parse(&lever.to_string());
            assert_eq!(again.as_ref(), Ok(&lever), "seed {seed}, round {round}: {words:?}");
        }
        assert!(read > 1_000, "seed {seed}: {read} lines were levers");
    }
}
