//! Bytes as one file of a configuration.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use cellgate::config::{self, Boot, Problem, Sources};

use super::NOW;

/// Longest line that a problem may be, however long the text that is wrong: what is quoted is cut.
const LONGEST_PROBLEM: usize = 4_096;

/// A configuration that is read without a problem. Its files are seeds too, so each begins with its name.
const GOOD: [(&str, &[u8]); 8] = [
    ("boot.yaml", include_bytes!("../seeds/config/boot.yaml")),
    ("routing.yaml", include_bytes!("../seeds/config/routing.yaml")),
    ("accounts.csv", include_bytes!("../seeds/config/accounts.csv")),
    ("accounts.yaml", include_bytes!("../seeds/config/accounts.yaml")),
    ("environments.csv", include_bytes!("../seeds/config/environments.csv")),
    ("environments.yaml", include_bytes!("../seeds/config/environments.yaml")),
    ("credentials.csv", include_bytes!("../seeds/config/credentials.csv")),
    ("clients.yaml", include_bytes!("../seeds/config/clients.yaml")),
];

/// What every file holds that is none of [`GOOD`]: a key.
const KEY: &[u8] = b"413182179ca0d8c0579fe3827fe0cc1ce2690643e3bcc7b6262f3bfc34d40e28";

/// The smallest configuration that has tables: what reads them need not read all else each time.
const SMALL: &str = r#"version: 1
guide: https://docs.example.com/
surfaces: [{ name: app }]
schedules: [{ name: late, deprecated_since: 2026-02-01T00:00:00Z, sunset_at: 2027-03-31T00:00:00Z }]
hosts: [{ pattern: "{prefix}.us1.dbt.com", role: cell, surface: app }]
cells:
  - { name: cell-1, domain: us1.dbt.com, groups: [{ endpoints: [127.0.0.1:7101] }] }
  - { name: cell-2, domain: us1.dbt.com, groups: [{ endpoints: [127.0.0.1:7102] }] }
  - { name: shared, shared: true, domain: us1.dbt.com, groups: [{ endpoints: [127.0.0.1:7104] }] }
identify:
  credentials:
    { shapes: [{ prefix: dbtc_, min: 40, max: 128 }], keys: [{ id: k1, file: fingerprint.key }], table: credentials.csv }
accounts: { file: accounts.csv }
environments: { file: environments.csv }
clients: { file: clients.yaml }
"#;

static BOOT: LazyLock<Boot> = LazyLock::new(|| {
    let sources = with("boot.yaml", GOOD[0].1, Vec::new());
    config::parse_boot(&sources).expect("the good one can be read")
});

/// Bytes as one file of a configuration, the others being good: the file that a comment at the beginning
/// names, else what is routed by. Whatever they are, there is a configuration or there are problems; every
/// problem is one harmless line; and what could be read can be compiled, and is equal to itself. Returns
/// whether there is a configuration.
pub fn config(data: &[u8]) -> bool {
    let comment = data.strip_prefix(b"# ").unwrap_or_default();
    let named = GOOD.iter().find(|(name, _)| comment.starts_with(name.as_bytes()));
    match named.map_or("routing.yaml", |(name, _)| name) {
        "routing.yaml" => read_configuration(&with("routing.yaml", data, data.to_vec()), &BOOT),
        "boot.yaml" => match config::parse_boot(&with("boot.yaml", data, Vec::new())) {
            Ok(boot) => read_configuration(&with("boot.yaml", data, GOOD[1].1.to_vec()), &boot),
            Err(problems) => {
                harmless(&problems);
                false
            }
        },
        table => {
            // Those that come as YAML are named so.
            let routing = SMALL.replace(&table.replace(".yaml", ".csv"), table);
            read_configuration(&with(table, data, routing.into_bytes()), &BOOT)
        }
    }
}

/// These files, and of the others the good ones.
fn with(changed: &str, data: &[u8], routing: Vec<u8>) -> Sources {
    let text = |name: &str| match GOOD.iter().find(|(good, _)| *good == name) {
        _ if name == changed => data.to_vec(),
        Some((_, text)) => text.to_vec(),
        None => KEY.to_vec(),
    };
    let files = config::referenced_files(&routing);
    let files = files.into_iter().map(|named| (named.path.clone(), Ok(text(&named.path)))).collect();
    Sources {
        folder: PathBuf::new(),
        boot_file: None,
        boot: Ok(text("boot.yaml")),
        routing: Ok(routing),
        files,
    }
}

fn read_configuration(sources: &Sources, boot: &Boot) -> bool {
    let first = match config::parse(sources, Some(boot), NOW) {
        Ok(first) => first,
        Err(problems) => {
            harmless(&problems);
            return false;
        }
    };
    let second = config::parse_for_deciding(sources, NOW).expect("what can serve can explain");
    assert_eq!(first.hash, second.hash);
    assert!(config::diff(&first, &second).is_empty());
    let snapshot = config::compile(first, None);
    let again = config::compile(second, Some(&snapshot));
    for (cell, same) in snapshot.cells.iter().zip(&again.cells) {
        assert!(Arc::ptr_eq(&cell.load, &same.load), "{}", cell.name);
    }
    for row in snapshot.accounts.iter() {
        snapshot.cell(row.cell);
    }
    true
}

/// Each problem is a line for people.
pub fn harmless(problems: &[Problem]) {
    assert!(!problems.is_empty(), "what cannot be read is reported");
    for problem in problems {
        let line = problem.to_string();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.len() <= LONGEST_PROBLEM, "{line:?}");
    }
}
