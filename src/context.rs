//! What is known of a request before anything is decided: who asks, under which name, over what.
//!
//! Nothing here judges the visitor. A request that cannot be placed at all (no host, two hosts) is a [`Misaddressed`]
//! and becomes a refusal one layer up.

mod address;
mod malformed;
mod record;
mod spelt;
mod trace;

pub use self::address::{Misaddressed, Trust};
pub use self::malformed::{Malformed, Rule};
pub use self::record::{Entry, Record};
pub use self::spelt::Spelt;
pub use self::trace::Trace;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, Method, Request, Uri, Version};

use crate::random::Random;

use self::address::{Destination, Origin};

/// What the connection itself says, the same for every request on it. `server` puts it into each request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Who connected.
    pub peer: SocketAddr,
    /// Where they connected to.
    pub local: SocketAddr,
    /// What the listener says that visitors use.
    pub scheme: Scheme,
}

/// The scheme that the visitor's browser shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS, ours or a terminator's in front.
    Https,
}

impl Scheme {
    /// As in a URL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL of this scheme need not name.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Names one request in the logs, upstream and in refusals: 128 random bits in hexadecimal, or what a trusted proxy in
/// front has called it already.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The header field that it travels in, both ways.
    pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

    /// A new one.
    #[must_use]
    pub fn random(random: &dyn Random) -> Self {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        let mut text = [0; 32];
        trace::write_hex(&bytes, &mut text);
        Self(std::str::from_utf8(&text).expect("hexadecimal digits are ASCII").into())
    }

    /// A trusted proxy's, if it is 1 to 64 of `[A-Za-z0-9._-]`: it is going to stand in logs.
    #[must_use]
    pub fn adopt(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        ((1..=64).contains(&text.len()) && text.bytes().all(plain)).then(|| Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The facts of one request. Stands in its extensions as `Arc<Context>`.
#[derive(Debug)]
pub struct Context {
    /// Its name in every log.
    pub request_id: RequestId,
    /// What it belongs to, of which the site and others keep logs too.
    pub trace: Trace,
    /// What is asked for.
    pub method: Method,
    /// The target as it was received. Its query never reaches a log.
    pub uri: Uri,
    /// HTTP's version.
    pub version: Version,
    /// The connection it came on.
    pub connection: Connection,
    /// Whether the connection comes from one of `trust.proxies`, so that its forwarded headers are believed.
    pub peer_is_trusted: bool,
    /// The visitor's address: the connection's, or what trusted proxies say. IPv4 is never written as mapped IPv6.
    pub client: IpAddr,
    /// Whether what a trusted proxy says in `Forwarded` leads to that address as well.
    pub forwarded_agrees: bool,
    /// What the visitor's browser shows.
    pub scheme: Scheme,
    /// Host and port as the visitor wrote them; empty only for HTTP/1.0 without `Host`.
    pub authority: String,
    /// The host alone: lower case, no port, no trailing dot; IPv6 literals keep their brackets.
    pub host: String,
    /// The port that the visitor used.
    pub port: u16,
    /// Why the request cannot be placed, if it cannot: then it has no host, and goes no further.
    pub misaddressed: Option<Misaddressed>,
    /// When its head had been read, by the clock's uptime.
    pub received: Duration,
    /// What the layers below note down for the access log.
    pub record: Record,
}

impl Context {
    /// Places a request. `received` is the clock's uptime now.
    #[must_use]
    pub fn read(head: &Parts, connection: Connection, trust: &Trust, random: &dyn Random, received: Duration) -> Self {
        let (destination, misaddressed) = match Destination::of(head) {
            Ok(destination) => (destination, None),
            Err(error) => (Destination::default(), Some(error)),
        };
        let origin = Origin::of(&head.headers, connection, trust);
        Self {
            request_id: origin.request_id.unwrap_or_else(|| RequestId::random(random)),
            trace: Trace::of(&head.headers, random),
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            connection,
            peer_is_trusted: origin.is_trusted,
            client: origin.client,
            forwarded_agrees: origin.forwarded_agrees,
            scheme: origin.scheme,
            port: destination.port.unwrap_or_else(|| origin.scheme.default_port()),
            host: destination.host,
            authority: destination.authority,
            misaddressed,
            received,
            record: Record::default(),
        }
    }

    /// Places what never became a request. Nothing that it says of hosts or proxies is believed; what is not certain
    /// of its first line stands as `-` in the log, which is no method and no path.
    #[must_use]
    pub fn of_malformed(
        request: &Malformed,
        connection: Connection,
        trust: &Trust,
        random: &dyn Random,
        received: Duration,
    ) -> Self {
        let mut head = Request::new(()).into_parts().0;
        head.method = request.method.clone().unwrap_or_else(|| Method::from_bytes(b"-").expect("a token"));
        head.uri = request.target.clone().unwrap_or_else(|| Uri::from_static("-"));
        head.version = request.version;
        Self { misaddressed: None, ..Self::read(&head, connection, trust, random, received) }
    }

    /// The target's path as it may stand in a log. A path is ASCII (RFC 3986, section 3.3), but `http` lets all of
    /// UTF-8 pass, in which there are orders to terminals (U+009B) and ends of lines (U+0085, U+2028).
    #[must_use]
    pub fn path_to_log(&self) -> Cow<'_, str> {
        let path = if self.uri.path().is_empty() { "-" } else { self.uri.path() };
        if path.is_ascii() { path.into() } else { path.escape_debug().to_string().into() }
    }
}
