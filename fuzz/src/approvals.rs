//! Bytes as an approval, and as the file of allowed signers.

use std::sync::LazyLock;

use cellgate::approval::{
    AllowedSigners, Approval, ApprovalFile, Demand, Digest, FleetId, Judgement, Nonce, Refusal, Used, judge,
};
use cellgate::config::problem::MAX_PROBLEMS;

use super::NOW;

/// The keys that have signed the seeds; nobody has their private halves any more.
const ALICE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINvAsOxrWgHAbzk5mk9sjtrvfZ5GZ8eGZiUze4S0hyzj";
const BOB: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHLxoRiwnBxxLKIMM7yve3Ek5Y90SsAFOJMkk2LVHILoeRhYt3+LrRPgTPl5mmtlN8SOMkDMx7H5IFOEvYObWqA=";
const CAROL: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQClaRcwYnXhIsEVn1fT84EA6gMWmXyyxu3ppBA/eNTUqFt2gq5xFqkBwxWXik6NsUPZiHeS8OpATog4ZSL0j/3WsuXlNaTvWYQbJZOiOQSkTZPZtIBqCPiPWE9OWFhxukdZmc2ie+d7JpjCH48VxJiLPHg357J8JVmawHrkZ0bzjlBSQAfL4z4OGqKqiH+y9iy5lgcZi3925Mwue3pdKsgRrmN/A/Apzm/J8noGFkyiJs1N8cgxkiELGtZHeMuVZi2ejV5AHBSZ2ZCDWU6+KLgRBEyGR5YabK8q6iqSzwwu8WNSKt5ROfQZC/oxfdZiLtEpDtHQbI7lTWhVB1EaZMYP";

/// When what they have signed expires: 2026-11-21T00:00:00Z.
const EXPIRES: i64 = 1_795_219_200;

static SIGNERS: LazyLock<AllowedSigners> = LazyLock::new(|| {
    let text = format!("alice@example.com {ALICE}\nbob@example.com {BOB}\ncarol@example.com {CAROL}\n");
    AllowedSigners::parse("allowed_signers", text.as_bytes()).0
});

static BY_ALICE: LazyLock<ApprovalFile> =
    LazyLock::new(|| file(include_bytes!("../seeds/approvals/by_alice")));

/// Nothing counts but what the three have signed; a statement has one text; a problem is one harmless line, and a file
/// of signers is its lines. Returns whether there was an approval or a signer.
pub fn approvals(data: &[u8]) -> bool {
    let is_approval = approval(data);
    let has_signer = signers(data);
    is_approval || has_signer
}

fn approval(data: &[u8]) -> bool {
    let Judgement { accepted, refused, met } = judged(&file(data), &SIGNERS);
    assert_eq!(accepted.len() + refused.len(), 1);
    assert_eq!(met, refused.is_empty());
    for (_, refusal) in &refused {
        harmless(&refusal.to_string());
    }
    let approval = match Approval::parse(data) {
        Ok(approval) => approval,
        Err(refusal) => {
            assert_eq!(refused[0].1, refusal);
            return false;
        }
    };
    assert!(data.starts_with(approval.statement.text().as_bytes()), "a statement has one text");
    for one in accepted {
        let by = ["alice@example.com", "bob@example.com", "carol@example.com"];
        let nonce = (1..).zip(by).find(|(_, by)| *by == one.principal).map(|(number, _)| Nonce([number; 16]));
        assert_eq!((Some(one.nonce), one.expires), (nonce, EXPIRES), "nobody has signed that");
    }
    true
}

fn signers(data: &[u8]) -> bool {
    let parse = |data: &[u8]| AllowedSigners::parse("allowed_signers", data);
    let (signers, problems) = parse(data);
    for problem in &problems {
        harmless(&problem.to_string());
    }
    let lines: Vec<_> = data.split(|byte| *byte == b'\n').map(parse).collect();
    assert_eq!(lines.iter().map(|(signers, _)| signers.len()).sum::<usize>(), signers.len());
    let wrong = lines.iter().filter(|(_, problems)| !problems.is_empty()).count();
    assert_eq!(wrong.min(MAX_PROBLEMS), problems.len());
    let judgement = judged(&BY_ALICE, &signers);
    let is_unknown = matches!(judgement.refused.first(), Some((_, Refusal::UnknownKey { .. })));
    let key = ALICE.split(' ').next_back().expect("a key has two words").as_bytes();
    let is_named = data.windows(key.len()).any(|window| window == key);
    assert!(is_unknown || is_named, "alice signs where her key is named");
    !signers.is_empty()
}

fn judged(file: &ApprovalFile, signers: &AllowedSigners) -> Judgement {
    let demand = Demand {
        fleet: FleetId::parse("prod-us").expect("a good name"),
        plan: Digest([1; 32]),
        candidate: Digest([2; 32]),
        base: Some(Digest([3; 32])),
        needed: 1,
        author: None,
        max_age: EXPIRES - NOW,
    };
    judge(std::slice::from_ref(file), &demand, signers, &Used::default(), NOW)
}

fn file(data: &[u8]) -> ApprovalFile {
    ApprovalFile { name: "a.approval".into(), text: Ok(data.to_vec()) }
}

fn harmless(line: &str) {
    assert!(!line.contains(char::is_control) && line.len() < 1_000, "{line:?}");
}
