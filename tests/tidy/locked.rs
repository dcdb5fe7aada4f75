//! What both lock files may hold of the crates that clients' bytes reach first: nothing that is known to be weak.
//! It stands in for the database of advisories where that cannot be had; `make deny` asks it where it can.

use super::{Complaints, root};

/// The oldest version of a crate without the weakness named beside it.
const AT_LEAST: [(&str, [u64; 3], &str); 4] = [
    ("h2", [0, 4, 16], "RUSTSEC-2026-0258, endless empty DATA frames"),
    (
        "pingora-core",
        [0, 9, 1],
        "RUSTSEC-2026-0033 to 0035, and what docs/decisions/0001-engine.md was tried with",
    ),
    ("rustls", [0, 23, 18], "RUSTSEC-2024-0399, a panic on a fragmented ClientHello"),
    ("rustls-webpki", [0, 103, 12], "RUSTSEC-2026-0098 and 0099, names beyond their constraints"),
];

#[test]
fn nothing_that_is_known_to_be_weak_is_locked() {
    let wrong = "[[package]]\nname = \"h2\"\nversion = \"0.4.15\"\n\n[[package]]\nname = \"rustls\"\nversion = \"0.23.18\"\n";
    assert_eq!(weak("Cargo.lock", wrong).len(), 1, "h2 alone is too old");
    assert_eq!(weak("Cargo.lock", "[[package]]\nname = \"h2\"\nversion = \"0.5.0-rc.1\"\n").len(), 0);
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let text = std::fs::read_to_string(root().join(lock)).unwrap();
        for (name, _, _) in AT_LEAST {
            assert!(text.contains(&format!("name = \"{name}\"\n")), "{name} is not in {lock} any more");
        }
        let complaints = weak(lock, &text);
        assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
    }
}

fn weak(lock: &str, text: &str) -> Complaints {
    let mut complaints = Vec::new();
    for package in text.split("[[package]]") {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
            line.and_then(|rest| rest.strip_suffix('"')).unwrap_or_default()
        };
        for (name, least, why) in AT_LEAST {
            if value("name") == name && numbers(value("version")) < least {
                complaints
                    .push(format!("{lock}: {name} {} is older than {least:?}: {why}", value("version")));
            }
        }
    }
    complaints
}

fn numbers(version: &str) -> [u64; 3] {
    let mut numbers = version.split(['.', '-', '+']).map(|number| number.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}
