//! Changes to header fields as values: decided here, done by the shell on whatever header type the
//! engine has.

use http::{HeaderMap, HeaderName, HeaderValue};

/// One change. Edits are done in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    /// No field of this name is left.
    Remove(HeaderName),
    /// Exactly one field of this name, with this value.
    Set(HeaderName, HeaderValue),
    /// One more field line, behind those of the same name.
    Append(HeaderName, HeaderValue),
}

impl HeaderEdit {
    /// Does it to a plain header map: for our own replies, `explain` and tests.
    pub fn apply(self, headers: &mut HeaderMap) {
        match self {
            Self::Remove(name) => {
                headers.remove(name);
            }
            Self::Set(name, value) => {
                headers.insert(name, value);
            }
            Self::Append(name, value) => {
                headers.append(name, value);
            }
        }
    }
}
