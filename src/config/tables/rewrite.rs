//! Changing rows of tables that people keep, of accounts and of moves: what is not meant to change stays as it is, byte for byte,
//! comments, order and line ends included.

use std::collections::HashMap;

use super::moves::MOVE_COLUMNS;
use crate::policy::accounts::Account;
use crate::policy::ids::AccountId;
use crate::policy::moves::MoveState;

/// Why a table cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotRewrite {
    /// It is no table of ours.
    #[error("it cannot be read as CSV with the columns that it must have")]
    Unreadable,
    /// A row needs a column that it does not have.
    #[error("account {account} has a {column}, and the table has no such column")]
    NoColumn {
        /// The account.
        account: AccountId,
        /// The column.
        column: &'static str,
    },
}

/// A row that is to be added.
#[derive(Debug)]
pub struct NewRow<'a> {
    /// What it says; its positions mean nothing here.
    pub account: Account<'a>,
    /// Name of its cell.
    pub cell: &'a str,
    /// Name of its schedule.
    pub schedule: Option<&'a str>,
}

/// The text of a table with the cell that `cell_of` gives in place of the one that stands there, where it gives one.
///
/// # Errors
/// [`CannotRewrite::Unreadable`].
pub fn with_cells<'c>(
    text: &[u8],
    mut cell_of: impl FnMut(AccountId) -> Option<&'c str>,
) -> Result<Vec<u8>, CannotRewrite> {
    let (id_at, cell_at) = {
        let (_, columns) = open(text)?;
        (column(&columns, "account")?, column(&columns, "cell")?)
    };
    edited(text, |record| {
        let id = record.get(id_at).and_then(|id| AccountId::parse(id.as_bytes()).ok());
        match id.and_then(&mut cell_of) {
            Some(cell) if record.get(cell_at) != Some(cell) => Edit::Fields(vec![(cell_at, cell.to_owned())]),
            _ => Edit::Keep,
        }
    })
}

/// A row of the table of moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveRow {
    /// Name of the old cell.
    pub from: Box<str>,
    /// Name of the new cell.
    pub to: Box<str>,
    /// How far it is.
    pub state: MoveState,
    /// Which move of the account it is.
    pub epoch: u32,
}

/// The text of a table of moves with these rows in place of those of the same accounts, without the rows of those that
/// have none now, and with the rest of them at its end, in this order.
///
/// # Errors
/// [`CannotRewrite::Unreadable`].
pub fn with_moves(text: &[u8], rows: &[(AccountId, Option<MoveRow>)]) -> Result<Vec<u8>, CannotRewrite> {
    let (_, columns) = open(text)?;
    let mut at = [0; MOVE_COLUMNS.len()];
    for (place, name) in at.iter_mut().zip(MOVE_COLUMNS) {
        *place = column(&columns, name)?;
    }
    let mut left: HashMap<AccountId, &Option<MoveRow>> = rows.iter().map(|(id, row)| (*id, row)).collect();
    let mut longer = edited(text, |record| {
        let id = record.get(at[0]).and_then(|id| AccountId::parse(id.as_bytes()).ok());
        match id.and_then(|id| left.remove(&id).map(|row| (id, row))) {
            None => Edit::Keep,
            Some((_, None)) => Edit::Remove,
            Some((id, Some(row))) => Edit::Fields(at.into_iter().zip(row.fields(id)).collect()),
        }
    })?;
    let feed = line_end(text);
    for (id, row) in rows.iter().filter(|(id, _)| left.contains_key(id)) {
        let Some(row) = row else { continue };
        if !longer.ends_with(b"\n") {
            longer.extend_from_slice(feed);
        }
        let fields = row.fields(*id);
        let field = |place| at.iter().position(|at| *at == place).map_or("", |field| &*fields[field]);
        longer.extend(csv_row((0..columns.len()).map(field)));
        longer.extend_from_slice(feed);
    }
    Ok(longer)
}

impl MoveRow {
    /// In the order of [`MOVE_COLUMNS`].
    fn fields(&self, account: AccountId) -> [String; MOVE_COLUMNS.len()] {
        let Self { from, to, state, epoch } = self;
        [account.to_string(), from.to_string(), to.to_string(), state.as_str().to_owned(), epoch.to_string()]
    }
}

