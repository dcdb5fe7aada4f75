//! Checks SSH signatures (PROTOCOL.sshsig of OpenSSH). Formats are read by the `ssh-key` crate; the mathematics is
//! aws-lc's, as everywhere in cellgate. No SHA-1, no DSA, no RSA below 2048 bits, no certificates.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ssh_key::public::{EcdsaPublicKey, KeyData};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, Mpint, SshSig};

use super::refusal::{Malformed, Refusal};
use crate::config::problem::quoted;

/// Bits of an RSA modulus: below, nobody advises to believe it (NIST SP 800-131A); above, checking takes long.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What a hardware key says behind its signature: one byte of flags, and a counter of four.
const SK_TRAILER: usize = 5;

/// The flag of a hardware key that was touched (`SSH_SK_USER_PRESENCE_REQD`).
const TOUCHED: u8 = 1;

/// The kinds of keys that count, for messages.
pub(super) const KINDS: &str =
    "a key of the kind Ed25519, ECDSA, RSA (2048 to 8192 bits), sk-ssh-ed25519 or sk-ecdsa";

/// Reads an armored signature.
pub(super) fn parse(armored: &str) -> Result<SshSig, Refusal> {
    let signature = SshSig::from_pem(armored).map_err(|error| explain(armored, &error))?;
    let unsupported = |why| Refusal::Unsupported { what: format!("{why}; expected {KINDS}") };
    supported(signature.public_key()).map_err(unsupported)?;
    Ok(signature)
}

/// `SHA256:` and the digest, as `ssh-keygen -l` has it.
pub(super) fn fingerprint(key: &KeyData) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Whether signatures of such a key can be checked; else why not. [`KINDS`] would be right.
pub(super) fn supported(key: &KeyData) -> Result<(), String> {
    let because = |why: &str| Err(why.to_owned());
    match key {
        KeyData::Ed25519(_) | KeyData::SkEd25519(_) => Ok(()),
        // The other form of the same point would look like another key.
        KeyData::Ecdsa(key) if key.as_sec1_bytes().first() == Some(&UNCOMPRESSED) => Ok(()),
        KeyData::SkEcdsaSha2NistP256(key) if key.ec_point().as_bytes().first() == Some(&UNCOMPRESSED) => {
            Ok(())
        }
        KeyData::Ecdsa(_) | KeyData::SkEcdsaSha2NistP256(_) => {
            because("an ECDSA key in compressed form, which OpenSSH does not write")
        }
        KeyData::Rsa(key) => match bits(&key.n) {
            bits if RSA_BITS.contains(&bits) => Ok(()),
            bits => because(&format!("an RSA key of {bits} bits")),
        },
        KeyData::Dsa(_) => because("a DSA key, which is too weak and stands on SHA-1"),
        other => because(&format!("a key of the kind {}", quoted(other.algorithm().as_str()))),
    }
}

/// SEC 1 section 2.3.3: what a point in uncompressed form begins with.
const UNCOMPRESSED: u8 = 4;

fn bits(number: &Mpint) -> usize {
    let bytes = number.as_positive_bytes().unwrap_or_default();
    let zeros = bytes.first().map_or(0, |first| first.leading_zeros() as usize);
    bytes.len() * 8 - zeros
}

/// Whether the key that is named in the signature has signed the message.
pub(super) fn check(signature: &SshSig, message: &[u8]) -> Result<(), Refusal> {
    let key = signature.public_key();
    let bad = || Refusal::BadSignature { fingerprint: fingerprint(key) };
    let signed =
        SshSig::signed_data(signature.namespace(), signature.hash_alg(), message).map_err(|_| bad())?;
    let bytes = signature.signature_bytes();
    let good = match (key, signature.algorithm()) {
        (KeyData::Ed25519(key), Algorithm::Ed25519) => ed25519(key.as_ref(), &signed, bytes),
        (KeyData::Ecdsa(key), Algorithm::Ecdsa { curve }) if key.curve() == curve => {
            ecdsa(key, &signed, bytes)
        }
        (KeyData::Rsa(key), Algorithm::Rsa { hash: Some(hash) }) => {
            let parameters = match hash {
                HashAlg::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
                _ => &RSA_PKCS1_2048_8192_SHA256,
            };
            let parts = key.n.as_positive_bytes().zip(key.e.as_positive_bytes());
            parts.is_some_and(|(n, e)| {
                RsaPublicKeyComponents { n, e }.verify(parameters, &signed, bytes).is_ok()
            })
        }
        (KeyData::SkEd25519(sk), Algorithm::SkEd25519) => {
            let (bytes, trailer) = sk_parts(bytes).ok_or_else(bad)?;
            let signed = sk_signed(sk.application(), trailer, &signed);
            touched(trailer, ed25519(sk.public_key().as_ref(), &signed, bytes), key)?
        }
        (KeyData::SkEcdsaSha2NistP256(sk), Algorithm::SkEcdsaSha2NistP256) => {
            let (bytes, trailer) = sk_parts(bytes).ok_or_else(bad)?;
            let signed = sk_signed(sk.application(), trailer, &signed);
            let point = EcdsaPublicKey::NistP256(*sk.ec_point());
            touched(trailer, ecdsa(&point, &signed, bytes), key)?
        }
        (key, algorithm) => {
            let (key, algorithm) = (key.algorithm(), quoted(algorithm.as_str()));
            let what = format!("a signature of the kind {algorithm} by a key of the kind {key}");
            return Err(Refusal::Unsupported { what });
        }
    };
    if good { Ok(()) } else { Err(bad()) }
}

