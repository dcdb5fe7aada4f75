//! Whom this program trusts where it calls others for itself: the database of a fleet, receivers of webhooks. Cells are the
//! engine's matter.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

/// Why nobody is trusted.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// The file cannot be read, or is no PEM.
    #[error("{0}: {1}")]
    File(PathBuf, pem::Error),
    /// What stands in it can sign nothing.
    #[error("{0}: no authority: {1}")]
    Certificate(PathBuf, rustls::Error),
    /// There is none in it.
    #[error("{0}: no certificates in PEM")]
    Empty(PathBuf),
    /// Those of the system cannot be read.
    #[error("reading the authorities of the system: {0}")]
    System(io::Error),
}

/// TLS of a client that trusts the authorities in a file; where none is named, those of the system. The provider is named,
/// since commands install none for the process.
///
/// # Errors
/// The file or the system's authorities cannot be read, or there is no authority in it.
pub fn client_config(file: Option<&Path>) -> Result<ClientConfig, AuthoritiesError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) => from_file(path, &mut roots)?,
        None => {
            let found = rustls_native_certs::load_native_certs().map_err(AuthoritiesError::System)?;
            roots.add_parsable_certificates(found);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions");
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn from_file(path: &Path, roots: &mut RootCertStore) -> Result<(), AuthoritiesError> {
    let failed = |error| AuthoritiesError::File(path.to_owned(), error);
    for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
        let added = roots.add(certificate.map_err(failed)?);
        added.map_err(|error| AuthoritiesError::Certificate(path.to_owned(), error))?;
    }
    if roots.is_empty() {
        return Err(AuthoritiesError::Empty(path.to_owned()));
    }
    Ok(())
}
