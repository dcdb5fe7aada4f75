//! The routes of the admin plane, and what each needs. There is no other list: the doors are made from this one, and what
//! has no row is not answered.

use super::Role;

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// HTTP method; of `GET` also `HEAD`.
    pub method: &'static str,
    /// Path, with `{id}` for what differs.
    pub path: &'static str,
    /// A wish in the body that needs more than the call does.
    pub with: Option<&'static str>,
    /// The least role; `None` is a page without data of its own, as a browser loads it before it has a token.
    pub needs: Option<Role>,
    /// What holds on the loopback door.
    pub on_loopback: OnLoopback,
}

/// What holds on the loopback door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoopback {
    /// Whoever is on the machine may look.
    Everybody,
    /// It names accounts: for everybody where `admin.loopback_report` says so, else by token.
    Report,
    /// It names accounts: by token.
    WithToken,
    /// It changes something: by token, and only where `admin.loopback_operate` says so.
    Change,
}

use OnLoopback::{Change, Everybody, Report, WithToken};
use Role::{Approve, Operate, Read};

/// All of them.
pub const ROUTES: [Route; 32] = [
    page("/", Some(Read), Everybody),
    page("/whoami", None, Everybody),
    page("/healthz", Some(Read), Everybody),
    page("/readyz", Some(Read), Everybody),
    page("/metrics", Some(Read), Everybody),
    page("/config", Some(Read), Everybody),
    page("/cells", Some(Read), Everybody),
    page("/moves", Some(Read), Everybody),
    page("/brownouts", Some(Read), Everybody),
    page("/status", Some(Read), Everybody),
    page("/status.json", Some(Read), Everybody),
    page("/status/events", Some(Read), Everybody),
    page("/live", Some(Read), Everybody),
    page("/live/events", Some(Read), Everybody),
    // What it shows it asks for.
    page("/console", None, Everybody),
    page("/accounts", Some(Read), Report),
    page("/refusals", Some(Read), Report),
    page("/history", Some(Read), Report),
    page("/report", Some(Read), Report),
    page("/report.json", Some(Read), Report),
    page("/report/accounts/{id}", Some(Read), Report),
    page("/accounts/{id}", Some(Read), WithToken),
    page("/credentials", Some(Read), WithToken),
    page("/levers", Some(Read), WithToken),
    change("POST", "/levers", Operate),
    change("DELETE", "/levers/{id}", Operate),
    change("POST", "/reload", Operate),
    // Both put in force what a trial would have kept out.
    Route { with: Some("again"), ..change("POST", "/reload", Approve) },
    Route { with: Some("at_once"), ..change("POST", "/reload", Approve) },
    change("POST", "/upgrade", Operate),
    change("POST", "/break-glass", Approve),
    // What its end lets in serves at once.
    change("DELETE", "/break-glass", Approve),
];

/// The row of a call.
pub fn route(method: &str, path: &str, with: Option<&str>) -> Option<&'static Route> {
    ROUTES.iter().find(|route| (route.method, route.path, route.with) == (method, path, with))
}

impl Route {
    /// Whether it changes something.
    pub fn changes(&self) -> bool {
        self.method != "GET"
    }

    /// Whether its body has a lever.
    pub fn wants_lever(&self) -> bool {
        (self.method, self.path) == ("POST", "/levers")
    }

    /// As [`told`](Self::told), with the number that a call has in the place of `{id}`. Anything else there is made up, and
    /// may be anybody's secret: it is not told.
    pub fn told_of(&self, path: &str) -> String {
        let told = self.told();
        let (start, _) = self.path.split_once("{id}").unwrap_or((self.path, ""));
        match path.strip_prefix(start).filter(|_| start.len() < self.path.len()) {
            Some(id) => {
                id.parse::<u64>().map_or_else(|_| told.clone(), |id| told.replace("{id}", &id.to_string()))
            }
            None => told,
        }
    }

    /// `POST /reload again`.
    pub fn told(&self) -> String {
        let with = self.with.map_or_else(String::new, |with| format!(" {with}"));
        format!("{} {}{with}", self.method, self.path)
    }
}

const fn page(path: &'static str, needs: Option<Role>, on_loopback: OnLoopback) -> Route {
    Route { method: "GET", path, with: None, needs, on_loopback }
}

const fn change(method: &'static str, path: &'static str, needs: Role) -> Route {
    Route { method, path, with: None, needs: Some(needs), on_loopback: Change }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_with_what_it_is_about() {
        let told =
            |method: &str, template: &str, path: &str| route(method, template, None).unwrap().told_of(path);
        assert_eq!(told("DELETE", "/levers/{id}", "/levers/99"), "DELETE /levers/99");
        for made_up in ["a\u{1b}\"b", "", "-1", &"9".repeat(5_000)] {
            let told = told("DELETE", "/levers/{id}", &format!("/levers/{made_up}"));
            assert_eq!(told, "DELETE /levers/{id}");
        }
        assert_eq!(told("POST", "/levers", "/levers"), "POST /levers");
    }

    #[test]
    fn every_change_needs_more_than_to_read_and_every_route_has_one_row() {
        for (at, route) in ROUTES.iter().enumerate() {
            assert_eq!(route.changes(), route.on_loopback == Change, "{route:?}");
            assert!(!route.changes() || route.needs >= Some(Operate), "{route:?}");
            let same = ROUTES.iter().position(|other| other.told() == route.told());
            assert_eq!(same, Some(at), "{route:?} stands twice");
        }
    }
}
