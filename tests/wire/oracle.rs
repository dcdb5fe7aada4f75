//! What must hold between what cells have read and what cellgate says it has forwarded.

use std::collections::HashMap;

use serde_json::Value;

use crate::cells::Read;
use crate::edge::{CELLS, LEGACY, OWN, account, prefix};

/// A request that cellgate says it has sent to a cell.
#[derive(Clone, Debug, Default)]
pub struct Forwarded {
    pub cell: String,
    pub id: String,
    /// As the cell is told: `-` where there is none.
    pub account: String,
    /// How often it may have been sent.
    pub attempts: usize,
    /// The cell has answered, with this status.
    pub answered: Option<u64>,
}

/// Everything that must not be.
#[derive(Debug, Default)]
pub struct Findings {
    /// Requests that a cell read and cellgate did not send, or sent for another account, or less often.
    pub unaccounted: Vec<String>,
    /// Requests that the cell reads as another account's.
    pub misread: Vec<String>,
    /// Requests in another than the canonical form.
    pub noncanonical: Vec<String>,
    /// Requests that were answered by a cell that did not read them.
    pub unread: Vec<String>,
    /// Requests that the cell's server refused by itself: allowed, and counted.
    pub refused_by_cell: usize,
}

impl Forwarded {
    /// The line of the access log, where it is about a request that was forwarded.
    pub fn of(line: &Value) -> Option<Self> {
        let attempts = line["attempts"].as_u64()?;
        if attempts == 0 || line["endpoint"].is_null() {
            return None;
        }
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        Some(Self {
            cell: text("cell"),
            id: text("request_id"),
            account: line["account"].as_u64().map_or_else(|| "-".to_owned(), |account| account.to_string()),
            attempts: usize::try_from(attempts).ok()?,
            answered: line["first_byte_ms"].is_number().then(|| line["status"].as_u64()).flatten(),
        })
    }
}

/// Compares.
pub fn judge(reads: &[Read], forwarded: &[Forwarded]) -> Findings {
    let mut findings = Findings::default();
    let mut lines: HashMap<(&str, &str), Vec<&Forwarded>> = HashMap::new();
    for line in forwarded {
        lines.entry((&line.cell, &line.id)).or_default().push(line);
    }
    let mut read_by: HashMap<(&str, &str), usize> = HashMap::new();
    let mut refusals: HashMap<&str, usize> = HashMap::new();
    for read in reads {
        if !read.faults.is_empty() {
            findings.noncanonical.push(format!("{read:?}"));
        }
        if read.refused {
            *refusals.entry(&read.cell).or_default() += 1;
            continue;
        }
        let key = (read.cell.as_str(), read.id.as_str());
        *read_by.entry(key).or_default() += 1;
        match lines.get(&key) {
            None => findings.unaccounted.push(format!("never sent: {read:?}")),
            Some(lines) if !lines.iter().any(|line| line.account == read.account) => {
                findings.unaccounted.push(format!("sent for another account: {read:?}"));
            }
            Some(_) => {}
        }
        findings.misread.extend(misread(read));
    }
    for (key, lines) in &lines {
        let (read, attempts) =
            (read_by.get(key).copied().unwrap_or(0), lines.iter().map(|line| line.attempts));
        if read > attempts.sum() {
            findings.unaccounted.push(format!("read {read} times: {lines:?}"));
        }
        let answered: Vec<u64> = lines.iter().filter_map(|line| line.answered).collect();
        let missing = answered.len().saturating_sub(read);
        let refused = answered.iter().filter(|status| **status >= 400).count();
        if missing > refused {
            findings.unread.push(format!("{lines:?}"));
        } else {
            findings.refused_by_cell += missing;
        }
        // Of those whose client left before the answer the refusal is all that is known.
        let known = refusals.entry(key.0).or_default();
        *known = known.saturating_sub(lines.len().saturating_sub(read));
    }
    let unexplained = refusals.iter().filter(|(_, count)| **count > 0);
    findings
        .unaccounted
        .extend(unexplained.map(|(cell, count)| format!("{cell} refused {count} that were not sent")));
    findings
}

