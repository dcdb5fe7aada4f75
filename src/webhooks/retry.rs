//! What comes after one try to post a message: nothing more, another one after a while, or the end of it. Plain functions; how
//! long a while is has randomness as an argument.

use std::time::{Duration, SystemTime};

/// Tries of one message: a receiver that restarts is back before the last one.
pub(super) const MOST_TRIES: u32 = 5;

/// Before the second try; then twice as much each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A receiver that wants to wait for longer is asked by the next run.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// What a try came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// There was an answer, maybe with a wish to wait.
    Answered { status: u16, retry_after: Option<Duration> },
    /// There was none; in words.
    Broke(String),
    /// It cannot be sent there; in words. Another try would not change that.
    Impossible(String),
}

/// What comes after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The receiver has it.
    Accepted,
    /// Another try after this time.
    Again(Duration),
    /// It will not have it; why.
    Failed(String),
    /// It wants no messages any more.
    Stop(String),
}

/// What comes after the try of this number, counted from one. `random` is from 0 to 1.
pub(super) fn next(tried: &Tried, number: u32, random: f64) -> Next {
    let (why, wish) = match tried {
        Tried::Answered { status: 200..=299, .. } => return Next::Accepted,
        Tried::Answered { status: 410, .. } => {
            return Next::Stop("answered 410: it wants no more webhooks".into());
        }
        Tried::Answered { status: status @ 300..=399, .. } => {
            return Next::Failed(format!(
                "answered {status}: redirects are not followed, name the last address"
            ));
        }
        Tried::Answered { status: status @ (408 | 425 | 429 | 500..=599), retry_after } => {
            (format!("answered {status}"), *retry_after)
        }
        Tried::Answered { status, .. } => return Next::Failed(format!("answered {status}")),
        Tried::Broke(why) => (why.clone(), None),
        Tried::Impossible(why) => return Next::Failed(why.clone()),
    };
    if number >= MOST_TRIES {
        return Next::Failed(format!("{why}, {number} times"));
    }
    match wish {
        Some(wish) if wish > LONGEST_PAUSE => {
            Next::Failed(format!("{why} and wants to be asked again in {} s", wish.as_secs()))
        }
        // From half of it to half more, so that many senders do not come back together.
        wish => {
            let pause = (FIRST_PAUSE * 2_u32.pow(number - 1)).mul_f64(0.5 + random.clamp(0.0, 1.0));
            Next::Again(pause.max(wish.unwrap_or_default()))
        }
    }
}

/// What `Retry-After` says: seconds, or a date.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value.trim()).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again_and_not_for_ever() {
        let answered = |status, wish: Option<u64>| Tried::Answered {
            status,
            retry_after: wish.map(Duration::from_secs),
        };
        let failed = |why: &str| Next::Failed(why.to_owned());
        let again = |millis| Next::Again(Duration::from_millis(millis));
        for (tried, number, random, expect) in [
            (answered(204, None), 1, 0.5, Next::Accepted),
            (answered(500, None), 1, 0.0, again(500)),
            (answered(500, None), 1, 1.0, again(1_500)),
            (answered(502, None), 4, 0.5, again(8_000)),
            (answered(503, None), 5, 0.5, failed("answered 503, 5 times")),
            (answered(429, Some(30)), 1, 0.5, again(30_000)),
            (answered(429, Some(0)), 2, 0.5, again(2_000)),
            (
                answered(429, Some(3_600)),
                1,
                0.5,
                failed("answered 429 and wants to be asked again in 3600 s"),
            ),
            (answered(401, None), 1, 0.5, failed("answered 401")),
            (answered(410, None), 1, 0.5, Next::Stop("answered 410: it wants no more webhooks".into())),
            (Tried::Broke("nobody listens".into()), 2, 0.5, again(2_000)),
            (Tried::Impossible("is not trusted".into()), 1, 0.5, failed("is not trusted")),
            (Tried::Broke("nobody listens".into()), 5, 0.5, failed("nobody listens, 5 times")),
        ] {
            assert_eq!(next(&tried, number, random), expect, "{tried:?} {number}");
        }
        assert!(matches!(next(&answered(302, None), 1, 0.5), Next::Failed(why) if why.contains("redirects")));
    }

    #[test]
    fn a_wish_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_168_800);
        for (value, expect) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Fri, 20 Nov 2026 10:00:30 GMT", Some(30)),
            ("Fri, 20 Nov 2026 09:00:00 GMT", Some(0)),
            ("-7", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now), expect.map(Duration::from_secs), "{value}");
        }
    }
}
