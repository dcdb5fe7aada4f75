//! Route configurations of Envoy, YAML or JSON: every `virtual_hosts` in the file, in a bootstrap, a listener or a file of RDS.
//!
//! An account is named by the domain of a virtual host whose routes lead everything to one cluster, by the prefix or regular
//! expression of a route, or by the exact value of a header.

use std::sync::Arc;

use super::answered::{Answered, Line};
use super::key::Shapes;
use super::reach::{Naming, Reach, Unnamed};
use super::tree::{Node, Value, documents};
use super::{NotRead, Place, Read};

/// Reads all virtual hosts.
///
/// # Errors
/// The text is no YAML or has none.
pub fn read(file: &str, text: &str, shapes: &Shapes) -> Result<Read, NotRead> {
    let file: Arc<str> = file.into();
    let not_read = |(line, why): (usize, String)| NotRead { place: Place::new(&file, line), why };
    let documents = documents(text).map_err(not_read)?;
    let mut lists = Vec::new();
    documents.iter().for_each(|document| find(document, &mut lists));
    if lists.is_empty() {
        return Err(not_read((
            1,
            "there is no virtual_hosts; name a route configuration of Envoy".to_owned(),
        )));
    }
    let mut read = Read::default();
    for host in lists.iter().flat_map(|list| list.items()) {
        VirtualHost { file: &file, shapes, answered: Answered::default(), all: None }.routes(host, &mut read);
    }
    Ok(read)
}

fn find<'n>(node: &'n Node, lists: &mut Vec<&'n Node>) {
    match &node.value {
        Value::Text(_) => {}
        Value::List(items) => items.iter().for_each(|item| find(item, lists)),
        Value::Mapping(entries) => {
            for (key, value) in entries {
                if key == "virtual_hosts" { lists.push(value) } else { find(value, lists) }
            }
        }
    }
}

struct VirtualHost<'a> {
    file: &'a Arc<str>,
    shapes: &'a Shapes,
    answered: Answered,
    /// The line of the route that takes everything that comes so far.
    all: Option<usize>,
}

impl VirtualHost<'_> {
    fn routes(&mut self, host: &Node, read: &mut Read) {
        let domains: Vec<&Node> =
            host.find("domains").map_or(Vec::new(), |list| list.items().iter().collect());
        let before = read.ways.len();
        for route in host.find("routes").map_or(&[][..], Node::items) {
            let leads_by_path = read.ways.len() > before;
            self.route(route, (&domains, leads_by_path), read);
        }
    }

    /// With the domains, and whether routes in front of this one lead accounts by their paths.
    fn route(&mut self, route: &Node, (domains, leads_by_path): (&[&Node], bool), read: &mut Read) {
        let place = Place::new(self.file, route.line);
        let Some(matched) = route.find("match") else {
            return read.leave(&place, "a route", "it has no match");
        };
        let shown = shown(matched);
        if let Some(line) = self.all {
            let why = format!("the route in line {line} takes everything before it");
            return read.leave(&place, &shown, Unnamed::nobody(why));
        }
        let condition = Condition::of(matched);
        let target = match target(route) {
            Ok(target) => target,
            Err(why) => return self.nowhere(&place, &shown, (matched, domains), why, read),
        };
        match condition {
            Condition::All => {
                self.all = Some(route.line);
                for domain in domains {
                    self.domain(domain, leads_by_path, target, read);
                }
            }
            Condition::Header(value) => read.take(&place, &shown, Shapes::bare(value), target),
            Condition::Path(path) => {
                let (expression, named) = (&path.expression(), path.named(self.shapes));
                let line =
                    Line { place: &place, shown: &shown, expression, ignores_case: false, named, target };
                self.answered.take(read, &line, self.shapes);
            }
            Condition::Other(why) => self.nowhere(&place, &shown, (matched, domains), why, read),
        }
    }

    /// A route that is left. It may still answer before those behind it.
    fn nowhere(
        &mut self,
        place: &Place,
        shown: &str,
        (matched, domains): (&Node, &[&Node]),
        why: String,
        read: &mut Read,
    ) {
        let condition = Condition::of(matched);
        let reach = match &condition {
            Condition::All => self.whose(domains),
            Condition::Header(value) => Unnamed::instead(Shapes::bare(value), "").reach,
            Condition::Path(path) => Unnamed::instead(path.named(self.shapes), "").reach,
            Condition::Other(_) => Path::among(matched)
                .map_or(Reach::Anybody, |path| Unnamed::instead(path.named(self.shapes), "").reach),
        };
        let expression = match &condition {
            Condition::Path(path) => path.expression(),
            _ => String::new(),
        };
        if matches!(condition, Condition::All) {
            self.all = Some(place.line as usize);
        }
        let named = Err(Unnamed { why, reach });
        let line = Line { place, shown, expression: &expression, ignores_case: false, named, target: "" };
        self.answered.take(read, &line, self.shapes);
    }

    /// Whom everything at these hosts may be of.
    fn whose(&self, domains: &[&Node]) -> Reach {
        let each = domains.iter().map(|domain| match bare_host(domain.text().unwrap_or_default()) {
            host if host.contains('*') => Reach::Anybody,
            host => self.shapes.host(host).map_or(Reach::Anybody, Reach::Only),
        });
        each.fold(Reach::NOBODY, Reach::and)
    }

    fn domain(&self, domain: &Node, leads_by_path: bool, target: &str, read: &mut Read) {
        let place = Place::new(self.file, domain.line);
        let name = domain.text().unwrap_or_default();
        let host = bare_host(name);
        let shown = format!("{name} {target}");
        match self.shapes.host(host) {
            _ if host.contains('*') => read.otherwise(&place, &shown, target),
            // A host of all accounts: who has no route of their own there goes where the last one leads.
            Err(_) if leads_by_path => read.otherwise(&place, &shown, target),
            named => read.take(&place, &shown, named, target),
        }
    }
}

