//! Reloads that change nothing: of each caller so many lines of the audit trail and no more, with the count of the rest. A loop in
//! somebody's script must not push out of the trail what others have done. What is news has an allowance of its own: whoever
//! reloads every minute must not hide by that the one time that was refused. Time is an argument.

use std::collections::HashMap;
use std::time::Instant;

use crate::policy::access::rate::{Allowance, LINES};
use crate::trail::Record;

/// Callers of whom something is remembered: twice as many as there can be tokens.
const MOST_CALLERS: usize = 2_000;

/// What was told of each caller.
#[derive(Debug, Default)]
pub(super) struct Repeats(HashMap<Box<str>, Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Record>,
    /// For what says again what the last line said.
    repeats: Allowance,
    /// For what says something else.
    news: Allowance,
    left_out: u64,
}

impl Repeats {
    /// The line as it is to be written, with the count of those that were not; `None` where it is counted, too.
    pub fn take(&mut self, line: Record, now: Instant) -> Option<Record> {
        // Nobody has asked: a signal, a file.
        let Some(caller) = line.caller.as_deref() else { return Some(line) };
        if !self.0.contains_key(caller) && self.0.len() >= MOST_CALLERS {
            self.0.retain(|_, told| !told.is_forgotten(now));
        }
        let told = self.0.entry(caller.into()).or_default();
        let is_news = told.last.as_ref() != Some(&line);
        let allowance = if is_news { &mut told.news } else { &mut told.repeats };
        if allowance.spend(LINES, now).is_err() {
            told.left_out += 1;
            return None;
        }
        told.last = Some(line.clone());
        Some(told.counted(line))
    }

    /// Lines about what was left out, where there is room for one by now.
    pub fn due(&mut self, now: Instant) -> Vec<Record> {
        let waiting = self.0.values_mut().filter(|told| told.left_out > 0);
        let due = waiting.filter_map(|told| {
            told.repeats.spend(LINES, now).ok()?;
            let line = told.last.clone()?;
            Some(told.counted(line))
        });
        due.collect()
    }
}

impl Told {
    fn counted(&mut self, mut line: Record) -> Record {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            line.reasons.push(format!(
                "reloads of this caller before that changed nothing and have no line: {left_out}"
            ));
        }
        line
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        self.left_out == 0 && self.repeats.is_full(now) && self.news.is_full(now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trail::Event;

    fn line(caller: Option<&str>, outcome: &str) -> Record {
        let (caller, outcome) = (caller.map(Into::into), Some(outcome.to_owned()));
        Record { caller, outcome, ..Record::new(Event::Outcome) }
    }

    #[test]
    fn a_loop_of_reloads_is_counted_and_hides_neither_news_nor_others() {
        let (mut repeats, begin) = (Repeats::default(), Instant::now());
        let ann = Some("token:ann");
        let written = (0..1_000).filter_map(|_| repeats.take(line(ann, "unchanged"), begin)).count();
        assert_eq!(written, 1 + 20, "the first is news");
        let rejected = repeats.take(line(ann, "rejected"), begin).unwrap();
        let counted = "reloads of this caller before that changed nothing and have no line: 979";
        assert_eq!(
            (rejected.outcome.as_deref(), &*rejected.reasons),
            (Some("rejected"), &[counted.to_owned()][..])
        );
        assert!(repeats.take(line(Some("token:bob"), "unchanged"), begin).unwrap().reasons.is_empty());
        assert!((0..50).all(|_| repeats.take(line(None, "unchanged"), begin).is_some()));
        // Two ends in turn are no way around it.
        let turns = (0..1_000).filter_map(|at| {
            repeats.take(line(ann, if at % 2 == 0 { "unchanged" } else { "rejected" }), begin)
        });
        assert_eq!(turns.count(), 18);
        assert!(repeats.due(begin + Duration::from_secs(599)).is_empty());
        let due = repeats.due(begin + Duration::from_secs(600));
        assert_eq!((due.len(), due[0].caller.as_deref()), (1, ann));
        assert!(due[0].reasons[0].ends_with(": 982"), "{:?}", due[0].reasons);
        assert!(repeats.due(begin + Duration::from_secs(6_000)).is_empty(), "nothing is left out any more");
    }
}