/// The text of a table with rows added at its end, under a comment.
///
/// # Errors
/// [`CannotRewrite`].
pub fn with_rows(text: &[u8], comment: &str, rows: &[NewRow<'_>]) -> Result<Vec<u8>, CannotRewrite> {
    if rows.is_empty() {
        return Ok(text.to_vec());
    }
    let (_, columns) = open(text)?;
    let feed = line_end(text);
    let mut longer = text.to_vec();
    if !longer.ends_with(b"\n") {
        longer.extend_from_slice(feed);
    }
    longer.extend_from_slice(format!("# {comment}").as_bytes());
    longer.extend_from_slice(feed);
    for NewRow { account, cell, schedule } in rows {
        let prefixes: Vec<&str> = account.prefixes.collect();
        let prefixes = prefixes.join(" ");
        let id = account.id.to_string();
        let redirect = if account.redirect_browsers { "true" } else { "" };
        let values = [
            ("account", &*id),
            ("prefixes", &*prefixes),
            ("cell", *cell),
            ("redirect_browsers", redirect),
            ("schedule", schedule.unwrap_or_default()),
        ];
        for (column, value) in values {
            if !value.is_empty() && !columns.iter().any(|name| name == column) {
                return Err(CannotRewrite::NoColumn { account: account.id, column });
            }
        }
        let value =
            |name: &str| values.iter().find(|(column, _)| *column == name).map_or("", |(_, value)| value);
        longer.extend(csv_row(columns.iter().map(value)));
        longer.extend_from_slice(feed);
    }
    Ok(longer)
}

/// What becomes of a row.
enum Edit {
    Keep,
    Remove,
    /// Other values, by position.
    Fields(Vec<(usize, String)>),
}

/// The text with its rows edited and every other byte as it was.
fn edited(text: &[u8], mut edit: impl FnMut(&::csv::StringRecord) -> Edit) -> Result<Vec<u8>, CannotRewrite> {
    let (mut reader, _) = open(text)?;
    let mut rewritten = Vec::with_capacity(text.len());
    let mut copied = 0;
    let mut record = ::csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|_| CannotRewrite::Unreadable)? {
        let edit = edit(&record);
        if let Edit::Keep = edit {
            continue;
        }
        let from = record.position().map_or(0, |position| offset(position.byte()));
        let row = row(text, from, offset(reader.position().byte()));
        rewritten.extend_from_slice(&text[copied..row.start]);
        copied = row.end;
        match edit {
            Edit::Keep => {}
            Edit::Fields(values) => rewritten.extend(with_fields(&text[row], &record, &values)),
            // Its line end goes with it.
            Edit::Remove => copied += text[row.end..].iter().position(|b| *b == b'\n').map_or(0, |at| at + 1),
        }
    }
    rewritten.extend_from_slice(&text[copied..]);
    Ok(rewritten)
}

fn column(columns: &::csv::StringRecord, name: &str) -> Result<usize, CannotRewrite> {
    columns.iter().position(|column| column == name).ok_or(CannotRewrite::Unreadable)
}

fn line_end(text: &[u8]) -> &'static [u8] {
    if text.windows(2).any(|two| two == b"\r\n") { b"\r\n" } else { b"\n" }
}

type Reader<'t> = ::csv::Reader<&'t [u8]>;

fn open(text: &[u8]) -> Result<(Reader<'_>, ::csv::StringRecord), CannotRewrite> {
    let mut reader = ::csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text);
    let columns = reader.headers().map_err(|_| CannotRewrite::Unreadable)?.clone();
    Ok((reader, columns))
}

/// A row without the comments and blank lines before it and the line end after it.
fn row(text: &[u8], from: usize, to: usize) -> std::ops::Range<usize> {
    let (mut from, mut to) = (from.min(text.len()), to.min(text.len()));
    while let Some(b'#' | b'\n' | b'\r') = text.get(from) {
        let end = text[from..to].iter().position(|byte| *byte == b'\n');
        from = end.map_or(to, |end| from + end + 1);
    }
    while to > from && matches!(text[to - 1], b'\n' | b'\r') {
        to -= 1;
    }
    from..to
}

/// A row with other values in some fields. Only a row with quotes is written anew.
fn with_fields(row: &[u8], record: &::csv::StringRecord, values: &[(usize, String)]) -> Vec<u8> {
    let new = |field| values.iter().find(|(at, _)| *at == field).map(|(_, value)| value.as_str());
    if row.contains(&b'"') {
        return csv_row(record.iter().enumerate().map(|(field, old)| new(field).unwrap_or(old)));
    }
    let fields = row.split(|byte| *byte == b',').enumerate();
    let fields: Vec<&[u8]> = fields.map(|(field, old)| new(field).map_or(old, str::as_bytes)).collect();
    fields.join(&b',')
}

/// A row without its line end.
fn csv_row<'v>(values: impl Iterator<Item = &'v str>) -> Vec<u8> {
    let mut writer = ::csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(values).expect("memory takes every row");
    let mut row = writer.into_inner().expect("memory takes every row");
    while row.ends_with(b"\n") {
        row.pop();
    }
    row
}

