//! CSV with named columns, row by row; problems name the line.

use super::super::problem::{Problem, Report, did_you_mean, one_of, quoted};
use super::{MAX_ROWS, Row};
use crate::policy::code::Code;

/// Calls `each` for every row, with its fields in the order of `columns`; fields of absent columns are empty.
/// `required` are the positions in `columns` that must be there. False when anything was refused here.
pub(in crate::config) fn read_csv<const N: usize>(
    file: &str,
    text: &[u8],
    report: &Report,
    columns: &[&str; N],
    required: &[usize],
    mut each: impl FnMut(Row<'_>, [&str; N]),
) -> bool {
    let mut sound = true;
    let mut reader = ::csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text);
    let Some(positions) = header(file, &mut reader, report, columns, required) else { return false };
    let mut record = ::csv::StringRecord::new();
    let mut rows = 0;
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => return ended(file, text, report) && sound,
            Ok(true) => {
                let row =
                    Row::Csv { file, line: record.position().map_or(0, |at| line_of(text, at)), report };
                for (column, _) in columns.iter().zip(positions).filter(|(_, at)| broken(&record, *at)) {
                    let hint = Some("a quote before it may not be closed, and swallow rows".to_owned());
                    row.refuse(
                        Code::BrokenRow,
                        column,
                        "found a line break".to_owned(),
                        "a row on one line",
                        hint,
                    );
                    sound = false;
                }
                each(
                    row,
                    positions.map(|position| position.and_then(|at| record.get(at)).unwrap_or_default()),
                );
            }
            Err(error) => {
                sound = false;
                report.push(row_problem(file, text, &error));
            }
        }
        if report.is_full() {
            return false;
        }
        rows += 1;
        if rows > MAX_ROWS {
            report.push(Problem::in_file(
                Code::TooManyRows,
                file,
                "too many rows",
                format!("at most {MAX_ROWS}"),
            ));
            return false;
        }
    }
}

/// Whether a field of a row goes on in another line.
fn broken(record: &::csv::StringRecord, position: Option<usize>) -> bool {
    let field = position.and_then(|at| record.get(at)).unwrap_or_default();
    memchr::memchr2(b'\n', b'\r', field.as_bytes()).is_some()
}

/// Whether the last line has an end: where it has none, its last field may be the beginning of another one, and
/// `cell-1` have been `cell-12`.
fn ended(file: &str, text: &[u8], report: &Report) -> bool {
    if text.ends_with(b"\n") || text.ends_with(b"\r") {
        return true;
    }
    let line = u32::try_from(text.iter().filter(|b| **b == b'\n').count() + 1).unwrap_or(u32::MAX);
    let hint = Some("if somebody else wrote it, it was cut short on its way here".to_owned());
    let problem = Problem::in_file(
        Code::LastLineOpen,
        file,
        "the last line does not end",
        "a line break at the end of the file",
    );
    report.push(problem.at_line(line).with_hint(hint));
    false
}

/// Where each of our columns stands in the file.
fn header<const N: usize>(
    file: &str,
    reader: &mut ::csv::Reader<&[u8]>,
    report: &Report,
    columns: &[&str; N],
    required: &[usize],
) -> Option<[Option<usize>; N]> {
    let problem = |what: String, hint: Option<String>| {
        let expected = format!("a first line with the columns {}", columns.join(","));
        report.push(Problem::in_file(Code::HeaderLine, file, what, expected).at_line(1).with_hint(hint));
    };
    let names = match reader.headers() {
        Ok(names) if !names.is_empty() => names,
        Ok(_) => {
            problem("the file is empty".to_owned(), None);
            return None;
        }
        Err(error) => {
            report.push(row_problem(file, &[], &error));
            return None;
        }
    };
    let mut positions = [None; N];
    let mut sound = true;
    for (at, name) in names.iter().enumerate() {
        match columns.iter().position(|column| *column == name) {
            Some(column) if positions[column].is_none() => positions[column] = Some(at),
            Some(_) => {
                sound = false;
                problem(format!("column {} stands twice", quoted(name)), None);
            }
            None => {
                sound = false;
                problem(
                    format!("unknown column {}", quoted(name)),
                    did_you_mean(name, columns.iter().copied()),
                );
            }
        }
    }
    let missing: Vec<&str> =
        required.iter().filter(|c| positions[**c].is_none()).map(|c| columns[*c]).collect();
    if !missing.is_empty() {
        sound = false;
        problem(format!("no column {}", one_of(missing)), None);
    }
    sound.then_some(positions)
}

/// The line of a record. Its position is that of the comments and blank lines before it.
fn line_of(text: &[u8], position: &::csv::Position) -> u32 {
    let mut line = position.line();
    let mut rest = usize::try_from(position.byte()).ok().and_then(|at| text.get(at..)).unwrap_or_default();
    while let Some(b'#' | b'\n' | b'\r') = rest.first() {
        let Some(end) = rest.iter().position(|b| *b == b'\n') else { break };
        rest = &rest[end + 1..];
        line += 1;
    }
    u32::try_from(line).unwrap_or(u32::MAX)
}

fn row_problem(file: &str, text: &[u8], error: &::csv::Error) -> Problem {
    let line = error.position().map(|position| line_of(text, position));
    let (what, expected) = match error.kind() {
        ::csv::ErrorKind::Utf8 { .. } => {
            ("found bytes that are not UTF-8".to_owned(), "text in UTF-8".to_owned())
        }
        ::csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            (format!("found {len} fields"), format!("{expected_len}, as in the first line"))
        }
        _ => (error.to_string(), "CSV as in RFC 4180".to_owned()),
    };
    let problem = Problem::in_file(Code::BrokenRow, file, what, expected);
    match line {
        Some(line) => problem.at_line(line),
        None => problem,
    }
}
