//! Bytes as the compiled tables on disk.

use aws_lc_rs::digest::{SHA256, digest};
use cellgate::config::compiled::{Compiled, MAGIC, VERSION};
use cellgate::policy::hex::hex;
use cellgate::policy::ids::AccountId;

/// Parts of the tables in the file.
const PARTS: usize = 8;

/// What stands between two parts in a seed: what a header says of their lengths would never fit by chance.
const BETWEEN: &[u8] = b"|--|";

/// Whatever is read answers every look-up without a panic, has rows that could have been made here, and is written as
/// it was read. By chance no digest fits, so bytes are also tried as parts with a header and a digest that fit.
/// Returns whether there are tables.
pub fn compiled(data: &[u8]) -> bool {
    if Compiled::from_bytes(data.to_vec()).is_ok() {
        holds(data.to_vec());
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut rest = data;
    while let Some(end) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        parts.push(&rest[..end]);
        rest = &rest[end + BETWEEN.len()..];
    }
    parts.push(rest);
    parts.resize(PARTS, &[]);
    let lengths: Vec<String> = parts.iter().map(|part| part.len().to_string()).collect();
    let header = format!("{{\"cellgate\":\"{VERSION}\",\"hash\":\"a\",\"parts\":[{}]}}\n", lengths.join(","));
    let rest = [header.as_bytes(), &parts.concat()].concat();
    let sealed = format!("{MAGIC} {}\n", hex(digest(&SHA256, &rest)));
    let whole = [sealed.as_bytes(), &rest].concat();
    Compiled::from_bytes(whole.clone()).is_ok() && holds(whole)
}

fn holds(whole: Vec<u8>) -> bool {
    let read = Compiled::from_bytes(whole.clone()).expect("it was read a moment ago");
    assert_eq!(read.to_pieces().concat(), whole, "written as it was read");
    let account = |value| AccountId::from_value(value).expect("between 1 and 2^63");
    for row in read.accounts.iter() {
        // An index may lead elsewhere, and then leads to a row that does have the key.
        assert!(read.accounts.by_id(row.id).is_none_or(|found| found.id == row.id));
        for prefix in row.prefixes {
            let found = read.accounts.by_prefix(prefix);
            assert!(found.is_none_or(|mut found| found.prefixes.any(|own| own == prefix)));
            let _ = read.accounts.by_prefix(&format!("{prefix}x"));
        }
    }
    let _ = (read.accounts.by_id(account(1)), read.accounts.by_id(account(i64::MAX as u64)));
    for (key, _) in read.environments.iter() {
        assert!(
            read.environments.find(key).is_none_or(|of| read.environments.iter().any(|row| row == (key, of)))
        );
    }
    for (key, _) in read.credentials.iter() {
        assert!(
            read.credentials.find(key).is_none_or(|of| read.credentials.iter().any(|row| row == (key, of)))
        );
    }
    true
}