/// What a cell makes of a request, against what it was told.
pub fn misread(read: &Read) -> Option<String> {
    let host = read.host.to_ascii_lowercase();
    let host = host.split(':').next().unwrap_or_default().trim_end_matches('.');
    if let Some(name) = host.strip_suffix(OWN) {
        let owner = (0..CELLS.len()).find(|cell| prefix(*cell) == name).map(|cell| account(cell).to_string());
        return (owner.as_deref() != Some(&read.account))
            .then(|| format!("own address of {owner:?}: {read:?}"));
    }
    if host != LEGACY {
        return Some(format!("a host of nobody: {read:?}"));
    }
    let raw = read.target.split('?').next().unwrap_or_default();
    let query = read.target.split_once('?').map_or("", |(_, query)| query);
    let mut named: Vec<String> = [raw, &read.path].into_iter().filter_map(in_path).collect();
    named.extend(
        query.split(['&', ';']).filter_map(|pair| Some(pair.strip_prefix("account_id=")?.to_owned())),
    );
    // Twice the same is allowed.
    named.extend(read.header.split(',').map(|text| text.trim().to_owned()));
    named.retain(|text| !text.is_empty());
    let other = named.into_iter().find(|text| *text != read.account)?;
    Some(format!("names {other:?}: {read:?}"))
}

/// The account in a path, read as leniently as servers and frameworks do.
fn in_path(path: &str) -> Option<String> {
    let path = path.to_ascii_lowercase().replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment.split(';').next().unwrap_or_default().trim() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let found = match segments.as_slice() {
        ["api", "v2" | "v3", "accounts", account, ..] | ["deploy", account, ..] => *account,
        _ => return None,
    };
    // What is no number is no account for anybody, but a sign, zeros or blanks may be one for some.
    let digits = found.trim_start_matches('+').trim_start_matches('0');
    digits.parse::<u128>().is_ok().then(|| found.to_owned())
}

#[test]
fn a_lab_that_could_not_fail_would_prove_nothing() {
    let line = |cell: &str, id: &str, account: &str| Forwarded {
        cell: cell.into(),
        id: id.into(),
        account: account.into(),
        attempts: 1,
        answered: Some(200),
    };
    let read = |id: &str, account: &str, host: &str, target: &str| Read {
        cell: "raw".into(),
        id: id.into(),
        account: account.into(),
        method: "GET".into(),
        host: host.into(),
        target: target.into(),
        path: target.split('?').next().unwrap().into(),
        ..Read::default()
    };
    let good = read("a", "1001", "old.test", "/api/v2/accounts/1001/x?account_id=1001");
    let lines = [line("raw", "a", "1001")];
    let of = |reads: &[Read]| judge(reads, &lines);
    let found = of(std::slice::from_ref(&good));
    assert!(found.unaccounted.is_empty() && found.misread.is_empty() && found.unread.is_empty(), "{found:?}");

    // Each of these is one record that must not be.
    for (what, unaccounted) in [
        (read("", "", "old.test", "/smuggled"), 1),
        (read("b", "1001", "old.test", "/x"), 1),
        (read("a", "1002", "acc2.cells.test", "/x"), 1),
        (Read { cell: "nginx".into(), ..good.clone() }, 1),
        (Read { refused: true, cell: "nginx".into(), ..Read::default() }, 1),
    ] {
        let found = of(&[good.clone(), what.clone()]);
        assert!(found.unaccounted.len() >= unaccounted, "{what:?}: {found:?}");
    }
    assert_eq!(of(&[good.clone(), good.clone()]).unaccounted.len(), 1, "read twice and sent once");
    assert_eq!(of(&[]).unread.len(), 1, "answered and never read");
    let faulty = Read { faults: vec!["2 times host".into()], ..good };
    assert_eq!(of(&[faulty]).noncanonical.len(), 1);
    for (host, target, header) in [
        ("old.test", "/api/v2/accounts/1002/x", ""),
        ("old.test", "/x/../api//v2/./accounts/1002", ""),
        ("old.test", "/api/v2/accounts/01001/x", ""),
        ("old.test", "/x?account_id=1002", ""),
        ("old.test", "/x?a;account_id=1002", ""),
        ("old.test", "/x", "1001, 1002"),
        ("acc2.cells.test", "/api/v2/accounts/1001/x", ""),
        ("evil.test", "/api/v2/accounts/1001/x", ""),
        ("old.test, acc1.cells.test", "/api/v2/accounts/1001/x", ""),
    ] {
        let read = Read { header: header.into(), ..read("a", "1001", host, target) };
        assert_eq!(of(&[read]).misread.len(), 1, "{host} {target} {header}");
    }
}
