//! What an answer must be: from the account's own cell, and marked as deprecated on the legacy host and nowhere else.

use std::io;
use std::mem::MaybeUninit;

use crate::bench::table::{CELL_HEADER, CELLS_MAX, Edition, Table};

use super::ask::Ask;
use super::{Order, Work};

/// What became of a request that was not answered as it must be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// No whole answer.
    #[error("no whole answer: {0}")]
    Lost(#[from] io::Error),
    /// A whole answer, and not the right one.
    #[error("a wrong answer: {0}")]
    Wrong(String),
}

impl Fault {
    /// A failure that is not the system's.
    pub(super) fn lost(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Lost(io::Error::other(error))
    }
}

/// What of an answer must be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Status, the account's cell, and `Deprecation` as the host wants it.
    Whole,
    /// The same, but the cell may be that of either edition: which of them is in force is only known when the answer comes.
    EitherEdition,
    /// The status alone.
    Status,
}

impl Expected {
    /// What this order asks for.
    pub(super) fn of(order: &Order) -> Self {
        match order.work {
            _ if order.l4 => Self::Status,
            Work::GetAcrossReload => Self::EitherEdition,
            _ => Self::Whole,
        }
    }
}

/// What an answer says, as far as it is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Status.
    pub status: u16,
    /// Which cell answered; `None` where none or a stranger is named.
    pub cell: Option<u16>,
    /// Whether there is a `Deprecation`.
    pub deprecated: bool,
}

impl Told {
    /// Whether this is the answer to `ask`, of this status, as far as it is `expected` to be right.
    pub(super) fn check(self, status: u16, ask: Ask, table: Table, expected: Expected) -> Result<(), Fault> {
        let of = |edition| {
            let cell = Some(table.cell_in(edition, ask.account));
            Self { status, cell, deprecated: ask.legacy }
        };
        let first = of(Edition::First);
        let right = match expected {
            Expected::Whole => self == first,
            Expected::EitherEdition => self == first || self == of(Edition::Second),
            Expected::Status => self.status == status,
        };
        if right {
            return Ok(());
        }
        Err(Fault::Wrong(format!("{} instead of {}", self.words(), first.words())))
    }

    fn words(self) -> String {
        let cell = self.cell.map_or_else(|| "no cell".to_owned(), Table::cell_name);
        let deprecation = if self.deprecated { "with" } else { "without" };
        format!("{} from {cell} {deprecation} Deprecation", self.status)
    }
}

/// The head of an answer in HTTP/1.1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its length.
    pub bytes: usize,
    /// What it says.
    pub told: Told,
    /// Length of the body.
    pub body_bytes: u64,
    /// Whether the connection ends after it.
    pub last: bool,
}

/// Fields of one head: the cells send three, and no contestant adds more than a dozen.
const FIELDS_MAX: usize = 48;

/// The first head in `bytes`; none where its end has not come yet.
///
/// # Errors
/// It is no HTTP, or the length of the body is not said: the cells say it, and a proxy that takes it away is another
/// than the one that was ordered.
pub(super) fn head(bytes: &[u8]) -> Result<Option<Head>, Fault> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, bytes, &mut fields)
        .map_err(Fault::lost)?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let mut told = Told { status: response.code.unwrap_or_default(), ..Told::default() };
    let (mut body_bytes, mut last) = (None, false);
    for field in response.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            6 if is(CELL_HEADER) => told.cell = cell(field.value),
            10 if is("connection") => last = field.value.eq_ignore_ascii_case(b"close"),
            11 if is(DEPRECATION) => told.deprecated = true,
            14 if is("content-length") => body_bytes = length_of(field.value),
            _ => {}
        }
    }
    // To 101 no body follows (RFC 9110 section 15.2).
    let body_bytes = if told.status == 101 { Some(0) } else { body_bytes };
    let body_bytes = body_bytes.ok_or_else(|| Fault::lost("an answer without Content-Length"))?;
    Ok(Some(Head { bytes: length, told, body_bytes, last }))
}

