//! Ways of a map as rows of the account table: backends become cells, prefixes find their ids, and what contradicts itself is
//! said with both places.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use super::list::Listed;
use super::reach::{Elsewhere, Reach};
use super::{Left, Named, Place, Read};
use crate::policy::ids::{AccountId, Label};

/// Two lines that lead one account to different cells.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{named} leads to {} in {} and to {} in {}; one of them must go", .first.0, .first.1, .second.0, .second.1)]
pub struct Conflict {
    /// Whose.
    pub named: Named,
    /// The cell and the place of the first.
    pub first: (String, Place),
    /// Those of the second.
    pub second: (String, Place),
}

/// What keeps a map from becoming a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Two lines.
    #[error(transparent)]
    Lines(#[from] Conflict),
    /// `--rest` and a line that leads all accounts without one of their own.
    #[error(
        "{place}: {what}: leads accounts that no line names to {cell}, and --rest says {rest}; give --rest that cell, or give \
         {cell} the name of its cell with --cell '{cell}={rest}'"
    )]
    Rest {
        /// Where it stands.
        place: Place,
        /// What stands there.
        what: String,
        /// Where it leads.
        cell: String,
        /// What was asked for.
        rest: String,
    },
}

/// The cell of everything that a map names.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<(Named, String, Place)>,
    /// Position of a name in `rows`.
    by_name: HashMap<Named, usize>,
    /// Where all others go: what it would be left with, and the cell.
    otherwise: Vec<(Left, String)>,
    /// What was not taken over.
    pub left: Vec<Left>,
}

/// What is known beside the map.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The accounts, with their prefixes, and the name of their file.
    pub ids: Option<(&'a [Listed], &'a str)>,
    /// The cell of accounts that the map does not name.
    pub rest: Option<&'a str>,
}

/// An account table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Id, prefixes and cell of each account.
    pub rows: Vec<(AccountId, Vec<Label>, String)>,
    /// What has no row, and why.
    pub left: Vec<Left>,
    /// How many accounts that no line names have no row, because a line that is left may lead them.
    pub without_rest: usize,
}

/// Gives every backend its cell.
///
/// # Errors
/// All contradictions.
pub fn table(read: Read, cells: &BTreeMap<String, String>) -> Result<Table, Vec<Conflict>> {
    let named = |(left, target): (Left, String)| (left, cells.get(&target).cloned().unwrap_or(target));
    let otherwise = read.otherwise.into_iter().map(named).collect();
    let mut table = Table { left: read.left, otherwise, ..Table::default() };
    let mut conflicts = Vec::new();
    for way in read.ways {
        let cell = cells.get(&way.target).unwrap_or(&way.target);
        if Label::check(cell).is_err() {
            let what = format!("{} {}", way.named, way.target);
            let why =
                format!("its backend is no name of a cell; --cell '{}=cell-1' gives it one", way.target);
            let reach = Reach::Only(vec![way.named]);
            table.left.push(Left { place: way.place, what: super::short(&what), why, reach });
            continue;
        }
        match table.by_name.get(&way.named).map(|at| &table.rows[*at]) {
            Some((_, known, _)) if known == cell => {}
            Some((named, known, place)) => conflicts.push(Conflict {
                named: named.clone(),
                first: (known.clone(), place.clone()),
                second: (cell.clone(), way.place),
            }),
            None => {
                table.by_name.insert(way.named.clone(), table.rows.len());
                table.rows.push((way.named, cell.clone(), way.place));
            }
        }
    }
    if conflicts.is_empty() { Ok(table) } else { Err(conflicts) }
}

