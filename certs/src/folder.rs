//! A folder of development certificates: what belongs in it, which of it is still good, and writing
//! the rest. Not a certificate store: nothing reads it but the demo and a person's browser.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use devcerts::{Authority, Pair, Usage, Validity};
use rcgen::{KeyPair, PublicKeyData};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;

/// What was done with one certificate; its text is the line that a person reads.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It was good and was left alone.
    Kept(PathBuf),
    /// It was made, and why.
    Made(PathBuf, Reason),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(path) => write!(f, "kept {}", path.display()),
            Self::Made(path, reason) => write!(f, "made {}: {reason}", path.display()),
        }
    }
}

/// Why a certificate was not good enough to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The certificate or its key is not there.
    Absent,
    /// One of the two cannot be read as what it should be, or they do not belong together.
    Unreadable,
    /// It ends in less than [`RENEW_BEFORE`], or has ended.
    Expiring,
    /// It is for other names than the demo serves now.
    OtherNames,
    /// Another authority signed it.
    OtherAuthority,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "it was not there",
            Self::Unreadable => "certificate and key could not be read or do not match",
            Self::Expiring => "it ends within 7 days",
            Self::OtherNames => "it was for other names",
            Self::OtherAuthority => "another authority had signed it",
        })
    }
}

/// Makes what is missing or no longer good in `folder` and reports on every certificate, the
/// authority first.
pub fn refresh(folder: &Path, now: SystemTime) -> Result<Vec<Step>> {
    fs::create_dir_all(folder).with_context(|| {
        format!("creating {}: is its parent a folder you may write to?", folder.display())
    })?;
    let (authority, first) = authority(folder, now)?;
    let mut steps = vec![first];
    for wanted in WANTED {
        let path = folder.join(wanted.file).with_extension("pem");
        let step = match flaw(folder, wanted, authority.ca_pem(), now)? {
            None => Step::Kept(path),
            Some(reason) => {
                let pair = authority
                    .issue(wanted.names, wanted.usage)
                    .with_context(|| format!("issuing {}", path.display()))?;
                write_pair(folder, wanted.file, &pair)?;
                Step::Made(path, reason)
            }
        };
        steps.push(step);
    }
    Ok(steps)
}

/// One certificate of the demo.
struct Wanted {
    /// File name without its ending: `.pem` is the certificate, `.key` its key.
    file: &'static str,
    names: &'static [&'static str],
    usage: Usage,
}

/// All certificates of the demo; certs/README.md says what each is for.
const WANTED: &[Wanted] = &[
    Wanted {
        file: "legacy",
        names: &[
            "cloud.getdbt.com",
            "metadata.cloud.getdbt.com",
            "semantic-layer.cloud.getdbt.com",
            "*.cloud.getdbt.com",
            "*.metadata.cloud.getdbt.com",
        ],
        usage: Usage::Server,
    },
    Wanted {
        file: "us1",
        names: &["us1.dbt.com", "*.us1.dbt.com", "*.metadata.us1.dbt.com", "*.semantic-layer.us1.dbt.com"],
        usage: Usage::Server,
    },
    Wanted {
        file: "cell",
        names: &[
            "cell-1.cells.internal",
            "cell-2.cells.internal",
            "cell-3.cells.internal",
            "shared.cells.internal",
            "localhost",
            "127.0.0.1",
            "::1",
        ],
        usage: Usage::Server,
    },
    Wanted { file: "edge", names: &["cellgate"], usage: Usage::Client },
];

/// The authority's files, without ending.
const AUTHORITY: &str = "ca";

/// A quarter: long enough that a demo left lying still starts, short enough that renewal is exercised.
const HOLDS: Duration = Duration::from_secs(90 * DAY);

/// Backdated by this, for a client whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(DAY);

/// A demo that is started today should still work next week.
const RENEW_BEFORE: Duration = Duration::from_secs(7 * DAY);

const DAY: u64 = 86_400;

