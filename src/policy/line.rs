//! One line of text that people have written and others will read, in a log, a table or on a page: it must look like what it is.

/// What can make a line look like another one: control characters, line ends of Unicode, and whatever turns the direction of
/// reading (UAX 9).
pub fn is_deceptive(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a text is one line and nothing in it is deceptive.
pub fn is_line(text: &str) -> bool {
    !text.contains(is_deceptive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_looks_like_what_it_is() {
        for line in ["", "us1 burns", "\u{e4}\u{f6}\u{fc}", "\u{5e9}\u{5dc}\u{5d5}\u{5dd}"] {
            assert!(is_line(line), "{line:?}");
        }
        for deceptive in
            ["\n", "\u{1b}", "\u{85}", "\u{2028}", "\u{2029}", "\u{202e}", "\u{2066}", "\u{2069}"]
        {
            assert!(!is_line(&format!("us1{deceptive}us2")), "{deceptive:?}");
        }
    }
}
