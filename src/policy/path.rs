//! Paths: which template a path matches, and whether a lenient reader could see another account in it.
//!
//! The path is forwarded byte for byte, so what counts is that the cell, however leniently it decodes
//! and normalises, finds the account that the request was routed by, or none. Two steps: the strict
//! reading of the raw path, and for paths with anything unusual in them every lenient reading that
//! [`lenient`] knows. Where one of those names another account, the path is refused.

mod lenient;

use super::ids::{AccountId, EntityId};
use super::refusal::BadRequest;
use super::snapshot::{PathTemplate, Segment};
pub(super) use lenient::decode;

/// What a path says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathReading<'t> {
    /// The template that it matches.
    pub template: Option<&'t PathTemplate>,
    /// The account that it names.
    pub account: Option<AccountId>,
    /// The entity that it names.
    pub entity: Option<EntityId>,
}

/// Reads a raw path, without its query.
///
/// Templates are tried in order and match everything below them; the first that matches counts. Where
/// one names an account, the literals must be written exactly, the id in plain digits, and nothing up
/// to the id may be escaped.
pub fn read_path<'t>(templates: &'t [PathTemplate], path: &str) -> Result<PathReading<'t>, BadRequest> {
    let strict = read_strictly(templates, path)?;
    if is_unusual(path.as_bytes()) {
        let named = strict.template.and_then(|template| {
            let account = places(&template.segments, path.as_bytes())?.account?;
            Some(Named { template, account })
        });
        lenient::check(templates, path.as_bytes(), named)?;
    }
    Ok(strict)
}

/// The template that a raw path, without its query, is read by; `None` also for a path that is refused.
/// For books and logs: unlike [`read_path`] it does not look for other readings.
pub fn template<'t>(templates: &'t [PathTemplate], path: &str) -> Option<&'t PathTemplate> {
    read_strictly(templates, path).ok()?.template
}

/// A template and the text that stands in its `{account}` place.
#[derive(Clone, Copy, Debug)]
struct Named<'p> {
    template: &'p PathTemplate,
    account: &'p [u8],
}

fn read_strictly<'t>(templates: &'t [PathTemplate], path: &str) -> Result<PathReading<'t>, BadRequest> {
    for template in templates {
        let Some(places) = places(&template.segments, path.as_bytes()) else { continue };
        let template = Some(template);
        match places.account {
            None if places.exact => {
                return Ok(PathReading { template, account: None, entity: places.entity });
            }
            None => {}
            Some(_) if !places.exact => return Err(BadRequest::Path),
            Some(text) => {
                let account = AccountId::parse(text).map_err(|_| BadRequest::AccountId)?;
                return Ok(PathReading { template, account: Some(account), entity: None });
            }
        }
    }
    Ok(PathReading::default())
}

/// What stands in the places of a template, in a path that begins as the template says.
pub(super) struct Places<'p> {
    /// The text of the first `{account}`; there is one wherever the template has that segment.
    account: Option<&'p [u8]>,
    /// The first entity.
    entity: Option<EntityId>,
    /// Literals are written as in the template, and free segments hold nothing that could be read as something
    /// else.
    exact: bool,
}

/// Reads a path by a template; `None` where it does not begin with the template's segments, literals without regard
/// to case.
pub(super) fn places<'p>(template: &[Segment], path: &'p [u8]) -> Option<Places<'p>> {
    let mut places = Places { account: None, entity: None, exact: true };
    let mut segments = path.split(|byte| *byte == b'/').skip(1);
    for expected in template {
        let text = segments.next()?;
        match expected {
            Segment::Literal(literal) if literal.as_bytes() == text => {}
            Segment::Literal(literal) if literal.as_bytes().eq_ignore_ascii_case(text) => {
                places.exact = false;
            }
            Segment::Literal(_) => return None,
            Segment::Entity => {
                let entity = EntityId::parse(text).ok()?;
                places.entity.get_or_insert(entity);
            }
            Segment::Account | Segment::Any if text.is_empty() => return None,
            Segment::Account => {
                places.account.get_or_insert(text);
            }
            Segment::Any => places.exact &= is_plain(text),
        }
    }
    Some(places)
}

/// Whether a segment is the text that it is to every reader.
fn is_plain(segment: &[u8]) -> bool {
    !matches!(segment, b"." | b"..") && !segment.iter().any(|byte| matches!(byte, b'%' | b';' | b'\\'))
}

/// Whether a path has anything that some reader takes for more than the text it is. Looks at every byte even after such
/// a one: without an early end, many are compared at once.
fn is_unusual(path: &[u8]) -> bool {
    let escaped = path.iter().fold(false, |any, byte| any | matches!(byte, b'%' | b'\\' | b';'));
    let pairs = path.array_windows();
    escaped || pairs.fold(false, |any, [one, two]| any | (*one == b'/' && matches!(two, b'/' | b'.')))
}

#[cfg(test)]
mod tests;
