//! For which time the books are complete. Nobody is said to be gone for a time in which nobody looked.

/// Seconds of the books, from one moment to another, each counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// In order, and apart from each other; with the seconds of all before.
    spans: Vec<(i64, i64, i64)>,
}

impl Coverage {
    /// `written` are times for which the books were kept, `lost` those of them of which something is missing; in Unix
    /// seconds, in any order.
    pub fn new(written: Vec<(i64, i64)>, lost: Vec<(i64, i64)>) -> Self {
        let mut lost = joined(lost).into_iter().peekable();
        let (mut spans, mut before) = (Vec::new(), 0);
        let mut keep = |from: i64, to: i64| {
            if from < to {
                spans.push((from, to, before));
                before += to - from;
            }
        };
        for (mut from, to) in joined(written) {
            while let Some((start, end)) = lost.peek().copied().filter(|(start, _)| *start < to) {
                keep(from, start.min(to));
                from = from.max(end.min(to));
                if end > to {
                    break;
                }
                lost.next();
            }
            keep(from, to);
        }
        Self { spans }
    }

    /// Which part of this time the books are complete for, of 1.
    pub fn share(&self, from: i64, to: i64) -> f64 {
        let kept = self.kept_before(to) - self.kept_before(from);
        kept as f64 / (to - from).max(1) as f64
    }

    /// The parts of this time for which they are not, in order.
    pub fn holes(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, i64)> {
        let first = self.spans.partition_point(|(_, end, _)| *end <= from);
        let inside = self.spans[first..].iter().take_while(move |(start, ..)| *start < to);
        let starts = inside.clone().map(|(start, ..)| *start).chain([to]);
        let ends = std::iter::once(from).chain(inside.map(|(_, end, _)| *end));
        ends.zip(starts).filter(|(end, start)| end < start)
    }

    /// Seconds for which they are, from the beginning to a moment.
    fn kept_before(&self, at: i64) -> i64 {
        let next = self.spans.partition_point(|(start, ..)| *start < at);
        let last = next.checked_sub(1).map(|last| self.spans[last]);
        last.map_or(0, |(start, end, before)| before + end.min(at) - start)
    }
}

/// In order, and those that touch as one.
fn joined(spans: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    // Where a clock was set back, a span may end before it begins: something is known of no more than in between.
    let mut spans: Vec<_> = spans.into_iter().map(|(from, to)| (from.min(to), from.max(to))).collect();
    spans.sort_unstable();
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for (from, to) in spans {
        match joined.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => joined.push((from, to)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_wrote_is_counted_once_and_what_is_lost_not_at_all() {
        let coverage = Coverage::new(
            vec![(50, 80), (0, 20), (10, 30), (30, 40), (90, 95)],
            vec![(35, 55), (70, 75), (72, 75), (200, 300)],
        );
        let holes = |from, to| coverage.holes(from, to).collect::<Vec<_>>();
        assert_eq!(holes(0, 100), [(35, 55), (70, 75), (80, 90), (95, 100)]);
        assert_eq!(holes(-10, 5), [(-10, 0)]);
        assert_eq!(holes(36, 50), [(36, 50)]);
        assert_eq!(holes(1, 30), []);
        assert_eq!(holes(96, 99), [(96, 99)]);
        assert!((coverage.share(0, 100) - 0.60).abs() < 1e-9);
        assert!((coverage.share(60, 80) - 0.75).abs() < 1e-9);
        assert!(Coverage::default().share(0, 100).abs() < 1e-9);
        let set_back = Coverage::new(vec![(0, 100)], vec![(70, 40)]);
        assert_eq!(set_back.holes(0, 100).collect::<Vec<_>>(), [(40, 70)]);
        assert!((set_back.share(0, 100) - 0.70).abs() < 1e-9);
        let all_lost = Coverage::new(vec![(0, 50), (60, 90)], vec![(i64::MIN, 70)]);
        assert_eq!(all_lost.holes(0, 100).collect::<Vec<_>>(), [(0, 70), (90, 100)]);
    }
}
