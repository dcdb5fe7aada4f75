//! What is written is a configuration, whatever it is made of.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::config;
use crate::import::list;

/// A day on which this was written: 2026-11-23.
const NOW: i64 = 1_795_392_000;

fn starting(cells: &[&str], accounts: &str) -> Starting {
    let cells: Vec<NewCell> = cells.iter().map(|cell| cell.parse().unwrap()).collect();
    let names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
    let listed = list::read("accounts", accounts, &names).unwrap();
    Starting {
        accounts: placed("accounts", listed, &cells).unwrap(),
        shared: cells.last().map(|cell| cell.name.clone()),
        cells,
        legacy_hosts: vec!["cloud.example.com".to_owned()],
        paths: vec!["/api/v2/accounts/{account}".parse().unwrap()],
        now: NOW,
    }
}

fn checked(starting: &Starting) -> (config::Boot, config::Config) {
    config::parse_all(&sources(Path::new("config"), &starting.files()), NOW).unwrap()
}

#[test]
fn a_start_guards_and_says_why() {
    let starting = starting(
        &["cell-1=us1.example.com,10.0.0.1:80,[::1]:81", "old=us1.example.com,cell:82"],
        "1,a,cell-1\n2,,old",
    );
    let (boot, config) = checked(&starting);
    assert_eq!(boot.guards.removal, config::guard::Mode::Enforce);
    assert_eq!(boot.guards.accounts_removed.mode, config::guard::Mode::Enforce);
    assert!(
        boot.listeners.iter().all(|listener| listener.address.ip().is_loopback()),
        "nobody else can reach a first try"
    );
    let snapshot = config::compile(config, None);
    assert!(snapshot.cells[1].shared && !snapshot.cells[0].shared);
    assert_eq!((snapshot.cells.len(), snapshot.accounts.len()), (2, 2));
    let routing = &starting.files()[ROUTING_FILE];
    assert!(routing.contains("sunset_at: 2027-11-23T00:00:00Z"), "{routing}");
    assert!(routing.contains("CHANGE THIS") && routing.contains("certificates:"), "{routing}");
}

#[test]
fn cells_are_read_in_the_forms_that_people_have() {
    let read = |text: &str| cells("cells", text);
    let one =
        read("name,domain,addresses\n# ours\ncell-1, us1.example.com, 10.0.0.1:80 10.0.0.2:80\n").unwrap();
    assert_eq!(one, ["cell-1=us1.example.com,10.0.0.1:80,10.0.0.2:80".parse().unwrap()]);
    assert_eq!(read("cell-1\nx,y,z{\nok,d.e,f:1\n").unwrap_err().len(), 2);
    for wrong in ["", "a", "a=b", "a=b,", "=b,c:1", "a=b, \"c:1", "a=b,{c:1", "a: b=c,d:1"] {
        assert!(wrong.parse::<NewCell>().is_err(), "{wrong:?}");
    }
}

#[test]
fn an_account_needs_a_cell_unless_there_is_only_one() {
    let cells: Vec<NewCell> = ["a=x.y,z:1", "b=x.y,z:2"].map(|cell| cell.parse().unwrap()).into();
    let listed = || list::read("list", "1,\n2,acme\n", &[]).unwrap();
    assert_eq!(placed("list", listed(), &cells[..1]).unwrap().len(), 2);
    let problems = placed("list", listed(), &cells).unwrap_err();
    assert_eq!(problems[1], "list:2: account 2 has no cell; write it in the last column");
    let listed = list::read("list", "id,cell\n1,c\n", &[]).unwrap();
    assert!(
        placed("list", listed, &cells).unwrap_err()[0].contains("there is no cell \"c\"; the cells are a, b")
    );
}

proptest! {
    #[test]
    fn whatever_it_is_made_of_it_is_a_good_configuration(
        cells in prop::collection::btree_map("[a-z][a-z0-9]{0,9}", ("[a-z]{1,8}\\.[a-z]{2,5}", 1_u16..60_000, 1_usize..4), 1..20),
        accounts in prop::collection::btree_map(1_u64..1_000_000_000, (any::<prop::sample::Index>(), any::<bool>()), 1..60),
        hosts in prop::collection::btree_set("old[a-z]{1,8}\\.example\\.com", 0..4),
        shared in any::<prop::sample::Index>(),
    ) {
        let names: Vec<&String> = cells.keys().collect();
        let new = |(name, (domain, port, count)): (&String, &(String, u16, usize))| {
            let endpoints = (0..*count).map(|n| format!("10.0.0.{n}:{port}"));
            NewCell { name: name.clone(), domain: domain.clone(), endpoints: endpoints.collect() }
        };
        let rows: String = accounts
            .iter()
            .map(|(id, (cell, has_prefix))| {
                let prefix = if *has_prefix { format!("p{id}") } else { String::new() };
                format!("{id},{prefix},{}\n", names[cell.index(names.len())])
            })
            .collect();
        let cells: Vec<NewCell> = cells.iter().map(new).collect();
        let listed = list::read("list", &format!("id,prefix,cell\n{rows}"), &[]).unwrap();
        let starting = Starting {
            shared: Some(names[shared.index(names.len())].clone()),
            accounts: placed("list", listed, &cells).unwrap(),
            cells,
            legacy_hosts: hosts.into_iter().collect(),
            paths: vec!["/api/v2/accounts/{account}".parse().unwrap()],
            now: NOW,
        };
        let (_, config) = checked(&starting);
        prop_assert_eq!(config::compile(config, None).accounts.len(), accounts.len());
    }
}
