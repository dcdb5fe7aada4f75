//! Which requests have a line in the access log, and what stands in it. What a request was, and randomness, are arguments.

use super::canary::Share;

/// What a line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// What was asked, what was decided, where it went and how long that took.
    #[default]
    Standard,
    /// The least that answers "did it work": no addresses, no sizes.
    Minimal,
    /// Standard, and what is only asked when something is looked into.
    Full,
    /// The field names of the Elastic Common Schema.
    Ecs,
}

/// Which requests have a line, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLines {
    /// What a line says.
    pub profile: Profile,
    /// The share of requests without a complaint that have a line; `None` is none of them.
    pub smooth: Option<Share>,
    /// The share of all others.
    pub failures: Option<Share>,
    /// Paths of which a request without a complaint has no line.
    pub exclude: Vec<PathRule>,
}

/// A path, or all that begin with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// This one.
    Exactly(Box<str>),
    /// Whatever begins so.
    Below(Box<str>),
}

impl Default for LogLines {
    fn default() -> Self {
        let all = Some(Share::percent(100));
        Self { profile: Profile::Standard, smooth: all, failures: all, exclude: Vec::new() }
    }
}

impl LogLines {
    /// Whether some requests have no line by chance, so that each line must say how many it stands for.
    pub fn is_sampled(&self) -> bool {
        [self.smooth, self.failures] != [Some(Share::percent(100)); 2]
    }

    /// Whether a request is left out for its path.
    pub fn excludes(&self, smooth: bool, path: &str) -> bool {
        smooth && self.exclude.iter().any(|rule| rule.is_of(path))
    }

    /// Whether a request has a line. `random` is spread over all values.
    pub fn keeps(&self, smooth: bool, random: u64) -> bool {
        let share = if smooth { self.smooth } else { self.failures };
        share.is_some_and(|share| share.has(random))
    }
}

impl PathRule {
    /// `/healthz`, or `/probes/*` for all below.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |path: &str| path.starts_with('/') && !path.contains(['*', '?', '#', ' ']);
        let rule = match text.strip_suffix('*') {
            Some(beginning) => plain(beginning).then(|| Self::Below(beginning.into())),
            None => plain(text).then(|| Self::Exactly(text.into())),
        };
        // Everything is what a share is for.
        rule.filter(|rule| *rule != Self::Below("/".into()))
    }

    fn is_of(&self, path: &str) -> bool {
        match self {
            Self::Exactly(whole) => path == &**whole,
            Self::Below(beginning) => path.starts_with(&**beginning),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_left_out_where_the_request_went_well() {
        let exclude = ["/healthz", "/probes/*"].map(|text| PathRule::parse(text).unwrap()).to_vec();
        let lines = LogLines { exclude, ..LogLines::default() };
        for (path, expect) in [
            ("/healthz", true),
            ("/healthz/", false),
            ("/healthzz", false),
            ("/probes/", true),
            ("/probes/a/b", true),
            ("/probes", false),
            ("/", false),
        ] {
            assert_eq!(lines.excludes(true, path), expect, "{path}");
            assert!(!lines.excludes(false, path), "{path}: what failed is told");
        }
    }

    #[test]
    fn a_rule_is_a_path_and_not_everything() {
        for text in ["", "*", "/*", "healthz", "/a*b", "/a?b=1", "/a b", "/a*/"] {
            assert_eq!(PathRule::parse(text), None, "{text}");
        }
    }

    #[test]
    fn shares_are_of_each_kind() {
        let lines = LogLines { smooth: Share::parse("1%"), failures: None, ..LogLines::default() };
        assert!(lines.is_sampled() && !LogLines::default().is_sampled());
        assert!(lines.keeps(true, 0) && !lines.keeps(true, u64::MAX / 50) && !lines.keeps(false, 0));
        assert!(LogLines::default().keeps(true, u64::MAX) && LogLines::default().keeps(false, u64::MAX));
    }
}
