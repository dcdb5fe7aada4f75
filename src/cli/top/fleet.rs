//! What `top` knows: the last document of each replica, who answers and since when not, and what has changed since it runs.
//! Plain data; the time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use super::super::admin_socket::Door;
use super::changes;
use super::document::Document;

/// Most changes that are kept: more than a night has, and less than anybody scrolls through.
const MOST_EVENTS: usize = 500;

/// Every replica that is asked.
#[derive(Debug, Default)]
pub struct Fleet {
    pub replicas: Vec<Replica>,
    /// The newest first.
    pub events: VecDeque<Event>,
}

/// One of them.
#[derive(Debug)]
pub struct Replica {
    pub name: Box<str>,
    pub door: Door,
    /// The last that it said.
    pub last: Option<Document>,
    pub answers: Answers,
}

/// Whether it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answers {
    /// It has been asked for the first time.
    NotYet,
    /// It did when it was asked last.
    Yes,
    /// It has not since then.
    No {
        /// Since it was noticed.
        since: SystemTime,
        /// Its last answer, where there was one.
        heard: Option<SystemTime>,
        /// Why, and what to do.
        why: Box<str>,
    },
}

/// Something has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: SystemTime,
    /// Where there are several.
    pub replica: Option<Box<str>>,
    pub what: String,
    pub is_bad: bool,
}

impl Fleet {
    /// Nothing is known of any of them yet.
    pub fn new(replicas: impl IntoIterator<Item = (Box<str>, Door)>) -> Self {
        let new = |(name, door)| Replica { name, door, last: None, answers: Answers::NotYet };
        Self { replicas: replicas.into_iter().map(new).collect(), events: VecDeque::new() }
    }

    /// Takes in what a replica has answered, or why it has not.
    pub fn hear(&mut self, at: usize, said: Result<Document, String>, now: SystemTime) {
        let is_one = self.replicas.len() == 1;
        let replica = &mut self.replicas[at];
        let mut found = Vec::new();
        match said {
            Ok(document) => {
                if let Answers::No { since, .. } = replica.answers {
                    let away = elapsed(since, now).as_secs();
                    found.push((format!("answers again, after {}", changes::span(away)), false));
                }
                if let Some(last) = &replica.last {
                    found.extend(changes::between(last, &document));
                }
                (replica.last, replica.answers) = (Some(document), Answers::Yes);
            }
            Err(why) => {
                let (since, heard) = match &replica.answers {
                    Answers::No { since, heard, .. } => (*since, *heard),
                    Answers::Yes | Answers::NotYet => {
                        found.push((format!("does not answer: {why}"), true));
                        (now, replica.last.is_some().then_some(now))
                    }
                };
                replica.answers = Answers::No { since, heard, why: why.into() };
            }
        }
        let name = (!is_one).then(|| replica.name.clone());
        for (what, is_bad) in found {
            self.events.push_front(Event { at: now, replica: name.clone(), what, is_bad });
        }
        self.events.truncate(MOST_EVENTS);
    }

    /// Replicas whose numbers are shown: those that answer; where none does, what all have said last.
    pub fn shown(&self) -> impl Iterator<Item = (&Replica, &Document)> {
        let anybody = self.replicas.iter().any(|replica| replica.answers == Answers::Yes);
        let shown = move |replica: &&Replica| !anybody || replica.answers == Answers::Yes;
        self.replicas.iter().filter(shown).filter_map(|replica| Some((replica, replica.last.as_ref()?)))
    }

    /// Nobody answers: what is shown was said before.
    pub fn is_stale(&self) -> bool {
        self.replicas.iter().all(|replica| matches!(replica.answers, Answers::No { .. }))
    }

    /// Several are asked.
    pub fn is_many(&self) -> bool {
        self.replicas.len() > 1
    }
}

/// None where the clock was set back.
pub fn elapsed(since: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(since).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cli::top::sample;

    fn two() -> Fleet {
        Fleet::new(["a", "b"].map(|name| (name.into(), Door::Unix(format!("/run/{name}.sock").into()))))
    }

    fn told(fleet: &Fleet) -> Vec<String> {
        fleet.events.iter().map(|event| format!("{:?} {}", event.replica, event.what)).collect()
    }

    #[test]
    fn numbers_of_a_replica_that_does_not_answer_are_kept_and_not_added_to_the_others() {
        let mut fleet = two();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for replica in 0..2 {
            fleet.hear(replica, Ok(sample::good_day()), at(10));
        }
        assert_eq!(fleet.shown().count(), 2);
        fleet.hear(1, Err("connection refused".into()), at(20));
        fleet.hear(1, Err("nothing within 2000 ms".into()), at(30));
        assert_eq!(fleet.shown().count(), 1);
        let Answers::No { since, heard, why } = &fleet.replicas[1].answers else {
            unreachable!("it does not answer")
        };
        assert_eq!((*since, *heard, &**why), (at(20), Some(at(20)), "nothing within 2000 ms"));
        fleet.hear(0, Err("connection refused".into()), at(40));
        assert!(fleet.is_stale());
        assert_eq!(fleet.shown().count(), 2, "the last that is known");
        fleet.hear(1, Ok(sample::good_day()), at(95));
        assert!(!fleet.is_stale());
        assert_eq!(
            told(&fleet),
            [
                "Some(\"b\") answers again, after 1m 15s",
                "Some(\"a\") does not answer: connection refused",
                "Some(\"b\") does not answer: connection refused",
            ]
        );
    }

    #[test]
    fn who_never_answered_has_no_last_answer_and_changes_are_bounded() {
        let mut fleet = Fleet::new([("a".into(), Door::Unix("/run/a.sock".into()))]);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        fleet.hear(0, Err("no".into()), at(0));
        assert!(matches!(fleet.replicas[0].answers, Answers::No { heard: None, .. }));
        for second in 0..2 * MOST_EVENTS as u64 {
            let said = if second % 2 == 0 { Ok(sample::good_day()) } else { Err("no".into()) };
            fleet.hear(0, said, at(second));
        }
        assert_eq!(fleet.events.len(), MOST_EVENTS);
        assert_eq!(fleet.events[0].replica, None, "there is only one");
    }
}
