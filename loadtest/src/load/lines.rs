//! Templates as text: one JSON object a line in a file, or a short form on the command line.
//!
//! A line of a file is an object with `host` and `path`, and if wanted `name`, `method`, `headers` (an object),
//! `body`, `cell`, `status` and `with` (a list of header fields that the answer must have). Empty lines and lines
//! that begin with `#` are skipped. The short form is `HOST/PATH [CELL]`, a GET.

use std::collections::BTreeMap;

use http::Method;
use serde::Deserialize;

use super::plan::Template;
use crate::ask::Ask;

/// Reads a file of templates; every line that is wrong is reported.
pub fn templates(text: &str) -> Result<Vec<Template>, Vec<LineError>> {
    let (mut templates, mut errors) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let read = serde_json::from_str::<Line>(line).map_err(|error| error.to_string());
        match read.and_then(template) {
            Ok(template) => templates.push(template),
            Err(problem) => errors.push(LineError { number, problem }),
        }
    }
    if errors.is_empty() { Ok(templates) } else { Err(errors) }
}

/// Reads the short form.
pub fn short(text: &str) -> Result<Template, String> {
    let (place, cell) = match text.trim().split_once(char::is_whitespace) {
        Some((place, cell)) => (place, Some(cell.trim())),
        None => (text.trim(), None),
    };
    let slash = place.find('/').filter(|at| *at > 0);
    let (host, path) = match slash {
        Some(at) => place.split_at(at),
        None => {
            return Err(format!("{text:?}: expected \"HOST/PATH\" or \"HOST/PATH CELL\""));
        }
    };
    let template = Template::new(place, Ask::get(host, path));
    Ok(match cell {
        Some(cell) => template.cell(cell),
        None => template,
    })
}

/// A line that is no template.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {problem}")]
pub struct LineError {
    /// Its number, from 1.
    pub number: usize,
    /// What is wrong with it.
    pub problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    host: String,
    path: String,
    name: Option<String>,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    cell: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    with: Vec<String>,
}

fn template(line: Line) -> Result<Template, String> {
    let method = match line.method {
        Some(method) => {
            method.parse().map_err(|_| format!("method {method:?}: expected a token such as GET"))?
        }
        None => Method::GET,
    };
    if !line.path.starts_with('/') {
        return Err(format!("path {:?}: expected it to begin with /", line.path));
    }
    let name = line.name.unwrap_or_else(|| format!("{method} {}{}", line.host, line.path));
    let mut ask = Ask::post(&line.host, &line.path, line.body).method(method);
    for (name, value) in &line.headers {
        ask = ask.header(name, value);
    }
    let mut template = Template::new(&name, ask);
    template.expect.cell = line.cell;
    template.expect.status = line.status;
    template.expect.headers = line.with;
    Ok(template)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_line_by_line() {
        let text = r#"
# the legacy host
{"host": "cloud.getdbt.com", "path": "/api/v2/accounts/1/", "cell": "cell-1", "with": ["deprecation"]}
{"name": "run", "method": "POST", "host": "h", "path": "/run", "headers": {"x-a": "1"}, "body": "{}", "status": 401}
"#;
        let templates = templates(text).unwrap();
        let [first, second] = &templates[..] else {
            unreachable!("expected two templates, got {templates:?}");
        };
        assert_eq!(first.name, "GET cloud.getdbt.com/api/v2/accounts/1/");
        assert_eq!(first.expect.cell.as_deref(), Some("cell-1"));
        assert_eq!(first.expect.headers, ["deprecation"]);
        assert_eq!((second.name.as_str(), &second.ask.method), ("run", &Method::POST));
        assert_eq!(second.ask.headers, [("x-a".into(), "1".into())]);
        assert_eq!((&second.ask.body[..], second.expect.status), (&b"{}"[..], Some(401)));
    }

    #[test]
    fn every_wrong_line_is_told() {
        let text = "{\"host\": \"h\"}\n\n{\"host\": \"h\", \"path\": \"x\"}\n{\"host\": \"h\", \"path\": \"/\", \"sell\": \"c\"}";
        let errors = templates(text).unwrap_err();
        let told: Vec<String> = errors.iter().map(|error| error.to_string()).collect();
        assert_eq!(told.len(), 3);
        assert!(told[0].starts_with("line 1: missing field `path`"), "{}", told[0]);
        assert!(told[1].starts_with("line 3: path \"x\""), "{}", told[1]);
        assert!(told[2].starts_with("line 4: unknown field `sell`"), "{}", told[2]);
    }

    #[test]
    fn the_short_form_is_a_get() {
        let template = short("cloud.getdbt.com/api/v2/accounts/1/?a=b cell-1").unwrap();
        assert_eq!(template.ask.host, "cloud.getdbt.com");
        assert_eq!(template.ask.path, "/api/v2/accounts/1/?a=b");
        assert_eq!(template.expect.cell.as_deref(), Some("cell-1"));
        assert_eq!(short("h/").unwrap().expect.cell, None);
        for wrong in ["", "h", "/path", "h cell-1"] {
            assert!(short(wrong).unwrap_err().contains("HOST/PATH"), "{wrong}");
        }
    }
}