/// Without a port.
fn bare_host(name: &str) -> &str {
    let host = name.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    host.map_or(name, |(host, _)| host)
}

/// What a route asks of a request.
enum Condition<'n> {
    /// Nothing.
    All,
    /// A header has this value.
    Header(&'n str),
    /// A path.
    Path(Path<'n>),
    /// Something else.
    Other(String),
}

/// Paths, as a route says them.
enum Path<'n> {
    Beginning(&'n str),
    /// The same, of whole segments.
    Segments(&'n str),
    This(&'n str),
    Expression(&'n str),
}

impl<'n> Path<'n> {
    /// What a match says of the path.
    fn among(matched: &'n Node) -> Option<Self> {
        let text = |node: &'n Node| node.text().unwrap_or_default();
        matched.entries().iter().find_map(|(key, node)| match key.as_str() {
            "prefix" => Some(Self::Beginning(text(node))),
            "path_separated_prefix" => Some(Self::Segments(text(node))),
            "path" => Some(Self::This(text(node))),
            "safe_regex" => Some(Self::Expression(node.find("regex").map_or("", text))),
            _ => None,
        })
    }

    /// Every path.
    fn is_all(&self) -> bool {
        matches!(self, Self::Beginning("/") | Self::Expression(".*" | "/.*"))
    }

    /// As a regular expression.
    fn expression(&self) -> String {
        match self {
            Self::Beginning(beginning) => format!("^{}", regex::escape(beginning)),
            Self::Segments(beginning) => format!("^{}(/|$)", regex::escape(beginning)),
            Self::This(path) => format!("^{}$", regex::escape(path)),
            // Of Envoy's expressions the whole path must match.
            Self::Expression(expression) => format!("^(?:{expression})$"),
        }
    }

    fn named(&self, shapes: &Shapes) -> Naming {
        match self {
            Self::Beginning(beginning) => shapes.path_beginning(beginning),
            Self::Segments(beginning) => shapes.path_beginning(&format!("{beginning}/")),
            Self::This(path) => Err(shapes.one_path(path)),
            Self::Expression(_) => shapes.path_expression(&self.expression(), false),
        }
    }
}

impl<'n> Condition<'n> {
    fn of(matched: &'n Node) -> Self {
        let headers = matched.find("headers").map(Node::items);
        match (Path::among(matched), headers, matched.entries().len()) {
            (Some(path), None, 1) if path.is_all() => Self::All,
            (Some(path), None, 1) => Self::Path(path),
            (Some(path), Some([header]), 2) if path.is_all() => Self::header(header),
            (Some(path), Some(_), 2) if path.is_all() => {
                Self::Other("several conditions at once; a row has one".to_owned())
            }
            _ => Self::Other("conditions beside the path; a row leads all requests of an account".to_owned()),
        }
    }

    fn header(header: &'n Node) -> Self {
        let exact = header.find("exact_match").or_else(|| header.find("string_match")?.find("exact"));
        match exact.and_then(Node::text).filter(|_| header.entries().len() == 2) {
            Some(value) => Self::Header(value),
            None => Self::Other("a header that is not compared with one value".to_owned()),
        }
    }
}

/// The one cluster of a route.
fn target(route: &Node) -> Result<&str, String> {
    let to = |key: &str| route.find("route").and_then(|route| route.find(key));
    match to("cluster").and_then(Node::text) {
        Some(cluster) => Ok(cluster),
        None if to("weighted_clusters").is_some() => {
            Err("it is shared out among several clusters".to_owned())
        }
        None => {
            Err("it leads to no single cluster (a redirect, an answer, or a header that names it)".to_owned())
        }
    }
}

/// A match on one line.
fn shown(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => text.clone(),
        Value::List(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Mapping(entries) => {
            entries.iter().map(|(key, node)| format!("{key} {}", shown(node))).collect::<Vec<_>>().join(", ")
        }
    }
}
