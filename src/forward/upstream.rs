//! What an operator says of an upstream: its servers and how they are treated. Plain settings, already parsed.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use http::uri::PathAndQuery;

/// One upstream: servers that stand for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in routes and logs.
    pub name: String,
    /// What all of its servers speak.
    pub protocol: Protocol,
    /// Where they stand: one at least, and no more than [`Upstream::MOST_SERVERS`].
    pub servers: Vec<Server>,
    /// Which of them a request goes to.
    pub balance: Balance,
    /// How it is found out which of them work.
    pub health_check: HealthCheck,
    /// To connect, TLS included.
    pub connect_timeout: Duration,
    /// From the last byte of the request sent to the head of the response.
    pub response_timeout: Duration,
    /// Between two bytes of a response.
    pub idle_timeout: Duration,
    /// The same for upgraded connections, `text/event-stream` and gRPC.
    pub stream_idle_timeout: Duration,
    /// Of the headers that are dropped because upstreams mistake them for the path, those that pass.
    pub keep_headers: Vec<HeaderName>,
    /// Kept-alive connections per server and core. What a burst takes beyond goes two seconds after its last use; 0 keeps
    /// none.
    pub max_idle_connections: usize,
    /// Which `Host` it is sent.
    pub host: HostHeader,
    /// Whether it is told the session's token.
    pub forward_token: bool,
}

impl Upstream {
    /// As many as a request can remember having tried without allocating. Whoever has more groups them.
    pub const MOST_SERVERS: usize = 64;

    /// A server's address as the operator wrote it.
    #[must_use]
    pub fn address(&self, server: &Server) -> String {
        match server {
            Server::Tcp { .. } => format!("{}://{server}", self.protocol.scheme()),
            Server::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

/// Where a server stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// On the network.
    Tcp {
        /// Name or address; an IPv6 address without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// On this machine: the path of its socket.
    Unix(PathBuf),
}

/// `host:port`, or a socket's path.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What an upstream speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `http://` and `unix:`: HTTP/1.1 in the clear.
    Http,
    /// `h2c://`: HTTP/2 in the clear, with prior knowledge.
    H2c,
    /// `https://`: HTTP/2 or HTTP/1.1, as ALPN settles it.
    Https(UpstreamTls),
}

impl Protocol {
    const fn scheme(&self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Https(_) => "https",
        }
    }
}

/// How an `https://` upstream is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// PEM file with the certificates that vouch for it; `None` takes the system's.
    pub ca: Option<PathBuf>,
    /// The name its certificate must bear; `None` takes each server's host.
    pub server_name: Option<String>,
    /// Takes whatever certificate comes: whoever is in between can be the upstream.
    pub insecure: bool,
}

/// Which server a request goes to, of those that work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Of two that are drawn, the one with fewer requests under way.
    LeastConnections,
    /// The one that the session belongs to. Without a session as [`Self::RoundRobin`].
    Session,
}

/// How it is found out which servers work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What every server is asked from time to time; `None` judges by the connections of requests alone.
    pub path: Option<PathAndQuery>,
    /// From one answer to the next question.
    pub interval: Duration,
    /// For the answer, the connection included.
    pub timeout: Duration,
    /// So many failures in a row take a server out.
    pub fail_after: u32,
    /// So many good answers in a row let it back.
    pub pass_after: u32,
}

/// Which `Host` an upstream is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostHeader {
    /// The visitor's.
    #[default]
    Preserve,
    /// The server's own.
    Upstream,
}