fn authority(folder: &Path, now: SystemTime) -> Result<(Authority, Step)> {
    let validity = Validity { not_before: now - BACKDATED, not_after: now + HOLDS };
    let path = folder.join(AUTHORITY).with_extension("pem");
    let reason = match read_pair(folder, AUTHORITY)? {
        None => Reason::Absent,
        Some(pair) if !belong_together(&pair) => Reason::Unreadable,
        Some(pair) if expiring(&pair.cert_pem, now) => Reason::Expiring,
        Some(pair) => match Authority::from_pem(&pair.cert_pem, &pair.key_pem, validity) {
            Ok(authority) => return Ok((authority, Step::Kept(path))),
            Err(_) => Reason::Unreadable,
        },
    };
    let authority = Authority::with_validity("cellgate development authority", validity)
        .context("making the development authority")?;
    let pair = Pair { cert_pem: authority.ca_pem().to_owned(), key_pem: authority.key_pem() };
    write_pair(folder, AUTHORITY, &pair)?;
    Ok((authority, Step::Made(path, reason)))
}

/// The first reason why `wanted` must be made anew, or none.
fn flaw(folder: &Path, wanted: &Wanted, ca_pem: &str, now: SystemTime) -> Result<Option<Reason>> {
    let Some(pair) = read_pair(folder, wanted.file)? else {
        return Ok(Some(Reason::Absent));
    };
    let checks = [
        (!belong_together(&pair), Reason::Unreadable),
        (expiring(&pair.cert_pem, now), Reason::Expiring),
        (!names_are(&pair.cert_pem, wanted.names), Reason::OtherNames),
        (!signed_by(&pair.cert_pem, ca_pem), Reason::OtherAuthority),
    ];
    Ok(checks.into_iter().find_map(|(flawed, reason)| flawed.then_some(reason)))
}

/// Runs `look` on the certificate, or returns none if `pem` is no certificate.
fn with_cert<T>(pem: &str, look: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
    let cert = pem.parse_x509().ok()?;
    Some(look(&cert))
}

fn belong_together(pair: &Pair) -> bool {
    let Ok(key) = KeyPair::from_pem(&pair.key_pem) else {
        return false;
    };
    let public = key.subject_public_key_info();
    with_cert(&pair.cert_pem, |cert| cert.public_key().raw == public).unwrap_or(false)
}

fn expiring(cert_pem: &str, now: SystemTime) -> bool {
    let until = with_cert(cert_pem, |cert| SystemTime::from(cert.validity().not_after.to_datetime()));
    until.is_none_or(|until| until < now + RENEW_BEFORE)
}

fn names_are(cert_pem: &str, wanted: &[&str]) -> bool {
    let names = with_cert(cert_pem, |cert| {
        let san = cert.subject_alternative_name().ok().flatten();
        san.map(|san| san.value.general_names.iter().map(name_text).collect()).unwrap_or_default()
    });
    names == Some(wanted.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>())
}

fn name_text(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => std::net::Ipv4Addr::from(v4).to_string(),
            (_, Ok(v6)) => std::net::Ipv6Addr::from(v6).to_string(),
            _ => format!("{bytes:?}"),
        },
        other => other.to_string(),
    }
}

/// By key identifier (RFC 5280 section 4.2.1.1): enough to see that the authority was made anew.
fn signed_by(cert_pem: &str, ca_pem: &str) -> bool {
    let names = |cert: &X509Certificate<'_>| {
        cert.extensions().iter().find_map(|ext| match ext.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(aki) => {
                aki.key_identifier.as_ref().map(|id| id.0.to_vec())
            }
            _ => None,
        })
    };
    let owns = |cert: &X509Certificate<'_>| {
        cert.extensions().iter().find_map(|ext| match ext.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
    };
    let (named, owned) = (with_cert(cert_pem, names).flatten(), with_cert(ca_pem, owns).flatten());
    named.is_some() && named == owned
}

