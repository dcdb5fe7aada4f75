//! What the account table said of the accounts of a window, packed: there is a line for each account that came.

use serde::Deserialize;

use super::frame::Account;
use super::packed::{put, put_bytes, take, take_bytes, take_text};

/// Accounts in the order of their ids, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Account>")]
pub(super) struct Accounts {
    cells: Vec<Box<str>>,
    accounts: u64,
    /// Of each: how far its id is from the one before, which cell, and the prefix, 0 where it has none.
    lines: Vec<u8>,
}

/// Cell and prefix.
pub(super) type Told<'a> = (&'a str, Option<&'a str>);

impl Accounts {
    /// Of lines in the order of ids.
    pub fn of<'a>(lines: impl Iterator<Item = (u64, Told<'a>)>) -> Self {
        let (mut packed, mut before) = (Self::default(), 0);
        for (id, (cell, prefix)) in lines {
            // There are some dozens, and mostly the same.
            let at = packed.cells.iter().position(|known| &**known == cell).unwrap_or_else(|| {
                packed.cells.push(cell.into());
                packed.cells.len() - 1
            });
            put(&mut packed.lines, u64::wrapping_sub(id, before));
            put(&mut packed.lines, at as u64);
            put(&mut packed.lines, u64::from(prefix.is_some()));
            if let Some(prefix) = prefix {
                put_bytes(&mut packed.lines, prefix.as_bytes());
            }
            (packed.accounts, before) = (packed.accounts + 1, id);
        }
        packed
    }

    /// In the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Told<'_>)> {
        let mut lines = Lines { cells: &self.cells, bytes: &self.lines, id: 0 };
        (0..self.accounts).map(move |_| lines.line().expect("bytes from outside were read when they came"))
    }

    /// Leaves an account out.
    pub fn forget(&mut self, account: u64) {
        *self = Self::of(self.iter().filter(|(id, _)| *id != account));
    }

    /// Appends all of it to bytes.
    pub fn pack(&self, out: &mut Vec<u8>) {
        put(out, self.cells.len() as u64);
        self.cells.iter().for_each(|cell| put_bytes(out, cell.as_bytes()));
        put(out, self.accounts);
        put_bytes(out, &self.lines);
    }

    /// Takes it from bytes; `None` where they are none.
    pub fn unpack(bytes: &mut &[u8]) -> Option<Self> {
        let mut cells = Vec::new();
        for _ in 0..take(bytes)? {
            cells.push(take_text(bytes)?.into());
        }
        let (accounts, lines) = (take(bytes)?, take_bytes(bytes)?.to_vec());
        let mut read = Lines { cells: &cells, bytes: &lines, id: 0 };
        for _ in 0..accounts {
            read.line()?;
        }
        Some(Self { cells, accounts, lines })
    }
}

impl From<Vec<Account>> for Accounts {
    fn from(mut accounts: Vec<Account>) -> Self {
        accounts.sort_by_key(|account| account.id);
        Self::of(accounts.iter().map(|of| (of.id, (&*of.cell, of.prefix.as_deref()))))
    }
}

/// Where somebody is who reads lines.
struct Lines<'a> {
    cells: &'a [Box<str>],
    bytes: &'a [u8],
    id: u64,
}

impl<'a> Lines<'a> {
    fn line(&mut self) -> Option<(u64, Told<'a>)> {
        self.id = self.id.wrapping_add(take(&mut self.bytes)?);
        let cell = self.cells.get(usize::try_from(take(&mut self.bytes)?).ok()?)?;
        let prefix = match take(&mut self.bytes)? {
            0 => None,
            _ => Some(take_text(&mut self.bytes)?),
        };
        Some((self.id, (cell, prefix)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn account(id: u64, prefix: Option<&str>, cell: &str) -> Account {
        Account { id, prefix: prefix.map(str::to_owned), cell: cell.to_owned() }
    }

    #[test]
    fn accounts_are_the_same_after_packing_and_half_of_them_are_none() {
        let all = [
            account(u64::MAX, Some("zz9"), "mt"),
            account(7, Some("ab123"), "us1"),
            account(70_403_103_966_603, None, "mt"),
        ];
        let mut packed = Accounts::from(all.to_vec());
        let lines = [
            (7, ("us1", Some("ab123"))),
            (70_403_103_966_603, ("mt", None)),
            (u64::MAX, ("mt", Some("zz9"))),
        ];
        assert_eq!(packed.iter().collect::<Vec<_>>(), lines);
        let mut bytes = Vec::new();
        packed.pack(&mut bytes);
        assert_eq!(Accounts::unpack(&mut &*bytes).unwrap(), packed);
        assert!((0..bytes.len()).all(|half| Accounts::unpack(&mut &bytes[..half]).is_none()));
        packed.forget(7);
        assert_eq!(packed.iter().collect::<Vec<_>>(), lines[1..]);
    }
}
