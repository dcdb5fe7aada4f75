//! The verdict on a request: everything the shell needs to act, and everything a log line, a metric
//! or `explain` says about why. [`decide`] makes it.

mod weigh;

use http::HeaderMap;

use super::accounts::ScheduleIndex;
use super::address::{OwnAddress, own_address};
use super::client;
use super::credential::Fingerprint;
use super::facts::RequestFacts;
use super::holding;
use super::hosts::{HostMatch, Role};
use super::ids::{AccountId, CellIndex, SurfaceIndex};
use super::learned::LearnedTable;
use super::refusal::Refusal;
use super::routing_cookie;
use super::snapshot::Snapshot;

/// Which source named the account (or the cell).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The prefix of the host.
    HostPrefix,
    /// A path template.
    Path,
    /// A query key.
    Query,
    /// A header that names an account or an environment.
    Header,
    /// The fingerprint of a credential, static or learned.
    Credential,
    /// A cookie.
    Cookie,
    /// An id range: a cell and no account.
    IdRange,
    /// Nothing.
    None,
}

/// Two sources that name different accounts: the one that was followed and the one that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conflict {
    /// Followed (or first in the identify order, where the request was refused).
    pub followed: Source,
    /// Disagrees with it.
    pub against: Source,
}

/// Why a cell was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// A row of the account table.
    Mapped,
    /// An id-range rule.
    IdRange,
    /// The host's `no_account` or `unmapped_account` cell.
    Fallback,
}

/// What happens to the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forward to this cell and no other.
    Forward {
        /// The cell.
        cell: CellIndex,
        /// Why this one.
        why: Why,
    },
    /// Wait, for the account is moving away from this cell, which is its own by row; then decide again under the
    /// newest snapshot.
    Hold {
        /// The old cell.
        cell: CellIndex,
    },
    /// Answer a browser navigation with 302 to the account's own address.
    Redirect {
        /// Absolute URL on a configured host.
        location: String,
    },
    /// Answer it ourselves.
    Refuse(Refusal),
}

/// The whole decision. A value: the same request under the same snapshot gives an equal one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub verdict: Verdict,
    /// The account, where one with a number was named; also when it has no row.
    pub account: Option<AccountId>,
    /// Who named it.
    pub source: Source,
    /// Disagreements seen; never silently obeyed.
    pub conflicts: Vec<Conflict>,
    /// Role of the host; `None` when the host is not served.
    pub role: Option<Role>,
    /// Surface of the host.
    pub surface: Option<SurfaceIndex>,
    /// The labels of the host stood in the wrong order.
    pub misordered_host: bool,
    /// The deprecation schedule in force: the account's own, else the host's, as far as it is not extended. `None` on cell
    /// hosts.
    pub schedule: Option<ScheduleIndex>,
    /// The fingerprint of the credential under the newest key, where one of a known shape was sent.
    pub fingerprint: Option<Fingerprint>,
    /// That under the key before it, while keys rotate: what the credential was called until then.
    pub fingerprint_before: Option<Fingerprint>,
    /// The fingerprint under which the learned table knows the credential: under an older key while
    /// keys rotate. `None` where a configured table knows it, or none does.
    pub learned: Option<Fingerprint>,
    /// The credential tables know this credential for exactly this account, so the account's own
    /// address may be shown even where the cell does not answer 2xx.
    pub credential_known: bool,
    /// A credential of some kind was sent, so that a 2xx answer says something about whoever sent it.
    pub credential_sent: bool,
    /// That was a browser's cookie and nothing else: it changes with each sign-in.
    pub by_cookie: bool,
    /// A 2xx answer may teach the credential: path or host named the account, the route is marked
    /// `authenticated` and is not GraphQL, the cell is the account's own by row, and nothing disagrees
    /// but a learned credential (which the lesson can only make ambiguous, never move).
    pub may_learn: bool,
    /// A 2xx answer may give the browser our routing cookie for `account`: it came over https with the
    /// session cookie of its cell, the path named the account, the route and the cell are those that may
    /// teach, nothing else disagrees, and it has no cookie of that account that is young enough.
    pub may_mark: bool,
    /// It counts as a write as long as it lives.
    pub writes: bool,
    /// Position in `Snapshot::clients`; `None` is an unknown client.
    pub client: Option<u16>,
}

/// Decides about a request. A plain function: an equal request under an equal snapshot and an equal
/// learned table at an equal time (`now`, in seconds since the Unix epoch) gives an equal decision.
pub fn decide(snapshot: &Snapshot, learned: &LearnedTable, facts: &RequestFacts<'_>, now: u64) -> Decision {
    let client = client::family(&snapshot.clients, facts.headers);
    let Some(host) = snapshot.hosts.find(facts.host) else {
        return Decision { client, ..Decision::refused(Refusal::Misdirected) };
    };
    let mut decision = Decision { client, writes: holding::writes(facts), ..Decision::on(&host) };
    decision.verdict = match weigh::weigh(snapshot, learned, facts, &host, now, &mut decision) {
        Ok(Verdict::Forward { cell, .. }) if facts.is_native_grpc() && !snapshot.cell(cell).speaks_grpc() => {
            Verdict::Refuse(Refusal::NotImplemented)
        }
        Ok(Verdict::Forward { cell, why: Why::Mapped }) if is_held(snapshot, &decision) => {
            Verdict::Hold { cell }
        }
        Ok(verdict) => verdict,
        Err(refusal) => Verdict::Refuse(refusal),
    };
    if facts.is_preflight() {
        // A browser's question about another request, whose answer says it; and without a credential it
        // would show an account's own dates to whoever asks.
        decision.schedule = None;
    }
    decision
}

