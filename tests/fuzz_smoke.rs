//! The fuzz targets of `fuzz/` as plain tests: every seed as it is, then mutated from a fixed random
//! seed. No tool is needed; `make fuzz` lets libFuzzer search further.
//!
//! `CELLGATE_TEST_LONG=1` tries twenty times as many. `CELLGATE_FUZZ_TIMES=N` tries N, also of what libFuzzer has
//! found: a target that it is slow with (every byte of YAML costs it a look) gets its millions here.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout)] // The counts of a run.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

use fastrand::Rng;

/// Longest input: the parsers' own limits are tested one by one elsewhere, and long inputs take time
/// from strange ones.
const LONGEST: usize = 2_000;

/// One in so many inputs at least must be good, or most of what is to hold was not tried. What JSON lists, the most
/// delicate, is good once in eighty.
const SHARE: usize = 100;

/// Texts that some parser treats specially, put in whole.
const PIECES: [&[u8]; 34] = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b":",
    b": ",
    b"\xc3\xa4",
    b"\xff",
    b"/",
    b"//",
    b"/..",
    b"%2e",
    b"%2f",
    b"%25",
    b";",
    b"\\",
    b"?",
    b"#",
    b"&account_id=26228",
    b"12345",
    b"18446744073709551616",
    b"/deploy/26228",
    b"HTTP/1.1",
    b"\r\nHost: b",
    b"\r\nContent-Length: 1",
    b"\r\nTransfer-Encoding: chunked",
    b"\ncookie: account=1",
    b"- ",
    b"{ ",
    b"[",
    b"&a *a",
    b"\"",
];

// As many as take twenty seconds at most, unoptimised.

#[test]
fn config_is_read_or_refused() {
    check("config", targets::config, 5_000);
}

#[test]
fn a_head_is_read_alike_in_pieces_and_by_others() {
    check("head", targets::head, 300_000);
}

#[test]
fn an_account_is_found_once_and_stays_at_home() {
    check("identify", targets::identify, 400_000);
}

#[test]
fn a_proxy_header_is_judged_once() {
    check("proxy_protocol", targets::proxy_protocol, 400_000);
}

#[test]
fn a_chunked_body_ends_at_one_byte() {
    check("chunks", targets::chunks, 300_000);
}

#[test]
fn what_is_merged_with_ours_keeps_both() {
    check("merges", targets::merges, 60_000);
}

#[test]
fn an_account_table_has_the_rows_of_its_text() {
    check("accounts", targets::accounts, 20_000);
}

#[test]
fn an_approval_counts_where_somebody_has_signed_it() {
    check("approvals", targets::approvals, 10_000);
}

#[test]
fn frames_are_found_however_they_come() {
    check("frames", targets::frames, 300_000);
}

#[test]
fn predecessor_and_successor_hear_what_was_said() {
    check("handover", targets::handover, 100_000);
}

#[test]
fn a_last_good_configuration_is_read_as_written() {
    check("last_good", targets::last_good, 100_000);
}

#[test]
fn compiled_tables_answer_every_look_up() {
    check("compiled", targets::compiled, 200_000);
}

#[test]
fn an_audit_trail_that_is_whole_goes_on_and_no_byte_of_it_can_change() {
    check("audit_trail", targets::audit_trail, 60_000);
}

#[test]
fn lessons_stay_within_their_bounds_and_move_nobody() {
    check("learned", targets::learned, 30_000);
}

/// Tries every seed, and `times` mutations of seeds.
fn check(target: &str, is_good: fn(&[u8]) -> bool, times: usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = files(&root.join("fuzz/seeds").join(target));
    assert!(seeds.len() > 3, "there are seeds of {target}");
    let wished = std::env::var("CELLGATE_FUZZ_TIMES").ok().map(|times| times.parse().unwrap());
    let found = root.join("target/fuzz/corpus").join(target);
    if wished.is_some() && found.is_dir() {
        seeds.extend(files(&found));
    }
    let long = if std::env::var_os("CELLGATE_TEST_LONG").is_some() { times * 20 } else { times };
    let times = wished.unwrap_or(long);
    let mut rng = Rng::with_seed(if wished.is_some() { fastrand::u64(..) } else { 0 });
    let mutated = (0..times).map(|_| mutate(&seeds, &mut rng));
    let mut good = 0;
    for input in seeds.iter().cloned().chain(mutated) {
        let shown = Shown(&input);
        good += usize::from(is_good(&input));
        drop(shown);
    }
    // Most of what libFuzzer keeps is wrong in a new way.
    assert!(wished.is_some() || good > times / SHARE, "only {good} of {times} inputs were good");
    println!("{target}: {times} inputs, {good} good, from {} seeds", seeds.len());
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Shows the input that something did not hold for.
struct Shown<'a>(&'a [u8]);

impl Drop for Shown<'_> {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with the input b\"{}\"", self.0.escape_ascii());
        }
    }
}

fn mutate(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let any = |rng: &mut Rng| &seeds[rng.usize(..seeds.len())];
    let mut input = any(rng).clone();
    // One change, two or four: after many a file is nothing but wrong.
    for _ in 0..1 << rng.u32(0..3) {
        let at = rng.usize(..=input.len());
        let end = (at + rng.usize(..40)).min(input.len());
        match rng.u32(..7) {
            0 if at < input.len() => input[at] = rng.u8(..),
            1 => input.insert(at, rng.u8(..)),
            2 => drop(input.drain(at..end)),
            3 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            4 => {
                let other = any(rng);
                let from = rng.usize(..=other.len());
                let part = &other[from..(from + rng.usize(..60)).min(other.len())];
                input.splice(at..at, part.iter().copied());
            }
            5 => input.truncate(at),
            _ => drop(input.splice(at..at, PIECES[rng.usize(..PIECES.len())].iter().copied())),
        }
    }
    input.truncate(LONGEST.max(seeds.iter().map(Vec::len).max().unwrap_or_default()));
    input
}
