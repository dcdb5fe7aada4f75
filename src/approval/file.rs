//! An approval file: a statement and, behind it, the armored SSH signature of its text. One file a signer, so that
//! people sign on their own and nobody's file has to be put together with another's.

use ssh_key::SshSig;

use super::refusal::{Malformed, Refusal};
use super::signature;
use super::statement::{NAMESPACE, Statement};
use crate::config::FileText;
use crate::config::problem::quoted;

/// The folder of the approvals in the configuration folder. No part of the configuration.
pub const FOLDER: &str = "approvals";

/// How the names of approvals end.
pub const EXTENSION: &str = "approval";

/// Largest approval: a statement has 400 bytes, and a signature by the longest RSA key (8192 bits) 3,000.
pub const MAX_FILE_BYTES: u64 = 8 * 1024;

/// Most approvals that lie in the folder: a handful for the plan at hand, and those of earlier plans that nobody has
/// removed yet.
pub const MAX_FILES: usize = 64;

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "-----END SSH SIGNATURE-----";

/// A file of the folder as it was read.
#[derive(Clone, Debug)]
pub struct ApprovalFile {
    /// Its name, without control characters.
    pub name: Box<str>,
    /// Its bytes, or why there are none.
    pub text: FileText,
}

/// What a file holds, and nothing of it believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// What was signed.
    pub statement: Statement,
    signature: SshSig,
}

impl Approval {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], [`Refusal::WrongNamespace`] or [`Refusal::Unsupported`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() as u64 > MAX_FILE_BYTES {
            let what = format!("it has {} bytes", bytes.len());
            return Err(Malformed::whole(what, format!("at most {MAX_FILE_BYTES}")).into());
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(Malformed::whole("it is not text", "a statement and its SSH signature").into());
        };
        let Some((statement, armored)) = split(text) else {
            // Without a signature, the statement may be the first thing that is wrong.
            Statement::parse(text)?;
            let line = u32::try_from(text.lines().count()).unwrap_or(u32::MAX).saturating_add(1);
            let expected = format!("a line {:?}, as ssh-keygen -Y sign writes it", BEGIN.trim_end());
            return Err(Malformed::at(line, "there is no signature", expected).into());
        };
        let statement = Statement::parse(statement)?;
        let signature = signature::parse(armored)?;
        if signature.namespace() != NAMESPACE {
            return Err(Refusal::WrongNamespace { found: quoted(signature.namespace()) });
        }
        Ok(Self { statement, signature })
    }

    /// The text of a file; what `ssh-keygen -Y sign` has printed goes behind the statement as it is.
    ///
    /// # Errors
    /// It would not be an approval, or the signature is not of this statement.
    pub fn join(statement: &str, armored: &str) -> Result<String, Refusal> {
        let text = format!("{statement}{}\n", armored.trim_end());
        let approval = Self::parse(text.as_bytes())?;
        approval.check_signature()?;
        Ok(text)
    }

    /// Whether the key that is named in the signature has signed the statement. Whose key it is, is another question.
    ///
    /// # Errors
    /// [`Refusal::BadSignature`], [`Refusal::NotTouched`] or [`Refusal::Unsupported`].
    pub fn check_signature(&self) -> Result<(), Refusal> {
        signature::check(&self.signature, self.statement.text().as_bytes())
    }

    /// The key that is named in the signature.
    pub fn key(&self) -> &ssh_key::public::KeyData {
        self.signature.public_key()
    }

    /// Its fingerprint, as `ssh-keygen -l` has it.
    pub fn fingerprint(&self) -> String {
        signature::fingerprint(self.key())
    }
}

/// The statement, and the armor to its last line. Nothing but space may follow.
fn split(text: &str) -> Option<(&str, &str)> {
    let begin = text.find(BEGIN)?;
    let (statement, armored) = text.split_at(begin);
    let end = armored.find(END)? + END.len();
    let (armored, rest) = armored.split_at(end);
    rest.trim().is_empty().then_some((statement, armored))
}
