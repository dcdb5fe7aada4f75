//! OCSP responses (RFC 6960) for tests, in DER by hand: about any certificate, from and until any moment. Nobody
//! has signed them; who looks at that is the client.

#![allow(dead_code)]

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// id-sha256.
const SHA256: [u8; 9] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
/// ecdsa-with-SHA256.
const ECDSA: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// id-pkix-ocsp-basic.
const BASIC: [u8; 9] = [0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];

/// Says that a certificate is good. The moments are as in `20261119000000Z`.
pub fn good(cert_pem: &str, from: &str, until: &str) -> Vec<u8> {
    let leaf = CertificateDer::from_pem_slice(cert_pem.as_bytes()).unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let moment = |text: &str| value(0x18, &[text.as_bytes().to_vec()]);
    let name = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf.issuer().as_raw());
    let serial = value(0x02, &[leaf.raw_serial().to_vec()]);
    let id = sequence(&[sequence(&[oid(&SHA256)]), octets(name.as_ref()), octets(&[0; 32]), serial]);
    let single = sequence(&[id, value(0x80, &[]), moment(from), value(0xa0, &[moment(until)])]);
    let data = sequence(&[value(0xa2, &[octets(&[0; 20])]), moment(from), sequence(&[single])]);
    let basic = sequence(&[data, sequence(&[oid(&ECDSA)]), value(0x03, &[vec![0]])]);
    sequence(&[value(0x0a, &[vec![0]]), value(0xa0, &[sequence(&[oid(&BASIC), octets(&basic)])])])
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    value(0x30, parts)
}

fn octets(bytes: &[u8]) -> Vec<u8> {
    value(0x04, &[bytes.to_vec()])
}

fn oid(bytes: &[u8]) -> Vec<u8> {
    value(0x06, &[bytes.to_vec()])
}

/// One value with its tag and length.
fn value(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let len = content.len();
    let mut der = match len {
        ..0x80 => vec![tag, len.try_into().unwrap()],
        _ => vec![tag, 0x82, (len >> 8).try_into().unwrap(), (len & 0xff).try_into().unwrap()],
    };
    der.extend(content);
    der
}
