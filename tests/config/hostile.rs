//! Files that are meant to hurt: each is refused fast, with a line that says why.

use std::time::{Duration, Instant};

use cellgate::config::scan::{MAX_DEPTH, MAX_NODES, MAX_YAML_BYTES};
use cellgate::config::{parse_accounts, parse_all};

use super::{NOW, example, lines};

/// A file that takes longer hangs: serde_yaml alone, unoptimised, needs minutes for the worst of these, and
/// a refusal takes well under a second. No measure of speed.
const HANGS: Duration = Duration::from_secs(60);

/// Parses the example with another routing file; one of its problems must contain `expect`.
fn check(name: &str, text: impl Into<Vec<u8>>, expect: &str) {
    let mut sources = example();
    sources.routing = Ok(text.into());
    let started = Instant::now();
    let problems = parse_all(&sources, NOW).err().unwrap_or_default();
    let took = started.elapsed();
    assert!(took < HANGS, "{name} took {took:?}");
    let lines = lines(&problems);
    let found = lines.lines().any(|line| line.contains(expect));
    assert!(found, "{name}: expected a problem with {expect:?}, found\n{}", &lines[..lines.len().min(2_000)]);
    let longest = lines.lines().map(str::len).max().unwrap_or_default();
    assert!(longest < 600, "{name}: a problem is a line for people, found one of {longest} bytes");
}

#[test]
fn text_that_is_no_text() {
    check("empty", "", "cellgate.yaml: the file is empty; expected a mapping");
    check("blank", " \n\n", "the file is empty");
    check("only a comment", "# nothing\n", "the file is empty");
    check("only a marker", "---\n", "found nothing; expected a mapping");
    check("byte order mark", b"\xef\xbb\xbf".as_slice(), "the file is empty");
    check("NUL", "version: 1\nguide: a\0b\n", "cellgate.yaml:2:9: found the control character U+0000");
    check("escape", "version: 1\n# \u{1b}[2J\n", "cellgate.yaml:2:3: found the control character U+001B");
    check(
        "not UTF-8",
        b"version: 1\nguide: \xff\xfe\n".as_slice(),
        "cellgate.yaml:2:8: found bytes that are not UTF-8",
    );
    check("UTF-16", "version: 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(), "U+0000");
    let wide = |mark: &[u8], unit: fn(u16) -> [u8; 2]| {
        let text = "version: 1\n".encode_utf16().flat_map(unit);
        mark.iter().copied().chain(text).collect::<Vec<_>>()
    };
    let not_text = "cellgate.yaml:1:1: found bytes that are not UTF-8; expected a text file in UTF-8";
    check("UTF-16, little, marked", wide(b"\xff\xfe", u16::to_le_bytes), not_text);
    check("UTF-16, big, marked", wide(b"\xfe\xff", u16::to_be_bytes), not_text);
    check(
        "UTF-16, big",
        wide(b"", u16::to_be_bytes),
        "cellgate.yaml:1:1: found the control character U+0000",
    );
    check(
        "Latin-1",
        b"version: 1\nguide: M\xfcnchen\n".as_slice(),
        "cellgate.yaml:2:9: found bytes that are not UTF-8",
    );
    check(
        "tabs",
        "version: 1\nhosts:\n\t- pattern: a\n",
        "cellgate.yaml:3:1: found a tab in the indentation",
    );
    check("binary", (0..=255u8).collect::<Vec<_>>(), "cellgate.yaml:");
    check(
        "too large",
        "a: b\n".repeat(MAX_YAML_BYTES / 4),
        "the file has 1310720 bytes; expected at most 1048576",
    );
    check("a list", "- version: 1\n", "found a list; expected a mapping");
    check("a word", "version\n", "found \"version\"; expected a mapping");
}

#[test]
fn bombs() {
    let laughs = |n: usize| {
        let levels =
            (1..n).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", ")));
        format!("a0: &a0 lol\n{}", levels.collect::<String>())
    };
    check("billion laughs", laughs(10), "cellgate.yaml:1:5: a0: found an anchor (&name)");
    check("self reference", "a: &a [*a]\n", "found an anchor");
    check("merge key", "a: {b: c}\nd:\n  <<: {b: c}\n", "cellgate.yaml:3:3: d.<<: found a merge key (<<)");
    check("tag", "version: !!python/object:os.system 1\n", "cellgate.yaml:1:10: version: found a tag");
    check("local tag", "version: !one 1\n", "found a tag");
    check(
        "flow depth",
        "[".repeat(200_000),
        &format!("nested too deeply; expected at most {MAX_DEPTH} levels"),
    );
    check("flow depth, mappings", "{a: ".repeat(100_000), "nested too deeply");
    check(
        "block depth",
        (0..2_000).map(|i| format!("{}a:\n", " ".repeat(i))).take(500).collect::<String>(),
        "nested too deeply",
    );
    check("dashes", "- ".repeat(200_000), "nested too deeply");
    check("wide list", format!("a: [{}]\n", "1,".repeat(MAX_NODES + 1)), "too many values");
    check("wide mapping", (0..100_000).map(|i| format!("k{i}: 1\n")).collect::<String>(), "unknown key");
    check(
        "long text",
        format!("guide: {}\n", "x".repeat(1_000_000)),
        "cellgate.yaml:1:8: guide: found a text of 1000000 bytes",
    );
    check("long key", format!("{}: 1\n", "x".repeat(1_000_000)), "cellgate.yaml:");
    check("open quote", format!("guide: \"{}", "x".repeat(1_000_000)), "not readable as YAML");
    check("open quote, lines", format!("guide: \"{}", "x\n".repeat(500_000)), "not readable as YAML");
    check("open brackets", "{".repeat(1_000_000), "cellgate.yaml:1:");
    check("question marks", "? ".repeat(500_000), "cellgate.yaml:1:");
    check("colons", ": ".repeat(500_000), "cellgate.yaml:1:");
    check("exclamation marks", "!".repeat(1_000_000), "not readable as YAML");
    check("ampersands", "&a ".repeat(300_000), "not readable as YAML");
    check("directives", "%YAML 1.2\n".repeat(100_000), "not readable as YAML");
    check("comments", "#\n".repeat(500_000), "the file is empty");
    check("documents", "--- a\n".repeat(150_000), "cellgate.yaml:2:1: a second document begins");
    check("block scalar", format!("guide: |\n{}", "  x\n".repeat(250_000)), "found a text of");
    check("plain lines", format!("guide: a\n{}", " b\n".repeat(300_000)), "found a text of");
    check("carriage returns", "a: b\r".repeat(200_000), "cellgate.yaml:");
    check("percent signs", "%".repeat(1_000_000), "cellgate.yaml:");
}

