//! The trusted certificates: only those of a given file or, without one, the roots built into the
//! program and, if those do not know an issuer, the system's bundle.
//!
//! Parsing the system's bundle takes four times as long as a request. So it is read only during the
//! first handshake that needs it. The handshake then goes on: it needs no second connection and no
//! permit of the rate limit.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, KeyProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::SigningKey;
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};

use crate::error::{Error, Result};
use crate::state::file::{self, Links};

/// Where systems keep their bundle; the first existing file is read. Sources: Debian's and Ubuntu's
/// ca-certificates, Red Hat's ca-certificates (6, then 7 and later), SUSE's, Alpine's.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The largest bundle that is read. Mozilla's whole list is a quarter of a megabyte.
const MAX_BUNDLE_BYTES: u64 = 8 << 20;

/// The trusted roots.
#[derive(Clone)]
pub struct Roots {
    /// The configuration of connections.
    pub config: Arc<ClientConfig>,
    /// Differs between different sets of roots.
    pub identity: u64,
    /// The given CA file and the origin of that setting.
    pub named: Option<String>,
}

/// Only the roots of `file` or, without one, the built-in ones and then the system's. The text
/// beside the file is the origin of that setting.
///
/// # Errors
/// `file` cannot be read or holds no certificate.
pub fn roots(file: Option<(&Path, &str)>) -> Result<Roots> {
    let provider = Arc::new(provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3");
    let mut identity = DefaultHasher::new();
    let config = match file {
        Some((path, origin)) => {
            let roots = bundle(path).map_err(|err| {
                Error::usage(format!(
                    "{origin}: the CA file {} {err}: name a file of PEM certificates",
                    path.display()
                ))
            })?;
            hash_roots(&roots, &mut identity);
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        None => {
            hash_default_roots(&mut identity);
            // rustls calls every custom verifier "dangerous". This one only uses two of rustls's
            // own.
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(BuiltInThenSystem::new(provider)))
                .with_no_client_auth()
        }
    };
    let named = file.map(|(path, origin)| format!("{} ({origin})", path.display()));
    Ok(Roots { config: Arc::new(config), identity: identity.finish(), named })
}

fn hash_roots(roots: &RootCertStore, identity: &mut DefaultHasher) {
    for root in &roots.roots {
        (&*root.subject, &*root.subject_public_key_info).hash(identity);
        root.name_constraints.as_deref().hash(identity);
    }
}

/// The version of this program determines the built-in roots. The system's are not read here, so
/// their file counts.
fn hash_default_roots(identity: &mut DefaultHasher) {
    env!("CARGO_PKG_VERSION").hash(identity);
    if let Some(metadata) = system_bundle().and_then(|path| path.metadata().ok()) {
        (metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime()).hash(identity);
    }
}

/// The cryptography of all TLS connections. AES-128 comes before AES-256, as browsers have it:
/// deriving the keys of a connection by SHA-256 takes half of the instructions that SHA-384 takes.
pub(super) fn provider() -> CryptoProvider {
    let mut provider = CryptoProvider { key_provider: &NoPrivateKeys, ..ring::default_provider() };
    provider.cipher_suites.sort_by_key(|suite| {
        matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_256_GCM_SHA384
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        )
    });
    provider
}

/// Loads no private keys, because no client certificate is ever sent. This keeps the code that
/// signs, 45 KB, out of the program.
#[derive(Debug)]
struct NoPrivateKeys;

impl KeyProvider for NoPrivateKeys {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("there are no private keys".to_owned()))
    }
}

/// The system's bundle, if there is one.
pub(crate) fn system_bundle() -> Option<&'static Path> {
    SYSTEM_BUNDLES.iter().map(Path::new).find(|path| path.exists())
}

fn verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().ok()
}

fn bundle(path: &Path) -> Result<RootCertStore, String> {
    let pem =
        file::read_trusted(path, MAX_BUNDLE_BYTES, Links::Follow).map_err(|err| err.to_string())?;
    parse_bundle(&pem)
}

/// The certificates of a PEM file.
pub(crate) fn parse_bundle(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // Certificates that cannot be parsed are skipped.
    roots.add_parsable_certificates(
        CertificateDer::pem_slice_iter(pem).filter_map(|parsed| parsed.ok()),
    );
    if roots.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(roots) }
}

/// Verifies certificates with the built-in roots and, if these do not know the issuer, with the
/// system's.
struct BuiltInThenSystem {
    built_in: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
    system: OnceLock<Option<Arc<WebPkiServerVerifier>>>,
}

impl BuiltInThenSystem {
    fn new(provider: Arc<CryptoProvider>) -> BuiltInThenSystem {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let built_in = verifier(roots, &provider).expect("the built-in roots are not empty");
        BuiltInThenSystem { built_in, provider, system: OnceLock::new() }
    }

    /// The verifier with the system's roots, read when it is first needed.
    fn system(&self) -> Option<&Arc<WebPkiServerVerifier>> {
        let read = || {
            let path = system_bundle()?;
            log::debug!(
                "the built-in roots do not know the issuer of the certificate: reading {}",
                path.display()
            );
            let roots =
                bundle(path).inspect_err(|err| log::debug!("{} {err}", path.display())).ok()?;
            verifier(roots, &self.provider)
        };
        self.system.get_or_init(read).as_ref()
    }
}

impl fmt::Debug for BuiltInThenSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BuiltInThenSystem")
    }
}

impl ServerCertVerifier for BuiltInThenSystem {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let result = self.built_in.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match result {
            Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                match self.system() {
                    Some(system) => system.verify_server_cert(
                        end_entity,
                        intermediates,
                        server_name,
                        ocsp_response,
                        now,
                    ),
                    None => result,
                }
            }
            _ => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.built_in.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.built_in.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.built_in.supported_verify_schemes()
    }
}