fn ed25519(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}

fn ecdsa(key: &EcdsaPublicKey, message: &[u8], signature: &[u8]) -> bool {
    let (algorithm, width): (&'static EcdsaVerificationAlgorithm, usize) = match key.curve() {
        EcdsaCurve::NistP256 => (&ECDSA_P256_SHA256_FIXED, 32),
        EcdsaCurve::NistP384 => (&ECDSA_P384_SHA384_FIXED, 48),
        // 521 bits do not fill 66 bytes.
        EcdsaCurve::NistP521 => (&ECDSA_P521_SHA512_FIXED, 66),
    };
    let Some(fixed) = fixed_width(signature, width) else { return false };
    UnparsedPublicKey::new(algorithm, key.as_sec1_bytes()).verify(message, &fixed).is_ok()
}

/// The two numbers of an ECDSA signature (RFC 5656 section 3.1.2), each as wide as the curve.
fn fixed_width(mut signature: &[u8], width: usize) -> Option<Vec<u8>> {
    let mut fixed = Vec::with_capacity(2 * width);
    for _ in 0..2 {
        let number = Mpint::from_bytes(string(&mut signature)?).ok()?;
        let bytes = number.as_positive_bytes()?;
        fixed.resize(fixed.len() + width.checked_sub(bytes.len())?, 0);
        fixed.extend_from_slice(bytes);
    }
    signature.is_empty().then_some(fixed)
}

fn sk_parts(signature: &[u8]) -> Option<(&[u8], &[u8])> {
    signature.split_at_checked(signature.len().checked_sub(SK_TRAILER)?)
}

/// What a hardware key signs (PROTOCOL.u2f of OpenSSH, "SSH U2F Signatures").
fn sk_signed(application: &str, trailer: &[u8], message: &[u8]) -> Vec<u8> {
    let application = digest(&SHA256, application.as_bytes());
    [application.as_ref(), trailer, digest(&SHA256, message).as_ref()].concat()
}

/// A good signature counts where the key was touched for it.
fn touched(trailer: &[u8], good: bool, key: &KeyData) -> Result<bool, Refusal> {
    match trailer.first() {
        Some(flags) if good && flags & TOUCHED == 0 => {
            Err(Refusal::NotTouched { fingerprint: fingerprint(key) })
        }
        _ => Ok(good),
    }
}

/// Why a signature cannot be read: in our words where it is of a kind that we know and do not take, else in those of
/// the crate.
fn explain(armored: &str, error: &ssh_key::Error) -> Refusal {
    let unsupported = |what: String| Refusal::Unsupported { what };
    match kinds(armored) {
        Some(kinds) if kinds.key.contains("-cert-v01@") => unsupported(format!(
            "a certificate ({}), and cellgate checks none; expected the signature of a key that is itself in the file of \
             allowed signers",
            quoted(&kinds.key)
        )),
        Some(kinds) if kinds.signature == "ssh-rsa" => {
            unsupported("RSA with SHA-1 (ssh-rsa); expected rsa-sha2-512 or rsa-sha2-256".to_owned())
        }
        Some(kinds) if !["sha256", "sha512"].contains(&&*kinds.hash) => {
            unsupported(format!("a text hashed with {}; expected sha512 or sha256", quoted(&kinds.hash)))
        }
        _ => {
            // The crate's words may quote what stands there.
            let what = format!("the signature cannot be read: {}", quoted(&error.to_string()));
            Malformed::whole(what, "what ssh-keygen -Y sign has written, unchanged").into()
        }
    }
}

/// The names in a signature of whatever kinds.
struct Kinds {
    key: String,
    hash: String,
    signature: String,
}

fn kinds(armored: &str) -> Option<Kinds> {
    let lines = armored.lines().filter(|line| !line.starts_with('-'));
    let bytes = STANDARD.decode(lines.collect::<String>()).ok()?;
    let mut left = bytes.strip_prefix(b"SSHSIG")?.get(4..)?;
    let mut key = string(&mut left)?;
    let (_namespace, _reserved) = (string(&mut left)?, string(&mut left)?);
    let hash = string(&mut left)?;
    let mut signature = string(&mut left)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Kinds { key: text(string(&mut key)?), hash: text(hash), signature: text(string(&mut signature)?) })
}

/// Takes a string of the wire format: four bytes of length, and so many bytes (RFC 4251 section 5).
fn string<'a>(left: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = left.split_first_chunk::<4>()?;
    let (string, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    *left = rest;
    Some(string)
}
