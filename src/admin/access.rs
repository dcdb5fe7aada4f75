//! Who calls, and whether they may: in front of every route of every door. What is decided is
//! [`policy::access`](crate::policy::access)'s business; this reads the call, keeps the allowances, and has what was refused
//! written down.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;
use tokio::sync::watch;

use super::host::AllowedHosts;
use super::levers;
use super::places::Mark;
use super::routes::trouble;
use super::users::user_name;
use crate::attempts::handle::{Attempt, AttemptHandle, Ended};
use crate::policy::access::browser::may_change;
use crate::policy::access::rate::{Allowance, CHANGES, FAILURES};
use crate::policy::access::routes::{ROUTES, Route, route};
use crate::policy::access::{Access, Asker, Caller, Denied, Door, Opened, Proof, Role, admit};
use crate::telemetry::admin_meters::AdminMeters;
use crate::telemetry::wall_time::unix_seconds;

/// What is known of callers, of now.
pub type AccessView = watch::Receiver<Arc<Access>>;

/// Callers whose changes are counted: twice as many as there can be tokens.
const MOST_CALLERS: usize = 2_000;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    /// A process on this machine.
    Loopback,
    /// A process of this user.
    Unix {
        /// Its user id.
        uid: u32,
    },
    /// Another machine, and the names in the certificate that it has shown.
    Tls {
        /// Empty where it has shown none.
        names: Arc<[String]>,
    },
}

/// Stands at a door.
#[derive(Debug)]
pub(super) struct Keeper {
    door: Door,
    report: bool,
    operate: bool,
    hosts: AllowedHosts,
    access: AccessView,
    failures: Mutex<Allowance>,
    changes: Mutex<HashMap<Box<str>, Allowance>>,
    attempts: AttemptHandle,
    meters: AdminMeters,
}

/// A route at a door.
#[derive(Clone, Debug)]
pub(super) struct Guarded {
    route: &'static Route,
    keeper: Arc<Keeper>,
}

/// Who asks, for those who answer.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    caller: Option<Caller>,
    door: Door,
    opened: Opened,
}

/// Stands in an answer that says why nothing has changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotDone {
    /// As the answer names it.
    pub why: &'static str,
    /// Whether the caller might not, or it could not be done.
    pub ended: Ended,
}

/// Stands beside it, where the call alone does not say what somebody has tried: `: shed 50% cell us1`.
#[derive(Clone, Debug)]
pub(super) struct Tried(pub String);

/// `GET /whoami`.
#[derive(Serialize)]
struct WhoamiView {
    name: Option<Box<str>>,
    role: Option<&'static str>,
    may: Vec<String>,
    door: &'static str,
}

impl Keeper {
    /// Of a door, with what the operator has opened on the loopback one.
    pub(super) fn new(
        door: Door,
        (report, operate): (bool, bool),
        hosts: AllowedHosts,
        (access, attempts): (AccessView, AttemptHandle),
        meters: AdminMeters,
    ) -> Arc<Self> {
        let (failures, changes) = (Mutex::default(), Mutex::default());
        Arc::new(Self { door, report, operate, hosts, access, failures, changes, attempts, meters })
    }

    /// Whether a route is answered here at all.
    pub(super) fn has(&self, route: &Route) -> bool {
        self.door != Door::Loopback || !route.changes() || self.operate
    }

    /// Which door it is, and whether it shows reports to everybody.
    pub(super) fn shows_report(&self) -> bool {
        self.door != Door::Loopback || self.report
    }

