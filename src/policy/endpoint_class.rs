//! Endpoint classes: how long an exchange may take and how much it matters, by the path of its request and by its cell.
//!
//! One deadline cannot suit all: a click is lost after minutes, a long poll is silent for an hour on purpose, and
//! a stream ends when its reader has seen enough. What a class does not say, the cell says. WebSockets are no
//! concern of a class once they are open: only their own silence ends them.

use std::time::Duration;

use super::facts::path_of;
use super::ids::Label;
use super::path::places;
use super::protection::priority::Priority;
use super::snapshot::{CellTimeouts, Segment};

/// The request timeout of what no class names: no page or API call of the clients we know takes a tenth of it,
/// and a client that drips a body to us, or drinks an answer by drops, holds a permit of its cell no longer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Requests that may take equally long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointClass {
    /// Unique name.
    pub name: Label,
    /// Paths that belong to it, with everything below them. Empty: all that no other class names.
    pub paths: Vec<Vec<Segment>>,
    /// The whole request; `None` for no limit.
    pub request: Option<Duration>,
    /// Silence before the response head, in place of the cell's.
    pub response_head: Option<Duration>,
    /// Silence on either side afterwards, in place of the cell's and the client's.
    pub idle: Option<Duration>,
    /// Which requests are refused first when a cell has too many.
    pub priority: Priority,
    /// Long polls and streams: how many are open says nothing of how much the cell has to do.
    pub long_lived: bool,
}

/// What the class of one request says, or what is so where none does.
#[derive(Clone, Copy, Debug)]
pub struct ClassOf<'a>(Option<&'a EndpointClass>);

/// Every class of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointClasses {
    /// Path and position of its class, most specific first.
    paths: Vec<(Vec<Segment>, usize)>,
    classes: Vec<EndpointClass>,
    /// The class of what no path names.
    rest: Option<usize>,
}

/// The time limits of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeTimes {
    /// From the complete request head until the client has the whole response; `None` for no limit.
    pub request: Option<Duration>,
    /// Silence before the response head, while nothing of the request moves.
    pub response_head: Duration,
    /// Silence of the cell after it.
    pub idle: Duration,
    /// Silence in a tunnel.
    pub tunnel_idle: Duration,
    /// Silence of a client that owes body bytes, before the response head.
    pub client_body: Duration,
    /// How long a client may leave a piece of the response (up to 64 KiB) untaken.
    pub client_stall: Duration,
}

/// How long any client may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimes {
    /// One that owes bytes of its request body.
    pub body: Duration,
    /// One that does not read its response.
    pub stall: Duration,
}

impl EndpointClasses {
    /// `order` says which of two paths is tried first.
    pub fn new(
        classes: Vec<EndpointClass>,
        order: impl Fn(&[Segment], &[Segment]) -> std::cmp::Ordering,
    ) -> Self {
        let with_index = |(index, class): (usize, &EndpointClass)| {
            class.paths.iter().map(move |path| (path.clone(), index)).collect::<Vec<_>>()
        };
        let mut paths: Vec<_> = classes.iter().enumerate().flat_map(with_index).collect();
        paths.sort_by(|(a, _), (b, _)| order(a, b));
        let rest = classes.iter().position(|class| class.paths.is_empty());
        Self { paths, classes, rest }
    }

    /// The names of all classes.
    pub fn names(&self) -> impl Iterator<Item = &Label> {
        self.classes.iter().map(|class| &class.name)
    }

    /// What holds for a request with this target.
    pub fn of(&self, target: &str) -> ClassOf<'_> {
        ClassOf(self.position(target).map(|index| &self.classes[index]))
    }

    /// Which of [`names`](Self::names) a request with this target belongs to.
    pub fn position(&self, target: &str) -> Option<usize> {
        if self.paths.is_empty() {
            return self.rest;
        }
        let path = path_of(target).as_bytes();
        let named = self.paths.iter().find(|(template, _)| places(template, path).is_some());
        named.map(|(_, index)| *index).or(self.rest)
    }
}

