//! TLS for the hosts that are played, under an authority that is made at each start.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use crate::google::hosts::HOSTS;
use crate::pem;
use crate::state::unix_time;

/// The first byte of whoever speaks TLS: the content type of a handshake (RFC 8446 section 5.1).
pub(crate) const HANDSHAKE: u8 = 0x16;

const DAY: u64 = 24 * 3_600;

/// Days for which certificates are good: fewer than what the strictest clients allow.
const DAYS: u64 = 365;

/// What a server needs to speak TLS.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// The certificate of the authority, in PEM.
    pub(crate) ca: String,
}

impl Tls {
    /// Makes an authority that signs one certificate and is gone.
    pub(crate) fn new() -> Self {
        let (ca, issuer) = authority();
        let key = KeyPair::generate().expect("a P-256 key can be generated");
        let leaf = leaf().signed_by(&key, &issuer).expect("an authority of our own signs");
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has what the versions of TLS need")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.into())
            .expect("the certificate is of this key");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { acceptor: Arc::new(config).into(), ca }
    }
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Authority of an earthkey sandbox");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    limit(&mut params);
    let key = KeyPair::generate().expect("a P-256 key can be generated");
    let certificate = params.self_signed(&key).expect("a key of our own signs");
    (pem::encode("CERTIFICATE", certificate.der()), Issuer::new(params, key))
}

/// Returns the certificate of every host, to be signed.
fn leaf() -> CertificateParams {
    let own = ["127.0.0.1", "::1", "localhost"];
    let names = HOSTS.into_iter().chain(own).map(str::to_owned).collect::<Vec<_>>();
    let mut params = CertificateParams::new(names).expect("the names of the hosts are plain ASCII");
    params.distinguished_name.push(DnType::CommonName, "earthkey sandbox");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Strict clients look for it (RFC 5280 section 4.2.1.1).
    params.use_authority_key_identifier_extension = true;
    limit(&mut params);
    params
}

fn limit(params: &mut CertificateParams) {
    let start = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_time().saturating_sub(DAY));
    params.not_before = start;
    params.not_after = start + Duration::from_secs(DAYS * DAY);
}
