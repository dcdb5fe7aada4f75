//! Who may sign: the file of allowed signers in OpenSSH's format (ssh-keygen(1), ALLOWED SIGNERS). A line that is not
//! understood in full lets nobody sign, and is a problem with its number.

use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use super::options::{Options, Wrong};
use super::pattern::PatternList;
use super::refusal::Refusal;
use super::signature::{KINDS, fingerprint, supported};
use super::statement::NAMESPACE;
use crate::config::Problem;
use crate::config::problem::{MAX_PROBLEMS, quoted};
use crate::policy::code::Code;

/// Largest file: room for a thousand signers with ordinary keys, which is more than approve anything.
pub const MAX_SIGNERS_BYTES: u64 = 256 * 1024;

/// Longest line: an RSA key of 8192 bits has 1,400 bytes; the rest is principals.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// Those who may sign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedSigners {
    signers: Vec<Signer>,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signer {
    principals: PatternList,
    options: Options,
    key: KeyData,
}

/// What the file says of a key: everything, whichever line it stands in.
pub(super) struct Holder<'a> {
    lines: Vec<&'a Signer>,
}

impl AllowedSigners {
    /// Reads the file, which has this name in problems. Every problem is told, up to [`MAX_PROBLEMS`]; the lines without
    /// one count.
    pub fn parse(file: &str, bytes: &[u8]) -> (Self, Vec<Problem>) {
        let (mut signers, mut problems) = (Self::default(), Vec::new());
        if bytes.len() as u64 > MAX_SIGNERS_BYTES {
            let what = format!("the file has {} bytes", bytes.len());
            problems.push(Problem::in_file(
                Code::LargeFile,
                file,
                what,
                format!("at most {MAX_SIGNERS_BYTES}"),
            ));
            return (signers, problems);
        }
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            match Signer::parse(line) {
                Ok(signer) => signers.signers.extend(signer),
                Err(_) if problems.len() == MAX_PROBLEMS => {}
                Err((what, expected)) => {
                    problems.push(Problem::in_file(Code::SignerLine, file, what, expected).at_line(number));
                }
            }
        }
        (signers, problems)
    }

    /// How many lines let somebody sign.
    pub fn len(&self) -> usize {
        self.signers.len()
    }

    /// Whether nobody may sign.
    pub fn is_empty(&self) -> bool {
        self.signers.is_empty()
    }

    /// What is said of a key; `None` of one that is not there.
    pub(super) fn holder(&self, key: &KeyData) -> Option<Holder<'_>> {
        let lines: Vec<&Signer> = self.signers.iter().filter(|signer| signer.key == *key).collect();
        (!lines.is_empty()).then_some(Holder { lines })
    }
}

impl Holder<'_> {
    /// The principals of the first line by which the key may sign now, as written there; else why it may not by the
    /// last.
    pub(super) fn may_sign(&self, now: i64) -> Result<&str, Refusal> {
        let mut refusal = None;
        for line in &self.lines {
            match line.may_sign(now) {
                Ok(()) => return Ok(line.principals.as_str()),
                Err(why) => refusal = Some(why),
            }
        }
        Err(refusal.expect("a holder has a line"))
    }

    /// Whether it is, or may be, this person.
    pub(super) fn may_be(&self, name: &str) -> bool {
        self.lines.iter().any(|line| line.principals.may_mean(name))
    }

    /// Whether the two are, or may be, one person.
    pub(super) fn may_be_one_of(&self, other: &Self) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|line| other.lines.iter().any(|other| line.principals.may_mean_one_of(&other.principals)))
    }
}

