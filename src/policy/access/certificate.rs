//! The names in a client certificate by which its holder is known on the admin plane: DNS names, mail addresses and URIs of its
//! subject alternative names, and the common names of its subject. All count alike: whoever signs for operators decides what is in
//! a certificate.

use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Most names that are looked at: nobody has more, and who signs is trusted.
const MOST: usize = 64;

/// Of a certificate in DER; none where it cannot be read.
pub fn names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = parse_x509_certificate(der) else { return Vec::new() };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let alternative = alternative.filter_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            Some((*name).to_owned())
        }
        _ => None,
    });
    let common = certificate.subject().iter_common_name();
    let common = common.filter_map(|name| name.as_str().ok()).map(str::to_owned);
    alternative.chain(common).take(MOST).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use devcerts::{Authority, Usage};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn alternative_names_and_the_common_name_are_names() {
        let authority = Authority::new("tests").unwrap();
        let pair = authority.issue(&["ops.example.com", "other.example.com"], Usage::Client).unwrap();
        let der = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap();
        assert_eq!(names(&der), ["ops.example.com", "other.example.com", "ops.example.com"]);
        assert_eq!(names(b"no certificate"), Vec::<String>::new());
    }
}