impl<'a> ClassOf<'a> {
    /// Its name; `None` where no class is named.
    pub fn name(self) -> Option<&'a Label> {
        self.0.map(|class| &class.name)
    }

    /// Which requests are refused first when a cell has too many.
    pub fn priority(self) -> Priority {
        self.0.map_or(Priority::default(), |class| class.priority)
    }

    /// Whether it may stay open for as long as somebody listens.
    pub fn is_long_lived(self) -> bool {
        self.0.is_some_and(|class| class.long_lived)
    }

    /// How long the request may take at a cell.
    pub fn times(self, cell: &CellTimeouts, client: ClientTimes) -> ExchangeTimes {
        let class = self.0;
        let own_idle = class.and_then(|class| class.idle);
        ExchangeTimes {
            request: class.map_or(Some(REQUEST_TIMEOUT), |class| class.request),
            response_head: class.and_then(|class| class.response_head).unwrap_or(cell.response_head),
            idle: own_idle.unwrap_or(cell.idle),
            tunnel_idle: cell.tunnel_idle,
            client_body: own_idle.unwrap_or(client.body),
            // A client that takes nothing costs memory: no class makes that longer.
            client_stall: own_idle.map_or(client.stall, |idle| idle.min(client.stall)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn path(text: &str) -> Vec<Segment> {
        let segment = |text: &str| match text {
            "{account}" => Segment::Account,
            "*" => Segment::Any,
            _ => Segment::Literal(text.into()),
        };
        text.split('/').skip(1).map(segment).collect()
    }

    fn class(name: &str, paths: &[&str], request: Option<u64>) -> EndpointClass {
        EndpointClass {
            name: Label::parse(name).unwrap(),
            paths: paths.iter().map(|text| path(text)).collect(),
            request: request.map(seconds),
            response_head: None,
            idle: None,
            priority: Priority::default(),
            long_lived: false,
        }
    }

    const CELL: CellTimeouts = CellTimeouts {
        connect: Duration::from_secs(5),
        response_head: Duration::from_secs(60),
        idle: Duration::from_secs(300),
        tunnel_idle: Duration::from_secs(3_600),
        keep_alive: Duration::from_secs(50),
    };

    const CLIENT: ClientTimes = ClientTimes { body: Duration::from_secs(20), stall: Duration::from_secs(30) };

    fn longer_first(a: &[Segment], b: &[Segment]) -> std::cmp::Ordering {
        b.len().cmp(&a.len())
    }

    #[test]
    fn what_no_class_names_has_a_limit_all_the_same() {
        let times = EndpointClasses::default().of("/anything?at=all").times(&CELL, CLIENT);
        assert_eq!(
            times,
            ExchangeTimes {
                request: Some(REQUEST_TIMEOUT),
                response_head: seconds(60),
                idle: seconds(300),
                tunnel_idle: seconds(3_600),
                client_body: seconds(20),
                client_stall: seconds(30),
            }
        );
    }

    #[test]
    fn the_most_specific_path_names_the_class() {
        let classes = vec![
            class("stream", &["/api/v2/accounts/{account}/events", "/arrow.flight.Service"], None),
            class("interactive", &["/api"], Some(60)),
            class("rest", &[], Some(600)),
        ];
        let classes = EndpointClasses::new(classes, longer_first);
        for (target, expect) in [
            ("/api/v2/accounts/7/events", None),
            ("/api/v2/accounts/7/events/5?since=1", None),
            ("/API/v2/accounts/7/events", None),
            ("/arrow.flight.Service/DoGet", None),
            ("/api/v2/accounts/7/event", Some(60)),
            ("/api/v2/accounts//events", Some(60)),
            ("/api?x=/api/v2/accounts/7/events", Some(60)),
            ("/apis", Some(600)),
            ("/", Some(600)),
            ("*", Some(600)),
        ] {
            assert_eq!(classes.of(target).times(&CELL, CLIENT).request, expect.map(seconds), "{target}");
        }
    }

    #[test]
    fn a_class_overrides_silences_and_never_lengthens_a_stall() {
        let mut long_poll = class("long-poll", &["/poll"], Some(7_200));
        long_poll.response_head = Some(seconds(3_600));
        let mut stream = class("stream", &["/stream"], None);
        stream.idle = Some(seconds(1_800));
        let mut short = class("short", &["/short"], Some(10));
        short.idle = Some(seconds(2));
        let classes = EndpointClasses::new(vec![long_poll, stream, short], longer_first);
        let of = |target: &str| {
            let times = classes.of(target).times(&CELL, CLIENT);
            [times.response_head, times.idle, times.client_body, times.client_stall].map(|t| t.as_secs())
        };
        assert_eq!(of("/poll"), [3_600, 300, 20, 30]);
        assert_eq!(of("/stream"), [60, 1_800, 1_800, 30]);
        assert_eq!(of("/short"), [60, 2, 2, 2]);
        assert_eq!(of("/other"), [60, 300, 20, 30]);
    }

    #[test]
    fn a_class_says_what_is_refused_first_and_what_may_stay_open() {
        let mut beats = class("beats", &["/api/v2/accounts/{account}/runs/*/heartbeat"], Some(10));
        beats.priority = Priority::Critical;
        let mut polls = class("polls", &["/poll"], None);
        (polls.priority, polls.long_lived) = (Priority::Bulk, true);
        let classes = EndpointClasses::new(vec![beats, polls], longer_first);
        for (target, priority, long_lived) in [
            ("/api/v2/accounts/7/runs/9/heartbeat", Priority::Critical, false),
            ("/api/v2/accounts/7/runs/9", Priority::Api, false),
            ("/poll?since=1", Priority::Bulk, true),
            ("*", Priority::Api, false),
        ] {
            let of = classes.of(target);
            assert_eq!((of.priority(), of.is_long_lived()), (priority, long_lived), "{target}");
        }
    }
}
