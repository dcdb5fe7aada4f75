//! For which time the books are complete. Nobody is said to be gone for a time in which nobody looked.

/// Seconds of the books, from one moment to another, each counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// In order, and apart from each other.
    spans: Vec<(i64, i64)>,
}

impl Coverage {
    /// `written` are times for which the books were kept, `lost` those of them of which something is missing; in Unix
    /// seconds, in any order.
    pub fn new(written: Vec<(i64, i64)>, mut lost: Vec<(i64, i64)>) -> Self {
        let mut written = written;
        written.sort_unstable();
        lost.sort_unstable();
        let mut spans: Vec<(i64, i64)> = Vec::new();
        for (from, to) in written {
            match spans.last_mut() {
                Some((_, end)) if from <= *end => *end = to.max(*end),
                _ => spans.push((from, to)),
            }
        }
        for (from, to) in lost {
            spans = spans
                .into_iter()
                .flat_map(|(start, end)| [(start, end.min(from)), (start.max(to), end)])
                .collect();
            spans.retain(|(start, end)| start < end);
        }
        Self { spans }
    }

    /// Which part of this time the books are complete for, of 1.
    pub fn share(&self, from: i64, to: i64) -> f64 {
        let missing: i64 = self.holes(from, to).iter().map(|(start, end)| end - start).sum();
        1.0 - missing as f64 / (to - from).max(1) as f64
    }

    /// The parts of this time for which they are not.
    pub fn holes(&self, from: i64, to: i64) -> Vec<(i64, i64)> {
        let mut holes = Vec::new();
        let mut known = from;
        for (start, end) in &self.spans {
            if *start > known && known < to {
                holes.push((known, (*start).min(to)));
            }
            known = known.max(*end);
        }
        if known < to {
            holes.push((known, to));
        }
        holes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_wrote_is_counted_once_and_what_is_lost_not_at_all() {
        let coverage = Coverage::new(vec![(50, 80), (0, 20), (10, 30), (30, 40)], vec![(35, 55), (70, 75)]);
        assert_eq!(coverage.holes(0, 100), [(35, 55), (70, 75), (80, 100)]);
        assert_eq!(coverage.holes(-10, 5), [(-10, 0)]);
        assert_eq!(coverage.holes(36, 50), [(36, 50)]);
        assert_eq!(coverage.holes(1, 30), []);
        assert!((coverage.share(0, 100) - 0.55).abs() < 1e-9);
        assert!(Coverage::default().share(0, 100).abs() < 1e-9);
    }
}
