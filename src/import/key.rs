//! Which account the key of a map names: a host by its prefix, a path or a bare value by its id. What the hosts and paths of a
//! product look like is an argument.

use std::fmt;
use std::str::FromStr;

use super::Named;
use super::reach::{Naming, Reach, Unnamed};
use super::spelling::{ANY, BOUNDARY, END, SOME, spellings};
use crate::policy::ids::{AccountId, Label};

/// What hosts and paths of accounts look like.
#[derive(Clone, Debug, Default)]
pub struct Shapes {
    /// Hosts that carry a prefix.
    pub hosts: Vec<HostPattern>,
    /// Paths that carry an id.
    pub paths: Vec<PathTemplate>,
}

/// `{prefix}.us1.dbt.com` or `{prefix}.{surface}.us1.dbt.com`, as `hosts` of `cellgate.yaml` have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    has_surface: bool,
    domain: String,
}

/// `/api/v2/accounts/{account}`, as `identify.paths` of `cellgate.yaml` have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    /// The segments before the id.
    fixed: Vec<String>,
}

impl FromStr for HostPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "expected {prefix}. and a domain, or {prefix}.{surface}. and a domain, in lower case";
        let rest = text.strip_prefix("{prefix}.").ok_or(EXPECTED)?;
        let inner = rest.strip_prefix("{surface}.");
        let domain = inner.unwrap_or(rest);
        match domain.split('.').all(|label| Label::check(label).is_ok()) {
            true => Ok(Self { has_surface: inner.is_some(), domain: domain.to_owned() }),
            false => Err(EXPECTED),
        }
    }
}

impl FromStr for PathTemplate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected a path that ends in /{account}, such as /api/v2/accounts/{account}";
        let fixed = text.strip_suffix("/{account}").ok_or(EXPECTED)?;
        let plain =
            |segment: &str| !segment.is_empty() && !segment.contains(['{', '}', ANY, SOME, END, BOUNDARY]);
        match fixed.strip_prefix('/').map(|fixed| fixed.split('/').collect::<Vec<_>>()) {
            Some(fixed) if fixed.iter().all(|segment| plain(segment)) => {
                Ok(Self { fixed: fixed.into_iter().map(str::to_owned).collect() })
            }
            _ => Err(EXPECTED),
        }
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/{{account}}", self.fixed.join("/"))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let surface = if self.has_surface { "{surface}." } else { "" };
        write!(f, "{{prefix}}.{surface}{}", self.domain)
    }
}

impl Shapes {
    /// A whole host name.
    pub(super) fn host(&self, host: &str) -> Naming {
        let host = host.to_ascii_lowercase();
        let labels: Vec<&str> = host.split('.').collect();
        let fits = |pattern: &&HostPattern| {
            let before = 1 + usize::from(pattern.has_surface);
            labels.len() > before && labels[before..].join(".") == pattern.domain
        };
        if self.hosts.iter().any(|pattern| fits(&pattern)) {
            return prefix(labels[0]);
        }
        let why = match host.split_once('.').map(|(_, rest)| format!("{{prefix}}.{rest}")) {
            _ if host.ends_with('.') => "a host with a dot at its end; write it without".to_owned(),
            Some(pattern) if HostPattern::from_str(&pattern).is_err() => "it is no name of a host".to_owned(),
            None => "no --host fits it".to_owned(),
            Some(pattern) if self.hosts.is_empty() => {
                format!("a host, and nothing says that it carries a prefix; if so, add --host '{pattern}'")
            }
            Some(pattern) => {
                format!("no --host fits it; if its first label is a prefix, add --host '{pattern}'")
            }
        };
        // A name that is none may be an expression.
        let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        Err(Unnamed { why, reach: if is_name { Reach::of_host(&host) } else { Reach::Anybody } })
    }

    /// A pattern of hosts: `*.example.com`, `.example.com`, `acme.*`.
    pub(super) fn host_pattern(pattern: &str) -> Unnamed {
        let first = pattern.split_once('.').and_then(|(first, _)| Label::parse(first).ok());
        let reach = first.map_or(Reach::Anybody, |first| Reach::Only(vec![Named::Prefix(first)]));
        let why = "a pattern of hosts is more than one account; cellgate wants a row for each".to_owned();
        Unnamed { why, reach }
    }

