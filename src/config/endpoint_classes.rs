//! `endpoint_classes:` of `cellgate.yaml`: how long requests may take and how much they matter, by path.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::identify::{matched, specific_first, template};
use super::names::Names;
use super::raw::{self, Field};
use super::slot::{At, Slot};
use super::time::{parse_duration, show_duration};
use crate::policy::code::Code;
use crate::policy::endpoint_class::{EndpointClass, EndpointClasses, REQUEST_TIMEOUT};
use crate::policy::protection::priority::Priority;
use crate::policy::snapshot::Segment;

/// Most classes and most paths of one; all paths are looked at on each request.
const MAX_CLASSES: usize = 16;
const MAX_PATHS: usize = 100;

/// In less than the first no request crosses a network; what takes more than a week is `unlimited`.
const WHOLE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(7 * 86_400);

/// Above a day silence says nothing any more: the peer is gone.
const SILENCE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(86_400);

/// Reads the classes.
pub(super) fn read(slot: Slot<'_, Vec<Field<raw::EndpointClass>>>) -> EndpointClasses {
    let at = slot.at.clone();
    let slots = at.at_most(slot.items(), MAX_CLASSES);
    let _ = Names::of("class", "name", &slots, |class| &class.name);
    let mut lines: HashMap<Vec<u8>, u32> = HashMap::new();
    let mut rest: Option<u32> = None;
    let mut classes = Vec::new();
    for slot in slots {
        let at = slot.at.clone();
        let Some(raw) = slot.required() else { continue };
        let mut raw = at.open(raw);
        let paths = raw.paths(&at);
        if !paths.is_there() {
            if let Some(first) = rest {
                at.refuse(
                    Code::ClassWithoutPathsTwice,
                    format!("the class in line {first} has no paths already"),
                    "paths in all classes but one",
                );
            }
            rest.get_or_insert(at.line());
        }
        let paths = if paths.is_there() { templates(paths, &mut lines) } else { Vec::new() };
        let name = raw.name(&at).label().required();
        let request = raw.request_timeout(&at).parse(Code::TimeSpan, whole_expected(), |text| whole(&text));
        let request = request.or(Some(REQUEST_TIMEOUT));
        let response_head = raw.response_head(&at).duration(SILENCE).optional();
        let idle = raw.idle(&at).duration(SILENCE).optional();
        fits(request, [("response_head", response_head), ("idle", idle)], &at);
        let words = Priority::ALL.map(|priority| (priority.as_str(), priority));
        let priority = raw.priority(&at).word(&words).or(Priority::default());
        let long_lived = raw.long_lived(&at).or(false);
        if let Some(name) = name {
            classes.push(EndpointClass { name, paths, request, response_head, idle, priority, long_lived });
        }
    }
    EndpointClasses::new(classes, specific_first)
}

fn templates(slot: Slot<'_, Vec<Field<String>>>, lines: &mut HashMap<Vec<u8>, u32>) -> Vec<Vec<Segment>> {
    let read = |slot: Slot<'_, String>| {
        let at = slot.at.clone();
        let path =
            slot.parse(Code::PathTemplate, "a path such as /api/v2/accounts/{account}/events", |text| {
                template(&text)
            });
        let segments = path.required()?;
        if let Some(first) = lines.insert(matched(&segments), at.line()) {
            at.refuse(
                Code::PathsTwice,
                format!("it matches the same paths as the one in line {first}"),
                "each path once",
            );
        }
        Some(segments)
    };
    slot.some_items(MAX_PATHS).into_iter().filter_map(read).collect()
}

/// A silence that is longer than the whole would never end anything.
fn fits(request: Option<Duration>, silences: [(&str, Option<Duration>); 2], at: &At<'_>) {
    let Some(request) = request else { return };
    for (key, silence) in silences {
        if let Some(silence) = silence.filter(|silence| *silence > request) {
            let what = format!("{} is more than the whole request may take", show_duration(silence));
            at.key(key).refuse(
                Code::PartLongerThanWhole,
                what,
                format!("at most request_timeout, which is {}", show_duration(request)),
            );
        }
    }
}

fn whole(text: &str) -> Option<Option<Duration>> {
    if text == "unlimited" {
        return Some(None);
    }
    parse_duration(text).filter(|span| WHOLE.contains(span)).map(Some)
}

fn whole_expected() -> String {
    let (first, last) = (show_duration(*WHOLE.start()), show_duration(*WHOLE.end()));
    format!("unlimited, or a time such as 30s or 2h, from {first} to {last}")
}
