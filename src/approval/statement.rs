//! What people sign: seven lines of text, the same for the same values, byte for byte. Knows nothing of signatures.

use std::fmt;

use super::refusal::{Malformed, Refusal};
use crate::config::problem::quoted;
use crate::config::secret::unhex;
use crate::config::time::{parse_moment, show_moment};
use crate::policy::hex::hex;

/// The namespace of the signatures (`ssh-keygen -Y sign -n`) and the first line of the statement, so that a signature
/// for anything else is no approval. The number is the version of the text.
pub const NAMESPACE: &str = "cellgate-plan@v1";

/// How a base is written that is not there: a start from nothing.
pub const NO_BASE: &str = "none";

/// Longest name of a fleet: that of a DNS label, which it often is.
const MAX_FLEET: usize = 63;

/// What a name of a fleet is, for messages.
pub const FLEET: &str = "1 to 63 letters, digits, dots, dashes or underscores";

/// What a digest is, for messages.
pub const DIGEST: &str = "64 lower-case hexadecimal digits";

/// The name of the replicas that a change goes to: an approval for one fleet is none for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetId(Box<str>);

impl FleetId {
    /// Reads it; [`FLEET`] says what is one.
    pub fn parse(text: &str) -> Option<Self> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let good = (1..=MAX_FLEET).contains(&text.len()) && text.bytes().all(known);
        good.then(|| Self(text.into()))
    }
}

impl fmt::Display for FleetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SHA-256: of a plan's text or of a configuration's content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Reads it; [`DIGEST`] says what is one.
    pub fn parse(text: &str) -> Option<Self> {
        bytes(text).map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes one approval differ from another of the same plan. As long as a random UUID: two never meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub [u8; 16]);

impl Nonce {
    /// Reads 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        bytes(text).map(Self)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The values of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Where the change may go.
    pub fleet: FleetId,
    /// Digest of the plan that was read.
    pub plan: Digest,
    /// Content hash of the configuration that may begin to serve.
    pub candidate: Digest,
    /// Content hash of the configuration that serves until then; `None` for a start from nothing.
    pub base: Option<Digest>,
    /// Different in every approval.
    pub nonce: Nonce,
    /// Seconds since the Unix epoch from which on it counts no more.
    pub expires: i64,
}

impl Statement {
    /// The text that is signed. Ends with a line break.
    pub fn text(&self) -> String {
        let Self { fleet, plan, candidate, nonce, .. } = self;
        let (base, expires) = (show_base(self.base), show_moment(self.expires));
        format!(
            "{NAMESPACE}\nfleet: {fleet}\nplan: {plan}\ncandidate: {candidate}\nbase: {base}\nnonce: {nonce}\n\
             expires: {expires}\n"
        )
    }

    /// Reads the text, which must be exactly what [`text`](Self::text) makes of it.
    ///
    /// # Errors
    /// [`Refusal::WrongNamespace`] of another first line, else [`Refusal::Malformed`].
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.contains('\r') {
            let what = "the lines end with CR LF, and the signature is over lines that end with LF";
            let expected = "the file as it was signed (git: mark *.approval as binary in .gitattributes)";
            return Err(Malformed::whole(what, expected).into());
        }
        let first = text.split('\n').next().unwrap_or_default();
        if first != NAMESPACE {
            return Err(Refusal::WrongNamespace { found: quoted(first) });
        }
        let mut lines = Lines { left: text.split('\n').skip(1), number: 1 };
        let statement = Self {
            fleet: lines.value("fleet", FLEET, FleetId::parse)?,
            plan: lines.value("plan", DIGEST, Digest::parse)?,
            candidate: lines.value("candidate", DIGEST, Digest::parse)?,
            base: lines.value("base", "64 lower-case hexadecimal digits, or none", parse_base)?,
            nonce: lines.value("nonce", "32 lower-case hexadecimal digits", Nonce::parse)?,
            expires: lines.value("expires", "a moment in UTC, such as 2026-11-01T00:00:00Z", parse_moment)?,
        };
        // One line break ends the last line, and nothing comes behind it.
        if lines.left.next() != Some("") || lines.left.next().is_some() {
            let what = "there is more, or no line break, behind the expiry";
            return Err(Malformed::at(lines.number + 1, what, "the signature").into());
        }
        Ok(statement)
    }
}

