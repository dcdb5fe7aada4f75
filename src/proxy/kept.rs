//! The beginning of a request body, kept while a cell may still say that it has not looked at the request:
//! then it can be sent again. Bytes are shared, not copied.

use bytes::Bytes;

/// Most bytes kept of one body: an API call fits, and a thousand uploads that wait for their answers hold
/// 64 MB at worst.
const KEPT_MAX: usize = 64 * 1024;

/// What has been taken of one request body.
#[derive(Debug, Default)]
pub struct Kept {
    chunks: Vec<Bytes>,
    bytes: usize,
    /// The next chunk to be sent again.
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
        self.lost |= !self.chunks.is_empty();
        self.chunks = Vec::new();
        self.keeping = false;
    }

    /// A chunk has been taken from the client.
    pub fn take(&mut self, chunk: &Bytes) {
        self.bytes += chunk.len();
        if !self.keeping || self.bytes > KEPT_MAX {
            self.lost = true;
            self.chunks = Vec::new();
        }
        if !self.lost {
            self.chunks.push(chunk.clone());
            self.next = self.chunks.len();
        }
    }

    /// The next chunk of an earlier attempt, if one is left.
    pub fn again(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.get(self.next)?.clone();
        self.next += 1;
        Some(chunk)
    }

    /// Whether nothing of the body would be missing in another attempt.
    pub fn is_whole(&self) -> bool {
        !self.lost
    }

    /// Whether there is nothing to send again before the client is asked for more.
    pub fn is_spent(&self) -> bool {
        self.next >= self.chunks.len()
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
        assert_eq!(kept.again().unwrap(), "one");
        assert_eq!(kept.again().unwrap(), "two");
        assert!(kept.again().is_none());
        kept.take(&"three".into());
        kept.begin(true);
        let all: Vec<Bytes> = std::iter::from_fn(|| kept.again()).collect();
        assert_eq!(all, ["one", "two", "three"]);
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
    fn nothing_is_held_after_the_answer() {
        let mut kept = Kept::default();
        kept.begin(true);
        kept.take(&"x".into());
        kept.forget();
        assert!(!kept.is_whole() && kept.is_spent());
        kept.take(&"y".into());
        assert!(kept.chunks.is_empty());
    }
}
