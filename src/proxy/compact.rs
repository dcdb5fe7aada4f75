//! Fields in as much memory as they need. The engine's are slices of the buffers that heads were read into, and HTTP/2
//! keeps what it has sent in a table (RFC 7541 section 2.3.2): for as long as a client's connection lives, a slice there
//! would hold a buffer of 4 KiB of its cell.

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};

/// Copies all values into memory that is no larger than they are, in one piece.
pub fn compact(fields: &mut HeaderMap) {
    let bytes = fields.values().map(HeaderValue::len).sum();
    let mut copied = BytesMut::with_capacity(bytes);
    for value in fields.values() {
        copied.extend_from_slice(value.as_bytes());
    }
    let mut copied = copied.freeze();
    for value in fields.values_mut() {
        let sensitive = value.is_sensitive();
        let copy = HeaderValue::from_maybe_shared(copied.split_to(value.len()));
        *value = copy.expect("the same bytes were a value before");
        value.set_sensitive(sensitive);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn values_are_the_same_and_their_buffer_is_free() {
        let buffer = Bytes::from(b"one, two; three".repeat(100));
        let mut fields = HeaderMap::new();
        for (name, range) in [("a", 0..3), ("b", 5..8), ("a", 10..15), ("empty", 0..0)] {
            let value = HeaderValue::from_maybe_shared(buffer.slice(range)).unwrap();
            fields.append(http::HeaderName::from_static(name), value);
        }
        fields.get_mut("b").unwrap().set_sensitive(true);
        let before = fields.clone();
        assert!(!buffer.is_unique());
        compact(&mut fields);
        assert_eq!(fields, before);
        assert!(fields["b"].is_sensitive() && !fields["a"].is_sensitive());
        drop(before);
        assert!(buffer.is_unique());
    }
}