/// A position in a text that is in memory.
fn offset(byte: u64) -> usize {
    usize::try_from(byte).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::policy::accounts::{AccountTableBuilder, NewAccount};
    use crate::policy::ids::CellIndex;

    fn moved(text: &str) -> String {
        let cell_of = |id: AccountId| match id.value() {
            2 => Some("new"),
            3 => Some("old"),
            _ => None,
        };
        String::from_utf8(with_cells(text.as_bytes(), cell_of).unwrap()).unwrap()
    }

    #[test]
    fn one_field_changes_and_every_other_byte_stays() {
        for (text, expected) in [
            ("account,cell\n1,old\n2,old\n3,old\n", "account,cell\n1,old\n2,new\n3,old\n"),
            ("account,cell\r\n2,old\r\n1,old\r\n", "account,cell\r\n2,new\r\n1,old\r\n"),
            ("account,cell\r\n1,old\r\n2,old\r\n", "account,cell\r\n1,old\r\n2,new\r\n"),
            ("account,cell\n1,old\n2,old", "account,cell\n1,old\n2,new"),
            (
                "# a\naccount,prefixes,cell\n\n# 2,x,old\n2, a  b ,old\n# end\n",
                "# a\naccount,prefixes,cell\n\n# 2,x,old\n2, a  b ,new\n# end\n",
            ),
            ("cell,account\nold,2\n# c\r\n\r\nold,1\n", "cell,account\nnew,2\n# c\r\n\r\nold,1\n"),
            (
                "account,prefixes,cell\n2,\"a b\",old\n1,\"a\nb\",old\n",
                "account,prefixes,cell\n2,a b,new\n1,\"a\nb\",old\n",
            ),
            (
                "account,prefixes,cell\n1,\"a\n2,b\",old\n2,,old\n",
                "account,prefixes,cell\n1,\"a\n2,b\",old\n2,,new\n",
            ),
            ("\u{feff}account,cell\n2,old\n", "\u{feff}account,cell\n2,new\n"),
        ] {
            assert_eq!(moved(text), expected, "{text:?}");
            assert_eq!(with_cells(text.as_bytes(), |_| None).unwrap(), text.as_bytes());
        }
        for text in ["", "account\n1\n", "account,cell\n1\n"] {
            assert_eq!(with_cells(text.as_bytes(), |_| None), Err(CannotRewrite::Unreadable), "{text:?}");
        }
    }

    #[test]
    fn rows_of_moves_are_changed_removed_and_added_and_every_other_byte_stays() {
        let id = |id: u64| AccountId::from_value(id).unwrap();
        let row = |state, epoch| Some(MoveRow { from: "a".into(), to: "b".into(), state, epoch });
        let changes = [
            (id(2), row(MoveState::Holding, 4)),
            (id(9), row(MoveState::Prepare, 1)),
            (id(3), None),
            (id(8), row(MoveState::Prepare, 2)),
            (id(7), None),
        ];
        let head = "account,from,to,state,epoch";
        for (text, expected) in [
            (
                format!(
                    "# Wave 3\n{head}\n\n# 2\n2,x,y,prepare,4\n3,a,b,prepare,1\n# last\n1,a,b,flipped,1\n"
                ),
                format!(
                    "# Wave 3\n{head}\n\n# 2\n2,a,b,holding,4\n# last\n1,a,b,flipped,1\n9,a,b,prepare,1\n8,a,b,prepare,2\n"
                ),
            ),
            (
                format!("{head}\r\n3,a,b,prepare,1\r\n2,x,y,prepare,4\r\n"),
                format!("{head}\r\n2,a,b,holding,4\r\n9,a,b,prepare,1\r\n8,a,b,prepare,2\r\n"),
            ),
            (
                "epoch,state,to,from,account\n4,prepare,y,\"x\",2".to_owned(),
                "epoch,state,to,from,account\n4,holding,b,a,2\n1,prepare,b,a,9\n2,prepare,b,a,8\n".to_owned(),
            ),
            (
                format!("{head}\n2,x,y,prepare,4\n3,a,b,prepare,1"),
                format!("{head}\n2,a,b,holding,4\n9,a,b,prepare,1\n8,a,b,prepare,2\n"),
            ),
        ] {
            let changed = String::from_utf8(with_moves(text.as_bytes(), &changes).unwrap()).unwrap();
            assert_eq!(changed, expected, "{text:?}");
            assert_eq!(with_moves(text.as_bytes(), &[]).unwrap(), text.as_bytes());
        }
        assert_eq!(with_moves(b"account,from,to,state\n", &changes), Err(CannotRewrite::Unreadable));
    }

    #[test]
    fn rows_are_added_in_the_columns_of_the_table() {
        let mut table = AccountTableBuilder::with_capacity(1);
        table.push(NewAccount {
            id: AccountId::parse(b"9").unwrap(),
            prefixes: &["a", "b"],
            cell: CellIndex(0),
            redirect_browsers: true,
            schedule: None,
        });
        let table = table.finish().0;
        let account = table.iter().next().unwrap();
        let row = || [NewRow { account, cell: "c", schedule: Some("late") }];
        let add = |text: &str| {
            with_rows(text.as_bytes(), "why", &row()).map(|text| String::from_utf8(text).unwrap())
        };
        let all = "schedule,redirect_browsers,cell,prefixes,account";
        assert_eq!(add(all).unwrap(), format!("{all}\n# why\nlate,true,c,a b,9\n"));
        assert_eq!(add(&format!("{all}\r\n")).unwrap(), format!("{all}\r\n# why\r\nlate,true,c,a b,9\r\n"));
        for (text, column) in
            [("account,cell", "prefixes"), ("account,prefixes,cell,schedule", "redirect_browsers")]
        {
            assert_eq!(add(text), Err(CannotRewrite::NoColumn { account: account.id, column }));
        }
        assert_eq!(with_rows(b"x", "why", &[]).unwrap(), b"x");
    }
}
