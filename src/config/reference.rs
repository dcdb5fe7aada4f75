//! The configuration reference, printed from the declarations of the keys themselves:
//! `docs/config-reference.md` is this text, and a test holds the two together.

use std::fmt::Write;

use super::raw::{self, Key, Keys, Outline};
use super::tables::RESERVED_PREFIXES;

/// The whole of `docs/config-reference.md`.
pub fn reference() -> String {
    let mut text = String::from(INTRODUCTION);
    let files: [(&str, &str, &'static [Key]); 5] = [
        ("boot.yaml", BOOT, raw::Boot::KEYS),
        ("cellgate.yaml", ROUTING, raw::Routing::KEYS),
        ("clients.yaml", CLIENTS, raw::Clients::KEYS),
        ("accounts.yaml", ACCOUNTS, raw::Accounts::KEYS),
        ("environments.yaml", ENVIRONMENTS, raw::Environments::KEYS),
    ];
    for (file, about, keys) in files {
        section(&mut text, &format!("## `{file}`\n\n{about}"), "", keys);
    }
    text.push_str(TABLES);
    let reserved: Vec<String> = RESERVED_PREFIXES.iter().map(|label| format!("`{label}`")).collect();
    let _ = writeln!(text, "{PREFIXES}{}.", reserved.join(", "));
    text
}

/// One mapping as a table, then the mappings inside it.
fn section(text: &mut String, title: &str, path: &str, keys: &'static [Key]) {
    let _ = write!(text, "\n{title}\n\n| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in keys {
        let default = match (key.default)() {
            word if word == "required" => "**required**".to_owned(),
            word if word == "-" => word,
            value => format!("`{value}`"),
        };
        let _ = writeln!(
            text,
            "| `{}` | {} | {default} | {} |",
            key.name,
            kind(&key.outline),
            key.meaning.trim()
        );
    }
    for key in keys {
        let (keys, brackets) = match &key.outline {
            Outline::Leaf(_) => continue,
            Outline::Mapping(keys) | Outline::WordOr(_, keys) => (*keys, ""),
            Outline::List(Outline::Mapping(keys) | Outline::WordOr(_, keys)) => (*keys, "[]"),
            Outline::List(_) => continue,
        };
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{}{brackets}", key.name);
        section(text, &format!("### `{path}`"), &path, keys);
    }
}

fn kind(outline: &Outline) -> String {
    match outline {
        Outline::Leaf(kind) => (*kind).to_owned(),
        Outline::List(item) => format!("list of {}", kind(item)),
        Outline::Mapping(_) => "mapping".to_owned(),
        Outline::WordOr(word, _) => format!("`{word}` or mapping"),
    }
}

const INTRODUCTION: &str = "\
# Configuration reference

Generated from the declarations in `src/config/raw/`; a test fails when this page and the code differ. The page
explains every key. `config/` in this repository is a complete example, and `cellgate check` reads a folder, reports
every mistake in it with file, line and column, and serves nothing.

A configuration is one folder with two files and the tables that they name:

- `boot.yaml`: what cannot be changed while cellgate runs. A reload that finds a change there says which fields need a
  restart.
- `cellgate.yaml` and what it names: everything else. A reload takes all of it or nothing of it.

Rules for all files:

- YAML files are UTF-8, at most 1 MiB, 32 levels deep and 200,000 values, one document each. Anchors, aliases, tags
  and merge keys are refused, as are keys that stand twice, unknown keys, and tabs in indentation.
- Words and numbers that YAML versions read differently need quotes: `yes`, `no`, `on`, `off`, `y`, `n`, numbers with a
  leading zero, `0x` or `0o`, underscores, and `12:30`.
- Times are a whole number with a unit: `ms`, `s`, `m`, `h` or `d`. Moments are RFC 3339 in UTC: `2026-11-01T00:00:00Z`.
- Paths in `boot.yaml`, and those of certificates and keys in `cellgate.yaml`, are absolute or relative to the folder;
  they may leave it (`../certs/legacy.pem`). Tables may not: they are relative, without `..`, and no symbolic link
  leads out of the folder.
- Files and folder must not be writable by everybody. A file with a private or secret key must not be readable by its
  group or others, nor writable by its group, unless `allow_readable: true` stands beside it in `cellgate.yaml` (in
  `boot.yaml` it lets them read only). It is one of root, of the user that serves or of the owner of the configuration folder, in a folder of one of them where not
  everybody can write. On a file system that is mounted read-only owners and folders do not matter.
- `-` as default means that the key is optional and nothing happens without it.

## Key files

Fingerprint, cookie, ticket and seal keys are text files with 32 to 64 bytes in hexadecimal, as `openssl rand -hex 32 > name.key` makes
one. Blank lines and lines that begin with `#` do not count.

A fingerprint is the first 128 bits of HMAC-SHA-256 over the bytes of the token (or of the cookie's value), written as 32
hexadecimal digits.

## TLS

- Session tickets are AES-256-GCM under keys that are made from `tls.ticket_keys`. To change keys: add the new one last on all
  replicas, then put it first on all replicas, then remove the old one after `tls.ticket_lifetime`.
- A host with `client_certificate` asks by the server name (SNI). A request for it on a connection that was made for a host
  that asks for something else is 421, and so is one for another host on its connections. Without TLS of our own, `required`
  is 421. Sessions on such hosts are not resumed. Cells are told `X-Cellgate-Client-Cert: sha256=\"<64 hex digits>\",
  subject=\"CN=...\"`, with `%XX` for all but plain visible ASCII in the subject.
- Revocation lists must name their next update and cover every issuer of certificates; at a reload none may be past it. One
  that goes past it in service refuses every certificate that it speaks for. A reload with a new one counts at once, on
  connections that live too.
- An OCSP response that is malformed, about another certificate or not `good` is a problem. A stale one is not stapled.
- What is over, and certificates that end within `tls.warn_before`, stand in the log (once a day), on `/readyz` (which they do
  not fail) and in `cellgate_certificate_not_after_seconds` and `cellgate_trust_until_seconds`.
";

const BOOT: &str = "What cannot be changed while cellgate runs.";

const ROUTING: &str = "Everything that a reload can change.";

const CLIENTS: &str = "The file that `clients.file` names: how client programs are told apart in reports.";

const ACCOUNTS: &str =
    "The account table, where `accounts.file` ends in `.yaml`. Large tables are CSV, see below.";

const ENVIRONMENTS: &str = "The table of environments, where `environments.file` ends in `.yaml`.";

const TABLES: &str = "
## CSV tables

UTF-8, comma-separated (RFC 4180), at most 10,000,000 rows. The first line names the columns, in any order; lines that
begin with `#` do not count. Unknown columns are refused. The meaning of a column is that of the key of the same name
above.

| table | columns | may be absent |
|---|---|---|
| accounts | `account`, `prefixes` (separated by spaces), `cell`, `redirect_browsers` (`true`, `false` or nothing), `schedule` | `prefixes`, `redirect_browsers`, `schedule` |
| environments | `environment`, `account` | |
| known credentials | `key_id` (one of `identify.credentials.keys`), `fingerprint`, `account`, `note` (for humans) | `note` |
";

const PREFIXES: &str = "
## Prefixes that no account can have

Every surface; the first label of every cell's domain and of every host; and ";
