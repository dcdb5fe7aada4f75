//! The file of allowed signers: what we make of a line is what `ssh-keygen -Y verify` makes of it, or a problem with the
//! line's number.

use cellgate::approval::{AllowedSigners, Used};
use cellgate::config::time::parse_moment;

use crate::keys::{Keys, good, ssh_keygen};
use crate::{approval, demand, judge, short, statement};

#[test]
fn a_line_counts_when_openssh_says_so() {
    let keys = Keys::default();
    let (alice, other) = (keys.make("alice", "ed25519", ""), keys.make("other", "ed25519", ""));
    let mut one = statement(1);
    one.expires = parse_moment("2027-01-01T00:00:00Z").unwrap();
    let file = approval("a", &one, &alice);
    let armored = alice.sign(&one.text());
    let (key, stranger) = (&alice.public, &other.public);
    let mut counted = Vec::new();
    // Each at 2026-11-20T00:00:00Z; `%K` is alice's key, `%O` another's.
    for (lines, label) in [
        ("alice@x %K", "counts"),
        ("  alice@x\t%K a comment", "counts"),
        ("\"alice@x\" %K", "counts"),
        ("bob@y,alice@x %K", "counts"),
        ("*@x %K", "counts"),
        ("# alice@x %O\n\nalice@x %K", "counts"),
        ("alice@x %O", "unknown_key"),
        ("# alice@x %K", "unknown_key"),
        ("alice@x namespaces=\"cellgate-plan@v1\" %K", "counts"),
        ("alice@x namespaces=\"file,cellgate-*\" %K", "counts"),
        ("alice@x NAMESPACES=\"*\" %K", "counts"),
        ("alice@x namespaces=\"file,git\" %K", "namespace_not_allowed"),
        ("alice@x namespaces=\"*,!cellgate-plan@v1\" %K", "namespace_not_allowed"),
        ("alice@x namespaces=\"Cellgate-plan@v1\" %K", "namespace_not_allowed"),
        ("alice@x valid-after=\"20261120Z\" %K", "counts"),
        ("alice@x valid-after=\"20261120000001Z\" %K", "key_not_yet_valid"),
        ("alice@x valid-before=\"202611200000Z\" %K", "counts"),
        ("alice@x valid-before=\"20261119235959Z\" %K", "key_no_longer_valid"),
        ("alice@x valid-after=\"20261101Z\",valid-before=\"20261201Z\" %K", "counts"),
        ("alice@x valid-before=\"20261101Z\" %K\nalice@x %K", "counts"),
        ("alice@x %K\nalice@x valid-before=\"20261101Z\" %K", "counts"),
        ("alice@x namespaces=\"file\" %K\nalice@x valid-before=\"20261101Z\" %K", "key_no_longer_valid"),
        // Refused lines: by OpenSSH, too.
        ("alice@x", "unknown_key"),
        ("alice@x unknown-option %K", "unknown_key"),
        ("alice@x namespaces=file %K", "unknown_key"),
        ("alice@x namespaces=\"file %K", "unknown_key"),
        ("alice@x namespaces=\"file\",namespaces=\"*\" %K", "unknown_key"),
        ("alice@x valid-after=\"tomorrow\" %K", "unknown_key"),
        ("alice@x valid-after=\"20261101Z\",valid-before=\"20261001Z\" %K", "unknown_key"),
        ("alice@x namespaces=\"*\", %K", "unknown_key"),
    ] {
        let lines = lines.replace("%K", key).replace("%O", stranger);
        let (signers, _) = AllowedSigners::parse("allowed_signers", lines.as_bytes());
        let now = parse_moment("2026-11-20T00:00:00Z").unwrap();
        let mut demand = demand(1);
        demand.max_age = i64::MAX;
        let judgement = judge(std::slice::from_ref(&file), &demand, &signers, &Used::default(), now);
        let said = judgement.refused.first().map_or("counts", |(_, refusal)| refusal.label());
        assert_eq!(said, label, "{lines}");
        let openssh =
            keys.verifies(&format!("{lines}\n"), "alice@x", "20261120000000Z", &one.text(), &armored);
        assert_eq!(judgement.met, openssh, "{lines}");
        counted.push(judgement.met);
    }
    assert!(counted.contains(&true) && counted.contains(&false));
}

#[test]
fn every_problem_is_told_with_its_line() {
    let keys = Keys::default();
    let alice = keys.make("alice", "ed25519", "");
    let (weak, certified) = (keys.make("weak", "rsa", "1024"), keys.make("certified", "ed25519", ""));
    let authority = alice.path.to_str().unwrap();
    let certify = ["-q", "-s", authority, "-I", "id", "-n", "alice", certified.path.to_str().unwrap()];
    good(&ssh_keygen(&certify, b""));
    let certificate = std::fs::read_to_string(keys.path().join("certified-cert.pub")).unwrap();
    let key = &alice.public;
    let flipped = key.replacen("AAAAC3", "AAAAC4", 1);
    let text = [
        format!("alice@x {key}"),
        format!("*@x cert-authority {key}"),
        format!("alice@x verify-required {key}"),
        format!("alice@x valid-before=\"20261101\" {key}"),
        format!("alice@x {}", weak.public),
        format!("alice@x {}", certificate.trim_end()),
        format!("alice@x {flipped}"),
        "alice@x ssh-ed25519".to_owned(),
        "alice@x ssh-dss AAAAB3NzaC1kc3M=".to_owned(),
        "alice@x ssh-ed25520 AAAAC3NzaC1lZDI1NTE5".to_owned(),
        "alice@x".to_owned(),
        format!("!alice@x {key}"),
        format!("\"alice@x {key}"),
        format!("alice@x,, {key}"),
        format!("alice@x {}", key.replacen("AAAAI", "AAAAt", 1)),
        format!("bob@x {key}\r"),
    ];
    let mut bytes = text.join("\n").into_bytes();
    bytes.extend_from_slice(b"\n\xff\n");
    bytes.extend(vec![b'a'; 9_000]);
    let (signers, problems) = AllowedSigners::parse("keys/allowed_signers", &bytes);
    assert_eq!(signers.len(), 2, "the first, and the one that ends with a carriage return");
    let lines: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    let expected = include_str!("problems.txt");
    assert_eq!(lines, expected, "{lines}");
    let (signers, problems) = AllowedSigners::parse("a", &vec![b'#'; 300_000]);
    assert!(signers.is_empty() && problems[0].to_string().contains("300000 bytes"));
    // A million mistakes are a handful of problems.
    let (_, problems) = AllowedSigners::parse("a", "x\n".repeat(100_000).as_bytes());
    assert_eq!(problems.len(), cellgate::config::problem::MAX_PROBLEMS);
    assert!(short(&judge(&[], &demand(1), &signers, &Used::default(), 0)).is_empty());
}
