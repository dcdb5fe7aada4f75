//! Weighing what a request says: which source is followed, which cell that means, and whether a
//! browser is shown the way instead.

use http::header::{AUTHORIZATION, USER_AGENT};

use super::{Conflict, Decision, Source, Verdict, Why};
use crate::policy::accounts::Account;
use crate::policy::address::own_address;
use crate::policy::facts::{self, RequestFacts, Scheme, Upgrade};
use crate::policy::fields::Field;
use crate::policy::hosts::{Fallback, HostMatch, Role};
use crate::policy::identify::{self, Birth, Cookies, Explicit, Known};
use crate::policy::ids::AccountId;
use crate::policy::learned::LearnedTable;
use crate::policy::refusal::Refusal;
use crate::policy::routing_cookie::{Held, RoutingCookie};
use crate::policy::snapshot::{IdentifyRules, Snapshot};

/// Fills in who is asking and returns what happens.
pub(super) fn weigh(
    snapshot: &Snapshot,
    learned: &LearnedTable,
    facts: &RequestFacts<'_>,
    host: &HostMatch<'_>,
    now: u64,
    decision: &mut Decision,
) -> Result<Verdict, Refusal> {
    let explicit = identify::explicit(snapshot, facts, host.rule.role)?;
    let cookies = identify::cookies(snapshot, facts.headers);
    decision.credential_sent = identify::has_credential(&snapshot.identify, facts.headers, &cookies);
    if wants_credential(facts, host, &explicit) && !decision.credential_sent {
        // Nothing of the account table has been touched, and nothing of it is shown.
        decision.account = explicit.path.account;
        decision.source = explicit.path.account.map_or(Source::None, |_| Source::Path);
        return Err(Refusal::CredentialRequired);
    }
    let rules = &snapshot.identify;
    let token = identify::token(rules, facts.headers);
    let known = identify::known(&rules.credentials, learned, token.or(cookies.token));
    decision.by_cookie = token.is_none() && cookies.present && !facts.headers.contains_key(AUTHORIZATION);
    decision.fingerprint = known.fingerprint;
    decision.fingerprint_before = known.fingerprint_before;
    decision.learned = known.learned;
    let ours = snapshot.routing_cookie(decision.role);
    let held = ours
        .and_then(|cookie| cookie.read(facts.headers, now))
        // Of an account that is gone it says nothing: a refusal would last as long as the cookie.
        .filter(|held| snapshot.accounts.by_id(held.account).is_some());
    let said = Said::new(&explicit, &cookies, &known, held, token.is_some());

    let verdict = match host.rule.role {
        Role::Cell => on_cell_host(snapshot, host, &said, decision),
        Role::Legacy => on_legacy_host(snapshot, host, &explicit, &said, decision)?,
    }?;
    decision.credential_known = known.account.is_some() && known.account == decision.account;
    let verdict = redirect(snapshot, facts, host, decision).unwrap_or(verdict);
    if proves(facts, &explicit, &verdict, decision) {
        let moved = held.is_some_and(|held| Some(held.account) != decision.account);
        decision.may_learn = !moved && may_learn(rules, &known, decision);
        decision.may_mark = decision.source == Source::Path
            // A cookie of another account is no objection: whoever proves the new one has moved on from it.
            && decision.conflicts.len() == usize::from(moved)
            && is_session(facts, &cookies)
            && ours.is_some_and(|cookie| !is_marked(cookie, held, decision, now));
    }
    Ok(verdict)
}

/// The accounts that the sources behind the host name, in the identify order.
struct Said {
    explicit: [(Source, Option<AccountId>); 3],
    implicit: [(Source, Option<AccountId>); 3],
}

impl Said {
    fn new(
        explicit: &Explicit<'_>,
        cookies: &Cookies<'_>,
        known: &Known,
        held: Option<Held>,
        token_in_header: bool,
    ) -> Self {
        // A token out of a cookie is the cookie's word.
        let (credential, cookie) = match token_in_header {
            true => (known.account, cookies.account),
            false => (None, cookies.account.or(known.account)),
        };
        Self {
            explicit: [
                (Source::Path, explicit.path.account),
                (Source::Query, explicit.query),
                (Source::Header, explicit.header),
            ],
            implicit: [
                (Source::Credential, credential),
                (Source::Cookie, cookie),
                // Behind the session itself: what is known of that one may be newer.
                (Source::Cookie, held.map(|held| held.account)),
            ],
        }
    }

