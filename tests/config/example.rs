//! The example configuration in `config/` is right, and says what the request shapes need.

use cellgate::config::{Boot, compile, parse_all};
use cellgate::policy::hosts::Role;
use cellgate::policy::ids::{AccountId, EntityId};
use cellgate::policy::snapshot::Snapshot;

use super::{NOW, example, example_folder, lines};

fn snapshot() -> (Boot, Snapshot) {
    let (boot, config) = parse_all(&example(), NOW).map_err(|problems| lines(&problems)).unwrap();
    (boot, compile(config, None))
}

#[test]
fn the_example_is_read_without_a_problem() {
    let (boot, snapshot) = snapshot();
    assert_eq!(boot.listeners.len(), 3);
    assert_eq!(boot.admin.loopback.unwrap().to_string(), "127.0.0.1:9900");
    assert_eq!(boot.admin.unix, example_folder().join("../state/admin.sock"));
    assert_eq!(snapshot.cells.len(), 4);
    assert_eq!(snapshot.generation.0, 1);
    assert_eq!(snapshot.hash.len(), 64);
    assert_eq!(snapshot.certificates.iter().count(), 2);
    assert_eq!(snapshot.identify.credentials.table.len(), 3);
    assert!(snapshot.identify.id_ranges.iter().all(|range| range.enabled));
}

#[test]
fn every_file_in_the_folder_is_read() {
    let sources = example();
    let mut seen = 0;
    let mut folders = vec![example_folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(example_folder()).unwrap().to_str().unwrap();
            let read = matches!(name, "boot.yaml" | "cellgate.yaml" | "keys/README.md")
                || sources.files.contains_key(name);
            assert!(read, "{name} is in config/ and nothing reads it");
            seen += 1;
        }
    }
    assert!(seen >= 7, "found only {seen} files");
}

#[test]
fn the_example_holds_what_the_request_shapes_name() {
    let (_, snapshot) = snapshot();
    let account = |id: &str| snapshot.accounts.by_id(AccountId::parse(id.as_bytes()).unwrap());
    let cell = |id: &str| account(id).map(|account| snapshot.cell(account.cell).name.to_string());
    let check = |id: &str, expect: Option<&str>| assert_eq!(cell(id).as_deref(), expect, "account {id}");
    check("12345", Some("cell-2"));
    check("26228", Some("cell-3"));
    check("70403103966603", Some("cell-1"));
    check("70437463654557", Some("cell-2"));
    check("70471823417825", Some("cell-3"));
    check("1001", Some("shared"));
    check("999999999", None);
    assert_eq!(snapshot.accounts.by_prefix("ab123").unwrap().id.value(), 70_403_103_966_603);
    for (environment, expect) in
        [("70403103966025", 70_403_103_966_603), ("70403103966026", 70_403_103_966_603), ("88991", 12_345)]
    {
        let id = EntityId::parse(environment.as_bytes()).unwrap();
        assert_eq!(snapshot.environments.find(id).unwrap().value(), expect, "environment {environment}");
    }
}

#[test]
fn the_hosts_of_the_example_have_their_roles() {
    let (_, snapshot) = snapshot();
    let check = |host: &str, expect: Option<(Role, &str, Option<&str>)>| {
        let found = snapshot
            .hosts
            .find(host)
            .map(|found| (found.rule.role, snapshot.surface(found.surface).name.as_str(), found.prefix));
        assert_eq!(found, expect, "{host}");
    };
    check("cloud.getdbt.com", Some((Role::Legacy, "app", None)));
    check("metadata.cloud.getdbt.com", Some((Role::Legacy, "metadata", None)));
    check("semantic-layer.cloud.getdbt.com", Some((Role::Legacy, "semantic-layer", None)));
    check("ab123.cloud.getdbt.com", Some((Role::Legacy, "app", Some("ab123"))));
    check("ab123.metadata.cloud.getdbt.com", Some((Role::Legacy, "metadata", Some("ab123"))));
    check("ab123.us1.dbt.com", Some((Role::Cell, "app", Some("ab123"))));
    check("ab123.metadata.us1.dbt.com", Some((Role::Cell, "metadata", Some("ab123"))));
    check("metadata.ab123.us1.dbt.com", Some((Role::Cell, "metadata", Some("ab123"))));
    check("ab123.semantic-layer.us1.dbt.com", Some((Role::Cell, "semantic-layer", Some("ab123"))));
    check("us1.dbt.com", None);
    check("example.com", None);
}

#[test]
fn fingerprints_are_the_first_half_of_the_hmac() {
    let (_, snapshot) = snapshot();
    let rules = &snapshot.identify.credentials;
    let token = format!("dbtc_{}", "FAKE1".repeat(10));
    let tag = aws_lc_rs::hmac::sign(&rules.keys[0].key, token.as_bytes());
    let fingerprint = cellgate::policy::credential::Fingerprint(tag.as_ref()[..16].try_into().unwrap());
    assert_eq!(rules.table.find(fingerprint).unwrap().value(), 12_345);
}

#[test]
fn templates_are_tried_from_the_most_specific_on() {
    let (_, snapshot) = snapshot();
    let paths: Vec<usize> = snapshot.identify.paths.iter().map(|path| path.segments.len()).collect();
    let position = |segments: usize| paths.iter().position(|len| *len == segments).unwrap();
    assert!(
        position(4) < position(3),
        "/api/v2/accounts/{{account}} stands before /api/v2/accounts: {paths:?}"
    );
}
