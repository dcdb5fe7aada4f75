//! Servers that a cell might be, each with its own idea of a path. Written apart from the product's own
//! readings, on purpose.
#![allow(dead_code, clippy::unwrap_used)]

pub type Server = fn(&str) -> String;

pub const ALL: [(&str, Server); 12] = [
    ("takes it as it is", |path| path.into()),
    ("decodes once", decode),
    ("decodes once, overlong forms too", |path| fold(&decode(path))),
    ("decodes twice", |path| decode(&decode(path))),
    ("decodes three times", |path| decode(&decode(&decode(path)))),
    ("decodes, merges slashes, resolves dots", |path| resolve(&merge(&decode(path)))),
    ("resolves dots, escaped ones too, then decodes", |path| decode(&resolve(&dots(path)))),
    ("strips parameters, decodes, resolves dots", |path| resolve(&decode(&strip(path)))),
    ("decodes, strips parameters, resolves dots", |path| resolve(&strip(&decode(path)))),
    ("takes backslashes for slashes, decodes twice, normalises", |path| {
        resolve(&merge(&decode(&decode(&path.replace('\\', "/"))).replace('\\', "/")))
    }),
    ("merges slashes and resolves dots before it decodes", |path| decode(&resolve(&merge(path)))),
    ("undoes escaped slashes, resolves dots, decodes", |path| {
        decode(&resolve(&path.replace("%2f", "/").replace("%2F", "/")))
    }),
];

fn dots(path: &str) -> String {
    path.replace("%2e", ".").replace("%2E", ".")
}

/// Byte for byte (as Latin-1), a broken escape as it is.
fn decode(path: &str) -> String {
    let mut decoded = String::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let hex = rest.get(1..3).filter(|hex| first == '%' && !hex.starts_with('+'));
        let escape = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(escape.map_or(first, char::from));
        rest = &rest[escape.map_or(first.len_utf8(), |_| 3)..];
    }
    decoded
}

fn fold(path: &str) -> String {
    path.replace("\u{c0}\u{af}", "/").replace("\u{c0}\u{ae}", ".")
}

fn merge(path: &str) -> String {
    let mut merged = path.to_string();
    while merged.contains("//") {
        merged = merged.replace("//", "/");
    }
    merged
}

fn strip(path: &str) -> String {
    path.split('/').map(|segment| segment.split(';').next().unwrap()).collect::<Vec<_>>().join("/")
}

fn resolve(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

/// The account that a server finds in a path that it has made its own idea of: literals in any
/// case, ids with leading zeros, signs and blanks.
pub fn account(path: &str) -> Option<u64> {
    let path = path.to_ascii_lowercase();
    let rest = [
        "/api/v2/accounts/",
        "/api/v3/accounts/",
        "/api/private/accounts/",
        "/deploy/",
        "/develop/",
        "/explore/",
    ]
    .iter()
    .find_map(|start| path.strip_prefix(start))?;
    let segment = rest.split('/').next()?.trim();
    segment.strip_prefix('+').unwrap_or(segment).parse().ok()
}
