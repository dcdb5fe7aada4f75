//! The names and numbers that identify things. Each can only be made by parsing, so a value of these
//! types is always well formed; none of them knows whether the thing exists.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Most digits an id may have: 2^63 - 1 has 19, and every API that carries these ids stores them in a
/// signed 64-bit column.
pub const MAX_ID_DIGITS: usize = 19;

/// Longest DNS label, RFC 1035 section 2.3.4.
pub const MAX_LABEL_LEN: usize = 63;

/// A customer's numeric id, as it stands in `/api/v2/accounts/{account}/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(NonZeroU64);

/// The id of an environment, a job, a run or a user: it names an account only through a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityId(NonZeroU64);

/// The position of a cell in [`Snapshot::cells`](super::snapshot::Snapshot::cells); meaningless
/// without its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellIndex(pub u16);

/// The position of a surface in [`Snapshot::surfaces`](super::snapshot::Snapshot::surfaces).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SurfaceIndex(pub u8);

/// The number of a snapshot: counts up by one with every applied reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// A lower-case DNS label: an account prefix, a surface, a cell name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(Arc<str>);

impl std::borrow::Borrow<str> for Label {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Why a text is not an id or a label. The text itself is not repeated: it came from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// No text at all.
    #[error("is empty")]
    Empty,
    /// Something else than `0-9`, or a leading zero, sign or space.
    #[error("must be plain digits without sign or leading zero")]
    NotPlainDigits,
    /// More than 2^63 - 1.
    #[error("is larger than 9223372036854775807")]
    TooLarge,
    /// Not `[a-z0-9]([a-z0-9-]*[a-z0-9])?`, or longer than [`MAX_LABEL_LEN`].
    #[error("must be a DNS label: a-z, 0-9 and inner hyphens, at most 63 characters")]
    NotLabel,
}

impl AccountId {
    /// Reads `[1-9][0-9]{0,18}` up to 2^63 - 1; anything else is not an id.
    pub fn parse(text: &[u8]) -> Result<Self, IdError> {
        parse_number(text).map(Self)
    }

    /// An id of a number that some file of ours holds; `None` of one that [`parse`](Self::parse) would not give.
    pub fn from_value(value: u64) -> Option<Self> {
        number(value).map(Self)
    }

    /// The number itself.
    pub const fn value(self) -> u64 {
        self.0.get()
    }
}

impl EntityId {
    /// Reads `[1-9][0-9]{0,18}` up to 2^63 - 1; anything else is not an id.
    pub fn parse(text: &[u8]) -> Result<Self, IdError> {
        parse_number(text).map(Self)
    }

    /// An id of a number that some file of ours holds; `None` of one that [`parse`](Self::parse) would not give.
    pub fn from_value(value: u64) -> Option<Self> {
        number(value).map(Self)
    }

    /// The number itself.
    pub const fn value(self) -> u64 {
        self.0.get()
    }
}

impl Label {
    /// Reads a label that is already lower case.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// Whether [`parse`](Self::parse) would read it, for texts that are kept elsewhere than in a label of their own.
    pub fn check(text: &str) -> Result<(), IdError> {
        let bytes = text.as_bytes();
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        match bytes {
            [] => Err(IdError::Empty),
            [b'-', ..] | [.., b'-'] => Err(IdError::NotLabel),
            _ if bytes.len() > MAX_LABEL_LEN || !bytes.iter().all(inner) => Err(IdError::NotLabel),
            _ => Ok(()),
        }
    }

    /// The text of the label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Generation {
    /// The generation after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn parse_number(text: &[u8]) -> Result<NonZeroU64, IdError> {
    match text {
        [] => return Err(IdError::Empty),
        [b'1'..=b'9', ..] if text.iter().all(u8::is_ascii_digit) => {}
        _ => return Err(IdError::NotPlainDigits),
    }
    if text.len() > MAX_ID_DIGITS {
        return Err(IdError::TooLarge);
    }
    // At most 19 digits, so the sum stays below 10^19 < 2^64 and cannot wrap.
    number(text.iter().fold(0u64, |n, b| n * 10 + u64::from(b - b'0'))).ok_or(IdError::TooLarge)
}

fn number(value: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(value).filter(|number| number.get() <= i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_digits_are_an_account_id() {
        let check = |text: &str, expect: Result<u64, IdError>| {
            assert_eq!(AccountId::parse(text.as_bytes()).map(AccountId::value), expect, "{text:?}");
        };
        check("1", Ok(1));
        check("70403103966603", Ok(70_403_103_966_603));
        check("9223372036854775807", Ok(i64::MAX as u64));
        check("9223372036854775808", Err(IdError::TooLarge));
        check("99999999999999999999", Err(IdError::TooLarge));
        check("", Err(IdError::Empty));
        for text in ["0", "01", "+1", "-1", " 1", "1 ", "1a", "0x1", "1.0", "１"] {
            check(text, Err(IdError::NotPlainDigits));
        }
    }

    #[test]
    fn labels_are_lower_case_dns_labels() {
        for text in ["a", "ab123", "acme-corp", "0x"] {
            assert!(Label::parse(text).is_ok(), "{text:?}");
        }
        for text in ["", "-a", "a-", "A", "a.b", "a_b", "ä", &"a".repeat(64)] {
            assert!(Label::parse(text).is_err(), "{text:?}");
        }
    }
}
