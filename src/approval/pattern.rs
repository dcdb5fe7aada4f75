//! Pattern lists of OpenSSH (PATTERNS in ssh_config(5)): `*` and `?`, alternatives between commas, `!` for those that
//! are left out.

/// Longest pattern; OpenSSH has room for no more (`match_pattern_list`).
const MAX_PATTERN: usize = 1023;

/// A list of patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PatternList {
    text: Box<str>,
    patterns: Box<[Pattern]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    left_out: bool,
    glob: Box<[Token]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// `*`: any bytes, or none.
    Any,
    /// `?`: any byte.
    One,
    /// This byte.
    Byte(u8),
}

impl PatternList {
    /// Reads a list; else says what is wrong with it and what would be right.
    pub(super) fn parse(text: &str) -> Result<Self, (String, &'static str)> {
        const ANY: &str = "patterns with commas between them, without spaces";
        let mut patterns = Vec::new();
        for part in text.split(',') {
            let pattern = part.strip_prefix('!').unwrap_or(part);
            if pattern.is_empty() {
                return Err(("there is an empty pattern".to_owned(), ANY));
            }
            if pattern.len() > MAX_PATTERN {
                return Err((format!("a pattern has {} bytes", pattern.len()), "at most 1023"));
            }
            if pattern.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(("there is white space in a pattern".to_owned(), ANY));
            }
            let glob = pattern.bytes().map(Token::of).collect();
            patterns.push(Pattern { left_out: part.starts_with('!'), glob });
        }
        if patterns.iter().all(|pattern| pattern.left_out) {
            return Err(("nothing but exceptions matches nobody".to_owned(), "a pattern without \"!\""));
        }
        Ok(Self { text: text.into(), patterns: patterns.into() })
    }

    /// As it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the list is for this name, as OpenSSH decides it.
    pub(super) fn matches(&self, name: &str) -> bool {
        let name: Vec<Token> = name.bytes().map(Token::Byte).collect();
        let hit = |left_out| {
            let mut patterns = self.patterns.iter().filter(move |pattern| pattern.left_out == left_out);
            patterns.any(|pattern| meet(&pattern.glob, &name))
        };
        hit(false) && !hit(true)
    }

    /// Whether one and the same person may be meant by both: some name is matched by a pattern of each. Letters count
    /// alike in both cases, and exceptions do not, so that no doubt makes two of one.
    pub(super) fn may_mean_one_of(&self, other: &Self) -> bool {
        let others = other.in_lower_case();
        self.in_lower_case().iter().any(|own| others.iter().any(|other| meet(own, other)))
    }

    /// The same for a name.
    pub(super) fn may_mean(&self, name: &str) -> bool {
        let name: Vec<Token> = name.bytes().map(|byte| Token::Byte(byte).in_lower_case()).collect();
        self.in_lower_case().iter().any(|own| meet(own, &name))
    }

    fn in_lower_case(&self) -> Vec<Vec<Token>> {
        let taken = self.patterns.iter().filter(|pattern| !pattern.left_out);
        taken.map(|pattern| pattern.glob.iter().map(|token| token.in_lower_case()).collect()).collect()
    }
}

impl Token {
    fn of(byte: u8) -> Self {
        match byte {
            b'*' => Self::Any,
            b'?' => Self::One,
            byte => Self::Byte(byte),
        }
    }

    fn in_lower_case(self) -> Self {
        match self {
            Self::Byte(byte) => Self::Byte(byte.to_ascii_lowercase()),
            wild => wild,
        }
    }

    fn fits(self, other: Self) -> bool {
        match (self, other) {
            (Self::Byte(one), Self::Byte(other)) => one == other,
            _ => true,
        }
    }
}

/// Whether some text is matched by both. `row[j]` says it of the ends `a[i..]` and `b[j..]`, from the back.
fn meet(a: &[Token], b: &[Token]) -> bool {
    let mut below = vec![false; b.len() + 1];
    for i in (0..=a.len()).rev() {
        let mut row = vec![false; b.len() + 1];
        for j in (0..=b.len()).rev() {
            row[j] = match (a.get(i), b.get(j)) {
                (None, None) => true,
                // An asterisk takes nothing, or what the other side has next.
                (Some(Token::Any), Some(_)) => below[j] || row[j + 1],
                (Some(Token::Any), None) => below[j],
                (Some(_), Some(Token::Any)) => row[j + 1] || below[j],
                (None, Some(Token::Any)) => row[j + 1],
                (Some(one), Some(other)) => one.fits(*other) && below[j + 1],
                (Some(_), None) | (None, Some(_)) => false,
            };
        }
        below = row;
    }
    below[0]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn list(text: &str) -> PatternList {
        PatternList::parse(text).unwrap()
    }

    #[test]
    fn a_list_matches_as_openssh_says() {
        let check = |text: &str, name: &str, expect: bool| {
            assert_eq!(list(text).matches(name), expect, "{text} {name}");
        };
        check("a@x", "a@x", true);
        check("a@x", "A@x", false);
        check("a@x", "a@xy", false);
        check("b@x,a@x", "a@x", true);
        check("*@x", "a@x", true);
        check("*@x", "@x", true);
        check("*@x", "a@y", false);
        check("?@x", "a@x", true);
        check("?@x", "ab@x", false);
        check("*", "anything", true);
        check("a*b*c", "abbcbc", true);
        check("a*b*c", "abbcb", false);
        check("!a@x,*@x", "a@x", false);
        check("*@x,!a@x", "a@x", false);
        check("*@x,!a@x", "b@x", true);
    }

    #[test]
    fn two_lists_may_mean_one_person() {
        let check = |one: &str, other: &str, expect: bool| {
            assert_eq!(list(one).may_mean_one_of(&list(other)), expect, "{one} {other}");
            assert_eq!(list(other).may_mean_one_of(&list(one)), expect, "{other} {one}");
        };
        check("a@x", "a@x", true);
        check("a@x", "A@X", true);
        check("a@x", "b@x", false);
        check("a@x,c@x", "b@x,c@x", true);
        check("*@x", "a@x", true);
        check("*@x", "a@y", false);
        check("a@*", "*@x", true);
        check("a@*", "b@*", false);
        check("a*b", "*ab*b", true);
        check("a?", "?b", true);
        check("a?", "b*", false);
        // In doubt it is one person.
        check("*@x,!a@x", "a@x", true);
        assert!(list("*@X,!a@x").may_mean("a@x"));
        assert!(!list("b@x,!a@x").may_mean("a@x"));
    }

    #[test]
    fn what_matches_nobody_is_refused() {
        for text in ["", ",", "a,", "!", "a,!", "!a", "!a,!b", "a b", "a,\tb", &"a".repeat(1024)] {
            assert!(PatternList::parse(text).is_err(), "{text:?}");
        }
        assert!(PatternList::parse(&"a".repeat(1023)).is_ok());
    }
}
