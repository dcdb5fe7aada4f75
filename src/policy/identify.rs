//! What a request says about its account: every source of the identify order, read but not yet
//! weighed. [`decide`](super::decide) weighs them.
//!
//! The account table is not asked here: a refusal made from these readings alone costs and looks the
//! same for accounts that exist and accounts that do not.

use http::header::{AUTHORIZATION, CONNECTION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::credential::{self, CredentialRules, Fingerprint};
use super::facts::{RequestFacts, split_target};
use super::gate;
use super::hosts::Role;
use super::ids::{AccountId, CellIndex, EntityId};
use super::learned::{Learned, LearnedTable};
use super::path::{self, PathReading};
use super::refusal::BadRequest;
use super::snapshot::{IdentifyRules, Names, Snapshot};

/// What the explicit sources say: those that a client writes to name an account.
#[derive(Clone, Copy, Debug)]
pub struct Explicit<'t> {
    /// The path.
    pub path: PathReading<'t>,
    /// The account in the query.
    pub query: Option<AccountId>,
    /// The account in headers, by number or by environment.
    pub header: Option<AccountId>,
    /// The cell in which the entities were made that the request names and no table knows.
    pub born: Birth,
}

/// What cookies say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cookies<'a> {
    /// A cookie of some rule was sent.
    pub present: bool,
    /// The account named by value.
    pub account: Option<AccountId>,
    /// A token of a configured shape.
    pub token: Option<&'a [u8]>,
}

/// What the credential tables know of a token.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its fingerprint under the newest key.
    pub fingerprint: Option<Fingerprint>,
    /// That under the key before it, while keys rotate.
    pub fingerprint_before: Option<Fingerprint>,
    /// The account that it belongs to.
    pub account: Option<AccountId>,
    /// The fingerprint under which it was learned, where it was learned and not configured. May be that
    /// under an older key.
    pub learned: Option<Fingerprint>,
}

/// The cell that id ranges name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Birth {
    /// No entity of a known range.
    #[default]
    Unknown,
    /// This one.
    Cell(CellIndex),
    /// Two entities name different cells: neither is followed.
    Conflicting,
}

/// Reads path, query and headers. What cannot be read in one way only is refused on every host; ids
/// that are no ids are refused on legacy hosts, where they were meant to name an account.
pub fn explicit<'t>(
    snapshot: &'t Snapshot,
    facts: &RequestFacts<'_>,
    role: Role,
) -> Result<Explicit<'t>, BadRequest> {
    let rules = &snapshot.identify;
    let (path, query) = split_target(facts.target);
    let path = path::read_path(&rules.paths, path)?;
    let query = match query {
        Some(query) => in_query(rules, query, role)?,
        None => None,
    };
    let mut born = Birth::Unknown;
    if let Some(entity) = path.entity {
        born.note(cell_of(snapshot, entity));
    }
    let header = in_headers(snapshot, facts.headers, role, &mut born)?;
    Ok(Explicit { path, query, header, born })
}

/// Reads cookies by the configured rules. A cookie that says something else than it should says
/// nothing: the person in front of the browser cannot repair it.
pub fn cookies<'a>(snapshot: &Snapshot, headers: &'a HeaderMap) -> Cookies<'a> {
    let rules = &snapshot.identify;
    let mut found = Cookies::default();
    if rules.cookies.is_empty() {
        return found;
    }
    for (name, names) in &rules.cookies {
        let mut values = cookie_values(headers, name.as_bytes());
        let Some(value) = values.next() else { continue };
        let differ = values.any(|other| other != value);
        found.present |= differ || !value.is_empty();
        // Which of two values a cell would read is not known.
        if differ {
            continue;
        }
        let account = match names {
            Names::Account => AccountId::parse(value).ok(),
            Names::Environment => EntityId::parse(value).ok().and_then(|id| snapshot.environments.find(id)),
            Names::Credential => {
                found.token = found.token.or(rules.credentials.fits(value).then_some(value));
                None
            }
        };
        found.account = found.account.or(account);
    }
    found
}

