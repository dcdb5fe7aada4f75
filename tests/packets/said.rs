//! What cellgate says on its admin socket of who is sick, and of whom it asks no more.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use serde_json::Value;

use crate::raw_http;
use crate::world::World;

/// A verdict, as `/cells` has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    /// `zone`, `path`, `endpoint` and others.
    pub kind: String,
    /// The same with whose it is: "zone z1".
    pub text: String,
}

/// One look.
#[derive(Debug, Default)]
pub struct Look {
    /// Each verdict that stands, with its evidence.
    pub verdicts: Vec<(Said, String)>,
    /// Endpoints that are out, or are asked to find out whether they still must be: zone and address.
    pub out: BTreeSet<(String, String)>,
}

/// Asks.
pub fn look(world: &World) -> Look {
    let mut door = raw_http::unix(&world.folder.path("state/admin.sock"));
    let reply = raw_http::ask(&mut door, b"GET /cells HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let told = reply.json();
    let verdicts = each(&told["verdicts"]).map(|verdict| {
        let said = Said { kind: text(&verdict["kind"]), text: text(&verdict["verdict"]) };
        (said, text(&verdict["evidence"]))
    });
    let mut out = BTreeSet::new();
    for group in told["cells"].as_array().unwrap().iter().flat_map(|cell| each(&cell["standing"]["groups"])) {
        for endpoint in each(&group["endpoints"]).filter(|endpoint| endpoint["state"] != "up") {
            out.insert((text(&group["zone"]), text(&endpoint["address"])));
        }
    }
    Look { verdicts: verdicts.collect(), out }
}

impl Look {
    /// Whether a verdict stands under which nobody in this zone may be ejected.
    pub fn freezes(&self, zone: &str) -> bool {
        let is_zone = |said: &Said| said.kind == "zone" && said.text == format!("zone {zone}");
        self.verdicts.iter().any(|(said, _)| said.kind == "path" || is_zone(said))
    }

    /// Whether this endpoint is out.
    pub fn is_out(&self, address: SocketAddr) -> bool {
        self.out.iter().any(|(_, out)| *out == address.to_string())
    }

    /// Whether such a verdict stands.
    pub fn says(&self, is: impl Fn(&Said) -> bool) -> bool {
        self.verdicts.iter().any(|(said, _)| is(said))
    }
}

impl Said {
    /// Whether it is about this endpoint alone.
    pub fn is_of_endpoint(&self, address: SocketAddr) -> bool {
        self.kind == "endpoint" && self.text.starts_with(&format!("endpoint {address} of cell "))
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The kind says what is wrong with a cell, and why it cannot be told.
        write!(f, "{} ({})", self.text, self.kind)
    }
}

/// Before the first look of whoever judges there is nothing.
fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
