//! The lenient readings of a path: what servers make of percent escapes, backslashes, `;parameters`,
//! empty and dot segments.
//!
//! Servers differ in which of these they treat specially, how often they decode, and in which order.
//! So every combination is tried that makes a difference for the path at hand. A reading that is
//! more lenient is not always the more dangerous one: `/b/../accounts/5/%252e%252e` names account 5
//! only for a server that decodes once.

use super::{Named, account_segment, matches};
use crate::policy::refusal::BadRequest;
use crate::policy::snapshot::PathTemplate;

/// How often a path is decoded. Once is the rule, twice a known mistake of stacked proxies; the third
/// is for good measure.
const MAX_DECODINGS: usize = 3;

/// Most segments of a path for which more than one structure is possible. Four times the deepest real
/// path seen (artifacts of a nested project); it bounds the work on a hostile path to
/// 4 decodings x 32 combinations x 128 segments.
const MAX_SEGMENTS: usize = 128;

/// A slash that was written as an escape, after decoding. Control bytes cannot stand in a raw target,
/// and [`decode`] makes no others of these two.
const ENCODED_SLASH: u8 = 1;

/// A backslash that was written as an escape, after decoding.
const ENCODED_BACKSLASH: u8 = 2;

/// A control byte that was written as an escape and is neither of the above.
const OTHER_CONTROL: u8 = 3;

/// What a reading may treat specially: a set of bits.
type Lenience = u8;
const ESCAPES_SEPARATE: Lenience = 1;
const BACKSLASH_SEPARATES: Lenience = 2;
const PARAMETERS_STRIPPED: Lenience = 4;
const DOTS_RESOLVED: Lenience = 8;
const EMPTY_DROPPED: Lenience = 16;

/// Refuses a path of which any lenient reading names an account otherwise than `strict`, the strict
/// reading, does.
pub(super) fn check(
    templates: &[PathTemplate],
    path: &[u8],
    strict: Option<Named<'_>>,
) -> Result<(), BadRequest> {
    let mut decoded = path.to_vec();
    for _ in 0..=MAX_DECODINGS {
        check_decoded(templates, &decoded, strict)?;
        match decode(&decoded) {
            Some(further) => decoded = further,
            None => break,
        }
    }
    Ok(())
}

fn check_decoded(
    templates: &[PathTemplate],
    path: &[u8],
    strict: Option<Named<'_>>,
) -> Result<(), BadRequest> {
    let pieces = split(path);
    let relevant = relevant(&pieces);
    if relevant != 0 && pieces.len() > MAX_SEGMENTS {
        return Err(BadRequest::Path);
    }
    let mut segments = Vec::with_capacity(pieces.len());
    for lenience in (0..=relevant).filter(|lenience| lenience & !relevant == 0) {
        read(&pieces, lenience, &mut segments);
        let texts = || segments.iter().copied();
        let Some(template) = templates.iter().find(|template| matches(template, texts())) else { continue };
        let agrees = !template.names_account()
            || strict.is_some_and(|strict| {
                std::ptr::eq(strict.template, template)
                    && strict.account == account_segment(template, texts())
            });
        if !agrees {
            return Err(BadRequest::Path);
        }
    }
    Ok(())
}

/// A piece of a path between any two separators.
#[derive(Clone, Copy, Debug)]
struct Piece<'p> {
    /// What stands before it: `/`, `\`, or one of the two marks.
    separator: u8,
    /// Up to the first `;`.
    text: &'p [u8],
    /// Something came after a `;`.
    parameters: bool,
}

/// Splits at everything that any reading takes for a separator; without the empty piece after a final
/// separator, which names nothing.
fn split(path: &[u8]) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = path;
    while let [separator, after @ ..] = rest {
        let is_separator = |byte: &u8| matches!(*byte, b'/' | b'\\' | ENCODED_SLASH | ENCODED_BACKSLASH);
        let end = after.iter().position(is_separator).unwrap_or(after.len());
        let piece = &after[..end];
        rest = &after[end..];
        let text = piece.split(|byte| *byte == b';').next().unwrap_or_default();
        if !piece.is_empty() || !rest.is_empty() {
            pieces.push(Piece { separator: *separator, text, parameters: text.len() < piece.len() });
        }
    }
    pieces
}

/// The lenience that makes a difference for these pieces.
fn relevant(pieces: &[Piece<'_>]) -> Lenience {
    pieces.iter().fold(0, |bits, piece| {
        let separator = match piece.separator {
            ENCODED_SLASH => ESCAPES_SEPARATE,
            b'\\' => BACKSLASH_SEPARATES,
            ENCODED_BACKSLASH => ESCAPES_SEPARATE | BACKSLASH_SEPARATES,
            _ => 0,
        };
        let text = match piece.text {
            b"" => EMPTY_DROPPED,
            b"." | b".." => DOTS_RESOLVED,
            _ => 0,
        };
        let parameters = if piece.parameters { PARAMETERS_STRIPPED } else { 0 };
        bits | separator | text | parameters
    })
}

/// Puts the segments of one reading into `segments`.
fn read<'p>(pieces: &[Piece<'p>], lenience: Lenience, segments: &mut Vec<&'p [u8]>) {
    /// Stands for a segment that holds a separator or parameters in this reading: equal to no literal
    /// and no id.
    const OPAQUE: &[u8] = b";";
    let has = |bit: Lenience| lenience & bit != 0;
    let separates = |piece: &Piece<'_>| match piece.separator {
        ENCODED_SLASH => has(ESCAPES_SEPARATE),
        b'\\' => has(BACKSLASH_SEPARATES),
        ENCODED_BACKSLASH => has(ESCAPES_SEPARATE) && has(BACKSLASH_SEPARATES),
        _ => true,
    };
    segments.clear();
    let mut rest = pieces;
    while let [first, after @ ..] = rest {
        let joined = after.iter().take_while(|piece| !separates(piece)).count();
        rest = &after[joined..];
        let whole = joined == 0 && (!first.parameters || has(PARAMETERS_STRIPPED));
        match if whole { first.text } else { OPAQUE } {
            b"" if has(EMPTY_DROPPED) => {}
            b"." if has(DOTS_RESOLVED) => {}
            b".." if has(DOTS_RESOLVED) => {
                segments.pop();
            }
            text => segments.push(text),
        }
    }
}

/// Undoes one level of percent encoding; `None` where there is none to undo. Overlong two-byte UTF-8
/// (`%c0%af` for a slash) is undone with it, because decoders that accept it still exist.
pub(in crate::policy) fn decode(path: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    let mut changed = false;
    while let [byte, after @ ..] = rest {
        let Some((escaped, mut behind)) = escape(rest) else {
            decoded.push(*byte);
            rest = after;
            continue;
        };
        changed = true;
        let mut byte = escaped;
        if matches!(byte, 0xc0 | 0xc1)
            && let Some((low @ 0x80..=0xbf, further)) = escape(behind)
        {
            byte = (byte & 1) << 6 | (low & 0x3f);
            behind = further;
        }
        decoded.push(match byte {
            b'/' => ENCODED_SLASH,
            b'\\' => ENCODED_BACKSLASH,
            ENCODED_SLASH | ENCODED_BACKSLASH => OTHER_CONTROL,
            byte => byte,
        });
        rest = behind;
    }
    changed.then_some(decoded)
}

/// The byte of a percent escape at the beginning, and what comes after it.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, behind @ ..] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let value = digit(high)? * 16 + digit(low)?;
    Some((u8::try_from(value).ok()?, behind))
}
