//! What makes callers of the admin plane known: the tokens' table and the material of the TLS door. These files are no part of the
//! configuration that a reload swaps; they are read again when they change.

use std::sync::Arc;

use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ServerConfig, crypto::aws_lc_rs};

use super::boot::admin::{Admin, AdminTls, ROLES};
use super::files::{BOOT_FILE, FileText};
use super::problem::{Problem, Report, did_you_mean, one_of, quoted};
use super::scan::{Places, scan};
use super::secret::unhex;
use super::slot::{At, Document};
use super::tables::Row;
use super::tables::csv::read_csv;
use super::time::{parse_moment, show_moment};
use super::tls::Tls;
use crate::policy::access::token::{PREFIX, TokenDigest, TokenRow, TokenTable};
use crate::policy::access::{Access, Role};
use crate::policy::code::Code;

/// Columns of the tokens' file.
pub const TOKEN_COLUMNS: [&str; 5] = ["name", "role", "sha256", "expires", "note"];

/// Most tokens: each call compares all of them, and that takes a tenth of a millisecond then.
const MAX_TOKENS: usize = 1_000;

/// Longest name of a token.
const MAX_NAME: usize = 64;

/// The files, as they were read. What is not configured is `None`.
#[derive(Clone, Debug, Default)]
pub struct AccessFiles {
    /// `admin.tokens`.
    pub tokens: Option<FileText>,
    /// Those of `admin.tls`.
    pub tls: Option<DoorFiles>,
}

/// The files of the TLS door.
#[derive(Clone, Debug)]
pub struct DoorFiles {
    /// `cert`.
    pub cert: FileText,
    /// `key`.
    pub key: FileText,
    /// `client_ca`.
    pub client_ca: Option<FileText>,
    /// `crl`.
    pub crl: Option<FileText>,
}

/// Makes of the files what the admin plane asks, and says what is wrong with them. A row with a mistake lets nobody in, and takes
/// no other one with it; a door whose files are wrong is closed. `boot` is the text that names them, for the lines of problems;
/// `now` is in seconds since the Unix epoch.
pub fn access(admin: &Admin, files: &AccessFiles, boot: &[u8], now: i64) -> (Access, Vec<Problem>) {
    let report = Report::default();
    // What is wrong with that text itself is said elsewhere.
    let places = scan(BOOT_FILE, boot, &Report::default()).map_or_else(Places::default, |(_, places)| places);
    let document = Document { file: BOOT_FILE, places, report: &report };
    let at = At::root(&document).key("admin");
    let tokens = admin.tokens.as_ref().map(|path| {
        let text = files.tokens.as_ref().and_then(|text| taken(text, &at.key("tokens")));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        text.map(|text| tokens(&name, text, &report)).unwrap_or_default()
    });
    let certificates = admin.tls.as_ref().map(|tls| Arc::clone(&tls.clients)).unwrap_or_default();
    let tls = admin.tls.as_ref().zip(files.tls.as_ref());
    let tls = tls.and_then(|(tls, files)| door(tls, files, now, &at.key("tls"))).map(Arc::new);
    (Access { tokens, certificates, tls }, report.into_problems())
}

/// The row to add for a token.
pub fn token_row(name: &str, role: Role, digest: TokenDigest, expires: Option<i64>) -> String {
    let expires = expires.map(show_moment).unwrap_or_default();
    format!("{name},{},{digest},{expires},", role.as_str())
}

/// Whether a text is fit to be the name of a token.
pub fn is_token_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte))
}

/// What is expected of one, for problems and the command line.
pub const TOKEN_NAME: &str = "1 to 64 letters, digits, or . _ @ -";

fn taken<'t>(text: &'t FileText, at: &At<'_>) -> Option<&'t [u8]> {
    match text {
        Ok(text) => Some(text),
        Err(unreadable) => {
            at.refuse(
                Code::FileNotRead,
                format!("the file {}", unreadable.what),
                unreadable.expected.as_str(),
            );
            None
        }
    }
}

