//! Where a prefix begins in a text, in any case. Each path and host of a request is looked through for several, so the text is
//! searched for the one byte of the prefix that is seldom in words, many bytes at a time.

use memchr::memchr2_iter;

/// Each place where the prefix begins, with at least so many bytes of the text from there on. None of an empty prefix.
pub fn beginnings<'a>(text: &'a [u8], prefix: &'a [u8], least: usize) -> impl Iterator<Item = usize> + 'a {
    let seldom = prefix.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(0);
    let byte = prefix.get(seldom).copied().unwrap_or_default();
    let last = text.len().checked_sub(least.max(prefix.len())).filter(|_| !prefix.is_empty());
    let searched = last.map_or(&[][..], |last| &text[seldom..=last + seldom]);
    memchr2_iter(byte.to_ascii_lowercase(), byte.to_ascii_uppercase(), searched)
        .filter(move |at| text[*at..*at + prefix.len()].eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_looking_at_each_place_finds() {
        let mut random = fastrand::Rng::with_seed(5);
        for round in 0..20_000 {
            let mut some = |most: usize| -> Vec<u8> {
                (0..random.usize(..=most)).map(|_| b"abAB_-\xff"[random.usize(..7)]).collect()
            };
            let (text, prefix, least) = (some(24), some(4), round % 9);
            let begins = |at: &usize| {
                !prefix.is_empty()
                    && text.len() - at >= least.max(prefix.len())
                    && text[*at..*at + prefix.len()].eq_ignore_ascii_case(&prefix)
            };
            let expect: Vec<usize> = (0..text.len()).filter(begins).collect();
            assert_eq!(beginnings(&text, &prefix, least).collect::<Vec<_>>(), expect, "{text:?} {prefix:?}");
        }
    }
}
