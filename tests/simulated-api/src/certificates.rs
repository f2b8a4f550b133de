//! The simulator's own certificate authority, the server's certificate, and the faulty ones.

use crate::script::Fault;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    version::{TLS12, TLS13},
};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The server configurations with the valid and the faulty certificates.
pub(crate) struct Certificates {
    /// The certificate of the trusted issuer.
    pub ca_pem: String,
    /// The certificate of the issuer of `cert-unknown-issuer`.
    pub unknown_ca_pem: String,
    good: Arc<ServerConfig>,
    expired: Arc<ServerConfig>,
    not_yet_valid: Arc<ServerConfig>,
    wrong_name: Arc<ServerConfig>,
    unknown_issuer: Arc<ServerConfig>,
}

/// When a certificate is valid.
#[derive(Clone, Copy)]
pub(crate) enum Validity {
    /// From the first day of one year to the first day of another.
    Years(i32, i32),
    /// So many days before and after a moment.
    DaysAround(u16, SystemTime),
}

impl Default for Validity {
    fn default() -> Validity {
        Validity::Years(1975, 4096)
    }
}

type Problem = Box<dyn std::error::Error + Send + Sync>;

impl Certificates {
    /// Creates all certificates. `names` are additional names and addresses, and `valid` is the
    /// validity of the certificates without a fault.
    pub fn make(
        names: &[String],
        tls12_only: bool,
        valid: Validity,
    ) -> Result<Certificates, Problem> {
        let mut all: Vec<String> = vec!["localhost".into(), "::1".into()];
        all.extend((1..=9).map(|n| format!("127.0.0.{n}")));
        all.extend(
            ["dfw", "hkg", "iad", "lon", "ord", "syd"]
                .map(|code| format!("{code}.api.rackconnect.rackspace.com")),
        );
        for name in names {
            if !all.contains(name) {
                all.push(name.clone());
            }
        }
        let (ca_pem, ca) = authority("Simulated RackConnect CA")?;
        let (unknown_ca_pem, unknown_ca) = authority("Nobody's CA")?;
        let server = |names: &[String], ca, validity| server(names, ca, validity, tls12_only);
        Ok(Certificates {
            good: server(&all, &ca, valid)?,
            expired: server(&all, &ca, Validity::Years(2013, 2014))?,
            not_yet_valid: server(&all, &ca, Validity::Years(4000, 4096))?,
            wrong_name: server(&["elsewhere.example".into()], &ca, valid)?,
            unknown_issuer: server(&all, &unknown_ca, valid)?,
            ca_pem,
            unknown_ca_pem,
        })
    }

    /// The configuration for a connection with this fault.
    pub fn for_fault(&self, fault: Option<Fault>) -> Arc<ServerConfig> {
        match fault {
            Some(Fault::CertExpired) => &self.expired,
            Some(Fault::CertNotYetValid) => &self.not_yet_valid,
            Some(Fault::CertWrongName) => &self.wrong_name,
            Some(Fault::CertUnknownIssuer) => &self.unknown_issuer,
            _ => &self.good,
        }
        .clone()
    }
}

fn authority(name: &str) -> Result<(String, Issuer<'static, KeyPair>), Problem> {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((pem, Issuer::new(params, key)))
}

fn server(
    names: &[String],
    ca: &Issuer<'static, KeyPair>,
    validity: Validity,
    tls12_only: bool,
) -> Result<Arc<ServerConfig>, Problem> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, "Simulated RackConnect API");
    (params.not_before, params.not_after) = match validity {
        Validity::Years(first, last) => (date_time_ymd(first, 1, 1), date_time_ymd(last, 1, 1)),
        Validity::DaysAround(days, moment) => {
            let days = Duration::from_secs(u64::from(days) * 86_400);
            ((moment - days).into(), (moment + days).into())
        }
    };
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[_] = if tls12_only { &[&TLS12] } else { &[&TLS12, &TLS13] };
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(Arc::new(config))
}
