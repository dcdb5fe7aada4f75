//! Text that means nothing to HTML, in an attribute either; and how a page's policy names what is inline.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What stands for a character; `None` where it stands for itself.
pub const fn reference(character: char) -> Option<&'static str> {
    match character {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        '\'' => Some("&#39;"),
        _ => None,
    }
}

/// A whole text.
pub fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, character| {
        match reference(character) {
            Some(reference) => safe.push_str(reference),
            None => safe.push(character),
        }
        safe
    })
}

/// As a content security policy names a style or a script that stands in the page: between single quotes.
pub fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        assert_eq!(escaped("<a b='\"&'> é"), "&lt;a b=&#39;&quot;&amp;&#39;&gt; é");
    }
}