    fn first(&self) -> Option<(Source, AccountId)> {
        self.all().find_map(|(source, account)| Some((*source, (*account)?)))
    }

    /// Every source that names another account than the one that is followed.
    fn conflicts(&self, followed: Source, account: AccountId) -> Vec<Conflict> {
        let against = self.all().filter(|(_, other)| other.is_some_and(|other| other != account));
        against.map(|(against, _)| Conflict { followed, against: *against }).collect()
    }

    fn all(&self) -> impl Iterator<Item = &(Source, Option<AccountId>)> {
        self.explicit.iter().chain(&self.implicit)
    }
}

/// On a cell host the prefix decides; nothing else may change the account.
fn on_cell_host(
    snapshot: &Snapshot,
    host: &HostMatch<'_>,
    said: &Said,
    decision: &mut Decision,
) -> Result<Verdict, Refusal> {
    let Some(prefix) = host.prefix else {
        return fall_back(host.rule.no_account, Refusal::NoAccount);
    };
    decision.source = Source::HostPrefix;
    let Some(account) = snapshot.accounts.by_prefix(prefix) else {
        return fall_back(host.rule.unmapped_account, Refusal::UnmappedAccount);
    };
    decision.account = Some(account.id);
    decision.conflicts = said.conflicts(Source::HostPrefix, account.id);
    // The address of another region: its certificate and its users are not this account's.
    if *snapshot.cell(account.cell).domain != *host.domain {
        return fall_back(host.rule.unmapped_account, Refusal::UnmappedAccount);
    }
    Ok(Verdict::Forward { cell: account.cell, why: Why::Mapped })
}

/// On a legacy host the first source in the identify order decides. The outer error is a refusal that
/// no fallback may answer.
fn on_legacy_host(
    snapshot: &Snapshot,
    host: &HostMatch<'_>,
    explicit: &Explicit<'_>,
    said: &Said,
    decision: &mut Decision,
) -> Result<Result<Verdict, Refusal>, Refusal> {
    let by_prefix = host.prefix.map(|prefix| snapshot.accounts.by_prefix(prefix));
    let named = match by_prefix {
        Some(None) => {
            decision.source = Source::HostPrefix;
            return Ok(fall_back(host.rule.unmapped_account, Refusal::UnmappedAccount));
        }
        Some(Some(account)) => Some((Source::HostPrefix, account.id)),
        None => said.first(),
    };
    let Some((source, account)) = named else {
        return Ok(without_account(host, explicit.born, decision));
    };
    decision.source = source;
    decision.account = Some(account);
    decision.conflicts = said.conflicts(source, account);
    let by_another = |source| matches!(source, Source::Path | Source::Query | Source::Header);
    if decision.conflicts.iter().any(|conflict| by_another(conflict.against)) {
        return Err(Refusal::ConflictingAccounts);
    }
    let Some(account) = snapshot.accounts.by_id(account) else {
        return Ok(fall_back(host.rule.unmapped_account, Refusal::UnmappedAccount));
    };
    let schedule = account.schedule.or(decision.schedule);
    decision.schedule = schedule.map(|schedule| snapshot.extensions.of(account.id, schedule));
    Ok(Ok(Verdict::Forward { cell: account.cell, why: Why::Mapped }))
}

fn without_account(host: &HostMatch<'_>, born: Birth, decision: &mut Decision) -> Result<Verdict, Refusal> {
    match born {
        Birth::Cell(cell) => {
            decision.source = Source::IdRange;
            Ok(Verdict::Forward { cell, why: Why::IdRange })
        }
        Birth::Conflicting => {
            decision.conflicts.push(Conflict { followed: Source::None, against: Source::IdRange });
            fall_back(host.rule.no_account, Refusal::NoAccount)
        }
        Birth::Unknown => fall_back(host.rule.no_account, Refusal::NoAccount),
    }
}

fn fall_back(fallback: Fallback, refusal: Refusal) -> Result<Verdict, Refusal> {
    match fallback {
        Fallback::Refuse => Err(refusal),
        Fallback::Cell(cell) => Ok(Verdict::Forward { cell, why: Why::Fallback }),
    }
}

