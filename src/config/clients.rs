//! `clients.yaml`: how client programs are told apart in reports.

use http::HeaderName;

use super::raw;
use super::slot::{At, Parsed, Slot, short_line};
use crate::policy::client::{ClientFamily, ClientMatch, Fix, HOST};
use crate::policy::code::Code;

/// Most families; each is tried on every request until one matches, and each is a label in reports.
const MAX_FAMILIES: usize = 500;

/// Longest name of a family and longest text it looks for: the event keeps 256 bytes of a User-Agent.
const MAX_TEXT: usize = 256;

/// Longest line of a recipe: some three of a terminal. What needs more has a page of its own.
const MAX_FIX: usize = 300;

/// Reads the families.
pub(super) fn read(raw: raw::Clients, at: &At<'_>) -> Vec<ClientFamily> {
    let mut raw = at.open(raw);
    super::version(raw.version(at));
    let mut families: Vec<ClientFamily> = Vec::new();
    for slot in raw.families(at).some_items(MAX_FAMILIES) {
        let at = slot.at.clone();
        let Some(family) = slot.required().and_then(|raw| family(raw, &at)) else { continue };
        if families.iter().any(|other| other.name == family.name) {
            at.key("name").refuse(
                Code::NameTwice,
                format!("the family {} stands twice", family.name),
                "a name of its own",
            );
        }
        families.push(family);
    }
    families
}

fn family(raw: raw::Family, at: &At<'_>) -> Option<ClientFamily> {
    let mut raw = at.open(raw);
    let name =
        raw.name(at).parse(Code::Text, text_kind(), |text| is_text(&text).then(|| text.into())).required();
    let mut matches = Vec::new();
    let agent = |slot: Slot<'_, String>| text(slot).optional();
    matches.extend(agent(raw.user_agent_prefix(at)).map(ClientMatch::UserAgentPrefix));
    matches.extend(agent(raw.user_agent_contains(at)).map(ClientMatch::UserAgentContains));
    if raw.no_user_agent(at).or(false) {
        if !matches.is_empty() {
            at.key("no_user_agent").refuse(
                Code::FamilyContradicts,
                "a User-Agent cannot be absent and match",
                "one or the other",
            );
        }
        matches.push(ClientMatch::NoUserAgent);
    }
    let header = raw.header(at);
    let (header_at, header_there) = (header.at.clone(), header.is_there());
    if let Some(raw) = header.optional() {
        let mut raw = header_at.open(raw);
        let name = raw
            .name(&header_at)
            .parse(Code::FieldName, "the name of a header", |text| text.parse::<HeaderName>().ok());
        let (name, value) = (name.required(), text(raw.value(&header_at)).required());
        matches.extend(name.zip(value).map(|(name, value)| ClientMatch::Header(name, value)));
    }
    if matches.is_empty() && !header_there {
        at.refuse(
            Code::FamilyWithoutCondition,
            "the family has no condition",
            "user_agent_prefix, user_agent_contains, no_user_agent or header",
        );
    }
    let fix = raw.fix(at);
    let fix_at = fix.at.clone();
    let fix = fix.optional().and_then(|raw| recipe(raw, &fix_at));
    Some(ClientFamily { name: name?, matches, fix })
}

fn recipe(raw: raw::FamilyFix, at: &At<'_>) -> Option<Fix> {
    let mut raw = at.open(raw);
    let line = |text: String| short_line(&text, MAX_FIX);
    let expected = format!("one line of at most {MAX_FIX} bytes");
    let why = raw.why(at).parse(Code::Text, expected.clone(), line).optional();
    let how = raw.how(at).parse(Code::FixWithoutHost, format!("{expected}, with {HOST} in it"), |text| {
        line(text).filter(|how| how.contains(HOST))
    });
    Some(Fix { why, how: how.required()? })
}

/// Text to look for, in lower case: the comparison does not look at case.
fn text(slot: Slot<'_, String>) -> Parsed<'_, Box<str>> {
    slot.parse(Code::Text, text_kind(), |text| is_text(&text).then(|| text.to_ascii_lowercase().into()))
}

fn is_text(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len()) && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}

fn text_kind() -> String {
    format!("visible ASCII text of 1 to {MAX_TEXT} characters")
}