#[test]
fn what_parsers_disagree_about() {
    check(
        "key twice",
        "version: 1\nguide: a\nversion: 1\n",
        "cellgate.yaml:3:1: version: key \"version\" stands twice, first in line 1",
    );
    check("quoted key twice", "version: 1\n'version': 1\n", "stands twice, first in line 1");
    check(
        "Norway",
        "version: 1\nsurfaces: [{name: no}]\n",
        "surfaces[0].name: found no without quotes, which YAML 1.1 reads as false",
    );
    check("yes", "version: yes\n", "which YAML 1.1 reads as true");
    check("octal", "version: 010\n", "found 010 without quotes, which YAML 1.1 reads as an octal number");
    check("octal, 1.2", "version: 0o10\n", "which YAML 1.1 reads as a number that is not decimal");
    check("hexadecimal", "version: 0x1\n", "a number that is not decimal");
    check("underscores", "version: 1_000\n", "a number without its underscores");
    check("base 60", "version: 12:30:45\n", "a number to base 60");
    check("complex key", "? [a, b]\n: c\n", "cellgate.yaml:1:3: found a mapping or list as a key");
    check("number as key", "version: 1\n1: 2\n", "cellgate.yaml:2:1: 1: unknown key");
    check(
        "huge number",
        "version: 99999999999999999999999999\n",
        "version: found 99999999999999999999999999; expected 1",
    );
    check("infinite", "version: .inf\n", "version: found inf; expected 1");
    check("nothing", "version: ~\n", "version: found nothing; expected 1");
}

#[test]
fn the_same_in_other_clothes_is_the_same() {
    let sound = |change: &dyn Fn(&str) -> String| {
        let mut sources = example();
        let text = String::from_utf8(sources.routing.unwrap()).unwrap();
        sources.routing = Ok(change(&text).into_bytes());
        for name in ["accounts.csv", "environments.csv", "credentials.csv", "clients.yaml"] {
            let file = sources.files.get_mut(name).unwrap();
            *file = Ok(change(std::str::from_utf8(file.as_ref().unwrap()).unwrap()).into_bytes());
        }
        let (_, config) = parse_all(&sources, NOW).map_err(|problems| lines(&problems)).unwrap();
        (config.accounts.len(), config.environments.len(), config.identify.credentials.table.len())
    };
    let plain = sound(&str::to_owned);
    assert_eq!(plain, (9, 7, 3));
    assert_eq!(sound(&|text| text.replace('\n', "\r\n")), plain, "lines end as on Windows");
    assert_eq!(sound(&|text| format!("\u{feff}{text}")), plain, "marked as UTF-8");
    assert_eq!(sound(&|text| format!("\u{feff}{}", text.replace('\n', "\r\n"))), plain, "both");
}

