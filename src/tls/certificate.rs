//! One certificate with its key, read from two PEM files and found to belong together.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use super::{CertificateFiles, Error, Facts};
use crate::clock::Timestamp;

/// Ready for handshakes.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) facts: Facts,
    pub(super) key: Arc<CertifiedKey>,
}

impl Certificate {
    pub(super) fn load(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, Error> {
        let chain = read_chain(&files.chain)?;
        let facts = read_facts(&chain, &files.chain)?;
        let key = provider
            .key_provider
            .load_private_key(read_key(&files.key)?)
            .map_err(|error| Error::BadKey { path: files.key.clone(), message: error.to_string() })?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            // Unknown is a key that cannot say its public half, such as one in hardware: its owner must know.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(Self { facts, key: Arc::new(key) })
            }
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(Error::KeyMismatch { key: files.key.clone(), chain: files.chain.clone() })
            }
            Err(error) => Err(Error::BadCertificate { path: files.chain.clone(), message: error.to_string() }),
        }
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let chain = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::BadCertificate { path: path.to_owned(), message: error.to_string() })?;
    if chain.is_empty() {
        return Err(Error::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}

/// Every certificate of the chain is parsed, though only the first is asked anything: a broken intermediate would
/// otherwise show itself to visitors alone.
fn read_facts(chain: &[CertificateDer<'_>], path: &Path) -> Result<Facts, Error> {
    let bad = |message: String| Error::BadCertificate { path: path.to_owned(), message };
    let mut parsed = Vec::with_capacity(chain.len());
    for der in chain {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| bad(error.to_string()))?;
        parsed.push(certificate);
    }
    let site = parsed.first().ok_or_else(|| Error::NoCertificate { path: path.to_owned() })?;
    let subject = site.subject_alternative_name().map_err(|error| bad(error.to_string()))?;
    // The common name takes no part: clients have long ignored it (RFC 9525, section 2).
    let names = subject.map_or_else(Vec::new, |names| names.value.general_names.iter().filter_map(name).collect());
    // Before 1970 is as expired as 1970.
    let not_after = u64::try_from(site.validity().not_after.timestamp()).unwrap_or(0);
    Ok(Facts { names, not_after: Timestamp::from_seconds(not_after) })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(octets) => address(octets).map(|address| address.to_string()),
        _ => None,
    }
}

/// RFC 5280, section 4.2.1.6: 4 octets or 16, in network order.
fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(octets).ok().map(IpAddr::from);
    v4().or_else(v6)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let text = Zeroizing::new(std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?);
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => Error::NoKey { path: path.to_owned() },
        error => Error::BadKey { path: path.to_owned(), message: error.to_string() },
    })
}