/// The token of a request, from `Authorization` or a header that holds a credential.
pub fn token<'a>(rules: &IdentifyRules, headers: &'a HeaderMap) -> Option<&'a [u8]> {
    let in_header = || {
        let names = rules.headers.iter().filter(|(_, names)| *names == Names::Credential);
        let mut values = names.filter_map(|(name, _)| single(headers, name).ok()?);
        values.find(|value| rules.credentials.fits(value))
    };
    credential::find(&rules.credentials, headers).or_else(in_header)
}

/// Whether a request carries anything that a cell could take for a credential. A field with nothing in it, or with nothing
/// behind its scheme, is none: whoever walks ids has that, too.
pub fn has_credential(rules: &IdentifyRules, headers: &HeaderMap, cookies: &Cookies<'_>) -> bool {
    let says = |value: &HeaderValue| !value.as_bytes().trim_ascii().is_empty();
    let in_header = |(name, names): &(HeaderName, Names)| {
        *names == Names::Credential && headers.get_all(name).iter().any(says)
    };
    cookies.present
        || headers.get_all(AUTHORIZATION).iter().any(|value| credential::is_said(&rules.credentials, value))
        || rules.headers.iter().any(in_header)
}

/// Asks the credential tables: the configured one before the learned one, the newest key before older
/// ones. A token that was learned for two accounts is nobody's, also where it was one key's entry for
/// the one and another key's for the other.
pub fn known(rules: &CredentialRules, learned: &LearnedTable, token: Option<&[u8]>) -> Known {
    let mut known = Known { fingerprint: None, fingerprint_before: None, account: None, learned: None };
    let Some(token) = token else { return known };
    // There is one while keys rotate, and then it is made for the look-up anyway, but for those in the newest table.
    known.fingerprint_before = rules.keys.get(1).map(|key| credential::fingerprint(key, token));
    let mut entry: Option<(Fingerprint, AccountId)> = None;
    let mut ambiguous = false;
    for (position, key) in rules.keys.iter().enumerate() {
        let made = known.fingerprint_before.filter(|_| position == 1);
        let fingerprint = made.unwrap_or_else(|| credential::fingerprint(key, token));
        known.fingerprint.get_or_insert(fingerprint);
        if let Some(account) = rules.table.find(fingerprint) {
            return Known { account: Some(account), ..known };
        }
        match learned.lookup(fingerprint) {
            Learned::None => {}
            Learned::Ambiguous => ambiguous = true,
            Learned::Account(account) => {
                let (_, first) = entry.get_or_insert((fingerprint, account));
                ambiguous |= *first != account;
            }
        }
    }
    if let Some((fingerprint, account)) = entry.filter(|_| !ambiguous) {
        known.account = Some(account);
        known.learned = Some(fingerprint);
    }
    known
}

fn in_query(rules: &IdentifyRules, query: &str, role: Role) -> Result<Option<AccountId>, BadRequest> {
    let mut named = None;
    for key in &rules.query_keys {
        let mut value = None;
        for pair in query.split('&') {
            // Some servers separate pairs by `;` too.
            let (first, others) = pair.split_once(';').unwrap_or((pair, ""));
            if others.split(';').any(|other| reads_as(name_of(other), key)) {
                return Err(BadRequest::DuplicateKey);
            }
            if name_of(pair) == &**key {
                let found = pair.split_once('=').map_or("", |(_, found)| found);
                if value.is_some_and(|value| value != found) {
                    return Err(BadRequest::DuplicateKey);
                }
                value = Some(found);
            } else if reads_as(name_of(first), key) {
                return Err(BadRequest::DuplicateKey);
            }
        }
        let account = match value {
            None | Some("") => None,
            Some(text) => account_id(text.as_bytes(), role)?,
        };
        named = agree(named, account, role)?;
    }
    Ok(named)
}

fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// Whether some decoder makes `key` of `name`, or some framework a list or a map of that name, or one that does not look at
/// case.
fn reads_as(name: &str, key: &str) -> bool {
    // `account_id[]=1`, `account_id[0]=1` (PHP, Rails, qs).
    let is = |text: &[u8]| {
        let base = text.split(|byte| *byte == b'[').next().unwrap_or_default();
        base.eq_ignore_ascii_case(key.as_bytes())
    };
    if is(name.as_bytes()) {
        return true;
    }
    if !name.contains(['%', '+']) {
        return false;
    }
    let mut text = name.as_bytes().to_vec();
    // As often as a path is decoded.
    for _ in 0..3 {
        let Some(decoded) = path::decode(&text) else { break };
        text = decoded;
    }
    let blank = |byte: &u8| matches!(byte, b'+' | b' ');
    let start = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    is(&text[start..end])
}

fn in_headers(
    snapshot: &Snapshot,
    headers: &HeaderMap,
    role: Role,
    born: &mut Birth,
) -> Result<Option<AccountId>, BadRequest> {
    let mut named = None;
    for (name, names) in &snapshot.identify.headers {
        if *names == Names::Credential {
            continue;
        }
        let value = single(headers, name)?;
        if headers.keys().any(|other| is_respelled(other, name)) {
            return Err(BadRequest::DuplicateKey);
        }
        let Some(value) = value else { continue };
        if gate::members(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case(name.as_ref())) {
            return Err(BadRequest::Connection);
        }
        let account = match names {
            Names::Account => account_id(value, role)?,
            Names::Environment | Names::Credential => match EntityId::parse(value) {
                Ok(environment) => {
                    let account = snapshot.environments.find(environment);
                    if account.is_none() {
                        born.note(cell_of(snapshot, environment));
                    }
                    account
                }
                Err(_) if role == Role::Cell => None,
                Err(_) => return Err(BadRequest::AccountId),
            },
        };
        named = agree(named, account, role)?;
    }
    Ok(named)
}

/// The value of a field; several that are equal count as one.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, BadRequest> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.any(|other| other != value) {
        return Err(BadRequest::DuplicateKey);
    }
    Ok(Some(value.as_bytes()))
}

/// Whether a cell may read this name as that one: many take `_` for `-` (RFC 3875 section 4.1.18).
fn is_respelled(other: &HeaderName, name: &HeaderName) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte };
    let (other, name) = (other.as_str(), name.as_str());
    other.len() == name.len()
        && other != name
        && other.bytes().zip(name.bytes()).all(|(a, b)| plain(a) == plain(b))
}

fn account_id(text: &[u8], role: Role) -> Result<Option<AccountId>, BadRequest> {
    match (AccountId::parse(text), role) {
        (Ok(account), _) => Ok(Some(account)),
        (Err(_), Role::Cell) => Ok(None),
        (Err(_), Role::Legacy) => Err(BadRequest::AccountId),
    }
}

/// Two keys of one source must not name two accounts, where the source counts.
fn agree(a: Option<AccountId>, b: Option<AccountId>, role: Role) -> Result<Option<AccountId>, BadRequest> {
    match (a, b) {
        (Some(a), Some(b)) if a != b && role == Role::Legacy => Err(BadRequest::DuplicateKey),
        (a, b) => Ok(a.or(b)),
    }
}

/// Every value of a cookie, over all Cookie fields (RFC 6265 section 4.2.1).
pub(super) fn cookie_values<'a>(headers: &'a HeaderMap, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        (pair[..equals] == *name).then_some(&pair[equals + 1..])
    })
}

fn cell_of(snapshot: &Snapshot, entity: EntityId) -> Option<CellIndex> {
    let id = entity.value();
    let mut ranges = snapshot.identify.id_ranges.iter();
    ranges.find(|range| range.enabled && (range.first..=range.last).contains(&id)).map(|range| range.cell)
}

impl Birth {
    fn note(&mut self, cell: Option<CellIndex>) {
        *self = match (*self, cell) {
            (Self::Unknown, Some(cell)) => Self::Cell(cell),
            (Self::Cell(before), Some(cell)) if before != cell => Self::Conflicting,
            (before, _) => before,
        };
    }
}
