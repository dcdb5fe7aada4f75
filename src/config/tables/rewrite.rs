//! Changing rows of an account table that people keep: what is not meant to change stays as it is, byte for byte,
//! comments, order and line ends included.

use crate::policy::accounts::Account;
use crate::policy::ids::AccountId;

/// Why a table cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotRewrite {
    /// It is no table of ours.
    #[error("it cannot be read as CSV with the columns account and cell")]
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
    let (mut reader, columns) = open(text)?;
    let at = |name| columns.iter().position(|column| column == name).ok_or(CannotRewrite::Unreadable);
    let (id_at, cell_at) = (at("account")?, at("cell")?);
    let mut rewritten = Vec::with_capacity(text.len());
    let mut copied = 0;
    let mut record = ::csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|_| CannotRewrite::Unreadable)? {
        let id = record.get(id_at).and_then(|id| AccountId::parse(id.as_bytes()).ok());
        let Some(cell) = id.and_then(&mut cell_of).filter(|cell| record.get(cell_at) != Some(cell)) else {
            continue;
        };
        let from = record.position().map_or(0, |position| offset(position.byte()));
        let row = row(text, from, offset(reader.position().byte()));
        rewritten.extend_from_slice(&text[copied..row.start]);
        rewritten.extend(with_field(&text[row.clone()], &record, cell_at, cell));
        copied = row.end;
    }
    rewritten.extend_from_slice(&text[copied..]);
    Ok(rewritten)
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
    let feed: &[u8] = if text.windows(2).any(|two| two == b"\r\n") { b"\r\n" } else { b"\n" };
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

/// A row with another value in one field. Only a row with quotes is written anew.
fn with_field(row: &[u8], record: &::csv::StringRecord, at: usize, value: &str) -> Vec<u8> {
    if row.contains(&b'"') {
        return csv_row(record.iter().enumerate().map(|(field, old)| if field == at { value } else { old }));
    }
    let fields = row.split(|byte| *byte == b',').enumerate();
    let fields: Vec<&[u8]> =
        fields.map(|(field, old)| if field == at { value.as_bytes() } else { old }).collect();
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