/// Rows by id. A prefix finds its id in the list of accounts, and one without is left. Of the accounts that no line names,
/// those that a line which is left may lead get no row.
///
/// # Errors
/// All accounts that lead to one cell by their id, or one prefix, and to another by another; and a rest that is not what the
/// map says of accounts which it does not name.
pub fn join(table: Table, known: Known<'_>) -> Result<Joined, Vec<Contradiction>> {
    let mut rows: Vec<(AccountId, String, Place)> = Vec::new();
    let mut at: HashMap<AccountId, usize> = HashMap::new();
    let mut joined = Joined { left: table.left, ..Joined::default() };
    let mut conflicts = Vec::new();
    match known.rest {
        None => joined.left.extend(table.otherwise.into_iter().map(|(left, _)| left)),
        Some(rest) => {
            let others = table.otherwise.into_iter().filter(|(_, cell)| cell != rest);
            conflicts.extend(others.map(|(left, cell)| {
                let (place, what) = (left.place, left.what);
                Contradiction::Rest { place, what, cell, rest: rest.to_owned() }
            }));
        }
    }
    let listed = known.ids.map_or(&[][..], |(listed, _)| listed);
    let owners: HashMap<&Label, AccountId> =
        listed.iter().flat_map(|one| one.prefixes.iter().map(|prefix| (prefix, one.id))).collect();
    for (named, cell, place) in table.rows {
        let id = match &named {
            Named::Account(id) => *id,
            Named::Prefix(prefix) => match owners.get(prefix) {
                Some(id) => *id,
                None => {
                    let why = match known.ids {
                        Some((_, file)) => format!("{file} has no account with this prefix"),
                        None => {
                            "a row needs the account's id; --ids FILE with lines id,prefix says it".to_owned()
                        }
                    };
                    let what = named.to_string();
                    joined.left.push(Left { place, what, why, reach: Reach::Only(vec![named]) });
                    continue;
                }
            },
        };
        match at.get(&id).map(|at| &rows[*at]) {
            None => {
                at.insert(id, rows.len());
                rows.push((id, cell, place));
            }
            Some((_, first, _)) if *first == cell => {}
            Some((_, first, before)) => conflicts.push(Contradiction::Lines(Conflict {
                named: Named::Account(id),
                first: (first.clone(), before.clone()),
                second: (cell, place),
            })),
        }
    }
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    if let Some((listed, file)) = known.ids {
        let unnamed = listed.iter().filter(|one| !at.contains_key(&one.id));
        joined.rest(unnamed, (listed, file), known.rest, &mut rows);
    }
    joined.left.sort_by(|one, other| one.place.cmp(&other.place));
    let mut prefixes: HashMap<AccountId, &Vec<Label>> =
        listed.iter().map(|one| (one.id, &one.prefixes)).collect();
    let row = |(id, cell, _)| (id, prefixes.remove(&id).cloned().unwrap_or_default(), cell);
    joined.rows = rows.into_iter().map(row).collect();
    Ok(joined)
}

impl Joined {
    /// Gives accounts that no line names the cell of the rest, where none that is left may lead them elsewhere.
    fn rest<'l>(
        &mut self,
        unnamed: impl Iterator<Item = &'l Listed>,
        (listed, file): (&[Listed], &str),
        rest: Option<&str>,
        rows: &mut Vec<(AccountId, String, Place)>,
    ) {
        let file = file.into();
        let elsewhere = Elsewhere::of(&self.left, listed);
        let mut left = Vec::new();
        for one in unnamed {
            let place = Place { file: std::sync::Arc::clone(&file), line: one.line };
            let why = match (rest, elsewhere.leads(one)) {
                (Some(cell), None) => {
                    rows.push((one.id, cell.to_owned(), place));
                    continue;
                }
                (Some(_), Some(line)) => {
                    self.without_rest += 1;
                    format!("no row by --rest: {line} is not taken over and may lead it elsewhere")
                }
                (None, _) => "no line of the map names it; --rest CELL gives such accounts a cell".to_owned(),
            };
            left.push(Left { place, what: format!("account {}", one.id), why, reach: Reach::NOBODY });
        }
        self.left.extend(left);
    }

    /// `accounts.csv`.
    pub fn csv(&self) -> String {
        let rows = self.rows.iter().map(|(id, prefixes, cell)| (*id, prefixes.as_slice(), cell.as_str()));
        csv(rows)
    }

    /// How many accounts each cell has.
    pub fn cells(&self) -> BTreeMap<&str, usize> {
        let mut cells = BTreeMap::new();
        for (_, _, cell) in &self.rows {
            *cells.entry(cell.as_str()).or_default() += 1;
        }
        cells
    }
}

/// An account table of these rows. Ids, labels and names of cells need no quotes.
pub fn csv<'r>(rows: impl Iterator<Item = (AccountId, &'r [Label], &'r str)>) -> String {
    let mut text = "account,prefixes,cell\n".to_owned();
    for (id, prefixes, cell) in rows {
        let prefixes: Vec<&str> = prefixes.iter().map(Label::as_str).collect();
        // A String takes everything.
        let _ = writeln!(text, "{id},{},{cell}", prefixes.join(" "));
    }
    text
}
