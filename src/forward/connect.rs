//! Makes connections to one upstream: name, TCP, TLS and the HTTP handshake. Keeping them is [`super::pool`]'s part.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::socket::{Heard, Socket};
use super::upload::Upload;
use super::{Error, Protocol, Upstream, UpstreamTls};

/// What one HTTP/2 stream may have on its way to us unread. Enough for a gigabit over a data centre's millisecond and
/// twice that; a client that does not read holds back no more than this.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same over all streams: as much as HTTP/2 knows, so that clients that do not read cannot use up the window of
/// those that do. What is held is bounded by the streams' own windows.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// What h2 keeps per stream of what the upstream has not taken yet.
const SEND_BUFFER: usize = 64 * 1024;

/// An HTTP/2 connection is shared, so one whose other end has vanished would fail every request until TCP notices, which
/// takes a quarter of an hour. A ping while requests are open finds out in half a minute.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// Knows how to reach one upstream.
pub(super) struct Connector {
    host: String,
    port: u16,
    budget: Duration,
    protocol: Wire,
}

enum Wire {
    Http1,
    Http2,
    Tls(Tls),
}

struct Tls {
    name: ServerName<'static>,
    /// Offers HTTP/2 and HTTP/1.1.
    any: TlsConnector,
    /// Offers HTTP/1.1 alone, since a WebSocket needs it.
    http1: TlsConnector,
}

/// A connection that was just made.
pub(super) enum Fresh {
    Http1(Http1),
    Http2(http2::SendRequest<Upload>),
}

/// An HTTP/1.1 connection, used by one request at a time.
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<Upload>,
    pub(super) heard: Heard,
    task: AbortHandle,
}

impl Http1 {
    /// Ends the connection even if it is still busy writing to an upstream that does not read.
    pub(super) fn abort(self) {
        self.task.abort();
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the upstream's name cannot be resolved: {0}")]
    Resolve(#[source] io::Error),
    #[error("the upstream's name has no address")]
    NoAddress,
    #[error("no connection to the upstream: {0}")]
    Tcp(#[source] io::Error),
    #[error("no TLS with the upstream: {0}")]
    Tls(#[source] io::Error),
    #[error("no HTTP with the upstream: {0}")]
    Http(#[source] hyper::Error),
    #[error("no connection to the upstream in time")]
    TimedOut,
}

impl ConnectError {
    /// Whether it is we who have no socket left, of ports or of descriptors, which says nothing of the upstream.
    pub(super) fn is_for_want_of_sockets(&self) -> bool {
        /// The process has as many descriptors as it may, or the machine has. Linux, the BSDs and macOS number them
        /// alike, and the standard library has no name for them.
        const EMFILE: i32 = 24;
        const ENFILE: i32 = 23;
        match self {
            Self::Tcp(error) => {
                error.kind() == io::ErrorKind::AddrNotAvailable || matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
            }
            Self::Resolve(_) | Self::NoAddress | Self::Tls(_) | Self::Http(_) | Self::TimedOut => false,
        }
    }
}

impl Connector {
    pub(super) fn new(upstream: &Upstream) -> Result<Self, Error> {
        let server = &upstream.server;
        let protocol = match &server.protocol {
            Protocol::Http => Wire::Http1,
            Protocol::H2c => Wire::Http2,
            Protocol::Https(settings) => Wire::Tls(Tls::new(settings, &server.host)?),
        };
        Ok(Self { host: server.host.clone(), port: server.port, budget: upstream.connect_timeout, protocol })
    }

    /// Whether a connection can turn out to be HTTP/2, so that waiting for it may spare others the making.
    pub(super) fn may_speak_http2(&self) -> bool {
        !matches!(self.protocol, Wire::Http1)
    }

    /// Makes one. That it be done within `connect_timeout` is the pool's care, since waiting for another's connection
    /// counts too.
    pub(super) async fn connect(&self, only_http1: bool) -> Result<Fresh, ConnectError> {
        let tcp = self.dial().await?;
        match &self.protocol {
            Wire::Http1 => speak_http1(tcp).await,
            Wire::Http2 => speak_http2(tcp).await,
            Wire::Tls(tls) => {
                let connector = if only_http1 { &tls.http1 } else { &tls.any };
                let stream = connector.connect(tls.name.clone(), tcp).await.map_err(ConnectError::Tls)?;
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    speak_http2(stream).await
                } else {
                    speak_http1(stream).await
                }
            }
        }
    }

    /// Tries the name's addresses in turn. Each gets an equal share of the time that is left, so that one that swallows
    /// packets leaves some for the next.
    async fn dial(&self) -> Result<TcpStream, ConnectError> {
        let deadline = Instant::now() + self.budget;
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(ConnectError::Resolve)?.collect();
        let mut failure = ConnectError::NoAddress;
        for (tried, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => {
                    // Requests are written whole: waiting to fill a packet would only delay their ends.
                    let _ = tcp.set_nodelay(true);
                    return Ok(tcp);
                }
                Ok(Err(error)) => failure = ConnectError::Tcp(error),
                Err(_) => failure = ConnectError::TimedOut,
            }
        }
        Err(failure)
    }
}

async fn speak_http1(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Fresh, ConnectError> {
    let socket = Socket::new(io);
    let heard = socket.heard();
    let (sender, connection) =
        http1::Builder::new().handshake(TokioIo::new(socket)).await.map_err(ConnectError::Http)?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Fresh::Http1(Http1 { sender, heard, task: task.abort_handle() }))
}

async fn speak_http2(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Fresh, ConnectError> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .handshake(TokioIo::new(Socket::new(io)))
        .await
        .map_err(ConnectError::Http)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Fresh::Http2(sender))
}

impl Tls {
    fn new(settings: &UpstreamTls, host: &str) -> Result<Self, Error> {
        let name = settings.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| Error::ServerName { name: name.to_owned() })?;
        let mut config = trusting(settings.ca.as_deref())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = TlsConnector::from(Arc::new(config.clone()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { name, any: TlsConnector::from(Arc::new(config)), http1 })
    }
}

fn trusting(ca: Option<&Path>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(Error::Tls)?;
    let builder = match ca {
        Some(path) => builder.with_root_certificates(read_roots(path)?),
        None => builder.with_platform_verifier().map_err(Error::Tls)?,
    };
    Ok(builder.with_no_client_auth())
}

fn read_roots(path: &Path) -> Result<RootCertStore, Error> {
    let pem = std::fs::read(path).map_err(|source| Error::ReadCa { path: path.to_owned(), source })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let bad = |message: String| Error::BadCa { path: path.to_owned(), message };
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(Error::BadCa { path: path.to_owned(), message: "it holds no certificate".to_owned() });
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_our_own_is_a_want_of_sockets() {
        let tcp = |kind: io::ErrorKind| ConnectError::Tcp(kind.into()).is_for_want_of_sockets();
        assert!(tcp(io::ErrorKind::AddrNotAvailable));
        assert!(!tcp(io::ErrorKind::ConnectionRefused) && !tcp(io::ErrorKind::HostUnreachable));
        assert!(ConnectError::Tcp(io::Error::from_raw_os_error(24)).is_for_want_of_sockets());
        assert!(!ConnectError::TimedOut.is_for_want_of_sockets());
    }
}
