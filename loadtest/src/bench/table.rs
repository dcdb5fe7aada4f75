//! Which accounts there are, and which cell has each: plain functions of an account's number, so that the load, the
//! cells and the configurations of all contestants agree without one list in memory.

/// How many cells there are where nothing else is said.
pub const CELLS: u16 = 10;

/// The most that a run has: as many accounts with cells of their own as the targets are about.
pub const CELLS_MAX: u16 = 1_000;

/// Where all names of the benchmark are.
pub const DOMAIN: &str = "app.example.com";

/// The legacy host.
pub const LEGACY_HOST: &str = "legacy.example.com";

/// Which cell answered.
pub const CELL_HEADER: &str = "x-cell";

/// Which of the two tables of a reload: the same accounts, some of which have another cell in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edition {
    /// That of everything but reloads.
    #[default]
    First,
    /// Some accounts have moved.
    Second,
}

impl Edition {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// A table of so many accounts over so many cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// How many accounts. They are numbered from 0.
    pub accounts: u32,
    /// How many cells, from 1. They are numbered from 0.
    pub cells: u16,
}

impl Table {
    /// One of so many accounts over the usual cells.
    pub const fn of(accounts: u32) -> Self {
        Self { accounts, cells: CELLS }
    }

    /// The id of an account.
    pub fn id(&self, account: u32) -> u64 {
        FIRST_ID + u64::from(account)
    }

    /// The prefix of an account's own host: 6 to 8 bytes for any table of up to ten million.
    pub fn prefix(&self, account: u32) -> String {
        let mut bytes = Vec::with_capacity(PREFIX_BYTES_MAX);
        self.write_prefix(account, &mut bytes);
        bytes.into_iter().map(char::from).collect()
    }

    /// Appends the prefix of an account's own host.
    pub fn write_prefix(&self, account: u32, to: &mut Vec<u8>) {
        let mut digits = [0; PREFIX_BYTES_MAX];
        let mut begin = digits.len();
        let mut rest = self.id(account);
        while rest > 0 {
            begin -= 1;
            digits[begin] = BASE_36[(rest % 36) as usize]; // Below 36.
            rest /= 36;
        }
        to.extend_from_slice(b"ab");
        to.extend_from_slice(&digits[begin..]);
    }

    /// The cell of an account, below [`Table::cells`].
    pub fn cell(&self, account: u32) -> u16 {
        (mixed(u64::from(account)) % u64::from(self.cells)) as u16 // Below 2^16, as they are.
    }

    /// The cell of an account in this edition of the table.
    pub fn cell_in(&self, edition: Edition, account: u32) -> u16 {
        let moved = edition == Edition::Second && account.is_multiple_of(self.moves_each());
        (self.cell(account) + u16::from(moved)) % self.cells
    }

    /// One of so many accounts moves, the first of all among them.
    fn moves_each(&self) -> u32 {
        (self.accounts / MOVES).max(MOVES_EACH_LEAST)
    }

    /// The name of a cell, in configurations and in `X-Cell`.
    pub fn cell_name(cell: u16) -> String {
        format!("cell-{cell}")
    }
}

/// Ids of today's legacy hosts have five digits and more.
const FIRST_ID: u64 = 100_000;

/// `ab`, and as many digits as any `u64` has in base 36.
const PREFIX_BYTES_MAX: usize = 15;

/// Accounts that a reload moves, where the table is large: half of what cellgate lets go elsewhere at once where nothing
/// is said (`guards.accounts_moved`).
const MOVES: u32 = 500;

/// Half of the share that it lets go elsewhere at once.
const MOVES_EACH_LEAST: u32 = 200;

const BASE_36: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The finalizer of SplitMix64: neighbours land in cells that have nothing to do with each other.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_accounts_have_a_prefix_in_common_and_each_is_the_id_in_base_36() {
        let table = Table::of(100_000);
        let prefixes: HashSet<String> = (0..table.accounts).map(|account| table.prefix(account)).collect();
        assert_eq!(prefixes.len(), 100_000);
        for account in [0, 1, 99_999, 9_999_999] {
            let prefix = table.prefix(account);
            let digits = prefix.strip_prefix("ab").expect("begins with ab");
            assert_eq!(u64::from_str_radix(digits, 36), Ok(table.id(account)), "{prefix}");
        }
    }

    #[test]
    fn each_cell_has_about_a_tenth_of_the_accounts() {
        let table = Table::of(100_000);
        let mut counts = [0; CELLS as usize];
        for account in 0..table.accounts {
            counts[usize::from(table.cell(account))] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_reload_moves_the_first_account_and_no_more_than_half_of_what_a_guard_lets_go() {
        for (accounts, moves) in [(10, 1), (100, 1), (10_000, 50), (100_000, 500), (1_000_000, 500)] {
            let table = Table::of(accounts);
            let moved = |account: &u32| table.cell_in(Edition::Second, *account) != table.cell(*account);
            assert_eq!((0..accounts).filter(moved).count(), moves, "{accounts}");
            assert!(moved(&0) && !moved(&1), "{accounts}");
            assert!(
                (0..accounts.min(1_000)).all(|account| table.cell_in(Edition::Second, account) < table.cells)
            );
            assert!((0..1_000).all(|account| table.cell_in(Edition::First, account) == table.cell(account)));
        }
        assert_eq!([Edition::First.other(), Edition::Second.other()], [Edition::Second, Edition::First]);
    }

    #[test]
    fn tables_of_different_sizes_agree_about_the_accounts_that_both_have() {
        let (small, large) = (Table::of(100), Table::of(1_000_000));
        for account in 0..100 {
            assert_eq!(small.prefix(account), large.prefix(account));
            assert_eq!(small.cell(account), large.cell(account));
        }
    }
}
