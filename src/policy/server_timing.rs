//! `Server-Timing` (<https://www.w3.org/TR/server-timing/>): where the time of a request went, for callers that may know. What
//! is measured is an argument. The cell's own entries stay, and ours come behind them.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::routing_cookie::may_be_shared;

/// The field.
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Who is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerTiming {
    /// Networks of clients that are.
    pub networks: Vec<IpNet>,
    /// Whether the cell's name stands there.
    pub names_cell: bool,
}

/// Times along the way of a request, all from the end of its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// How long it waited because its account moves, where it did.
    pub held: Option<Duration>,
    /// How long it waited for its turn at the cell, where it did.
    pub queued: Option<Duration>,
    /// A connection to the cell was wanted for the first time.
    pub asked: Option<Duration>,
    /// A connection to the cell was there.
    pub connected: Option<Duration>,
    /// The first byte of the cell's final response head.
    pub first_byte: Option<Duration>,
    /// The end, or the moment at which this is said.
    pub total: Duration,
}

impl ServerTiming {
    /// Whether a client is told with this answer. Not with one that a cache may hand to others: they would read it, and it would
    /// not be about them.
    pub fn tells(&self, client: IpAddr, answer: &HeaderMap) -> bool {
        self.networks.iter().any(|network| network.contains(&client)) && !may_be_shared(answer)
    }

    /// `gate;dur=0.1, connect;dur=1.2, cell;dur=80.5, total;dur=82`, in milliseconds. `cell` is the name of the one that
    /// answered.
    pub fn written(&self, spent: &Timings, cell: Option<&str>) -> HeaderValue {
        let waited = [spent.held, spent.queued].into_iter().flatten().sum();
        let mut text = String::with_capacity(96);
        entry(&mut text, "gate", spent.asked.unwrap_or(spent.total).saturating_sub(waited));
        for (name, waited) in [("hold", spent.held), ("queue", spent.queued)] {
            if let Some(waited) = waited {
                entry(&mut text, name, waited);
            }
        }
        if let Some((asked, connected)) = spent.asked.zip(spent.connected) {
            entry(&mut text, "connect", connected.saturating_sub(asked));
        }
        if let Some((connected, first_byte)) = spent.connected.zip(spent.first_byte) {
            entry(&mut text, "cell", first_byte.saturating_sub(connected));
            if let Some(cell) = cell.filter(|_| self.names_cell) {
                // A label: nothing in it ends a quoted string.
                text.extend([";desc=\"", cell, "\""]);
            }
        }
        entry(&mut text, "total", spent.total);
        HeaderValue::from_str(&text).expect("names, numbers and labels are a valid field value")
    }
}

/// Milliseconds with three decimals: microseconds are the finest that is worth reading.
pub fn millis(spent: Duration) -> f64 {
    spent.as_micros() as f64 / 1000.0
}

fn entry(text: &mut String, name: &str, spent: Duration) {
    let comma = if text.is_empty() { "" } else { ", " };
    write!(text, "{comma}{name};dur={}", millis(spent)).expect("writing to memory does not fail");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rule(names_cell: bool) -> ServerTiming {
        ServerTiming { networks: vec!["10.0.0.0/8".parse().unwrap()], names_cell }
    }

    #[test]
    fn who_is_not_on_the_list_and_whoever_shares_a_cache_is_told_nothing() {
        let headers =
            |value: &str| HeaderMap::from_iter([(http::header::CACHE_CONTROL, value.parse().unwrap())]);
        let tells = |client: &str, answer: &str| rule(false).tells(client.parse().unwrap(), &headers(answer));
        assert!(tells("10.1.2.3", "no-store") && tells("10.1.2.3", "private, max-age=60"));
        assert!(!tells("192.0.2.1", "no-store"));
        assert!(!tells("10.1.2.3", "public, max-age=60") && !tells("10.1.2.3", "s-maxage=5"));
        assert!(!ServerTiming::default().tells("10.1.2.3".parse().unwrap(), &HeaderMap::new()));
    }

    #[test]
    fn the_parts_add_up_to_the_whole() {
        let at = |micros| Some(Duration::from_micros(micros));
        let forwarded = Timings {
            held: None,
            queued: None,
            asked: at(100),
            connected: at(1_350),
            first_byte: at(81_350),
            total: Duration::from_micros(81_400),
        };
        let text = "gate;dur=0.1, connect;dur=1.25, cell;dur=80, total;dur=81.4";
        assert_eq!(rule(false).written(&forwarded, Some("us1")), text);
        let named = text.replace("dur=80", "dur=80;desc=\"us1\"");
        assert_eq!(rule(true).written(&forwarded, Some("us1")), named);
        let waited = Timings { held: at(20), queued: at(30), ..forwarded };
        let text =
            "gate;dur=0.05, hold;dur=0.02, queue;dur=0.03, connect;dur=1.25, cell;dur=80, total;dur=81.4";
        assert_eq!(rule(false).written(&waited, None), text);
        let refused = Timings { total: Duration::from_micros(70), ..Timings::default() };
        assert_eq!(rule(true).written(&refused, Some("us1")), "gate;dur=0.07, total;dur=0.07");
        let unanswered = Timings { first_byte: None, ..forwarded };
        assert_eq!(rule(true).written(&unanswered, None), "gate;dur=0.1, connect;dur=1.25, total;dur=81.4");
    }
}
