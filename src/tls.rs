//! Certificates, chosen by SNI, and the TLS settings around them.
//!
//! Nothing here touches a socket: `server` is handed the finished [`rustls::ServerConfig`] and does the handshakes.

mod certificate;
mod resolver;
mod keeper;
mod pinned;

pub use self::keeper::{Keeper, Loaded, Looked, SharedFacts};

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig};

use self::certificate::Certificate;
use crate::clock::Timestamp;

/// TLS as the operator set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The oldest version that is spoken.
    pub min_version: Version,
    /// One a name; the first answers clients that name none or an unknown one.
    pub certificates: Vec<CertificateFiles>,
}

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2, RFC 5246.
    Tls12,
    /// TLS 1.3, RFC 8446.
    Tls13,
}

/// Where a certificate and its key stand, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the site's own certificate first.
    pub chain: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The DNS names and addresses that it is for.
    pub names: Vec<String>,
    /// Until when it is good.
    pub not_after: Timestamp,
}

impl Facts {
    /// Whether it is for this host, in lower case; `*` stands for exactly one label (RFC 9525, section 6.3).
    #[must_use]
    pub fn are_for(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| name == host || name.strip_prefix("*.").is_some_and(|below| Some(below) == parent))
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The chain's file holds no certificate.
    #[error("{} holds no certificate in PEM form", path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// A certificate is broken.
    #[error("the certificate in {} cannot be understood: {message}", path.display())]
    BadCertificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The key's file holds no private key.
    #[error("{} holds no private key in PEM form", path.display())]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// A key of a kind that is not supported.
    #[error("the private key in {} cannot be used: {message}", path.display())]
    BadKey {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The key belongs to another certificate.
    #[error("the private key in {} is not the one of the certificate in {}", key.display(), chain.display())]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The chain's file.
        chain: PathBuf,
    },
    /// There is nothing to show to a client.
    #[error("no certificate is configured")]
    NoneConfigured,
    /// The cryptographic library cannot work, for want of randomness or because of a self-test.
    #[error("the cryptographic library refuses to work")]
    Provider(#[source] rustls::Error),
}

/// Loads a certificate and its key, checks that they belong together, and says what the certificate is for. An expired
/// one is no error here: the caller compares [`Facts::not_after`].
///
/// # Errors
///
/// As [`Error`] says.
pub fn inspect(files: &CertificateFiles) -> Result<Facts, Error> {
    Certificate::load(files, &aws_lc_rs::default_provider()).map(|certificate| certificate.facts)
}

/// What a program on this machine meets a listener with that shows this certificate.
///
/// # Errors
///
/// As [`Error`] says.
pub fn client_config(files: &CertificateFiles) -> Result<ClientConfig, Error> {
    pinned::client_config(&Certificate::load(files, &aws_lc_rs::default_provider())?)
}

/// The TLS side of a listener, one for all cores: the certificates that `keeper` shows, HTTP/2 or HTTP/1.1 by ALPN,
/// resumption by stateless tickets.
///
/// The provider is named here and not installed for the process, since whoever uses the library may have installed
/// another.
///
/// # Errors
///
/// As [`Error`] says.
pub fn server_config(min_version: Version, keeper: &Keeper) -> Result<Arc<ServerConfig>, Error> {
    // Its key exchanges begin with X25519MLKEM768 (`prefer-post-quantum`, on by default); a test holds it to that.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions: &[_] = match min_version {
        Version::Tls12 => &[&TLS13, &TLS12],
        Version::Tls13 => &[&TLS13],
    };
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(Error::Provider)?
        .with_no_client_auth()
        .with_cert_resolver(keeper.shown());
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Keys are made anew every 6 hours and accepted for 12, so a stolen key opens half a day of sessions at most.
    tls.ticketer = aws_lc_rs::Ticketer::new().map_err(Error::Provider)?;
    // A second ticket costs 8 % of a handshake. Browsers that open several connections resume each with the same one
    // or make do without (RFC 8446, section 4.6.1, leaves the number to the server).
    tls.send_tls13_tickets = 1;
    // A cache of sessions would be a lock that all cores share, for clients of TLS 1.2 that know no tickets.
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    // Early data stays off (`max_early_data_size` is 0): it can be replayed, RFC 8446, section 8, and minting a
    // session is no harmless request.
    Ok(Arc::new(tls))
}

#[cfg(test)]
mod tests;
