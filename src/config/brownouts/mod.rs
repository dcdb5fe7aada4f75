//! `brownouts`, `exemptions` and `extensions` of `cellgate.yaml`: who is refused on purpose, when, and who was promised what.

mod remarks;
mod windows;

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::hosts::{MOMENT, Targets};
use super::names::Names;
use super::raw::{self, Digits, Field};
use super::slot::{At, Slot, short_line};
use super::tables::KnownAccounts;
use super::time::parse_moment;
use crate::policy::accounts::ScheduleIndex;
use crate::policy::brownout::{AfterSunset, Brownout, BrownoutIndex, BrownoutMode, Brownouts, Exemption};
use crate::policy::canary::Share;
use crate::policy::code::Code;
use crate::policy::endpoint_class::EndpointClasses;
use crate::policy::extension::{Extension, MAX_MADE};
use crate::policy::ids::{AccountId, Label, SurfaceIndex};
use crate::policy::protection::levers::ALL_BROWNOUTS;

pub use remarks::remarks;

/// Most brownouts: each is looked at by each legacy request, and has metric series of its own.
const MAX_BROWNOUTS: usize = 64;

/// Most accounts that a list names. More than that is a share, or a schedule of the account table.
const MAX_NAMED: usize = 10_000;

/// Longest reason, in bytes: a line of a log.
const MAX_REASON: usize = 500;

/// Most path beginnings; each is compared on each request of its kind.
const MAX_BEGINNINGS: usize = 1_000;

/// Most origins; each is compared on each refusal that a browser's script asks for.
const MAX_ORIGINS: usize = 100;

/// What these lists point at.
struct Known<'a> {
    targets: &'a Targets<'a>,
    classes: &'a EndpointClasses,
    accounts: &'a KnownAccounts,
}

/// What follows the sunset, in words.
pub(super) const AFTER: [(&str, AfterSunset); 3] =
    [("keep", AfterSunset::Keep), ("refuse", AfterSunset::Refuse), ("gone", AfterSunset::Gone)];

/// Reads brownouts and promises, which name what was read before.
pub(super) fn read(
    raw: &mut raw::Routing,
    at: &At<'_>,
    targets: &Targets<'_>,
    classes: &EndpointClasses,
    accounts: &KnownAccounts,
) -> (Brownouts, Vec<Extension>) {
    let known = Known { targets, classes, accounts };
    let exceptions = path_beginnings(raw.brownout_exceptions(at));
    let brownouts = brownouts(raw.brownouts(at), raw.exemptions(at), exceptions, &known);
    (brownouts, extensions(raw.extensions(at), targets.schedules.iter().count(), accounts))
}

fn brownouts(
    brownouts: Slot<'_, Vec<Field<raw::Brownout>>>,
    exemptions: Slot<'_, Vec<Field<raw::Exemption>>>,
    exceptions: Vec<Box<str>>,
    known: &Known<'_>,
) -> Brownouts {
    let at = brownouts.at.clone();
    let slots = at.at_most(brownouts.items(), MAX_BROWNOUTS);
    let names = Names::of("brownout", "id", &slots, |brownout| &brownout.id);
    let classes: Vec<&str> = known.classes.names().map(Label::as_str).collect();
    let classes = Names::given("endpoint class", &classes);
    let all = slots.into_iter().filter_map(|slot| brownout(slot, &classes, known)).collect();
    let at = exemptions.at.clone();
    let exemptions = at.at_most(exemptions.items(), MAX_NAMED).into_iter();
    let exemptions = exemptions.filter_map(|slot| exemption(slot, &names, known.accounts)).collect();
    Brownouts::new(all, exemptions, exceptions)
}

/// There are so many schedules.
fn extensions(
    slot: Slot<'_, Vec<Field<raw::Extension>>>,
    schedules: usize,
    accounts: &KnownAccounts,
) -> Vec<Extension> {
    let at = slot.at.clone();
    let slots = at.at_most(slot.items(), MAX_NAMED.min(MAX_MADE / schedules.max(1)));
    let mut lines: HashMap<AccountId, u32> = HashMap::new();
    let mut read = |slot: Slot<'_, raw::Extension>| {
        let at = slot.at.clone();
        let mut raw = at.open(slot.required()?);
        let account = account(raw.account(&at), accounts);
        let sunset_at = moment(raw.sunset_at(&at));
        let reason = reason(raw.reason(&at));
        let after_sunset = raw.after_sunset(&at).word(&AFTER).optional();
        if let Some(first) = account.and_then(|account| lines.insert(account, at.line())) {
            at.key("account").refuse(
                Code::ExtensionTwice,
                format!("the account is already in line {first}"),
                "one promise an account",
            );
        }
        Some(Extension { account: account?, sunset_at: sunset_at?, reason: reason?, after_sunset })
    };
    slots.into_iter().filter_map(&mut read).collect()
}

