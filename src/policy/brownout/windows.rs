//! When a brownout is in force: spans of seconds that do not touch each other, in their order.

/// From `start` on and before `end`, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// The first second.
    pub start: i64,
    /// The first second that is not in it.
    pub end: i64,
}

/// The windows of one brownout, earliest first. Weekly ones are written out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(Box<[Window]>);

/// Two windows of one brownout have seconds in common: which is meant cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap(pub Window, pub Window);

impl Windows {
    /// In any order.
    ///
    /// # Errors
    /// The first two that overlap.
    pub fn new(mut windows: Vec<Window>) -> Result<Self, Overlap> {
        windows.sort_by_key(|window| window.start);
        match windows.windows(2).find(|pair| pair[1].start < pair[0].end) {
            Some(pair) => Err(Overlap(pair[0], pair[1])),
            None => Ok(Self(windows.into())),
        }
    }

    /// The one that is in force at `now`.
    pub fn at(&self, now: i64) -> Option<Window> {
        let after = self.0.partition_point(|window| window.start <= now);
        self.0[..after].last().copied().filter(|window| now < window.end)
    }

    /// The first that begins after `now`.
    pub fn after(&self, now: i64) -> Option<Window> {
        self.0.get(self.0.partition_point(|window| window.start <= now)).copied()
    }

    /// All of them, earliest first.
    pub fn iter(&self) -> impl Iterator<Item = &Window> {
        self.0.iter()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn windows(spans: &[(i64, i64)]) -> Result<Windows, Overlap> {
        Windows::new(spans.iter().map(|(start, end)| Window { start: *start, end: *end }).collect())
    }

    #[test]
    fn a_window_has_its_first_second_and_not_its_last() {
        let windows = windows(&[(30, 40), (10, 20), (40, 45)]).unwrap();
        let check = |now, at: Option<i64>, after: Option<i64>| {
            assert_eq!(windows.at(now).map(|window| window.start), at, "{now}");
            assert_eq!(windows.after(now).map(|window| window.start), after, "{now}");
        };
        check(9, None, Some(10));
        check(10, Some(10), Some(30));
        check(19, Some(10), Some(30));
        check(20, None, Some(30));
        check(39, Some(30), Some(40));
        check(40, Some(40), None);
        check(45, None, None);
    }

    #[test]
    fn what_overlaps_is_not_taken() {
        assert_eq!(
            windows(&[(10, 20), (19, 30)]),
            Err(Overlap(Window { start: 10, end: 20 }, Window { start: 19, end: 30 }))
        );
        assert!(windows(&[(10, 20), (20, 30)]).is_ok());
        assert_eq!(windows(&[]).unwrap().at(0), None);
    }
}
