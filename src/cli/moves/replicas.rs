//! The replicas that a move is carried on with: who they are, and what they say. They are declared on the command line or
//! in a file that it names, because `boot.yaml` is a replica's own and no replica knows another.
//!
//! Both admin doors are local to their host. A replica elsewhere is asked through a tunnel (docs/moves.md).

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::admin_socket::{self, Bounds, Door};
use super::Stop;
use crate::config::Problem;
use crate::config::advance::{Replica, Reported, same_process};
use crate::config::headroom::{Counted, counted, rates};
use crate::load;
use crate::policy::code::Code;

/// An admin plane answers within milliseconds, a tunnel within a round trip. The largest answer has tens of thousands of
/// moves at 200 bytes, or of metric series.
const BOUNDS: Bounds = Bounds { within: Duration::from_secs(5), most: 16 * 1024 * 1024 };

/// Each is asked on a thread of its own.
const MAX_REPLICAS: usize = 256;

/// A list of [`MAX_REPLICAS`] with long names.
const MAX_LIST_BYTES: u64 = 256 * 1024;

/// Every replica of the fleet.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Declared {
    /// Admin door of a replica: the path of its socket, or http://127.0.0.1:PORT; once for each of them, all of them
    #[arg(long = "replica", value_name = "[NAME=]ADDRESS")]
    given: Vec<String>,
    /// A file with the same, one a line
    #[arg(long, value_name = "FILE")]
    replicas: Option<PathBuf>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Named {
    name: Box<str>,
    door: Door,
}

impl Declared {
    /// As they were given, for another command.
    pub fn again(&self) -> String {
        match &self.replicas {
            Some(path) => format!("--replicas {}", path.display()),
            None => "--replica …".to_owned(),
        }
    }

    /// Name and door of each, for who only looks.
    pub fn doors(&self) -> Result<Vec<(Box<str>, Door)>, Vec<Problem>> {
        Ok(self.listed()?.into_iter().map(|Named { name, door }| (name, door)).collect())
    }

    /// All of them, each once.
    pub(super) fn all(&self) -> Result<Vec<Named>, Stop> {
        self.listed().map_err(Stop::Problems)
    }

    fn listed(&self) -> Result<Vec<Named>, Vec<Problem>> {
        let given = self.given.iter().map(|text| ("--replica".to_owned(), None, text.clone()));
        let mut lines: Vec<Told> = given.collect();
        if let Some(path) = &self.replicas {
            lines.extend(lines_of(path)?);
        }
        let mut named: Vec<Named> = Vec::new();
        let mut problems = Vec::new();
        for (file, line, text) in lines {
            let mut refuse = |code: Code, what: String, expected: &str| {
                let problem = Problem::in_file(code, &file, what, expected);
                problems.push(match line {
                    Some(line) => problem.at_line(line),
                    None => problem,
                });
            };
            match parse(&text) {
                None => {
                    refuse(Code::ReplicaAddress, format!("{text:?} is no address of an admin door"), ADDRESS)
                }
                Some(new) if named.iter().any(|old| old.door == new.door) => {
                    refuse(Code::NameTwice, format!("{text:?} is declared twice"), "each replica once");
                }
                Some(new) if named.iter().any(|old| old.name == new.name) => {
                    refuse(
                        Code::NameTwice,
                        format!("two replicas are called {}", new.name),
                        "a name of its own",
                    );
                }
                Some(_) if named.len() == MAX_REPLICAS => {
                    refuse(Code::LongList, "too many replicas".to_owned(), "at most 256");
                    break;
                }
                Some(new) => named.push(new),
            }
        }
        if problems.is_empty() { Ok(named) } else { Err(problems) }
    }
}

const ADDRESS: &str = "the path of its socket, or http://127.0.0.1:PORT of its loopback door or a tunnel to it, perhaps after \
                       NAME=";

/// An address as it was told: in which file, if on which line, and in which words.
type Told = (String, Option<u32>, String);

fn lines_of(path: &Path) -> Result<Vec<Told>, Vec<Problem>> {
    let name = path.display().to_string();
    let text = load::bounded(path, MAX_LIST_BYTES).map_err(|unreadable| {
        let what = format!("the file {}", unreadable.what);
        vec![Problem::in_file(Code::FileNotRead, &name, what, unreadable.expected)]
    })?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines =
        (1..).zip(text.lines()).map(|(line, text)| (line, text.split('#').next().unwrap_or_default().trim()));
    let lines = lines.filter(|(_, text)| !text.is_empty());
    Ok(lines.map(|(line, text)| (name.clone(), Some(line), text.to_owned())).collect())
}

fn parse(text: &str) -> Option<Named> {
    // A path may have `=` in it, behind its first slash.
    let named = text.split_once('=').filter(|(name, _)| !name.is_empty() && !name.contains(['/', ':']));
    let (name, address) = named.unwrap_or((text, text));
    let plain = !address.is_empty() && !address.contains(char::is_control) && !address.contains(' ');
    let door = match address.strip_prefix("http://") {
        Some(host) => Door::Http(host.strip_suffix('/').unwrap_or(host).parse().ok()?),
        // Whoever writes HOST:PORT means no file.
        None if address.contains(':') && !address.contains('/') || address.contains("://") => return None,
        None => Door::Unix(PathBuf::from(address)),
    };
    plain.then(|| Named { name: name.into(), door })
}

