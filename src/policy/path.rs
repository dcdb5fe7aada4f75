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
        let named = strict.template.zip(strict.account).map(|(template, _)| Named {
            template,
            account: account_segment(template, path.split('/').skip(1).map(str::as_bytes)),
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
    let segments = || path.split('/').skip(1).map(str::as_bytes);
    for template in templates {
        if !matches(&template.segments, segments()) {
            continue;
        }
        let exact = spelled_exactly(template, segments());
        if !template.names_account() {
            if exact {
                return Ok(PathReading {
                    template: Some(template),
                    account: None,
                    entity: entity(template, segments()),
                });
            }
            continue;
        }
        if !exact {
            return Err(BadRequest::Path);
        }
        let text = account_segment(template, segments());
        let account = AccountId::parse(text).map_err(|_| BadRequest::AccountId)?;
        return Ok(PathReading { template: Some(template), account: Some(account), entity: None });
    }
    Ok(PathReading::default())
}

/// Whether the segments begin with the template's, literals without regard to case.
pub(super) fn matches<'p>(template: &[Segment], mut segments: impl Iterator<Item = &'p [u8]>) -> bool {
    template.iter().all(|expected| match (expected, segments.next()) {
        (_, None) => false,
        (Segment::Literal(literal), Some(text)) => literal.as_bytes().eq_ignore_ascii_case(text),
        (Segment::Entity, Some(text)) => EntityId::parse(text).is_ok(),
        (Segment::Account | Segment::Any, Some(text)) => !text.is_empty(),
    })
}

/// Whether segments that match are written as in the template, and free segments hold nothing that
/// could be read as something else.
fn spelled_exactly<'p>(template: &PathTemplate, segments: impl Iterator<Item = &'p [u8]>) -> bool {
    template.segments.iter().zip(segments).all(|(expected, text)| match expected {
        Segment::Literal(literal) => literal.as_bytes() == text,
        Segment::Any => {
            !matches!(text, b"." | b"..") && !text.iter().any(|byte| matches!(byte, b'%' | b';' | b'\\'))
        }
        Segment::Account | Segment::Entity => true,
    })
}

fn account_segment<'p>(template: &PathTemplate, segments: impl Iterator<Item = &'p [u8]>) -> &'p [u8] {
    let mut both = template.segments.iter().zip(segments);
    both.find_map(|(segment, text)| (*segment == Segment::Account).then_some(text)).unwrap_or_default()
}

fn entity<'p>(template: &PathTemplate, segments: impl Iterator<Item = &'p [u8]>) -> Option<EntityId> {
    let mut both = template.segments.iter().zip(segments);
    both.find_map(|(segment, text)| (*segment == Segment::Entity).then(|| EntityId::parse(text).ok())?)
}

/// Whether a path has anything that some reader takes for more than the text it is.
fn is_unusual(path: &[u8]) -> bool {
    path.iter().any(|byte| matches!(byte, b'%' | b'\\' | b';'))
        || path.windows(2).any(|pair| matches!(pair, b"//" | b"/."))
}

impl PathTemplate {
    /// Whether it has an `{account}` segment.
    pub fn names_account(&self) -> bool {
        self.segments.contains(&Segment::Account)
    }
}

#[cfg(test)]
mod tests;