/// Reads a base as a statement has it: a digest, or [`NO_BASE`].
pub fn parse_base(text: &str) -> Option<Option<Digest>> {
    if text == NO_BASE { Some(None) } else { Digest::parse(text).map(Some) }
}

/// Writes a base as a statement has it.
pub fn show_base(base: Option<Digest>) -> String {
    base.map_or_else(|| NO_BASE.to_owned(), |base| base.to_string())
}

struct Lines<'a, I: Iterator<Item = &'a str>> {
    left: I,
    /// Of the line that was read last, from 1.
    number: u32,
}

impl<'a, I: Iterator<Item = &'a str>> Lines<'a, I> {
    fn value<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Malformed> {
        self.number += 1;
        let line = self.left.next().unwrap_or_default();
        let value = line.strip_prefix(key).and_then(|line| line.strip_prefix(": "));
        value.and_then(parse).ok_or_else(|| {
            Malformed::at(
                self.number,
                format!("found {}", quoted(line)),
                format!("\"{key}: \" and {expected}"),
            )
        })
    }
}

/// Lower-case digits only, so that there is one text for one value.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes: [u8; N] = unhex(text)?.try_into().ok()?;
    (hex(bytes) == text).then_some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn example() -> Statement {
        Statement {
            fleet: FleetId::parse("prod-us.1").unwrap(),
            plan: Digest([0x1a; 32]),
            candidate: Digest([0x2b; 32]),
            base: Some(Digest([0x3c; 32])),
            nonce: Nonce([0x4d; 16]),
            expires: 1_795_219_200,
        }
    }

    #[test]
    fn the_text_is_this_and_is_read_back() {
        let text = example().text();
        let expected = format!(
            "cellgate-plan@v1\nfleet: prod-us.1\nplan: {}\ncandidate: {}\nbase: {}\nnonce: {}\n\
             expires: 2026-11-21T00:00:00Z\n",
            "1a".repeat(32),
            "2b".repeat(32),
            "3c".repeat(32),
            "4d".repeat(16)
        );
        assert_eq!(text, expected);
        assert_eq!(Statement::parse(&text), Ok(example()));
        let from_nothing = Statement { base: None, ..example() };
        assert!(from_nothing.text().contains("\nbase: none\n"));
        assert_eq!(Statement::parse(&from_nothing.text()), Ok(from_nothing));
    }

    #[test]
    fn every_other_text_is_refused_with_its_line() {
        let text = example().text();
        let check = |from: &str, to: &str, expect: &str| {
            assert_eq!(text.matches(from).count(), 1, "{from:?}");
            let refusal = Statement::parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(refusal.contains(expect), "{from:?} to {to:?}: {refusal}");
        };
        check("plan@v1", "plan@v2", "\"cellgate-plan@v2\"");
        check("fleet: prod-us.1", "fleet: prod us", "line 2: found \"fleet: prod us\"");
        check("fleet: prod-us.1\n", "", "line 2: ");
        check("plan: 1a", "plan: 1A", "line 3: ");
        check("plan: 1a", "plan:  1a", "line 3: ");
        check("candidate: 2b", "candidate: ", "line 4: ");
        check("base: 3c", "base: 3", "line 5: ");
        check("nonce: 4d", "nonce: 4d4d", "line 6: ");
        check("2026-11-21T00:00:00Z", "2026-11-21T00:00:00+01:00", "line 7: ");
        check("00:00:00Z\n", "00:00:00Z", "line 8: ");
        check("00:00:00Z\n", "00:00:00Z\n\n", "line 8: ");
        check("00:00:00Z\n", "00:00:00Z\nmore\n", "line 8: ");
        check("00:00:00Z\n", "00:00:00Z\r\n", "CR LF");
        assert!(Statement::parse("").is_err());
    }
}