    /// A value that is an id or a prefix itself.
    pub(super) fn bare(value: &str) -> Naming {
        match AccountId::parse(value.as_bytes()) {
            Ok(id) => Ok(vec![Named::Account(id)]),
            Err(_) if value.is_empty() => {
                Err(Unnamed::nobody("an empty value, as of requests that have none: no account"))
            }
            Err(_) if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(Unnamed::nobody("digits that are no account id: it begins with 0 or has more than 19"))
            }
            Err(_) => prefix(value),
        }
    }

    /// A regular expression that whole hosts match.
    pub(super) fn host_expression(&self, expression: &str) -> Naming {
        let (mut named, mut wrong) = (Vec::new(), None::<Unnamed>);
        for spelling in spellings(expression, true)? {
            let whole = spelling.strip_suffix(END).filter(|host| !host.contains([ANY, SOME, END, BOUNDARY]));
            let Some(host) = whole else {
                return Err("it matches more than single hosts; a row is of one account".into());
            };
            match (self.host(host), wrong.take()) {
                (Ok(more), before) => {
                    named.extend(more);
                    wrong = before;
                }
                (Err(first), None) => wrong = Some(first),
                (Err(next), Some(first)) => {
                    wrong = Some(Unnamed { reach: first.reach.and(next.reach), ..first });
                }
            }
        }
        match wrong {
            Some(wrong) => Err(Unnamed { reach: wrong.reach.and(Reach::Only(named)), ..wrong }),
            None => Ok(sorted(named)),
        }
    }

    /// A regular expression that paths match.
    pub(super) fn path_expression(&self, expression: &str, ignores_case: bool) -> Naming {
        let lower = if ignores_case { self.in_lower_case() } else { self.clone() };
        lower.paths_of(&spellings(expression, ignores_case)?)
    }

    /// What paths begin with.
    pub(super) fn path_beginning(&self, beginning: &str) -> Naming {
        self.paths_of(&[beginning.to_owned()])
    }

    /// A path that nothing follows.
    pub(super) fn one_path(&self, path: &str) -> Unnamed {
        let why =
            "this one path only; a beginning that ends in /, or ~^/…/ID(/|$), is all paths of an account";
        Unnamed { why: why.to_owned(), reach: self.reach(&[format!("{path}{END}")]) }
    }

    /// Hosts and paths of what is named, one for each shape.
    pub(super) fn samples(&self, named: &Named) -> Vec<String> {
        match named {
            Named::Account(id) => {
                self.paths.iter().map(|path| format!("/{}/{id}/", path.fixed.join("/"))).collect()
            }
            Named::Prefix(prefix) => {
                let of = |host: &HostPattern| {
                    let surface = if host.has_surface { "x." } else { "" };
                    format!("{prefix}.{surface}{}", host.domain)
                };
                self.hosts.iter().map(of).collect()
            }
        }
    }

    fn in_lower_case(&self) -> Self {
        let lower = |path: &PathTemplate| PathTemplate {
            fixed: path.fixed.iter().map(|segment| segment.to_ascii_lowercase()).collect(),
        };
        Self { hosts: self.hosts.clone(), paths: self.paths.iter().map(lower).collect() }
    }

    /// All spellings together name an account where one of them is all of its paths.
    fn paths_of(&self, spellings: &[String]) -> Naming {
        let (mut whole, mut part, mut wrong) = (Vec::new(), Vec::new(), None);
        for spelling in spellings {
            for template in &self.paths {
                match template.find(spelling) {
                    Found::Whole(id) => whole.push(Named::Account(id)),
                    Found::Part(id) => part.push(Named::Account(id)),
                    Found::Wrong(why) => wrong = Some(why),
                    Found::Nothing => {}
                }
            }
        }
        let (whole, part) = (sorted(whole), sorted(part));
        let why = match wrong {
            Some(why) => why,
            None if part.iter().any(|id| !whole.contains(id)) => {
                "only a part of the account's paths; a row leads all of them".to_owned()
            }
            None if whole.is_empty() => {
                let known: Vec<String> = self.paths.iter().map(ToString::to_string).collect();
                format!("it names no account by {}; --path TEMPLATE says where ids stand", known.join(", "))
            }
            None => return Ok(whole),
        };
        Err(Unnamed { why, reach: self.reach(spellings) })
    }

    /// Whose paths may be among these.
    fn reach(&self, spellings: &[String]) -> Reach {
        let each = spellings.iter().flat_map(|spelling| self.paths.iter().map(|path| path.reach(spelling)));
        each.fold(Reach::NOBODY, Reach::and)
    }
}

/// What a spelling of paths is of a template's.
enum Found {
    /// All paths below one account.
    Whole(AccountId),
    /// Some of them.
    Part(AccountId),
    /// Something that no row can say.
    Wrong(String),
    /// Other paths.
    Nothing,
}

