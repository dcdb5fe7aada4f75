//! The bounds of guards where nothing is said, each with its reason.

use std::time::Duration;

/// A wave of a migration that people have planned has some hundred accounts; a thousand is nobody's typing mistake
/// that should pass without a second pair of eyes.
pub const MOST_ACCOUNTS: u32 = 1_000;

/// The test that the incident asks for is "2 % of the accounts are gone": half of it.
pub const PERCENT_OF_ACCOUNTS: u8 = 1;

/// A fleet of a few hundred accounts must be able to let one go. Ten customers are still a bad day, but a day that ten
/// lines in a review show.
pub const FREE_ACCOUNTS: u32 = 10;

/// Rows of environments or credentials that lead to another account. It is never routine: a token and an environment have
/// one account for their life, and each such row sends a customer's requests to another. Ten are a correction that a
/// review shows; more is a column that has slipped.
pub const MOST_REPOINTED: u32 = 10;

/// None at all where the table is small: below a hundred rows, one is more than [`PERCENT_OF_ACCOUNTS`].
pub const FREE_REPOINTED: u32 = 0;

/// Five times the million that this is built for; its table needs some 300 MiB.
pub const ROWS: u32 = 5_000_000;

/// From which share of [`ROWS`] on there is an alarm, in per cent: time to act while new accounts still come in.
pub const ROWS_ALARM_PERCENT: u8 = 70;

/// A table that doubles is a join that went wrong, or a merger that somebody announced.
pub const GROWTH_PERCENT: u32 = 100;

/// So many rows may always be added: below, a table of ten could not become one of thirty.
pub const FREE_GROWTH: usize = 1_000;

/// Accounts that make more than a twentieth of the traffic are the ones that everybody knows by name.
pub const PERCENT_OF_TRAFFIC: u8 = 5;

/// The number that the incident's owners announced: nobody alone.
pub const APPROVALS_NEEDED: u8 = 2;

/// Over a weekend, and not until nobody remembers it.
pub const APPROVAL_MAX_AGE: Duration = Duration::from_secs(7 * 86_400);

/// A share of fewer requests says who was awake, not who matters.
pub const LEAST_TRAFFIC: u64 = 10_000;
