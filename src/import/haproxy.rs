//! Map files of HAProxy: a key and a value a line. How a configuration looks them up (`map_str`, `map_beg`, `map_reg`) is not
//! in the file; ids and hosts are read as whole values, paths as what paths begin with, and `^` begins an expression.

use std::sync::Arc;

use super::answered::{Answered, Line};
use super::key::Shapes;
use super::reach::{Naming, Reach, Unnamed};
use super::{NotRead, Place, Read};

/// Words that begin a section of a configuration, which is not a map.
const SECTIONS: [&str; 6] = ["global", "defaults", "frontend", "backend", "listen", "resolvers"];

/// Reads a map file.
///
/// # Errors
/// It is a configuration and no map.
pub fn read(file: &str, text: &str, shapes: &Shapes) -> Result<Read, NotRead> {
    let file: Arc<str> = file.into();
    let mut read = Read::default();
    let mut answered = Answered::default();
    for (number, line) in (1..).zip(text.lines()) {
        let place = Place::new(&file, number);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, target) =
            line.split_once(char::is_whitespace).map_or((line, ""), |(key, rest)| (key, rest.trim()));
        if read == Read::default() && SECTIONS.contains(&key) {
            let why =
                "this is a configuration of HAProxy; import the file that it names in map(FILE)".to_owned();
            return Err(NotRead { place, why });
        }
        if target.is_empty() {
            let why = "a key without a value; a backend is missing";
            read.leave(&place, line, Unnamed::instead(named(key, shapes), why));
            continue;
        }
        if key.starts_with('^') {
            let named = expression(key, shapes);
            let line =
                Line { place: &place, shown: line, expression: key, ignores_case: false, named, target };
            answered.take(&mut read, &line, shapes);
            continue;
        }
        read.take(&place, line, named(key, shapes), target);
    }
    Ok(read)
}

fn expression(key: &str, shapes: &Shapes) -> Naming {
    if key.contains('/') { shapes.path_expression(key, false) } else { shapes.host_expression(key) }
}

fn named(key: &str, shapes: &Shapes) -> Naming {
    let host = key.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    match key {
        _ if key.starts_with('/') => shapes.path_beginning(key),
        _ if key.starts_with('.') || key.starts_with('*') => Err(Shapes::host_pattern(key)),
        _ if let Some((host, path)) = key.split_once('/') => {
            let why = "a host and a path; a row leads all paths of an account";
            let Unnamed { why, reach } = Unnamed::instead(shapes.path_beginning(&format!("/{path}")), why);
            Err(Unnamed { why, reach: reach.and(Reach::of_host(host)) })
        }
        _ if key.contains('.') => shapes.host(host.map_or(key, |(host, _)| host)),
        _ => Shapes::bare(key),
    }
}
