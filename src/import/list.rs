//! Lists of accounts as people have them: `id`, `id,prefix`, `id,cell`, `id,prefix,cell`, with or without a first line that
//! says which is which. Forgiving about form, never about meaning; every problem names its line.

use std::collections::{BTreeSet, HashMap};

use crate::policy::ids::{AccountId, Label};

/// One account of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its line.
    pub line: u32,
    /// Its id.
    pub id: AccountId,
    /// Its prefixes, the first of which is shown to clients.
    pub prefixes: Vec<Label>,
    /// Its cell, where the list says it.
    pub cell: Option<String>,
}

/// Names that a first line may give to the columns.
const IDS: [&str; 4] = ["account", "id", "account_id", "accountid"];
const PREFIXES: [&str; 6] = ["prefixes", "prefix", "host_prefix", "subdomain", "slug", "name"];
const CELLS: [&str; 2] = ["cell", "backend"];

/// Most problems that are told: nobody reads more.
const MAX_PROBLEMS: usize = 100;

/// Reads a list. `cells` are the names that are known to be cells; a column that has one of them in each row is the cells'.
///
/// # Errors
/// All problems, each with file and line.
pub fn read(file: &str, text: &str, cells: &[&str]) -> Result<Vec<Listed>, Vec<String>> {
    let text = text.trim_start_matches('\u{feff}');
    let mut rows: Vec<(u32, Vec<String>)> = Vec::new();
    let mut problems = Vec::new();
    let separator =
        if text.lines().any(|line| line.contains('\t')) && !text.contains(',') { b'\t' } else { b',' };
    for (line, row) in (1..).zip(text.lines()) {
        if row.trim().is_empty() || row.trim_start().starts_with('#') {
            continue;
        }
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .delimiter(separator)
            .trim(csv::Trim::All)
            .from_reader(row.as_bytes());
        match reader.records().next() {
            Some(Ok(record)) => rows.push((line, record.iter().map(str::to_owned).collect())),
            _ => problems.push(format!("{file}:{line}: the row cannot be read as CSV")),
        }
    }
    let columns = match Columns::of(&mut rows, cells) {
        Ok(columns) => columns,
        Err(why) => return Err(vec![format!("{file}: {why}")]),
    };
    let mut listed = Vec::with_capacity(rows.len());
    for (line, row) in &rows {
        match columns.read(*line, row) {
            Ok(one) => listed.push(one),
            Err(wrong) => problems.extend(wrong.into_iter().map(|why| format!("{file}:{line}: {why}"))),
        }
    }
    problems.extend(doubles(file, &listed));
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    problems.truncate(MAX_PROBLEMS);
    problems.extend((more > 0).then(|| format!("{file}: and {more} more")));
    if problems.is_empty() { Ok(listed) } else { Err(problems) }
}

struct Columns {
    id: usize,
    prefixes: Option<usize>,
    cell: Option<usize>,
}

impl Columns {
    /// By the first line, which is taken away, or by what stands in the rows.
    fn of(rows: &mut Vec<(u32, Vec<String>)>, cells: &[&str]) -> Result<Self, String> {
        const EXPECTED: &str = "expected rows of id, prefix and cell, such as 12345,acme,cell-2";
        let Some((_, first)) = rows.first() else {
            return Err(format!("there are no accounts in it; {EXPECTED}"));
        };
        let at = |names: &[&str]| first.iter().position(|word| names.contains(&word.to_lowercase().as_str()));
        if let Some(id) = at(&IDS) {
            let columns = Self { id, prefixes: at(&PREFIXES), cell: at(&CELLS) };
            rows.remove(0);
            return if rows.is_empty() {
                Err(format!("there are no accounts in it; {EXPECTED}"))
            } else {
                Ok(columns)
            };
        }
        let is_id =
            |column: usize| first.get(column).is_some_and(|word| AccountId::parse(word.as_bytes()).is_ok());
        let is_cell = |column: usize| {
            rows.iter().all(|(_, row)| row.get(column).is_some_and(|word| cells.contains(&word.as_str())))
        };
        match first.len() {
            1..=3 if !is_id(0) => Err(format!("the first row begins with no account id; {EXPECTED}")),
            1 => Ok(Self { id: 0, prefixes: None, cell: None }),
            2 if is_cell(1) => Ok(Self { id: 0, prefixes: None, cell: Some(1) }),
            2 => Ok(Self { id: 0, prefixes: Some(1), cell: None }),
            3 if is_cell(1) && !is_cell(2) => Ok(Self { id: 0, prefixes: Some(2), cell: Some(1) }),
            3 => Ok(Self { id: 0, prefixes: Some(1), cell: Some(2) }),
            _ => Err("more than three columns; begin with a line that names them: account,prefixes,cell"
                .to_owned()),
        }
    }

    fn read(&self, line: u32, row: &[String]) -> Result<Listed, Vec<String>> {
        let mut wrong = Vec::new();
        let field = |column: usize| row.get(column).map_or("", String::as_str);
        let id = AccountId::parse(field(self.id).as_bytes());
        if let Err(error) = id {
            wrong.push(format!("{:?} is no account id: it {error}", cut(field(self.id))));
        }
        let mut prefixes = Vec::new();
        for text in self.prefixes.map_or("", field).split([' ', ';', '|']).filter(|text| !text.is_empty()) {
            match Label::parse(text) {
                Ok(label) if crate::config::RESERVED_PREFIXES.contains(&label.as_str()) => {
                    wrong.push(format!("{label} is reserved and can be no prefix"));
                }
                Ok(label) => prefixes.push(label),
                Err(error) => wrong.push(format!("{:?} is no prefix: it {error}", cut(text))),
            }
        }
        let cell = self.cell.map(field).filter(|cell| !cell.is_empty()).map(str::to_owned);
        match id {
            Ok(id) if wrong.is_empty() => Ok(Listed { line, id, prefixes, cell }),
            _ => Err(wrong),
        }
    }
}

/// Ids and prefixes that two rows claim.
fn doubles(file: &str, listed: &[Listed]) -> Vec<String> {
    let mut ids: HashMap<AccountId, u32> = HashMap::new();
    let mut prefixes: HashMap<&Label, u32> = HashMap::new();
    let mut problems = Vec::new();
    for one in listed {
        if let Some(first) = ids.insert(one.id, one.line) {
            problems.push(format!("{file}:{}: account {} is already in line {first}", one.line, one.id));
        }
        for prefix in one.prefixes.iter().collect::<BTreeSet<_>>() {
            if let Some(first) = prefixes.insert(prefix, one.line) {
                problems.push(format!("{file}:{}: prefix {prefix} is already in line {first}", one.line));
            }
        }
    }
    problems
}

/// Foreign text, not longer than a line takes.
fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}
