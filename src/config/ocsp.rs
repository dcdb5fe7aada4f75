//! OCSP responses that are stapled to a certificate (RFC 6960, DER): whether one is about this certificate,
//! says that it is good, and from when until when. Its signature is the client's to check: a wrong one
//! harms nobody but the server that sends it.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use x509_parser::asn1_rs::{Any, FromDer, oid};
use x509_parser::certificate::X509Certificate;
use x509_parser::time::ASN1Time;

/// When a response holds, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) from: i64,
    pub(super) until: i64,
}

/// Why a response is never stapled, as it stands in a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("the file is no OCSP response")]
    Malformed,
    #[error("the OCSP response reports a failure of the responder")]
    Failed,
    #[error("the OCSP response is about another certificate")]
    Other,
    #[error("the OCSP response does not say that the certificate is good")]
    NotGood,
    #[error("the OCSP response does not say until when it holds")]
    Endless,
}

/// Bytes of tags that stand in a response (X.690 section 8.1.2): universal ones, and the context's own.
const SEQUENCE: u32 = 0x10;
const ENUMERATED: u32 = 0x0a;
const OCTET_STRING: u32 = 0x04;
const INTEGER: u32 = 0x02;
const OBJECT_IDENTIFIER: u32 = 0x06;

/// DER values one after the other.
struct Values<'a>(&'a [u8]);

/// Reads a response about `leaf`.
pub(super) fn read(der: &[u8], leaf: &X509Certificate<'_>) -> Result<Times, Unusable> {
    let mut response = Values(Values::whole(der)?.universal(SEQUENCE)?);
    if response.universal(ENUMERATED)? != [0] {
        return Err(Unusable::Failed);
    }
    let mut bytes =
        Values(Values::whole(response.context(0)?.ok_or(Unusable::Malformed)?)?.universal(SEQUENCE)?);
    // id-pkix-ocsp-basic, the only type that clients must understand.
    if bytes.universal(OBJECT_IDENTIFIER)? != oid!(1.3.6.1.5.5.7.48.1.1).as_bytes() {
        return Err(Unusable::Malformed);
    }
    let mut basic = Values(Values::whole(bytes.universal(OCTET_STRING)?)?.universal(SEQUENCE)?);
    let mut data = Values(basic.universal(SEQUENCE)?);
    data.context(0)?;
    // Responder and time of production; whoever verifies the signature needs the first.
    data.any()?;
    data.any()?;
    let mut responses = Values(data.universal(SEQUENCE)?);
    while !responses.0.is_empty() {
        let mut single = Values(responses.universal(SEQUENCE)?);
        if is_about(single.universal(SEQUENCE)?, leaf)? {
            return times(single);
        }
    }
    Err(Unusable::Other)
}

fn times(mut single: Values<'_>) -> Result<Times, Unusable> {
    let status = single.any()?;
    if !(status.header.is_contextspecific() && status.tag().0 == 0) {
        return Err(Unusable::NotGood);
    }
    let from = moment(single.0)?;
    single.any()?;
    let until = moment(single.context(0)?.ok_or(Unusable::Endless)?)?;
    Ok(Times { from, until })
}

/// Whether a CertID names this certificate: serial number and hash of the issuer's name.
fn is_about(id: &[u8], leaf: &X509Certificate<'_>) -> Result<bool, Unusable> {
    let mut id = Values(id);
    id.universal(SEQUENCE)?;
    let issuer = id.universal(OCTET_STRING)?;
    id.universal(OCTET_STRING)?;
    let serial = id.universal(INTEGER)?;
    let name = leaf.issuer().as_raw();
    let hashed = match issuer.len() {
        // SHA-1 is what RFC 5019 section 2.1.1 asks for; it identifies here and proves nothing.
        20 => digest(&SHA1_FOR_LEGACY_USE_ONLY, name),
        32 => digest(&SHA256, name),
        _ => return Ok(false),
    };
    Ok(hashed.as_ref() == issuer && serial == leaf.raw_serial())
}

