//! Account tables as text, beside the example's other files.

use std::fmt::Write;

/// Rows that the example's other tables name.
pub const NAMED: [(u64, &str, &str); 6] = [
    (70_403_103_966_603, "ab123", "cell-1"),
    (70_437_463_654_557, "cd456", "cell-2"),
    (70_471_823_417_825, "ef789", "cell-3"),
    (12_345, "acme", "cell-2"),
    (26_228, "gh012", "shared"),
    (1_001, "mx789", "shared"),
];

/// The number of the first account that [`table`] makes.
pub const FIRST: u64 = 1_000_000;

/// The id of one of them.
pub fn id(number: u64) -> u64 {
    // Ids of real accounts lie apart.
    FIRST + number * 37
}

/// The prefix of one of them: two letters and digits, as they are given out.
pub fn prefix(number: u64) -> String {
    format!("ac{number:06}")
}

/// The named rows, and so many others which all live in one cell.
pub fn table(count: u64, cell: &str) -> String {
    let mut text = String::from("account,prefixes,cell,redirect_browsers,schedule\n");
    for (id, prefix, cell) in NAMED {
        writeln!(text, "{id},{prefix},{cell},,").unwrap();
    }
    for number in 0..count {
        writeln!(text, "{},{},{cell},,", id(number), prefix(number)).unwrap();
    }
    text
}
