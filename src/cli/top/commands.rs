//! The exact command for what is selected. No key of `top` pulls a lever: whoever does has read it, says why, and is in
//! the audit trail.

use super::super::admin_socket::Door;
use super::document::Word;
use super::fleet::{Fleet, Replica};

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Cell(String),
    Group { cell: String, zone: String },
    Endpoint { cell: String, address: String },
    Lever { replica: Box<str>, id: u64 },
    Brownout(String),
    Reload,
}

/// A command, and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub what: String,
    pub words: String,
}

/// Fewer requests in flight are those of this instant: as many again may come in the next, and a cap would refuse them.
const LEAST_IN_FLIGHT: u64 = 10;

/// Where the socket of a process is by default.
const USUAL_SOCKET: &str = "state/admin.sock";

/// All that can be said about it, the mildest first. Those that pull a lever end where the reason begins: pasted as they are they
/// do nothing.
pub fn commands(target: &Target, fleet: &Fleet) -> Vec<Command> {
    match target {
        Target::Cell(name) => of_cell(name, fleet),
        Target::Group { cell, zone } => {
            let (cell, zone) = (shell(cell), shell(zone));
            pulled(
                fleet,
                &[
                    ("send nothing new to this group", format!("drain group {cell} {zone}")),
                    ("send nothing new to this zone, of all cells", format!("drain zone {zone}")),
                    ("and ask what is open there to leave", format!("evacuate zone {zone}")),
                ],
            )
        }
        Target::Endpoint { cell, address } => {
            let mut all = pulled(
                fleet,
                &[("send nothing new to this endpoint", format!("drain endpoint {}", shell(address)))],
            );
            all.extend(of_cell(cell, fleet));
            all
        }
        Target::Lever { replica, id } => {
            let of = fleet.replicas.iter().filter(|one| one.name == *replica);
            let release = |one: &Replica| Command {
                what: place("end this lever before its time", one, fleet),
                words: format!("cellgate release {id}{}", socket(&one.door)),
            };
            of.map(release).collect()
        }
        Target::Brownout(id) => {
            pulled(fleet, &[("end this brownout before its time", format!("brownout cancel {}", shell(id)))])
        }
        Target::Reload => {
            let asked = |one: &Replica| {
                let config = match &one.door {
                    Door::Unix(path) => {
                        let path = shell(&path.display().to_string());
                        format!("curl -s --unix-socket {path} http://localhost/config")
                    }
                    Door::Http(address) => format!("curl -s http://{address}/config"),
                    Door::Remote(remote) => {
                        format!(
                            "curl -s -H \"Authorization: Bearer $TOKEN\" https://{}/config",
                            remote.place()
                        )
                    }
                };
                Command {
                    what: place("every problem and objection of the last one", one, fleet),
                    words: config,
                }
            };
            let mut all: Vec<Command> = fleet.replicas.iter().map(asked).collect();
            all.push(Command {
                what: "who put what in force, and why".into(),
                words: "cellgate history".into(),
            });
            all
        }
    }
}

fn of_cell(name: &str, fleet: &Fleet) -> Vec<Command> {
    let cells = || {
        let all = fleet.shown().flat_map(|(_, document)| &document.cells);
        all.filter(|cell| *cell.name == *name)
    };
    let standing = || cells().filter_map(|cell| cell.standing.as_ref());
    let most = standing().map(|standing| standing.in_flight).max().unwrap_or(0);
    let name = shell(name);
    let mut all = vec![
        ("refuse a half of its requests at once", format!("shed 50% cell {name}")),
        ("let new requests wait some seconds", format!("hold cell {name}")),
        ("send nothing new to it", format!("drain cell {name}")),
    ];
    if most >= LEAST_IN_FLIGHT {
        all.insert(1, ("let it take no more than it has now", format!("cap cell {name} in_flight {most}")));
    }
    if let Some(rate) = standing().filter_map(|standing| standing.admitted_rps).max_by(f64::total_cmp) {
        all.insert(
            0,
            ("leave its ramp where it is", format!("ramp set cell {name} rps {:.0}", rate.max(1.0))),
        );
    }
    pulled(fleet, &all)
}

