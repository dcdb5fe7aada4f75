//! `identify:` of `cellgate.yaml`: how a request names its account.

use std::cmp::Ordering;
use std::collections::HashMap;

use http::HeaderName;

use super::files::Sources;
use super::hosts::narrow;
use super::names::Names;
use super::problem::quoted;
use super::raw::{self, Field};
use super::routing_cookie;
use super::secret;
use super::slot::{At, Slot};
use crate::policy::code::Code;
use crate::policy::credential::{CredentialRules, FingerprintKey, Learning, TokenShape};
use crate::policy::ids::CellIndex;
use crate::policy::keyed::KeyTable;
use crate::policy::snapshot::{IdRange, IdentifyRules, Names as Naming, PathTemplate, Segment};

/// The values of keys that are absent, each with its reason.
pub mod default {
    use std::time::Duration;

    /// The two spellings that the API of the request shapes calls equivalent.
    pub const SCHEMES: [&str; 2] = ["token", "bearer"];
    /// About 100 bytes each, so 10 MB.
    pub const LEARNED_ENTRIES: usize = 100_000;
    /// Ten times the tokens that the busiest integrations of one account use.
    pub const LEARNED_PER_ACCOUNT: usize = 1_000;
    /// As other products call theirs: by their own name.
    pub const ROUTING_COOKIE: &str = "__Host-cellgate";
    /// A working day: shorter than most sessions, and every session in use is marked anew.
    pub const ROUTING_COOKIE_AGE: Duration = Duration::from_secs(12 * 3_600);
}

/// Most rules of each kind. Each is looked at on every request, so this is generous already.
const MAX_RULES: usize = 1_000;

/// Most segments of a path template; the longest of the request shapes has five.
const MAX_SEGMENTS: usize = 16;

/// Longest token that can be a routing key; signed tokens with many claims stay below.
const MAX_TOKEN_BYTES: u64 = 8 * 1024;

/// Reads everything but the credential table, which needs the account table first.
pub(super) fn read<'a>(
    slot: Slot<'a, raw::Identify>,
    cells: &Names,
    sources: &Sources,
) -> (IdentifyRules, Option<KnownCredentials<'a>>) {
    let at = &slot.at.clone();
    let mut raw = at.open(slot.or(raw::Identify::default()));
    let paths = paths(bounded(raw.paths(at)));
    let key = |text: String| is_token(&text).then(|| text.into());
    let query_keys = bounded(raw.query_keys(at)).into_iter();
    let query_keys = query_keys
        .filter_map(|slot| slot.parse(Code::FieldName, "the name of a query key", key).required())
        .collect();
    let headers = headers(bounded(raw.headers(at)));
    let cookies = cookies(bounded(raw.cookies(at)));
    let routing_cookie = routing_cookie::read(raw.routing_cookie(at), &cookies, sources);
    let credentials = raw.credentials(at);
    let credentials_at = credentials.at.clone();
    let (credentials, table) = match credentials.optional() {
        Some(raw) => read_credentials(raw, &credentials_at, sources),
        None => (CredentialRules::default(), None),
    };
    let id_ranges = id_ranges(bounded(raw.id_ranges(at)), cells);
    (IdentifyRules { paths, query_keys, headers, cookies, routing_cookie, credentials, id_ranges }, table)
}

/// What is needed to read the credential table.
pub(super) struct KnownCredentials<'a> {
    /// The path of the file.
    pub(super) path: String,
    /// Where it is named.
    pub(super) at: At<'a>,
    /// The ids of the fingerprint keys, those included whose files could not be read.
    pub(super) keys: Names,
}

fn bounded<T: raw::Shape>(slot: Slot<'_, Vec<Field<T>>>) -> Vec<Slot<'_, T>> {
    let at = slot.at.clone();
    at.at_most(slot.items(), MAX_RULES)
}

fn paths(slots: Vec<Slot<'_, raw::PathTemplate>>) -> Vec<PathTemplate> {
    let mut paths: Vec<PathTemplate> = Vec::new();
    let mut lines: HashMap<Vec<u8>, u32> = HashMap::new();
    for slot in slots {
        let at = slot.at.clone();
        let Some(raw) = slot.required() else { continue };
        let mut raw = at.open(raw);
        let authenticated = raw.authenticated(&at).or(false);
        let path = raw.path(&at);
        let at = path.at.clone();
        let Some(segments) = path.parse(Code::PathTemplate, TEMPLATE, |text| template(&text)).required()
        else {
            continue;
        };
        let names = segments.iter().any(|s| matches!(s, Segment::Account | Segment::Entity));
        if !names && !authenticated {
            at.refuse(
                Code::TemplateNamesNothing,
                "the template names nothing",
                "{account} or {entity} in it, or authenticated: true",
            );
        }
        if let Some(first) = lines.insert(matched(&segments), at.line()) {
            at.refuse(
                Code::PathsTwice,
                format!("it matches the same paths as the template in line {first}"),
                "each path once",
            );
        }
        paths.push(PathTemplate { segments, authenticated });
    }
    paths.sort_by(|a, b| specific_first(&a.segments, &b.segments));
    paths
}

const TEMPLATE: &str =
    "a path such as /api/v2/accounts/{account}: plain segments, {account} once, {entity} and *";

pub(super) fn template(text: &str) -> Option<Vec<Segment>> {
    let segment = |text: &str| match text {
        "{account}" => Some(Segment::Account),
        "{entity}" => Some(Segment::Entity),
        "*" => Some(Segment::Any),
        // What the gate refuses in a request cannot be matched either.
        "" | "." | ".." => None,
        _ => text.bytes().all(is_plain).then(|| Segment::Literal(text.into())),
    };
    let segments: Vec<Segment> = text.strip_prefix('/')?.split('/').map(segment).collect::<Option<_>>()?;
    let accounts = segments.iter().filter(|s| **s == Segment::Account).count();
    (segments.len() <= MAX_SEGMENTS && accounts <= 1).then_some(segments)
}

/// Unreserved characters and those sub-delimiters that paths of APIs use (RFC 3986 section 3.3).
fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~@:+,=$!".contains(&b)
}