fn moment(der: &[u8]) -> Result<i64, Unusable> {
    ASN1Time::from_der(der).map(|(_, time)| time.timestamp()).map_err(|_| Unusable::Malformed)
}

impl<'a> Values<'a> {
    /// Of bytes that hold one value and nothing after it.
    fn whole(bytes: &'a [u8]) -> Result<Self, Unusable> {
        match Any::from_der(bytes) {
            Ok(([], _)) => Ok(Self(bytes)),
            Ok(_) | Err(_) => Err(Unusable::Malformed),
        }
    }

    fn any(&mut self) -> Result<Any<'a>, Unusable> {
        let (rest, value) = Any::from_der(self.0).map_err(|_| Unusable::Malformed)?;
        self.0 = rest;
        Ok(value)
    }

    /// The content of the next value, which has this universal tag.
    fn universal(&mut self, tag: u32) -> Result<&'a [u8], Unusable> {
        let value = self.any()?;
        let fits = value.header.is_universal() && value.tag().0 == tag;
        if fits { Ok(value.data) } else { Err(Unusable::Malformed) }
    }

    /// The content of the next value, where it has this tag of the context.
    fn context(&mut self, tag: u32) -> Result<Option<&'a [u8]>, Unusable> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let before = self.0;
        let value = self.any()?;
        if value.header.is_contextspecific() && value.tag().0 == tag {
            return Ok(Some(value.data));
        }
        self.0 = before;
        Ok(None)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use x509_parser::parse_x509_certificate;

    use super::*;

    const LEAF: &[u8] = include_bytes!("../../tests/config/ocsp/leaf.pem");
    const GOOD: &[u8] = include_bytes!("../../tests/config/ocsp/good.der");
    const GOOD_SHA256: &[u8] = include_bytes!("../../tests/config/ocsp/good256.der");
    const REVOKED: &[u8] = include_bytes!("../../tests/config/ocsp/revoked.der");
    const ENDLESS: &[u8] = include_bytes!("../../tests/config/ocsp/endless.der");

    fn about(der: &[u8], pem: &[u8]) -> Result<Times, Unusable> {
        let leaf = CertificateDer::from_pem_slice(pem).unwrap();
        let (_, leaf) = parse_x509_certificate(&leaf).unwrap();
        read(der, &leaf)
    }

    #[test]
    fn a_responders_answers_are_read() {
        // 2026-11-21T15:58:47Z, and a week later.
        let from = 1_795_276_727;
        let times = Ok(Times { from, until: from + 7 * 86_400 });
        assert_eq!(about(GOOD, LEAF), times);
        assert_eq!(about(GOOD_SHA256, LEAF), times);
        assert_eq!(about(REVOKED, LEAF), Err(Unusable::NotGood));
        assert_eq!(about(ENDLESS, LEAF), Err(Unusable::Endless));
        // OCSPResponse with status tryLater and nothing else.
        assert_eq!(about(&[0x30, 3, 0x0a, 1, 3], LEAF), Err(Unusable::Failed));
        let other = rcgen::generate_simple_self_signed(["us1.dbt.com".to_owned()]).unwrap();
        assert_eq!(about(GOOD, other.cert.pem().as_bytes()), Err(Unusable::Other));
    }

    #[test]
    fn no_bytes_are_read_as_more_than_they_are() {
        for at in 0..GOOD.len() {
            assert_eq!(about(&GOOD[..at], LEAF), Err(Unusable::Malformed), "{at} bytes");
            let mut changed = GOOD.to_vec();
            changed[at] ^= 0x40;
            // Whatever comes of it, it comes without a panic and is about this certificate or no other.
            let _ = about(&changed, LEAF);
        }
        assert_eq!(about(&[GOOD, b"x"].concat(), LEAF), Err(Unusable::Malformed));
    }
}
