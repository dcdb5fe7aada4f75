//! A configuration to start with, from a list of accounts and cells: plain text with a reason beside each choice. It decides
//! nothing; whatever is wrong with what it is given, reading the configuration says.

mod text;

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use crate::config::{BOOT_FILE, ROUTING_FILE, Sources};
use crate::import::PathTemplate;
use crate::import::list::Listed;

/// The table of accounts.
pub const ACCOUNTS_FILE: &str = "accounts.csv";

/// A cell as a command line or a list names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCell {
    /// Its name.
    pub name: String,
    /// Domain of its accounts' own addresses.
    pub domain: String,
    /// Where it listens: hosts or addresses with ports; at least one.
    pub endpoints: Vec<String>,
}

/// What a configuration is made of.
#[derive(Clone, Debug)]
pub struct Starting {
    /// At least one.
    pub cells: Vec<NewCell>,
    /// The old shared environment among them.
    pub shared: Option<String>,
    /// Every account with the name of its cell.
    pub accounts: Vec<(Listed, String)>,
    /// The deprecated addresses.
    pub legacy_hosts: Vec<String>,
    /// Where requests on these carry an account's id.
    pub paths: Vec<PathTemplate>,
    /// Today, in seconds since the Unix epoch.
    pub now: i64,
}

impl FromStr for NewCell {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "expected NAME=DOMAIN,ADDRESS:PORT, such as cell-1=us1.example.com,10.0.0.1:8080";
        let (name, rest) = text.split_once('=').ok_or(EXPECTED)?;
        let mut parts = rest.split(',').map(str::trim);
        let domain = parts.next().unwrap_or_default();
        Self::new(name, domain, parts).ok_or(EXPECTED)
    }
}

impl NewCell {
    fn new<'p>(name: &str, domain: &str, endpoints: impl Iterator<Item = &'p str>) -> Option<Self> {
        // Whatever could end a value of YAML would be another configuration than the one that was meant.
        let plain = |text: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_');
            !text.is_empty() && text.bytes().all(fits)
        };
        let bracketed =
            |text: &str| plain(text) || text.starts_with('[') && plain(&text.replace(['[', ']'], ""));
        let endpoints: Vec<String> = endpoints.map(str::to_owned).collect();
        let sound = plain(name)
            && plain(domain)
            && !endpoints.is_empty()
            && endpoints.iter().all(|one| bracketed(one));
        sound.then(|| Self { name: name.to_owned(), domain: domain.to_owned(), endpoints })
    }
}

/// Reads a list of cells: `name,domain,address:port` with further addresses behind spaces or commas.
///
/// # Errors
/// All rows that are none.
pub fn cells(file: &str, text: &str) -> Result<Vec<NewCell>, Vec<String>> {
    let (mut cells, mut problems) = (Vec::new(), Vec::new());
    for (line, row) in (1..).zip(text.lines()) {
        let row = row.trim();
        let words: Vec<&str> = row.split([',', ' ', '\t', ';']).filter(|word| !word.is_empty()).collect();
        let is_heading = matches!(words[..], ["name" | "cell", "domain", ..]);
        if row.is_empty() || row.starts_with('#') || is_heading && cells.is_empty() {
            continue;
        }
        let cell = match words[..] {
            [name, domain, ref endpoints @ ..] => NewCell::new(name, domain, endpoints.iter().copied()),
            _ => None,
        };
        match cell {
            Some(cell) => cells.push(cell),
            None => problems.push(format!(
                "{file}:{line}: expected name,domain,address:port, such as cell-1,us1.example.com,10.0.0.1:8080"
            )),
        }
    }
    if problems.is_empty() { Ok(cells) } else { Err(problems) }
}

/// Every account with its cell: the one in its row, or the only one that there is.
///
/// # Errors
/// All accounts without a cell, or with one that is not there.
pub fn placed(
    file: &str,
    listed: Vec<Listed>,
    cells: &[NewCell],
) -> Result<Vec<(Listed, String)>, Vec<String>> {
    let names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
    let (mut placed, mut problems) = (Vec::new(), Vec::new());
    for one in listed {
        let cell = match (&one.cell, &names[..]) {
            (Some(cell), _) if names.contains(&cell.as_str()) => cell.clone(),
            (Some(cell), _) => {
                let known = names.join(", ");
                problems
                    .push(format!("{file}:{}: there is no cell {cell:?}; the cells are {known}", one.line));
                continue;
            }
            (None, [only]) => (*only).to_owned(),
            (None, _) => {
                let line = one.line;
                problems.push(format!(
                    "{file}:{line}: account {} has no cell; write it in the last column",
                    one.id
                ));
                continue;
            }
        };
        placed.push((one, cell));
    }
    if problems.is_empty() { Ok(placed) } else { Err(problems) }
}

impl Starting {
    /// The files, by name.
    pub fn files(&self) -> BTreeMap<&'static str, String> {
        let rows = self.accounts.iter().map(|(one, cell)| (one.id, one.prefixes.as_slice(), cell.as_str()));
        let accounts = crate::import::csv(rows);
        [(BOOT_FILE, text::boot()), (ROUTING_FILE, text::routing(self)), (ACCOUNTS_FILE, accounts)].into()
    }
}

/// What reading a folder with these files would give.
pub fn sources(folder: &Path, files: &BTreeMap<&'static str, String>) -> Sources {
    let text = |name: &str| Ok(files.get(name).cloned().unwrap_or_default().into_bytes());
    Sources {
        folder: folder.to_owned(),
        boot_file: None,
        boot: text(BOOT_FILE),
        routing: text(ROUTING_FILE),
        files: [(ACCOUNTS_FILE.into(), text(ACCOUNTS_FILE))].into(),
    }
}

#[cfg(test)]
mod tests;
