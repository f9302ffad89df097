//! Makes connections to one server: name, socket, TLS and the HTTP handshake. Keeping them is [`super::pool`]'s part.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::resolve::{Name, Resolve};
use super::socket::{Heard, Socket};
use super::tls::Tls;
use super::upload::Upload;
use super::{Error, Protocol, Server, Upstream};

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

/// hyper's buffers on HTTP/1.1, each way, and so the longest head of an answer: as large as those towards clients, since
/// what one connection reads the other writes. hyper's own 400 KiB would be most of what a request takes.
const HTTP1_BUFFER: usize = 64 * 1024;

/// What a server on a socket of this machine is called.
pub(super) const LOCALHOST: &str = "localhost";

/// Knows how to reach one server.
pub(super) struct Connector {
    place: Place,
    budget: Duration,
    protocol: Wire,
}

enum Place {
    Tcp { name: Name, port: u16 },
    Unix(PathBuf),
}

enum Wire {
    Http1,
    Http2,
    Tls(Tls, ServerName<'static>),
}

/// A connection that was just made.
pub(super) enum Fresh {
    Http1(Http1),
    Http2(http2::SendRequest<Upload>, Option<IpAddr>),
}

/// An HTTP/1.1 connection, used by one request at a time.
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<Upload>,
    pub(super) heard: Heard,
    /// Where it leads, if anywhere by address.
    pub(super) address: Option<IpAddr>,
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
    Dial(#[source] io::Error),
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
            Self::Dial(error) => {
                error.kind() == io::ErrorKind::AddrNotAvailable || matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
            }
            Self::Resolve(_) | Self::NoAddress | Self::Tls(_) | Self::Http(_) | Self::TimedOut => false,
        }
    }
}

impl Connector {
    /// Of the `server` of an upstream. `tls` is what there is for `https://`.
    pub(super) fn new(
        upstream: &Upstream,
        server: &Server,
        tls: Option<&Tls>,
        resolver: &Arc<dyn Resolve>,
    ) -> Result<Self, Error> {
        let host = match server {
            Server::Tcp { host, .. } => host.as_str(),
            Server::Unix(_) => LOCALHOST,
        };
        let protocol = match (&upstream.protocol, tls) {
            (_, Some(tls)) => Wire::Tls(tls.clone(), tls.name_of(host)?),
            (Protocol::H2c, None) => Wire::Http2,
            (Protocol::Http | Protocol::Https(_), None) => Wire::Http1,
        };
        let place = match server {
            Server::Tcp { port, .. } => Place::Tcp { name: Name::new(host, Arc::clone(resolver)), port: *port },
            Server::Unix(path) => Place::Unix(path.clone()),
        };
        Ok(Self { place, budget: upstream.connect_timeout, protocol })
    }

    /// Whether it could stand in the place of `other`, to the same server, with the connections that that one made.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let protocol = match (&self.protocol, &other.protocol) {
            (Wire::Tls(tls, name), Wire::Tls(other_tls, other_name)) => tls.is_as(other_tls) && name == other_name,
            (Wire::Http1, Wire::Http1) | (Wire::Http2, Wire::Http2) => true,
            _ => false,
        };
        protocol && self.budget == other.budget
    }

    /// Whether a connection can turn out to be HTTP/2, so that waiting for it may spare others the making.
    pub(super) const fn may_speak_http2(&self) -> bool {
        !matches!(self.protocol, Wire::Http1)
    }

    /// Makes one. That it be done within `connect_timeout` is the pool's care, since waiting for another's connection
    /// counts too.
    pub(super) async fn connect(&self, only_http1: bool) -> Result<Fresh, ConnectError> {
        match &self.place {
            Place::Unix(path) => {
                self.speak(UnixStream::connect(path).await.map_err(ConnectError::Dial)?, None, only_http1).await
            }
            Place::Tcp { name, port } => {
                let tcp = self.dial(name, *port).await?;
                let address = tcp.peer_addr().ok().map(|peer| peer.ip());
                self.speak(tcp, address, only_http1).await
            }
        }
    }

    /// Where the name leads is looked up again if that is due, so that no request has to wait for it.
    pub(super) async fn keep_fresh(&self) {
        if let Place::Tcp { name, .. } = &self.place {
            name.keep_fresh().await;
        }
    }

    /// Changes whenever the server's name leads elsewhere.
    pub(super) fn epoch(&self) -> u64 {
        match &self.place {
            Place::Tcp { name, .. } => name.epoch(),
            Place::Unix(_) => 0,
        }
    }

    /// Whether the server's name still leads to `address`.
    pub(super) fn leads_to(&self, address: Option<IpAddr>) -> bool {
        match (&self.place, address) {
            (Place::Tcp { name, .. }, Some(address)) => name.leads_to(address),
            _ => true,
        }
    }

    async fn speak<T>(&self, io: T, address: Option<IpAddr>, only_http1: bool) -> Result<Fresh, ConnectError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        match &self.protocol {
            Wire::Http1 => speak_http1(io, address).await,
            Wire::Http2 => speak_http2(io, address).await,
            Wire::Tls(tls, name) => {
                let stream = tls.meet(name.clone(), io, only_http1).await.map_err(ConnectError::Tls)?;
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    speak_http2(stream, address).await
                } else {
                    speak_http1(stream, address).await
                }
            }
        }
    }

    /// Tries the name's addresses in turn. Each gets an equal share of the time that is left, so that one that swallows
    /// packets leaves some for the next.
    async fn dial(&self, name: &Name, port: u16) -> Result<TcpStream, ConnectError> {
        let deadline = Instant::now() + self.budget;
        let addresses = name.addresses().await.map_err(ConnectError::Resolve)?;
        let mut failure = ConnectError::NoAddress;
        for (tried, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            match timeout_at(Instant::now() + share, TcpStream::connect((*address, port))).await {
                Ok(Ok(tcp)) => {
                    // Requests are written whole: waiting to fill a packet would only delay their ends.
                    let _ = tcp.set_nodelay(true);
                    name.worked(*address);
                    return Ok(tcp);
                }
                Ok(Err(error)) => failure = ConnectError::Dial(error),
                Err(_) => failure = ConnectError::TimedOut,
            }
        }
        name.doubt();
        Err(failure)
    }
}

async fn speak_http1(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    address: Option<IpAddr>,
) -> Result<Fresh, ConnectError> {
    let socket = Socket::new(io);
    let heard = socket.heard();
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HTTP1_BUFFER)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(ConnectError::Http)?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Fresh::Http1(Http1 { sender, heard, address, task: task.abort_handle() }))
}

async fn speak_http2(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    address: Option<IpAddr>,
) -> Result<Fresh, ConnectError> {
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
    Ok(Fresh::Http2(sender, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_our_own_is_a_want_of_sockets() {
        let tcp = |kind: io::ErrorKind| ConnectError::Dial(kind.into()).is_for_want_of_sockets();
        assert!(tcp(io::ErrorKind::AddrNotAvailable));
        assert!(!tcp(io::ErrorKind::ConnectionRefused) && !tcp(io::ErrorKind::HostUnreachable));
        assert!(ConnectError::Dial(io::Error::from_raw_os_error(24)).is_for_want_of_sockets());
        assert!(!ConnectError::TimedOut.is_for_want_of_sockets());
    }
}
