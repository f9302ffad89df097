//! Accepts connections and speaks HTTP on them, for whatever service it is given.
//!
//! It knows nothing of what the service does. What it does itself is to keep one client from holding up another: it
//! counts connections, times them, and ends them well. hyper is given no timer, since its timers cannot tell an idle
//! connection from a slow one and know nothing of HTTP/2; instead each connection tells what it is doing in its
//! `pulse`, and a `sweeper` per core and listener closes what is overdue.

mod admission;
mod pulse;
mod sweeper;
mod socket;
mod proxy_protocol;
mod frames;
mod connection;
mod guard;
mod exchange;
mod streams;
mod handler;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::admission::Admission;
use self::admission::Refused;
use self::connection::Protocols;
use self::frames::{Flood, Flooded};
#[doc(hidden)]
pub use self::guard::{Bounds, Reader, Stop};
pub use self::handler::Handler;
pub use self::proxy_protocol::{Announcement, BadAnnouncement, ProxyProtocol};
use self::pulse::Order;
use self::socket::Socket;
use self::sweeper::Sweeper;
use crate::context::{Connection, Scheme};

/// Connections that the kernel holds until we take them: what arrives in a quarter of a second at 16,000 a second. The
/// system cuts it down to its own limit (`net.core.somaxconn`, 4,096 on Linux).
const BACKLOG: i32 = 4096;

/// How often the log says that connections are refused or cannot be accepted.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// One listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// Whether we terminate TLS here.
    pub tls: bool,
    /// What visitors use, and so what the site is told: `https` also behind another TLS terminator.
    pub scheme: Scheme,
    /// Whether proxies in front announce here whom they bring.
    pub proxy_protocol: ProxyProtocol,
    /// `Some` makes it a listener that redirects to `https://` on that port and does nothing else.
    pub redirect_to_https: Option<u16>,
}

/// How much of us one client, or all of them, can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, over all cores and listeners.
    pub connections: usize,
    /// Connections at once from one address (IPv6: one /64); trusted proxies are not counted.
    pub connections_per_address: usize,
    /// From accepting a connection until its TLS handshake is done.
    pub handshake_timeout: Duration,
    /// From the first byte of a request's head until its last.
    pub header_timeout: Duration,
    /// Bytes of a request's head; on HTTP/2 after HPACK.
    pub header_size: usize,
    /// Header fields in a request.
    pub headers: usize,
    /// Bytes of a request's body; `None` is no limit.
    pub body_size: Option<u64>,
    /// Between two bytes of a request's body, and between two bytes that a client takes of a response.
    pub body_timeout: Duration,
    /// How long a connection may idle between requests.
    pub keep_alive: Duration,
    /// Streams at once on an HTTP/2 connection.
    pub h2_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 200,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(15),
            header_size: 32 * 1024,
            headers: 100,
            body_size: None,
            body_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(75),
            h2_streams: 128,
        }
    }
}

/// Opens a listening socket. It does not wait: clone it for each core, and hand each clone to [`Server::serve`].
///
/// Whether an IPv6 wildcard also takes IPv4 is left as the system has it (`net.ipv6.bindv6only`).
///
/// # Errors
///
/// As the system says: the address is taken, is not ours, or its port is privileged.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of the process before us may linger in TIME_WAIT on this address.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// One listener, as all cores serve it.
#[derive(Clone, Debug)]
pub struct Server {
    /// What it is.
    pub listener: Listener,
    /// The TLS side of it, when [`Listener::tls`] says so.
    pub tls: Option<Arc<ServerConfig>>,
    /// How much a client may take.
    pub limits: Limits,
    /// Who may connect, over all cores and listeners.
    pub admission: Arc<Admission>,
    /// When cancelled, no more connections are accepted and those that are open end after what they are doing.
    pub drain: CancellationToken,
    /// Tracks every connection while its socket is open, tunnels included.
    pub connections: TaskTracker,
}

impl Server {
    /// Accepts on `socket`, a clone of the listener's, and serves what comes on the runtime that polls this: one call
    /// for each core and listener. Returns when it has drained and its last connection has gone. Dropping it closes
    /// its connections at once, tunnels too.
    ///
    /// `service` is cloned for each connection. Each request brings a [`Connection`] in its extensions and a body that
    /// keeps to [`Limits::body_size`] and [`Limits::body_timeout`].
    ///
    /// # Errors
    ///
    /// When the socket cannot be used with this runtime, or [`Listener::tls`] and [`Server::tls`] disagree. Errors of
    /// accepting are logged, and it goes on.
    pub async fn serve<S: Handler>(&self, socket: std::net::TcpListener, service: S) -> io::Result<()> {
        if self.listener.tls != self.tls.is_some() {
            // Going on would speak in the clear where the operator asked for TLS.
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the listener and its TLS settings disagree"));
        }
        let listener = TcpListener::from_std(socket)?;
        let mut core = Core::new(self, service);
        let mut round = interval(core.sweeper.interval());
        // After a moment in which this core had no time to look, the rounds it missed are not held against anybody.
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.drain.cancelled() => break,
                _ = round.tick() => core.look(),
                accepted = listener.accept(), if !core.paused => {
                    core.take(accepted);
                    // The socket is shared: the other cores are to have their share of a burst.
                    tokio::task::yield_now().await;
                }
            }
        }
        core.take_queued(&listener.into_std()?);
        core.sweeper.command(Order::Drain);
        while !core.sweeper.is_empty() {
            round.tick().await;
            core.look();
        }
        Ok(())
    }
}