    /// A route with this in front.
    pub(super) fn guarded(self: &Arc<Self>, route: &'static Route) -> Guarded {
        Guarded { route, keeper: Arc::clone(self) }
    }

    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.borrow())
    }

    fn opened(&self, access: &Access) -> Opened {
        Opened { report: self.report, operate: self.operate, tokens: access.tokens.is_some() }
    }

    /// Who calls: the holder of the token that comes with the call, or else whoever is at the other end.
    fn caller(&self, access: &Access, peer: &Peer, headers: &HeaderMap) -> Result<Option<Caller>, Denied> {
        if headers.contains_key(AUTHORIZATION) {
            let token = bearer(headers)?;
            let tokens = access.tokens.as_ref().ok_or(Denied::TokenUnknown)?;
            return tokens.find(token, unix_seconds(SystemTime::now())).map(Some);
        }
        match peer {
            Peer::Loopback => Ok(None),
            Peer::Unix { uid } => Ok(Some(Caller::unix(&user_name(*uid)))),
            Peer::Tls { names } if names.is_empty() => Ok(None),
            Peer::Tls { names } => access.by_certificate(names).map(Some).ok_or(Denied::CertificateUnknown),
        }
    }

    /// Who calls, and whether they may have this.
    fn judge(
        &self,
        route: &Route,
        access: &Access,
        peer: &Peer,
        headers: &HeaderMap,
    ) -> (Option<Caller>, Result<(), Denied>) {
        let caller = match self.caller(access, peer, headers) {
            Ok(caller) => caller,
            Err(denied) => return (None, Err(self.failed(denied))),
        };
        let may = || {
            if route.changes() {
                may_change(headers, self.door, caller.as_ref().map(|caller| caller.proof))?;
            }
            admit(route, self.door, self.opened(access), caller.as_ref())?;
            match &caller {
                Some(caller) if route.changes() => self.change(caller),
                _ => Ok(()),
            }
        };
        let judged = may();
        (caller, judged)
    }

    /// Somebody could not say who they are. So many are told why; the rest is told to wait.
    fn failed(&self, denied: Denied) -> Denied {
        if !denied.is_failed_proof() {
            return denied;
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.spend(FAILURES, Instant::now()) {
            Ok(()) => {
                let (door, why) = (self.door.as_str(), denied.name());
                tracing::warn!(door, why, "a caller of the admin plane could not say who they are");
                denied
            }
            Err(wait) => Denied::TooManyFailures { wait },
        }
    }

    /// Whoever may open the socket can end the process: there is nothing to save from them, and no reason to hold them up.
    fn change(&self, caller: &Caller) -> Result<(), Denied> {
        if caller.proof == Proof::Unix {
            return Ok(());
        }
        let now = Instant::now();
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if changes.len() >= MOST_CALLERS {
            changes.retain(|_, allowance| !allowance.is_full(now));
        }
        let allowance = changes.entry(caller.name.clone()).or_default();
        allowance.spend(CHANGES, now).map_err(|wait| Denied::TooManyChanges { wait })
    }

    fn tell(&self, caller: Option<&Caller>, what: String, NotDone { why, ended }: NotDone) {
        let caller = caller.map(|caller| caller.name.clone());
        self.attempts.tell(Attempt { caller, door: self.door, what, ended, why });
    }
}

/// In front of a route.
pub(super) async fn guard(
    State(Guarded { route, keeper }): State<Guarded>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let access = keeper.access();
    let (caller, judged) = keeper.judge(route, &access, &peer, request.headers());
    if caller.is_some()
        && let Some(mark) = request.extensions().get::<Mark>()
    {
        // On the doors that have such places, whoever is known keeps theirs.
        mark.settle();
    }
    let mut told = route.told_of(request.uri().path());
    let response = match judged {
        Err(denied) => {
            // What strangers have made up is not even read.
            if caller.is_some() && route.wants_lever() {
                told.push_str(&levers::tried(request.into_body()).await);
            }
            refused(denied)
        }
        Ok(()) => {
            if route.path == UPGRADE {
                // Of what it sets off, the trail has a line of the new process alone.
                let (name, what) = (caller.as_ref().map(|caller| caller.name.clone()), route.told());
                let ended = Ended::Asked;
                let attempt = Attempt { caller: name, door: keeper.door, what, ended, why: "asked" };
                keeper.attempts.tell_first(attempt).await;
            }
            let asking = Asking { caller: caller.clone(), door: keeper.door, opened: keeper.opened(&access) };
            request.extensions_mut().insert(asking);
            next.run(request).await
        }
    };
    if route.changes()
        && let Some(not_done) = response.extensions().get::<NotDone>()
    {
        if let Some(Tried(what)) = response.extensions().get() {
            told.push_str(what);
        }
        keeper.tell(caller.as_ref(), told, *not_done);
    }
    response
}

const UPGRADE: &str = "/upgrade";