/// Templates with the same text match the same paths: an account and an entity are both digits.
pub(super) fn matched(segments: &[Segment]) -> Vec<u8> {
    let mut text = Vec::new();
    for segment in segments {
        text.push(b'/');
        match segment {
            Segment::Literal(literal) => text.extend_from_slice(literal.as_bytes()),
            Segment::Account | Segment::Entity => text.push(b'{'),
            Segment::Any => text.push(b'*'),
        }
    }
    text
}

/// The order in which templates are tried: text before ids before anything, longer before shorter.
pub(super) fn specific_first(a: &[Segment], b: &[Segment]) -> Ordering {
    let rank = |segment: &Segment| match segment {
        Segment::Literal(_) => 0,
        Segment::Account => 1,
        Segment::Entity => 2,
        Segment::Any => 3,
    };
    let ranks = a.iter().zip(b).map(|(a, b)| rank(a).cmp(&rank(b)));
    ranks.fold(Ordering::Equal, Ordering::then).then(b.len().cmp(&a.len()))
}

fn headers(slots: Vec<Slot<'_, raw::NamingField>>) -> Vec<(HeaderName, Naming)> {
    let mut headers: Vec<(HeaderName, Naming)> = Vec::new();
    for slot in slots {
        let at = slot.at.clone();
        let Some(raw) = slot.required() else { continue };
        let mut raw = at.open(raw);
        let name = raw
            .name(&at)
            .parse(Code::FieldName, HEADER, |text| text.parse::<HeaderName>().ok().filter(may_name))
            .required();
        let words = [("account", Naming::Account), ("environment", Naming::Environment)];
        let (Some(name), Some(names)) = (name, raw.names(&at).word(&words).required()) else { continue };
        if headers.iter().any(|(other, _)| *other == name) {
            at.key("name").refuse(
                Code::NameTwice,
                format!("the header {} stands twice", quoted(name.as_str())),
                "each header once",
            );
        }
        headers.push((name, names));
    }
    headers
}

const HEADER: &str =
    "the name of a header that is free for this: not one of HTTP's own, nor X-Cellgate-* or X-Forwarded-*";

/// Whether a header may name an account. Those of HTTP itself mean something else, and those that we
/// set are stripped from requests before they are read.
fn may_name(name: &HeaderName) -> bool {
    let taken = [
        "accept",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
    ];
    let name = name.as_str();
    !taken.contains(&name) && !name.starts_with("x-cellgate-") && !name.starts_with("x-forwarded-")
}

fn cookies(slots: Vec<Slot<'_, raw::NamingField>>) -> Vec<(Box<str>, Naming)> {
    let mut cookies: Vec<(Box<str>, Naming)> = Vec::new();
    for slot in slots {
        let at = slot.at.clone();
        let Some(raw) = slot.required() else { continue };
        let mut raw = at.open(raw);
        let name = raw
            .name(&at)
            .parse(Code::FieldName, "the name of a cookie", |text| is_token(&text).then(|| text.into()))
            .required();
        let words = [("account", Naming::Account), ("credential", Naming::Credential)];
        let (Some(name), Some(names)): (Option<Box<str>>, _) = (name, raw.names(&at).word(&words).required())
        else {
            continue;
        };
        if cookies.iter().any(|(other, _)| *other == name) {
            at.key("name").refuse(
                Code::NameTwice,
                format!("the cookie {} stands twice", quoted(&name)),
                "each cookie once",
            );
        }
        cookies.push((name, names));
    }
    cookies
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn read_credentials<'a>(
    raw: raw::Credentials,
    at: &At<'a>,
    sources: &Sources,
) -> (CredentialRules, Option<KnownCredentials<'a>>) {
    let mut raw = at.open(raw);
    let schemes = raw.schemes(at);
    let schemes = if schemes.is_there() {
        let scheme = |text: String| is_token(&text).then(|| text.to_ascii_lowercase().into());
        let items = schemes.some_items(MAX_RULES).into_iter();
        items
            .filter_map(|slot| {
                slot.parse(Code::FieldName, "an authorization scheme such as Bearer", scheme).required()
            })
            .collect()
    } else {
        default::SCHEMES.map(Into::into).to_vec()
    };
    let shapes = shapes(raw.shapes(at).some_items(MAX_RULES));
    let key_items = raw.keys(at).some_items(MAX_RULES);
    let key_ids = Names::of("fingerprint key", "id", &key_items, |key| &key.id);
    let keys = keys(key_items, sources);
    let table =
        raw.table(at).optional().map(|path| KnownCredentials { path, at: at.key("table"), keys: key_ids });
    let learn = raw.learn(at);
    let learn_at = learn.at.clone();
    let learning = learn.optional().map(|raw| learning(raw, &learn_at));
    (CredentialRules { schemes, shapes, keys, table: KeyTable::default(), learning }, table)
}

