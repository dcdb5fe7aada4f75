//! `access_log` of `boot.yaml`: where lines go, what they say, and which requests have one.

use std::path::{Path, PathBuf};

use super::{default, path_in, place};
use crate::config::slot::{At, Parsed, Slot};
use crate::config::{apply, raw};
use crate::policy::canary::Share;
use crate::policy::code::Code;
use crate::policy::log_lines::{LogLines, PathRule, Profile};

/// The access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where lines go.
    pub target: LogTarget,
    /// Which requests have one, and what it says.
    pub lines: LogLines,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// To the standard output.
    Stdout,
    /// To the standard error, where the process log is, too.
    Stderr,
    /// To a file, appended.
    File(PathBuf),
}

/// Most rules for paths: each is tried on each request that went well.
const MAX_PATHS: usize = 100;

/// `folder` is the one that the file lies in.
pub(super) fn read(raw: raw::AccessLog, at: &At<'_>, folder: &Path) -> AccessLog {
    let mut raw = at.open(raw);
    let target = raw.path(at).parse(Code::FilePath, PATH_OR_STREAM, |path| match path.as_str() {
        default::ACCESS_LOG | "/dev/stdout" => Some(LogTarget::Stdout),
        "/dev/stderr" => Some(LogTarget::Stderr),
        _ => path_in(folder, &path).map(LogTarget::File),
    });
    let profiles = [
        ("standard", Profile::Standard),
        ("minimal", Profile::Minimal),
        ("full", Profile::Full),
        ("ecs", Profile::Ecs),
    ];
    let profile = raw.profile(at).word(&profiles).or(Profile::Standard);
    let sample_at = at.key("sample");
    let mut sample = sample_at.open(raw.sample(at).or(raw::Sample::default()));
    let all = Some(Share::percent(100));
    let smooth = apply::share_or_none(sample.ok(&sample_at)).or(all);
    let failures = apply::share_or_none(sample.failures(&sample_at)).or(all);
    let exclude = exclude(raw.exclude_paths(at));
    let lines = LogLines { profile, smooth, failures, exclude };
    AccessLog { target: target.or(LogTarget::Stdout), lines }
}

/// What a target is, for problems.
const PATH_OR_STREAM: &str = "a path, \"-\" for the standard output, or /dev/stderr";

fn exclude(slot: Slot<'_, Vec<raw::Field<String>>>) -> Vec<PathRule> {
    let at = slot.at.clone();
    let rule = |slot: Slot<'_, String>| -> Option<PathRule> {
        let rule: Parsed<'_, PathRule> = slot.parse(
            Code::UrlPath,
            "a path such as /healthz, or /probes/* for all below it; for all paths there is sample",
            |text| PathRule::parse(&text),
        );
        rule.required()
    };
    at.at_most(slot.items(), MAX_PATHS).into_iter().filter_map(rule).collect()
}

pub(super) fn note_changes(before: &AccessLog, after: &AccessLog, note: &mut impl FnMut(bool, &str)) {
    note(place::logs_differ(&before.target, &after.target), "access_log.path");
    let (before, after) = (&before.lines, &after.lines);
    note(before.profile != after.profile, "access_log.profile");
    note((before.smooth, before.failures) != (after.smooth, after.failures), "access_log.sample");
    note(before.exclude != after.exclude, "access_log.exclude_paths");
}