/// In front of a whole door: under which names it may be called, and that nothing can be changed where nothing can. What is
/// refused here or behind is counted.
pub(super) async fn strangers(State(keeper): State<Arc<Keeper>>, request: Request, next: Next) -> Response {
    let is_host_allowed = match keeper.door {
        Door::Loopback => keeper.hosts.allow(request.uri(), request.headers()),
        Door::Socket => keeper.hosts.allow_on_socket(request.uri(), request.headers()),
        // Under another name its certificate does not hold.
        Door::Tls => true,
    };
    let only_read = keeper.door == Door::Loopback && !keeper.operate;
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let denied = match () {
        () if !is_host_allowed => Some(Denied::HostNotAllowed),
        () if only_read && !reads => Some(Denied::ReadOnly),
        () => None,
    };
    let response = match denied {
        Some(denied) => {
            if !reads {
                let not_done = NotDone { why: denied.name(), ended: Ended::Refused };
                keeper.tell(None, told_of(request.method(), request.uri().path()), not_done);
            }
            refused(denied)
        }
        None => next.run(request).await,
    };
    if let Some(denied) = response.extensions().get::<Denied>() {
        keeper.meters.refused(keeper.door, *denied);
    }
    response
}

/// A call in words of ours: what somebody has made up is not repeated.
fn told_of(method: &Method, path: &str) -> String {
    let is = |route: &&Route| {
        let start = route.path.strip_suffix("{id}").unwrap_or(route.path);
        route.method == method.as_str()
            && (path == route.path || (start != route.path && path.starts_with(start)))
    };
    ROUTES.iter().find(is).map_or_else(|| "a page that is not there".to_owned(), |route| route.told_of(path))
}

/// The one token of a call that has this header.
fn bearer(headers: &HeaderMap) -> Result<&[u8], Denied> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Denied::TwoTokens) };
    let value = value.as_bytes();
    let (scheme, token) = value.split_at(value.iter().position(|byte| *byte == b' ').unwrap_or(value.len()));
    if scheme.eq_ignore_ascii_case(b"Bearer") { Ok(token.trim_ascii()) } else { Err(Denied::NotBearer) }
}

/// The answer to whoever may not.
pub(super) fn refused(denied: Denied) -> Response {
    let mut response = trouble(denied.status(), denied.name(), denied.what(), denied.next());
    let headers = response.headers_mut();
    if denied.status() == http::StatusCode::UNAUTHORIZED {
        let failed = denied.is_failed_proof();
        let value = if failed {
            "Bearer realm=\"cellgate\", error=\"invalid_token\""
        } else {
            "Bearer realm=\"cellgate\""
        };
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(value));
    }
    if let Some(wait) = denied.wait() {
        // A second more than none: who comes too early is refused again.
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
    }
    response.extensions_mut().insert(denied);
    response.extensions_mut().insert(NotDone { why: denied.name(), ended: Ended::Refused });
    response
}

impl Asking {
    /// Whether the caller may also have what a row wants for a wish in the body.
    pub(super) fn may(&self, method: &str, path: &str, with: &str) -> Result<(), Denied> {
        let row = route(method, path, Some(with)).expect("a wish that is looked for has a row");
        admit(row, self.door, self.opened, self.caller.as_ref())
    }

    /// By which way they come.
    pub(super) const fn door(&self) -> Door {
        self.door
    }

    /// Who it is. Nobody without a name changes anything.
    pub(super) fn name(&self) -> Box<str> {
        self.caller.as_ref().map_or_else(|| "nobody".into(), |caller| caller.name.clone())
    }

    /// Who it is, and whom they name.
    pub(super) fn asker(&self, claimed: Option<&str>) -> Asker {
        Asker::new(&self.name(), claimed)
    }
}

/// `GET /whoami`.
pub(super) async fn whoami(Extension(asking): Extension<Asking>) -> Response {
    let Asking { caller, door, opened } = asking;
    let may = ROUTES.iter().filter(|route| admit(route, door, opened, caller.as_ref()).is_ok());
    Json(WhoamiView {
        may: may.map(Route::told).collect(),
        role: caller.as_ref().map(|caller| caller.role).map(Role::as_str),
        name: caller.map(|caller| caller.name),
        door: door.as_str(),
    })
    .into_response()
}