/// What one core has of a listener.
struct Core<'a, S> {
    server: &'a Server,
    service: S,
    protocols: Arc<Protocols>,
    sweeper: Sweeper,
    /// Whether accepting waits for the next round.
    paused: bool,
    complaints: Complaints,
}

impl<'a, S: Handler> Core<'a, S> {
    fn new(server: &'a Server, service: S) -> Self {
        let sweeper = Sweeper::new(&server.limits);
        Self {
            server,
            service,
            protocols: Arc::new(Protocols::new(server.tls.clone(), &server.limits, Arc::clone(&server.admission))),
            complaints: Complaints::every(COMPLAINT_INTERVAL, sweeper.interval()),
            sweeper,
            paused: false,
        }
    }

    /// A round of the sweeper's, and of all else that waits for one.
    fn look(&mut self) {
        self.sweeper.sweep();
        self.paused = false;
        self.complaints.flooded(self.protocols.floods.take());
        self.complaints.round(self.server.listener.address);
    }

    fn take(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Some errors are of the one connection, which is gone with them. The others (no more file
                // descriptors, no memory) would come again at once, for as long as they last.
                self.paused = !is_of_the_connection(&error);
                return self.complaints.failed(error);
            }
        };
        match self.server.admission.admit(peer.ip(), self.server.listener.proxy_protocol) {
            Ok(permit) => {
                let Ok(connection) = self.connection(&tcp, peer) else { return };
                let tracked = self.server.connections.token();
                let pulse = self.sweeper.enlist(self.protocols.first_phase(&permit));
                let socket = Socket::new(tcp, pulse, permit, tracked);
                let serve = connection::serve(socket, connection, Arc::clone(&self.protocols), self.service.clone());
                tokio::spawn(serve);
            }
            Err(refused) => self.complaints.refused(refused),
        }
    }

    /// Closing a listening socket resets what the kernel has accepted on it and we have not, so that is taken first.
    fn take_queued(&mut self, listener: &std::net::TcpListener) {
        // Not without end: while others still come, the last ones are as late as those after them.
        for _ in 0..BACKLOG {
            let Ok((tcp, peer)) = listener.accept() else { return };
            let tcp = tcp.set_nonblocking(true).and_then(|()| TcpStream::from_std(tcp));
            self.take(tcp.map(|tcp| (tcp, peer)));
        }
    }

    /// Fails only when the client has gone already.
    fn connection(&self, tcp: &TcpStream, peer: SocketAddr) -> io::Result<Connection> {
        // What is written is whole: waiting for more (Nagle) would only delay it.
        tcp.set_nodelay(true)?;
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Ok(Connection {
            peer: canonical(peer),
            local: canonical(tcp.local_addr()?),
            scheme: self.server.listener.scheme,
        })
    }
}

/// accept(2) hands over errors that the new connection had already.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}

/// Says what went wrong with connections now and then, and not for each of them.
#[derive(Debug, Default)]
struct Complaints {
    refused: u64,
    last_refused: Option<Refused>,
    failed: u64,
    last_failed: Option<io::Error>,
    floods: u64,
    last_flood: Option<(IpAddr, Flood)>,
    rounds_between: u32,
    rounds_left: u32,
}

impl Complaints {
    fn every(wait: Duration, round: Duration) -> Self {
        let rounds_between = u32::try_from(wait.as_nanos() / round.as_nanos()).unwrap_or(u32::MAX);
        Self { rounds_between, ..Self::default() }
    }

    fn refused(&mut self, refused: Refused) {
        self.refused += 1;
        self.last_refused = Some(refused);
    }

    fn failed(&mut self, error: io::Error) {
        self.failed += 1;
        self.last_failed = Some(error);
    }

    fn flooded(&mut self, flooded: Flooded) {
        self.floods += flooded.count;
        self.last_flood = flooded.last.or(self.last_flood);
    }

    /// The first is said in the next round, the others after a while, together.
    fn round(&mut self, address: SocketAddr) {
        self.rounds_left = self.rounds_left.saturating_sub(1);
        if self.rounds_left > 0 || (self.refused == 0 && self.failed == 0 && self.floods == 0) {
            return;
        }
        self.rounds_left = self.rounds_between;
        if let Some(last) = self.last_refused.take() {
            let count = std::mem::take(&mut self.refused);
            tracing::warn!(%address, count, "connections were refused: {last}");
        }
        if let Some(last) = self.last_failed.take() {
            let count = std::mem::take(&mut self.failed);
            tracing::warn!(%address, count, error = &last as &dyn std::error::Error, "connections cannot be accepted");
        }
        if let Some((peer, flood)) = self.last_flood.take() {
            let count = std::mem::take(&mut self.floods);
            tracing::warn!(%address, count, %peer, "connections were ended, since they sent too much of what asks for nothing: {flood}");
        }
    }
}

#[cfg(test)]
mod tests;
