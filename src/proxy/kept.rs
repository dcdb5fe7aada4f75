//! The beginning of a request body, kept while a cell may still say that it has not looked at the request:
//! then it can be sent again. Bytes are copied: a shared piece of a few bytes would hold all that was read with it,
//! and a client can send thousands of such pieces.

use bytes::Bytes;

/// Most bytes kept of one body: an API call fits, and a thousand uploads that wait for their answers hold
/// 64 MB at worst, and the room that a growing buffer has to spare.
const KEPT_MAX: usize = 64 * 1024;

/// What has been taken of one request body.
#[derive(Debug, Default)]
pub struct Kept {
    bytes: Vec<u8>,
    /// Where the bytes begin that are still to be sent again.
    next: usize,
    /// Some of the body is gone: it was longer, or nobody asked to keep it.
    lost: bool,
    keeping: bool,
}

impl Kept {
    /// An attempt begins: what was taken by those before is sent first. `keep` where this attempt may end
    /// with the cell's word that it has not looked at the request.
    pub fn begin(&mut self, keep: bool) {
        self.next = 0;
        self.keeping = keep;
    }

    /// The attempt has an answer: nothing will be sent again.
    pub fn forget(&mut self) {
        self.lost |= !self.bytes.is_empty();
        self.bytes = Vec::new();
        self.keeping = false;
    }

    /// A chunk has been taken from the client.
    pub fn take(&mut self, chunk: &Bytes) {
        if chunk.is_empty() {
            return;
        }
        if !self.keeping || self.bytes.len() + chunk.len() > KEPT_MAX {
            self.lost = true;
            self.bytes = Vec::new();
        }
        if !self.lost {
            self.bytes.extend_from_slice(chunk);
            self.next = self.bytes.len();
        }
    }

    /// What earlier attempts have sent, in one chunk, if it was not sent in this one.
    pub fn again(&mut self) -> Option<Bytes> {
        let rest = self.bytes.get(self.next..).filter(|rest| !rest.is_empty())?;
        self.next = self.bytes.len();
        Some(Bytes::copy_from_slice(rest))
    }

    /// Whether nothing of the body would be missing in another attempt.
    pub fn is_whole(&self) -> bool {
        !self.lost
    }

    /// Whether there is nothing to send again before the client is asked for more.
    pub fn is_spent(&self) -> bool {
        self.next >= self.bytes.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_sent_again_and_goes_on() {
        let mut kept = Kept::default();
        kept.begin(true);
        kept.take(&"one".into());
        kept.take(&"two".into());
        assert!(kept.is_spent() && kept.is_whole());
        kept.begin(true);
        assert!(!kept.is_spent());
        assert_eq!(kept.again().unwrap(), "onetwo");
        assert!(kept.again().is_none() && kept.is_spent());
        kept.take(&"three".into());
        kept.begin(true);
        assert_eq!(kept.again().unwrap(), "onetwothree");
    }

    #[test]
    fn a_long_body_is_not_kept_and_says_so() {
        let mut kept = Kept::default();
        kept.begin(true);
        kept.take(&vec![0; KEPT_MAX].into());
        assert!(kept.is_whole());
        kept.take(&"x".into());
        assert!(!kept.is_whole());
        kept.begin(true);
        assert!(kept.is_spent());
    }

    #[test]
    fn what_was_not_kept_is_missing_for_good() {
        let mut kept = Kept::default();
        kept.begin(false);
        assert!(kept.is_whole());
        kept.take(&"x".into());
        kept.begin(true);
        kept.take(&"y".into());
        assert!(!kept.is_whole());
        assert!(kept.again().is_none());
    }

    #[test]
    fn small_pieces_hold_no_more_than_their_bytes() {
        let mut kept = Kept::default();
        kept.begin(true);
        let read = Bytes::from(vec![7; 8 * 1024]);
        kept.take(&read.slice(..1));
        kept.take(&Bytes::new());
        assert!(read.is_unique(), "what the client has sent beside it is not held with it");
        kept.begin(true);
        let all: Vec<Bytes> = std::iter::from_fn(|| kept.again()).collect();
        assert_eq!(all, ["\u{7}"], "nothing is no piece");
    }

    #[test]
    fn nothing_is_held_after_the_answer() {
        let mut kept = Kept::default();
        kept.begin(true);
        kept.take(&"x".into());
        kept.forget();
        assert!(!kept.is_whole() && kept.is_spent());
        kept.take(&"y".into());
        assert!(kept.bytes.is_empty());
    }
}
