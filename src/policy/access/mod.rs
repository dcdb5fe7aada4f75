//! Who may do what on the admin plane: roles, doors, callers, the table of routes, and what is said to whoever may not.
//! The shell around it (`admin`) knows sockets and the clock; this decides.

pub mod browser;
pub mod certificate;
pub mod rate;
pub mod refused;
pub mod routes;
pub mod token;

use std::fmt;
use std::sync::Arc;

pub use refused::Denied;
use routes::{OnLoopback, Route};
use token::TokenTable;

/// What a caller may do; each may do what the one before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look at everything, accounts by name included.
    Read,
    /// Also pull levers, reload, upgrade.
    Operate,
    /// Also what overrides guards and trials: break the glass, try again what was rolled back, skip the steps.
    Approve,
}

/// By which way a call comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// The loopback port: everybody on the machine, and every page in a browser there.
    Loopback,
    /// The unix socket: whom its file mode admits.
    Socket,
    /// The TLS port: everybody in the network.
    Tls,
}

/// How it is known who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The kernel says which user is at the other end of the socket.
    Unix,
    /// A bearer token.
    Token,
    /// A client certificate.
    Certificate,
}

/// Somebody who is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// How, and who: `token:alice`, `certificate:bob@example.com`, `unix:root`.
    pub name: Box<str>,
    /// What they may do.
    pub role: Role,
    /// How it is known.
    pub proof: Proof,
}

/// Who asks for a change: who that is for sure, and for whom, as they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The name of a [`Caller`].
    pub caller: Box<str>,
    /// On whose behalf; checked by nobody.
    pub claimed: Option<Box<str>>,
}

/// What makes callers known, and what the TLS door shows: from files that are read again when they change.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Bearer tokens; `None` where no file of them is configured.
    pub tokens: Option<TokenTable>,
    /// Names in client certificates, with their roles; the first that fits counts.
    pub certificates: Arc<[(Box<str>, Role)]>,
    /// What the TLS door speaks; `None` closes it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// What the operator has opened on the loopback door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Reports, for everybody.
    pub report: bool,
    /// Changes, for whoever has a token with the role.
    pub operate: bool,
    /// There are tokens.
    pub tokens: bool,
}

/// Whether a caller may have a route at a door.
///
/// # Errors
/// Why not.
pub fn admit(route: &Route, door: Door, opened: Opened, caller: Option<&Caller>) -> Result<(), Denied> {
    let Some(needs) = route.needs else { return Ok(()) };
    if door == Door::Loopback {
        match route.on_loopback {
            OnLoopback::Everybody => return Ok(()),
            OnLoopback::Report if opened.report => return Ok(()),
            OnLoopback::Report if !opened.tokens => return Err(Denied::ReportHidden),
            OnLoopback::WithToken if !opened.tokens => return Err(Denied::NotHere),
            OnLoopback::Change if !opened.operate => return Err(Denied::ReadOnly),
            OnLoopback::Report | OnLoopback::WithToken | OnLoopback::Change => {}
        }
    }
    match caller {
        None => Err(Denied::NoToken),
        Some(caller) if caller.role < needs => Err(Denied::RoleMissing { has: caller.role, needs }),
        Some(_) => Ok(()),
    }
}

impl Role {
    /// All, from the one that may least.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Approve];

    /// As files and answers have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Approve => "approve",
        }
    }

    /// From that.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl Door {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Loopback, Self::Socket, Self::Tls];

    /// As answers and the audit trail have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Socket => "socket",
            Self::Tls => "tls",
        }
    }
}

impl Caller {
    /// The user at the other end of the socket. Whoever may open that may do everything.
    pub fn unix(user: &str) -> Self {
        Self { name: format!("unix:{user}").into(), role: Role::Approve, proof: Proof::Unix }
    }
}

impl Access {
    /// Whoever has shown a certificate with these names.
    pub fn by_certificate(&self, names: &[String]) -> Option<Caller> {
        let has = |(name, _): &&(Box<str>, Role)| names.iter().any(|shown| *shown == **name);
        let (name, role) = self.certificates.iter().find(has)?;
        Some(Caller { name: format!("certificate:{name}").into(), role: *role, proof: Proof::Certificate })
    }
}

impl Asker {
    /// A caller, and whom they name.
    pub fn new(caller: &str, claimed: Option<&str>) -> Self {
        Self { caller: caller.into(), claimed: claimed.map(Into::into) }
    }

    /// From what [`Display`](fmt::Display) has written; `None` where that names nobody who was known.
    pub fn parse(text: &str) -> Option<Self> {
        let (caller, claimed) =
            text.split_once(" for ").map_or((text, None), |(own, other)| (own, Some(other)));
        let known = ["unix:", "token:", "certificate:"].iter().any(|how| caller.starts_with(how));
        known.then(|| Self::new(caller, claimed))
    }
}

