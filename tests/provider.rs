//! The TLS provider of the process. In a test binary of its own: the choice is made once a process.

use cellgate::listen::tls::install_provider;

#[test]
fn aws_lc_rs_is_the_provider_for_everybody_and_installing_it_again_changes_nothing() {
    assert_eq!(install_provider(), Ok(()));
    assert_eq!(install_provider(), Ok(()));
    // What pingora does for its connectors; its ring comes too late.
    let config = rustls::ClientConfig::builder();
    let groups = &config.crypto_provider().kx_groups;
    assert!(groups.iter().any(|group| group.name() == rustls::NamedGroup::X25519MLKEM768));
}
