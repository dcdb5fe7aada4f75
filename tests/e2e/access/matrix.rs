//! The table, and the doors that are made from it.

use cellgate::policy::access::routes::{OnLoopback, ROUTES, Route};
use cellgate::policy::access::{Door, Role};

use super::{Keys, Site, on_loopback, over_tls, request};
use crate::raw_http::{self, RawReply};
use crate::running::Edge;

/// A call that nobody who may is kept from, and that changes nothing: what it says makes no sense.
fn call(route: &Route, token: Option<&str>) -> String {
    let path = route.path.replace("{id}", "x");
    let body = match (route.changes(), route.with) {
        (false, _) => String::new(),
        (true, None) => "{".to_owned(),
        // Of another generation than any.
        (true, Some(with)) => format!("{{\"{with}\": true}}"),
    };
    let call = request(route.method, &path, token, &body);
    call.replacen("Host: localhost\r\n", "Host: localhost\r\nIf-Match: 4711\r\n", 1)
}

fn ask(keys: &Keys, edge: &Edge, door: Door, call: &str) -> RawReply {
    match door {
        Door::Loopback => on_loopback(edge.admin(), call),
        Door::Socket => raw_http::ask(&mut raw_http::unix(&edge.socket()), call.as_bytes()).unwrap(),
        Door::Tls => over_tls(edge.running().admin_tls.unwrap(), keys, call),
    }
}

#[test]
fn every_route_is_had_by_the_roles_of_its_row_at_every_door_and_by_nobody_else() {
    let Site { folder, keys, .. } = Site::new();
    let edge = Edge::start(folder);
    let mut denied = 0;
    // Nobody takes upgrades here, and a call for one would wait.
    // Streams of events have no end, and tests of their own.
    let asked = ROUTES.iter().filter(|route| route.path != "/upgrade" && !route.path.ends_with("/events"));
    for route in asked {
        for door in Door::ALL {
            for role in [None, Some(Role::Read), Some(Role::Operate), Some(Role::Approve)] {
                let reply = ask(&keys, &edge, door, &call(route, role.map(|role| keys.token(role))));
                let free = route.needs.is_none()
                    || door == Door::Loopback && route.on_loopback == OnLoopback::Everybody;
                // Without a token, the socket knows the user.
                let has = if door == Door::Socket { role.or(Some(Role::Approve)) } else { role };
                let told = (route.told(), door, role, reply.status, reply.text());
                match has {
                    _ if free => assert!(![401, 403, 404].contains(&reply.status), "{told:?}"),
                    None => {
                        denied += 1;
                        assert_eq!(
                            (reply.status, &reply.json()["error"]),
                            (401, &"no_token".into()),
                            "{told:?}"
                        );
                        assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"cellgate\""));
                    }
                    Some(role) if Some(role) < route.needs => {
                        denied += 1;
                        let error = &reply.json()["error"];
                        assert_eq!((reply.status, error), (403, &"role_missing".into()), "{told:?}");
                        assert!(
                            reply.json()["what"].as_str().unwrap().contains("needs the role"),
                            "{told:?}"
                        );
                    }
                    Some(_) => {
                        let error = reply.json()["error"].clone();
                        let answered = ["nothing_learned", "unmapped_account"].iter().any(|of| error == *of);
                        let is_there = reply.status != 404 || answered;
                        assert!(![401, 403, 405].contains(&reply.status) && is_there, "{told:?}");
                    }
                }
            }
        }
    }
    assert!(denied > 60, "{denied}");
    assert_eq!(edge.generation(), 1, "nothing has changed");
}

#[test]
fn whoami_says_what_the_table_says() {
    let Site { folder, keys, .. } = Site::new();
    let edge = Edge::start(folder);
    let who = |door, token: Option<&str>| {
        let reply = ask(&keys, &edge, door, &request("GET", "/whoami", token, ""));
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    };
    let olaf = who(Door::Tls, Some(keys.token(Role::Operate)));
    assert_eq!(
        (&olaf["name"], &olaf["role"], &olaf["door"]),
        (&"token:olaf".into(), &"operate".into(), &"tls".into())
    );
    let may = |said: &serde_json::Value, what: &str| said["may"].as_array().unwrap().contains(&what.into());
    assert!(may(&olaf, "POST /levers") && may(&olaf, "POST /reload") && !may(&olaf, "POST /break-glass"));
    assert!(!may(&olaf, "POST /reload at_once") && !may(&olaf, "POST /reload again"));
    let nobody = who(Door::Tls, None);
    assert_eq!(
        nobody,
        serde_json::json!({"name": null, "role": null, "may": ["GET /whoami", "GET /console"], "door": "tls"})
    );
    let local = who(Door::Loopback, None);
    assert!(local["role"].is_null() && may(&local, "GET /cells") && !may(&local, "GET /accounts/{id}"));
    let socket = who(Door::Socket, None);
    assert_eq!((&socket["name"], &socket["role"]), (&super::unix_user().into(), &"approve".into()));
    let less = who(Door::Socket, Some(keys.token(Role::Read)));
    assert_eq!(less["name"], "token:rita", "who shows a token is its holder, at any door");
    assert!(!may(&less, "POST /levers"));
}

#[test]
fn without_loopback_operate_a_token_looks_and_changes_nothing_there() {
    let site = Site::new();
    site.folder.edit("config/boot.yaml", "  loopback_operate: true\n", "");
    let Site { folder, keys, .. } = site;
    let edge = Edge::start(folder);
    let ask = |method, path, token| on_loopback(edge.admin(), &request(method, path, token, "{}"));
    let anna = Some(keys.token(Role::Approve));
    for (method, path) in
        [("POST", "/reload"), ("POST", "/levers"), ("DELETE", "/levers/1"), ("POST", "/upgrade")]
    {
        let reply = ask(method, path, anna);
        assert_eq!((reply.status, &reply.json()["error"]), (404, &"read_only".into()), "{method} {path}");
    }
    assert_eq!(ask("GET", "/accounts/12345", anna).status, 200);
    assert_eq!(ask("GET", "/accounts/12345", None).status, 401);
    assert_eq!(ask("GET", "/cells", None).status, 200);
}