/// Whether a route asks for a credential. Asked before any table, so that walking ids without one teaches
/// nothing; a preflight cannot have one, and is the one request that the answer of a cell tells apart.
fn wants_credential(facts: &RequestFacts<'_>, host: &HostMatch<'_>, explicit: &Explicit<'_>) -> bool {
    host.rule.role == Role::Legacy
        && explicit.path.template.is_some_and(|template| template.authenticated)
        && !facts.is_preflight()
}

/// Whether a 2xx answer proves whose the credential is: the client named the account, on a route that asks
/// for a credential, and the account's own cell answers.
fn proves(facts: &RequestFacts<'_>, explicit: &Explicit<'_>, verdict: &Verdict, decision: &Decision) -> bool {
    matches!(verdict, Verdict::Forward { why: Why::Mapped, .. })
        && matches!(decision.source, Source::HostPrefix | Source::Path)
        && explicit.path.template.is_some_and(|template| template.authenticated)
        // GraphQL answers 200 to a token that it refuses.
        && facts.path().trim_end_matches('/').rsplit('/').next() != Some("graphql")
}

/// See [`Decision::may_learn`]; of a request whose answer proves something.
fn may_learn(rules: &IdentifyRules, known: &Known, decision: &Decision) -> bool {
    let excused = |conflict: &Conflict| {
        matches!(conflict.against, Source::Credential | Source::Cookie) && known.learned.is_some()
    };
    rules.credentials.learning.is_some()
        && decision.fingerprint.is_some()
        && decision.conflicts.iter().all(excused)
}

/// Whether the browser has a cookie of this account that will do for a while.
fn is_marked(cookie: &RoutingCookie, held: Option<Held>, decision: &Decision, now: u64) -> bool {
    held.zip(decision.account).is_some_and(|(held, account)| cookie.is_fresh(held, account, now))
}

/// Whether a person's browser asks with the session cookie of its cell, over https. Programs that hold a
/// token send it in a header; those that hold a session are marked like browsers and can ignore it.
fn is_session(facts: &RequestFacts<'_>, cookies: &Cookies<'_>) -> bool {
    let browser = |agent: &http::HeaderValue| agent.as_bytes().starts_with(b"Mozilla/");
    cookies.token.is_some()
        && facts.connection.scheme == Scheme::Https
        && facts.upgrade == Upgrade::None
        && !facts.headers.contains_key(AUTHORIZATION)
        // Browsers before 2023 send no Sec-Fetch-Mode with what a page's script asks for.
        && (facts.fields.has(Field::SecFetchMode)
            || facts.headers.get(USER_AGENT).is_some_and(browser))
}

/// Where a browser that navigates on the legacy host is sent, if the account's row says so. Everything
/// else is never redirected: common clients drop or leak their credentials on the way.
fn redirect(
    snapshot: &Snapshot,
    facts: &RequestFacts<'_>,
    host: &HostMatch<'_>,
    decision: &Decision,
) -> Option<Verdict> {
    // A redirect shows the account's own address, and so does not come before the credential is known:
    // walking ids in a browser's manner must teach nobody which customers exist.
    let wanted = decision.credential_known
        && host.rule.role == Role::Legacy
        && navigates(facts)
        && !snapshot.redirect_exceptions.iter().any(|start| facts.path().starts_with(&**start));
    // A target of `//host` or `/\host` would be read as another host by whoever joins it to a base.
    let plain = facts.target.starts_with('/') && !facts.target[1..].starts_with(['/', '\\']);
    if !wanted || !plain {
        return None;
    }
    let account = snapshot.accounts.by_id(decision.account?).filter(|account| account.redirect_browsers)?;
    location(snapshot, account, host, facts.target).map(|location| Verdict::Redirect { location })
}

/// Only where the address has no surface label: that is where people click, the other surfaces are
/// for programs.
fn location(snapshot: &Snapshot, account: Account<'_>, host: &HostMatch<'_>, target: &str) -> Option<String> {
    let address = own_address(snapshot, account, host.surface)?;
    address.surface.is_none().then(|| address.url(target))
}

/// Whether a person's browser is about to show the answer as a page.
fn navigates(facts: &RequestFacts<'_>) -> bool {
    facts.is_navigation()
        && facts.upgrade == Upgrade::None
        && !facts.headers.contains_key("sec-purpose")
        && !facts.headers.contains_key(AUTHORIZATION)
        && facts::accepts(facts.headers, "text/html")
}
