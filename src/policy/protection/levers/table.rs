//! The levers that are pulled: a bounded table that is changed as a whole. Whoever changes it makes a copy, writes down what
//! it means to do, and only then lets the copy be read ([`board`](super::board)).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{LONGEST, Lever, LeverId, MOST, Pulled, REASON, SHORTEST};
use crate::policy::cover::holds_admin_token;
use crate::policy::line::is_line;

/// Longest name of who says so: that of an address of mail (RFC 5321 section 4.5.3.1), in bytes.
const MAX_NAME: usize = 320;

/// All levers that are pulled, in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub struct Levers {
    /// The last number that was given away.
    last: u32,
    pulled: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) pulled: Pulled,
    /// Requests that it has refused, held, moved or let in. Shared by all copies of the table.
    touched: Arc<AtomicU64>,
}

/// A lever that was pulled, and the one whose place it has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledOrReplaced {
    /// What is in force.
    pub pulled: Pulled,
    /// What was in force of the same, and is over.
    pub replaced: Option<Pulled>,
}

/// Why nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no room.
    #[error("{MOST} levers are pulled already; release one that is not needed any more")]
    Full,
    /// Over before it begins, or longer than a day.
    #[error("it would last {0} s; expected {SHORTEST:?} to {most} h", most = LONGEST.as_secs() / 3_600)]
    Time(u64),
    /// Nobody will know why.
    #[error("the reason has {0} characters; expected {least} to {most}", least = REASON.start(), most = REASON.end())]
    Reason(usize),
    /// Nobody will know who.
    #[error("the name has {0} bytes; expected 1 to {MAX_NAME}")]
    Name(usize),
    /// More than a line, or one that looks like another.
    #[error(
        "the {0} has a line break in it, a control character, or one that turns the direction of reading; expected one line of text"
    )]
    NotALine(&'static str),
    /// It would stand in the trail, the log and on pages, where who reads them could use it.
    #[error(
        "the {0} has a token of cellgate in it; say it without, and take that token out of the file of tokens: it has been shown"
    )]
    Token(&'static str),
    /// Released already, or over, or never there.
    #[error("lever {0} is not pulled")]
    NotPulled(LeverId),
}

impl Levers {
    /// As they were put down. `last` is the last number that was given away.
    pub fn restored(last: u32, pulled: impl IntoIterator<Item = Pulled>) -> Self {
        let mut this = Self { last, pulled: Vec::new() };
        for pulled in pulled.into_iter().take(MOST) {
            this.last = this.last.max(pulled.id.0);
            this.pulled.push(Entry { pulled, touched: Arc::default() });
        }
        this.pulled.sort_by_key(|entry| entry.pulled.id);
        this.pulled.dedup_by_key(|entry| entry.pulled.id);
        this
    }

    /// The last number that was given away.
    pub const fn last(&self) -> u32 {
        self.last
    }

    /// All that are pulled, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Pulled> {
        self.pulled.iter().map(|entry| &entry.pulled)
    }

    /// Whether none is.
    pub const fn is_empty(&self) -> bool {
        self.pulled.is_empty()
    }

    /// How many requests felt one.
    pub fn touched(&self, id: LeverId) -> u64 {
        self.entry(id).map_or(0, |entry| entry.touched.load(Ordering::Relaxed))
    }

    /// Counts a request that felt one: refused, held, sent elsewhere, or let in.
    pub fn touch(&self, id: LeverId) {
        if let Some(entry) = self.entry(id) {
            entry.touched.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Pulls a lever at `now` (seconds since the Unix epoch). One that says something about the same is over.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub fn pull(
        &mut self,
        lever: Lever,
        (by, reason): (&str, &str),
        lasts: Option<Duration>,
        now: i64,
    ) -> Result<PulledOrReplaced, Refused> {
        let (by, reason) = (Self::name_of(by)?.to_owned(), Self::reason_of(reason)?.to_owned());
        let lasts = lasts.unwrap_or(lever.default_time());
        if !(SHORTEST..=LONGEST).contains(&lasts) {
            return Err(Refused::Time(lasts.as_secs()));
        }
        let replaced = self.pulled.iter().position(|entry| lever.replaces(&entry.pulled.lever));
        if replaced.is_none() && self.pulled.len() >= MOST {
            return Err(Refused::Full);
        }
        let replaced = replaced.map(|position| self.pulled.remove(position).pulled);
        self.last = self.last.saturating_add(1);
        let until = now.saturating_add(i64::try_from(lasts.as_secs()).expect("it is a day at most"));
        let pulled = Pulled { id: LeverId(self.last), lever, by, reason, since: now, until };
        self.pulled.push(Entry { pulled: pulled.clone(), touched: Arc::default() });
        Ok(PulledOrReplaced { pulled, replaced })
    }

    /// Releases a lever before its time.
    ///
    /// # Errors
    /// It is not pulled.
    pub fn release(&mut self, id: LeverId) -> Result<Pulled, Refused> {
        let position = self.pulled.iter().position(|entry| entry.pulled.id == id);
        position.map(|position| self.pulled.remove(position).pulled).ok_or(Refused::NotPulled(id))
    }

    /// Takes out those whose time is over at `now`.
    pub fn expire(&mut self, now: i64) -> Vec<Pulled> {
        let over: Vec<Pulled> = self.iter().filter(|pulled| !pulled.holds(now)).cloned().collect();
        self.pulled.retain(|entry| entry.pulled.holds(now));
        over
    }

    /// A reason as it is written down.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn reason_of(text: &str) -> Result<&str, Refused> {
        let text = text.trim();
        let count = text.chars().count();
        if !REASON.contains(&count) {
            return Err(Refused::Reason(count));
        }
        one_line("reason", text)
    }

    /// The name of who says so, as it is written down.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn name_of(text: &str) -> Result<&str, Refused> {
        let text = text.trim();
        if !(1..=MAX_NAME).contains(&text.len()) {
            return Err(Refused::Name(text.len()));
        }
        one_line("name", text)
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.pulled
    }

    fn entry(&self, id: LeverId) -> Option<&Entry> {
        self.pulled.iter().find(|entry| entry.pulled.id == id)
    }
}

