//! Bytes as the account table alone: with a configuration around it, most of the time would go into YAML.

use std::collections::HashSet;

use cellgate::config::{self, Problem, RESERVED_PREFIXES};
use cellgate::policy::accounts::{Account, AccountTable};

use super::config::harmless;

const CELLS: [&str; 3] = ["cell-1", "cell-2", "shared"];

/// There is a table or there are problems; no account and no prefix stands twice; the table has the rows of the
/// text and no others; and written down again it is read as the same. Returns whether there is a table.
pub fn accounts(data: &[u8]) -> bool {
    let table = match read(data) {
        Ok(table) => table,
        Err(problems) => {
            harmless(&problems);
            return false;
        }
    };
    let mut prefixes = HashSet::new();
    for row in table.iter() {
        assert_eq!(table.by_id(row.id), Some(row));
        for prefix in row.prefixes {
            assert!(prefixes.insert(prefix.to_owned()), "{prefix} stands twice");
            assert_eq!(table.by_prefix(prefix), Some(row));
            assert!(!RESERVED_PREFIXES.contains(&prefix), "{prefix}");
        }
    }
    let rows: Vec<Account<'_>> = table.iter().collect();
    let written = write(&rows);
    let again = read(written.as_bytes()).expect(&written);
    assert_eq!(again.iter().collect::<Vec<_>>(), rows);
    by_lines(data, &table);
    true
}

fn read(text: &[u8]) -> Result<AccountTable, Vec<Problem>> {
    config::parse_accounts(text, &CELLS, &["late"])
}

fn write(rows: &[Account<'_>]) -> String {
    let line = |row: &Account<'_>| {
        let prefixes: Vec<&str> = row.prefixes.collect();
        let schedule = row.schedule.map_or("", |_| "late");
        let cell = CELLS[usize::from(row.cell.0)];
        format!("{},{},{cell},{},{schedule}\n", row.id, prefixes.join(" "), row.redirect_browsers)
    };
    let lines: String = rows.iter().map(line).collect();
    format!("account,prefixes,cell,redirect_browsers,schedule\n{lines}")
}

/// Reads a text without quotes by hand: each line is a row.
fn by_lines(data: &[u8], table: &AccountTable) {
    if data.contains(&b'"') {
        return;
    }
    let mut rest = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    let mut lines = Vec::new();
    while let Some(at) = rest.iter().position(|byte| !matches!(byte, b'\n' | b'\r')) {
        // A comment may be anything, a lone CR too.
        let is_comment = rest[at] == b'#';
        let ends = |byte: &u8| *byte == b'\n' || *byte == b'\r' && !is_comment;
        let end = rest[at..].iter().position(ends).map_or(rest.len(), |end| at + end);
        if !is_comment {
            lines.push(std::str::from_utf8(&rest[at..end]).expect("a table is text"));
        }
        rest = &rest[end..];
    }
    let mut lines = lines.into_iter();
    let names: Vec<&str> = lines.next().expect("a line of names").split(',').collect();
    let mut rows = 0;
    for line in lines {
        let field = |name: &str| {
            let at = names.iter().position(|column| *column == name);
            at.and_then(|at| line.split(',').nth(at)).unwrap_or_default()
        };
        let row = table.iter().find(|row| row.id.to_string() == field("account")).expect(line);
        assert_eq!(field("cell"), CELLS[usize::from(row.cell.0)], "{line}");
        let prefixes: Vec<&str> = row.prefixes.collect();
        assert_eq!(field("prefixes").split_ascii_whitespace().collect::<Vec<_>>(), prefixes, "{line}");
        assert_eq!(field("redirect_browsers") == "true", row.redirect_browsers, "{line}");
        assert_eq!(!field("schedule").is_empty(), row.schedule.is_some(), "{line}");
        rows += 1;
    }
    assert_eq!(rows, table.len());
}