/// Parses the example with another account table.
fn check_table(name: &str, text: impl Into<Vec<u8>>, expect: &str) {
    let mut sources = example();
    sources.files.insert("accounts.csv".into(), Ok(text.into()));
    let started = Instant::now();
    let problems = parse_all(&sources, NOW).err().unwrap_or_default();
    assert!(started.elapsed() < HANGS, "{name}");
    let lines = lines(&problems);
    let shown = &lines[..lines.floor_char_boundary(2_000)];
    assert!(
        lines.lines().any(|line| line.starts_with(expect)),
        "{name}: expected {expect:?}, found\n{shown}"
    );
    assert!(lines.lines().all(|line| line.len() < 600), "{name}: {shown}");
}

#[test]
fn tables_that_are_none() {
    let header = "account,prefixes,cell,redirect_browsers,schedule\n";
    let table = |rows: &str| format!("{header}{rows}");
    check_table(
        "UTF-16",
        table("1,,cell-1,,\n").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
        "accounts.csv:1: unknown column \"a\\0c\\0c",
    );
    check_table(
        "Latin-1",
        [table("1,").as_bytes(), b"m\xfcnchen,cell-1,,\n"].concat(),
        "accounts.csv:2: found bytes that are not UTF-8; expected text in UTF-8",
    );
    check_table(
        "NUL",
        table("1,a\0b,cell-1,,\n"),
        "accounts.csv:2: prefixes: found \"a\\0b\"; expected a label",
    );
    check_table(
        "an open quote",
        table("1,,\"cell-1,,\n2,,cell-1,,\n"),
        "accounts.csv:2: found 3 fields; expected 5",
    );
    check_table(
        "an open quote in the last field",
        table("1,,cell-1,,\"\n2,,cell-1,,\n"),
        "accounts.csv:2: schedule: found a line break; expected a row on one line (a quote before it may not be closed",
    );
    check_table(
        "a long field",
        table(&format!("1,{},cell-1,,\n", "x".repeat(10_000_000))),
        "accounts.csv:2: prefixes: found \"xxx",
    );
    check_table(
        "many fields",
        table(&",".repeat(1_000_000)),
        "accounts.csv:2: found 1000001 fields; expected 5",
    );
    check_table("many columns", "x,".repeat(100_000) + "\n", "accounts.csv:1: unknown column \"x\"");
    check_table(
        "many prefixes",
        table(&format!("1,{},cell-1,,\n", "a ".repeat(100_000))),
        "accounts.csv:2: prefixes: found 100000 prefixes; expected at most 16",
    );
    check_table("only quotes", "\"".repeat(1_000_000), "accounts.csv:1: ");
    check_table("only commas", ",".repeat(1_000_000), "accounts.csv:1: unknown column \"\"");
    check_table("only line breaks", "\n".repeat(1_000_000), "accounts.csv:1: the file is empty");
}

#[test]
fn a_table_that_was_cut_short_has_whole_rows_or_is_refused() {
    let text = "account,cell\n1,cell-12\n22,cell-1\n333,cell-12\n";
    let read = |text: &str| parse_accounts(text.as_bytes(), &["cell-1", "cell-12"], &[]);
    let whole = read(text).unwrap();
    let mut good = 0;
    for end in 0..text.len() {
        let Ok(table) = read(&text[..end]) else { continue };
        assert!(text[..end].ends_with('\n'), "{:?}", &text[..end]);
        assert!(table.iter().all(|row| whole.by_id(row.id) == Some(row)), "{:?}", &text[..end]);
        good += 1;
    }
    assert_eq!(good, 2, "cut behind the first and the second row");
}

/// Pieces that mean something to a YAML or CSV reader.
const PIECES: [&str; 24] = [
    "", ":", ": ", "- ", "\n", "\n  ", "\n\n", "[", "]", "{", "}", ",", "\"", "'", "#", "&a ", "*a", "!",
    "|\n", "? ", "%", "0", "\u{feff}", "é",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 256, ..Default::default() })]

    /// Damaged files give problems or a configuration, never a panic, and always in time.
    #[test]
    fn damage_anywhere_is_survived(
        file in 0..7usize,
        damage in proptest::collection::vec((proptest::prelude::any::<u16>(), 0..40usize, 0..PIECES.len()), 1..8),
    ) {
        let mut sources = example();
        let names = ["accounts.csv", "environments.csv", "credentials.csv", "clients.yaml", "keys/demo-fingerprint.key"];
        let text = match file {
            0 => &mut sources.boot,
            1 => &mut sources.routing,
            other => sources.files.get_mut(names[other - 2]).unwrap(),
        };
        let bytes = text.as_mut().unwrap();
        for (at, cut, piece) in damage {
            let at = usize::from(at) % (bytes.len() + 1);
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, PIECES[piece].bytes());
        }
        let started = Instant::now();
        if let Err(problems) = parse_all(&sources, NOW) {
            proptest::prop_assert!(!problems.is_empty());
            proptest::prop_assert!(lines(&problems).lines().all(|line| line.contains("; expected ")));
        }
        proptest::prop_assert!(started.elapsed() < HANGS);
    }
}