fn one_line<'t>(which: &'static str, text: &'t str) -> Result<&'t str, Refused> {
    match text {
        _ if !is_line(text) => Err(Refused::NotALine(which)),
        _ if holds_admin_token(text) => Err(Refused::Token(which)),
        _ => Ok(text),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_132_800;
    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

    fn pull(levers: &mut Levers, words: &str, now: i64) -> PulledOrReplaced {
        levers.pull(Lever::parse(words).unwrap(), ("ann", "us1 burns"), MINUTE, now).unwrap()
    }

    fn numbers(levers: &Levers) -> Vec<u32> {
        levers.iter().map(|pulled| pulled.id.0).collect()
    }

    #[test]
    fn a_lever_has_a_name_a_reason_and_an_end() {
        let check = |by: &str, reason: &str, lasts: Duration, expect: &str| {
            let (mut levers, lever) = (Levers::default(), Lever::parse("drain cell us1").unwrap());
            let pulled = levers.pull(lever, (by, reason), Some(lasts), NOW);
            let found = pulled.map_or_else(|error| error.to_string(), |done| done.pulled.until.to_string());
            assert_eq!(found, expect, "{by:?} {reason:?} {lasts:?}");
            assert_eq!(levers.last(), u32::from(!levers.is_empty()), "a refused lever takes no number");
        };
        let hour = Duration::from_secs(3_600);
        check(" ann ", " us1 burns ", hour, "1795136400");
        check("ann", "äöü", LONGEST, "1795219200");
        check("ann", "äö ", hour, "the reason has 2 characters; expected 3 to 200");
        check("ann", &"ä".repeat(200), hour, "1795136400");
        check("ann", &"a".repeat(201), hour, "the reason has 201 characters; expected 3 to 200");
        check(
            "ann",
            "a\nb c",
            hour,
            "the reason has a line break in it, a control character, or one that turns the direction of reading; expected one line of text",
        );
        for turned in ["an\u{202e}n", "an\u{2066}n", "an\u{2028}n"] {
            let said =
                "has a line break in it, a control character, or one that turns the direction of reading";
            check(turned, "us1 burns", hour, &format!("the name {said}; expected one line of text"));
            check("ann", turned, hour, &format!("the reason {said}; expected one line of text"));
        }
        let token = crate::policy::access::token::minted([7; 32]);
        for shown in [&*token, &format!("see {token}!"), &token[..30]] {
            let pulled = |by: &str, reason: &str| {
                let lever = Lever::parse("drain cell us1").unwrap();
                Levers::default().pull(lever, (by, reason), Some(hour), NOW)
            };
            assert_eq!(pulled("ann", shown), Err(Refused::Token("reason")));
            assert_eq!(pulled(shown, "us1 burns"), Err(Refused::Token("name")));
        }
        check(" ", "us1 burns", hour, "the name has 0 bytes; expected 1 to 320");
        check(
            "a\u{1b}b",
            "us1 burns",
            hour,
            "the name has a line break in it, a control character, or one that turns the direction of reading; expected one line of text",
        );
        check("ann", "us1 burns", Duration::ZERO, "it would last 0 s; expected 1s to 24 h");
        check("ann", "us1 burns", LONGEST + SHORTEST, "it would last 86401 s; expected 1s to 24 h");
    }

    #[test]
    fn a_hold_is_short_where_nobody_says() {
        for (words, expect) in [("hold cell us1", 60), ("drain cell us1", 1_800), ("shed 5% cell us1", 1_800)]
        {
            let lever = Lever::parse(words).unwrap();
            let done = Levers::default().pull(lever, ("ann", "us1 burns"), None, NOW).unwrap();
            assert_eq!(done.pulled.until - done.pulled.since, expect, "{words}");
        }
    }

    #[test]
    fn what_is_said_last_of_the_same_is_what_holds() {
        let same = [
            ("cap cell us1 rps 5", "cap cell us1 rps 6", true),
            ("cap cell us1 rps 5", "cap cell us1 in_flight 6", false),
            ("cap cell us1 rps 5", "cap cell us2 rps 6", false),
            ("shed 5% cell us1", "shed 50% cell us1", true),
            ("shed 5% cell us1", "shed 50% cell us1 client curl", false),
            ("drain zone a", "drain zone a", true),
            ("drain zone a", "drain zone b", false),
            ("drain zone a", "evacuate zone a", false),
            ("drain cell us1", "drain group us1 a", false),
            ("ramp set cell us1 rps 1", "ramp set cell us1 rps 2", true),
            ("hold cell us1", "hold cell us1 writes", true),
            ("hold cell us1", "hold account 1", false),
            ("policy set limit off", "policy set limit observe", true),
            ("policy set limit off", "policy set limit off cell us1", false),
            ("policy set limit off", "policy set queue off", false),
        ];
        for (first, second, replaces) in same {
            let mut levers = Levers::default();
            let before = pull(&mut levers, first, NOW).pulled;
            let done = pull(&mut levers, second, NOW + 7);
            assert_eq!(done.replaced, replaces.then_some(before), "{first}; {second}");
            assert_eq!(numbers(&levers), if replaces { vec![2] } else { vec![1, 2] }, "{first}; {second}");
        }
    }

    #[test]
    fn levers_end_at_their_time_or_when_they_are_released_and_no_number_comes_back() {
        let mut levers = Levers::default();
        pull(&mut levers, "drain cell us1", NOW);
        pull(&mut levers, "drain cell us2", NOW + 30);
        pull(&mut levers, "drain cell us3", NOW + 31);
        assert_eq!(levers.release(LeverId(3)).map(|pulled| pulled.id), Ok(LeverId(3)));
        assert_eq!(levers.release(LeverId(3)), Err(Refused::NotPulled(LeverId(3))));
        assert!(levers.expire(NOW + 59).is_empty());
        let over: Vec<u32> = levers.expire(NOW + 60).iter().map(|pulled| pulled.id.0).collect();
        assert_eq!((over, numbers(&levers)), (vec![1], vec![2]));
        let restored = Levers::restored(levers.last(), levers.iter().cloned());
        assert_eq!((numbers(&restored), restored.last()), (vec![2], 3));
        let mut restored = restored;
        assert_eq!(pull(&mut restored, "drain cell us3", NOW).pulled.id, LeverId(4));
        // A file that says less than it has is not believed in that.
        assert_eq!(Levers::restored(0, levers.iter().cloned()).last(), 2);
    }

    #[test]
    fn there_is_room_for_so_many_and_for_what_takes_the_place_of_one() {
        let mut levers = Levers::default();
        for account in 1..=MOST {
            pull(&mut levers, &format!("shed 5% account {account}"), NOW);
        }
        let lever = |account: usize| Lever::parse(&format!("shed 6% account {account}")).unwrap();
        let full = levers.pull(lever(MOST + 1), ("ann", "us1 burns"), MINUTE, NOW);
        assert_eq!(full, Err(Refused::Full));
        assert!(levers.pull(lever(7), ("ann", "us1 burns"), MINUTE, NOW).is_ok());
        assert_eq!(levers.iter().count(), MOST);
    }

    #[test]
    fn what_felt_a_lever_is_counted_in_all_copies() {
        let mut levers = Levers::default();
        let id = pull(&mut levers, "drain cell us1", NOW).pulled.id;
        let copy = levers.clone();
        pull(&mut levers, "drain cell us2", NOW);
        copy.touch(id);
        copy.touch(LeverId(9));
        assert_eq!([id, LeverId(2), LeverId(9)].map(|id| levers.touched(id)), [1, 0, 0]);
    }
}
