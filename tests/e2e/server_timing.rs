//! `Server-Timing`: who is told where the time went, and who is not.

use loadtest::cell::Behaviour;
use loadtest::client::{Ask, Http};

use crate::world::World;

const OWN: &str = "ab123.us1.dbt.com";

fn told(world: &World, http: Http, ask: Ask) -> Vec<String> {
    let reply = world.block_on(world.edge.plain(http).ask(&ask)).unwrap();
    let values = reply.headers.get_all("server-timing").iter();
    values.map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// The names of the entries; each has a duration that is a number.
fn names(value: &str) -> Vec<&str> {
    let entries = value.split(", ").map(|entry| {
        let mut parts = entry.split(';');
        let (name, duration) = (parts.next().unwrap(), parts.next().unwrap());
        let duration = duration.strip_prefix("dur=").unwrap();
        assert!(duration.parse::<f64>().unwrap() >= 0.0, "{value}");
        name
    });
    entries.collect()
}

#[test]
fn who_is_on_the_list_is_told_where_the_time_went_and_nobody_else() {
    let world = World::prepared(|folder| {
        let more =
            "server_timing: { networks: [127.0.0.0/8], cell_name: true }\ntrusted_proxies: [127.0.0.0/8]";
        folder.append("config/cellgate.yaml", more);
    });
    for http in [Http::H1, Http::H2] {
        let all = told(&world, http, Ask::get(OWN, "/").sim("set=Server-Timing:db"));
        assert_eq!((all.len(), &*all[0]), (2, "db"), "the cell's own stays, first: {all:?}");
        assert_eq!(names(&all[1]), ["gate", "connect", "cell", "total"]);
        assert!(all[1].contains(";desc=\"cell-1\", total"), "{all:?}");
        // A cache between would tell it to others.
        let cached = told(&world, http, Ask::get(OWN, "/").sim("set=Cache-Control:public"));
        assert!(cached.is_empty(), "{cached:?}");
        let stranger = Ask::get(OWN, "/").header("X-Forwarded-For", "198.51.100.9");
        assert!(told(&world, http, stranger).is_empty());
        let [refused] = &told(&world, http, Ask::get("nobody.example", "/"))[..] else { unreachable!("one") };
        assert_eq!(names(refused), ["gate", "total"]);
    }
    world.block_on(world.cell("cell-1").behave(Behaviour::Killed)).unwrap();
    let [failed] = &told(&world, Http::H1, Ask::get(OWN, "/"))[..] else { unreachable!("one") };
    assert!(!failed.contains("cell-1") && names(failed).first() == Some(&"gate"), "{failed}");
}

#[test]
fn nobody_is_told_where_nobody_is_named() {
    let world = World::example();
    assert!(told(&world, Http::H1, Ask::get(OWN, "/")).is_empty());
    let theirs = told(&world, Http::H1, Ask::get(OWN, "/").sim("set=Server-Timing:db"));
    assert_eq!(theirs, ["db"]);
}