/// None if either half is absent; half a pair is as good as nothing.
fn read_pair(folder: &Path, file: &str) -> Result<Option<Pair>> {
    let cert = read(&folder.join(file).with_extension("pem"))?;
    let key = read(&folder.join(file).with_extension("key"))?;
    Ok(cert.zip(key).map(|(cert_pem, key_pem)| Pair { cert_pem, key_pem }))
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // Not text at all: as unreadable as broken PEM, and mended the same way.
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(Some(String::new())),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// The key first: a certificate that is there always has its key.
fn write_pair(folder: &Path, file: &str, pair: &Pair) -> Result<()> {
    write(&folder.join(file).with_extension("key"), &pair.key_pem, 0o600)?;
    write(&folder.join(file).with_extension("pem"), &pair.cert_pem, 0o644)
}

/// Replaces the file in one step, so that a server reloading it never reads half of it.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let doing = || format!("writing {}: may you write to this folder, and is there space?", path.display());
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // A left-over of a run that was killed may have another mode; start from nothing.
    if let Err(error) = fs::remove_file(&new)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error).with_context(doing);
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).with_context(doing)?;
    file.write_all(text.as_bytes()).with_context(doing)?;
    file.sync_all().with_context(doing)?;
    fs::rename(&new, path).with_context(doing)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// 2026-11-21, any fixed moment will do.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200)
    }

    /// The steps as `file: reason`, or `file: kept`.
    fn told(steps: &[Step]) -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        steps
            .iter()
            .map(|step| match step {
                Step::Kept(path) => format!("{}: kept", name(path)),
                Step::Made(path, reason) => format!("{}: {reason:?}", name(path)),
            })
            .collect()
    }

    fn all(what: &str) -> Vec<String> {
        ["ca", "legacy", "us1", "cell", "edge"].iter().map(|file| format!("{file}.pem: {what}")).collect()
    }

    #[test]
    fn the_first_run_makes_all_and_the_second_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(told(&refresh(dir.path(), now()).unwrap()), all("Absent"));
        assert_eq!(told(&refresh(dir.path(), now()).unwrap()), all("kept"));
    }

    #[test]
    fn keys_are_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        refresh(dir.path(), now()).unwrap();
        for file in ["ca", "legacy", "us1", "cell", "edge"] {
            let key = dir.path().join(file).with_extension("key");
            let mode = fs::metadata(&key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", key.display());
        }
    }

    #[test]
    fn within_seven_days_of_their_end_all_are_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        refresh(dir.path(), now()).unwrap();
        let early = now() + HOLDS - RENEW_BEFORE - Duration::from_secs(1);
        assert_eq!(told(&refresh(dir.path(), early).unwrap()), all("kept"));
        let late = now() + HOLDS - RENEW_BEFORE + Duration::from_secs(1);
        assert_eq!(told(&refresh(dir.path(), late).unwrap()), all("Expiring"));
    }

    /// Spoils a fresh folder and says what the next run does.
    fn after(spoil: impl FnOnce(&Path)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        refresh(dir.path(), now()).unwrap();
        spoil(dir.path());
        let steps = told(&refresh(dir.path(), now()).unwrap());
        assert_eq!(told(&refresh(dir.path(), now()).unwrap()), all("kept"), "mended");
        steps
    }

    #[test]
    fn one_lost_key_costs_one_certificate() {
        let steps = after(|dir| fs::remove_file(dir.join("us1.key")).unwrap());
        assert_eq!(steps[2], "us1.pem: Absent");
        assert_eq!(steps.iter().filter(|step| step.ends_with("kept")).count(), 4);
    }

    #[test]
    fn a_key_of_another_certificate_is_noticed() {
        let steps = after(|dir| {
            fs::copy(dir.join("us1.key"), dir.join("cell.key")).unwrap();
        });
        assert_eq!(steps[3], "cell.pem: Unreadable");
    }

    #[test]
    fn a_certificate_that_is_not_text_is_mended() {
        let steps = after(|dir| fs::write(dir.join("cell.pem"), [0xff, 0xfe]).unwrap());
        assert_eq!(steps[3], "cell.pem: Unreadable");
    }

    #[test]
    fn a_new_authority_signs_everything_again() {
        let steps = after(|dir| fs::remove_file(dir.join("ca.pem")).unwrap());
        let expected = ["ca.pem: Absent"]
            .into_iter()
            .map(str::to_owned)
            .chain(all("OtherAuthority").into_iter().skip(1));
        assert_eq!(steps, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_certificate_for_other_names_is_made_anew() {
        let steps = after(|dir| {
            fs::copy(dir.join("us1.key"), dir.join("cell.key")).unwrap();
            fs::copy(dir.join("us1.pem"), dir.join("cell.pem")).unwrap();
        });
        assert_eq!(steps[3], "cell.pem: OtherNames");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named_in_the_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = refresh(&file.join("dev"), now()).unwrap_err();
        assert!(format!("{error:#}").contains("file/dev"), "{error:#}");
    }
}