fn is_held(snapshot: &Snapshot, decision: &Decision) -> bool {
    decision.account.is_some_and(|account| holding::holds(snapshot, account, decision.writes))
}

impl Decision {
    /// A refusal of a request of which nothing but its host is known, and that perhaps not (`""`).
    pub fn refused_on(snapshot: &Snapshot, host: &str, refusal: Refusal) -> Self {
        let host = snapshot.hosts.find(host).filter(|_| refusal != Refusal::Misdirected);
        let on = host.map_or_else(|| Self::refused(refusal), |host| Self::on(&host));
        Self { verdict: Verdict::Refuse(refusal), ..on }
    }

    /// A refusal of a request of which nothing else is known.
    pub fn refused(refusal: Refusal) -> Self {
        Self {
            verdict: Verdict::Refuse(refusal),
            account: None,
            source: Source::None,
            conflicts: Vec::new(),
            role: None,
            surface: None,
            misordered_host: false,
            schedule: None,
            fingerprint: None,
            fingerprint_before: None,
            learned: None,
            credential_known: false,
            credential_sent: false,
            by_cookie: false,
            may_learn: false,
            may_mark: false,
            writes: false,
            client: None,
        }
    }

    /// Whether the account's own address may stand in an answer with this status: to whoever has proven to
    /// belong to it, by a known credential or by one that the cell has accepted.
    pub fn may_show_address(&self, status: u16) -> bool {
        self.credential_known || self.credential_sent && matches!(status, 200..=299)
    }

    /// What the answer of the cell teaches: this token belongs to this account. 200 to 204 prove that
    /// the cell accepted it; 206 and the like come from caches and file stores too.
    pub fn lesson(&self, status: u16) -> Option<(Fingerprint, AccountId)> {
        let proven = self.may_learn && matches!(status, 200..=204);
        self.fingerprint.zip(self.account).filter(|_| proven)
    }

    /// Whom the browser is marked with, once the cell has answered: it accepted the session, as for a
    /// [`lesson`](Self::lesson), and nobody else will be handed the same answer.
    pub fn mark(&self, status: u16, answer: &HeaderMap) -> Option<AccountId> {
        let proven = self.may_mark && matches!(status, 200..=204);
        self.account.filter(|_| proven && !routing_cookie::may_be_shared(answer))
    }

    /// The learned entry that alone decided where the request goes: a 401 from the cell counts against
    /// it, any 2xx for it.
    pub fn routed_by(&self) -> Option<Fingerprint> {
        let forwarded = matches!(self.verdict, Verdict::Forward { .. });
        self.placed_by().filter(|_| forwarded)
    }

    /// The learned entry that named the account: a process that has not learned it finds none, unless our
    /// own routing cookie came along.
    pub fn placed_by(&self) -> Option<Fingerprint> {
        let by_token = matches!(self.source, Source::Credential | Source::Cookie) && self.credential_known;
        self.learned.filter(|_| by_token)
    }

    /// Whose write this is and at which cell, where it is forwarded by row.
    pub fn write(&self) -> Option<(AccountId, CellIndex)> {
        match self.verdict {
            Verdict::Forward { cell, why: Why::Mapped } if self.writes => Some((self.account?, cell)),
            _ => None,
        }
    }

    /// The account's own address on the surface of the request, where the table knows one.
    pub fn own_address<'a>(&self, snapshot: &'a Snapshot) -> Option<OwnAddress<'a>> {
        let account = snapshot.accounts.by_id(self.account?)?;
        own_address(snapshot, account, self.surface?)
    }

    /// The beginning of a decision about a request on a served host: refused, until it is decided.
    fn on(host: &HostMatch<'_>) -> Self {
        Self {
            role: Some(host.rule.role),
            surface: Some(host.surface),
            misordered_host: host.misordered,
            // Never on cell hosts, whatever their rule says.
            schedule: host.rule.schedule.filter(|_| host.rule.role == Role::Legacy),
            ..Self::refused(Refusal::Internal)
        }
    }
}

impl Why {
    /// Log value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::IdRange => "id_range",
            Self::Fallback => "fallback",
        }
    }
}

impl Source {
    /// The stable name of the source, as `explain`, logs, metrics and signatures show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostPrefix => "host_prefix",
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Credential => "credential",
            Self::Cookie => "cookie",
            Self::IdRange => "id_range",
            Self::None => "none",
        }
    }
}