impl PathTemplate {
    fn reach(&self, spelling: &str) -> Reach {
        match self.find(spelling) {
            Found::Whole(id) | Found::Part(id) => Reach::Only(vec![Named::Account(id)]),
            // Ids may stand where no template says so: they are seen where they are written out.
            Found::Nothing if self.is_other(spelling) && !spelling.contains(SOME) => {
                Reach::of_segments(spelling.split(['/', ANY, END, BOUNDARY]))
            }
            Found::Nothing | Found::Wrong(_) => Reach::Anybody,
        }
    }

    /// Whether nothing that the spelling matches is a path of this template.
    fn is_other(&self, spelling: &str) -> bool {
        let Some(anchored) = spelling.strip_prefix('/') else { return false };
        let given: Vec<&str> = anchored.split('/').collect();
        for (at, segment) in given.iter().enumerate() {
            let written = segment.split([ANY, SOME, END, BOUNDARY]).next().unwrap_or_default();
            let mark = segment[written.len()..].chars().next();
            let Some(fixed) = self.fixed.get(at) else {
                // Here ids stand, and this begins like none.
                return !written.is_empty() || mark == Some(END);
            };
            match mark {
                Some(END) => return true,
                // It goes on in ways that are not written out.
                Some(_) => return !fixed.starts_with(written),
                None if written == fixed => {}
                // Anything may follow the last.
                None => return at + 1 < given.len() || !fixed.starts_with(written),
            }
        }
        false
    }

    fn find(&self, spelling: &str) -> Found {
        let segments: Vec<&str> = match spelling.strip_prefix('/') {
            Some(anchored) => anchored.split('/').collect(),
            // It may begin anywhere: what is written out must be the template's last segments.
            None => match spelling.strip_prefix(ANY).and_then(|rest| rest.strip_prefix('/')) {
                Some(rest) => {
                    let given: Vec<&str> = rest.split('/').collect();
                    let at =
                        given.iter().position(|segment| segment.starts_with(|c: char| c.is_ascii_digit()));
                    let Some(missing) = at.and_then(|at| self.fixed.len().checked_sub(at)) else {
                        return Found::Nothing;
                    };
                    self.fixed[..missing].iter().map(String::as_str).chain(given).collect()
                }
                None => return Found::Nothing,
            },
        };
        let Some((id, rest)) =
            segments.get(self.fixed.len()).map(|id| (*id, &segments[self.fixed.len() + 1..]))
        else {
            return Found::Nothing;
        };
        let fits = |(fixed, given): (&String, &&str)| fixed == *given || given.contains([ANY, SOME]);
        if !self.fixed.iter().zip(&segments).all(fits) {
            return Found::Nothing;
        }
        account(id, rest)
    }
}

/// The account in the segment after the fixed ones, and whether what follows leaves any of its paths out.
fn account(segment: &str, rest: &[&str]) -> Found {
    let (digits, tail) = segment.split_at(segment.bytes().take_while(u8::is_ascii_digit).count());
    let anything = |text: &str| text.strip_suffix(END).unwrap_or(text) == ANY.to_string();
    if tail.starts_with([ANY, SOME]) {
        return Found::Wrong("it matches more than single ids; a row is of one account".to_owned());
    }
    let Ok(id) = AccountId::parse(digits.as_bytes()) else { return Found::Nothing };
    match (tail.strip_prefix(BOUNDARY), rest) {
        (Some(after), []) if after.is_empty() || anything(after) => Found::Whole(id),
        (Some(_), _) => Found::Part(id),
        (None, []) if tail.is_empty() => {
            Found::Wrong(format!("it also matches ids that begin with {id}; end it with / or (/|$)"))
        }
        (None, []) if tail == END.to_string() => Found::Part(id),
        (None, [after]) if tail.is_empty() && (after.is_empty() || anything(after)) => Found::Whole(id),
        (None, _) if tail.is_empty() => Found::Part(id),
        (None, _) => Found::Nothing,
    }
}

fn prefix(label: &str) -> Naming {
    match Label::parse(label) {
        Ok(label) if crate::config::RESERVED_PREFIXES.contains(&label.as_str()) => {
            Err(Unnamed::nobody(format!("{label} is reserved and can be no prefix")))
        }
        Ok(label) => Ok(vec![Named::Prefix(label)]),
        Err(error) => Err(Unnamed {
            why: format!("neither an account id nor a prefix, which {error}"),
            // In another case of its letters it may be one.
            reach: Reach::of_host(label),
        }),
    }
}

fn sorted(mut named: Vec<Named>) -> Vec<Named> {
    named.sort();
    named.dedup();
    named
}
