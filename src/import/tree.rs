//! YAML or JSON of other programs as values that know their lines. Bounded in depth and size; anchors and aliases are refused,
//! as in files of our own.

use saphyr_parser::{Event, Parser};

/// Deepest nesting; a bootstrap of Envoy has about 20 levels.
const MAX_DEPTH: usize = 64;

/// A value and its line.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

/// What it is.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<(String, Node)>),
}

impl Node {
    /// What stands under a key.
    pub(super) fn find(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    pub(super) fn entries(&self) -> &[(String, Node)] {
        if let Value::Mapping(entries) = &self.value { entries } else { &[] }
    }

    pub(super) fn items(&self) -> &[Node] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }
}

/// All documents of a text.
///
/// # Errors
/// The line, and why it cannot be read.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, (usize, String)> {
    let mut open: Vec<Open> = Vec::new();
    let mut documents = Vec::new();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) =
            event.map_err(|error| (error.marker().line(), format!("not YAML: {}", error.info())))?;
        let line = span.start.line();
        let done = match event {
            Event::Alias(_) => return Err((line, "an alias (*name): write the value itself out".to_owned())),
            Event::Scalar(text, ..) => Node { line, value: Value::Text(text.into_owned()) },
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() == MAX_DEPTH => {
                return Err((line, format!("nested more than {MAX_DEPTH} deep")));
            }
            Event::SequenceStart(..) => {
                open.push(Open { line, key: None, value: Value::List(Vec::new()) });
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open { line, key: None, value: Value::Mapping(Vec::new()) });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open { line, value, .. }) => Node { line, value },
                None => continue,
            },
            _ => continue,
        };
        match open.last_mut() {
            Some(within) => within.add(done),
            None => documents.push(done),
        }
    }
    Ok(documents)
}

/// A list or mapping while it is read.
struct Open {
    line: usize,
    key: Option<String>,
    value: Value,
}

impl Open {
    fn add(&mut self, node: Node) {
        match &mut self.value {
            Value::List(items) => items.push(node),
            Value::Mapping(entries) => match self.key.take() {
                Some(key) => entries.push((key, node)),
                None => self.key = Some(node.text().unwrap_or_default().to_owned()),
            },
            Value::Text(_) => {}
        }
    }
}