/// Reads beginnings of paths.
pub(super) fn path_beginnings(slot: Slot<'_, Vec<Field<String>>>) -> Vec<Box<str>> {
    let beginning = |text: String| {
        (text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#'))
            .then(|| text.into())
    };
    texts(slot, MAX_BEGINNINGS, "the beginning of a path, such as /complete/", beginning)
}

/// Reads origins of scripts (RFC 6454), as browsers write them.
pub(super) fn origins(slot: Slot<'_, Vec<Field<String>>>) -> Vec<Box<str>> {
    let origin = |text: String| {
        let uri: http::Uri = text.parse().ok()?;
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        let written = format!("{scheme}://{}", authority.as_str().to_ascii_lowercase());
        let default = [("https", 443), ("http", 80)].contains(&(scheme, uri.port_u16().unwrap_or(0)));
        let is_one = matches!(scheme, "http" | "https") && !authority.as_str().contains('@') && !default;
        (is_one && written == text).then(|| text.into())
    };
    texts(
        slot,
        MAX_ORIGINS,
        "an origin such as https://app.example.com, in lower case and without a path",
        origin,
    )
}

fn texts(
    slot: Slot<'_, Vec<Field<String>>>,
    most: usize,
    expected: &str,
    read: impl Fn(String) -> Option<Box<str>>,
) -> Vec<Box<str>> {
    let at = slot.at.clone();
    let items = at.at_most(slot.items(), most).into_iter();
    items.filter_map(|slot| slot.parse(Code::UrlPath, expected, &read).required()).collect()
}

fn brownout(slot: Slot<'_, raw::Brownout>, classes: &Names, known: &Known<'_>) -> Option<Brownout> {
    let at = slot.at.clone();
    let mut raw = at.open(slot.required()?);
    let id = raw.id(&at).label().required();
    if id.as_ref().is_some_and(|id| id.as_str() == ALL_BROWNOUTS) {
        at.key("id").refuse(
            Code::BrownoutCalledAll,
            "\"all\" means every brownout where one is cancelled",
            "another label",
        );
    }
    let mode = raw.mode(&at).word(&BrownoutMode::ALL.map(|mode| (mode.as_str(), mode))).required();
    let windows = windows::read(raw.windows(&at));
    let whole = Share::percent(100);
    let share = raw
        .share(&at)
        .parse(Code::Share, "a share such as 10% or 0.5%", |text| Share::parse(&text))
        .or(whole);
    let accounts_at = at.key("accounts");
    let mut accounts: Vec<AccountId> = some(raw.accounts(&at), MAX_NAMED)
        .into_iter()
        .filter_map(|slot| account(slot, known.accounts))
        .collect();
    accounts.sort_unstable();
    if accounts.windows(2).any(|pair| pair[0] == pair[1]) {
        accounts_at.refuse(
            Code::BrownoutAccountTwice,
            "an account stands twice in the list",
            "each account once",
        );
    }
    let schedules = positions(raw.schedules(&at), known.targets.schedules);
    let surfaces = positions(raw.surfaces(&at), known.targets.surfaces);
    let of_classes = positions(raw.classes(&at), classes);
    let class = |index: usize| known.classes.names().nth(index).cloned();
    let no_account = raw.no_account(&at).or(false);
    let everybody = raw.everybody(&at).or(false);
    Some(Brownout {
        id: id?,
        mode: mode?,
        windows: windows?,
        share,
        accounts: accounts.into(),
        schedules: schedules.into_iter().map(|index| ScheduleIndex(super::hosts::narrow(index))).collect(),
        // There are MAX_SURFACES at most.
        surfaces: surfaces
            .into_iter()
            .filter_map(|index| u8::try_from(index).ok().map(SurfaceIndex))
            .collect(),
        classes: of_classes.into_iter().filter_map(class).collect(),
        no_account,
        everybody,
    })
}

fn exemption(slot: Slot<'_, raw::Exemption>, names: &Names, accounts: &KnownAccounts) -> Option<Exemption> {
    let at = slot.at.clone();
    let mut raw = at.open(slot.required()?);
    let account = account(raw.account(&at), accounts);
    let until = moment(raw.until(&at));
    let reason = reason(raw.reason(&at));
    let brownouts = positions(raw.brownouts(&at), names).into_iter();
    let brownouts = brownouts.map(|index| BrownoutIndex(super::hosts::narrow(index))).collect();
    Some(Exemption { account: account?, until: until?, reason: reason?, brownouts })
}

/// The positions of the names in a list; one that is given is not empty, for that would mean all.
fn positions(slot: Slot<'_, Vec<Field<String>>>, names: &Names) -> Vec<usize> {
    let resolve = |slot: Slot<'_, String>| {
        let at: At<'_> = slot.at.clone();
        names.resolve(&at, &slot.required()?)
    };
    some(slot, names.iter().count().max(1)).into_iter().filter_map(resolve).collect()
}

fn some<'a, T: raw::Shape>(slot: Slot<'a, Vec<Field<T>>>, most: usize) -> Vec<Slot<'a, T>> {
    if slot.is_there() { slot.some_items(most) } else { Vec::new() }
}

fn account(slot: Slot<'_, Digits>, accounts: &KnownAccounts) -> Option<AccountId> {
    let at = slot.at.clone();
    let id = slot.parse(Code::AccountId, "an account id of plain digits", |Digits(text)| {
        AccountId::parse(text.as_bytes()).ok()
    });
    let id = id.required()?;
    if accounts.lacks(id) {
        at.refuse(
            Code::AccountWithoutRow,
            format!("account {id} has no row"),
            "an account of the account table",
        );
    }
    Some(id)
}

fn moment(slot: Slot<'_, String>) -> Option<i64> {
    slot.parse(Code::Moment, MOMENT, |text| parse_moment(&text)).required()
}

fn reason(slot: Slot<'_, String>) -> Option<Box<str>> {
    const LENGTH: RangeInclusive<usize> = 3..=MAX_REASON;
    let expected = format!("a reason: one line of {} to {} bytes", LENGTH.start(), LENGTH.end());
    let line = |text: String| short_line(&text, MAX_REASON).filter(|text| LENGTH.contains(&text.len()));
    slot.parse(Code::Text, expected, line).required()
}
