//! The lenient readings of a path: what servers make of percent escapes, backslashes, `;parameters`,
//! empty and dot segments.
//!
//! Servers differ in which of these they touch, in which order, and how often. So the path is closed
//! under all of them: every text that any sequence of them leads to is looked at. That is not the same
//! as looking at the most normalised one: `/b/../accounts/5/%252e%252e` names account 5 only for a
//! server that decodes once.

use super::{Named, places};
use crate::policy::refusal::BadRequest;
use crate::policy::snapshot::PathTemplate;

/// Most readings of one path. Real paths with escapes and double slashes have fewer than ten; whatever
/// has more was made to be read in many ways.
const MAX_READINGS: usize = 64;

/// Most bytes of all readings together, so that the work on the longest path (8 KiB by default) stays
/// that of a few passes over it.
const MAX_BYTES: usize = 64 * 1024;

/// What a server does to a path; `None` where that changes nothing.
type Operation = fn(&[u8]) -> Option<Vec<u8>>;

/// Everything that servers do to paths. Each gives a shorter path, or one with fewer backslashes, so
/// that the closure is finite.
const OPERATIONS: [Operation; 9] = [
    decode,
    decode_in_segments,
    decode_unreserved,
    decode_separators,
    fold_overlong,
    merge_slashes,
    resolve_dots,
    strip_parameters,
    turn_backslashes,
];

/// Refuses a path of which any lenient reading names an account otherwise than `strict`, the strict
/// reading, does; and one that has more readings than can be looked at.
pub(super) fn check(
    templates: &[PathTemplate],
    path: &[u8],
    strict: Option<Named<'_>>,
) -> Result<(), BadRequest> {
    let mut readings = vec![path.to_vec()];
    let mut bytes = 0;
    let mut next = 0;
    while let Some(reading) = readings.get(next) {
        bytes += reading.len();
        if !agrees(templates, reading, strict) || bytes > MAX_BYTES || readings.len() > MAX_READINGS {
            return Err(BadRequest::Path);
        }
        for further in OPERATIONS.map(|operation| operation(&readings[next])).into_iter().flatten() {
            if !readings.contains(&further) {
                readings.push(further);
            }
        }
        next += 1;
    }
    Ok(())
}

/// Whether a reading names the account that the strict one names, or none.
fn agrees(templates: &[PathTemplate], path: &[u8], strict: Option<Named<'_>>) -> bool {
    let found = templates.iter().find_map(|template| Some((template, places(&template.segments, path)?)));
    let Some((template, Some(account))) = found.map(|(template, places)| (template, places.account)) else {
        return true;
    };
    strict.is_some_and(|strict| std::ptr::eq(strict.template, template) && strict.account == account)
}

/// Undoes one level of percent encoding.
pub(in crate::policy) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    decode_with(text, Some)
}

/// The same for servers that take a path apart before they decode: what is decoded separates nothing.
fn decode_in_segments(path: &[u8]) -> Option<Vec<u8>> {
    // Equal to nothing in any template, and left alone by all operations.
    const OPAQUE: u8 = 1;
    decode_with(path, |byte| Some(if is_separator(byte) { OPAQUE } else { byte }))
}

/// The same for those that decode what need not have been encoded (RFC 3986 section 6.2.2.2), dots
/// before all.
fn decode_unreserved(path: &[u8]) -> Option<Vec<u8>> {
    let unreserved = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    decode_with(path, |byte| Some(byte).filter(unreserved))
}

/// The same for those that only undo escaped slashes and backslashes.
fn decode_separators(path: &[u8]) -> Option<Vec<u8>> {
    decode_with(path, |byte| Some(byte).filter(|byte| is_separator(*byte)))
}

/// Undoes every escape for which `place` has a byte.
fn decode_with(text: &[u8], place: impl Fn(u8) -> Option<u8>) -> Option<Vec<u8>> {
    if !text.contains(&b'%') {
        return None;
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        match escape(rest).and_then(|(byte, behind)| Some((place(byte)?, behind))) {
            Some((byte, behind)) => {
                decoded.push(byte);
                rest = behind;
            }
            None => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    (decoded.len() < text.len()).then_some(decoded)
}

/// Reads ASCII that is written as two bytes of UTF-8 (`%c0%af` for a slash), which decoders must not
/// accept and some still do.
fn fold_overlong(path: &[u8]) -> Option<Vec<u8>> {
    let overlong = |pair: &[u8]| matches!(pair, [0xc0 | 0xc1, 0x80..=0xbf]);
    if !path.windows(2).any(overlong) {
        return None;
    }
    let mut folded: Vec<u8> = Vec::with_capacity(path.len());
    for byte in path {
        match (folded.last_mut(), byte) {
            (Some(lead @ (0xc0 | 0xc1)), 0x80..=0xbf) => *lead = (*lead & 1) << 6 | (byte & 0x3f),
            _ => folded.push(*byte),
        }
    }
    Some(folded)
}

const fn is_separator(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// The byte of a percent escape at the beginning, and what comes after it.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, behind @ ..] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let value = digit(high)? * 16 + digit(low)?;
    Some((u8::try_from(value).ok()?, behind))
}

fn merge_slashes(path: &[u8]) -> Option<Vec<u8>> {
    let mut merged = path.to_vec();
    merged.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
    (merged.len() < path.len()).then_some(merged)
}

/// RFC 3986 section 5.2.4; an empty segment is a segment here.
fn resolve_dots(path: &[u8]) -> Option<Vec<u8>> {
    let segments = || path.split(|byte| *byte == b'/').skip(1);
    if !segments().any(|segment| matches!(segment, b"." | b"..")) {
        return None;
    }
    let mut kept = Vec::new();
    for segment in segments() {
        match segment {
            b"." => {}
            b".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    Some(joined(kept))
}

fn strip_parameters(path: &[u8]) -> Option<Vec<u8>> {
    if !path.contains(&b';') {
        return None;
    }
    let bare = |segment| <[u8]>::split(segment, |byte| *byte == b';').next().unwrap_or_default();
    Some(joined(path.split(|byte| *byte == b'/').skip(1).map(bare)))
}

fn turn_backslashes(path: &[u8]) -> Option<Vec<u8>> {
    let turned = || path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte });
    path.contains(&b'\\').then(|| turned().collect())
}

fn joined<'p>(segments: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
    let mut path = Vec::new();
    for segment in segments {
        path.push(b'/');
        path.extend_from_slice(segment);
    }
    path
}
