//! What only watches, and for how long: twice a backpressure that existed was left in observe, and the platform fell
//! (the incident of 22 June 2026). So whatever would have acted for a minute, or was to be watched until yesterday, is
//! an alarm.

use std::time::Duration;

use super::super::moment::Moment;

/// What would have acted for so long is no chance.
const ACTING: Duration = Duration::from_secs(60);

/// Pauses up to this are no end: it takes several requests to be refused once.
const PAUSE: Duration = Duration::from_secs(10);

/// One cell, or whatever else is watched as one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observing {
    count: u64,
    /// Since when it would have acted, and when it would have last.
    acting: Option<(Moment, Moment)>,
    /// The longest that it would have acted for, of what is an alarm, since it is observed.
    longest: Option<Duration>,
}

/// Why somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Its time is over, in seconds since the Unix epoch.
    Overdue(i64),
    /// It would have acted for so long by now.
    WouldAct(Duration),
}

impl Observing {
    /// Goes on after a restart.
    pub fn restored(longest: Option<Duration>) -> Self {
        Self { longest, ..Self::default() }
    }

    /// For how long it would have acted at most, where that was an alarm. Remembered as long as anything is observed, for
    /// whoever asks does so at some other time.
    pub fn longest(&self) -> Option<Duration> {
        self.longest
    }

    /// Takes in how often it would have acted so far. `until` is when it is to be over, where anything is observed.
    pub fn look(&mut self, count: u64, until: Option<i64>, now: Moment, now_secs: u64) -> Option<Alarm> {
        let grew = count > self.count;
        self.count = count;
        self.acting = match self.acting {
            Some((since, _)) if grew => Some((since, now)),
            Some((since, last)) if now.since(last) <= PAUSE => Some((since, last)),
            Some(_) => None,
            None => grew.then_some((now, now)),
        };
        let acted = self.acting.map(|(since, last)| last.since(since)).filter(|acted| *acted >= ACTING);
        self.longest = until.and(self.longest.max(acted));
        let now_secs = i64::try_from(now_secs).unwrap_or(i64::MAX);
        if let Some(until) = until.filter(|until| *until <= now_secs) {
            return Some(Alarm::Overdue(until));
        }
        acted.map(Alarm::WouldAct)
    }
}

impl Alarm {
    /// Label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overdue(_) => "overdue",
            Self::WouldAct(_) => "would_act",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::START + Duration::from_secs(secs)
    }

    #[test]
    fn what_would_have_acted_for_a_minute_is_an_alarm_and_a_spell_is_none() {
        let mut observing = Observing::default();
        let mut alarms = Vec::new();
        for second in 0..200u64 {
            // One each eight seconds, until the hundredth.
            let count = second.min(100) / 8;
            if let Some(alarm) = observing.look(count, Some(1_000), at(second), second) {
                alarms.push((second, alarm));
            }
        }
        assert_eq!(alarms.first(), Some(&(72, Alarm::WouldAct(Duration::from_secs(64)))));
        assert_eq!(alarms.last().map(|(second, _)| *second), Some(106), "ten seconds after the last");
        assert_eq!(observing.longest(), Some(Duration::from_secs(88)), "and it is remembered");
        observing.look(13, None, at(201), 201);
        assert_eq!(observing.longest(), None, "until nothing is observed");
    }

    #[test]
    fn what_is_past_its_time_is_an_alarm_whatever_it_does() {
        let mut observing = Observing::default();
        assert_eq!(observing.look(0, Some(100), at(1), 99), None);
        assert_eq!(observing.look(0, Some(100), at(2), 100), Some(Alarm::Overdue(100)));
        assert_eq!(observing.look(0, None, at(3), 101), None, "nothing is observed");
    }
}
