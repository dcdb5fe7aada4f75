//! The configuration from outside: text in, values or problems out. The example in `config/` is parsed
//! here, with certificates made on the spot, and mistakes are made in it one by one.
#![allow(clippy::unwrap_used)]

#[path = "../support/bad_files.rs"]
mod bad_files;
#[path = "../support/broken.rs"]
mod breaking;
mod broken;
mod brownouts;
mod codes;
mod example;
mod files;
mod guards;
mod hostile;
mod large;
mod limits;
mod loading;
mod mistakes;
mod move_guards;
mod moves;
mod moves_alone;
mod moving;
#[path = "../support/ocsp.rs"]
mod ocsp;
mod plans;
mod protection;
mod reference;
mod reloads;
mod rollback;
mod schema;
mod status;
mod steps;
mod trust;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use cellgate::config::{Problem, Sources};
use devcerts::{Authority, Pair, Usage};

/// 2026-11-20T00:00:00Z: certificates of the test authority hold, the legacy address is past its sunset.
const NOW: i64 = 1_795_132_800;

/// The folder of the example configuration.
fn example_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config"))
}

/// The authority of all certificates here, made once: a key takes a moment.
fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::new("configuration tests").unwrap())
}

/// The names that `devcerts` gives to the certificates of the example.
fn certificates() -> &'static BTreeMap<&'static str, Pair> {
    static PAIRS: OnceLock<BTreeMap<&str, Pair>> = OnceLock::new();
    PAIRS.get_or_init(|| {
        let server = |names: &[&str]| authority().issue(names, Usage::Server).unwrap();
        let legacy = [
            "cloud.getdbt.com",
            "metadata.cloud.getdbt.com",
            "semantic-layer.cloud.getdbt.com",
            "*.cloud.getdbt.com",
            "*.metadata.cloud.getdbt.com",
        ];
        let us1 = ["us1.dbt.com", "*.us1.dbt.com", "*.metadata.us1.dbt.com", "*.semantic-layer.us1.dbt.com"];
        BTreeMap::from([("legacy", server(&legacy)), ("us1", server(&us1))])
    })
}

/// The example configuration with certificates in place of those that `make run` makes.
fn example() -> Sources {
    let mut sources = cellgate::load::load(example_folder());
    for (name, pair) in certificates() {
        sources.files.insert(format!("../certs/dev/{name}.pem").into(), Ok(pair.cert_pem.clone().into()));
        sources.files.insert(format!("../certs/dev/{name}.key").into(), Ok(pair.key_pem.clone().into()));
    }
    sources
}

/// Replaces a piece of a file, which must be there exactly once.
#[allow(dead_code)]
/// What is told of cell-3 going back from port 7999, where nobody listens.
const FROM_DEAD_PORT: &str =
    "cells changed: cell-3; cells[cell-3].groups[local].endpoints: [127.0.0.1:7999] -> [127.0.0.1:7103]";

fn replace(text: &mut cellgate::config::FileText, from: &str, to: &str) {
    let before = String::from_utf8(text.clone().unwrap()).unwrap();
    assert_eq!(before.matches(from).count(), 1, "{from:?} must stand there once");
    *text = Ok(before.replacen(from, to, 1).into_bytes());
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}