/// What each of them says of its moves, all asked at once. Refused where two of them are one.
pub(super) fn reported(replicas: &[Named]) -> Result<Vec<Replica>, Stop> {
    let said =
        asked(replicas, "/moves", |body| Reported::parse(body.as_bytes()).map_err(|error| error.to_string()));
    let replica = |(of, said): (&Named, Result<Reported, String>)| Replica {
        name: of.name.clone(),
        said: said.map_err(Into::into),
    };
    let reported: Vec<Replica> = replicas.iter().zip(said).map(replica).collect();
    let Some((first, second)) = same_process(&reported) else { return Ok(reported) };
    let address = |name| {
        let of = replicas.iter().find(|of| &*of.name == name);
        of.map_or_else(String::new, |of| of.door.to_string())
    };
    Err(Stop::Refused(format!(
        "replicas {first} ({}) and {second} ({}) are one and the same process, so that a replica is missing which nobody asks. \
         Expected an admin door of each replica once: see where both addresses lead (GET /moves says \"process\"), correct the \
         list, and run this again.",
        address(first),
        address(second)
    )))
}

/// Requests per second of each cell over all of them, measured over this time; the error names who did not tell.
pub(super) fn load(replicas: &[Named], over: Duration) -> Result<Counted, String> {
    let page = |replicas: &[Named]| asked(replicas, "/metrics", |body| Ok(counted(body)));
    let begun = std::time::Instant::now();
    let before = page(replicas);
    std::thread::sleep(over);
    let apart = begun.elapsed();
    let after = page(replicas);
    let mut sum = Counted::new();
    for ((of, before), after) in replicas.iter().zip(before).zip(after) {
        let told = before.and_then(|before| Ok((before, after?)));
        let rates = told.and_then(|(before, after)| {
            rates(&before, &after, apart).ok_or_else(|| "it has begun anew meanwhile".to_owned())
        });
        let rates = rates.map_err(|why| format!("replica {} did not tell its load: {why}", of.name))?;
        for (cell, rate) in rates {
            *sum.entry(cell).or_default() += rate;
        }
    }
    Ok(sum)
}

fn asked<T: Send>(
    replicas: &[Named],
    path: &str,
    read: impl Fn(&str) -> Result<T, String> + Sync,
) -> Vec<Result<T, String>> {
    let ask = |of: &Named| {
        let said = admin_socket::page(&of.door, path, BOUNDS).and_then(|body| read(&body));
        said.map_err(|why| format!("{why}; asked at {}", of.door))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = replicas.iter().map(|of| scope.spawn(move || ask(of))).collect();
        let said = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("asking it ended in a panic".to_owned())));
        said.collect()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_a_socket_or_a_port_under_a_name() {
        let read = |text: &str| parse(text).map(|of| (of.name.to_string(), of.door));
        let unix = |path: &str| Door::Unix(path.into());
        let http = |address: &str| Door::Http(address.parse().unwrap());
        for (text, expect) in [
            ("a=/run/a.sock", Some(("a", unix("/run/a.sock")))),
            ("/run/a=b.sock", Some(("/run/a=b.sock", unix("/run/a=b.sock")))),
            ("state/admin.sock", Some(("state/admin.sock", unix("state/admin.sock")))),
            ("b=http://127.0.0.1:9901", Some(("b", http("127.0.0.1:9901")))),
            ("http://[::1]:9901/", Some(("http://[::1]:9901/", http("[::1]:9901")))),
            ("http://127.0.0.1", None),
            ("http://edge-b:9900", None),
            ("http://127.0.0.1:9901/moves", None),
            ("https://127.0.0.1:9901", None),
            ("a=", None),
            ("edge-b:9900", None),
            ("b=127.0.0.1:9900", None),
            ("/run/edge:9900", Some(("/run/edge:9900", unix("/run/edge:9900")))),
            ("", None),
        ] {
            let expect = expect.map(|(name, door)| (name.to_owned(), door));
            assert_eq!(read(text), expect, "{text}");
        }
        let declared = |given: &[&str]| {
            let given = given.iter().map(|text| (*text).to_owned()).collect();
            match (Declared { given, replicas: None }).all() {
                Ok(all) => all.len().to_string(),
                Err(Stop::Problems(problems)) => problems.iter().map(ToString::to_string).collect(),
                Err(_) => "ended otherwise".to_owned(),
            }
        };
        assert_eq!(declared(&["a=/a", "b=/b"]), "2");
        assert!(declared(&["a=/a", "b=/a"]).contains("declared twice"));
        assert!(declared(&["a=/a", "a=/b"]).contains("two replicas are called a"));
    }

    /// A file with this text: what is asked there gets no answer that counts, and nobody waits for it.
    #[test]
    fn whoever_does_not_answer_is_said_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("a.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let liar = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]").unwrap();
        });
        let named = |name: &str, path: &Path| Named { name: name.into(), door: Door::Unix(path.into()) };
        let said = reported(&[named("a", &socket), named("b", &folder.path().join("b.sock"))]);
        let Ok(said) = said else { unreachable!("nobody is there twice") };
        liar.join().unwrap();
        assert!(said[0].said.as_ref().unwrap_err().contains("not what GET /moves"), "{said:?}");
        assert!(said[1].said.as_ref().unwrap_err().contains("No such file"), "{said:?}");
    }
}
