//! Short texts of a request. Those that a client has sent are parts of its head, and those that we make stand one behind
//! another: none of them is an allocation of its own.

use std::borrow::Cow;
use std::ops::Deref;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use http::HeaderValue;

/// A text that may be a part of what was read, and keeps all of it for as long as it lives. A clone is a text by itself: what
/// is kept for longer than its request must not hold a whole head.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Text(ByteString);

impl Text {
    /// This text, which is not copied where it is a part of `read`.
    pub fn within(read: &Bytes, text: &str) -> Self {
        let start = text.as_ptr().addr().wrapping_sub(read.as_ptr().addr());
        match start.checked_add(text.len()) {
            Some(end) if end <= read.len() => Self::checked(read.slice(start..end)),
            _ => text.into(),
        }
    }

    /// Of it so many bytes at most.
    pub fn cut(self, most: usize) -> Self {
        Self(self.0.slice_ref(&self.0[..self.0.floor_char_boundary(most)]))
    }

    /// As a field has it; `None` where none can.
    pub fn value(&self) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(self.0.as_bytes().clone()).ok()
    }

    /// Of the bytes of a text.
    fn checked(text: Bytes) -> Self {
        Self(text.try_into().expect("they are those of a text"))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Clone for Text {
    fn clone(&self) -> Self {
        Self(self.0[..].into())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Cow<'_, str>> for Text {
    fn from(text: Cow<'_, str>) -> Self {
        text.into_owned().into()
    }
}

/// Memory that texts are written on, one behind another.
#[derive(Debug, Default)]
pub struct Slate(BytesMut);

impl Slate {
    /// With room for so many bytes. What needs more has it on a memory of its own.
    pub fn with_room(bytes: usize) -> Self {
        Self(BytesMut::with_capacity(bytes))
    }

    /// Writes a text.
    pub fn text(&mut self, text: &str) -> Text {
        Text::checked(self.write(text.as_bytes()))
    }

    /// Writes the value of a field; `None` where none can have it, or it is not ASCII.
    pub fn value(&mut self, text: &[u8]) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(self.write(text)).ok().filter(|_| text.is_ascii())
    }

    fn write(&mut self, text: &[u8]) -> Bytes {
        self.0.extend_from_slice(text);
        self.0.split().freeze()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_what_was_read_is_not_copied_and_its_clone_is() {
        let read = Bytes::from(b"GET /path?query HTTP/1.1".to_vec());
        let all = std::str::from_utf8(&read).unwrap();
        let target = Text::within(&read, &all[4..15]);
        assert_eq!((&*target, target.as_ptr()), ("/path?query", read[4..].as_ptr()));
        let clone = target.clone();
        assert_eq!(clone, target);
        assert_ne!(clone.as_ptr(), target.as_ptr(), "a clone holds nothing but itself");
        let path = target.cut(5);
        assert_eq!((&*path, path.as_ptr()), ("/path", read[4..].as_ptr()));
    }

    #[test]
    fn a_text_from_elsewhere_is_what_it_says() {
        let both = Bytes::from(b"before-behind".to_vec());
        let read = both.slice(3..9);
        let all = std::str::from_utf8(&both).unwrap();
        for text in
            ["", "elsewhere", &all[..3], &all[..4], &all[2..9], &all[3..9], &all[3..10], &all[9..], all]
        {
            assert_eq!(&*Text::within(&read, text), text);
            assert_eq!(&*Text::within(&Bytes::new(), text), text);
        }
    }

    #[test]
    fn a_text_is_cut_between_letters() {
        for (most, left) in [(0, ""), (1, "a"), (2, "a"), (3, "aü"), (9, "aü")] {
            assert_eq!(&*Text::from("aü").cut(most), left);
        }
    }

    #[test]
    fn texts_stand_one_behind_another_also_where_there_is_no_room() {
        for room in [0, 4, 100] {
            let mut slate = Slate::with_room(room);
            let (one, two) = (slate.text("one"), slate.value(b"two").unwrap());
            let long = "long".repeat(40);
            let three = slate.text(&long);
            assert_eq!((&*one, two.to_str().unwrap(), &*three), ("one", "two", &*long));
            assert_eq!(one.value().unwrap(), "one");
        }
        let mut slate = Slate::with_room(6);
        assert_eq!(slate.text("one").as_ptr().wrapping_add(3), slate.text("two").as_ptr());
    }

    #[test]
    fn a_value_is_one_that_a_field_can_have() {
        let mut slate = Slate::default();
        for wrong in ["a\nb", "a\0", "\u{7f}", "ü"] {
            assert_eq!(slate.value(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(slate.value(b"a b\t!").unwrap(), "a b\t!");
        assert_eq!(slate.value(b"").unwrap(), "");
    }
}
