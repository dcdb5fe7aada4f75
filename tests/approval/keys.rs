//! Keys and signatures of the real `ssh-keygen`, and signatures that it does not make.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A folder of keys, gone with it.
pub struct Keys(tempfile::TempDir);

impl Default for Keys {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

/// A pair of keys.
pub struct Key {
    /// The private one; the public one lies beside it.
    pub path: PathBuf,
    /// Kind and base64.
    pub public: String,
}

impl Keys {
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn make(&self, name: &str, kind: &str, bits: &str) -> Key {
        let path = self.path().join(name);
        let mut arguments = vec!["-q", "-t", kind, "-N", "", "-C", "", "-f", path.to_str().unwrap()];
        if !bits.is_empty() {
            arguments.extend(["-b", bits]);
        }
        good(&ssh_keygen(&arguments, b""));
        let public = std::fs::read_to_string(path.with_extension("pub")).unwrap().trim_end().to_owned();
        Key { path, public }
    }

    /// Whether `ssh-keygen -Y verify` takes the signature as that of `principal` at this moment (`YYYYMMDDHHMMSSZ`).
    pub fn verifies(&self, signers: &str, principal: &str, moment: &str, text: &str, armored: &str) -> bool {
        let (file, signature) = (self.path().join("allowed_signers"), self.path().join("signature"));
        std::fs::write(&file, signers).unwrap();
        std::fs::write(&signature, armored).unwrap();
        let (file, signature) = (file.to_str().unwrap(), signature.to_str().unwrap());
        let moment = format!("verify-time={moment}");
        let options = ["-n", "cellgate-plan@v1", "-I", principal, "-f", file, "-s", signature, "-O", &moment];
        ssh_keygen(&[&["-Y", "verify"], options.as_slice()].concat(), text.as_bytes()).status.success()
    }
}

impl Key {
    pub fn sign(&self, text: &str) -> String {
        self.sign_with(text, &[])
    }

    pub fn sign_with(&self, text: &str, options: &[&str]) -> String {
        self.sign_as("cellgate-plan@v1", text, options)
    }

    pub fn sign_as(&self, namespace: &str, text: &str, options: &[&str]) -> String {
        let path = self.path.to_str().unwrap();
        let arguments = [&["-Y", "sign", "-n", namespace, "-f", path], options].concat();
        good(&ssh_keygen(&arguments, text.as_bytes()))
    }

    /// As `ssh-keygen -l` has it.
    pub fn fingerprint(&self) -> String {
        let said = good(&ssh_keygen(&["-l", "-f", self.path.to_str().unwrap()], b""));
        said.split(' ').nth(1).unwrap().to_owned()
    }

    /// The bytes of the public key.
    pub fn blob(&self) -> Vec<u8> {
        blob(&self.public)
    }
}

/// The bytes of a public key, of its line.
pub fn blob(public: &str) -> Vec<u8> {
    STANDARD.decode(public.split(' ').nth(1).unwrap()).unwrap()
}

/// Runs `ssh-keygen`.
pub fn ssh_keygen(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new("ssh-keygen");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn();
    let mut child = child.unwrap_or_else(|error| panic!("ssh-keygen: {error}; `make test` installs it"));
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// What it said, which went well.
pub fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A string of the wire format.
pub fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// An armored signature of any parts.
pub fn armored(key: &[u8], namespace: &str, hash: &str, signature: &[u8]) -> String {
    let version = 1_u32.to_be_bytes();
    let parts = [string(key), string(namespace), string(""), string(hash), string(signature)].concat();
    let base64 = STANDARD.encode([b"SSHSIG".as_slice(), &version, &parts].concat());
    let mut text = "-----BEGIN SSH SIGNATURE-----\n".to_owned();
    for line in base64.as_bytes().chunks(70) {
        text += &format!("{}\n", std::str::from_utf8(line).unwrap());
    }
    text + "-----END SSH SIGNATURE-----\n"
}

/// What such a signature is over, for a text (PROTOCOL.sshsig).
pub fn signed_data(text: &str) -> Vec<u8> {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, text.as_bytes());
    let parts = [string("cellgate-plan@v1"), string(""), string("sha512"), string(hash)].concat();
    [b"SSHSIG".as_slice(), &parts].concat()
}
