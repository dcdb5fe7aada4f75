//! The glass broken while changes come in steps: what has served is restored at once, nothing new gets past its trial,
//! and whoever keeps what serves ends the trial.

use super::{LONG, config, outcomes, push_another_place, reload, stage, world};
use crate::raw_http::{self, RawReply};
use crate::running::Edge;

fn break_glass(edge: &Edge, aim: &str) -> RawReply {
    let body = format!(r#"{{"aim":"{aim}","reason":"us1 is on fire","by":"ann","seconds":600}}"#);
    let reply = raw_http::admin_with(&edge.socket(), "POST", "/break-glass", &body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
}

#[test]
fn what_has_served_is_restored_at_once_and_nothing_new_gets_past_its_trial() {
    let world = world(LONG);
    let edge = &world.edge;
    let first = (config(edge)["hash"].clone(), edge.folder.read("config/cellgate.yaml"));
    push_another_place(&world);
    let hash = stage(edge);
    let reply = break_glass(edge, "restore");
    assert_eq!(reply.json()["outcome"], "staged", "{}", reply.text());
    let now = config(edge);
    assert_eq!((&now["hash"], &now["candidate"]["hash"]), (&first.0, &hash.as_str().into()), "{now}");

    let reply = reload(edge, r#"{"at_once": true}"#);
    assert_eq!(reply.json()["outcome"], "applied", "{}", reply.text());
    edge.folder.write("config/cellgate.yaml", &first.1);
    let reply = reload(edge, "");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let now = config(edge);
    assert_eq!((&now["hash"], now["candidate"].is_null()), (&first.0, true), "{now}");

    // Without the override, what has served goes its way like anything else; and whoever keeps what serves ends that.
    let reply = raw_http::admin_with(&edge.socket(), "DELETE", "/break-glass", r#"{"by":"ann"}"#);
    assert_eq!(reply.status, 200, "{}", reply.text());
    push_another_place(&world);
    assert_eq!(stage(edge), hash);
    assert_eq!(break_glass(edge, "keep").json()["outcome"], "refused");
    let now = config(edge);
    assert_eq!((&now["hash"], now["candidate"].is_null()), (&first.0, true), "{now}");
    assert!(outcomes(edge).ends_with(&["withdrawn".into(), "refused".into()]), "{:?}", outcomes(edge));
}