fn shapes(slots: Vec<Slot<'_, raw::TokenShape>>) -> Vec<TokenShape> {
    let read = |slot: Slot<'_, raw::TokenShape>| {
        let at = slot.at.clone();
        let mut raw = at.open(slot.required()?);
        let visible = |text: String| text.bytes().all(|b| b.is_ascii_graphic()).then(|| text.into());
        let prefix: Option<Box<str>> =
            raw.prefix(&at).parse(Code::Text, "visible ASCII characters", visible).required();
        let min = raw.min(&at).number(1..=MAX_TOKEN_BYTES).required();
        let max = raw.max(&at).number(1..=MAX_TOKEN_BYTES).required();
        let (prefix, min, max) = (prefix?, min?, max?);
        if max < min || max < prefix.len() as u64 {
            at.key("max").refuse(
                Code::TokenLengths,
                format!("found {max}"),
                format!("at least {}", min.max(prefix.len() as u64)),
            );
        }
        let size = |n: u64| usize::try_from(n).expect("MAX_TOKEN_BYTES fits");
        Some(TokenShape { prefix, min_len: size(min), max_len: size(max) })
    };
    slots.into_iter().filter_map(read).collect()
}

fn keys(slots: Vec<Slot<'_, raw::FingerprintKey>>, sources: &Sources) -> Vec<FingerprintKey> {
    let read = |slot: Slot<'_, raw::FingerprintKey>| {
        let at = slot.at.clone();
        let mut raw = at.open(slot.required()?);
        raw.allow_readable(&at).or(false);
        let id = raw.id(&at).label().required();
        let key = secret::read(raw.file(&at), sources);
        Some(FingerprintKey { id: id?.as_str().into(), key: key? })
    };
    slots.into_iter().filter_map(read).collect()
}

fn learning(raw: raw::Learn, at: &At<'_>) -> Learning {
    let mut raw = at.open(raw);
    // Ten million entries are a gigabyte.
    let entries = raw.entries(at).number(1..=10_000_000).or(default::LEARNED_ENTRIES);
    let most = format!("at most entries, which is {entries}");
    let fits = |n: u64| usize::try_from(n).ok().filter(|n| (1..=entries).contains(n));
    let per_account = raw
        .per_account(at)
        .parse(Code::LearnMoreThanAll, most, fits)
        .or(default::LEARNED_PER_ACCOUNT.min(entries));
    Learning { entries, per_account }
}

fn id_ranges(slots: Vec<Slot<'_, raw::IdRange>>, cells: &Names) -> Vec<IdRange> {
    let mut ranges: Vec<(u32, IdRange)> = Vec::new();
    for slot in slots {
        let at = slot.at.clone();
        let Some(raw) = slot.required() else { continue };
        let mut raw = at.open(raw);
        let cell = raw.cell(&at);
        let cell_at = cell.at.clone();
        let cell = cell.required().and_then(|name| cells.resolve(&cell_at, &name));
        // 2^63 - 1 is the largest id there is.
        let ids = 1..=i64::MAX as u64;
        let first = raw.first(&at).number(ids.clone()).required();
        let last = raw.last(&at).number(ids).required();
        let (Some(cell), Some(first), Some(last)) = (cell, first, last) else { continue };
        if last < first {
            at.key("last").refuse(
                Code::RangeEndsBefore,
                format!("found {last}"),
                format!("first, which is {first}, or more"),
            );
        }
        if let Some((line, _)) = ranges.iter().find(|(_, other)| first <= other.last && other.first <= last) {
            at.refuse(
                Code::RangesOverlap,
                format!("the range shares ids with the one in line {line}"),
                "ranges without common ids",
            );
        }
        ranges.push((at.line(), IdRange { first, last, cell: CellIndex(narrow(cell)), enabled: false }));
    }
    ranges.into_iter().map(|(_, range)| range).collect()
}