/// `token:alice`, or `token:alice for bob` where they name somebody else than themselves.
impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = self.caller.split_once(':').map_or(&*self.caller, |(_, name)| name);
        match self.claimed.as_deref().map(str::trim).filter(|claimed| *claimed != bare) {
            Some(claimed) => write!(f, "{} for {claimed}", self.caller),
            None => f.write_str(&self.caller),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::routes::{ROUTES, route};
    use super::*;

    fn caller(role: Role) -> Caller {
        Caller { name: "token:a".into(), role, proof: Proof::Token }
    }

    #[test]
    fn every_role_has_every_route_of_its_row_and_no_other_at_every_door() {
        let opened = Opened { report: false, operate: true, tokens: true };
        let mut denied = 0;
        for route in &ROUTES {
            for door in Door::ALL {
                for role in Role::ALL {
                    let admitted = admit(route, door, opened, Some(&caller(role)));
                    let free = door == Door::Loopback && route.on_loopback == OnLoopback::Everybody;
                    let expect = free || route.needs.is_none_or(|needs| role >= needs);
                    assert_eq!(admitted.is_ok(), expect, "{route:?} {door:?} {role:?}");
                    denied += usize::from(!expect);
                }
                let nobody = admit(route, door, opened, None);
                let free = door == Door::Loopback && route.on_loopback == OnLoopback::Everybody;
                assert_eq!(nobody.is_ok(), free || route.needs.is_none(), "{route:?} {door:?}");
            }
        }
        assert!(denied > 20, "{denied}");
    }

    #[test]
    fn the_loopback_door_is_closed_to_changes_and_names_of_accounts_where_nothing_is_said() {
        let find = |method, path| route(method, path, None).unwrap();
        let all = caller(Role::Approve);
        for (method, path, opened, expect) in [
            ("POST", "/levers", Opened::default(), Err(Denied::ReadOnly)),
            ("POST", "/levers", Opened { tokens: true, ..Opened::default() }, Err(Denied::ReadOnly)),
            ("POST", "/levers", Opened { operate: true, ..Opened::default() }, Ok(())),
            ("GET", "/accounts/{id}", Opened::default(), Err(Denied::NotHere)),
            ("GET", "/accounts/{id}", Opened { tokens: true, ..Opened::default() }, Ok(())),
            ("GET", "/report", Opened::default(), Err(Denied::ReportHidden)),
            ("GET", "/report", Opened { tokens: true, ..Opened::default() }, Ok(())),
        ] {
            assert_eq!(admit(find(method, path), Door::Loopback, opened, Some(&all)), expect, "{path}");
        }
        let shown = Opened { report: true, ..Opened::default() };
        assert_eq!(admit(find("GET", "/report"), Door::Loopback, shown, None), Ok(()));
        assert_eq!(admit(find("GET", "/cells"), Door::Loopback, Opened::default(), None), Ok(()));
        assert_eq!(admit(find("GET", "/cells"), Door::Tls, Opened::default(), None), Err(Denied::NoToken));
    }

    #[test]
    fn whom_a_caller_names_stands_behind_who_they_are() {
        for (claimed, expect) in [
            (None, "unix:root"),
            (Some("root"), "unix:root"),
            (Some("ann"), "unix:root for ann"),
            (Some("token:bob"), "unix:root for token:bob"),
        ] {
            assert_eq!(Asker::new("unix:root", claimed).to_string(), expect);
            let own = claimed.filter(|claimed| *claimed != "root");
            assert_eq!(Asker::parse(expect), Some(Asker::new("unix:root", own)), "and is read back");
        }
        let nested = Asker::new("token:olaf", Some("ann for token:anna"));
        assert_eq!(Asker::parse(&nested.to_string()), Some(nested), "who is claimed is never who it was");
        assert_eq!(Asker::parse("ann"), None);
    }

    #[test]
    fn of_several_names_in_a_certificate_the_first_row_that_fits_counts() {
        let rows = [("ann@example.com", Role::Read), ("ops.example.com", Role::Operate)];
        let rows: Vec<_> = rows.iter().map(|(name, role)| (Box::from(*name), *role)).collect();
        let access = Access { certificates: rows.into(), ..Access::default() };
        let by = |names: &[&str]| {
            access.by_certificate(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        let both = by(&["ops.example.com", "ann@example.com"]).unwrap();
        assert_eq!((&*both.name, both.role), ("certificate:ann@example.com", Role::Read));
        assert_eq!(by(&["ops.example.com"]).unwrap().role, Role::Operate);
        assert_eq!(by(&["ann"]), None);
        assert_eq!(by(&[]), None);
    }
}
