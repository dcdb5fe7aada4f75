//! Why an approval does not count: one closed list; the text for people and the label for counters and logs are
//! functions of it. What a file holds is quoted short; nothing here is secret.

use std::fmt;

use super::statement::{Digest, FleetId, NAMESPACE, Nonce, show_base};
use crate::config::time::show_moment;

/// A file that is no approval: where, what, and what would be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Line of the file, from 1; `None` where no single line is wrong.
    pub line: Option<u32>,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub expected: String,
}

impl Malformed {
    /// Wrong at a line.
    pub fn at(line: u32, what: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { line: Some(line), what: what.into(), expected: expected.into() }
    }

    /// Wrong as a whole.
    pub fn whole(what: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { line: None, what: what.into(), expected: expected.into() }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}; expected {}", self.what, self.expected)
    }
}

/// Why an approval does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The file cannot be had.
    #[error("the file {what}; expected {expected}")]
    Unreadable {
        /// What is wrong, as it goes on after "the file".
        what: String,
        /// What would be right.
        expected: String,
    },
    /// The file is no approval.
    #[error("it is no approval: {0}")]
    Malformed(Malformed),
    /// The statement or the signature was made for something else.
    #[error(
        "it is for {found}; expected {NAMESPACE:?} in the first line and as namespace of the signature \
         (ssh-keygen -Y sign -n {NAMESPACE})"
    )]
    WrongNamespace {
        /// What stands there, quoted.
        found: String,
    },
    /// It is for other replicas.
    #[error("it is for the fleet {found}, and this is {ours}; sign the plan of this fleet")]
    OtherFleet {
        /// In the statement.
        found: FleetId,
        /// Ours.
        ours: FleetId,
    },
    /// It begins at another configuration than the one that serves.
    #[error(
        "it begins at the configuration {}, and {} serves: something else was applied since; make the plan anew and \
         sign that",
        show_base(*.found),
        show_base(*.serves)
    )]
    WrongBase {
        /// In the statement.
        found: Option<Digest>,
        /// What serves.
        serves: Option<Digest>,
    },
    /// It is for another configuration than the one that is offered.
    #[error(
        "it is for the configuration {found}, and {offered} is offered: the files have changed since; make the plan \
         anew and sign that"
    )]
    WrongCandidate {
        /// In the statement.
        found: Digest,
        /// What is offered.
        offered: Digest,
    },
    /// It is for another plan between the same two configurations.
    #[error(
        "it is for the plan {found}, and this is {ours}: what the plan says of the same files has changed since; \
         make it anew and sign that"
    )]
    OtherPlan {
        /// In the statement.
        found: Digest,
        /// The plan at hand.
        ours: Digest,
    },
    /// Its time is over.
    #[error("it expired at {}; sign again", show_moment(*.at))]
    Expired {
        /// Since then, in seconds since the Unix epoch.
        at: i64,
    },
    /// It would count for longer than approvals may.
    #[error(
        "it would count until {}; expected {} at the latest: sign again with a nearer expiry",
        show_moment(*.at),
        show_moment(*.latest)
    )]
    ExpiresTooLate {
        /// Until then, in seconds since the Unix epoch.
        at: i64,
        /// The latest that is allowed now.
        latest: i64,
    },
    /// It has been used, and counts once.
    #[error(
        "it was used at {} for the configuration {candidate} (nonce {nonce}) and counts once; sign again",
        show_moment(*.at)
    )]
    UsedAlready {
        /// When, in seconds since the Unix epoch.
        at: i64,
        /// For which configuration.
        candidate: Digest,
        /// Which approval.
        nonce: Nonce,
    },
    /// What was used before is not known, so nothing can be used once.
    #[error(
        "which approvals were used before is not known: {reason}. Until that file is removed none counts, because an \
         old one could count twice; remove it when no approval of an earlier plan is still good"
    )]
    MemoryLost {
        /// Why.
        reason: String,
    },
    /// No more can be remembered, so nothing more can be used once.
    #[error(
        "{most} approvals that were used have not expired, and no more can be remembered; wait until they expire"
    )]
    MemoryFull {
        /// How many are.
        most: usize,
    },
    /// Nobody has this key.
    #[error(
        "the key {fingerprint} is not in the file of allowed signers (ssh-keygen -l -f shows a key's fingerprint)"
    )]
    UnknownKey {
        /// `SHA256:` and so on, as `ssh-keygen -l` has it.
        fingerprint: String,
    },
    /// A kind of key or of signature that cannot be checked, or is too weak to be.
    #[error("it is signed in a way that does not count: {what}")]
    Unsupported {
        /// Which, why, and what would be right.
        what: String,
    },
    /// The key did not sign this text.
    #[error(
        "the key {fingerprint} did not sign this text: it was changed since, or the signature is of another file"
    )]
    BadSignature {
        /// Of the key that is said to have signed.
        fingerprint: String,
    },
    /// A hardware key that signed without being touched.
    #[error(
        "the hardware key {fingerprint} signed without being touched, so perhaps nobody was there; expected a key that \
         asks for a touch"
    )]
    NotTouched {
        /// Of the key.
        fingerprint: String,
    },
    /// `valid-after` of the key is still to come.
    #[error(
        "the key {fingerprint} is not valid before {} (valid-after in the file of allowed signers)",
        show_moment(*.from)
    )]
    KeyNotYetValid {
        /// Of the key.
        fingerprint: String,
        /// From then on, in seconds since the Unix epoch.
        from: i64,
    },
    /// `valid-before` of the key has passed.
    #[error(
        "the key {fingerprint} is no longer valid since {} (valid-before in the file of allowed signers)",
        show_moment(*.until)
    )]
    KeyNoLongerValid {
        /// Of the key.
        fingerprint: String,
        /// Until then, in seconds since the Unix epoch.
        until: i64,
    },
    /// `namespaces` of the key leaves out ours.
    #[error(
        "the key {fingerprint} may sign for namespaces={namespaces:?} only, which leaves out {NAMESPACE} (in the file \
         of allowed signers)"
    )]
    NamespaceNotAllowed {
        /// Of the key.
        fingerprint: String,
        /// What stands there.
        namespaces: String,
    },
    /// Whoever made the change does not approve it.
    #[error(
        "its signer, {principal}, is or may be the author of the change, {author}; somebody else must approve it"
    )]
    SignerIsAuthor {
        /// The principals of the key.
        principal: String,
        /// Of the change.
        author: String,
    },
    /// The key has been counted.
    #[error("the key {fingerprint} has been counted, in {file}; a key counts once")]
    SameKey {
        /// Of the key.
        fingerprint: String,
        /// The approval that counts.
        file: Box<str>,
    },
    /// The person has been counted, by another key.
    #[error("its signer, {principal}, is or may be who signed {file} with another key; a person counts once")]
    SamePrincipal {
        /// The principals of this key.
        principal: String,
        /// The approval that counts.
        file: Box<str>,
    },
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl Refusal {
    /// One word, for counters and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::Malformed(_) => "malformed",
            Self::WrongNamespace { .. } => "wrong_namespace",
            Self::OtherFleet { .. } => "other_fleet",
            Self::WrongBase { .. } => "wrong_base",
            Self::WrongCandidate { .. } => "wrong_candidate",
            Self::OtherPlan { .. } => "other_plan",
            Self::Expired { .. } => "expired",
            Self::ExpiresTooLate { .. } => "expires_too_late",
            Self::UsedAlready { .. } => "used_already",
            Self::MemoryLost { .. } => "memory_lost",
            Self::MemoryFull { .. } => "memory_full",
            Self::UnknownKey { .. } => "unknown_key",
            Self::Unsupported { .. } => "unsupported",
            Self::BadSignature { .. } => "bad_signature",
            Self::NotTouched { .. } => "not_touched",
            Self::KeyNotYetValid { .. } => "key_not_yet_valid",
            Self::KeyNoLongerValid { .. } => "key_no_longer_valid",
            Self::NamespaceNotAllowed { .. } => "namespace_not_allowed",
            Self::SignerIsAuthor { .. } => "signer_is_author",
            Self::SameKey { .. } => "same_key",
            Self::SamePrincipal { .. } => "same_principal",
        }
    }
}
