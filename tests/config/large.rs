//! Large account tables: right to the last row, and every wrong row of them counted.

use std::fmt::Write;
use std::time::Instant;

use cellgate::config::{compile, diff, parse_all};
use cellgate::policy::ids::AccountId;

use super::{NOW, example, lines};

/// Enough to leave every cache; `CELLGATE_TEST_ACCOUNTS=1000000` measures more.
const ACCOUNTS: u64 = 50_000;

fn accounts() -> u64 {
    std::env::var("CELLGATE_TEST_ACCOUNTS").ok().and_then(|text| text.parse().ok()).unwrap_or(ACCOUNTS)
}

/// Resident memory of this process in bytes, from the kernel.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

fn table(count: u64) -> Vec<u8> {
    let mut text = String::from("account,prefixes,cell,redirect_browsers,schedule\n");
    // The rows that other tables of the example name.
    for id in [70_403_103_966_603, 70_437_463_654_557, 70_471_823_417_825, 12_345, 26_228, 1_001_u64] {
        let _ = writeln!(text, "{id},,cell-1,,");
    }
    for n in 0..count {
        let _ = writeln!(text, "{},p{n},cell-{},,", 100_000 + n, n % 3 + 1);
    }
    text.into_bytes()
}

#[test]
#[allow(clippy::print_stdout)] // The figures are for whoever runs it to measure.
fn a_large_table_is_whole() {
    let count = accounts();
    let mut sources = example();
    sources.files.insert("accounts.csv".into(), Ok(table(count)));
    let (before, started) = (resident(), Instant::now());
    let (_, config) = parse_all(&sources, NOW).map_err(|problems| lines(&problems)).unwrap();
    let parsed = started.elapsed();
    let snapshot = compile(config, None);
    let compiled = started.elapsed();
    let bytes = resident().saturating_sub(before) / count;
    println!("{count} accounts: parsed in {parsed:?}, compiled in {compiled:?}, about {bytes} bytes each");
    assert_eq!(snapshot.accounts.len() as u64, count + 6);
    for n in [0, 1, count / 2, count - 1] {
        let account = snapshot.accounts.by_prefix(&format!("p{n}")).unwrap();
        assert_eq!(account.id.value(), 100_000 + n);
        assert_eq!(u64::from(account.cell.0), n % 3);
        assert_eq!(snapshot.accounts.by_id(account.id), Some(account));
    }
    assert!(snapshot.accounts.by_id(AccountId::parse(b"99999").unwrap()).is_none());

    sources.files.insert("accounts.csv".into(), Ok(table(count - 1)));
    let (_, next) = parse_all(&sources, NOW).map_err(|problems| lines(&problems)).unwrap();
    let started = Instant::now();
    let told = diff(&snapshot, &next).to_string();
    println!("compared in {:?}", started.elapsed());
    assert_eq!(told, format!("1 accounts removed from cell-{}", (count - 1) % 3 + 1));
}

#[test]
fn a_table_that_is_wrong_in_every_row_is_refused_in_bounds() {
    let mut sources = example();
    let wrong = String::from_utf8(table(ACCOUNTS)).unwrap().replace(",cell-", ",cel-");
    sources.files.insert("accounts.csv".into(), Ok(wrong.into_bytes()));
    let problems = parse_all(&sources, NOW).err().unwrap();
    assert_eq!(problems.len(), cellgate::config::problem::MAX_PROBLEMS + 1);
    let last = problems.last().unwrap().to_string();
    assert_eq!(
        last,
        "(all files): there are more than 500 problems; expected those above mended first [E0118]"
    );
    let first = problems.first().unwrap().to_string();
    assert!(
        first.starts_with(
            "accounts.csv:2: cell: there is no cell \"cel-1\"; expected the name of a cell (did you"
        ),
        "{first}"
    );
}
