//! Names of a window, each kept once.

use std::sync::Arc;

use super::key::OTHER;
use super::map::Map;
use crate::policy::snapshot::{PathTemplate, Segment};

/// Different names of one window. They come from the configuration, where some hundred are many; and credentials, which are
/// bounded by the keys. The bound is for a window that stays open through very many reloads.
const MAX_NAMES: usize = 128 * 1024;

/// A position in [`Names`].
pub(super) type Name = u32;

/// Each name once.
#[derive(Debug, Default)]
pub(super) struct Names {
    texts: Vec<Arc<str>>,
    positions: Map<Arc<str>, Name>,
}

impl Names {
    /// All of them, by their positions.
    pub fn all(&self) -> &[Arc<str>] {
        &self.texts
    }

    /// The text of a name.
    pub fn text(&self, name: Name) -> &str {
        &self.texts[name as usize]
    }

    /// That of `other` where there are too many.
    pub fn position(&mut self, text: &str) -> Name {
        if self.texts.is_empty() {
            self.insert(OTHER);
        }
        match self.positions.get(text) {
            Some(position) => *position,
            None if self.texts.len() >= MAX_NAMES => 0,
            None => self.insert(text),
        }
    }

    fn insert(&mut self, text: &str) -> Name {
        let position = Name::try_from(self.texts.len()).expect("MAX_NAMES is below 2^32");
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.positions.insert(text, position);
        position
    }
}

/// As in the configuration, so that a template of a report can be found there.
pub(super) fn written(template: &PathTemplate) -> String {
    template.segments.iter().fold(String::new(), |mut text, segment| {
        text.push('/');
        text.push_str(match segment {
            Segment::Literal(literal) => literal,
            Segment::Account => "{account}",
            Segment::Entity => "{entity}",
            Segment::Any => "*",
        });
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        let mut names = Names::default();
        for number in 1..MAX_NAMES {
            assert_ne!(names.position(&number.to_string()), 0);
        }
        assert_eq!(names.position("one more"), 0);
        assert_eq!((names.position("1"), &*names.texts[0]), (1, OTHER));
    }
}
