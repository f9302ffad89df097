//! TLS towards an upstream: who vouches for it, and what is offered to be spoken.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Error, UpstreamTls};

/// What one upstream's servers are met with. Sessions are resumed over all cores.
#[derive(Clone)]
pub(super) struct Tls {
    /// Offers HTTP/2 and HTTP/1.1.
    any: TlsConnector,
    /// Offers HTTP/1.1 alone, since a WebSocket needs it.
    http1: TlsConnector,
    server_name: Option<ServerName<'static>>,
    made_of: MadeOf,
}

/// By which two are the same: a file may have other authorities in it by now.
#[derive(Clone, PartialEq, Eq)]
struct MadeOf {
    settings: UpstreamTls,
    authorities: Option<Arc<[u8]>>,
}

impl Tls {
    /// Reads the file with the authorities, if one is named.
    pub(super) fn new(settings: &UpstreamTls) -> Result<Self, Error> {
        let server_name = settings.server_name.as_deref().map(server_name).transpose()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(Error::Tls)?;
        let mut authorities = None;
        let builder = match settings.ca.as_deref() {
            _ if settings.insecure => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
            Some(path) => {
                let pem = std::fs::read(path).map_err(|source| Error::ReadCa { path: path.to_owned(), source })?;
                let roots = Arc::new(roots(path, &pem)?);
                authorities = Some(pem.into());
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                let unfit = |error: rustls::client::VerifierBuilderError| Error::BadCa {
                    path: path.to_owned(),
                    message: error.to_string(),
                };
                builder.with_webpki_verifier(verifier.map_err(unfit)?)
            }
            None => builder.with_platform_verifier().map_err(Error::Tls)?,
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = TlsConnector::from(Arc::new(config.clone()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let any = TlsConnector::from(Arc::new(config));
        Ok(Self { any, http1, server_name, made_of: MadeOf { settings: settings.clone(), authorities } })
    }

    /// The name that the certificate of a server at `host` must bear.
    pub(super) fn name_of(&self, host: &str) -> Result<ServerName<'static>, Error> {
        self.server_name.clone().map_or_else(|| server_name(host), Ok)
    }

    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.made_of == other.made_of
    }

    pub(super) async fn meet<T>(&self, name: ServerName<'static>, io: T, only_http1: bool) -> io::Result<TlsStream<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = if only_http1 { &self.http1 } else { &self.any };
        connector.connect(name, io).await
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(name.to_owned()).map_err(|_| Error::ServerName { name: name.to_owned() })
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let bad = |message: String| Error::BadCa { path: path.to_owned(), message };
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// Takes every certificate, as an operator asked for with `insecure`. Signatures are verified all the same: whoever is
/// at the other end has the key of the certificate that it showed.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