/// Each of them for each replica whose socket is known: levers are pulled in one process.
fn pulled(fleet: &Fleet, all: &[(&str, String)]) -> Vec<Command> {
    let at = |what: &str, words: &str, one: &Replica| Command {
        what: place(what, one, fleet),
        words: format!("cellgate {words}{} --reason ", socket(&one.door)),
    };
    let each =
        all.iter().flat_map(|(what, words)| fleet.replicas.iter().map(move |one| at(what, words, one)));
    each.collect()
}

fn place(what: &str, replica: &Replica, fleet: &Fleet) -> String {
    match (&replica.door, fleet.is_many()) {
        (Door::Http(_), _) => {
            format!("{what} (on the host of {}: not over this door)", Word::from(&*replica.name))
        }
        (Door::Unix(_) | Door::Remote(_), true) => format!("{what} ({})", Word::from(&*replica.name)),
        (Door::Unix(_) | Door::Remote(_), false) => what.to_owned(),
    }
}

fn socket(door: &Door) -> String {
    match door {
        Door::Unix(path) if path.as_os_str() != USUAL_SOCKET => {
            format!(" --socket {}", shell(&path.display().to_string()))
        }
        Door::Remote(remote) => format!(" --admin https://{} --admin-token FILE", shell(remote.place())),
        Door::Unix(_) | Door::Http(_) => String::new(),
    }
}

/// A word that a shell takes as it is, whoever made it up.
fn shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) && !word.starts_with('-') {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cli::top::sample;
    use crate::policy::protection::levers::Lever;

    fn words(target: &Target, fleet: &Fleet) -> Vec<String> {
        commands(target, fleet).into_iter().map(|command| command.words).collect()
    }

    /// Without the name of the program and what all levers are told.
    fn lever_of(command: &str) -> Option<String> {
        let words = command.strip_prefix("cellgate ")?.strip_suffix(" --reason ")?;
        let words = words.split(" --socket ").next()?;
        Some(words.to_owned())
    }

    #[test]
    fn every_lever_that_is_offered_is_one() {
        let fleet = sample::fleet(sample::bad_day());
        let (cell, zone) = ("us1".to_owned(), "us-east-1a".to_owned());
        let targets = [
            Target::Cell("us2".into()),
            Target::Group { cell: cell.clone(), zone },
            Target::Endpoint { cell, address: "10.0.0.1:443".into() },
        ];
        let offered: Vec<String> = targets.iter().flat_map(|target| words(target, &fleet)).collect();
        assert_eq!(offered.len(), 5 + 3 + 5);
        for command in offered {
            let lever = lever_of(&command).unwrap();
            assert!(Lever::parse(&lever).is_ok(), "{command}: {lever}: {:?}", Lever::parse(&lever));
        }
        assert_eq!(
            words(&Target::Lever { replica: "state/admin.sock".into(), id: 7 }, &fleet),
            ["cellgate release 7"]
        );
    }

    #[test]
    fn a_cap_at_what_is_in_flight_is_offered_where_that_says_anything() {
        let mut document = sample::good_day();
        for (in_flight, is_offered) in [(0, false), (9, false), (10, true), (200, true)] {
            let cell = document.cells.iter_mut().find(|cell| &*cell.name == "us1").unwrap();
            cell.standing.as_mut().unwrap().in_flight = in_flight;
            let offered = words(&Target::Cell("us1".into()), &sample::fleet(document.clone()));
            let cap = format!("cellgate cap cell us1 in_flight {in_flight} --reason ");
            assert_eq!(offered.contains(&cap), is_offered, "{offered:?}");
            assert_eq!(offered.iter().any(|words| words.contains(" cap ")), is_offered, "{offered:?}");
        }
    }

    #[test]
    fn a_command_names_the_socket_and_nothing_of_the_wire_is_more_than_a_word() {
        let mut fleet = sample::fleet(sample::good_day());
        fleet.replicas[0].door = Door::Unix("/run/cell gate/a.sock".into());
        let target = Target::Endpoint { cell: "us1".into(), address: "x; rm -rf 'y'".into() };
        assert_eq!(
            words(&target, &fleet)[0],
            r"cellgate drain endpoint 'x; rm -rf '\''y'\''' --socket '/run/cell gate/a.sock' --reason "
        );
        fleet.replicas[0].door = Door::Http("127.0.0.1:9900".parse().unwrap());
        let told = commands(&Target::Brownout("b1".into()), &fleet);
        assert_eq!(told[0].words, "cellgate brownout cancel b1 --reason ");
        assert!(told[0].what.contains("on the host of"), "{}", told[0].what);
    }
}