/// On answers of the legacy host (RFC 9745).
pub(super) const DEPRECATION: &str = "deprecation";

/// The number of a cell by its name.
pub(super) fn cell(name: &[u8]) -> Option<u16> {
    let digits = name.strip_prefix(b"cell-")?;
    // As cells write it: neither sign nor leading zero.
    let plain = digits.iter().all(u8::is_ascii_digit) && (digits.len() == 1 || digits.first() != Some(&b'0'));
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (plain && number < CELLS_MAX).then_some(number)
}

fn length_of(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TABLE: Table = Table::of(10);

    #[test]
    fn a_head_is_read_when_it_is_whole_and_not_before() {
        let text = "HTTP/1.1 200 OK\r\nX-CELL: cell-3\r\nDeprecation: @1\r\nContent-Length: 9\r\nConnection: close\r\n\r\n";
        let told = Told { status: 200, cell: Some(3), deprecated: true };
        let expected = Head { bytes: text.len(), told, body_bytes: 9, last: true };
        assert_eq!(head(format!("{text}body").as_bytes()).unwrap(), Some(expected));
        assert_eq!(head(&text.as_bytes()[..text.len() - 1]).unwrap(), None);
        assert!(matches!(head(b"SSH-2.0-OpenSSH\r\n"), Err(Fault::Lost(_))));
        assert!(matches!(head(b"HTTP/1.1 200 OK\r\n\r\n"), Err(Fault::Lost(_))), "no length");
    }

    #[test]
    fn only_the_cells_of_the_benchmark_have_numbers() {
        let numbers = ["cell-0", "cell-999", "cell-1000", "cell-07", "cell-+7", "cell-", "cell-x", "mt"]
            .map(|name| cell(name.as_bytes()));
        assert_eq!(numbers, [Some(0), Some(999), None, None, None, None, None, None]);
    }

    #[test]
    fn each_difference_is_wrong_and_a_relay_is_asked_for_the_status_alone() {
        let ask = Ask { account: 4, legacy: true };
        let right = Told { status: 200, cell: Some(TABLE.cell(4)), deprecated: true };
        right.check(200, ask, TABLE, Expected::Whole).unwrap();
        let other = Some((TABLE.cell(4) + 1) % TABLE.cells);
        for (wrong, also_l4) in [
            (Told { status: 503, ..right }, true),
            (Told { cell: other, ..right }, false),
            (Told { cell: None, ..right }, false),
            (Told { deprecated: false, ..right }, false),
        ] {
            for expected in [Expected::Whole, Expected::EitherEdition] {
                let checked = wrong.check(200, ask, TABLE, expected);
                assert!(matches!(checked, Err(Fault::Wrong(_))), "{expected:?} {wrong:?}");
            }
            assert_eq!(wrong.check(200, ask, TABLE, Expected::Status).is_err(), also_l4, "{wrong:?}");
        }
        let own = Ask { legacy: false, ..ask };
        assert!(right.check(200, own, TABLE, Expected::Whole).is_err(), "an own host is not deprecated");
    }

    #[test]
    fn across_a_reload_an_account_that_moves_is_answered_by_one_of_its_two_cells() {
        // The first account moves, and the second stays.
        let told = |cell| Told { status: 200, cell: Some(cell), deprecated: true };
        for (account, cells) in [(0, 2), (1, 1)] {
            let ask = Ask { account, legacy: true };
            let right = |cell: &u16| told(*cell).check(200, ask, TABLE, Expected::EitherEdition).is_ok();
            assert_eq!((0..TABLE.cells).filter(right).count(), cells, "{account}");
            for edition in [Edition::First, Edition::Second] {
                assert!(right(&TABLE.cell_in(edition, account)), "{account} {edition:?}");
            }
        }
    }
}
