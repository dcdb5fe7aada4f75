//! The file with fields that go to the collector with every batch: keys to it, as a rule. What a file holds is never repeated
//! anywhere.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Most bytes of the file: some keys and tokens, each far below what a server takes as a head.
const MAX_BYTES: usize = 16 * 1024;

/// Why there are no fields.
#[derive(Debug, thiserror::Error)]
pub(super) enum FieldsError {
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    #[error("{0} has mode {1:04o}, so that everybody can read it: chmod o-rwx {0}")]
    Open(PathBuf, u32),
    #[error("{0}: longer than {MAX_BYTES} bytes; expected a few lines such as `api-key: 1234`")]
    Long(PathBuf),
    #[error("{0}:{1}: expected a field such as `api-key: 1234`")]
    Line(PathBuf, usize),
}

/// Reads the file. Blank lines and lines that begin with `#` do not count.
pub(super) fn read(path: &Path) -> Result<HeaderMap, FieldsError> {
    let file = |error| FieldsError::File(path.to_owned(), error);
    let mode = fs::metadata(path).map_err(file)?.permissions().mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(FieldsError::Open(path.to_owned(), mode));
    }
    let text = fs::read(path).map_err(file)?;
    if text.len() > MAX_BYTES {
        return Err(FieldsError::Long(path.to_owned()));
    }
    let mut fields = HeaderMap::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let (name, value) = field(line).ok_or_else(|| FieldsError::Line(path.to_owned(), number + 1))?;
        fields.append(name, value);
    }
    Ok(fields)
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    let mut value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    value.set_sensitive(true);
    (!value.is_empty()).then_some((name, value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_fields_is_read_and_never_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        let read_text = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read(&path)
        };
        let fields =
            read_text("# a key\n\nApi-Key: canary-1\nAuthorization:Bearer canary:2\r\n", 0o640).unwrap();
        assert_eq!(
            (&fields["api-key"], &fields["authorization"]),
            (&"canary-1".parse().unwrap(), &"Bearer canary:2".parse().unwrap())
        );
        assert!(!format!("{fields:?}").contains("canary"));
        for (text, mode, expect) in [
            ("a: canary\ncanary\n", 0o600, "headers:2: expected a field such as"),
            ("a b: canary\n", 0o600, "headers:1: expected a field such as"),
            ("a:\n", 0o600, "headers:1: expected a field such as"),
            ("a: canary\n", 0o644, "has mode 0644, so that everybody can read it: chmod o-rwx"),
            (&format!("a: canary{}", "x".repeat(MAX_BYTES)), 0o600, "longer than 16384 bytes"),
        ] {
            let said = read_text(text, mode).unwrap_err().to_string();
            assert!(said.contains(expect) && !said.contains("canary"), "{said}");
        }
        assert!(read(Path::new("/nowhere")).unwrap_err().to_string().starts_with("/nowhere: "));
    }
}