impl Signer {
    /// `None` of a line that is empty or a comment.
    fn parse(line: &[u8]) -> Result<Option<Self>, Wrong> {
        if line.len() > MAX_LINE_BYTES {
            return Err((format!("the line has {} bytes", line.len()), format!("at most {MAX_LINE_BYTES}")));
        }
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(("the line is not UTF-8".to_owned(), "plain text".to_owned()));
        };
        let line = line.strip_suffix('\r').unwrap_or(line).trim_matches(SPACE);
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let (principals, rest) = first_field(line)?;
        let principals = PatternList::parse(principals)
            .map_err(|(what, expected)| (format!("principals: {what}"), expected.to_owned()))?;
        let (options, rest) = if is_kind_of_key(rest) {
            (Options::default(), rest)
        } else {
            let (options, rest) = rest.split_at(end_of_options(rest));
            if options.is_empty() {
                return Err(("there are principals and no key".to_owned(), KINDS.to_owned()));
            }
            (Options::parse(options)?, rest.trim_start_matches(SPACE))
        };
        let key = key(rest)?;
        Ok(Some(Self { principals, options, key }))
    }

    /// As `ssh-keygen -Y verify` decides it.
    fn may_sign(&self, now: i64) -> Result<(), Refusal> {
        let fingerprint = fingerprint(&self.key);
        let Options { namespaces, valid_after, valid_before } = &self.options;
        if let Some(namespaces) = namespaces.as_ref().filter(|namespaces| !namespaces.matches(NAMESPACE)) {
            let namespaces = namespaces.as_str().to_owned();
            return Err(Refusal::NamespaceNotAllowed { fingerprint, namespaces });
        }
        if let Some(from) = valid_after.filter(|from| now < *from) {
            return Err(Refusal::KeyNotYetValid { fingerprint, from });
        }
        if let Some(until) = valid_before.filter(|until| now > *until) {
            return Err(Refusal::KeyNoLongerValid { fingerprint, until });
        }
        Ok(())
    }
}

/// The names of [`KINDS`].
const KNOWN: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

const SPACE: [char; 2] = [' ', '\t'];

/// The principals, which may stand in quotes as a whole, and what comes behind them.
fn first_field(line: &str) -> Result<(&str, &str), Wrong> {
    let expected = || "principals, a space, options if any, and the key".to_owned();
    let (field, rest) = match line.strip_prefix('"') {
        Some(quoted) => quoted
            .split_once('"')
            .ok_or_else(|| ("the quote around the principals is not closed".to_owned(), expected()))?,
        None => line.split_at(line.find(SPACE).unwrap_or(line.len())),
    };
    if field.contains('"') || !rest.is_empty() && !rest.starts_with(SPACE) {
        return Err(("there is a quote within the principals".to_owned(), expected()));
    }
    Ok((field, rest.trim_start_matches(SPACE)))
}

/// Whether a text begins with the name of a kind of key, known or not, and not with an option.
fn is_kind_of_key(text: &str) -> bool {
    let word = text.split(SPACE).next().unwrap_or_default();
    let begins = ["ssh-", "sk-", "ecdsa-", "rsa-", "webauthn-"].iter().any(|start| word.starts_with(start));
    begins && !word.contains(['=', ',', '"'])
}

/// The first space that is not in quotes; `\"` is no quote.
fn end_of_options(text: &str) -> usize {
    let (mut in_quotes, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => in_quotes = !in_quotes,
            c if SPACE.contains(&c) && !in_quotes => return at,
            _ => {}
        }
        escaped = c == '\\';
    }
    text.len()
}

/// Kind and base64 of a key. What comes behind them is a comment.
fn key(text: &str) -> Result<KeyData, Wrong> {
    let mut words = text.split(SPACE).filter(|word| !word.is_empty());
    let (Some(kind), Some(base64)) = (words.next(), words.next()) else {
        return Err(("there is no key".to_owned(), format!("{KINDS}, as in its .pub file")));
    };
    if kind.contains("-cert-v01@") {
        let what = format!("{} is a certificate, and cellgate checks none", quoted(kind));
        return Err((what, "the key itself".to_owned()));
    }
    if !KNOWN.contains(&kind) {
        return Err((format!("{} is a kind of key that does not count", quoted(kind)), KINDS.to_owned()));
    }
    let key = PublicKey::from_openssh(&format!("{kind} {base64}")).map_err(|error| {
        // The crate's words may quote what stands there.
        let why = quoted(&error.to_string());
        let what = format!("the key of the kind {} cannot be read: {why}", quoted(kind));
        (what, format!("{KINDS}, as in its .pub file"))
    })?;
    // The crate forgives lengths that lie, which OpenSSH does not.
    if key.to_openssh().ok() != Some(format!("{kind} {base64}")) {
        let what = format!("the key of the kind {} is not as OpenSSH writes it", quoted(kind));
        return Err((what, format!("{KINDS}, as in its .pub file")));
    }
    supported(key.key_data()).map_err(|what| (what, KINDS.to_owned()))?;
    Ok(key.key_data().clone())
}
