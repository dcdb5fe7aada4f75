//! `apply` of `boot.yaml`: in which steps a reload comes in force. Outside of what a push can change, as guards are.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::raw;
use super::slot::{At, Parsed, Slot};
use crate::policy::canary::Share;
use crate::policy::canary::judge::Rules;
use crate::policy::code::Code;

/// The values of keys that are absent.
pub mod default {
    /// As shown; a percent of failed requests more is what a person on call is woken for.
    pub const MAX_ERROR_INCREASE: &str = "1%";
    /// Accounts of a share differ from the others in what they ask for; a cell that is in trouble is slower by more.
    pub const MAX_LATENCY_FACTOR: u32 = 3;
}

/// In which steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// At least one, with rising shares.
    pub steps: Vec<Step>,
    /// What a candidate may make worse.
    pub rules: Rules,
    /// Some replicas begin before the others.
    pub first_replicas: Option<FirstReplicas>,
    /// The name of this replica; `None` is that of its host.
    pub replica: Option<Box<str>>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Share of the accounts.
    pub share: Share,
    /// How long it is watched.
    pub bake: Duration,
}

/// Some replicas begin before the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstReplicas {
    /// Share of the replicas.
    pub share: Share,
    /// How long the others wait.
    pub delay: Duration,
}

/// More steps than anybody waits for.
const MAX_STEPS: usize = 16;

/// Below a second nothing is looked at, and beyond a week the next push has come.
const TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);

/// Below 1 every answer is too slow, and beyond 100 none is.
const FACTORS: RangeInclusive<u32> = 1..=100;

/// Longest name of a replica: a host's (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;

/// The name of a replica.
pub(super) fn replica(slot: Slot<'_, String>) -> Parsed<'_, Box<str>> {
    slot.parse(Code::Text, "a name of at most 253 visible characters", |name| {
        let fits = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| name.into())
    })
}

/// Reads it; `None` where it is absent.
pub(super) fn read(slot: Slot<'_, raw::Apply>) -> Option<Apply> {
    let at = slot.at.clone();
    let mut raw = at.open(slot.optional()?);
    let mut steps: Vec<Step> = Vec::new();
    for slot in raw.steps(&at).some_items(MAX_STEPS) {
        let at = slot.at.clone();
        let Some(step) = slot.required().and_then(|raw| step(raw, &at)) else { continue };
        if steps.last().is_some_and(|before| before.share >= step.share) {
            let what = format!("{} is not more than the step before has", step.share);
            at.key("share").refuse(Code::SharesMustRise, what, "shares that rise");
        }
        steps.push(step);
    }
    let usual = Share::parse(default::MAX_ERROR_INCREASE).expect("the default is a share");
    let max_error_increase = share(raw.max_error_increase(&at)).or(usual);
    let max_latency_factor = raw.max_latency_factor(&at).number(FACTORS).or(default::MAX_LATENCY_FACTOR);
    let first = raw.first_replicas(&at);
    let first_at = first.at.clone();
    let first_replicas = first.optional().and_then(|raw| first_replicas(raw, &first_at));
    let replica = replica(raw.replica(&at)).optional();
    let rules = Rules { max_error_increase, max_latency_factor };
    Some(Apply { steps, rules, first_replicas, replica })
}

fn step(raw: raw::Step, at: &At<'_>) -> Option<Step> {
    let mut raw = at.open(raw);
    let share = share(raw.share(at)).required();
    let bake = raw.bake(at).duration(TIMES).required();
    Some(Step { share: share?, bake: bake? })
}

fn first_replicas(raw: raw::FirstReplicas, at: &At<'_>) -> Option<FirstReplicas> {
    let mut raw = at.open(raw);
    let share = share(raw.share(at)).required();
    let delay = raw.delay(at).duration(TIMES).required();
    Some(FirstReplicas { share: share?, delay: delay? })
}

/// A share, or none at all.
pub(super) fn share_or_none(slot: Slot<'_, String>) -> Parsed<'_, Option<Share>> {
    slot.parse(Code::Share, "a share such as 1% or 0.5%, from 0.01% to 100%, or 0% for none", |text| {
        if text == "0%" { Some(None) } else { Share::parse(&text).map(Some) }
    })
}

fn share(slot: Slot<'_, String>) -> Parsed<'_, Share> {
    slot.parse(Code::Share, "a share such as 1% or 0.5%, from 0.01% to 100%", |text| Share::parse(&text))
}