fn tokens(file: &str, text: &[u8], report: &Report) -> TokenTable {
    let mut rows: Vec<TokenRow> = Vec::new();
    let required = [0, 1, 2];
    read_csv(file, text, report, &TOKEN_COLUMNS, &required, |row, [name, role, digest, expires, _]| {
        if rows.len() == MAX_TOKENS {
            row.refuse(
                Code::TooManyRows,
                "name",
                "too many tokens".to_owned(),
                &format!("at most {MAX_TOKENS}"),
                None,
            );
            return;
        }
        // Each is read before the first failure is looked at, so that all of them are told.
        let (name, role, digest) = (name_of(row, name), role_of(row, role), digest_of(row, digest));
        let expires = expires_of(row, expires);
        let Some((((name, role), digest), expires)) = name.zip(role).zip(digest).zip(expires) else { return };
        if rows.iter().any(|other| other.digest == digest) {
            let what = "another row has the same token".to_owned();
            row.refuse(Code::RowTwice, "sha256", what, "a token of its own for each row", None);
            return;
        }
        rows.push(TokenRow { name, role, digest, expires });
    });
    TokenTable::new(rows)
}

fn name_of(row: Row<'_>, text: &str) -> Option<Box<str>> {
    if !is_token_name(text) {
        row.refuse(Code::Text, "name", format!("found {}", not_a_token(text)), TOKEN_NAME, None);
        return None;
    }
    Some(text.into())
}

fn role_of(row: Row<'_>, text: &str) -> Option<Role> {
    let role = Role::parse(text);
    if role.is_none() {
        let names = || ROLES.iter().map(|(name, _)| *name);
        let hint = did_you_mean(text, names());
        row.refuse(Code::NotAWord, "role", format!("found {}", not_a_token(text)), &one_of(names()), hint);
    }
    role
}

fn digest_of(row: Row<'_>, text: &str) -> Option<TokenDigest> {
    let bytes = unhex(text).and_then(|bytes| bytes.try_into().ok()).map(TokenDigest::new);
    if bytes.is_none() {
        // What stands there may be the token itself.
        let hint = text.starts_with(PREFIX).then(|| {
            "it looks like the token itself: take it out, for it is known to others now, and make a new one".to_owned()
        });
        let what = "found no digest".to_owned();
        row.refuse(
            Code::TokenDigest,
            "sha256",
            what,
            "the 64 hex digits that `cellgate token new` prints",
            hint,
        );
    }
    bytes
}

/// `Some(None)` is a token without an end. One whose time is over stays in the table: its holder is told so.
fn expires_of(row: Row<'_>, text: &str) -> Option<Option<i64>> {
    if text.is_empty() {
        return Some(None);
    }
    let moment = parse_moment(text);
    if moment.is_none() {
        let expected = "nothing, or a moment such as 2026-12-31T00:00:00Z";
        row.refuse(Code::Moment, "expires", format!("found {}", not_a_token(text)), expected, None);
    }
    moment.map(Some)
}

/// Quoted, unless it could be a secret that stands in the wrong column.
fn not_a_token(text: &str) -> String {
    if text.contains(PREFIX) { "what looks like a token".to_owned() } else { quoted(text) }
}

/// The rustls configuration of the door. Nothing is resumed: a session would outlive the certificate that it was made under.
fn door(tls: &AdminTls, files: &DoorFiles, now: i64, at: &At<'_>) -> Option<ServerConfig> {
    let reader = Tls::new(now);
    let (cert, key) = (taken(&files.cert, &at.key("cert")), taken(&files.key, &at.key("key")));
    let ca_at = at.key("client_ca");
    let ca = files.client_ca.as_ref().map(|text| taken(text, &ca_at));
    let crl_at = at.key("crl");
    let crl = files.crl.as_ref().map(|text| taken(text, &crl_at));
    let clients = match ca {
        None => None,
        Some(ca) => {
            let roots = reader.roots(ca?, &ca_at)?;
            let crls = match crl {
                None => None,
                Some(crl) => Some(reader.crls(crl?, &crl_at)?),
            };
            Some(reader.client_policy(roots, crls, false, at)?)
        }
    };
    debug_assert_eq!(clients.is_some(), tls.client_ca.is_some());
    let pair = reader.pair(cert?, key?, &at.key("cert"))?;
    // What is over is told, and serves on: whoever has to mend it may need this door.
    reader.leaf(&pair.chain[0], &at.key("cert"));
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("aws-lc-rs supports TLS 1.3");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(policy) => builder.with_client_cert_verifier(policy.verifier),
    };
    let Ok(mut config) = builder.with_single_cert(pair.chain, pair.key) else {
        at.key("key").refuse(
            Code::KeyOfAnother,
            "the key does not belong to the certificate",
            "the private key of this certificate",
        );
        return None;
    };
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(config)
}
