//! Texts that traffic or other people made up, before they are printed: what is invisible in them is made visible, and they
//! are cut. What else makes them harmless depends on what they are printed into.

use crate::policy::line::is_deceptive;

/// The characters of a text as they are shown: at most so many, with a sign where more follows, and a replacement character for
/// what is invisible or turns the direction of reading.
pub(super) fn shown(text: &str, longest: usize) -> impl Iterator<Item = char> {
    let more = text.chars().nth(longest).map(|_| '…');
    text.chars().take(longest).map(|char| if is_deceptive(char) { '\u{fffd}' } else { char }).chain(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_hidden_or_endless() {
        for (text, expect) in [
            ("four", "four"),
            ("fifth", "fift…"),
            ("a\u{202e}\n\0", "a\u{fffd}\u{fffd}\u{fffd}"),
            ("ééééé", "éééé…"),
        ] {
            assert_eq!(shown(text, 4).collect::<String>(), expect);
        }
    }
}
